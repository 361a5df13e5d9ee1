//! The text of a `flowherd.toml` as it is written, before its rules are compiled.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    limits::{self, Limits},
    pipeline::rules::{BadText, JsonColumn, JsonPath, Patterns},
    problems::{ConfigError, Problems},
    table::{ColumnType, Metadata},
    text::quoted,
};

/// Characters of a parser's message, which may quote a value or list every accepted key.
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
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CsvFile {
    pub(super) guard_formulas: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleFile {
    pub(super) name: String,
    #[serde(default, rename = "match")]
    pub(super) matches: Patterns,
    pub(super) table: String,
    #[serde(default)]
    pub(super) metadata: Vec<Metadata>,
    #[serde(default)]
    pub(super) required: Vec<String>,
    pub(super) bad_text: Option<BadText>,
    pub(super) format: FormatFile,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum FormatFile {
    VpcFlow {
        fields: Option<String>,
    },
    Regex {
        pattern: String,
        #[serde(default)]
        types: BTreeMap<String, ColumnType>,
    },
    Json {
        columns: Vec<JsonColumnFile>,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JsonColumnFile {
    pub(super) name: String,
    pub(super) path: Option<String>,
    pub(super) jsonpath: Option<String>,
    #[serde(default, rename = "type")]
    pub(super) kind: ColumnType,
}

impl JsonColumnFile {
    /// Returns the column with its one path.
    pub(super) fn column(&self) -> Result<JsonColumn<'_>, String> {
        let path = match (&self.path, &self.jsonpath) {
            (Some(path), None) => JsonPath::Pointer(path),
            (None, Some(query)) => JsonPath::Query(query),
            (None, None) => {
                return Err(format!(
                    "column {:?}: path is missing; give path or jsonpath, for example path = \"/action\"",
                    self.name
                ));
            }
            (Some(_), Some(_)) => {
                return Err(format!("column {:?}: has path and jsonpath; remove one of them", self.name));
            }
        };
        Ok(JsonColumn { name: &self.name, path, kind: self.kind })
    }
}

impl File {
    /// Parses the text and checks its size and counts. A text without rules gets the built-in rule.
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        if text.len() > limits::MAX_CONFIG_BYTES {
            let (bytes, limit) = (text.len(), limits::MAX_CONFIG_BYTES);
            return Err(ConfigError::of(format!(
                "has {bytes} bytes: the limit is {limit}; check that this is a flowherd.toml"
            )));
        }
        let mut file: Self = toml::from_str(text).map_err(|error| ConfigError::of(locate(text, &error)))?;
        if file.rule.is_empty() {
            let built_in: Self = toml::from_str(BUILT_IN).map_err(|error| ConfigError::bug(&error))?;
            file.rule = built_in.rule;
        }
        file.check_counts()?;
        Ok(file)
    }

    fn check_counts(&self) -> Result<(), ConfigError> {
        let mut tables: Vec<&str> = self.rule.iter().map(|rule| &*rule.table).collect();
        tables.sort_unstable();
        tables.dedup();
        let is_regex = |rule: &&RuleFile| matches!(rule.format, FormatFile::Regex { .. });
        let counts = [
            ("rules", self.rule.len(), limits::MAX_RULES),
            ("tables", tables.len(), limits::MAX_TABLES),
            ("rules of kind = \"regex\"", self.rule.iter().filter(is_regex).count(), limits::MAX_REGEXES),
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

/// Returns the parser's message on one line, with the line's number and text.
fn locate(text: &str, error: &toml::de::Error) -> String {
    let message: String = error.message().replace('\n', " ").chars().take(MESSAGE_CHARS).collect();
    let is_deep = message == "recursion limit" || message.starts_with("cannot recurse further");
    let message = if is_deep { "nested deeper than a flowherd.toml can be".to_owned() } else { message };
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else { return message };
    let line = before.matches('\n').count();
    let shown = text.lines().nth(line).unwrap_or_default().trim();
    format!("line {}: {message}: {}", line + 1, quoted(shown))
}
