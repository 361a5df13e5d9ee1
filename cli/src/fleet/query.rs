//! `flowherd query`: runs a statement or a prepared question on Athena and prints the result.

mod athena;
pub(crate) mod extent;
pub(crate) mod named;
mod shifted;
mod statement;
mod tables;

use std::time::Duration;

use anyhow::anyhow;
use aws_sdk_athena::types::TableMetadata;
use flowherd_aws::Aws;
use flowherd_coordinator::runs::{self, RunList};
use indicatif::{HumanBytes, HumanCount};

use self::{
    athena::{Athena, Column, Values},
    extent::Extent,
};
use super::{
    patience::Patience,
    stack::{self, Outputs},
};
use crate::{
    args::QueryArgs,
    progress::StageLine,
    query::questions::{LIMIT, Source, Span},
    stop::Stop,
    summary::{self, print_message, table},
    terminal, times,
    words::counted,
};

/// Dollars for each byte scanned, in us-east-1 (<https://aws.amazon.com/athena/pricing/>): 5 a terabyte, and 10 MB at
/// least.
const DOLLARS_A_BYTE: f64 = 5.0 / 1e12;
const LEAST_BYTES: u64 = 10 << 20;
/// Maximum rows of a printed table, whose column widths need all rows.
pub(crate) const MAX_TABLE_ROWS: usize = 10_000;

/// Runs the query, waits for it, and prints the result.
pub(crate) fn query(args: &QueryArgs) -> Result<(), Stop> {
    if args.list {
        return summary::print(&named::list());
    }
    let question = args.named.as_deref().map(named::find).transpose()?;
    named::check_usage(args, question)?;
    if let Some(question) = question.filter(|_| args.question.print) {
        return summary::print(&(named::printed(question, &args.question)? + ";\n"));
    }
    if question.is_none() {
        statement::check(args.sql.as_deref().unwrap_or_default(), args.allow_changes).map_err(Stop::usage)?;
    }
    let asked =
        question.map(|question| Ok::<_, Stop>((question, named::span(&args.question)?))).transpose()?;
    let patience = Patience::new(Duration::from_secs(args.fleet.timeout));
    let aws = super::connect(&patience)?;
    let stack = patience.during("the outputs of the stack", || stack::outputs(&aws, &args.fleet))?;
    let athena = Athena::new(&aws, stack.needed("Database")?, stack.needed("Workgroup")?);
    let found = patience.during("the tables of the database", || athena.tables())?;
    let statements = StatementRunner { aws: &aws, stack: &stack, athena: &athena, patience: &patience };
    let check = Check { aws: &aws, stack: &stack, found: &found };
    let Some((question, span)) = asked else {
        let sql = args.sql.clone().unwrap_or_default();
        named::warn_of_dates_outside(&sql, &found);
        check.warn(&sql)?;
        return statements.run(&sql, usize::MAX, "", args).map(drop);
    };
    let more = &args.question;
    let prepared = named::on_tables(question, more, span, &found)?;
    if question.reads_flows() {
        check.refuse(more.table(), prepared.reads, more.anyway)?;
    }
    let limit = more.limit.unwrap_or(LIMIT) as usize;
    let has_time = question.source != Source::Ledger;
    let time = |span: Span| format!("{} to {}", times::text(span.from), times::text(span.to));
    let of = if has_time { format!(" of {}", time(span)) } else { String::new() };
    let rows = statements.run(&prepared.sql, limit, &of, args)?;
    if rows == 0
        && let Some(extent) = &prepared.extent
    {
        let table = if question.reads_flows() { more.table() } else { "ledger_rejects" };
        print_message(&statements.extent(table, extent)?);
    }
    if let Some(before) = &prepared.before
        && statements.values(before)?.is_empty()
    {
        print_message(&format!(
            "the table has no rows of {}, the time before, so every destination counts as new",
            time(span.before())
        ));
    }
    Ok(())
}

/// Runs statements and prints their results.
struct StatementRunner<'a> {
    aws: &'a Aws,
    stack: &'a Outputs,
    athena: &'a Athena<'a>,
    patience: &'a Patience,
}

impl StatementRunner<'_> {
    /// Runs a statement and prints up to `limit` rows. Returns their count. `of` describes the rows.
    fn run(&self, sql: &str, limit: usize, of: &str, args: &QueryArgs) -> Result<u64, Stop> {
        let (id, scanned) = self.execute(sql)?;
        let rows = if args.json {
            print_json(self.athena, &id, limit)?
        } else if args.csv {
            print_csv(self.athena, &id, limit)?
        } else {
            print_table(self.athena, &id, limit)?
        };
        // The statement returns one row more than the limit, to find out whether there are more.
        let is_cut = rows > limit as u64;
        let rows = rows.min(limit as u64);
        if is_cut {
            let shown = match rows {
                1 => "this 1 row".to_owned(),
                _ => format!("these {} rows", HumanCount(rows)),
            };
            print_message(&format!("there are more than {shown}; raise --limit to see them"));
        }
        let dollars = scanned.max(LEAST_BYTES) as f64 * DOLLARS_A_BYTE;
        print_message(&format!(
            "{}{of}; {} scanned, about ${dollars:.5}",
            counted(rows, "row", "rows"),
            HumanBytes(scanned)
        ));
        Ok(rows)
    }

    /// Runs a statement. Returns the id of the query and the number of scanned bytes.
    fn execute(&self, sql: &str) -> Result<(String, u64), Stop> {
        let id = self.patience.during("the start of the query", || self.athena.start(sql))?;
        let progress = StageLine::show(format!("query {id}"));
        let scanned = self.athena.wait(&id, &progress, self.patience)?;
        Ok((id, scanned))
    }

    /// Runs a statement that returns few rows.
    fn values(&self, sql: &str) -> Result<Vec<Values>, Stop> {
        let (id, _) = self.execute(sql)?;
        let mut values = Vec::new();
        self.athena.answer(&id, |_, rows| {
            values.extend(rows);
            Ok(true)
        })?;
        Ok(values)
    }

    /// Returns a message about the time of all rows of a table.
    fn extent(&self, table: &str, extent: &Extent) -> Result<String, Stop> {
        match extent {
            Extent::Folders(tables) => {
                let owner = self.stack.get("ResultsBucketOwner");
                let results = self.aws.bucket(&self.stack.needed("ResultsBucket")?, owner.as_deref());
                let find = || extent::of_folders(table, tables, &|prefix| results.names_below(prefix));
                Ok(self.patience.during("the folders of the table", find).unwrap_or_else(|error| {
                    format!("cannot list the results, so the time of the rows is not known: {error}")
                }))
            }
            Extent::Statement(sql) => {
                let mut rows = self.values(sql)?;
                let row = rows.pop().unwrap_or_default();
                let value = |at: usize| row.get(at).and_then(|value| value.as_deref());
                Ok(extent::message(table, value(0), value(1)))
            }
        }
    }
}

/// Finds rows that a table would misread.
struct Check<'a> {
    aws: &'a Aws,
    stack: &'a Outputs,
    found: &'a [TableMetadata],
}

impl Check<'_> {
    /// Checks a question's table. Misread rows are an error, or with `anyway` a warning.
    fn refuse(&self, table: &str, reads: shifted::Period, anyway: bool) -> Result<(), Stop> {
        let problems = self.misread(Some(reads), &|name| name == table)?;
        if anyway {
            problems.iter().for_each(|problem| print_message(problem));
        } else if !problems.is_empty() {
            return Err(Stop::Usage(problems));
        }
        Ok(())
    }

    /// Checks the tables that a statement names. Misread rows are a warning.
    fn warn(&self, sql: &str) -> Result<(), Stop> {
        let problems = self.misread(None, &|name| mentions(sql, name))?;
        problems.iter().for_each(|problem| print_message(problem));
        Ok(())
    }

    fn misread(
        &self,
        reads: Option<shifted::Period>,
        is_asked: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<String>, Stop> {
        let mut asked: Vec<shifted::StoredTable> = Vec::new();
        for stored in self.found {
            let Some(rows) = tables::rows_of(&stored.name) else { continue };
            // All of them read the same files.
            let everywhere = format!("{rows}_everywhere");
            let is_one = is_asked(rows) || is_asked(&everywhere) || is_asked(&stored.name);
            if is_one && !asked.iter().any(|table| table.name == rows) {
                asked.push(shifted::StoredTable { name: rows.to_owned(), columns: tables::columns(stored) });
            }
        }
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let owner = self.stack.get("ResultsBucketOwner");
        let results = self.aws.bucket(&self.stack.needed("ResultsBucket")?, owner.as_deref());
        let runs = results.names_below("runs/").and_then(|names| runs::list(&results, &names));
        let find = |found: RunList| {
            found.damaged.iter().for_each(|problem| print_message(problem));
            shifted::find(&results, found.runs, &asked, reads)
        };
        Ok(runs.and_then(find).unwrap_or_else(|error| {
            print_message(&format!(
                "cannot read the ledger, so rows with other columns would not be noticed: {error}"
            ));
            Vec::new()
        }))
    }
}

/// Returns whether a statement has this word.
fn mentions(sql: &str, name: &str) -> bool {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    sql.split(|character| !is_part(character)).any(|word| word.eq_ignore_ascii_case(name))
}

fn print_table(athena: &Athena<'_>, id: &str, limit: usize) -> Result<u64, Stop> {
    let (mut head, mut rows): (Vec<String>, Vec<Vec<String>>) = (Vec::new(), Vec::new());
    let mut count = 0;
    let mut numbers: Vec<bool> = Vec::new();
    let mut is_cut = false;
    athena.answer(id, |columns, page| {
        if head.is_empty() {
            head = columns.iter().map(|column| column.name.clone()).collect();
            numbers = vec![true; columns.len()];
        }
        for row in page {
            is_cut = count == MAX_TABLE_ROWS;
            if is_cut {
                return Ok(false);
            }
            count += 1;
            if count > limit {
                continue;
            }
            for ((value, is_number), column) in row.iter().zip(&mut numbers).zip(columns) {
                let looks_so = value.as_ref().is_none_or(|value| value.parse::<f64>().is_ok());
                *is_number &= column.is_number || looks_so;
            }
            rows.push(row.into_iter().map(Option::unwrap_or_default).collect());
        }
        Ok(true)
    })?;
    let is_number = |column: usize| !rows.is_empty() && numbers.get(column) == Some(&true);
    summary::print(&table::render(&head, &rows, is_number, terminal::width()))?;
    if is_cut {
        print_message(&format!(
            "only the first {MAX_TABLE_ROWS} rows are shown; use --csv or --json for all"
        ));
    }
    Ok(count as u64)
}

fn print_csv(athena: &Athena<'_>, id: &str, limit: usize) -> Result<u64, Stop> {
    let mut rows = 0;
    let mut is_first = true;
    athena.answer(id, |columns, page| {
        let mut writer = csv::Writer::from_writer(Vec::new());
        if std::mem::take(&mut is_first) {
            writer.write_record(columns.iter().map(|column| &column.name)).map_err(anyhow::Error::new)?;
        }
        for row in page.iter().take(limit.saturating_sub(rows)) {
            writer
                .write_record(row.iter().map(|value| value.as_deref().unwrap_or_default()))
                .map_err(anyhow::Error::new)?;
        }
        rows += page.len();
        let bytes = writer.into_inner().map_err(|error| anyhow!("{error}"))?;
        summary::print(&String::from_utf8_lossy(&bytes))?;
        Ok(true)
    })?;
    Ok(rows as u64)
}

fn print_json(athena: &Athena<'_>, id: &str, limit: usize) -> Result<u64, Stop> {
    let mut rows = 0;
    athena.answer(id, |columns, page| {
        for row in page {
            if rows < limit {
                let before = if rows == 0 { "[\n  " } else { ",\n  " };
                summary::print(&format!("{before}{}", object(columns, row)))?;
            }
            rows += 1;
        }
        Ok(true)
    })?;
    summary::print(if rows == 0 { "[]\n" } else { "\n]\n" })?;
    Ok(rows as u64)
}

/// Returns one row as a JSON object, with its values in the order of the columns.
fn object(columns: &[Column], row: Values) -> String {
    let value = |column: &Column, value: Option<String>| match value {
        None => serde_json::Value::Null,
        Some(text) if column.is_number => {
            serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text))
        }
        Some(text) => serde_json::Value::String(text),
    };
    let pairs = columns
        .iter()
        .zip(row)
        .map(|(column, text)| format!("{}:{}", serde_json::Value::from(&*column.name), value(column, text)));
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
}
