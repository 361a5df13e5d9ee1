//! Formats: flow logs with any fields, Transit Gateway flow logs, W3C logs, and JSONPath.

use flowherd_tests::objects::{FLOW, base64, envelope, event, outcome};

use super::{converted, failed};

const NAMES: &str = "interface_description,subnet_name,vpc_name,src_subnet_name,dst_subnet_name";

fn flow_rule(kind: &str, keys: &str) -> String {
    format!("[[rule]]\nname = \"r\"\ntable = \"r\"\nformat = {{ kind = \"{kind}\"{keys} }}\n")
}

#[test]
fn a_rule_with_any_fields_has_all_columns_and_headers_decide_the_order() {
    let object = format!(
        "{FLOW}\naction ecs-task-id start\nREJECT t-1 1580515201\n{}",
        envelope("g", &[event(5, FLOW)])
    );
    let lines = converted(&flow_rule("vpc-flow", ", fields = \"any\""), "k", object);
    assert_eq!(lines[0], "3 rows, 0 rejected, 0 control, 0 dropped");
    let header: Vec<&str> = lines[1].strip_prefix("r: ").unwrap().split(',').collect();
    assert_eq!(header.len(), 1 + 54 + 5);
    assert!(
        lines[1].starts_with("r: timestamp,version,account_id,interface_id,") && lines[1].ends_with(NAMES)
    );
    let value = |line: &str, column: &str| {
        let at = header.iter().position(|name| *name == column).unwrap();
        line.strip_prefix("r: ").unwrap().split(',').nth(at).unwrap().to_owned()
    };
    assert_eq!(value(&lines[2], "dstport"), "443");
    let with_header =
        ["timestamp", "action", "ecs_task_id", "version"].map(|column| value(&lines[3], column));
    assert_eq!(with_header, ["2020-02-01T00:00:01.000Z", "REJECT", "t-1", "-"]);
    assert_eq!(value(&lines[4], "timestamp"), "1970-01-01T00:00:00.005Z");
    assert_eq!(value(&lines[4], "dstport"), "443");
}

#[test]
fn unknown_fields_are_text_columns_of_their_own_name() {
    let config =
        flow_rule("vpc-flow", ", fields = \"${start} ${next-year} ${action}\", unknown_fields = \"text\"");
    assert_eq!(
        converted(&config, "k", "1580515200 {x} ACCEPT\naction next-year start\nACCEPT y 1580515200\n"),
        [
            "2 rows, 0 rejected, 0 control, 0 dropped".to_owned(),
            format!("r: timestamp,start,next_year,action,{NAMES}"),
            "r: 2020-02-01T00:00:00.000Z,1580515200,{x},ACCEPT,-,-,-,-,-".to_owned(),
            "r: 2020-02-01T00:00:00.000Z,1580515200,y,ACCEPT,-,-,-,-,-".to_owned(),
        ]
    );
}

/// The default format of Transit Gateway flow logs, and a record:
/// <https://docs.aws.amazon.com/vpc/latest/tgw/tgw-flow-logs.html>.
const TRANSIT_FIELDS: &str = "version resource-type account-id tgw-id tgw-attachment-id tgw-src-vpc-account-id tgw-dst-vpc-account-id tgw-src-vpc-id tgw-dst-vpc-id tgw-src-subnet-id tgw-dst-subnet-id tgw-src-eni tgw-dst-eni tgw-src-az-id tgw-dst-az-id tgw-pair-attachment-id srcaddr dstaddr srcport dstport protocol packets bytes start end log-status type packets-lost-no-route packets-lost-blackhole packets-lost-mtu-exceeded packets-lost-ttl-expired tcp-flags region flow-direction pkt-src-aws-service pkt-dst-aws-service";
const TRANSIT: &str = "6 TransitGateway 123456789012 tgw-1 tgw-attach-1 123456789012 210987654321 vpc-1 vpc-2 subnet-1 subnet-2 eni-1 eni-2 use1-az1 use1-az2 tgw-attach-2 10.0.0.5 10.1.0.5 49152 443 6 20 4249 1580515200 1580515260 OK IPv4 0 0 0 4294967296 2 us-east-1 egress - S3";

#[test]
fn transit_gateway_flow_logs_have_their_own_fields_and_no_names() {
    let config = flow_rule("tgw-flow", "");
    let object =
        envelope("g", &[event(5, TRANSIT), event(6, FLOW), event(7, &TRANSIT.replace(" 443 ", " x "))]);
    assert_eq!(
        converted(&config, "k", object),
        [
            "1 rows, 2 rejected, 0 control, 0 dropped".to_owned(),
            format!("r: timestamp,{}", TRANSIT_FIELDS.replace('-', "_").replace(' ', ",")),
            format!("r: 1970-01-01T00:00:00.005Z,{}", TRANSIT.replace(' ', ",")),
            format!("1 field-count: {FLOW}"),
            format!("2 field-type: {}", TRANSIT.replace(" 443 ", " x ")),
        ]
    );
    // A file, with the fields in another order.
    let config = flow_rule("tgw-flow", ", fields = \"${tgw-id} ${srcaddr} ${start}\"");
    assert_eq!(
        converted(&config, "k", "start srcaddr tgw-id\n1580515200 10.0.0.5 tgw-1\n"),
        [
            "1 rows, 0 rejected, 0 control, 0 dropped",
            "r: timestamp,tgw_id,srcaddr,start",
            "r: 2020-02-01T00:00:00.000Z,tgw-1,10.0.0.5,1580515200",
        ]
    );
}

#[test]
fn a_header_line_of_the_other_kind_of_flow_log_fails_the_object_and_names_the_kind() {
    let transit = format!("{TRANSIT_FIELDS}\n{TRANSIT}\n");
    let error = failed(&flow_rule("vpc-flow", ""), "k", transit);
    assert!(error.contains("tgw-flow"), "{error}");
    let vpc = format!(
        "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status\n{FLOW}\n"
    );
    let error = failed(&flow_rule("tgw-flow", ""), "k", vpc);
    assert!(error.contains("vpc-flow"), "{error}");
}

#[test]
fn the_fields_line_of_a_w3c_log_names_the_columns() {
    let config = "[[rule]]\nname = \"cdn\"\ntable = \"cdn\"\nrequired = [\"c_ip\"]\n\
                  timestamp = { columns = [\"date\", \"time\"], format = \"%Y-%m-%d %H:%M:%S\" }\n\
                  format = { kind = \"w3c\", fields = \"date time c-ip cs(User-Agent) sc-bytes\", types = { sc_bytes = \"bigint\" } }\n";
    let object = "1\t2\n#Version: 1.0\n#Fields: date time x-edge-location sc-bytes c-ip\n\
                  2026-02-18\t12:34:56\tZRH50-C1\t17\t192.0.2.1\n\
                  2026-02-18\t12:34:57\tZRH50-C1\t17\n\
                  2026-02-18\t12:34:58\tZRH50-C1\t-\t-\n\
                  #Fields: time date cs(User-Agent) c-ip\n\
                  12:34:59\t2026-02-18\tMozilla/5.0%20(X11)\t192.0.2.2\n";
    assert_eq!(
        converted(config, "k", object),
        [
            "2 rows, 3 rejected, 3 control, 0 dropped",
            "cdn: timestamp,date,time,c_ip,cs_user_agent,sc_bytes",
            "cdn: 2026-02-18T12:34:56.000Z,2026-02-18,12:34:56,192.0.2.1,-,17",
            "cdn: 2026-02-18T12:34:59.000Z,2026-02-18,12:34:59,192.0.2.2,Mozilla/5.0%20(X11),-",
            "0 no-header: 1\\t2",
            "4 field-count: 2026-02-18\\t12:34:57\\tZRH50-C1\\t17",
            "5 missing-required: 2026-02-18\\t12:34:58\\tZRH50-C1\\t-\\t-",
        ]
    );
}

#[test]
fn a_w3c_line_in_an_envelope_has_the_fields_of_the_rule() {
    let config = "[[rule]]\nname = \"iis\"\ntable = \"iis\"\nformat = { kind = \"w3c\", delimiter = \"space\", fields = \"time c-ip\" }\n";
    let object = format!(
        "#Fields: c-ip time\n192.0.2.1 10:00:00\n{}",
        envelope("g", &[event(5, "10:00:01 192.0.2.2"), event(6, "#Software: x")])
    );
    assert_eq!(
        converted(config, "k", object),
        [
            "2 rows, 0 rejected, 2 control, 0 dropped",
            "iis: timestamp,time,c_ip",
            "iis: -,10:00:00,192.0.2.1",
            "iis: 1970-01-01T00:00:00.005Z,10:00:01,192.0.2.2",
        ]
    );
}

#[test]
fn a_fields_line_in_an_envelope_decides_nothing_about_plain_lines() {
    let config = "[[rule]]\nname = \"iis\"\ntable = \"iis\"\nformat = { kind = \"w3c\", delimiter = \"space\", fields = \"time c-ip\" }\n";
    let object = format!(
        "#Fields: time c-ip\n{}\n10:00:00 192.0.2.1\n",
        envelope("g", &[event(5, "#Fields: c-ip time"), event(6, "10:00:01 192.0.2.2")])
    );
    assert_eq!(
        converted(config, "k", object),
        [
            "2 rows, 0 rejected, 2 control, 0 dropped",
            "iis: timestamp,time,c_ip",
            "iis: 1970-01-01T00:00:00.006Z,10:00:01,192.0.2.2",
            "iis: -,10:00:00,192.0.2.1",
        ]
    );
}

/// A rule for W3C logs with other keys.
fn w3c_rule(name: &str, fields: &str, keys: &str) -> String {
    format!(
        "[[rule]]\nname = \"{name}\"\ntable = \"{name}\"\n{keys}\nformat = {{ kind = \"w3c\", delimiter = \"space\", fields = \"{fields}\" }}\n"
    )
}

#[test]
fn a_fields_line_is_for_all_rules_of_the_file() {
    let rules = w3c_rule("errors", "time x-error", "required = [\"x_error\"]\non_mismatch = \"next\"")
        + &w3c_rule("requests", "time c-ip", "");
    assert_eq!(
        converted(&rules, "k", "#Fields: c-ip x-error time\n192.0.2.1 - 10:00:00\n192.0.2.2 e1 10:00:01\n"),
        [
            "2 rows, 0 rejected, 1 control, 0 dropped",
            "errors: timestamp,time,x_error",
            "errors: -,10:00:01,e1",
            "requests: timestamp,time,c_ip",
            "requests: -,10:00:00,192.0.2.1",
        ]
    );
}

#[test]
fn a_fields_line_counts_whichever_rule_takes_it() {
    let object = "#Version: 1.0\n#Fields: c-ip time\n192.0.2.1 10:00:00\n";
    let row = ["w: timestamp,time,c_ip", "w: -,10:00:00,192.0.2.1"];
    // As a comment.
    let lines = converted(&w3c_rule("w", "time c-ip", "comments = \"#\""), "k", object);
    assert_eq!(lines, [&["1 rows, 0 rejected, 2 control, 0 dropped"], &row[..]].concat());
    // Although it does not match the message pattern.
    let lines = converted(&w3c_rule("w", "time c-ip", "match = { message = '192' }"), "k", object);
    let reject = ["0 no-rule: #Version: 1.0"];
    assert_eq!(lines, [&["1 rows, 1 rejected, 1 control, 0 dropped"], &row[..], &reject].concat());
    // Dropped by a rule above.
    let drop = "[[rule]]\nname = \"d\"\ndrop = true\nmatch = { message = '^#' }\n";
    let lines = converted(&(drop.to_owned() + &w3c_rule("w", "time c-ip", "")), "k", object);
    assert_eq!(lines, [&["1 rows, 0 rejected, 0 control, 2 dropped"], &row[..]].concat());
    // A reject, because it holds invalid text. The lines after it are in its order, not in an earlier one.
    let lines = converted(
        &w3c_rule("w", "time c-ip", "bad_text = \"reject\""),
        "k",
        b"#Fields: time c-ip\n#Fields: c-ip time x-\xff\n192.0.2.1 10:00:00 -\n",
    );
    let reject = ["1 bad-encoding: #Fields: c-ip time x-\\xff"];
    assert_eq!(lines, [&["1 rows, 1 rejected, 1 control, 0 dropped"], &row[..], &reject].concat());
}

#[test]
fn a_fields_line_that_cannot_be_read_fails_the_object() {
    let rule = w3c_rule("w", "time c-ip", "comments = \"#\"");
    let error = failed(&rule, "k", "#Fields: time C-IP c-ip\n10:00:00 192.0.2.1 192.0.2.2\n");
    assert!(error.contains("\"c-ip\" twice"), "{error}");
    let names = |count: usize| (0..count).map(|at| format!(" x-{at}")).collect::<String>();
    let error = failed(&rule, "k", format!("#Fields:{} time\n10:00:00\n", names(1000)));
    assert!(error.contains("the limit is 1000 fields"), "{error}");
    // The model has no limits.
    let plan = super::plan(&format!("{rule}[limits]\nmax_record_bytes = 64\n"));
    let long = b"#Fields: time c-ip cs-method cs-uri-stem cs-uri-query s-port cs-username\n10:00:00\n";
    let error = outcome(long, 1, "k", &plan).unwrap_err().to_string();
    assert!(error.contains("too-long"), "{error}");
    // As many as possible: the last field is read.
    let object = format!("#Fields:{} time\n{}10:00:00\n", names(999), "- ".repeat(999));
    assert_eq!(converted(&rule, "k", object)[2], "w: -,10:00:00,-");
    // Other rules do not read header lines.
    let other = super::text_rule("t", "");
    assert_eq!(converted(&other, "k", "#Fields: a a\n")[2], "0 no-match: #Fields: a a");
}

#[test]
fn a_fields_line_that_cannot_be_read_fails_nothing_if_no_line_is_read_under_it() {
    let rules = w3c_rule("w", "time c-ip", "match = { message = '^1' }") + &super::text_rule("t", "");
    let object = "#Fields: what I did, I did\nother text\n#Fields: time\n10:00:00\n";
    let lines = converted(&rules, "k", object);
    assert_eq!(lines[0], "2 rows, 0 rejected, 2 control, 0 dropped");
    let error = failed(&rules, "k", "#Fields: time a a\nother text\n10:00:00 a b\n");
    assert!(error.contains("\"a\" twice"), "{error}");
}

#[test]
fn a_fields_line_inside_of_records_is_only_for_its_rule() {
    let rule = |name: &str, fields: &str| {
        let keys = format!("unwrap = \"/m\"\nmatch = {{ message = '\"{name}\"' }}");
        w3c_rule(name, fields, &keys)
    };
    let rules = rule("a", "user host") + &rule("b", "user host") + &w3c_rule("c", "user host", "");
    let line = |name: &str, text: &str| format!("{{\"n\":\"{name}\",\"m\":\"{text}\"}}\n");
    let object = [
        line("a", "#Fields: user host"),
        line("b", "#Fields: host user"),
        line("a", "alice h1"),
        line("b", "h2 bob"),
        "carol h3\n".to_owned(),
    ]
    .concat();
    assert_eq!(
        converted(&rules, "k", object),
        [
            "2 rows, 1 rejected, 2 control, 0 dropped",
            "a: timestamp,user,host",
            "a: -,alice,h1",
            "b: timestamp,user,host",
            "b: -,bob,h2",
            "c: timestamp,user,host",
            "4 no-header: carol h3",
        ]
    );
}

#[test]
fn a_fields_line_that_cannot_be_read_in_a_payload_costs_only_the_payload() {
    let rules = "[[rule]]\nname = \"outer\"\nunwrap = \"/data\"\ndecode = \"base64\"\nmatch = { message = '^.\"data' }\n"
        .to_owned()
        + &w3c_rule("w", "time c-ip", "");
    let data = base64(b"#Fields: time time\n10:00:00 192.0.2.1\n");
    let object = format!("#Fields: time\n10:00:00\n{{\"data\":\"{data}\"}}\n10:00:01\n");
    let lines = converted(&rules, "k", object);
    assert_eq!(lines[0], "2 rows, 1 rejected, 1 control, 0 dropped");
    assert!(lines[4].starts_with("2 bad-payload: "), "{lines:?}");
}

#[test]
fn a_json_path_finds_the_first_node() {
    let config = r#"
[[rule]]
name = "r"
table = "r"
[rule.format]
kind = "json"
columns = [
  { name = "host", jsonpath = "$.headers[?@.name == 'Host'].value" },
  { name = "last", jsonpath = "$.headers[-1].name" },
  { name = "any", jsonpath = "$['headers'][*].value" },
  { name = "whole", jsonpath = "$.headers" },
  { name = "first", path = "/headers/0/name" },
]
"#;
    let object = r#"{"headers":[{"name":"Host"},{"name":"Host","value":"a"},{"name":"Host","value":"b"},{"name":"X", "value": null}]}
{"headers":[{"name":"X","value":"\ud83d\ude00 \ud83d"}]}
{"headers":{"name":"Host","value":5}}
{"other":[]}"#;
    assert_eq!(
        converted(config, "k", object),
        [
            "3 rows, 1 rejected, 0 control, 0 dropped",
            "r: timestamp,host,last,any,whole,first",
            r#"r: -,a,X,a,[{"name":"Host"},{"name":"Host","value":"a"},{"name":"Host","value":"b"},{"name":"X","value":null}],Host"#,
            "r: -,-,X,\u{1f600} \u{fffd},[{\"name\":\"X\",\"value\":\"\\ud83d\\ude00 \\ud83d\"}],X",
            r#"r: -,-,-,-,{"name":"Host","value":5},-"#,
            r#"3 no-columns: {\"other\":[]}"#,
        ]
    );
}
