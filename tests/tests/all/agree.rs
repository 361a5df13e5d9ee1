//! Reads envelopes in three ways: with a readable pattern, as JSON, and with the fast scanner.

use flowherd_shared::{
    limits::Limits,
    pipeline::{
        layers::Layers,
        records::{EVENT_PATTERN, OriginKind, Records},
    },
};
use flowherd_tests::objects::{Portions, envelope, event};
use proptest::{collection::vec, prelude::*};
use regex::Regex;
use serde_json::Value;

type Event = (i64, String);

/// Reads the events with the scanner; `None` if the object fails.
fn scanner(text: &[u8], portion: usize) -> Option<Vec<Event>> {
    let limits = Limits::default();
    let mut records = Records::new(Layers::open(Portions::new(text, portion), limits).ok()?, limits);
    let mut events = Vec::new();
    while let Some(record) = records.next().ok()? {
        assert_eq!((record.origin.kind, record.fault), (OriginKind::Data, None));
        events.push((record.timestamp.unwrap(), String::from_utf8(record.message().to_vec()).unwrap()));
    }
    Some(events)
}

/// Reads the events as JSON.
fn json(text: &str) -> Vec<Event> {
    let envelopes = serde_json::Deserializer::from_str(text).into_iter::<Value>();
    envelopes
        .flat_map(|envelope| envelope.unwrap()["logEvents"].as_array().unwrap().clone())
        .map(|event| (event["timestamp"].as_i64().unwrap(), event["message"].as_str().unwrap().to_owned()))
        .collect()
}

/// Reads the events with the pattern. The JSON parser decodes escapes.
fn pattern(text: &str) -> Vec<Event> {
    let pattern = Regex::new(EVENT_PATTERN).unwrap();
    let event = |found: regex::Captures<'_>| {
        (found[1].parse().unwrap(), serde_json::from_str(&format!("\"{}\"", &found[2])).unwrap())
    };
    pattern.captures_iter(text).map(event).collect()
}

proptest! {
    #[test]
    fn the_pattern_json_and_the_scanner_agree_on_what_cloudwatch_logs_writes(
        envelopes in vec(vec((0..=253_402_300_799_999_i64, "[^\0]{0,20}"), 0..5), 1..4),
        portion in 1_usize..300,
    ) {
        let text: String = envelopes.iter().map(|events| {
            let events: Vec<String> = events.iter().map(|(timestamp, message)| event(*timestamp, message)).collect();
            envelope("group", &events)
        }).collect();
        let expected: Vec<Event> = envelopes.concat();
        prop_assert_eq!(&json(&text), &expected);
        prop_assert_eq!(&pattern(&text), &expected);
        prop_assert_eq!(&scanner(text.as_bytes(), portion), &Some(expected));
    }
}
