//! A rule that starts from a preset.

use std::collections::BTreeMap;

use super::file::{FormatFile, Kind, RuleFile, TimestampFile};
use crate::pipeline::rules::{Delimiter, Format, W3cFormat};

impl RuleFile {
    /// Returns this rule with its missing keys from the preset. `format` is merged key by key if the kind is the same. A key
    /// of the preset that does not fit this rule is left out, because the user cannot remove it.
    pub(super) fn over(mut self, mut preset: Self) -> Self {
        if self.drop == Some(true) {
            preset = Self { name: preset.name, matches: preset.matches, ..Self::default() };
        }
        if self.decode.is_some() {
            preset = Self {
                table: None,
                metadata: None,
                required: None,
                bad_text: None,
                timestamp: None,
                format: None,
                ..preset
            };
        }
        // A line has no array.
        if self.lines.is_some() {
            preset.records = None;
        }
        if self.records.is_some() {
            preset.lines = None;
        }
        let unwrap = self.unwrap.or(preset.unwrap);
        let format = match (self.format.take(), preset.format.take()) {
            (None, format) => format,
            (Some(own), of_preset) => {
                let format = own.over(of_preset);
                keep_fitting(&format, unwrap.is_some(), &mut preset.required, &mut preset.timestamp);
                if format.is_flow() {
                    preset.bad_text = None;
                }
                Some(format)
            }
        };
        Self {
            preset: self.preset,
            has_unknown_preset: false,
            name: self.name.or(preset.name),
            matches: self.matches.or(preset.matches),
            on_mismatch: self.on_mismatch.or(preset.on_mismatch),
            drop: self.drop.or(preset.drop),
            table: self.table.or(preset.table),
            metadata: self.metadata.or(preset.metadata),
            required: self.required.or(preset.required),
            bad_text: self.bad_text.or(preset.bad_text),
            comments: self.comments.or(preset.comments),
            lines: self.lines.or(preset.lines),
            records: self.records.or(preset.records),
            unwrap,
            decode: self.decode.or(preset.decode),
            timestamp: self.timestamp.or(preset.timestamp),
            format,
        }
    }
}

/// Removes the required columns and the time of a preset that a format does not have.
fn keep_fitting(
    format: &FormatFile,
    has_unwrap: bool,
    required: &mut Option<Vec<String>>,
    timestamp: &mut Option<TimestampFile>,
) {
    let columns = format.column_names();
    *required = required.take().and_then(|names| {
        let names: Vec<String> = names.into_iter().filter(|name| columns.contains(name)).collect();
        (!names.is_empty()).then_some(names)
    });
    *timestamp = timestamp.take().filter(|timestamp| match (&timestamp.path, &timestamp.columns) {
        (Some(_), _) => has_unwrap || format.is_json(),
        (None, Some(names)) => names.iter().all(|name| columns.contains(name)),
        (None, None) => true,
    });
}

impl FormatFile {
    /// Returns this format with its missing keys from the preset's, if that is of the same kind.
    fn over(self, preset: Option<Self>) -> Self {
        let preset = preset.unwrap_or_default();
        let own_kind = self.kind.as_ref().and_then(|kind| kind.known());
        let kind_of_preset = preset.kind.as_ref().and_then(|kind| kind.known());
        if self.kind.is_some() && own_kind != kind_of_preset {
            return self;
        }
        let has_own_types = self.types.is_some();
        let mut format = Self {
            kind: self.kind.or(preset.kind),
            fields: self.fields.or(preset.fields),
            unknown_fields: self.unknown_fields.or(preset.unknown_fields),
            pattern: self.pattern.or(preset.pattern),
            types: self.types.or(preset.types),
            columns: self.columns.or(preset.columns),
            delimiter: self.delimiter.or(preset.delimiter),
        };
        if !has_own_types {
            let columns = format.column_names();
            if let Some(types) = &mut format.types {
                types.retain(|name, _| columns.contains(name));
            }
        }
        format
    }

    fn is_flow(&self) -> bool {
        matches!(self.known_kind(), Some(Kind::VpcFlow | Kind::TgwFlow))
    }

    fn is_json(&self) -> bool {
        self.known_kind() == Some(Kind::Json)
    }

    fn known_kind(&self) -> Option<Kind> {
        self.kind.as_ref()?.known().copied()
    }

    /// Returns the names of its columns; none for flow logs, and for a format that is not valid.
    fn column_names(&self) -> Vec<String> {
        let names = match self.known_kind() {
            Some(Kind::Json) => self
                .columns
                .as_ref()
                .map(|columns| columns.iter().map(|column| column.name.clone()).collect()),
            Some(Kind::Regex) => self.pattern.as_deref().map(group_names),
            Some(Kind::W3c) => self.fields.as_ref().and_then(|fields| {
                let format = W3cFormat::new(fields, Delimiter::default(), &BTreeMap::new()).ok()?;
                Some(Format::W3c(format).columns().into_iter().map(|column| column.name).collect())
            }),
            Some(Kind::VpcFlow | Kind::TgwFlow) | None => None,
        };
        names.unwrap_or_default()
    }
}

/// Returns the names of a pattern's groups. The pattern is compiled later, after the number of patterns is checked.
fn group_names(pattern: &str) -> Vec<String> {
    let groups = pattern.split("(?").skip(1);
    let name = |group: &str| {
        let name = group.strip_prefix("P<").or(group.strip_prefix('<'))?;
        Some(name.split_once('>')?.0.to_owned())
    };
    groups.filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use crate::{config::Config, table::ColumnType};

    fn config(rule: &str) -> Config {
        Config::parse(&format!("[[rule]]\n{rule}")).unwrap_or_else(|error| panic!("{rule}\n{error}"))
    }

    fn kinds(config: &Config) -> Vec<(&str, ColumnType)> {
        config.tables[0].columns[1..].iter().map(|column| (&*column.name, column.kind)).collect()
    }

    #[test]
    fn own_columns_of_a_preset_need_none_of_its_required_columns() {
        let config = config(
            "preset = \"waf\"\nformat = { columns = [ { name = \"action\", path = \"/action\" }, { name = \"x\", path = \"/x\" } ] }",
        );
        let writing = config.rules[0].writing().unwrap();
        // Of webacl_id, action and terminating_rule_id.
        assert_eq!(writing.required, [0]);
        assert!(writing.timestamp.is_some());
    }

    #[test]
    fn own_groups_of_a_preset_need_none_of_its_types_and_times() {
        let config = config("preset = \"elb\"\nformat = { pattern = '^(?P<elb>\\S+) (?<client_port>\\d+)' }");
        let writing = config.rules[0].writing().unwrap();
        assert_eq!(kinds(&config), [("elb", ColumnType::String), ("client_port", ColumnType::Int)]);
        assert_eq!(writing.required, [0]);
        assert!(writing.timestamp.is_none());
    }

    #[test]
    fn own_fields_of_a_preset_need_none_of_its_types_and_times() {
        let config = config("preset = \"cloudfront\"\nformat = { fields = \"date sc-bytes cs(New)\" }");
        let writing = config.rules[0].writing().unwrap();
        assert_eq!(
            kinds(&config),
            [("date", ColumnType::String), ("sc_bytes", ColumnType::BigInt), ("cs_new", ColumnType::String)]
        );
        assert_eq!(writing.required, [0]);
        assert!(writing.timestamp.is_none());
    }

    #[test]
    fn another_format_of_a_preset_needs_none_of_its_keys() {
        let flow = config("preset = \"waf\"\nformat = { kind = \"vpc-flow\" }");
        assert!(flow.rules[0].writing().unwrap().timestamp.is_none());
        let text = config("preset = \"waf\"\nformat = { kind = \"regex\", pattern = '(?P<action>.*)' }");
        let writing = text.rules[0].writing().unwrap();
        assert_eq!(writing.required, [0]);
        assert!(writing.timestamp.is_none());
        // The time of an unwrapped message is outside of its format.
        let unwrapped = config(
            "preset = \"guardduty-eventbridge\"\nformat = { kind = \"regex\", pattern = '(?P<a>.*)' }",
        );
        assert!(unwrapped.rules[0].writing().unwrap().timestamp.is_some());
    }

    #[test]
    fn a_preset_can_be_dropped_or_decoded() {
        for preset in crate::presets::PRESETS {
            let name = preset.name;
            let dropped = config(&format!("preset = \"{name}\"\ndrop = true"));
            assert!(dropped.tables.is_empty(), "{name}");
            let decoded = config(&format!("preset = \"{name}\"\ndecode = \"base64\""));
            assert!(decoded.tables.is_empty(), "{name}");
        }
    }

    #[test]
    fn own_export_lines_replace_the_array_of_records() {
        let config = config("preset = \"cloudtrail-s3\"\nlines = \"export\"");
        assert!(config.rules[0].source.export_lines && config.rules[0].source.records.is_none());
    }

    #[test]
    fn own_keys_that_do_not_fit_own_columns_are_problems() {
        let text = "[[rule]]\npreset = \"waf\"\nrequired = [\"action\"]\n\
                    format = { columns = [ { name = \"x\", path = \"/x\" } ] }";
        let error = Config::parse(text).unwrap_err().to_string();
        assert_eq!(
            error,
            "rule \"waf\": required: the format has no column \"action\"; an example: required = [\"x\"]"
        );
    }
}
