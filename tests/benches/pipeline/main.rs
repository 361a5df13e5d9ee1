//! Speed of the pipeline: beside other programs on the same object, by stage, over sizes and jobs; memory and allocations.
//! docs/performance.md says what the figures mean.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod peers;
mod processes;
mod samples;
mod stages;

use std::alloc::System;

use samples::Sample;
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What the object of the main table holds: about ten minutes of a busy Firehose.
const RECORDS: u32 = 375_000;
/// Rounds; in each, every measurement is taken once, so that a slow moment of the machine meets them all.
const ROUNDS: usize = 5;

fn main() {
    // `cargo bench --bench pipeline -- rules` measures only the rules of users.
    if std::env::args().any(|argument| argument == "rules") {
        stages::rules();
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let sample = Sample::new(&directory.path().join("sample"), 1, RECORDS);
    peers::table(&sample, directory.path());
    stages::table(&sample);
    stages::rules();
    peers::sizes(directory.path());
    peers::jobs(directory.path());
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
