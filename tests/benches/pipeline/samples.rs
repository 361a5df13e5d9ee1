//! What is measured: objects of flow logs as `flowherd synth` writes them, and others for a user's rules.

use std::{
    fs,
    hint::black_box,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use flowherd_shared::{config::Config, names::NameIndex, pipeline::RunConfig};
use flowherd_tests::command::files_below;

pub(crate) const FLOWHERD: &str = env!("CARGO_BIN_EXE_flowherd-under-test");
/// Messages of each sample for a user's rules.
const MESSAGES: usize = 100_000;
/// As many events are in an envelope of CloudWatch Logs.
const EVENTS: usize = 500;

/// Objects on disk, with the names that belong to them.
pub(crate) struct Sample {
    pub(crate) directory: PathBuf,
    /// The first object.
    pub(crate) object: PathBuf,
    pub(crate) names_file: PathBuf,
    pub(crate) records: u32,
    pub(crate) plan: RunConfig,
}

impl Sample {
    pub(crate) fn new(directory: &Path, objects: u32, records: u32) -> Self {
        let (objects, each) = (objects.to_string(), records.to_string());
        let args = ["synth", directory.to_str().unwrap(), "--objects", &objects, "--records", &each];
        assert!(Command::new(FLOWHERD).args(args).stdout(Stdio::null()).status().unwrap().success());
        let names_file = directory.join("names.json");
        let names = NameIndex::parse(&fs::read(&names_file).unwrap()).unwrap();
        let directory = directory.join("firehose");
        let object = directory.join(files_below(&directory).remove(0));
        Self { directory, object, names_file, records, plan: RunConfig::new(Config::default(), names) }
    }
}

type Alone = fn(&[String]);

/// Name, configuration, messages, and what the rule's library does with them on its own.
pub(crate) fn of_rules() -> [(&'static str, &'static str, Vec<String>, Alone); 3] {
    [
        (
            "regex, 3 groups of an IDS line",
            concat!(
                "[[rule]]\nname = \"r\"\ntable = \"t\"\nformat = { kind = \"regex\", ",
                r"pattern = '^(?P<level>\w+) (?P<src>\S+) -> (?P<dst>\S+)$' }"
            ),
            (0..MESSAGES).map(ids).collect(),
            |messages| {
                let pattern =
                    regex::bytes::Regex::new(r"^(?P<level>\w+) (?P<src>\S+) -> (?P<dst>\S+)$").unwrap();
                let mut found = pattern.capture_locations();
                for message in messages {
                    black_box(pattern.captures_read(&mut found, message.as_bytes()));
                }
            },
        ),
        (
            "json, 4 columns of a WAF record",
            concat!(
                "[[rule]]\nname = \"r\"\ntable = \"t\"\nformat = { kind = \"json\", columns = [",
                "{ name = \"action\", path = \"/action\" }, ",
                "{ name = \"client\", path = \"/httpRequest/clientIp\" }, ",
                "{ name = \"uri\", path = \"/httpRequest/uri\" }, ",
                "{ name = \"rule\", path = \"/ruleGroupList/0/ruleGroupId\" } ] }"
            ),
            (0..MESSAGES).map(waf).collect(),
            ignore_values,
        ),
        (
            "json, the waf preset",
            "[[rule]]\npreset = \"waf\"\nmatch = {}\n",
            (0..MESSAGES).map(waf).collect(),
            ignore_values,
        ),
    ]
}

fn ignore_values(messages: &[String]) {
    for message in messages {
        black_box(serde_json::from_str::<serde::de::IgnoredAny>(message).unwrap());
    }
}

/// These messages as CloudWatch Logs and Firehose deliver them.
pub(crate) fn object(messages: &[String]) -> Vec<u8> {
    let mut object = Vec::new();
    let mut number = 0_u64;
    for messages in messages.chunks(EVENTS) {
        let mut event = |message: &String| {
            number += 1;
            let message = serde_json::to_string(message).unwrap();
            format!(
                r#"{{"id":"{number:056}","timestamp":{},"message":{message}}}"#,
                1_771_372_800_000 + number
            )
        };
        let events: Vec<String> = messages.iter().map(&mut event).collect();
        let mut member = flate2::write::GzEncoder::new(&mut object, flate2::Compression::default());
        write!(
            member,
            r#"{{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"g","logStream":"s","subscriptionFilters":["f"],"logEvents":[{}]}}"#,
            events.join(",")
        )
        .unwrap();
        member.finish().unwrap();
    }
    object
}

fn ids(number: usize) -> String {
    let level = ["notice", "warning", "alert"][number * number % 3];
    format!(
        "{level} 198.51.100.{}:{} -> 10.0.{}.{}:443",
        number % 251,
        1024 + number % 64_000,
        number % 7,
        number % 250
    )
}

fn waf(number: usize) -> String {
    let action = ["ALLOW", "BLOCK"][number * number % 5 % 2];
    format!(
        r#"{{"timestamp":{},"formatVersion":1,"webaclId":"arn:aws:wafv2:us-east-1:123456789012:regional/webacl/shop/b1b2","terminatingRuleId":"Default_Action","terminatingRuleType":"REGULAR","action":"{action}","httpSourceName":"ALB","httpSourceId":"123456789012-app/shop/5d","ruleGroupList":[{{"ruleGroupId":"AWS#CommonRuleSet","terminatingRule":null,"nonTerminatingMatchingRules":[]}}],"rateBasedRuleList":[],"httpRequest":{{"clientIp":"203.0.113.{}","country":"NL","headers":[{{"name":"Host","value":"shop.example.com"}},{{"name":"User-Agent","value":"Mozilla/5.0 (X11; Linux x86_64)"}}],"uri":"/item/{}","args":"page={}","httpVersion":"HTTP/2.0","httpMethod":"GET","requestId":"1-{number:08x}"}}}}"#,
        1_771_372_800_000 + number,
        number % 254,
        number % 1000,
        number % 17
    )
}
