//! Checks of whole objects: any mixture of items against the model, and any bytes at any read size.

use std::sync::LazyLock;

use flowherd_shared::{config::Config, pipeline::RunConfig};

use super::{Pair, is_within_model, numbered};
use crate::objects::{NAMES, outcome};

/// Rules that the model implements completely.
const CONFIG: &str = r#"
[[rule]]
name = "ids"
match = { log_group = "i*" }
table = "ids"
metadata = ["log_group"]
format = { kind = "regex", pattern = '(?-u)^(?P<level>\w+) (?P<src>[!-~]+) -> (?P<dst>[!-9;-~]+)(?::(?P<port>[0-9]+))?$' }
[[rule]]
name = "ids-lines"
match = { key = "i*" }
table = "ids"
format = { kind = "regex", pattern = '(?-u)^(?P<level>\w+) (?P<src>[!-~]+) -> (?P<dst>[!-9;-~]+)(?::(?P<port>[0-9]+))?$' }
[[rule]]
name = "plain"
match = { key = "p*" }
table = "plain"
format = { kind = "vpc-flow", fields = "${start} ${srcaddr} ${interface-id} ${dstaddr}" }
[[rule]]
name = "json"
match = { key = "j*" }
table = "json"
required = ["action"]
format = { kind = "json", columns = [ { name = "action", path = "/a" }, { name = "uri", path = "/b/c" } ] }
[[rule]]
name = "strict"
match = { key = "s*" }
table = "strict"
bad_text = "reject"
format = { kind = "json", columns = [ { name = "action", path = "/a" }, { name = "uri", path = "/b/c" } ] }
[[rule]]
name = "vpc"
match = { key = "k*", log_stream = "*" }
table = "vpc_flow"
metadata = ["owner", "log_group", "log_stream"]
format = { kind = "vpc-flow" }
"#;

static PAIR: LazyLock<Pair> = LazyLock::new(|| Pair::new(CONFIG, NAMES));

/// Converts envelopes and other text around them. Pipeline and model must agree at any read size.
pub(super) fn envelope(data: &[u8]) {
    let Some((portion, text)) = numbered(data) else { return };
    agree(text, portion, "k");
}

/// Converts lines and JSON objects with a rule of each format. Pipeline and model must agree at any read size.
pub(super) fn lines(data: &[u8]) {
    let Some((number, text)) = numbered(data) else { return };
    agree(text, number / 5, ["k", "i", "p", "j", "s"][number % 5]);
}

fn agree(text: &[u8], portion: usize, key: &str) {
    if !is_within_model(text) {
        return;
    }
    let expected = PAIR.model.convert(text, key);
    let whole = outcome(text, usize::MAX, key, &PAIR.plan);
    let dripped = outcome(text, portion, key, &PAIR.plan);
    assert_eq!(whole.as_ref().ok(), dripped.as_ref().ok(), "in portions");
    match (expected, whole) {
        (Some(expected), Ok(ours)) => assert_eq!(ours, expected),
        // The pipeline skips unread values of an envelope without checks. The model parses all values as JSON.
        (None, _) => {}
        (Some(expected), Err(error)) => panic!("{error}, but {expected:?}"),
    }
}

const SMALL: &str = r#"
[limits]
max_record_bytes = 200
max_envelope_bytes = 4096
[[rule]]
name = "waf"
match = { log_group = "w*" }
table = "waf"
format = { kind = "json", columns = [ { name = "a", path = "/a/0/b" }, { name = "c", path = "/c" } ] }
[[rule]]
name = "ids"
match = { log_group = "i*" }
table = "ids"
format = { kind = "regex", pattern = '^(?P<a>\w+) (?P<b>.*)$' }
[[rule]]
name = "vpc"
table = "vpc_flow"
metadata = ["owner", "log_group", "log_stream"]
format = { kind = "vpc-flow" }
"#;

static SMALL_PLAN: LazyLock<RunConfig> =
    LazyLock::new(|| RunConfig::from(Config::parse(SMALL).expect("valid")));

/// Converts any bytes with small limits. The outcome must not depend on the read size, the outputs must be readable, and the
/// counts must add up.
pub(super) fn object(data: &[u8]) {
    let Some((portion, object)) = numbered(data) else { return };
    let whole = outcome(object, usize::MAX, "k", &SMALL_PLAN);
    let dripped = outcome(object, portion, "k", &SMALL_PLAN);
    match (whole, dripped) {
        (Ok(whole), Ok(dripped)) => assert_eq!(whole, dripped),
        (Err(_), Err(_)) => {}
        (whole, dripped) => panic!("{whole:?} but in portions {dripped:?}"),
    }
}
