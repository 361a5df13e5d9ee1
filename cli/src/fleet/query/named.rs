//! Turns a prepared question and its arguments into a statement on the tables of a database.

use aws_sdk_athena::types::TableMetadata;
use jiff::{SpanRelativeTo, Timestamp, Unit, civil::DateTime, tz::TimeZone};

use super::{
    shifted::Asked as Asking,
    tables::{self, RowsOf},
};
use crate::{
    args::QuestionArgs,
    query::{
        questions::{
            self, Arguments, LIMIT, Parameter, QUESTIONS, Question, QuestionError, Rows, Source, Span,
        },
        schema::{DATEHOUR, TypedColumn, flow_columns},
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
    let mut text = columns(&["question", "shows", "asks"], rows, usize::MAX);
    text +=
        "\nAll but missing-objects are asked of a time: --last 24h, --day 2026-02-18, or --from and --to.\n";
    text
}

/// Finds a question by its name.
pub(super) fn find(name: &str) -> Result<&'static Question, Stop> {
    Question::find(name).ok_or_else(|| {
        let near = QUESTIONS.iter().find(|question| {
            question.name.split('-').any(|word| name.split(['-', '_', ' ']).any(|other| other == word))
        });
        let near = near.map_or_else(String::new, |near| format!("did you mean {}? ", near.name));
        Stop::usage(format!("no question {name:?}; {near}list them with `flowherd query --list`"))
    })
}

/// Returns the time of the question.
pub(super) fn span(args: &QuestionArgs) -> Result<Span, Stop> {
    let utc = |time: DateTime| time.to_zoned(TimeZone::UTC).map(|time| time.timestamp().as_second());
    let unfit = |error: jiff::Error| Stop::usage(format!("the time is out of range: {error}"));
    let span = if let Some(day) = args.day {
        let from = utc(day.at(0, 0, 0, 0)).map_err(unfit)?;
        Span { from, to: from + DAY }
    } else if let (Some(from), Some(to)) = (args.from, args.to) {
        Span { from: utc(from).map_err(unfit)?, to: utc(to).map_err(unfit)? }
    } else {
        let seconds = match &args.last {
            None => DAY,
            Some(last) => {
                let relative = SpanRelativeTo::days_are_24_hours();
                last.total((Unit::Second, relative)).map_err(unfit)? as i64
            }
        };
        let now = Timestamp::now().as_second();
        Span { from: now - seconds, to: now + 1 }
    };
    if span.from >= span.to {
        return Err(Stop::usage(
            "the time ends before it begins; correct --from and --to, or use --last 24h",
        ));
    }
    if span.from >= Timestamp::now().as_second() {
        return Err(Stop::usage("the time is in the future; an example: --last 24h"));
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
            "if the tables have hourly partitions, add a condition on \"datehour\" to each WHERE; otherwise Athena reads every file",
        );
    }
    let rows = Rows {
        flows: questions::of_view(args.table(), span),
        before: questions::of_view(args.table(), span.before()),
        rejects: questions::of_rejects_view(span),
    };
    Ok(question.statement(&arguments(args), &rows)?)
}

/// Refuses flags that the question does not use, because the result would seem to respect them.
pub(super) fn check_flags(question: &Question, args: &QuestionArgs) -> Result<(), Stop> {
    let mut takes = question.needed.iter().chain(question.optional);
    for flag in args.given() {
        let is_taken = match flag {
            "last" | "day" | "from" | "everywhere" | "late" => question.source != Source::Ledger,
            "table" | "anyway" => question.reads_flows(),
            "print" => true,
            flag => takes.any(|parameter| parameter.flag() == flag),
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

/// Returns the statement on the tables of a database, for one row more than the limit, and the period that it reads.
pub(super) fn on_tables(
    question: &Question,
    args: &QuestionArgs,
    span: Span,
    found: &[TableMetadata],
) -> Result<(String, Asking), Stop> {
    let mut late = UNLIMITED;
    let late_hours = args.late.unwrap_or(LATE_HOURS);
    let mut rows = Rows::default();
    if question.reads_flows() {
        let of = RowsOf::find(found, args.table(), "text", args.everywhere)?;
        let columns = needed(question, &of, args.table())?;
        rows.flows = questions::of_tables(&columns, &of.tables, span, hours(&of, span, late_hours)?);
        if of.since.is_some() {
            late = i64::from(late_hours) * HOUR;
        }
        if question.source == Source::FlowsAndBefore {
            let before = span.before();
            let hours = hours(&of, before, late_hours)?;
            rows.before = questions::of_tables(&columns, &of.tables, before, hours);
        }
    } else if question.source == Source::Rejects {
        let of = RowsOf::find(found, "ledger_rejects", "json", args.everywhere)?;
        rows.rejects = questions::of_rejects(&of.tables, span, hours(&of, span, late_hours)?);
    }
    let mut arguments = arguments(args);
    arguments.limit = Some(arguments.limit.unwrap_or(LIMIT) + 1);
    let from = if question.source == Source::FlowsAndBefore { span.before().from } else { span.from };
    let reads = Asking { span: Span { from, to: span.to }, late };
    Ok((question.statement(&arguments, &rows)?, reads))
}

fn arguments(args: &QuestionArgs) -> Arguments {
    Arguments {
        ip: args.ip,
        interface: args.interface.clone(),
        port: args.port,
        at_least: args.at_least,
        limit: args.limit,
        run: args.run.clone(),
    }
}

/// Returns the columns that the question reads. A missing column is an error.
fn needed(question: &Question, of: &RowsOf, table: &str) -> Result<Vec<TypedColumn>, Stop> {
    let mut columns = flow_columns(of.columns.iter().map(String::as_str));
    let has = |wanted: &&str| columns.iter().any(|column| column.name == *wanted);
    let lacking: Vec<&str> = question.columns.iter().copied().filter(|wanted| !has(wanted)).collect();
    if !lacking.is_empty() {
        return Err(Stop::usage(format!(
            "{} needs the columns {}, which table {table} does not have; name another with --table, or record these \
             fields in the flow log",
            question.name,
            lacking.join(", ")
        )));
    }
    columns.retain(|column| question.columns.contains(&&*column.name));
    Ok(columns)
}

/// Returns the hours of arrival to read. A time before the first partition is an error, because the result would be empty.
fn hours(of: &RowsOf, span: Span, late: u16) -> Result<Option<Span>, Stop> {
    let Some(since) = of.since else { return Ok(None) };
    let begins = |since: i64| {
        let time = Timestamp::from_second(since).map(|time| time.strftime("%Y-%m-%d").to_string());
        time.unwrap_or_default()
    };
    if span.to <= since {
        return Err(Stop::usage(format!(
            "the time is before {}, when the partitions of {} begin, so the result would be empty; deploy tables with an earlier \
             --since (flowherd sql), or use --everywhere",
            begins(since),
            of.tables[0]
        )));
    }
    if span.from < since {
        print_message(&format!(
            "the time before {} is not read, because the partitions of {} begin then",
            begins(since),
            of.tables[0]
        ));
    }
    Ok(Some(Span { from: span.from - HOUR, to: span.to + i64::from(late) * HOUR }))
}

impl From<QuestionError> for Stop {
    fn from(error: QuestionError) -> Self {
        let hint = match &error {
            QuestionError::Missing { parameter: Parameter::Run, .. } => "; list runs with `flowherd runs`",
            QuestionError::Missing { parameter: Parameter::Ip, .. } => "; an example: --ip 10.0.0.5",
            _ => "",
        };
        Self::usage(format!("{error}{hint}"))
    }
}

/// Warns of hours in a statement that are outside the partitions of the tables, because they return no rows.
pub(super) fn warn_of_hours_outside(sql: &str, found: &[TableMetadata]) {
    let Some(since) = found.iter().find_map(tables::since_text) else { return };
    if !sql.to_ascii_lowercase().contains(DATEHOUR) {
        return;
    }
    let now = Timestamp::now().strftime("%Y/%m/%d").to_string();
    for literal in sql.split('\'').skip(1).step_by(2) {
        let Some(day) = literal.get(..10).filter(|day| is_day(day)) else { continue };
        if day < since.get(..10).unwrap_or_default() {
            print_message(&format!(
                "'{literal}' is before {since}, when the partitions of the tables begin, so it returns no rows"
            ));
        } else if day > &*now {
            print_message(&format!("'{literal}' is in the future, so it returns no rows"));
        }
    }
}

fn is_day(text: &str) -> bool {
    text.bytes()
        .enumerate()
        .all(|(at, byte)| if matches!(at, 4 | 7) { byte == b'/' } else { byte.is_ascii_digit() })
}
