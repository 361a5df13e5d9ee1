//! What a run of very many objects costs the coordinator: the real operations, driven as the step loop drives them, over
//! services that compute what they hold instead of holding it, on a clock that calls and waits move on.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs,
    io::Write,
    ops::ControlFlow,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use flate2::{Compression, write::GzEncoder};
use flowherd_coordinator::{
    coordinator::{Coordinator, Inputs},
    drive::Host,
    options::RunOptions,
    state::{Progress, RunState},
};
use flowherd_shared::{
    error::Verdict,
    ledger::{
        ByteCounts, Failure, Fingerprint, ManifestEntry, Receipt, ReceiptOutput, RecordCounts, ReportState,
        RuleTotals, layout,
    },
    pipeline::RunConfig,
    queue::{Message, NewMessage, PurgeError, Queue, QueueDepth, QueueError, RejectedEntry},
    store::{Head, Lister, Page, Store, StoreError},
};
use flowherd_tests::fake::MemoryStore;
use jiff::Timestamp;
use nix::sys::resource::{UsageWho, getrusage};

const PAGE: u64 = 1000;
/// One object in this many fails permanently.
const FAILS: u64 = 500;
/// Objects that the workers do in a second: 50 of them, with objects of 1 MB (docs/scale.md).
const A_SECOND: u64 = 390;
/// What a call takes, in microseconds; several are under way at once as in `reconcile.rs` and `send.rs`.
const LIST: u64 = 100_000;
const READ: u64 = 20_000;
const WRITE: u64 = 30_000;
const READERS: u64 = 32;
const SENDERS: u64 = 16;
/// A function's 900 seconds less the coordinator's margin.
const INVOCATION: Duration = Duration::from_secs(855);
/// States that a turn of the step loop passes, and events that it leaves, each for Next, Wait, Operation and a call.
const TRANSITIONS: u64 = 4;
const EVENTS: u64 = 11;
const RUN: &str = "r";

fn main() {
    // Numbers of objects may be given instead.
    let given: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if given.is_empty() { vec![20_000, 200_000, 1_000_000] } else { given };
    println!("a run of this many objects, {A_SECOND} done per second, one in {FAILS} fails");
    for objects in sizes {
        simulate(objects);
    }
}

/// Calls by kind.
#[derive(Debug, Default)]
struct Calls {
    lists: AtomicU64,
    reads: AtomicU64,
    writes: AtomicU64,
    sends: AtomicU64,
    depths: AtomicU64,
}

impl Calls {
    fn now(&self) -> [u64; 5] {
        [&self.lists, &self.reads, &self.writes, &self.sends, &self.depths].map(|count| count.load(Relaxed))
    }
}

/// All services at once.
struct Day {
    objects: u64,
    /// Microseconds since the run was begun.
    clock: AtomicU64,
    sent: AtomicU64,
    parts: AtomicU64,
    /// When the first message was sent.
    first: Mutex<Option<u64>>,
    calls: Calls,
    /// All but manifest, receipts and failures.
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    fingerprint: Fingerprint,
}

impl Day {
    fn pass(&self, counter: &AtomicU64, microseconds: u64) {
        counter.fetch_add(1, Relaxed);
        self.clock.fetch_add(microseconds, Relaxed);
    }

    /// Objects that have an outcome.
    fn worked(&self) -> u64 {
        let Some(first) = *self.first.lock().unwrap() else { return 0 };
        let since = self.clock.load(Relaxed) - first;
        (since * A_SECOND / 1_000_000).min(self.sent.load(Relaxed))
    }

    fn entry(number: u64) -> ManifestEntry {
        ManifestEntry { key: key(number), size: 1_000_000, etag: format!("\"{number:032x}\"") }
    }

    /// The number in a path, if it is one of an object that has the asked outcome.
    fn object(&self, path: &str, before: &str, after: &str, fails: bool) -> Option<u64> {
        let number: u64 = path.strip_prefix(before)?.strip_suffix(after)?.rsplit('-').next()?.parse().ok()?;
        (number < self.worked() && is_failing(number) == fails).then_some(number)
    }

    fn receipt(&self, number: u64) -> Receipt {
        let object = Self::entry(number);
        let output = ReceiptOutput {
            path: layout::csv("vpc_flow", &object.key),
            table: Some("vpc_flow".to_owned()),
            rows: 35_000,
            bytes: 1_100_000,
            crc64nvme: "rosUhgp5mIg=".to_owned(),
            etag: object.etag.clone(),
        };
        Receipt {
            run: RUN.to_owned(),
            object,
            fingerprint: self.fingerprint.clone(),
            attempt: 1,
            finished: "2026-02-18T00:00:00.000Z".to_owned(),
            milliseconds: 60,
            outputs: vec![output],
            records: RecordCounts { read: 35_000, rows: 35_000, ..RecordCounts::default() },
            documents: None,
            rejects: BTreeMap::new(),
            examples: Vec::new(),
            times: serde_json::from_str(r#"{"2026-02-18T10":35000}"#).unwrap(),
            rules: [("vpc-flow".to_owned(), RuleTotals { rows: 35_000, ..RuleTotals::default() })].into(),
            bytes: ByteCounts { compressed_in: 1_000_000, decoded_in: 7_700_000, compressed_out: 1_100_000 },
            members: vec![70],
        }
    }

    fn failure(&self, number: u64) -> Failure {
        Failure {
            run: RUN.to_owned(),
            object: Self::entry(number),
            fingerprint: self.fingerprint.clone(),
            errors: vec!["truncated: a gzip member ends too soon at byte 7 of layer 0".to_owned()],
            verdict: Verdict::Permanent,
            attempts: 1,
            finished: "2026-02-18T00:00:00.000Z".to_owned(),
            message_id: None,
            unfinished: false,
        }
    }

    fn manifest_part(&self, part: u64) -> Vec<u8> {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        for number in part * PAGE..((part + 1) * PAGE).min(self.objects) {
            serde_json::to_writer(&mut gzip, &Self::entry(number)).unwrap();
            gzip.write_all(b"\n").unwrap();
        }
        gzip.finish().unwrap()
    }

    /// A page of the selected numbers below `count`.
    fn numbers(after: Option<&str>, below: u64, is_meant: impl Fn(u64) -> bool) -> Page {
        let from = after.map_or(0, |key| key.rsplit('-').next().unwrap().parse::<u64>().unwrap() + 1);
        let mut meant = (from..below).filter(|number| is_meant(*number));
        let entries: Vec<ManifestEntry> = meant.by_ref().take(PAGE as usize).map(Self::entry).collect();
        let next = meant.next().and(entries.last()).map(|entry| entry.key.clone());
        Page { entries, next, modified: Vec::new() }
    }
}

fn key(number: u64) -> String {
    format!("firehose/2026/02/18/{:02}/flowherd-1-2026-02-18-{number:012}", number % 24)
}

fn is_failing(number: u64) -> bool {
    number % FAILS == FAILS - 1
}

impl Lister for Day {
    fn page(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError> {
        self.pass(&self.calls.lists, LIST);
        Ok(if prefix == layout::receipts(RUN) {
            Self::numbers(after, self.worked(), |number| !is_failing(number))
        } else if prefix == layout::failures(RUN) {
            Self::numbers(after, self.worked(), is_failing)
        } else if prefix == layout::ACTIVE {
            Page::default()
        } else {
            Self::numbers(after, self.objects, |_| true)
        })
    }
}

impl Store for Day {
    type Sink = <MemoryStore as Store>::Sink;

    fn create(&self, _: &str) -> Result<Self::Sink, StoreError> {
        Err(StoreError::Invalid("the coordinator writes no outputs".into()))
    }

    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.pass(&self.calls.writes, WRITE);
        self.files.lock().unwrap().insert(path.to_owned(), bytes.to_vec());
        Ok(())
    }

    /// Only parts of the manifest, each once.
    fn put_if_absent(&self, _: &str, _: &[u8]) -> Result<bool, StoreError> {
        self.pass(&self.calls.writes, WRITE);
        self.parts.fetch_add(1, Relaxed);
        Ok(true)
    }

    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.pass(&self.calls.reads, READ / READERS);
        let json = |receipt: Option<Vec<u8>>| Ok(receipt);
        let part = path.split("/manifest/part-").nth(1).and_then(|rest| rest.split('.').next()?.parse().ok());
        if let Some(part) = part {
            let is_written = part < self.parts.load(Relaxed);
            return Ok(is_written.then(|| self.manifest_part(part)));
        }
        if path.starts_with(&layout::receipts(RUN)) {
            let number = self.object(path, &layout::receipts(RUN), ".json", false);
            return json(number.map(|number| serde_json::to_vec(&self.receipt(number)).unwrap()));
        }
        if path.starts_with(&layout::failures(RUN)) {
            let number = self.object(path, &layout::failures(RUN), ".json", true);
            return json(number.map(|number| serde_json::to_vec(&self.failure(number)).unwrap()));
        }
        Ok(self.files.lock().unwrap().get(path).cloned())
    }

    fn head(&self, path: &str) -> Result<Option<Head>, StoreError> {
        self.pass(&self.calls.reads, READ / READERS);
        let number = self.object(path, "csv/vpc_flow/", ".csv.gz", false);
        let is_small = self.files.lock().unwrap().contains_key(path);
        let etag = number.map(|number| Self::entry(number).etag).or(is_small.then(String::new));
        // Written at the start: every file is as old as the run.
        let now = SystemTime::UNIX_EPOCH + Duration::from_micros(self.clock.load(Relaxed));
        Ok(etag.map(|etag| Head { etag, modified: SystemTime::UNIX_EPOCH, now }))
    }

    fn remove(&self, path: &str) -> Result<(), StoreError> {
        self.pass(&self.calls.writes, WRITE);
        self.files.lock().unwrap().remove(path);
        Ok(())
    }
}

impl Queue for Day {
    fn send(&self, batch: &[NewMessage]) -> Result<Vec<RejectedEntry>, QueueError> {
        self.pass(&self.calls.sends, READ / SENDERS);
        self.first.lock().unwrap().get_or_insert(self.clock.load(Relaxed));
        self.sent.fetch_add(batch.len() as u64, Relaxed);
        Ok(Vec::new())
    }

    fn receive(&self, _: usize, _: Duration) -> Result<Vec<Message>, QueueError> {
        Ok(Vec::new())
    }

    fn delete_batch(&self, _: &[&str]) -> Result<Vec<RejectedEntry>, QueueError> {
        Ok(Vec::new())
    }

    fn change_visibility_batch(&self, _: &[(&str, Duration)]) -> Result<Vec<RejectedEntry>, QueueError> {
        Ok(Vec::new())
    }

    fn depth(&self) -> Result<QueueDepth, QueueError> {
        self.pass(&self.calls.depths, READ);
        let left = self.sent.load(Relaxed) - self.worked();
        let in_flight = left.min(100);
        Ok(QueueDepth { visible: left - in_flight, in_flight, delayed: 0 })
    }

    fn purge(&self) -> Result<(), PurgeError> {
        Ok(())
    }

    fn redrive(&self) -> Result<bool, QueueError> {
        Ok(true)
    }
}

/// What calls of one operation came to.
#[derive(Default)]
struct Cost {
    /// For each call of the coordinator: calls of services, and microseconds of processor.
    each: Vec<([u64; 5], u64)>,
    /// By the simulated clock.
    took: Duration,
    /// Peak of the process when the last of them was over.
    peak_mib: f64,
}

fn simulate(objects: u64) {
    // The peak is that of this run; where it cannot be forgotten, of all so far.
    let _ = fs::write("/proc/self/clear_refs", "5");
    let day = Day {
        objects,
        clock: AtomicU64::new(0),
        sent: AtomicU64::new(0),
        parts: AtomicU64::new(0),
        first: Mutex::default(),
        calls: Calls::default(),
        files: Mutex::default(),
        fingerprint: Fingerprint::from(&RunConfig::default()),
    };
    let clock = || {
        let microseconds = i64::try_from(day.clock.load(Relaxed)).unwrap();
        Timestamp::from_microsecond(1_771_372_800_000_000 + microseconds).unwrap()
    };
    let coordinator = Coordinator {
        fleet: "main",
        source: &day,
        bucket: "logs",
        results_bucket: "results",
        results: &day,
        queue: Some(&day),
        dead_letters: None,
        index: None,
        inputs: &|| Ok(Inputs::default()),
        settle: Duration::from_mins(2),
        time_limit: Duration::from_hours(24),
        max_keys: u64::MAX,
        clock: &clock,
        pause: &|_| {},
        on_page: &|| {},
    };
    let prefix = Some("firehose/".to_owned());
    let options = RunOptions { run: Some(RUN.to_owned()), prefix, ..RunOptions::default() };
    let mut state = coordinator.begin(&options).unwrap();
    let began = Instant::now();
    let mut meter = Meter { day: &day, from: 0, costs: RefCell::default(), max_state_bytes: 0 };
    coordinator.drive(&mut state, &mut meter).unwrap();
    let (costs, answer_bytes) = (meter.costs.into_inner(), meter.max_state_bytes);
    assert_eq!(state.ended().map(|ended| ended.state), Some(ReportState::Failed));
    let progress = state.progress;
    let failed = objects / FAILS;
    assert_eq!(progress, Progress { done: objects - failed, failed, listed: objects, ..progress });
    print(objects, &costs, answer_bytes, Duration::from_micros(day.clock.load(Relaxed)), began.elapsed());
}

/// Measures each operation, with a simulated clock.
struct Meter<'a> {
    day: &'a Day,
    /// When the operation began, in microseconds of the simulated clock.
    from: u64,
    costs: RefCell<BTreeMap<&'static str, Cost>>,
    max_state_bytes: usize,
}

impl Host for Meter<'_> {
    fn before(&mut self, state: &mut RunState) -> ControlFlow<()> {
        self.max_state_bytes = self.max_state_bytes.max(serde_json::to_vec(&state).unwrap().len());
        let wait = state.wait_seconds * 1_000_000;
        self.from = self.day.clock.fetch_add(wait, Relaxed) + wait;
        ControlFlow::Continue(())
    }

    fn should_continue(&self) -> bool {
        self.day.clock.load(Relaxed) - self.from < INVOCATION.as_micros() as u64
    }

    fn run<T>(&self, state: &RunState, operation: impl FnOnce() -> T) -> T {
        let (calls, processor) = (self.day.calls.now(), processor_microseconds());
        let result = operation();
        let now = self.day.calls.now();
        let mut costs = self.costs.borrow_mut();
        let cost = costs.entry(state.operation.name()).or_default();
        cost.each.push((
            std::array::from_fn(|kind| now[kind] - calls[kind]),
            processor_microseconds() - processor,
        ));
        cost.took += Duration::from_micros(self.day.clock.load(Relaxed) - self.from);
        cost.peak_mib = peak_mib();
        result
    }
}

fn print(objects: u64, costs: &BTreeMap<&str, Cost>, answer_bytes: usize, run: Duration, real: Duration) {
    println!("\n{objects} objects");
    let turns: u64 = costs.values().map(|cost| cost.each.len() as u64).sum();
    for (name, cost) in costs {
        let calls: u64 = cost.each.iter().flat_map(|(calls, _)| calls).sum();
        let processor: u64 = cost.each.iter().map(|(_, processor)| processor).sum();
        println!(
            "  {name:<8}{:>5} calls, {:>8.1} s, {calls:>9} calls of services, {:>7.2} s of processor, peak {:.1} MiB",
            cost.each.len(),
            cost.took.as_secs_f64(),
            processor as f64 / 1e6,
            cost.peak_mib,
        );
    }
    let checks = &costs["check"].each;
    let third = checks.len().div_ceil(3).max(1);
    for (name, turns) in [("first", &checks[..third]), ("last", &checks[checks.len() - third..])] {
        let all = |turn: &([u64; 5], u64)| turn.0.iter().sum::<u64>();
        let mean = |sum: u64| sum as f64 / turns.len() as f64;
        println!(
            "  checks, {name} third: {:.1} calls on average, {} at most; {:.2} ms of processor",
            mean(turns.iter().map(all).sum()),
            turns.iter().map(all).max().unwrap(),
            mean(turns.iter().map(|turn| turn.1).sum()) / 1e3,
        );
    }
    println!(
        "  {turns} turns: {} transitions, {} events; the longest answer is {answer_bytes} bytes",
        turns * TRANSITIONS,
        turns * EVENTS
    );
    println!("  {:.0} s from begin to report; simulated in {:.1} s", run.as_secs_f64(), real.as_secs_f64());
}

fn processor_microseconds() -> u64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let microseconds = |time: nix::sys::time::TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
    (microseconds(usage.user_time()) + microseconds(usage.system_time())) as u64
}

/// What the system says of this process's memory.
fn peak_mib() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}
