//! Index runs: their objects are the rows of earlier runs, and their documents go to a search cluster.

use flowherd_shared::{
    config::Config,
    error::error_chain,
    layout,
    ledger::{Destination, Fingerprint, IndexTarget, Job, Run},
    limits::MAX_CONFIG_BYTES,
    queue::Queue,
    store::{Lister, Store},
    table::Table,
};

use crate::{
    coordinator::{Coordinator, Inputs},
    error::CoordinatorError,
    options::RunOptions,
    search::{ClusterError, RowFilter},
};

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
                     converts: flowherd run --resume RUN --fleet NAME"
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
        Ok(Some(RowFilter::new(config.tables.into_iter().map(|table| table.name))))
    }
}

fn parse(bytes: Option<&[u8]>) -> Result<Config, CoordinatorError> {
    let Some(bytes) = bytes else { return Ok(Config::default()) };
    Config::from_bytes(bytes)
        .map_err(|error| CoordinatorError::Refused(format!("flowherd.toml: {}", error_chain(&error))))
}
