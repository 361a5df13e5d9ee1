//! Progress of a run of the fleet.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use flowherd_coordinator::state::{Operation, Progress, RunState};

use crate::{
    progress::{Line, Rate, View},
    words::{counted, objects_per_second},
};

/// Shows the progress of a run until it is dropped.
#[derive(Debug)]
pub(super) struct Watch {
    shared: Arc<Shared>,
    _line: Line,
}

#[derive(Debug)]
struct Shared {
    began: Instant,
    seen: Mutex<Seen>,
}

/// What was seen of a run. Times count from the begin of the command.
#[derive(Debug)]
struct Seen {
    run: String,
    /// For how long the queue must be empty before objects without an outcome count as missing.
    settle: Duration,
    /// The latest state, and when it was read.
    state: Option<(RunState, Duration)>,
    rate: Rate,
    /// Since when the queue is empty although objects have no outcome.
    empty_since: Option<Duration>,
}

impl Watch {
    pub(super) fn new(run: &str, settle: Duration) -> Self {
        let shared = Arc::new(Shared { began: Instant::now(), seen: Mutex::new(Seen::new(run, settle)) });
        let shown = Arc::clone(&shared);
        Self { shared, _line: Line::show(move || shown.seen().view(shown.began.elapsed())) }
    }

    /// Shows the next operation of a run.
    pub(super) fn show(&self, state: &RunState) {
        self.shared.seen().add(state, self.shared.began.elapsed());
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn new(run: &str, settle: Duration) -> Self {
        Self { run: run.to_owned(), settle, state: None, rate: Rate::default(), empty_since: None }
    }

    fn add(&mut self, state: &RunState, now: Duration) {
        let progress = &state.progress;
        if let Operation::Check(_) | Operation::Map(_) = state.operation {
            self.rate.add(now, progress.done + progress.failed);
        }
        if let Operation::Check(_) = state.operation {
            let is_empty = progress.queued + progress.in_flight == 0 && progress.pending() > 0;
            self.empty_since = is_empty.then(|| self.empty_since.unwrap_or(now));
        }
        self.state = Some((state.clone(), now));
    }

    fn view(&self, now: Duration) -> View {
        let Some((state, at)) = &self.state else {
            return View::stage(format!("waiting for the begin of run {}", self.run));
        };
        let remaining = |until: Duration| Some(until.saturating_sub(now)).filter(|time| !time.is_zero());
        let progress = &state.progress;
        let wait = Duration::from_secs(state.wait_seconds);
        // <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_PurgeQueue.html> has both times.
        match &state.operation {
            Operation::Purge(_) if wait.is_zero() => View::stage("purging the queue"),
            Operation::Purge(_) => {
                View::stage("waiting to purge: SQS allows one purge in 60 s").remaining(remaining(*at + wait))
            }
            Operation::Plan(_) if now < *at + wait => {
                View::stage("waiting for the purge: SQS takes up to 60 s").remaining(remaining(*at + wait))
            }
            Operation::Plan(planning) => {
                let what = if state.prefix.is_empty() { "the bucket" } else { &*state.prefix };
                let listed = planning.totals.objects;
                let listed = (listed > 0).then(|| counted(listed, "object", "objects"));
                View::stage(format!("listing {what} and sending messages")).part(listed)
            }
            Operation::Check(_) | Operation::Map(_) => self.checked(progress, *at, now),
            Operation::Report(_) => View::stage("reading receipts and failures for the report").objects(
                progress.done + progress.skipped,
                progress.listed,
                progress.failed,
            ),
            Operation::End(_) => View::stage("reading the report"),
        }
    }

    fn checked(&self, progress: &Progress, at: Duration, now: Duration) -> View {
        let pending = progress.pending();
        let settled = self.empty_since.map(|since| (since + self.settle).saturating_sub(now));
        let view = match settled {
            _ if pending == 0 => View::stage("waiting for the report"),
            Some(rest) => View::stage("queue is empty; waiting for late outcomes")
                .remaining(Some(rest).filter(|rest| !rest.is_zero())),
            None => View::share(progress.listed - pending, progress.listed),
        };
        let view = view.objects(progress.done + progress.skipped, progress.listed, progress.failed);
        let rate = self.rate.per_second().filter(|_| settled.is_none() && pending > 0);
        // The time since the last count has passed.
        let remaining = rate.and_then(|_| self.rate.remaining(pending)?.checked_sub(now.saturating_sub(at)));
        view.remaining(remaining.filter(|time| !time.is_zero()))
            .part(
                (progress.dead_letters > 0)
                    .then(|| counted(progress.dead_letters, "dead-letter message", "dead-letter messages")),
            )
            .part(rate.map(objects_per_second))
            .count(progress.queued, "waiting")
            .count(progress.in_flight, "in flight")
    }
}

#[cfg(test)]
mod tests {
    use flowherd_coordinator::state::{Checking, Planning, Purging, Reporting};
    use flowherd_shared::ledger::ManifestTotals;

    use super::*;
    use crate::progress::render;

    const SETTLE: Duration = Duration::from_mins(2);

    fn at(second: u64) -> Duration {
        Duration::from_secs(second)
    }

    fn state(operation: Operation, wait_seconds: u64, progress: Progress) -> RunState {
        let (run, prefix) = ("r".to_owned(), "firehose/2026/".to_owned());
        let fleet = "main".to_owned();
        RunState { run, fleet, prefix, wait_seconds, progress, message: None, operation }
    }

    fn check() -> Operation {
        Operation::Check(Checking::default())
    }

    /// Returns the line of a state that was read at second 10, in a terminal of 80 columns at this second.
    fn line(operation: Operation, wait_seconds: u64, progress: Progress, second: u64) -> String {
        let mut seen = Seen::new("r", SETTLE);
        seen.add(&state(operation, wait_seconds, progress), at(10));
        render(&seen.view(at(second)), Some(79))
    }

    #[test]
    fn each_operation_and_wait_is_named() {
        let none = Progress::default();
        let purge = Operation::Purge(Purging::default());
        let plan = |objects| {
            let totals = ManifestTotals { objects, ..ManifestTotals::default() };
            Operation::Plan(Planning { totals, ..Planning::default() })
        };
        let report = |parts| Operation::Report(Reporting { parts, ..Reporting::default() });
        let all = Progress { listed: 2, done: 2, ..none };
        let cases = [
            (line(purge.clone(), 0, none, 11), "purging the queue"),
            (line(purge, 15, none, 11), "waiting to purge: SQS allows one purge in 60 s  14 s remaining"),
            (line(plan(0), 60, none, 12), "waiting for the purge: SQS takes up to 60 s  58 s remaining"),
            (line(plan(0), 60, none, 99), "listing firehose/2026/ and sending messages"),
            (line(plan(0), 0, none, 11), "listing firehose/2026/ and sending messages"),
            (line(plan(1), 0, none, 11), "listing firehose/2026/ and sending messages  1 object"),
            (line(plan(12_000), 0, none, 11), "listing firehose/2026/ and sending messages  12,000 objects"),
            (line(check(), 0, all, 11), "waiting for the report  2/2 objects done"),
            (line(report(0), 0, all, 11), "reading receipts and failures for the report  2/2 objects done"),
            (line(report(3), 0, none, 11), "reading receipts and failures for the report  0/0 objects done"),
        ];
        for (line, expected) in cases {
            assert_eq!(line, expected);
        }
        assert_eq!(render(&Seen::new("r", SETTLE).view(at(0)), Some(79)), "waiting for the begin of run r");
    }

    #[test]
    fn the_wait_for_an_empty_queue_is_named_and_counts_down() {
        let mut seen = Seen::new("r", SETTLE);
        let progress = Progress { listed: 9, done: 6, in_flight: 1, ..Progress::default() };
        seen.add(&state(check(), 2, progress), at(10));
        assert!(!render(&seen.view(at(11)), None).contains("waiting"));
        let empty = Progress { in_flight: 0, ..progress };
        (20..24).for_each(|second| seen.add(&state(check(), 2, empty), at(second)));
        assert_eq!(
            render(&seen.view(at(50)), Some(79)),
            "queue is empty; waiting for late outcomes  90 s remaining  6/9 objects done"
        );
        assert_eq!(
            render(&seen.view(at(999)), Some(79)),
            "queue is empty; waiting for late outcomes  6/9 objects done"
        );
        // A message comes back, for example after a worker was killed.
        seen.add(&state(check(), 2, progress), at(1000));
        assert!(!render(&seen.view(at(1001)), None).contains("queue is empty"));
    }

    #[test]
    fn the_line_of_a_run_fits_60_80_and_200_columns() {
        let mut seen = Seen::new("r", SETTLE);
        for second in 0..=20 {
            let done = 3_000 + 40 * second;
            let progress = Progress {
                listed: 17_280,
                done,
                failed: 1,
                skipped: 80,
                queued: 13_000 - 40 * second,
                in_flight: 96,
                dead_letters: 1,
            };
            seen.add(&state(check(), 2, progress), at(second));
        }
        let of = |width| render(&seen.view(at(22)), Some(width));
        let all = "3,880/17,280 objects done  1 failed  6 min remaining  1 dead-letter message  40.0 objects/s  \
                   12,200 waiting  96 in flight";
        assert_eq!(of(60), "22%  3,880/17,280 objects done  1 failed  6 min remaining");
        assert_eq!(of(80), "[==>         ]  22%  3,880/17,280 objects done  1 failed  6 min remaining");
        assert_eq!(of(200), format!("[=====>                  ]  22%  {all}"));
    }

    #[test]
    fn a_rate_is_unknown_without_counts_that_grow() {
        let progress = Progress { listed: 10, done: 5, queued: 5, ..Progress::default() };
        let mut seen = Seen::new("r", SETTLE);
        (0..60).for_each(|second| seen.add(&state(check(), 2, progress), at(second)));
        assert_eq!(render(&seen.view(at(61)), None), "50%  5/10 objects done  5 waiting");
    }
}
