//! The results in `examples/` are what `flowherd convert` writes for the logs and rules beside them.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use flowherd_tests::{
    command::{files_below, flowherd},
    objects::gunzip,
};

use super::{place::PROGRAM, query::duckdb};

/// The directory of each example, sorted.
fn examples() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples");
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut examples: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    examples.sort();
    assert!(examples.len() >= 15, "{examples:?}");
    examples
}

/// The results that an example contains: path and text.
fn expected(example: &Path) -> BTreeMap<String, String> {
    let results = example.join("results");
    let files = files_below(&results).into_iter();
    files.map(|path| (path.clone(), fs::read_to_string(results.join(path)).unwrap())).collect()
}

/// The results of `flowherd convert` for an example: path without `.gz`, and decompressed text.
fn converted(example: &Path) -> BTreeMap<String, String> {
    let out = tempfile::tempdir().unwrap();
    let mut args = vec![PathBuf::from("convert"), example.join("logs"), out.path().to_owned()];
    args.extend([PathBuf::from("--config"), example.join("flowherd.toml")]);
    let names = example.join("names.json");
    if names.exists() {
        args.extend([PathBuf::from("--names"), names]);
    }
    let ran = flowherd(PROGRAM, &args);
    assert_eq!(ran.status, 0, "{}: {}", example.display(), ran.stderr);
    let results = files_below(out.path()).into_iter().filter(|path| !path.starts_with("runs/"));
    results
        .map(|path| {
            let text = String::from_utf8(gunzip(&fs::read(out.path().join(&path)).unwrap())).unwrap();
            (path.strip_suffix(".gz").unwrap().to_owned(), text)
        })
        .collect()
}

#[test]
fn convert_writes_the_results_of_each_example() {
    for example in examples() {
        let expected = expected(&example);
        assert!(!expected.is_empty(), "{} has no results", example.display());
        assert_eq!(converted(&example), expected, "{}", example.display());
    }
}

#[test]
fn the_readme_of_each_example_quotes_its_results() {
    for example in examples() {
        let results: BTreeSet<String> = expected(&example)
            .into_values()
            .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .collect();
        let readme = fs::read_to_string(example.join("README.md")).unwrap();
        let mut quoted = 0;
        for block in ["```csv\n", "```json\n"].iter().flat_map(|fence| readme.split(fence).skip(1)) {
            for line in block.split("\n```").next().unwrap().lines() {
                assert!(results.contains(line), "{}: {line}", example.display());
                quoted += 1;
            }
        }
        assert!(quoted >= 2, "{} quotes no row", example.display());
    }
}

/// The first `sh` block of an example's README.
fn commands(readme: &str) -> &str {
    readme.split("```sh\n").nth(1).unwrap().split("```").next().unwrap()
}

#[test]
fn the_commands_of_one_csv_write_the_file_in_its_readme() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let readme = fs::read_to_string(root.join("examples/one-csv/README.md")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    symlink(root.join("examples"), directory.path().join("examples")).unwrap();
    symlink(PROGRAM, directory.path().join("flowherd")).unwrap();
    let path = format!("{}:{}", directory.path().display(), env::var("PATH").unwrap());
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", commands(&readme)]).env("PATH", path).current_dir(&directory);
    let ran = bash.output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let written = fs::read_to_string(directory.path().join("queries.csv")).unwrap();
    let quoted = readme.split("```csv\n").nth(1).unwrap().split("```").next().unwrap();
    assert_eq!(written, quoted);
    assert_eq!(written.lines().count(), 5);
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn the_timeline_of_the_incident_is_the_one_in_its_readme() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples/incident");
    let out = tempfile::tempdir().unwrap();
    let config = example.join("flowherd.toml");
    let (config, results) = (config.to_str().unwrap(), out.path().to_str().unwrap());
    let logs = example.join("logs");
    let ran = flowherd(PROGRAM, ["convert", logs.to_str().unwrap(), results, "--config", config]);
    assert_eq!(ran.status, 0, "{ran:?}");
    let views = flowherd(PROGRAM, ["sql", "--dialect", "duckdb", "--results", results, "--config", config]);
    let statement = fs::read_to_string(example.join("timeline.sql")).unwrap();
    let rows = duckdb(&views.stdout, &statement);
    let cells = |row: &serde_json::Value| -> Vec<String> {
        row.as_array().unwrap().iter().map(|cell| cell.as_str().unwrap().to_owned()).collect()
    };
    let lines: Vec<String> =
        rows.as_array().unwrap().iter().map(|row| format!("| {} |", cells(row).join(" | "))).collect();
    let readme = fs::read_to_string(example.join("README.md")).unwrap();
    let quoted: Vec<&str> = readme.lines().filter(|line| line.starts_with("| 02:")).collect();
    assert!(quoted.len() > 5, "{quoted:?}");
    assert_eq!(lines, quoted);
}
