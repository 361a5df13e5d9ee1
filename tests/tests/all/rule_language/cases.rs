//! Small reproductions of cases that users reported.

use flowherd_tests::objects::{FLOW, base64, envelope, event, gzip};

use super::{converted, plan};

/// The columns of [`FLOW`] in its table.
const VALUES: &str = "2,123456789012,eni-1,10.0.0.5,192.0.2.7,49152,443,6,20,4249,1580515200,1580515260,ACCEPT,OK,web, \"front\",a,prod,a,-";
const COLUMNS: &str = "version,account_id,interface_id,srcaddr,dstaddr,srcport,dstport,protocol,packets,bytes,start,end,action,log_status,interface_description,subnet_name,vpc_name,src_subnet_name,dst_subnet_name";

fn header() -> String {
    format!("vpc_flow: timestamp,{COLUMNS}")
}

fn row(timestamp: &str) -> String {
    format!("vpc_flow: {timestamp},{VALUES}")
}

#[test]
fn flow_logs_that_are_published_to_firehose_are_unwrapped() {
    let config = r#"
[[rule]]
name = "direct"
match = { key = "direct/*" }
table = "vpc_flow"
unwrap = "/message"
format = { kind = "vpc-flow" }
"#;
    let record = format!(r#"{{"message":"{FLOW}"}}"#);
    for separator in ["", "\n"] {
        let text = [&*record, &record, r#"{"message":"no flow log"}"#, r#"{"other":1}"#].join(separator);
        assert_eq!(
            converted(config, "direct/k", gzip(text.as_bytes())),
            [
                "2 rows, 2 rejected, 0 control, 0 dropped".to_owned(),
                header(),
                row("2020-02-01T00:00:00.000Z"),
                row("2020-02-01T00:00:00.000Z"),
                r#"2 field-count: {\"message\":\"no flow log\"}"#.to_owned(),
                r#"3 no-message: {\"other\":1}"#.to_owned(),
            ]
        );
    }
}

#[test]
fn lines_of_an_export_task_have_their_own_time() {
    let config = r#"
[[rule]]
name = "export"
match = { key = "exp/*" }
table = "vpc_flow"
lines = "export"
format = { kind = "vpc-flow" }
"#;
    let text = format!("2026-02-18T00:00:00.123Z {FLOW}\n2026-02-18T00:00:01.000Z {FLOW}\n{FLOW}\n");
    assert_eq!(
        converted(config, "exp/5f0f/eni-1-all/000000.gz", gzip(text.as_bytes())),
        [
            "2 rows, 1 rejected, 0 control, 0 dropped".to_owned(),
            header(),
            row("2026-02-18T00:00:00.123Z"),
            row("2026-02-18T00:00:01.000Z"),
            format!("2 bad-timestamp: {FLOW}"),
        ]
    );
    assert_eq!(
        converted(config, "exp/aws-logs-write-test", "Permission Check Successful"),
        ["0 rows, 0 rejected, 1 control, 0 dropped".to_owned(), header()]
    );
}

#[test]
fn a_plain_waf_record_has_the_time_of_its_request() {
    let config = r#"
[[rule]]
name = "waf"
match = [ { log_group = "aws-waf-logs-*" }, { key = "AWSLogs/*/WAFLogs/*" } ]
table = "waf"
timestamp = { path = "/timestamp", unit = "ms" }
format = { kind = "json", columns = [
  { name = "action", path = "/action" },
  { name = "client_ip", path = "/httpRequest/clientIp" },
  { name = "host", jsonpath = "$.httpRequest.headers[?@.name == 'Host'].value" },
] }
"#;
    let request = |time: &str| {
        format!(
            r#"{{"timestamp":{time},"action":"BLOCK","httpRequest":{{"clientIp":"192.0.2.1","headers":[{{"name":"User-Agent","value":"probe"}},{{"name":"Host","value":"www.example.com"}}]}}}}"#
        )
    };
    let text =
        [request("1771372800000"), request("1771372800001"), request("null"), request("\"soon\"")].join("\n");
    let lines =
        converted(config, "AWSLogs/123456789012/WAFLogs/us-east-1/acl/x.log.gz", gzip(text.as_bytes()));
    assert_eq!(
        lines[..4],
        [
            "2 rows, 2 rejected, 0 control, 0 dropped",
            "waf: timestamp,action,client_ip,host",
            "waf: 2026-02-18T00:00:00.000Z,BLOCK,192.0.2.1,www.example.com",
            "waf: 2026-02-18T00:00:00.001Z,BLOCK,192.0.2.1,www.example.com",
        ]
    );
    assert!(lines[4..].iter().all(|reject| reject.contains(" bad-timestamp: ")), "{lines:?}");
    // An event keeps its own time.
    let in_envelope = envelope("aws-waf-logs-x", &[event(5, &request("null"))]);
    assert_eq!(
        converted(config, "k", in_envelope)[2],
        "waf: 1970-01-01T00:00:00.005Z,BLOCK,192.0.2.1,www.example.com"
    );
}

const VPC: &str = r#"
[[rule]]
name = "vpc"
match = { log_group = "vpc-flow-logs" }
table = "vpc_flow"
format = { kind = "vpc-flow" }
"#;

fn delivery() -> Vec<u8> {
    gzip(envelope("vpc-flow-logs", &[event(1_580_515_200_000, FLOW)]).as_bytes())
}

#[test]
fn the_records_in_firehoses_error_output_are_recovered() {
    let config = format!(
        "[[rule]]\nname = \"failed\"\nmatch = {{ key = \"processing-failed/*\" }}\nunwrap = \"/rawData\"\ndecode = \"base64\"\n{VPC}"
    );
    let line =
        |data: &str| format!(r#"{{"attemptsMade":1,"errorCode":"Lambda.FunctionError","rawData":"{data}"}}"#);
    let damaged = line(&base64(&delivery()[..40]));
    let text =
        [line(&base64(&delivery())), line(&base64(&delivery())), damaged.clone(), line("!")].join("\n");
    assert_eq!(
        converted(&config, "processing-failed/2026/02/18/00/s-1", text),
        [
            "2 rows, 2 rejected, 0 control, 0 dropped".to_owned(),
            header(),
            row("2020-02-01T00:00:00.000Z"),
            row("2020-02-01T00:00:00.000Z"),
            format!("2 bad-payload: {}", damaged.escape_default()),
            format!("3 bad-payload: {}", line("!").escape_default()),
        ]
    );
}

#[test]
fn base64_in_json_in_arrays_and_in_lines_is_decoded() {
    let rule = |keys: &str| {
        format!(
            "[[rule]]\nname = \"outer\"\nmatch = {{ key = \"in/*\" }}\ndecode = \"base64\"\n{keys}\n{VPC}"
        )
    };
    let data = base64(&delivery());
    let expected =
        ["1 rows, 0 rejected, 0 control, 0 dropped".to_owned(), header(), row("2020-02-01T00:00:00.000Z")];
    for (keys, object) in [
        ("unwrap = \"/awslogs/data\"", format!(r#"{{"awslogs":{{"data":"{data}"}}}}"#)),
        (
            "records = \"/records\"\nunwrap = \"/data\"",
            format!(r#"{{"requestId":"r","timestamp":1771372800000,"records":[{{"data":"{data}"}}]}}"#),
        ),
        ("", format!("{data}\n")),
    ] {
        assert_eq!(converted(&rule(keys), "in/k", object), expected, "{keys}");
    }
}

#[test]
fn the_elements_of_a_cloudtrail_object_are_records() {
    let config = r#"
[[rule]]
name = "trail"
match = { key = "AWSLogs/*/CloudTrail*" }
table = "cloudtrail"
records = "/Records"
required = ["event_name"]
timestamp = { path = "/eventTime", unit = "iso" }
format = { kind = "json", columns = [
  { name = "event_name", path = "/eventName" }, { name = "source_ip", path = "/sourceIPAddress" } ] }
"#;
    let record = |second: u32| {
        format!(
            r#"{{"eventTime":"2026-02-18T00:00:0{second}Z","eventName":"ConsoleLogin","sourceIPAddress":"192.0.2.{second}"}}"#
        )
    };
    let object = format!(r#"{{"Records":[{},{}, {}]}}"#, record(0), record(1), record(2));
    assert_eq!(
        converted(config, "AWSLogs/123456789012/CloudTrail/a.json.gz", gzip(object.as_bytes())),
        [
            "3 rows, 0 rejected, 0 control, 0 dropped",
            "cloudtrail: timestamp,event_name,source_ip",
            "cloudtrail: 2026-02-18T00:00:00.000Z,ConsoleLogin,192.0.2.0",
            "cloudtrail: 2026-02-18T00:00:01.000Z,ConsoleLogin,192.0.2.1",
            "cloudtrail: 2026-02-18T00:00:02.000Z,ConsoleLogin,192.0.2.2",
        ]
    );
    let digest = r#"{"awsAccountId":"123456789012","logFiles":[]}"#;
    assert_eq!(
        converted(config, "AWSLogs/123456789012/CloudTrail-Digest/d.json.gz", gzip(digest.as_bytes())),
        [
            "0 rows, 1 rejected, 0 control, 0 dropped".to_owned(),
            "cloudtrail: timestamp,event_name,source_ip".to_owned(),
            format!("0 no-records: {}", digest.escape_default()),
        ]
    );
}

#[test]
fn a_log_stream_with_brackets_matches_itself() {
    let config = r#"
[[rule]]
name = "fn"
match = { log_stream = "2026/02/18/[$LATEST]0a0b" }
table = "fn"
format = { kind = "regex", pattern = '(?P<m>.+)' }
"#;
    let object = |stream: &str| envelope("/aws/lambda/f", &[event(0, "x")]).replace("eni-1-all", stream);
    assert_eq!(
        converted(config, "k", object("2026/02/18/[$LATEST]0a0b") + &object("2026/02/18/L0a0b")),
        [
            "1 rows, 1 rejected, 0 control, 0 dropped",
            "fn: timestamp,m",
            "fn: 1970-01-01T00:00:00.000Z,x",
            "1 no-rule: x",
        ]
    );
}

#[test]
fn the_event_id_distinguishes_duplicates_from_equal_records() {
    let config = r#"
[[rule]]
name = "fn"
table = "fn"
metadata = ["event_id"]
format = { kind = "regex", pattern = '(?P<m>.+)' }
"#;
    let event = |id: u32| event(0, "x").replace("36611082", &id.to_string());
    let object = envelope("g", &[event(1), event(2)]) + &envelope("g", &[event(1)]);
    assert_eq!(
        converted(config, "k", object)[2..],
        [
            "fn: 1970-01-01T00:00:00.000Z,1,x",
            "fn: 1970-01-01T00:00:00.000Z,2,x",
            "fn: 1970-01-01T00:00:00.000Z,1,x"
        ]
    );
}

#[test]
fn two_formats_and_application_text_share_a_log_group() {
    let rules = |first: &str| {
        format!(
            r#"
[[rule]]
name = "v5"
{first}
table = "v5"
format = {{ kind = "vpc-flow", fields = "${{version}} ${{vpc-id}} ${{subnet-id}} ${{instance-id}} ${{srcaddr}} ${{dstaddr}} ${{action}}" }}
[[rule]]
name = "v2"
table = "vpc_flow"
format = {{ kind = "vpc-flow" }}
"#
        )
    };
    let object = envelope(
        "vpc-flow-logs",
        &[
            event(1_580_515_200_000, FLOW),
            event(0, "5 vpc-01 subnet-01 i-01 192.0.2.1 198.51.100.2 ACCEPT"),
            event(0, "hello"),
        ],
    );
    for first in ["match = { message = '^5 ' }", "on_mismatch = \"next\""] {
        assert_eq!(
            converted(&rules(first), "k", &object),
            [
                "2 rows, 1 rejected, 0 control, 0 dropped".to_owned(),
                "v5: timestamp,version,vpc_id,subnet_id,instance_id,srcaddr,dstaddr,action,interface_description,subnet_name,vpc_name,src_subnet_name,dst_subnet_name".to_owned(),
                "v5: 1970-01-01T00:00:00.000Z,5,vpc-01,subnet-01,i-01,192.0.2.1,198.51.100.2,ACCEPT,-,-,-,-,-".to_owned(),
                header(),
                row("2020-02-01T00:00:00.000Z"),
                "2 field-count: hello".to_owned(),
            ],
            "{first}"
        );
    }
}

#[test]
fn unwanted_log_groups_of_an_account_are_dropped() {
    let config =
        format!("{VPC}[[rule]]\nname = \"unwanted\"\nmatch = {{ log_group = \"/aws/*\" }}\ndrop = true\n");
    let unwanted: Vec<String> = (0..200).map(|number| event(number, "x")).collect();
    let object =
        envelope("/aws/lambda/f0", &unwanted) + &envelope("vpc-flow-logs", &[event(1_580_515_200_000, FLOW)]);
    assert_eq!(
        converted(&config, "k", object),
        ["1 rows, 0 rejected, 0 control, 200 dropped".to_owned(), header(), row("2020-02-01T00:00:00.000Z")]
    );
    assert_eq!(plan(&config).config.tables.len(), 1, "a rule that drops has no table");
}
