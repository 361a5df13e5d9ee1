//! Names and enrichment tables at their limits: CPU time and memory of loading and refreshing them, and cost per row.
//! docs/limits.md and docs/performance.md have the figures.
//!
//! `cargo bench --bench names --no-default-features` builds it without the AWS SDK.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod load;
mod rows;
mod samples;

use nix::sys::{
    resource::{UsageWho, getrusage},
    time::{TimeVal, TimeValLike},
};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // A process of its own for each measurement, so that its peak memory is that of the measurement.
    if let [_, command, directory] = &*arguments {
        match &**command {
            "load" => return load::measure(directory.as_ref()),
            "merge" => return load::measure_merge(directory.as_ref()),
            _ => {}
        }
    }
    // `-- rows` measures rows only.
    if !arguments.iter().any(|argument| argument == "rows") {
        load::table();
    }
    rows::table();
}

/// Returns the CPU time of this process in seconds. Unlike the time of a clock, it hardly depends on other processes.
fn cpu_seconds() -> f64 {
    let used = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let seconds = |time: TimeVal| time.num_microseconds() as f64 / 1e6;
    seconds(used.user_time()) + seconds(used.system_time())
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
