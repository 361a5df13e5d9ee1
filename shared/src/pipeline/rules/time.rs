//! The time of a record outside envelopes, as a rule's `timestamp` describes it.

use jiff::{
    Timestamp,
    civil::DateTime,
    fmt::strtime::{self, BrokenDownTime},
    tz::TimeZone,
};
use serde::{Deserialize, Serialize};

use super::{Cell, RowText};
use crate::{text::quoted, timestamp::MAX_MS};

/// Maximum bytes of a time. Longer text is not a time.
const MAX_TIME_BYTES: usize = 128;
/// Digits of the latest time in milliseconds.
const MAX_MS_DIGITS: usize = MAX_MS.ilog10() as usize + 1;
/// A time whose parts all differ, to check formats.
/// In the afternoon, so that a format with the hour of a half day needs the half.
const EXAMPLE: DateTime = DateTime::constant(2026, 2, 18, 15, 4, 5, 0);

/// The location and the format of a record's time.
#[derive(Debug)]
pub struct TimeSource {
    /// Whether the cells are those of the outer record, which `unwrap` reads, or those of the format.
    pub is_outer: bool,
    /// The cells, joined by one space.
    pub cells: Vec<usize>,
    /// The format.
    pub form: TimeForm,
}

/// The format of a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimeForm {
    /// A number of this unit since 1970, or ISO-8601.
    Unit(TimeUnit),
    /// A `strftime` format.
    Format(String),
}

/// The unit of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeUnit {
    /// Seconds since 1970, which may have a fraction.
    S,
    /// Milliseconds since 1970.
    Ms,
    /// Microseconds since 1970.
    Us,
    /// Nanoseconds since 1970.
    Ns,
    /// RFC 3339, in UTC if there is no offset.
    Iso,
}

impl TimeForm {
    /// Checks a format: its directives exist, and they give a date and a time. The error has a correct example.
    pub fn of_format(format: &str) -> Result<Self, String> {
        let example = "an example: \"%Y-%m-%d %H:%M:%S\"";
        let zoned = EXAMPLE.to_zoned(TimeZone::UTC).map_err(|error| error.to_string())?;
        let text = BrokenDownTime::from(&zoned)
            .to_string(format)
            .map_err(|error| format!("timestamp.format = {}: {error}; {example}", quoted(format)))?;
        if format.contains("%Q") || format.contains("%:Q") || format.contains("%Z") {
            return Err(format!(
                "timestamp.format = {}: a name of a time zone is not read; use an offset (%z), or UTC; {example}",
                quoted(format)
            ));
        }
        let form = Self::Format(format.to_owned());
        match form.parse(text.as_bytes()) {
            Some(ms) if ms == zoned.timestamp().as_millisecond() => Ok(form),
            _ => {
                Err(format!("timestamp.format = {}: does not give date and time; {example}", quoted(format)))
            }
        }
    }

    /// Returns milliseconds since 1970, within `0..=MAX_MS`.
    fn parse(&self, text: &[u8]) -> Option<i64> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= MAX_TIME_BYTES)?;
        let ms = match self {
            Self::Unit(TimeUnit::S) => seconds(text)?,
            Self::Unit(TimeUnit::Ms) => integer(text)?,
            Self::Unit(TimeUnit::Us) => integer(text)? / 1000,
            Self::Unit(TimeUnit::Ns) => integer(text)? / 1_000_000,
            Self::Unit(TimeUnit::Iso) => iso(text)?,
            Self::Format(format) => {
                let time = strtime::parse(format, text).ok()?;
                match time.to_timestamp() {
                    Ok(time) => time.as_millisecond(),
                    // Without an offset.
                    Err(_) => time.to_datetime().ok().and_then(utc)?,
                }
            }
        };
        (0..=MAX_MS).contains(&ms).then_some(ms)
    }
}

impl TimeSource {
    /// Returns the time of a record in milliseconds since 1970; `None` if it is absent or invalid.
    pub(super) fn time(&self, text: RowText<'_>, cells: &[Cell]) -> Option<i64> {
        let part = |at: &usize| cells[*at].map(|cell| text.value(cell));
        if let [only] = &self.cells[..] {
            return self.form.parse(&part(only)?);
        }
        let parts = self.cells.iter().map(part).collect::<Option<Vec<_>>>()?;
        if parts.iter().map(|part| part.len()).sum::<usize>() > MAX_TIME_BYTES {
            return None;
        }
        self.form.parse(&parts.join(&b' '))
    }
}

/// Parses an ISO-8601 time at the start of a line, and returns it with the text after the space.
pub(super) fn export_line(line: &[u8]) -> Option<(i64, usize)> {
    let end = memchr::memchr(b' ', &line[..line.len().min(MAX_TIME_BYTES)])?;
    Some((TimeForm::Unit(TimeUnit::Iso).parse(&line[..end])?, end + 1))
}

fn integer(text: &str) -> Option<i64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

/// Seconds with an optional fraction and exponent, as JSON writes numbers. Truncated to milliseconds.
fn seconds(text: &str) -> Option<i64> {
    let (number, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let digits = [whole, fraction].concat();
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    // Digits of the whole milliseconds.
    let leading_zeros = digits.len() - significant.len();
    let digits_of_ms = i64::try_from(whole.len()).ok()? + exponent + 3 - i64::try_from(leading_zeros).ok()?;
    match usize::try_from(digits_of_ms) {
        Err(_) => Some(0),
        Ok(count) if count > MAX_MS_DIGITS => None,
        Ok(count) => {
            let kept = &significant[..significant.len().min(count)];
            if count == 0 { Some(0) } else { format!("{kept:0<count$}").parse().ok() }
        }
    }
}

/// Returns the exponent of a number. A greater one than the bound has no effect, because no record has as many digits.
fn exponent(text: &str) -> Option<i64> {
    const BOUND: i64 = 1 << 40;
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(sign * digits.parse().map_or(BOUND, |exponent: i64| exponent.min(BOUND)))
}

fn iso(text: &str) -> Option<i64> {
    // A date alone is not a time: the parser would add midnight.
    // The name of a time zone in brackets is no part of RFC 3339, and would be ignored.
    if text.len() < "2026-02-18T00:00:00".len() || text.contains('[') {
        return None;
    }
    match text.parse::<Timestamp>() {
        Ok(time) => Some(time.as_millisecond()),
        Err(_) => text.parse().ok().and_then(utc),
    }
}

fn utc(time: DateTime) -> Option<i64> {
    time.to_zoned(TimeZone::UTC).ok().map(|time| time.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn seconds_in_any_notation_are_the_right_time_or_none(
            whole in "[0-9]{1,22}",
            fraction in proptest::option::of("[0-9]{1,16}"),
            exponent in proptest::option::of((-60_i32..60, prop_oneof![Just("e"), Just("E"), Just("e+")])),
        ) {
            let mut text = whole.clone();
            if let Some(fraction) = &fraction {
                text += &format!(".{fraction}");
            }
            let mut power = 3 - i32::try_from(fraction.as_ref().map_or(0, String::len)).unwrap();
            if let Some((exponent, sign)) = exponent {
                text += if exponent < 0 { "e" } else { sign };
                text += &exponent.to_string();
                power += exponent;
            }
            // Milliseconds are digits * 10^power.
            let digits: u128 = format!("{whole}{}", fraction.unwrap_or_default()).parse().unwrap();
            let factor = 10_u128.checked_pow(power.unsigned_abs());
            let ms = match (power < 0, factor) {
                _ if digits == 0 => Some(0),
                (true, factor) => Some(factor.map_or(0, |factor| digits / factor)),
                (false, factor) => factor.and_then(|factor| digits.checked_mul(factor)),
            };
            let expected = ms.and_then(|ms| i64::try_from(ms).ok()).filter(|ms| *ms <= MAX_MS);
            prop_assert_eq!(TimeForm::Unit(TimeUnit::S).parse(text.as_bytes()), expected, "{}", text);
        }
    }

    #[test]
    fn every_form_gives_milliseconds() {
        let format = |format: &str| TimeForm::of_format(format).unwrap();
        for (form, text, expected) in [
            (TimeForm::Unit(TimeUnit::S), "1771372800", Some(1_771_372_800_000)),
            (TimeForm::Unit(TimeUnit::S), "1771372800.1239", Some(1_771_372_800_123)),
            (TimeForm::Unit(TimeUnit::S), "1771372800.5", Some(1_771_372_800_500)),
            (TimeForm::Unit(TimeUnit::S), "1.7713728e9", Some(1_771_372_800_000)),
            (TimeForm::Unit(TimeUnit::S), "17713728001239E-4", Some(1_771_372_800_123)),
            (TimeForm::Unit(TimeUnit::S), "1771372800.00199999999999999999999999", Some(1_771_372_800_001)),
            (TimeForm::Unit(TimeUnit::S), "1771372800e-99999999999999999999", Some(0)),
            (TimeForm::Unit(TimeUnit::S), "0e99999999999999999999", Some(0)),
            (TimeForm::Unit(TimeUnit::S), "1e99999999999999999999", None),
            (TimeForm::Unit(TimeUnit::S), "1.7e", None),
            (TimeForm::Unit(TimeUnit::S), "e9", None),
            (TimeForm::Unit(TimeUnit::S), "1e+-9", None),
            (TimeForm::Unit(TimeUnit::S), "1771372800.", None),
            (TimeForm::Unit(TimeUnit::S), "-1", None),
            (TimeForm::Unit(TimeUnit::Ms), "1771372800001", Some(1_771_372_800_001)),
            (TimeForm::Unit(TimeUnit::Ms), "1.77e12", None),
            (TimeForm::Unit(TimeUnit::Ms), "253402300800000", None),
            (TimeForm::Unit(TimeUnit::Us), "1771372800001999", Some(1_771_372_800_001)),
            (TimeForm::Unit(TimeUnit::Ns), "1771372800001999999", Some(1_771_372_800_001)),
            (TimeForm::Unit(TimeUnit::Iso), "2026-02-18T00:00:00Z", Some(1_771_372_800_000)),
            (TimeForm::Unit(TimeUnit::Iso), "2026-02-18T01:00:00.001+0100", Some(1_771_372_800_001)),
            (TimeForm::Unit(TimeUnit::Iso), "2026-02-18T00:00:00.123456", Some(1_771_372_800_123)),
            (TimeForm::Unit(TimeUnit::Iso), "2026-02-30T00:00:00Z", None),
            (TimeForm::Unit(TimeUnit::Iso), "2026-02-18T01:00:00[America/New_York]", None),
            (TimeForm::Unit(TimeUnit::Iso), "2026-02-18", None),
            (TimeForm::Unit(TimeUnit::Iso), "2026-02-18T00Z", None),
            (format("%d/%b/%Y:%H:%M:%S %z"), "18/Feb/2026:01:00:00 +0100", Some(1_771_372_800_000)),
            (format("%Y-%m-%d %H:%M:%S"), "2026-02-18 00:00:00", Some(1_771_372_800_000)),
            (format("%Y-%m-%d %H:%M:%S%.f"), "2026-02-18 00:00:00.25", Some(1_771_372_800_250)),
            (format("%Y-%m-%d %H:%M:%S"), "2026-02-18 00:00:00 x", None),
            (format("%Y-%m-%d %H:%M:%S"), "1960-02-18 00:00:00", None),
        ] {
            assert_eq!(form.parse(text.as_bytes()), expected, "{form:?} of {text}");
        }
    }

    #[test]
    fn a_format_without_date_or_with_unknown_directives_is_refused() {
        for format in ["%Y-%m-%d %I:%M:%S", "%Y-%m-%d %H:%M:%S %Q", "%H:%M:%S", "%Y-%m-%d %Q!", "%J", ""] {
            let error = TimeForm::of_format(format).unwrap_err();
            assert!(error.contains("an example"), "{error}");
        }
    }

    #[test]
    fn an_export_line_is_a_time_and_a_message() {
        assert_eq!(export_line(b"2026-02-18T00:00:00.000Z a b"), Some((1_771_372_800_000, 25)));
        assert_eq!(export_line(b"Permission Check Successful"), None);
        assert_eq!(export_line(b"2026-02-18T00:00:00.000Z"), None);
        // The second line of a message, which begins with a time of the application.
        assert_eq!(export_line(b"2026-02-18 00:00:00 INFO started"), None);
    }
}
