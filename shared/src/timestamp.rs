//! Milliseconds since 1970 as ISO-8601 UTC text.
//!
//! Every row has a timestamp, so the date is computed only when it changes. `jiff::Timestamp` ends a day before the year 10000,
//! because it must allow any offset, so only the date comes from jiff.

use jiff::{Span, civil::Date};

/// The last millisecond that a four-digit year can hold: `9999-12-31T23:59:59.999Z`.
pub const MAX_MS: i64 = 253_402_300_799_999;

/// Length of `2020-02-01T00:00:00.000Z`.
const LEN: usize = 24;

const MS_OF_DAY: i64 = 86_400_000;
const EPOCH: Date = Date::constant(1970, 1, 1);

/// Formats timestamps. Keeps the date, because most records of one object have the same one.
#[derive(Debug)]
pub struct IsoFormatter {
    day: i64,
    text: [u8; LEN],
}

impl Default for IsoFormatter {
    fn default() -> Self {
        Self { day: 0, text: *b"1970-01-01T00:00:00.000Z" }
    }
}

impl IsoFormatter {
    /// Returns the text of `ms` milliseconds since 1970. Callers check `0 <= ms <= MAX_MS`.
    pub fn format(&mut self, ms: i64) -> &[u8; LEN] {
        debug_assert!((0..=MAX_MS).contains(&ms));
        let (day, in_day) = (ms.div_euclid(MS_OF_DAY), ms.rem_euclid(MS_OF_DAY) as u32);
        if day != self.day {
            self.set_day(day);
        }
        let (seconds, milli) = (in_day / 1000, in_day % 1000);
        put(&mut self.text, 11, seconds / 3600);
        put(&mut self.text, 14, seconds / 60 % 60);
        put(&mut self.text, 17, seconds % 60);
        put(&mut self.text, 20, milli / 10);
        self.text[22] = b'0' + (milli % 10) as u8;
        &self.text
    }

    fn set_day(&mut self, day: i64) {
        self.day = day;
        #[expect(clippy::expect_used, reason = "callers check the range, which ends with jiff's last date")]
        let date =
            EPOCH.checked_add(Span::new().days(day)).expect("the day is within the years 1970 to 9999");
        let year = u32::from(date.year().unsigned_abs());
        put(&mut self.text, 0, year / 100);
        put(&mut self.text, 2, year % 100);
        put(&mut self.text, 5, u32::from(date.month().unsigned_abs()));
        put(&mut self.text, 8, u32::from(date.day().unsigned_abs()));
    }
}

/// Formats a single timestamp. Returns `None` outside `0..=MAX_MS`.
#[must_use]
pub fn iso(ms: i64) -> Option<String> {
    (0..=MAX_MS)
        .contains(&ms)
        .then(|| String::from_utf8_lossy(IsoFormatter::default().format(ms)).into_owned())
}

/// Writes two digits.
fn put(text: &mut [u8; LEN], at: usize, value: u32) {
    text[at] = b'0' + (value / 10) as u8;
    text[at + 1] = b'0' + (value % 10) as u8;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_limits_of_the_range_have_four_digit_years() {
        assert_eq!(iso(0).unwrap(), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso(MAX_MS).unwrap(), "9999-12-31T23:59:59.999Z");
        assert_eq!(iso(-1), None);
        assert_eq!(iso(MAX_MS + 1), None);
    }

    proptest! {
        #[test]
        fn any_sequence_of_timestamps_equals_the_output_of_jiff(
            times in proptest::collection::vec(0..=MAX_MS, 1..20),
        ) {
            let mut formatter = IsoFormatter::default();
            for ms in times {
                // `jiff::Timestamp` ends a day before the year 10000, so that any offset can be added.
                let time = jiff::civil::DateTime::constant(1970, 1, 1, 0, 0, 0, 0) + jiff::SignedDuration::from_millis(ms);
                let expected = time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
                prop_assert_eq!(std::str::from_utf8(formatter.format(ms)).unwrap(), expected);
            }
        }
    }
}
