//! The only place that knows the order of the stages:
//! object ▶ [`layers`] ▶ [`records`] ▶ [`rules`] ▶ [`enrich`] ▶ [`csv`] ▶ [`gzip`] ▶ outputs.

pub(crate) mod address;
mod bytes;
pub mod csv;
mod deflate;
pub mod enrich;
pub mod gzip;
mod json_text;
pub mod layers;
pub mod records;
mod rejects;
pub mod rules;

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
};

use self::{
    csv::CsvRows,
    enrich::{Enricher, Names},
    gzip::{Deflater, GzipWriter},
    layers::{LayerCount, Layers},
    records::{Items, Record, Records},
    rules::{Parsed, Row, Rules},
};
use crate::{
    config::Config,
    error::{ObjectError, Reason},
    layout,
    lookups::Lookups,
};

/// What every object of a run is processed with.
#[derive(Debug, Default)]
pub struct Plan {
    /// Rules, tables and limits.
    pub config: Config,
    /// Names.
    pub lookups: Lookups,
}

/// What came of an object whose bytes were read to their end. Nothing is published until its sinks are committed.
#[derive(Debug)]
pub struct Finished<W> {
    /// What was counted.
    pub counts: Counts,
    /// What was written, with where it went.
    pub outputs: Vec<(Output, W)>,
}

/// One file written for an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Path within the results.
    pub path: String,
    /// Position of its table in the configuration; `None` for rejects.
    pub table: Option<usize>,
    /// Rows, without the header; for rejects, records.
    pub rows: u64,
    /// Compressed size.
    pub bytes: u64,
}

/// What an object held. Always: `read = rows + rejected + control + dropped`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records seen.
    pub read: u64,
    /// Records written as rows.
    pub rows: u64,
    /// Records rejected.
    pub rejected: u64,
    /// Events of control envelopes.
    pub control: u64,
    /// Records that a rule drops.
    pub dropped: u64,
    /// Rows in which invalid text was replaced.
    pub repaired: u64,
    /// Rejected records by reason.
    pub rejects: BTreeMap<Reason, u64>,
    /// Bytes of the rejects, before compression.
    pub reject_bytes: u64,
    /// Rows by position of the rule in the configuration.
    pub rows_of_rule: Vec<u64>,
    /// Bytes of the object.
    pub compressed_in: u64,
    /// Bytes of its text.
    pub decoded_in: u64,
    /// Members, frames, streams, chunks, blocks or entries of each layer, from the outside in.
    pub layers: Vec<Vec<LayerCount>>,
    /// The items of its text.
    pub items: Items,
}

/// Reads one source object and writes its outputs, each into a sink that `create` opens for its path. On an error
/// nothing may be published: the sinks are dropped.
pub fn run<R: Read, W: Write>(
    object: R,
    key: &str,
    plan: &Plan,
    create: impl FnMut(&str) -> io::Result<W>,
) -> Result<Finished<W>, ObjectError> {
    let config = &plan.config;
    let mut records = Records::new(Layers::open(object, config.limits)?, config.limits);
    let mut rules = Rules::new(config, key);
    let mut enricher = Enricher::new(&plan.lookups, config.guard_formulas);
    let mut outputs = Outputs::new(config, key, create);
    let mut counts = Counts { rows_of_rule: vec![0; config.rules.len()], ..Counts::default() };
    let mut header_seen = false;

    while let Some(record) = records.next()? {
        if record.is_control() {
            counts.read += 1;
            counts.control += 1;
            continue;
        }
        let first = counts.read == 0 && !header_seen;
        match rules.parse(&record, first)? {
            Parsed::Header { table } => {
                header_seen = true;
                outputs.table(table)?;
                continue;
            }
            Parsed::Row(row) => {
                outputs.row(&row, &enricher.names(&row))?;
                counts.rows += 1;
                counts.repaired += u64::from(row.repaired);
                counts.rows_of_rule[row.rule.number] += 1;
            }
            Parsed::Reject { reason, table } => {
                if let Some(table) = table {
                    outputs.table(table)?;
                }
                outputs.reject(counts.read, &record, reason)?;
                counts.reject(reason);
                if let Some((limit, max)) = outputs.exceeded() {
                    // Nothing of the object will be published.
                    drop(outputs);
                    counts.read += 1;
                    return Err(too_many_rejects(records, rules, counts, limit, max));
                }
            }
        }
        counts.read += 1;
    }
    if outputs.is_empty()
        && let Some(table) = rules.table_of_empty_object()
    {
        outputs.table(table)?;
    }
    counts.reject_bytes = outputs.rejects.as_ref().map_or(0, |file| file.bytes);
    counts.compressed_in = records.layers().compressed_bytes();
    counts.decoded_in = records.decoded_bytes();
    counts.layers = records.layers().counts();
    counts.items = records.items();
    Ok(Finished { counts, outputs: outputs.finish()? })
}

impl Counts {
    fn reject(&mut self, reason: Reason) {
        self.rejected += 1;
        *self.rejects.entry(reason).or_default() += 1;
    }
}

/// Counts the rest of an object that has too many rejects, so that the error tells a rule that fits nothing from a log
/// with much noise in it. What is wrong with the object itself says more.
fn too_many_rejects<R: Read>(
    mut records: Records<R>,
    mut rules: Rules<'_>,
    mut counts: Counts,
    limit: &'static str,
    max: u64,
) -> ObjectError {
    loop {
        let record = match records.next() {
            Ok(Some(record)) => record,
            Ok(None) => break,
            Err(error) => return error,
        };
        if !record.is_control() {
            match rules.parse(&record, false) {
                Ok(Parsed::Row(_)) => {}
                Ok(Parsed::Header { .. }) => continue,
                Ok(Parsed::Reject { reason, .. }) => counts.reject(reason),
                Err(error) => return error,
            }
        }
        counts.read += 1;
    }
    let most = counts.rejects.iter().max_by_key(|(_, count)| **count).map(|(reason, _)| *reason);
    let most = most.unwrap_or(Reason::NoRule);
    ObjectError::TooManyRejects { rejected: counts.rejected, read: counts.read, most, limit, max }
}

/// The files of one object, opened when the first record asks for them.
struct Outputs<'a, W, C> {
    config: &'a Config,
    key: &'a str,
    create: C,
    tables: Vec<Option<TableFile<'a, W>>>,
    rejects: Option<RejectFile<W>>,
    deflater: Deflater,
}

struct TableFile<'a, W> {
    path: String,
    csv: CsvRows<'a>,
    gzip: GzipWriter<W>,
    rows: u64,
}

struct RejectFile<W> {
    path: String,
    gzip: GzipWriter<W>,
    records: u64,
    /// Before compression.
    bytes: u64,
}

impl<'a, W: Write, C: FnMut(&str) -> io::Result<W>> Outputs<'a, W, C> {
    fn new(config: &'a Config, key: &'a str, create: C) -> Self {
        let tables = config.tables.iter().map(|_| None).collect();
        Self { config, key, create, tables, rejects: None, deflater: Deflater::default() }
    }

    /// Opens a table's file, if it is not open yet.
    fn table(&mut self, table: usize) -> Result<(), ObjectError> {
        if self.tables[table].is_none() {
            let schema = &self.config.tables[table];
            let path = layout::csv(&schema.name, self.key);
            let sink = (self.create)(&path).map_err(|source| cannot_write(&path, source))?;
            let csv = CsvRows::new(schema, self.config.guard_formulas);
            let mut file = TableFile { path, csv, gzip: GzipWriter::new(sink), rows: 0 };
            file.csv.header(file.gzip.text());
            self.tables[table] = Some(file);
        }
        Ok(())
    }

    fn row(&mut self, row: &Row<'_>, names: &Names<'_>) -> Result<(), ObjectError> {
        self.table(row.rule.table)?;
        if let Some(file) = &mut self.tables[row.rule.table] {
            file.csv.row(row, names, file.gzip.text());
            file.rows += 1;
            file.gzip.settle(&mut self.deflater).map_err(|source| cannot_write(&file.path, source))?;
        }
        Ok(())
    }

    fn reject(&mut self, ordinal: u64, record: &Record<'_>, reason: Reason) -> Result<(), ObjectError> {
        if self.rejects.is_none() {
            let path = layout::rejects(self.key);
            let sink = (self.create)(&path).map_err(|source| cannot_write(&path, source))?;
            self.rejects = Some(RejectFile { path, gzip: GzipWriter::new(sink), records: 0, bytes: 0 });
        }
        if let Some(file) = &mut self.rejects {
            let before = file.gzip.text().len();
            rejects::write(self.key, ordinal, record, reason, file.gzip.text());
            file.records += 1;
            file.bytes += (file.gzip.text().len() - before) as u64;
            file.gzip.settle(&mut self.deflater).map_err(|source| cannot_write(&file.path, source))?;
        }
        Ok(())
    }

    /// The limit that the rejects have passed, if they have.
    fn exceeded(&self) -> Option<(&'static str, u64)> {
        let (limits, file) = (&self.config.limits, self.rejects.as_ref()?);
        if file.records > limits.max_rejects {
            return Some(("max_rejects", limits.max_rejects));
        }
        (file.bytes > limits.max_reject_bytes).then_some(("max_reject_bytes", limits.max_reject_bytes))
    }

    fn is_empty(&self) -> bool {
        self.tables.iter().all(Option::is_none)
    }

    fn finish(mut self) -> Result<Vec<(Output, W)>, ObjectError> {
        let deflater = &mut self.deflater;
        let tables = self.tables.into_iter().enumerate().filter_map(|(table, file)| Some((table, file?)));
        let tables = tables.map(|(table, file)| (Some(table), file.path, file.gzip, file.rows));
        let rejects = self.rejects.into_iter().map(|file| (None, file.path, file.gzip, file.records));
        let finish = |(table, path, gzip, rows): (_, String, GzipWriter<W>, _)| {
            let (sink, bytes) = gzip.finish(deflater).map_err(|source| cannot_write(&path, source))?;
            Ok((Output { path, table, rows, bytes }, sink))
        };
        tables.chain(rejects).map(finish).collect()
    }
}

fn cannot_write(path: &str, source: io::Error) -> ObjectError {
    ObjectError::Write { output: path.to_owned(), source }
}
