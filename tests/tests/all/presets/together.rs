//! All presets in one file: each takes the records of its own log type.

use std::{collections::BTreeMap, fs};

use flowherd_shared::{
    config::Config, limits::MAX_REGEXES, names::NameIndex, pipeline::RunConfig, presets::PRESETS,
};
use flowherd_tests::{
    command::files_below,
    objects::{base64, envelope, event, outcome},
};

use super::samples;

/// The presets that recover records for the rules below.
const FIRST: [&str; 3] = ["firehose-errors", "cloudwatch-awslogs", "cloudwatch-http"];
/// VPC and transit gateway flow logs have the same keys, so the ids of the flow logs distinguish them.
const TGW: &str = "match = [ { key = \"*_fl-0123456789abcdef0_*\" }, { key = \"*_fl-0fedcba9876543210_*\" }, { log_group = \"*tgw*flow*\", message = 'TransitGateway' } ]\n";

/// A configuration with the presets in this order.
fn plan<'a>(names: impl IntoIterator<Item = &'a str>) -> RunConfig {
    let rule = |name| format!("[[rule]]\npreset = \"{name}\"\n{}", if name == "tgw-flow" { TGW } else { "" });
    let text: String = names.into_iter().map(rule).collect();
    let config = Config::parse(&text).unwrap_or_else(|error| panic!("{error}"));
    RunConfig::new(config, NameIndex::default())
}

/// All presets in the order that docs/log-types.md gives.
fn documented_order() -> Vec<&'static str> {
    let others = PRESETS.iter().map(|preset| preset.name).filter(|name| !FIRST.contains(name));
    FIRST.into_iter().chain(others).collect()
}

/// Rows without absent values, because rules of one table share their columns.
fn rows(lines: &[Vec<String>]) -> Vec<BTreeMap<&str, &str>> {
    lines[1..]
        .iter()
        .map(|row| {
            let cells = lines[0].iter().zip(row).map(|(name, value)| (&**name, &**value));
            cells.filter(|(_, value)| *value != "-").collect()
        })
        .collect()
}

#[test]
fn every_sample_is_taken_by_its_own_preset_among_all_of_them() {
    let plan = plan(documented_order());
    for preset in PRESETS {
        let sample = samples().join(preset.name);
        for key in files_below(&sample.join("in")) {
            let object = fs::read(sample.join("in").join(&key)).unwrap();
            let outcome =
                outcome(&object, usize::MAX, &key, &plan).unwrap_or_else(|error| panic!("{key}: {error}"));
            let text = fs::read_to_string(sample.join("expected").join(format!("{key}.csv")));
            let text = text.or_else(|_| fs::read_to_string(sample.join("expected").join(&key))).unwrap();
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
            let expected: Vec<Vec<String>> =
                reader.records().map(|row| row.unwrap().iter().map(str::to_owned).collect()).collect();
            let tables = outcome.tables.values().filter(|rows| rows.len() > 1).collect::<Vec<_>>();
            assert_eq!(tables.len(), 1, "{}: {key}: {:?}", preset.name, outcome.tables.keys());
            assert_eq!(rows(tables[0]), rows(&expected), "{}: {key}", preset.name);
        }
    }
}

/// A configuration has 32 regular expressions at most.
#[test]
fn all_presets_leave_eight_regular_expressions_to_other_rules() {
    let rules = |own: usize| {
        let presets = documented_order().into_iter().map(|name| format!("[[rule]]\npreset = \"{name}\"\n"));
        let own = (0..own).map(|number| {
            format!("[[rule]]\nname = \"own-{number}\"\ntable = \"own\"\nmatch = {{ log_group = \"own-{number}\" }}\nformat = {{ kind = \"regex\", pattern = '(?P<line>.*)' }}\n")
        });
        presets.chain(own).collect::<String>()
    };
    Config::parse(&rules(8)).unwrap();
    let error = Config::parse(&rules(MAX_REGEXES)).unwrap_err().to_string();
    assert!(error.contains(" regular expressions: the limit is 32"), "{error}");
}

#[test]
fn the_log_of_a_function_is_not_taken_by_presets_that_its_name_resembles() {
    let plan = plan(documented_order());
    let report = "REPORT RequestId: 3604209a-e9a3-11e6-939a-754dd98c7be3\tDuration: 12.34 ms\tBilled Duration: 100 ms\tMemory Size: 128 MB\tMax Memory Used: 18 MB";
    for function in [
        "my-apigateway-handler",
        "flow-log-processor",
        "tgw-flow-alerts",
        "suricata-rules",
        "route53-resolver-sync",
        "aws-waf-logs-reader",
    ] {
        let group = format!("/aws/lambda/{function}");
        let object =
            envelope(&group, &[event(0, report)]).replace("eni-1-all", "2026/02/18/[$LATEST]0c1d2e3f");
        let outcome = outcome(object.as_bytes(), usize::MAX, "logs/k", &plan).unwrap();
        assert_eq!(outcome.rejects, [], "{function}");
        assert_eq!(outcome.tables["lambda_report"].len(), 2, "{function}");
    }
}

#[test]
fn error_output_of_a_stream_goes_to_firehose_errors_wherever_that_rule_is() {
    let web = r#"{"timestamp":1771372800000,"webaclId":"arn:aws:wafv2:us-east-1:123456789012:regional/webacl/shop/1","action":"BLOCK","terminatingRuleId":"r","httpRequest":{"clientIp":"192.0.2.1"}}"#;
    let error = format!(
        "{{\"attemptsMade\":4,\"arrivalTimestamp\":1771372800000,\"errorCode\":\"x\",\"errorMessage\":\"x\",\"attemptEndingTimestamp\":1771372860000,\"rawData\":\"{}\"}}\n",
        base64(web.as_bytes())
    );
    let key = "waf/http-endpoint-failed/2026/02/18/00/aws-waf-logs-shop-1-2026-02-18-00-06-02-fa1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9";
    for order in [["waf", "firehose-errors"], ["firehose-errors", "waf"]] {
        let outcome = outcome(error.as_bytes(), usize::MAX, key, &plan(order)).unwrap();
        assert_eq!((outcome.read, outcome.tables["waf"].len()), (1, 2), "{order:?}");
    }
}

#[test]
fn a_damaged_record_of_a_preset_is_a_reject_although_a_rule_below_takes_every_record() {
    let rest = "[[rule]]\nname = \"rest\"\ntable = \"rest\"\nformat = { kind = \"regex\", pattern = '(?P<line>.*)' }\n";
    for (name, key, damaged) in [
        ("waf", "AWSLogs/1/WAFLogs/x", r#"{"timestamp":1,"action":"BLOCK"}"#),
        ("waf", "waf/aws-waf-logs-shop-1", r#"{"timestamp":1,"webaclId":"a","action":"BLOCK"}"#),
        ("api-gateway", "amazon-apigateway-x", r#"{"requestTime":"09/Apr/2026","status":"200"}"#),
        ("route53-resolver", "a/vpcdnsquerylogs/x", r#"{"version":"1.1"}"#),
        ("suricata-eve", "eve.json", r#"{"event_type":"stats"}"#),
        ("guardduty-eventbridge", "k", r#"{"detail-type":"GuardDuty Finding","detail":{"id":"1"}}"#),
        ("tgw-flow", "a/vpcflowlogs/x", "2 TransitGateway 123456789012"),
    ] {
        let text = format!("[[rule]]\npreset = \"{name}\"\n{rest}");
        let plan = RunConfig::new(Config::parse(&text).unwrap(), NameIndex::default());
        let outcome = outcome(damaged.as_bytes(), usize::MAX, key, &plan).unwrap();
        assert_eq!(outcome.rejects.len(), 1, "{name}: {key}: {:?}", outcome.tables);
    }
}

/// The text of a sample's first line.
fn first_line(name: &str) -> String {
    let sample = samples().join(name).join("in");
    let key = files_below(&sample).into_iter().next().unwrap();
    fs::read_to_string(sample.join(key)).unwrap().lines().next().unwrap().to_owned()
}

/// The time of a search is proportional to the line's length, so this ends. A debug build takes about a second for each line of
/// 1 MiB.
#[test]
fn a_pattern_of_a_preset_reads_hostile_lines_to_their_end() {
    for name in ["alb", "alb-connection", "elb", "nlb", "s3-access"] {
        let text = format!("[[rule]]\npreset = \"{name}\"\nmatch = {{ key = \"*\" }}\n");
        let plan = RunConfig::new(Config::parse(&text).unwrap(), NameIndex::default());
        let line = first_line(name);
        for unit in [" ", "\"", "[", "7", "- ", "\" 200 - 1 1 1 1 \""] {
            let hostile = unit.repeat(((1 << 20) - line.len() - 1) / unit.len());
            let (before, last) = line.rsplit_once(' ').unwrap();
            for object in [hostile.clone(), format!("{line} {hostile}"), format!("{before} {hostile}{last}")]
            {
                let outcome = outcome(object.as_bytes(), usize::MAX, "k", &plan).unwrap();
                // White space is no record.
                let records = u64::from(!object.trim().is_empty());
                assert_eq!(outcome.read, records, "{name}: {unit:?}");
                assert!(outcome.rejects.iter().all(|reject| reject.2 == "no-match"), "{name}: {unit:?}");
            }
        }
    }
}
