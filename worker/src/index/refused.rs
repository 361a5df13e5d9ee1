//! The rows of an object that the cluster refused, as JSON lines like those of rejected records.

use std::{collections::BTreeMap, io};

use flowherd_deflate::Deflater;
use flowherd_shared::{
    ledger::{ReceiptOutput, RejectExample},
    limits::{MAX_EXAMPLE_CHARS, MAX_RECEIPT_EXAMPLES},
    pipeline::gzip::GzipWriter,
    store::{Sink, Store, StoreError},
};
use serde_json::json;

/// Maximum reasons that a receipt counts apart. The cluster chooses their names.
const MAX_REASONS: usize = 20;
/// The reason of all further ones.
const OTHER: &str = "other";

/// A row that is not in the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedRow {
    /// The number of the row in the object, from 0.
    pub record: u64,
    /// The cluster's error type, such as `mapper_parsing_exception`.
    pub reason: String,
    /// The cluster's reason in words.
    pub detail: String,
    /// The document as JSON.
    pub document: Vec<u8>,
}

/// The file of the refused rows of one object. It is created for the first row.
pub(super) struct RefusedFile<'a, O: Store> {
    store: &'a O,
    path: String,
    key: &'a str,
    gzip: Option<GzipWriter<O::Sink>>,
    deflater: Deflater,
    rows: u64,
    reasons: BTreeMap<String, u64>,
    examples: Vec<RejectExample>,
}

/// The published file, the rows by reason, and an example of each reason.
type Published = (Option<ReceiptOutput>, BTreeMap<String, u64>, Vec<RejectExample>);

impl<'a, O: Store> RefusedFile<'a, O> {
    pub(super) fn new(store: &'a O, path: String, key: &'a str) -> Self {
        let (gzip, reasons, examples) = (None, BTreeMap::new(), Vec::new());
        Self { store, path, key, gzip, deflater: Deflater::default(), rows: 0, reasons, examples }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn add(&mut self, row: &RefusedRow) -> io::Result<()> {
        let document = String::from_utf8_lossy(&row.document);
        self.count(row, &document);
        let line = json!({
            "object": self.key,
            "record": row.record,
            "timestamp": null,
            "log_group": null,
            "log_stream": null,
            "reason": row.reason,
            "detail": row.detail,
            "message": document,
        });
        let gzip = match &mut self.gzip {
            Some(gzip) => gzip,
            gzip => gzip.insert(GzipWriter::new(self.store.create(&self.path)?)),
        };
        gzip.text().extend_from_slice(line.to_string().as_bytes());
        gzip.text().push(b'\n');
        gzip.settle(&mut self.deflater)
    }

    fn count(&mut self, row: &RefusedRow, document: &str) {
        self.rows += 1;
        let is_known = self.reasons.contains_key(&row.reason);
        let reason = if is_known || self.reasons.len() < MAX_REASONS { &*row.reason } else { OTHER };
        let count = self.reasons.entry(reason.to_owned()).or_default();
        *count += 1;
        if *count == 1 && self.examples.len() < MAX_RECEIPT_EXAMPLES {
            let message = format!("{}: {document}", row.detail).chars().take(MAX_EXAMPLE_CHARS).collect();
            let reason = reason.to_owned();
            self.examples.push(RejectExample { rule: None, reason, record: row.record, message });
        }
    }

    /// Publishes the file, if there is one.
    pub(super) fn publish(mut self) -> Result<Published, StoreError> {
        let Some(gzip) = self.gzip.take() else { return Ok((None, self.reasons, self.examples)) };
        let (sink, bytes, crc64nvme) = gzip.finish(&mut self.deflater)?;
        let etag = sink.commit()?;
        let output = ReceiptOutput { path: self.path, table: None, rows: self.rows, bytes, crc64nvme, etag };
        Ok((Some(output), self.reasons, self.examples))
    }
}
