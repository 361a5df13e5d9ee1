//! Unusable header lines of flow logs: in another form, partly unknown, or joined to other text. They fail their object;
//! ordinary lines do not.

use flowherd_shared::pipeline::RunConfig;
use flowherd_tests::objects::{FLOW, envelope, event};

use super::items::{error, plan, plan_of_fields, read, reasons};

/// The fields of version 2 in another order. In the default order, source and destination would be exchanged.
const HEADER: &str = "version account-id interface-id dstaddr srcaddr dstport srcport protocol packets bytes end start action log-status";
const LINE: &str =
    "2 123456789012 eni-1 192.0.2.7 10.0.0.5 443 49152 6 20 4249 1580515260 1580515200 ACCEPT OK";

#[test]
fn a_header_line_in_another_form_fails_the_object() {
    let between = [", ", ",", ";", "|", " | ", "\u{a0}", "\u{2003}"].map(|text| HEADER.replace(' ', text));
    let around = ["\"", "'", "`", "#"].map(|quote| {
        let words = HEADER.split(' ').map(|word| format!("{quote}{word}{quote}"));
        words.collect::<Vec<_>>().join(" ")
    });
    let title = |word: &str| word[..1].to_uppercase() + &word[1..];
    let others = [
        HEADER.split(' ').map(|word| format!("${{{word}}}")).collect::<Vec<_>>().join(" "),
        HEADER.to_uppercase(),
        HEADER.split(' ').map(title).collect::<Vec<_>>().join(" "),
        HEADER.replace('-', "_").to_uppercase(),
        HEADER.replace('-', "").replace(' ', ","),
        format!("{}\u{feff}", HEADER.replace(' ', ",")),
    ];
    for header in between.into_iter().chain(around).chain(others) {
        for before in [String::new(), format!("{FLOW}\n"), "not a flow log\n".to_owned()] {
            let message = error(&RunConfig::default(), format!("{before}{header}\n{LINE}\n").as_bytes());
            assert!(
                message.starts_with("the header line names \"") && message.contains("header line"),
                "{header}: {message}"
            );
        }
    }
    // In an envelope, the line is one message, and no line follows it.
    let message = HEADER.replace(' ', ",");
    let object = envelope("g", &[event(1, &message), event(2, FLOW)]);
    assert_eq!(reasons(&read(&RunConfig::default(), object.as_bytes()).2), ["field-count"]);
}

#[test]
fn a_first_line_of_names_that_are_half_known_fails_the_object() {
    let half = "ver account eni dstaddr src dstport sport protocol pkts bytes finish begin verdict status";
    let message = error(&RunConfig::default(), format!("{half}\n{LINE}\n").as_bytes());
    assert!(message.contains("not a flow-log field that this version knows"), "{message}");
}

#[test]
fn a_header_line_joined_to_a_line_of_any_length_fails_the_object() {
    let limits = plan("[limits]\nmax_record_bytes = 4096\nmax_envelope_bytes = 8192\n");
    for length in [100, 4000, 4090, 4097, 9000, 100_000] {
        for filler in ["x", "x y "] {
            let text = format!("{}{HEADER}\n{LINE}\n", &filler.repeat(length)[..length]);
            let message = error(&limits, text.as_bytes());
            assert!(message.starts_with("the header line names \""), "{filler} {length}: {message}");
        }
        let text = format!("{HEADER} {}\n{LINE}\n", "x".repeat(length));
        let message = error(&limits, text.as_bytes());
        assert!(message.starts_with("the header line names \""), "{length}: {message}");
        // The end of a long line only affects the lines after it.
        let (_, rows, rejects) =
            read(&limits, format!("{FLOW}\n{}{HEADER}", "x".repeat(9000 + length)).as_bytes());
        assert_eq!((rows.len(), reasons(&rejects)), (1, vec!["too-long"]));
    }
}

#[test]
fn a_header_line_that_could_be_a_row_fails_the_object() {
    let text_only = plan_of_fields("${region} ${az-id}");
    let message = error(&text_only, b"az-id foo-x\nuse1-az2 us-east-1\n");
    assert!(message.contains("\"foo-x\""), "{message}");
    assert_eq!(read(&text_only, b"us-east-1 use1-az2\nweb-1 start\n").1.len(), 2);
}

#[test]
fn prose_is_not_a_header_line() {
    for text in [
        "ERROR unsupported protocol version 3",
        "job start end 12",
        "the start and end of it",
        "support for bytes packets",
        r#"{"q":"filter srcaddr dstaddr by start end"}"#,
        r#"{"msg":"protocol version mismatch"}"#,
        r#"[{"srcaddr":1,"dstaddr":2}]"#,
    ] {
        for object in [format!("{text}\n{FLOW}\n"), format!("{FLOW}\n{text}\n")] {
            let (_, rows, rejects) = read(&RunConfig::default(), object.as_bytes());
            assert_eq!((rows.len(), reasons(&rejects)), (1, vec!["field-count"]), "{text}");
        }
    }
}

#[test]
fn a_header_line_counts_whatever_messages_its_rule_takes() {
    let config = |rest: &str| {
        plan(&format!(
            "[[rule]]\nname = \"flow\"\ntable = \"flow\"\nmatch = {{ message = '^[0-9]' }}\n\
             format = {{ kind = \"vpc-flow\", fields = \"${{srcaddr}} ${{dstaddr}}\" }}\n{rest}"
        ))
    };
    let text =
        "[[rule]]\nname = \"text\"\ntable = \"text\"\nformat = { kind = \"regex\", pattern = '(?P<all>.*)' }";
    for rest in ["", text] {
        let config = config(rest);
        let (counts, rows, _) = read(&config, b"dstaddr srcaddr\n192.0.2.1 198.51.100.1\n");
        assert_eq!(counts.rows, 1);
        assert!(rows.iter().any(|row| row.contains("198.51.100.1,192.0.2.1")), "{rows:?}");
        // A damaged header line: the lines after it have an unknown order.
        error(&config, b"x dstaddr srcaddr\n192.0.2.1 198.51.100.1\n");
    }
    assert_eq!(read(&config(text), b"the end\n192.0.2.1 198.51.100.1\n").0.rows, 2);
}
