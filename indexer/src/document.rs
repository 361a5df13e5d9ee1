//! Encodes rows as documents: one line with the action, one with the source, as `_bulk` reads them
//! (<https://docs.opensearch.org/latest/api-reference/document-apis/bulk/>).

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use crate::{
    index_name::IndexName,
    schema::{DocumentSchema, Field, FieldKind},
};

/// Bytes of the hash in a document's id.
const ID_BYTES: usize = 16;
/// An absent value in the CSV.
const ABSENT: &[u8] = b"-";

/// Maximum indices of the rows of one object. Each index costs the cluster memory, and it has a limit of shards.
pub const MAX_INDICES: usize = 100;

/// Why a row cannot be a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoDocument {
    /// The timestamp is malformed, so the row has no index.
    BadTimestamp,
    /// The rows before it are in [`MAX_INDICES`] other indices.
    TooManyIndices,
    /// The document has more bytes than the limit.
    TooLarge,
}

/// Where rows come from. Each document has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The key of the `csv.gz`.
    pub key: &'a str,
    /// The `ETag` of the `csv.gz`. A new conversion of the same log object may change it.
    pub etag: &'a str,
    /// The run.
    pub run: &'a str,
}

/// Encodes the rows of one object.
#[derive(Debug)]
pub struct Encoder<'a> {
    index: &'a IndexName,
    /// For each column, `"name":` and its type. `None` is not indexed.
    fields: Vec<Option<(Vec<u8>, FieldKind)>>,
    /// The state of the hash after the key and NUL. Each row adds its number.
    key_hash: Sha256,
    /// `"flowherd.object":…,"flowherd.etag":…,"flowherd.run":…,"flowherd.row":`, without a leading comma.
    origin: Vec<u8>,
    /// The date of the previous row. `action` is the text before the id of that row's document.
    date: Vec<u8>,
    action: String,
    /// The names of the indices of all rows so far.
    indices: BTreeSet<String>,
}

impl<'a> Encoder<'a> {
    /// Creates an encoder for the rows of one object.
    #[must_use]
    pub fn new(schema: &DocumentSchema, index: &'a IndexName, origin: Origin<'_>) -> Self {
        let Origin { key, etag, run } = origin;
        let name = |field: &Field| (named(&field.name), field.kind);
        let mut origin = Vec::new();
        for (field, value) in [("flowherd.object", key), ("flowherd.etag", etag), ("flowherd.run", run)] {
            origin.extend_from_slice(&named(field));
            text(value.as_bytes(), usize::MAX, &mut origin);
            origin.push(b',');
        }
        origin.extend_from_slice(&named("flowherd.row"));
        let mut key_hash = Sha256::new();
        key_hash.update(key.as_bytes());
        // No key contains NUL, so no other key and row have the same hash input.
        key_hash.update([0]);
        Self {
            index,
            fields: schema.fields.iter().map(|field| field.as_ref().map(name)).collect(),
            key_hash,
            origin,
            date: Vec::new(),
            action: String::new(),
            indices: BTreeSet::new(),
        }
    }

    /// Appends the two lines of a row, of at most `limit` bytes. Returns the position of the source in `out`. Appends nothing if
    /// the row cannot be a document.
    pub fn append<'v>(
        &mut self,
        number: u64,
        values: impl Iterator<Item = &'v [u8]>,
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize, NoDocument> {
        let start = out.len();
        let appended = self.append_lines(number, values, start.saturating_add(limit), out);
        if appended.is_err() {
            out.truncate(start);
        }
        appended
    }

    /// Appends the lines of a row until `out` has more than `max` bytes.
    fn append_lines<'v>(
        &mut self,
        number: u64,
        values: impl Iterator<Item = &'v [u8]>,
        max: usize,
        out: &mut Vec<u8>,
    ) -> Result<usize, NoDocument> {
        let mut values = values.peekable();
        let timestamp: &[u8] = values.peek().copied().unwrap_or_default();
        // The index depends on the date only, so rows of the same date share the text.
        let date = &timestamp[..timestamp.len().min(10)];
        if self.action.is_empty() || date != self.date {
            let name = self.index_of(timestamp)?;
            self.action = format!("{{\"create\":{{\"_index\":\"{name}\",\"_id\":\"");
            self.date.clear();
            self.date.extend_from_slice(date);
        }
        out.extend_from_slice(self.action.as_bytes());
        append_id(&self.key_hash, number, out);
        out.extend_from_slice(b"\"}}\n");
        let source = out.len();
        out.push(b'{');
        for (field, bytes) in self.fields.iter().zip(values) {
            let Some((name, kind)) = field else { continue };
            if bytes.is_empty() || bytes == ABSENT {
                continue;
            }
            out.extend_from_slice(name);
            value(*kind, bytes, max, out);
            if out.len() > max {
                return Err(NoDocument::TooLarge);
            }
            out.push(b',');
        }
        out.extend_from_slice(&self.origin);
        decimal(number, out);
        out.extend_from_slice(b"}\n");
        if out.len() > max { Err(NoDocument::TooLarge) } else { Ok(source) }
    }

    /// Returns the index of a row with this timestamp. The result depends on the rows of the object only, so that another attempt
    /// finds the documents in the same indices.
    fn index_of(&mut self, timestamp: &[u8]) -> Result<String, NoDocument> {
        let mut name = String::new();
        if !self.index.append(timestamp, &mut name) {
            return Err(NoDocument::BadTimestamp);
        }
        if !self.indices.contains(&name) {
            if self.indices.len() >= MAX_INDICES {
                return Err(NoDocument::TooManyIndices);
            }
            self.indices.insert(name.clone());
        }
        Ok(name)
    }
}

/// Returns the id of the document of a row: the first 16 bytes of the SHA-256 of key, NUL and number (64 bits, big-endian), in
/// base64url.
#[must_use]
pub fn id(key: &str, number: u64) -> String {
    let mut hash = Sha256::new();
    hash.update(key.as_bytes());
    hash.update([0]);
    let mut id = Vec::new();
    append_id(&hash, number, &mut id);
    String::from_utf8_lossy(&id).into_owned()
}

fn append_id(key_hash: &Sha256, number: u64, out: &mut Vec<u8>) {
    let mut hash = key_hash.clone();
    hash.update(number.to_be_bytes());
    let digest = hash.finalize();
    let start = out.len();
    // 16 bytes give 22 characters.
    out.resize(start + ID_BYTES * 8 / 6 + 1, 0);
    #[expect(clippy::expect_used, reason = "the slice has the length of the text")]
    URL_SAFE_NO_PAD.encode_slice(&digest[..ID_BYTES], &mut out[start..]).expect("16 bytes are 22 characters");
}

fn named(name: &str) -> Vec<u8> {
    let mut named = Vec::new();
    text(name.as_bytes(), usize::MAX, &mut named);
    named.push(b':');
    named
}

/// Appends a value, or its beginning if `out` would have more than `max` bytes: then `out` has more. A value that is not of its type is sent as text: the cluster refuses the document and names the field.
fn value(kind: FieldKind, bytes: &[u8], max: usize, out: &mut Vec<u8>) {
    match kind {
        FieldKind::Long | FieldKind::EpochSeconds if is_plain_integer(bytes) => out.extend_from_slice(bytes),
        FieldKind::Long | FieldKind::EpochSeconds => {
            match std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<i64>().ok()) {
                Some(number) => out.extend_from_slice(number.to_string().as_bytes()),
                None => text(bytes, max, out),
            }
        }
        FieldKind::Double => {
            match std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<f64>().ok()) {
                // JSON has no infinity.
                Some(number) if number.is_finite() => out.extend_from_slice(number.to_string().as_bytes()),
                _ => text(bytes, max, out),
            }
        }
        FieldKind::Boolean if matches!(bytes, b"true" | b"false") => out.extend_from_slice(bytes),
        FieldKind::Boolean | FieldKind::Ip | FieldKind::Date | FieldKind::Keyword => text(bytes, max, out),
    }
}

/// Whether a value is a JSON integer that certainly fits 64 bits.
fn is_plain_integer(bytes: &[u8]) -> bool {
    let is_canonical = bytes.len() == 1 || bytes.first() != Some(&b'0');
    !bytes.is_empty() && bytes.len() <= 18 && is_canonical && bytes.iter().all(u8::is_ascii_digit)
}

fn decimal(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut start = digits.len();
    let mut number = number;
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

/// Appends a JSON string, or its beginning if `out` would have more than `max` bytes: an escaped text may be six times as long.
/// Bytes that are not UTF-8 become U+FFFD; Flowherd's CSV has none.
fn text(bytes: &[u8], max: usize, out: &mut Vec<u8>) {
    out.push(b'"');
    if bytes.iter().fold(true, |plain, byte| plain & is_plain(*byte)) {
        let room = max.saturating_sub(out.len()).saturating_add(1);
        out.extend_from_slice(&bytes[..bytes.len().min(room)]);
    } else {
        for chunk in bytes.utf8_chunks() {
            escape(chunk.valid(), max, out);
            if !chunk.invalid().is_empty() && out.len() <= max {
                out.extend_from_slice("\u{fffd}".as_bytes());
            }
        }
    }
    out.push(b'"');
}

/// Whether a byte needs no escape in a JSON string.
fn is_plain(byte: u8) -> bool {
    (0x20..0x80).contains(&byte) & (byte != b'"') & (byte != b'\\')
}

fn escape(text: &str, max: usize, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for byte in text.bytes() {
        if out.len() > max {
            return;
        }
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 => {
                let digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&digits);
            }
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    const KINDS: [FieldKind; 6] = [
        FieldKind::Date,
        FieldKind::Ip,
        FieldKind::Long,
        FieldKind::Double,
        FieldKind::Boolean,
        FieldKind::Keyword,
    ];

    fn schema() -> DocumentSchema {
        let names = ["@timestamp", "srcaddr", "bytes", "score", "allowed", "name"];
        let field = |(name, kind): (&str, FieldKind)| Some(Field { name: name.into(), kind });
        DocumentSchema { fields: names.into_iter().zip(KINDS).map(field).chain([None]).collect() }
    }

    fn encode(key: &str, number: u64, values: &[&[u8]]) -> (Value, Value) {
        let index = IndexName::Fixed("flows".into());
        let mut out = Vec::new();
        let mut encoder = Encoder::new(&schema(), &index, Origin { key, etag: "e1", run: "r1" });
        let source = encoder.append(number, values.iter().copied(), 100_000, &mut out).unwrap();
        let text = std::str::from_utf8(&out).unwrap();
        assert!(text.ends_with('\n') && text.lines().count() == 2, "{text}");
        (serde_json::from_str(&text[..source]).unwrap(), serde_json::from_str(&text[source..]).unwrap())
    }

    #[test]
    fn a_row_becomes_an_action_and_a_typed_source() {
        let row: [&[u8]; 7] =
            [b"2026-02-18T10:00:00.000Z", b"10.0.0.1", b"1500", b"0.5", b"true", b"a \"b\"\\n", b"hidden"];
        let (action, source) = encode("csv/x.csv.gz", 7, &row);
        assert_eq!(action, json!({"create": {"_index": "flows", "_id": id("csv/x.csv.gz", 7)}}));
        let expected = json!({
            "@timestamp": "2026-02-18T10:00:00.000Z", "srcaddr": "10.0.0.1", "bytes": 1500, "score": 0.5,
            "allowed": true, "name": "a \"b\"\\n", "flowherd.object": "csv/x.csv.gz", "flowherd.etag": "e1", "flowherd.run": "r1",
            "flowherd.row": 7
        });
        assert_eq!(source, expected);
    }

    #[test]
    fn absent_values_are_left_out() {
        let (_, source) = encode("k", 1, &[b"2026-02-18T10:00:00.000Z", b"-", b"", b"-", b"-", b"-", b"-"]);
        let expected = json!({
            "@timestamp": "2026-02-18T10:00:00.000Z", "flowherd.object": "k", "flowherd.etag": "e1",
            "flowherd.run": "r1", "flowherd.row": 1
        });
        assert_eq!(source, expected);
    }

    #[test]
    fn numbers_are_json_numbers_and_other_values_text_for_the_cluster_to_refuse() {
        for (value, long, double) in [
            ("007", json!(7), json!(7.0)),
            ("-5", json!(-5), json!(-5.0)),
            ("9223372036854775807", json!(i64::MAX), json!(9.223_372_036_854_776e18)),
            ("9223372036854775808", json!("9223372036854775808"), json!(9.223_372_036_854_776e18)),
            ("1.5", json!("1.5"), json!(1.5)),
            ("1e3", json!("1e3"), json!(1000.0)),
            ("NaN", json!("NaN"), json!("NaN")),
            ("inf", json!("inf"), json!("inf")),
            ("x\u{1}", json!("x\u{1}"), json!("x\u{1}")),
        ] {
            let (_, source) =
                encode("k", 1, &[b"t", b"-", value.as_bytes(), value.as_bytes(), b"-", b"-", b"-"]);
            assert_eq!(source["bytes"], long, "{value}");
            let is_same = source["score"] == double || source["score"].as_f64() == double.as_f64();
            assert!(is_same, "{value}: {}", source["score"]);
        }
    }

    #[test]
    fn an_id_depends_on_key_and_row_only_and_never_changes() {
        assert_eq!(id("csv/vpc_flow/a.gz.csv.gz", 1), id("csv/vpc_flow/a.gz.csv.gz", 1));
        assert_ne!(id("csv/vpc_flow/a.gz.csv.gz", 1), id("csv/vpc_flow/a.gz.csv.gz", 2));
        assert_ne!(id("csv/vpc_flow/a.gz.csv.gz", 1), id("csv/vpc_flow/b.gz.csv.gz", 1));
        // Another text means that a rerun adds every row a second time.
        assert_eq!(id("k", 1), "oaGuhr6CXBs17KtOOY-pfQ");
    }

    #[test]
    fn a_document_that_is_too_large_leaves_nothing_and_never_takes_much_more_than_the_limit() {
        let index = IndexName::Fixed("flows".into());
        for hostile in [&b"\x01"[..], b"x", b"\xff", b"\""] {
            let name = hostile.repeat(1 << 20);
            let row: [&[u8]; 7] = [b"2026-02-18T10:00:00.000Z", b"-", b"1", b"-", b"-", &name, b"-"];
            let mut out = b"before".to_vec();
            let mut encoder = Encoder::new(&schema(), &index, Origin { key: "k", etag: "e1", run: "r1" });
            let appended = encoder.append(1, row.into_iter(), 10_000, &mut out);
            assert_eq!((appended, &out[..]), (Err(NoDocument::TooLarge), &b"before"[..]));
            assert!(out.capacity() < 40_000, "{}", out.capacity());
        }
    }

    #[test]
    fn rows_of_one_object_are_in_a_limited_number_of_indices() {
        let index = crate::index_name::NameLayout::default().of_table("t");
        let mut encoder = Encoder::new(&schema(), &index, Origin { key: "k", etag: "e1", run: "r1" });
        let mut append = |number: usize| {
            let date = format!("20{:02}-{:02}-01T00:00:00.000Z", number / 12, 1 + number % 12);
            encoder.append(1, std::iter::once(date.as_bytes()), 1000, &mut Vec::new()).map(|_| ())
        };
        for number in 0..MAX_INDICES {
            assert_eq!(append(number), Ok(()), "{number}");
        }
        assert_eq!(append(MAX_INDICES), Err(NoDocument::TooManyIndices));
        assert_eq!(append(3), Ok(()), "an index of earlier rows");
    }

    proptest! {
        #[test]
        fn any_bytes_give_two_lines_of_valid_json(
            values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 7),
            key in "[^\u{0}]{1,40}",
            number in 1..u64::MAX,
        ) {
            let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
            let (_, source) = encode(&key, number, &values);
            prop_assert_eq!(&source["flowherd.object"], &json!(key));
            prop_assert_eq!(&source["flowherd.row"], &json!(number));
            let name = String::from_utf8_lossy(values[5]);
            if !name.is_empty() && name != "-" {
                prop_assert_eq!(&source["name"], &json!(name));
            }
        }
    }
}
