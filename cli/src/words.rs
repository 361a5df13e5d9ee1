//! Counts with their nouns, lengths of time and rates.

use std::time::Duration;

pub(crate) use flowherd_shared::text::counted;
use indicatif::{HumanBytes, HumanCount};

/// Returns a length of time in its two largest units, such as `1.4 s`, `42 s`, `4 min 12 s` or `2 h 3 min`.
pub(crate) fn duration(time: Duration) -> String {
    let tenths = time.as_millis().saturating_add(50) / 100;
    if tenths < 100 {
        return format!("{}.{} s", tenths / 10, tenths % 10);
    }
    let seconds = time.as_millis().saturating_add(500) / 1000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if seconds < 60 => format!("{seconds} s"),
        () if minutes < 60 => format!("{minutes} min {} s", seconds % 60),
        () if hours < 24 => format!("{hours} h {} min", minutes % 60),
        () => format!("{days} d {} h", hours % 24),
    }
}

/// Returns a length of time in one unit, rounded up, such as `42 s`, `12 min` or `5 h`.
pub(crate) fn about(time: Duration) -> String {
    let seconds = time.as_millis().div_ceil(1000);
    match seconds {
        0..100 => format!("{seconds} s"),
        100..6000 => format!("{} min", seconds.div_ceil(60)),
        6000..172_800 => format!("{} h", seconds.div_ceil(3600)),
        _ => format!("{} d", seconds.div_ceil(86_400)),
    }
}

/// Returns a rate of bytes, such as `12.30 MiB/s`.
pub(crate) fn bytes_per_second(rate: f64) -> String {
    format!("{}/s", HumanBytes(rate as u64))
}

/// Returns a rate of objects, such as `4.2 objects/s` or `1,200 objects/s`.
pub(crate) fn objects_per_second(rate: f64) -> String {
    if rate < 100.0 {
        format!("{rate:.1} objects/s")
    } else {
        format!("{} objects/s", HumanCount(rate as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_has_two_units_and_a_rounded_one_has_one() {
        let cases = [
            (0, "0.0 s", "0 s"),
            (1_449, "1.4 s", "2 s"),
            (9_949, "9.9 s", "10 s"),
            (9_950, "10 s", "10 s"),
            (59_499, "59 s", "60 s"),
            (59_500, "1 min 0 s", "60 s"),
            (252_000, "4 min 12 s", "5 min"),
            (3_600_000, "1 h 0 min", "60 min"),
            (7_380_000, "2 h 3 min", "3 h"),
            (183_600_000, "2 d 3 h", "3 d"),
        ];
        for (milliseconds, long, short) in cases {
            let time = Duration::from_millis(milliseconds);
            assert_eq!((&*duration(time), &*about(time)), (long, short), "{milliseconds}");
        }
        assert!(duration(Duration::MAX).ends_with(" h") && about(Duration::MAX).ends_with(" d"));
    }

    #[test]
    fn rates_have_their_unit() {
        assert_eq!(bytes_per_second(12.5 * 1024.0 * 1024.0), "12.50 MiB/s");
        assert_eq!(
            [0.25, 99.9, 1234.5].map(objects_per_second),
            ["0.2 objects/s", "99.9 objects/s", "1,234 objects/s"]
        );
    }
}
