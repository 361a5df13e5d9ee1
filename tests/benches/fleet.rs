//! Speed of planning over ports whose every call takes 5 ms, its memory over a million keys, and how soon a worker that is
//! started has its first message in work.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use flowherd_coordinator::{planner::Planner, state::Planning};
use flowherd_shared::{
    ledger::ManifestEntry,
    pipeline::RunConfig,
    store::{Head, Lister, Page, Store, StoreError},
};
use flowherd_tests::{
    command::Running,
    fake::{MemoryStore, SlowQueue},
    ledger::run,
};

const WORKER: &str = env!("CARGO_BIN_EXE_flowherd-worker-under-test");
const COORDINATOR: &str = env!("CARGO_BIN_EXE_flowherd-coordinator-under-test");
const PAGE: u64 = 1000;
const STARTS: usize = 9;

fn main() {
    println!("planning, on ports in memory");
    let before = memory_mib("VmRSS");
    let (keys, call) = (100_000, Duration::from_millis(5));
    let took = plan(keys, call);
    println!("  {keys} keys, 5 ms a call   {:>8.0} keys/s", keys as f64 / took.as_secs_f64());
    let small = memory_mib("VmHWM");
    let keys = 1_000_000;
    let took = plan(keys, Duration::ZERO);
    println!("  {keys} keys, no waiting   {:>8.0} keys/s", keys as f64 / took.as_secs_f64());
    let large = memory_mib("VmHWM");
    println!(
        "  memory: {before:.1} MiB before, peak {small:.1} MiB at 100,000 keys, {large:.1} MiB at 1,000,000"
    );

    println!("\nstart of a worker's function, median of {STARTS}");
    let mut starts: Vec<[f64; 2]> = (0..STARTS).map(|_| start()).collect();
    for (at, name) in ["asks for its first event", "first request for that event"].iter().enumerate() {
        starts.sort_by(|a, b| a[at].total_cmp(&b[at]));
        println!("  {name:<30} {:>6.1} ms", starts[STARTS / 2][at]);
    }
    for program in [WORKER, COORDINATOR] {
        let name = program.rsplit('/').next().unwrap();
        println!("  {name:<36} {:>5.1} MB", fs::metadata(program).unwrap().len() as f64 / 1e6);
    }
}

/// A source of `keys` keys, and a ledger that accepts everything. Each call takes `each`.
struct Slow {
    keys: u64,
    each: Duration,
}

fn plan(keys: u64, each: Duration) -> Duration {
    let (slow, queue) = (Slow { keys, each }, SlowQueue::new(each));
    let mut run = run("r", &RunConfig::default(), None);
    let pause = |_| {};
    let (bucket, max_keys) = ("b", u64::MAX);
    let damaged = |_| {};
    let (source, results) = (&slow, &slow);
    let planner = Planner {
        source,
        bucket,
        results,
        queue: Some(&queue),
        rows_of: None,
        max_keys,
        pause: &pause,
        note: &damaged,
    };
    let began = Instant::now();
    let outcome = planner.plan(&mut run, Planning::default(), || true).unwrap();
    assert_eq!((outcome.totals.objects, queue.sent()), (keys, keys));
    began.elapsed()
}

impl Lister for Slow {
    fn page(&self, _: &str, after: Option<&str>) -> Result<Page, StoreError> {
        thread::sleep(self.each);
        let from = after.map_or(0, |key| key.rsplit('-').next().unwrap().parse::<u64>().unwrap() + 1);
        let to = (from + PAGE).min(self.keys);
        let entry = |number| ManifestEntry {
            key: format!("firehose/2026/02/18/{:02}/flowherd-1-2026-02-18-{number:012}", number % 24),
            size: 10_000_000,
            etag: format!("\"{number:032x}\""),
        };
        let next = (to < self.keys).then(|| entry(to - 1).key);
        Ok(Page { entries: (from..to).map(entry).collect(), next, modified: Vec::new() })
    }
}

impl Store for Slow {
    type Sink = <MemoryStore as Store>::Sink;

    fn create(&self, _: &str) -> Result<Self::Sink, StoreError> {
        Err(StoreError::Invalid("the bench writes no outputs".into()))
    }

    fn put(&self, _: &str, _: &[u8]) -> Result<(), StoreError> {
        thread::sleep(self.each);
        Ok(())
    }

    fn put_if_absent(&self, path: &str, bytes: &[u8]) -> Result<bool, StoreError> {
        self.put(path, bytes).map(|()| true)
    }

    fn get(&self, _: &str) -> Result<Option<Vec<u8>>, StoreError> {
        thread::sleep(self.each);
        Ok(None)
    }

    fn head(&self, _: &str) -> Result<Option<Head>, StoreError> {
        Ok(None)
    }

    fn remove(&self, _: &str) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Milliseconds from the start of the process until it asks for an event, and until the first request that the event
/// makes it send.
fn start() -> [f64; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = listener.local_addr().unwrap().to_string();
    let variables = [
        ("AWS_LAMBDA_RUNTIME_API", here.clone()),
        ("AWS_LAMBDA_FUNCTION_NAME", "worker".to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1769".to_owned()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "1".to_owned()),
        ("AWS_ENDPOINT_URL", format!("http://{here}")),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ACCESS_KEY_ID", "test".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
        ("FLOWHERD_SOURCE_BUCKET", "source".to_owned()),
        ("FLOWHERD_RESULTS_BUCKET", "results".to_owned()),
        ("FLOWHERD_QUEUE_URL", format!("http://{here}/1/q.fifo")),
    ];
    let mut command = Command::new(WORKER);
    command.envs(variables).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let worker = Running(command.spawn().unwrap());
    let (mut runtime, _) = listener.accept().unwrap();
    let asked = request(&mut runtime);
    let asks = began.elapsed();
    assert!(asked.contains("/invocation/next"), "{asked}");
    let task = r#"{\"v\":1,\"run\":\"r\",\"bucket\":\"source\",\"key\":\"k\",\"size\":1,\"etag\":\"e\"}"#;
    let event = format!(
        r#"{{"Records":[{{"messageId":"1","receiptHandle":"h","body":"{task}","attributes":{{"MessageGroupId":"g","ApproximateReceiveCount":"1","SentTimestamp":"1"}}}}]}}"#
    );
    let deadline = std::time::SystemTime::now() + Duration::from_mins(1);
    let deadline = deadline.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    write!(
        runtime,
        "HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: 1\r\nLambda-Runtime-Deadline-Ms: {deadline}\r\n\
         Lambda-Runtime-Invoked-Function-Arn: arn\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{event}",
        event.len()
    )
    .unwrap();
    // The worker checks its queue and buckets before its first task.
    let (mut first, _) = listener.accept().unwrap();
    request(&mut first);
    let works = began.elapsed();
    drop(worker);
    [asks, works].map(|time| time.as_secs_f64() * 1e3)
}

/// The head of a request.
fn request(stream: &mut TcpStream) -> String {
    let mut head = String::new();
    let mut lines = BufReader::new(stream);
    while !head.ends_with("\r\n\r\n") {
        assert!(lines.read_line(&mut head).unwrap() > 0, "the worker ended");
    }
    head
}

/// What the system says of this process's memory.
fn memory_mib(what: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}
