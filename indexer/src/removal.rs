//! Deletes only indices and data streams that Flowherd made.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    client::Method,
    cluster::{Cluster, ClusterError, ExistingIndex, escaped, list, malformed, ok},
    index_name::{check_name, check_pattern},
    template::Meta,
};

/// The indices that a removal would delete. Show them to the user before [`Cluster::remove`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The data streams, which are deleted as a whole.
    pub data_streams: Vec<String>,
    /// The indices, sorted by name, with those of the data streams.
    pub indices: Vec<RemovedIndex>,
}

/// An index that a removal would delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovedIndex {
    /// The name.
    pub name: String,
    /// Distinguishes it from an index that has the name later.
    pub uuid: String,
    /// The data stream that it is a part of.
    pub data_stream: Option<String>,
    /// Documents in it.
    pub documents: u64,
    /// Bytes on the cluster's disks, replicas included.
    pub bytes: u64,
}

impl Removal {
    /// Returns the number of documents.
    #[must_use]
    pub fn documents(&self) -> u64 {
        self.indices.iter().map(|index| index.documents).sum()
    }

    /// Returns the bytes on the cluster's disks.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.indices.iter().map(|index| index.bytes).sum()
    }
}

impl Cluster<'_> {
    /// Returns what a removal of this name or pattern would delete. The name is that of an index or data stream; a pattern has a
    /// `*`. Refuses if Flowherd did not make all of the indices.
    pub async fn plan_removal(&self, name: &str) -> Result<Removal, ClusterError> {
        check_pattern(name)?;
        let streams = self.data_streams(name).await?;
        let existing = self.indices(name).await?;
        if existing.is_empty() {
            return Err(ClusterError::Absent { name: name.to_owned() });
        }
        let foreign = existing.iter().filter(|index| Meta::read(&index.meta).is_none());
        let foreign: Vec<&str> = foreign.map(|index| &*index.name).collect();
        if !foreign.is_empty() {
            return Err(ClusterError::Kept { names: list(&foreign) });
        }
        for index in &existing {
            check_removable(&index.name, &streams)?;
        }
        let action = format!("read the sizes of the indices {name:?}");
        let path = format!("/{}/_stats/docs,store?expand_wildcards=all", escaped(name));
        let stats = self.expect_ok(&action, Method::Get, &path, None).await?;
        let mut indices = Vec::new();
        for index in existing {
            let stats = &stats["indices"][&index.name];
            let documents = stats["primaries"]["docs"]["count"].as_u64();
            let bytes = stats["total"]["store"]["size_in_bytes"].as_u64();
            let (Some(documents), Some(bytes)) = (documents, bytes) else {
                return Err(malformed(&action, "an index has no docs.count or no store.size_in_bytes"));
            };
            let ExistingIndex { name, uuid, .. } = index;
            let data_stream = streams.get(&name).cloned();
            indices.push(RemovedIndex { name, uuid, data_stream, documents, bytes });
        }
        indices.sort_by(|one, other| one.name.cmp(&other.name));
        let data_streams: BTreeSet<String> = streams.into_values().collect();
        Ok(Removal { data_streams: data_streams.into_iter().collect(), indices })
    }

    /// Deletes what [`Cluster::plan_removal`] returned. A missing index is not an error. An index that has the name of a planned one,
    /// but is another one, is an error.
    pub async fn remove(&self, removal: &Removal) -> Result<(), ClusterError> {
        for name in &removal.data_streams {
            let planned = removal.indices.iter().filter(|index| index.data_stream.as_ref() == Some(name));
            let planned: Vec<&str> = planned.map(|index| &*index.uuid).collect();
            // After a rollover the stream has new indices, and at least one of the old.
            let is_planned = |now: &[ExistingIndex]| now.iter().any(|index| planned.contains(&&*index.uuid));
            let action = format!("delete the data stream {name:?}");
            self.delete(&action, name, &format!("/_data_stream/{}", escaped(name)), is_planned).await?;
        }
        for RemovedIndex { name, uuid, .. } in
            removal.indices.iter().filter(|index| index.data_stream.is_none())
        {
            let is_planned =
                |now: &[ExistingIndex]| now.iter().all(|index| index.name == *name && index.uuid == *uuid);
            self.delete(
                &format!("delete the index {name:?}"),
                name,
                &format!("/{}", escaped(name)),
                is_planned,
            )
            .await?;
        }
        Ok(())
    }

    /// Deletes an index or a data stream, if its indices are still the planned ones. They may have changed while the user read the
    /// plan.
    async fn delete(
        &self,
        action: &str,
        name: &str,
        path: &str,
        is_planned: impl Fn(&[ExistingIndex]) -> bool,
    ) -> Result<(), ClusterError> {
        let now = self.indices(name).await?;
        if now.is_empty() {
            return Ok(());
        }
        if !is_planned(&now) || now.iter().any(|index| Meta::read(&index.meta).is_none()) {
            let problem = "another index has the name now; look at it, and repeat the command".to_owned();
            return Err(ClusterError::Answer { action: action.to_owned(), problem });
        }
        let answer = self.request(action, Method::Delete, path, None).await?;
        if answer.status == 404 {
            return Ok(());
        }
        ok(action, &answer).map(|_| ())
    }

    /// Returns the indices of the data streams of a name or pattern, each with the name of its stream.
    async fn data_streams(&self, name: &str) -> Result<BTreeMap<String, String>, ClusterError> {
        let action = format!("read the data streams {name:?}");
        let path = format!("/_data_stream/{}", escaped(name));
        let answer = self.request(&action, Method::Get, &path, None).await?;
        if has_no_streams(answer.status) {
            return Ok(BTreeMap::new());
        }
        Ok(indices_of_streams(&ok(&action, &answer)?))
    }
}

/// Whether the status of the data-stream API means that there is none. For the name of an index it is 404, or 400 in some versions.
/// A cluster without data streams, such as Elasticsearch 7.8, takes the path for that of a document type: 405.
fn has_no_streams(status: u16) -> bool {
    matches!(status, 400 | 404 | 405)
}

/// Returns the name of the data stream of each index in an answer
/// (<https://docs.opensearch.org/latest/im-plugin/data-streams/>).
fn indices_of_streams(body: &Value) -> BTreeMap<String, String> {
    let streams = body["data_streams"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut found = BTreeMap::new();
    for stream in streams {
        let Some(name) = stream["name"].as_str() else { continue };
        let indices = stream["indices"].as_array().map(Vec::as_slice).unwrap_or_default();
        for index in indices.iter().filter_map(|index| index["index_name"].as_str()) {
            found.insert(index.to_owned(), name.to_owned());
        }
    }
    found
}

/// Refuses an index whose name Flowherd never gives, and one of a data stream that is not deleted as a whole.
fn check_removable(index: &str, streams: &BTreeMap<String, String>) -> Result<(), ClusterError> {
    let problem = match (streams.get(index), index.strip_prefix(".ds-")) {
        (Some(stream), _) if check_name(stream).is_ok() => return Ok(()),
        (None, None) if check_name(index).is_ok() => return Ok(()),
        (None, Some(_)) => "it belongs to a data stream of another name; use the name of the data stream",
        _ => "Flowherd gives no such name; delete it with the tools of the cluster",
    };
    Err(ClusterError::Answer { action: format!("delete the index {index:?}"), problem: problem.to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn indices_of_data_streams_have_their_stream() {
        let body = json!({ "data_streams": [
            { "name": "logs-waf", "indices": [{ "index_name": ".ds-logs-waf-000001" }, { "index_name": ".ds-logs-waf-000002" }] },
            { "name": "logs-vpc", "indices": [{ "index_name": ".ds-logs-vpc-000001" }] },
        ] });
        let streams = indices_of_streams(&body);
        assert_eq!(streams.len(), 3);
        assert_eq!(streams[".ds-logs-waf-000002"], "logs-waf");
        assert!(check_removable(".ds-logs-waf-000001", &streams).is_ok());
        assert!(check_removable("case-7", &streams).is_ok());
    }

    #[test]
    fn a_cluster_without_data_streams_has_none_and_one_that_fails_is_an_error() {
        assert!([400, 404, 405].into_iter().all(has_no_streams));
        assert!(![200, 401, 403, 429, 500, 503].into_iter().any(has_no_streams));
    }

    #[test]
    fn an_index_with_a_name_that_flowherd_never_gives_is_not_removed() {
        for name in ["flowherd-%2a", "%2a", ".ds-other-000001", ".kibana", "a+b", "ä"] {
            let error = check_removable(name, &BTreeMap::new()).unwrap_err().to_string();
            assert!(error.starts_with("cannot delete the index"), "{error}");
        }
        let hostile = BTreeMap::from([(".ds-a-000001".to_owned(), "a%2a".to_owned())]);
        assert!(check_removable(".ds-a-000001", &hostile).is_err());
    }
}
