//! Limits of ledger files, queue messages and runs.

use std::{
    collections::BTreeMap,
    fs::{self, File},
};

use flowherd_coordinator::{error::CoordinatorError, options::RunOptions, reconcile::reconcile};
use flowherd_shared::{
    error::Reason,
    ledger::{
        ByteCounts, ManifestEntry, Receipt, ReceiptOutput, RecordCounts, RejectExample, ReportState,
        RuleTotals, Run, layout, put_json, read_json,
    },
    limits::{
        MAX_ABSENT_COLUMNS, MAX_EXAMPLE_CHARS, MAX_KEY_BYTES, MAX_LEDGER_BYTES, MAX_NAMES_BYTES,
        MAX_RECEIPT_EXAMPLES, MAX_RECEIPT_PERIODS, MAX_REPORT_BYTES, MAX_RULE_NAME_BYTES, MAX_RULES,
        MAX_TABLES,
    },
    pipeline::RunConfig,
    store::Store,
    times::{Period, TimeCounts},
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
fn the_largest_receipt_fits_a_ledger_file() {
    // Each character takes six bytes of JSON. Paths of outputs are keys in the results bucket, so they have a limit too.
    let long = |number: usize, bytes: usize| "\u{1}".repeat(bytes - 6) + &format!("{number:06}");
    let output = |number| ReceiptOutput {
        path: long(number, MAX_KEY_BYTES),
        table: Some(format!("{number:0>128}")),
        rows: u64::MAX,
        bytes: u64::MAX,
        crc64nvme: "AAAAAAAAAAA=".to_owned(),
        etag: "e".repeat(64),
    };
    let rejects: BTreeMap<String, u64> =
        Reason::ALL.iter().map(|reason| (reason.as_str().to_owned(), u64::MAX)).collect();
    let totals = RuleTotals { rows: u64::MAX, rejects: rejects.clone(), ..RuleTotals::default() };
    let mut rules: BTreeMap<String, RuleTotals> =
        (0..MAX_RULES).map(|number| (long(number, MAX_RULE_NAME_BYTES), totals.clone())).collect();
    if let Some(first) = rules.values_mut().next() {
        first.absent_columns = (0..MAX_ABSENT_COLUMNS).map(|column| format!("{column:0>128}")).collect();
    }
    let mut times = TimeCounts::default();
    for hour in (0..).take(MAX_RECEIPT_PERIODS) {
        times.add_period(Period::hour_of(hour * 3_600_000), u64::MAX / 100, MAX_RECEIPT_PERIODS);
    }
    let example = |number| RejectExample {
        rule: Some(long(number, MAX_RULE_NAME_BYTES)),
        reason: "unknown-message-type".to_owned(),
        record: u64::MAX,
        message: "\u{1}".repeat(MAX_EXAMPLE_CHARS),
    };
    let run = run("r", &RunConfig::default(), None);
    let receipt = Receipt {
        run: "r".repeat(80),
        object: ManifestEntry { key: long(0, MAX_KEY_BYTES), size: u64::MAX, etag: "e".repeat(64) },
        fingerprint: run.fingerprint,
        attempt: u32::MAX,
        finished: run.started,
        milliseconds: u64::MAX,
        outputs: (0..=MAX_TABLES).map(output).collect(),
        records: RecordCounts::default(),
        documents: None,
        rejects,
        examples: (0..MAX_RECEIPT_EXAMPLES).map(example).collect(),
        rules,
        times,
        bytes: ByteCounts::default(),
        members: vec![u64::MAX; 8],
    };
    let bytes = serde_json::to_vec(&receipt).unwrap().len();
    assert!(bytes as u64 + 1000 < MAX_LEDGER_BYTES, "{bytes}");
}

#[test]
fn rules_in_the_ledger_that_are_too_large_are_refused() {
    for path in [layout::config("r"), layout::names("r")] {
        let fleet = Fleet::new(1);
        fleet.begin("r", "firehose/");
        assert!(ConfigCache::default().get(&fleet.store, "r").is_ok());
        fleet.store.put(&path, &vec![b' '; MAX_NAMES_BYTES + 1]).unwrap();
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
