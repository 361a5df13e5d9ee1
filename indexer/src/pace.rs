//! Decides how many requests run at a time, and when all of them pause.
//!
//! The number of requests grows by one for each full round of successes, and halves when the cluster cannot accept a request, as
//! in TCP's congestion control (<https://www.rfc-editor.org/rfc/rfc5681#section-3.1>). After such an answer all requests pause,
//! longer each time. Times are durations since the start of the process: [`Pace`] reads no clock.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use flowherd_shared::backoff;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// Time without a failure after which the next one begins a new outage. It is longer than a worker waits between its attempts during
/// an outage: 5 minutes, and the timeout of a request.
const OUTAGE_GAP: Duration = Duration::from_mins(10);

/// Whether a request may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// It begins now, in this epoch.
    Now(u64),
    /// All requests pause until then.
    At(Duration),
    /// The maximum number of requests is in flight; wait until one ends.
    AfterAnother,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The cluster accepted all documents.
    Success,
    /// The cluster accepted some documents, and cannot accept others now. Has the pause that it asks for.
    Partial(Option<Duration>),
    /// The cluster cannot accept the request now, or there is no usable answer. Has the pause that the cluster asks for.
    Failure(Option<Duration>),
    /// It shows nothing about the load of the cluster: refused for its size, or abandoned.
    Neutral,
}

/// How long the cluster has accepted nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// Time since the first failure after the last accepted document.
    pub duration: Duration,
    /// Failures that increased the pause.
    pub attempts: u32,
}

/// The limits of a pace.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Maximum requests at a time.
    pub max_in_flight: usize,
    /// The first pause.
    pub first_pause: Duration,
    /// The longest pause, unless the cluster asks for more.
    pub max_pause: Duration,
    /// The longest pause that the cluster can ask for.
    pub max_retry_after: Duration,
    /// Seed of the jitter. It differs between processes, so that they do not retry at the same time.
    pub seed: u64,
}

/// The state, without a clock.
#[derive(Debug)]
pub struct Pace {
    limits: Limits,
    /// The maximum concurrent requests, at least 1.
    concurrency: f64,
    in_flight: usize,
    /// Number of decreases. A failure causes a decrease only if its request began after the previous one.
    epoch: u64,
    failures: u32,
    /// The first failure since a document was accepted.
    failing_since: Option<Duration>,
    last_failure: Duration,
    paused_until: Duration,
}

impl Pace {
    /// Creates a pace that begins with the maximum of requests.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let concurrency = limits.max_in_flight.max(1) as f64;
        Self {
            limits,
            concurrency,
            in_flight: 0,
            epoch: 0,
            failures: 0,
            failing_since: None,
            last_failure: Duration::ZERO,
            paused_until: Duration::ZERO,
        }
    }

    /// Returns whether a request may begin. After [`Start::Now`], call [`Pace::end`] exactly once.
    pub fn start(&mut self, now: Duration) -> Start {
        if now < self.paused_until {
            Start::At(self.paused_until)
        } else if self.in_flight >= self.max_requests() {
            Start::AfterAnother
        } else {
            self.in_flight += 1;
            Start::Now(self.epoch)
        }
    }

    /// Records the end of a request that began in `epoch`. Returns the outage if the cluster accepts nothing.
    pub fn end(&mut self, now: Duration, epoch: u64, end: End) -> Option<Outage> {
        self.in_flight = self.in_flight.saturating_sub(1);
        match end {
            End::Neutral => {}
            End::Success => {
                self.failing_since = None;
                // A request from before the last decrease may succeed late. That does not show that the cluster accepts more.
                if epoch == self.epoch {
                    self.failures = 0;
                    let max = self.limits.max_in_flight.max(1) as f64;
                    self.concurrency = (self.concurrency + 1.0 / self.concurrency).min(max);
                }
            }
            End::Partial(retry_after) => {
                self.failing_since = None;
                self.decrease(now, epoch, retry_after);
            }
            End::Failure(retry_after) => {
                // A process that had nothing to do does not know when the last outage ended.
                if now.saturating_sub(self.last_failure) > OUTAGE_GAP {
                    self.failing_since = None;
                }
                self.last_failure = now;
                let since = *self.failing_since.get_or_insert(now);
                self.decrease(now, epoch, retry_after);
                return Some(Outage { duration: now.saturating_sub(since), attempts: self.failures });
            }
        }
        None
    }

    /// Returns the maximum concurrent requests.
    #[must_use]
    pub fn max_requests(&self) -> usize {
        self.concurrency as usize
    }

    /// Returns how long the cluster has accepted nothing.
    #[must_use]
    pub fn outage(&self, now: Duration) -> Option<Outage> {
        let since = self.failing_since?;
        Some(Outage { duration: now.saturating_sub(since), attempts: self.failures })
    }

    fn decrease(&mut self, now: Duration, epoch: u64, retry_after: Option<Duration>) {
        let Limits { first_pause, max_pause, max_retry_after, seed, .. } = self.limits;
        if epoch == self.epoch {
            self.epoch += 1;
            self.failures = self.failures.saturating_add(1);
            self.concurrency = (self.concurrency / 2.0).max(1.0);
            let pause = backoff::pause(first_pause, max_pause, self.failures, (seed, self.epoch));
            self.paused_until = self.paused_until.max(now + pause);
        }
        if let Some(pause) = retry_after {
            self.paused_until = self.paused_until.max(now + pause.min(max_retry_after));
        }
    }
}

/// A pace that all requests of a process share.
#[derive(Debug)]
pub(crate) struct SharedPace {
    pace: Mutex<Pace>,
    began: Instant,
    changed: Notify,
}

impl SharedPace {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { pace: Mutex::new(Pace::new(limits)), began: Instant::now(), changed: Notify::new() }
    }

    /// Waits until a request may begin.
    pub(crate) async fn start(&self) -> Running<'_> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Enabled before the check, so no end of another request is missed.
            changed.as_mut().enable();
            let start = self.lock().start(self.began.elapsed());
            match start {
                Start::Now(epoch) => return Running { pace: self, epoch, has_ended: false },
                Start::At(time) => sleep_until(self.began + time).await,
                Start::AfterAnother => changed.await,
            }
        }
    }

    pub(crate) fn outage(&self) -> Option<Outage> {
        self.lock().outage(self.began.elapsed())
    }

    fn end(&self, epoch: u64, end: End) -> Option<Outage> {
        let outage = self.lock().end(self.began.elapsed(), epoch, end);
        self.changed.notify_waiters();
        outage
    }

    fn lock(&self) -> MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request in flight. Dropping it without [`Running::end`] records it as abandoned.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    pace: &'a SharedPace,
    epoch: u64,
    has_ended: bool,
}

impl Running<'_> {
    /// Ends the request. Returns the outage if the cluster accepts nothing.
    pub(crate) fn end(mut self, end: End) -> Option<Outage> {
        self.has_ended = true;
        self.pace.end(self.epoch, end)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.pace.end(self.epoch, End::Neutral);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn pace(max_in_flight: usize) -> Pace {
        Pace::new(Limits {
            max_in_flight,
            first_pause: 100 * MS,
            max_pause: 1000 * MS,
            max_retry_after: 60_000 * MS,
            seed: 7,
        })
    }

    /// Begins a request at the end of the pause.
    fn begin(pace: &mut Pace, now: &mut Duration) -> u64 {
        loop {
            match pace.start(*now) {
                Start::Now(epoch) => return epoch,
                Start::At(time) => *now = time,
                Start::AfterAnother => panic!("no request ends"),
            }
        }
    }

    #[test]
    fn at_most_the_maximum_of_requests_runs() {
        let mut pace = pace(3);
        for _ in 0..3 {
            assert_eq!(pace.start(MS), Start::Now(0));
        }
        assert_eq!(pace.start(MS), Start::AfterAnother);
        pace.end(2 * MS, 0, End::Success);
        assert_eq!(pace.start(2 * MS), Start::Now(0));
    }

    #[test]
    fn requests_halve_once_for_all_failures_of_a_round_and_grow_by_one_in_a_round() {
        let (mut pace, mut now) = (pace(8), MS);
        let round: Vec<u64> = (0..8).map(|_| begin(&mut pace, &mut now)).collect();
        for epoch in round {
            pace.end(now, epoch, End::Failure(None));
        }
        assert_eq!(pace.max_requests(), 4);
        for expected in [5, 6, 7, 8, 8] {
            let round: Vec<u64> = (0..pace.max_requests()).map(|_| begin(&mut pace, &mut now)).collect();
            for epoch in round {
                pace.end(now, epoch, End::Success);
            }
            // The last success of a round may fall short of one by rounding.
            let epoch = begin(&mut pace, &mut now);
            pace.end(now, epoch, End::Success);
            assert_eq!(pace.max_requests(), expected);
        }
    }

    #[test]
    fn all_requests_pause_after_a_failure_longer_each_time() {
        let (mut pace, mut now) = (pace(4), MS);
        for longest in [100, 200, 400, 800, 1000, 1000] {
            let epoch = begin(&mut pace, &mut now);
            pace.end(now, epoch, End::Failure(None));
            let Start::At(until) = pace.start(now) else { panic!("no pause") };
            let pause = until.saturating_sub(now);
            assert!(pause >= longest * MS / 2 && pause <= longest * MS, "{pause:?} {longest}");
        }
        let epoch = begin(&mut pace, &mut now);
        pace.end(now, epoch, End::Success);
        let epoch = begin(&mut pace, &mut now);
        pace.end(now, epoch, End::Failure(None));
        let Start::At(until) = pace.start(now) else { panic!("no pause") };
        assert!(until.saturating_sub(now) <= 100 * MS, "a success begins the pauses again");
    }

    #[test]
    fn the_cluster_can_ask_for_a_longer_pause_up_to_a_limit() {
        for (asked, pause) in [(5_000, 5_000), (1_000_000, 60_000)] {
            let (mut pace, mut now) = (pace(4), MS);
            let epoch = begin(&mut pace, &mut now);
            pace.end(now, epoch, End::Failure(Some(asked * MS)));
            assert_eq!(pace.start(now), Start::At(now + pause * MS));
        }
    }

    #[test]
    fn an_outage_begins_with_the_first_failure_and_ends_with_an_accepted_document() {
        let (mut pace, mut now) = (pace(1), MS);
        let epoch = begin(&mut pace, &mut now);
        assert_eq!(
            pace.end(now, epoch, End::Failure(None)),
            Some(Outage { duration: Duration::ZERO, attempts: 1 })
        );
        let began = now;
        let epoch = begin(&mut pace, &mut now);
        let outage = pace.end(now, epoch, End::Failure(None)).unwrap();
        assert_eq!(outage, Outage { duration: now.saturating_sub(began), attempts: 2 });
        assert_eq!(pace.outage(now), Some(outage));
        let epoch = begin(&mut pace, &mut now);
        assert_eq!(pace.end(now, epoch, End::Partial(None)), None);
        assert_eq!(pace.outage(now), None);
    }

    #[test]
    fn a_failure_after_a_long_time_without_requests_begins_a_new_outage() {
        let (mut pace, mut now) = (pace(1), MS);
        let mut fail = |idle: Duration| {
            now += idle;
            let epoch = begin(&mut pace, &mut now);
            pace.end(now, epoch, End::Failure(None)).unwrap().duration
        };
        assert_eq!(fail(MS), Duration::ZERO);
        assert!(fail(OUTAGE_GAP / 2) >= OUTAGE_GAP / 2, "the worker waits between attempts");
        assert_eq!(fail(OUTAGE_GAP + MS), Duration::ZERO);
    }

    #[test]
    fn an_abandoned_request_changes_nothing_but_the_count() {
        let (mut pace, mut now) = (pace(1), MS);
        let epoch = begin(&mut pace, &mut now);
        assert_eq!(pace.end(now, epoch, End::Neutral), None);
        assert_eq!(pace.start(now), Start::Now(epoch));
    }

    proptest! {
        #[test]
        fn requests_never_exceed_the_maximum_and_always_continue(
            max in 1_usize..20,
            ends in prop::collection::vec(0..5_u8, 1..200),
        ) {
            let (mut pace, mut now, mut running) = (pace(max), MS, Vec::new());
            for end in ends {
                loop {
                    match pace.start(now) {
                        Start::Now(epoch) => running.push(epoch),
                        Start::At(time) => { prop_assert!(time > now); now = time; }
                        Start::AfterAnother => break,
                    }
                }
                prop_assert!((1..=max).contains(&running.len()) && pace.max_requests() <= max);
                let epoch = running.swap_remove(usize::from(end) * 7 % running.len());
                let end = match end {
                    0 => End::Success,
                    1 => End::Partial(None),
                    2 => End::Failure(Some(3 * MS)),
                    3 => End::Failure(None),
                    _ => End::Neutral,
                };
                pace.end(now, epoch, end);
            }
        }
    }
}
