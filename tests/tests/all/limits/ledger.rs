//! Limits of ledger files, queue messages and runs.

use std::fs::{self, File};

use flowherd_coordinator::{error::CoordinatorError, options::RunOptions, reconcile::reconcile};
use flowherd_shared::{
    ledger::{ManifestEntry, ReportState, Run, layout, put_json, read_json},
    limits::{MAX_KEY_BYTES, MAX_LEDGER_BYTES, MAX_LOOKUPS_BYTES, MAX_REPORT_BYTES},
    pipeline::RunConfig,
    store::Store,
};
use flowherd_tests::{
    fake::MemoryStore,
    ledger::{manifest, run},
    objects::gzip,
};
use flowherd_worker::config_cache::{ConfigCache, ConfigCacheError};

use super::{
    super::{
        fleet::{Fleet, object},
        place::Place,
    },
    noisy,
};

/// Creates a sparse file, which takes no space on the disk.
fn sparse(path: &std::path::Path, bytes: u64) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    File::create(path).unwrap().set_len(bytes).unwrap();
}

#[test]
fn ledger_files_of_any_size_take_bounded_memory() {
    let place = Place::new();
    place.object("a", &noisy(0)).object("b", &noisy(0));
    assert_eq!(place.convert(&["--run", "r"]).status, 0);
    let whole = place.results();
    // A receipt larger than the machine's memory does not count, so the object is processed again.
    sparse(&place.path("out/runs/r/receipts/a.json"), 1 << 40);
    sparse(&place.path("out/runs/r/failures/b.json"), 1 << 40);
    let report = place.report(&["--resume", "--run", "r"]);
    assert_eq!((&report["state"], &report["objects"]["done"]), (&"done".into(), &2.into()), "{report}");
    assert_eq!(place.results(), whole);

    let store = flowherd_cli::local::DirStore::new(&place.path("out"), &place.path("aside")).unwrap();
    for (path, limit) in [("runs/r/report.json", MAX_REPORT_BYTES), ("runs/r/run.json", MAX_LEDGER_BYTES)] {
        sparse(&place.path("out").join(path), 1 << 40);
        let error = store.get_limited(path, limit).unwrap_err();
        assert!(error.to_string().contains(&format!("{path} has more than {limit} bytes")), "{error}");
        assert!(store.get(path).is_err());
    }
    assert_eq!(read_json::<Run>(&store, "runs/r/run.json").unwrap(), None);
}

#[test]
fn rules_in_the_ledger_that_are_too_large_are_refused() {
    for path in [layout::config("r"), layout::lookups("r")] {
        let fleet = Fleet::new(1);
        fleet.begin("r", "firehose/");
        assert!(ConfigCache::default().get(&fleet.store, "r").is_ok());
        fleet.store.put(&path, &vec![b' '; MAX_LOOKUPS_BYTES + 1]).unwrap();
        let refused = ConfigCache::default().get(&fleet.store, "r").unwrap_err();
        assert!(
            matches!(&refused, ConfigCacheError::Damaged { path: damaged, .. } if *damaged == path),
            "{refused}"
        );
    }
}

#[test]
fn a_decompression_bomb_in_the_manifest_is_an_error() {
    let store = MemoryStore::default();
    let totals =
        manifest(&store, "r", &[ManifestEntry { key: "k".to_owned(), size: 1, etag: "e".to_owned() }]);
    let run = run("r", &RunConfig::default(), Some(totals));
    put_json(&store, &layout::run("r"), &run).unwrap();
    assert_eq!(reconcile(&store, &run, String::new()).unwrap().state, ReportState::Incomplete);
    let member = gzip(&vec![b'\n'; 8 << 20]);
    store.put(&layout::manifest_part("r", 0), &member.repeat(1000)).unwrap();
    let error = flowherd_coordinator::manifest::read(&store, &run).find_map(Result::err).unwrap().to_string();
    assert!(error.contains("part-000000.jsonl.gz has more than 67108864 bytes"), "{error}");
    assert!(reconcile(&store, &run, String::new()).is_err());
}

#[test]
fn a_run_of_more_objects_than_its_limit_is_refused_and_continues_when_it_is_raised() {
    let mut fleet = Fleet::new(10);
    fleet.max_keys = 7;
    let step = fleet.begin("r", "firehose/");
    let plan = |fleet: &Fleet| fleet.coordinate(|coordinator| coordinator.step(step.clone(), &|| true));
    let Err(CoordinatorError::Refused(why)) = plan(&fleet) else { panic!("the run is not refused") };
    assert_eq!(
        why,
        "prefix \"firehose/\" of bucket logs has more than 7 objects (FLOWHERD_MAX_KEYS); 6 of them are \
         in the queue and will be processed; begin runs of longer prefixes, or raise the limit and continue run r"
    );
    assert!(fleet.has("active/r.json"), "the sent messages are not protected against purges");
    fleet.drain(2);
    assert_eq!(fleet.results().len(), 6, "the sent objects are not done");

    // Repeats the operation with a higher limit. No object may be lost or processed twice.
    fleet.max_keys = 10;
    let step = plan(&fleet).unwrap();
    assert_eq!((step.progress.listed, step.operation.name()), (10, "check"));
    let report = fleet.finish(step);
    assert_eq!((report.state, report.objects.done), (ReportState::Done, 10));

    // If nothing was sent, no marker remains.
    let mut fleet = Fleet::new(10);
    fleet.max_keys = 2;
    let begun = fleet.begin("r", "firehose/");
    let outcome = fleet.coordinate(|coordinator| coordinator.step(begun, &|| true));
    assert!(
        matches!(outcome, Err(CoordinatorError::Refused(why)) if why.contains("; 0 of them are in the queue"))
    );
    assert!(!fleet.has("active/r.json") && fleet.queue.bodies().is_empty());
}

#[test]
fn a_prefix_longer_than_any_key_is_refused() {
    let fleet = Fleet::new(0);
    let begin = |length: usize| {
        let asked = RunOptions { prefix: Some("p".repeat(length)), ..RunOptions::default() };
        fleet.coordinate(|coordinator| coordinator.begin(&asked))
    };
    assert_eq!(begin(MAX_KEY_BYTES).unwrap().operation.name(), "plan");
    let Err(CoordinatorError::Refused(why)) = begin(MAX_KEY_BYTES + 1) else {
        panic!("the run is not refused")
    };
    assert!(why.contains("has 1025 bytes"), "{why}");
}

#[test]
fn a_message_longer_than_any_task_is_a_dead_letter() {
    let mut fleet = Fleet::new(0);
    fleet.source = [object("firehose", 1)].into_iter().collect();
    fleet.plan("r", "firehose/");
    let body = fleet.queue.bodies()[0].replacen('{', &format!("{{{}", " ".repeat(20_000)), 1);
    let outgoing =
        flowherd_shared::queue::NewMessage { body, group: "g".to_owned(), deduplication: "d".to_owned() };
    flowherd_shared::queue::Queue::send(&fleet.queue, &[outgoing]).unwrap();
    fleet.drain(1);
    assert_eq!((fleet.queue.dead().len(), fleet.results().len()), (1, 1));
}
