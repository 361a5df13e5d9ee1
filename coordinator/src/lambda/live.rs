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
/// Remaining time below which the arrivals function begins with no further day. A day takes about a second, and 15 s if its
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
        connected.with(&keys.fleet, |coordinator| coordinator.arrive(&keys.prefixes, day, objects))?
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

/// Writes the metric of a live run that has ended.
pub(super) fn log_end(settings: &Settings, state: &RunState) {
    if let Some(metrics) = end_metrics(settings, state, Timestamp::now()) {
        print_metrics(&metrics);
    }
}

/// Returns the metric of a live run that has ended. A close of today proves no day, so it has none.
fn end_metrics(settings: &Settings, state: &RunState, now: Timestamp) -> Option<Value> {
    let (day, _) = parse_run_name(&state.fleet, &state.run)?;
    let is_over = day < Day::of(now);
    let ended = state.ended().filter(|_| is_over)?;
    let queue = settings.fleets.get(&state.fleet).ok().and_then(|(_, fleet)| match &fleet.driver {
        Driver::Queue { url, .. } => url.rsplit('/').next(),
        Driver::Map => None,
    });
    let is_done = ended.state == ReportState::Done;
    Some(json!({
        CLOSED: u8::from(is_done),
        "Queue": queue,
        "_aws": {
            "Timestamp": now.as_millisecond(),
            "CloudWatchMetrics": [{
                "Namespace": "Flowherd",
                "Dimensions": [["Queue"]],
                "Metrics": [{ "Name": CLOSED, "Unit": "Count" }],
            }],
        },
    }))
}

fn print_metrics(metrics: &Value) {
    // A closed standard output does not fail the invocation.
    let _ = writeln!(std::io::stdout(), "{metrics}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Checking, Ended, Operation, Progress};

    const NOW: &str = "2026-02-19T02:10:00Z";

    fn settings() -> Settings {
        let variable = |name: &str| {
            let value = match name {
                "FLOWHERD_SOURCE_BUCKET" => "logs",
                "FLOWHERD_RESULTS_BUCKET" => "results",
                "FLOWHERD_QUEUE_URL" => "https://sqs.eu-west-1.amazonaws.com/111122223333/Flowherd.fifo",
                _ => return None,
            };
            Some(value.to_owned())
        };
        Settings::read(&variable).unwrap()
    }

    fn metrics(run: &str, operation: Operation) -> Option<Value> {
        let state = RunState {
            run: run.to_owned(),
            fleet: "main".to_owned(),
            prefix: "p/".to_owned(),
            wait_seconds: 0,
            progress: Progress::default(),
            message: None,
            operation,
        };
        end_metrics(&settings(), &state, NOW.parse().unwrap())
    }

    fn ended(state: ReportState) -> Operation {
        Operation::End(Ended { state, report: "runs/r/report.json".to_owned() })
    }

    #[test]
    fn the_end_of_a_live_day_has_the_metric_that_the_alarm_reads() {
        let day = "live-main-2026-02-18";
        for (state, value) in [(ReportState::Done, 1), (ReportState::Failed, 0), (ReportState::Incomplete, 0)]
        {
            let metrics = metrics(day, ended(state)).unwrap();
            assert_eq!(metrics["LiveDayClosed"], value, "{metrics}");
            // The alarm of cdk/lib/live.ts has this dimension, and is raised below 1.
            assert_eq!(metrics["Queue"], "Flowherd.fifo");
            let definition = &metrics["_aws"]["CloudWatchMetrics"][0];
            assert_eq!(definition["Namespace"], "Flowherd");
            assert_eq!(definition["Dimensions"], json!([["Queue"]]));
            assert_eq!(definition["Metrics"], json!([{ "Name": "LiveDayClosed", "Unit": "Count" }]));
        }
        assert!(metrics("live-main-2026-02-18-late-1", ended(ReportState::Done)).is_some());
    }

    #[test]
    fn neither_a_close_of_today_nor_an_unfinished_or_other_run_has_the_metric() {
        assert_eq!(metrics("live-main-2026-02-19", ended(ReportState::Done)), None);
        assert_eq!(metrics("live-main-2026-02-18", Operation::Check(Checking::default())), None);
        assert_eq!(metrics("monday", ended(ReportState::Done)), None);
    }
}
