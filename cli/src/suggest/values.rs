//! Which column types fit all values of a member or field.

use flowherd_shared::table::ColumnType;
use jiff::Timestamp;

/// Units of a number that is a time, each with the values from 2001 to 2096.
const UNITS: [(&str, f64, f64); 4] =
    [("s", 1e9, 4e9), ("ms", 1e12, 4e12), ("us", 1e15, 4e15), ("ns", 1e18, 4e18)];
/// Formats of a time in text, as a rule's `timestamp` names them. Each is certain by its shape: `9` is a digit, `a` a letter.
const TIME_SHAPES: [(&str, &str); 5] = [
    ("9999-99-99 99:99:99", "%Y-%m-%d %H:%M:%S"),
    ("9999-99-99T99:99:99", "%Y-%m-%dT%H:%M:%S"),
    ("9999-99-99 99:99:99.999", "%Y-%m-%d %H:%M:%S%.f"),
    ("99/aaa/9999:99:99:99 +9999", "%d/%b/%Y:%H:%M:%S %z"),
    ("9999/99/99 99:99:99", "%Y/%m/%d %H:%M:%S"),
];

/// Counts of values by type, and the range of numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Values {
    booleans: u64,
    integers: u64,
    doubles: u64,
    times: u64,
    /// Other strings, and numbers that no type holds.
    others: u64,
    min: f64,
    max: f64,
    /// The shape of all texts in [`TIME_SHAPES`], while it is the same.
    shape: Option<&'static str>,
    shaped: u64,
}

impl Values {
    pub(super) fn add_boolean(&mut self) {
        self.booleans += 1;
    }

    pub(super) fn add_integer(&mut self, value: i64) {
        self.extend_range(value as f64);
        self.integers += 1;
    }

    pub(super) fn add_double(&mut self, value: f64) {
        self.extend_range(value);
        self.doubles += 1;
    }

    /// Adds a value that only text can hold.
    pub(super) fn add_other(&mut self) {
        self.others += 1;
    }

    /// Adds a JSON string. Digits in it stay text: they may be ids.
    pub(super) fn add_string(&mut self, value: &str) {
        if is_iso_time(value) {
            self.times += 1;
        } else {
            self.add_shape(value);
            self.others += 1;
        }
    }

    /// Adds a value of a text format, where numbers have no quotes.
    pub(super) fn add_text(&mut self, value: &str) {
        if matches!(value, "true" | "false") {
            self.add_boolean();
        } else if let Some(number) = value.parse::<i64>().ok().filter(|number| number.to_string() == value) {
            self.add_integer(number);
        } else if let Some(number) = decimal(value) {
            self.add_double(number);
        } else {
            self.add_string(value);
        }
    }

    /// Returns the type that fits all values. Integers are `bigint`, because later values may exceed those of the sample.
    pub(super) fn column_type(&self) -> ColumnType {
        let Self { booleans, integers, doubles, times, others, .. } = *self;
        match (booleans > 0, integers > 0, doubles > 0, times > 0, others > 0) {
            (true, false, false, false, false) => ColumnType::Boolean,
            (false, true, false, false, false) => ColumnType::BigInt,
            (false, _, true, false, false) => ColumnType::Double,
            (false, false, false, true, false) => ColumnType::Timestamp,
            _ => ColumnType::String,
        }
    }

    /// Returns the unit of a rule's `timestamp`, if all values are times.
    pub(super) fn time_unit(&self) -> Option<&'static str> {
        match self.column_type() {
            ColumnType::Timestamp => Some("iso"),
            ColumnType::BigInt => self.numeric_unit(),
            // A fraction is accepted of seconds.
            ColumnType::Double => self.numeric_unit().filter(|unit| *unit == "s"),
            _ => None,
        }
    }

    /// Returns the `strftime` format of a rule's `timestamp`, if all values are texts of one format.
    pub(super) fn time_format(&self) -> Option<&'static str> {
        let is_only = self.shaped > 0 && self.shaped == self.count();
        self.shape.filter(|_| is_only)
    }

    /// Returns whether all values are numbers, booleans or times.
    pub(super) fn is_typed(&self) -> bool {
        self.column_type() != ColumnType::String || self.time_format().is_some()
    }

    fn count(&self) -> u64 {
        self.booleans + self.integers + self.doubles + self.times + self.others
    }

    fn numeric_unit(&self) -> Option<&'static str> {
        UNITS.iter().find(|(_, from, to)| self.min >= *from && self.max < *to).map(|(unit, ..)| *unit)
    }

    fn extend_range(&mut self, value: f64) {
        let is_first = self.integers + self.doubles == 0;
        self.min = if is_first { value } else { self.min.min(value) };
        self.max = if is_first { value } else { self.max.max(value) };
    }

    fn add_shape(&mut self, value: &str) {
        let Some(format) = time_shape(value) else { return };
        if self.shaped == 0 {
            self.shape = Some(format);
        }
        if self.shape == Some(format) {
            self.shaped += 1;
        }
    }
}

/// Returns whether the text is a time with an offset, which the type `timestamp` of the views also accepts.
pub(super) fn is_iso_time(value: &str) -> bool {
    let bytes = value.as_bytes();
    (20..=35).contains(&bytes.len())
        && bytes[4] == b'-'
        && bytes[10] == b'T'
        && (bytes.ends_with(b"Z") || matches!(bytes[bytes.len() - 6], b'+' | b'-'))
        && value.parse::<Timestamp>().is_ok()
}

/// Returns a decimal fraction such as `0.25`. Other spellings of numbers may be versions or words.
fn decimal(value: &str) -> Option<f64> {
    let digits = value.strip_prefix('-').unwrap_or(value);
    let (whole, fraction) = digits.split_once('.')?;
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if is_number(whole) && is_number(fraction) { value.parse().ok() } else { None }
}

fn time_shape(value: &str) -> Option<&'static str> {
    let fits = |shape: &str| {
        shape.len() == value.len()
            && shape.bytes().zip(value.bytes()).all(|(shape, byte)| match shape {
                b'9' => byte.is_ascii_digit(),
                b'a' => byte.is_ascii_alphabetic(),
                b'+' => matches!(byte, b'+' | b'-'),
                other => byte == other,
            })
    };
    TIME_SHAPES.iter().find(|(shape, _)| fits(shape)).map(|(_, format)| *format)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> Values {
        let mut values = Values::default();
        texts.iter().for_each(|text| values.add_text(text));
        values
    }

    #[test]
    fn a_text_has_a_type_only_if_no_digit_would_be_lost() {
        for (texts, kind) in [
            (&["1", "-2", "0"][..], ColumnType::BigInt),
            (&["1", "007"], ColumnType::String),
            (&["1", "2.50"], ColumnType::Double),
            (&["1.2.3"], ColumnType::String),
            (&["1e5", "inf"], ColumnType::String),
            (&["true", "false"], ColumnType::Boolean),
            (&["true", "1"], ColumnType::String),
            (&["2026-02-18T00:00:00Z", "2026-02-18T00:00:00.123456+01:00"], ColumnType::Timestamp),
            (&["2026-02-30T00:00:00Z"], ColumnType::String),
            (&["2026-02-18T00:00:00"], ColumnType::String),
            (&["99999999999999999999"], ColumnType::String),
            (&[""], ColumnType::String),
            (&[], ColumnType::String),
        ] {
            assert_eq!(of(texts).column_type(), kind, "{texts:?}");
        }
    }

    #[test]
    fn a_time_has_one_unit_or_format_in_all_values() {
        assert_eq!(of(&["1771372800", "1771372801"]).time_unit(), Some("s"));
        assert_eq!(of(&["1771372800", "1771372801000"]).time_unit(), None);
        assert_eq!(of(&["1771372800.5"]).time_unit(), Some("s"));
        assert_eq!(of(&["18/Feb/2026:00:00:00 +0000"]).time_format(), Some("%d/%b/%Y:%H:%M:%S %z"));
        assert_eq!(
            of(&["2026-02-18 00:00:00", "2026-02-18 00:00:01"]).time_format(),
            Some("%Y-%m-%d %H:%M:%S")
        );
        assert_eq!(of(&["2026-02-18 00:00:00", "-"]).time_format(), None);
    }
}
