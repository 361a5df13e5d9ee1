//! Every preset on its sample in `tests/presets/NAME/`: rows, counts and typed view; the command `flowherd presets`.
//!
//! `in/` has the objects as the service delivers them, decompressed: the test compresses those whose key ends with
//! `.gz`. `expected/KEY.csv` has the rows of one object, from AWS's documents. `flowherd.toml` is present if the preset
//! needs other rules, `rejects.json` if the sample contains rejects.

mod page;
mod together;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use flowherd_shared::{
    config::Config,
    presets::{self, PRESETS, Preset},
    table::{ColumnType, TIMESTAMP, Table},
};
use flowherd_tests::{
    command::{files_below, flowherd},
    objects::{gunzip, gzip},
};
use serde_json::{Value, json};

use super::{
    place::{PROGRAM, Place},
    query::{definitions, python},
};

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("presets")
}

/// A preset's sample, converted.
struct Sample {
    name: &'static str,
    place: Place,
    report: Value,
    config: String,
}

impl Sample {
    fn converted(preset: &Preset) -> Self {
        let name = preset.name;
        let from = samples().join(name);
        let place = Place::new();
        let keys = files_below(&from.join("in"));
        assert!(!keys.is_empty(), "{name}: tests/presets/{name}/in/ has no object");
        for key in keys {
            let text = fs::read(from.join("in").join(&key)).unwrap();
            let is_compressed = Path::new(&key).extension().is_some_and(|end| end == "gz");
            place.object(&key, &if is_compressed { gzip(&text) } else { text });
        }
        let rules = from.join("flowherd.toml");
        let rules = if rules.exists() {
            fs::read_to_string(rules).unwrap()
        } else {
            format!("[[rule]]\npreset = \"{name}\"\n")
        };
        place.file("flowherd.toml", rules.as_bytes());
        let config = place.path("flowherd.toml").to_str().unwrap().to_owned();
        let report = place.report_done(&["--config", &config]);
        Self { name, place, report, config }
    }

    /// The tables of the sample's rules.
    fn tables(&self) -> Vec<Table> {
        Config::parse(&fs::read_to_string(&self.config).unwrap()).unwrap().tables
    }

    /// The rows of each object: key and text. An object with rows in two tables is a mistake of the sample.
    fn rows(&self) -> BTreeMap<String, String> {
        let results = self.place.results().into_iter().filter_map(|(path, bytes)| {
            let (_, key) = path.strip_prefix("csv/")?.split_once('/')?;
            Some((key.strip_suffix(".gz")?.to_owned(), String::from_utf8(gunzip(&bytes)).unwrap()))
        });
        let mut rows = BTreeMap::new();
        for (key, text) in results {
            assert_eq!(rows.insert(key.clone(), text), None, "{}: {key} has rows in two tables", self.name);
        }
        rows
    }

    /// The expected rows of each object.
    fn expected(&self) -> BTreeMap<String, String> {
        let expected = samples().join(self.name).join("expected");
        let read = |key: String| (key.clone(), fs::read_to_string(expected.join(key)).unwrap());
        files_below(&expected).into_iter().map(read).collect()
    }
}

#[test]
fn every_preset_gives_the_expected_rows_of_its_sample_and_the_counts_add_up() {
    for preset in PRESETS {
        let sample = Sample::converted(preset);
        let name = sample.name;
        let expected = sample.expected();
        let rows = sample.rows();
        assert_eq!(rows.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{name}");
        for (key, text) in &rows {
            for (at, (row, expected)) in text.lines().zip(expected[key].lines()).enumerate() {
                assert_eq!(row, expected, "{name}: line {} of {key}", at + 1);
            }
            assert_eq!(text, &expected[key], "{name}: {key}");
        }
        let (records, report) = (&sample.report["records"], &sample.report);
        let count = |state: &str| records[state].as_u64().unwrap();
        let rows: usize = expected.values().map(|text| text.lines().count() - 1).sum();
        assert_eq!(count("rows"), rows as u64, "{name}");
        assert!(rows >= 5, "{name}: a sample has at least 5 records");
        let states = ["rows", "rejected", "control", "dropped"];
        assert_eq!(count("read"), states.into_iter().map(count).sum::<u64>(), "{name}: {report}");
        let rejects = fs::read_to_string(samples().join(name).join("rejects.json"));
        let rejects = rejects.map_or_else(|_| json!({}), |text| serde_json::from_str(&text).unwrap());
        assert_eq!(report["rejects"], rejects, "{name}");
        assert_eq!(report["warnings"], json!([]), "{name}");
    }
}

#[test]
fn every_sample_belongs_to_a_preset() {
    let mut directories: Vec<String> = fs::read_dir(samples())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    directories.sort();
    let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
    assert_eq!(directories, names);
}

#[test]
fn every_preset_of_json_records_has_required_columns() {
    let mut count = 0;
    for preset in PRESETS {
        let file: toml::Table = preset.text.parse().unwrap();
        let rule = &file["rule"][0];
        if rule.get("format").and_then(|format| format["kind"].as_str()) == Some("json") {
            let required = rule.get("required").and_then(toml::Value::as_array);
            assert!(required.is_some_and(|columns| !columns.is_empty()), "{}", preset.name);
            count += 1;
        }
    }
    assert!(count > 0);
}

/// DuckDB's name of a type.
fn duckdb_type(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::String | ColumnType::Ip => "VARCHAR",
        ColumnType::Int => "INTEGER",
        ColumnType::BigInt => "BIGINT",
        ColumnType::Double => "DOUBLE",
        ColumnType::Boolean => "BOOLEAN",
        ColumnType::Timestamp => "TIMESTAMP",
    }
}

/// The columns of a table that the view casts, with the name of the type.
fn cast(table: &Table) -> Vec<(&str, &'static str)> {
    let columns = table.columns.iter().map(|column| (&*column.name, duckdb_type(column.kind)));
    columns.filter(|(name, kind)| *kind != "VARCHAR" || *name == TIMESTAMP).collect()
}

/// The count of values in each column, over CSV files with one header each.
fn counts_of_values<'a>(files: impl Iterator<Item = &'a String>) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for text in files {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let names = reader.headers().unwrap().clone();
        for row in reader.records() {
            for (name, value) in names.iter().zip(&row.unwrap()) {
                *counts.entry(name.to_owned()).or_default() += u64::from(value != "-");
            }
        }
    }
    counts
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn the_typed_view_of_every_preset_has_every_value_of_its_sample() {
    let samples: Vec<Sample> = PRESETS.iter().map(Sample::converted).collect();
    let mut asked = Vec::new();
    for sample in &samples {
        for table in sample.tables() {
            let columns: Vec<String> = cast(&table)
                .iter()
                .map(|(name, _)| format!("count(\"{name}\"), typeof(any_value(\"{name}\"))"))
                .collect();
            let question = format!("SELECT {} FROM \"{}\"", columns.join(", "), table.name);
            asked.push([definitions(&sample.place, &["--config", &sample.config]), question]);
        }
    }
    let program = "import duckdb, json, sys\n\
                   for definitions, question in json.load(open(sys.argv[1])):\n\
                   \x20   db = duckdb.connect()\n\
                   \x20   db.execute(definitions)\n\
                   \x20   print(json.dumps(db.execute(question).fetchone()))";
    let questions = Place::new();
    questions.file("asked.json", &serde_json::to_vec(&asked).unwrap());
    let answers = python(program, questions.path("asked.json").to_str().unwrap());
    let mut answers = answers.lines().map(|line| serde_json::from_str::<Vec<Value>>(line).unwrap());
    let mut cast_values = 0;
    for sample in &samples {
        let values = counts_of_values(sample.rows().values());
        for table in sample.tables() {
            let answer = answers.next().unwrap();
            for ((name, kind), found) in cast(&table).into_iter().zip(answer.chunks(2)) {
                assert_eq!(found[0], values[name], "{}: values of column {name}", sample.name);
                // A column without any value has DuckDB's type of null.
                if values[name] > 0 {
                    let expected = if name == TIMESTAMP { "TIMESTAMP" } else { kind };
                    assert_eq!(found[1], expected, "{}: type of column {name}", sample.name);
                    cast_values += values[name];
                }
            }
        }
    }
    assert!(cast_values > 300, "{cast_values}");
}

#[test]
fn presets_lists_each_preset_with_its_table() {
    let ran = flowherd(PROGRAM, ["presets"]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let json = flowherd(PROGRAM, ["presets", "--json"]);
    assert_eq!(json.status, 0, "{json:?}");
    let json: Vec<Value> = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json.len(), PRESETS.len());
    for (preset, listed) in PRESETS.iter().zip(&json) {
        assert_eq!(listed["name"], preset.name);
        assert!(listed["sources"][0].as_str().unwrap().starts_with("https://"), "{listed}");
        let columns = listed["columns"].as_array().unwrap().len();
        let line = ran.stdout.lines().find(|line| line.split_whitespace().next() == Some(preset.name));
        let line = line.unwrap_or_else(|| panic!("{} is not listed:\n{}", preset.name, ran.stdout));
        assert!(line.contains(listed["title"].as_str().unwrap()), "{line}");
        match listed["table"].as_str() {
            Some(table) => assert!(line.ends_with(&columns.to_string()) && line.contains(table), "{line}"),
            None => assert!(columns == 0 && line.ends_with("of other rules"), "{line}"),
        }
    }
}

#[test]
fn presets_show_prints_a_rule_that_works_as_a_configuration() {
    for preset in PRESETS {
        let ran = flowherd(PROGRAM, ["presets", "show", preset.name]);
        assert_eq!((ran.status, &*ran.stdout), (0, preset.text), "{}", ran.stderr);
        let shown = Config::parse(&ran.stdout).unwrap_or_else(|error| panic!("{}: {error}", preset.name));
        let named = Config::parse(&format!("[[rule]]\npreset = \"{}\"\n", preset.name)).unwrap();
        assert_eq!(shown.hash, named.hash, "{}: the rule and its name mean the same", preset.name);
    }
}

#[test]
fn an_unknown_preset_is_a_usage_error_that_suggests_similar_names() {
    let ran = flowherd(PROGRAM, ["presets", "show", "vpcflow"]);
    assert_eq!((ran.status, &*ran.stdout), (2, ""));
    assert_eq!(
        ran.stderr,
        "flowherd: no preset \"vpcflow\"; did you mean \"vpc-flow\"? list all with `flowherd presets`\n"
    );
}

#[test]
fn every_file_of_the_directory_is_a_preset_with_title_sources_and_one_rule_of_its_name() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/presets");
    let name = |file: String| file.strip_suffix(".toml").map(str::to_owned).unwrap();
    let mut files: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| name(entry.unwrap().file_name().into_string().unwrap()))
        .collect();
    files.sort();
    let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
    assert_eq!(files, names, "the list in shared/src/presets.rs has the files of shared/presets/, sorted");
    for preset in PRESETS {
        let (title, description) = preset.heading();
        assert!(preset.text.starts_with("# ") && !title.is_empty() && !description.is_empty(), "{preset:?}");
        assert!(preset.sources().all(|url| url.starts_with("https://")), "{preset:?}");
        assert!(preset.sources().count() > 0, "{} cites no page", preset.name);
        assert_eq!(preset.text.matches("\n[[rule]]\n").count(), 1, "{}", preset.name);
        assert!(
            preset.text.contains(&format!("\n[[rule]]\nname = \"{}\"\n", preset.name)),
            "{}",
            preset.name
        );
        assert_eq!(presets::find(preset.name), Some(preset.text));
    }
}
