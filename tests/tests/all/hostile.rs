//! Text with bytes from an attacker or from a misconfigured stream.

use flowherd_shared::pipeline::RunConfig;
use flowherd_tests::{
    compress::{CODECS, snappy_java},
    objects::{FLOW, envelope, event, gzip},
};

use super::items::{WAF, error, plan, read, reasons};

const REGEX: &str = "[[rule]]\nname = \"r\"\ntable = \"t\"\nformat = { kind = \"regex\", pattern = '^(?P<level>[A-Z]+) (?P<rest>.*)$' }";

fn flows(count: usize) -> String {
    envelope("g", &vec![event(1, FLOW); count])
}

#[test]
fn a_hostile_line_never_fails_a_log() {
    let plan = plan(REGEX);
    let line = b"INFO GET / 200\n";
    let magics: [&[u8]; 13] = [
        b"\x1f\x8b\x08",
        b"\x1f\x8b\x08\0\0\0\0\0\0\x03",
        // The header of a stored block of 64 KiB, whose data would be the text after it.
        b"\x1f\x8b\x08\0\0\0\0\0\0\x03\0\xff\xff\0\0",
        b"PK\x03\x04\xff",
        b"\x28\xb5\x2f\xfd",
        b"\x04\"M\x18\xff",
        b"\xfd7zXZ\0",
        b"BZh91AY&SY\xff",
        b"\xff\x06\0\0sNaPpY",
        b"\x82SNAPPY\0",
        b"\xf3\x89\x9a\xc2",
        b"Obj\x01\xff",
        b"PAR1\xff",
    ];
    for magic in magics {
        for after in [&b" x\n"[..], b"\n"] {
            let object = [&line.repeat(50), &b"INFO POST /up "[..], magic, after, &line.repeat(50)].concat();
            let (counts, _, _) = read(&plan, &object);
            assert_eq!(counts.rows, 101, "{}", magic.escape_ascii());
            assert_eq!(counts.repaired, u64::from(std::str::from_utf8(magic).is_err() || magic.contains(&0)));
        }
    }
}

#[test]
fn binary_data_after_text_fails_the_object_by_name_whatever_is_between_them() {
    let events = flows(3);
    let compressed = CODECS.iter().filter(|(name, _)| *name != "Hadoop Snappy");
    let compressed = compressed.map(|(name, compress)| {
        let name = match *name {
            "LZ4" => "lz4",
            "framed Snappy" => "Snappy",
            name => name,
        };
        (name, compress(events.as_bytes()))
    });
    let others: [(&str, &[u8]); 4] = [
        ("KPL aggregate", b"\xf3\x89\x9a\xc2\n\x01a\x1a\x07\x08\0\x1a\x03abc"),
        ("Avro", b"Obj\x01\x04\x14avro.codec\x08null\x16avro.schema\x02{}\0\xff\xfe\xfd"),
        ("Parquet", b"PAR1\x15\x04\x15\x10\x15\x14L\x15\x02\x15\0\0\0"),
        ("legacy lz4", b"\x02\x21\x4c\x18\x06\0\0\0\x50hello"),
    ];
    let others = others.map(|(name, bytes)| (name, bytes.to_vec()));
    for (name, data) in compressed.chain(others).chain([("snappy-java", snappy_java(b"x"))]) {
        for before in [format!("{FLOW}\n").repeat(60), FLOW.to_owned(), "{\"a\":\"1\"}".to_owned(), flows(1)]
        {
            let object = [before.as_bytes(), &data].concat();
            let message = error(&RunConfig::default(), &object);
            let expected = format!("{name} data in text at byte {} of layer 0; ", before.len());
            assert!(message.starts_with(&expected), "{name} after {before:?}: {message}");
            // Text after it changes nothing.
            let message =
                error(&RunConfig::default(), &[&object, &b"\n"[..], FLOW.as_bytes(), b"\n"].concat());
            assert!(message.starts_with(&expected), "{name}: {message}");
        }
    }
}

#[test]
fn an_envelope_joined_to_text_is_a_reject_and_never_a_row() {
    let signature = envelope("g", &[event(1, "a"), event(2, "b")]);
    let spaced = signature.replace("\":", "\" : ");
    for glued in [signature.clone(), spaced, signature.replace(',', ", ")] {
        for (plan, before) in [(RunConfig::default(), FLOW), (plan(REGEX), "ERROR b"), (plan(WAF), "x")] {
            let (counts, rows, rejects) = read(&plan, format!("{before}{glued}\n").as_bytes());
            assert_eq!((counts.read, rows.len()), (1, 0), "{before}");
            let text = format!("{before}{glued}").escape_default().to_string();
            assert_eq!(rejects, [("glued-envelope".to_owned(), text)]);
        }
    }
    // One of the two keys alone is not an envelope, and neither is an escaped envelope.
    for text in [
        r#"INFO "messageType": is missing"#.to_owned(),
        r#"INFO "logEvents":[] is empty"#.to_owned(),
        format!("INFO {}", signature.replace('"', "\\\"")),
    ] {
        assert_eq!(read(&plan(REGEX), text.as_bytes()).0.rows, 1, "{text}");
    }
}

#[test]
fn a_separator_after_a_json_item_loses_nothing() {
    let request = |name: &str| format!("{{\"action\":\"{name}\"}}");
    let in_envelope = envelope("g", &[event(1, &request("b"))]);
    for separator in [",", "\\n", ", ", ",\n", ",\r\n", "\\n\n", "\\n ", " ", "\n"] {
        let text =
            [request("a"), in_envelope.clone(), request("c"), format!("[{}]", request("d"))].join(separator);
        let (counts, rows, rejects) = read(&plan(WAF), (text + separator.trim_end_matches(' ')).as_bytes());
        assert_eq!(
            (counts.read, rows),
            (4, ["a,-", "b,-", "c,-"].map(str::to_owned).to_vec()),
            "{separator:?}"
        );
        assert_eq!(reasons(&rejects), ["not-json"]);
    }
    // Only one separator is skipped, and only after an item.
    for (text, reject) in
        [("{},,{}", ",,{}"), ("{}, more", ", more"), ("{}\\now", "\\\\now"), ("{} ,{}", " ,{}")]
    {
        let (_, _, rejects) = read(&plan(WAF), text.as_bytes());
        assert_eq!(rejects[1], ("not-json".to_owned(), reject.to_owned()), "{text}");
    }
}

#[test]
fn a_key_with_a_lone_surrogate_does_not_reject_the_record() {
    for request in [
        r#"{"action":"a","request":{"\ud800":1,"uri":"/x"}}"#,
        r#"{"\udc00":1,"action":"a","request":{"uri":"/x"}}"#,
        r#"{"action":"a","\uDBFFx":{"\uD800":2},"request":{"\ud800\ud800":"","u\u0072i":"/x"}}"#,
    ] {
        for object in [request.to_owned(), envelope("g", &[event(1, request)])] {
            assert_eq!(read(&plan(WAF), object.as_bytes()).1, ["a,/x"], "{request}");
        }
    }
    for damaged in [
        "{\"action\":\"a\",\"\x01\\ud800\":1}",
        r#"{"\q\ud800":1,"action":"a"}"#,
        r#"{"\ud80":1,"action":"a"}"#,
    ] {
        assert_eq!(reasons(&read(&plan(WAF), damaged.as_bytes()).2), ["not-json"], "{damaged:?}");
    }
}

#[test]
fn a_nul_after_a_backslash_is_invalid_json() {
    let damaged = b"{\"action\":\"A\\\0B\"}";
    assert_eq!(reasons(&read(&plan(WAF), damaged).2), ["not-json"]);
    assert_eq!(read(&plan(WAF), b"{\"action\":\"A\\\\\0B\"}").1, ["A\\\u{fffd}B,-"]);
    assert_eq!(read(&plan(REGEX), b"INFO abcdefgh\\\0b\n").1, ["INFO,abcdefgh\\\u{fffd}b"]);
}

#[test]
fn short_text_with_a_few_hostile_bytes_at_its_start_is_text() {
    let (counts, rows, rejects) = read(&plan(REGEX), b"INFO a\xffb\0c\nINFO ok\nbad \xff line\n");
    assert_eq!((rows.len(), counts.repaired, reasons(&rejects)), (2, 1, vec!["no-match"]));
}

#[test]
fn text_after_a_gzip_member_and_a_member_after_text_are_both_named() {
    let member = gzip(flows(1).as_bytes());
    let message = error(&RunConfig::default(), &[&member, FLOW.as_bytes()].concat());
    assert!(message.contains("bytes after a gzip member"), "{message}");
}
