//! One test for each promise of docs/semantics.md on `convert`, in one file so that both can be compared.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Read, Write},
    process::Command,
    time::{Duration, Instant},
};

use flowherd_cli::local::DirStore;
use flowherd_coordinator::{
    manifest::{ManifestWriter, PART_ENTRIES},
    reconcile::reconcile,
};
use flowherd_shared::{
    config::Config,
    ledger::{Fingerprint, ManifestEntry, ManifestTotals, ReportState, Run, layout},
    names::NameIndex,
    pipeline::RunConfig,
    store::{Source, StoreError},
};
use flowherd_tests::{
    command::{Running, files_below},
    fake::{MemorySource, MemoryStore},
    ledger::{manifest, run},
    objects::{FLOW, NAMES, Portions, convert, envelope, envelope_of, event, gunzip, gzip},
};
use flowherd_worker::processor::{Control, ObjectProcessor, Outcome};
use proptest::prelude::*;
use serde_json::Value;

use super::{
    generate::{cases, object},
    model::plan,
    place::{PROGRAM, Place},
};

fn good() -> String {
    envelope("vpc-flow-logs", &[event(1_580_515_200_000, FLOW), event(1_580_515_200_001, FLOW)])
}

fn rows(plan: &RunConfig, object: &[u8]) -> u64 {
    convert(object, "k", plan).unwrap().0.rows
}

#[test]
fn every_gzip_member_of_every_layer_is_read() {
    let text = good().repeat(3);
    let plan = RunConfig::default();
    for cut in 0..text.len() {
        let (front, back) = text.as_bytes().split_at(cut);
        let members = [gzip(front), gzip(b""), gzip(back)].concat();
        assert_eq!(rows(&plan, &members), 6);
        let (front, back) = members.split_at(cut.min(members.len()));
        let twice = [gzip(front), gzip(back)].concat();
        assert_eq!(rows(&plan, &twice), 6);
        assert_eq!(rows(&plan, &gzip(&twice)), 6);
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn every_record_is_a_row_a_reject_or_a_control_event((object, key, _) in object()) {
        if let Ok((counts, outputs)) = convert(&object[..], key, &plan()) {
            prop_assert_eq!(counts.read, counts.rows + counts.rejected + counts.control + counts.dropped);
            prop_assert!(counts.repaired <= counts.rows);
            let lines = |is_table: bool| -> usize {
                let of_kind = outputs.iter().filter(|(output, _)| output.table.is_some() == is_table);
                of_kind.map(|(_, text)| text.lines().count() - usize::from(is_table)).sum()
            };
            prop_assert_eq!(counts.rows, lines(true) as u64);
            prop_assert_eq!(counts.rejected, lines(false) as u64);
        }
    }

    #[test]
    fn the_same_object_configuration_and_names_give_the_same_bytes((object, key, portion) in object()) {
        let bytes = |object: &mut dyn Read| {
            let finished = flowherd_shared::pipeline::run(object, key, &plan(), |_| Ok(Vec::new())).ok()?;
            Some(finished.outputs)
        };
        prop_assert_eq!(bytes(&mut Portions::new(&object, portion)), bytes(&mut &object[..]));
    }

    #[test]
    fn every_row_is_one_line_with_the_headers_number_of_values((object, key, _) in object()) {
        for (output, text) in convert(&object[..], key, &plan()).map_or(Vec::new(), |(_, outputs)| outputs) {
            if output.table.is_some() {
                let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(false).from_reader(text.as_bytes());
                let rows = reader.records().collect::<Result<Vec<_>, _>>().unwrap();
                prop_assert_eq!(rows.len(), text.matches('\n').count());
                let never = ['\r', '\u{1}'];
                prop_assert!(!text.contains(never));
            }
        }
    }

    #[test]
    fn every_file_has_exactly_one_header((object, key, _) in object()) {
        let plan = plan();
        for (output, text) in convert(&object[..], key, &plan).map_or(Vec::new(), |(_, outputs)| outputs) {
            if let Some(table) = output.table {
                let names: Vec<&str> = plan.config.tables[table].columns.iter().map(|column| &*column.name).collect();
                let header = names.join(",");
                prop_assert_eq!(text.lines().next(), Some(&*header));
                prop_assert_eq!(text.lines().filter(|line| **line == header).count(), 1);
            }
        }
    }
}

#[test]
fn every_listed_object_is_done_failed_skipped_or_missing() {
    let source = MemorySource::default();
    for key in ["done", "failed", "skipped", "missing", "other version"] {
        source.put(key, if key == "failed" { b"\x1f\x8b".to_vec() } else { good().into_bytes() });
    }
    let (store, plan) = (MemoryStore::default(), RunConfig::default());
    let entries: Vec<ManifestEntry> = source.keys().iter().map(|key| source.entry(key)).collect();
    let work = |run: &str, key: &str| {
        ObjectProcessor::new(run, &plan, &source, &store)
            .process_unqueued(&source.entry(key), &Control::NEVER_STOP)
            .unwrap()
    };
    work("earlier", "skipped");
    assert!(matches!(work("now", "done"), Outcome::Done(_)));
    assert!(matches!(work("now", "failed"), Outcome::Failed(_)));
    work("now", "other version");
    let mut listed = entries.clone();
    listed.iter_mut().find(|entry| entry.key == "other version").unwrap().etag = "newer".to_owned();

    let totals = manifest(&store, "now", &listed);
    let mut now = run("now", &plan, Some(totals));
    now.resumes = vec!["earlier".to_owned()];
    let report = reconcile(&store, &now, String::new()).unwrap();
    let objects = report.objects;
    assert_eq!(
        (objects.listed, objects.done, objects.failed, objects.skipped, objects.missing),
        (5, 1, 1, 1, 2)
    );
    assert_eq!(report.state, ReportState::Incomplete);
    assert_eq!((report.records.read, report.records.rows), (2, 2));
    assert_eq!(report.failures[0].key, "failed");

    // A failure of another version or under other rules does not count.
    let repaired: Vec<ManifestEntry> = entries
        .iter()
        .cloned()
        .map(|entry| ManifestEntry { etag: format!("{}-new", entry.etag), ..entry })
        .collect();
    let repaired = run("now", &plan, Some(manifest(&store, "now", &repaired)));
    assert_eq!(reconcile(&store, &repaired, String::new()).unwrap().objects.missing, 5);
    let other_rules = Run {
        fingerprint: Fingerprint { config_hash: "other".to_owned(), ..now.fingerprint.clone() },
        ..now.clone()
    };
    assert_eq!(reconcile(&store, &other_rules, String::new()).unwrap().objects.missing, 5);
    manifest(&store, "now", &listed);

    // An incomplete manifest is an error.
    let mut lost = now.clone();
    lost.manifest = Some(ManifestTotals { parts: 2, ..totals });
    assert!(reconcile(&store, &lost, String::new()).unwrap_err().to_string().contains("missing"));
    lost.manifest = Some(ManifestTotals { objects: 6, ..totals });
    assert!(reconcile(&store, &lost, String::new()).unwrap_err().to_string().contains("6 were listed"));
    lost.manifest = None;
    assert_eq!(reconcile(&store, &lost, String::new()).unwrap().state, ReportState::Incomplete);
}

#[test]
fn one_bad_object_does_not_affect_others() {
    let place = Place::new();
    let whole = gzip(good().as_bytes());
    let bad: [&[u8]; 5] = [
        &whole[..whole.len() - 1],
        &[&whole[..], b"x"].concat(),
        b"\x1f\x8b\x08",
        b"{\"messageType\":\"DATA_MESSAGE\"",
        &gzip(&gzip(&gzip(&gzip(b"x")))),
    ];
    for (number, bad) in bad.iter().enumerate() {
        place.object(&format!("bad{number}"), bad).object(&format!("good{number}"), &whole);
    }
    let report = place.report(&[]);
    assert_eq!((&report["objects"]["failed"], &report["objects"]["done"]), (&5.into(), &5.into()));
    assert_eq!(report["records"]["rows"], 10);
    assert_eq!(report["state"], "failed");
}

#[test]
fn one_bad_record_does_not_affect_others() {
    let bad = [
        "5".to_owned(),
        "{}".to_owned(),
        event(-1, FLOW),
        event(1, "no flow log"),
        event(1, &"x".repeat(2 << 20)),
        r#"{"timestamp":1,"message":"\ud800"}"#.to_owned(),
        r#"{"timestamp":1,"message":"a","message":"b"}"#.to_owned(),
        "{\"timestamp\":1,\"message\":\"raw \u{1} control\"}".to_owned(),
        r#"{"timestamp":1,"message":"\q"}"#.to_owned(),
        r#"{"timestamp":01,"message":"a"}"#.to_owned(),
    ];
    for bad in bad {
        let text = envelope("g", &[event(1, FLOW), bad.clone(), event(2, FLOW)]);
        // The same with a header value after the events.
        let late = text.replacen(r#""owner":"123456789012","#, "", 1);
        for text in [late, text] {
            let (counts, _) = convert(text.as_bytes(), "k", &RunConfig::default()).unwrap();
            assert_eq!((counts.read, counts.rows, counts.rejected), (3, 2, 1), "{bad:.100}");
        }
    }
    // An invalid character in an unread value changes nothing.
    for unread in ["\"\u{1}\"", "\"\\q\"", "[1,,2]", "{\"a\"}", "tru"] {
        let event = event(1, FLOW).replace("\"36611082\"", unread);
        assert_eq!(rows(&RunConfig::default(), envelope("g", &[event]).as_bytes()), 1, "{unread}");
    }
}

#[test]
fn no_output_of_a_failed_object_is_published() {
    let place = Place::new();
    // Megabytes of rows before the damage: several gzip members of output.
    let events: Vec<String> = (0..30_000).map(|at| event(1_580_515_200_000 + at, FLOW)).collect();
    let mut object = gzip(envelope("g", &events).as_bytes());
    let whole = object.clone();
    let checksum = object.len() - 8;
    object[checksum] ^= 1;
    place.object("x", &object);
    assert_eq!(place.convert(&["--run", "a"]).status, 1);
    assert_eq!(place.results().len(), 0);
    assert_eq!(files_below(&place.path("out/runs/a/unfinished")).len(), 0);

    place.object("x", &whole);
    assert_eq!(place.convert(&["--run", "b"]).status, 0);
    let published = place.results();
    place.object("x", &object);
    assert_eq!(place.convert(&["--run", "c"]).status, 1);
    assert_eq!(place.results(), published, "outputs of the earlier run have changed");
}

#[test]
fn a_receipt_means_that_all_outputs_are_there() {
    let text = good() + &envelope("/ids/x", &[event(1, "WARN a -> b"), event(2, "no")]);
    let source = MemorySource::from_iter([("k".to_owned(), text.into_bytes())]);
    let (plan, store) = (plan(), MemoryStore::default());
    let work = |store: &MemoryStore| {
        ObjectProcessor::new("r", &plan, &source, store)
            .process_unqueued(&source.entry("k"), &Control::NEVER_STOP)
    };
    assert!(matches!(work(&store).unwrap(), Outcome::Done(_)));
    let receipt = layout::receipt("r", "k");
    let published = store.published();
    assert_eq!((published.len(), published.last()), (4, Some(&receipt)));
    let (results, operations) = (store.files(), store.operations());

    // With a fault at any operation there is no receipt without its outputs, and the next attempt completes the object.
    let mut failed = 0;
    for operation in 0..operations {
        let store = MemoryStore::default();
        store.fail_at(Some(operation));
        let ended = work(&store);
        failed += usize::from(!matches!(ended, Ok(Outcome::Done(_))));
        if matches!(ended, Ok(Outcome::Failed(_))) {
            let published =
                store.files().into_keys().filter(|path| !path.starts_with("runs/")).collect::<Vec<_>>();
            assert_eq!(published, [""; 0], "fault at operation {operation}: the failed object has outputs");
        }
        if store.files().contains_key(&receipt) {
            let outputs = published[..3].iter();
            assert!(
                outputs.clone().all(|path| store.files().contains_key(path)),
                "fault at operation {operation}"
            );
        } else {
            assert!(!matches!(ended, Ok(Outcome::Done(_))));
        }
        store.fail_at(None);
        assert!(matches!(work(&store).unwrap(), Outcome::Done(_)));
        let without_receipt = |store: &MemoryStore| {
            store.files().into_iter().filter(|(path, _)| !path.starts_with("runs/")).collect::<Vec<_>>()
        };
        let whole: Vec<_> =
            results.clone().into_iter().filter(|(path, _)| !path.starts_with("runs/")).collect();
        assert_eq!(without_receipt(&store), whole, "fault at operation {operation}");
    }
    assert!(failed > 5, "only {failed} attempts failed");
}

/// Polls a condition without pauses, because a run of small objects is short.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !holds() {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn an_interrupted_run_can_be_resumed() {
    let place = Place::synth(24, 4000, &["--malformed", "1"]);
    let whole = {
        assert_eq!(place.convert(&["--prefix", "firehose/", "--run", "whole"]).status, 0);
        let results = place.results();
        fs::remove_dir_all(place.path("out")).unwrap();
        results
    };
    let mut interrupted = 0;
    for signals in [&["INT"][..], &["TERM"], &["INT", "INT"], &["KILL"]] {
        let mut running = Running::start(
            PROGRAM,
            place.convert_args(&["--prefix", "firehose/", "--run", "r", "--jobs", "2"]),
        );
        let receipts = place.path("out/runs/r/receipts");
        wait_until("one object done", || !files_below(&receipts).is_empty());
        signals.iter().for_each(|signal| running.signal(signal));
        let status = running.wait();
        let done = files_below(&receipts).len();
        interrupted += u32::from(done < 24);
        // The scheduler may let the command finish before it delivers the signal.
        assert!(
            status == i32::from(done != 24) || signals == ["KILL"] && status == -1,
            "{signals:?}: {status}, {done} done"
        );
        for (path, bytes) in place.results() {
            assert_eq!(whole.get(&path), Some(&bytes), "{signals:?}: partial output: {path}");
        }
        if signals != ["KILL"] {
            let mut printed = String::new();
            running.0.stderr.take().unwrap().read_to_string(&mut printed).unwrap();
            let to_continue = "not done; to continue, repeat the command with --resume --run r";
            assert!(done == 24 || printed.contains(to_continue), "{printed}");
            let mut summary = String::new();
            running.0.stdout.take().unwrap().read_to_string(&mut summary).unwrap();
            assert!(done == 24 || summary.contains("not done") && !summary.contains("missing"), "{summary}");
            let report: Value =
                serde_json::from_slice(&fs::read(place.path("out/runs/r/report.json")).unwrap()).unwrap();
            assert_eq!(
                (report["objects"]["done"].as_u64(), report["objects"]["missing"].as_u64()),
                (Some(done as u64), Some(24 - done as u64))
            );
        }
        let report = place.report(&["--resume"]);
        assert_eq!(
            (&report["run"], &report["state"], &report["objects"]["done"]),
            (&"r".into(), &"done".into(), &24.into())
        );
        assert_eq!(place.results(), whole, "{signals:?}");
        fs::remove_dir_all(place.path("out")).unwrap();
    }
    assert!(interrupted > 0, "no run was interrupted");
}

#[test]
fn resuming_skips_objects_with_a_receipt_for_the_same_bytes_configuration_and_names() {
    let place = Place::new();
    place.object("a", good().as_bytes()).object("b", good().as_bytes());
    place.file("f.toml", b"# rules\n").file("l.json", NAMES.as_bytes());
    let (toml, json) = (place.path("f.toml"), place.path("l.json"));
    let args = ["--config", toml.to_str().unwrap(), "--names", json.to_str().unwrap()];
    let finished = |key: &str| {
        let receipt: Value = serde_json::from_slice(
            &fs::read(place.path(&format!("out/runs/r/receipts/{key}.json"))).unwrap(),
        )
        .unwrap();
        receipt["finished"].as_str().unwrap().to_owned()
    };
    assert_eq!(place.convert(&[&args[..], &["--run", "r"]].concat()).status, 0);
    let mut before = (finished("a"), finished("b"));
    let mut resume = |changes: (bool, bool), why: &str| {
        let report = place.report(&[&args[..], &["--resume"]].concat());
        assert_eq!((&report["state"], &report["objects"]["done"]), (&"done".into(), &2.into()), "{why}");
        let now = (finished("a"), finished("b"));
        assert_eq!((now.0 != before.0, now.1 != before.1), changes, "{why}");
        before = now;
    };
    resume((false, false), "nothing changed");
    place.object("b", (good() + &good()).as_bytes());
    resume((false, true), "other bytes");
    place.file("f.toml", b"# the same rules with another comment\n");
    resume((false, false), "another comment");
    place.file("f.toml", b"[limits]\nmax_layers = 2\n");
    resume((true, true), "other limits");
    place.file("l.json", NAMES.replace("prod", "production").as_bytes());
    resume((true, true), "other names");

    let csv = place.path("out/csv/vpc_flow/b.csv.gz");
    fs::write(&csv, b"what another run wrote").unwrap();
    resume((false, true), "an output was replaced");
    fs::remove_file(&csv).unwrap();
    resume((false, true), "an output is gone");

    let report = place.report(&[&args[..], &["--resume", "--run", "next"]].concat());
    assert_eq!((&report["objects"]["skipped"], &report["objects"]["done"]), (&2.into(), &0.into()));
    assert_eq!(report["state"], "done");
}

/// Objects that are found to have changed when their end is reached, as the sources for files and for S3 report it.
struct Changing(MemorySource);

impl Source for Changing {
    type Body = Box<dyn Read + Send>;

    fn open(&self, object: &ManifestEntry) -> Result<Self::Body, StoreError> {
        struct Changed;
        impl Read for Changed {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("changed since it was listed"))
            }
        }
        Ok(Box::new(self.0.open(object)?.chain(Changed)))
    }

    fn head(&self, key: &str) -> Result<Option<ManifestEntry>, StoreError> {
        self.0.head(key)
    }
}

#[test]
fn an_object_that_changes_while_it_is_read_fails() {
    // A test in cli/src/local.rs checks that the source for files reports the change.
    let source = Changing(MemorySource::from_iter([("k".to_owned(), good().into_bytes())]));
    let (plan, store) = (RunConfig::default(), MemoryStore::default());
    let processor = ObjectProcessor::new("r", &plan, &source, &store);
    let Outcome::Failed(failure) =
        processor.process_unqueued(&source.0.entry("k"), &Control::NEVER_STOP).unwrap()
    else {
        panic!("the object did not fail")
    };
    assert_eq!(serde_json::to_value(&failure).unwrap()["verdict"], "retry");
    assert!(failure.error().ends_with("changed since it was listed"), "{}", failure.error());
    assert_eq!(store.published(), [layout::failure("r", "k")]);
}

#[test]
fn outputs_of_earlier_rules_are_replaced_or_removed() {
    let place = Place::new();
    place.object("k", (good() + &envelope("other", &[event(1, "text")])).as_bytes());
    let rules = |others: &str| {
        format!(
            "[[rule]]\nname = \"vpc\"\nmatch = {{ log_group = \"vpc*\" }}\ntable = \"vpc_flow\"\nformat = {{ kind = \"vpc-flow\" }}\n{others}"
        )
    };
    let text = |pattern: &str| {
        rules(&format!(
            "[[rule]]\nname = \"text\"\ntable = \"text\"\nformat = {{ kind = \"regex\", pattern = '{pattern}' }}\n"
        ))
    };
    let results = |config: &str| {
        place.file("f.toml", config.as_bytes());
        let report = place.report(&["--config", place.path("f.toml").to_str().unwrap()]);
        assert_eq!(report["state"], "done");
        place.results().into_keys().collect::<Vec<_>>()
    };
    assert_eq!(results(&rules("")), ["csv/vpc_flow/k.csv.gz", "rejects/k.jsonl.gz"]);
    assert_eq!(results(&text("(?P<all>.*)")), ["csv/text/k.csv.gz", "csv/vpc_flow/k.csv.gz"]);
    let only_vpc =
        text("(?P<all>.*)").replace("name = \"text\"", "name = \"text\"\nmatch = { log_group = \"nobody\" }");
    assert_eq!(results(&only_vpc), ["csv/vpc_flow/k.csv.gz", "rejects/k.jsonl.gz"]);
}

#[test]
fn two_keys_never_share_an_output() {
    let keys = ["a", "a.csv.gz", "a.gz", "a/b", "a.csv.gz/b", "a b", "a+b", "a%20b", "A", "a.json", ".."];
    let mut paths = BTreeSet::new();
    for key in keys {
        for path in [
            layout::csv("t", key),
            layout::rejects(key),
            layout::receipt("r", key),
            layout::failure("r", key),
        ] {
            assert!(path.contains(key) && paths.insert(path));
        }
    }
}

#[test]
fn no_output_is_written_outside_the_destination() {
    // Converts from a source with any key, as S3 allows, into a directory.
    let place = Place::new();
    let keys = ["../x", "../../x", "/x", "a/../../../x", "a//x", "./x", "a\0x", "fine"];
    let source: MemorySource = keys.iter().map(|key| ((*key).to_owned(), good().into_bytes())).collect();
    let (plan, out) = (RunConfig::default(), place.path("out"));
    let store = DirStore::new(&out, &out.join("unfinished")).unwrap();
    let processor = ObjectProcessor::new("r", &plan, &source, &store);
    for key in keys {
        let ended = processor.process_unqueued(&source.entry(key), &Control::NEVER_STOP).unwrap();
        assert_eq!(matches!(ended, Outcome::Done(_)), key == "fine", "{key:?}: {ended:?}");
    }
    let entries: Vec<ManifestEntry> = keys.iter().map(|key| source.entry(key)).collect();
    let mut writer = ManifestWriter::new(&store, "r");
    entries.iter().for_each(|entry| writer.add(entry.clone()).unwrap());
    let run = run("r", &plan, Some(writer.finish().unwrap()));
    let report = reconcile(&store, &run, String::new()).unwrap();
    assert_eq!((report.objects.done, report.objects.failed, report.objects.missing), (1, 7, 0));
    let files = files_below(&place.path(""));
    assert!(
        files.iter().all(|file| file.starts_with("out/runs/r/") || file == "out/csv/vpc_flow/fine.csv.gz"),
        "{files:?}"
    );
}

#[test]
fn a_record_that_does_not_fit_its_rule_never_shifts_columns() {
    // Each line has 14 words, because version 2 has 14 fields.
    let same_length = [
        FLOW.replace("eni-1 10.0.0.5", "10.0.0.5 eni-1"),
        FLOW.replacen("2 ", "two ", 1),
        FLOW.replace("192.0.2.7 49152", "49152 192.0.2.7"),
        FLOW.replace("1580515200 1580515260 ACCEPT", "ACCEPT 1580515200 1580515260"),
        FLOW.replace(" OK", "  "),
        "a b c d e f g h i j k l m n".to_owned(),
    ];
    for line in same_length {
        let text = envelope("g", &[event(1, &line)]);
        let (counts, outputs) = convert(text.as_bytes(), "k", &RunConfig::default()).unwrap();
        assert_eq!((counts.rows, counts.rejected), (0, 1), "{line}");
        let reject: Value = serde_json::from_str(&outputs[1].1).unwrap();
        assert_eq!(reject["message"], line);
    }
    for line in [format!("{FLOW} more"), FLOW.replace(" OK", ""), String::new(), FLOW.replacen(' ', "  ", 1)]
    {
        let text = envelope("g", &[event(1, &line)]);
        let (counts, _) = convert(text.as_bytes(), "k", &RunConfig::default()).unwrap();
        assert_eq!(
            counts.rejects.keys().map(|reason| reason.as_str()).collect::<Vec<_>>(),
            ["field-count"],
            "{line}"
        );
    }
}

#[test]
fn a_header_line_defines_the_order_of_fields_or_the_object_fails() {
    let plan = RunConfig::default();
    let header = "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status";
    let back = |line: &str| line.split(' ').rev().collect::<Vec<_>>().join(" ");
    let forward = convert(format!("{header}\n{FLOW}\n").as_bytes(), "k", &plan).unwrap();
    let backward = convert(format!("{}\n{}\n", back(header), back(FLOW)).as_bytes(), "k", &plan).unwrap();
    assert_eq!(forward.1, backward.1);
    assert_eq!(forward.0.rows, 1);
    for written in
        [format!("{} ", back(header)), format!("\u{feff}{}", back(header)), back(header).replace(' ', "\t")]
    {
        let text = format!("{written}\n{}\n", back(FLOW));
        assert_eq!(convert(text.as_bytes(), "k", &plan).unwrap().1, forward.1, "{written:?}");
    }
    for bad in ["start start", "start vpc-id", "version start end new-field", "new-field version start end"] {
        assert!(convert(format!("{bad}\n").as_bytes(), "k", &plan).is_err(), "{bad}");
        let joined = format!("{header}\n{FLOW}\n{bad}\n{FLOW}\n");
        let outcome = convert(joined.as_bytes(), "k", &plan);
        assert!(outcome.is_err(), "the lines after {bad:?} must not be read: {outcome:?}");
    }
}

#[test]
fn an_ambiguous_name_is_absent() {
    let plan = RunConfig::new(Config::default(), NameIndex::parse(NAMES.as_bytes()).unwrap());
    let names = |eni: &str, address: &str| {
        let line = FLOW.replace("eni-1", eni).replace("192.0.2.7", address);
        let (_, outputs) = convert(line.as_bytes(), "k", &plan).unwrap();
        outputs[0].1.trim_end().rsplit(',').next().unwrap().to_owned()
    };
    assert_eq!(names("eni-9", "10.0.0.5"), "-", "two VPCs have the address, and the record's VPC is unknown");
    assert_eq!(names("eni-1", "10.0.0.5"), "a", "the record's own VPC");
    assert_eq!(names("eni-2", "10.0.0.5"), "b", "the record's own VPC");
    assert_eq!(names("eni-1", "10.1.2.3"), "b-inner", "one other VPC has the address");
    assert_eq!(names("eni-1", "172.16.0.1"), "-", "no subnet has the address");
}

#[test]
fn a_duplicate_key_with_different_values_is_a_reject() {
    let json = "[[rule]]\nname = \"r\"\ntable = \"t\"\nformat = { kind = \"json\", columns = [ { name = \"a\", path = \"/a\" } ] }";
    let plan = RunConfig::from(Config::parse(json).unwrap());
    let reasons = |text: &str| {
        let (counts, _) = convert(text.as_bytes(), "k", &plan).ok()?;
        Some((counts.rows, counts.rejects.keys().map(|reason| reason.as_str()).collect::<Vec<_>>()))
    };
    let event_twice = r#"{"timestamp":1,"message":"{\"a\":1}","message":"{\"a\":2}"}"#.to_owned();
    assert_eq!(reasons(&envelope("g", &[event_twice])), Some((0, vec!["duplicate-key"])));
    assert_eq!(reasons(&envelope("g", &[event(1, r#"{"a":1,"a":2}"#)])), Some((0, vec!["duplicate-key"])));
    assert_eq!(reasons(&envelope("g", &[event(1, r#"{"a":1,"b":2}"#)])), Some((1, vec![])));
    assert_eq!(reasons(&envelope("g", &[event(1, r#"{"a":1,"b":2,"a":1}"#)])), Some((1, vec![])));
    let envelope_twice = envelope_of("DATA_MESSAGE", "g", &[]).replacen('{', "{\"logGroup\":\"h\",", 1);
    assert_eq!(reasons(&envelope_twice), None);
}

#[test]
fn outputs_are_gzip_members_that_any_reader_joins() {
    let events: Vec<String> = (0..20_000).map(|at| event(1_580_515_200_000 + at, FLOW)).collect();
    let finished =
        flowherd_shared::pipeline::run(envelope("g", &events).as_bytes(), "k", &RunConfig::default(), |_| {
            Ok(Vec::new())
        })
        .unwrap();
    let bytes = &finished.outputs[0].1;
    let text = gunzip(bytes);
    assert!(text.len() > 2 << 20, "several members");
    assert_eq!(text.split(|byte| *byte == b'\n').count(), 20_002);

    let python = "import gzip, sys; sys.stdout.buffer.write(gzip.decompress(sys.stdin.buffer.read()))";
    for reader in [["gzip", "-dc"].as_slice(), &["python3", "-c", python]] {
        let mut reading = Command::new(reader[0])
            .args(&reader[1..])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = reading.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            scope.spawn(move || input.write_all(bytes).unwrap());
            reading.wait_with_output().unwrap()
        });
        assert!(output.status.success() && output.stdout == text, "{}", reader[0]);
    }
}

/// Runs the command with a limit on data memory in KiB: heap and stacks, as the kernel counts them.
pub(crate) fn within(kib: u32, args: &[String]) -> std::process::Output {
    let limited = format!("ulimit -d {kib} && exec \"$@\"");
    let mut command = Command::new("bash");
    command.args(["-c", &limited, "bash", PROGRAM]).args(args);
    // Each thread reserves an arena and a stack. These are the values that `convert` has by default.
    command.env("MALLOC_ARENA_MAX", "1").env("RUST_MIN_STACK", "2097152");
    command.output().unwrap()
}

#[test]
fn memory_use_is_independent_of_object_size() {
    let place = Place::new();
    // 250 MB each: events of one endless envelope; lines; one line.
    let events = format!("{},", event(1_580_515_200_000, FLOW)).repeat(2000);
    let mut envelope = gzip(envelope_of("DATA_MESSAGE", "g", &[]).trim_end_matches("]}").as_bytes());
    let member = gzip(events.as_bytes());
    (0..800).for_each(|_| envelope.extend_from_slice(&member));
    envelope.extend(gzip(format!("{}]}}", event(1, FLOW)).as_bytes()));
    place.object("envelope", &envelope);
    let lines = gzip(format!("{FLOW}\n").repeat(2000).as_bytes());
    place.object("lines", &lines.repeat(1300));
    place.object("line", &gzip(FLOW.repeat(2000).as_bytes()).repeat(1300));
    // Envelopes near the size limit that memory must hold whole, because a value follows their events.
    let late = format!(
        r#"{{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"g","logEvents":[{}],"logStream":"s"}}"#,
        vec![event(1, FLOW); 100_000].join(",")
    );
    place.object("late", &gzip(late.as_bytes()).repeat(3));

    let output = within(64 << 10, &place.convert_args(&["--jobs", "1", "--json"]));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    assert_eq!((&report["state"], &report["objects"]["done"]), (&"done".into(), &4.into()), "{report}");
    assert_eq!(report["records"]["rows"], 1_600_001 + 2_600_000 + 300_000);
    assert_eq!(report["rejects"]["too-long"], 1);
    assert!(report["bytes"]["decoded_in"].as_u64().unwrap() > 700_000_000, "{report}");
}

#[test]
fn memory_use_is_independent_of_the_number_of_objects() {
    const OBJECTS: u64 = 100_000;
    const PART: u64 = PART_ENTRIES as u64;
    let store = MemoryStore::default();
    let mut writer = ManifestWriter::new(&store, "r");
    let entry = |number: u64| ManifestEntry { key: format!("k{number}"), size: number, etag: "e".to_owned() };
    for number in 0..OBJECTS {
        writer.add(entry(number)).unwrap();
        assert_eq!(store.files().len() as u64, (number + 1) / PART, "a full part is not written at once");
    }
    let totals = writer.finish().unwrap();
    assert_eq!((totals.parts, totals.objects), (OBJECTS / PART, OBJECTS));

    let plan = RunConfig::default();
    let run = run("r", &plan, Some(totals));
    store.fail_at(None);
    let mut entries = flowherd_coordinator::manifest::read(&store, &run);
    for number in 0..OBJECTS {
        assert_eq!(entries.next().unwrap().unwrap(), entry(number));
        assert_eq!(store.operations() as u64, number / PART + 1, "parts are read early");
    }
    assert!(entries.next().is_none());
    let report = reconcile(&store, &run, String::new()).unwrap();
    assert_eq!((report.objects.listed, report.objects.missing), (OBJECTS, OBJECTS));
}
