//! `flowherd verify`: reads every output of a run again and compares it with its receipt.

mod output;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use anyhow::Context;
use flowherd_coordinator::{manifest, parallel};
use flowherd_shared::{
    ledger::{Amendment, Failure, ManifestEntry, Missing, Receipt, ReceiptOutput, Report, Run, layout},
    store::{Source, Store, StoreError},
    table::Column,
};
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use self::output::{Examined, examine};
use crate::{
    args::VerifyArgs,
    fleet, inputs,
    progress::{Line, View},
    results_dir,
    stop::Stop,
    summary::{self, columns, print_message, printable},
    words::counted,
};

/// Objects whose receipts and results are in memory at once.
const CHUNK: usize = 1000;
/// Outputs of a bucket that are read at once.
const READERS: usize = 16;

/// Verifies a run of the fleet, or of `flowherd convert`.
pub(crate) fn verify(args: &VerifyArgs) -> Result<(), Stop> {
    let Some(results) = &args.results else {
        return fleet::results::with_run(args, |results, run, report, renew| {
            Verification { store: results, source: results, run, renew, threads: READERS }.show(report, args)
        });
    };
    let dir = results_dir::ResultsDir::open("--results", results)?;
    let run = dir.run(&args.run)?;
    if dir.is_active(&run.run)? {
        return Err(Stop::usage(format!(
            "a process is working on run {}; verify the run after its end",
            run.run
        )));
    }
    let report = dir.report(&run.run)?;
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let (store, source) = (dir.store(), dir.source());
    Verification { store, source: &source, run: &run, renew: &|| (), threads }.show(report.as_ref(), args)
}

/// A run, and where its files are.
struct Verification<'a, S, R> {
    store: &'a S,
    source: &'a R,
    run: &'a Run,
    /// Called while the verification makes progress.
    renew: &'a (dyn Fn() + Sync),
    threads: usize,
}

/// What was verified.
#[derive(Debug, Default, Serialize)]
struct Totals {
    /// Objects of the run with a receipt.
    done: u64,
    /// Objects with a receipt of an earlier run.
    skipped: u64,
    /// Objects that failed: they have no output.
    failed: u64,
    /// Objects without an outcome: nothing proves their outputs.
    missing: u64,
    /// Outputs that were read.
    outputs: u64,
    /// Their rows, as the receipts have them.
    rows: u64,
    /// Their rejected records, as the receipts have them.
    rejected: u64,
    /// Their compressed bytes, as the receipts have them.
    bytes: u64,
    /// Outputs with the bytes that were written, but another version: they were copied or written again.
    other_versions: u64,
    /// Lines of `problems`.
    problems: u64,
}

/// A file that is not as it was.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Difference {
    path: String,
    problem: String,
}

/// The outputs of one object.
enum Found {
    Verified { receipt: Box<Receipt>, is_skipped: bool, outputs: Vec<Output> },
    Failed,
    Missing(Missing),
}

/// One output.
struct Output {
    is_other_version: bool,
    problem: Option<String>,
    header: Option<Vec<String>>,
}

impl<S: Store, R: Source> Verification<'_, S, R> {
    /// Verifies the run and prints the result. Fails if anything is not as it was.
    fn show(&self, report: Option<&Report>, args: &VerifyArgs) -> Result<(), Stop> {
        let mut printer = Printer { as_json: args.json, count: 0 };
        let mut totals = self.verify(&mut |difference| printer.add(&difference))?;
        if let Some(difference) = report.and_then(|report| differs_from_report(self.run, report, &totals)) {
            printer.add(&difference)?;
        }
        totals.problems = printer.count;
        printer.finish(self.run, &totals)?;
        if report.is_none() {
            print_message(&format!("run {} has no report; its receipts are verified", self.run.run));
        }
        if totals.missing > 0 {
            print_message(&format!(
                "{} without a receipt or failure of this run: nothing proves their outputs",
                counted(totals.missing, "object is", "objects are")
            ));
        }
        if totals.problems == 0 { Ok(()) } else { Err(Stop::Failed) }
    }

    fn verify(&self, add: &mut dyn FnMut(Difference) -> Result<(), Stop>) -> Result<Totals, Stop> {
        let Some(listed) = self.run.manifest else {
            return Err(Stop::usage(format!(
                "the listing of run {} is incomplete, so it is not known which outputs it has",
                self.run.run
            )));
        };
        let mut headers = self.headers().context("cannot read the rules of the run")?;
        let mut totals = Totals::default();
        let (verified, all) = (Arc::new(AtomicU64::new(0)), listed.objects);
        let shown = Arc::clone(&verified);
        let line = Line::show(move || {
            let verified = shown.load(Ordering::Relaxed);
            View::share(verified, all)
                .part(Some(format!("{verified}/{} verified", counted(all, "object", "objects"))))
        });
        let mut entries = manifest::read(self.store, self.run).peekable();
        while entries.peek().is_some() {
            let chunk: Result<Vec<ManifestEntry>, StoreError> = entries.by_ref().take(CHUNK).collect();
            let chunk = chunk.context("cannot read the manifest")?;
            let found = parallel::try_map(self.threads, &chunk, |entry| self.object(entry));
            for (entry, found) in chunk.iter().zip(found.context("cannot read the results")?) {
                self.add(entry, found, &mut headers, &mut totals, add)?;
            }
            verified.fetch_add(chunk.len() as u64, Ordering::Relaxed);
        }
        // Standard output may be the same terminal.
        drop(line);
        Ok(totals)
    }

    /// Adds the outcome of an object to the totals, and reports what differs.
    fn add(
        &self,
        entry: &ManifestEntry,
        found: Found,
        headers: &mut BTreeMap<String, Vec<String>>,
        totals: &mut Totals,
        add: &mut dyn FnMut(Difference) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let (receipt, is_skipped, outputs) = match found {
            Found::Verified { receipt, is_skipped, outputs } => (receipt, is_skipped, outputs),
            Found::Failed => {
                totals.failed += 1;
                return Ok(());
            }
            Found::Missing(why) => {
                totals.missing += 1;
                if why == Missing::OtherReceipt {
                    let problem =
                        "it is damaged, or of another version, other rules or other lookups".to_owned();
                    add(Difference { path: layout::receipt(&self.run.run, &entry.key), problem })?;
                }
                return Ok(());
            }
        };
        *(if is_skipped { &mut totals.skipped } else { &mut totals.done }) += 1;
        for (written, output) in receipt.outputs.iter().zip(outputs) {
            totals.outputs += 1;
            totals.bytes += written.bytes;
            *(if written.table.is_some() { &mut totals.rows } else { &mut totals.rejected }) += written.rows;
            let mut problem = output.problem;
            if problem.is_none()
                && let (Some(table), Some(header)) = (&written.table, output.header)
            {
                let expected = headers.entry(table.clone()).or_insert_with(|| header.clone());
                if *expected != header {
                    problem = Some(format!("its header is not that of table {table}"));
                }
            }
            totals.other_versions += u64::from(problem.is_none() && output.is_other_version);
            if let Some(problem) = problem {
                add(Difference { path: written.path.clone(), problem })?;
            }
        }
        Ok(())
    }

    /// Returns the header of each table by the rules of the run; none if they are not known.
    fn headers(&self) -> Result<BTreeMap<String, Vec<String>>, StoreError> {
        let hash = &self.run.fingerprint.config_hash;
        let config = inputs::rules_of_run(self.store, &self.run.run, hash)?;
        let tables = config.into_iter().flat_map(|config| config.tables);
        let header = |columns: Vec<Column>| columns.into_iter().map(|column| column.name).collect();
        Ok(tables.map(|table| (table.name, header(table.columns))).collect())
    }

    /// Reads the outputs of an object.
    fn object(&self, entry: &ManifestEntry) -> Result<Found, StoreError> {
        let (receipt, is_skipped) = match self.receipt(entry)? {
            Ok(found) => found,
            Err(outcome) => return Ok(outcome),
        };
        let outputs = receipt.outputs.iter().map(|output| self.output(output)).collect::<Result<_, _>>()?;
        Ok(Found::Verified { receipt: Box::new(receipt), is_skipped, outputs })
    }

    /// Returns the receipt of an object, and whether it is of an earlier run. The order is that of the report.
    fn receipt(&self, entry: &ManifestEntry) -> Result<Result<(Receipt, bool), Found>, StoreError> {
        let (store, run) = (self.store, self.run);
        let amended = Amendment::find(store, &run.run, entry)?;
        let mut why = Missing::NoOutcome;
        for object in std::iter::once(entry).chain(&amended) {
            match Receipt::read(store, &run.run, object, &run.fingerprint)? {
                Ok(receipt) => return Ok(Ok((receipt, false))),
                Err(found) => why = found,
            }
        }
        let failure = Failure::find(store, &run.run, &entry.key)?;
        let is_this = |object: &ManifestEntry| object == entry || Some(object) == amended.as_ref();
        let is_of_run =
            |failure: &Failure| is_this(&failure.object) && failure.fingerprint == run.fingerprint;
        if failure.is_some_and(|failure| is_of_run(&failure)) {
            return Ok(Err(Found::Failed));
        }
        for earlier in &run.resumes {
            if let Ok(receipt) = Receipt::read(store, earlier, entry, &run.fingerprint)? {
                return Ok(Ok((receipt, true)));
            }
        }
        Ok(Err(Found::Missing(why)))
    }

    /// Reads one output to its end.
    fn output(&self, written: &ReceiptOutput) -> Result<Output, StoreError> {
        let removed =
            || Output { is_other_version: false, problem: Some("it was removed".to_owned()), header: None };
        let Some(object) = self.source.head(&written.path)? else {
            // The store has an error if it is not allowed to look.
            self.store.etag(&written.path)?;
            return Ok(removed());
        };
        let is_other_version = object.etag != written.etag;
        let body = match self.source.open(&object) {
            Err(StoreError::NotFound(_)) => return Ok(removed()),
            body => body?,
        };
        let examined = examine(body, written.table.is_some(), &|| (self.renew)())?;
        let problems = differences(written, &examined);
        let header = examined.text.ok().and_then(|text| fields(&text.header));
        let problem = (!problems.is_empty()).then(|| problems.join("; "));
        Ok(Output { is_other_version, problem, header })
    }
}

/// Returns what an output has otherwise than its receipt.
fn differences(written: &ReceiptOutput, found: &Examined) -> Vec<String> {
    let mut problems = Vec::new();
    if found.bytes != written.bytes {
        problems.push(format!(
            "it has {}, and its receipt {}",
            counted(found.bytes, "byte", "bytes"),
            HumanCount(written.bytes)
        ));
    }
    if found.crc64nvme != written.crc64nvme {
        problems.push(format!(
            "its CRC-64/NVME is {}, and in its receipt {}",
            found.crc64nvme, written.crc64nvme
        ));
    }
    match &found.text {
        Err(damage) => problems.push(damage.clone()),
        Ok(text) if text.rows != written.rows => problems.push(format!(
            "it has {}, and its receipt {}",
            counted(text.rows, "row", "rows"),
            HumanCount(written.rows)
        )),
        Ok(_) => {}
    }
    problems
}

/// Returns the names in a header.
fn fields(header: &[u8]) -> Option<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(header);
    let record = reader.byte_records().next()?.ok()?;
    Some(record.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect())
}

/// Compares the report with the receipts. While objects are missing, later work may change their number.
fn differs_from_report(run: &Run, report: &Report, totals: &Totals) -> Option<Difference> {
    let objects = &report.objects;
    let same = (objects.done, objects.skipped) == (totals.done, totals.skipped);
    if objects.missing > 0 || same {
        return None;
    }
    let problem = format!(
        "it has {} done and {} skipped, and the receipts prove {} and {}",
        counted(objects.done, "object", "objects"),
        HumanCount(objects.skipped),
        HumanCount(totals.done),
        HumanCount(totals.skipped)
    );
    Some(Difference { path: layout::report(&run.run), problem })
}

/// Prints difference by difference, because there may be millions.
struct Printer {
    as_json: bool,
    count: u64,
}

impl Printer {
    fn add(&mut self, difference: &Difference) -> Result<(), Stop> {
        let is_first = self.count == 0;
        self.count += 1;
        if self.as_json {
            let before = if is_first { "{\"problems\":[\n" } else { ",\n" };
            let difference = serde_json::to_string(difference).context("cannot print JSON")?;
            return summary::print(&format!("{before}{difference}"));
        }
        summary::print(&format!("{}: {}\n", printable(&difference.path), printable(&difference.problem)))
    }

    fn finish(&self, run: &Run, totals: &Totals) -> Result<(), Stop> {
        if self.as_json {
            let before = if self.count == 0 { "{\"problems\":[" } else { "\n" };
            let name = serde_json::to_string(&run.run).context("cannot print JSON")?;
            let totals = serde_json::to_string(totals).context("cannot print JSON")?;
            return summary::print(&format!("{before}],\"run\":{name},\"totals\":{totals}}}\n"));
        }
        let verdict = match self.count {
            0 => "every output is as it was written".to_owned(),
            1 => "1 file is not as it was".to_owned(),
            count => format!("{} files are not as they were", HumanCount(count)),
        };
        let count = |number| HumanCount(number).to_string();
        let row = vec![
            count(totals.done + totals.skipped),
            count(totals.outputs),
            count(totals.rows),
            count(totals.rejected),
            HumanBytes(totals.bytes).to_string(),
        ];
        let table = columns(&["objects", "outputs", "rows", "rejected", "bytes"], [row], 0);
        let mut text = format!("run {}: {verdict}\n\n{table}", printable(&run.run));
        if totals.other_versions > 0 {
            let outputs = match totals.other_versions {
                1 => "1 output has the bytes that were written, but another version: it was".to_owned(),
                more => format!(
                    "{} outputs have the bytes that were written, but other versions: they were",
                    HumanCount(more)
                ),
            };
            text += &format!("\n{outputs} copied or written again\n");
        }
        summary::print(&text)
    }
}
