//! The part of docs/log-types.md that is generated from the presets.

use std::{collections::HashMap, env, fmt::Write, fs};

use flowherd_shared::{
    config::Config,
    presets::{PRESETS, Preset},
    table::{Column, ColumnType, TIMESTAMP},
};
use toml::Value;

use super::super::docs::markdown::{read, root};

const PAGE: &str = "docs/log-types.md";
/// The line between the written and the generated part of the page.
const MARK: &str = "<!-- Generated from shared/presets/ below this line. To write it again:\n\
                    UPDATE_DOCS=1 cargo test --locked -p flowherd-tests --test all presets::page -->\n";

#[test]
fn the_page_of_log_types_matches_the_presets() {
    let page = read(PAGE);
    let (head, below) = page.split_once(MARK).unwrap_or_else(|| panic!("{PAGE} has no line\n{MARK}"));
    let generated = generated();
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(root().join(PAGE), format!("{head}{MARK}{generated}")).unwrap();
        return;
    }
    assert!(
        below == generated,
        "{PAGE} differs from the presets; update it with\n\
         UPDATE_DOCS=1 cargo test --locked -p flowherd-tests --test all presets::page"
    );
}

fn generated() -> String {
    let mut page =
        "\n## All presets\n\n| preset | logs | table | columns |\n| --- | --- | --- | ---: |\n".to_owned();
    for preset in PRESETS {
        let (name, title) = (preset.name, preset.heading().0);
        let (table, columns) = match table_of(preset) {
            Some((table, columns)) => (format!("`{table}`"), columns.len().to_string()),
            None => ("of other rules".to_owned(), String::new()),
        };
        writeln!(page, "| [{name}](#{name}) | {title} | {table} | {columns} |").unwrap();
    }
    PRESETS.iter().for_each(|preset| section(preset, &mut page));
    page
}

/// The name of the preset's table and its columns.
fn table_of(preset: &Preset) -> Option<(String, Vec<Column>)> {
    let config = Config::parse(preset.text).unwrap_or_else(|error| panic!("preset {}: {error}", preset.name));
    config.tables.into_iter().next().map(|table| (table.name, table.columns))
}

fn section(preset: &Preset, page: &mut String) {
    let file: toml::Table = preset.text.parse().unwrap();
    let rule = &file["rule"][0];
    let (title, description) = preset.heading();
    write!(page, "\n### {}\n\n{}: {}.\n\n", preset.name, plain(title), plain(description)).unwrap();
    writeln!(page, "- Takes: {}", takes(rule)).unwrap();
    let sources: Vec<String> = preset.sources().map(|url| format!("<{url}>")).collect();
    writeln!(page, "- Reference: {}", sources.join(", ")).unwrap();
    if let Some(time) = rule.get("timestamp") {
        writeln!(page, "- Time of records outside envelopes: {}", time_of(time)).unwrap();
    }
    for (key, text) in [("records", "Records: the elements of"), ("unwrap", "Message: the string at")] {
        if let Some(pointer) = rule.get(key).and_then(Value::as_str) {
            writeln!(page, "- {text} `{pointer}`").unwrap();
        }
    }
    if let Some(required) = rule.get("required").and_then(Value::as_array) {
        let names: Vec<String> = required.iter().map(|name| code(name.as_str().unwrap())).collect();
        writeln!(page, "- Required columns: {}", names.join(", ")).unwrap();
    }
    for paragraph in notes(preset) {
        writeln!(page, "\n{paragraph}").unwrap();
    }
    let Some((_, columns)) = table_of(preset) else { return };
    let columns: Vec<&Column> = columns.iter().filter(|column| column.name != TIMESTAMP).collect();
    let paths = paths(rule);
    if paths.is_empty() {
        let names: Vec<String> = columns.iter().map(|column| with_type(column)).collect();
        writeln!(page, "\nColumns: {}.", names.join(", ")).unwrap();
        return;
    }
    page.push_str("\n| column | type | path |\n| --- | --- | --- |\n");
    for column in columns {
        let path = paths.get(&*column.name).map_or_else(String::new, |path| code(path));
        writeln!(page, "| `{}` | {} | {path} |", column.name, type_name(column.kind)).unwrap();
    }
}

/// The patterns of a rule, in words.
fn takes(rule: &Value) -> String {
    let Some(matches) = rule.get("match") else { return "every record".to_owned() };
    let entries = match matches {
        Value::Array(entries) => entries.clone(),
        entry => vec![entry.clone()],
    };
    let words = entries.iter().map(|entry| {
        let patterns = entry.as_table().unwrap().iter();
        let words = patterns
            .map(|(key, pattern)| format!("{} {}", key.replace('_', " "), code(pattern.as_str().unwrap())));
        words.collect::<Vec<_>>().join(" and ")
    });
    words.collect::<Vec<_>>().join(", or ")
}

fn time_of(time: &Value) -> String {
    let text = |key: &str| time.get(key).and_then(Value::as_str).map(code);
    if let (Some(path), Some(unit)) = (text("path"), text("unit").or_else(|| text("format"))) {
        return format!("{path} ({unit})");
    }
    let columns = time["columns"].as_array().unwrap().iter();
    let columns: Vec<String> = columns.map(|column| code(column.as_str().unwrap())).collect();
    format!("{} ({})", columns.join(", "), text("format").unwrap())
}

/// The paragraphs of the file's comment after its first line and its sources. Indented lines are an example.
fn notes(preset: &Preset) -> Vec<String> {
    let comment = preset.text.lines().skip(1).take_while(|line| line.starts_with('#'));
    let lines: Vec<&str> = comment
        .filter(|line| !line.starts_with("# Columns: "))
        .map(|line| line.trim_start_matches('#').trim_end())
        .collect();
    let is_example = |line: &&str| line.starts_with("   ");
    let ends_with_url = |line: &str| line.rsplit(' ').next().is_some_and(|word| word.starts_with("https://"));
    let kinds = lines.chunk_by(|a, b| {
        is_example(a) == is_example(b) && !a.is_empty() && !b.is_empty() && !ends_with_url(a)
    });
    let notes = kinds.filter(|lines| !lines[0].is_empty()).map(|lines| {
        if is_example(&lines[0]) {
            let example: Vec<&str> = lines.iter().map(|line| line.trim_start()).collect();
            return format!("```toml\n{}\n```", example.join("\n"));
        }
        plain(lines.join("").trim_start())
    });
    notes.collect()
}

/// The path of each column of a JSON format.
fn paths(rule: &Value) -> HashMap<&str, &str> {
    let columns = rule.get("format").and_then(|format| format.get("columns")).and_then(Value::as_array);
    let columns = columns.into_iter().flatten().map(|column| {
        let path = column.get("path").or_else(|| column.get("jsonpath"));
        (column["name"].as_str().unwrap(), path.unwrap().as_str().unwrap())
    });
    columns.collect()
}

fn with_type(column: &Column) -> String {
    match column.kind {
        ColumnType::String => code(&column.name),
        kind => format!("{} {}", code(&column.name), type_name(kind)),
    }
}

fn type_name(kind: ColumnType) -> String {
    serde_json::to_value(kind).unwrap().as_str().unwrap().to_owned()
}

fn code(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|"))
}

/// Text with its code spans and links, and without other characters of Markdown.
fn plain(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(at, part)| {
        if at % 2 == 1 {
            return code(part);
        }
        part.split(' ').map(word).collect::<Vec<_>>().join(" ")
    });
    parts.collect()
}

fn word(word: &str) -> String {
    if word.starts_with("https://") {
        return format!("<{word}>");
    }
    word.chars().fold(String::new(), |mut escaped, character| {
        if "\\*_<>[]|".contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
        escaped
    })
}
