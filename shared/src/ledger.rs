//! The ledger of a run: the manifest of listed objects, a receipt for each object that is done, a failure for each object
//! that failed, and the report that reconciles them. All files are plain JSON, so that Athena can query them.

mod arrivals;
mod examples;
mod files;
mod index;
mod live;
mod report;
mod rule_totals;
mod top_objects;
mod warnings;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub(crate) use examples::counts_by_rule_and_reason;
pub use examples::{RejectExample, ReportExample};
pub use files::{examine_json, examine_report, put_json, put_json_if_absent, read_json, read_report};
pub use index::{Destination, DocumentCounts, FieldNaming, IndexTarget, IndexedObject, Job};
pub use live::{EarlierRun, LiveBegin, LiveClosing, LiveCursor, LiveDay};
pub use report::{
    EarlierObjects, MAX_REPORT_FAILURES, Missing, Outcome, Report, ReportFailure, ReportState, no_objects,
};
pub use rule_totals::RuleTotals;
pub use top_objects::DoneObject;
pub use warnings::Warning;

use crate::{
    enrichment::FileDigest,
    error::{Verdict, causes},
    limits::{MAX_RECEIPT_EXAMPLES, MAX_RECEIPT_PERIODS, MAX_RULES},
    pipeline::{Counts, Output, RunConfig},
    store::{Store, StoreError},
    times::TimeCounts,
};
pub use crate::{layout, store::ManifestEntry};

/// `runs/<run>/run.json`: the prefix and the configuration of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The run's name.
    pub run: String,
    /// The fleet that processes its objects.
    pub fleet: String,
    /// Only keys that begin with it.
    pub prefix: String,
    /// What the run does with its objects.
    #[serde(default, skip_serializing_if = "Job::is_convert")]
    pub job: Job,
    /// The configuration and names of the run.
    #[serde(flatten)]
    pub fingerprint: Fingerprint,
    /// The enrichment files, in the order of the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub enrichment: Vec<FileDigest>,
    /// The version of Flowherd.
    pub version: String,
    /// ISO-8601 UTC.
    pub started: String,
    /// Time of the last resumption, ISO-8601 UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed: Option<String>,
    /// Earlier runs whose receipts count, latest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resumes: Vec<String>,
    /// The day of a live run; `None` for a run that lists a prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<LiveDay>,
    /// Whether names were wanted, but not read from AWS yet when the run began.
    #[serde(default, skip_serializing_if = "is_false")]
    pub lacks_names: bool,
    /// Totals of the manifest; `None` until the listing is complete.
    pub manifest: Option<ManifestTotals>,
}

/// Identifies configuration and names. Objects with the same bytes and the same fingerprint have the same outputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// SHA-256 of the configuration and its enrichment files, in hex.
    pub config_hash: String,
    /// SHA-256 of the names, in hex; empty without names.
    pub names_hash: String,
}

impl From<&RunConfig> for Fingerprint {
    fn from(run_config: &RunConfig) -> Self {
        let config_hash = run_config.config.hash_with(run_config.enrichment_files());
        Self { config_hash, names_hash: run_config.names().hash.clone() }
    }
}

/// `runs/<run>/purged.json`: another run purged the queue while this run had messages in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// The run that purged the queue.
    pub by: String,
    /// ISO-8601 UTC.
    pub at: String,
}

/// `runs/<run>/amended/<source key>.json`: an object failed permanently, was replaced, and was redriven. The run processes
/// its new version instead of the listed one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amendment {
    /// The version in the manifest.
    pub listed: ManifestEntry,
    /// The version that the run processes.
    pub now: ManifestEntry,
}

impl Amendment {
    /// Returns the version that replaces the listed one, if there is one.
    pub fn find(
        store: &impl Store,
        run: &str,
        listed: &ManifestEntry,
    ) -> Result<Option<ManifestEntry>, StoreError> {
        let amendment: Option<Self> = read_json(store, &layout::amendment(run, &listed.key))?;
        Ok(amendment.filter(|amendment| amendment.listed == *listed).map(|amendment| amendment.now))
    }

    /// Writes the amendment.
    pub fn write(&self, store: &impl Store, run: &str) -> Result<(), StoreError> {
        put_json(store, &layout::amendment(run, &self.listed.key), self)
    }
}

/// Totals of a complete manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestTotals {
    /// Files.
    pub parts: u64,
    /// Entries.
    pub objects: u64,
    /// Sum of the objects' sizes.
    pub bytes: u64,
    /// Objects that were not sent, because an earlier run has a receipt for them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub skipped: u64,
    /// Objects below the prefix of an index run that are not rows of its tables. They are not part of the run. A call that was
    /// repeated may not have counted all of them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub passed_over: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde passes a reference
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// `runs/<run>/receipts/<source key>.json`: an object is done. Written after all its outputs are committed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The run.
    pub run: String,
    /// The object.
    #[serde(flatten)]
    pub object: ManifestEntry,
    /// The configuration and names of the run.
    #[serde(flatten)]
    pub fingerprint: Fingerprint,
    /// Number of the attempt, from 1.
    pub attempt: u32,
    /// ISO-8601 UTC.
    pub finished: String,
    /// Time from opening the object to committing the last output.
    pub milliseconds: u64,
    /// The committed outputs.
    pub outputs: Vec<ReceiptOutput>,
    /// Records.
    pub records: RecordCounts,
    /// Documents; `None` in a run that converts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<DocumentCounts>,
    /// Rejected records by reason.
    pub rejects: BTreeMap<String, u64>,
    /// One rejected record for each rule and reason; at most [`MAX_RECEIPT_EXAMPLES`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<RejectExample>,
    /// Records by rule, of rules that took any.
    pub rules: BTreeMap<String, RuleTotals>,
    /// Rows by the hour of their timestamp; at most [`MAX_RECEIPT_PERIODS`] periods.
    pub times: TimeCounts,
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
    /// CRC-64/NVME of the compressed bytes, as S3 writes it: base64 of the big-endian number.
    pub crc64nvme: String,
    /// The version that was committed. The receipt counts only while the output has this version.
    pub etag: String,
}

/// Number of records by outcome. Always: `read = rows + rejected + control + dropped`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordCounts {
    /// Read.
    pub read: u64,
    /// Written as rows.
    pub rows: u64,
    /// Rejected.
    pub rejected: u64,
    /// Events of control envelopes.
    pub control: u64,
    /// Dropped by a rule.
    pub dropped: u64,
    /// Rows in which invalid text was replaced.
    pub repaired: u64,
    /// Rows with a name of another time, because none is known for their own.
    pub named_by_guess: u64,
}

/// Bytes of objects and outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByteCounts {
    /// Size of the object as stored.
    pub compressed_in: u64,
    /// Size of the decoded text.
    pub decoded_in: u64,
    /// Compressed size of the outputs.
    pub compressed_out: u64,
}

/// One attempt at an object.
#[derive(Clone, Debug)]
pub struct Attempt<'a> {
    /// The run.
    pub run: &'a str,
    /// The object.
    pub object: &'a ManifestEntry,
    /// The configuration and names of the run.
    pub fingerprint: &'a Fingerprint,
    /// Number of the attempt, from 1.
    pub number: u32,
    /// ISO-8601 UTC.
    pub finished: String,
    /// Duration of the attempt.
    pub milliseconds: u64,
    /// The id of the queue message; `None` without a queue.
    pub message_id: Option<&'a str>,
}

impl Receipt {
    /// Creates the receipt of an object whose outputs are committed.
    #[must_use]
    pub fn new(
        attempt: &Attempt<'_>,
        run_config: &RunConfig,
        counts: &Counts,
        outputs: &[(Output, String)],
    ) -> Self {
        let table = |output: &Output| output.table.map(|table| run_config.config.tables[table].name.clone());
        Self {
            run: attempt.run.to_owned(),
            object: attempt.object.clone(),
            fingerprint: attempt.fingerprint.clone(),
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
                    crc64nvme: output.crc64nvme.clone(),
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
                named_by_guess: counts.named_by_guess,
            },
            documents: None,
            rejects: counts
                .rejects
                .iter()
                .map(|(reason, count)| (reason.as_str().to_owned(), *count))
                .collect(),
            examples: examples::of_object(&run_config.config, counts),
            rules: rule_totals::of_object(&run_config.config, counts),
            times: counts.times.clone(),
            bytes: ByteCounts {
                compressed_in: counts.compressed_in,
                decoded_in: counts.decoded_in,
                compressed_out: outputs.iter().map(|(output, _)| output.bytes).sum(),
            },
            members: counts.layers.iter().map(|layer| layer.iter().map(|count| count.units).sum()).collect(),
        }
    }

    /// Reads the receipt of an object in a run. Returns it only if it is of these bytes and this fingerprint, and if its outputs
    /// still have the versions that it names: another run may have replaced them.
    pub fn find(
        store: &impl Store,
        run: &str,
        object: &ManifestEntry,
        fingerprint: &Fingerprint,
    ) -> Result<Option<Self>, StoreError> {
        Ok(Self::examine(store, run, object, fingerprint)?.ok())
    }

    /// Reads a receipt as [`Receipt::find`] does, or returns why no receipt counts.
    pub fn examine(
        store: &impl Store,
        run: &str,
        object: &ManifestEntry,
        fingerprint: &Fingerprint,
    ) -> Result<Result<Self, Missing>, StoreError> {
        let receipt = match Self::read(store, run, object, fingerprint)? {
            Ok(receipt) => receipt,
            Err(why) => return Ok(Err(why)),
        };
        for output in &receipt.outputs {
            match store.etag(&output.path)? {
                Some(etag) if etag == output.etag => {}
                Some(_) => return Ok(Err(Missing::Replaced(output.path.clone()))),
                None => return Ok(Err(Missing::Removed(output.path.clone()))),
            }
        }
        Ok(Ok(receipt))
    }

    /// Reads a receipt of this object and fingerprint whose numbers add up. Does not look at its outputs.
    pub fn read(
        store: &impl Store,
        run: &str,
        object: &ManifestEntry,
        fingerprint: &Fingerprint,
    ) -> Result<Result<Self, Missing>, StoreError> {
        let receipt: Self = match examine_json(store, &layout::receipt(run, &object.key))? {
            Some(Ok(receipt)) => receipt,
            Some(Err(why)) => return Ok(Err(Missing::DamagedReceipt(why))),
            None => return Ok(Err(Missing::NoOutcome)),
        };
        let counts = receipt.object == *object && receipt.fingerprint == *fingerprint && receipt.adds_up();
        Ok(if counts { Ok(receipt) } else { Err(Missing::OtherReceipt) })
    }

    /// Returns whether the numbers agree with each other. A receipt whose numbers do not proves nothing.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        if let Some(documents) = &self.documents {
            return self.documents_add_up(documents);
        }
        let RecordCounts { read, rows, rejected, control, dropped, repaired, named_by_guess } = self.records;
        let written = |is_table: bool| {
            let outputs = self.outputs.iter().filter(|output| output.table.is_some() == is_table);
            sum(outputs.map(|output| output.rows))
        };
        Some(read) == sum([rows, rejected, control, dropped])
            && repaired <= rows
            && named_by_guess <= rows
            && Some(rows) == written(true)
            && Some(rejected) == written(false)
            && Some(rejected) == sum(self.rejects.values().copied())
            && self.examples.len() <= MAX_RECEIPT_EXAMPLES
            && self.times.number_of_periods() <= MAX_RECEIPT_PERIODS
            && Some(rows) == self.times.total()
            && self.rules.len() <= MAX_RULES
            && Some(rows) == sum(self.rules.values().map(|rule| rule.rows))
            && Some(dropped) == sum(self.rules.values().map(|rule| rule.dropped))
            && sum(self.rules.values().map(RuleTotals::rejected)).is_some_and(|of_rules| of_rules <= rejected)
    }
}

/// Adds a number of a ledger file. It saturates, because the file may be forged.
fn add(sum: &mut u64, number: u64) {
    *sum = sum.saturating_add(number);
}

/// Returns `None` on overflow.
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
    /// The configuration and names of the run.
    #[serde(flatten)]
    pub fingerprint: Fingerprint,
    /// The error and its causes, outermost first.
    pub errors: Vec<String>,
    /// Whether another attempt can succeed.
    pub verdict: Verdict,
    /// Number of attempts.
    pub attempts: u32,
    /// End of the last attempt, ISO-8601 UTC.
    pub finished: String,
    /// The id of the queue message of the last attempt. A redriven message has a new id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// The worker wrote this failure before the attempt and replaces it at the end. If it is still set, the attempt did not end.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unfinished: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde passes a reference
fn is_false(value: &bool) -> bool {
    !*value
}

impl Failure {
    /// Creates a failure from an error and its causes.
    #[must_use]
    pub fn new(attempt: &Attempt<'_>, error: &dyn std::error::Error, verdict: Verdict) -> Self {
        Self {
            run: attempt.run.to_owned(),
            object: attempt.object.clone(),
            fingerprint: attempt.fingerprint.clone(),
            errors: causes(error),
            verdict,
            attempts: attempt.number,
            finished: attempt.finished.clone(),
            message_id: attempt.message_id.map(str::to_owned),
            unfinished: false,
        }
    }

    /// Reads the failure of an object in a run; `None` if it has none.
    pub fn find(store: &impl Store, run: &str, key: &str) -> Result<Option<Self>, StoreError> {
        match read_json(store, &layout::failure(run, key))? {
            Some(failure) => Ok(Some(failure)),
            None => read_json(store, &layout::failure_by_hash(run, key)),
        }
    }

    /// Writes the failure. If the store cannot have a file with the object's key, the path has a hash of the key instead.
    pub fn write(&self, store: &impl Store) -> Result<(), StoreError> {
        match put_json(store, &layout::failure(&self.run, &self.object.key), self) {
            Err(StoreError::InvalidKey(_)) => {
                put_json(store, &layout::failure_by_hash(&self.run, &self.object.key), self)
            }
            outcome => outcome,
        }
    }

    /// Removes the failure, because the object is done.
    pub fn remove(&self, store: &impl Store) -> Result<(), StoreError> {
        match store.remove(&layout::failure(&self.run, &self.object.key)) {
            Ok(()) | Err(StoreError::InvalidKey(_)) => {
                store.remove(&layout::failure_by_hash(&self.run, &self.object.key))
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the error and its causes on one line.
    #[must_use]
    pub fn error(&self) -> String {
        self.errors.join(": ")
    }
}
