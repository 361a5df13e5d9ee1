//! Objects that the indexer sends to a node.

use flowherd_indexer::{
    client::Method,
    index_name::{Destination, NameLayout},
    job::{Counts, Indexer},
    schema::Naming,
    settings::ClusterSettings,
    verify::Expected,
};
use flowherd_shared::table::Table;
use serde_json::{Value, json};

use super::{
    rows::{ETAG, Rejects, flow_row, flow_rows, index, object, target},
    session::{Prepared, Session, flow_table, json_table},
};

pub(crate) const KEY: &str = "csv/vpc_flow/firehose/2026/02/18/a.gz.csv.gz";

/// Installs the template of a table, and indexes an object of it. The object must be done.
fn index_object(
    session: &Session,
    table: &Table,
    destination: &Destination,
    object: &[u8],
) -> (Counts, Rejects) {
    index_with(session, &session.settings(), table, destination, object)
}

pub(crate) fn index_with(
    session: &Session,
    settings: &ClusterSettings,
    table: &Table,
    destination: &Destination,
    object: &[u8],
) -> (Counts, Rejects) {
    session.install(&Prepared::new(table, destination.clone())).unwrap();
    let indexer = Indexer::new(settings).unwrap();
    let target = target(table, destination, Naming::Columns);
    let (outcome, rejects) = session.runtime.block_on(index(&indexer, &target, KEY, object, &|| false));
    let counts = outcome.unwrap_or_else(|error| panic!("{}", flowherd_shared::error::error_chain(&error)));
    assert_eq!(counts.rows, counts.indexed + counts.existing + counts.refused);
    assert_eq!(counts.refused, rejects.0.len() as u64);
    (counts, rejects)
}

/// Makes sure that the cluster has each row of the object once.
pub(crate) fn assert_documents(session: &Session, pattern: &str, documents: u64) {
    let expected = [Expected { object: KEY.to_owned(), etag: ETAG.to_owned(), documents, rows: documents }];
    let verification =
        session.runtime.block_on(session.cluster().verify(pattern, &expected, &|| ())).unwrap();
    assert_eq!(verification.differences, []);
    // Row numbers run from 1 without gaps.
    let rows = json!({ "size": 0, "aggs": { "rows": { "extended_stats": { "field": "flowherd.row" } } } });
    let body = session.ok(Method::Post, &format!("/{pattern}/_search"), &rows);
    let rows = &body["aggregations"]["rows"];
    let n = documents as f64;
    let (sum, squares) = (n * (n + 1.0) / 2.0, n * (n + 1.0) * (2.0 * n + 1.0) / 6.0);
    for (name, value) in [("count", n), ("min", 1.0), ("max", n), ("sum", sum), ("sum_of_squares", squares)] {
        assert_eq!(rows[name].as_f64(), Some(value), "{name}");
    }
}

pub(crate) fn dated() -> Destination {
    Destination::Indices(NameLayout::default())
}

pub(crate) fn an_object_is_indexed_once_and_a_repetition_adds_nothing(session: &Session) {
    let table = flow_table("repeated");
    let rows = flow_rows(4000).chain([flow_row(4000, "203.0.113.77", 5_000_000_000)]);
    let object = object(&table, rows);
    let (counts, _) = index_object(session, &table, &dated(), &object);
    assert_eq!((counts.rows, counts.indexed, counts.existing), (4001, 4001, 0));
    assert_documents(session, "flowherd-repeated-*", 4001);
    let incident = json!({ "term": { "srcaddr": "203.0.113.0/24" } });
    assert_eq!(session.count("flowherd-repeated-*", &incident), 1);
    let found = session.ok(Method::Post, "/flowherd-repeated-*/_search", &json!({ "query": incident }));
    let source = &found["hits"]["hits"][0]["_source"];
    assert_eq!(source["@timestamp"], "2026-02-18T01:06:40.000Z");
    assert_eq!((&source["bytes"], &source["dstport"]), (&json!(5_000_000_000_u64), &json!(443)));
    assert_eq!((&source["flowherd.object"], &source["flowherd.row"]), (&json!(KEY), &json!(4001)));
    assert_eq!(source.get("src_subnet_name"), None, "an absent value is no field");

    let id = found["hits"]["hits"][0]["_id"].as_str().unwrap();
    session.ok(Method::Delete, &format!("/flowherd-repeated-2026.02.18/_doc/{id}"), &Value::Null);
    let (counts, _) = index_object(session, &table, &dated(), &object);
    assert_eq!((counts.rows, counts.indexed, counts.existing), (4001, 1, 4000));
    assert_documents(session, "flowherd-repeated-*", 4001);
}

pub(crate) fn a_mapping_conflict_is_named_and_the_other_rows_are_indexed(session: &Session) {
    let columns = r#"{ name = "count", path = "/c", type = "bigint" }, { name = "client", path = "/i" }"#;
    let table = json_table("conflict", columns);
    let value = |row: u64| if row.is_multiple_of(10) { "twelve".to_owned() } else { row.to_string() };
    let object = object(&table, (1..=1000).map(|row| format!("-,{},client {row}", value(row))));
    let (counts, rejects) = index_object(session, &table, &dated(), &object);
    assert_eq!((counts.indexed, counts.refused), (900, 100));
    let mut refused = rejects.0;
    refused.sort_by_key(|refused| refused.row);
    let rows: Vec<u64> = refused.iter().map(|refused| refused.row).collect();
    assert_eq!(rows, (10..=1000).step_by(10).collect::<Vec<u64>>());
    assert_eq!(refused[0].reason, "mapper_parsing_exception");
    assert!(
        refused[0].detail.contains("failed to parse field [count] of type [long]"),
        "{}",
        refused[0].detail
    );
    let document: Value = serde_json::from_slice(&refused[0].document).unwrap();
    assert_eq!((&document["count"], &document["client"]), (&json!("twelve"), &json!("client 10")));
    assert_eq!(
        session.count("flowherd-conflict-undated", &json!({ "match_all": {} })),
        0,
        "not refreshed yet"
    );
    session.ok(Method::Post, "/flowherd-conflict-undated/_refresh", &Value::Null);
    assert_eq!(session.count("flowherd-conflict-undated", &json!({ "match_all": {} })), 900);
}

pub(crate) fn rows_go_to_the_index_of_their_own_day(session: &Session) {
    let table = flow_table("days");
    let rows =
        (0..300).map(|row| flow_row(row * 864, "10.0.0.1", 1)).chain([format!("-{}", ",-".repeat(19))]);
    let (counts, _) = index_object(session, &table, &dated(), &object(&table, rows));
    assert_eq!(counts.indexed, 301);
    session.ok(Method::Post, "/flowherd-days-*/_refresh", &Value::Null);
    for (index, documents) in [("2026.02.18", 100), ("2026.02.19", 100), ("2026.02.20", 100), ("undated", 1)]
    {
        assert_eq!(session.count(&format!("flowherd-days-{index}"), &json!({ "match_all": {} })), documents);
    }
}

pub(crate) fn a_data_stream_has_each_row_once_until_it_is_rolled_over(session: &Session) {
    let table = flow_table("rolled");
    let destination = Destination::DataStream(NameLayout::parse_data_stream("flowherd-{table}").unwrap());
    let object = object(&table, flow_rows(500));
    let (counts, _) = index_object(session, &table, &destination, &object);
    assert_eq!((counts.indexed, counts.existing), (500, 0));
    let (counts, _) = index_object(session, &table, &destination, &object);
    assert_eq!((counts.indexed, counts.existing), (0, 500));
    assert_documents(session, "flowherd-rolled", 500);
    // The cluster compares ids within one index only. The comparison with the ledger reports the second copies.
    session.ok(Method::Post, "/flowherd-rolled/_rollover", &Value::Null);
    let (counts, _) = index_object(session, &table, &destination, &object);
    assert_eq!((counts.indexed, counts.existing), (500, 0));
    let expected = [Expected { object: KEY.to_owned(), etag: ETAG.to_owned(), documents: 500, rows: 500 }];
    let verified =
        session.runtime.block_on(session.cluster().verify("flowherd-rolled", &expected, &|| ())).unwrap();
    assert_eq!(verified.differences[0].found, 1000);
}

pub(crate) fn flow_logs_are_indexed_under_the_names_of_the_common_schema(session: &Session) {
    let table = flow_table("ecs");
    let destination = dated();
    session.install(&Prepared::named(&table, destination.clone(), Naming::Ecs)).unwrap();
    let indexer = Indexer::new(&session.settings()).unwrap();
    let target = target(&table, &destination, Naming::Ecs);
    let object = object(&table, flow_rows(10));
    let (outcome, _) = session.runtime.block_on(index(&indexer, &target, KEY, &object[..], &|| false));
    assert_eq!(outcome.unwrap().indexed, 10);
    session.ok(Method::Post, "/flowherd-ecs-*/_refresh", &Value::Null);
    let is_found = |query: Value| session.count("flowherd-ecs-*", &query);
    assert_eq!(is_found(json!({ "term": { "source.ip": "10.0.0.0/8" } })), 10);
    assert_eq!(is_found(json!({ "term": { "network.iana_number": "6" } })), 10);
    assert_eq!(is_found(json!({ "term": { "flowherd.column.subnet_name": "public-a" } })), 10);
    assert_eq!(is_found(json!({ "range": { "event.end": { "gte": "1771372860", "lt": "1771372862" } } })), 2);
}
