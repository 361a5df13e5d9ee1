//! Speed and memory of the indexer on enriched flow-log rows, without a cluster: a process of its own reads the requests and
//! answers them. docs/indexing.md says what the figures mean.
//!
//! `cargo bench --locked -p flowherd-indexer` measures 1 million rows, `-- ROWS` another number.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod rows;
mod sink;
mod stages;

use std::{
    env, io,
    path::Path,
    process::{Command, Stdio},
};

use flowherd_indexer::{
    job::{Indexer, Object, Refused, RefusedSink},
    settings::ClusterSettings,
};
use nix::sys::resource::{UsageWho, getrusage};
use tokio::io::BufReader;

/// Rounds. The median counts, because other processes disturb single rounds.
const ROUNDS: usize = 5;
const DEFAULT_ROWS: u64 = 1_000_000;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["sink"] => sink::serve(),
        ["index", url, file] => index(url, Path::new(file)),
        ["write", file, count] => rows::write(Path::new(file), count.parse().unwrap()),
        [count] => measure(count.parse().unwrap()),
        [] => measure(DEFAULT_ROWS),
        _ => panic!("expected no argument, or the number of rows"),
    }
}

fn measure(count: u64) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rows.csv.gz");
    run(&["write", file.to_str().unwrap(), &count.to_string()]);
    let sink = sink::Sink::start();
    let mut figures: Vec<Figures> = (0..ROUNDS)
        .map(|_| run(&["index", &sink.url, file.to_str().unwrap()]).parse().unwrap())
        .map(|text: String| Figures::parse(&text))
        .collect();
    figures.sort_by_key(|figures| figures.cpu_ns);
    let Figures { cpu_ns, peak_kib } = figures[ROUNDS / 2];
    println!(
        "index: {count} rows, {} ns of CPU a row (user and system), peak memory {peak_kib} KiB",
        cpu_ns / count
    );
    stages::print(&file, count.min(200_000));
}

struct Figures {
    cpu_ns: u64,
    peak_kib: u64,
}

impl Figures {
    fn parse(text: &str) -> Self {
        let mut words = text.split_whitespace().map(|word| word.parse().unwrap());
        Self { cpu_ns: words.next().unwrap(), peak_kib: words.next().unwrap() }
    }
}

/// Runs this program with other arguments and returns what it prints.
fn run(arguments: &[&str]) -> String {
    let output =
        Command::new(env::current_exe().unwrap()).args(arguments).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

struct NoRefusals;

impl RefusedSink for NoRefusals {
    async fn refuse(&mut self, refused: Refused) -> io::Result<()> {
        panic!("{refused:?}")
    }
}

/// Indexes a file, and prints the CPU time and the peak memory of this process.
fn index(url: &str, file: &Path) {
    let target = rows::target();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let indexer = Indexer::new(&ClusterSettings::new(url)).unwrap();
    let counts = runtime.block_on(async {
        let body = BufReader::with_capacity(256 << 10, tokio::fs::File::open(file).await.unwrap());
        let object = Object { key: rows::KEY, etag: rows::ETAG, run: "2026-02-18-vpc", target: &target };
        indexer.index(object, body, &mut NoRefusals, &|| false).await.unwrap()
    });
    assert_eq!(counts.indexed, counts.rows);
    println!("{} {}", cpu_ns(), getrusage(UsageWho::RUSAGE_SELF).unwrap().max_rss());
}

/// Returns the CPU time of this process, user and system.
fn cpu_ns() -> u64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let ns =
        |time: nix::sys::time::TimeVal| time.tv_sec() as u64 * 1_000_000_000 + time.tv_usec() as u64 * 1000;
    ns(usage.user_time()) + ns(usage.system_time())
}
