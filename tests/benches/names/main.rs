//! Names and enrichment tables at their limits: time and memory of loading them, and their cost per row.
//! docs/limits.md and docs/performance.md have the figures.
//!
//! `cargo bench --bench names --no-default-features` builds it without the AWS SDK.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod load;
mod rows;
mod samples;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    // A process of its own for each measurement, so that its peak memory is that of the measurement.
    if let [_, command, directory] = &*arguments
        && command == "load"
    {
        load::measure(directory.as_ref());
        return;
    }
    load::table();
    rows::table();
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
