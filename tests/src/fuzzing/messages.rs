//! Checks of data that parts of the fleet exchange: events, tasks and ledger files.

use std::{fmt::Debug, time::Duration};

use aws_lambda_events::sqs::SqsEvent;
use flowherd_coordinator::{
    coordinator::{Coordinator, Inputs},
    error::CoordinatorError,
    event::Event,
    live::{
        batch::{ArrivalMessage, Arrivals, FleetKeys},
        close::CloseOptions,
        day::{Day, FleetPrefixes},
    },
    manifest,
    options::RunOptions,
    reconcile::{Reconciliation, reconcile},
    state::RunState,
};
use flowherd_shared::{
    ledger::{
        Amendment, Failure, ManifestEntry, ManifestTotals, Purged, Receipt, Report, Run, layout, read_json,
    },
    pipeline::RunConfig,
    store::Store,
    task::{Task, TaskError},
};
use flowherd_worker::event::messages;
use jiff::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{numbered, numbered_text};
use crate::{
    fake::{MemoryQueue, MemorySource, MemoryStore},
    ledger::run,
    objects::{FLOW, envelope, event as log_event, gzip},
};

/// Parses any text as a queue message. A task must have the values of its JSON, must be valid to send again, and its paths
/// must be within its ledger.
pub(super) fn task(data: &[u8]) {
    let Ok(body) = std::str::from_utf8(data) else { return };
    let task = match Task::parse(body) {
        Ok(task) => task,
        Err(TaskError::Run(run)) => return assert!(!layout::is_run_name(&run)),
        Err(_) => return,
    };
    let json: Value = serde_json::from_str(body).expect("a task is JSON");
    assert_eq!(json["v"], 1);
    assert_eq!(json["size"], task.object.size);
    let (run, key) = (&task.run, &task.object.key);
    let texts = [("run", run), ("bucket", &task.bucket), ("key", key), ("etag", &task.object.etag)];
    for (name, value) in texts {
        assert_eq!(json[name], **value, "{name}");
    }
    assert_eq!(Task::parse(&task.body()).expect("its own body"), task);
    let may_be_sent = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
    assert!(task.body().chars().all(may_be_sent));
    for id in [task.group(), task.deduplication()] {
        assert!((1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
    assert!(!run.is_empty() && !run.contains('/') && *run != "." && *run != "..");
    for path in [layout::receipt(run, key), layout::failure(run, key), layout::amendment(run, key)] {
        assert!(path.starts_with(&format!("runs/{run}/")) && path.contains(key.as_str()));
    }
}

/// Parses any JSON as the event of a function. The worker must read all messages in order. The coordinator's response must be
/// a valid event.
pub(super) fn event(data: &[u8]) {
    let Some((number, text)) = numbered_text(data) else { return };
    if number % 2 == 0 {
        let Ok(event) = serde_json::from_str::<SqsEvent>(text) else { return };
        let Ok(messages) = messages(event.records.clone()) else { return };
        assert_eq!(messages.len(), event.records.len());
        for (message, record) in messages.iter().zip(&event.records) {
            assert!(is_same(message, record), "{message:?}");
            assert_eq!(Some(&message.group), record.attributes.get("MessageGroupId"));
        }
        return;
    }
    let Ok(event) = serde_json::from_str::<Value>(text) else { return };
    if let Ok(event) = Event::parse(event) {
        Fleet::new().serve(event);
    }
}

fn is_same(message: &flowherd_shared::queue::Message, record: &aws_lambda_events::sqs::SqsMessage) -> bool {
    let same = |text: &str, other: &Option<String>| Some(text) == other.as_deref();
    same(&message.id, &record.message_id)
        && same(&message.body, &record.body)
        && same(&message.handle, &record.receipt_handle)
}

/// A coordinator with one planned run, `r`.
struct Fleet {
    source: MemorySource,
    store: MemoryStore,
    queue: MemoryQueue,
}

impl Fleet {
    fn new() -> Self {
        let object = envelope("g", &[log_event(1, FLOW)]).into_bytes();
        let source = (0..5).map(|number| (format!("k/{number}"), object.clone())).collect();
        let fleet = Self { source, store: MemoryStore::default(), queue: MemoryQueue::default() };
        let options =
            RunOptions { run: Some("r".to_owned()), prefix: Some("k/".to_owned()), ..RunOptions::default() };
        fleet.coordinate(|coordinator| {
            let state = coordinator.begin(&options).expect("begun");
            coordinator.step(state, &|| true).expect("planned");
        });
        fleet
    }

    fn coordinate<T>(
        &self,
        work: impl FnOnce(&Coordinator<'_, MemorySource, MemoryStore, MemoryQueue>) -> T,
    ) -> T {
        work(&Coordinator {
            fleet: "main",
            results_bucket: "results",
            source: &self.source,
            bucket: "logs",
            results: &self.store,
            queue: Some(&self.queue),
            dead_letters: Some(&self.queue.dead_letters()),
            index: None,
            inputs: &|| Ok(Inputs::default()),
            settle: Duration::from_mins(2),
            time_limit: Duration::from_hours(24),
            max_keys: u64::MAX,
            clock: &|| Timestamp::from_second(1_771_372_800).unwrap(),
            pause: &|_| {},
            on_page: &|| {},
        })
    }

    /// Handles messages of the arrivals queue. Each of them is sent, ignored, or delivered again.
    fn arrive(messages: &[ArrivalMessage]) {
        let fleets = [live_fleet()];
        let now = Timestamp::from_second(1_771_372_800).expect("a time");
        let arrivals = Arrivals { bucket: "logs", fleets: &fleets, now };
        let handled = arrivals.handle(messages, &|| true, |keys, day, objects| {
            assert!(objects.iter().all(|object| keys.prefixes.prefix_of(&object.key).is_some()));
            assert_eq!(Day::parse(&day.text()), Some(day));
            Ok(objects.len() as u64)
        });
        assert_eq!(handled.failed.is_empty(), handled.refused == 0);
        let accounted = handled.sent + handled.ignored + handled.refused;
        assert!(
            accounted >= messages.len() as u64
                || messages.iter().any(|message| message.body.contains("Records"))
        );
    }

    /// Closes days. An invalid day is refused.
    fn close(&self, options: &CloseOptions) {
        let Ok(day) = options.parse_day() else { return };
        match self.coordinate(|coordinator| coordinator.close(&live_fleet(), day)) {
            Ok(closed) => assert!(!closed.runs.is_empty()),
            Err(error) => assert!(!error.on_one_line().is_empty()),
        }
    }

    /// Handles the event and up to three further operations. Each returned state must be a valid event, and a refused event
    /// must leave no file.
    fn serve(&self, event: Event) {
        // Only AWS answers a refresh.
        #[cfg_attr(
            not(feature = "cloud"),
            expect(unused_variables, reason = "the fuzz targets do without AWS")
        )]
        if let Event::Names(options) = &event {
            #[cfg(feature = "cloud")]
            assert!(options.targets().len() > options.role_arns.len().min(options.problems().len()));
            return;
        }
        if let Event::Arrivals(messages) = &event {
            Self::arrive(messages);
            return;
        }
        if let Event::Close(options) = &event {
            self.close(options);
            return;
        }
        let before = self.store.files().len();
        let outcome = self.coordinate(|coordinator| match event {
            Event::Run(options) | Event::Begin(options) => coordinator.begin(&options),
            Event::Continue { run } => coordinator.resume_driving(&run),
            Event::ReportNow { run } => coordinator.report_after_failure(&run, &|| false),
            Event::Redrive { run } => {
                let (_, state) = coordinator.redrive(&run)?;
                state.ok_or_else(|| CoordinatorError::Busy("an open live run is not driven".to_owned()))
            }
            Event::Arrivals(_) | Event::Close(_) | Event::Names(_) => unreachable!("returned above"),
            Event::State(state) => coordinator.step(RunState { run: "r".to_owned(), ..*state }, &|| false),
        });
        let mut state = match outcome {
            Ok(state) => state,
            Err(error) => {
                assert!(!error.on_one_line().is_empty());
                if matches!(error, CoordinatorError::Refused(_)) {
                    assert!(self.store.files().len() <= before, "a refused event wrote a file");
                }
                return;
            }
        };
        for _ in 0..3 {
            let json = serde_json::to_value(&state).expect("a state is JSON");
            let parsed = Event::parse(json).expect("a state is an event");
            assert_eq!(parsed, Event::State(Box::new(state.clone())));
            assert!(layout::is_run_name(&state.run));
            assert!(state.progress.pending() <= state.progress.listed);
            if state.has_ended() {
                return;
            }
            match self.coordinate(|coordinator| coordinator.step(state, &|| false)) {
                Ok(next) => state = next,
                Err(_) => return,
            }
        }
    }
}

const KEY: &str = "k";

/// Reads any texts, separated by NUL, as the ledger files of a run. Each file must be the same after it is written and read
/// again. The report must keep the promises of every report.
pub(super) fn ledger(data: &[u8]) {
    let Some((number, data)) = numbered(data) else { return };
    let store = MemoryStore::default();
    store.put("csv/t/k.csv.gz", b"rows").unwrap();
    let mut files = data.split(|byte| *byte == 0);
    let manifest = files.next().unwrap_or_default();
    let part = layout::manifest_part("r", 0);
    let bytes = if number & 1 == 0 { gzip(manifest) } else { manifest.to_vec() };
    store.put(&part, &bytes).unwrap();
    let paths = [
        layout::receipt("r", KEY),
        layout::failure("r", KEY),
        layout::amendment("r", KEY),
        layout::run("r"),
        layout::purged("r"),
        layout::report("r"),
        layout::unfinished_report("r"),
    ];
    for (path, bytes) in paths.iter().zip(files) {
        store.put(path, bytes).unwrap();
    }
    reads_back::<Receipt>(&store, &paths[0]);
    reads_back::<Failure>(&store, &paths[1]);
    reads_back::<Amendment>(&store, &paths[2]);
    reads_back::<Purged>(&store, &paths[4]);
    reads_back::<Report>(&store, &paths[5]);
    reads_back::<Reconciliation>(&store, &paths[6]);
    let lines = manifest.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count() as u64;
    let of_this = |run: &Run| layout::is_run_name(&run.run);
    let mut run = reads_back::<Run>(&store, &paths[3]).filter(of_this).unwrap_or_else(|| {
        let totals = ManifestTotals { parts: 1, objects: lines, bytes: 0, ..ManifestTotals::default() };
        run("r", &RunConfig::default(), Some(totals))
    });
    "r".clone_into(&mut run.run);
    // Reading returns an error for each missing part, and a damaged `run.json` can name any number of parts.
    let mut entries: Vec<_> = manifest::read(&store, &run).take(10_000).collect();
    if run.manifest.is_none() {
        // The listing is incomplete, so the manifest ends with an error.
        assert!(entries.pop().is_some_and(|last| last.is_err()), "the incomplete listing is not an error");
    }
    let Ok(report) = reconcile(&store, &run, "now".to_owned()) else { return };
    assert!(entries.iter().all(Result::is_ok), "the report ignores an unreadable manifest");
    let objects = report.objects;
    assert_eq!(objects.listed, entries.len() as u64);
    assert_eq!(objects.listed, objects.done + objects.failed + objects.skipped + objects.missing);
    let records = report.records;
    let sum = [records.rows, records.rejected, records.control, records.dropped]
        .into_iter()
        .fold(0, u64::saturating_add);
    assert!(records.read == sum || records.read == u64::MAX);
    let json = serde_json::to_vec(&report).expect("a report is JSON");
    assert_eq!(serde_json::from_slice::<Report>(&json).expect("its own JSON"), report);
    let entry = |entry: &ManifestEntry| entry.key == KEY;
    assert!(objects.done == 0 || entries.iter().flatten().any(entry), "only {KEY} has a receipt");
}

fn reads_back<T: Serialize + DeserializeOwned + PartialEq + Debug>(
    store: &MemoryStore,
    path: &str,
) -> Option<T> {
    let value: T = read_json(store, path).expect("no fault")?;
    let bytes = serde_json::to_vec(&value).expect("it is JSON");
    assert_eq!(serde_json::from_slice::<T>(&bytes).expect("its own JSON"), value);
    Some(value)
}

fn live_fleet() -> FleetKeys {
    let prefixes = FleetPrefixes::new(&["p/".to_owned()], &[]);
    FleetKeys { fleet: "main".to_owned(), prefixes, live: true }
}
