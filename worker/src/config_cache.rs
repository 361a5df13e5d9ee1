//! Configuration and names of each run, from the copies in its ledger. All workers of a run use the same ones. A new
//! configuration takes effect with the next run, without a deployment.

use std::sync::{Arc, Mutex, PoisonError};

use flowherd_shared::{
    config::{Config, ConfigError},
    enrichment::{EnrichmentFile, FileDigest},
    ledger::{Fingerprint, IndexTarget, Run, layout, read_json},
    limits::{MAX_CONFIG_BYTES, MAX_ENRICHMENT_BYTES, MAX_NAMES_BYTES},
    names::NameIndex,
    pipeline::RunConfig,
    store::{Cause, Store, StoreError},
};

use crate::index::IndexRun;

/// Maximum number of runs in the cache. A worker rarely processes more than one at a time.
const MAX_RUNS: usize = 64;
/// Maximum number of different configurations in memory. Names can take tens of megabytes.
const MAX_CONFIGS: usize = 2;

/// Why a run cannot be processed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigCacheError {
    /// The run has no `run.json`.
    #[error("the ledger has no run.json of this run; begin a new one")]
    NoRun,
    /// The copies in the ledger have another fingerprint than the run.
    #[error(
        "the configuration or names in the ledger are not those of the run, or this worker reads them differently; \
         deploy coordinator and workers together, and begin a new run"
    )]
    Fingerprint,
    /// A copy in the ledger does not parse.
    #[error("{path} is damaged; begin a new run")]
    Damaged {
        /// The path of the copy.
        path: String,
        /// Its problems.
        source: Cause,
    },
    /// The ledger cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a worker needs to know of a run.
#[derive(Clone, Debug)]
pub struct CachedRun {
    /// The fingerprint of its receipts.
    pub fingerprint: Fingerprint,
    /// What the run does with an object.
    pub work: RunWork,
    /// Earlier runs whose receipts count.
    pub resumes: Arc<[String]>,
}

/// What a run does with an object. Runs with the same fingerprint share it.
#[derive(Clone, Debug)]
pub enum RunWork {
    /// Converts it, with this configuration and these names.
    Convert(Arc<RunConfig>),
    /// Sends its rows to a search cluster.
    Index(Arc<IndexRun>),
}

impl RunWork {
    /// Reads the copies in the ledger.
    fn load(store: &impl Store, run: &Run) -> Result<Self, ConfigCacheError> {
        Ok(match run.job.target() {
            None => Self::Convert(Arc::new(load(store, run)?)),
            Some(target) => Self::Index(Arc::new(load_index(store, run, target)?)),
        })
    }

    /// Returns an address that only the same work has.
    fn address(&self) -> *const () {
        match self {
            Self::Convert(run_config) => Arc::as_ptr(run_config).cast(),
            Self::Index(index_run) => Arc::as_ptr(index_run).cast(),
        }
    }
}

/// Caches the configurations of the latest runs.
#[derive(Debug, Default)]
pub struct ConfigCache {
    /// By name of the run, in the order of use.
    known: Mutex<Vec<(String, CachedRun)>>,
}

impl ConfigCache {
    /// Returns the configuration of a run. Other threads wait while one thread reads it, because names are large.
    pub fn get(&self, store: &impl Store, run: &str) -> Result<CachedRun, ConfigCacheError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = known.iter().position(|(name, _)| name == run) {
            let found = known.remove(at);
            let cached = found.1.clone();
            known.push(found);
            return Ok(cached);
        }
        let manifest: Run = read_json(store, &layout::run(run))?.ok_or(ConfigCacheError::NoRun)?;
        let same = known.iter().find(|(_, known)| known.fingerprint == manifest.fingerprint);
        let work = match same {
            Some((_, known)) => known.work.clone(),
            None => RunWork::load(store, &manifest)?,
        };
        let cached = CachedRun { fingerprint: manifest.fingerprint, work, resumes: manifest.resumes.into() };
        known.push((run.to_owned(), cached.clone()));
        evict(&mut known);
        Ok(cached)
    }
}

fn load(store: &impl Store, run: &Run) -> Result<RunConfig, ConfigCacheError> {
    let config = layout::config(&run.run);
    let names = layout::names(&run.run);
    let config = read(store, config, MAX_CONFIG_BYTES, Config::from_bytes)?;
    let names = read(store, names, MAX_NAMES_BYTES, NameIndex::parse)?;
    let files = enrichment_files(store, run)?;
    let damaged = |source: ConfigError| ConfigCacheError::Damaged {
        path: format!("{} or a file that it names", layout::config(&run.run)),
        source: source.into(),
    };
    let run_config = RunConfig::load(config, names, &files).map_err(damaged)?;
    if Fingerprint::from(&run_config) == run.fingerprint {
        Ok(run_config)
    } else {
        Err(ConfigCacheError::Fingerprint)
    }
}

/// Reads the rules of an index run. It needs no names and no enrichment files: the CSV has their values.
fn load_index(store: &impl Store, run: &Run, target: &IndexTarget) -> Result<IndexRun, ConfigCacheError> {
    let config = read(store, layout::config(&run.run), MAX_CONFIG_BYTES, Config::from_bytes)?;
    let index_run = IndexRun { config, target: target.clone() };
    if Fingerprint::from(&index_run) == run.fingerprint {
        Ok(index_run)
    } else {
        Err(ConfigCacheError::Fingerprint)
    }
}

/// Reads the copies of the run's enrichment files. Their hashes are part of the fingerprint.
fn enrichment_files(store: &impl Store, run: &Run) -> Result<Vec<EnrichmentFile>, ConfigCacheError> {
    let mut files = Vec::new();
    for digest in &run.enrichment {
        let path = layout::enrichment(&run.run, &digest.sha256);
        let damaged = |source: Cause| ConfigCacheError::Damaged { path: path.clone(), source };
        let bytes = match store.get_limited(&path, MAX_ENRICHMENT_BYTES as u64) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Err(damaged("it does not exist".into())),
            Err(error @ StoreError::TooLarge { .. }) => return Err(damaged(error.into())),
            Err(error) => return Err(error.into()),
        };
        let file = EnrichmentFile { file: digest.file.clone(), bytes: bytes.into() };
        if FileDigest::from(&file) != *digest {
            return Err(damaged("its SHA-256 differs from that in run.json".into()));
        }
        files.push(file);
    }
    Ok(files)
}

/// Reads and parses one file. A run without it has the built-in value.
fn read<T: Default>(
    store: &impl Store,
    path: String,
    limit: usize,
    parse: impl FnOnce(&[u8]) -> Result<T, ConfigError>,
) -> Result<T, ConfigCacheError> {
    match store.get_limited(&path, limit as u64) {
        Ok(Some(bytes)) => {
            parse(&bytes).map_err(|source| ConfigCacheError::Damaged { path, source: source.into() })
        }
        Ok(None) => Ok(T::default()),
        Err(error @ StoreError::TooLarge { .. }) => {
            Err(ConfigCacheError::Damaged { path, source: error.into() })
        }
        Err(error) => Err(error.into()),
    }
}

/// Removes the runs that were used least recently.
fn evict(known: &mut Vec<(String, CachedRun)>) {
    known.drain(..known.len().saturating_sub(MAX_RUNS));
    loop {
        let mut configs: Vec<*const ()> = known.iter().map(|(_, known)| known.work.address()).collect();
        configs.sort_unstable();
        configs.dedup();
        if configs.len() <= MAX_CONFIGS {
            return;
        }
        let oldest = known[0].1.work.address();
        known.retain(|(_, known)| known.work.address() != oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_keeps_the_two_configurations_that_were_used_last() {
        let cached = |_| CachedRun {
            fingerprint: Fingerprint::from(&RunConfig::default()),
            work: RunWork::Convert(Arc::new(RunConfig::default())),
            resumes: Vec::new().into(),
        };
        let configs: Vec<CachedRun> = (0..4).map(cached).collect();
        let mut known: Vec<_> =
            [0, 1, 0, 2, 3, 3].iter().map(|at| (at.to_string(), configs[*at].clone())).collect();
        evict(&mut known);
        assert_eq!(known.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["2", "3", "3"]);
    }
}
