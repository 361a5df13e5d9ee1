//! The files that a user writes: rules, names and enrichment files.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use flowherd_aws::{Aws, s3::Bucket};
use flowherd_shared::{
    config::{Config, ConfigError},
    enrichment::{self, Enrichment, EnrichmentFile, Enrichments},
    error::error_chain,
    limits::{MAX_CONFIG_BYTES, MAX_ENRICHMENT_BYTES, MAX_NAMES_BYTES},
    names::NameIndex,
    pipeline::RunConfig,
    store::{Store, StoreError, read_limited},
};

use crate::{fleet::buckets, location::Location, stop::Stop};

/// Rules, names and enrichment files.
#[derive(Debug)]
pub(crate) struct Inputs {
    pub(crate) run_config: RunConfig,
    /// The enrichment files with their bytes.
    pub(crate) files: Vec<EnrichmentFile>,
    /// The paths of the enrichment files on this machine.
    pub(crate) paths: Vec<PathBuf>,
}

/// Reads all files, or returns every mistake in any of them.
pub(crate) fn read(config: Option<&PathBuf>, names: Option<&PathBuf>) -> Result<Inputs, Stop> {
    let mut problems = Vec::new();
    let rules = read_file(config, MAX_CONFIG_BYTES, Config::from_bytes);
    let names = read_file(names, MAX_NAMES_BYTES, NameIndex::parse);
    let rules = rules.unwrap_or_else(|found| {
        problems.extend(found);
        Config::default()
    });
    let names = names.unwrap_or_else(|found| {
        problems.extend(found);
        NameIndex::default()
    });
    let mut enrichment = EnrichmentReader::new(config);
    for file in enrichment::files(&rules.enrichments) {
        match enrichment.add(file) {
            Ok(()) => {}
            Err(Stop::Usage(found)) => problems.extend(found),
            Err(stop) => return Err(stop),
        }
    }
    let EnrichmentReader { files, paths, .. } = enrichment;
    if !problems.is_empty() {
        // The files that were read may have mistakes too.
        let is_read = |entry: &&Enrichment| {
            entry.source.file().is_none_or(|name| files.iter().any(|file| file.file == name))
        };
        let entries: Vec<Enrichment> = rules.enrichments.iter().filter(is_read).cloned().collect();
        let found = Enrichments::load(&entries, rules.guard_formulas, &files);
        problems.extend(found.err().into_iter().flat_map(|error| error.problems));
        return Err(Stop::Usage(problems));
    }
    let run_config = RunConfig::load(rules, names, &files).map_err(|error| Stop::Usage(error.problems))?;
    Ok(Inputs { run_config, files, paths })
}

/// Reads the rules without the files that they name.
pub(crate) fn config(path: Option<&PathBuf>) -> Result<Config, Stop> {
    read_file(path, MAX_CONFIG_BYTES, Config::from_bytes).map_err(Stop::Usage)
}

/// Reads enrichment files.
struct EnrichmentReader<'a> {
    config: Option<&'a PathBuf>,
    files: Vec<EnrichmentFile>,
    paths: Vec<PathBuf>,
    /// Name, connection and client of the last bucket. The client needs the connection.
    bucket: Option<(String, Aws, Bucket)>,
}

impl<'a> EnrichmentReader<'a> {
    fn new(config: Option<&'a PathBuf>) -> Self {
        Self { config, files: Vec::new(), paths: Vec::new(), bucket: None }
    }

    /// Reads one file.
    fn add(&mut self, file: &str) -> Result<(), Stop> {
        let bytes = if file.starts_with("s3://") { self.read_object(file)? } else { self.read_path(file)? };
        self.files.push(EnrichmentFile { file: file.to_owned(), bytes: bytes.into() });
        Ok(())
    }

    /// Reads a file relative to the directory of the configuration.
    fn read_path(&mut self, file: &str) -> Result<Vec<u8>, Stop> {
        let directory = self.config.and_then(|config| config.parent()).unwrap_or_else(|| Path::new(""));
        let path = directory.join(file);
        let bytes = bytes_of(&path, MAX_ENRICHMENT_BYTES as u64);
        let bytes = bytes.map_err(|error| Stop::usage(format!("cannot read {}: {error}", path.display())));
        self.paths.push(path);
        bytes
    }

    fn read_object(&mut self, url: &str) -> Result<Vec<u8>, Stop> {
        let (name, key) = match Location::parse(url.into()) {
            Ok(Location::Bucket { bucket, prefix }) => (bucket, prefix),
            Ok(_) => return Err(Stop::usage(format!("{url} is not an s3:// URL"))),
            Err(why) => return Err(Stop::usage(format!("{url}: {why}"))),
        };
        let connected = match self.bucket.take() {
            Some(connected) if connected.0 == name => connected,
            _ => {
                let (aws, found) = buckets::connect_to(&name)?;
                (name, aws, found.bucket)
            }
        };
        let bytes = connected.2.get_limited(&key, MAX_ENRICHMENT_BYTES as u64);
        self.bucket = Some(connected);
        bytes
            .map_err(|error| Stop::usage(format!("cannot read {url}: {}", error_chain(&error))))?
            .ok_or_else(|| Stop::usage(format!("cannot read {url}: no object has this key; correct it")))
    }
}

fn read_file<T: Default>(
    path: Option<&PathBuf>,
    limit: usize,
    parse: impl Fn(&[u8]) -> Result<T, ConfigError>,
) -> Result<T, Vec<String>> {
    let Some(path) = path else { return Ok(T::default()) };
    let bytes = bytes_of(path, limit as u64);
    let bytes = bytes.map_err(|error| vec![format!("cannot read {}: {error}", path.display())])?;
    parse(&bytes).map_err(|error| with_path(path, &error))
}

fn bytes_of(path: &Path, limit: u64) -> Result<Vec<u8>, StoreError> {
    let file = File::open(path).map_err(StoreError::from_file_error)?;
    read_limited(file, &path.display().to_string(), limit)
}

fn with_path(path: &Path, error: &ConfigError) -> Vec<String> {
    error.problems.iter().map(|problem| format!("{}: {problem}", path.display())).collect()
}
