//! `flowherd estimate --index`: lists rows of the results, and estimates the documents, bytes and time of an index run. It changes
//! nothing.

use std::{path::Path, time::Duration};

use anyhow::Context;
use flowherd_coordinator::{
    parallel,
    runs::{self, IndexedRun},
};
use flowherd_shared::{
    layout,
    ledger::{Receipt, examine_json, no_objects},
    store::{ManifestEntry, Store, StoreError, pages},
};
use indicatif::{HumanBytes, HumanCount};

use super::super::{Deployment, buckets, connected, json, patience::Patience, runs::all_runs, stack};
use crate::{
    args::EstimateArgs,
    convert::listing::Listing,
    cost::Workers,
    index_cost::{
        CLUSTER_BYTES_PER_ROW, CSV_BYTES_PER_ROW, IndexEstimate, IndexFleet, MAX_CONCURRENCY, MEMORY_MB,
        ObjectTotals, PLAIN_BYTES_PER_ROW, RowObjects, SENT_BYTES_PER_ROW,
    },
    results_dir::{ResultsDir, fail_on},
    stop::Stop,
    summary,
    words::{about, counted},
};

/// Maximum objects whose receipts are read. The others of their table have rows by the same rate.
const MAX_RECEIPTS: usize = 1000;
/// Maximum runs, latest first, in which the receipt of an object is looked for.
const MAX_RUNS: usize = 5;
/// Receipts read at once.
const READERS: usize = 32;

/// `flowherd estimate --index`.
pub(super) fn estimate(args: &EstimateArgs) -> Result<(), Stop> {
    let prefix = args.prefix.as_deref().unwrap_or(layout::CSV);
    if !prefix.starts_with(layout::CSV) {
        return Err(Stop::usage(format!(
            "prefix {prefix:?} has no rows: --index estimates the rows in csv/TABLE/ of the results. Example: \
             csv/vpc_flow/firehose/2026/02/18/"
        )));
    }
    if let Some(source) = &args.source {
        return of_directory(args, source, prefix);
    }
    if let Some(name) = &args.bucket {
        let (_aws, bucket) = buckets::find(name)?;
        let patience = Patience::new(Duration::from_secs(args.fleet.timeout));
        let mut listed = Listed::default();
        let mut pages = pages(&bucket, prefix);
        while let Some(page) = patience.during(format!("the listing of {name}"), || pages.next()) {
            page.context("cannot list the prefix")?.entries.into_iter().for_each(|entry| listed.add(entry));
        }
        let list = || bucket.names_below("runs/").and_then(|names| runs::list(&bucket, &names));
        let found = patience.during("the list of runs", list).context("cannot list the runs")?;
        let read = || listed.read_receipts(&bucket, &found.runs);
        let objects = patience.during("the receipts", read).context("cannot read the receipts")?;
        show(args, prefix, &format!("s3://{name}"), &objects, default_fleet(args))?;
        return fail_on(&found.damaged);
    }
    connected(&args.fleet, |deployment| of_deployment(args, deployment, prefix))
}

fn of_directory(args: &EstimateArgs, root: &Path, prefix: &str) -> Result<(), Stop> {
    let dir = ResultsDir::open("--index", root)?;
    let mut listed = Listed::default();
    let listing = Listing { source: root, prefix, excluded: Vec::new() };
    let each = listing.each(|found| {
        listed.add(found.entry);
        Ok(())
    });
    each.with_context(|| format!("cannot list {}", root.display()))?;
    let (runs, damaged) = dir.runs()?;
    let runs: Vec<IndexedRun> = runs.into_iter().rev().map(IndexedRun::from).collect();
    let objects = listed.read_receipts(dir.store(), &runs).context("cannot read the receipts")?;
    show(args, prefix, &root.display().to_string(), &objects, default_fleet(args))?;
    fail_on(&damaged)
}

fn of_deployment(args: &EstimateArgs, deployment: &Deployment<'_>, prefix: &str) -> Result<(), Stop> {
    let fleet = workers_of(args, deployment)?;
    let Deployment { connected, settings, patience, .. } = deployment;
    let results = &connected.results;
    let bucket = &settings.common.results_bucket;
    let mut listed = Listed::default();
    let mut pages = pages(results, prefix);
    while let Some(page) = patience.during(format!("the listing of {bucket}"), || pages.next()) {
        page.context("cannot list the prefix")?.entries.into_iter().for_each(|entry| listed.add(entry));
    }
    let runs = all_runs(deployment)?;
    let read = || listed.read_receipts(results, &runs);
    let objects = patience.during("the receipts", read).context("cannot read the receipts")?;
    show(args, prefix, &format!("s3://{bucket}"), &objects, fleet)
}

/// Returns an index fleet with the default settings of the stack.
fn default_fleet(args: &EstimateArgs) -> IndexFleet {
    IndexFleet {
        memory_mb: MEMORY_MB,
        vcpus: None,
        concurrency: MAX_CONCURRENCY,
        rows_per_second: args.index.rows_per_second,
    }
}

/// Returns the workers of the index fleet. Outside of a stack, and without exactly one such fleet, they are those of default settings.
fn workers_of(args: &EstimateArgs, deployment: &Deployment<'_>) -> Result<IndexFleet, Stop> {
    let default = default_fleet(args);
    let name = match deployment.settings.fleets.index_fleet(args.of_fleet.as_deref()) {
        Ok(name) => name,
        Err(error) if args.of_fleet.is_some() => return Err(error.into()),
        Err(error) => {
            summary::print_message(&format!("{error}; assuming workers of default settings"));
            return Ok(default);
        }
    };
    if deployment.step_loop.is_none() {
        return Ok(default);
    }
    let outputs = || stack::outputs(deployment.aws, &args.fleet);
    let workers = deployment.patience.during("the outputs of the stack", outputs)?.workers(name)?;
    Ok(workers.map_or(default, |workers| of_workers(workers, default)))
}

/// Returns a fleet with these workers.
fn of_workers(workers: Workers, fleet: IndexFleet) -> IndexFleet {
    match workers {
        Workers::Lambda { memory_mb, concurrency, .. } | Workers::Map { memory_mb, concurrency, .. } => {
            IndexFleet { memory_mb, concurrency, ..fleet }
        }
        Workers::Fargate { vcpu, memory_mb, max_tasks, .. } => {
            IndexFleet { memory_mb, vcpus: Some(vcpu), concurrency: max_tasks, ..fleet }
        }
    }
}

/// The rows of a listing, and evenly spaced objects among them.
#[derive(Default)]
struct Listed {
    objects: RowObjects,
    count: usize,
    /// Every `1 << halvings`-th object.
    sample: Vec<ManifestEntry>,
    halvings: u32,
}

impl Listed {
    /// Adds an object if it has rows.
    fn add(&mut self, entry: ManifestEntry) {
        let Some(table) = layout::table_of_csv(&entry.key) else { return };
        let listed = ObjectTotals { count: 1, bytes: entry.size };
        self.objects.0.entry(table.to_owned()).or_default().listed += listed;
        if self.count.is_multiple_of(1 << self.halvings) {
            if self.sample.len() == MAX_RECEIPTS {
                // Keep every second one.
                let mut number = 0;
                self.sample.retain(|_| {
                    number += 1;
                    number % 2 == 1
                });
                self.halvings += 1;
            }
            if self.count.is_multiple_of(1 << self.halvings) {
                self.sample.push(entry);
            }
        }
        self.count += 1;
    }

    /// Adds the rows of the sample's receipts. `runs` are all runs, latest first.
    fn read_receipts(&self, results: &impl Store, runs: &[IndexedRun]) -> Result<RowObjects, StoreError> {
        let mut objects = self.objects.clone();
        let rows = parallel::try_map(READERS, &self.sample, |entry| rows_of(results, runs, entry))?;
        for (entry, rows) in self.sample.iter().zip(rows) {
            let table = layout::table_of_csv(&entry.key).and_then(|table| objects.0.get_mut(table));
            if let (Some(table), Some(rows)) = (table, rows) {
                table.with_receipt += ObjectTotals { count: 1, bytes: entry.size };
                table.rows_of_receipts += rows;
            }
        }
        Ok(objects)
    }
}

/// Returns the rows of an object, from the latest receipt that has it with this size. A receipt that cannot be read does not count.
fn rows_of(
    results: &impl Store,
    runs: &[IndexedRun],
    entry: &ManifestEntry,
) -> Result<Option<u64>, StoreError> {
    let table = layout::table_of_csv(&entry.key).unwrap_or_default();
    let source = entry.key.strip_prefix(&layout::csv_of(table)).and_then(|key| key.strip_suffix(".csv.gz"));
    let Some(source) = source else { return Ok(None) };
    for run in runs.iter().filter(|run| source.starts_with(&run.prefix)).take(MAX_RUNS) {
        let Some(Ok(receipt)) = examine_json::<Receipt>(results, &layout::receipt(&run.run, source))? else {
            continue;
        };
        let of_object = |path: &str, bytes: u64| path == entry.key && bytes == entry.size;
        let output = receipt.outputs.iter().find(|output| of_object(&output.path, output.bytes));
        if let Some(output) = output {
            return Ok(Some(output.rows));
        }
    }
    Ok(None)
}

fn show(
    args: &EstimateArgs,
    prefix: &str,
    results: &str,
    objects: &RowObjects,
    assumed: IndexFleet,
) -> Result<(), Stop> {
    if objects.0.is_empty() {
        summary::print_message(&no_objects(results, prefix));
    }
    let fleet = IndexFleet {
        memory_mb: args.memory.unwrap_or(assumed.memory_mb),
        concurrency: args.concurrency.unwrap_or(assumed.concurrency),
        ..assumed
    };
    let estimate = IndexEstimate::new(prefix, objects, fleet);
    summary::print(&if args.json { json(&estimate)? } else { text(&estimate) })
}

fn text(estimate: &IndexEstimate) -> String {
    let count = |number| HumanCount(number).to_string();
    let bytes = |number| HumanBytes(number).to_string();
    let rows = [
        ("objects", count(estimate.objects)),
        ("bytes of csv.gz", bytes(estimate.bytes)),
        ("documents", count(estimate.documents)),
        ("bytes sent, before gzip", bytes(estimate.plain_bytes)),
        ("bytes sent", bytes(estimate.sent_bytes)),
        ("bytes in the cluster", bytes(estimate.cluster_bytes)),
        ("elapsed time", about(Duration::from_secs_f64(estimate.elapsed_seconds))),
    ];
    let rows = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]);
    let table = summary::columns(&["an index run of these rows", "about"], rows, 1);
    format!(
        "{table}\nrows: {}\nassumed: the cluster accepts {} rows a second; {} workers at once with {} MB of memory\nbytes a row: \
         {PLAIN_BYTES_PER_ROW:.0} before gzip, {SENT_BYTES_PER_ROW:.0} sent, {CLUSTER_BYTES_PER_ROW:.0} in the primary shards; each \
         replica needs as much again;\nmeasured with flow logs with names on one node of OpenSearch 2.19.6; rows of other tables \
         differ: index an hour of them first\n",
        source_of_rows(estimate),
        count(estimate.rows_per_second.into()),
        estimate.concurrency,
        estimate.memory_mb,
    )
}

/// Returns where the number of documents comes from.
fn source_of_rows(estimate: &IndexEstimate) -> String {
    let with_receipt = estimate.objects_with_receipt;
    let by_size = estimate.objects - with_receipt;
    let receipts = counted(with_receipt, "receipt", "receipts");
    match (with_receipt, by_size) {
        (0, _) => format!("by size, {CSV_BYTES_PER_ROW:.0} bytes of csv.gz a row as in flow logs with names"),
        (_, 0) => format!("from {receipts}"),
        _ => format!(
            "{} from {receipts}; those of {} by size, at the rate of their table's receipts",
            HumanCount(estimate.rows_of_receipts),
            counted(by_size, "object", "objects")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(count: usize) -> Listed {
        let mut listed = Listed::default();
        for number in 0..count {
            let key = format!("csv/t/{number:05}.csv.gz");
            listed.add(ManifestEntry { key, size: 1, etag: String::new() });
        }
        listed
    }

    #[test]
    fn the_sample_of_a_listing_is_evenly_spaced_and_limited() {
        assert_eq!(listed(MAX_RECEIPTS).sample.len(), MAX_RECEIPTS);
        let many = listed(5 * MAX_RECEIPTS);
        assert!(many.sample.len() > MAX_RECEIPTS / 2 && many.sample.len() <= MAX_RECEIPTS);
        let numbers = many.sample.iter().enumerate();
        numbers.for_each(|(at, entry)| assert_eq!(entry.key, format!("csv/t/{:05}.csv.gz", 8 * at)));
        assert_eq!(many.objects.0["t"].listed.count, 5 * MAX_RECEIPTS as u64);
    }

    #[test]
    fn the_workers_of_a_stack_replace_those_of_default_settings() {
        let default = IndexFleet { memory_mb: 512, vcpus: None, concurrency: 4, rows_per_second: 7 };
        let functions = Workers::Lambda { memory_mb: 1024, concurrency: 8, batch: 10 };
        let expected = IndexFleet { memory_mb: 1024, concurrency: 8, ..default };
        assert_eq!(of_workers(functions, default), expected);
        let tasks = Workers::Fargate { vcpu: 2.0, memory_mb: 4096, max_tasks: 3, backlog_per_task: 100 };
        let expected = IndexFleet { memory_mb: 4096, vcpus: Some(2.0), concurrency: 3, rows_per_second: 7 };
        assert_eq!(of_workers(tasks, default), expected);
    }

    #[test]
    fn objects_that_are_no_rows_do_not_count() {
        let mut listed = Listed::default();
        for key in ["csv/t/.tmp", "csv/t", "runs/r/run.json"] {
            listed.add(ManifestEntry { key: key.to_owned(), size: 1, etag: String::new() });
        }
        assert_eq!(listed.objects, RowObjects::default());
    }
}
