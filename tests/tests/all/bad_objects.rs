//! Damaged, malformed and hostile objects, converted by the pipeline without the command.

use std::io::{self, Read};

use flowherd_shared::{
    config::Config,
    error::Verdict,
    pipeline::{Counts, RunConfig},
};
use flowherd_tests::objects::{FLOW, Portions, convert, envelope, event, gzip, rejected};
use serde_json::Value;

fn error(object: impl Read) -> String {
    let error = convert(object, "k", &RunConfig::default()).unwrap_err();
    assert_eq!(error.verdict(), Verdict::Permanent);
    let text = error.to_string();
    assert!(!text.contains('\n'), "one line: {text}");
    text
}

/// Returns the counts, and the reason and message of each reject.
fn rejects(object: impl Read) -> (Counts, Vec<(String, String)>) {
    let (counts, outputs) = convert(object, "k", &RunConfig::default()).unwrap();
    let text = outputs.iter().find(|(output, _)| output.table.is_none()).map_or("", |(_, text)| text);
    let reject = |line: &str| {
        let reject: Value = serde_json::from_str(line).unwrap();
        let message = String::from_utf8_lossy(&rejected(&reject)).into_owned();
        (reject["reason"].as_str().unwrap().to_owned(), message)
    };
    (counts, text.lines().map(reject).collect())
}

fn good() -> String {
    envelope("g", &[event(1, FLOW), event(2, FLOW)])
}

#[test]
fn a_truncated_last_member_fails_the_object() {
    let object = [gzip(good().as_bytes()), gzip(good().as_bytes())].concat();
    for cut in [1, 4, 9, 30, object.len() / 2 - 1] {
        assert!(error(&object[..object.len() - cut]).starts_with("truncated: "), "{cut} bytes missing");
    }
}

#[test]
fn a_truncated_envelope_fails_the_object() {
    let text = good() + &good();
    for cut in 1..good().len() - 1 {
        let error = error(gzip(&text.as_bytes()[..text.len() - cut]).as_slice());
        let is_known = good().len() - cut >= r#"{"messageType":"DATA_MESSAGE""#.len();
        let whole = if is_known { "an envelope" } else { "a JSON object or envelope" };
        assert!(error.starts_with(&format!("truncated: {whole} ends")), "{cut} bytes missing: {error}");
    }
}

#[test]
fn any_flipped_byte_of_a_gzip_object_is_detected() {
    let object = gzip(good().as_bytes());
    let expected = convert(&object[..], "k", &RunConfig::default()).unwrap();
    for at in 0..object.len() {
        let mut flipped = object.clone();
        flipped[at] ^= 0x10;
        match convert(&flipped[..], "k", &RunConfig::default()) {
            Err(error) => assert_eq!(error.verdict(), Verdict::Permanent, "{error}"),
            // Time, flags and system of a gzip header carry no data. Without its magic, the object is lines of text.
            Ok(outcome) => assert!(
                (2..10).contains(&at) && outcome == expected || at < 2 && outcome.0.rows == 0,
                "byte {at}"
            ),
        }
    }
}

#[test]
fn garbage_after_a_member_fails_the_object() {
    let object = gzip(good().as_bytes());
    for garbage in [&b"garbage"[..], b"\0x", b"\x1f", b"\n\n", b"\r\n"] {
        let error = error([&object, garbage].concat().as_slice());
        assert!(error.contains("gzip member"), "{error}");
    }
}

#[test]
fn garbage_between_envelopes_is_a_line() {
    for garbage in ["x", "[]", "1", ",,", "}", "\0"] {
        let text = format!("{}{garbage}\n{}", good(), good());
        let (counts, rejects) = rejects(text.as_bytes());
        assert_eq!((counts.rows, rejects.len()), (4, 1), "{garbage}");
        assert_eq!(rejects[0].1, garbage);
    }
}

#[test]
fn zero_byte_members_and_an_empty_object_hold_no_records() {
    for object in [Vec::new(), gzip(b""), [gzip(b""), gzip(b"")].concat(), gzip(&gzip(b"")), b" \n".to_vec()]
    {
        let (counts, outputs) = convert(&object[..], "k", &RunConfig::default()).unwrap();
        assert_eq!((counts.read, outputs.len()), (0, 1));
    }
    let object = [gzip(b""), gzip(good().as_bytes()), gzip(b"")].concat();
    assert_eq!(convert(&object[..], "k", &RunConfig::default()).unwrap().0.rows, 2);
}

#[test]
fn a_header_line_alone_is_not_a_record() {
    let (counts, outputs) = convert(&b"version start srcaddr\n"[..], "k", &RunConfig::default()).unwrap();
    assert_eq!((counts.read, outputs.len()), (0, 1));
    assert_eq!(outputs[0].1.lines().count(), 1);
}

#[test]
fn a_header_that_would_lose_or_mix_up_fields_fails_the_object() {
    assert_eq!(
        error(&b"version vpc-id start type\n2 vpc-1 1 IPv4\n"[..]),
        "the header line names \"vpc-id type\" but table vpc_flow has no column for it; \
         give its rule fields = \"${version} ${vpc-id} ${start} ${type}\", or fields = \"any\" for a column of every known field"
    );
    assert!(error(&b"start start\n"[..]).contains("twice"));
    assert!(
        error(&b"version start srcaddr field-of-next-year\n"[..])
            .contains("not a flow-log field that this version knows")
    );
}

#[test]
fn an_error_quotes_at_most_the_beginning_of_a_word_of_the_object() {
    let word = "x".repeat(100_000);
    let message = error(format!("version start srcaddr {word}\n").as_bytes());
    assert!(message.contains(&word[..80]) && message.len() < 300, "{} bytes", message.len());
}

#[test]
fn a_line_of_100_mb_without_an_end_is_one_reject_in_little_memory() {
    let line = io::repeat(b'x').take(100 << 20);
    let (counts, rejects) = rejects(io::Cursor::new(format!("{FLOW}\n")).chain(line));
    assert_eq!((counts.read, counts.rows, counts.decoded_in), (2, 1, (100 << 20) + FLOW.len() as u64 + 1));
    assert_eq!(rejects[0].0, "too-long");
    assert_eq!(rejects[0].1.len(), RunConfig::default().config.limits.max_record_bytes);
}

#[test]
fn a_long_line_gives_the_same_reject_at_any_read_size() {
    let limits = "[limits]\nmax_record_bytes = 100\nmax_envelope_bytes = 2000\n";
    let plan = RunConfig::from(Config::parse(limits).unwrap());
    for length in 95..106 {
        for end in ["", "\n", "\r\n", "\nx", "\r\nx"] {
            let text = format!("{}{end}", "y".repeat(length));
            let whole = convert(text.as_bytes(), "k", &plan).unwrap();
            assert_eq!(whole.0.rejects.keys().any(|reason| reason.as_str() == "too-long"), length > 100);
            for portion in [1, 7, 99, 100, 101, 102] {
                assert_eq!(
                    convert(Portions::new(text.as_bytes(), portion), "k", &plan).unwrap().1,
                    whole.1,
                    "{length} {end:?}"
                );
            }
        }
    }
}

#[test]
fn an_event_too_long_for_memory_is_one_reject_and_loses_nothing_else() {
    let limits = "[limits]\nmax_record_bytes = 300\nmax_envelope_bytes = 1024\n";
    let plan = RunConfig::from(Config::parse(limits).unwrap());
    let long = |text: &str| event(2, &text.repeat(2000));
    for huge in [
        long("x"),
        long("\\\"}]{"),
        format!("{{\"a\":[{}1],\"message\":\"m\"}}", "[2],".repeat(1000)),
        // Not events, but their length hides it.
        format!("\"{}\"", "x".repeat(2000)),
        format!("[{}1]", "[2],".repeat(1000)),
        "7".repeat(2000),
    ] {
        let text = envelope("g", &[event(1, FLOW), huge.clone(), event(3, &"z".repeat(301)), event(4, FLOW)])
            + &good();
        for portion in [1, 100, 1000, usize::MAX] {
            let (counts, outputs) = convert(Portions::new(text.as_bytes(), portion), "k", &plan).unwrap();
            assert_eq!((counts.read, counts.rows, counts.rejected), (6, 4, 2));
            assert!(outputs[1].1.contains("too-long"));
            let first: Value = serde_json::from_str(outputs[1].1.lines().next().unwrap()).unwrap();
            assert_eq!(first["message"].as_str().unwrap(), &huge[..300]);
        }
    }
}

#[test]
fn an_envelope_that_must_be_held_whole_and_is_too_large_fails_the_object() {
    let events = event(1, FLOW) + ",";
    let late = format!(
        r#"{{"logEvents":[{}{}],"messageType":"DATA_MESSAGE","owner":"1","logGroup":"g","logStream":"s"}}"#,
        events.repeat(150_000),
        event(1, FLOW)
    );
    assert!(error(late.as_bytes()).starts_with("envelope too large: "));
    let huge_key = format!(r#"{{"messageType":"DATA_MESSAGE","x":"{}","#, "y".repeat(17 << 20));
    assert!(error(huge_key.as_bytes()).starts_with("envelope too large: "));
}

#[test]
fn a_bomb_fails_the_object() {
    let mut bomb = Vec::new();
    let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::best());
    let zeros = vec![b'0'; 200 << 20];
    bomb.resize(compressor.gzip_compress_bound(zeros.len()), 0);
    let length = compressor.gzip_compress(&zeros, &mut bomb).unwrap();
    bomb.truncate(length);
    assert!(error(&bomb[..]).starts_with("decompression bomb: "));
    assert!(error(gzip(&bomb).as_slice()).starts_with("decompression bomb: "));
}

#[test]
fn a_fourth_layer_fails_the_object() {
    let three = gzip(&gzip(&gzip(good().as_bytes())));
    assert_eq!(convert(&three[..], "k", &RunConfig::default()).unwrap().0.rows, 2);
    assert!(error(gzip(&three).as_slice()).starts_with("too deep: "));
}

#[test]
fn invalid_utf8_and_nul_and_raw_control_characters_are_rejects_of_their_record_alone() {
    let odd: [&[u8]; 6] =
        [b"\xff", b"caf\xe9", b"a\\u0000b", b"half \\ud83d pair", b"raw \x00 nul", b"raw \n line break"];
    for odd in odd {
        let before = br#"{"messageType":"DATA_MESSAGE","owner":"1","logGroup":"g","logStream":"s","logEvents":[{"id":"1","timestamp":1,"message":""#;
        let object = [&before[..], odd, b"\"},", event(2, FLOW).as_bytes(), b"]}"].concat();
        let (counts, rejects) = rejects(&object[..]);
        assert_eq!((counts.read, counts.rows, counts.rejected), (2, 1, 1), "{odd:?}");
        assert_eq!(rejects[0].0, "bad-encoding");
    }
    let (counts, found) = rejects([b"\xff\n", FLOW.as_bytes(), b"\na\0b\n"].concat().as_slice());
    assert_eq!((counts.rows, found.len()), (1, 2));
    assert!(found.iter().all(|(reason, _)| reason == "bad-encoding"));
}

#[test]
fn timestamps_missing_or_out_of_range_are_rejects() {
    for timestamp in ["-1", "253402300800000", "1.5", "\"1\"", "null", "1e3", "9223372036854775808"] {
        let odd = event(7, FLOW).replace(":7,", &format!(":{timestamp},"));
        let (counts, rejects) = rejects(envelope("g", &[odd, event(2, FLOW)]).as_bytes());
        assert_eq!((counts.rows, rejects[0].0.as_str()), (1, "bad-timestamp"), "{timestamp}");
    }
    let without = event(7, FLOW).replace("\"timestamp\":7,", "");
    assert_eq!(rejects(envelope("g", &[without]).as_bytes()).1[0].0, "bad-timestamp");
    let late = FLOW.replace("1580515200", "253402300800");
    assert_eq!(rejects(late.as_bytes()).1[0].0, "bad-timestamp");
}

#[test]
fn duplicate_json_keys_reject_the_event_or_fail_the_envelope() {
    let twice = event(7, FLOW).replace("\"id\"", "\"message\":\"other\",\"id\"");
    let (counts, found) = rejects(envelope("g", &[twice, event(2, FLOW)]).as_bytes());
    assert_eq!((counts.rows, found[0].0.as_str()), (1, "duplicate-key"));
    for name in ["messageType", "owner", "logGroup", "logStream", "logEvents"] {
        let front = good().replacen('{', &format!("{{\"{name}\":\"x\","), 1);
        let back = format!("{},\"{name}\":\"x\"}}", good().strip_suffix('}').unwrap());
        for text in [front, back] {
            assert!(error(text.as_bytes()).contains("gives a key twice with different values"), "{text}");
        }
    }
}

#[test]
fn deeply_nested_json_fails_the_object_without_a_stack_overflow() {
    for nested in ["[".repeat(1_000_000), "{\"a\":".repeat(1_000_000)] {
        let text = format!(r#"{{"messageType":"DATA_MESSAGE","x":{nested}"#);
        assert!(error(text.as_bytes()).starts_with("truncated: "));
    }
    let waf = "[[rule]]\nname = \"r\"\ntable = \"t\"\nformat = { kind = \"json\", columns = [ { name = \"a\", path = \"/a\" } ] }";
    let plan = RunConfig::from(Config::parse(waf).unwrap());
    let deep = event(1, &format!("{{\"a\":{}", "[".repeat(100_000)));
    let (counts, _) = convert(envelope("g", &[deep]).as_bytes(), "k", &plan).unwrap();
    assert_eq!(counts.rejects, [(flowherd_shared::error::Reason::NotJson, 1)].into());
}

#[test]
fn a_damaged_beginning_of_an_envelope_fails_the_object() {
    for beginning in [
        r#"{"owner":"1","logGroup":"g"x,"messageType":"#.to_owned(),
        r#"{"logGroup":"g","owner""#.to_owned(),
        r#"{"messageType":"DATA_MESSAGE","owner" "1","#.to_owned(),
        format!(r#"{{"owner":"1","policy":"{}","messageType":"#, "y".repeat(17 << 20)),
    ] {
        error(format!("{beginning}{}", good()).as_bytes());
        error(beginning.as_bytes());
    }
    for line in [r#"{"level":"x"y}"#, r#"{"owner":1}"#, "{x", r#"{"owner":"a" b"#] {
        assert_eq!(rejects(line.as_bytes()).0.read, 1, "{line}");
    }
}

#[test]
fn a_byte_order_mark_before_the_text_is_skipped() {
    for text in [good(), format!("{FLOW}\n{FLOW}\n"), "version start\n2 1\n2 2\n".to_owned()] {
        let marked = ["\u{feff}".as_bytes(), text.as_bytes()].concat();
        for portion in [1, 2, 3, 100] {
            assert_eq!(
                convert(Portions::new(&marked, portion), "k", &RunConfig::default()).unwrap().0.rows,
                2
            );
        }
    }
}

#[test]
fn names_too_long_to_repeat_in_every_row_fail_the_object() {
    let text = good().replace("eni-1-all", &"s".repeat(5000));
    assert!(error(text.as_bytes()).contains("more than 4096 bytes"));
}
