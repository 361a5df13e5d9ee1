//! `flowherd convert s3://BUCKET/PREFIX DEST`.

use std::sync::atomic::{AtomicBool, Ordering};

use flowherd_shared::store::{Lister, Store};
use flowherd_tests::{
    command::{Ran, flowherd_in},
    objects::SPECIAL_KEYS,
    recording_proxy::RecordingProxy,
    servers::Servers,
};
use serde_json::Value;

use super::{
    differences::differs,
    fleet::{Fleet, report},
    place::PROGRAM,
};

/// Converts a prefix of the source bucket, and returns the report.
fn convert(fleet: &Fleet<'_>, environment: Vec<(&'static str, String)>, source: &str) -> (Ran, Value) {
    let out = fleet.place.path("from-bucket").to_str().unwrap().to_owned();
    let args = ["convert", source, &out, "--run", "r", "--json", "--jobs", "1"];
    let ran = flowherd_in(PROGRAM, environment, args);
    let report = report(&ran);
    (ran, report)
}

pub(crate) fn a_bucket_is_converted_like_a_directory(servers: &Servers<'_>) {
    let fleet = Fleet::new(servers, "convert", 1, 5);
    let plain = fleet.source.page("firehose/", None).unwrap().entries.remove(0).key;
    let object = Store::get(&fleet.source, &plain).unwrap().unwrap();
    // A file's name has no empty part.
    let has_file = |key: &&str| !key.contains("//");
    let is_known = |key: &&str| !differs(&servers.kind.to_string(), &format!("key {key:?}"));
    let keys: Vec<&str> = SPECIAL_KEYS.into_iter().filter(has_file).filter(is_known).collect();
    for key in &keys {
        fleet.source.put(&format!("special +%/{key}"), &object).unwrap();
        fleet.place.object(&format!("special +%/{key}"), &object);
    }
    let (ran, converted) = convert(&fleet, servers.environment(), "s3://convert-source/special +%/");
    assert_eq!((ran.status, &converted["objects"]["done"]), (0, &keys.len().into()), "{ran:?}");
    let local = fleet.place.report_done(&["--prefix", "special +%/"]);
    for part in ["objects", "records", "bytes", "tables", "rejects"] {
        assert_eq!(converted[part], local[part], "{part}");
    }
    let expected = fleet.place.results();
    assert_eq!(expected.len(), 2 * keys.len(), "rows and rejects");
    for (path, content) in expected {
        let found = std::fs::read(fleet.place.path("from-bucket").join(&path));
        assert!(found.is_ok_and(|found| found == content), "{path:?}");
    }
}

pub(crate) fn an_object_that_changes_or_vanishes_after_its_listing_fails_by_name(servers: &Servers<'_>) {
    let fleet = Fleet::new(servers, "races", 1, 5);
    let plain = fleet.source.page("firehose/", None).unwrap().entries.remove(0).key;
    let object = Store::get(&fleet.source, &plain).unwrap().unwrap();
    for key in ["races/changed", "races/gone", "races/other"] {
        fleet.source.put(key, &object).unwrap();
    }
    let server = &servers.environment().remove(0);
    assert_eq!(server.0, "AWS_ENDPOINT_URL_S3");
    let source = fleet.source.clone();
    let (has_changed, is_gone) = (AtomicBool::new(false), AtomicBool::new(false));
    // Before the server gets the request for an object, somebody else changes it.
    let before = move |sent: &[u8]| {
        let asks_for =
            |key: &str| String::from_utf8_lossy(sent).contains(&format!("GET /races-source/{key}"));
        if asks_for("races/changed") && !has_changed.swap(true, Ordering::SeqCst) {
            source.put("races/changed", b"other bytes").unwrap();
        }
        if asks_for("races/gone") && !is_gone.swap(true, Ordering::SeqCst) {
            source.remove("races/gone").unwrap();
        }
    };
    let proxy =
        RecordingProxy::start_with(server.1.strip_prefix("http://").unwrap().parse().unwrap(), before);
    let mut environment = servers.environment();
    environment[0].1.clone_from(&proxy.endpoint);
    let (ran, converted) = convert(&fleet, environment, "s3://races-source/races/");
    let objects = &converted["objects"];
    assert_eq!((ran.status, &objects["done"], &objects["failed"]), (1, &1.into(), &2.into()), "{ran:?}");
    let failures = converted["failures"].as_array().unwrap();
    let error = |at: usize| (failures[at]["key"].as_str().unwrap(), failures[at]["error"].as_str().unwrap());
    assert!(
        error(0).0 == "races/changed" && error(0).1.contains("changed since it was listed"),
        "{failures:?}"
    );
    assert!(error(1).0 == "races/gone" && error(1).1.contains("no longer exists"), "{failures:?}");
}
