//! Turns a prepared question and its arguments into a statement on the tables of a database.

use aws_sdk_athena::types::TableMetadata;
use flowherd_shared::config::Config;
use jiff::{Timestamp, tz::TimeZone};

use super::{
    extent::Extent,
    shifted::Period,
    tables::{self, Partitions, RowsOf, Stored},
};
use crate::{
    args::{QueryArgs, QuestionArgs},
    query::{
        questions::{
            self, Arguments, LIMIT, Parameter, QUESTIONS, Question, QuestionError, Rows, Scan, Source, Span,
        },
        schema::{TypedColumn, flow_columns},
    },
    stop::Stop,
    summary::{columns, print_message},
};

const HOUR: i64 = 3600;
/// Hours for which CloudWatch Logs retries a delivery.
const LATE_HOURS: u16 = 24;
const DAY: i64 = 24 * HOUR;
/// Seconds of lateness that are assumed if every file is read: a month.
const UNLIMITED: i64 = 30 * DAY;

/// Returns the output of `--list`.
pub(super) fn list() -> String {
    let rows = QUESTIONS.iter().map(|question| {
        let needed = question.needed.iter().map(|parameter| format!("--{}", parameter.flag()));
        let optional = question.optional.iter().map(|parameter| format!("[--{}]", parameter.flag()));
        let flags: Vec<String> = needed.chain(optional).collect();
        vec![question.name.to_owned(), question.title().to_owned(), flags.join(" ")]
    });
    let mut text = columns(&["question", "shows", "flags"], rows, usize::MAX);
    text += "\nAll but missing-objects take a time: --last 24h, --day 2026-02-18, --day yesterday, or --from and --to.\n";
    text
}

/// Finds a question by its name.
pub(crate) fn find(name: &str) -> Result<&'static Question, Stop> {
    Question::find(name).ok_or_else(|| {
        let near = QUESTIONS.iter().find(|question| {
            question.name.split('-').any(|word| name.split(['-', '_', ' ']).any(|other| other == word))
        });
        let near = near.map_or_else(String::new, |near| format!("did you mean {}? ", near.name));
        Stop::usage(format!("no question {name:?}; {near}list them with `flowherd query --list`"))
    })
}

/// Returns the time of the question.
pub(crate) fn span(args: &QuestionArgs) -> Result<Span, Stop> {
    let now = Timestamp::now().as_second();
    let span = match (args.day, args.from) {
        (Some(day), _) => {
            let from = day.to_zoned(TimeZone::UTC).map_err(anyhow::Error::new)?.timestamp().as_second();
            Span { from, to: from + DAY }
        }
        (None, Some(from)) => {
            let to = args.to.map_or(now + 1, Timestamp::as_second);
            Span { from: from.as_second(), to }
        }
        (None, None) => Span { from: now - args.last.unwrap_or(DAY), to: now + 1 },
    };
    if span.from > now {
        return Err(Stop::usage("the time is in the future; an example: --last 24h"));
    }
    if span.from >= span.to {
        return Err(Stop::usage(
            "the time ends before it begins; correct --from and --to, or use --last 24h",
        ));
    }
    if span.from < 0 {
        return Err(Stop::usage("the time begins before 1970; an example: --last 24h"));
    }
    Ok(span)
}

/// Returns the statement on the views, for any SQL engine.
pub(super) fn printed(question: &Question, args: &QuestionArgs) -> Result<String, Stop> {
    let span = span(args)?;
    tables::check_name(args.table())?;
    if question.reads_flows() {
        print_message(
            "if the tables have partitions, add a condition on the time column (datehour, day or month) to each WHERE; \
             otherwise Athena reads every file",
        );
    }
    let rows = Rows {
        flows: questions::of_view(args.table(), span),
        before: questions::of_view(args.table(), span.before()),
        rejects: questions::of_rejects_view(span),
    };
    Ok(question.statement(&arguments(args), &rows)?)
}

/// Refuses flags of questions without a question, and those that the question does not use.
pub(crate) fn check_usage(args: &QueryArgs, question: Option<&Question>) -> Result<(), Stop> {
    match (question, args.question.given().next()) {
        (Some(question), _) => check_flags(question, &args.question),
        (None, Some(flag)) => Err(Stop::usage(format!(
            "--{flag} needs --named; write the condition into the statement instead"
        ))),
        (None, None) => Ok(()),
    }
}

/// Refuses flags that the question does not use, because the result would seem to respect them.
fn check_flags(question: &Question, args: &QuestionArgs) -> Result<(), Stop> {
    let takes =
        |flag| question.needed.iter().chain(question.optional).any(|parameter| parameter.flag() == flag);
    for flag in args.given() {
        let is_taken = match flag {
            "last" | "day" | "from" | "everywhere" | "late" => question.source != Source::Ledger,
            "table" | "anyway" => question.reads_flows(),
            "print" => true,
            flag => takes(flag),
        };
        if !is_taken {
            return Err(Stop::usage(format!(
                "{} does not take --{flag}; list the flags of each question with `flowherd query --list`",
                question.name
            )));
        }
    }
    Ok(())
}

/// A question as a statement on the tables of a database.
pub(super) struct Prepared {
    /// It returns one row more than the limit.
    pub(super) sql: String,
    /// The period that it reads.
    pub(super) reads: Period,
    /// Finds the time of all rows of the table.
    pub(super) extent: Option<Extent>,
    /// Returns a row if the time before has any, for a question that compares with it.
    pub(super) before: Option<String>,
}

/// Prepares a question for the tables of a database.
pub(super) fn on_tables(
    question: &Question,
    args: &QuestionArgs,
    span: Span,
    found: &[TableMetadata],
) -> Result<Prepared, Stop> {
    let mut arguments = arguments(args);
    let (mut extent, mut any_before) = (None, None);
    let mut late = UNLIMITED;
    let late_hours = args.late.unwrap_or(LATE_HOURS);
    let mut rows = Rows::default();
    if question.reads_flows() {
        let of = RowsOf::find(found, args.table(), "text", args.everywhere)?;
        let columns = needed(question, &arguments, &of.columns, args.table())?;
        rows.flows = questions::of_tables(&columns, &scans(&of, span, late_hours)?, span);
        if let Some(lateness) = of.tables.iter().filter_map(|table| lateness(table, span, late_hours)).max() {
            late = lateness;
        }
        if question.source == Source::FlowsAndBefore {
            let before = span.before();
            rows.before = questions::of_tables(&columns, &scans(&of, before, late_hours)?, before);
            any_before = Some(questions::any_row(&rows.before));
        }
        extent = Some(Extent::of_flows(of, &columns));
    } else if question.source == Source::Rejects {
        let of = RowsOf::find(found, "ledger_rejects", "json", args.everywhere)?;
        rows.rejects = questions::of_rejects(&scans(&of, span, late_hours)?, span);
        extent = Some(Extent::of_rejects(of));
    }
    arguments.limit = Some(arguments.limit.unwrap_or(LIMIT) + 1);
    let from = if question.source == Source::FlowsAndBefore { span.before().from } else { span.from };
    let reads = Period { span: Span { from, to: span.to }, late };
    Ok(Prepared { sql: question.statement(&arguments, &rows)?, reads, extent, before: any_before })
}

/// Returns the arguments of a question.
pub(crate) fn arguments(args: &QuestionArgs) -> Arguments {
    Arguments {
        ip: args.ip,
        interface: args.interface.clone(),
        port: args.port,
        at_least: args.at_least,
        limit: args.limit,
        run: args.run.clone(),
    }
}

/// Checks that the rules write a table with the columns that the question reads.
pub(crate) fn check_columns(question: &Question, args: &QuestionArgs, config: &Config) -> Result<(), Stop> {
    let name = args.table();
    let Some(table) = config.tables.iter().find(|table| table.name == name) else {
        let tables: Vec<&str> = config.tables.iter().map(|table| &*table.name).collect();
        return Err(Stop::usage(format!(
            "the rules write no table {name}; name one with --table: {}",
            tables.join(", ")
        )));
    };
    let columns: Vec<String> = table.columns.iter().map(|column| column.name.to_ascii_lowercase()).collect();
    needed(question, &arguments(args), &columns, name).map(drop)
}

/// Returns the columns that the question reads with these arguments. A missing column is an error.
fn needed(
    question: &Question,
    arguments: &Arguments,
    columns: &[String],
    table: &str,
) -> Result<Vec<TypedColumn>, Stop> {
    // The ports, for example, only with --port.
    let sql = question.statement(arguments, &Rows::default())?;
    let is_read = |column: &&str| *column == "timestamp" || super::mentions(&sql, column);
    let read: Vec<&str> = question.columns.iter().copied().filter(is_read).collect();
    let mut columns = flow_columns(columns.iter().map(String::as_str));
    let has = |wanted: &&str| columns.iter().any(|column| column.name == *wanted);
    let lacking: Vec<&str> = read.iter().copied().filter(|wanted| !has(wanted)).collect();
    if !lacking.is_empty() {
        let are_added = question.added_columns().any(|column| lacking.contains(&column));
        let todo = if are_added { "add them with [[enrich]]" } else { "record these fields in the flow log" };
        return Err(Stop::usage(format!(
            "{} needs the columns {}, which table {table} does not have; name another with --table, or {todo}",
            question.name,
            lacking.join(", ")
        )));
    }
    columns.retain(|column| read.contains(&&*column.name));
    Ok(columns)
}

/// Returns the times of arrival that records of the time can have.
fn arrivals(span: Span, late: u16) -> Span {
    Span { from: span.from - HOUR, to: span.to + i64::from(late) * HOUR }
}

/// Returns the maximum lateness of the records that a table's partitions give. Partitions are read as a whole.
fn lateness(table: &Stored, span: Span, late: u16) -> Option<i64> {
    let format = &table.time.as_ref()?.format;
    Some(format.end_of(arrivals(span, late).to - 1) - span.to)
}

/// Returns the tables to read, with the partitions of the time. A time before the first partition is an error, because the
/// result would be empty. So is a partition column whose values are not known, because Athena refuses the statement.
fn scans(of: &RowsOf, span: Span, late: u16) -> Result<Vec<Scan>, Stop> {
    if let Some(table) = of.tables.iter().find(|table| !table.injected.is_empty()) {
        return Err(Stop::usage(format!(
            "table {} has partitions whose values are not known ({}); deploy tables with these values (flowherd sql \
             --layout, such as {{{}:VALUE,VALUE}}, or --keys), or use --everywhere",
            table.name,
            table.injected.join(", "),
            table.injected[0]
        )));
    }
    if let Some((table, time)) = of.tables.iter().find_map(|table| Some((table, table.time.as_ref()?))) {
        check_begin(table, time, span)?;
    }
    let with_condition = |table: &Stored| Scan {
        table: table.name.clone(),
        condition: table
            .time
            .as_ref()
            .map(|time| questions::within_partitions(&time.format, arrivals(span, late))),
    };
    Ok(of.tables.iter().map(with_condition).collect())
}

fn check_begin(table: &Stored, time: &Partitions, span: Span) -> Result<(), Stop> {
    let begin = Timestamp::from_second(time.since_second).map_err(anyhow::Error::new)?.strftime("%Y-%m-%d");
    if span.to <= time.since_second {
        return Err(Stop::usage(format!(
            "the time is before {begin}, when the partitions of {} begin, so the result would be empty; deploy tables with an \
             earlier --since (flowherd sql), or use --everywhere",
            table.name
        )));
    }
    if span.from < time.since_second {
        print_message(&format!(
            "the time before {begin} is not read, because the partitions of {} begin then",
            table.name
        ));
    }
    Ok(())
}

impl From<QuestionError> for Stop {
    fn from(error: QuestionError) -> Self {
        let hint = match &error {
            QuestionError::Missing { parameter: Parameter::Run, .. } => "; list runs with `flowherd runs`",
            QuestionError::Missing { parameter: Parameter::Ip, .. } => {
                "; an example: --ip 10.0.0.5, or --ip 10.0.0.0/16"
            }
            QuestionError::Missing { parameter: Parameter::Port, .. } => "; an example: --port 22",
            _ => "",
        };
        Self::usage(format!("{error}{hint}"))
    }
}

/// Warns of dates in a statement that are outside the partitions of the tables, because they return no rows.
pub(super) fn warn_of_dates_outside(sql: &str, found: &[TableMetadata]) {
    outside(sql, found, Timestamp::now().as_second()).iter().for_each(|problem| print_message(problem));
}

fn outside(sql: &str, found: &[TableMetadata], now: i64) -> Vec<String> {
    let outside_of_literals = sql.split('\'').step_by(2).collect::<Vec<_>>().join(" ");
    let mut forms: Vec<Partitions> = Vec::new();
    for time in found.iter().filter_map(tables::time_partitions) {
        let is_named = super::mentions(&outside_of_literals, time.format.unit().column());
        if is_named && !forms.contains(&time) {
            forms.push(time);
        }
    }
    let problem = |literal: &str| {
        let (time, second) =
            forms.iter().find_map(|time| Some((time, time.format.first_second(literal)?)))?;
        if second < time.since_second {
            let since = &time.since;
            Some(format!(
                "'{literal}' is before {since}, when the partitions of the tables begin, so it returns no rows"
            ))
        } else if second.div_euclid(DAY) > now.div_euclid(DAY) {
            Some(format!("'{literal}' is in the future, so it returns no rows"))
        } else {
            None
        }
    };
    sql.split('\'').skip(1).step_by(2).filter_map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_OF_RECORDS: Span = Span { from: 1_771_372_800, to: 1_771_459_200 }; // 2026-02-18

    fn table(name: &str, parameters: &[(&str, &str)]) -> TableMetadata {
        let parameters =
            parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        TableMetadata::builder().name(name).set_parameters(Some(parameters)).build().unwrap()
    }

    fn by_day(name: &str) -> TableMetadata {
        let parameters = [
            ("projection.day.type", "date"),
            ("projection.day.format", "yyyy'/month='MM'/day='dd"),
            ("projection.day.range", "2026/month=01/day=01,NOW"),
        ];
        table(name, &parameters)
    }

    fn rejected(found: &[TableMetadata], span: Span, late: u16) -> Result<Vec<Scan>, Stop> {
        scans(&RowsOf::find(found, "ledger_rejects", "json", false)?, span, late)
    }

    #[test]
    fn a_question_reads_whole_partitions_up_to_the_lateness() {
        let found = [by_day("ledger_rejects_json")];
        let condition = |late| rejected(&found, DAY_OF_RECORDS, late).unwrap()[0].condition.clone().unwrap();
        assert_eq!(condition(0), "\"day\" >= '2026/month=02/day=17' AND \"day\" <= '2026/month=02/day=18'");
        assert_eq!(condition(1), "\"day\" >= '2026/month=02/day=17' AND \"day\" <= '2026/month=02/day=19'");
        let rows = RowsOf::find(&found, "ledger_rejects", "json", false).unwrap();
        assert_eq!(lateness(&rows.tables[0], DAY_OF_RECORDS, 0), Some(0));
        assert_eq!(lateness(&rows.tables[0], DAY_OF_RECORDS, 1), Some(DAY));
    }

    #[test]
    fn a_question_that_partitions_cannot_answer_is_refused() {
        let problem = |found: &[TableMetadata], span| match rejected(found, span, 24) {
            Err(Stop::Usage(problems)) => problems.concat(),
            other => panic!("{other:?}"),
        };
        let december = Span { from: 1_766_966_400, to: 1_767_225_600 };
        let early = problem(&[by_day("ledger_rejects_json")], december);
        assert!(early.contains("before 2026-01-01"), "{early}");
        let injected = table("ledger_rejects_json", &[("projection.account.type", "injected")]);
        let unknown = problem(&[injected], DAY_OF_RECORDS);
        assert!(unknown.contains("{account:VALUE,VALUE}") && unknown.contains("--everywhere"), "{unknown}");
    }

    #[test]
    fn dates_outside_the_partitions_are_noticed_in_any_layout() {
        let found = [by_day("f_text"), by_day("g_text")];
        let sql = "SELECT '2019' FROM f WHERE day BETWEEN '2025/month=12/day=31' AND '2026/month=02/day=19' OR x = '2026/02/18'";
        let problems = outside(sql, &found, DAY_OF_RECORDS.from);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].starts_with("'2025/month=12/day=31' is before 2026/month=01/day=01"));
        assert!(problems[1].starts_with("'2026/month=02/day=19' is in the future"));
        assert!(outside(&sql.replace("day ", "hour "), &found, DAY_OF_RECORDS.from).is_empty());
    }
}
