//! Promises about the items of an object: in which order they may come, and which become rows or rejects.

use flowherd_shared::{
    config::Config,
    pipeline::{Counts, RunConfig},
};
use flowherd_tests::objects::{FLOW, Portions, convert, envelope, envelope_of, event, gzip, rejected};
use serde_json::{Value, json};

use super::place::Place;

/// A configuration whose only rule parses every record as a WAF request.
pub(crate) const WAF: &str = r#"
[[rule]]
name = "waf"
table = "waf"
format = { kind = "json", columns = [ { name = "action", path = "/action" }, { name = "uri", path = "/request/uri" } ] }
"#;

pub(crate) fn plan(config: &str) -> RunConfig {
    RunConfig::from(Config::parse(config).unwrap())
}

/// Converts an object. Returns the counts, the rows without their timestamp, and the reason and message of each reject.
pub(crate) fn read(plan: &RunConfig, object: &[u8]) -> (Counts, Vec<String>, Vec<(String, String)>) {
    let (counts, outputs) = convert(object, "k", plan).unwrap();
    for portion in [1, 7, 1000] {
        assert_eq!(
            convert(Portions::new(object, portion), "k", plan).unwrap().1,
            outputs,
            "{portion} a read"
        );
    }
    let (mut rows, mut rejects) = (Vec::new(), Vec::new());
    for (output, text) in outputs {
        for line in text.lines().skip(usize::from(output.table.is_some())) {
            if output.table.is_some() {
                rows.push(line.split_once(',').unwrap().1.to_owned());
            } else {
                let reject: Value = serde_json::from_str(line).unwrap();
                let message = rejected(&reject).escape_ascii().to_string();
                rejects.push((reject["reason"].as_str().unwrap().to_owned(), message));
            }
        }
    }
    assert_eq!(counts.read, counts.rows + counts.rejected + counts.control + counts.dropped);
    (counts, rows, rejects)
}

pub(crate) fn error(plan: &RunConfig, object: &[u8]) -> String {
    let error = convert(object, "k", plan).unwrap_err().to_string();
    let dripped = convert(Portions::new(object, 3), "k", plan).unwrap_err().to_string();
    assert_eq!(error, dripped);
    error
}

pub(crate) fn reasons(rejects: &[(String, String)]) -> Vec<&str> {
    rejects.iter().map(|(reason, _)| &**reason).collect()
}

#[test]
fn an_object_is_a_sequence_of_items_in_any_order() {
    let request = |number: u32| format!(r#"{{"action":"a{number}","request":{{"uri":"/{number}"}}}}"#);
    let in_envelope = |number: u32| envelope("waf", &[event(1, &request(number))]);
    let printed = "{\n  \"action\" : \"printed\",\n\n  \"request\": {\n    \"uri\": \"/p\"\n  }\n}\n";
    // JSON objects without a separator, a JSON object over several lines, envelopes, and a line that only begins like JSON.
    let items = [
        (request(1), "a1,/1"),
        (in_envelope(2), "a2,/2"),
        (printed.to_owned(), "printed,/p"),
        ("{cut off\n".to_owned(), ""),
        (request(3), "a3,/3"),
        (request(4), "a4,/4"),
        ("\u{20}\r\n\t".to_owned() + &in_envelope(5), "a5,/5"),
        ("{\"cut\":\"in a string\n".to_owned(), ""),
    ];
    for turn in 0..items.len() {
        let mut turned = items.clone();
        turned.rotate_left(turn);
        for reversed in [false, true] {
            if reversed {
                turned.reverse();
            }
            let text: String = turned.iter().map(|(text, _)| &**text).collect();
            let (counts, rows, rejects) = read(&plan(WAF), &gzip(text.as_bytes()));
            let expected: Vec<&str> =
                turned.iter().map(|(_, row)| *row).filter(|row| !row.is_empty()).collect();
            assert_eq!(rows, expected, "{text}");
            assert_eq!((counts.read, reasons(&rejects)), (8, vec!["not-json"; 2]), "{text}");
            assert_eq!((counts.items.envelopes, counts.items.objects, counts.items.lines), (2, 4, 2));
        }
    }
}

#[test]
fn an_envelope_is_recognized_anywhere_in_an_object() {
    let flow = envelope("vpc", &[event(1, FLOW), event(2, FLOW)]);
    let shuffled = format!(
        r#"{{"new":[{{"logEvents":[]}}],"logEvents":[{}],"logGroup":"vpc","messageType":"DATA_MESSAGE"}}"#,
        event(3, FLOW)
    );
    let text = format!("{{\"a\":1}}{flow}no flow log\n{FLOW}\n{shuffled}{flow}[]\n");
    let (counts, rows, rejects) = read(&RunConfig::default(), text.as_bytes());
    assert_eq!((counts.items.envelopes, rows.len()), (3, 6));
    let rejects: Vec<&str> = rejects.iter().map(|(_, message)| &**message).collect();
    assert_eq!(rejects, [r#"{\"a\":1}"#, "no flow log", "[]"]);
}

#[test]
fn an_array_without_a_rule_for_its_elements_is_one_reject() {
    let array = format!("[\n  {},\n  {{\"action\": \"b\"}}\n]", envelope("g", &[event(1, "x")]));
    let (counts, _, rejects) = read(&plan(WAF), format!("{array}\n{{\"action\":\"c\"}}").as_bytes());
    assert_eq!((counts.read, counts.rows, reasons(&rejects)), (2, 1, vec!["not-json"]));
    assert_eq!(rejects[0].1, array.as_bytes().escape_ascii().to_string());
    for line in ["[12] started", "[INFO] {\"action\":\"x\"}", "[1, 2]", "[]", "[[{}]]"] {
        let (counts, _, rejects) = read(&plan(WAF), line.as_bytes());
        assert_eq!((counts.items.lines, &*rejects[0].1), (1, &*line.escape_default().to_string()), "{line}");
    }
}

#[test]
fn a_line_that_only_begins_like_json_ends_at_its_line_feed() {
    let cut = [
        r#"{"action":"x","list":[1,2,"#,
        r#"{"action":"x"#,
        r#"{"action":"x\"#,
        r#"{"action""#,
        r#"{"action":"#,
        r#"{"action":tru"#,
        r#"{"action":1 2}"#,
        r#"{"action":"x"]"#,
        "{",
        "{{}}",
    ];
    for cut in cut {
        let text = format!(
            "{cut}\n{{\"action\":\"b\"}}\n{{\"action\":\"c\"}}\n{}",
            envelope("g", &[event(1, "{\"action\":\"d\"}")])
        );
        let (counts, rows, rejects) = read(&plan(WAF), text.as_bytes());
        assert_eq!(
            (counts.read, rows),
            (4, vec!["b,-".to_owned(), "c,-".to_owned(), "d,-".to_owned()]),
            "{cut}"
        );
        assert_eq!(rejects, [("not-json".to_owned(), cut.escape_default().to_string())], "{cut}");
    }
    // Text after a closing brace is an item of its own, which ends at the line feed.
    let text = format!("{{\"action\":\"a\"}} and more {}\n{{\"action\":\"b\"}}", good_envelope());
    let (counts, rows, rejects) = read(&plan(WAF), text.as_bytes());
    assert_eq!((counts.read, rows.len()), (3, 2));
    assert!(rejects[0].1.starts_with(" and more {"), "{}", rejects[0].1);
}

fn good_envelope() -> String {
    envelope("g", &[event(1, FLOW)])
}

#[test]
fn white_space_before_a_line_is_part_of_it() {
    let rule = "[[rule]]\nname = \"r\"\ntable = \"t\"\nformat = { kind = \"regex\", pattern = '^(?P<all>(?s:.*))$' }";
    let text = "first\r\n  at second\n\n \t\r\n\tthird\n   {\"a\":1}  fourth ";
    let (counts, rows, _) = read(&plan(rule), text.as_bytes());
    assert_eq!(rows, ["first", "  at second", "\tthird", "\"{\"\"a\"\":1}\"", "  fourth "]);
    assert_eq!(counts.read, 5);
}

#[test]
fn truncated_json_fails_the_object() {
    for cut in ["{\"a\":1,\"b\":", "{\n", "[{\"a\":1},\n", "{\"a\":\"x", "{\"a\":[tru", "{\"a\":-"] {
        let text = format!("{FLOW}\n{cut}");
        assert_eq!(
            error(&RunConfig::default(), text.as_bytes()),
            format!("truncated: a JSON object or envelope ends too soon at byte {} of layer 0", text.len())
        );
    }
}

#[test]
fn compressed_data_after_text_fails_the_object_by_name_and_position() {
    let member = gzip(good_envelope().as_bytes());
    let texts = [
        format!("{FLOW}\n"),
        FLOW.to_owned(),
        "{\"a\":1}".to_owned(),
        good_envelope(),
        "{\"cut\":\"".to_owned(),
    ];
    // Begin with lines of text, because mostly binary data fails with another error.
    let lines = format!("{FLOW}\n").repeat(5);
    for text in texts.map(|text| lines.clone() + &text) {
        let object = [text.as_bytes(), &member].concat();
        let expected = format!("gzip data in text at byte {} of layer 0; ", text.len());
        assert!(error(&RunConfig::default(), &object).starts_with(&expected), "{text}");
        // Text after compressed data fails too.
        error(&RunConfig::default(), &[&member, text.as_bytes()].concat());
    }
    // In a line that is too long for a record, only the part that the reject shows is searched. The size of the reads does
    // not matter.
    let limits = plan("[limits]\nmax_record_bytes = 100\nmax_envelope_bytes = 1024\n");
    for (before, fails) in [(97, true), (98, false), (200, false)] {
        let object = [&b"x".repeat(before)[..], b"\x1f\x8b\x08"].concat();
        for portion in [1, 99, 100, 101, 300] {
            assert_eq!(convert(Portions::new(&object, portion), "k", &limits).is_err(), fails, "{before}");
        }
    }
    for (format, magic) in
        [("zstd", &b"\x28\xb5\x2f\xfd"[..]), ("bzip2", b"BZh91AY&SY\xff"), ("zip", b"PK\x03\x04\x14\0\0")]
    {
        let message = error(&RunConfig::default(), &[lines.as_bytes(), magic].concat());
        assert!(message.starts_with(&format!("{format} data in text at byte {} ", lines.len())), "{message}");
    }
}

#[test]
fn a_json_object_too_long_for_a_record_is_one_reject_in_bounded_memory() {
    let limits = "[limits]\nmax_record_bytes = 300\nmax_envelope_bytes = 1024\n";
    let plan = plan(&(WAF.to_owned() + limits));
    let long =
        |filler: &str, bytes: usize| format!("{{\"action\":[{}1]}}", filler.repeat(bytes / filler.len()));
    for bytes in [400, 900, 1100, 1_000_000] {
        for filler in ["12,", "\n {\"a\" : [null]},", "\"}]{\\\"\","] {
            let text = format!("{{\"action\":\"a\"}}{}{{\"action\":\"b\"}}", long(filler, bytes));
            let (counts, rows, rejects) = read(&plan, text.as_bytes());
            assert_eq!(
                (counts.read, rows),
                (3, vec!["a,-".to_owned(), "b,-".to_owned()]),
                "{filler} {bytes}"
            );
            assert_eq!(rejects[0].0, "too-long");
            assert_eq!(rejects[0].1, long(filler, bytes).as_bytes()[..300].escape_ascii().to_string());
        }
    }
    // Damage far after the limit is found too. A damaged JSON object on one line is one reject. On several lines it
    // fails the source object, because records could be lost.
    let damaged = long("12,", 5000).replace("1]}", "x");
    let (counts, _, rejects) = read(&plan, format!("{damaged}\n{{\"action\":\"b\"}}").as_bytes());
    assert_eq!((counts.rows, reasons(&rejects), counts.items.lines), (1, vec!["too-long"], 1));
    let damaged = long("12,\n", 5000).replace("1]}", "x");
    let text = format!("{{}}{damaged}\n{{\"action\":\"b\"}}");
    assert_eq!(
        error(&plan, text.as_bytes()),
        "corrupt: a JSON object of more than 1024 bytes that is damaged at byte 2 of layer 0"
    );
    let late = long("12,", 5000).replace('}', ",\"messageType\":\"DATA_MESSAGE\"}");
    assert!(error(&plan, late.as_bytes()).starts_with("envelope too large: "));
    let cut = long("12,", 5000).replace("1]}", "");
    assert!(error(&plan, cut.as_bytes()).starts_with("truncated: a JSON object "));
}

#[test]
fn white_space_of_any_length_is_not_a_record_and_takes_bounded_memory() {
    let limits = "[limits]\nmax_record_bytes = 300\nmax_envelope_bytes = 1024\n";
    for space in [" ".repeat(5000), "\t ".repeat(200), " ".repeat(299), "\n \r".repeat(3000)] {
        let text = format!("{space}{{\"action\":\"a\"}}{space}{{\"action\":\"b\"}}{space}");
        let (counts, rows, _) = read(&plan(&(WAF.to_owned() + limits)), text.as_bytes());
        assert_eq!((counts.read, rows.len()), (2, 2));
        let (counts, _, rejects) = read(&plan(&(WAF.to_owned() + limits)), format!("{space}x").as_bytes());
        let reason = if space.rsplit('\n').next().unwrap().len() >= 300 { "too-long" } else { "not-json" };
        assert_eq!((counts.read, reasons(&rejects)), (1, vec![reason]));
    }
}

#[test]
fn a_row_has_a_value_for_a_column_of_its_rule() {
    for other in [
        r#"{"Records":[{"action":"x"}]}"#,
        r#"{"errorCode":"Lambda.ProcessingFailedStatus","rawData":"H4sI"}"#,
        "{}",
        r#"{"action":null,"request":{}}"#,
        r#"{"messageType":"ORDER","logEvents":null}"#,
    ] {
        let text = format!("{other}\n{{\"action\":\"a\"}}\n{}", envelope("g", &[event(1, other)]));
        let (counts, _, rejects) = read(&plan(WAF), text.as_bytes());
        assert_eq!((counts.rows, reasons(&rejects)), (1, vec!["no-columns"; 2]), "{other}");
        assert_eq!(rejects[0].1, other.escape_default().to_string());
    }
    let regex = "[[rule]]\nname = \"r\"\ntable = \"t\"\nformat = { kind = \"regex\", pattern = '(?P<a>x)?(?P<b>y)?' }";
    let (counts, rows, rejects) = read(&plan(regex), b"y\nz\n");
    assert_eq!((counts.read, rows, reasons(&rejects)), (2, vec!["-,y".to_owned()], vec!["no-columns"]));
}

#[test]
fn a_record_without_a_required_column_is_a_reject() {
    let required = WAF.replace("format =", "required = [\"uri\"]\nformat =");
    let text = r#"{"action":"a"}{"action":"a","request":{"uri":""}}{"request":{"uri":null},"action":"a"}{}"#;
    let (_, rows, rejects) = read(&plan(&required), text.as_bytes());
    assert_eq!(
        (rows, reasons(&rejects)),
        (vec!["a,".to_owned()], vec!["missing-required", "missing-required", "no-columns"])
    );
    let regex = "[[rule]]\nname = \"r\"\ntable = \"t\"\nrequired = [\"b\"]\nformat = { kind = \"regex\", pattern = '(?P<a>x)(?P<b>y)?' }";
    assert_eq!(reasons(&read(&plan(regex), b"xy\nx\n").2), ["missing-required"]);

    let wrong = |text: &str| Config::parse(text).unwrap_err().to_string();
    let unknown = wrong(&required.replace("[\"uri\"]", "[\"url\"]"));
    assert_eq!(
        unknown,
        "rule \"waf\": required: the format has no column \"url\"; an example: required = [\"action\"]"
    );
    for key in ["required = [\"version\"]", "bad_text = \"replace\""] {
        let flow =
            format!("[[rule]]\nname = \"r\"\ntable = \"t\"\n{key}\nformat = {{ kind = \"vpc-flow\" }}");
        assert!(wrong(&flow).contains("not for kind = \"vpc-flow\""), "{key}");
    }
}

#[test]
fn events_of_an_unknown_message_type_are_rejected() {
    let odd = [event(1, FLOW), "5".to_owned(), event(-1, "x"), r#"{"message":1}"#.to_owned()];
    for kind in ["DATA_MESSAGE_V2", "", "control_message"] {
        let text = envelope_of(kind, "g", &odd) + &good_envelope();
        let (counts, rows, rejects) = read(&RunConfig::default(), text.as_bytes());
        assert_eq!((counts.control, rows.len()), (0, 1), "{kind}");
        assert_eq!(reasons(&rejects), ["unknown-message-type"; 4], "{kind}");
        assert_eq!(rejects[0].1, FLOW);
    }
    let control = envelope_of("CONTROL_MESSAGE", "", &odd);
    assert_eq!(read(&RunConfig::default(), control.as_bytes()).0.control, 4);
    // An envelope without an array of events is a reject with either type.
    for kind in ["DATA_MESSAGE", "CONTROL_MESSAGE"] {
        let text = format!("{{\"messageType\":\"{kind}\",\"logEvents\":{{}}}}");
        assert_eq!(reasons(&read(&RunConfig::default(), text.as_bytes()).2), ["bad-envelope"]);
    }
}

#[test]
fn no_line_after_a_damaged_header_is_read_in_another_field_order() {
    let plan = RunConfig::default();
    let header = "interface-id dstaddr srcaddr start end action";
    let line = "eni-2 198.51.100.2 192.0.2.2 1771372860 1771372920 ACCEPT";
    let before =
        [FLOW.to_owned(), "version srcaddr dstaddr start\n2 192.0.2.1 198.51.100.1 1771372800".to_owned()];
    for before in &before {
        // The header is joined to the line before it, or to the line after it.
        for joined in [format!("{before}{header}\n{line}"), format!("{before}\n{header} {line}\n{line}")] {
            let message = error(&plan, joined.as_bytes());
            assert!(message.contains("but is joined to other text"), "{joined}: {message}");
        }
        let (_, rows, _) = read(&plan, format!("{before}\n{header}\n{line}").as_bytes());
        assert!(rows[1].contains("192.0.2.2,198.51.100.2"), "{rows:?}");
        // A byte of the header is damaged.
        let damaged = [before.as_bytes(), b"\n\xff", header.as_bytes(), b"\n", line.as_bytes()].concat();
        error(&plan, &damaged);
    }
    let partly_known = [
        "version resource-type account-id tgw-id tgw-attachment-id srcaddr dstaddr packets-lost-blackhole packets-lost-mtu-exceeded",
        "tgw-id tgw-attachment-id start",
        "tgw-id tgw-attachment-id tgw-src-vpc-id srcaddr dstaddr start",
    ];
    for header in partly_known {
        let of_other_kind = error(&plan, format!("{header}\n6 a b c\n").as_bytes());
        assert!(of_other_kind.contains("tgw-id tgw-attachment-id"), "{header}: {of_other_kind}");
        assert!(of_other_kind.contains("kind = \"tgw-flow\""), "{header}: {of_other_kind}");
        let header = header
            .replace("tgw-", "new-")
            .replace("resource-type", "new-type")
            .replace("packets-lost", "new-lost");
        let message = error(&plan, format!("{header}\n6 a b c\n").as_bytes());
        assert!(
            message.contains("new-id new-attachment-id")
                && message.contains("not a flow-log field that this version knows"),
            "{message}"
        );
        error(&plan, format!("{FLOW}\n{FLOW}{header}\n6 a b c\n").as_bytes());
    }
    // A row whose values are field names is not a header. Neither is a text with a few field names.
    let tags = plan_of_fields("${instance-tag} ${interface-tag} ${start} ${asg-tag} ${asg-tag-2}");
    assert_eq!(read(&tags, b"type new-id 1771372800 action x").1.len(), 1);
    for text in ["the start and the end of it all", "action taken at the end", "type something"] {
        assert_eq!(reasons(&read(&plan, text.as_bytes()).2), ["field-count"], "{text}");
    }
    assert_eq!(reasons(&read(&plan, envelope("g", &[event(1, header)]).as_bytes()).2), ["field-count"]);
}

pub(crate) fn plan_of_fields(fields: &str) -> RunConfig {
    plan(&format!(
        "[[rule]]\nname = \"r\"\ntable = \"t\"\nformat = {{ kind = \"vpc-flow\", fields = \"{fields}\" }}"
    ))
}

#[test]
fn a_time_that_is_not_in_seconds_is_a_reject_in_an_envelope_and_in_a_line() {
    for (from, to) in
        [("1580515200", "1580515200000"), ("1580515260", "1580515260000"), ("1580515260", "253402300800")]
    {
        let line = FLOW.replace(from, to);
        for text in [line.clone(), envelope("g", &[event(1, &line)])] {
            let (counts, _, rejects) = read(&RunConfig::default(), text.as_bytes());
            assert_eq!((counts.rows, reasons(&rejects)), (0, vec!["bad-timestamp"]), "{text}");
        }
    }
    let last = FLOW.replace("1580515200", "253402300799");
    assert_eq!(read(&RunConfig::default(), last.as_bytes()).0.rows, 1);
}

#[test]
fn invalid_text_is_replaced_in_rows_and_kept_in_rejects() {
    let attacks: [(&[u8], &str); 4] = [
        (br"/p\u0000x", r"/p\u0000x"),
        (br"/p\ud800x", "/p\u{fffd}x"),
        (b"/p\xc0\xafx", "/p\u{fffd}\u{fffd}x"),
        (b"/p\0x", r"/p\u0000x"),
    ];
    let strict = plan(&WAF.replace("format =", "bad_text = \"reject\"\nformat ="));
    let flow = envelope("g", &[event(1, FLOW)]);
    for (uri, expected) in attacks {
        let request = [br#"{"action":"a","request":{"uri":""#, uri, br#""}}"#].concat();
        let escaped = request.escape_ascii().to_string();
        let (counts, rows, _) = read(&plan(WAF), &request);
        assert_eq!((counts.repaired, counts.rows, &*rows[0]), (1, 1, &*format!("a,{expected}")), "{escaped}");
        let (counts, _, rejects) = read(&strict, &request);
        assert_eq!((counts.repaired, &rejects[..]), (0, &[("bad-encoding".to_owned(), escaped.clone())][..]));
        // Without a rule for JSON the record is read as a flow log, where invalid text is never replaced.
        assert_eq!(read(&RunConfig::default(), &request).0.rows, 0);

        // The same bytes in the message of an event, for a regular expression.
        let message = [b"GET ", uri].concat();
        let (front, back) = flow.split_once(FLOW).unwrap();
        let event = [front.as_bytes(), &message, back.as_bytes()].concat();
        let regex = "[[rule]]\nname = \"r\"\ntable = \"t\"\nformat = { kind = \"regex\", pattern = '^GET (?P<uri>.*)$' }";
        let (counts, rows, _) = read(&plan(regex), &event);
        assert_eq!((counts.repaired, &*rows[0]), (1, expected), "{escaped}");
        let none = read(&plan(&regex.replace("GET", "PUT")), &event).2;
        assert_eq!(none, [("no-match".to_owned(), message.escape_ascii().to_string())]);
        assert_eq!(reasons(&read(&RunConfig::default(), &event).2), ["bad-encoding"]);
    }
    // Invalid JSON escapes and control characters are not repaired: the record stays a reject.
    for damage in [&br"\q"[..], b"\x01", br"\u12"] {
        let (front, back) = flow.split_once(FLOW).unwrap();
        let event = [front.as_bytes(), b"GET ", damage, back.as_bytes()].concat();
        let regex =
            "[[rule]]\nname = \"r\"\ntable = \"t\"\nformat = { kind = \"regex\", pattern = '(?P<all>.*)' }";
        assert_eq!(reasons(&read(&plan(regex), &event).2), ["bad-encoding"]);
    }
}

#[test]
fn a_duplicate_key_with_the_same_value_has_that_value() {
    for twice in [
        r#"{"action":"a","request":{"uri":"/"},"action":"a"}"#,
        r#"{"action":"a","request":{"uri":"/","uri":"\u002f"}}"#,
        r#"{"action":"a","request":{"uri":"/"}, "request": { "uri" : "/" }}"#,
    ] {
        assert_eq!(read(&plan(WAF), twice.as_bytes()).1, ["a,/"], "{twice}");
    }
    assert_eq!(reasons(&read(&plan(WAF), br#"{"action":"a","action":"b"}"#).2), ["duplicate-key"]);
    let again = event(1, FLOW)
        .replacen('{', "{\"timestamp\":1,", 1)
        .replace("\"id\"", &format!("\"message\":\"{FLOW}\",\"id\""));
    let (_, rows, rejects) =
        read(&RunConfig::default(), envelope("g", std::slice::from_ref(&again)).as_bytes());
    assert_eq!((rows.len(), rejects.len()), (1, 0), "{again}");
    for name in ["\"owner\":\"123456789012\"", "\"messageType\":\"DATA_MESSAGE\"", "\"logGroup\":\"\\u0067\""]
    {
        let front = good_envelope().replacen('{', &format!("{{{name},"), 1);
        let back = format!("{},{name}}}", good_envelope().strip_suffix('}').unwrap());
        assert_eq!(read(&RunConfig::default(), (front + &back).as_bytes()).1.len(), 2, "{name}");
    }
}

#[test]
fn report_receipt_and_summary_count_repaired_rows() {
    let place = Place::new();
    place.object("k", br#"{"action":"\u0000"}{"action":"a"}{}"#).file("f.toml", WAF.as_bytes());
    let args = ["--run", "r", "--config", place.path("f.toml").to_str().unwrap()].map(str::to_owned);
    let args = args.each_ref().map(String::as_str);
    let expected = json!({ "read": 3, "rows": 2, "rejected": 1, "control": 0, "dropped": 0, "repaired": 1,
        "named_by_guess": 0 });
    assert_eq!(place.report(&args)["records"], expected);
    let receipt = std::fs::read(place.path("out/runs/r/receipts/k.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&receipt).unwrap()["records"], expected);
    let summary = place.convert(&[&args[2..], &["--run", "s"]].concat()).stdout;
    let head = summary.lines().find(|line| line.contains(" read ")).unwrap();
    assert_eq!(
        head.split_whitespace().collect::<Vec<_>>(),
        ["read", "rows", "rejected", "control", "repaired"]
    );
    assert!(!summary.contains("dropped"), "{summary}");
}
