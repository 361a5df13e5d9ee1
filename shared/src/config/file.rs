//! A parsed `flowherd.toml`, before its rules are compiled.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{choice::Choice, enrich_file::EnrichFile};
use crate::{
    limits::{self, Limits},
    pipeline::rules::{BadText, Delimiter, OnMismatch, Patterns, TimeUnit},
    presets,
    problems::{ConfigError, Problems},
    table::{ColumnType, Metadata},
    text::quoted,
};

/// Maximum characters of a parser's message, which may quote a value or list every accepted key.
const MESSAGE_CHARS: usize = 1000;
/// The rules of a file without any: every record is a version 2 flow log.
const BUILT_IN: &str = r#"
[[rule]]
name = "vpc-flow"
table = "vpc_flow"
[rule.format]
kind = "vpc-flow"
"#;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    #[serde(default)]
    pub(super) rule: Vec<RuleFile>,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) csv: CsvFile,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) enrich: Vec<EnrichFile>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CsvFile {
    pub(super) guard_formulas: bool,
}

/// A rule. Every key is optional here, because a preset may give it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RuleFile {
    #[serde(skip_serializing)]
    pub(super) preset: Option<String>,
    #[serde(skip)]
    pub(super) has_unknown_preset: bool,
    pub(super) name: Option<String>,
    #[serde(rename = "match")]
    pub(super) matches: Option<Patterns>,
    pub(super) on_mismatch: Option<Choice<OnMismatch>>,
    pub(super) drop: Option<bool>,
    pub(super) table: Option<String>,
    pub(super) metadata: Option<Vec<Choice<Metadata>>>,
    pub(super) required: Option<Vec<String>>,
    pub(super) bad_text: Option<Choice<BadText>>,
    pub(super) comments: Option<String>,
    pub(super) lines: Option<Choice<Lines>>,
    pub(super) records: Option<String>,
    pub(super) unwrap: Option<String>,
    pub(super) decode: Option<Choice<Decode>>,
    pub(super) timestamp: Option<TimestampFile>,
    pub(super) format: Option<FormatFile>,
}

/// The format of a line.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Lines {
    /// A time and a message, as an export task of CloudWatch Logs writes it.
    Export,
}

/// The encoding of a payload.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Decode {
    Base64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimestampFile {
    pub(super) path: Option<String>,
    pub(super) columns: Option<Vec<String>>,
    pub(super) unit: Option<Choice<TimeUnit>>,
    pub(super) format: Option<String>,
}

/// A format. Which keys it may have depends on its kind.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FormatFile {
    pub(super) kind: Option<Choice<Kind>>,
    pub(super) fields: Option<String>,
    pub(super) unknown_fields: Option<Choice<UnknownFields>>,
    pub(super) pattern: Option<String>,
    pub(super) types: Option<BTreeMap<String, Choice<ColumnType>>>,
    pub(super) columns: Option<Vec<JsonColumnFile>>,
    pub(super) delimiter: Option<Choice<Delimiter>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    VpcFlow,
    TgwFlow,
    Regex,
    Json,
    W3c,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::VpcFlow => "vpc-flow",
            Self::TgwFlow => "tgw-flow",
            Self::Regex => "regex",
            Self::Json => "json",
            Self::W3c => "w3c",
        }
    }
}

/// How to read a flow-log field that this version does not know.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum UnknownFields {
    /// A text column of its own name.
    Text,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JsonColumnFile {
    pub(super) name: String,
    pub(super) path: Option<String>,
    pub(super) jsonpath: Option<String>,
    #[serde(default, rename = "type")]
    pub(super) kind: Choice<ColumnType>,
}

impl File {
    /// Parses the text, adds the keys of presets, and checks its size and counts. A text without rules gets the built-in rule.
    pub(super) fn parse(text: &str, problems: &mut Problems) -> Result<Self, ConfigError> {
        if text.len() > limits::MAX_CONFIG_BYTES {
            let (bytes, limit) = (text.len(), limits::MAX_CONFIG_BYTES);
            return Err(ConfigError::of(format!(
                "has {bytes} bytes: the limit is {limit}; check that this is a flowherd.toml"
            )));
        }
        let mut file: Self = toml::from_str(text).map_err(|error| ConfigError::of(locate(text, &error)))?;
        if file.rule.is_empty() {
            file.rule = of_text(BUILT_IN)?;
        }
        if file.rule.len() <= limits::MAX_RULES {
            file.add_presets(problems)?;
        }
        file.check_counts()?;
        Ok(file)
    }

    fn add_presets(&mut self, problems: &mut Problems) -> Result<(), ConfigError> {
        for (at, rule) in self.rule.iter_mut().enumerate() {
            let Some(name) = &rule.preset else { continue };
            match presets::find(name) {
                None => {
                    problems.add(format!("rule {}: {}", rule.shown_name(at), presets::unknown(name)));
                    rule.has_unknown_preset = true;
                }
                Some(preset) => {
                    let preset = of_text(preset)?.pop().unwrap_or_default();
                    *rule = std::mem::take(rule).over(preset);
                }
            }
        }
        Ok(())
    }

    fn check_counts(&self) -> Result<(), ConfigError> {
        let mut tables: Vec<&str> = self.rule.iter().filter_map(|rule| rule.table.as_deref()).collect();
        tables.sort_unstable();
        tables.dedup();
        let regexes = |rule: &RuleFile| {
            let format = rule.format.as_ref().is_some_and(|format| format.pattern.is_some());
            usize::from(format) + rule.matches.as_ref().map_or(0, Patterns::regexes)
        };
        let in_queries = |rule: &RuleFile| {
            let columns = rule.format.iter().filter_map(|format| format.columns.as_ref()).flatten();
            let calls = |query: &String| query.matches("match(").count() + query.matches("search(").count();
            columns.filter_map(|column| column.jsonpath.as_ref()).map(calls).sum::<usize>()
        };
        let mut arrays: Vec<&str> = self.rule.iter().filter_map(|rule| rule.records.as_deref()).collect();
        arrays.sort_unstable();
        arrays.dedup();
        let counts = [
            ("rules", self.rule.len(), limits::MAX_RULES),
            ("tables", tables.len(), limits::MAX_TABLES),
            ("regular expressions", self.rule.iter().map(regexes).sum(), limits::MAX_REGEXES),
            (
                "calls of match() and search() in queries",
                self.rule.iter().map(in_queries).sum(),
                limits::MAX_QUERY_REGEXES,
            ),
            ("different arrays of records", arrays.len(), limits::MAX_ARRAYS),
            ("entries of [[enrich]]", self.enrich.len(), limits::MAX_ENRICHMENTS),
        ];
        let mut problems = Problems::default();
        for (what, count, limit) in counts {
            if count > limit {
                problems.add(format!(
                    "{count} {what}: the limit is {limit}; move some of them to a second flowherd.toml for another run"
                ));
            }
        }
        problems.check()
    }
}

impl RuleFile {
    /// Passes each unknown word of this rule to `problem`.
    pub(super) fn check_words(&self, problem: &mut impl FnMut(String)) {
        fn check<T>(value: Option<&Choice<T>>, key: &str, example: &str) -> Option<String> {
            value?.problem(key, example)
        }
        let unit = self.timestamp.as_ref().and_then(|timestamp| timestamp.unit.as_ref());
        let words = [
            check(self.on_mismatch.as_ref(), "on_mismatch", "on_mismatch = \"next\""),
            check(self.bad_text.as_ref(), "bad_text", "bad_text = \"reject\""),
            check(self.lines.as_ref(), "lines", "lines = \"export\""),
            check(self.decode.as_ref(), "decode", "decode = \"base64\""),
            check(unit, "timestamp.unit", "timestamp = { path = \"/timestamp\", unit = \"ms\" }"),
        ];
        words.into_iter().flatten().for_each(&mut *problem);
        for column in self.metadata.iter().flatten() {
            column
                .problem("metadata", "metadata = [\"owner\", \"log_group\"]")
                .into_iter()
                .for_each(&mut *problem);
        }
        let Some(format) = &self.format else { return };
        let words = [
            check(format.kind.as_ref(), "format.kind", "kind = \"vpc-flow\""),
            check(format.unknown_fields.as_ref(), "format.unknown_fields", "unknown_fields = \"text\""),
            check(format.delimiter.as_ref(), "format.delimiter", "delimiter = \"space\""),
        ];
        words.into_iter().flatten().for_each(&mut *problem);
        for (name, kind) in format.types.iter().flatten() {
            let name = quoted(name);
            kind.problem(&format!("types.{}", name.trim_matches('"')), "types = { bytes = \"bigint\" }")
                .into_iter()
                .for_each(&mut *problem);
        }
        for column in format.columns.iter().flatten() {
            let key = format!("column {}: type", quoted(&column.name));
            column.kind.problem(&key, "type = \"bigint\"").into_iter().for_each(&mut *problem);
        }
    }

    /// Returns the name for errors: its own, or its number from 1.
    pub(super) fn shown_name(&self, at: usize) -> String {
        self.name.as_ref().map_or_else(|| (at + 1).to_string(), |name| quoted(name))
    }
}

/// Returns the rules of a text that is built into the program.
fn of_text(text: &str) -> Result<Vec<RuleFile>, ConfigError> {
    let file: File = toml::from_str(text).map_err(|error| ConfigError::bug(&error))?;
    Ok(file.rule)
}

/// Returns the parser's message on one line, with the line's number and text.
fn locate(text: &str, error: &toml::de::Error) -> String {
    let message: String = error.message().replace('\n', " ").chars().take(MESSAGE_CHARS).collect();
    let is_deep = message == "recursion limit" || message.starts_with("cannot recurse further");
    let message = if is_deep { "nested too deeply for a flowherd.toml".to_owned() } else { message };
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else { return message };
    let line = before.matches('\n').count();
    let shown = text.lines().nth(line).unwrap_or_default().trim();
    format!("line {}: {message}: {}", line + 1, quoted(shown))
}
