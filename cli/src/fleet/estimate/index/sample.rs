//! Evenly spaced objects of each table, and their rows by the receipts of the runs that wrote them.

use std::collections::BTreeMap;

use flowherd_coordinator::{live::day::parse_run_name, parallel, runs::IndexedRun};
use flowherd_shared::{
    layout,
    ledger::{Receipt, examine_json},
    store::{ManifestEntry, Store, StoreError},
};

use crate::index_cost::{ObjectTotals, RowObjects};

/// Maximum objects whose receipts are read, of all tables together. The others of their table have rows by the same rate.
const MAX_RECEIPTS: usize = 1000;
/// Neighbouring objects whose receipts one thread reads.
const NEIGHBOURS: usize = 32;
/// Maximum reads for [`NEIGHBOURS`] objects. Each one has at least one read, so an object can search many runs for its receipt, and
/// the others then find theirs in the same run.
const MAX_READS: usize = 5 * NEIGHBOURS;
/// Receipts read at once.
const READERS: usize = 32;

/// The rows of a listing, and evenly spaced objects of each table.
#[derive(Default)]
pub(super) struct Listed {
    objects: RowObjects,
    samples: BTreeMap<String, Sample>,
    /// Objects in all samples.
    sampled: usize,
}

/// Evenly spaced objects of one table.
#[derive(Default)]
struct Sample {
    count: usize,
    /// Every `1 << halvings`-th object.
    entries: Vec<ManifestEntry>,
    halvings: u32,
}

impl Sample {
    /// Returns whether the object after `count` others is in the sample.
    fn has_next(&self, count: usize) -> bool {
        count.is_multiple_of(1 << self.halvings)
    }

    /// Keeps every second object. Returns the number of removed ones.
    fn halve(&mut self) -> usize {
        let (before, mut number) = (self.entries.len(), 0);
        self.entries.retain(|_| {
            number += 1;
            number % 2 == 1
        });
        self.halvings += 1;
        before - self.entries.len()
    }
}

impl Listed {
    /// Adds an object if it has rows.
    pub(super) fn add(&mut self, entry: ManifestEntry) {
        let Some(table) = layout::table_of_csv(&entry.key).map(str::to_owned) else { return };
        let listed = ObjectTotals { count: 1, bytes: entry.size };
        self.objects.0.entry(table.clone()).or_default().listed += listed;
        let sample = self.samples.entry(table.clone()).or_default();
        let before = sample.count;
        sample.count += 1;
        if !sample.has_next(before) {
            return;
        }
        if self.sampled == MAX_RECEIPTS
            && let Some(largest) = self.samples.values_mut().max_by_key(|sample| sample.entries.len())
        {
            self.sampled -= largest.halve();
        }
        // With more tables than receipts, the last ones have none.
        if self.sampled < MAX_RECEIPTS
            && let Some(sample) = self.samples.get_mut(&table).filter(|sample| sample.has_next(before))
        {
            sample.entries.push(entry);
            self.sampled += 1;
        }
    }

    /// Adds the rows of the receipts of the samples. `runs` are all runs, latest first.
    pub(super) fn read_receipts(
        &self,
        results: &impl Store,
        runs: &[IndexedRun],
    ) -> Result<RowObjects, StoreError> {
        let entries: Vec<&ManifestEntry> = self.samples.values().flat_map(|sample| &sample.entries).collect();
        let neighbours: Vec<&[&ManifestEntry]> = entries.chunks(NEIGHBOURS).collect();
        let rows = parallel::try_map(READERS, &neighbours, |entries| rows_of(results, runs, entries))?;
        let mut objects = self.objects.clone();
        for (entry, rows) in entries.iter().zip(rows.into_iter().flatten()) {
            let table = layout::table_of_csv(&entry.key).and_then(|table| objects.0.get_mut(table));
            if let (Some(table), Some(rows)) = (table, rows) {
                table.with_receipt += ObjectTotals { count: 1, bytes: entry.size };
                table.rows_of_receipts = table.rows_of_receipts.saturating_add(rows);
            }
        }
        Ok(objects)
    }
}

/// Returns the rows of objects from the receipts that have them with these sizes, `None` for each object without one.
///
/// Looks first in live runs of the day in the key, then in the run of the object before and in those that began next to it. Without
/// one before, in the latest run.
fn rows_of(
    results: &impl Store,
    runs: &[IndexedRun],
    entries: &[&ManifestEntry],
) -> Result<Vec<Option<u64>>, StoreError> {
    let (mut reads, mut last) = (0, 0);
    let mut all = Vec::with_capacity(entries.len());
    for (number, entry) in entries.iter().enumerate() {
        let reserved = entries.len() - number - 1;
        let mut rows = None;
        for (at, run) in candidates(runs, last, &entry.key) {
            if rows.is_some() || reads + reserved >= MAX_READS {
                break;
            }
            reads += 1;
            rows = rows_in(results, run, entry)?;
            if rows.is_some() {
                last = at;
            }
        }
        all.push(rows);
    }
    Ok(all)
}

/// Returns the key of the source object of a `csv.gz`.
fn source_of(key: &str) -> Option<&str> {
    let table = layout::table_of_csv(key)?;
    key.strip_prefix(&layout::csv_of(table))?.strip_suffix(".csv.gz")
}

/// Returns the runs that may have converted an object, the most likely first.
fn candidates<'a>(runs: &'a [IndexedRun], last: usize, key: &str) -> Vec<(usize, &'a IndexedRun)> {
    let Some(source) = source_of(key) else { return Vec::new() };
    let is_of_day = |run: &IndexedRun| {
        parse_run_name(&run.fleet, &run.run).is_some_and(|(day, _)| source.contains(&day.path()))
    };
    let mut candidates: Vec<_> =
        runs.iter().enumerate().filter(|(_, run)| source.starts_with(&run.prefix)).collect();
    candidates.sort_by_key(|(at, run)| (!is_of_day(run), at.abs_diff(last)));
    candidates
}

/// Returns the rows of an object in its receipt of a run. A receipt that cannot be read, whose numbers do not add up, or that has
/// another version of the object proves nothing.
fn rows_in(results: &impl Store, run: &IndexedRun, entry: &ManifestEntry) -> Result<Option<u64>, StoreError> {
    let Some(source) = source_of(&entry.key) else { return Ok(None) };
    let Some(Ok(receipt)) = examine_json::<Receipt>(results, &layout::receipt(&run.run, source))? else {
        return Ok(None);
    };
    let output = receipt.outputs.iter().find(|output| output.path == entry.key && output.bytes == entry.size);
    Ok(output.filter(|_| receipt.adds_up()).map(|output| output.rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(listed: &mut Listed, table: &str, count: usize) {
        for number in 0..count {
            let key = format!("csv/{table}/{number:05}.csv.gz");
            listed.add(ManifestEntry { key, size: 1, etag: String::new() });
        }
    }

    fn listed(count: usize) -> Listed {
        let mut listed = Listed::default();
        add(&mut listed, "t", count);
        listed
    }

    fn run(name: &str, fleet: &str, prefix: &str) -> IndexedRun {
        IndexedRun {
            run: name.to_owned(),
            fleet: fleet.to_owned(),
            prefix: prefix.to_owned(),
            started: String::new(),
            config_hash: String::new(),
        }
    }

    #[test]
    fn the_sample_of_a_listing_is_evenly_spaced_and_limited() {
        assert_eq!(listed(MAX_RECEIPTS).samples["t"].entries.len(), MAX_RECEIPTS);
        let many = listed(5 * MAX_RECEIPTS);
        let entries = &many.samples["t"].entries;
        assert!(entries.len() > MAX_RECEIPTS / 2 && entries.len() <= MAX_RECEIPTS);
        let numbers = entries.iter().enumerate();
        numbers.for_each(|(at, entry)| assert_eq!(entry.key, format!("csv/t/{:05}.csv.gz", 8 * at)));
        assert_eq!(many.objects.0["t"].listed.count, 5 * MAX_RECEIPTS as u64);
    }

    #[test]
    fn a_small_table_is_in_the_sample_whole_and_all_tables_together_are_limited() {
        let mut listed = listed(5 * MAX_RECEIPTS);
        add(&mut listed, "u", 3);
        add(&mut listed, "v", 2 * MAX_RECEIPTS);
        let sizes: Vec<usize> = listed.samples.values().map(|sample| sample.entries.len()).collect();
        assert_eq!((sizes[1], sizes.iter().sum::<usize>()), (3, listed.sampled));
        assert!(sizes[0] > MAX_RECEIPTS / 5 && sizes[2] > MAX_RECEIPTS / 5, "{sizes:?}");
        assert!(listed.sampled <= MAX_RECEIPTS, "{sizes:?}");
        // More tables than receipts.
        (0..2 * MAX_RECEIPTS).for_each(|table| add(&mut listed, &format!("w{table}"), 1));
        assert!(listed.sampled <= MAX_RECEIPTS);
    }

    #[test]
    fn objects_that_are_no_rows_do_not_count() {
        let mut listed = Listed::default();
        for key in ["csv/t/.tmp", "csv/t", "runs/r/run.json"] {
            listed.add(ManifestEntry { key: key.to_owned(), size: 1, etag: String::new() });
        }
        assert_eq!(listed.objects, RowObjects::default());
    }

    #[test]
    fn live_runs_of_the_day_come_first_and_then_the_neighbours_of_the_last_run() {
        let mut runs: Vec<IndexedRun> =
            (0..30).map(|day| run(&format!("live-main-2026-01-{:02}", 30 - day), "main", "f/")).collect();
        runs.push(run("other", "main", "g/"));
        runs.push(run("once", "main", "f/"));
        let names = |last, key: &str| -> Vec<String> {
            let found = candidates(&runs, last, key).into_iter().take(3);
            found.map(|(_, run)| run.run.replace("live-main-2026-01-", "")).collect()
        };
        assert_eq!(names(0, "csv/t/f/2026/01/07/a.csv.gz"), ["07", "30", "29"]);
        assert_eq!(names(31, "csv/t/f/x/a.csv.gz"), ["once", "01", "02"]);
        assert_eq!(names(4, "csv/t/f/2026/01/01/a.csv.gz"), ["01", "26", "27"]);
        assert_eq!(names(4, "csv/t/g/a.csv.gz"), ["other"]);
    }
}
