//! `flowherd query`: runs a statement or a prepared question on Athena and prints the result.

mod athena;
mod named;
mod shifted;
mod tables;

use std::time::Duration;

use anyhow::{Context, anyhow};
use aws_sdk_athena::types::TableMetadata;
use comfy_table::CellAlignment;
use flowherd_aws::Aws;
use flowherd_coordinator::runs;
use indicatif::{HumanBytes, HumanCount, ProgressBar};

use self::athena::{Athena, Column, Values};
use super::{
    patience::Patience,
    stack::{self, Outputs},
};
use crate::{
    args::QueryArgs,
    query::questions::LIMIT,
    stop::Stop,
    summary::{self, finish, plain_table, print_message, printable},
};

/// Dollars for each byte scanned, in us-east-1 (<https://aws.amazon.com/athena/pricing/>): 5 a terabyte, and 10 MB at
/// least.
const DOLLARS_A_BYTE: f64 = 5.0 / 1e12;
const LEAST_BYTES: u64 = 10 << 20;
/// Maximum rows of a printed table, whose column widths need all rows.
const MAX_TABLE_ROWS: usize = 10_000;

/// Runs the query, waits for it, and prints the result.
pub(crate) fn query(args: &QueryArgs) -> Result<(), Stop> {
    if args.list {
        return summary::print(&named::list());
    }
    if let (Some(flag), None) = (args.question.given().next(), &args.named) {
        return Err(Stop::usage(format!(
            "--{flag} needs --named; write the condition into the statement instead"
        )));
    }
    let question = args.named.as_deref().map(named::find).transpose()?;
    if let Some(question) = question {
        named::check_flags(question, &args.question)?;
    }
    if let Some(question) = question.filter(|_| args.question.print) {
        return summary::print(&(named::printed(question, &args.question)? + ";\n"));
    }
    let asked =
        question.map(|question| Ok::<_, Stop>((question, named::span(&args.question)?))).transpose()?;
    let patience = Patience::new(Duration::from_secs(args.fleet.timeout));
    let aws = Aws::connect().context("cannot start the runtime")?;
    let stack = patience.during("the outputs of the stack", || stack::outputs(&aws, &args.fleet))?;
    let athena = Athena::new(&aws, stack.needed("Database")?, stack.needed("Workgroup")?);
    let found = patience.during("the tables of the database", || athena.tables())?;
    let check = Check { aws: &aws, stack: &stack, found: &found };
    let mut limit = usize::MAX;
    let sql = if let Some((question, span)) = asked {
        let more = &args.question;
        let (sql, reads) = named::on_tables(question, more, span, &found)?;
        if question.reads_flows() {
            check.refuse(more.table(), reads, more.anyway)?;
        }
        limit = more.limit.unwrap_or(LIMIT) as usize;
        sql
    } else {
        let sql = args.sql.clone().unwrap_or_default();
        named::warn_of_dates_outside(&sql, &found);
        check.warn(&sql)?;
        sql
    };

    let id = patience.during("the start of the query", || athena.start(&sql))?;
    let progress = ProgressBar::new_spinner().with_message(format!("query {id}"));
    progress.enable_steady_tick(Duration::from_millis(200));
    let ended = athena.wait(&id, &progress, &patience);
    progress.finish_and_clear();
    let scanned = ended?;
    let rows = if args.json {
        print_json(&athena, &id, limit)?
    } else if args.csv {
        print_csv(&athena, &id, limit)?
    } else {
        print_table(&athena, &id, limit)?
    };
    // The statement returns one row more than the limit, to find out whether there are more.
    let is_cut = rows > limit as u64;
    let rows = rows.min(limit as u64);
    if is_cut {
        print_message(&format!(
            "there are more than these {} rows; raise --limit to see them",
            HumanCount(rows)
        ));
    }
    let dollars = scanned.max(LEAST_BYTES) as f64 * DOLLARS_A_BYTE;
    print_message(&format!(
        "{} rows; {} scanned, about ${dollars:.5}",
        HumanCount(rows),
        HumanBytes(scanned)
    ));
    Ok(())
}

/// Finds rows that a table would misread.
struct Check<'a> {
    aws: &'a Aws,
    stack: &'a Outputs,
    found: &'a [TableMetadata],
}

impl Check<'_> {
    /// Checks a question's table. Misread rows are an error, or with `anyway` a warning.
    fn refuse(&self, table: &str, reads: shifted::Asked, anyway: bool) -> Result<(), Stop> {
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
        reads: Option<shifted::Asked>,
        is_asked: &dyn Fn(&str) -> bool,
    ) -> Result<Vec<String>, Stop> {
        let mut known: Vec<shifted::Known> = Vec::new();
        for stored in self.found {
            let Some(rows) = tables::rows_of(&stored.name) else { continue };
            // All of them read the same files.
            let everywhere = format!("{rows}_everywhere");
            let is_one = is_asked(rows) || is_asked(&everywhere) || is_asked(&stored.name);
            if is_one && !known.iter().any(|known| known.table == rows) {
                known.push(shifted::Known { table: rows.to_owned(), columns: tables::columns(stored) });
            }
        }
        if known.is_empty() {
            return Ok(Vec::new());
        }
        let owner = self.stack.get("ResultsBucketOwner");
        let results = self.aws.bucket(&self.stack.needed("ResultsBucket")?, owner.as_deref());
        let runs = results.names_below("runs/").and_then(|names| runs::list(&results, &names));
        Ok(runs.and_then(|runs| shifted::find(&results, runs, &known, reads)).unwrap_or_else(|error| {
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
    let mut table = plain_table();
    let mut rows = 0;
    let mut numbers: Vec<bool> = Vec::new();
    let mut is_cut = false;
    athena.answer(id, |columns, page| {
        if table.row_iter().count() == 0 {
            table.add_row(columns.iter().map(|column| printable(&column.name)));
            numbers = vec![true; columns.len()];
        }
        for row in page {
            is_cut = rows == MAX_TABLE_ROWS;
            if is_cut {
                return Ok(false);
            }
            rows += 1;
            if rows > limit {
                continue;
            }
            for ((value, is_number), column) in row.iter().zip(&mut numbers).zip(columns) {
                let looks_so = value.as_ref().is_none_or(|value| value.parse::<f64>().is_ok());
                *is_number &= column.is_number || looks_so;
            }
            table.add_row(row.iter().map(|value| printable(value.as_deref().unwrap_or_default())));
        }
        Ok(true)
    })?;
    for (column, _) in table.column_iter_mut().zip(&numbers).filter(|(_, is_number)| **is_number && rows > 0)
    {
        column.set_cell_alignment(CellAlignment::Right);
    }
    summary::print(&finish(&table))?;
    if is_cut {
        print_message(&format!(
            "only the first {MAX_TABLE_ROWS} rows are shown; use --csv or --json for all"
        ));
    }
    Ok(rows as u64)
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
