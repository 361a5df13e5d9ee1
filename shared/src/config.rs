//! `flowherd.toml`: parsed and checked once at the start, then assembled from compiled rules and their tables.

mod choice;
mod enrich;
mod enrich_file;
mod file;
mod preset;
mod rule;
mod tables;

use sha2::{Digest, Sha256};

pub use crate::problems::ConfigError;
use crate::{
    enrichment::{Enrichment, FileDigest},
    limits::Limits,
    pipeline::{records::RecordsPath, rules::Rule},
    problems::Problems,
    table::Table,
    text::hex,
};
use file::File;
use rule::CompiledAction;

/// The checked configuration: rules in order, and the tables they feed.
#[derive(Debug)]
pub struct Config {
    /// The first rule that matches takes the record.
    pub rules: Vec<Rule>,
    /// In order of first appearance.
    pub tables: Vec<Table>,
    /// The paths of the arrays whose elements are records.
    pub arrays: Vec<RecordsPath>,
    /// The entries of `[[enrich]]`.
    pub enrichments: Vec<Enrichment>,
    /// Memory and work that one object may take.
    pub limits: Limits,
    /// Whether values that spreadsheets read as formulas are written as text.
    pub guard_formulas: bool,
    /// SHA-256 in hex over the meaning of the file, so without its comments and layout, and without its enrichment files.
    pub hash: String,
}

impl Config {
    /// Returns SHA-256 in hex over the meaning of the file and the enrichment files. Without those, it is [`Config::hash`].
    #[must_use]
    pub fn hash_with(&self, files: &[FileDigest]) -> String {
        if files.is_empty() {
            return self.hash.clone();
        }
        let hashes = files.iter().map(|file| &*file.sha256);
        let parts: Vec<&str> = std::iter::once(&*self.hash).chain(hashes).collect();
        hex(&Sha256::digest(parts.join("\n")))
    }
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
        let mut problems = Problems::default();
        let file = File::parse(text, &mut problems)?;
        let arrays = rule::arrays(&file);
        let compiled = rule::compile(&file, &arrays, &mut problems);
        let feeds = compiled.iter().filter_map(|rule| {
            let CompiledAction::Write(writing) = &rule.action else { return None };
            Some((writing.table, &writing.metadata[..], &writing.format))
        });
        let mut tables = tables::union(feeds, &mut problems);
        let enrichments = enrich::compile(&file.enrich, &mut problems);
        // A rule or an entry with problems gives no columns, which would cause others.
        problems.check()?;
        tables::add_enrichments(&mut tables, &enrichments, &mut problems);
        problems.check()?;
        let rules = compiled.into_iter().enumerate();
        let rules = rules.map(|(number, rule)| rule.into_rule(number, &tables)).collect::<Result<_, _>>()?;
        let meaning = serde_json::to_vec(&file).map_err(|error| ConfigError::bug(&error))?;
        Ok(Self {
            rules,
            tables,
            arrays,
            enrichments,
            limits: file.limits,
            guard_formulas: file.csv.guard_formulas,
            hash: hex(&Sha256::digest(meaning)),
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
        let writing = |rule: usize| config.rules[rule].writing().unwrap();
        assert_eq!(writing(0).cells, [Some(1), None, Some(0), Some(2), None]);
        assert_eq!(writing(1).metadata, [false, true]);
        assert_eq!(writing(2).cells, [None, None, None, None, Some(0)]);
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
            &rule("match = { message = \"[z-a]\" }\nformat = { kind = \"vpc-flow\" }")
                .replace("\"t\"", "\"../T\""),
            &rule("match = { log_groups = \"a\" }\nformat = { kind = \"vpc-flow\" }"),
            &rule("match = [ { key = \"a\" }, { message = \"(\" } ]\nformat = { kind = \"vpc-flow\" }"),
            "[[rule]]\nname = \"r\"\ndrop = true\ntable = \"t\"\nrequired = [\"a\"]",
            "[[rule]]\nformat = { kind = \"vpc-flow\" }",
            "[[rule]]\npreset = \"vpc-flows\"",
            "[[rule]]\nname = \"r\"\ntable = \"t\"",
            &rule("format = { fields = \"${version}\" }"),
            &rule("format = { kind = \"vpc-flow\", pattern = \"x\", columns = [] }"),
            &rule("format = { kind = \"tgw-flow\", fields = \"${version} ${interface-id} ${tgw-new}\" }"),
            &rule(
                "format = { kind = \"vpc-flow\", unknown_fields = \"text\", fields = \"${new-field} ${New}\" }",
            ),
            &rule("format = { kind = \"w3c\", fields = \"date cs(a) cs-a\", types = { x = \"int\" } }"),
            &rule("format = { kind = \"w3c\" }"),
            &rule(
                "records = \"Records\"\nunwrap = \"x\"\nlines = \"export\"\nformat = { kind = \"vpc-flow\" }",
            ),
            &rule("decode = \"base64\"\nformat = { kind = \"vpc-flow\" }"),
            &rule("timestamp = { unit = \"ms\" }\nformat = { kind = \"regex\", pattern = '(?P<a>a)' }"),
            &rule(
                "timestamp = { path = \"/t\", unit = \"ms\" }\nformat = { kind = \"regex\", pattern = '(?P<a>a)' }",
            ),
            &rule(
                "timestamp = { columns = [\"b\"], format = \"%H\" }\nformat = { kind = \"regex\", pattern = '(?P<a>a)' }",
            ),
            &rule(
                "timestamp = { path = \"t\", unit = \"ms\", format = \"%s\" }\nformat = { kind = \"json\", columns = [ { name = \"a\", path = \"/a\" } ] }",
            ),
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
