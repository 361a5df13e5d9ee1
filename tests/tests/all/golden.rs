//! Snapshots of whole outputs. Review an intended change with `cargo insta review`.

use std::fmt::Write;

use flowherd_shared::{config::Config, flow_fields::FLOW_FIELDS, names::NameIndex, pipeline::RunConfig};
use flowherd_tests::objects::{FLOW, NAMES, convert, envelope, envelope_of, event, gzip};

/// Returns everything that is written for an object, as text.
fn outputs(config: &str, key: &str, object: &[u8]) -> String {
    let plan = RunConfig::new(Config::parse(config).unwrap(), NameIndex::parse(NAMES.as_bytes()).unwrap());
    let (counts, outputs) = convert(object, key, &plan).unwrap();
    let mut text = format!(
        "read {} = rows {} + rejected {} + control {}\n",
        counts.read, counts.rows, counts.rejected, counts.control
    );
    for (output, content) in outputs {
        write!(text, "\n{} ({} rows)\n{content}", output.path, output.rows).unwrap();
    }
    text
}

fn one_group(messages: &[&str]) -> Vec<u8> {
    let events: Vec<String> =
        (0_i64..).zip(messages).map(|(at, message)| event(1_580_515_200_000 + at, message)).collect();
    gzip(envelope("vpc-flow-logs", &events).as_bytes())
}

/// Returns a rule for a flow log with these fields.
fn rule(fields: &[&str]) -> String {
    let fields: Vec<String> = fields.iter().map(|field| format!("${{{field}}}")).collect();
    format!(
        "[[rule]]\nname = \"vpc\"\ntable = \"vpc_flow\"\n[rule.format]\nkind = \"vpc-flow\"\nfields = \"{}\"\n",
        fields.join(" ")
    )
}

fn since(versions: std::ops::RangeInclusive<u8>) -> Vec<&'static str> {
    FLOW_FIELDS
        .iter()
        .filter(|field| versions.contains(&field.since_version))
        .map(|field| field.name)
        .collect()
}

#[test]
fn version_2_by_default_with_ipv6_icmp_nodata_and_skipdata() {
    let object = one_group(&[
        FLOW,
        "2 123456789012 eni-1 2001:db8::5 2001:db8:ffff::7 34892 53 6 54 8855 1580515200 1580515260 ACCEPT OK",
        "2 123456789012 eni-2 10.1.2.3 10.0.0.200 0 0 1 4 336 1580515200 1580515260 REJECT OK",
        "2 123456789012 eni-3 - - - - - - - 1580515200 1580515260 - NODATA",
        "2 123456789012 eni-1 - - - - - - - 1580515200 1580515260 - SKIPDATA",
        "2 unknown eni-9 10.0.0.5 10.1.0.1 1 2 6 1 40 1580515200 1580515260 ACCEPT OK",
    ]);
    insta::assert_snapshot!(outputs("", "AWSLogs/a b+%ü", &object));
}

#[test]
fn version_5_with_all_its_fields() {
    let line = "5 123456789012 eni-1 10.0.0.5 192.0.2.7 49152 443 6 20 4249 1580515200 1580515260 ACCEPT OK vpc-2 subnet-3 i-0abc 19 IPv4 10.0.0.5 192.0.2.7 us-east-1 use1-az1 - - - S3 egress 8";
    insta::assert_snapshot!(outputs(&rule(&since(2..=5)), "k", &one_group(&[line, FLOW])));
}

#[test]
fn the_ecs_fields_up_to_version_8() {
    let mut fields = vec!["version", "interface-id", "srcaddr", "start"];
    fields.extend(since(7..=8));
    let line = "8 eni-2 10.0.0.77 1580515200 arn:aws:ecs:us-east-1:123456789012:cluster/prod prod arn:aws:ecs:us-east-1:123456789012:container-instance/prod/1 1 c1 c2 web arn:aws:ecs:us-east-1:123456789012:task-definition/web:7 arn:aws:ecs:us-east-1:123456789012:task/prod/t1 t1 BPA";
    insta::assert_snapshot!(outputs(&rule(&fields), "k", &one_group(&[line])));
}

#[test]
fn all_54_fields_back_to_front() {
    let mut fields = since(2..=11);
    fields.reverse();
    let line: Vec<String> = (1..=54)
        .rev()
        .map(|at| match at {
            4 | 20 => "10.0.0.5".to_owned(),
            5 | 21 => "2001:db8::1".to_owned(),
            11 => "1580515200".to_owned(),
            43 => "my%2Dapp".to_owned(),
            1..=29 if ![2, 3, 13, 14, 15, 16, 17, 19, 22, 23, 24, 25, 26, 27, 28].contains(&at) => {
                at.to_string()
            }
            _ => format!("v{at}"),
        })
        .collect();
    insta::assert_snapshot!(outputs(&rule(&fields), "k", &one_group(&[&line.join(" ")])));
}

#[test]
fn plain_lines_with_headers_that_decide_the_columns() {
    let text = format!(
        "interface-id dstaddr srcaddr start end action\neni-2 10.1.2.3 10.0.0.1 1580515200 1580515260 ACCEPT\r\n\neni-2 - - - - -\ninterface-id start\neni-1 1580515201\n{FLOW}\nlast line without an end"
    );
    insta::assert_snapshot!(outputs("", "k", text.as_bytes()));
}

#[test]
fn plain_lines_without_a_header_follow_the_rule() {
    insta::assert_snapshot!(outputs("", "k", &gzip(format!("{FLOW}\n{FLOW}\n").as_bytes())));
}

#[test]
fn mixed_log_groups_go_to_three_tables() {
    let config = super::generate::CONFIG;
    let waf = r#"{"timestamp":1580515200000,"action":"BLOCK","httpRequest":{"clientIp":"192.0.2.9","headers":[{"name":"User-Agent","value":"a \"quoted\", one"}]},"labels":null}"#;
    let object = [
        gzip(envelope("vpc-flow-logs-a", &[event(1_580_515_200_000, FLOW)]).as_bytes()),
        gzip(
            envelope_of("CONTROL_MESSAGE", "", &[event(1, "CWL CONTROL MESSAGE: Checking health")])
                .as_bytes(),
        ),
        gzip(envelope("aws-waf-logs-x", &[event(1_580_515_200_001, waf), event(2, "no json")]).as_bytes()),
        gzip(
            envelope(
                "/ids/suricata",
                &[
                    event(1_580_515_200_002, "WARN 10.0.0.1 -> evil.example:443"),
                    event(1_580_515_200_003, "INFO a,b -> \"c\""),
                    event(1_580_515_200_004, "WARN too many words here"),
                ],
            )
            .as_bytes(),
        ),
        gzip(
            envelope(
                "vpc-five",
                &[event(1_580_515_200_005, "vpc-2 subnet-3 eni-1 10.1.2.9 10.0.0.1 1580515200 egress 8")],
            )
            .as_bytes(),
        ),
        gzip(envelope("nobody's", &[event(1_580_515_200_006, "x\ny\u{1f600}")]).as_bytes()),
    ];
    insta::assert_snapshot!(outputs(config, "firehose/k", &object.concat()));
}

#[test]
fn an_object_without_records_is_a_header_alone() {
    insta::assert_snapshot!(outputs("", "k", b""));
}
