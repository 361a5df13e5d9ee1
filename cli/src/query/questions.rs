//! Prepared questions for the first hour of an incident, as SQL for Athena and `DuckDB`.
//!
//! Each is a file in `questions/`: its title, what it shows and its limits as comments, and a statement. Only parsed values
//! (numbers, addresses, ids, times) get into a statement, never text as a user gave it.

mod catalog;
mod network;
mod rows;

use std::fmt;

use flowherd_shared::ledger::layout;

pub use self::{
    catalog::QUESTIONS,
    network::Network,
    rows::{
        Rows, Scan, Span, any_row, extent_of_rejects, extent_of_tables, last_day, of_rejects,
        of_rejects_view, of_tables, of_view, placeholder, within_partitions,
    },
};

/// Rows shown by default.
pub const LIMIT: u32 = 20;

/// A prepared question.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Its unique name.
    pub name: &'static str,
    /// The rows it reads.
    pub source: Source,
    /// Parameters without which it has no meaning.
    pub needed: &'static [Parameter],
    /// Parameters that it takes besides.
    pub optional: &'static [Parameter],
    /// The columns of flow-log rows that it reads.
    pub columns: &'static [&'static str],
    /// Its file.
    text: &'static str,
    /// Puts values into the file.
    render: fn(&Values) -> String,
}

/// The rows that a question reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Flow-log rows of a time.
    Flows,
    /// The same, and those of the time before.
    FlowsAndBefore,
    /// Rejected records of a time.
    Rejects,
    /// The ledger of a run.
    Ledger,
}

/// A value that a question takes, besides the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameter {
    /// An IP address or a network.
    Ip,
    /// The id of a network interface.
    Interface,
    /// A port.
    Port,
    /// A threshold, with the question's default.
    AtLeast(u32),
    /// Maximum number of rows.
    Limit,
    /// The name of a run.
    Run,
}

impl Parameter {
    /// Returns the flag's name.
    #[must_use]
    pub fn flag(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Interface => "interface",
            Self::Port => "port",
            Self::AtLeast(_) => "at-least",
            Self::Limit => "limit",
            Self::Run => "run",
        }
    }
}

/// The id of a network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterfaceId(String);

impl std::str::FromStr for InterfaceId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_valid = |id: &str| {
            !id.is_empty()
                && id.len() <= 40
                && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        match text.strip_prefix("eni-") {
            Some(id) if is_valid(id) => Ok(Self(text.to_owned())),
            _ => Err("not the id of an interface; an example: eni-0123456789abcdef0".to_owned()),
        }
    }
}

/// The arguments of a question.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    /// For [`Parameter::Ip`].
    pub ip: Option<Network>,
    /// For [`Parameter::Interface`].
    pub interface: Option<InterfaceId>,
    /// For [`Parameter::Port`].
    pub port: Option<u16>,
    /// For [`Parameter::AtLeast`].
    pub at_least: Option<u32>,
    /// For [`Parameter::Limit`]; [`LIMIT`] by default.
    pub limit: Option<u32>,
    /// For [`Parameter::Run`].
    pub run: Option<String>,
}

/// Why a question has no statement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// A needed argument is missing.
    #[error("{question} needs --{}", parameter.flag())]
    Missing {
        /// The question.
        question: &'static str,
        /// The parameter.
        parameter: Parameter,
    },
    /// The name of the run is not valid.
    #[error("{0:?} is not the name of a run; list runs with `flowherd runs`")]
    BadRun(String),
}

/// SQL expressions that files refer to by these names.
struct Values {
    flows: String,
    before: String,
    rejects: String,
    inner_src: String,
    inner_dst: String,
    /// Conditions on a side of the flow; true without an address.
    src_is_ip: String,
    dst_is_ip: String,
    /// The same with `AND` before it; empty without an address.
    and_src_ip: String,
    and_dst_ip: String,
    and_either_ip: String,
    interface: String,
    port: String,
    and_is_port: String,
    and_to_port: String,
    at_least: String,
    limit: String,
    run: String,
}

impl Question {
    /// Finds a question by its name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        QUESTIONS.iter().find(|question| question.name == name)
    }

    /// Returns the title, one line.
    #[must_use]
    pub fn title(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches("-- ")
    }

    /// Returns what it shows and its limits, one paragraph.
    #[must_use]
    pub fn explanation(&self) -> String {
        let lines = self.text.lines().skip(1).map_while(|line| line.strip_prefix("-- "));
        lines.collect::<Vec<_>>().join(" ")
    }

    /// Returns whether it reads flow-log rows.
    #[must_use]
    pub fn reads_flows(&self) -> bool {
        matches!(self.source, Source::Flows | Source::FlowsAndBefore)
    }

    /// Returns the columns that it reads and that only `[[enrich]]` adds.
    pub fn added_columns(&self) -> impl Iterator<Item = &'static str> {
        self.columns.iter().copied().filter(|column| catalog::ADDED_COLUMNS.contains(column))
    }

    /// Returns the statement.
    pub fn statement(&self, arguments: &Arguments, rows: &Rows) -> Result<String, QuestionError> {
        if let Some(run) = arguments.run.as_ref().filter(|run| !layout::is_run_name(run)) {
            return Err(QuestionError::BadRun(run.clone()));
        }
        for parameter in self.needed {
            if !arguments.has(*parameter) {
                return Err(QuestionError::Missing { question: self.name, parameter: *parameter });
            }
        }
        let file = (self.render)(&self.values(arguments, rows));
        let sql: Vec<&str> = file.lines().skip_while(|line| line.starts_with("--")).collect();
        Ok(sql.join("\n").trim_end().to_owned())
    }

    fn values(&self, arguments: &Arguments, rows: &Rows) -> Values {
        let least = self.optional.iter().find_map(|parameter| match parameter {
            Parameter::AtLeast(least) => Some(*least),
            _ => None,
        });
        let src = arguments.ip.map(|ip| ip.contains("srcaddr"));
        let dst = arguments.ip.map(|ip| ip.contains("dstaddr"));
        let either = src.as_ref().zip(dst.as_ref()).map(|(src, dst)| format!("({src} OR {dst})"));
        let always = || "TRUE".to_owned();
        Values {
            flows: format!("(\n{}\n  ) AS flows", rows.flows),
            before: format!("(\n{}\n  ) AS earlier", rows.before),
            rejects: format!("(\n{}\n  ) AS rejects", rows.rejects),
            inner_src: inner("src"),
            inner_dst: inner("dst"),
            and_src_ip: and(src.as_deref()),
            and_dst_ip: and(dst.as_deref()),
            and_either_ip: and(either.as_deref()),
            src_is_ip: src.unwrap_or_else(always),
            dst_is_ip: dst.unwrap_or_else(always),
            interface: text_or_null(arguments.interface.as_ref().map(|id| &id.0)),
            port: arguments.port.map_or("CAST(NULL AS INTEGER)".to_owned(), |port| port.to_string()),
            and_is_port: and(arguments.port.map(|port| format!("{port} IN (srcport, dstport)")).as_deref()),
            and_to_port: and(arguments.port.map(|port| format!("dstport = {port}")).as_deref()),
            at_least: arguments.at_least.or(least).unwrap_or(1).to_string(),
            limit: arguments.limit.unwrap_or(LIMIT).to_string(),
            run: text_or_null(arguments.run.as_ref()),
        }
    }
}

impl Arguments {
    fn has(&self, parameter: Parameter) -> bool {
        match parameter {
            Parameter::Ip => self.ip.is_some(),
            Parameter::Interface => self.interface.is_some(),
            Parameter::Port => self.port.is_some(),
            Parameter::AtLeast(_) => self.at_least.is_some(),
            Parameter::Limit => self.limit.is_some(),
            Parameter::Run => self.run.is_some(),
        }
    }
}

/// Returns a further condition, or nothing.
fn and(condition: Option<&str>) -> String {
    condition.map_or_else(String::new, |condition| format!(" AND {condition}"))
}

/// Returns a string literal. The values are parsed, so they contain no quote.
fn text_or_null<T: fmt::Display>(value: Option<T>) -> String {
    value.map_or("CAST(NULL AS VARCHAR)".to_owned(), |value| format!("'{value}'"))
}

/// Returns the condition that an address is one of the network's own: it has a name, or RFC 1918, RFC 6598
/// or RFC 4193 make it private.
fn inner(side: &str) -> String {
    let address = format!("{side}addr");
    let octet = format!("TRY_CAST(split_part({address}, '.', 2) AS INTEGER)");
    format!(
        "({side}_subnet_name IS NOT NULL OR {address} LIKE '10.%' OR {address} LIKE '192.168.%' OR {address} LIKE \
         '169.254.%' OR ({address} LIKE '172.%' AND {octet} BETWEEN 16 AND 31) OR ({address} LIKE '100.%' AND {octet} \
         BETWEEN 64 AND 127) OR {address} LIKE 'fc%:%' OR {address} LIKE 'fd%:%' OR {address} LIKE 'fe80:%')"
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use flowherd_shared::{flow_fields::FLOW_FIELDS, table::ENRICHED_COLUMNS};

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
    fn each_question_declares_exactly_what_its_statement_reads() {
        let arguments = Arguments {
            ip: Some("10.0.0.5".parse().unwrap()),
            run: Some("monday".to_owned()),
            port: Some(22),
            ..Arguments::default()
        };
        for question in QUESTIONS {
            assert!(question.explanation().len() > 100, "{}", question.name);
            let sql = question.statement(&arguments, &Rows { flows: "FLOWS".to_owned(), ..rows() }).unwrap();
            assert_eq!(question.reads_flows(), sql.contains("FLOWS"), "{}", question.name);
            assert_eq!(
                question.source == Source::Rejects,
                sql.contains("ledger_rejects"),
                "{}",
                question.name
            );
            assert_eq!(
                question.source == Source::FlowsAndBefore,
                sql.contains("earlier"),
                "{}",
                question.name
            );
            let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_';
            let words: BTreeSet<&str> = sql.split(|character| !is_word(character)).collect();
            let known = FLOW_FIELDS.iter().map(|field| field.column).chain(ENRICHED_COLUMNS);
            let known = known.chain(["timestamp", "protocol_name"]).chain(catalog::ADDED_COLUMNS);
            let mut read: BTreeSet<&str> = known.filter(|column| words.contains(column)).collect();
            // Rows are limited to a time by it.
            read.insert("timestamp");
            let declared: BTreeSet<&str> = question.columns.iter().copied().collect();
            if question.reads_flows() {
                assert_eq!(declared, read, "{}", question.name);
            }
        }
        assert_eq!(QUESTIONS.len(), 16);
    }

    #[test]
    fn a_question_becomes_a_statement_on_a_time_and_an_address() {
        let question = Question::find("who-talked-to").unwrap();
        let missing = question.statement(&Arguments::default(), &rows()).unwrap_err();
        assert_eq!(missing.to_string(), "who-talked-to needs --ip");
        let ip = Some("2001:DB8::1".parse().unwrap());
        let arguments = Arguments { ip, limit: Some(3), ..Arguments::default() };
        insta::assert_snapshot!(question.statement(&arguments, &rows()).unwrap());
    }

    #[test]
    fn only_parsed_values_get_into_a_statement() {
        for text in ["eni-", "eni-1' OR '1'='1", "1", "eni-\u{1f600}"] {
            assert!(text.parse::<InterfaceId>().is_err(), "{text}");
        }
        assert!("eni-0a1b".parse::<InterfaceId>().is_ok());
        let arguments = Arguments { run: Some("x' OR '1'='1".to_owned()), ..Arguments::default() };
        let refused = Question::find("missing-objects").unwrap().statement(&arguments, &rows());
        assert!(matches!(refused, Err(QuestionError::BadRun(_))));
    }
}
