//! `flowherd.toml`: parsed and checked once at the start, then assembled from compiled rules and their tables.

mod file;
mod tables;

use sha2::{Digest, Sha256};

pub use crate::problems::ConfigError;
use crate::{
    limits::{Limits, MAX_RULE_NAME_BYTES},
    pipeline::rules::{FlowLayout, Format, JsonColumn, JsonFormat, Matches, RegexFormat, Rule},
    problems::Problems,
    table::Table,
    text::{hex, quoted},
};
use file::{File, FormatFile, JsonColumnFile, RuleFile};

/// The checked configuration: rules in order, and the tables they feed.
#[derive(Debug)]
pub struct Config {
    /// The first rule that matches takes the record.
    pub rules: Vec<Rule>,
    /// In order of first appearance.
    pub tables: Vec<Table>,
    /// Memory and work that one object may take.
    pub limits: Limits,
    /// Whether values that spreadsheets read as formulas are written as text.
    pub guard_formulas: bool,
    /// SHA-256 in hex over the meaning of the file, so without its comments and layout.
    pub hash: String,
}

impl Default for Config {
    fn default() -> Self {
        #[expect(
            clippy::expect_used,
            reason = "an empty text selects the built-in rule, which a test compiles"
        )]
        Self::parse("").expect("the built-in configuration is valid")
    }
}

impl Config {
    /// Parses and checks the bytes of a `flowherd.toml`.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ConfigError> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| ConfigError::of(format!("is not UTF-8 text: {error}; save it as UTF-8")))?;
        Self::parse(text)
    }

    /// Parses and checks the text of a `flowherd.toml`. A text without rules gets the built-in rule.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let file = File::parse(text)?;
        let compiled = compile(&file)?;
        let feeds = compiled.iter().map(|rule| (&*rule.file.table, &rule.file.metadata[..], &rule.format));
        let tables = tables::union(feeds)?;
        let rules = compiled.into_iter().enumerate();
        let rules = rules.map(|(number, rule)| rule.into_rule(number, &tables)).collect::<Result<_, _>>()?;
        let meaning = serde_json::to_vec(&file).map_err(|error| ConfigError::bug(&error))?;
        Ok(Self {
            rules,
            tables,
            limits: file.limits,
            guard_formulas: file.csv.guard_formulas,
            hash: hex(&Sha256::digest(meaning)),
        })
    }
}

/// A rule's parts, before its table is known.
struct Compiled<'a> {
    file: &'a RuleFile,
    matches: Matches,
    format: Format,
    required: Vec<usize>,
}

/// Compiles each rule. The error has the problems of all rules.
fn compile(file: &File) -> Result<Vec<Compiled<'_>>, ConfigError> {
    let mut problems = Problems::default();
    problems.extend(file.limits.problems());
    let mut compiled = Vec::new();
    for (at, rule) in file.rule.iter().enumerate() {
        let mut problem = |problem: String| problems.add(format!("rule {}: {problem}", quoted(&rule.name)));
        if file.rule[..at].iter().any(|other| other.name == rule.name) {
            problem("another rule has the same name; rename one of them".to_owned());
        }
        if rule.name.len() > MAX_RULE_NAME_BYTES {
            let (bytes, limit) = (rule.name.len(), MAX_RULE_NAME_BYTES);
            problem(format!("name has {bytes} bytes: the limit is {limit}"));
        }
        let matches = rule.matches.compile(&mut problem);
        tables::check_name(&rule.table, &mut problem);
        match compile_format(&rule.format) {
            Err(wrong) => wrong.into_iter().for_each(problem),
            Ok(format) => {
                tables::check_columns(&rule.metadata, &format, &mut problem);
                let required = required(rule, &format, &mut problem);
                compiled.push(Compiled { file: rule, matches, format, required });
            }
        }
    }
    problems.check()?;
    Ok(compiled)
}

/// The error has all problems of the format.
fn compile_format(file: &FormatFile) -> Result<Format, Vec<String>> {
    Ok(match file {
        FormatFile::VpcFlow { fields: None } => Format::VpcFlow(FlowLayout::default()),
        FormatFile::VpcFlow { fields: Some(text) } => Format::VpcFlow(FlowLayout::from_format_string(text)?),
        FormatFile::Regex { pattern, types } => Format::Regex(RegexFormat::new(pattern, types)?),
        FormatFile::Json { columns } => {
            let (columns, mut problems) = (columns.iter().map(JsonColumnFile::column), Vec::new());
            let columns: Vec<JsonColumn<'_>> =
                columns.filter_map(|column| column.map_err(|problem| problems.push(problem)).ok()).collect();
            if columns.is_empty() && !problems.is_empty() {
                return Err(problems);
            }
            match JsonFormat::new(columns, &[]) {
                Ok(format) if problems.is_empty() => Format::Json(format),
                Ok(_) => return Err(problems),
                Err(others) => return Err([problems, others].concat()),
            }
        }
    })
}

/// Returns the positions of a rule's required columns in its format. Also checks `bad_text`, which the same formats have.
fn required(rule: &RuleFile, format: &Format, problem: &mut impl FnMut(String)) -> Vec<usize> {
    if format.is_flow() {
        if !rule.required.is_empty() {
            problem(
                "required: not for kind = \"vpc-flow\", whose lines contain all fields; remove it".to_owned(),
            );
        }
        if rule.bad_text.is_some() {
            problem(
                "bad_text: not for kind = \"vpc-flow\", which rejects invalid text; remove it".to_owned(),
            );
        }
        return Vec::new();
    }
    let columns = format.columns();
    let position = |name: &String| {
        let position = columns.iter().position(|column| column.name == *name);
        if position.is_none() {
            problem(format!("required: the format has no column {}", quoted(name)));
        }
        position
    };
    rule.required.iter().filter_map(position).collect()
}

impl Compiled<'_> {
    fn into_rule(self, number: usize, tables: &[Table]) -> Result<Rule, ConfigError> {
        let Self { file, matches, format, required } = self;
        let position = tables.iter().position(|table| table.name == file.table);
        let table = position.ok_or_else(|| {
            let (table, rule) = (quoted(&file.table), quoted(&file.name));
            ConfigError::bug(&format!("table {table} of rule {rule} is not found"))
        })?;
        let metadata = tables[table].metadata.iter().map(|column| file.metadata.contains(column)).collect();
        let cells = tables[table].positions_in(&format.columns());
        let in_order = format.is_in_order(&cells);
        Ok(Rule {
            number,
            name: file.name.clone(),
            matches,
            table,
            metadata,
            cells,
            in_order,
            format,
            required,
            bad_text: file.bad_text.unwrap_or_default(),
        })
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
    fn without_rules_every_record_is_a_version_2_flow_log() {
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
    fn the_hash_covers_the_meaning_and_not_the_layout() {
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
    fn all_problems_are_reported_one_line_each() {
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
            &rule(
                "format = { kind = \"json\", columns = [ { name = \"a\" }, { name = \"b\", path = \"/b\", jsonpath = \"$.b\" } ] }",
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
        let reported: Vec<String> =
            cases.iter().map(|text| format!("--- {text}\n{}\n", problems(text))).collect();
        insta::assert_snapshot!(reported.concat());
    }
}
