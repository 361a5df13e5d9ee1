//! The search cluster of a fleet, and which objects are rows: what other modules need of index runs.

use std::collections::BTreeSet;

use flowherd_shared::{
    layout,
    ledger::IndexTarget,
    store::{Cause, ManifestEntry},
    table::Table,
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

/// Target and cluster of an index fleet.
#[derive(Clone)]
#[expect(missing_debug_implementations, reason = "clusters need not implement it")]
pub struct IndexFleet<'a> {
    /// Where documents go, unless a run has another destination.
    pub target: IndexTarget,
    /// The cluster.
    pub cluster: &'a dyn SearchCluster,
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
