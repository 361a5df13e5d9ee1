//! The first questions of an incident, as SQL that Athena and `DuckDB` both take. Each is a file in `questions/`: its title,
//! what it shows and where its limits are, and the statement with places for what is asked.
//!
//! What is put into a statement is a number, an address, an id or a time that has been parsed: never text as it was given.

use std::{collections::BTreeSet, fmt, net::IpAddr};

use crate::{
    flow_fields::FLOW_FIELDS,
    ledger::layout,
    schema::{DATEHOUR, TypedColumn, rows},
    table::ENRICHED_COLUMNS,
    timestamp::{IsoFormatter, MAX_MS},
};

macro_rules! questions {
    ($($name:literal),* $(,)?) => {
        /// All questions.
        pub const QUESTIONS: &[Question] = &[$(Question {
            name: $name, text: include_str!(concat!("questions/", $name, ".sql")),
        }),*];
    };
}

questions! {
    "top-talkers",
    "who-talked-to",
    "rejected-by-port",
    "lateral-movement",
    "long-lived-flows",
    "bytes-out",
    "new-destinations",
    "port-scans",
    "coverage-gaps",
    "duplicates",
    "rejected-records",
    "missing-objects",
}

/// Rows shown, unless something else is asked.
pub const LIMIT: u32 = 20;

/// Rejected records that are in no time belong to each.
const NO_TIME: &str = "\"timestamp\" IS NULL OR reason = 'bad-timestamp'";

/// A question with places for what is asked.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// What it is asked by.
    pub name: &'static str,
    text: &'static str,
}

/// Unix seconds, from the first to before the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first that counts.
    pub from: i64,
    /// The first that does not count any more.
    pub to: i64,
}

impl Span {
    /// As much time before.
    #[must_use]
    pub fn before(self) -> Self {
        Self { from: self.from - (self.to - self.from), to: self.from }
    }
}

/// The id of a network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceId(String);

impl std::str::FromStr for InterfaceId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = |rest: &str| {
            !rest.is_empty()
                && rest.len() <= 40
                && rest.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        match text.strip_prefix("eni-") {
            Some(rest) if fits(rest) => Ok(Self(text.to_owned())),
            _ => Err("not the id of an interface; an example: eni-0123456789abcdef0".to_owned()),
        }
    }
}

/// What is asked.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// An address.
    pub ip: Option<IpAddr>,
    /// An interface.
    pub interface: Option<InterfaceId>,
    /// A port.
    pub port: Option<u16>,
    /// From how much on something counts.
    pub at_least: Option<u32>,
    /// Rows, at most.
    pub limit: Option<u32>,
    /// A run.
    pub run: Option<String>,
}

/// Where a statement finds rows.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Selects of flow-log rows in the time that is asked.
    pub flows: String,
    /// The same in the time before.
    pub before: String,
    /// The same of rejected records.
    pub rejects: String,
}

/// What is still needed for an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// It has no meaning without it.
    #[error("{question} needs --{parameter}")]
    Missing {
        /// The question.
        question: &'static str,
        /// The parameter.
        parameter: String,
    },
    /// A run's name is no such.
    #[error("{0:?} is not the name of a run; flowherd runs lists them")]
    BadRun(String),
}

impl Question {
    /// By name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        QUESTIONS.iter().find(|question| question.name == name)
    }

    /// One line.
    #[must_use]
    pub fn title(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches("-- ")
    }

    /// What it shows, and its limits: one paragraph.
    #[must_use]
    pub fn explanation(&self) -> String {
        let lines = self.text.lines().skip(1).map_while(|line| line.strip_prefix("-- "));
        lines.collect::<Vec<_>>().join(" ")
    }

    fn template(&self) -> impl Iterator<Item = &'static str> {
        self.text.lines().skip_while(|line| line.starts_with("--"))
    }

    fn places(&self) -> impl Iterator<Item = &'static str> {
        let template = self.template().flat_map(|line| line.split('{').skip(1));
        template.filter_map(|rest| rest.split('}').next())
    }

    /// What can be asked of it besides rows and time, as flags; what it needs first.
    #[must_use]
    pub fn parameters(&self) -> Vec<(&'static str, bool)> {
        let mut found: Vec<(&str, bool)> = Vec::new();
        for place in self.places().filter(|place| !place.starts_with("inner:")) {
            let name = place.split([':', '?']).next().unwrap_or_default();
            let is_needed = !place.contains([':', '?']) && name != "limit";
            if !matches!(name, "flows" | "before" | "rejects")
                && !found.iter().any(|(other, _)| *other == name)
            {
                found.push((name, is_needed));
            }
        }
        found.sort_by_key(|(_, is_needed)| !is_needed);
        found
    }

    /// Whether it is asked of flow-log rows.
    #[must_use]
    pub fn is_of_flows(&self) -> bool {
        self.places().any(|place| place == "flows")
    }

    /// Whether it is asked of rejected records.
    #[must_use]
    pub fn is_of_rejects(&self) -> bool {
        self.places().any(|place| place == "rejects")
    }

    /// Whether it also needs the rows of the time before.
    #[must_use]
    pub fn needs_before(&self) -> bool {
        self.places().any(|place| place == "before")
    }

    /// The columns of flow-log rows that it reads.
    #[must_use]
    pub fn columns(&self) -> BTreeSet<&'static str> {
        let mut words: BTreeSet<&str> = self
            .template()
            .flat_map(|line| {
                line.split(|character: char| !character.is_ascii_alphanumeric() && character != '_')
            })
            .collect();
        // By which the time is told.
        words.insert("timestamp");
        if self.places().any(|place| place.starts_with("inner:")) {
            words.extend(["srcaddr", "dstaddr", "src_subnet_name", "dst_subnet_name"]);
        }
        let fields = FLOW_FIELDS.iter().map(|field| field.column).chain(ENRICHED_COLUMNS);
        fields.chain(["timestamp", "protocol_name"]).filter(|column| words.contains(column)).collect()
    }

    /// The statement.
    pub fn statement(&self, asked: &Asked, rows: &Rows) -> Result<String, QuestionError> {
        if let Some(run) = asked.run.as_ref().filter(|run| !layout::is_run_name(run)) {
            return Err(QuestionError::BadRun(run.clone()));
        }
        let mut sql = String::new();
        for line in self.template() {
            let mut rest = line;
            while let Some((before, (place, after))) =
                rest.split_once('{').and_then(|(before, from)| Some((before, from.split_once('}')?)))
            {
                sql += before;
                sql += &self.filled(place, asked, rows)?;
                rest = after;
            }
            sql += rest;
            sql.push('\n');
        }
        sql.truncate(sql.trim_end().len());
        Ok(sql)
    }

    fn filled(&self, place: &str, asked: &Asked, rows: &Rows) -> Result<String, QuestionError> {
        let (name, fallback) = match place.split_once(':') {
            Some((name, fallback)) => (name, Some(fallback)),
            None => (place.trim_end_matches('?'), None),
        };
        let text = |value: &dyn fmt::Display| format!("'{value}'");
        let null = |kind: &str| format!("CAST(NULL AS {kind})");
        let (value, nothing) = match name {
            "flows" => return Ok(format!("(\n{}\n  ) AS flows", rows.flows)),
            "before" => return Ok(format!("(\n{}\n  ) AS earlier", rows.before)),
            "rejects" => return Ok(format!("(\n{}\n  ) AS rejects", rows.rejects)),
            "inner" => return Ok(inner(fallback.unwrap_or_default())),
            "limit" => return Ok(asked.limit.unwrap_or(LIMIT).to_string()),
            "ip" => (asked.ip.map(|ip| text(&ip)), null("VARCHAR")),
            "interface" => (asked.interface.as_ref().map(|id| text(&id.0)), null("VARCHAR")),
            "port" => (asked.port.map(|port| port.to_string()), null("INTEGER")),
            "at_least" => {
                (asked.at_least.map(|number| number.to_string()), fallback.unwrap_or("1").to_owned())
            }
            _ => (asked.run.as_ref().map(|run| text(run)), null("VARCHAR")),
        };
        match value {
            None if fallback.is_none() && !place.ends_with('?') => {
                Err(QuestionError::Missing { question: self.name, parameter: name.to_owned() })
            }
            value => Ok(value.unwrap_or(nothing)),
        }
    }
}

/// Whether an address is one of our own: named by the lookups, or private by RFC 1918, RFC 6598, RFC 4193.
fn inner(side: &str) -> String {
    let address = format!("{side}addr");
    let octet = format!("TRY_CAST(split_part({address}, '.', 2) AS INTEGER)");
    format!(
        "({side}_subnet_name IS NOT NULL OR {address} LIKE '10.%' OR {address} LIKE '192.168.%' OR {address} LIKE \
         '169.254.%' OR ({address} LIKE '172.%' AND {octet} BETWEEN 16 AND 31) OR ({address} LIKE '100.%' AND {octet} \
         BETWEEN 64 AND 127) OR {address} LIKE 'fc%:%' OR {address} LIKE 'fd%:%' OR {address} LIKE 'fe80:%')"
    )
}

/// The rows of a view in a time.
#[must_use]
pub fn of_view(view: &str, span: Span) -> String {
    format!("    SELECT * FROM \"{view}\" WHERE {}", within(span))
}

/// The same of text tables, with types: for whom has no views. `hours` limits what is read, where the tables have hours.
#[must_use]
pub fn of_tables(columns: &[TypedColumn], tables: &[String], span: Span, hours: Option<Span>) -> String {
    let hours = hours.map_or(String::new(), |hours| format!("\nWHERE {}", within_hours(hours)));
    let selects: Vec<String> =
        tables.iter().map(|table| rows(columns, &format!("\"{table}\"")) + &hours).collect();
    format!("SELECT * FROM (\n{}\n) AS typed WHERE {}", selects.join("\nUNION ALL\n"), within(span))
}

/// The rejected records of a time, from tables in which it is in milliseconds.
#[must_use]
pub fn of_rejects(tables: &[String], span: Span, hours: Option<Span>) -> String {
    let time = format!("(\"timestamp\" >= {}000 AND \"timestamp\" < {}000 OR {NO_TIME})", span.from, span.to);
    let hours = hours.map_or(String::new(), |hours| format!("{} AND ", within_hours(hours)));
    let columns = "object, record, log_group, log_stream, reason, message";
    let selects: Vec<String> = tables
        .iter()
        .map(|table| format!("    SELECT {columns} FROM \"{table}\" WHERE {hours}{time}"))
        .collect();
    selects.join("\nUNION ALL\n")
}

/// The same from the view.
#[must_use]
pub fn of_rejects_view(span: Span) -> String {
    format!("    SELECT * FROM \"ledger_rejects\" WHERE {} OR {NO_TIME}", within(span))
}

/// The rows of the last 24 hours whenever a statement is run, from the views; for statements that are kept.
#[must_use]
pub fn last_day(view: &str, has_hours: bool) -> Rows {
    let ago = |hours: u32| format!("(now() - INTERVAL '{hours}' HOUR) AT TIME ZONE 'UTC'");
    let hour = |hours| format!("date_format({}, '%Y/%m/%d/%H')", ago(hours));
    let time = |hours| format!("CAST({} AS TIMESTAMP)", ago(hours));
    let condition = |from: u32, to: u32| {
        let until = if to == 0 { String::new() } else { format!(" AND \"timestamp\" < {}", time(to)) };
        let hours =
            if has_hours { format!(" AND \"{DATEHOUR}\" >= {}", hour(from + 1)) } else { String::new() };
        format!("\"timestamp\" >= {}{until}{hours}", time(from))
    };
    let rows = |view: &str, from, to| format!("    SELECT * FROM \"{view}\" WHERE {}", condition(from, to));
    Rows { flows: rows(view, 24, 0), before: rows(view, 48, 24), rejects: rows("ledger_rejects", 24, 0) }
}

/// Hours of arrival that can hold records of a time: a record arrives after it was made.
fn within_hours(hours: Span) -> String {
    let hour = |second: i64| text(second, 13).replace(['-', 'T'], "/");
    format!("\"{DATEHOUR}\" >= '{}' AND \"{DATEHOUR}\" <= '{}'", hour(hours.from), hour(hours.to - 1))
}

fn within(span: Span) -> String {
    let time = |second: i64| text(second, 19).replace('T', " ");
    format!(
        "\"timestamp\" >= TIMESTAMP '{}' AND \"timestamp\" < TIMESTAMP '{}'",
        time(span.from),
        time(span.to)
    )
}

fn text(second: i64, length: usize) -> String {
    let ms = second.saturating_mul(1000).clamp(0, MAX_MS);
    IsoFormatter::default().format(ms).iter().take(length).copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Span = Span { from: 1_771_372_800, to: 1_771_459_200 };

    fn rows() -> Rows {
        Rows {
            flows: of_view("vpc_flow", DAY),
            before: of_view("vpc_flow", DAY.before()),
            rejects: of_rejects_view(DAY),
        }
    }

    #[test]
    fn each_question_says_what_it_shows_and_takes_only_what_is_known() {
        for question in QUESTIONS {
            assert!(question.explanation().len() > 100, "{}", question.name);
            for (name, _) in question.parameters() {
                assert!(["ip", "interface", "port", "at_least", "limit", "run"].contains(&name), "{name}");
            }
            let asked = Asked {
                ip: Some("10.0.0.5".parse().unwrap()),
                run: Some("monday".to_owned()),
                ..Asked::default()
            };
            let sql = question.statement(&asked, &rows()).unwrap();
            assert!(!sql.contains(['{', '}']), "{sql}");
            assert_eq!(question.is_of_flows(), sql.contains("\"vpc_flow\""));
        }
        assert_eq!(QUESTIONS.len(), 12);
    }

    #[test]
    fn a_question_is_asked_of_a_time_and_an_address() {
        let question = Question::find("who-talked-to").unwrap();
        let missing = question.statement(&Asked::default(), &rows()).unwrap_err();
        assert_eq!(missing.to_string(), "who-talked-to needs --ip");
        let asked = Asked { ip: Some("2001:DB8::1".parse().unwrap()), limit: Some(3), ..Asked::default() };
        insta::assert_snapshot!(question.statement(&asked, &rows()).unwrap());
        assert!(question.columns().contains("dst_subnet_name") && !question.columns().contains("packets"));
    }

    #[test]
    fn only_what_parses_comes_into_a_statement() {
        for text in ["eni-", "eni-1' OR '1'='1", "1", "eni-\u{1f600}"] {
            assert!(text.parse::<InterfaceId>().is_err(), "{text}");
        }
        assert!("eni-0a1b".parse::<InterfaceId>().is_ok());
        let asked = Asked { run: Some("x' OR '1'='1".to_owned()), ..Asked::default() };
        let refused = Question::find("missing-objects").unwrap().statement(&asked, &rows());
        assert!(matches!(refused, Err(QuestionError::BadRun(_))));
    }

    #[test]
    fn hours_of_arrival_are_those_that_can_hold_the_time() {
        let hours = Span { from: DAY.from - 3600, to: DAY.to + 24 * 3600 };
        let sql = of_tables(&[], &["a".to_owned()], DAY, Some(hours));
        assert!(sql.contains("\"datehour\" >= '2026/02/17/23' AND \"datehour\" <= '2026/02/19/23'"), "{sql}");
        assert!(sql.contains("\"timestamp\" < TIMESTAMP '2026-02-19 00:00:00'"), "{sql}");
    }
}
