//! What a worker knows of an outage of the cluster. While it lasts, the worker begins no object.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use flowherd_shared::backoff;
use jiff::{SignedDuration, Timestamp};

const FIRST_PAUSE: Duration = Duration::from_secs(10);
/// A run continues at most this long after the cluster is available again.
const MAX_PAUSE: Duration = Duration::from_mins(5);

/// The pause after attempts that found the cluster unavailable. All objects of a worker share it.
#[derive(Debug, Default)]
pub struct OutagePause(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Attempts in a row that found the cluster unavailable.
    attempts: u32,
    /// The end of the pause.
    until: Option<Timestamp>,
}

impl OutagePause {
    /// Returns the remaining time of the pause; `None` if an attempt can begin.
    pub(crate) fn remaining(&self, now: Timestamp) -> Option<Duration> {
        let until = self.state().until?;
        let remaining = Duration::try_from(until.duration_since(now)).ok()?;
        (!remaining.is_zero()).then_some(remaining)
    }

    /// Begins a pause, twice as long as the one before. During a pause, which another object has begun, does nothing.
    pub(crate) fn begin(&self, now: Timestamp) {
        if self.remaining(now).is_some() {
            return;
        }
        let mut state = self.state();
        state.attempts = state.attempts.saturating_add(1);
        let pause = backoff::pause(FIRST_PAUSE, MAX_PAUSE, state.attempts, std::process::id());
        let pause = SignedDuration::try_from(pause).unwrap_or(SignedDuration::ZERO);
        state.until = now.checked_add(pause).ok();
    }

    /// Records that the cluster has accepted the rows of an object.
    pub(crate) fn end(&self) {
        *self.state() = State::default();
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pause_of_an_outage_is_longer_until_the_cluster_accepts_rows() {
        let (outage, mut now) = (OutagePause::default(), Timestamp::UNIX_EPOCH);
        assert_eq!(outage.remaining(now), None);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            outage.begin(now);
            let pause = outage.remaining(now).unwrap();
            outage.begin(now);
            assert_eq!(outage.remaining(now), Some(pause), "a second object does not prolong it");
            pauses.push(pause);
            now += pause;
            assert_eq!(outage.remaining(now), None);
        }
        assert!(
            pauses[0] <= FIRST_PAUSE && pauses[11] > MAX_PAUSE / 3 && pauses[11] <= MAX_PAUSE,
            "{pauses:?}"
        );
        outage.end();
        outage.begin(now);
        assert!(outage.remaining(now).unwrap() <= FIRST_PAUSE);
    }
}
