//! Why a cluster cannot be prepared, or its documents cannot be counted or deleted.

use super::MIN_ELASTICSEARCH;
use crate::{client::ClientError, index_name::NameError, template::Refusal};

/// Why the cluster cannot be prepared, or its documents cannot be counted or deleted.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The cluster did not answer, or refused the request.
    #[error("cannot {action}")]
    Request {
        /// The action, as a verb phrase.
        action: String,
        /// The failure.
        source: ClientError,
    },
    /// The answer is incomplete, or differs from the API's documentation.
    #[error("cannot {action}: {problem}")]
    Answer {
        /// The action, as a verb phrase.
        action: String,
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The indexer does not support this product or version.
    #[error(
        "the cluster is {found}; use OpenSearch, or Elasticsearch {}.{} or later",
        MIN_ELASTICSEARCH.0,
        MIN_ELASTICSEARCH.1
    )]
    Version {
        /// Its name and version.
        found: String,
    },
    /// Another program, table or version owns a template or index.
    #[error("{what} {names} {}", refusal_text(*.refusal))]
    Owned {
        /// `template`, `index` or `data stream`.
        what: &'static str,
        /// The names, quoted.
        names: String,
        /// Who owns it.
        refusal: Refusal,
    },
    /// Flowherd did not create all indices that a removal would delete.
    #[error(
        "nothing was deleted: Flowherd did not create {names}; use a narrower pattern, or delete them with the cluster's own API"
    )]
    Kept {
        /// Their names, quoted.
        names: String,
    },
    /// The name of `--to` is an alias or a data stream.
    #[error(
        "{name:?} is an alias or a data stream, with the indices {indices}; `--to` needs the name of an index; choose another name"
    )]
    NotAnIndex {
        /// The name.
        name: String,
        /// Its indices, quoted.
        indices: String,
    },
    /// Another template has priority.
    #[error(
        "the template {template:?} does not apply to the index {index:?}: another template has a higher priority: {others}; \
         lower its priority, or choose another index name"
    )]
    Overridden {
        /// The template of this run.
        template: String,
        /// An index that it should apply to.
        index: String,
        /// Their names.
        others: String,
    },
    /// Indices exist whose fields have other types.
    #[error(
        "cannot add the new fields of table {table:?} to the index {index:?}: {reason}; drop the index with `flowherd index \
         --drop {index}`, or choose another index name"
    )]
    Mapping {
        /// The table.
        table: String,
        /// The index.
        index: String,
        /// The cluster's answer.
        reason: ClientError,
    },
    /// A name that no index can have.
    #[error(transparent)]
    Name(#[from] NameError),
    /// There is no such index.
    #[error("the cluster has no index or data stream {name:?}")]
    Absent {
        /// The name or pattern.
        name: String,
    },
}

fn refusal_text(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Foreign => {
            "was not made by Flowherd, which changes only what it made; choose another index name"
        }
        Refusal::OtherTable => "holds another table; choose another index name",
        Refusal::Newer => "was made by a newer version of Flowherd; use that version",
    }
}
