//! `flowherd estimate --index`: lists rows of the results, and estimates the documents, bytes and time of an index run. It changes
//! nothing.

mod sample;

use std::{path::Path, time::Duration};

use anyhow::Context;
use flowherd_coordinator::runs::{self, IndexedRun};
use flowherd_shared::{layout, ledger::no_objects, store::pages};
use indicatif::{HumanBytes, HumanCount};

use self::sample::Listed;
use super::super::{Deployment, buckets, connected, json, patience::Patience, runs::all_runs, stack};
use crate::{
    args::EstimateArgs,
    convert::listing::Listing,
    cost::Workers,
    index_cost::{
        CLUSTER_BYTES_PER_ROW, CSV_BYTES_PER_ROW, IndexEstimate, IndexFleet, MAX_CONCURRENCY, MEMORY_MB,
        PLAIN_BYTES_PER_ROW, RowObjects, SENT_BYTES_PER_ROW,
    },
    results_dir::{ResultsDir, fail_on},
    stop::Stop,
    summary::{self, printable},
    words::{about, counted},
};

/// Tables that the text names.
const MAX_NAMED: usize = 20;

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
    let mut unread = Vec::new();
    let each = listing.each(|found| {
        match found.problem {
            Some(problem) => unread.push(format!("{}: {problem}", printable(&found.entry.key))),
            None => listed.add(found.entry),
        }
        Ok(())
    });
    each.with_context(|| format!("cannot list {}", root.display()))?;
    let (runs, mut damaged) = dir.runs()?;
    damaged.append(&mut unread);
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
    let by_constant =
        format!("by size, {CSV_BYTES_PER_ROW:.0} bytes of csv.gz a row as in flow logs with names");
    let with_receipt = estimate.objects_with_receipt;
    if with_receipt == 0 {
        return by_constant;
    }
    let receipts = counted(with_receipt, "receipt", "receipts");
    let by_rate = estimate.objects - estimate.objects_of_tables_without_receipt - with_receipt;
    if with_receipt == estimate.objects {
        return format!("from {receipts}");
    }
    let mut text = format!("{} from {receipts}", HumanCount(estimate.rows_of_receipts));
    if by_rate > 0 {
        text += &format!(
            "; those of {} by size, at the rate of their table's receipts",
            counted(by_rate, "object", "objects")
        );
    }
    if estimate.tables_without_receipt.is_empty() {
        return text;
    }
    let tables = &estimate.tables_without_receipt;
    let named: Vec<String> = tables.iter().take(MAX_NAMED).map(|table| printable(table)).collect();
    let more = match tables.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    text += &format!(
        "; those of {} in tables without a receipt {by_constant}: {}{more}",
        counted(estimate.objects_of_tables_without_receipt, "object", "objects"),
        named.join(", ")
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index_cost::{ObjectTotals, TableObjects};

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
    fn tables_of_which_no_receipt_was_found_are_named_as_estimated_by_size() {
        let totals = |count| ObjectTotals { count, bytes: 100 * count };
        let with = |receipts, rows| TableObjects {
            listed: totals(4),
            with_receipt: totals(receipts),
            rows_of_receipts: rows,
        };
        let text = |tables: &[(&str, TableObjects)]| {
            let named = tables.iter().map(|(name, table)| ((*name).to_owned(), *table)).collect();
            let fleet = IndexFleet { memory_mb: 512, vcpus: None, concurrency: 4, rows_per_second: 1 };
            source_of_rows(&IndexEstimate::new("csv/", &RowObjects(named), fleet))
        };
        assert!(text(&[("a", with(0, 0))]).starts_with("by size, 32 bytes"));
        assert_eq!(text(&[("a", with(4, 9))]), "from 4 receipts");
        assert_eq!(
            text(&[("a", with(3, 9)), ("b", with(0, 0)), ("c", with(0, 0))]),
            "9 from 3 receipts; those of 1 object by size, at the rate of their table's receipts; those of 8 objects in tables \
             without a receipt by size, 32 bytes of csv.gz a row as in flow logs with names: b, c"
        );
    }
}
