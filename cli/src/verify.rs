//! `flowherd verify`: reads every output of a run again and compares it with its receipt.

mod output;
mod printer;

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
    error::error_chain,
    ledger::{
        Amendment, Failure, ManifestEntry, Missing, Receipt, ReceiptOutput, Report, Run, examine_report,
        layout,
    },
    store::{Source, Store, StoreError},
    table::Column,
};
use indicatif::HumanCount;
use serde::Serialize;

use self::{
    output::{Examined, examine},
    printer::Printer,
};
use crate::{
    args::VerifyArgs,
    fleet,
    progress::{Line, View},
    results_dir, run_rules,
    stop::Stop,
    words::counted,
};

/// Objects whose receipts and results are in memory at once.
const CHUNK: usize = 1000;
/// Outputs of a bucket that are read at once.
const READERS: usize = 16;

/// Verifies a run of the fleet, or of `flowherd convert`.
pub(crate) fn verify(args: &VerifyArgs) -> Result<(), Stop> {
    let Some(results) = &args.results else {
        return fleet::results::with_run(args, |results, run, patience| {
            let (renew, pause) = (|| patience.renew(), |print: &mut dyn FnMut()| patience.pause(print));
            let (renew, pause) = (&renew, &pause);
            Verification { store: results, source: results, run, renew, pause, threads: READERS }.show(args)
        });
    };
    let dir = results_dir::ResultsDir::open("--results", results)?;
    let run = dir.run(&args.run)?;
    // Held while the outputs are read, so that no process replaces them.
    let results_dir::Lock::Free(_lock) = dir.lock(&run.run)? else {
        return Err(Stop::usage(format!(
            "a process is working on run {}; verify the run after its end",
            run.run
        )));
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let (store, source) = (dir.store(), dir.source());
    let pause = |print: &mut dyn FnMut()| print();
    Verification { store, source: &source, run: &run, renew: &|| (), pause: &pause, threads }.show(args)
}

/// A run, and where its files are.
struct Verification<'a, S, R> {
    store: &'a S,
    source: &'a R,
    run: &'a Run,
    /// Called while the verification makes progress.
    renew: &'a (dyn Fn() + Sync),
    /// Prints without the time limit of the verification: the reader of a pipe may be slow.
    pause: &'a (dyn Fn(&mut dyn FnMut()) + Sync),
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
    /// Objects with neither a valid receipt nor a failure: their outputs are not verified.
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

/// A file that is not as it was, or that cannot be read.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Difference {
    path: String,
    problem: String,
}

/// The outputs of one object.
enum Found {
    Verified {
        receipt: Box<Receipt>,
        is_skipped: bool,
        outputs: Vec<Output>,
    },
    Failed,
    Missing(Missing),
    /// The ledger's files about the object cannot be read, for this reason.
    Unreadable(String),
}

/// One output.
struct Output {
    is_other_version: bool,
    problem: Option<String>,
    header: Option<Vec<String>>,
}

impl<S: Store, R: Source> Verification<'_, S, R> {
    /// Verifies the run and prints the result. Fails if anything is not as it was, or was not verified.
    fn show(&self, args: &VerifyArgs) -> Result<(), Stop> {
        let mut printer = Printer { as_json: args.json, count: 0 };
        match self.verify(&mut printer) {
            Ok(totals) => self.pausing(|| printer.finish(self.run, Some(&totals)))?,
            Err(stop) => {
                // Differences are printed already, and they must be valid JSON.
                if args.json && printer.count > 0 {
                    self.pausing(|| printer.finish(self.run, None))?;
                }
                return Err(stop);
            }
        }
        if printer.count == 0 { Ok(()) } else { Err(Stop::Failed) }
    }

    /// Verifies the report and the objects, and reports what differs.
    fn verify(&self, printer: &mut Printer) -> Result<Totals, Stop> {
        let mut add = |difference: Difference| self.pausing(|| printer.add(&difference));
        let path = layout::report(&self.run.run);
        let report =
            examine_report(self.store, &path).context("cannot read the report")?.unwrap_or_else(|| {
                Err("it does not exist: the run has not ended, or the report was removed".to_owned())
            });
        let report = match report {
            Ok(report) => Some(report),
            Err(problem) => {
                add(Difference { path: path.clone(), problem })?;
                None
            }
        };
        let mut totals = self.objects(report.as_ref(), &mut add)?;
        if let Some(problem) = report.and_then(|report| differs_from_report(&report, &totals)) {
            add(Difference { path, problem })?;
        }
        if totals.missing > 0 && totals.done + totals.skipped == 0 {
            let problem = "no object that it lists has a valid receipt: nothing was verified".to_owned();
            add(Difference { path: layout::run(&self.run.run), problem })?;
        }
        totals.problems = printer.count;
        Ok(totals)
    }

    /// Prints without the time limit.
    fn pausing(&self, mut print: impl FnMut() -> Result<(), Stop>) -> Result<(), Stop> {
        let mut printed = Ok(());
        (self.pause)(&mut || printed = print());
        printed
    }

    fn objects(
        &self,
        report: Option<&Report>,
        add: &mut dyn FnMut(Difference) -> Result<(), Stop>,
    ) -> Result<Totals, Stop> {
        let Some(listed) = self.run.manifest else {
            return Err(Stop::usage(format!(
                "the listing of run {} is incomplete, so it is not known which outputs it has",
                self.run.run
            )));
        };
        let mut headers = self.headers().context("cannot read the rules of the run")?;
        // Otherwise objects may be missing by rights, and their number is compared.
        let names_missing = report.is_some_and(|report| report.objects.missing == 0);
        let mut totals = Totals::default();
        let (verified, all) = (Arc::new(AtomicU64::new(0)), listed.objects);
        let shown = Arc::clone(&verified);
        let line = Line::show(move || {
            let verified = shown.load(Ordering::Relaxed);
            let objects = format!("{}/{} objects verified", HumanCount(verified), HumanCount(all));
            View::share(verified, all).part(Some(objects))
        });
        let mut entries = manifest::read(self.store, self.run).peekable();
        while entries.peek().is_some() {
            let chunk: Result<Vec<ManifestEntry>, StoreError> = entries.by_ref().take(CHUNK).collect();
            let chunk = chunk.context("cannot read the manifest")?;
            let examine = |entry: &ManifestEntry| {
                let found = self.object(entry).unwrap_or_else(|error| Found::Unreadable(error_chain(&error)));
                verified.fetch_add(1, Ordering::Relaxed);
                Ok::<_, StoreError>(found)
            };
            let found =
                parallel::try_map(self.threads, &chunk, examine).context("cannot read the results")?;
            for (entry, found) in chunk.iter().zip(found) {
                self.add(entry, found, names_missing, (&mut headers, &mut totals), add)?;
            }
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
        names_missing: bool,
        (headers, totals): (&mut BTreeMap<String, Vec<String>>, &mut Totals),
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
                let problem = match why {
                    Missing::DamagedReceipt(why) => why,
                    Missing::OtherReceipt => {
                        "it is of another version of the object, other rules or other names, or its counts are \
                         inconsistent"
                            .to_owned()
                    }
                    _ if names_missing => {
                        "it does not exist, and the object has no failure either: its outputs are not verified"
                            .to_owned()
                    }
                    _ => return Ok(()),
                };
                return add(Difference { path: layout::receipt(&self.run.run, &entry.key), problem });
            }
            Found::Unreadable(why) => {
                totals.missing += 1;
                let problem = format!("it cannot be read: {why}");
                return add(Difference { path: layout::receipt(&self.run.run, &entry.key), problem });
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
        let config = run_rules::rules_of_run(self.store, &self.run.run, hash)?;
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
        let outputs = receipt.outputs.iter().map(|output| self.output(output)).collect();
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
        for (earlier, fingerprint) in run.earlier() {
            if let Ok(receipt) = Receipt::read(store, earlier, entry, fingerprint)? {
                return Ok(Ok((receipt, true)));
            }
        }
        Ok(Err(Found::Missing(why)))
    }

    /// Reads one output to its end. One that cannot be read is a problem, and the others are still read.
    fn output(&self, written: &ReceiptOutput) -> Output {
        self.read_output(written).unwrap_or_else(|error| Output {
            is_other_version: false,
            problem: Some(format!("it cannot be read: {}", error_chain(&error))),
            header: None,
        })
    }

    fn read_output(&self, written: &ReceiptOutput) -> Result<Output, StoreError> {
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

/// Compares the report with the receipts. Later work may have completed objects that are missing in the report.
fn differs_from_report(report: &Report, totals: &Totals) -> Option<String> {
    let objects = &report.objects;
    if objects.missing > 0 {
        return (totals.missing > objects.missing).then(|| {
            format!(
                "{} when it was written, and now {}",
                counted(objects.missing, "object was missing", "objects were missing"),
                HumanCount(totals.missing)
            )
        });
    }
    // Each missing object was named.
    let same = (objects.done, objects.skipped) == (totals.done, totals.skipped);
    (!same && totals.missing == 0).then(|| {
        format!(
            "its objects are {} done and {} skipped, and the receipts have {} done and {} skipped",
            HumanCount(objects.done),
            HumanCount(objects.skipped),
            HumanCount(totals.done),
            HumanCount(totals.skipped)
        )
    })
}
