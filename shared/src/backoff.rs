//! Exponential backoff with jitter
//! (<https://aws.amazon.com/builders-library/timeouts-retries-and-backoff-with-jitter/>).

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

/// Returns the pause after a failed attempt. `attempt` is its number, from 1.
///
/// The pause doubles with each attempt, up to `limit`. Jitter shortens it by up to a half. The jitter is a hash of `seed`:
/// clients with different seeds do not retry at the same time, and the pauses of a test are always the same.
#[must_use]
pub fn pause(first: Duration, limit: Duration, attempt: u32, seed: impl Hash) -> Duration {
    let doubled = first.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1))).min(limit);
    let mut hasher = DefaultHasher::new();
    (seed, attempt).hash(&mut hasher);
    let fraction = f64::from(hasher.finish() as u32) / f64::from(u32::MAX);
    doubled.mul_f64(1.0 - fraction / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(100);
    const LIMIT: Duration = Duration::from_secs(1);

    #[test]
    fn a_pause_doubles_up_to_the_limit_and_jitter_takes_up_to_half_of_it() {
        for (attempt, millis) in (1..).zip([100, 200, 400, 800, 1000, 1000]) {
            let longest = Duration::from_millis(millis);
            for seed in 0..100 {
                let pause = pause(FIRST, LIMIT, attempt, seed);
                assert!(pause >= longest / 2 && pause <= longest, "{attempt} {seed}: {pause:?}");
            }
        }
        assert!(pause(FIRST, LIMIT, u32::MAX, 0) <= LIMIT);
    }

    #[test]
    fn clients_with_different_seeds_pause_for_different_times() {
        let mut pauses: Vec<Duration> = (0..100).map(|seed| pause(FIRST, LIMIT, 1, seed)).collect();
        pauses.sort_unstable();
        pauses.dedup();
        assert!(pauses.len() > 90, "{}", pauses.len());
    }
}
