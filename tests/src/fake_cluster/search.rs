//! Searches that count documents by object and `ETag`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::State;

/// Answers a search with a filter by objects and `ETag`s, and a composite aggregation of both with statistics of the row numbers.
/// Has two counts a page.
pub(super) fn count(body: &[u8], state: &State) -> Value {
    let query: Value = serde_json::from_slice(body).unwrap();
    let filters = query["query"]["bool"]["filter"].as_array().unwrap();
    let is_match = |document: &Value| {
        filters.iter().all(|filter| {
            let terms = filter["terms"].as_object().unwrap();
            terms.iter().all(|(field, values)| values.as_array().unwrap().contains(&document[field]))
        })
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut rows: BTreeMap<(String, String), Vec<u64>> = BTreeMap::new();
    for document in state.documents.values().filter(|document| is_match(document)) {
        let key = (text(&document["flowherd.object"]), text(&document["flowherd.etag"]));
        rows.entry(key).or_default().push(document["flowherd.row"].as_u64().unwrap());
    }
    let after = query["aggs"]["versions"]["composite"].get("after");
    let after = after.map(|key| (text(&key["object"]), text(&key["etag"])));
    let page = rows.into_iter().filter(|(key, _)| after.as_ref().is_none_or(|after| key > after)).take(2);
    let buckets: Vec<Value> = page
        .map(|((object, etag), rows)| {
            let count = rows.len();
            let sum: u64 = rows.iter().sum();
            let rows =
                json!({"count": count, "min": rows.iter().min(), "max": rows.iter().max(), "sum": sum});
            json!({"key": {"object": object, "etag": etag}, "doc_count": count, "rows": rows})
        })
        .collect();
    let mut versions = json!({"buckets": buckets});
    if let Some(last) = buckets.last() {
        versions["after_key"] = last["key"].clone();
    }
    json!({
        "timed_out": false,
        "_shards": {"total": 1, "successful": 1, "failed": 0},
        "aggregations": {"versions": versions},
    })
}
