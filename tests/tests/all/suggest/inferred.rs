//! Formats that no preset has: the columns come from the records.

use flowherd_tests::objects::{FLOW, envelope, event, gunzip, gzip};

use super::{Place, converts_all, suggest, suggested};

/// The rows of the only table, without the header.
fn rows(place: &Place) -> Vec<String> {
    let results = place.results();
    let csv = results.iter().filter(|(path, _)| path.starts_with("csv/"));
    let text = csv.map(|(_, bytes)| String::from_utf8(gunzip(bytes)).unwrap());
    text.flat_map(|text| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn json_columns_have_types_paths_and_the_time() {
    let place = Place::new();
    place.object(
        "shop/2026/02/18/a.json",
        b"{\"ts\":1771372800,\"user\":{\"id\":7,\"address\":{\"geo\":{\"lat\":1.5}}},\"ok\":true,\"tags\":[\"a\"],\"at\":\"2026-02-18T00:00:00Z\"}\n\
          {\"ts\":1771372801,\"user\":{\"id\":8},\"ok\":false,\"a/b\":\"x\",\"ratio\":0.5}\n",
    );
    let (rules, _) = converts_all(&place);
    let rule = &rules[rules.find("[[rule]]").unwrap()..];
    assert_eq!(
        rule,
        "[[rule]]\n\
         name = \"shop\"\n\
         match = { key = \"shop/*\" }\n\
         table = \"shop\"\n\
         timestamp = { path = \"/ts\", unit = \"s\" }\n\
         [rule.format]\n\
         kind = \"json\"\n\
         columns = [\n  \
           { name = \"ts\", path = \"/ts\", type = \"bigint\" },\n  \
           { name = \"user_id\", path = \"/user/id\", type = \"bigint\" },\n  \
           { name = \"user_address_geo\", path = \"/user/address/geo\" },\n  \
           { name = \"ok\", path = \"/ok\", type = \"boolean\" },\n  \
           { name = \"tags\", path = \"/tags\" },\n  \
           { name = \"at\", path = \"/at\", type = \"timestamp\" },\n  \
           { name = \"a_b\", path = \"/a~1b\" },\n  \
           { name = \"ratio\", path = \"/ratio\", type = \"double\" },\n\
         ]\n"
    );
    assert_eq!(
        rows(&place),
        [
            "2026-02-18T00:00:00.000Z,1771372800,7,\"{\"\"lat\"\":1.5}\",true,\"[\"\"a\"\"]\",2026-02-18T00:00:00Z,-,-",
            "2026-02-18T00:00:01.000Z,1771372801,8,-,false,-,-,x,0.5"
        ]
    );
}

#[test]
fn events_of_an_envelope_keep_their_own_time() {
    let place = Place::new();
    place.object("x", envelope("app", &[event(1, "{\"time\":1771372800,\"a\":1}")]).as_bytes());
    let (rules, _) = converts_all(&place);
    assert!(!rules.contains("timestamp = "), "{rules}");
}

#[test]
fn a_header_line_of_a_flow_log_gives_the_fields_of_its_file() {
    let place = Place::new();
    place.object("flow/a", b"version account-id srcaddr\n5 123456789012 192.0.2.1\n");
    place.object("flow/b", format!("{FLOW}\n").as_bytes());
    let (rules, report) = converts_all(&place);
    assert!(rules.contains("preset = \"vpc-flow\"\n"), "{rules}");
    assert_eq!(report["tables"]["vpc_flow"], 2);
}

#[test]
fn flow_logs_of_a_custom_format_without_a_header_are_a_comment_with_the_fields_that_fit() {
    let place = Place::new();
    let events = ["vpc-01 192.0.2.1 443 ACCEPT", "vpc-01 192.0.2.2 80 REJECT"].map(|line| event(1, line));
    place.object("x", envelope("flows", &events).as_bytes());
    let ran = suggest(&place);
    assert_eq!(ran.status, 1, "{}", ran.stderr);
    assert!(ran.stdout.lines().all(|line| line.is_empty() || line.starts_with('#')), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("# fields = \"${vpc-id} ${srcaddr|dstaddr|pkt-srcaddr|pkt-dstaddr} ${"),
        "{}",
        ran.stdout
    );
    assert!(ran.stderr.contains("no rule fits all of these records"), "{}", ran.stderr);
}

#[test]
fn free_text_is_a_comment_and_never_a_rule() {
    let place = Place::new();
    let lines = (0..20).map(|number| format!("it happened {} time\n", "again and ".repeat(number)));
    place.object("x.log", lines.collect::<String>().as_bytes());
    let ran = suggest(&place);
    assert_eq!(ran.status, 1);
    assert!(ran.stdout.contains("# [[rule]]\n") && !ran.stdout.contains("\n[[rule]]\n"), "{}", ran.stdout);
}

#[test]
fn pairs_of_keys_and_values_are_columns() {
    let place = Place::new();
    let lines = (0..10).map(|number| format!("level=info msg=\"a \\\"b\\\" {number}\" took={number}.5\n"));
    place.object("kv/x.log", lines.collect::<String>().as_bytes());
    let (rules, _) = converts_all(&place);
    assert!(rules.contains("types = { took = \"double\" }\n"), "{rules}");
    assert_eq!(rows(&place)[1], "-,info,\"a \\\"\"b\\\"\" 1\",1.5");
}

#[test]
fn delimited_lines_have_the_columns_of_their_header_which_is_not_a_row() {
    for delimiter in ["\t", ",", "|", " | ", ";"] {
        let place = Place::new();
        for file in ["a", "b"] {
            let lines = (0..10)
                .map(|number| ["2026-02-18 00:00:01", "x y", &number.to_string()].join(delimiter) + "\n");
            let text = ["time", "user name", "bytes"].join(delimiter) + "\n" + &lines.collect::<String>();
            place.object(&format!("d/{file}.txt"), text.as_bytes());
        }
        let (rules, report) = converts_all(&place);
        assert_eq!(
            (&report["records"]["rows"], &report["records"]["control"]),
            (&20.into(), &2.into()),
            "{rules}"
        );
        assert_eq!(rows(&place)[3], "2026-02-18T00:00:01.000Z,2026-02-18 00:00:01,x y,3", "{rules}");
    }
}

#[test]
fn a_w3c_header_gives_the_fields_and_the_time() {
    let place = Place::new();
    place.object(
        "iis/a.log",
        b"#Version: 1.0\n#Fields: date time c-ip cs(User-Agent) sc-status\n2026-02-18 00:00:01 192.0.2.1 Mozilla/5.0 200\n2026-02-18 00:00:02 192.0.2.2 - 404\n",
    );
    let (rules, _) = converts_all(&place);
    assert!(rules.contains("kind = \"w3c\"\n"), "{rules}");
    assert_eq!(
        rows(&place),
        [
            "2026-02-18T00:00:01.000Z,2026-02-18,00:00:01,192.0.2.1,Mozilla/5.0,200",
            "2026-02-18T00:00:02.000Z,2026-02-18,00:00:02,192.0.2.2,-,404"
        ]
    );
}

#[test]
fn comment_lines_are_control() {
    let place = Place::new();
    place.object("flow/a", format!("# made by a script\n{FLOW}\n# the end\n").as_bytes());
    let (rules, report) = converts_all(&place);
    assert!(rules.contains("comments = \"#\"\n"), "{rules}");
    assert_eq!((&report["records"]["rows"], &report["records"]["control"]), (&1.into(), &2.into()));
}

#[test]
fn elements_of_an_array_are_records_also_if_the_sample_is_cut_within_it() {
    let elements = |count: usize| {
        let element = |number| format!("{{\"id\":{number},\"text\":\"{}\"}}", "x".repeat(1000));
        (0..count).map(element).collect::<Vec<_>>().join(",")
    };
    let place = Place::new();
    place.object("small/1.json", format!("{{\"items\":[{}]}}", elements(3)).as_bytes());
    let (rules, report) = converts_all(&place);
    assert!(rules.contains("records = \"/items\"\n"), "{rules}");
    assert_eq!(report["records"]["rows"], 3);

    // Larger than the part of a file that is read.
    let place = Place::new();
    place.object("large/1.json.gz", &gzip(format!("{{\"items\":[{}]}}", elements(12_000)).as_bytes()));
    let (rules, report) = converts_all(&place);
    assert_eq!(report["records"]["rows"], 12_000, "{rules}");
}

#[test]
fn messages_in_members_are_unwrapped() {
    let place = Place::new();
    let line = |number: u32| {
        format!("{{\"message\":\"{FLOW}\",\"timestamp\":{}}}", 1_771_372_800_000_u64 + u64::from(number))
    };
    place.object("direct/1", (0..3).map(line).collect::<String>().as_bytes());
    let (rules, report) = converts_all(&place);
    assert!(
        rules.contains("preset = \"vpc-flow\"\n") && rules.contains("unwrap = \"/message\"\n"),
        "{rules}"
    );
    assert_eq!(report["tables"]["vpc_flow"], 3);
}

#[test]
fn payloads_in_base64_are_decoded_and_their_records_get_rules_too() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let place = Place::new();
    let payload = |number: u32| {
        let text = envelope("app", &[event(1, &format!("{{\"number\":{number}}}"))]);
        format!("{{\"data\":\"{}\"}}\n", STANDARD.encode(gzip(text.as_bytes())))
    };
    place.object("containers/1", (0..5).map(payload).collect::<String>().as_bytes());
    let (rules, report) = converts_all(&place);
    assert!(rules.contains("unwrap = \"/data\"\ndecode = \"base64\"\n"), "{rules}");
    assert!(rules.contains("match = { log_group = \"app\" }\n"), "{rules}");
    assert_eq!(report["tables"]["app"], 5);
}

#[test]
fn lines_of_an_export_task_get_the_time_before_the_message() {
    let place = Place::new();
    let lines = (0..5).map(|second| format!("2026-02-18T00:00:0{second}.000Z {{\"a\":{second}}}\n"));
    place.object("export/5f0f/stream/000000.gz", &gzip(lines.collect::<String>().as_bytes()));
    let rules = suggested(&place);
    assert!(rules.contains("lines = \"export\"\n"), "{rules}");
    converts_all(&place);
    assert_eq!(rows(&place)[1], "2026-02-18T00:00:01.000Z,1");
}
