//! The layout of keys: the folders in them, as templates such as `firehose/{yyyy/MM/dd/HH}/`. Tables have a partition for each
//! folder, so a query reads only the folders of its time.

mod sample;
mod shape;
mod time;

use std::collections::BTreeSet;

use jiff::civil::Date;

pub(crate) use self::sample::Sample;
use self::time::{Piece, pieces, push_text};
pub use self::time::{TimeFormat, Unit};

/// Maximum length of a template. With bucket and table it stays below the 1,024 bytes of a key.
const MAX_TEMPLATE_BYTES: usize = 900;

/// All layouts of an archive.
#[derive(Clone, Debug, Default)]
pub struct Layouts {
    /// One for each format of keys.
    pub all: Vec<Layout>,
    /// The first day of the partitions.
    pub since: Date,
}

/// The layout of the keys of one table, or of all tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The table; `None` for all tables.
    pub table: Option<String>,
    /// The format of the keys.
    pub template: Template,
}

/// The format of keys up to the file name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
    time: TimeFormat,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The date.
    Time,
    /// A partition column. Without values, any part of a folder's name.
    Column {
        name: String,
        values: Vec<String>,
    },
}

impl Layouts {
    /// Reads the arguments `[TABLE:]TEMPLATE`. The error has all problems.
    pub fn parse(arguments: &[String], tables: &[&str], since: Date) -> Result<Self, Vec<String>> {
        let mut all: Vec<Layout> = Vec::new();
        let mut problems = Vec::new();
        for argument in arguments {
            match Layout::parse(argument, tables) {
                Err(problem) => problems.push(problem),
                Ok(layout) if all.iter().any(|other| other.overlaps(&layout)) => {
                    problems.push(format!(
                        "--layout {:?} is given twice, so its rows would count twice; remove one",
                        layout.template.text
                    ));
                }
                Ok(layout) => all.push(layout),
            }
        }
        if problems.is_empty() { Ok(Self { all, since }) } else { Err(problems) }
    }

    /// Returns the templates of a table's keys.
    #[must_use]
    pub fn of_table(&self, table: &str) -> Vec<&Template> {
        self.all.iter().filter(|layout| layout.is_of(table)).map(|layout| &layout.template).collect()
    }

    /// Returns the templates for tables with rows of all keys, or nothing if their partition columns differ.
    #[must_use]
    pub fn of_all_keys(&self) -> Vec<&Template> {
        let mut templates: Vec<&Template> = Vec::new();
        for layout in &self.all {
            if !templates.iter().any(|other| other.parts == layout.template.parts) {
                templates.push(&layout.template);
            }
        }
        let is_same = templates.windows(2).all(|pair| pair[0].has_columns_of(pair[1]));
        if is_same { templates } else { Vec::new() }
    }
}

impl Layout {
    fn parse(argument: &str, tables: &[&str]) -> Result<Self, String> {
        let before = argument.split(['/', '{']).next().unwrap_or_default();
        let Some((table, text)) =
            before.split_once(':').map(|(table, _)| (table, &argument[table.len() + 1..]))
        else {
            return Ok(Self { table: None, template: Template::parse(argument)? });
        };
        if !tables.contains(&table) {
            return Err(format!(
                "--layout {argument:?}: no table {table:?} in the rules; the tables are {}",
                tables.join(", ")
            ));
        }
        Ok(Self { table: Some(table.to_owned()), template: Template::parse(text)? })
    }

    fn is_of(&self, table: &str) -> bool {
        self.table.as_deref().is_none_or(|own| own == table)
    }

    fn shares_table(&self, other: &Self) -> bool {
        self.table.is_none() || other.table.is_none() || self.table == other.table
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.shares_table(other) && self.template.parts == other.template.parts
    }
}

impl Template {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::try_parse(text).map_err(|problem| {
            format!("--layout {text:?}: {problem}; an example: --layout \"firehose/{{yyyy/MM/dd/HH}}/\"")
        })
    }

    fn try_parse(text: &str) -> Result<Self, String> {
        if text.contains("!{") {
            return Err("write the date without Firehose's !{timestamp:…}".to_owned());
        }
        if text.len() > MAX_TEMPLATE_BYTES {
            return Err(format!("it is longer than {MAX_TEMPLATE_BYTES} bytes"));
        }
        if text.starts_with('/') || !text.ends_with('/') {
            return Err(
                "it must be the folders of the keys, without a slash in front and with one at the end"
                    .to_owned(),
            );
        }
        let mut parts: Vec<Part> = Vec::new();
        let mut date: Vec<Piece> = Vec::new();
        for token in tokens(text)? {
            match token {
                Token::Text(text) => parts.push(Part::Text(plain(text)?.to_owned())),
                Token::Braces(inner) => match pieces(inner).filter(|pieces| has_field(pieces)) {
                    Some(pieces) => add_date(&mut parts, &mut date, pieces, inner)?,
                    None => parts.push(column(inner)?),
                },
            }
        }
        let time = TimeFormat::new(date)?;
        let template = Self { text: text.to_owned(), parts, time };
        template.check_columns()?;
        Ok(template)
    }

    fn check_columns(&self) -> Result<(), String> {
        let is_open = |part: &Part| !matches!(part, Part::Text(_));
        if self.parts.windows(2).any(|pair| is_open(&pair[0]) && is_open(&pair[1])) {
            return Err("two parts in braces need text between them".to_owned());
        }
        let mut names = BTreeSet::new();
        match self.columns().into_iter().find(|name| !names.insert(*name)) {
            Some(name) => Err(format!("two partition columns would have the name {name}; rename one")),
            None => Ok(()),
        }
    }

    /// Returns the text that was parsed.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the format of the date.
    #[must_use]
    pub fn time(&self) -> &TimeFormat {
        &self.time
    }

    /// Returns the names of the partition columns in the order of the keys.
    #[must_use]
    pub fn columns(&self) -> Vec<&str> {
        let name = |part| match part {
            &Part::Text(_) => None,
            Part::Time => Some(self.time.unit().column()),
            Part::Column { name, .. } => Some(&**name),
        };
        self.parts.iter().filter_map(name).collect()
    }

    /// Returns the partition columns besides the date, with their values. No values means that they are not known.
    pub fn named_columns(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.parts.iter().filter_map(|part| match part {
            Part::Column { name, values } => Some((&**name, &**values)),
            _ => None,
        })
    }

    /// Sets the values of a column that has none.
    pub(crate) fn set_values(&mut self, column: &str, found: Vec<String>) {
        for part in &mut self.parts {
            if let Part::Column { name, values } = part
                && name == column
                && values.is_empty()
            {
                *values = found;
                return;
            }
        }
    }

    /// Returns whether one view can have the rows of both: the partition columns have the same names and forms.
    #[must_use]
    pub fn has_columns_of(&self, other: &Self) -> bool {
        let sorted = |template: &Self| -> BTreeSet<String> {
            template.columns().iter().map(|name| (*name).to_owned()).collect()
        };
        self.time == other.time && sorted(self) == sorted(other)
    }

    /// Returns the location of a partition, with a placeholder for each column.
    #[must_use]
    pub fn location(&self) -> String {
        let mut columns = self.columns().into_iter();
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            _ => format!("${{{}}}", columns.next().unwrap_or_default()),
        };
        self.parts.iter().map(part).collect()
    }

    /// Returns the folder that contains all partitions. It may end before the first placeholder, because a location is a
    /// folder.
    #[must_use]
    pub fn folder(&self) -> &str {
        let Some(Part::Text(text)) = self.parts.first() else { return "" };
        &text[..text.rfind('/').map_or(0, |at| at + 1)]
    }

    /// Returns the regular expression of the keys' beginning, with a group for each column.
    #[must_use]
    pub fn regex(&self) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => regex::escape(text),
            Part::Time => format!("({})", self.time.regex()),
            Part::Column { values, .. } if values.is_empty() => "([^/]+)".to_owned(),
            Part::Column { values, .. } => {
                let values: Vec<String> = values.iter().map(|value| regex::escape(value)).collect();
                format!("({})", values.join("|"))
            }
        };
        let parts: String = self.parts.iter().map(part).collect();
        format!("^{parts}")
    }
}

enum Token<'a> {
    Text(&'a str),
    Braces(&'a str),
}

fn tokens(text: &str) -> Result<Vec<Token<'_>>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find('{') {
        let Some(length) = rest[open..].find('}') else {
            return Err("an opening brace has no closing brace".to_owned());
        };
        if open > 0 {
            tokens.push(Token::Text(&rest[..open]));
        }
        tokens.push(Token::Braces(&rest[open + 1..open + length]));
        rest = &rest[open + length + 1..];
    }
    if !rest.is_empty() {
        tokens.push(Token::Text(rest));
    }
    Ok(tokens)
}

/// Checks text that becomes part of locations, statements and regular expressions.
fn plain(text: &str) -> Result<&str, String> {
    let fits = |byte: u8| byte.is_ascii_graphic() && !br#"'"\{}$*?"#.contains(&byte);
    if text.bytes().all(fits) {
        return Ok(text);
    }
    Err(format!("{text:?} must be printable ASCII without spaces, quotes, backslashes, braces, $, * and ?"))
}

fn has_field(pieces: &[Piece]) -> bool {
    pieces.iter().any(|piece| matches!(piece, Piece::Field(_)))
}

/// Adds fields of the date. The text since the last field becomes part of the date.
fn add_date(
    parts: &mut Vec<Part>,
    date: &mut Vec<Piece>,
    pieces: Vec<Piece>,
    inner: &str,
) -> Result<(), String> {
    let begin = parts.iter().position(|part| *part == Part::Time);
    if let Some(begin) = begin {
        for part in parts.drain(begin + 1..) {
            let Part::Text(text) = part else {
                return Err("only text may be between the fields of the date".to_owned());
            };
            push_text(date, &text);
        }
    } else {
        parts.push(Part::Time);
    }
    plain(inner)?;
    for piece in pieces {
        match piece {
            Piece::Text(text) => push_text(date, &text),
            field @ Piece::Field(_) => date.push(field),
        }
    }
    Ok(())
}

/// Reads `name` or `name:value,value`.
fn column(inner: &str) -> Result<Part, String> {
    let (name, values) = inner.split_once(':').unwrap_or((inner, ""));
    let is_name = name.starts_with(|first: char| first.is_ascii_lowercase() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if !is_name {
        return Err(format!(
            "{{{inner}}} is neither a date of yyyy, MM, dd and HH, nor a name in lower case such as {{account}}"
        ));
    }
    let mut checked: Vec<String> = Vec::new();
    for value in values.split(',').filter(|_| inner.contains(':')) {
        if value.is_empty() || value.contains('/') || checked.iter().any(|other| other == value) {
            return Err(format!(
                "the values of {{{name}}} must be different parts of a folder's name, separated by commas"
            ));
        }
        checked.push(plain(value)?.to_owned());
    }
    Ok(Part::Column { name: name.to_owned(), values: checked })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HIVE: &str = "AWSLogs/aws-account-id={account}/aws-region={region:eu-west-1,us-east-1}/year={yyyy}/month={MM}/day={dd}/";

    fn template(text: &str) -> Template {
        Template::parse(text).unwrap()
    }

    #[test]
    fn a_template_has_a_location_a_folder_and_columns() {
        let hourly = template("eu-logs-{yyyy/MM/dd/HH}/");
        assert_eq!((hourly.location(), hourly.folder()), ("eu-logs-${datehour}/".to_owned(), ""));
        assert_eq!(template("{yyyy}/{MM}/{dd}/{HH}/").time(), hourly.time());
        let hive = template(HIVE);
        assert_eq!(hive.columns(), ["account", "region", "day"]);
        assert_eq!(hive.location(), "AWSLogs/aws-account-id=${account}/aws-region=${region}/year=${day}/");
        assert_eq!(hive.folder(), "AWSLogs/");
        assert_eq!(hive.time().pattern(), "yyyy'/month='MM'/day='dd");
        let regex = regex::Regex::new(&hive.regex()).unwrap();
        let found = regex
            .captures("AWSLogs/aws-account-id=1/aws-region=us-east-1/year=2026/month=02/day=18/x.gz")
            .unwrap();
        assert_eq!((&found[1], &found[2], &found[3]), ("1", "us-east-1", "2026/month=02/day=18"));
        assert!(
            !regex.is_match("AWSLogs/aws-account-id=1/aws-region=eu-west-2/year=2026/month=02/day=18/x.gz")
        );
    }

    #[test]
    fn an_invalid_template_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "folders"),
            ("/{yyyy/MM}/", "in front"),
            ("{yyyy/MM/dd}", "one at the end"),
            ("logs/", "no date"),
            ("year={year}/month={month}/", "no date"),
            ("{yyyy}/", "year and month"),
            ("{dd/MM/yyyy}/", "in this order"),
            ("{yyyy/MM/dd/HH/mm}/", "neither a date"),
            ("{yyyy}/{account}/{MM}/", "only text"),
            ("{account}{yyyy/MM}/", "text between"),
            ("{Account}/{yyyy/MM}/", "neither a date"),
            ("{account}/{account}/{yyyy/MM}/", "two partition columns would have the name account"),
            ("{day}/{yyyy/MM/dd}/", "two partition columns would have the name day"),
            ("{region:}/{yyyy/MM}/", "the values of {region}"),
            ("{region:a,a}/{yyyy/MM}/", "the values of {region}"),
            ("{region:a/b}/{yyyy/MM}/", "the values of {region}"),
            ("{region:a b}/{yyyy/MM}/", "printable ASCII"),
            ("it's/{yyyy/MM}/", "printable ASCII"),
            ("é/{yyyy/MM}/", "printable ASCII"),
            ("{yyyy'MM}/", "printable ASCII"),
            ("$x/{yyyy/MM}/", "printable ASCII"),
            ("a}/{yyyy/MM}/", "printable ASCII"),
            ("a/{yyyy/MM/", "no closing brace"),
            ("a/!{timestamp:yyyy/MM}/", "Firehose"),
        ] {
            let error = Template::parse(text).unwrap_err();
            assert!(error.contains(reason) && error.contains("an example"), "{text}: {error}");
        }
        assert!(Template::parse(&format!("{}/{{yyyy/MM}}/", "a".repeat(900))).is_err());
    }

    #[test]
    fn a_layout_may_be_of_one_table() {
        let parse = |arguments: &[&str]| {
            let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
            Layouts::parse(&arguments, &["vpc_flow", "waf"], Date::default())
        };
        let layouts = parse(&["vpc_flow:a:b/{yyyy/MM/dd}/", "waf:waf/{yyyy/MM/dd/HH}/"]).unwrap();
        assert_eq!(layouts.of_table("vpc_flow")[0].location(), "a:b/${day}/");
        assert_eq!(layouts.of_table("waf").len(), 1);
        assert!(layouts.of_table("other").is_empty());
        assert!(layouts.of_all_keys().is_empty(), "one view has no column for both");
        let same = parse(&["vpc_flow:{yyyy/MM}/", "waf:{yyyy/MM}/", "waf:x/{yyyy/MM}/"]).unwrap();
        assert_eq!(same.of_all_keys().len(), 2);
        let problems = parse(&["dns:{yyyy/MM}/", "{yyyy}/{MM}/", "{yyyy/MM}/", "x"]).unwrap_err();
        assert_eq!(problems.len(), 3, "{problems:?}");
        assert!(problems[0].contains("no table \"dns\"") && problems[0].contains("vpc_flow, waf"));
        assert!(problems[1].contains("given twice"), "{problems:?}");
    }
}
