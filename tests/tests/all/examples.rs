//! The results in `examples/` are what `flowherd convert` writes for the logs and rules beside them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use flowherd_tests::{
    command::{files_below, flowherd},
    objects::gunzip,
};

use super::place::PROGRAM;

/// The directory of each example, sorted.
fn examples() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples");
    let entries = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let mut examples: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    examples.sort();
    assert!(examples.len() >= 6, "{examples:?}");
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
    let lookups = example.join("lookups.json");
    if lookups.exists() {
        args.extend([PathBuf::from("--lookups"), lookups]);
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
