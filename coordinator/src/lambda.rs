//! The coordinator's Lambda function. Its input is an event; its output is a [`RunState`] or the answer of a refresh of the
//! names, or an error of type `Refused` or `Retry`.

mod live;

use std::{
    io::Write as _,
    ops::ControlFlow,
    process::ExitCode,
    time::{Duration, SystemTime},
};

use flowherd_aws::{Aws, api::Retries, ec2, log_to_stderr};
use flowherd_shared::{
    error::error_chain,
    queue::Queue,
    store::{Lister, Store},
};
use jiff::Timestamp;
use lambda_runtime::{Diagnostic, Error, LambdaEvent, service_fn};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::{
    connect::Connected, coordinator::Coordinator, drive::Host, error::CoordinatorError, event::Event, names,
    options::RefreshOptions, redrive::REDRIVEN_OPEN, settings::Settings, state::RunState,
};

/// Remaining time below which the function begins no further page or part. Sending a page takes about 15 s if its batches
/// are retried. Reading 1,000 receipts from a slow bucket takes as long.
const MARGIN: Duration = Duration::from_secs(45);

/// Runs the function with the environment of the process.
#[must_use]
pub fn main() -> ExitCode {
    log_to_stderr();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            error!(error = problem, "the coordinator cannot start");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), String> {
    let settings =
        Settings::read(&|name| std::env::var(name).ok()).map_err(|problems| problems.join("; "))?;
    let aws = Aws::connect().map_err(|error| error.to_string())?;
    let connected = Connected::new(&aws, &settings).map_err(|error| error_chain(&error))?;
    let serve = service_fn(|event: LambdaEvent<Value>| {
        let deadline = event.context.deadline();
        // The calls block this thread. The runtime's other threads serve the connections.
        let response =
            tokio::task::block_in_place(|| respond(&aws, &settings, &connected, event.payload, deadline));
        async move { response.map_err(|error| diagnostic(&error)) }
    });
    aws.handle().block_on(lambda_runtime::run(serve)).map_err(|error: Error| error.to_string())
}

fn respond(
    aws: &Aws,
    settings: &Settings,
    connected: &Connected<'_>,
    event: Value,
    deadline: SystemTime,
) -> Result<Value, CoordinatorError> {
    let remaining = || deadline.duration_since(SystemTime::now()).unwrap_or_default();
    let operation = event.get("operation").and_then(Value::as_str).map(str::to_owned);
    let response = match Event::parse(event)? {
        Event::Names(options) => {
            let end = Instant::now() + remaining().saturating_sub(names::WRITE_TIME);
            serde_json::to_value(refresh_names(aws, settings, connected, &options, end)?)
        }
        Event::Arrivals(messages) => {
            Ok(live::arrive(settings, connected, &messages, &|| remaining() > live::MARGIN))
        }
        Event::Close(options) => serde_json::to_value(live::close(settings, connected, &options)?),
        Event::Redrive { run } => {
            let fleet = connected.fleet_of(&Event::Redrive { run: run.clone() })?;
            serde_json::to_value(connected.with(fleet, |coordinator| redrive(coordinator, &run))??)
        }
        event => {
            let has_time = || remaining() > MARGIN;
            let fleet = connected.fleet_of(&event)?;
            let state = connected.with(fleet, |coordinator| handle(coordinator, event, &has_time))??;
            log_step(operation.as_deref().unwrap_or_default(), &state);
            live::log_end(settings, &state);
            serde_json::to_value(state)
        }
    };
    response
        .map_err(|error| CoordinatorError::Refused(format!("a bug in Flowherd: {error}; please report it")))
}

/// Refreshes the names, and writes the metric of the refresh.
fn refresh_names(
    aws: &Aws,
    settings: &Settings,
    connected: &Connected<'_>,
    options: &RefreshOptions,
    end: Instant,
) -> Result<names::Refreshed, CoordinatorError> {
    let refreshed = names::refresh(&connected.results, options, Timestamp::now, |targets| {
        aws.handle().block_on(ec2::read_names_until(targets, Retries::default(), Some(end)))
    });
    let metrics = names::metrics(&refreshed, &settings.common.results_bucket, Timestamp::now());
    // A closed standard output does not fail the refresh.
    let _ = writeln!(std::io::stdout(), "{metrics}");
    let refreshed = refreshed?;
    for failure in &refreshed.failures {
        warn!(failure, "names not read");
    }
    for note in &refreshed.notes {
        warn!(note, "note on the names");
    }
    let changes = refreshed.changes;
    info!(
        sources = refreshed.sources.len(),
        failures = refreshed.failures.len(),
        new = changes.new,
        changed = changes.changed,
        gone = changes.gone,
        returned = changes.returned,
        forgotten = refreshed.forgotten,
        written = refreshed.written,
        "names refreshed"
    );
    Ok(refreshed)
}

/// Handles an event of a run. `has_time` returns whether the invocation has time for another page of the listing or part of the
/// manifest.
fn handle<L: Lister, S: Store + Lister, Q: Queue>(
    coordinator: &Coordinator<'_, L, S, Q>,
    event: Event,
    has_time: &dyn Fn() -> bool,
) -> Result<RunState, CoordinatorError> {
    Ok(match event {
        Event::Run(options) => {
            coordinator.refuse_without_step_loop()?;
            begin_and_drive(coordinator, coordinator.begin(&options)?, has_time)?
        }
        Event::Begin(options) => coordinator.begin(&options)?,
        Event::Continue { run } => coordinator.resume_driving(&run)?,
        Event::ReportNow { run } => coordinator.report_after_failure(&run, has_time)?,
        Event::State(state) => coordinator.step(*state, has_time)?,
        Event::Arrivals(_) | Event::Close(_) | Event::Names(_) | Event::Redrive { .. } => {
            return Err(CoordinatorError::refused("the event is not a step of a run"));
        }
    })
}

/// Moves the dead-letter messages back. Returns the state from which to drive the run; for an open live run, which is not driven,
/// only its name and a message.
fn redrive<L: Lister, S: Store + Lister, Q: Queue>(
    coordinator: &Coordinator<'_, L, S, Q>,
    run: &str,
) -> Result<Value, CoordinatorError> {
    let (redriven, state) = coordinator.redrive(run)?;
    info!(?redriven, "dead-letter messages moved back");
    let Some(state) = state else { return Ok(json!({ "run": run, "message": REDRIVEN_OPEN })) };
    log_step("redrive", &state);
    serde_json::to_value(state)
        .map_err(|error| CoordinatorError::Refused(format!("a bug in Flowherd: {error}; please report it")))
}

fn log_step(operation: &str, state: &RunState) {
    let progress = state.progress;
    info!(
        run = state.run,
        fleet = state.fleet,
        operation,
        next = state.operation.name(),
        wait_seconds = state.wait_seconds,
        listed = progress.listed,
        done = progress.done,
        failed = progress.failed,
        queued = progress.queued,
        in_flight = progress.in_flight,
        dead_letters = progress.dead_letters,
        message = state.message,
        "step"
    );
}

/// Drives a run until an operation has to wait. After a temporary error, returns the state with the error as its message:
/// only the response gives the caller the run's name.
fn begin_and_drive<L: Lister, S: Store + Lister, Q: Queue>(
    coordinator: &Coordinator<'_, L, S, Q>,
    mut state: RunState,
    has_time: &dyn Fn() -> bool,
) -> Result<RunState, CoordinatorError> {
    match coordinator.drive(&mut state, &mut Invocation { has_time }) {
        Err(error) if error.is_permanent() => return Err(error),
        Err(error) => state.message = Some(error.on_one_line()),
        Ok(()) => {}
    }
    Ok(state)
}

/// One invocation. It never waits: it returns the state to its caller instead.
struct Invocation<'a> {
    has_time: &'a dyn Fn() -> bool,
}

impl Host for Invocation<'_> {
    fn before(&mut self, state: &mut RunState) -> ControlFlow<()> {
        if state.wait_seconds == 0 && (self.has_time)() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }

    fn should_continue(&self) -> bool {
        (self.has_time)()
    }
}

/// Returns the error as the function reports it. The step loop retries `Retry`, but not `Refused`.
fn diagnostic(error: &CoordinatorError) -> Diagnostic {
    let error_type = if error.is_permanent() { "Refused" } else { "Retry" };
    let error_message = error.on_one_line();
    error!(error = error_message, error_type, "step failed");
    Diagnostic { error_type: error_type.to_owned(), error_message }
}
