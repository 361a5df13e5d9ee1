//! Speed of the pipeline, by stage: each stage is what it adds to those before it, on one thread.
//!
//! The object: 375,000 version 2 records in gzip members of 500 events, as `flowherd synth` writes it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs,
    hint::black_box,
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use flowherd_shared::{
    config::Config,
    lookups::Lookups,
    pipeline::{
        self, Plan,
        csv::CsvRows,
        enrich::Enricher,
        gunzip::Layers,
        records::{OriginKind, Records},
        rules::{Parsed, Rules},
    },
};
use flowherd_tests::command::files_below;

const RECORDS: u32 = 375_000;
/// Rounds; in each, every measurement is taken once, so that a slow moment of the machine meets them all.
const ROUNDS: usize = 7;

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let (object, plan) = sample(dir.path());
    let bytes = fs::read(&object).unwrap();
    let key = "k";
    let (mut decoded, mut out) = (0, 0);

    let stages: [(&str, &dyn Fn()); 6] = [
        ("gunzip", &|| gunzip(&bytes, &plan)),
        ("records", &|| records(&bytes, &plan)),
        ("rule", &|| rows(&bytes, &plan, key, Stage::Rule)),
        ("enrich", &|| rows(&bytes, &plan, key, Stage::Enrich)),
        ("csv", &|| rows(&bytes, &plan, key, Stage::Csv)),
        ("gzip (all)", &|| {
            black_box(pipeline::run(&bytes[..], key, &plan, |_| Ok(io::sink())).unwrap());
        }),
    ];
    let finished = pipeline::run(&bytes[..], key, &plan, |_| Ok(io::sink())).unwrap();
    decoded += finished.counts.decoded_in;
    out += finished.outputs.iter().map(|(output, _)| output.bytes).sum::<u64>();
    assert_eq!(finished.counts.rows, u64::from(RECORDS));

    let mut times = vec![Vec::new(); stages.len() + 1];
    for _ in 0..ROUNDS {
        for (stage, times) in stages.iter().zip(&mut times) {
            times.push(timed(stage.1));
        }
        times[stages.len()].extend(peer("gzip", &object));
    }
    let medians: Vec<Duration> =
        times.iter_mut().filter(|times| !times.is_empty()).map(|times| median(times)).collect();

    println!(
        "one object: {RECORDS} records, {:.1} MB gzipped, {:.1} MB decoded, {:.1} MB out; one thread, median of {ROUNDS}\n",
        megabytes(bytes.len() as u64),
        megabytes(decoded),
        megabytes(out)
    );
    println!("{:<12} {:>12} {:>14} {:>10}", "stage", "ns a record", "ns, all so far", "share");
    let all = medians[stages.len() - 1];
    let mut before = Duration::ZERO;
    for ((name, _), median) in stages.iter().zip(&medians) {
        let own = median.saturating_sub(before);
        let share = 100.0 * own.as_secs_f64() / all.as_secs_f64();
        println!("{name:<12} {:>12.1} {:>14.1} {share:>9.0}%", per_record(own), per_record(*median));
        before = *median;
    }
    let seconds = all.as_secs_f64();
    println!("\nrecords/s    {:>12.0}", f64::from(RECORDS) / seconds);
    println!(
        "MB/s in      {:>12.1}  ({:.1} decoded)",
        megabytes(bytes.len() as u64) / seconds,
        megabytes(decoded) / seconds
    );
    println!("MB/s out     {:>12.1}", megabytes(out) / seconds);
    match medians.get(stages.len()) {
        Some(gzip) => println!("of gzip -dc  {:>12.2}  times its time", seconds / gzip.as_secs_f64()),
        None => println!("of gzip -dc  (no gzip on this machine)"),
    }
}

fn sample(dir: &Path) -> (PathBuf, Plan) {
    let program = env!("CARGO_BIN_EXE_flowherd-under-test");
    let records = RECORDS.to_string();
    let args = ["synth", dir.to_str().unwrap(), "--objects", "1", "--records", &records];
    assert!(Command::new(program).args(args).stdout(Stdio::null()).status().unwrap().success());
    let lookups = Lookups::parse(&fs::read(dir.join("lookups.json")).unwrap()).unwrap();
    let object = dir.join("firehose").join(files_below(&dir.join("firehose")).remove(0));
    (object, Plan { config: Config::default(), lookups })
}

fn gunzip(bytes: &[u8], plan: &Plan) {
    let mut layers = Layers::open(bytes, plan.config.limits).unwrap();
    let mut text = vec![0; 256 << 10];
    while layers.read(&mut text).unwrap() > 0 {
        black_box(&text);
    }
}

fn records(bytes: &[u8], plan: &Plan) {
    let limits = plan.config.limits;
    let mut records = Records::new(Layers::open(bytes, limits).unwrap(), limits);
    while let Some(record) = records.next().unwrap() {
        black_box(record.message);
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Rule,
    Enrich,
    Csv,
}

fn rows(bytes: &[u8], plan: &Plan, key: &str, up_to: Stage) {
    let limits = plan.config.limits;
    let mut records = Records::new(Layers::open(bytes, limits).unwrap(), limits);
    let mut rules = Rules::new(&plan.config, key);
    let mut enricher = Enricher::new(&plan.lookups);
    let mut csv = CsvRows::new(&plan.config.tables[0]);
    let mut text = Vec::new();
    while let Some(record) = records.next().unwrap() {
        if record.origin.kind == OriginKind::Control {
            continue;
        }
        let Parsed::Row(row) = rules.parse(&record, false).unwrap() else { panic!("every record is a row") };
        if up_to == Stage::Rule {
            black_box(&row);
            continue;
        }
        let names = black_box(enricher.names(&row));
        if up_to == Stage::Csv {
            csv.row(&row, names, &mut text);
            if text.len() > 1 << 20 {
                black_box(&text);
                text.clear();
            }
        }
    }
}

/// A program that only decompresses; nothing if it is not there.
fn peer(program: &str, object: &Path) -> Option<Duration> {
    let began = Instant::now();
    let status =
        Command::new(program).arg("-dc").arg(object).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success()).then(|| began.elapsed())
}

fn timed(work: &dyn Fn()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn per_record(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9 / f64::from(RECORDS)
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
