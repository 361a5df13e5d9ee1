//! The ledger of a run: what was asked (manifest), what was done (receipts), what failed (failures), and the report that
//! reconciles them. Plain JSON, so that Athena can query it too.

pub mod layout;
mod report;
mod rule_totals;
mod warnings;

use std::{collections::BTreeMap, io};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

pub use report::{MAX_FAILURES_TOLD, Missing, Outcome, Report, ReportFailure, ReportState, no_objects};
pub use rule_totals::RuleTotals;
pub use warnings::{Warning, WarningKind};

use crate::{
    error::Verdict,
    limits::{MAX_LEDGER_BYTES, MAX_REPORT_BYTES, MAX_RULES},
    pipeline::{Counts, Output, Plan},
    store::Store,
};

/// Reads a ledger file. A file that does not parse, is larger than any, or has a path that the store refuses, counts as
/// none: it proves nothing.
pub fn read_json<T: DeserializeOwned>(store: &impl Store, path: &str) -> io::Result<Option<T>> {
    read_json_within(store, path, MAX_LEDGER_BYTES)
}

/// The same of a report, which may be larger.
pub fn read_report<T: DeserializeOwned>(store: &impl Store, path: &str) -> io::Result<Option<T>> {
    read_json_within(store, path, MAX_REPORT_BYTES)
}

fn read_json_within<T: DeserializeOwned>(store: &impl Store, path: &str, most: u64) -> io::Result<Option<T>> {
    match store.get_within(path, most) {
        Ok(bytes) => Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok())),
        Err(error)
            if matches!(error.kind(), io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidFilename) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Writes a ledger file.
pub fn put_json<T: Serialize>(store: &impl Store, path: &str, value: &T) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(value)?;
    bytes.push(b'\n');
    store.put(path, &bytes)
}

/// `runs/<run>/run.json`: what was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The run's name.
    pub run: String,
    /// Only keys that begin with it.
    pub prefix: String,
    /// What the outputs depend on besides the objects.
    #[serde(flatten)]
    pub basis: Basis,
    /// The version of Flowherd.
    pub version: String,
    /// ISO-8601 UTC.
    pub started: String,
    /// When it was last resumed, ISO-8601 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed: Option<String>,
    /// Earlier runs whose receipts count, latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resumes: Vec<String>,
    /// What the manifest holds; `None` until the listing is complete.
    pub manifest: Option<ManifestTotals>,
}

/// What the outputs of an object depend on besides its bytes: the same basis gives the same outputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Basis {
    /// SHA-256 of the configuration, in hex.
    pub config_hash: String,
    /// SHA-256 of the lookups, in hex; empty without lookups.
    pub lookups_hash: String,
}

impl From<&Plan> for Basis {
    fn from(plan: &Plan) -> Self {
        Self { config_hash: plan.config.hash.clone(), lookups_hash: plan.lookups.hash.clone() }
    }
}

/// `runs/<run>/purged.json`: the queue was purged while this run had messages in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// The run for which it was purged.
    pub by: String,
    /// ISO-8601 UTC.
    pub at: String,
}

/// `runs/<run>/amended/<source key>.json`: an object that failed for good has been replaced since, and was tried again on
/// request in the version that it has now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amendment {
    /// As the manifest lists it.
    pub listed: ManifestEntry,
    /// As it was done.
    pub now: ManifestEntry,
}

impl Amendment {
    /// The version of an object that stands for the listed one, if there is such.
    pub fn find(store: &impl Store, run: &str, listed: &ManifestEntry) -> io::Result<Option<ManifestEntry>> {
        let amendment: Option<Self> = read_json(store, &layout::amendment(run, &listed.key))?;
        Ok(amendment.filter(|amendment| amendment.listed == *listed).map(|amendment| amendment.now))
    }

    /// Writes it.
    pub fn write(&self, store: &impl Store, run: &str) -> io::Result<()> {
        put_json(store, &layout::amendment(run, &self.listed.key), self)
    }
}

/// How much a complete manifest holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestTotals {
    /// Files.
    pub parts: u64,
    /// Entries.
    pub objects: u64,
    /// Sizes of the objects, added up.
    pub bytes: u64,
    /// Objects that were not sent, because an earlier run's receipt covers them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// One line of `runs/<run>/manifest/*.jsonl.gz`: an object that was listed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestEntry {
    /// The key as listed.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// The version of the object's bytes: S3's `ETag`; for a local file, size and modification time.
    pub etag: String,
}

/// `runs/<run>/receipts/<source key>.json`: an object is done. Written after all its outputs are committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The run.
    pub run: String,
    /// The object.
    #[serde(flatten)]
    pub object: ManifestEntry,
    /// What the outputs depend on.
    #[serde(flatten)]
    pub basis: Basis,
    /// From 1.
    pub attempt: u32,
    /// ISO-8601 UTC.
    pub finished: String,
    /// From opening the object to committing the last output.
    pub milliseconds: u64,
    /// What was written.
    pub outputs: Vec<ReceiptOutput>,
    /// Records.
    pub records: RecordCounts,
    /// Rejected records by reason.
    pub rejects: BTreeMap<String, u64>,
    /// Records by rule, of rules that took any.
    pub rules: BTreeMap<String, RuleTotals>,
    /// Bytes.
    pub bytes: ByteCounts,
    /// Compressed units of each layer (gzip members, zstd frames, zip entries), from the outside in.
    pub members: Vec<u64>,
}

/// One committed output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptOutput {
    /// Path within the results.
    pub path: String,
    /// Its table; `None` for rejects.
    pub table: Option<String>,
    /// Rows, without the header; for rejects, records.
    pub rows: u64,
    /// Compressed size.
    pub bytes: u64,
    /// The version that was committed, by which it is known again.
    pub etag: String,
}

/// Always: `read = rows + rejected + control + dropped`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordCounts {
    /// Seen.
    pub read: u64,
    /// Written as rows.
    pub rows: u64,
    /// Rejected.
    pub rejected: u64,
    /// Events of control envelopes.
    pub control: u64,
    /// Dropped by a rule.
    pub dropped: u64,
    /// Those of the rows in which invalid text was replaced.
    pub repaired: u64,
}

/// Bytes of objects and outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByteCounts {
    /// As stored.
    pub compressed_in: u64,
    /// As text.
    pub decoded_in: u64,
    /// Written, compressed.
    pub compressed_out: u64,
}

/// What one attempt at an object was.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    /// The run.
    pub run: &'a str,
    /// The object.
    pub object: &'a ManifestEntry,
    /// What its outputs depend on.
    pub basis: &'a Basis,
    /// From 1.
    pub number: u32,
    /// ISO-8601 UTC.
    pub finished: String,
    /// How long it took.
    pub milliseconds: u64,
    /// The queue's message that asked for it, if one did.
    pub message_id: Option<&'a str>,
}

impl Receipt {
    /// The receipt of an object whose outputs are committed.
    #[must_use]
    pub fn new(attempt: &Attempt<'_>, plan: &Plan, counts: &Counts, outputs: &[(Output, String)]) -> Self {
        let table = |output: &Output| output.table.map(|table| plan.config.tables[table].name.clone());
        Self {
            run: attempt.run.to_owned(),
            object: attempt.object.clone(),
            basis: attempt.basis.clone(),
            attempt: attempt.number,
            finished: attempt.finished.clone(),
            milliseconds: attempt.milliseconds,
            outputs: outputs
                .iter()
                .map(|(output, etag)| ReceiptOutput {
                    path: output.path.clone(),
                    table: table(output),
                    rows: output.rows,
                    bytes: output.bytes,
                    etag: etag.clone(),
                })
                .collect(),
            records: RecordCounts {
                read: counts.read,
                rows: counts.rows,
                rejected: counts.rejected,
                control: counts.control,
                dropped: counts.dropped,
                repaired: counts.repaired,
            },
            rejects: counts
                .rejects
                .iter()
                .map(|(reason, count)| (reason.as_str().to_owned(), *count))
                .collect(),
            rules: rule_totals::of_object(&plan.config, counts),
            bytes: ByteCounts {
                compressed_in: counts.compressed_in,
                decoded_in: counts.decoded_in,
                compressed_out: outputs.iter().map(|(output, _)| output.bytes).sum(),
            },
            members: counts.layers.iter().map(|layer| layer.iter().map(|count| count.units).sum()).collect(),
        }
    }

    /// Reads the receipt of an object in a run, if it proves that these bytes were processed on this basis and that the
    /// outputs are still there: another run may have replaced them.
    pub fn find(
        store: &impl Store,
        run: &str,
        object: &ManifestEntry,
        basis: &Basis,
    ) -> io::Result<Option<Self>> {
        Ok(Self::examine(store, run, object, basis)?.ok())
    }

    /// The same, or why there is no such receipt.
    pub fn examine(
        store: &impl Store,
        run: &str,
        object: &ManifestEntry,
        basis: &Basis,
    ) -> io::Result<Result<Self, Missing>> {
        let receipt: Option<Self> = read_json(store, &layout::receipt(run, &object.key))?;
        let Some(receipt) = receipt else { return Ok(Err(Missing::NoOutcome)) };
        if receipt.object != *object || receipt.basis != *basis || !receipt.adds_up() {
            return Ok(Err(Missing::OtherReceipt));
        }
        for output in &receipt.outputs {
            match store.etag(&output.path)? {
                Some(etag) if etag == output.etag => {}
                Some(_) => return Ok(Err(Missing::Replaced(output.path.clone()))),
                None => return Ok(Err(Missing::Removed(output.path.clone()))),
            }
        }
        Ok(Ok(receipt))
    }

    /// Whether its numbers agree with each other.
    fn adds_up(&self) -> bool {
        let RecordCounts { read, rows, rejected, control, dropped, repaired } = self.records;
        let written = |is_table: bool| {
            let outputs = self.outputs.iter().filter(|output| output.table.is_some() == is_table);
            sum(outputs.map(|output| output.rows))
        };
        Some(read) == sum([rows, rejected, control, dropped])
            && repaired <= rows
            && Some(rows) == written(true)
            && Some(rejected) == written(false)
            && Some(rejected) == sum(self.rejects.values().copied())
            && self.rules.len() <= MAX_RULES
            && Some(rows) == sum(self.rules.values().map(|rule| rule.rows))
            && sum(self.rules.values().map(RuleTotals::rejected)).is_some_and(|of_rules| of_rules <= rejected)
    }
}

/// `None` if it is more than can be counted.
fn sum(numbers: impl IntoIterator<Item = u64>) -> Option<u64> {
    numbers.into_iter().try_fold(0_u64, u64::checked_add)
}

/// `runs/<run>/failures/<source key>.json`: why an object failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The run.
    pub run: String,
    /// The object.
    #[serde(flatten)]
    pub object: ManifestEntry,
    /// What it was tried with.
    #[serde(flatten)]
    pub basis: Basis,
    /// What went wrong, and why, outermost first.
    pub errors: Vec<String>,
    /// Whether trying again can help.
    pub verdict: Verdict,
    /// How often it was tried.
    pub attempts: u32,
    /// ISO-8601 UTC, of the last attempt.
    pub finished: String,
    /// The queue's message that asked for the last attempt. One that is moved back from the dead letters is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Written before the attempt began, and replaced at its end: if it is there, the worker ended in the middle.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unfinished: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // as serde calls it
fn is_false(value: &bool) -> bool {
    !*value
}

impl Failure {
    /// From the error and its sources.
    #[must_use]
    pub fn new(attempt: &Attempt<'_>, error: &dyn std::error::Error, verdict: Verdict) -> Self {
        let errors =
            std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect();
        Self {
            run: attempt.run.to_owned(),
            object: attempt.object.clone(),
            basis: attempt.basis.clone(),
            errors,
            verdict,
            attempts: attempt.number,
            finished: attempt.finished.clone(),
            message_id: attempt.message_id.map(str::to_owned),
            unfinished: false,
        }
    }

    /// The failure of an object in a run, if it has one.
    pub fn find(store: &impl Store, run: &str, key: &str) -> io::Result<Option<Self>> {
        match read_json(store, &layout::failure(run, key))? {
            Some(failure) => Ok(Some(failure)),
            None => read_json(store, &layout::failure_by_hash(run, key)),
        }
    }

    /// Writes it. A key that cannot be a file name there still has a place, under its checksum.
    pub fn write(&self, store: &impl Store) -> io::Result<()> {
        match put_json(store, &layout::failure(&self.run, &self.object.key), self) {
            Err(error) if is_no_name(&error) => {
                put_json(store, &layout::failure_by_hash(&self.run, &self.object.key), self)
            }
            outcome => outcome,
        }
    }

    /// Removes it: the object is done now.
    pub fn remove(&self, store: &impl Store) -> io::Result<()> {
        match store.remove(&layout::failure(&self.run, &self.object.key)) {
            Err(error) if !is_no_name(&error) => Err(error),
            _ => store.remove(&layout::failure_by_hash(&self.run, &self.object.key)),
        }
    }

    /// All of it on one line.
    #[must_use]
    pub fn error(&self) -> String {
        self.errors.join(": ")
    }
}

/// Whether a store says that it cannot have a file of this name, whatever is in it.
fn is_no_name(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, InvalidFilename, InvalidInput, IsADirectory, NotADirectory};
    matches!(error.kind(), AlreadyExists | InvalidFilename | InvalidInput | IsADirectory | NotADirectory)
}
