//! Whole objects: envelopes and lines against the model, and any bytes in any portions.

use std::sync::LazyLock;

use flowherd_shared::{config::Config, pipeline::Plan};

use super::{Pair, is_within_model, numbered, numbered_text};
use crate::{
    model::{Pairs, mask_controls},
    objects::{LOOKUPS, outcome},
};

/// Rules of which the model knows all that they do.
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
name = "vpc"
match = { key = "k*", log_stream = "*" }
table = "vpc_flow"
metadata = ["owner", "log_group", "log_stream"]
format = { kind = "vpc-flow" }
"#;

static PAIR: LazyLock<Pair> = LazyLock::new(|| Pair::new(CONFIG, LOOKUPS));

/// Text as envelopes: the fast scanner and the model make the same of it, in any portions.
pub(super) fn envelope(data: &[u8]) {
    let Some((portion, text)) = numbered_text(data) else { return };
    if !text.trim_start_matches(SPACE).starts_with('{') || !is_within_model(text) {
        return;
    }
    // Where the first object is damaged, the model takes the text for lines; the pipeline fails it.
    let masked = mask_controls(text);
    if !matches!(serde_json::Deserializer::from_str(&masked).into_iter::<Pairs>().next(), Some(Ok(_))) {
        return;
    }
    agree(text, portion, "k");
}

/// Text as lines: likewise.
pub(super) fn lines(data: &[u8]) {
    let Some((number, text)) = numbered_text(data) else { return };
    if !text.trim_start_matches(SPACE).starts_with('{') && is_within_model(text) {
        agree(text, number / 3, ["k", "i", "p"][number % 3]);
    }
}

const SPACE: [char; 4] = [' ', '\n', '\r', '\t'];

fn agree(text: &str, portion: usize, key: &str) {
    if text.starts_with('\u{feff}') || text.split('\n').any(is_odd_header) {
        return;
    }
    let expected = PAIR.model.convert(text.as_bytes(), key);
    let whole = outcome(text.as_bytes(), usize::MAX, key, &PAIR.plan);
    let dripped = outcome(text.as_bytes(), portion, key, &PAIR.plan);
    assert_eq!(whole.as_ref().ok(), dripped.as_ref().ok(), "in portions");
    match (expected, whole) {
        (Some(expected), Ok(ours)) => assert_eq!(ours, expected),
        // The pipeline asks nothing of values that it does not read; the model reads all as JSON.
        (None, _) => {}
        (Some(expected), Err(error)) => panic!("{error}, but {expected:?}"),
    }
}

/// A header line that only the pipeline takes for one: with other white space, or with words that are no names.
fn is_odd_header(line: &str) -> bool {
    let line = line.strip_suffix('\r').unwrap_or(line);
    let is_name = |word: &str| flowherd_shared::flow_fields::field_index(word).is_some();
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    words.iter().any(|word| is_name(word))
        && !(words.iter().all(|word| is_name(word)) && words.join(" ") == line)
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

static SMALL_PLAN: LazyLock<Plan> =
    LazyLock::new(|| Plan { config: Config::parse(SMALL).expect("valid"), ..Plan::default() });

/// Any bytes as an object, under small limits: the same outcome in any portions, outputs that are read back, and counts
/// that add up.
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
