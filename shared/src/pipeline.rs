//! Runs the stages in order:
//! object ▶ [`layers`] ▶ [`records`] ▶ [`rules`] ▶ [`enrich`] ▶ [`csv`] ▶ [`gzip`] ▶ outputs.

pub(crate) mod address;
mod address_values;
mod bytes;
mod conversion;
mod counts;
pub mod csv;
mod csv_names;
pub mod enrich;
mod enrich_tables;
pub mod gzip;
mod json_input;
mod json_text;
pub mod layers;
mod metadata;
pub mod records;
mod rejects;
mod row_values;
pub mod rules;
mod value_caches;

use std::io::{self, Read, Write};

use flowherd_deflate::Deflater;

pub use self::counts::{Counts, RuleCounts};
use self::{
    conversion::Conversion,
    csv::CsvRows,
    csv_names::CsvNames,
    enrich::{Enricher, Names},
    enrich_tables::TableEnricher,
    gzip::GzipWriter,
    layers::Layers,
    records::{Record, Records},
    rules::Row,
};
use crate::{
    config::{Config, ConfigError},
    enrichment::{EnrichmentFile, Enrichments, FileDigest},
    error::{ObjectError, Reason},
    layout,
    names::NameIndex,
};

/// The configuration, names and enrichment tables that all objects of a run share.
#[derive(Debug)]
pub struct RunConfig {
    /// Rules, tables and limits.
    pub config: Config,
    names: NameIndex,
    csv_names: CsvNames,
    enrichments: Enrichments,
}

impl RunConfig {
    /// Combines a configuration without `[[enrich]]` with names, which it converts to CSV once.
    ///
    /// # Panics
    /// If the configuration has `[[enrich]]`: [`RunConfig::load`] reads its files.
    #[must_use]
    pub fn new(config: Config, names: NameIndex) -> Self {
        assert!(config.enrichments.is_empty(), "the enrichment files are not loaded");
        Self::without_files(config, names)
    }

    fn without_files(config: Config, names: NameIndex) -> Self {
        let csv_names = CsvNames::new(&names, config.guard_formulas);
        Self { config, names, csv_names, enrichments: Enrichments::default() }
    }

    /// Combines a configuration with names and its enrichment files. The error has the problems of all files.
    pub fn load(config: Config, names: NameIndex, files: &[EnrichmentFile]) -> Result<Self, ConfigError> {
        let enrichments = Enrichments::load(&config.enrichments, config.guard_formulas, files)?;
        let mut names = names;
        if enrichments.need_vpcs() {
            names.add_vpc_ranges()?;
        }
        Ok(Self { enrichments, ..Self::without_files(config, names) })
    }

    /// Returns the enrichment files, in the order of the configuration.
    #[must_use]
    pub fn enrichment_files(&self) -> &[FileDigest] {
        self.enrichments.files()
    }

    /// Returns the names.
    #[must_use]
    pub fn names(&self) -> &NameIndex {
        &self.names
    }

    /// Creates an enricher for one object.
    #[must_use]
    pub fn enricher(&self) -> Enricher<'_> {
        let has_tables = !self.config.enrichments.is_empty();
        let tables = has_tables
            .then(|| TableEnricher::new(&self.config, &self.enrichments, &self.names, &self.csv_names));
        Enricher::new(&self.names, &self.csv_names, tables)
    }
}

impl From<Config> for RunConfig {
    /// Without names and enrichment files.
    fn from(config: Config) -> Self {
        Self::new(config, NameIndex::default())
    }
}

impl Default for RunConfig {
    fn default() -> Self {
        Self::from(Config::default())
    }
}

/// The result for an object that was read to its end. The caller publishes it by committing the sinks.
#[derive(Debug)]
pub struct Finished<W> {
    /// Counts of records and bytes.
    pub counts: Counts,
    /// The outputs with their sinks.
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
    /// Checksum of the compressed bytes.
    pub crc64nvme: String,
}

/// Reads one source object and writes each output into a sink that `create` opens for its path. On an error, nothing may be
/// published: the sinks are dropped.
pub fn run<R: Read, W: Write>(
    object: R,
    key: &str,
    run_config: &RunConfig,
    create: impl FnMut(&str) -> io::Result<W>,
) -> Result<Finished<W>, ObjectError> {
    let config = &run_config.config;
    let mut conversion = Conversion::new(key, run_config, create);
    let layers = Layers::open(object, config.limits)?;
    let mut records = Records::with_arrays(layers, config.limits, conversion.rules.arrays());
    while let Some(record) = records.next()? {
        conversion.record(&record)?;
    }
    let max_percent = config.limits.max_reject_percent;
    let mut counts = conversion.counts;
    let outputs = match conversion.outputs {
        Ok(_) if counts.exceeds_percent(max_percent) => {
            return Err(counts.too_many_rejects(config, "max_reject_percent", max_percent));
        }
        Ok(outputs) => outputs,
        Err(Exceeded { limit, max }) => return Err(counts.too_many_rejects(config, limit, max)),
    };
    counts.complete();
    counts.reject_bytes = outputs.rejects.as_ref().map_or(0, |file| file.bytes);
    counts.compressed_in = records.layers().compressed_bytes();
    counts.decoded_in = records.decoded_bytes();
    counts.layers = records.layers().counts();
    counts.items = records.items();
    let outputs = outputs.finish(conversion.rules.table_of_empty_object())?;
    Ok(Finished { counts, outputs })
}

/// The output files of one object. Each is opened for its first record.
struct Outputs<'a, W, C> {
    config: &'a Config,
    key: &'a str,
    create: C,
    tables: Vec<Option<TableFile<'a, W>>>,
    rejects: Option<RejectFile<W>>,
    deflater: Deflater,
}

/// A limit that the rejects of an object exceed.
#[derive(Clone, Copy, Debug)]
struct Exceeded {
    limit: &'static str,
    max: u64,
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

    /// Opens a table's file unless it is open.
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
        self.table(row.writing.table)?;
        if let Some(file) = &mut self.tables[row.writing.table] {
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

    /// Returns the limit that the rejects exceed, if any.
    fn exceeded(&self) -> Option<Exceeded> {
        let (limits, file) = (&self.config.limits, self.rejects.as_ref()?);
        if file.records > limits.max_rejects {
            return Some(Exceeded { limit: "max_rejects", max: limits.max_rejects });
        }
        (file.bytes > limits.max_reject_bytes)
            .then_some(Exceeded { limit: "max_reject_bytes", max: limits.max_reject_bytes })
    }

    /// Completes the files. An object without any gets the file of this table.
    fn finish(mut self, table_of_empty: Option<usize>) -> Result<Vec<(Output, W)>, ObjectError> {
        if let Some(table) = table_of_empty
            && self.tables.iter().all(Option::is_none)
        {
            self.table(table)?;
        }
        let deflater = &mut self.deflater;
        let tables = self.tables.into_iter().enumerate().filter_map(|(table, file)| Some((table, file?)));
        let tables = tables.map(|(table, file)| (Some(table), file.path, file.gzip, file.rows));
        let rejects = self.rejects.into_iter().map(|file| (None, file.path, file.gzip, file.records));
        let finish = |(table, path, gzip, rows): (_, String, GzipWriter<W>, _)| {
            let (sink, bytes, crc64nvme) =
                gzip.finish(deflater).map_err(|source| cannot_write(&path, source))?;
            Ok((Output { path, table, rows, bytes, crc64nvme }, sink))
        };
        tables.chain(rejects).map(finish).collect()
    }
}

fn cannot_write(path: &str, source: io::Error) -> ObjectError {
    ObjectError::Write { output: path.to_owned(), source }
}
