//! `flowherd sql`: prints the definitions of tables and views.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader},
    net::IpAddr,
    path::Path,
};

use anyhow::Context;
use flowherd_shared::{config::Config, ledger::Run, table::Table};
use serde::Serialize;
use walkdir::WalkDir;

use crate::{
    args::{Dialect, SqlArgs},
    inputs,
    query::{
        layout::{Layout, Layouts, Sample, Template},
        questions::{Arguments, Network, Parameter, QUESTIONS, Question, Source, last_day, placeholder},
        schema::{self, Schema},
    },
    results_dir::{ResultsDir, fail_on},
    stop::Stop,
    summary,
    words::counted,
};

/// The input of the stack.
#[derive(Serialize)]
struct ForStack {
    #[serde(flatten)]
    schema: Schema,
    queries: Vec<SavedQuery>,
}

/// A saved query for Athena's console.
#[derive(Serialize)]
struct SavedQuery {
    name: String,
    description: String,
    sql: String,
}

/// Prints the definitions.
pub(crate) fn sql(args: &SqlArgs) -> Result<(), Stop> {
    let config = inputs::config(args.config.as_ref())?;
    let layouts = layouts(args, &config)?;
    let schema = Schema::new(&config, &layouts).map_err(Stop::Usage)?;
    let statements = |statements: Vec<String>| -> String {
        statements.iter().map(|statement| format!("{statement};\n\n")).collect()
    };
    let mut damaged = Vec::new();
    let text = match args.dialect {
        Dialect::Athena => statements(schema::athena(&schema, &args.results)),
        Dialect::Duckdb => {
            let results = location(&args.results)?;
            if !is_url(&args.results) {
                let runs;
                (runs, damaged) = ResultsDir::open("--results", Path::new(&args.results))?.runs()?;
                warn_of_other_rules(&results, &runs, &config);
            }
            statements(schema::duckdb(&config, &results, &layouts))
        }
        Dialect::Glue => {
            let flows = config.tables.iter().find(|table| table.enriched);
            let queries = flows.map_or_else(Vec::new, |table| saved(table, &layouts));
            let text = serde_json::to_string_pretty(&ForStack { schema, queries });
            text.map_err(anyhow::Error::new)? + "\n"
        }
    };
    summary::print(&text)?;
    fail_on(&damaged)
}

fn is_url(results: &str) -> bool {
    results.contains("://")
}

/// Returns the layouts of the keys, checked against a sample if there is one. Columns then have the values of the sample.
fn layouts(args: &SqlArgs, config: &Config) -> Result<Layouts, Stop> {
    let tables: Vec<&str> = config.tables.iter().map(|table| &*table.name).collect();
    let mut layouts = Layouts::parse(&args.layout, &tables, args.since).map_err(Stop::Usage)?;
    if layouts.all.is_empty() {
        return Ok(layouts);
    }
    let mut sample = Sample::new(&layouts);
    match &args.keys {
        Some(file) => add_listed_keys(&mut sample, file)?,
        None => add_keys_of_results(&mut sample, Path::new(&args.results), &tables)?,
    }
    if sample.is_empty() && args.keys.is_some() {
        return Err(Stop::usage("--keys has no key; give one key a line, as they are in the source bucket"));
    }
    let mut notes = if sample.is_empty() {
        let note = "the layouts are not checked; give keys with --keys FILE (one a line), or a directory of results with \
                    --results";
        vec![note.to_owned()]
    } else {
        sample.check().map_err(Stop::Usage)?
    };
    // DuckDB finds the values in the paths of the files.
    if args.dialect != Dialect::Duckdb {
        notes.extend(sample.fill_values(&mut layouts));
        notes.extend(unknown_values(&layouts));
    }
    notes.iter().for_each(|note| summary::print_message(note));
    Ok(layouts)
}

/// Returns a message for each column that a query must have a condition on
/// (<https://docs.aws.amazon.com/athena/latest/ug/partition-projection-dynamic-id-partitioning.html>).
fn unknown_values(layouts: &Layouts) -> Vec<String> {
    let note = |template: &Template, column: &str| {
        format!(
            "--layout {:?}: the values of {column} are not known, so Athena refuses a query without a condition such as \
             {column} = 'VALUE'; give the values as {{{column}:VALUE,VALUE}}, or a sample of keys with --keys",
            template.text()
        )
    };
    let of = |layout: &Layout| {
        let unknown = layout.template.named_columns().filter(|(_, values)| values.is_empty());
        unknown.map(|(column, _)| note(&layout.template, column)).collect::<Vec<_>>()
    };
    layouts.all.iter().flat_map(of).collect()
}

/// Adds the keys of a file, one a line.
fn add_listed_keys(sample: &mut Sample, file: &Path) -> Result<(), Stop> {
    let unreadable = |error: io::Error| Stop::usage(format!("cannot read {}: {error}", file.display()));
    let lines: Box<dyn BufRead> = if file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(BufReader::new(File::open(file).map_err(unreadable)?))
    };
    for line in lines.lines() {
        let line = line.map_err(unreadable)?;
        let key = line.trim_end_matches('\r');
        if !key.is_empty() {
            sample.add(None, key);
        }
    }
    Ok(())
}

/// Adds the source keys of the CSV below a directory of results, if it is one.
fn add_keys_of_results(sample: &mut Sample, results: &Path, tables: &[&str]) -> Result<(), Stop> {
    for table in tables {
        let directory = results.join("csv").join(table);
        if !directory.is_dir() {
            continue;
        }
        for entry in WalkDir::new(&directory).sort_by_file_name() {
            let entry = entry.with_context(|| format!("cannot list {}", directory.display()))?;
            let path = entry.path().strip_prefix(&directory).map_err(anyhow::Error::new)?;
            // Keys have slashes on every system.
            let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
            if let Some(key) = parts.join("/").strip_suffix(".csv.gz").filter(|_| entry.file_type().is_file())
            {
                sample.add(Some(table), key);
            }
        }
    }
    Ok(())
}

/// Returns a location for statements that run in any directory: the absolute path of a directory with results, or a URL.
fn location(results: &str) -> Result<String, Stop> {
    if is_url(results) {
        return Ok(results.to_owned());
    }
    ResultsDir::open("--results", Path::new(results))?;
    let absolute = fs::canonicalize(results).with_context(|| format!("cannot open {results}"))?;
    let path = absolute.into_os_string().into_string();
    path.map_err(|_| Stop::usage("--results: the path is not UTF-8; rename the directory"))
}

/// Warns of runs with other rules, because CSV is read by position and their columns may differ.
pub(crate) fn warn_of_other_rules(results: &str, runs: &[Run], config: &Config) {
    // The columns do not depend on the content of enrichment files.
    let has_other = |run: &&Run| run.fingerprint.config_hash != config.hash_with(&run.enrichment);
    let mut others: Vec<&str> = runs.iter().filter(has_other).map(|run| &*run.run).collect();
    others.sort_unstable();
    if let Some(last) = others.last() {
        summary::print_message(&format!(
            "{} below {results} had other rules than these, the last one {last}; if their columns differ, their rows would be \
             misread; pass their rules with --config, or convert again",
            counted(others.len() as u64, "run", "runs")
        ));
    }
}

/// Returns the questions on the last day that the table can answer, with examples for needed arguments.
fn saved(table: &Table, layouts: &Layouts) -> Vec<SavedQuery> {
    let (flows, all_keys) = (layouts.of_table(&table.name), layouts.of_all_keys());
    let (flows, rejects) = (flows.first().copied(), all_keys.first().copied());
    let rows = last_day(&table.name, flows, rejects);
    let query = |question: &Question| {
        let mut needed: Vec<String> =
            question.needed.iter().map(|parameter| parameter.flag().to_owned()).collect();
        let layout = if question.reads_flows() { flows } else { rejects };
        let columns = layout.into_iter().flat_map(Template::named_columns);
        if question.source != Source::Ledger {
            needed.extend(
                columns.filter(|(_, values)| values.is_empty()).map(|(column, _)| placeholder(column)),
            );
        }
        let needs = |parameter: Parameter| question.needed.contains(&parameter).then_some(());
        let examples = Arguments {
            ip: needs(Parameter::Ip).map(|()| Network::from(IpAddr::from([10, 0, 0, 5]))),
            port: needs(Parameter::Port).map(|()| 22),
            run: needs(Parameter::Run).map(|()| "RUN".to_owned()),
            ..Arguments::default()
        };
        let sql = question.statement(&examples, &rows).ok()?;
        let change = match &needed[..] {
            [] => String::new(),
            needed => format!(" Write your own {} into it.", needed.join(" and ")),
        };
        let description: String =
            format!("{}.{change} {}", question.title(), question.explanation()).chars().take(1024).collect();
        Some(SavedQuery { name: format!("Flowherd: {}", question.name), description, sql })
    };
    let has = |column| table.columns.iter().any(|other| other.name == column);
    QUESTIONS.iter().filter(|question| question.added_columns().all(has)).filter_map(query).collect()
}
