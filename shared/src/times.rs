//! Counts by hour, day, month or year: rows by the time of the record, and objects by the time in their key.

use std::collections::BTreeMap;

use jiff::{Span, civil::Date};
use serde::{Deserialize, Serialize};

use crate::limits::MAX_RECEIPT_PERIODS;

const MS_OF_HOUR: i64 = 3_600_000;
const EPOCH: Date = Date::constant(1970, 1, 1);
/// 2006, in years since 1970: S3 began in it (<https://aws.amazon.com/about-aws/whats-new/2006/03/13/announcing-amazon-s3---simple-storage-service/>).
const FIRST_YEAR: i64 = 36;
/// The name of what has no time, as in CSV.
const NO_TIME: &str = "-";

/// The length of a period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeriodUnit {
    /// An hour, `2026-02-18T10`.
    #[default]
    Hour,
    /// A day, `2026-02-18`.
    Day,
    /// A month, `2026-02`.
    Month,
    /// A year, `2026`.
    Year,
}

/// One hour, day, month or year in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period {
    /// Its length.
    pub unit: PeriodUnit,
    /// Number of periods of this length since 1970.
    pub number: i64,
}

/// Counts by period. All periods have the same length, and there is a maximum number of them: above it, hours become days,
/// days become months, and months become years. JSON is one object, such as `{"2026-02-18T10":7,"-":1}`.
///
/// The result of adding counts does not depend on the order, because only the number of different periods decides the length.
/// Of too many years, a fixed order decides which have counts of their own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "BTreeMap<String, u64>", try_from = "BTreeMap<String, u64>")]
pub struct TimeCounts {
    unit: PeriodUnit,
    /// By number of the period.
    counts: BTreeMap<i64, u64>,
    /// What has no time, or is in a year beyond the maximum number of years: see [`rank`].
    without: u64,
}

/// Counts rows by hour at the cost of a comparison, because consecutive records mostly have the same hour.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HourCounter {
    /// The hour of the last row, in hours since 1970.
    hour: i64,
    /// Rows of that hour that are not in the counts yet.
    rows: u64,
}

impl HourCounter {
    /// Adds a row. Its timestamp is in milliseconds since 1970.
    #[inline]
    pub(crate) fn add(&mut self, timestamp: Option<i64>, counts: &mut TimeCounts) {
        match timestamp {
            Some(ms) if (0..MS_OF_HOUR).contains(&ms.wrapping_sub(self.hour * MS_OF_HOUR)) => self.rows += 1,
            Some(ms) => self.begin(ms, counts),
            None => counts.add_without(1),
        }
    }

    #[cold]
    fn begin(&mut self, ms: i64, counts: &mut TimeCounts) {
        self.flush(counts);
        *self = Self { hour: Period::hour_of(ms).number, rows: 1 };
    }

    /// Moves the rows of the last hour to the counts.
    pub(crate) fn flush(&mut self, counts: &mut TimeCounts) {
        let rows = std::mem::take(&mut self.rows);
        if rows > 0 {
            let period = Period { unit: PeriodUnit::Hour, number: self.hour };
            counts.add_period(period, rows, MAX_RECEIPT_PERIODS);
        }
    }
}

impl PeriodUnit {
    fn longer(self) -> Option<Self> {
        match self {
            Self::Hour => Some(Self::Day),
            Self::Day => Some(Self::Month),
            Self::Month => Some(Self::Year),
            Self::Year => None,
        }
    }

    /// Returns the unit's name, such as `hour`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
            Self::Year => "year",
        }
    }
}

impl Period {
    /// Returns the hour of a time in milliseconds since 1970.
    #[must_use]
    pub fn hour_of(ms: i64) -> Self {
        Self { unit: PeriodUnit::Hour, number: ms.div_euclid(MS_OF_HOUR) }
    }

    /// Returns the period of an hour, or of a day without an hour; `None` if there is no such date.
    #[must_use]
    pub fn of_date(year: i16, month: i8, day: i8, hour: Option<i8>) -> Option<Self> {
        let days = days(Date::new(year, month, day).ok()?);
        match hour {
            Some(hour @ 0..24) => Some(Self { unit: PeriodUnit::Hour, number: days * 24 + i64::from(hour) }),
            Some(_) => None,
            None => Some(Self { unit: PeriodUnit::Day, number: days }),
        }
    }

    /// Reads the text form.
    fn parse(text: &str) -> Option<Self> {
        let (date, hour) = match text.split_once('T') {
            Some((date, hour)) => (date, Some(hour)),
            None => (text, None),
        };
        let mut parts = date.split('-');
        let year: i16 = digits(parts.next()?, 4)?;
        let month = parts.next().map(|month| digits::<i8>(month, 2));
        let day = parts.next().map(|day| digits::<i8>(day, 2));
        let hour = hour.map(|hour| digits::<i8>(hour, 2));
        let period = match (month, day, hour, parts.next()) {
            (Some(month), Some(day), hour, None) => {
                let hour = if let Some(hour) = hour { Some(hour?) } else { None };
                return Self::of_date(year, month?, day?, hour);
            }
            (Some(Some(month @ 1..=12)), None, None, None) => {
                Self { unit: PeriodUnit::Month, number: (i64::from(year) - 1970) * 12 + i64::from(month) - 1 }
            }
            (None, None, None, None) => Self { unit: PeriodUnit::Year, number: i64::from(year) - 1970 },
            _ => return None,
        };
        Some(period)
    }

    /// Returns the text form: ISO-8601, as far as the unit goes.
    #[must_use]
    pub fn text(self) -> String {
        let Self { unit, number } = self;
        match unit {
            PeriodUnit::Hour => {
                let day = Self { unit: PeriodUnit::Day, number: number.div_euclid(24) };
                format!("{}T{:02}", day.text(), number.rem_euclid(24))
            }
            PeriodUnit::Day => match date(number) {
                Some(date) => date.to_string(),
                None => NO_TIME.to_owned(),
            },
            PeriodUnit::Month => {
                format!("{:04}-{:02}", 1970 + number.div_euclid(12), 1 + number.rem_euclid(12))
            }
            PeriodUnit::Year => format!("{:04}", 1970 + number),
        }
    }

    /// Returns the next longer period that contains this one.
    fn longer(self) -> Option<Self> {
        let Self { unit, number } = self;
        let number = match unit {
            PeriodUnit::Hour => number.div_euclid(24),
            PeriodUnit::Day => {
                let date = date(number)?;
                (i64::from(date.year()) - 1970) * 12 + i64::from(date.month()) - 1
            }
            PeriodUnit::Month => number.div_euclid(12),
            PeriodUnit::Year => return None,
        };
        Some(Self { unit: unit.longer()?, number })
    }
}

impl TimeCounts {
    /// Adds what is in this period.
    pub fn add_period(&mut self, mut period: Period, count: u64, max_periods: usize) {
        while period.unit < self.unit {
            let Some(longer) = period.longer() else { return self.add_without(count) };
            period = longer;
        }
        self.lengthen(period.unit);
        let sum = self.counts.entry(period.number).or_default();
        *sum = sum.saturating_add(count);
        self.limit(max_periods);
    }

    /// Adds what has no time.
    pub fn add_without(&mut self, count: u64) {
        self.without = self.without.saturating_add(count);
    }

    /// Adds other counts.
    pub fn add(&mut self, other: &Self, max_periods: usize) {
        self.add_without(other.without);
        for (period, count) in other.periods() {
            self.add_period(period, count, max_periods);
        }
    }

    /// Makes the periods at least this long.
    pub fn lengthen(&mut self, unit: PeriodUnit) {
        while self.unit < unit {
            let Some(longer) = self.unit.longer() else { return };
            for (number, count) in std::mem::take(&mut self.counts) {
                match (Period { unit: self.unit, number }).longer() {
                    Some(period) => {
                        let sum = self.counts.entry(period.number).or_default();
                        *sum = sum.saturating_add(count);
                    }
                    None => self.add_without(count),
                }
            }
            self.unit = longer;
        }
    }

    fn limit(&mut self, max_periods: usize) {
        while self.counts.len() > max_periods {
            if let Some(unit) = self.unit.longer() {
                self.lengthen(unit);
                continue;
            }
            let last = self.counts.keys().copied().max_by_key(|year| rank(*year));
            let Some(count) = last.and_then(|year| self.counts.remove(&year)) else { return };
            self.add_without(count);
        }
    }

    /// Returns the length of the periods.
    #[must_use]
    pub fn unit(&self) -> PeriodUnit {
        self.unit
    }

    /// Returns the periods with their counts, in order.
    pub fn periods(&self) -> impl Iterator<Item = (Period, u64)> {
        self.counts.iter().map(|(number, count)| (Period { unit: self.unit, number: *number }, *count))
    }

    /// Returns the count of one period of this length.
    #[must_use]
    pub fn count(&self, period: Period) -> u64 {
        if period.unit == self.unit { self.counts.get(&period.number).copied().unwrap_or(0) } else { 0 }
    }

    /// Returns the count of what has no time.
    #[must_use]
    pub fn without(&self) -> u64 {
        self.without
    }

    /// Returns the number of periods.
    #[must_use]
    pub fn number_of_periods(&self) -> usize {
        self.counts.len()
    }

    /// Returns whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.without == 0
    }

    /// Returns the sum of all counts; `None` on overflow.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        self.counts.values().try_fold(self.without, |sum, count| sum.checked_add(*count))
    }
}

impl From<TimeCounts> for BTreeMap<String, u64> {
    fn from(counts: TimeCounts) -> Self {
        let without = (counts.without > 0).then(|| (NO_TIME.to_owned(), counts.without));
        counts.periods().map(|(period, count)| (period.text(), count)).chain(without).collect()
    }
}

impl TryFrom<BTreeMap<String, u64>> for TimeCounts {
    type Error = String;

    fn try_from(map: BTreeMap<String, u64>) -> Result<Self, String> {
        let mut counts = Self::default();
        let mut is_first = true;
        for (text, count) in map {
            if text == NO_TIME {
                counts.add_without(count);
                continue;
            }
            let Some(period) = Period::parse(&text) else {
                return Err(format!("{text:?} is not an hour, day, month or year, such as 2026-02-18T10"));
            };
            if std::mem::take(&mut is_first) {
                counts.unit = period.unit;
            }
            if period.unit != counts.unit {
                return Err(format!("{text:?} is not a {}, as the periods before it", counts.unit.name()));
            }
            counts.counts.insert(period.number, count);
        }
        Ok(counts)
    }
}

/// Parses a number of exactly this many digits.
fn digits<N: std::str::FromStr>(text: &str, length: usize) -> Option<N> {
    let is_number = text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

/// Orders years by which of too many are kept: from the first year of S3 upwards, then those before it downwards. A fixed order
/// makes the result independent of the order of additions, and wrong timestamps do not displace this decade.
fn rank(year: i64) -> (bool, i64) {
    if year >= FIRST_YEAR { (false, year) } else { (true, -year) }
}

fn date(days: i64) -> Option<Date> {
    EPOCH.checked_add(Span::new().try_days(days).ok()?).ok()
}

fn days(date: Date) -> i64 {
    date.duration_since(EPOCH).as_hours() / 24
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::timestamp::MAX_MS;

    fn counts(times: &[i64], max: usize) -> TimeCounts {
        let mut counts = TimeCounts::default();
        times.iter().for_each(|ms| counts.add_period(Period::hour_of(*ms), 1, max));
        counts
    }

    #[test]
    fn too_many_hours_become_days_months_and_years() {
        let hours: Vec<i64> = (0..49).map(|hour| hour * MS_OF_HOUR).collect();
        let json = |counts: &TimeCounts| serde_json::to_value(counts).unwrap();
        assert_eq!(counts(&hours[..48], 48).number_of_periods(), 48);
        assert_eq!(
            json(&counts(&hours, 48)),
            serde_json::json!({"1970-01-01": 24, "1970-01-02": 24, "1970-01-03": 1})
        );
        assert_eq!(json(&counts(&hours, 2)), serde_json::json!({"1970-01": 49}));
        let years: Vec<i64> = [3, 1, 2, 0].map(|year| year * 366 * 24 * MS_OF_HOUR).to_vec();
        assert_eq!(json(&counts(&years, 2)), serde_json::json!({"1972": 1, "1973": 1, "-": 2}));
    }

    #[test]
    fn wrong_timestamps_do_not_displace_the_rows_of_this_decade() {
        let year = |year: i64| Period { unit: PeriodUnit::Year, number: year - 1970 };
        let mut counts = TimeCounts::default();
        for wrong in (1970..2020).chain(2100..2200) {
            counts.add_period(year(wrong), 1, MAX_RECEIPT_PERIODS);
        }
        counts.add_period(year(2026), 1000, MAX_RECEIPT_PERIODS);
        assert_eq!((counts.count(year(2026)), counts.number_of_periods()), (1000, MAX_RECEIPT_PERIODS));
        assert_eq!((counts.count(year(1970)), counts.count(year(2199))), (0, 0));
        assert_eq!(counts.total(), Some(1150));
    }

    #[test]
    fn a_file_with_other_keys_is_an_error() {
        for text in
            ["x", "", "2026-13", "2026-02-30", "2026-02-18T24", "26", "2026T10", "2026-02-18T10:00", "+026"]
        {
            let error = serde_json::from_value::<TimeCounts>(serde_json::json!({ text: 1 })).unwrap_err();
            assert!(error.to_string().contains("is not an hour, day, month or year"), "{text}: {error}");
        }
        let mixed = serde_json::from_str::<TimeCounts>(r#"{"2026-02":1,"2026-02-18":1}"#).unwrap_err();
        assert!(mixed.to_string().contains("is not a month, as the periods before it"), "{mixed}");
    }

    proptest! {
        #[test]
        fn counts_do_not_depend_on_the_order_or_grouping(
            times in proptest::collection::vec(prop_oneof![0..=MAX_MS, 0..400 * MS_OF_HOUR], 0..40),
            max in 1_usize..12,
            cut in any::<prop::sample::Index>(),
        ) {
            let whole = counts(&times, max);
            let cut = cut.index(times.len() + 1);
            let mut parts = counts(&times[cut..], max);
            parts.add(&counts(&times[..cut], max), max);
            prop_assert_eq!(&parts, &whole);
            prop_assert!(whole.number_of_periods() <= max);
            prop_assert_eq!(whole.total(), Some(times.len() as u64));
            let json = serde_json::to_string(&whole).unwrap();
            let read: TimeCounts = serde_json::from_str(&json).unwrap();
            // Without a period, the length of periods does not matter.
            prop_assert_eq!(BTreeMap::from(read), BTreeMap::from(whole));
        }
    }
}
