//! `flowherd sql`: prints the definitions of tables and views.

use std::{fs, path::Path};

use flowherd_shared::ledger::Run;
use serde::Serialize;

use crate::{
    args::{Dialect, SqlArgs},
    inputs,
    query::{
        questions::{Arguments, Parameter, QUESTIONS, Question, last_day},
        schema::{self, Layout, Schema},
    },
    stop::Stop,
    summary,
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
    let plan = inputs::plan(args.config.as_ref(), None)?;
    let layout =
        Layout { firehose: args.firehose.clone(), since: args.since.strftime("%Y/%m/%d").to_string() };
    if args.dialect == Dialect::Duckdb && !layout.firehose.is_empty() {
        return Err(Stop::usage(
            "--firehose needs --dialect athena or glue; DuckDB reads every file below a directory",
        ));
    }
    let schema = Schema::new(&plan.config, &layout).map_err(Stop::Usage)?;
    let statements = |statements: Vec<String>| -> String {
        statements.iter().map(|statement| format!("{statement};\n\n")).collect()
    };
    let text = match args.dialect {
        Dialect::Athena => statements(schema::athena(&schema, &args.results)),
        Dialect::Duckdb => {
            warn_of_other_rules(&args.results, &plan.config.hash);
            statements(schema::duckdb(&plan.config, &args.results))
        }
        Dialect::Glue => {
            let flows = plan.config.tables.iter().find(|table| table.enriched);
            let queries =
                flows.map_or_else(Vec::new, |table| saved(&table.name, !layout.firehose.is_empty()));
            let text = serde_json::to_string_pretty(&ForStack { schema, queries });
            text.map_err(anyhow::Error::new)? + "\n"
        }
    };
    summary::print(&text)
}

/// Warns of runs with other rules, because CSV is read by position and their columns may differ.
fn warn_of_other_rules(results: &str, hash: &str) {
    let Ok(runs) = fs::read_dir(Path::new(results).join("runs")) else { return };
    let read = |entry: fs::DirEntry| -> Option<Run> {
        serde_json::from_slice(&fs::read(entry.path().join("run.json")).ok()?).ok()
    };
    let runs = runs.filter_map(|entry| read(entry.ok()?));
    let mut others: Vec<String> =
        runs.filter(|run| run.fingerprint.config_hash != hash).map(|run| run.run).collect();
    others.sort_unstable();
    if let Some(last) = others.last() {
        summary::print_message(&format!(
            "{} run(s) below {results}, the last one {last}, had other rules than these; if their columns differ, their rows \
             would be misread; pass their rules with --config, or convert again",
            others.len()
        ));
    }
}

/// Returns the questions on the last day, with examples for needed arguments.
fn saved(table: &str, has_hours: bool) -> Vec<SavedQuery> {
    let query = |question: &Question| {
        let needed: Vec<&str> = question.needed.iter().map(|parameter| parameter.flag()).collect();
        let needs = |parameter: Parameter| question.needed.contains(&parameter).then_some(());
        let examples = Arguments {
            ip: needs(Parameter::Ip).map(|()| std::net::Ipv4Addr::new(10, 0, 0, 5).into()),
            run: needs(Parameter::Run).map(|()| "RUN".to_owned()),
            ..Arguments::default()
        };
        let sql = question.statement(&examples, &last_day(table, has_hours)).ok()?;
        let change = match &needed[..] {
            [] => String::new(),
            needed => format!(" Write your own {} into it.", needed.join(" and ")),
        };
        let description: String =
            format!("{}.{change} {}", question.title(), question.explanation()).chars().take(1024).collect();
        Some(SavedQuery { name: format!("Flowherd: {}", question.name), description, sql })
    };
    QUESTIONS.iter().filter_map(query).collect()
}
