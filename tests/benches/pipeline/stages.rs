//! Time and allocations of the pipeline by stage: each stage is what it adds to those before it, on one thread.

use std::{alloc::System, fs, hint::black_box, io, time::Instant};

use flowherd_shared::{
    config::Config,
    pipeline::{
        self, RunConfig,
        csv::CsvRows,
        layers::Layers,
        records::{OriginKind, Records},
        rules::{Parsed, Rules},
    },
};
use stats_alloc::Region;

use crate::{ALLOCATOR, ROUNDS, Sample, median, samples};

/// The six stages over the sample.
pub(crate) fn table(sample: &Sample) {
    let (bytes, plan) = (&fs::read(&sample.object).unwrap(), &sample.plan);
    let key = "k";
    let stages: [(&str, &dyn Fn()); 6] = [
        ("gunzip", &|| gunzip(bytes, plan)),
        ("records", &|| records(bytes, plan)),
        ("rule", &|| rows(bytes, plan, key, Stage::Rule)),
        ("enrich", &|| rows(bytes, plan, key, Stage::Enrich)),
        ("csv", &|| rows(bytes, plan, key, Stage::Csv)),
        ("gzip (all)", &|| whole(bytes, plan)),
    ];
    let mut times = vec![Vec::new(); stages.len()];
    for _ in 0..ROUNDS {
        for (stage, times) in stages.iter().zip(&mut times) {
            let began = Instant::now();
            stage.1();
            times.push(began.elapsed().as_secs_f64());
        }
    }
    let records = f64::from(sample.records);
    println!(
        "\nby stage, one thread, in memory\n  {:<12} {:>11} {:>7} {:>12}",
        "", "ns a record", "share", "allocations"
    );
    let all = median(&mut times[5].clone());
    let (mut before, mut allocated_before) = (0.0, 0);
    for ((name, stage), times) in stages.iter().zip(&mut times) {
        let (time, allocated) = (median(times), allocations(stage));
        println!(
            "  {name:<12} {:>11.1} {:>6.0}% {:>12}",
            (time - before) * 1e9 / records,
            100.0 * (time - before) / all,
            allocated.saturating_sub(allocated_before)
        );
        (before, allocated_before) = (time, allocated);
    }
    println!(
        "  {:<12} {:>11.1}         {allocated_before:>10}, {:.4} a record",
        "all",
        all * 1e9 / records,
        allocated_before as f64 / records
    );
}

/// What rules of other kinds take: a record by them, and their library alone over the same messages.
pub(crate) fn rules() {
    println!("\nrules of a user, ns a record (gunzip to csv), without compression");
    println!("  {:<34} {:>8} {:>14} {:>14}", "", "whole", "library alone", "allocations");
    for (name, config, messages, alone) in samples::of_rules() {
        let plan = RunConfig::from(Config::parse(config).unwrap());
        let object = samples::object(&messages);
        let work = || rows(&object, &plan, "k", Stage::Csv);
        let (mut whole, mut library) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            for (times, work) in [(&mut whole, &work as &dyn Fn()), (&mut library, &|| alone(&messages))] {
                let began = Instant::now();
                work();
                times.push(began.elapsed().as_secs_f64() * 1e9 / messages.len() as f64);
            }
        }
        println!(
            "  {name:<34} {:>8.0} {:>14.0} {:>14}",
            median(&mut whole),
            median(&mut library),
            allocations(&work)
        );
    }
}

fn allocations(work: &dyn Fn()) -> usize {
    let region: Region<'_, System> = Region::new(ALLOCATOR);
    work();
    let change = region.change();
    change.allocations + change.reallocations
}

fn whole(bytes: &[u8], plan: &RunConfig) {
    black_box(pipeline::run(bytes, "k", plan, |_| Ok(io::sink())).unwrap());
}

fn gunzip(bytes: &[u8], plan: &RunConfig) {
    let mut layers = Layers::open(bytes, plan.config.limits).unwrap();
    let mut text = vec![0; 256 << 10];
    while layers.read(&mut text).unwrap() > 0 {
        black_box(&text);
    }
}

fn records(bytes: &[u8], plan: &RunConfig) {
    let limits = plan.config.limits;
    let mut records = Records::new(Layers::open(bytes, limits).unwrap(), limits);
    while let Some(record) = records.next().unwrap() {
        black_box(record.message());
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Rule,
    Enrich,
    Csv,
}

fn rows(bytes: &[u8], plan: &RunConfig, key: &str, up_to: Stage) {
    let limits = plan.config.limits;
    let mut records = Records::new(Layers::open(bytes, limits).unwrap(), limits);
    let mut rules = Rules::new(&plan.config.rules, &plan.config.tables, &plan.config.arrays, key);
    let mut enricher = plan.enricher();
    let mut csv = CsvRows::new(&plan.config.tables[0], false);
    let mut text = Vec::new();
    while let Some(record) = records.next().unwrap() {
        if record.origin.kind == OriginKind::Control {
            continue;
        }
        let Parsed::Row(row) = rules.parse(&record).unwrap() else { panic!("every record is a row") };
        if up_to == Stage::Rule {
            black_box(&row);
            continue;
        }
        let names = black_box(enricher.names(&row));
        if up_to == Stage::Csv {
            csv.row(&row, &names, &mut text);
            if text.len() > 1 << 20 {
                black_box(&text);
                text.clear();
            }
        }
    }
}
