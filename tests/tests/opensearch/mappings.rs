//! The mapping: searches by type, and refused documents.

use flowherd_indexer::client::Method;
use serde_json::{Value, json};

use super::session::{Prepared, Session};

const COLUMNS: &str = r#"{ name = "count", path = "/c", type = "bigint" }, { name = "share", path = "/s", type = "double" },
    { name = "ok", path = "/o", type = "boolean" }, { name = "seen", path = "/t", type = "timestamp" },
    { name = "text", path = "/x" }"#;

fn json(table: &str) -> Prepared {
    Prepared::json(table, &COLUMNS.replace('\n', ""))
}

pub(crate) fn documents_are_found_by_address_range_time_and_number(session: &Session) {
    session.install(&Prepared::flow("found")).unwrap();
    let index = "flowherd-found-2026.02.18";
    for (number, source) in ["10.1.2.3", "10.2.0.1", "2001:db8::1"].iter().enumerate() {
        let document = json!({
            "@timestamp": "2026-02-18T09:00:00.000Z", "srcaddr": source, "dstport": 443, "start": 1_771_405_200 + number,
            "bytes": 9_000_000_000_u64, "action": "ACCEPT",
        });
        let (status, body) = session.create(index, &number.to_string(), &document);
        assert_eq!(status, 201, "{body}");
    }
    let count = |query: Value| session.count("flowherd-found-*", &query);
    assert_eq!(count(json!({ "term": { "srcaddr": "10.1.0.0/16" } })), 1);
    assert_eq!(count(json!({ "term": { "srcaddr": "10.0.0.0/8" } })), 2);
    assert_eq!(count(json!({ "term": { "srcaddr": "2001:db8::/32" } })), 1);
    assert_eq!(count(json!({ "range": { "bytes": { "gt": 8_999_999_999_u64 } } })), 3);
    assert_eq!(count(json!({ "range": { "@timestamp": { "gte": "2026-02-18", "lt": "2026-02-19" } } })), 3);
    let begin = json!({ "gte": "2026-02-18T09:00:01Z", "format": "strict_date_optional_time" });
    assert_eq!(count(json!({ "range": { "start": begin } })), 2);
    assert_eq!(count(json!({ "term": { "action": "ACCEPT" } })), 3);
}

pub(crate) fn values_that_do_not_fit_their_type_and_unknown_fields_are_refused(session: &Session) {
    session.install(&json("strict")).unwrap();
    let index = "flowherd-strict-undated";
    let refused = [
        (json!({ "count": "12" }), "failed to parse field [count] of type [long]"),
        (json!({ "count": 1.5 }), "failed to parse field [count] of type [long]"),
        (json!({ "share": "1.5" }), "failed to parse field [share] of type [double]"),
        (json!({ "ok": "yes" }), "failed to parse field [ok] of type [boolean]"),
        (json!({ "seen": "yesterday" }), "failed to parse field [seen] of type [date]"),
        (json!({ "seen": "1771405200123" }), "failed to parse field [seen] of type [date]"),
        (json!({ "new": 1 }), "dynamic introduction of [new]"),
        (json!({ "flowherd": { "new": 1 } }), "dynamic introduction of [new]"),
        (json!({ "text": { "a": 1 } }), "failed to parse field [text] of type [keyword]"),
    ];
    for (document, reason) in refused {
        let (status, body) = session.create(index, "1", &document);
        assert_eq!(status, 400, "{document}");
        assert!(body["error"]["reason"].as_str().unwrap().contains(reason), "{body}");
    }
    let accepted =
        json!({ "count": 12, "share": 1, "ok": true, "seen": "2026-02-18T00:00:00+01:00", "text": "1" });
    assert_eq!(session.create(index, "1", &accepted).0, 201);
    assert_eq!(session.create(index, "2", &json!({ "ok": "true", "share": 1.5 })).0, 201);
}

pub(crate) fn a_column_declared_as_address_is_found_by_network_and_refuses_other_values(session: &Session) {
    session.install(&Prepared::json("declared", r#"{ name = "client", path = "/c", type = "ip" }"#)).unwrap();
    let index = "flowherd-declared-undated";
    for (id, client) in [("1", "198.51.100.7"), ("2", "2001:db8::7")] {
        assert_eq!(session.create(index, id, &json!({ "client": client })).0, 201);
    }
    assert_eq!(session.count(index, &json!({ "term": { "client": "198.51.100.0/24" } })), 1);
    assert_eq!(session.count(index, &json!({ "term": { "client": "2001:db8::/32" } })), 1);
    for client in ["AWS Internal", "198.51.100.7:443", "198.51.100.256"] {
        let (status, body) = session.create(index, "3", &json!({ "client": client }));
        assert_eq!(status, 400, "{client}: {body}");
        let reason = body["error"]["reason"].as_str().unwrap();
        assert!(reason.contains("failed to parse field [client] of type [ip]"), "{client}: {reason}");
    }
}

pub(crate) fn a_long_text_is_kept_but_not_searchable(session: &Session) {
    session.install(&json("long_text")).unwrap();
    let index = "flowherd-long_text-undated";
    // The longest searchable value of such characters: the limit counts each as two UTF-16 code units.
    let (longest, too_long) = ("𝔞".repeat(8191 / 2), "a".repeat(40_000));
    assert_eq!(session.create(index, "1", &json!({ "text": longest })).0, 201);
    assert_eq!(session.create(index, "2", &json!({ "text": too_long })).0, 201);
    assert_eq!(session.count(index, &json!({ "term": { "text": longest } })), 1);
    assert_eq!(session.count(index, &json!({ "exists": { "field": "text" } })), 1);
    let document = session.ok(Method::Get, &format!("/{index}/_doc/2"), &Value::Null);
    assert_eq!(document["_source"]["text"].as_str().unwrap().len(), too_long.len());
}

pub(crate) fn a_repeated_document_exists(session: &Session) {
    session.install(&json("twice")).unwrap();
    let index = "flowherd-twice-undated";
    assert_eq!(session.create(index, "a", &json!({ "text": "one" })).0, 201);
    let (status, body) = session.create(index, "a", &json!({ "text": "two" }));
    assert_eq!((status, &body["error"]["type"]), (409, &json!("version_conflict_engine_exception")));
    assert_eq!(session.count(index, &json!({ "term": { "text": "one" } })), 1);
}

pub(crate) fn a_table_with_the_maximum_of_columns_has_a_template(session: &Session) {
    let columns: Vec<String> = (0..1000).map(|n| format!("{{ name = \"c{n}\", path = \"/{n}\" }}")).collect();
    session.install(&Prepared::json("wide", &columns.join(", "))).unwrap();
    let document: serde_json::Map<String, Value> = (0..1000).map(|n| (format!("c{n}"), json!("v"))).collect();
    let (status, body) = session.create("flowherd-wide-undated", "1", &Value::Object(document));
    assert_eq!(status, 201, "{body}");
}
