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

/// Up to this number, sums of integers are exact in the cluster: it adds numbers of double precision.
const MAX_EXACT_SUM: u64 = 1 << f64::MANTISSA_DIGITS;

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
    /// Rows of the `csv.gz`. Those that are no document were refused.
    pub rows: u64,
}

/// The result of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Objects compared.
    pub objects: u64,
    /// Documents found.
    pub documents: u64,
    /// The objects whose counts or row numbers differ, and those with documents of another version.
    pub differences: Vec<Difference>,
}

/// An object with more or fewer documents than its receipt counts, with documents of other rows, or with documents of another
/// version.
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
    /// Whether the number of documents agrees, but some of them are not of the rows of the object, or of the same row.
    pub has_other_rows: bool,
}

/// The documents of one object.
#[derive(Clone, Copy)]
struct Found {
    /// With the `ETag` of the receipt.
    current: Documents,
    /// Number of those with another one.
    other_versions: u64,
}

/// Documents of one version of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Documents {
    count: u64,
    /// Least, largest and sum of their row numbers; `None` without any.
    rows: Option<[f64; 3]>,
}

impl Documents {
    /// Returns whether the numbers of the rows can be those of the object: exactly one document of each row, unless the cluster
    /// refused some.
    fn can_be_rows_of(&self, expected: &Expected) -> bool {
        let Some([least, largest, sum]) = self.rows else { return self.count == 0 };
        if least < 1.0 || largest > expected.rows as f64 {
            return false;
        }
        let is_exact = |sum: &u64| *sum <= MAX_EXACT_SUM;
        let sum_of_all = expected.rows.checked_add(1).and_then(|next| next.checked_mul(expected.rows));
        match sum_of_all.map(|product| product / 2).filter(is_exact) {
            // Both are integers.
            Some(sum_of_all) if expected.documents == expected.rows => (sum - sum_of_all as f64).abs() < 0.5,
            _ => true,
        }
    }
}

impl Cluster<'_> {
    /// Counts the documents of each object in the indices of a pattern. Refreshes the indices first, so that searches
    /// find all documents. Calls `on_answer` after each answer of the cluster.
    ///
    /// Counts by object and `ETag`, not by run: a document keeps the run that created it. A document of another version of the object
    /// counts apart, because its values may be old. If the count agrees, compares the row numbers: one exchanged document changes
    /// their sum. Several can have the same sum.
    pub async fn verify(
        &self,
        pattern: &str,
        expected: &[Expected],
        on_answer: &dyn Fn(),
    ) -> Result<Verification, ClusterError> {
        self.refresh(pattern).await?;
        on_answer();
        let mut verification = Verification::default();
        for expected in expected.chunks(OBJECTS_PER_QUERY) {
            let counts = self.count(pattern, expected, on_answer).await?;
            for (expected, Found { current, other_versions }) in expected.iter().zip(counts) {
                let found = current.count;
                verification.objects += 1;
                verification.documents += found;
                let has_other_rows = found == expected.documents && !current.can_be_rows_of(expected);
                if found != expected.documents || other_versions > 0 || has_other_rows {
                    let (object, expected) = (expected.object.clone(), expected.documents);
                    let difference = Difference { object, expected, found, other_versions, has_other_rows };
                    verification.differences.push(difference);
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

    /// Returns the documents of each object, in the same order.
    async fn count(
        &self,
        pattern: &str,
        expected: &[Expected],
        on_answer: &dyn Fn(),
    ) -> Result<Vec<Found>, ClusterError> {
        let keys: Vec<&str> = expected.iter().map(|expected| &*expected.object).collect();
        let field = |name: &str| json!({ "terms": { "field": name } });
        let mut query = json!({
            "size": 0,
            "track_total_hits": false,
            "query": { "bool": { "filter": [{ "terms": { "flowherd.object": keys } }] } },
            // Its counts are exact, and come in pages
            // (https://docs.opensearch.org/latest/aggregations/bucket/composite/).
            "aggs": { "versions": {
                "composite": {
                    "size": COUNTS_PER_PAGE,
                    "sources": [{ "object": field("flowherd.object") }, { "etag": field("flowherd.etag") }],
                },
                "aggs": { "rows": { "stats": { "field": "flowherd.row" } } },
            } },
        });
        let mut counts: BTreeMap<String, BTreeMap<String, Documents>> = BTreeMap::new();
        loop {
            let page = self.page(pattern, &query).await?;
            on_answer();
            for ((object, etag), documents) in page.counts {
                counts.entry(object).or_default().insert(etag, documents);
            }
            match page.after {
                Some(after) => query["aggs"]["versions"]["composite"]["after"] = after,
                None => break,
            }
        }
        let found = |expected: &Expected| {
            let versions = counts.get(&expected.object);
            let current = versions.and_then(|versions| versions.get(&expected.etag)).copied();
            let current = current.unwrap_or_default();
            let all: u64 =
                versions.into_iter().flat_map(BTreeMap::values).map(|documents| documents.count).sum();
            Found { current, other_versions: all - current.count }
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
            let rows = ["min", "max", "sum"].map(|name| bucket["rows"][name].as_f64());
            // A document without a row number is of no row.
            let has_all = bucket["rows"]["count"].as_u64() == Some(count);
            let rows = match rows {
                [Some(least), Some(largest), Some(sum)] if has_all => Some([least, largest, sum]),
                _ => None,
            };
            counts.push(((object, etag), Documents { count, rows }));
        }
        // The last page is empty, and has no key.
        Ok(Page { counts, after: versions.get("after_key").cloned() })
    }
}

/// Documents by object and `ETag`, and where the next page begins.
struct Page {
    counts: Vec<((String, String), Documents)>,
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

    #[test]
    fn one_exchanged_row_is_noticed_unless_the_sum_is_not_exact() {
        let can_be = |rows: u64, refused: u64, found: [f64; 3]| {
            let documents = rows - refused;
            let expected = Expected { object: String::new(), etag: String::new(), documents, rows };
            Documents { count: documents, rows: Some(found) }.can_be_rows_of(&expected)
        };
        assert!(can_be(4, 0, [1.0, 4.0, 10.0]));
        assert!(!can_be(4, 0, [1.0, 4.0, 11.0]), "row 3 twice, and row 2 never");
        assert!(
            !can_be(4, 0, [0.0, 4.0, 10.0]) && !can_be(4, 0, [1.0, 5.0, 10.0]),
            "rows that the CSV does not have"
        );
        assert!(can_be(4, 1, [1.0, 4.0, 8.0]), "which row was refused is not known");
        assert!(!can_be(4, 1, [1.0, 5.0, 8.0]));
        // The first sum above 2^53.
        let many = 134_217_728;
        assert!(can_be(many, 0, [1.0, many as f64, 1.0]) && !can_be(many - 1, 0, [1.0, 2.0, 1.0]));
        assert!(can_be(u64::MAX, 0, [1.0, 2.0, 3.0]));
        let expected = Expected { object: String::new(), etag: String::new(), documents: 1, rows: 1 };
        assert!(
            !Documents { count: 1, rows: None }.can_be_rows_of(&expected),
            "a document without a row number"
        );
    }
}
