//! `flowherd query --local`: a query or a question about the results of `flowherd convert`, in `DuckDB`.

use std::{fs, io::BufRead, path::Path};

use anyhow::Context;
use flowherd_shared::{config::Config, ledger::Run};
use indicatif::HumanCount;

use crate::{
    args::QueryArgs,
    duckdb::{Engine, Format},
    fleet::query::{MAX_TABLE_ROWS, extent, named},
    inputs,
    query::{
        layout::Layouts,
        questions::{self, LIMIT, Question, Rows, Source, Span},
        schema,
    },
    results_dir::{ResultsDir, fail_on},
    sql,
    stop::Stop,
    summary::{self, print_message, table},
    terminal, times,
    words::counted,
};

/// Runs the query on the results in a directory, and prints its rows.
pub(crate) fn query(args: &QueryArgs, local: &Path) -> Result<(), Stop> {
    let dir = ResultsDir::open("--local", local)?;
    let question = args.named.as_deref().map(named::find).transpose()?;
    named::check_usage(args, question)?;
    let more = &args.question;
    for (flag, is_given) in
        [("everywhere", more.everywhere), ("late", more.late.is_some()), ("anyway", more.anyway)]
    {
        if is_given {
            return Err(Stop::usage(format!("--{flag} is for Athena; --local always reads every file")));
        }
    }
    let (runs, damaged) = dir.runs()?;
    if args.config.is_none() {
        // One of these may be the latest run.
        fail_on(&damaged)?;
    }
    let config = rules(args, &dir, runs.last())?;
    let root = fs::canonicalize(local).with_context(|| format!("cannot open {}", local.display()))?;
    let root =
        root.to_str().ok_or_else(|| Stop::usage("--local: the path is not UTF-8; rename the directory"))?;
    sql::warn_of_other_rules(root, &runs, &config);
    let views: String = schema::duckdb(&config, root, &Layouts::default())
        .iter()
        .map(|statement| format!("{statement};\n"))
        .collect();
    let results = Results { engine: Engine::find()?, views, args };
    let Some(question) = question else {
        let sql = args.sql.clone().unwrap_or_default();
        results.print(&sql, usize::MAX, "")?;
        return fail_on(&damaged);
    };
    results.ask(question, &config)?;
    fail_on(&damaged)
}

/// Returns the rules of `--config`, or else those of the latest run.
fn rules(args: &QueryArgs, dir: &ResultsDir, latest: Option<&Run>) -> Result<Config, Stop> {
    if args.config.is_some() {
        return inputs::config(args.config.as_ref());
    }
    let Some(run) = latest else {
        return Err(Stop::usage(
            "the directory has no run; convert into it, or give the rules with --config",
        ));
    };
    dir.rules(run)?.ok_or_else(|| {
        Stop::usage(format!("the rules of run {} are not in its ledger; give them with --config", run.run))
    })
}

/// The views of the results, and how their rows are printed.
struct Results<'a> {
    engine: Engine,
    views: String,
    args: &'a QueryArgs,
}

impl Results<'_> {
    /// Asks a question, and prints what explains its answer.
    fn ask(&self, question: &Question, config: &Config) -> Result<(), Stop> {
        let args = &self.args.question;
        let span = named::span(args)?;
        if question.reads_flows() {
            named::check_columns(question, args, config)?;
        }
        let rows = Rows {
            flows: questions::of_view(args.table(), span),
            before: questions::of_view(args.table(), span.before()),
            rejects: questions::of_rejects_view(span),
        };
        let mut arguments = named::arguments(args);
        let limit = arguments.limit.unwrap_or(LIMIT);
        arguments.limit = Some(limit.saturating_add(1));
        let time = |span: Span| format!("{} to {}", times::text(span.from), times::text(span.to));
        let has_time = question.source != Source::Ledger;
        let of = if has_time { format!(" of {}", time(span)) } else { String::new() };
        let count = self.print(&question.statement(&arguments, &rows)?, limit as usize, &of)?;
        let table = if question.reads_flows() { args.table() } else { "ledger_rejects" };
        if count == 0 && has_time {
            let sql = format!("SELECT min(\"timestamp\"), max(\"timestamp\") FROM \"{table}\"");
            let found = self.first_row(&sql)?.unwrap_or_default();
            let value = |at: usize| found.get(at).filter(|value| !value.is_empty()).map(String::as_str);
            print_message(&extent::message(table, value(0), value(1)));
        }
        if question.source == Source::FlowsAndBefore
            && self.first_row(&questions::any_row(&rows.before))?.is_none()
        {
            print_message(&format!(
                "the table has no rows of {}, the time before, so every destination counts as new",
                time(span.before())
            ));
        }
        Ok(())
    }

    /// Returns the first row of a query.
    fn first_row(&self, sql: &str) -> Result<Option<Vec<String>>, Stop> {
        self.engine.query(&self.views, sql, Format::Csv, |result| {
            let first = csv::Reader::from_reader(result).into_records().next();
            let first = first.transpose().context("cannot read the result of DuckDB")?;
            Ok(first.map(|row| row.iter().map(str::to_owned).collect()))
        })
    }

    /// Runs a query and prints up to `limit` rows. Returns their count. `of` describes the rows.
    fn print(&self, sql: &str, limit: usize, of: &str) -> Result<u64, Stop> {
        let format = if self.args.json { Format::Json } else { Format::Csv };
        let rows =
            self.engine.query(&self.views, sql, format, |result| match (self.args.json, self.args.csv) {
                (true, _) => print_json(result, limit),
                (false, true) => print_csv(result, limit),
                (false, false) => print_table(result, limit),
            })?;
        if self.args.json {
            summary::print(if rows == 0 { "[]\n" } else { "\n]\n" })?;
        }
        // The statement returns one row more than the limit, to find out whether there are more.
        let shown = rows.min(limit) as u64;
        if rows > limit {
            let these = match shown {
                1 => "this 1 row".to_owned(),
                _ => format!("these {} rows", HumanCount(shown)),
            };
            print_message(&format!("there are more than {these}; raise --limit to see them"));
        }
        print_message(&format!("{}{of}", counted(shown, "row", "rows")));
        Ok(shown)
    }
}

/// Prints the lines of JSON as an array without its end. Returns the number of rows.
fn print_json(result: &mut dyn BufRead, limit: usize) -> Result<usize, Stop> {
    let mut rows = 0;
    for line in result.lines() {
        let line = line.context("cannot read the result of DuckDB")?;
        if rows < limit {
            let before = if rows == 0 { "[\n  " } else { ",\n  " };
            summary::print(&format!("{before}{line}"))?;
        }
        rows += 1;
    }
    Ok(rows)
}

fn print_csv(result: &mut dyn BufRead, limit: usize) -> Result<usize, Stop> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(result);
    let mut rows = 0;
    for (at, record) in reader.byte_records().enumerate() {
        let record = record.context("cannot read the result of DuckDB")?;
        // The first record is the header.
        if at <= limit {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_byte_record(&record).context("cannot print CSV")?;
            let bytes = writer.into_inner().context("cannot print CSV")?;
            summary::print(&String::from_utf8_lossy(&bytes))?;
        }
        rows = at;
    }
    Ok(rows)
}

fn print_table(result: &mut dyn BufRead, limit: usize) -> Result<usize, Stop> {
    let mut reader = csv::Reader::from_reader(result);
    let head = reader.headers().context("cannot read the result of DuckDB")?.clone();
    let head: Vec<&str> = head.iter().collect();
    let mut numbers = vec![true; head.len()];
    let (mut rows, mut count, mut is_cut) = (Vec::new(), 0, false);
    for record in reader.records() {
        let record = record.context("cannot read the result of DuckDB")?;
        is_cut = count == MAX_TABLE_ROWS;
        if is_cut {
            break;
        }
        count += 1;
        if count <= limit {
            for (value, is_number) in record.iter().zip(&mut numbers) {
                *is_number &= value.is_empty() || value.parse::<f64>().is_ok();
            }
            rows.push(record.iter().map(str::to_owned).collect::<Vec<_>>());
        }
    }
    let is_number = |column: usize| !rows.is_empty() && numbers.get(column) == Some(&true);
    summary::print(&table::render(&head, &rows, is_number, terminal::width()))?;
    if is_cut {
        print_message(&format!(
            "only the first {MAX_TABLE_ROWS} rows are shown; use --csv or --json for all"
        ));
    }
    Ok(count)
}
