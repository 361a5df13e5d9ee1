//! `unwrap` and `decode`: messages inside of records, and objects inside of messages.

use flowherd_tests::objects::{FLOW, base64, envelope, event, gzip};

use super::{converted, text_rule};

/// A rule that decodes the member `data`, and rules for text in events and in lines.
fn rules(key: &str) -> String {
    format!(
        "[[rule]]\nname = \"outer\"\nmatch = {{ key = \"{key}\" }}\nunwrap = \"/data\"\ndecode = \"base64\"\non_mismatch = \"next\"\n"
    ) + &text_rule("group", "match = { log_group = \"g\" }\nmetadata = [\"log_group\"]")
        + &text_rule("text", "")
}

fn outer(payload: impl AsRef<[u8]>) -> String {
    format!("{{\"data\":\"{}\"}}\n", base64(payload.as_ref()))
}

#[test]
fn the_value_at_a_pointer_is_the_message() {
    let config = text_rule("r", "unwrap = \"/a/1\"");
    let object = [
        r#"{"a":[0,"one two"]}"#,
        r#"{"a":[0,17]}"#,
        r#"{"a":[0,{"b": [ ]}]}"#,
        r#"{"a":[0,null]}"#,
        r#"{"a":[0]}"#,
        r#"{"a":[0,"three \u0000"]}"#,
    ]
    .join("\n");
    assert_eq!(
        converted(&config, "k", &object),
        [
            "3 rows, 3 rejected, 0 control, 0 dropped",
            "r: timestamp,word,rest",
            "r: -,one,two",
            "r: -,17,-",
            "r: -,three,\\u0000",
            r#"2 no-match: {\"a\":[0,{\"b\": [ ]}]}"#,
            r#"3 no-message: {\"a\":[0,null]}"#,
            r#"4 no-message: {\"a\":[0]}"#,
        ]
    );
    let in_envelope = envelope("g", &[event(7, r#"{"a":[0,"one two"]}"#)]);
    assert_eq!(converted(&config, "k", in_envelope)[2], "r: 1970-01-01T00:00:00.007Z,one,two");
}

#[test]
fn a_payload_is_an_object_of_its_own() {
    let payload = format!("line\n{}", envelope("g", &[event(3, "in envelope")]));
    for payload in [payload.clone().into_bytes(), gzip(payload.as_bytes()), gzip(&gzip(payload.as_bytes()))] {
        assert_eq!(
            converted(&rules("k"), "k", outer(payload)),
            [
                "2 rows, 0 rejected, 0 control, 0 dropped",
                "group: timestamp,log_group,word,rest",
                "group: 1970-01-01T00:00:00.003Z,g,in,envelope",
                "text: timestamp,word,rest",
                "text: -,line,-",
            ]
        );
    }
    // Also of a message in an envelope.
    let event = event(9, outer("line").trim());
    assert_eq!(
        converted(&rules("k"), "k", envelope("h", &[event])),
        ["1 rows, 0 rejected, 0 control, 0 dropped", "text: timestamp,word,rest", "text: -,line,-"]
    );
}

#[test]
fn a_payload_inside_of_a_payload_is_not_decoded() {
    let inner = outer("line");
    let lines = converted(&rules("k"), "k", outer(&inner));
    assert_eq!(
        lines,
        [
            "0 rows, 1 rejected, 0 control, 0 dropped".to_owned(),
            "text: timestamp,word,rest".to_owned(),
            format!("0 no-match: {}", inner.trim().escape_default()),
        ]
    );
}

#[test]
fn a_payload_that_would_fail_as_an_object_is_one_reject() {
    let whole = gzip(format!("line\n{}", envelope("g", &[event(0, "a")])).as_bytes());
    let mut changed = whole.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    let cut_envelope = &envelope("g", &[event(0, "a"), event(0, "b")])[..150];
    let config = rules("k").replace("on_mismatch = \"next\"\n", "");
    for payload in [
        &whole[..whole.len() - 1],
        &changed,
        cut_envelope.as_bytes(),
        b"PAR1\x15\x04\x15\x10\x15\x14L\x15\x02\x15\0\0\0",
    ] {
        let damaged = outer(payload);
        let object = format!("{damaged}{}{damaged}", outer("between"));
        let lines = converted(&config, "k", object);
        assert_eq!(lines[0], "1 rows, 2 rejected, 0 control, 0 dropped", "{}", payload.escape_ascii());
        assert_eq!(lines[3], format!("0 bad-payload: {}", damaged.trim().escape_default()));
        assert!(lines[4].starts_with("2 bad-payload: "));
    }
}

#[test]
fn standard_base64_is_decoded_with_or_without_padding_and_line_breaks() {
    let config = "[[rule]]\nname = \"outer\"\nmatch = { message = '^.\"data' }\nunwrap = \"/data\"\ndecode = \"base64\"\n"
        .to_owned()
        + &text_rule("text", "");
    for bad in ["!", "A", "AAAA=", "AA==AA==", "YR", "Y-_Q", "\u{fc}"] {
        let object = format!("{{\"data\":\"{bad}\"}}");
        assert_eq!(converted(&config, "k", &object)[0], "0 rows, 1 rejected, 0 control, 0 dropped", "{bad}");
        assert!(converted(&config, "k", &object)[2].starts_with("0 bad-payload: "), "{bad}");
    }
    for good in ["YQ==", "YQ", "Y\\nQ\\r\\n==", " YQ= ="] {
        let object = format!("{{\"data\":\"{good}\"}}");
        assert_eq!(converted(&config, "k", object)[2], "text: -,a,-", "{good}");
    }
}

/// Firehose permits empty records: <https://docs.aws.amazon.com/firehose/latest/dev/httpdeliveryrequestresponse.html>.
#[test]
fn a_message_without_a_payload_is_a_control_event() {
    let config =
        "[[rule]]\nname = \"outer\"\nrecords = \"/records\"\nunwrap = \"/data\"\ndecode = \"base64\"\n";
    let object = r#"{"records":[{"data":""},{"data":" \n"}]}"#;
    assert_eq!(converted(config, "k", object), ["0 rows, 0 rejected, 2 control, 0 dropped"]);
    let config = "[[rule]]\nname = \"outer\"\nmatch = { log_group = \"g\" }\ndecode = \"base64\"\n"
        .to_owned()
        + &text_rule("text", "");
    let object = envelope("g", &[event(0, ""), event(1, " \t"), event(2, &base64(b"a"))]);
    assert_eq!(
        converted(&config, "k", object),
        ["1 rows, 0 rejected, 2 control, 0 dropped", "text: timestamp,word,rest", "text: -,a,-"]
    );
}

#[test]
fn a_payload_or_array_without_records_is_a_control_event() {
    let config = "[[rule]]\nname = \"outer\"\nmatch = { log_group = \"g\" }\ndecode = \"base64\"\n\n"
        .to_owned()
        + &text_rule("array", "match = { log_group = \"h\" }\nrecords = \"/r\"")
        + &text_rule("text", "");
    let envelope_without_events =
        r#"{"messageType":"DATA_MESSAGE","logGroup":"x","logStream":"s","logEvents":[]}"#;
    let payloads = [b"\n".to_vec(), b"   ".to_vec(), gzip(b""), envelope_without_events.as_bytes().to_vec()];
    let events: Vec<String> =
        payloads.iter().zip(0..).map(|(payload, time)| event(time, &base64(payload))).collect();
    let object = [envelope("g", &events), envelope("h", &[event(0, r#"{"r":[]}"#)])].concat();
    let expected = ["0 rows, 0 rejected, 5 control, 0 dropped", "array: timestamp,word,rest"];
    assert_eq!(converted(&config, "k", object), expected);
}

#[test]
fn a_message_that_is_not_a_payload_goes_to_the_rules_below() {
    let decode = "[[rule]]\nname = \"outer\"\ndecode = \"base64\"\non_mismatch = \"next\"\n";
    let config = decode.to_owned() + &text_rule("text", "");
    // The second is base64 of binary data.
    assert_eq!(
        converted(&config, "k", format!("a word\nAAAA\n{}\n", base64(b"in a payload"))),
        [
            "3 rows, 0 rejected, 0 control, 0 dropped",
            "text: timestamp,word,rest",
            "text: -,a,word",
            "text: -,AAAA,-",
            "text: -,in,a payload",
        ]
    );
    // No rule below takes it.
    assert_eq!(
        converted(&(decode.to_owned() + &text_rule("text", "match = { log_group = \"g\" }")), "k", "AAAA"),
        ["0 rows, 1 rejected, 0 control, 0 dropped", "text: timestamp,word,rest", "0 bad-payload: AAAA",]
    );
}

#[test]
fn a_damaged_header_line_in_a_payload_fails_the_payload_and_not_the_object() {
    let rules = "[[rule]]\nname = \"outer\"\nunwrap = \"/data\"\ndecode = \"base64\"\nmatch = { message = '^.\"data' }\n\
                 [[rule]]\nname = \"vpc\"\ntable = \"vpc\"\nformat = { kind = \"vpc-flow\" }\n";
    for header in ["start start", "OKsrcaddr dstaddr start", "tgw-id start srcaddr"] {
        let object = format!("{}{FLOW}\n", outer(format!("{FLOW}\n{header}\n{FLOW}\n")));
        let lines = converted(rules, "k", object);
        assert_eq!(lines[0], "1 rows, 1 rejected, 0 control, 0 dropped", "{header}");
        assert!(lines[3].starts_with("0 bad-payload: "), "{lines:?}");
    }
}

#[test]
fn a_header_line_applies_to_its_own_payload() {
    let rules = "[[rule]]\nname = \"outer\"\ndecode = \"base64\"\nmatch = { key = \"in/*\", message = '^[A-Za-z0-9+/=]+$' }\n\
                 [[rule]]\nname = \"vpc\"\ntable = \"vpc\"\nformat = { kind = \"vpc-flow\", fields = \"${start} ${action} ${srcaddr}\" }\n";
    let payload = base64(b"action srcaddr start\nACCEPT 10.0.0.5 1580515200\n");
    let object = format!("{payload}\n1580515201 REJECT 10.0.0.5\n{payload}\n");
    assert_eq!(
        converted(rules, "in/k", object)[..5],
        [
            "3 rows, 0 rejected, 0 control, 0 dropped",
            "vpc: timestamp,start,action,srcaddr,interface_description,subnet_name,vpc_name,src_subnet_name,dst_subnet_name",
            "vpc: 2020-02-01T00:00:00.000Z,1580515200,ACCEPT,10.0.0.5,-,-,-,-,-",
            "vpc: 2020-02-01T00:00:01.000Z,1580515201,REJECT,10.0.0.5,-,-,-,-,-",
            "vpc: 2020-02-01T00:00:00.000Z,1580515200,ACCEPT,10.0.0.5,-,-,-,-,-",
        ]
    );
}

#[test]
fn a_decompression_bomb_in_a_payload_is_a_reject_and_affects_no_other_record() {
    let config = rules("k").replace("on_mismatch = \"next\"\n", "")
        + "[limits]\nmax_decode_ratio = 10\nmax_decoded_bytes = 67108864\n";
    let plan = super::plan(&config);
    let bomb = outer(gzip(&vec![b'a'; 32 << 20]));
    let object = format!("{}{bomb}{}", outer("one"), outer("two"));
    let result = flowherd_tests::objects::outcome(object.as_bytes(), usize::MAX, "k", &plan).unwrap();
    assert_eq!(result.tables["text"][1..].iter().map(|row| &*row[1]).collect::<Vec<_>>(), ["one", "two"]);
    assert_eq!((result.read, &*result.rejects[0].2), (3, "bad-payload"));
}

#[test]
fn many_decompression_bombs_in_payloads_fail_the_object() {
    let config = rules("k").replace("on_mismatch = \"next\"\n", "")
        + "[limits]\nmax_decode_ratio = 10\nmax_decoded_bytes = 16777216\n";
    let plan = super::plan(&config);
    let bomb = outer(gzip(&vec![b'a'; 4 << 20]));
    let outcome = |bombs: usize| {
        flowherd_tests::objects::outcome(bomb.repeat(bombs).as_bytes(), usize::MAX, "k", &plan)
    };
    assert_eq!(outcome(5).unwrap().rejects.len(), 5);
    assert_eq!(
        outcome(40).unwrap_err().to_string(),
        "too large: its payloads decode to more than 16777216 bytes together (limits.max_decoded_bytes)"
    );
}

#[test]
fn a_flow_log_in_a_payload_has_its_names() {
    let rules = "[[rule]]\nname = \"outer\"\nunwrap = \"/data\"\ndecode = \"base64\"\non_mismatch = \"next\"\n\
                 [[rule]]\nname = \"vpc\"\ntable = \"vpc\"\nformat = { kind = \"vpc-flow\" }\n";
    let lines = converted(rules, "k", outer(format!("{FLOW}\n")));
    assert!(lines[2].ends_with("web, \"front\",a,prod,a,-"), "{lines:?}");
}
