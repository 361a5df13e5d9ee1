//! The files that a user writes: rules and lookups.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use flowherd_shared::{
    config::{Config, ConfigError},
    limits::MAX_RESULT_BYTES,
    lookups::Lookups,
    pipeline::RunConfig,
    store::{StoreError, read_limited},
};

use crate::stop::Stop;

/// Reads rules and lookups, or returns every mistake in either.
pub(crate) fn plan(config: Option<&PathBuf>, lookups: Option<&PathBuf>) -> Result<RunConfig, Stop> {
    let mut problems = Vec::new();
    let config = read(config, Config::from_bytes);
    let lookups = read(lookups, Lookups::parse);
    let config = config.unwrap_or_else(|found| {
        problems.extend(found);
        Config::default()
    });
    let lookups = lookups.unwrap_or_else(|found| {
        problems.extend(found);
        Lookups::default()
    });
    if problems.is_empty() { Ok(RunConfig::new(config, lookups)) } else { Err(Stop::Usage(problems)) }
}

fn read<T: Default>(
    path: Option<&PathBuf>,
    parse: impl Fn(&[u8]) -> Result<T, ConfigError>,
) -> Result<T, Vec<String>> {
    let Some(path) = path else { return Ok(T::default()) };
    let name = path.display().to_string();
    let file = File::open(path).map_err(StoreError::from_file_error);
    let bytes = file.and_then(|file| read_limited(file, &name, MAX_RESULT_BYTES));
    let bytes = bytes.map_err(|error| vec![format!("cannot read {name}: {error}")])?;
    parse(&bytes).map_err(|error| with_path(path, &error))
}

fn with_path(path: &Path, error: &ConfigError) -> Vec<String> {
    error.problems.iter().map(|problem| format!("{}: {problem}", path.display())).collect()
}
