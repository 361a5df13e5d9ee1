//! Index runs on the fakes: the rows of a converted day become documents of a cluster in memory.

mod estimate;
mod http;
mod proof;

use std::{
    ops::ControlFlow,
    time::{Duration, SystemTime},
};

use flowherd_coordinator::{
    coordinator::{Coordinator, Inputs},
    error::CoordinatorError,
    options::RunOptions,
    redrive::Redriven,
    search::IndexFleet,
    state::{Operation, RunState},
};
use flowherd_shared::{
    ledger::{
        Destination, DocumentCounts, FieldNaming, IndexTarget, Job, Receipt, Report, ReportState, Run,
        Warning, layout, read_json, read_report,
    },
    queue::{Queue, QueueDepth},
    store::Store,
};
use flowherd_tests::{
    fake::{MemoryQueue, MemorySource, MemoryStore, search_cluster::MemoryCluster},
    objects::gunzip,
};
use flowherd_worker::{
    handler::MessageHandler,
    index::{IndexJob, RowIndexer},
};
use jiff::Timestamp;

use super::fleet::{Fleet, SETTLE, START};

const RESULTS: &str = "results";
const INDEX: &str = "flowherd-vpc_flow";
/// Objects of the day; object `n` has `n % 5` rows.
const OBJECTS: usize = 10;
const ROWS: u64 = 20;
const RUN: &str = "index-1";

/// A converted day, and a fleet that indexes it.
struct Indexing {
    day: Fleet,
    rows: MemorySource,
    cluster: MemoryCluster,
}

type IndexCoordinator<'a> = Coordinator<'a, MemorySource, MemoryStore, MemoryQueue>;

impl Indexing {
    fn new() -> Self {
        let day = Fleet::new(OBJECTS);
        day.finish(day.begin("day", ""));
        let is_row = |(path, _): &(String, Vec<u8>)| path.starts_with(layout::CSV);
        let mut rows: MemorySource = day.store.files().into_iter().filter(is_row).collect();
        rows.page_size = 3;
        Self { day, rows, cluster: MemoryCluster::default() }
    }

    fn coordinate<T>(&self, work: impl FnOnce(&IndexCoordinator<'_>) -> T) -> T {
        let destination = Destination::Pattern("flowherd-{table}".to_owned());
        let target = IndexTarget { destination, naming: FieldNaming::Columns };
        work(&Coordinator {
            fleet: "index",
            source: &self.rows,
            bucket: RESULTS,
            results_bucket: RESULTS,
            results: &self.day.store,
            queue: Some(&self.day.queue),
            dead_letters: Some(&self.day.queue.dead_letters()),
            index: Some(IndexFleet { target, cluster: &self.cluster }),
            inputs: &|| Ok(Inputs::default()),
            settle: SETTLE,
            time_limit: Duration::from_hours(24),
            on_page: &|| {},
            max_keys: 100_000,
            clock: &|| self.now(),
            pause: &|_| {},
        })
    }

    fn now(&self) -> Timestamp {
        Timestamp::try_from(SystemTime::UNIX_EPOCH + START + self.day.queue.now()).unwrap()
    }

    fn begin(&self, options: &RunOptions) -> Result<RunState, CoordinatorError> {
        self.coordinate(|coordinator| coordinator.begin(options))
    }

    /// Drives a run until its check, or to its end.
    fn drive(&self, mut state: RunState, until_check: bool) -> RunState {
        while !(state.has_ended() || until_check && matches!(state.operation, Operation::Check(_))) {
            self.day.queue.advance(Duration::from_secs(state.wait_seconds));
            if matches!(state.operation, Operation::Check(_)) {
                self.drain();
            }
            state = self.coordinate(|coordinator| coordinator.step(state, &|| true)).unwrap();
        }
        state
    }

    fn finish(&self, state: RunState) -> Report {
        let state = self.drive(state, false);
        read_report(&self.day.store, &layout::report(&state.run)).unwrap().unwrap()
    }

    fn run(&self, run: &str) -> Report {
        self.finish(self.begin(&options(run)).unwrap())
    }

    /// Works until the queue is empty.
    fn drain(&self) {
        self.work(&|| self.day.queue.depth().map_or(true, |depth| depth != QueueDepth::default()));
    }

    /// Works while `can_begin` returns `true`. Each look takes a second.
    fn work(&self, can_begin: &(dyn Fn() -> bool + Sync)) {
        self.work_with(&self.cluster, can_begin);
    }

    fn work_with(&self, rows: &dyn RowIndexer, can_begin: &(dyn Fn() -> bool + Sync)) {
        let job = IndexJob::new(rows);
        let clock = || self.now();
        let mut handler = MessageHandler::new(
            (RESULTS, &self.rows),
            &self.day.store,
            (&self.day.queue, self.day.settings.visibility),
        );
        handler.index = Some(&job);
        handler.sleep = |_| {};
        handler.max_deliveries = Some(self.day.settings.max_deliveries);
        handler.clock = &clock;
        let look = || {
            self.day.queue.advance(Duration::from_secs(1));
            can_begin()
        };
        handler.poll(&look, &|| ControlFlow::Continue(()));
    }

    fn receipt(&self, run: &str, key: &str) -> Receipt {
        read_json(&self.day.store, &layout::receipt(run, key)).unwrap().unwrap()
    }
}

fn options(run: &str) -> RunOptions {
    let (run, prefix) = (Some(run.to_owned()), Some("csv/".to_owned()));
    RunOptions { run, prefix, index: true, ..RunOptions::default() }
}

fn refusal(result: Result<RunState, CoordinatorError>) -> String {
    match result {
        Err(CoordinatorError::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_row_is_a_document_once_and_another_run_adds_nothing() {
    let indexing = Indexing::new();
    let report = indexing.run(RUN);
    assert_eq!(report.state, ReportState::Done);
    assert_eq!((report.objects.listed, report.objects.done), (OBJECTS as u64, OBJECTS as u64));
    let all_new = DocumentCounts { rows: ROWS, indexed: ROWS, existing: 0, refused: 0 };
    assert_eq!(report.documents, Some(all_new));
    assert_eq!(indexing.cluster.counts(), [(INDEX.to_owned(), ROWS as usize)].into());
    assert_eq!(indexing.cluster.tables(), ["vpc_flow".to_owned()].into());
    let run: Run = read_json(&indexing.day.store, &layout::run(RUN)).unwrap().unwrap();
    assert!(matches!(run.job, Job::Index(_)));

    let again = indexing.run("index-2");
    assert_eq!(again.documents, Some(DocumentCounts { indexed: 0, existing: ROWS, ..all_new }));
    assert_eq!(indexing.cluster.counts(), [(INDEX.to_owned(), ROWS as usize)].into());

    let resume =
        RunOptions { resume: Some(RUN.to_owned()), run: Some("r".to_owned()), ..RunOptions::default() };
    let resumed = indexing.finish(indexing.begin(&resume).unwrap());
    assert_eq!(
        (resumed.objects.skipped, resumed.documents),
        (OBJECTS as u64, Some(DocumentCounts::default()))
    );
}

#[test]
fn a_run_into_another_index_is_not_covered_by_receipts_of_the_first() {
    let indexing = Indexing::new();
    indexing.run(RUN);
    let to = Some("incident".to_owned());
    let resume = RunOptions { resume: Some(RUN.to_owned()), to, ..RunOptions::default() };
    let why = refusal(indexing.begin(&resume));
    assert!(why.contains("may have rows of several tables"), "{why}");
    let prefix = Some("csv/vpc_flow/".to_owned());
    let one = indexing.begin(&RunOptions { prefix, to: resume.to.clone(), ..options("r") }).unwrap();
    let report = indexing.finish(one);
    assert_eq!(report.documents.map(|documents| documents.indexed), Some(ROWS));
    assert_eq!(indexing.cluster.counts()["incident"], ROWS as usize);
}

#[test]
fn refused_rows_are_in_rejects_with_the_clusters_reason_and_all_others_are_documents() {
    let indexing = Indexing::new();
    let key = indexing.rows.keys().into_iter().find(|key| key.contains("004")).unwrap();
    let mut rows = gunzip(&indexing.day.store.files()[&key]);
    rows.extend_from_slice(b"1970-01-01T00:00:00.000Z,conflict\n");
    indexing.rows.put(&key, flowherd_tests::objects::gzip(&rows));
    indexing.cluster.refuse("conflict");

    let report = indexing.run(RUN);
    let documents = DocumentCounts { rows: ROWS + 1, indexed: ROWS, existing: 0, refused: 1 };
    assert_eq!((report.state, report.documents), (ReportState::Done, Some(documents)));
    assert_eq!(report.rejects, [("mapper_parsing_exception".to_owned(), 1)].into());
    let reason = "mapper_parsing_exception".to_owned();
    assert_eq!(report.warnings, [Warning::DocumentsRefused { count: 1, reason, key: key.clone() }]);
    let path = layout::refused(RUN, &key);
    let line: serde_json::Value =
        serde_json::from_slice(&gunzip(&indexing.day.store.files()[&path])).unwrap();
    assert_eq!((&line["object"], &line["record"]), (&key.into(), &4.into()));
    assert_eq!(line["detail"], "failed to parse field [srcport]");
    assert_eq!(line["message"], "1970-01-01T00:00:00.000Z,conflict");
}

#[test]
fn a_killed_attempt_leaves_documents_that_the_next_attempt_finds() {
    let indexing = Indexing::new();
    indexing.cluster.fail_after(1);
    let report = indexing.run(RUN);
    assert_eq!(report.state, ReportState::Done);
    let documents = report.documents.unwrap();
    assert_eq!((documents.rows, documents.indexed + documents.existing), (ROWS, ROWS));
    assert_eq!(documents.existing, 1);
    assert_eq!(indexing.cluster.counts()[INDEX], ROWS as usize);
}

#[test]
fn a_cluster_that_is_down_pauses_the_fleet_and_makes_no_dead_letter_messages() {
    let indexing = Indexing::new();
    let state = indexing.drive(indexing.begin(&options(RUN)).unwrap(), true);
    indexing.cluster.set_down(true);
    let began = indexing.day.queue.now();
    let day = Duration::from_hours(24);
    indexing.work(&|| indexing.day.queue.now() < began + day);
    // A worker without pauses would make an attempt at each message every second.
    assert!(indexing.cluster.attempts() < 2_000, "{}", indexing.cluster.attempts());
    assert_eq!(indexing.day.queue.dead(), [""; 0]);
    assert_eq!(indexing.day.queue.bodies().len(), OBJECTS);

    indexing.cluster.set_down(false);
    let report = indexing.finish(state);
    assert_eq!(report.state, ReportState::Done);
    assert_eq!(report.documents.map(|documents| documents.indexed), Some(ROWS));
    let key = &indexing.rows.keys()[1];
    assert_eq!(indexing.receipt(RUN, key).attempt, 1, "an outage is no attempt");
}

#[test]
fn workers_continue_at_most_five_minutes_after_an_outage() {
    for minutes in [1, 9, 61, 600] {
        let indexing = Indexing::new();
        let state = indexing.drive(indexing.begin(&options(RUN)).unwrap(), true);
        let queue = &indexing.day.queue;
        let available = queue.now() + Duration::from_mins(minutes);
        indexing.cluster.set_down(true);
        indexing.work(&|| {
            indexing.cluster.set_down(queue.now() < available);
            queue.depth().map_or(true, |depth| depth != QueueDepth::default())
        });
        // Each look takes a second, and there are several for each object.
        let waited = queue.now().checked_sub(available).expect("no object is done during the outage");
        assert!(waited <= Duration::from_mins(5) + Duration::from_secs(4 * OBJECTS as u64), "{waited:?}");
        assert_eq!(queue.dead(), [""; 0]);
        assert_eq!(indexing.finish(state).state, ReportState::Done);
    }
}

#[test]
fn a_begin_while_the_cluster_is_down_can_be_repeated_and_writes_nothing() {
    let indexing = Indexing::new();
    indexing.cluster.set_down(true);
    let error = indexing.begin(&options(RUN)).unwrap_err();
    assert!(!error.is_permanent() && matches!(error, CoordinatorError::Cluster(_)), "{error}");
    assert!(!indexing.day.has(&layout::run(RUN)) && !indexing.day.has(&layout::active(RUN)));
    indexing.cluster.set_down(false);
    assert_eq!(indexing.run(RUN).state, ReportState::Done);
}

#[test]
fn planning_passes_over_objects_that_are_not_rows_of_a_table_and_names_one() {
    let indexing = Indexing::new();
    for key in ["csv/aaa/x.csv.gz", "csv/vpc_flow/.tmp", "csv/zzz/x.csv.gz", "csv/zzz/y.csv.gz"] {
        indexing.rows.put(key, b"x".to_vec());
    }
    let state = indexing.drive(indexing.begin(&options(RUN)).unwrap(), true);
    let message = state.message.clone().unwrap_or_default();
    assert!(message.contains("passed over") && message.contains("csv/aaa/x.csv.gz"), "{message}");
    assert_eq!(indexing.finish(state).objects.listed, OBJECTS as u64);
    let run: Run = read_json(&indexing.day.store, &layout::run(RUN)).unwrap().unwrap();
    assert_eq!(run.manifest.unwrap().passed_over, 4);
}

#[test]
fn planning_saves_its_position_after_pages_without_rows() {
    let mut indexing = Indexing::new();
    indexing.rows.page_size = 1;
    // Before the rows, and after them.
    for number in 0..50 {
        indexing.rows.put(&format!("csv/aaa/{number:02}.csv.gz"), b"x".to_vec());
        indexing.rows.put(&format!("csv/zzz/{number:02}.csv.gz"), b"x".to_vec());
    }
    let begun = indexing.begin(&options(RUN)).unwrap();
    let once =
        |state: RunState| indexing.coordinate(|coordinator| coordinator.step(state, &|| false)).unwrap();
    assert_eq!(once(begun.clone()).progress.listed, 0);
    assert!(indexing.day.has(&layout::cursor(RUN)));
    // The response was lost, so the call is repeated with the state before it.
    let (mut state, mut calls) = (begun, 0);
    while matches!(state.operation, Operation::Plan(_)) {
        state = once(state);
        calls += 1;
        assert!(calls < 100, "planning does not end");
    }
    let run: Run = read_json(&indexing.day.store, &layout::run(RUN)).unwrap().unwrap();
    assert_eq!(run.manifest.map(|totals| (totals.objects, totals.passed_over)), Some((OBJECTS as u64, 100)));
    assert_eq!(indexing.finish(state).documents.map(|documents| documents.indexed), Some(ROWS));
}

#[test]
fn refused_rows_of_an_attempt_that_ended_without_a_trace_do_not_remain() {
    let indexing = Indexing::new();
    let state = indexing.drive(indexing.begin(&options(RUN)).unwrap(), true);
    let path = layout::refused(RUN, &indexing.rows.keys()[0]);
    indexing.day.store.put(&path, b"of the first delivery").unwrap();
    // The first deliveries end without a failure in the ledger, as those of a process that was killed.
    indexing.day.queue.receive(10, Duration::ZERO).unwrap();
    indexing.day.queue.advance(indexing.day.settings.visibility);
    assert_eq!(indexing.finish(state).state, ReportState::Done);
    assert!(!indexing.day.has(&path));
}

#[test]
fn an_object_whose_receipt_has_too_long_a_key_fails_before_its_first_document() {
    let indexing = Indexing::new();
    let key = &indexing.rows.keys()[4];
    let long = format!("csv/vpc_flow/{}.csv.gz", "k".repeat(1_000));
    indexing.rows.put(&long, indexing.day.store.files()[key].clone());
    let report = indexing.run(RUN);
    assert_eq!((report.state, report.objects.failed), (ReportState::Failed, 1));
    assert_eq!(indexing.cluster.counts()[INDEX], ROWS as usize);
}

#[test]
fn an_object_that_is_no_csv_is_a_dead_letter_and_a_redrive_indexes_it_after_the_repair() {
    let indexing = Indexing::new();
    let key = indexing.rows.keys()[1].clone();
    let good = indexing.rows.remove(&key).unwrap();
    indexing.rows.put(&key, b"not gzip".to_vec());
    let report = indexing.run(RUN);
    assert_eq!((report.state, report.objects.failed), (ReportState::Failed, 1));
    assert_eq!(indexing.day.queue.dead().len(), 1);

    indexing.rows.put(&key, good);
    let (redriven, state) = indexing.coordinate(|coordinator| coordinator.redrive(RUN)).unwrap();
    assert!(matches!(redriven, Redriven::Started(1) | Redriven::Moved(1)), "{redriven:?}");
    let report = indexing.finish(state.unwrap());
    assert_eq!(report.documents.map(|documents| documents.rows), Some(ROWS));
}

#[test]
fn a_run_and_its_fleet_have_the_same_job() {
    let indexing = Indexing::new();
    let convert = RunOptions { index: false, ..options(RUN) };
    let why = refusal(indexing.begin(&convert));
    assert!(why.contains("flowherd index --prefix csv/TABLE/ --fleet index"), "{why}");
    let prefix = Some("firehose/".to_owned());
    let why = refusal(indexing.begin(&RunOptions { prefix, ..options(RUN) }));
    assert!(why.contains("has no rows"), "{why}");
    let resume = Some("day".to_owned());
    let why = refusal(indexing.begin(&RunOptions { resume, prefix: None, ..options(RUN) }));
    assert!(why.contains("the resumed run converts objects"), "{why}");
    let why = refusal(indexing.day.coordinate(|coordinator| coordinator.begin(&options(RUN))));
    assert!(why.contains("fleet main converts objects"), "{why}");
    let prefix = Some("csv/waf/".to_owned());
    let why = refusal(indexing.begin(&RunOptions { prefix, ..options(RUN) }));
    assert!(why.contains("their tables: vpc_flow"), "{why}");
}

#[test]
fn a_worker_that_converts_refuses_an_index_run_and_names_the_setting() {
    let indexing = Indexing::new();
    indexing.drive(indexing.begin(&options(RUN)).unwrap(), true);
    indexing.day.queue.advance(Duration::from_secs(1));
    let handler = MessageHandler::new(
        (RESULTS, &indexing.rows),
        &indexing.day.store,
        (&indexing.day.queue, indexing.day.settings.visibility),
    );
    let message = indexing.day.queue.receive(1, Duration::ZERO).unwrap().remove(0);
    handler.single(&message, &|| ControlFlow::Continue(()));
    let failures = indexing.day.store.files();
    let failure = failures.iter().find(|(path, _)| path.contains("/failures/")).unwrap();
    let text = String::from_utf8_lossy(failure.1);
    assert!(text.contains("FLOWHERD_JOB") && text.contains("\"verdict\":\"retry\""), "{text}");
    assert!(indexing.day.store.etag(&layout::receipt(RUN, &indexing.rows.keys()[0])).unwrap().is_none());
}
