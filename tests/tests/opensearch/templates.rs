//! Templates, indices and data streams: installation and refusals.

use flowherd_indexer::{
    client::Method,
    index_name::{Destination, NameLayout},
    template::VERSION,
};
use serde_json::{Value, json};

use super::session::{Prepared, Session, flow_table};

fn template_in(session: &Session, name: &str) -> Value {
    let body = session.ok(Method::Get, &format!("/_index_template/{name}"), &Value::Null);
    body["index_templates"][0]["index_template"].clone()
}

fn put_template(session: &Session, prepared: &Prepared, change: impl FnOnce(&mut Value)) {
    let mut body = prepared.template.body();
    change(&mut body);
    session.ok(Method::Put, &format!("/_index_template/{}", prepared.template.name), &body);
}

pub(crate) fn the_version_of_the_node_is_supported(session: &Session) {
    let version = session.runtime.block_on(session.cluster().version()).unwrap();
    assert_eq!(version.distribution, "opensearch");
    assert!(version.number.starts_with("2.19."), "{}", version.number);
}

pub(crate) fn a_template_is_installed_once_and_a_repeated_installation_changes_nothing(session: &Session) {
    let prepared = Prepared::flow("once");
    session.install(&prepared).unwrap();
    let installed = template_in(session, &prepared.template.name);
    assert_eq!(installed["version"], VERSION);
    assert_eq!(installed["template"]["mappings"]["dynamic"], "strict");
    // A comment that the cluster's owner added. If the installation wrote the template again, the comment would be lost.
    put_template(session, &prepared, |body| body["_meta"]["comment"] = json!("kept"));
    session.install(&prepared).unwrap();
    assert_eq!(template_in(session, &prepared.template.name)["_meta"]["comment"], "kept");
}

pub(crate) fn an_older_template_is_replaced(session: &Session) {
    let prepared = Prepared::flow("older");
    put_template(session, &prepared, |body| {
        body["_meta"]["version"] = json!(VERSION - 1);
        body["template"]["mappings"] = json!({ "properties": { "srcaddr": { "type": "text" } } });
    });
    session.install(&prepared).unwrap();
    let installed = template_in(session, &prepared.template.name);
    assert_eq!(installed["_meta"]["version"], VERSION);
    assert_eq!(installed["template"]["mappings"]["properties"]["srcaddr"]["type"], "ip");
}

pub(crate) fn a_newer_template_is_refused_and_stays(session: &Session) {
    let prepared = Prepared::flow("newer");
    put_template(session, &prepared, |body| body["_meta"]["version"] = json!(VERSION + 1));
    let error = session.install(&prepared).unwrap_err();
    assert!(error.contains("newer version of Flowherd"), "{error}");
    assert_eq!(template_in(session, &prepared.template.name)["_meta"]["version"], VERSION + 1);
}

pub(crate) fn a_foreign_template_is_refused_and_stays(session: &Session) {
    let prepared = Prepared::flow("foreign_template");
    put_template(session, &prepared, |body| body["_meta"] = json!({ "owner": "someone" }));
    let error = session.install(&prepared).unwrap_err();
    assert_eq!(
        error,
        "the template \"flowherd-foreign_template-dated\" was not made by Flowherd, which changes only what it \
         made; choose another index name"
    );
    assert_eq!(template_in(session, &prepared.template.name)["_meta"]["owner"], "someone");
}

pub(crate) fn a_foreign_index_under_the_names_of_a_table_is_refused(session: &Session) {
    let prepared = Prepared::flow("foreign_index");
    session.ok(Method::Put, "/flowherd-foreign_index-2026.02.18", &json!({}));
    let error = session.install(&prepared).unwrap_err();
    assert!(error.contains("\"flowherd-foreign_index-2026.02.18\" was not made by Flowherd"), "{error}");
    assert_eq!(
        session.send(Method::Head, "/_index_template/flowherd-foreign_index-dated", &Value::Null).0,
        404
    );
}

pub(crate) fn a_template_with_a_higher_priority_is_reported(session: &Session) {
    let other = json!({ "index_patterns": ["flowherd-overrid*"], "priority": 10_000 });
    session.ok(Method::Put, "/_index_template/catch-all", &other);
    let error = session.install(&Prepared::flow("overridden")).unwrap_err();
    session.ok(Method::Delete, "/_index_template/catch-all", &Value::Null);
    assert!(
        error.contains("\"flowherd-overridden-undated\": another template has a higher priority"),
        "{error}"
    );
    assert!(error.contains("higher priority: \"catch-all\";"), "{error}");
    let year = json!({ "index_patterns": ["flowherd-overridden-2026*"], "priority": 10_000 });
    session.ok(Method::Put, "/_index_template/year", &year);
    let error = session.install(&Prepared::flow("overridden")).unwrap_err();
    session.ok(Method::Delete, "/_index_template/year", &Value::Null);
    assert!(
        error.contains("\"flowherd-overridden-*\": another template has a higher priority: \"year\";"),
        "{error}"
    );
}

pub(crate) fn a_new_column_is_added_to_indices_that_exist(session: &Session) {
    let one = r#"{ name = "a", path = "/a" }"#;
    let two = r#"{ name = "a", path = "/a" }, { name = "b", path = "/b", type = "int" }"#;
    session.install(&Prepared::json("grows", one)).unwrap();
    let index = "flowherd-grows-undated";
    assert_eq!(session.create(index, "1", &json!({ "a": "x" })).0, 201);
    assert_eq!(session.create(index, "2", &json!({ "a": "x", "b": 1 })).0, 400);
    session.install(&Prepared::json("grows", two)).unwrap();
    assert_eq!(session.create(index, "2", &json!({ "a": "x", "b": 1 })).0, 201);
}

pub(crate) fn a_column_with_another_type_is_refused_with_the_name_of_the_index(session: &Session) {
    session.install(&Prepared::json("changes", r#"{ name = "a", path = "/a" }"#)).unwrap();
    let index = "flowherd-changes-undated";
    assert_eq!(session.create(index, "1", &json!({ "a": "x" })).0, 201);
    let error = session
        .install(&Prepared::json("changes", r#"{ name = "a", path = "/a", type = "int" }"#))
        .unwrap_err();
    assert!(error.contains("to the index \"flowherd-changes-undated\""), "{error}");
    assert!(error.contains("mapper [a] cannot be changed from type [keyword] to [long]"), "{error}");
}

pub(crate) fn a_data_stream_is_created_and_accepts_new_documents_only(session: &Session) {
    let layout = NameLayout::parse_data_stream("stream-{table}").unwrap();
    let prepared = Prepared::new(&flow_table("flow"), Destination::DataStream(layout));
    session.install(&prepared).unwrap();
    session.install(&prepared).unwrap();
    let document = json!({ "@timestamp": "2026-02-18T00:00:00.000Z", "srcaddr": "10.0.0.1" });
    assert_eq!(session.create("stream-flow", "1", &document).0, 201);
    assert_eq!(session.create("stream-flow", "1", &document).0, 409);
    let (status, body) = session.send(Method::Put, "/stream-flow/_doc/2", &document);
    assert_eq!(status, 400, "{body}");
    let (status, body) = session.create("stream-flow", "3", &json!({ "srcaddr": "10.0.0.1" }));
    assert_eq!(status, 400, "a document without a time: {body}");
}

pub(crate) fn an_index_with_a_name_of_its_own_is_created_once(session: &Session) {
    let case = || Prepared::new(&flow_table("vpc_flow"), Destination::index("case-7").unwrap());
    session.install(&case()).unwrap();
    session.install(&case()).unwrap();
    let mapping = session.ok(Method::Get, "/case-7/_mapping", &Value::Null);
    assert_eq!(mapping["case-7"]["mappings"]["properties"]["srcaddr"]["type"], "ip");
    let other = Prepared::new(&flow_table("other"), Destination::index("case-7").unwrap());
    let error = session.install(&other).unwrap_err();
    assert_eq!(error, "the index \"case-7\" holds another table; choose another index name");
    // A run that still creates documents must not create the index with another mapping.
    session.ok(Method::Delete, "/case-7", &Value::Null);
    assert_eq!(session.create("case-7", "1", &json!({ "unknown": "x" })).0, 400);
    assert_eq!(session.create("case-7", "1", &json!({ "srcaddr": "10.0.0.1" })).0, 201);
    session.ok(Method::Put, "/case-7/_alias/case-9", &Value::Null);
    let alias = Prepared::new(&flow_table("vpc_flow"), Destination::index("case-9").unwrap());
    assert!(session.install(&alias).unwrap_err().contains("\"case-9\" is an alias"));
    session.ok(Method::Put, "/case-8", &json!({}));
    let foreign = Prepared::new(&flow_table("vpc_flow"), Destination::index("case-8").unwrap());
    assert!(session.install(&foreign).unwrap_err().contains("was not made by Flowherd"));
}
