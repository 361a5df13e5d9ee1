//! `flowherd.toml`: what is read from which logs, and into which tables. Parsed and checked once, at start.

mod columns;
mod matches;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use self::matches::MatchFile;
pub use self::{
    columns::{Column, ColumnType, ENRICHED_COLUMNS, Table},
    matches::Matches,
};

use crate::{
    limits::{self, Limits},
    pipeline::rules::{FlowLayout, Format, JsonFormat, RegexFormat},
};

/// The checked configuration: rules in order, and the tables they feed.
#[derive(Debug)]
pub struct Config {
    /// First match wins.
    pub rules: Vec<Rule>,
    /// In order of first appearance.
    pub tables: Vec<Table>,
    /// How much one object may make us hold or do.
    pub limits: Limits,
    /// Whether values that a spreadsheet would take for formulas are written as text.
    pub guard_formulas: bool,
    /// SHA-256 over the meaning of the file, in hex: not over its comments and layout.
    pub hash: String,
}

/// One rule, ready to use.
#[derive(Debug)]
pub struct Rule {
    /// Position in [`Config::rules`].
    pub number: usize,
    /// Its name, unique.
    pub name: String,
    /// Which records it takes.
    pub matches: Matches,
    /// Position in [`Config::tables`].
    pub table: usize,
    /// For each metadata column of the table: whether this rule fills it.
    pub metadata: Vec<bool>,
    /// For each of the table's format columns: which value of the format it holds.
    pub cells: Vec<Option<usize>>,
    /// Whether these are the values of the message as it stands.
    pub(crate) in_order: bool,
    /// How a message becomes values.
    pub format: Format,
    /// Columns of the format without which a record is a reject, by position.
    pub required: Vec<usize>,
    /// What happens to invalid text in values; flow logs reject it in any case.
    pub bad_text: BadText,
}

/// What a rule does with invalid UTF-8, half surrogate pairs and NUL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BadText {
    /// Replaces it and counts the row as repaired.
    #[default]
    Replace,
    /// Rejects the record.
    Reject,
}

/// A value of the envelope that a rule may add as a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metadata {
    /// The AWS account.
    Owner,
    /// The log group.
    LogGroup,
    /// The log stream.
    LogStream,
}

impl Metadata {
    /// The column's name.
    #[must_use]
    pub fn column(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::LogGroup => "log_group",
            Self::LogStream => "log_stream",
        }
    }
}

/// Everything that is wrong with a configuration, a line each.
#[derive(Debug, thiserror::Error)]
#[error("{}", problems.join("\n"))]
pub struct ConfigError {
    /// What is wrong, where, and what would be right.
    pub problems: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rule: Vec<RuleFile>,
    #[serde(default)]
    limits: Limits,
    #[serde(default)]
    csv: CsvFile,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CsvFile {
    guard_formulas: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFile {
    name: String,
    #[serde(default, rename = "match")]
    matches: MatchFile,
    table: String,
    #[serde(default)]
    metadata: Vec<Metadata>,
    #[serde(default)]
    required: Vec<String>,
    bad_text: Option<BadText>,
    format: FormatFile,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
enum FormatFile {
    VpcFlow {
        fields: Option<String>,
    },
    Regex {
        pattern: String,
        #[serde(default)]
        types: std::collections::BTreeMap<String, ColumnType>,
    },
    Json {
        columns: Vec<JsonColumnFile>,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonColumnFile {
    name: String,
    path: String,
    #[serde(default, rename = "type")]
    kind: ColumnType,
}

/// Problems told at once: a file of a MiB can have as many as it has lines.
const PROBLEMS_TOLD: usize = 50;
/// How much of a value an error shows.
const QUOTED_CHARS: usize = 200;
/// How much of what the parser says, which may quote a value, or name all that would be right.
const MESSAGE_CHARS: usize = 1000;
/// Without a file: every record is a version 2 flow log.
const BUILT_IN: &str = r#"
[[rule]]
name = "vpc-flow"
table = "vpc_flow"
[rule.format]
kind = "vpc-flow"
"#;

impl Default for Config {
    fn default() -> Self {
        #[allow(clippy::expect_used)] // a constant, and tested
        Self::parse(BUILT_IN).expect("the built-in configuration is valid")
    }
}

impl Config {
    /// Reads and checks the bytes of a `flowherd.toml`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ConfigError> {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::parse(text),
            Err(error) => Err(ConfigError::of(vec![format!("is not UTF-8 text: {error}")])),
        }
    }

    /// Reads and checks the text of a `flowherd.toml`. Without rules in it, the built-in rule is used.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        if text.len() > limits::MAX_CONFIG_BYTES {
            let most = limits::MAX_CONFIG_BYTES;
            return Err(ConfigError::of(vec![format!(
                "has {} bytes; at most {most}: is it a flowherd.toml?",
                text.len()
            )]));
        }
        let mut file: File =
            toml::from_str(text).map_err(|error| ConfigError::of(vec![locate(text, &error)]))?;
        if file.rule.is_empty() {
            let built_in: File = toml::from_str(BUILT_IN).map_err(|error| bug(&error))?;
            file.rule = built_in.rule;
        }
        let too_many = too_many(&file.rule);
        if !too_many.is_empty() {
            return Err(ConfigError::of(too_many));
        }
        let mut problems = file.limits.problems();
        let mut parsed = Vec::new();
        for (at, rule) in file.rule.iter().enumerate() {
            let mut wrong =
                |problem: String| problems.push(format!("rule {}: {problem}", quoted(&rule.name)));
            if file.rule[..at].iter().any(|other| other.name == rule.name) {
                wrong("another rule has the same name; names must differ".to_owned());
            }
            if rule.name.len() > limits::MAX_RULE_NAME_BYTES {
                let (length, max) = (rule.name.len(), limits::MAX_RULE_NAME_BYTES);
                wrong(format!("name has {length} bytes; the maximum is {max}"));
            }
            let matches = rule.matches.compiled(&mut wrong);
            let format = format(&rule.format, &mut wrong);
            columns::check_table_name(&rule.table, &mut wrong);
            if let Some(format) = format {
                columns::check(&rule.metadata, &format, &mut wrong);
                let required = required(rule, &format, &mut wrong);
                parsed.push((rule, matches, format, required));
            }
        }
        if !problems.is_empty() {
            return Err(ConfigError::of(problems));
        }

        let tables = columns::tables(
            parsed.iter().map(|(rule, _, format, _)| (&*rule.table, &rule.metadata[..], format)),
        )
        .map_err(ConfigError::of)?;
        let mut rules = Vec::with_capacity(parsed.len());
        for (number, (rule, matches, format, required)) in parsed.into_iter().enumerate() {
            let table = tables.iter().position(|table| table.name == rule.table);
            let table = table.ok_or_else(|| {
                bug(&format!("table {} of rule {} is not found", quoted(&rule.table), quoted(&rule.name)))
            })?;
            let metadata =
                tables[table].metadata.iter().map(|column| rule.metadata.contains(column)).collect();
            let cells = tables[table].place(&format.columns());
            let in_order = format.is_in_order(&cells);
            rules.push(Rule {
                number,
                name: rule.name.clone(),
                matches,
                table,
                metadata,
                cells,
                in_order,
                format,
                required,
                bad_text: rule.bad_text.unwrap_or_default(),
            });
        }
        let hash = hex(&Sha256::digest(serde_json::to_vec(&file).map_err(|error| bug(&error))?));
        Ok(Self { rules, tables, limits: file.limits, guard_formulas: file.csv.guard_formulas, hash })
    }
}

impl ConfigError {
    /// The first of these problems, and how many more there are.
    fn of(mut problems: Vec<String>) -> Self {
        let more = problems.len().saturating_sub(PROBLEMS_TOLD);
        problems.truncate(PROBLEMS_TOLD);
        if more > 0 {
            problems.push(format!("and {more} more problems"));
        }
        Self { problems }
    }
}

/// An error that no `flowherd.toml` can cause.
fn bug(why: &dyn std::fmt::Display) -> ConfigError {
    ConfigError::of(vec![format!("a bug in Flowherd: {why}; please report it")])
}

/// More rules, tables or regular expressions than there may be.
fn too_many(rules: &[RuleFile]) -> Vec<String> {
    let mut tables: Vec<&str> = rules.iter().map(|rule| &*rule.table).collect();
    tables.sort_unstable();
    tables.dedup();
    let regexes = rules.iter().filter(|rule| matches!(rule.format, FormatFile::Regex { .. })).count();
    [
        ("rules", rules.len(), limits::MAX_RULES),
        ("tables", tables.len(), limits::MAX_TABLES),
        ("rules of kind = \"regex\"", regexes, limits::MAX_REGEXES),
    ]
    .into_iter()
    .filter(|(_, count, most)| count > most)
    .map(|(what, count, most)| {
        format!("{count} {what}: at most {most}; convert the others with a file of their own")
    })
    .collect()
}

/// A value as an error shows it.
pub(crate) fn quoted(value: &str) -> String {
    let mut shown: String = value.chars().take(QUOTED_CHARS).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The parser's message on one line, with the line and what stands there.
fn locate(text: &str, error: &toml::de::Error) -> String {
    let message: String = error.message().replace('\n', " ").chars().take(MESSAGE_CHARS).collect();
    let is_deep = message == "recursion limit" || message.starts_with("cannot recurse further");
    let message = if is_deep { "nested deeper than any flowherd.toml".to_owned() } else { message };
    let Some(before) = error.span().and_then(|span| text.get(..span.start)) else { return message };
    let line = before.matches('\n').count();
    let shown = text.lines().nth(line).unwrap_or_default().trim();
    format!("line {}: {message}: {}", line + 1, quoted(shown))
}

/// The positions of a rule's required columns in its format. Checks `bad_text` too, which concerns the same formats.
fn required(rule: &RuleFile, format: &Format, wrong: &mut impl FnMut(String)) -> Vec<usize> {
    if format.is_flow() {
        if !rule.required.is_empty() {
            wrong("required: not for kind = \"vpc-flow\", whose lines have all fields; remove it".to_owned());
        }
        if rule.bad_text.is_some() {
            wrong("bad_text: not for kind = \"vpc-flow\", which rejects invalid text; remove it".to_owned());
        }
        return Vec::new();
    }
    let columns = format.columns();
    let position = |name: &String| {
        let position = columns.iter().position(|column| column.name == *name);
        if position.is_none() {
            wrong(format!("required: the format has no column {}", quoted(name)));
        }
        position
    };
    rule.required.iter().filter_map(position).collect()
}

fn format(file: &FormatFile, wrong: &mut impl FnMut(String)) -> Option<Format> {
    match file {
        FormatFile::VpcFlow { fields: None } => Some(Format::VpcFlow(FlowLayout::default())),
        FormatFile::VpcFlow { fields: Some(text) } => match FlowLayout::from_format_string(text) {
            Ok(layout) => Some(Format::VpcFlow(layout)),
            Err(problems) => {
                problems.into_iter().for_each(wrong);
                None
            }
        },
        FormatFile::Regex { pattern, types } => match RegexFormat::new(pattern, types) {
            Ok(format) => Some(Format::Regex(format)),
            Err(problems) => {
                problems.into_iter().for_each(wrong);
                None
            }
        },
        FormatFile::Json { columns } => {
            let columns = columns.iter().map(|column| (&*column.name, &*column.path, column.kind));
            match JsonFormat::new(columns) {
                Ok(format) => Some(Format::Json(format)),
                Err(problems) => {
                    problems.into_iter().for_each(wrong);
                    None
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> String {
        Config::parse(text).unwrap_err().to_string()
    }

    fn rule(rest: &str) -> String {
        format!("[[rule]]\nname = \"r\"\ntable = \"t\"\n{rest}")
    }

    fn columns(config: &Config, table: usize) -> Vec<&str> {
        config.tables[table].columns.iter().map(|column| &*column.name).collect()
    }

    #[test]
    fn without_rules_everything_is_a_version_2_flow_log() {
        let config = Config::default();
        assert_eq!(config.tables[0].name, "vpc_flow");
        assert_eq!(
            columns(&config, 0).join(","),
            "timestamp,version,account_id,interface_id,srcaddr,dstaddr,srcport,dstport,protocol,packets,bytes,start,end,action,log_status,interface_description,subnet_name,vpc_name,src_subnet_name,dst_subnet_name"
        );
        let limited = Config::parse("[limits]\nmax_layers = 1\n").unwrap();
        assert_eq!((limited.limits.max_layers, limited.rules.len()), (1, 1));
    }

    #[test]
    fn rules_of_one_table_share_the_union_of_their_columns() {
        let config = Config::parse(
            r#"
            [[rule]]
            name = "five"
            table = "flow"
            metadata = ["log_group"]
            format = { kind = "vpc-flow", fields = "${vpc-id} ${version} ${flow-direction}" }
            [[rule]]
            name = "two"
            table = "flow"
            metadata = ["owner"]
            format = { kind = "vpc-flow", fields = "${account-id} ${version}" }
            [[rule]]
            name = "other"
            table = "flow"
            format = { kind = "regex", pattern = '(?P<note>.*)' }
            "#,
        )
        .unwrap();
        assert_eq!(
            columns(&config, 0).join(","),
            "timestamp,log_group,owner,version,account_id,vpc_id,flow_direction,note,interface_description,subnet_name,vpc_name,src_subnet_name,dst_subnet_name"
        );
        assert_eq!(config.rules[0].cells, [Some(1), None, Some(0), Some(2), None]);
        assert_eq!(config.rules[1].metadata, [false, true]);
        assert_eq!(config.rules[2].cells, [None, None, None, None, Some(0)]);
    }

    #[test]
    fn without_flow_logs_the_union_is_in_the_order_of_first_appearance() {
        let rule = |name: &str, columns: &str| {
            format!(
                "[[rule]]\nname = \"{name}\"\ntable = \"t\"\nformat = {{ kind = \"regex\", pattern = '{columns}' }}\n"
            )
        };
        let text = rule("one", "(?P<client_ip>.)(?P<action>.)") + &rule("two", "(?P<version>.)(?P<action>.)");
        let config = Config::parse(&text).unwrap();
        assert_eq!(columns(&config, 0), ["timestamp", "client_ip", "action", "version"]);
    }

    #[test]
    fn a_single_rule_keeps_the_order_of_its_own_fields() {
        let config =
            Config::parse(&rule("format = { kind = \"vpc-flow\", fields = \"${end} ${start}\" }")).unwrap();
        assert_eq!(columns(&config, 0)[..3], ["timestamp", "end", "start"]);
    }

    #[test]
    fn the_hash_is_of_the_meaning_and_not_of_the_layout() {
        let one = Config::parse(&rule("format = { kind = \"vpc-flow\" }")).unwrap();
        let two = Config::parse(&rule("# a comment\n[rule.format]\nkind = \"vpc-flow\"")).unwrap();
        let other = Config::parse(&rule("metadata = [\"owner\"]\nformat = { kind = \"vpc-flow\" }")).unwrap();
        assert_eq!(one.hash, two.hash);
        assert_ne!(one.hash, other.hash);
        let guarded =
            Config::parse(&(rule("format = { kind = \"vpc-flow\" }") + "\n[csv]\nguard_formulas = true"))
                .unwrap();
        assert!(guarded.guard_formulas && guarded.hash != one.hash);
        let not =
            Config::parse(&(rule("format = { kind = \"vpc-flow\" }") + "\n[csv]\nguard_formulas = false"))
                .unwrap();
        assert!(!not.guard_formulas && not.hash == one.hash);
    }

    #[test]
    fn each_mistake_is_told_on_a_line_of_its_own() {
        let cases = [
            "nonsense",
            "[[rules]]\nname = \"r\"",
            &rule("metdata = [\"owner\"]\nformat = { kind = \"vpc-flow\" }"),
            &rule("metadata = [\"region\"]\nformat = { kind = \"vpc-flow\" }"),
            &rule("metadata = [\"owner\", \"owner\"]\nformat = { kind = \"vpc-flow\" }"),
            &rule("format = { kind = \"vpc-flow\", feilds = \"${version}\" }"),
            &rule("format = { kind = \"csv\" }"),
            &rule("format = { kind = \"vpc-flow\", fields = \"${version} ${scraddr} ${version} dstaddr\" }"),
            &rule("format = { kind = \"vpc-flow\", fields = \"\" }"),
            &rule("format = { kind = \"regex\", pattern = '(?P<a>' }"),
            &rule("format = { kind = \"regex\", pattern = '(a)' }"),
            &rule("format = { kind = \"regex\", pattern = '(?P<a>a)(?P<A>b)', types = { b = \"int\" } }"),
            &rule("format = { kind = \"regex\", pattern = '(?P<timestamp>a)(?P<b.c>b)' }"),
            &rule("format = { kind = \"regex\", pattern = '(?P<a>(?-u:.))' }"),
            &rule("format = { kind = \"json\", columns = [] }"),
            &rule(
                "format = { kind = \"json\", columns = [ { name = \"a b\", path = \"a\" }, { name = \"x\", path = \"/a~2\" } ] }",
            ),
            &rule(
                "format = { kind = \"json\", columns = [ { name = \"a\", path = \"/a\", type = \"number\" } ] }",
            ),
            &rule("match = { log_group = \"[z-a]\" }\nformat = { kind = \"vpc-flow\" }")
                .replace("\"t\"", "\"../T\""),
            "[limits]\nmax_layers = 0\nmax_record_bytes = 1\nmax_decode_ratio = 1\nmax_reject_bytes = 1",
            "[csv]\nguard_formula = true",
            &[
                rule("format = { kind = \"vpc-flow\" }\n"),
                rule("format = { kind = \"json\", columns = [ { name = \"start\", path = \"/s\" } ] }")
                    .replace("\"r\"", "\"s\""),
            ]
            .concat(),
        ];
        let told: Vec<String> =
            cases.iter().map(|text| format!("--- {text}\n{}\n", problems(text))).collect();
        insta::assert_snapshot!(told.concat());
    }
}
