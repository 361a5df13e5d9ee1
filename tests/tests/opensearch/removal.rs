//! The removal of indices.

use flowherd_indexer::{
    client::Method,
    index_name::{Destination, NameLayout},
    removal::Removal,
};
use flowherd_shared::error::error_chain;
use serde_json::{Value, json};

use super::session::{Prepared, Session, flow_table};

fn plan(session: &Session, name: &str) -> Result<Removal, String> {
    session.runtime.block_on(session.cluster().plan_removal(name)).map_err(|error| error_chain(&error))
}

fn remove(session: &Session, removal: &Removal) {
    session.runtime.block_on(session.cluster().remove(removal)).unwrap();
}

fn exists(session: &Session, index: &str) -> bool {
    session.send(Method::Head, &format!("/{index}"), &Value::Null).0 == 200
}

fn names(removal: &Removal) -> Vec<&str> {
    removal.indices.iter().map(|index| &*index.name).collect()
}

pub(crate) fn an_index_of_flowherd_is_removed_after_a_plan(session: &Session) {
    session.install(&Prepared::flow("removed")).unwrap();
    for (day, id) in [("18", "1"), ("18", "2"), ("19", "3")] {
        let index = format!("flowherd-removed-2026.02.{day}");
        assert_eq!(session.create(&index, id, &json!({ "srcaddr": "10.0.0.1" })).0, 201);
    }
    let one = plan(session, "flowherd-removed-2026.02.18").unwrap();
    assert_eq!((names(&one), one.documents()), (vec!["flowherd-removed-2026.02.18"], 2));
    assert!(one.bytes() > 0);
    let all = plan(session, "flowherd-removed-*").unwrap();
    assert_eq!((all.indices.len(), all.documents()), (2, 3));
    assert!(exists(session, "flowherd-removed-2026.02.18"), "a plan removes nothing");
    remove(session, &one);
    assert!(!exists(session, "flowherd-removed-2026.02.18"));
    // The name is now that of another index, which the user did not see.
    assert_eq!(session.create("flowherd-removed-2026.02.18", "1", &json!({ "srcaddr": "10.0.0.1" })).0, 201);
    let error = session.runtime.block_on(session.cluster().remove(&one)).unwrap_err().to_string();
    assert!(error.contains("another index has the name now"), "{error}");
    let all = plan(session, "flowherd-removed-*").unwrap();
    assert!(exists(session, "flowherd-removed-2026.02.19"));
    remove(session, &all);
    assert!(!exists(session, "flowherd-removed-2026.02.19"));
}

pub(crate) fn a_pattern_with_a_foreign_index_removes_nothing(session: &Session) {
    session.install(&Prepared::flow("mixed")).unwrap();
    assert_eq!(session.create("flowherd-mixed-undated", "1", &json!({ "srcaddr": "10.0.0.1" })).0, 201);
    session.ok(Method::Put, "/flowherd-mixed", &json!({}));
    for name in ["flowherd-mixed", "flowherd-mixed*"] {
        let error = plan(session, name).unwrap_err();
        assert!(error.contains("Flowherd did not create \"flowherd-mixed\";"), "{error}");
    }
    assert!(exists(session, "flowherd-mixed") && exists(session, "flowherd-mixed-undated"));
    // An alias does not make an index Flowherd's.
    session.ok(Method::Put, "/flowherd-mixed/_alias/flowherd-alias", &Value::Null);
    assert!(
        plan(session, "flowherd-alias").unwrap_err().contains("Flowherd did not create \"flowherd-mixed\";")
    );
}

pub(crate) fn a_data_stream_is_removed_as_a_whole(session: &Session) {
    let layout = NameLayout::parse_data_stream("removed-{table}").unwrap();
    let prepared = Prepared::new(&flow_table("stream"), Destination::DataStream(layout));
    session.install(&prepared).unwrap();
    let document = json!({ "@timestamp": "2026-02-18T00:00:00.000Z" });
    assert_eq!(session.create("removed-stream", "1", &document).0, 201);
    session.ok(Method::Post, "/removed-stream/_rollover", &Value::Null);
    let removal = plan(session, "removed-stream").unwrap();
    assert_eq!(removal.data_streams, ["removed-stream"]);
    assert_eq!(plan(session, "removed-str*").unwrap(), removal, "a pattern finds data streams");
    assert_eq!((removal.indices.len(), removal.documents()), (2, 1));
    remove(session, &removal);
    assert!(!exists(session, "removed-stream"));
}

pub(crate) fn names_without_an_index_and_invalid_names_are_refused(session: &Session) {
    for name in ["nothing", "nothing-*"] {
        assert_eq!(
            plan(session, name).unwrap_err(),
            format!("the cluster has no index or data stream {name:?}")
        );
    }
    for name in ["", "_all", "*", "a,b", "a/_doc", ".ds-*", "a?pretty"] {
        let error = plan(session, name).unwrap_err();
        assert!(error.contains("must begin with") || error.contains("has the character"), "{name}: {error}");
    }
}
