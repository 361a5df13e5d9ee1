//! Milliseconds since 1970 as ISO-8601 UTC text.
//!
//! Every row has a timestamp, so the date is computed only when it changes. A test compares the results with jiff.

/// The last millisecond that a four-digit year can hold: `9999-12-31T23:59:59.999Z`.
pub const MAX_MS: i64 = 253_402_300_799_999;

/// Length of `2020-02-01T00:00:00.000Z`.
const LEN: usize = 24;

const MS_OF_DAY: i64 = 86_400_000;

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
        let (year, month, day) = civil_from_days(day);
        put(&mut self.text, 0, year as u32 / 100);
        put(&mut self.text, 2, year as u32 % 100);
        put(&mut self.text, 5, month as u32);
        put(&mut self.text, 8, day as u32);
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

/// Converts days since 1970-01-01 to year, month and day of the proleptic Gregorian calendar. Years begin in March, so that
/// the leap day is the last day of its year, and form eras of 400 years with 146,097 days each
/// (<https://howardhinnant.github.io/date_algorithms.html#civil_from_days>).
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let since_march_0000 = days + 719_468;
    let era = since_march_0000.div_euclid(146_097);
    let day_of_era = since_march_0000.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
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
