//! The coordinator as a Lambda function: one operation an invocation, or as many as need not be waited for.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime},
};

use flowherd_aws::{Aws, log_to_stderr};
use flowherd_shared::{
    error::error_chain,
    queue::Queue,
    store::{Lister, Store},
};
use lambda_runtime::{Diagnostic, Error, LambdaEvent, service_fn};
use serde_json::Value;
use tracing::{error, info};

use crate::{
    event::Event,
    settings::{Connected, Settings},
    steps::{Coordinator, CoordinatorError, Step},
};

/// A stretch is not begun when less than this is left of the invocation: a page whose batches have to be sent again and
/// again takes some 15 seconds, and so does a thousand receipts of a slow bucket.
const MARGIN: Duration = Duration::from_secs(45);

/// Runs the function with the process's environment.
#[must_use]
pub fn main() -> ExitCode {
    log_to_stderr();
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            error!(error = problem, "cannot coordinate");
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
        let goes_on = || {
            let left = deadline.duration_since(SystemTime::now()).unwrap_or_default();
            left > MARGIN
        };
        // The work blocks; the runtime's other threads serve its connections meanwhile.
        let answer = tokio::task::block_in_place(|| {
            connected.with(|coordinator| handle(coordinator, event.payload, &goes_on))
        });
        async move { answer.map_err(|error| diagnostic(&error)) }
    });
    aws.handle().block_on(lambda_runtime::run(serve)).map_err(|error: Error| error.to_string())
}

/// Does what an event asks for.
pub fn handle<L: Lister, S: Store + Lister, Q: Queue>(
    coordinator: &Coordinator<'_, L, S, Q>,
    event: Value,
    goes_on: &dyn Fn() -> bool,
) -> Result<Step, CoordinatorError> {
    let operation = event.get("operation").and_then(Value::as_str).map(str::to_owned);
    let step = match Event::parse(event)? {
        Event::Run(begin) => coordinator.run_on(coordinator.begin(&begin)?, goes_on)?,
        Event::Begin(begin) => coordinator.begin(&begin)?,
        Event::Redrive { run } => {
            let (redriven, step) = coordinator.redrive(&run)?;
            info!(?redriven, "dead letters moved back");
            step
        }
        Event::Step(step) => coordinator.step(*step, goes_on)?,
    };
    let progress = step.progress;
    info!(
        run = step.run,
        operation = operation.unwrap_or_default(),
        next = ?step.operation,
        wait_seconds = step.wait_seconds,
        listed = progress.listed,
        done = progress.done,
        failed = progress.failed,
        queued = progress.queued,
        in_flight = progress.in_flight,
        dead_letters = progress.dead_letters,
        told = step.message,
        "step"
    );
    Ok(step)
}

/// The step loop tells a refusal, which ends the run, from what is tried again.
fn diagnostic(error: &CoordinatorError) -> Diagnostic {
    let error_type = if matches!(error, CoordinatorError::Refused(_)) { "Refused" } else { "Retry" };
    let error_message = error.on_one_line();
    error!(error = error_message, error_type, "cannot do the step");
    Diagnostic { error_type: error_type.to_owned(), error_message }
}
