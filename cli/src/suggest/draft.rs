//! A rule before it has a name and a `match`.

use super::{
    json_shape::{JsonShape, MAX_NODES, TimeMember},
    preset_rule::PresetRule,
    text_shape::{TextFormat, type_name},
    toml_text::string,
};

/// A rule that takes records of a cluster.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) preset: Option<PresetRule>,
    /// Keys such as `unwrap = "/message"`, one line each.
    pub(super) keys: Vec<String>,
    /// The section `[rule.format]`, without its heading.
    pub(super) format: Option<String>,
    /// What the records are, for a comment.
    pub(super) what: String,
    /// The members of JSON records, if the columns come from them.
    pub(super) shape: Option<JsonShape>,
    /// Members that may hold the time, if none certainly does.
    pub(super) possible_times: Vec<TimeMember>,
}

impl Draft {
    /// A rule with a preset. `keys` are added to it.
    pub(super) fn with_preset(preset: &PresetRule, keys: &[String]) -> Self {
        Self {
            preset: Some(preset.clone()),
            keys: keys.to_vec(),
            format: None,
            what: preset.title.to_owned(),
            shape: None,
            possible_times: Vec::new(),
        }
    }

    /// A rule that decodes payloads.
    pub(super) fn decoding(keys: Vec<String>) -> Self {
        Self {
            preset: None,
            keys,
            format: None,
            what: "messages with payloads in base64".to_owned(),
            shape: None,
            possible_times: Vec::new(),
        }
    }

    /// A rule for JSON objects of this shape. Records outside of envelopes get the time of a member.
    pub(super) fn of_json(shape: JsonShape, is_plain: bool, keys: &[String]) -> Self {
        let mut keys = keys.to_vec();
        let mut possible_times = Vec::new();
        if is_plain && !has_time(&keys) {
            match shape.times() {
                (Some(time), _) => keys.push(time_key(&time)),
                (None, possible) => possible_times = possible,
            }
        }
        let columns = shape.columns();
        let mut format = String::from("kind = \"json\"\ncolumns = [\n");
        for column in &columns {
            let kind = type_name(column.kind).map_or_else(String::new, |kind| format!(", type = \"{kind}\""));
            let path = string(&column.pointer);
            format += &format!("  {{ name = \"{}\", path = {path}{kind} }},\n", column.name);
        }
        format += "]\n";
        let plural = if columns.len() == 1 { "" } else { "s" };
        let what = if shape.has_more_members() {
            format!("JSON objects with {} of more than {MAX_NODES} members as column{plural}", columns.len())
        } else {
            format!("JSON objects with {} column{plural}", columns.len())
        };
        Self { preset: None, keys, format: Some(format), what, shape: Some(shape), possible_times }
    }

    /// A rule for lines of a text format.
    pub(super) fn of_text(format: TextFormat, is_plain: bool, keys: &[String]) -> Self {
        let mut keys = keys.to_vec();
        if let Some(comments) = format.comments {
            keys.push(format!("comments = {}", string(&comments)));
        }
        if let Some(timestamp) = format.timestamp.filter(|_| is_plain && !has_time(&keys)) {
            keys.push(format!("timestamp = {timestamp}"));
        }
        Self {
            preset: None,
            keys,
            format: Some(format.format),
            what: format.what,
            shape: None,
            possible_times: Vec::new(),
        }
    }

    /// Returns whether it decodes payloads, so that other rules take what is inside.
    pub(super) fn decodes(&self) -> bool {
        self.keys.iter().any(|key| key.starts_with("decode "))
            || self.preset.as_ref().is_some_and(|preset| preset.decodes)
    }

    /// Returns whether two rules differ in their `match` alone.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.preset == other.preset && self.keys == other.keys && self.format == other.format
    }

    /// Returns the rule as TOML. `head` has the lines of name, match and table.
    pub(super) fn toml(&self, head: &[String]) -> String {
        let preset = self.preset.iter().map(|preset| format!("preset = \"{}\"", preset.name));
        let lines: Vec<String> =
            preset.chain(head.iter().cloned()).chain(self.keys.iter().cloned()).collect();
        let mut toml = format!("[[rule]]\n{}\n", lines.join("\n"));
        if let Some(format) = &self.format {
            toml += &format!("[rule.format]\n{format}");
        }
        toml
    }

    /// Returns the rule with a `match` that takes every record of a sample.
    pub(super) fn probe(&self) -> String {
        let message = self.preset.as_ref().and_then(PresetRule::message);
        let message = message.map_or_else(String::new, |message| format!(", message = {message}"));
        let mut head = vec![format!("match = {{ key = \"*\"{message} }}")];
        if self.preset.is_some() {
            // Other records must not go to the rule that takes what is inside of payloads.
            head.push("on_mismatch = \"reject\"".to_owned());
        } else {
            head.push("name = \"probe\"".to_owned());
            if !self.decodes() {
                head.push("table = \"probe\"".to_owned());
            }
        }
        self.toml(&head)
    }
}

/// Returns the key that gives a record the time of a member.
pub(super) fn time_key(time: &TimeMember) -> String {
    format!("timestamp = {{ path = {}, unit = \"{}\" }}", string(&time.pointer), time.unit)
}

/// Returns whether a record's time is known already.
fn has_time(keys: &[String]) -> bool {
    keys.iter().any(|key| key.starts_with("timestamp ") || key.starts_with("lines "))
}
