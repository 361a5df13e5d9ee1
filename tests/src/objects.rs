//! Objects for tests, and readers that return their bytes in small portions.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
};

use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use flowherd_shared::{
    error::ObjectError,
    pipeline::{self, Counts, Output, RuleCounts, RunConfig},
};
use serde_json::Value;

use crate::model::{Outcome, shown};

/// Returns one gzip member.
#[must_use]
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Decompresses all members of one gzip layer.
#[must_use]
pub fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::new();
    MultiGzDecoder::new(bytes).read_to_end(&mut text).unwrap();
    text
}

/// Returns text that hardly compresses: each character has 6 random bits, reproducible by the seed.
#[must_use]
pub fn noise(seed: u64, characters: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        // xorshift64* (Vigna, https://arxiv.org/abs/1402.6246).
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        char::from(ALPHABET[(state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 58) as usize])
    };
    (0..characters).map(next).collect()
}

/// Returns an event as CloudWatch Logs writes it.
#[must_use]
pub fn event(timestamp: i64, message: &str) -> String {
    let message = Value::from(message);
    format!(r#"{{"id":"36611082","timestamp":{timestamp},"message":{message}}}"#)
}

/// Returns a data envelope of one log group, as CloudWatch Logs writes it.
#[must_use]
pub fn envelope(log_group: &str, events: &[String]) -> String {
    envelope_of("DATA_MESSAGE", log_group, events)
}

/// Returns an envelope of any message type.
#[must_use]
pub fn envelope_of(message_type: &str, log_group: &str, events: &[String]) -> String {
    format!(
        r#"{{"messageType":"{message_type}","owner":"123456789012","logGroup":"{log_group}","logStream":"eni-1-all","subscriptionFilters":["to-firehose"],"logEvents":[{}]}}"#,
        events.join(",")
    )
}

/// A version 2 flow-log record.
pub const FLOW: &str =
    "2 123456789012 eni-1 10.0.0.5 192.0.2.7 49152 443 6 20 4249 1580515200 1580515260 ACCEPT OK";

/// Names of interfaces, subnets and VPCs. Some CIDR blocks contain others, and one subnet has only a CIDR block.
pub const NAMES: &str = r#"{
    "interfaces": {
        "eni-1": {"description": "web, \"front\"", "subnet_id": "subnet-1", "vpc_id": "vpc-1"},
        "eni-2": {"description": "db", "subnet_id": "subnet-2"},
        "eni-3": {}
    },
    "subnets": {
        "subnet-1": {"name": "a", "vpc_id": "vpc-1", "cidrs": ["10.0.0.0/24", "2001:db8::/64"]},
        "subnet-2": {"name": "b", "vpc_id": "vpc-2", "cidrs": ["10.0.0.0/25", "10.1.0.0/16"]},
        "subnet-3": {"name": "b-inner", "vpc_id": "vpc-2", "cidrs": ["10.1.2.0/24"]},
        "subnet-4": {"cidrs": ["10.9.0.0/16"]}
    },
    "vpcs": {"vpc-1": {"name": "prod"}, "vpc-2": {"name": "stage"}}
}"#;

/// Keys with characters that URLs, XML, shells or file systems treat specially.
pub const SPECIAL_KEYS: [&str; 14] = [
    "a b",
    "a+b",
    "a%20b",
    "a%2Fb",
    "ü/日本",
    "a\"b'c",
    "a&b<c>",
    "a\\b",
    "a?b#c",
    "~!@$^*()=;,",
    "a\u{7f}b",
    "\u{fffd}\u{10ffff}",
    "a//b",
    "a\u{1}\n\tb",
];

/// A rule for the log group `app` with messages `user NAME`, and one for flow logs.
pub const APP_RULES: &str = r#"
[[rule]]
name = "app"
match = { log_group = "app" }
table = "app"
format = { kind = "regex", pattern = '(?s)^user (?P<user>.*)$' }
[[rule]]
name = "flow"
table = "vpc_flow"
format = { kind = "vpc-flow" }
"#;

/// An object for [`APP_RULES`] whose compressed output exceeds 16 MiB, so that it is uploaded in parts: 24 MiB of text, with
/// 6 random bits per character.
#[must_use]
pub fn large_object() -> Vec<u8> {
    let messages = (0..3000).map(|seed| event(1, &format!("user {}", noise(seed, 8 << 10))));
    let envelopes: String = messages.map(|event| envelope("app", &[event])).collect();
    gzip(envelopes.as_bytes())
}

/// A reader that returns at most `limit` bytes per call.
#[derive(Debug)]
pub struct Portions<'a> {
    rest: &'a [u8],
    limit: usize,
}

impl<'a> Portions<'a> {
    /// A `limit` of 0 counts as 1.
    #[must_use]
    pub fn new(bytes: &'a [u8], limit: usize) -> Self {
        Self { rest: bytes, limit: limit.max(1) }
    }
}

impl Read for Portions<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.rest.len().min(self.limit).min(out.len());
        out[..count].copy_from_slice(&self.rest[..count]);
        self.rest = &self.rest[count..];
        Ok(count)
    }
}

/// Outcome of the pipeline: the counts, and each output with its decompressed text.
pub type Converted = (Counts, Vec<(Output, String)>);

/// Runs the pipeline in memory.
pub fn convert(object: impl Read, key: &str, plan: &RunConfig) -> Result<Converted, ObjectError> {
    let finished = pipeline::run(object, key, plan, |_| Ok(Vec::new()))?;
    let text = |bytes: Vec<u8>| String::from_utf8(gunzip(&bytes)).unwrap();
    Ok((finished.counts, finished.outputs.into_iter().map(|(output, bytes)| (output, text(bytes))).collect()))
}

/// Runs the pipeline in memory, converts the outputs to the model's types, and checks that the counts add up.
pub fn outcome(object: &[u8], portion: usize, key: &str, plan: &RunConfig) -> Result<Outcome, ObjectError> {
    let (counts, outputs) = convert(Portions::new(object, portion), key, plan)?;
    let mut tables = BTreeMap::new();
    let (mut rejects, mut reject_bytes) = (Vec::new(), 0);
    for (output, text) in outputs {
        let Some(table) = output.table else {
            reject_bytes = text.len() as u64;
            for line in text.lines() {
                let reject: Value = serde_json::from_str(line).unwrap();
                let text = |name: &str| reject[name].as_str().unwrap().to_owned();
                assert_eq!(text("object"), key);
                let ordinal = reject["record"].as_u64().unwrap();
                let message = rejected(&reject);
                rejects.push((ordinal, reject["timestamp"].as_i64(), text("reason"), shown(&message)));
            }
            assert_eq!(rejects.len() as u64, output.rows);
            continue;
        };
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
        let rows: Vec<Vec<String>> =
            reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
        assert_eq!(rows.len() as u64, output.rows + 1, "one header and the rows");
        assert_eq!(text.matches('\n').count(), rows.len(), "one line per row");
        assert_eq!(rows[0].len(), plan.config.tables[table].columns.len());
        tables.insert(plan.config.tables[table].name.clone(), rows);
    }
    assert_eq!(counts.read, counts.rows + counts.rejected + counts.control + counts.dropped);
    assert_eq!(counts.rejected, rejects.len() as u64);
    assert_eq!(counts.rejected, counts.rejects.values().sum::<u64>());
    assert_eq!(counts.rows, counts.rules.iter().map(|rule| rule.rows).sum::<u64>());
    let of_rules = counts.rules.iter().chain([&counts.without_rule]);
    assert_eq!(counts.rejected, of_rules.map(RuleCounts::rejected).sum::<u64>());
    assert_eq!(counts.compressed_in, object.len() as u64);
    let Counts { read, control, dropped, repaired, named_by_guess, .. } = counts;
    Ok(Outcome { tables, rejects, read, control, dropped, repaired, named_by_guess, reject_bytes })
}

/// Returns the bytes of a reject's message.
#[must_use]
pub fn rejected(reject: &Value) -> Vec<u8> {
    match (&reject["message"], &reject["message_base64"]) {
        (Value::String(message), Value::Null) => message.clone().into_bytes(),
        (Value::Null, Value::String(encoded)) => {
            let bytes = from_base64(encoded);
            assert!(std::str::from_utf8(&bytes).is_err(), "base64 of valid text");
            bytes
        }
        _ => panic!("neither message nor message_base64: {reject}"),
    }
}

const BASE64: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Encodes bytes as base64 with padding.
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    let digit = |bits: &[bool]| {
        let value =
            bits.iter().chain([false; 6].iter()).take(6).fold(0, |digit, bit| digit << 1 | usize::from(*bit));
        char::from(BASE64.as_bytes()[value])
    };
    let bits: Vec<bool> =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect();
    let padding = ["", "==", "="][bytes.len() % 3];
    bits.chunks(6).map(digit).collect::<String>() + padding
}

fn from_base64(encoded: &str) -> Vec<u8> {
    let digits = encoded.trim_end_matches('=').chars().map(|digit| BASE64.find(digit).unwrap());
    let bits: Vec<bool> =
        digits.flat_map(|digit| (0..6).rev().map(move |bit| digit >> bit & 1 == 1)).collect();
    bits.as_chunks::<8>()
        .0
        .iter()
        .map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit)))
        .collect()
}
