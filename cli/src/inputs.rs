//! The files that a user writes: rules and names, and the copy of the rules in a ledger.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use flowherd_shared::{
    config::{Config, ConfigError},
    layout,
    limits::{MAX_CONFIG_BYTES, MAX_RESULT_BYTES},
    lookups::Lookups,
    pipeline::RunConfig,
    store::{Store, StoreError, read_limited},
};

use crate::stop::Stop;

/// Reads rules and names, or returns every mistake in either.
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

/// Returns the rules of a run, from their copy in the ledger; `None` if they are not known.
pub(crate) fn rules_of_run(
    store: &impl Store,
    run: &str,
    config_hash: &str,
) -> Result<Option<Config>, StoreError> {
    let config = match store.get_limited(&layout::config(run), MAX_CONFIG_BYTES as u64)? {
        None => Some(Config::default()),
        Some(bytes) => Config::from_bytes(&bytes).ok(),
    };
    // The copy may have been changed, or be of a later version.
    Ok(config.filter(|config| config.hash == config_hash))
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
