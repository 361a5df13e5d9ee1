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
/// Records that are examined for the member with the messages, the array or the payload.
const MAX_EXAMINED: usize = 20;
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
    /// The records that hold messages.
    pub(super) outer: Vec<Record>,
    /// A record for each message.
    pub(super) records: Vec<Record>,
}

impl Inner {
    /// Returns one message for each record.
    fn new(keys: Vec<String>, what: String, messages: Vec<(&Record, String)>) -> Self {
        let outer = messages.iter().map(|(record, _)| (*record).clone()).collect();
        let records = messages.into_iter().map(|(record, message)| record.with_message(message)).collect();
        Self { keys, what, outer, records }
    }
}

/// Payloads inside a cluster's records, and the keys of a rule that decodes them.
#[derive(Debug)]
pub(super) struct Payloads {
    pub(super) keys: Vec<String>,
    /// For each payload: the file of its record, and the decoded bytes, which may be compressed.
    pub(super) payloads: Vec<(usize, Vec<u8>)>,
}

/// Returns the elements of the array that the records hold. At most `max_unfit` percent of the records may have none.
pub(super) fn array(records: &[Record], max_unfit: usize) -> Option<Inner> {
    if let Some(arrays) = read_most(records, max_unfit, |record| objects(&record.message)) {
        return elements("", arrays);
    }
    let examined = some_of(records, MAX_EXAMINED);
    let name = most_frequent(examined.filter_map(|record| array_member(&record.message)))?;
    let (mut bytes, mut array_bytes, mut others) = (0, 0, 0);
    let arrays = read_most(records, max_unfit, |record| {
        let members = members(&record.message)?;
        let array = members.get(&name)?.get();
        let objects = objects(array)?;
        bytes += record.message.len();
        array_bytes += array.len();
        others += members.len() - 1;
        Some(objects)
    })?;
    let is_large = array_bytes * 100 >= bytes * MIN_ARRAY_PERCENT;
    if others > 0 && !is_large {
        return None;
    }
    elements(&pointer(&[name]), arrays)
}

/// Reads each record. Returns `None` if more than `max_unfit` percent of the records cannot be read.
fn read_most<'a, T>(
    records: &'a [Record],
    max_unfit: usize,
    mut read: impl FnMut(&'a Record) -> Option<T>,
) -> Option<Vec<(&'a Record, T)>> {
    let fitting: Vec<(&Record, T)> =
        records.iter().filter_map(|record| Some((record, read(record)?))).collect();
    let unfit = records.len() - fitting.len();
    (!fitting.is_empty() && unfit * 100 <= records.len() * max_unfit).then_some(fitting)
}

fn most_frequent(names: impl Iterator<Item = String>) -> Option<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name)
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

/// Returns the elements of an array if all are objects.
fn objects(array: &str) -> Option<Vec<&str>> {
    if !array.trim_start().starts_with('[') {
        return None;
    }
    let elements: Vec<&RawValue> = serde_json::from_str(array).ok()?;
    elements.into_iter().map(|element| Some(element.get()).filter(|text| text.starts_with('{'))).collect()
}

fn elements(pointer: &str, arrays: Vec<(&Record, Vec<&str>)>) -> Option<Inner> {
    let mut inner = Vec::new();
    let mut bytes = 0;
    for (record, element) in
        arrays.iter().flat_map(|(record, elements)| elements.iter().map(move |element| (record, element)))
    {
        if bytes >= MAX_ELEMENT_BYTES {
            break;
        }
        bytes += element.len();
        inner.push(record.with_message((*element).to_owned()));
    }
    (!inner.is_empty()).then(|| Inner {
        keys: vec![format!("records = {}", string(pointer))],
        what: match pointer {
            "" => "elements of arrays".to_owned(),
            pointer => format!("elements of the array {pointer}"),
        },
        outer: arrays.into_iter().map(|(record, _)| record.clone()).collect(),
        records: inner,
    })
}

/// Returns the messages that the records have as text in one member, and the maximum number of other members. At most
/// `max_unfit` percent of the records may have no such member.
pub(super) fn member(records: &[Record], max_unfit: usize) -> Option<(Inner, usize)> {
    let parsed: Vec<Option<Members<'_>>> = records.iter().map(|record| members(&record.message)).collect();
    MESSAGE_MEMBERS.iter().find_map(|name| {
        let mut parsed = parsed.iter();
        let mut others = 0;
        let messages = read_most(records, max_unfit, |_| {
            let members = parsed.next()?.as_ref()?;
            let message = text_of(members.get(*name)?)?;
            others = others.max(members.len() - 1);
            Some(message)
        })?;
        let keys = vec![format!("unwrap = \"/{name}\"")];
        Some((Inner::new(keys, format!("messages in the member /{name}"), messages), others))
    })
}

/// Returns the messages after the time at the start of the lines. At most `max_unfit` percent of the lines may begin otherwise.
pub(super) fn export(records: &[Record], max_unfit: usize) -> Option<Inner> {
    let messages = read_most(records, max_unfit, |record| {
        let (time, message) = record.message.split_once(' ')?;
        is_iso_time(time).then(|| message.to_owned())
    })?;
    let keys = vec!["lines = \"export\"".to_owned()];
    Some(Inner::new(keys, "lines with a time, as export tasks write them".to_owned(), messages))
}

/// Returns the payloads that the records have in base64: as the whole text, in a member, in a member of a member, or in a
/// member of each element of an array. At most `max_unfit` percent of the records may have none.
pub(super) fn payloads(records: &[Record], max_unfit: usize) -> Option<Payloads> {
    let mut tried: Vec<PayloadPath> = Vec::new();
    for record in some_of(records, MAX_EXAMINED) {
        let Some(path) = find_payload(&record.message).filter(|path| !tried.contains(path)) else { continue };
        if read_most(records, max_unfit, |record| path.payloads(&record.message)).is_some() {
            return Some(Payloads {
                keys: path.keys(),
                payloads: some_of(records, MAX_PAYLOADS)
                    .flat_map(|record| {
                        let payloads = path.payloads(&record.message).into_iter().flatten();
                        payloads.map(|payload| (record.file, payload))
                    })
                    .collect(),
            });
        }
        tried.push(path);
    }
    None
}

/// Where a payload is in a record.
#[derive(Debug, PartialEq, Eq)]
enum PayloadPath {
    Whole,
    Member(Vec<String>),
    Element(Vec<String>, Vec<String>),
}

fn pointer(path: &[String]) -> String {
    path.iter().map(|name| format!("/{}", name.replace('~', "~0").replace('/', "~1"))).collect()
}

fn find_payload(message: &str) -> Option<PayloadPath> {
    if decode(message).is_some() {
        return Some(PayloadPath::Whole);
    }
    for (name, raw) in members(message)? {
        if let Some(path) = payload_below(raw, &name, 2) {
            return Some(PayloadPath::Member(path));
        }
        let elements: Vec<&RawValue> = serde_json::from_str(raw.get()).unwrap_or_default();
        let Some(members) = elements.first().and_then(|element| members(element.get())) else { continue };
        for (member, raw) in members {
            if let Some(path) = payload_below(raw, &member, 1) {
                return Some(PayloadPath::Element(vec![name], path));
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

impl PayloadPath {
    /// Returns the keys of a rule that decodes the payloads.
    fn keys(&self) -> Vec<String> {
        let mut keys = Vec::new();
        match self {
            Self::Whole => {}
            Self::Member(path) => keys.push(format!("unwrap = {}", string(&pointer(path)))),
            Self::Element(array, path) => {
                keys.push(format!("records = {}", string(&pointer(array))));
                keys.push(format!("unwrap = {}", string(&pointer(path))));
            }
        }
        keys.push("decode = \"base64\"".to_owned());
        keys
    }

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
        let inner = array(&records(&[r#"{"Records":[{"a":1},{"a":2}]}"#, r#"{"Records":[]}"#]), 0).unwrap();
        assert_eq!((inner.keys, inner.records.len()), (vec!["records = \"/Records\"".to_owned()], 2));
        assert_eq!(array(&records(&["[{\"a\":1}]"]), 0).unwrap().keys, ["records = \"\""]);
        for other in [
            r#"{"id":"one order of several","items":[{"a":1}]}"#,
            r#"{"a":[1]}"#,
            r#"{"a":[{}],"b":[{}]}"#,
            "x",
            "{}",
        ] {
            assert!(array(&records(&[other]), 0).is_none(), "{other}");
        }
        assert!(array(&records(&[r#"{"Records":[{"a":1}]}"#, r#"{"other":1}"#]), 0).is_none());
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
            let found = payloads(&records(&[&message]), 0).unwrap();
            assert_eq!(found.keys, keys, "{message}");
            assert_eq!(found.payloads[0].1, b"{\"x\":\"some text\"}");
        }
        for other in [
            "AAAAAAAAAAAAAAAAAAAAAAAA",
            "0123456789abcdef0123456789abcdef",
            r#"{"id":"plain words and text"}"#,
        ] {
            assert!(payloads(&records(&[other]), 0).is_none(), "{other}");
        }
    }

    #[test]
    fn messages_in_members_and_after_times_are_found() {
        let (inner, others) = member(&records(&[r#"{"a":1,"message":"2 123"}"#]), 0).unwrap();
        assert_eq!(
            (inner.keys[0].as_str(), &*inner.records[0].message, others),
            ("unwrap = \"/message\"", "2 123", 1)
        );
        assert!(member(&records(&[r#"{"message":"x"}"#, r#"{"message":1}"#]), 0).is_none());
        let inner = export(&records(&["2026-02-18T00:00:00.000Z 2 123"]), 0).unwrap();
        assert_eq!(inner.records[0].message, "2 123");
        assert!(export(&records(&["2026-02-18T00:00:00.000Z a", "b c"]), 0).is_none());
    }

    #[test]
    fn a_few_records_without_the_form_do_not_hide_it_wherever_they_are() {
        let nineteen = |message: &str, other: &str, at: usize| {
            let mut messages = vec![message; 19];
            messages.insert(at, other);
            records(&messages)
        };
        for at in [0, 10, 19] {
            let in_array = nineteen(r#"{"Records":[{"a":1}]}"#, r#"{"Records":[1]}"#, at);
            assert!(array(&in_array, 4).is_none());
            assert_eq!(array(&in_array, 5).unwrap().records.len(), 19);
            let in_member = nineteen(r#"{"log":"{}"}"#, r#"{"message":"x"}"#, at);
            assert!(member(&in_member, 4).is_none());
            let (inner, _) = member(&in_member, 5).unwrap();
            assert_eq!((inner.keys[0].as_str(), inner.outer.len()), ("unwrap = \"/log\"", 19));
            let lines = nineteen("2026-02-18T00:00:00.000Z a", "\tat frame", at);
            assert!(export(&lines, 4).is_none());
            assert_eq!(export(&lines, 5).unwrap().records.len(), 19);
            let in_base64 = nineteen(r#"{"data":"eyJ4Ijoic29tZSB0ZXh0In0="}"#, "{}", at);
            assert!(payloads(&in_base64, 4).is_none());
            assert_eq!(payloads(&in_base64, 5).unwrap().payloads.len(), 19);
        }
    }
}
