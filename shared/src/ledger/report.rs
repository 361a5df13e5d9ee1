//! `runs/<run>/report.json`: the manifest of a run compared with its receipts and failures.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    ByteCounts, DocumentCounts, DoneObject, Failure, ManifestEntry, Purged, Receipt, RecordCounts,
    ReportExample, RuleTotals, Run, add, arrivals, examples, top_objects,
    warnings::{Findings, Warning},
};
use crate::{
    limits::{MAX_REPORT_PERIODS, MAX_RULES},
    times::{PeriodUnit, TimeCounts},
};

/// Maximum failures in a report. `runs/<run>/failures/` has all of them.
pub const MAX_REPORT_FAILURES: usize = 1000;
/// Maximum earlier runs in a report.
const MAX_EARLIER_RUNS: usize = 100;

/// The reconciliation of a run. Always: `listed = done + failed + skipped + missing`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The run's name.
    pub run: String,
    /// The run's fleet.
    pub fleet: String,
    /// Only keys that begin with it.
    pub prefix: String,
    /// ISO-8601 UTC.
    pub started: String,
    /// ISO-8601 UTC.
    pub finished: String,
    /// The state of the run.
    pub state: ReportState,
    /// Objects.
    pub objects: ObjectCounts,
    /// Who has done the skipped objects: earlier runs with the configuration of each. At most `MAX_EARLIER_RUNS`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub earlier: BTreeMap<String, EarlierObjects>,
    /// Records of the objects that are done.
    pub records: RecordCounts,
    /// Documents of the objects that are done; `None` for a run that converts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub documents: Option<DocumentCounts>,
    /// Bytes of the objects that are done.
    pub bytes: ByteCounts,
    /// Rows by table.
    pub tables: BTreeMap<String, u64>,
    /// Rejected records by reason.
    pub rejects: BTreeMap<String, u64>,
    /// One rejected record for each rule and reason, sorted by them; at most
    /// [`MAX_REPORT_EXAMPLES`](crate::limits::MAX_REPORT_EXAMPLES).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub examples: Vec<ReportExample>,
    /// Records by rule.
    pub rules: BTreeMap<String, RuleTotals>,
    /// Rows by the hour of their timestamp; at most [`MAX_REPORT_PERIODS`] periods.
    pub times: TimeCounts,
    /// Listed objects by the hour in their key, in which they were delivered.
    pub arrivals: TimeCounts,
    /// Listed objects whose key has only a day.
    pub arrivals_by_day: TimeCounts,
    /// The objects that took the longest; at most [`MAX_TOP_OBJECTS`](crate::limits::MAX_TOP_OBJECTS).
    pub slowest: Vec<DoneObject>,
    /// The objects with the most compressed bytes, as many.
    pub largest: Vec<DoneObject>,
    /// Conditions that need attention but are no failures. Set by [`Report::finish`].
    pub warnings: Vec<Warning>,
    /// The basis of `warnings`; empty in a finished report.
    #[serde(default, skip_serializing_if = "Findings::is_empty")]
    findings: Findings,
    /// Failed objects, sorted by key; at most [`MAX_REPORT_FAILURES`].
    pub failures: Vec<ReportFailure>,
    /// Prefixes of a live run that were not listed, because the fleet has lost them and access was denied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unlisted: Vec<String>,
    /// Set if another run purged the queue while this one had messages in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purged: Option<Purged>,
}

/// Skipped objects that an earlier run has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierObjects {
    /// SHA-256 of its configuration, in hex.
    pub config_hash: String,
    /// Objects of the manifest.
    pub objects: u64,
}

/// The state of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReportState {
    /// No object is missing, and none failed.
    Done,
    /// No object is missing, and at least one failed.
    Failed,
    /// Objects are missing: the run is in progress, or was stopped.
    Incomplete,
}

/// Objects by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectCounts {
    /// In the manifest.
    pub listed: u64,
    /// With a receipt of this run.
    pub done: u64,
    /// With a failure.
    pub failed: u64,
    /// Done by an earlier run that this run resumes.
    pub skipped: u64,
    /// Without a receipt or failure that counts.
    pub missing: u64,
}

/// One failed object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportFailure {
    /// The object.
    pub key: String,
    /// The error chain on one line.
    pub error: String,
}

/// The outcome of one object of the manifest.
#[derive(Debug)]
pub enum Outcome {
    /// A receipt proves that it is done.
    Done(Box<Receipt>),
    /// It failed.
    Failed(Failure),
    /// The receipt of this earlier run covers it.
    Skipped(String),
    /// It has neither.
    Missing(Missing),
}

/// Why an object is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It has neither a receipt nor a failure.
    NoOutcome,
    /// Its receipt is for other bytes, rules or names, or its counts are inconsistent.
    OtherReceipt,
    /// Its receipt cannot be used, for this reason: it does not parse or is too large.
    DamagedReceipt(String),
    /// Its receipt is valid, but this output was replaced since.
    Replaced(String),
    /// Its receipt is valid, but this output was removed since.
    Removed(String),
}

impl Report {
    /// Returns a report without objects.
    #[must_use]
    pub fn new(run: &Run) -> Self {
        Self {
            run: run.run.clone(),
            fleet: run.fleet.clone(),
            prefix: run.prefix.clone(),
            started: run.started.clone(),
            finished: String::new(),
            state: ReportState::Incomplete,
            objects: ObjectCounts::default(),
            earlier: earlier(run),
            records: RecordCounts::default(),
            documents: run.job.target().map(|_| DocumentCounts::default()),
            bytes: ByteCounts::default(),
            tables: BTreeMap::new(),
            rejects: BTreeMap::new(),
            examples: Vec::new(),
            rules: BTreeMap::new(),
            times: TimeCounts::default(),
            arrivals: TimeCounts::default(),
            arrivals_by_day: TimeCounts::default(),
            slowest: Vec::new(),
            largest: Vec::new(),
            warnings: Vec::new(),
            findings: Findings::new(run),
            failures: Vec::new(),
            unlisted: Vec::new(),
            purged: None,
        }
    }

    /// Adds an object of the manifest.
    pub fn add(&mut self, entry: &ManifestEntry, outcome: Outcome) {
        self.objects.listed += 1;
        match arrivals::period_of(&entry.key) {
            // Apart, because one such key would turn the hours of all others into days.
            Some(day) if day.unit > PeriodUnit::Hour => {
                self.arrivals_by_day.add_period(day, 1, MAX_REPORT_PERIODS);
            }
            Some(hour) => self.arrivals.add_period(hour, 1, MAX_REPORT_PERIODS),
            None => self.arrivals.add_without(1),
        }
        match outcome {
            Outcome::Done(receipt) => self.done(entry, &receipt),
            Outcome::Failed(failure) => self.fail(&entry.key, failure.error()),
            Outcome::Skipped(run) => {
                self.objects.skipped += 1;
                if let Some(earlier) = self.earlier.get_mut(&run) {
                    earlier.objects += 1;
                }
            }
            Outcome::Missing(_) => self.objects.missing += 1,
        }
    }

    /// Sets state and warnings. `manifest_is_complete` means that every object of the prefix was listed and added.
    pub fn finish(&mut self, finished: String, manifest_is_complete: bool) {
        self.finished = finished;
        let is_listed = manifest_is_complete && self.unlisted.is_empty();
        self.state = if !is_listed || self.objects.missing > 0 {
            ReportState::Incomplete
        } else if self.objects.failed > 0 {
            ReportState::Failed
        } else {
            ReportState::Done
        };
        self.earlier.retain(|_, earlier| earlier.objects > 0);
        let findings = std::mem::take(&mut self.findings);
        self.warnings = findings.warnings(&self.rules, &self.rejects, self.records.rows);
        self.failures.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    }

    /// Returns the message of a run without objects; `None` if objects were listed. See [`no_objects`].
    #[must_use]
    pub fn no_objects(&self, source: &str) -> Option<String> {
        self.has_no_objects().then(|| no_objects(source, &self.prefix))
    }

    /// Returns whether the run needs attention although nothing failed: it has warnings, or no object was listed.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        !self.warnings.is_empty() || self.has_no_objects()
    }

    /// A run whose listing is not complete has no manifest to count, although it may have sent objects.
    fn has_no_objects(&self) -> bool {
        self.objects.listed == 0 && self.state != ReportState::Incomplete
    }

    fn done(&mut self, entry: &ManifestEntry, receipt: &Receipt) {
        self.findings.add(entry, receipt);
        examples::add(&mut self.examples, &entry.key, &receipt.examples);
        self.times.add(&receipt.times, MAX_REPORT_PERIODS);
        let object = DoneObject::new(&entry.key, receipt);
        top_objects::add(&mut self.slowest, &object, |object| object.milliseconds);
        top_objects::add(&mut self.largest, &object, |object| object.compressed_in);
        self.objects.done += 1;
        let (records, bytes) = (&mut self.records, &mut self.bytes);
        add(&mut records.read, receipt.records.read);
        add(&mut records.rows, receipt.records.rows);
        add(&mut records.rejected, receipt.records.rejected);
        add(&mut records.control, receipt.records.control);
        add(&mut records.dropped, receipt.records.dropped);
        add(&mut records.repaired, receipt.records.repaired);
        add(&mut records.named_by_guess, receipt.records.named_by_guess);
        add(&mut bytes.compressed_in, receipt.bytes.compressed_in);
        add(&mut bytes.decoded_in, receipt.bytes.decoded_in);
        add(&mut bytes.compressed_out, receipt.bytes.compressed_out);
        if let (Some(sum), Some(documents)) = (&mut self.documents, &receipt.documents) {
            sum.add(documents);
        }
        for output in &receipt.outputs {
            if let Some(table) = &output.table {
                add(self.tables.entry(table.clone()).or_default(), output.rows);
            }
        }
        for (reason, count) in &receipt.rejects {
            add(self.rejects.entry(reason.clone()).or_default(), *count);
        }
        for (rule, totals) in &receipt.rules {
            // A ledger with more rules was not written by Flowherd.
            if self.rules.len() < MAX_RULES || self.rules.contains_key(rule) {
                self.rules.entry(rule.clone()).or_default().add(totals);
            }
        }
    }

    fn fail(&mut self, key: &str, error: String) {
        self.objects.failed += 1;
        if self.failures.len() < MAX_REPORT_FAILURES {
            self.failures.push(ReportFailure { key: key.to_owned(), error });
        }
    }
}

/// Returns the message for a listing without objects. `source` is the directory or the bucket, `s3://BUCKET`.
#[must_use]
pub fn no_objects(source: &str, prefix: &str) -> String {
    let with = if prefix.is_empty() { String::new() } else { format!(" with prefix {prefix:?}") };
    format!(
        "no objects in {source}{with}. Check its name and the prefix: case matters, and keys have no leading \"/\""
    )
}

fn earlier(run: &Run) -> BTreeMap<String, EarlierObjects> {
    let objects = |config_hash: &str| EarlierObjects { config_hash: config_hash.to_owned(), objects: 0 };
    let runs = run.earlier().take(MAX_EARLIER_RUNS);
    runs.map(|(run, fingerprint)| (run.to_owned(), objects(&fingerprint.config_hash))).collect()
}
