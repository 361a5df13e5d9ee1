//! The files of `[[enrich]]`: threat lists, inventories, address ranges and MaxMind databases, ready to find the values that they
//! add to a row.

mod aws_ranges;
mod csv_table;
mod fragments;
mod keyed;
mod list;
mod maxmind;
mod problems;
mod settings;
mod text;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

pub use self::settings::{Enrichment, EnrichmentColumn, EnrichmentSource, Matching, NameColumn};
pub(crate) use self::{
    aws_ranges::COLUMNS as AWS_RANGES_COLUMNS, maxmind::RecordCache, settings::NAME_COLUMNS,
};
use self::{keyed::KeyedTable, maxmind::MaxMind, problems::FileProblems};
use crate::{
    limits::{MAX_ENRICHMENT_BYTES, MAX_ENRICHMENTS_BYTES},
    problems::{ConfigError, Problems},
    text::hex,
};

/// A file that `[[enrich]]` names, with its bytes as stored.
#[derive(Clone, Debug)]
pub struct EnrichmentFile {
    /// `file` of the entry.
    pub file: String,
    /// Its bytes.
    pub bytes: Arc<[u8]>,
}

/// An enrichment file of a run. The ledger has a copy of it, named by the hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDigest {
    /// `file` of the entry.
    pub file: String,
    /// SHA-256 of its bytes as stored, in hex.
    pub sha256: String,
    /// Its size as stored.
    pub bytes: u64,
}

impl From<&EnrichmentFile> for FileDigest {
    fn from(file: &EnrichmentFile) -> Self {
        let EnrichmentFile { file, bytes } = file;
        Self { file: file.clone(), sha256: hex(&Sha256::digest(bytes)), bytes: bytes.len() as u64 }
    }
}

/// Returns the different files of these entries, in order of first appearance.
#[must_use]
pub fn files(settings: &[Enrichment]) -> Vec<&str> {
    let mut files: Vec<&str> = Vec::new();
    for file in settings.iter().filter_map(|enrichment| enrichment.source.file()) {
        if !files.contains(&file) {
            files.push(file);
        }
    }
    files
}

/// Returns where a file is: relative to the directory of the configuration, unless it is a URL or an absolute path. The
/// configuration's own location is a path or an `s3://` URL.
#[must_use]
pub fn location(config: &str, file: &str) -> String {
    let is_absolute = file.starts_with('/') || file.starts_with("s3://");
    let directory = config.rfind('/').map_or("", |at| &config[..=at]);
    if is_absolute { file.to_owned() } else { format!("{directory}{file}") }
}

/// Returns the problem of files that are too large together, as stored.
#[must_use]
pub fn total_problem(files: &[EnrichmentFile]) -> Option<String> {
    size_problem(files.iter().map(|file| file.bytes.len()).sum())
}

/// Returns the problem of this many bytes in all entries.
fn size_problem(total: usize) -> Option<String> {
    (total > MAX_ENRICHMENTS_BYTES).then(|| {
        format!(
            "enrich: the files have {total} bytes together: the limit is {MAX_ENRICHMENTS_BYTES}, because every worker holds \
             them in memory; use smaller files"
        )
    })
}

/// All entries, in the order of the configuration, and their files.
#[derive(Debug, Default)]
pub struct Enrichments {
    list: Vec<Values>,
    files: Vec<FileDigest>,
}

/// The source of an entry's values.
#[derive(Debug)]
pub(crate) enum Values {
    Keyed(KeyedTable),
    MaxMind(MaxMind),
    /// The names of a `names.json`.
    Names(Vec<NameColumn>),
}

impl Values {
    /// Returns the values of a row that has no address; empty for names.
    pub(crate) fn absent(&self) -> &[u8] {
        match self {
            Self::Keyed(keyed) => keyed.absent(),
            Self::MaxMind(database) => database.absent(),
            Self::Names(_) => &[],
        }
    }
}

impl Enrichments {
    /// Reads and checks the files of these entries. With `guard_formulas`, values that spreadsheets read as formulas become
    /// text. The error has the problems of all files.
    pub fn load(
        settings: &[Enrichment],
        guard_formulas: bool,
        files: &[EnrichmentFile],
    ) -> Result<Self, ConfigError> {
        let mut problems = Problems::default();
        // A file that is too large alone has a problem of its own.
        if files.iter().all(|file| file.bytes.len() <= MAX_ENRICHMENT_BYTES) {
            problems.extend(total_problem(files));
            problems.check()?;
        }
        let mut list = Vec::new();
        let mut total = 0;
        for enrichment in settings {
            let Some(name) = enrichment.source.file() else {
                list.push(Values::Names(settings::name_columns(enrichment)));
                continue;
            };
            let Some(file) = files.iter().find(|file| file.file == name) else {
                problems.add(format!(
                    "{name}: does not exist; put it beside flowherd.toml, or give its s3:// URL"
                ));
                continue;
            };
            let mut of_file = FileProblems::new(name);
            list.extend(load(enrichment, guard_formulas, &file.bytes, &mut total, &mut of_file));
            of_file.finish(&mut problems);
            if let Some(problem) = size_problem(total) {
                problems.add(problem);
                break;
            }
        }
        problems.check()?;
        let used = self::files(settings).into_iter();
        let files = used.filter_map(|name| files.iter().find(|file| file.file == name));
        Ok(Self { list, files: files.map(FileDigest::from).collect() })
    }

    /// Returns the files, in the order of the configuration.
    #[must_use]
    pub fn files(&self) -> &[FileDigest] {
        &self.files
    }

    /// Returns whether an entry adds the VPC of an address.
    pub(crate) fn need_vpcs(&self) -> bool {
        let needs =
            |values: &Values| matches!(values, Values::Names(names) if names.contains(&NameColumn::Vpc));
        self.list.iter().any(needs)
    }

    /// Returns the values of an entry by its number. All entries of the configuration are loaded.
    pub(crate) fn get(&self, number: usize) -> &Values {
        &self.list[number]
    }
}

/// Reads the file of an entry. Adds its decompressed bytes to `total`. Returns `None` if it has problems, or if the total is too
/// large.
fn load(
    enrichment: &Enrichment,
    guard_formulas: bool,
    bytes: &Arc<[u8]>,
    total: &mut usize,
    problems: &mut FileProblems<'_>,
) -> Option<Values> {
    if bytes.len() > MAX_ENRICHMENT_BYTES {
        problems.add("size", || {
            format!("has {} bytes: the limit is {MAX_ENRICHMENT_BYTES}; use a smaller file", bytes.len())
        });
        return None;
    }
    let columns = &enrichment.columns;
    if let EnrichmentSource::MaxMind { .. } = enrichment.source {
        *total += bytes.len();
        return MaxMind::load(bytes, columns, guard_formulas, problems).map(Values::MaxMind);
    }
    let text = text::decode(bytes, problems)?;
    *total += text.len();
    if *total > MAX_ENRICHMENTS_BYTES {
        return None;
    }
    let table = match &enrichment.source {
        EnrichmentSource::Table { key, matching, .. } => {
            csv_table::load(&text, key, *matching, columns, guard_formulas, problems)
        }
        EnrichmentSource::List { matching, .. } => list::load(&text, *matching, problems),
        EnrichmentSource::AwsRanges { .. } => aws_ranges::load(&text, columns, guard_formulas, problems),
        EnrichmentSource::MaxMind { .. } | EnrichmentSource::Names => None,
    };
    table.map(Values::Keyed)
}
