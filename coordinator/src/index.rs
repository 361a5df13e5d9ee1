//! Index runs: their objects are the rows of earlier runs, and their documents go to a search cluster.

use std::collections::BTreeSet;

use flowherd_shared::{
    config::Config,
    error::error_chain,
    layout,
    ledger::{Destination, Fingerprint, IndexTarget, Job, Run},
    limits::MAX_CONFIG_BYTES,
    queue::Queue,
    store::{Cause, Lister, ManifestEntry, Store},
    table::Table,
};

use crate::{
    coordinator::{Coordinator, Inputs},
    error::CoordinatorError,
    options::RunOptions,
};

/// The search cluster of a fleet.
pub trait SearchCluster: Sync {
    /// Makes sure that the cluster has the types of all fields before the first document. Returns messages for people.
    ///
    /// # Errors
    /// [`ClusterError`] by what the caller can do about it.
    fn prepare(&self, tables: &[&Table], target: &IndexTarget) -> Result<Vec<String>, ClusterError>;
}

/// Why a cluster is not prepared.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// A person must change something: settings, rights, or a template of the same name.
    #[error("{0}")]
    Refused(String),
    /// The cluster does not respond. A later call can succeed.
    #[error("the search cluster does not respond")]
    Unavailable(#[source] Cause),
}

/// What a fleet that indexes has beside its queue.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "clusters need not implement it")]
pub struct IndexFleet<'a> {
    /// Where documents go, unless a run has another destination.
    pub target: IndexTarget,
    /// The cluster.
    pub cluster: &'a dyn SearchCluster,
}

impl From<ClusterError> for CoordinatorError {
    fn from(error: ClusterError) -> Self {
        match error {
            ClusterError::Refused(why) => Self::Refused(why),
            ClusterError::Unavailable(source) => Self::Cluster(source),
        }
    }
}

impl<L: Lister, S: Store + Lister, Q: Queue> Coordinator<'_, L, S, Q> {
    /// Returns the job of a new run: that of the fleet, with the destination of the options or of the resumed run.
    pub(crate) fn job(&self, options: &RunOptions, earlier: Option<&Run>) -> Result<Job, CoordinatorError> {
        let fleet = self.fleet;
        let wants_index = options.index || options.to.is_some();
        let Some(index) = &self.index else {
            return match earlier.map(|earlier| &earlier.job) {
                Some(Job::Index(_)) => Err(CoordinatorError::Refused(format!(
                    "the resumed run sends rows to a search cluster, but fleet {fleet} converts objects; choose a fleet with job \
                     \"index\""
                ))),
                _ if wants_index => Err(CoordinatorError::Refused(format!(
                    "fleet {fleet} converts objects; choose a fleet with job \"index\": flowherd index --fleet NAME"
                ))),
                _ => Ok(Job::Convert),
            };
        };
        let resumed = match earlier.map(|earlier| &earlier.job) {
            None => None,
            Some(Job::Index(target)) => Some(target),
            Some(Job::Convert) => {
                return Err(CoordinatorError::Refused(format!(
                    "the resumed run converts objects, but fleet {fleet} sends rows to a search cluster; choose a fleet that \
                     converts"
                )));
            }
        };
        if !wants_index && resumed.is_none() {
            return Err(CoordinatorError::Refused(format!(
                "fleet {fleet} sends rows to a search cluster; begin its runs with: flowherd index --prefix csv/TABLE/ --fleet \
                 {fleet}"
            )));
        }
        let target = resumed.unwrap_or(&index.target).clone();
        let destination = options.to.clone().map_or(target.destination, Destination::To);
        Ok(Job::Index(IndexTarget { destination, naming: target.naming }))
    }

    /// Refuses a prefix that has no rows, and one of several tables if all documents go to one index: their fields differ.
    pub(crate) fn check_rows(&self, prefix: &str, target: &IndexTarget) -> Result<(), CoordinatorError> {
        if let Some(below) = prefix.strip_prefix(layout::CSV) {
            return match &target.destination {
                Destination::To(index) if !below.contains('/') => Err(CoordinatorError::Refused(format!(
                    "prefix {prefix:?} may have rows of several tables, and one index ({index}) has the fields of one; use \
                     --prefix csv/TABLE/"
                ))),
                _ => Ok(()),
            };
        }
        Err(CoordinatorError::Refused(format!(
            "prefix {prefix:?} has no rows: an index run reads csv/TABLE/ of the results bucket {}. Example: \
             csv/vpc_flow/firehose/2026/02/18/",
            self.results_bucket
        )))
    }

    /// Reads the rules of an index run, and prepares the cluster for the documents of their tables. Returns the copies for the
    /// ledger, the fingerprint, and messages for people.
    pub(crate) fn prepare_index(
        &self,
        prefix: &str,
        target: &IndexTarget,
    ) -> Result<(Inputs, Fingerprint, Vec<String>), CoordinatorError> {
        let Inputs { config: bytes, .. } = self.read_files()?;
        let config = parse(bytes.as_deref())?;
        let fingerprint = Fingerprint::of_index(&config, target);
        let has_rows = |table: &&Table| {
            let path = layout::csv_of(&table.name);
            path.starts_with(prefix) || prefix.starts_with(&path)
        };
        let tables: Vec<&Table> = config.tables.iter().filter(has_rows).collect();
        if tables.is_empty() {
            let known: Vec<&str> = config.tables.iter().map(|table| &*table.name).collect();
            return Err(CoordinatorError::Refused(format!(
                "prefix {prefix:?} has rows of no table of the rules; their tables: {}. Give the index fleet the flowherd.toml \
                 that wrote the rows",
                known.join(", ")
            )));
        }
        let messages = match &self.index {
            Some(index) => index.cluster.prepare(&tables, target)?,
            None => Vec::new(),
        };
        // Names and enrichment files are in the rows already.
        Ok((Inputs { config: bytes, ..Inputs::default() }, fingerprint, messages))
    }

    /// Returns the tables whose rows a run sends; `None` for a run that converts.
    pub(crate) fn tables_of(&self, run: &Run) -> Result<Option<RowFilter>, CoordinatorError> {
        if run.job.is_convert() {
            return Ok(None);
        }
        let path = layout::config(&run.run);
        let bytes =
            self.results.get_limited(&path, MAX_CONFIG_BYTES as u64).map_err(CoordinatorError::Ledger)?;
        let config = parse(bytes.as_deref())?;
        Ok(Some(RowFilter(config.tables.into_iter().map(|table| table.name).collect())))
    }
}

fn parse(bytes: Option<&[u8]>) -> Result<Config, CoordinatorError> {
    let Some(bytes) = bytes else { return Ok(Config::default()) };
    Config::from_bytes(bytes)
        .map_err(|error| CoordinatorError::Refused(format!("flowherd.toml: {}", error_chain(&error))))
}

/// The tables of an index run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowFilter(BTreeSet<String>);

impl RowFilter {
    /// Creates a filter for these tables.
    #[must_use]
    pub fn new(tables: impl IntoIterator<Item = String>) -> Self {
        Self(tables.into_iter().collect())
    }

    /// Keeps the objects of a page that are rows of the tables. Returns the number of the others and the key of the first. The
    /// next page begins after the last row, so others after it count there.
    pub(crate) fn apply(
        &self,
        entries: &mut Vec<ManifestEntry>,
        is_last_page: bool,
    ) -> (u64, Option<String>) {
        let is_row = |entry: &ManifestEntry| {
            layout::table_of_csv(&entry.key).is_some_and(|table| self.0.contains(table))
        };
        if !is_last_page && let Some(last_row) = entries.iter().rposition(is_row) {
            entries.truncate(last_row + 1);
        }
        let first = entries.iter().find(|entry| !is_row(entry)).map(|entry| entry.key.clone());
        let listed = entries.len();
        entries.retain(is_row);
        ((listed - entries.len()) as u64, first)
    }
}

/// Returns the message about objects that planning has passed over.
pub(crate) fn passed_over(run: &str, count: u64, example: &str) -> String {
    format!(
        "run {run}: passed over {count} objects that are not rows of a table of its rules, such as {example}; to index them, \
         begin a run with the rules that wrote them"
    )
}
