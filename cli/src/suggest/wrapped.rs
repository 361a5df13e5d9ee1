//! Records inside records: arrays, messages in JSON members, base64, lines of export tasks.

use std::collections::BTreeMap;

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_json::value::RawValue;

use super::{clusters::Record, spread::some_of, toml_text::string, values::is_iso_time};

/// Base64 with or without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Members that hold the message of another system, the most usual first.
const MESSAGE_MEMBERS: [&str; 6] = ["message", "log", "event", "_raw", "msg", "body"];
/// Minimum part of an object's bytes that its array of records has.
const MIN_ARRAY_PERCENT: usize = 90;
/// Maximum bytes of elements that are examined.
const MAX_ELEMENT_BYTES: usize = 4 << 20;
/// Minimum bytes of a payload. Short words are also base64.
const MIN_PAYLOAD_BYTES: usize = 16;
/// Minimum part of the records that hold a payload. Others are damaged.
const MIN_VALID_PERCENT: usize = 90;
/// Records whose payloads are decoded.
const MAX_PAYLOADS: usize = 200;

type Members<'a> = BTreeMap<String, &'a RawValue>;

/// The messages inside a cluster's records, and the keys of a rule that reads them.
#[derive(Debug)]
pub(super) struct Inner {
    /// Lines such as `records = "/Records"`.
    pub(super) keys: Vec<String>,
    /// What the keys do, for a comment.
    pub(super) what: String,
    pub(super) records: Vec<Record>,
}

/// Payloads inside a cluster's records, and the keys of a rule that decodes them.
#[derive(Debug)]
pub(super) struct Payloads {
    pub(super) keys: Vec<String>,
    /// For each payload: the file of its record, and the decoded bytes, which may be compressed.
    pub(super) payloads: Vec<(usize, Vec<u8>)>,
}

/// Returns the elements of the array that each record holds.
pub(super) fn array(records: &[Record]) -> Option<Inner> {
    let first = records.first()?.message.trim_start();
    if first.starts_with('[') {
        return elements(records, "", |message| Some(message.to_owned()));
    }
    let name = array_member(first)?;
    let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
    let (mut bytes, mut array_bytes, mut others) = (0, 0, 0);
    for record in records {
        let members = members(&record.message)?;
        bytes += record.message.len();
        array_bytes += members.get(&name)?.get().len();
        others += members.len() - 1;
    }
    let is_large = array_bytes * 100 >= bytes * MIN_ARRAY_PERCENT;
    if others > 0 && !is_large {
        return None;
    }
    elements(records, &pointer, |message| Some(members(message)?.get(&name)?.get().to_owned()))
}

/// Returns the only member of an object that is an array of objects.
fn array_member(message: &str) -> Option<String> {
    let members = members(message)?;
    let is_array = |raw: &RawValue| {
        raw.get().strip_prefix('[').is_some_and(|elements| elements.trim_start().starts_with('{'))
    };
    let mut arrays = members.into_iter().filter(|(_, raw)| is_array(raw));
    let (name, _) = arrays.next()?;
    arrays.next().is_none().then_some(name)
}

fn elements(records: &[Record], pointer: &str, array: impl Fn(&str) -> Option<String>) -> Option<Inner> {
    let mut inner = Vec::new();
    let mut bytes = 0;
    for record in records {
        let array = array(&record.message)?;
        for element in serde_json::from_str::<Vec<&RawValue>>(&array).ok()? {
            if !element.get().starts_with('{') {
                return None;
            }
            if bytes < MAX_ELEMENT_BYTES {
                bytes += element.get().len();
                inner.push(Record { message: element.get().to_owned(), ..record.clone() });
            }
        }
    }
    (!inner.is_empty()).then(|| Inner {
        keys: vec![format!("records = {}", string(pointer))],
        what: match pointer {
            "" => "elements of arrays".to_owned(),
            pointer => format!("elements of the array {pointer}"),
        },
        records: inner,
    })
}

/// Returns the messages that each record has as text in one member. `other` members hold at most this many values.
pub(super) fn member(records: &[Record]) -> Option<(Inner, usize)> {
    let first = members(&records.first()?.message)?;
    let name = MESSAGE_MEMBERS
        .iter()
        .find(|name| first.get(**name).is_some_and(|raw| raw.get().starts_with('"')))?;
    let mut inner = Vec::new();
    let mut others = 0;
    for record in records {
        let members = members(&record.message)?;
        let message: String = serde_json::from_str(members.get(*name)?.get()).ok()?;
        others = others.max(members.len() - 1);
        inner.push(Record { message, ..record.clone() });
    }
    let keys = vec![format!("unwrap = \"/{name}\"")];
    Some((Inner { keys, what: format!("messages in the member /{name}"), records: inner }, others))
}

/// Returns the messages after the time at the start of each line.
pub(super) fn export(records: &[Record]) -> Option<Inner> {
    let mut inner = Vec::new();
    for record in records {
        let (time, message) = record.message.split_once(' ')?;
        if !is_iso_time(time) {
            return None;
        }
        inner.push(Record { message: message.to_owned(), ..record.clone() });
    }
    let keys = vec!["lines = \"export\"".to_owned()];
    (!inner.is_empty()).then(|| Inner {
        keys,
        what: "lines with a time, as export tasks write them".to_owned(),
        records: inner,
    })
}

/// Returns the payloads that each record has in base64: as its whole text, in a member, in a member of a member, or in a member
/// of each element of an array.
pub(super) fn payloads(records: &[Record]) -> Option<Payloads> {
    let first = &records.first()?.message;
    let mut keys = Vec::new();
    let place = find_payload(first)?;
    match &place {
        Place::Whole => {}
        Place::Member(path) => keys.push(format!("unwrap = {}", string(&pointer(path)))),
        Place::Element(array, path) => {
            keys.push(format!("records = {}", string(&pointer(array))));
            keys.push(format!("unwrap = {}", string(&pointer(path))));
        }
    }
    keys.push("decode = \"base64\"".to_owned());
    let valid = records.iter().filter(|record| place.payloads(&record.message).is_some()).count();
    if valid * 100 < records.len() * MIN_VALID_PERCENT {
        return None;
    }
    let payloads = some_of(records, MAX_PAYLOADS)
        .flat_map(|record| {
            place.payloads(&record.message).into_iter().flatten().map(|payload| (record.file, payload))
        })
        .collect();
    Some(Payloads { keys, payloads })
}

/// Where a payload is in a record.
#[derive(Debug)]
enum Place {
    Whole,
    Member(Vec<String>),
    Element(Vec<String>, Vec<String>),
}

fn pointer(path: &[String]) -> String {
    path.iter().map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1"))).collect()
}

fn find_payload(message: &str) -> Option<Place> {
    if decode(message).is_some() {
        return Some(Place::Whole);
    }
    for (name, raw) in members(message)? {
        if let Some(path) = payload_below(raw, &name, 2) {
            return Some(Place::Member(path));
        }
        let elements: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
        let Some(members) = elements.first().and_then(|element| members(element.get())) else { continue };
        for (member, raw) in members {
            if let Some(path) = payload_below(raw, &member, 1) {
                return Some(Place::Element(vec![name], path));
            }
        }
    }
    None
}

/// Returns the path to a payload in a value, which may be the value itself.
fn payload_below(raw: &RawValue, name: &str, levels: usize) -> Option<Vec<String>> {
    if text_of(raw).is_some_and(|text| decode(&text).is_some()) {
        return Some(vec![name.to_owned()]);
    }
    if levels < 2 {
        return None;
    }
    members(raw.get())?.into_iter().find_map(|(member, raw)| {
        let below = payload_below(raw, &member, levels - 1)?;
        Some([vec![name.to_owned()], below].concat())
    })
}

impl Place {
    /// Returns the decoded payloads of a record; `None` if one is missing or no payload.
    fn payloads(&self, message: &str) -> Option<Vec<Vec<u8>>> {
        match self {
            Self::Whole => Some(vec![decode(message)?]),
            Self::Member(path) => Some(vec![at(message, path)?]),
            Self::Element(array, path) => {
                let members = members(message)?;
                let elements: Vec<&RawValue> =
                    serde_json::from_str(members.get(array.first()?)?.get()).ok()?;
                let payloads: Vec<Vec<u8>> =
                    elements.into_iter().filter_map(|element| at(element.get(), path)).collect();
                (!payloads.is_empty()).then_some(payloads)
            }
        }
    }
}

fn at(message: &str, path: &[String]) -> Option<Vec<u8>> {
    let members = members(message)?;
    let (first, rest) = path.split_first()?;
    let raw = members.get(first)?;
    if rest.is_empty() { decode(&text_of(raw)?) } else { at(raw.get(), rest) }
}

/// Decodes base64, also with line breaks. Returns `None` unless it holds compressed data or text: an id may also be base64.
fn decode(text: &str) -> Option<Vec<u8>> {
    let compact: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    if compact.len() < MIN_PAYLOAD_BYTES {
        return None;
    }
    let payload = BASE64.decode(&compact).ok()?;
    let is_gzip = payload.starts_with(b"\x1f\x8b\x08");
    let is_text = || {
        let is_character = |byte: &u8| !byte.is_ascii_control() || matches!(byte, b'\t' | b'\n' | b'\r');
        std::str::from_utf8(&payload).is_ok() && payload.iter().all(is_character)
    };
    (is_gzip || is_text()).then_some(payload)
}

fn members(message: &str) -> Option<Members<'_>> {
    if message.trim_start().starts_with('{') { serde_json::from_str(message).ok() } else { None }
}

fn text_of(raw: &RawValue) -> Option<String> {
    if raw.get().starts_with('"') { serde_json::from_str(raw.get()).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(messages: &[&str]) -> Vec<Record> {
        let record = |message: &&str| Record {
            message: (*message).to_owned(),
            stream: String::new(),
            file: 0,
            is_first: false,
        };
        messages.iter().map(record).collect()
    }

    #[test]
    fn an_array_of_records_is_most_of_its_object() {
        let inner = array(&records(&[r#"{"Records":[{"a":1},{"a":2}]}"#, r#"{"Records":[]}"#])).unwrap();
        assert_eq!((inner.keys, inner.records.len()), (vec!["records = \"/Records\"".to_owned()], 2));
        assert_eq!(array(&records(&["[{\"a\":1}]"])).unwrap().keys, ["records = \"\""]);
        for other in [
            r#"{"id":"one order of several","items":[{"a":1}]}"#,
            r#"{"a":[1]}"#,
            r#"{"a":[{}],"b":[{}]}"#,
            "x",
            "{}",
        ] {
            assert!(array(&records(&[other])).is_none(), "{other}");
        }
        assert!(array(&records(&[r#"{"Records":[{"a":1}]}"#, r#"{"other":1}"#])).is_none());
    }

    #[test]
    fn a_payload_is_found_wherever_it_is() {
        // `{"x":"some text"}`
        const TEXT: &str = "eyJ4Ijoic29tZSB0ZXh0In0=";
        for (message, keys) in [
            (TEXT.to_owned(), vec!["decode = \"base64\""]),
            (
                format!(r#"{{"id":"x","rawData":"{TEXT}"}}"#),
                vec!["unwrap = \"/rawData\"", "decode = \"base64\""],
            ),
            (
                format!(r#"{{"awslogs":{{"data":"{TEXT}"}}}}"#),
                vec!["unwrap = \"/awslogs/data\"", "decode = \"base64\""],
            ),
            (
                format!(r#"{{"requestId":"1","records":[{{"data":"{TEXT}"}},{{"data":"{TEXT}"}}]}}"#),
                vec!["records = \"/records\"", "unwrap = \"/data\"", "decode = \"base64\""],
            ),
        ] {
            let found = payloads(&records(&[&message])).unwrap();
            assert_eq!(found.keys, keys, "{message}");
            assert_eq!(found.payloads[0].1, b"{\"x\":\"some text\"}");
        }
        for other in [
            "AAAAAAAAAAAAAAAAAAAAAAAA",
            "0123456789abcdef0123456789abcdef",
            r#"{"id":"plain words and text"}"#,
        ] {
            assert!(payloads(&records(&[other])).is_none(), "{other}");
        }
    }

    #[test]
    fn messages_in_members_and_after_times_are_found() {
        let (inner, others) = member(&records(&[r#"{"a":1,"message":"2 123"}"#])).unwrap();
        assert_eq!(
            (inner.keys[0].as_str(), &*inner.records[0].message, others),
            ("unwrap = \"/message\"", "2 123", 1)
        );
        assert!(member(&records(&[r#"{"message":"x"}"#, r#"{"message":1}"#])).is_none());
        let inner = export(&records(&["2026-02-18T00:00:00.000Z 2 123"])).unwrap();
        assert_eq!(inner.records[0].message, "2 123");
        assert!(export(&records(&["2026-02-18T00:00:00.000Z a", "b c"])).is_none());
    }
}
