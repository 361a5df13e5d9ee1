//! `flowherd synth`: sample objects.

use std::{fs, io::Read};

use flowherd_tests::{
    command::{files_below, flowherd},
    objects::gunzip,
};
use serde_json::Value;

use super::place::{PROGRAM, Place};

#[test]
fn synth_writes_the_same_bytes_for_the_same_seed() {
    let of = |seed: &str| {
        let place = Place::synth(3, 200, &["--seed", seed, "--malformed", "5"]);
        let root = place.path("in");
        files_below(&root)
            .into_iter()
            .map(|file| (file.clone(), fs::read(root.join(file)).unwrap()))
            .collect::<Vec<_>>()
    };
    assert_eq!(of("7"), of("7"));
    assert_ne!(of("7"), of("8"));
}

#[test]
fn synth_counts_one_object_and_one_record_in_the_singular() {
    let place = Place::new();
    let out = place.path("out");
    let ran = flowherd(PROGRAM, ["synth", out.to_str().unwrap(), "--objects", "1", "--records", "1"]);
    assert!(ran.stdout.starts_with("1 object with 1 record each, "), "{ran:?}");
}

#[test]
fn synth_writes_objects_as_firehose_does() {
    let place = Place::synth(2, 1000, &[]);
    let root = place.path("in");
    let key = files_below(&root).into_iter().find(|file| file.contains("/00/")).unwrap();
    assert!(key.starts_with("firehose/2026/02/18/00/flowherd-sample-1-2026-02-18-00-00-00-"), "{key}");
    let object = fs::read(root.join(&key)).unwrap();
    let mut first = String::new();
    #[allow(clippy::disallowed_types)] // to see that there is more than the first member
    flate2::read::GzDecoder::new(&object[..]).read_to_string(&mut first).unwrap();
    let all = String::from_utf8(gunzip(&object)).unwrap();
    assert!(
        all.len() > first.len() * 5 && !all.contains("}\n"),
        "one member per envelope, and nothing between members"
    );
    let groups: Vec<Value> =
        serde_json::Deserializer::from_str(&all).into_iter().map(Result::unwrap).collect();
    let mut streams: Vec<&str> =
        groups.iter().map(|envelope| envelope["logStream"].as_str().unwrap()).collect();
    streams.sort_unstable();
    streams.dedup();
    assert!(streams.len() > 3, "several log streams: {streams:?}");
    assert_eq!(groups[0]["messageType"], "CONTROL_MESSAGE");
    assert!(all.contains("NODATA"));
}
