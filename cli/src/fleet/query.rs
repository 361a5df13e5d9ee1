//! `flowherd query`: a statement for Athena, or one of the questions that are ready, and its answer.

mod athena;
mod named;
mod shifted;
mod tables;

use std::time::Duration;

use anyhow::{Context, anyhow};
use aws_sdk_athena::types::TableMetadata;
use comfy_table::CellAlignment;
use flowherd_aws::Aws;
use flowherd_shared::questions::Span;
use indicatif::{HumanBytes, HumanCount, ProgressBar};

use self::athena::{Athena, Column, Values};
use super::stack::{self, Outputs};
use crate::{
    Stop,
    args::QueryArgs,
    summary::{self, finish, plain_table, printable, tell},
};

/// Dollars for each byte scanned, in us-east-1 (<https://aws.amazon.com/athena/pricing/>): 5 a terabyte, and 10 MB at
/// least.
const DOLLARS_A_BYTE: f64 = 5.0 / 1e12;
const LEAST_BYTES: u64 = 10 << 20;
/// Rows of a table; its widths are known only when all are there.
const MAX_TABLE_ROWS: usize = 10_000;

/// Asks, waits, and prints the answer.
pub(crate) fn query(args: &QueryArgs) -> Result<(), Stop> {
    if args.list {
        return summary::print(&named::list());
    }
    let question = args.named.as_deref().map(named::find).transpose()?;
    if let Some(question) = question.filter(|_| args.question.print) {
        return summary::print(&(named::printed(question, &args.question)? + ";\n"));
    }
    let span = question.map(|_| named::span(&args.question)).transpose()?;
    let aws = Aws::connect().context("cannot start the runtime")?;
    let stack = stack::outputs(&aws, &args.fleet)?;
    let athena = Athena::new(&aws, stack.needed("Database")?, stack.needed("Workgroup")?);
    let found = athena.tables()?;
    let sql = match (question, span, &args.sql) {
        (Some(question), Some(span), _) => {
            let sql = named::on_tables(question, &args.question, span, &found)?;
            let table = question.is_of_flows().then_some(&*args.question.table);
            check(&aws, &stack, &found, Some(span), args.question.anyway, &|name| table == Some(name))?;
            sql
        }
        (_, _, sql) => {
            let sql = sql.clone().unwrap_or_default();
            named::tell_of_hours_outside(&sql, &found);
            check(&aws, &stack, &found, None, true, &|name| mentions(&sql, name))?;
            sql
        }
    };

    let id = athena.start(&sql)?;
    let progress = ProgressBar::new_spinner().with_message(format!("query {id}"));
    progress.enable_steady_tick(Duration::from_millis(200));
    let ended = athena.wait(&id, &progress);
    progress.finish_and_clear();
    let scanned = ended?;
    let rows = if args.json {
        print_json(&athena, &id)?
    } else if args.csv {
        print_csv(&athena, &id)?
    } else {
        print_table(&athena, &id)?
    };
    let dollars = scanned.max(LEAST_BYTES) as f64 * DOLLARS_A_BYTE;
    tell(&format!("{} rows; {} scanned, about ${dollars:.5}", HumanCount(rows), HumanBytes(scanned)));
    Ok(())
}

/// Tells of rows that would be misread in a table that is asked; refuses unless they are wanted `anyway`.
fn check(
    aws: &Aws,
    stack: &Outputs,
    found: &[TableMetadata],
    span: Option<Span>,
    anyway: bool,
    is_asked: &dyn Fn(&str) -> bool,
) -> Result<(), Stop> {
    // Under either name, the same files.
    let of =
        |name: &str| name.strip_suffix("_text").map(|name| name.trim_end_matches("_everywhere").to_owned());
    let mut known: Vec<(String, Vec<String>)> = Vec::new();
    for table in found {
        let Some(name) = of(&table.name).filter(|name| is_asked(name) || is_asked(&table.name)) else {
            continue;
        };
        if !known.iter().any(|(other, _)| *other == name) {
            known.push((name, tables::columns(table)));
        }
    }
    if known.is_empty() {
        return Ok(());
    }
    let known: Vec<shifted::Known<'_>> =
        known.iter().map(|(table, columns)| shifted::Known { table, columns }).collect();
    let results = aws.bucket(&stack.needed("ResultsBucket")?, None);
    let runs = results.names_below("runs/");
    let told = match runs.and_then(|runs| shifted::find(&results, &runs, &known, span)) {
        Ok(told) => told,
        Err(error) => {
            tell(&format!(
                "cannot read the ledger, so rows with other columns would not be noticed: {error}"
            ));
            return Ok(());
        }
    };
    if told.is_empty() {
        return Ok(());
    }
    if anyway {
        told.iter().for_each(|problem| tell(problem));
        return Ok(());
    }
    let hint = "to ask all the same: --anyway".to_owned();
    Err(Stop::Usage(told.into_iter().chain([hint]).collect()))
}

/// Whether a statement has that word.
fn mentions(sql: &str, name: &str) -> bool {
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    sql.split(|character| !is_part(character)).any(|word| word.eq_ignore_ascii_case(name))
}

fn print_table(athena: &Athena<'_>, id: &str) -> Result<u64, Stop> {
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
            for ((value, is_number), column) in row.iter().zip(&mut numbers).zip(columns) {
                let looks_so = value.as_ref().is_none_or(|value| value.parse::<f64>().is_ok());
                *is_number &= column.is_number || looks_so;
            }
            table.add_row(row.iter().map(|value| printable(value.as_deref().unwrap_or_default())));
            rows += 1;
        }
        Ok(true)
    })?;
    for (column, _) in table.column_iter_mut().zip(&numbers).filter(|(_, is_number)| **is_number && rows > 0)
    {
        column.set_cell_alignment(CellAlignment::Right);
    }
    summary::print(&finish(&table))?;
    if is_cut {
        tell(&format!("only the first {MAX_TABLE_ROWS} rows are shown; --csv and --json give all"));
    }
    Ok(rows as u64)
}

fn print_csv(athena: &Athena<'_>, id: &str) -> Result<u64, Stop> {
    let mut rows = 0;
    let mut is_first = true;
    athena.answer(id, |columns, page| {
        let mut writer = csv::Writer::from_writer(Vec::new());
        if std::mem::take(&mut is_first) {
            writer.write_record(columns.iter().map(|column| &column.name)).map_err(anyhow::Error::new)?;
        }
        for row in &page {
            writer
                .write_record(row.iter().map(|value| value.as_deref().unwrap_or_default()))
                .map_err(anyhow::Error::new)?;
        }
        rows += page.len() as u64;
        let bytes = writer.into_inner().map_err(|error| anyhow!("{error}"))?;
        summary::print(&String::from_utf8_lossy(&bytes))?;
        Ok(true)
    })?;
    Ok(rows)
}

fn print_json(athena: &Athena<'_>, id: &str) -> Result<u64, Stop> {
    let mut rows = 0;
    athena.answer(id, |columns, page| {
        for row in page {
            summary::print(&format!(
                "{}{}",
                if rows == 0 { "[\n  " } else { ",\n  " },
                object(columns, row)
            ))?;
            rows += 1;
        }
        Ok(true)
    })?;
    summary::print(if rows == 0 { "[]\n" } else { "\n]\n" })?;
    Ok(rows)
}

/// One object, its values in the order of the columns.
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
