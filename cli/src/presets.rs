//! `flowherd presets`: lists the log types that Flowherd knows, and prints their rules.

use anyhow::Context;
use flowherd_shared::{
    config::Config,
    presets::{self, PRESETS, Preset},
    table::{ColumnType, Table},
};
use serde::Serialize;

use crate::{
    args::{PresetsAction, PresetsArgs},
    stop::Stop,
    summary,
};

/// A preset, in the JSON output.
#[derive(Serialize)]
struct Listed<'a> {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    sources: Vec<&'static str>,
    /// Null if the records go to the tables of other rules.
    table: Option<&'a str>,
    columns: Vec<ListedColumn<'a>>,
}

#[derive(Serialize)]
struct ListedColumn<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: ColumnType,
}

/// Prints the list, or one rule.
pub(crate) fn presets(args: &PresetsArgs) -> Result<(), Stop> {
    if let Some(PresetsAction::Show { name }) = &args.action {
        let text = presets::find(name).ok_or_else(|| Stop::usage(presets::unknown(name)))?;
        return summary::print(text);
    }
    let configs: Vec<(&Preset, Config)> = PRESETS
        .iter()
        .map(|preset| {
            let config = Config::parse(preset.text).with_context(|| format!("preset {}", preset.name))?;
            Ok((preset, config))
        })
        .collect::<Result<_, anyhow::Error>>()?;
    let presets = configs.iter().map(|(preset, config)| (*preset, config.tables.first()));
    summary::print(&if args.json { json(presets)? } else { table(presets) })
}

fn table<'a>(presets: impl Iterator<Item = (&'a Preset, Option<&'a Table>)>) -> String {
    let rows = presets.map(|(preset, table)| {
        let (name, columns) = match table {
            Some(table) => (table.name.clone(), table.columns.len().to_string()),
            None => ("of other rules".to_owned(), String::new()),
        };
        vec![preset.name.to_owned(), preset.heading().0.to_owned(), name, columns]
    });
    let list = summary::columns(&["preset", "logs", "table", "columns"], rows, 3);
    format!(
        "{list}\nUse one in flowherd.toml:\n  [[rule]]\n  preset = \"waf\"\n\nPrint its rule, to change it: flowherd presets show waf\n"
    )
}

fn json<'a>(presets: impl Iterator<Item = (&'a Preset, Option<&'a Table>)>) -> Result<String, anyhow::Error> {
    let listed: Vec<Listed<'_>> = presets
        .map(|(preset, table)| {
            let (title, description) = preset.heading();
            let columns = table.map_or(&[][..], |table| &table.columns);
            let columns = columns.iter().map(|column| ListedColumn { name: &column.name, kind: column.kind });
            Listed {
                name: preset.name,
                title,
                description,
                sources: preset.sources().collect(),
                table: table.map(|table| &*table.name),
                columns: columns.collect(),
            }
        })
        .collect();
    Ok(serde_json::to_string_pretty(&listed).context("cannot write the presets as JSON")? + "\n")
}
