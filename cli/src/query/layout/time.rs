//! The date in the folders of keys, such as `2026/02/18/00` or `2026/month=02/day=18`. It is the value of the time column of a
//! partitioned table.
//!
//! Athena computes the values from a pattern of Java's `DateTimeFormatter`, in UTC, and compares them as text
//! (<https://docs.aws.amazon.com/athena/latest/ug/partition-projection-supported-types.html>). So the fields of a date must be
//! in the order year, month, day, hour.

use flowherd_shared::timestamp::{IsoFormatter, MAX_MS};
use jiff::{
    ToSpan,
    civil::{Date, DateTime},
    tz::TimeZone,
};

/// The format of a date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeFormat {
    pieces: Vec<Piece>,
}

/// A piece of a date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Field(Field),
    Text(String),
}

/// A field of a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Year,
    Month,
    Day,
    Hour,
}

/// The length of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A month.
    Month,
    /// A day.
    Day,
    /// An hour.
    Hour,
}

impl Unit {
    /// Returns the name of the time column.
    #[must_use]
    pub fn column(self) -> &'static str {
        match self {
            Self::Month => "month",
            Self::Day => "day",
            Self::Hour => "datehour",
        }
    }

    /// Returns Athena's name of the unit.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Month => "MONTHS",
            Self::Day => "DAYS",
            Self::Hour => "HOURS",
        }
    }
}

impl Field {
    pub(super) const ALL: [Self; 4] = [Self::Year, Self::Month, Self::Day, Self::Hour];

    /// Returns the letters of a Java pattern. Their number is the number of digits.
    pub(super) fn letters(self) -> &'static str {
        match self {
            Self::Year => "yyyy",
            Self::Month => "MM",
            Self::Day => "dd",
            Self::Hour => "HH",
        }
    }

    fn regex(self) -> &'static str {
        match self {
            Self::Year => "[0-9]{4}",
            Self::Month => "(?:0[1-9]|1[0-2])",
            Self::Day => "(?:0[1-9]|[12][0-9]|3[01])",
            Self::Hour => "(?:[01][0-9]|2[0-3])",
        }
    }

    /// Returns the letters of Trino's `date_format`.
    fn sql(self) -> &'static str {
        match self {
            Self::Year => "%Y",
            Self::Month => "%m",
            Self::Day => "%d",
            Self::Hour => "%H",
        }
    }

    /// Returns its position in `2026-02-18T00:00:00.000Z`.
    fn position(self) -> std::ops::Range<usize> {
        match self {
            Self::Year => 0..4,
            Self::Month => 5..7,
            Self::Day => 8..10,
            Self::Hour => 11..13,
        }
    }
}

/// Splits `yyyy/MM/dd` into fields and the text between them. Returns `None` if it has other letters.
pub(super) fn pieces(text: &str) -> Option<Vec<Piece>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        if let Some(field) = Field::ALL.into_iter().find(|field| rest.starts_with(field.letters())) {
            pieces.push(Piece::Field(field));
            rest = &rest[field.letters().len()..];
        } else if character.is_ascii_alphabetic() {
            return None;
        } else {
            push_text(&mut pieces, character.encode_utf8(&mut [0; 4]));
            rest = &rest[character.len_utf8()..];
        }
    }
    Some(pieces)
}

/// Appends text to the last piece, or as a piece of its own.
pub(super) fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        Some(Piece::Text(last)) => last.push_str(text),
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}

impl TimeFormat {
    /// Creates the format. The error names the fields that are missing or in the wrong order.
    pub(super) fn new(pieces: Vec<Piece>) -> Result<Self, &'static str> {
        let fields = pieces.iter().filter_map(|piece| match piece {
            Piece::Field(field) => Some(*field),
            Piece::Text(_) => None,
        });
        let fields: Vec<Field> = fields.collect();
        if fields.is_empty() {
            return Err(
                "it has no date; write the date as {yyyy/MM/dd/HH}, or as {yyyy}, {MM}, {dd} and {HH}",
            );
        }
        if fields.len() < 2 || fields[..] != Field::ALL[..fields.len().min(Field::ALL.len())] {
            return Err(
                "the date must have year and month, then day and hour if the keys have them, in this order and once, \
                        because Athena compares dates as text",
            );
        }
        Ok(Self { pieces })
    }

    /// Reads a pattern that [`Self::pattern`] wrote.
    #[must_use]
    pub fn from_pattern(pattern: &str) -> Option<Self> {
        let mut all = Vec::new();
        // Quotes separate patterns from literal text.
        for (number, part) in pattern.split('\'').enumerate() {
            if number % 2 == 1 {
                push_text(&mut all, part);
            } else {
                for piece in pieces(part)? {
                    match piece {
                        Piece::Text(text) => push_text(&mut all, &text),
                        field @ Piece::Field(_) => all.push(field),
                    }
                }
            }
        }
        Self::new(all).ok()
    }

    /// Returns the pattern for Java's `DateTimeFormatter`, which reserves letters and some signs outside of quotes
    /// (<https://docs.oracle.com/javase/8/docs/api/java/time/format/DateTimeFormatter.html>).
    #[must_use]
    pub fn pattern(&self) -> String {
        self.render(Field::letters, |text| {
            let is_plain = text.bytes().all(|byte| b"/-_.:".contains(&byte));
            if is_plain { text.to_owned() } else { format!("'{text}'") }
        })
    }

    /// Returns the regular expression of the values.
    #[must_use]
    pub fn regex(&self) -> String {
        self.render(Field::regex, regex::escape)
    }

    /// Returns the format for `date_format` of Trino
    /// (<https://trino.io/docs/current/functions/datetime.html#mysql-date-functions>).
    #[must_use]
    pub fn sql(&self) -> String {
        self.render(Field::sql, |text| text.replace('%', "%%"))
    }

    /// Returns the value of the partition that contains a second since 1970.
    #[must_use]
    pub fn value(&self, second: i64) -> String {
        let ms = second.saturating_mul(1000).clamp(0, MAX_MS);
        let iso: String = IsoFormatter::default().format(ms).iter().copied().map(char::from).collect();
        self.render(|field| &iso[field.position()], str::to_owned)
    }

    /// Returns the value of the partition that contains a time, UTC.
    #[must_use]
    pub fn value_at(&self, time: DateTime) -> String {
        self.value(second(time))
    }

    fn render<'a>(&self, field: impl Fn(Field) -> &'a str, text: impl Fn(&str) -> String) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Field(of) => field(*of).to_owned(),
            Piece::Text(of) => text(of),
        };
        self.pieces.iter().map(piece).collect()
    }

    /// Returns the first second of a value, or of the beginning of a value that has year and month at least.
    #[must_use]
    pub fn first_second(&self, value: &str) -> Option<i64> {
        Some(second(self.parse(value)?))
    }

    /// Returns the second after the partition that contains a second.
    #[must_use]
    pub fn end_of(&self, second: i64) -> i64 {
        let span = match self.unit() {
            Unit::Month => 1.month(),
            Unit::Day => 1.day(),
            Unit::Hour => 1.hour(),
        };
        let end = self.parse(&self.value(second)).and_then(|first| first.checked_add(span).ok());
        end.map_or(second, self::second)
    }

    fn parse(&self, value: &str) -> Option<DateTime> {
        // The first month, day and hour where the value ends before them.
        let mut numbers = [0, 0, 1, 0];
        let mut rest = value;
        for piece in &self.pieces {
            if rest.is_empty() {
                break;
            }
            match piece {
                Piece::Field(field) => {
                    let (digits, after) = rest.split_at_checked(field.letters().len())?;
                    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
                    numbers[*field as usize] = digits.parse().ok().filter(|_| is_number)?;
                    rest = after;
                }
                Piece::Text(text) if text.starts_with(rest) => rest = "",
                Piece::Text(text) => rest = rest.strip_prefix(&**text)?,
            }
        }
        let [year, month, day, hour] = numbers;
        let date = Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
        DateTime::new(date.year(), date.month(), date.day(), i8::try_from(hour).ok()?, 0, 0, 0)
            .ok()
            .filter(|_| rest.is_empty())
    }

    /// Returns the length of a partition.
    #[must_use]
    pub fn unit(&self) -> Unit {
        let has = |field| self.pieces.contains(&Piece::Field(field));
        if has(Field::Hour) {
            Unit::Hour
        } else if has(Field::Day) {
            Unit::Day
        } else {
            Unit::Month
        }
    }
}

fn second(time: DateTime) -> i64 {
    time.to_zoned(TimeZone::UTC).map_or(0, |time| time.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: &str = "yyyy/MM/dd/HH";
    const HIVE: &str = "yyyy'/month='MM'/day='dd'/hour='HH";
    const SECOND: i64 = 1_771_372_800 + 13 * 3600 + 59; // 2026-02-18T13:00:59Z

    fn format(pattern: &str) -> TimeFormat {
        TimeFormat::from_pattern(pattern).unwrap()
    }

    #[test]
    fn a_pattern_is_read_as_it_was_written() {
        for pattern in [HOUR, HIVE, "yyyy-MM-dd", "yyyyMMdd", "yyyy/MM", "yyyy'%x'MM"] {
            assert_eq!(format(pattern).pattern(), pattern);
        }
        for pattern in ["", "yyyy", "MM/yyyy", "yyyy/MM/HH", "yyyy/MM/dd/dd", "yy/MM/dd", "yyyy/MM/dd/HH/mm"]
        {
            assert_eq!(TimeFormat::from_pattern(pattern), None, "{pattern}");
        }
    }

    #[test]
    fn a_time_has_the_value_of_its_partition() {
        let values = [
            (HOUR, "2026/02/18/13"),
            (HIVE, "2026/month=02/day=18/hour=13"),
            ("yyyyMMdd", "20260218"),
            ("yyyy/MM", "2026/02"),
        ];
        for (pattern, value) in values {
            assert_eq!(format(pattern).value(SECOND), value);
            let regex = regex::Regex::new(&format!("^{}$", format(pattern).regex())).unwrap();
            assert!(regex.is_match(value) && !regex.is_match(&value.replace("02", "13")), "{pattern}");
        }
        assert_eq!(format("yyyy'%x'MM").sql(), "%Y%%x%m");
    }

    #[test]
    fn a_value_or_its_beginning_has_a_first_second() {
        let day = 1_771_372_800;
        for (pattern, value, first) in [
            (HOUR, "2026/02/18/13", Some(day + 13 * 3600)),
            (HOUR, "2026/02/18", Some(day)),
            (HOUR, "2026/02/18/", Some(day)),
            (HIVE, "2026/month=02/day=18", Some(day)),
            (HIVE, "2026/month=02/da", Some(day - 17 * 86_400)),
            (HOUR, "2026", None),
            (HOUR, "2026/02/30", None),
            (HOUR, "2026/02/18/24", None),
            (HOUR, "2026/02/+8", None),
            ("yyyy/MM/dd", "2026/02/18/00", None),
            (HOUR, "2026-02-18", None),
            (HOUR, "é", None),
            (HOUR, "", None),
        ] {
            assert_eq!(format(pattern).first_second(value), first, "{value}");
        }
    }

    #[test]
    fn a_partition_ends_where_the_next_one_begins() {
        for (pattern, end) in
            [(HOUR, 14 * 3600), (HIVE, 14 * 3600), ("yyyyMMdd", 86_400), ("yyyy/MM", 11 * 86_400)]
        {
            assert_eq!(format(pattern).end_of(SECOND), 1_771_372_800 + end, "{pattern}");
        }
    }
}
