//! The names of indices: the index of a row, and the pattern of all indices of a table.

use std::{fmt, ops::RangeInclusive};

/// The layout of names without a setting.
pub const DEFAULT_LAYOUT: &str = "flowherd-{table}-{yyyy.MM.dd}";

/// The first and the last year that have indices. Rows of other years have the index without a date, so that malformed or hostile
/// timestamps do not create indices without end. The window does not move with the clock: another attempt must find the documents of
/// the first in the same index.
const YEARS: RangeInclusive<u32> = 2000..=2099;

/// Replaces the date in the name for rows without a timestamp, or of a year outside of 2000 to 2099.
pub const UNDATED: &str = "undated";

const TABLE: &str = "{table}";

/// Maximum bytes of a name (<https://www.elastic.co/guide/en/elasticsearch/reference/7.10/indices-create-index.html>; OpenSearch
/// has the same limit).
const MAX_NAME_BYTES: usize = 255;

/// Maximum bytes of a layout. With a table's name of 128 bytes, and `.ds-` and the number of a data stream, names fit into 255
/// bytes.
const MAX_LAYOUT_BYTES: usize = 100;

/// Where the documents of a run go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// Indices of each table, by the rows' own time if the layout has a date. The cluster creates them from a template.
    Indices(NameLayout),
    /// One data stream for each table. The layout has no date.
    DataStream(NameLayout),
    /// One index for the one table of a run.
    Index(String),
}

/// The layout of the names of a table's indices. It contains the name of the table, so tables never share an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameLayout {
    before_table: String,
    /// The text after the table's name, and the date with the text after it.
    after_table: String,
    date: Option<(DateUnit, String)>,
}

/// Names the index of each row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexName {
    /// One index, or a data stream, for all rows.
    Fixed(String),
    /// One index for each day, month or year.
    Dated {
        /// The text before the date.
        before: String,
        /// The part of the date in the name.
        unit: DateUnit,
        /// The text after the date.
        after: String,
    },
}

/// The part of a date in a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateUnit {
    /// `2026.02.18`
    Day,
    /// `2026.02`
    Month,
    /// `2026`
    Year,
}

/// Why a text is not a valid name or layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} {problem}; an example: {example:?}")]
pub struct NameError {
    text: String,
    problem: String,
    example: &'static str,
}

impl DateUnit {
    const ALL: [Self; 3] = [Self::Day, Self::Month, Self::Year];

    /// Returns the placeholder of the date in a layout.
    fn placeholder(self) -> &'static str {
        match self {
            Self::Day => "{yyyy.MM.dd}",
            Self::Month => "{yyyy.MM}",
            Self::Year => "{yyyy}",
        }
    }

    /// Returns how many bytes of an ISO 8601 date are in the name.
    fn bytes(self) -> usize {
        match self {
            Self::Day => "yyyy-MM-dd".len(),
            Self::Month => "yyyy-MM".len(),
            Self::Year => "yyyy".len(),
        }
    }
}

impl NameLayout {
    /// Parses a layout such as [`DEFAULT_LAYOUT`]. The date may be a month, a year, or absent.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        Self::parts(text).map_err(|problem| NameError {
            text: text.to_owned(),
            problem,
            example: DEFAULT_LAYOUT,
        })
    }

    /// Parses the layout of a data stream, which has no date.
    pub fn parse_data_stream(text: &str) -> Result<Self, NameError> {
        let layout = Self::parts(text).and_then(|layout| match layout.date {
            None => Ok(layout),
            Some(_) => {
                Err("has a date: the cluster numbers the indices of a data stream; remove it".to_owned())
            }
        });
        layout.map_err(|problem| NameError { text: text.to_owned(), problem, example: "flowherd-{table}" })
    }

    fn parts(text: &str) -> Result<Self, String> {
        if text.len() > MAX_LAYOUT_BYTES {
            return Err(format!("has {} bytes: the limit is {MAX_LAYOUT_BYTES}", text.len()));
        }
        let Some((before_table, rest)) = text.split_once(TABLE) else {
            return Err(format!("has no {TABLE}, so tables would share an index; add it"));
        };
        let date = DateUnit::ALL.iter().find_map(|unit| Some((*unit, rest.split_once(unit.placeholder())?)));
        let (after_table, date) = match date {
            Some((unit, (between, after))) => (between, Some((unit, after.to_owned()))),
            None => (rest, None),
        };
        let is_end = after_table.is_empty() && date.is_none();
        if !is_end && !after_table.starts_with(['-', '.']) {
            // Otherwise the pattern of the table `waf` would match indices of the table `waf_old`.
            return Err(format!("must have `-` or `.` after {TABLE}"));
        }
        let after_date = date.as_ref().map_or("", |(_, after)| after);
        if let Some(char) =
            [before_table, after_table, after_date].concat().chars().find(|char| !is_allowed(*char))
        {
            return Err(match char {
                '{' | '}' => format!(
                    "has a placeholder that is not known, repeated or before {TABLE}; use {TABLE} and after it one of {}",
                    DateUnit::ALL.map(DateUnit::placeholder).join(", ")
                ),
                _ => not_allowed(char),
            });
        }
        if !before_table.starts_with(is_first) {
            return Err("must begin with a lower-case letter or a digit".to_owned());
        }
        let (before_table, after_table) = (before_table.to_owned(), after_table.to_owned());
        Ok(Self { before_table, after_table, date })
    }

    /// Returns the names of a table's indices.
    #[must_use]
    pub fn of_table(&self, table: &str) -> IndexName {
        let before = format!("{}{table}{}", self.before_table, self.after_table);
        match &self.date {
            None => IndexName::Fixed(before),
            Some((unit, after)) => IndexName::Dated { before, unit: *unit, after: after.clone() },
        }
    }
}

impl Default for NameLayout {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "a test parses the default layout")]
        Self::parse(DEFAULT_LAYOUT).expect("the default layout is valid")
    }
}

impl fmt::Display for NameLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{TABLE}{}", self.before_table, self.after_table)?;
        match &self.date {
            None => Ok(()),
            Some((unit, after)) => write!(f, "{}{after}", unit.placeholder()),
        }
    }
}

impl Destination {
    /// Returns the destination of `--to`: one index.
    pub fn index(name: &str) -> Result<Self, NameError> {
        check_name(name)?;
        Ok(Self::Index(name.to_owned()))
    }

    /// Returns the names of a table's indices.
    #[must_use]
    pub fn of_table(&self, table: &str) -> IndexName {
        match self {
            Self::Indices(layout) | Self::DataStream(layout) => layout.of_table(table),
            Self::Index(name) => IndexName::Fixed(name.clone()),
        }
    }
}

/// Checks the name of one index or data stream. Refuses wildcards, and hidden indices, whose names begin with a dot.
pub fn check_name(name: &str) -> Result<(), NameError> {
    let problem = match name.chars().find(|char| !is_allowed(*char)) {
        Some(char) => not_allowed(char),
        None if !name.starts_with(is_first) => "must begin with a lower-case letter or a digit".to_owned(),
        None if name.len() > MAX_NAME_BYTES => {
            format!("has {} bytes: the limit is {MAX_NAME_BYTES}", name.len())
        }
        None => return Ok(()),
    };
    Err(NameError { text: name.to_owned(), problem, example: "incident-2026-02" })
}

/// Checks a name in which `*` matches any text, but not at the beginning.
pub fn check_pattern(pattern: &str) -> Result<(), NameError> {
    check_name(&pattern.replace('*', "_")).map_err(|error| NameError { text: pattern.to_owned(), ..error })
}

/// Returns whether a name may have this character. The cluster allows more
/// (<https://docs.opensearch.org/1.3/api-reference/index-apis/create-index>), but other programs do not.
fn is_allowed(char: char) -> bool {
    is_first(char) || matches!(char, '-' | '_' | '.')
}

fn is_first(char: char) -> bool {
    char.is_ascii_lowercase() || char.is_ascii_digit()
}

fn not_allowed(char: char) -> String {
    format!("has the character {char:?}; use lower-case letters, digits, `-`, `_` and `.`")
}

impl IndexName {
    /// Appends the name of the index of a row with this timestamp: ISO 8601 in UTC, or `-` if it has none. Returns whether the
    /// timestamp is valid; if not, appends nothing.
    #[must_use]
    pub fn append(&self, timestamp: &[u8], name: &mut String) -> bool {
        match self {
            Self::Fixed(fixed) => name.push_str(fixed),
            Self::Dated { before, after, .. } if timestamp == b"-" => {
                [before, UNDATED, after].iter().for_each(|part| name.push_str(part));
            }
            Self::Dated { before, unit, after } => {
                let Some((year, date)) = iso_date(timestamp) else { return false };
                name.push_str(before);
                if !YEARS.contains(&year) {
                    name.push_str(UNDATED);
                    name.push_str(after);
                    return true;
                }
                // The date is ASCII.
                name.extend(
                    date[..unit.bytes()]
                        .iter()
                        .map(|byte| if *byte == b'-' { '.' } else { char::from(*byte) }),
                );
                name.push_str(after);
            }
        }
        true
    }

    /// Returns the pattern of all names.
    #[must_use]
    pub fn pattern(&self) -> String {
        match self {
            Self::Fixed(name) => name.clone(),
            Self::Dated { before, after, .. } => format!("{before}*{after}"),
        }
    }
}

/// Returns the year and the first ten bytes of a timestamp if they are a date of the calendar, such as `2026-02-18`.
fn iso_date(timestamp: &[u8]) -> Option<(u32, &[u8; 10])> {
    let date = timestamp.first_chunk::<10>()?;
    let is_date = date.iter().enumerate().all(|(at, byte)| match at {
        4 | 7 => *byte == b'-',
        _ => byte.is_ascii_digit(),
    });
    let number = |digits: &[u8]| digits.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
    if !is_date {
        return None;
    }
    let (year, month, day) = (number(&date[..4]), number(&date[5..7]), number(&date[8..]));
    (1..=days(year, month)).contains(&day).then_some((year, date))
}

/// Returns the days of a month; 0 if there is no such month.
fn days(year: u32, month: u32) -> u32 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        1..=12 => 31,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(layout: &str, timestamp: &str) -> Option<String> {
        let mut name = String::new();
        NameLayout::parse(layout)
            .unwrap()
            .of_table("vpc_flow")
            .append(timestamp.as_bytes(), &mut name)
            .then_some(name)
    }

    #[test]
    fn the_index_of_a_row_has_the_table_and_the_date_of_its_own_time() {
        let time = "2026-02-18T09:10:11.012Z";
        assert_eq!(name(DEFAULT_LAYOUT, time).unwrap(), "flowherd-vpc_flow-2026.02.18");
        assert_eq!(name("a-{table}.{yyyy.MM}-x", time).unwrap(), "a-vpc_flow.2026.02-x");
        assert_eq!(name("a-{table}-{yyyy}", time).unwrap(), "a-vpc_flow-2026");
        assert_eq!(name("a-{table}", time).unwrap(), "a-vpc_flow");
    }

    #[test]
    fn rows_without_a_time_have_an_index_of_their_own() {
        assert_eq!(name(DEFAULT_LAYOUT, "-").unwrap(), "flowherd-vpc_flow-undated");
    }

    #[test]
    fn a_malformed_timestamp_names_no_index() {
        for timestamp in ["", "2026-02-1", "2026/02/18T00:00:00.000Z", "../../x-y-z", "２０２６-02-18"] {
            assert_eq!(name(DEFAULT_LAYOUT, timestamp), None, "{timestamp}");
        }
    }

    #[test]
    fn only_days_of_the_calendar_between_2000_and_2099_have_indices() {
        for day in ["2000-01-01", "2024-02-29", "2000-02-29", "2099-12-31"] {
            let expected = format!("flowherd-vpc_flow-{}", day.replace('-', "."));
            assert_eq!(name(DEFAULT_LAYOUT, &format!("{day}T00:00:00.000Z")).unwrap(), expected);
        }
        for day in ["1999-12-31", "2100-01-01", "0000-01-01", "9999-12-31"] {
            assert_eq!(name(DEFAULT_LAYOUT, day).unwrap(), "flowherd-vpc_flow-undated", "{day}");
        }
        for day in ["2026-00-01", "2026-13-01", "2026-02-00", "2026-02-29", "2100-02-29", "2026-04-31"] {
            assert_eq!(name(DEFAULT_LAYOUT, day), None, "{day}");
        }
    }

    #[test]
    fn the_pattern_of_a_table_matches_its_indices_and_no_other_tables() {
        let layout = NameLayout::default();
        assert_eq!(layout.of_table("waf").pattern(), "flowherd-waf-*");
        assert_eq!(Destination::index("case-7").unwrap().of_table("waf").pattern(), "case-7");
        assert!(!"flowherd-waf_old-2026.02.18".starts_with("flowherd-waf-"));
    }

    #[test]
    fn a_layout_prints_as_it_was_written() {
        for text in [DEFAULT_LAYOUT, "a.{table}-{yyyy}_b", "a-{table}.x"] {
            assert_eq!(NameLayout::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn errors_name_the_problem_and_show_an_example() {
        let problem = |text: &str| NameLayout::parse(text).unwrap_err().to_string();
        assert_eq!(
            problem("logs-{yyyy.MM.dd}"),
            "\"logs-{yyyy.MM.dd}\" has no {table}, so tables would share an index; add it; an example: \
             \"flowherd-{table}-{yyyy.MM.dd}\""
        );
        for (text, part) in [
            ("{table}-{yyyy}", "must begin with a lower-case letter"),
            ("_a-{table}", "must begin with a lower-case letter"),
            (".a-{table}", "must begin with a lower-case letter"),
            ("a-{table}{yyyy}", "must have `-` or `.` after {table}"),
            ("a-{table}_{yyyy}", "must have `-` or `.` after {table}"),
            ("A-{table}", "has the character 'A'"),
            ("a*-{table}", "has the character '*'"),
            ("a-{table}-{yyyy-MM}", "has a placeholder that is not known"),
            ("a-{yyyy}-{table}", "has a placeholder that is not known"),
            ("a-{table}-{yyyy}-{yyyy}", "has a placeholder that is not known"),
            ("a-{table}-{table}", "has a placeholder that is not known"),
        ] {
            assert!(problem(text).contains(part), "{}", problem(text));
        }
        assert!(problem(&format!("{}{{table}}", "a".repeat(100))).contains("the limit is 100"));
        let stream = NameLayout::parse_data_stream(DEFAULT_LAYOUT).unwrap_err().to_string();
        assert!(stream.contains("has a date"), "{stream}");
        assert!(NameLayout::parse_data_stream("a-{table}").is_ok());
    }

    #[test]
    fn the_name_of_one_index_has_no_wildcard_and_is_not_hidden() {
        for name in [
            "*",
            "flowherd-*",
            ".kibana",
            "_all",
            "-a",
            "a,b",
            "A",
            "",
            "a/../b",
            "a b",
            "ä",
            &"a".repeat(256),
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
        for name in ["case-7", "7.a_b", &"a".repeat(255)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for (pattern, is_valid) in
            [("flowherd-*", true), ("case-7", true), ("_all", false), ("a/_doc*", false), ("*", false)]
        {
            assert_eq!(check_pattern(pattern).is_ok(), is_valid, "{pattern}");
        }
    }
}
