//! The index of runs, on the fakes.

use std::time::Duration;

use flowherd_coordinator::{
    options::RunOptions,
    runs::{self, IndexedRun},
};
use flowherd_shared::{
    ledger::{Run, layout, read_json},
    store::Store,
};

use super::fleet::Fleet;

/// The directories below `runs/`.
fn names(fleet: &Fleet) -> Vec<String> {
    let paths = fleet.store.files().into_keys();
    let mut names: Vec<String> =
        paths.filter_map(|path| Some(path.strip_prefix("runs/")?.split_once('/')?.0.to_owned())).collect();
    names.dedup();
    names
}

fn list(fleet: &Fleet) -> Vec<IndexedRun> {
    let found = runs::list(&fleet.store, &names(fleet)).unwrap();
    assert_eq!(found.damaged, [""; 0]);
    found.runs
}

fn index(fleet: &Fleet) -> Vec<String> {
    fleet.store.files().into_keys().filter(|path| path.starts_with(layout::INDEX)).collect()
}

/// Returns the runs from their `run.json`, latest first.
fn by_ledger(fleet: &Fleet) -> Vec<IndexedRun> {
    let read = |name: &String| read_json::<Run>(&fleet.store, &layout::run(name)).unwrap();
    let mut runs: Vec<IndexedRun> = names(fleet).iter().filter_map(read).map(IndexedRun::from).collect();
    runs.sort_by(|a, b| b.started.cmp(&a.started));
    runs
}

/// Begins runs in an order that is not that of their names.
fn with_runs(count: u64) -> Fleet {
    let fleet = Fleet::new(0);
    for number in 0..count {
        fleet.queue.advance(Duration::from_secs(1));
        fleet.begin(&format!("run-{}", number * 7 % count), &format!("firehose/{number}/ü +%"));
    }
    fleet
}

#[test]
fn listing_runs_takes_the_same_requests_for_few_and_for_many_runs() {
    let requests = |count| {
        let fleet = with_runs(count);
        let expected = by_ledger(&fleet);
        fleet.store.fail_at(None);
        assert_eq!(list(&fleet), expected);
        assert_eq!(expected.len() as u64, count);
        fleet.store.operations()
    };
    assert_eq!((requests(3), requests(300)), (1, 1));
}

#[test]
fn the_ledger_decides_which_runs_exist_and_the_index_only_saves_requests() {
    let fleet = with_runs(9);
    let expected = by_ledger(&fleet);

    // A run without an entry, such as one that was copied into the bucket.
    for path in index(&fleet) {
        let without = fleet.store.files().remove(&path).unwrap();
        fleet.store.remove(&path).unwrap();
        assert_eq!(list(&fleet), expected, "{path}");
        fleet.store.put(&path, &without).unwrap();
    }
    // A run with a second entry, such as that of a concurrent begin.
    let other = index(&fleet)[0].replacen("/8", "/7", 1);
    assert!(!index(&fleet).contains(&other));
    fleet.store.put(&other, b"").unwrap();
    assert_eq!(list(&fleet), expected);
    // An entry without a ledger, and a key that is not an entry.
    fleet.store.put(&other.replace("run-", "gone-"), b"").unwrap();
    fleet.store.put(&format!("{}notes.txt", layout::INDEX), b"").unwrap();
    assert_eq!(list(&fleet), expected);
    fleet.store.remove(&layout::run("run-3")).unwrap();
    assert_eq!(list(&fleet), by_ledger(&fleet), "the entry of a deleted ledger does not count");
    assert_eq!(list(&fleet).len(), 8);
}

#[test]
fn an_interrupted_begin_leaves_no_run_that_the_listing_misses() {
    let options =
        RunOptions { run: Some("r".to_owned()), prefix: Some("p/".to_owned()), ..RunOptions::default() };
    let begin = |fleet: &Fleet| fleet.coordinate(|coordinator| coordinator.begin(&options).map(|_| ()));
    let whole = Fleet::new(0);
    whole.store.fail_at(None);
    begin(&whole).unwrap();
    for operation in 0..whole.store.operations() {
        let fleet = Fleet::new(0);
        fleet.store.fail_at(Some(operation));
        begin(&fleet).unwrap_err();
        fleet.store.fail_at(None);
        assert_eq!(list(&fleet), by_ledger(&fleet), "{operation}");
        begin(&fleet).unwrap();
        assert_eq!((list(&fleet), index(&fleet).len()), (by_ledger(&fleet), 1), "{operation}");
    }
}

#[test]
fn a_run_whose_prefix_or_key_is_too_long_for_the_index_is_read_from_its_ledger() {
    let fleet = Fleet::new(0);
    fleet.begin("long", &"p".repeat(900));
    fleet.queue.advance(Duration::from_secs(1));
    fleet.store.limit_keys(100);
    fleet.begin("short", "p/");
    assert_eq!((index(&fleet), list(&fleet)), (Vec::new(), by_ledger(&fleet)));
}

#[test]
fn a_damaged_run_without_an_entry_in_the_index_is_named() {
    let fleet = with_runs(3);
    fleet.store.put(&layout::run("run-1"), b"{").unwrap();
    assert_eq!(list(&fleet).len(), 3, "the index has its entry");
    let entry = index(&fleet).into_iter().find(|path| path.contains("/run-1/")).unwrap();
    fleet.store.remove(&entry).unwrap();
    let found = runs::list(&fleet.store, &names(&fleet)).unwrap();
    assert_eq!(found.runs.len(), 2);
    let [damaged] = &found.damaged[..] else { panic!("{found:?}") };
    let expected = "runs/run-1/run.json: it is damaged or of another version of Flowherd: ";
    assert!(damaged.starts_with(expected), "{damaged}");
}

#[test]
fn a_listing_that_fails_is_an_error() {
    let fleet = with_runs(2);
    fleet.store.fail_at(Some(0));
    assert!(runs::list(&fleet.store, &["run-0".to_owned()]).is_err());
}
