//! Compares the documents in a cluster with the receipts in a ledger.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    client::Method,
    cluster::{Cluster, ClusterError, escaped, malformed},
};

/// Counts of one answer.
const COUNTS_PER_PAGE: usize = 1000;

/// Objects of one query, so that its keys take less than 1 MiB.
const OBJECTS_PER_QUERY: usize = 500;

/// Parameters of a search whose counts must be complete. The default of the cluster is to answer with partial results
/// (<https://www.elastic.co/guide/en/elasticsearch/reference/7.10/search-search.html>).
const SEARCH: &str = "ignore_unavailable=true&expand_wildcards=all&allow_partial_search_results=false";

/// Documents that an object should have, from its receipt: those that were indexed, and those that existed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The key of the `csv.gz`.
    pub object: String,
    /// The `ETag` of the `csv.gz`. Documents of another version do not count.
    pub etag: String,
    /// Number of documents.
    pub documents: u64,
}

/// The result of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Objects compared.
    pub objects: u64,
    /// Documents found.
    pub documents: u64,
    /// The objects whose counts differ, and those with documents of another version.
    pub differences: Vec<Difference>,
}

/// An object with more or fewer documents than its receipt counts, or with documents of another version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The key of the `csv.gz`.
    pub object: String,
    /// Documents that the receipt counts.
    pub expected: u64,
    /// Documents in the cluster.
    pub found: u64,
    /// Documents of the object with another `ETag`, which are not among those found.
    pub other_versions: u64,
}

/// The documents of one object.
#[derive(Clone, Copy)]
struct Found {
    /// With the `ETag` of the receipt.
    current: u64,
    /// With another one.
    other_versions: u64,
}

impl Cluster<'_> {
    /// Counts the documents of each object in the indices of a pattern. Refreshes the indices first, so that searches
    /// find all documents.
    ///
    /// Counts by object and `ETag`, not by run: a document keeps the run that created it. A document of another version of the object
    /// counts apart, because its values may be old.
    pub async fn verify(&self, pattern: &str, expected: &[Expected]) -> Result<Verification, ClusterError> {
        self.refresh(pattern).await?;
        let mut verification = Verification::default();
        for expected in expected.chunks(OBJECTS_PER_QUERY) {
            let counts = self.count(pattern, expected).await?;
            for (expected, Found { current: found, other_versions }) in expected.iter().zip(counts) {
                verification.objects += 1;
                verification.documents += found;
                if found != expected.documents || other_versions > 0 {
                    let (object, expected) = (expected.object.clone(), expected.documents);
                    verification.differences.push(Difference { object, expected, found, other_versions });
                }
            }
        }
        Ok(verification)
    }

    async fn refresh(&self, pattern: &str) -> Result<(), ClusterError> {
        let action = format!("refresh the indices {pattern:?}");
        let path = format!("/{}/_refresh?ignore_unavailable=true&expand_wildcards=all", escaped(pattern));
        let body = self.expect_ok(&action, Method::Post, &path, None).await?;
        check_shards(&action, &body)
    }

    /// Returns the number of documents of each object, in the same order.
    async fn count(&self, pattern: &str, expected: &[Expected]) -> Result<Vec<Found>, ClusterError> {
        let keys: Vec<&str> = expected.iter().map(|expected| &*expected.object).collect();
        let field = |name: &str| json!({ "terms": { "field": name } });
        let mut query = json!({
            "size": 0,
            "track_total_hits": false,
            "query": { "bool": { "filter": [{ "terms": { "flowherd.object": keys } }] } },
            // Its counts are exact, and come in pages
            // (https://docs.opensearch.org/latest/aggregations/bucket/composite/).
            "aggs": { "versions": { "composite": {
                "size": COUNTS_PER_PAGE,
                "sources": [{ "object": field("flowherd.object") }, { "etag": field("flowherd.etag") }],
            } } },
        });
        let mut counts: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        loop {
            let page = self.page(pattern, &query).await?;
            for ((object, etag), count) in page.counts {
                counts.entry(object).or_default().insert(etag, count);
            }
            match page.after {
                Some(after) => query["aggs"]["versions"]["composite"]["after"] = after,
                None => break,
            }
        }
        let found = |expected: &Expected| {
            let versions = counts.get(&expected.object);
            let current = versions.and_then(|versions| versions.get(&expected.etag)).copied().unwrap_or(0);
            let all: u64 = versions.into_iter().flat_map(BTreeMap::values).sum();
            Found { current, other_versions: all - current }
        };
        Ok(expected.iter().map(found).collect())
    }

    async fn page(&self, pattern: &str, query: &Value) -> Result<Page, ClusterError> {
        let action = format!("count the documents of the indices {pattern:?}");
        let path = format!("/{}/_search?{SEARCH}", escaped(pattern));
        let body = self.expect_ok(&action, Method::Post, &path, Some(query)).await?;
        check_shards(&action, &body)?;
        check_all_shards(&action, &body)?;
        if body["timed_out"] != Value::Bool(false) {
            let problem = "the search timed out; repeat it when the cluster has less to do".to_owned();
            return Err(ClusterError::Answer { action, problem });
        }
        // Without an index there is no aggregation.
        let versions = &body["aggregations"]["versions"];
        let mut counts = Vec::new();
        for bucket in versions["buckets"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let text = |name: &str| bucket["key"][name].as_str().map(str::to_owned);
            let (Some(object), Some(etag), Some(count)) =
                (text("object"), text("etag"), bucket["doc_count"].as_u64())
            else {
                return Err(malformed(&action, "a bucket has no object, no etag or no doc_count"));
            };
            counts.push(((object, etag), count));
        }
        // The last page is empty, and has no key.
        Ok(Page { counts, after: versions.get("after_key").cloned() })
    }
}

/// Counts of documents by object and `ETag`, and where the next page begins.
struct Page {
    counts: Vec<((String, String), u64)>,
    after: Option<Value>,
}

/// Refuses the answer of a search that leaves out a shard without a copy. Such a shard is not among the failed ones.
fn check_all_shards(action: &str, body: &Value) -> Result<(), ClusterError> {
    let shards = &body["_shards"];
    let (total, successful) = (shards["total"].as_u64(), shards["successful"].as_u64());
    if total == successful {
        return Ok(());
    }
    let (total, successful) = (total.unwrap_or(0), successful.unwrap_or(0));
    let problem = format!("{successful} of {total} shards answered; repeat it when the cluster is healthy");
    Err(ClusterError::Answer { action: action.to_owned(), problem })
}

/// Refuses an answer in which a shard failed: its numbers would be too low.
fn check_shards(action: &str, body: &Value) -> Result<(), ClusterError> {
    let shards = &body["_shards"];
    match (shards["total"].as_u64(), shards["successful"].as_u64(), shards["failed"].as_u64()) {
        (Some(_), Some(_), Some(0)) => Ok(()),
        (Some(total), _, Some(failed)) => Err(ClusterError::Answer {
            action: action.to_owned(),
            problem: format!("{failed} of {total} shards failed; repeat it when the cluster is healthy"),
        }),
        _ => Err(malformed(action, "it has no _shards")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_without_all_shards_is_an_error() {
        let answer = |total: u64, successful: u64| {
            let body =
                json!({ "_shards": { "total": total, "successful": successful, "skipped": 0, "failed": 0 } });
            check_all_shards("count", &body).map_err(|error| error.to_string())
        };
        assert_eq!(answer(5, 5), Ok(()));
        assert_eq!(answer(0, 0), Ok(()), "no index");
        assert!(answer(5, 4).unwrap_err().contains("4 of 5 shards answered"));
    }
}
