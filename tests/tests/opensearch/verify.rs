//! The comparison of the cluster with a ledger.

use flowherd_indexer::{
    client::Method,
    verify::{Difference, Expected, Verification},
};
use serde_json::{Value, json};

use super::{
    rows::ETAG,
    session::{Prepared, Session},
};

fn verify(session: &Session, pattern: &str, expected: &[(&str, u64)]) -> Verification {
    let expected: Vec<Expected> = expected
        .iter()
        .map(|(object, documents)| Expected {
            object: (*object).to_owned(),
            etag: ETAG.to_owned(),
            documents: *documents,
            rows: *documents,
        })
        .collect();
    session.runtime.block_on(session.cluster().verify(pattern, &expected, &|| ())).unwrap()
}

/// Creates documents without making them visible to searches.
fn create(session: &Session, table: &str, object: &str, rows: u64) {
    session.install(&Prepared::json(table, r#"{ name = "a", path = "/a" }"#)).unwrap();
    for row in 1..=rows {
        // Rows of one object may be in several indices.
        let index = format!("flowherd-{table}-2026.02.{:02}", 1 + row % 2);
        let document = json!({ "flowherd": { "object": object, "etag": ETAG, "row": row } });
        session.ok(Method::Put, &format!("/{index}/_create/{}-{row}", object.len()), &document);
    }
}

pub(crate) fn counts_of_the_cluster_agree_with_the_ledger(session: &Session) {
    create(session, "agrees", "csv/agrees/a.csv.gz", 5);
    create(session, "agrees", "csv/agrees/ä b.csv.gz", 2);
    let expected = [("csv/agrees/a.csv.gz", 5), ("csv/agrees/ä b.csv.gz", 2), ("csv/agrees/none.csv.gz", 0)];
    let verification = verify(session, "flowherd-agrees-*", &expected);
    assert_eq!((verification.objects, verification.documents), (3, 7));
    assert_eq!(verification.differences, []);
    // More objects than fit into one query.
    let many: Vec<String> = (0..1200).map(|number| format!("csv/agrees/{number}")).collect();
    let many: Vec<(&str, u64)> = many.iter().map(|object| (&**object, 0)).chain(expected).collect();
    let verification = verify(session, "flowherd-agrees-*", &many);
    assert_eq!((verification.objects, verification.documents), (1203, 7));
    assert_eq!(verification.differences, []);
}

pub(crate) fn a_deleted_document_is_noticed(session: &Session) {
    create(session, "deleted", "o", 4);
    session.ok(Method::Delete, "/flowherd-deleted-2026.02.01/_doc/1-2", &Value::Null);
    let verification = verify(session, "flowherd-deleted-*", &[("o", 4)]);
    assert_eq!(
        verification.differences,
        [Difference {
            object: "o".to_owned(),
            expected: 4,
            found: 3,
            other_versions: 0,
            has_other_rows: false
        }]
    );
    let verification = verify(session, "flowherd-deleted-*", &[("o", 2)]);
    assert_eq!(
        verification.differences,
        [Difference {
            object: "o".to_owned(),
            expected: 2,
            found: 3,
            other_versions: 0,
            has_other_rows: false
        }]
    );
}

pub(crate) fn an_exchanged_document_is_noticed(session: &Session) {
    create(session, "exchanged", "o", 4);
    assert_eq!(verify(session, "flowherd-exchanged-*", &[("o", 4)]).differences, []);
    session.ok(Method::Delete, "/flowherd-exchanged-2026.02.01/_doc/1-2", &Value::Null);
    let double = json!({ "flowherd": { "object": "o", "etag": ETAG, "row": 3 } });
    session.ok(Method::Put, "/flowherd-exchanged-2026.02.01/_create/1-3-again", &double);
    assert_eq!(
        verify(session, "flowherd-exchanged-*", &[("o", 4)]).differences,
        [Difference {
            object: "o".to_owned(),
            expected: 4,
            found: 4,
            other_versions: 0,
            has_other_rows: true
        }]
    );
}

pub(crate) fn an_index_that_is_not_there_has_no_documents(session: &Session) {
    for pattern in ["flowherd-nothing-*", "nothing"] {
        let verification = verify(session, pattern, &[("o", 1)]);
        assert_eq!(
            verification.differences,
            [Difference {
                object: "o".to_owned(),
                expected: 1,
                found: 0,
                other_versions: 0,
                has_other_rows: false
            }]
        );
    }
}
