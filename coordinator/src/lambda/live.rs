//! The events of live fleets: arrivals and closes.

use std::{io::Write as _, time::Duration};

use flowherd_shared::ledger::ReportState;
use jiff::Timestamp;
use serde_json::{Value, json};
use tracing::{error, info};

use crate::{
    connect::Connected,
    error::CoordinatorError,
    fleets::Driver,
    live::{
        batch::{ArrivalMessage, Arrivals, FleetKeys},
        close::{CloseOptions, Closed},
        day::{Day, parse_run_name},
    },
    settings::Settings,
    state::RunState,
};

/// The metric of a live run that ended: 1 if every object of the day is done.
const CLOSED: &str = "LiveDayClosed";
/// Remaining time below which the function of arrivals begins with no further day. A day takes about a second, and 15 s if its
/// messages are sent again.
pub(super) const MARGIN: Duration = Duration::from_secs(20);

/// Sends the tasks of objects that have arrived. Returns the messages that SQS must deliver again.
pub(super) fn arrive(
    settings: &Settings,
    connected: &Connected<'_>,
    messages: &[ArrivalMessage],
    has_time: &dyn Fn() -> bool,
) -> Value {
    let fleets = FleetKeys::of(&settings.fleets);
    let now = Timestamp::now();
    let arrivals = Arrivals { bucket: &settings.common.source_bucket, fleets: &fleets, now };
    let handled = arrivals.handle(messages, has_time, |keys, day, objects| {
        connected.with(&keys.fleet, |coordinator| coordinator.arrive(&keys.territory, day, objects))?
    });
    for problem in &handled.problems {
        error!(problem, "arrivals not sent");
    }
    info!(
        messages = messages.len(),
        sent = handled.sent,
        ignored = handled.ignored,
        refused = handled.refused,
        unsent = handled.unsent,
        "arrivals"
    );
    let queue = messages.first().and_then(|message| message.queue_arn.rsplit(':').next()).unwrap_or_default();
    print_metrics(&handled.metrics(queue, now));
    handled.response()
}

/// Closes days of a live fleet.
pub(super) fn close(
    settings: &Settings,
    connected: &Connected<'_>,
    options: &CloseOptions,
) -> Result<Closed, CoordinatorError> {
    let day = options.parse_day()?;
    let fleets = FleetKeys::of(&settings.fleets);
    let keys = FleetKeys::choose_to_close(&fleets, options.fleet.as_deref())?;
    let closed = connected.with(&keys.fleet, |coordinator| coordinator.close(keys, day))??;
    for problem in &closed.problems {
        error!(fleet = keys.fleet, problem, "day not closed");
    }
    let runs: Vec<&str> = closed.runs.iter().map(|state| state.run.as_str()).collect();
    info!(fleet = keys.fleet, ?runs, remaining = closed.remaining, "days closed");
    Ok(closed)
}

/// Writes the metric of a live run that has ended. A close of today proves no day, so it has none.
pub(super) fn log_end(settings: &Settings, state: &RunState) {
    let Some((day, _)) = parse_run_name(&state.fleet, &state.run) else { return };
    let is_over = day < Day::of(Timestamp::now());
    let Some(ended) = state.ended().filter(|_| is_over) else { return };
    let queue = settings.fleets.get(&state.fleet).ok().and_then(|(_, fleet)| match &fleet.driver {
        Driver::Queue { url, .. } => url.rsplit('/').next(),
        Driver::Map => None,
    });
    let is_done = ended.state == ReportState::Done;
    print_metrics(&json!({
        CLOSED: u8::from(is_done),
        "Queue": queue,
        "_aws": {
            "Timestamp": Timestamp::now().as_millisecond(),
            "CloudWatchMetrics": [{
                "Namespace": "Flowherd",
                "Dimensions": [["Queue"]],
                "Metrics": [{ "Name": CLOSED, "Unit": "Count" }],
            }],
        },
    }));
}

fn print_metrics(metrics: &Value) {
    // A closed standard output does not fail the invocation.
    let _ = writeln!(std::io::stdout(), "{metrics}");
}
