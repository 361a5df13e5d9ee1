//! The questions that are ready: a name and what is asked becomes a statement on the tables that there are.

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
    summary::{columns, tell},
};

const HOUR: i64 = 3600;
/// So long CloudWatch Logs tries to deliver.
const LATE_HOURS: u16 = 24;
const DAY: i64 = 24 * HOUR;
/// Where every file is read, however late its records came: a month, in seconds.
const UNLIMITED: i64 = 30 * DAY;

/// `--list`.
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

/// One of them by name.
pub(super) fn find(name: &str) -> Result<&'static Question, Stop> {
    Question::find(name).ok_or_else(|| {
        let near = QUESTIONS.iter().find(|question| {
            question.name.split('-').any(|word| name.split(['-', '_', ' ']).any(|other| other == word))
        });
        let near = near.map_or_else(String::new, |near| format!("perhaps {}; ", near.name));
        Stop::usage(format!("there is no question {name:?}; {near}flowherd query --list shows them all"))
    })
}

/// The time that is asked for.
pub(super) fn span(args: &QuestionArgs) -> Result<Span, Stop> {
    let utc = |time: DateTime| time.to_zoned(TimeZone::UTC).map(|time| time.timestamp().as_second());
    let unfit = |error: jiff::Error| Stop::usage(format!("the time does not fit: {error}"));
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
        return Err(Stop::usage("the time ends before it begins; an example: --last 24h"));
    }
    if span.from >= Timestamp::now().as_second() {
        return Err(Stop::usage("the time asked for has not come yet; an example: --last 24h"));
    }
    if span.from < 0 {
        return Err(Stop::usage("the time asked for begins before 1970; an example: --last 24h"));
    }
    Ok(span)
}

/// The statement on the views, for any reader of them.
pub(super) fn printed(question: &Question, args: &QuestionArgs) -> Result<String, Stop> {
    let span = span(args)?;
    tables::check_name(args.table())?;
    if question.reads_flows() {
        tell(
            "where the tables have hours, add a condition on \"datehour\" to each WHERE: Athena reads every file otherwise",
        );
    }
    let rows = Rows {
        flows: questions::of_view(args.table(), span),
        before: questions::of_view(args.table(), span.before()),
        rejects: questions::of_rejects_view(span),
    };
    Ok(question.statement(&arguments(args), &rows)?)
}

/// A flag that a question has no use for would seem to be answered.
pub(super) fn refuse_what_it_does_not_take(question: &Question, args: &QuestionArgs) -> Result<(), Stop> {
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
                "{} does not take --{flag}; flowherd query --list shows what each asks",
                question.name
            )));
        }
    }
    Ok(())
}

/// The statement on the tables of a database, for one row more than is asked, and the records that it reads.
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

/// The columns that the question reads, or which of them the table lacks.
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

/// The hours of arrival to read. Refused where the tables have no such hours: the answer would be nothing.
fn hours(of: &RowsOf, span: Span, late: u16) -> Result<Option<Span>, Stop> {
    let Some(since) = of.since else { return Ok(None) };
    let begins = |since: i64| {
        let time = Timestamp::from_second(since).map(|time| time.strftime("%Y-%m-%d").to_string());
        time.unwrap_or_default()
    };
    if span.to <= since {
        return Err(Stop::usage(format!(
            "that time is before {}, where the hours of {} begin: it would read as nothing; deploy tables with an earlier \
             --since (flowherd sql), or ask --everywhere",
            begins(since),
            of.tables[0]
        )));
    }
    if span.from < since {
        tell(&format!(
            "the time before {} is not read: the hours of {} begin there",
            begins(since),
            of.tables[0]
        ));
    }
    Ok(Some(Span { from: span.from - HOUR, to: span.to + i64::from(late) * HOUR }))
}

impl From<QuestionError> for Stop {
    fn from(error: QuestionError) -> Self {
        let hint = match &error {
            QuestionError::Missing { parameter: Parameter::Run, .. } => "; flowherd runs lists them",
            QuestionError::Missing { parameter: Parameter::Ip, .. } => "; an example: --ip 10.0.0.5",
            _ => "",
        };
        Self::usage(format!("{error}{hint}"))
    }
}

/// Tells of hours in a statement that lie outside those which the tables have: they read as nothing.
pub(super) fn tell_of_hours_outside(sql: &str, found: &[TableMetadata]) {
    let Some(since) = found.iter().find_map(tables::since_text) else { return };
    if !sql.to_ascii_lowercase().contains(DATEHOUR) {
        return;
    }
    let now = Timestamp::now().strftime("%Y/%m/%d").to_string();
    for literal in sql.split('\'').skip(1).step_by(2) {
        let Some(day) = literal.get(..10).filter(|day| is_day(day)) else { continue };
        if day < since.get(..10).unwrap_or_default() {
            tell(&format!(
                "'{literal}' is before {since}, where the hours of the tables begin: it reads as nothing"
            ));
        } else if day > &*now {
            tell(&format!("'{literal}' has not come yet: it reads as nothing"));
        }
    }
}

fn is_day(text: &str) -> bool {
    text.bytes()
        .enumerate()
        .all(|(at, byte)| if matches!(at, 4 | 7) { byte == b'/' } else { byte.is_ascii_digit() })
}
