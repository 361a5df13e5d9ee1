//! The presets, and how a rule with one of them is written.

use flowherd_shared::presets::PRESETS;
use toml::{Table, Value};

use super::{names, toml_text::literal};

/// A preset's rule, as far as suggestions need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PresetRule {
    pub(super) name: &'static str,
    /// What the log is: `AWS WAF logs`.
    pub(super) title: &'static str,
    pub(super) table: Option<String>,
    /// Number of columns that a record must have.
    pub(super) required: usize,
    /// Whether its format is JSON.
    pub(super) is_json: bool,
    /// Whether it decodes payloads and writes no rows.
    pub(super) decodes: bool,
    /// Whether its format is a regular expression.
    pub(super) has_pattern: bool,
    /// Its keys, such as `unwrap`.
    keys: Vec<String>,
    /// The alternatives of its `match`.
    alternatives: Vec<Alternative>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Alternative {
    log_group: Option<String>,
    log_stream: Option<String>,
    key: Option<String>,
    message: Option<String>,
}

/// Returns all presets.
pub(super) fn all() -> Vec<PresetRule> {
    let rules = PRESETS.iter().filter_map(|preset| {
        let file: Table = toml::from_str(preset.text).ok()?;
        let rule = file.get("rule")?.as_array()?.first()?.as_table()?;
        let format = rule.get("format").and_then(Value::as_table);
        Some(PresetRule {
            name: preset.name,
            title: preset.heading().0,
            table: text(rule, "table"),
            required: rule.get("required").and_then(Value::as_array).map_or(0, Vec::len),
            is_json: format.and_then(|format| format.get("kind")).and_then(Value::as_str) == Some("json"),
            decodes: rule.contains_key("decode"),
            has_pattern: format.is_some_and(|format| format.contains_key("pattern")),
            keys: rule.keys().cloned().collect(),
            alternatives: alternatives(rule.get("match")),
        })
    });
    rules.collect()
}

fn text(table: &Table, key: &str) -> Option<String> {
    table.get(key).and_then(Value::as_str).map(str::to_owned)
}

fn alternatives(matches: Option<&Value>) -> Vec<Alternative> {
    let tables = match matches {
        Some(Value::Array(alternatives)) => alternatives.iter().filter_map(Value::as_table).collect(),
        Some(Value::Table(alternative)) => vec![alternative],
        _ => Vec::new(),
    };
    let alternative = |table: &Table| Alternative {
        log_group: text(table, "log_group"),
        log_stream: text(table, "log_stream"),
        key: text(table, "key"),
        message: text(table, "message"),
    };
    tables.into_iter().map(alternative).collect()
}

impl PresetRule {
    /// Returns whether the preset gives this key itself.
    pub(super) fn has_key(&self, key: &str) -> bool {
        self.keys.iter().any(|own| own == key)
    }

    /// Returns whether it reads records inside of other records.
    pub(super) fn is_for_nested_records(&self) -> bool {
        ["records", "unwrap", "lines"].into_iter().any(|key| self.has_key(key))
    }

    /// Returns the regular expression for messages that all alternatives of its `match` have, as TOML.
    pub(super) fn message(&self) -> Option<String> {
        let first = self.alternatives.first()?.message.as_ref()?;
        let is_in_all = self.alternatives.iter().all(|other| other.message.as_ref() == Some(first));
        is_in_all.then(|| literal(first))
    }

    /// Returns the number of regular expressions in its own `match`.
    pub(super) fn regexes_of_match(&self) -> usize {
        self.alternatives.iter().filter(|alternative| alternative.message.is_some()).count()
    }

    /// Returns whether its own `match` takes the events of a log group, whatever the stream and key.
    pub(super) fn matches_group(&self, group: &str) -> bool {
        self.alternatives.is_empty()
            || self.alternatives.iter().any(|alternative| {
                let fits = alternative.log_group.as_ref().is_some_and(|glob| names::matches(glob, group));
                fits && alternative.log_stream.is_none() && alternative.key.is_none()
            })
    }

    /// Returns whether its own `match` takes lines and objects of a key.
    pub(super) fn matches_key(&self, key: &str) -> bool {
        self.alternatives.is_empty()
            || self.alternatives.iter().any(|alternative| {
                let is_for_keys = alternative.log_group.is_none() && alternative.log_stream.is_none();
                let glob = alternative.key.as_ref();
                is_for_keys && glob.is_none_or(|glob| names::matches(glob, key))
            })
    }

    /// Returns whether its own `match` may take a record of this log group or key. Streams are not compared.
    pub(super) fn may_match(&self, group: Option<&str>, keys: &mut dyn Iterator<Item = &str>) -> bool {
        let keys: Vec<&str> = keys.collect();
        self.alternatives.is_empty()
            || self.alternatives.iter().any(|alternative| {
                let fits_group = match (&alternative.log_group, group) {
                    (None, _) => true,
                    (Some(glob), Some(group)) => names::matches(glob, group),
                    (Some(_), None) => false,
                };
                let fits_stream = alternative.log_stream.is_none() || group.is_some();
                let glob = alternative.key.as_ref();
                fits_group
                    && fits_stream
                    && glob.is_none_or(|glob| keys.iter().any(|key| names::matches(glob, key)))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_known_with_its_match() {
        let rules = all();
        assert_eq!(rules.len(), PRESETS.len());
        let flow = rules.iter().find(|rule| rule.name == "vpc-flow").unwrap();
        assert_eq!((flow.table.as_deref(), flow.decodes, flow.is_json), (Some("vpc_flow"), false, false));
        assert!(flow.matches_key("AWSLogs/1/vpcflowlogs/x") && !flow.matches_key("app/x"));
        let resolver = rules.iter().find(|rule| rule.name == "route53-resolver").unwrap();
        assert!(resolver.matches_group("/aws/route53resolver/prod") && !resolver.matches_group("app"));
        assert!(flow.may_match(Some("app"), &mut ["AWSLogs/1/vpcflowlogs/x"].into_iter()));
        assert!(!flow.may_match(None, &mut ["app/x"].into_iter()));
    }
}
