//! Regression tests for fuzzing: runs the checks of the fuzz targets on the inputs of the corpus.

use std::{
    collections::BTreeSet,
    fs,
    panic::{catch_unwind, resume_unwind},
    path::{Path, PathBuf},
};

use flowherd_coordinator::event::Event;
use flowherd_shared::{
    ledger::{Fingerprint, ManifestEntry, Receipt, layout},
    store::Store,
};
use flowherd_tests::{
    fake::MemoryStore,
    fuzzing::{TARGETS, check},
};
use serde_json::json;

use super::fleet::Fleet;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn names(directory: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn every_corpus_input_passes_its_target() {
    for (target, _) in TARGETS {
        let corpus = fuzz().join("corpus").join(target);
        let inputs = names(&corpus);
        assert!(inputs.len() > 2, "the corpus of {target} is too small");
        for input in inputs {
            let bytes = fs::read(corpus.join(&input)).unwrap();
            if let Err(panic) = catch_unwind(|| check(target, &bytes)) {
                eprintln!("it was tests/fuzz/corpus/{target}/{input}");
                resume_unwind(panic);
            }
        }
    }
}

#[test]
fn every_check_has_its_target_and_its_corpus() {
    let expected: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&fuzz().join("corpus")), expected);
    let files: BTreeSet<String> = expected.iter().map(|name| format!("{name}.rs")).collect();
    assert_eq!(names(&fuzz().join("fuzz_targets")), files);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for name in &expected {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
        let target = fs::read_to_string(fuzz().join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(target.contains(&format!("check({name:?}, data)")), "{name}");
    }
}

#[test]
fn a_receipt_whose_counts_overflow_does_not_count() {
    let max = u64::MAX;
    let find = |records: serde_json::Value, rejects: serde_json::Value, rules: serde_json::Value| {
        let receipt = json!({
            "run": "r", "key": "k", "size": 1, "etag": "e", "config_hash": "c", "names_hash": "", "attempt": 1,
            "finished": "", "milliseconds": 1, "outputs": [], "records": records, "rejects": rejects,
            "rules": rules, "bytes": { "compressed_in": 1, "decoded_in": 1, "compressed_out": 0 }, "members": [],
            "examples": [], "times": {},
        });
        let store = MemoryStore::default();
        store.put(&layout::receipt("r", "k"), receipt.to_string().as_bytes()).unwrap();
        let object = ManifestEntry { key: "k".to_owned(), size: 1, etag: "e".to_owned() };
        let fingerprint = Fingerprint { config_hash: "c".to_owned(), names_hash: String::new() };
        Receipt::find(&store, "r", &object, &fingerprint).unwrap()
    };
    let counted = |rejected: u64, control: u64, repaired: u64| json!({ "read": 0, "rows": 0, "rejected": rejected, "control": control, "dropped": 0, "repaired": repaired, "named_by_guess": 0 });
    let none = counted(0, 0, 0);
    assert!(find(none.clone(), json!({}), json!({})).is_some());
    assert!(find(counted(max, 1, 0), json!({}), json!({})).is_none());
    assert!(find(counted(0, 0, 1), json!({}), json!({})).is_none(), "more repaired rows than rows");
    assert!(find(none.clone(), json!({ "field-count": max, "no-match": 1 }), json!({})).is_none());
    let rejects = json!({ "rows": 0, "rejects": { "field-count": max, "no-match": 1 } });
    for rule in [json!({ "rows": 1 }), json!({ "rows": max }), rejects] {
        assert!(find(none.clone(), json!({}), json!({ "r": rule, "s": rule })).is_none(), "{rule}");
    }
    let rules: serde_json::Map<String, serde_json::Value> =
        (0..257).map(|rule| (rule.to_string(), json!({ "rows": 0 }))).collect();
    assert!(find(none, json!({}), rules.into()).is_none(), "more rules than a configuration can have");
}

#[test]
fn a_state_with_the_largest_numbers_is_processed() {
    let max = u64::MAX;
    let totals = |parts: u64| json!({ "parts": parts, "objects": max, "bytes": max, "skipped": max });
    let planning = |parts: u64| json!({ "operation": "plan", "after": null, "complete": false, "totals": totals(parts) });
    let checking = json!({ "checks": max, "idle_seconds": max, "next_report": max, "redriven": false });
    let mut check = checking.clone();
    check["operation"] = json!("check");
    let report = json!({ "operation": "report", "parts": max, "final": false, "checking": checking });
    for mut event in [planning(0), planning(1), planning(max), check, report] {
        let fleet = Fleet { max_keys: max, ..Fleet::new(3) };
        fleet.plan("r", "");
        let is_behind_the_manifest = event["totals"]["parts"] == max;
        event["run"] = json!("r");
        event["fleet"] = json!("main");
        event["prefix"] = json!("");
        event["wait_seconds"] = json!(max);
        event["progress"] = json!({ "listed": max, "done": max, "failed": max, "skipped": max, "queued": max,
            "in_flight": max, "dead_letters": max });
        let Event::State(state) = Event::parse(event).unwrap() else { panic!("a state") };
        assert_eq!(state.progress.pending(), 0);
        match fleet.coordinate(|coordinator| coordinator.step(*state, &|| true)) {
            Ok(next) => assert_eq!(next.run, "r"),
            Err(error) => assert!(is_behind_the_manifest, "{}", error.on_one_line()),
        }
    }
}

#[test]
fn the_receipts_of_named_ledger_inputs_parse() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/ledger");
    for name in ["done", "amended", "rows", "too-many"] {
        let input = fs::read(corpus.join(name)).unwrap();
        let receipt = input[1..].split(|byte| *byte == 0).nth(1).unwrap();
        let receipt: Receipt = serde_json::from_slice(receipt).unwrap();
        assert_eq!(receipt.times.total(), Some(receipt.records.rows), "{name}");
    }
}
