//! Deletes only indices and data streams that Flowherd made.

use serde_json::Value;

use crate::{
    client::Method,
    cluster::{Cluster, ClusterError, escaped, malformed, ok, owned},
    index_name::check_pattern,
    template::{Meta, Refusal},
};

/// The indices that a removal would delete. Show them to the user before [`Cluster::remove`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The data stream of that name, which is deleted as a whole; `None` if the name is of indices.
    pub data_stream: Option<String>,
    /// The indices, sorted by name.
    pub indices: Vec<RemovedIndex>,
}

/// An index that a removal would delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovedIndex {
    /// The name.
    pub name: String,
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
        let data_stream = self.data_stream(name).await?;
        let existing = self.indices(name).await?;
        if existing.is_empty() {
            return Err(ClusterError::Absent { name: name.to_owned() });
        }
        let foreign = existing.iter().filter(|index| Meta::read(&index.meta).is_none());
        let foreign: Vec<&str> = foreign.map(|index| &*index.name).collect();
        if !foreign.is_empty() {
            return Err(owned("the index", &foreign, Refusal::Foreign));
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
            indices.push(RemovedIndex { name: index.name, documents, bytes });
        }
        indices.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Removal { data_stream, indices })
    }

    /// Deletes what [`Cluster::plan_removal`] returned. A missing index is not an error.
    pub async fn remove(&self, removal: &Removal) -> Result<(), ClusterError> {
        if let Some(name) = &removal.data_stream {
            return self
                .delete(&format!("delete the data stream {name:?}"), &format!("/_data_stream/{name}"))
                .await;
        }
        for RemovedIndex { name, .. } in &removal.indices {
            self.delete(&format!("delete the index {name:?}"), &format!("/{name}")).await?;
        }
        Ok(())
    }

    async fn delete(&self, action: &str, path: &str) -> Result<(), ClusterError> {
        let answer = self.request(action, Method::Delete, path, None).await?;
        if answer.status == 404 {
            return Ok(());
        }
        ok(action, &answer).map(|_| ())
    }

    /// Returns the data stream of exactly this name. The API accepts patterns too.
    async fn data_stream(&self, name: &str) -> Result<Option<String>, ClusterError> {
        if name.contains('*') {
            return Ok(None);
        }
        let action = format!("read the data stream {name:?}");
        let answer = self.request(&action, Method::Get, &format!("/_data_stream/{name}"), None).await?;
        // For the name of an index, this API returns an error: 404, or 400 in some versions.
        if matches!(answer.status, 400 | 404) {
            return Ok(None);
        }
        let body = ok(&action, &answer)?;
        let streams = body["data_streams"].as_array().map(Vec::as_slice).unwrap_or_default();
        let is_named = |stream: &Value| stream["name"].as_str() == Some(name);
        Ok(streams.iter().any(is_named).then(|| name.to_owned()))
    }
}
