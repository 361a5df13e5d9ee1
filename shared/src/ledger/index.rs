//! Index runs: where the documents of a run go, and how many of them each object has.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    Attempt, ByteCounts, Fingerprint, Receipt, ReceiptOutput, RecordCounts, RejectExample, add, is_zero, sum,
};
use crate::{config::Config, limits::MAX_RECEIPT_EXAMPLES, text::hex, times::TimeCounts};

/// What a run does with its objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Job {
    /// Converts the objects of the source bucket to CSV.
    #[default]
    Convert,
    /// Sends the rows of the results bucket to a search cluster.
    Index(IndexTarget),
}

impl Job {
    /// Returns whether the run converts objects.
    #[must_use]
    pub fn is_convert(&self) -> bool {
        *self == Self::Convert
    }

    /// Returns where the documents of an index run go; `None` for a run that converts.
    #[must_use]
    pub fn target(&self) -> Option<&IndexTarget> {
        match self {
            Self::Convert => None,
            Self::Index(target) => Some(target),
        }
    }
}

/// Where the documents of an index run go, and the names of their fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexTarget {
    /// The index of each document.
    #[serde(flatten)]
    pub destination: Destination,
    /// The names of the fields.
    pub naming: FieldNaming,
}

/// The index of each document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Destination {
    /// An index whose name has the table and the time of the row, such as `flowherd-{table}-{yyyy.MM.dd}`.
    Pattern(String),
    /// A data stream, whose name may have the table: `flowherd-{table}`.
    DataStream(String),
    /// One index for all rows of the run.
    To(String),
}

/// The names of the fields of documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FieldNaming {
    /// Those of the columns.
    #[default]
    Columns,
    /// Those of the Elastic Common Schema, where it has the field.
    Ecs,
}

impl Fingerprint {
    /// Returns the fingerprint of an index run. A receipt for another target proves nothing about this one.
    #[must_use]
    pub fn of_index(config: &Config, target: &IndexTarget) -> Self {
        let IndexTarget { destination, naming } = target;
        let (kind, name) = match destination {
            Destination::Pattern(name) => ("pattern", name),
            Destination::DataStream(name) => ("data-stream", name),
            Destination::To(name) => ("to", name),
        };
        let naming = match naming {
            FieldNaming::Columns => "columns",
            FieldNaming::Ecs => "ecs",
        };
        let parts = [&config.hash_with(&[]), "index", kind, name, naming];
        Self { config_hash: hex(&Sha256::digest(parts.join("\n"))), names_hash: String::new() }
    }
}

/// The documents of an object or of a run. Always: `rows = indexed + existing + refused`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentCounts {
    /// Rows of the CSV.
    pub rows: u64,
    /// Documents that the last attempt created.
    pub indexed: u64,
    /// Documents that were in the cluster before.
    pub existing: u64,
    /// Rows that the cluster refused. They are in `rejects/`.
    pub refused: u64,
}

impl DocumentCounts {
    /// Returns whether every row has an outcome.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        Some(self.rows) == sum([self.indexed, self.existing, self.refused])
    }

    /// Adds the documents of an object.
    pub(super) fn add(&mut self, other: &Self) {
        add(&mut self.rows, other.rows);
        add(&mut self.indexed, other.indexed);
        add(&mut self.existing, other.existing);
        add(&mut self.refused, other.refused);
    }
}

/// The result for an object whose rows are in the cluster or in `rejects/`.
#[derive(Clone, Debug, Default)]
pub struct IndexedObject {
    /// Its documents.
    pub documents: DocumentCounts,
    /// The file of the refused rows; `None` without any.
    pub refused: Option<ReceiptOutput>,
    /// Refused rows by the reason that the cluster gave.
    pub reasons: BTreeMap<String, u64>,
    /// One refused row for each reason.
    pub examples: Vec<RejectExample>,
    /// Bytes of the CSV, compressed and decoded.
    pub bytes: ByteCounts,
}

impl Receipt {
    /// Creates the receipt of an object whose rows were sent.
    #[must_use]
    pub fn of_index(attempt: &Attempt<'_>, indexed: IndexedObject) -> Self {
        let IndexedObject { documents, refused, reasons, mut examples, bytes } = indexed;
        examples.truncate(MAX_RECEIPT_EXAMPLES);
        Self {
            run: attempt.run.to_owned(),
            object: attempt.object.clone(),
            fingerprint: attempt.fingerprint.clone(),
            attempt: attempt.number,
            finished: attempt.finished.clone(),
            milliseconds: attempt.milliseconds,
            outputs: refused.into_iter().collect(),
            records: RecordCounts {
                read: documents.rows,
                rows: documents.rows.saturating_sub(documents.refused),
                rejected: documents.refused,
                ..RecordCounts::default()
            },
            documents: Some(documents),
            rejects: reasons,
            examples,
            rules: BTreeMap::new(),
            times: TimeCounts::default(),
            bytes,
            members: Vec::new(),
        }
    }

    /// Returns whether the documents agree with the other numbers. In an index run, a row is a document of the cluster.
    pub(super) fn documents_add_up(&self, documents: &DocumentCounts) -> bool {
        let RecordCounts { read, rows, rejected, control, dropped, repaired, named_by_guess } = self.records;
        documents.adds_up()
            && documents.rows == read
            && documents.refused == rejected
            && Some(rows) == sum([documents.indexed, documents.existing])
            && [control, dropped, repaired, named_by_guess].iter().all(is_zero)
            && Some(rejected) == sum(self.outputs.iter().map(|output| output.rows))
            && self.outputs.iter().all(|output| output.table.is_none())
            && Some(rejected) == sum(self.rejects.values().copied())
            && self.examples.len() <= MAX_RECEIPT_EXAMPLES
            && self.times.is_empty()
            && self.rules.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{ManifestEntry, Run};

    fn target(destination: Destination) -> IndexTarget {
        IndexTarget { destination, naming: FieldNaming::Columns }
    }

    fn receipt(documents: DocumentCounts) -> Receipt {
        let object = ManifestEntry { key: "csv/t/k.csv.gz".to_owned(), size: 1, etag: "e".to_owned() };
        let fingerprint = Fingerprint::of_index(&Config::default(), &target(Destination::To("x".to_owned())));
        let attempt = Attempt {
            run: "r",
            object: &object,
            fingerprint: &fingerprint,
            number: 1,
            finished: String::new(),
            milliseconds: 1,
            message_id: None,
        };
        let file = ReceiptOutput {
            path: "rejects/r/csv/t/k.csv.gz.jsonl.gz".to_owned(),
            table: None,
            rows: documents.refused,
            bytes: 1,
            crc64nvme: String::new(),
            etag: "e".to_owned(),
        };
        let reasons = BTreeMap::from([("mapper_parsing_exception".to_owned(), documents.refused)]);
        let is_refused = documents.refused > 0;
        let indexed = IndexedObject {
            documents,
            refused: is_refused.then_some(file),
            reasons: if is_refused { reasons } else { BTreeMap::new() },
            ..IndexedObject::default()
        };
        Receipt::of_index(&attempt, indexed)
    }

    #[test]
    fn a_run_of_the_ledger_converts_unless_it_names_a_target() {
        let text = |job: &str| {
            format!(
                r#"{{"run":"r","fleet":"f","prefix":"csv/",{job}"config_hash":"","names_hash":"","version":"","started":"","manifest":null}}"#
            )
        };
        let run = |job: &str| serde_json::from_str::<Run>(&text(job)).unwrap();
        assert_eq!(run("").job, Job::Convert);
        assert!(!serde_json::to_string(&run("")).unwrap().contains("job"));
        let named = run(r#""job":{"index":{"pattern":"f-{table}","naming":"ecs"}},"#);
        let expected = IndexTarget {
            destination: Destination::Pattern("f-{table}".to_owned()),
            naming: FieldNaming::Ecs,
        };
        assert_eq!(named.job.target(), Some(&expected));
        let again: Run = serde_json::from_str(&serde_json::to_string(&named).unwrap()).unwrap();
        assert_eq!(again, named);
    }

    #[test]
    fn each_target_has_a_fingerprint_of_its_own() {
        let of = |target: &IndexTarget| Fingerprint::of_index(&Config::default(), target).config_hash;
        let name = || "flowherd".to_owned();
        let mut hashes: Vec<String> =
            [Destination::Pattern(name()), Destination::DataStream(name()), Destination::To(name())]
                .into_iter()
                .flat_map(|destination| {
                    [FieldNaming::Columns, FieldNaming::Ecs]
                        .map(|naming| IndexTarget { destination: destination.clone(), naming })
                })
                .map(|target| of(&target))
                .chain([Config::default().hash_with(&[])])
                .collect();
        hashes.sort();
        hashes.dedup();
        assert_eq!(hashes.len(), 7);
    }

    #[test]
    fn a_receipt_counts_only_if_rows_are_indexed_existing_or_refused() {
        let good = DocumentCounts { rows: 10, indexed: 6, existing: 3, refused: 1 };
        assert!(receipt(good).adds_up());
        assert!(receipt(DocumentCounts::default()).adds_up());
        for bad in [
            DocumentCounts { rows: 11, ..good },
            DocumentCounts { indexed: 5, ..good },
            DocumentCounts { existing: u64::MAX, ..good },
        ] {
            assert!(!receipt(bad).adds_up(), "{bad:?}");
        }
        let wrong: [fn(&mut Receipt); 6] = [
            |receipt| receipt.records.read += 1,
            |receipt| receipt.records.rows -= 1,
            |receipt| receipt.records.control = 1,
            |receipt| receipt.rejects.clear(),
            |receipt| receipt.outputs.clear(),
            |receipt| receipt.outputs[0].table = Some("t".to_owned()),
        ];
        for (number, change) in wrong.into_iter().enumerate() {
            let mut changed = receipt(good);
            change(&mut changed);
            assert!(!changed.adds_up(), "change {number}");
        }
    }
}
