//! Random objects: any items, members, layers, key orders, escapes, formats and mismatches.

mod config;
pub(crate) mod language;

use flowherd_tests::objects::gzip;
use proptest::{collection::vec, option, prelude::*, sample::Index};

pub(crate) use self::config::CONFIG;

/// An object, its key, and the bytes per read.
pub(crate) fn object() -> impl Strategy<Value = (Vec<u8>, &'static str, usize)> {
    let text = prop_oneof![
        3 => envelopes().prop_map(|text| (text, "firehose/x")).boxed(),
        1 => lines().boxed(),
        3 => (mixture(), key()).boxed(),
    ];
    let cuts = vec(vec(any::<Index>(), 0..4), 0..=3);
    let portion = prop_oneof![Just(1), Just(2), Just(3), 4_usize..64, 64_usize..5000, Just(usize::MAX)];
    (text, cuts, portion).prop_map(|((text, key), layers, portion)| {
        (layers.into_iter().fold(text, |bytes, cuts| members(&bytes, &cuts)), key, portion)
    })
}

pub(crate) fn key() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("plain/x"), Just("json/x"), Just("strict/x"), Just("text/x"), Just("firehose/x")]
}

/// Complete items that may precede any other item. None is a header line.
pub(crate) fn items() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let line = prop_oneof![
        3 => flow().boxed(),
        2 => ids().boxed(),
        1 => free_text().boxed(),
        1 => Just("[1, 2]".to_owned()).boxed(),
        1 => Just("{not: json} at all".to_owned()).boxed(),
        1 => Just(r#"{"cut":"here"#.to_owned()).boxed(),
        1 => Just("}],".to_owned()).boxed(),
    ];
    let line = line.prop_map(|line| line.replace('\n', " ") + "\n");
    // White space after a line feed is part of the next line.
    let between = prop_oneof![3 => Just(""), 1 => Just("\n"), 1 => Just(" \t\r\n")];
    let json = prop_oneof![
        3 => envelope().boxed(),
        1 => other_object().boxed(),
        3 => json_object().boxed(),
        1 => Just(r#"[{"action":"a"},5]"#.to_owned()).boxed(),
        1 => Just("{\n  \"action\": \"printed\",\n  \"httpRequest\": {\n  }\n}".to_owned()).boxed(),
    ];
    // A line feed in a key before an envelope's own keys turns the item into lines. The last one has no end.
    let json = json.prop_filter("the item is not complete", |text| !text.contains("raw \u{2} control\n"));
    let json = (json, between).prop_map(|(text, between)| text + between);
    let item = prop_oneof![1 => line.boxed(), 2 => json.boxed()].prop_flat_map(with_broken_bytes);
    // Directly after JSON it would be no line.
    vec(item.prop_filter("the item is a separator", |item| !begins_with_separator(item)), 1..7)
}

/// Whether text directly after a JSON text begins with a separator of JSON texts.
fn begins_with_separator(text: &[u8]) -> bool {
    let Some(after) = text.strip_prefix(b",").or_else(|| text.strip_prefix(br"\n")) else { return false };
    let after = after.strip_prefix(b" ").unwrap_or(after);
    matches!(after, [] | [b'{' | b'[' | b'\r' | b'\n', ..])
}

/// Items, and sometimes a cut through one.
fn mixture() -> impl Strategy<Value = Vec<u8>> {
    (items(), option::weighted(0.1, any::<Index>())).prop_map(|(items, cut)| {
        let mut text = items.concat();
        if let Some(cut) = cut {
            text.truncate(cut.index(text.len() + 1));
        }
        text
    })
}

/// One gzip layer, with a member for each part between the cuts.
pub(crate) fn members(bytes: &[u8], cuts: &[Index]) -> Vec<u8> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    cuts.windows(2).flat_map(|ends| gzip(&bytes[ends[0]..ends[1]])).collect()
}

fn envelopes() -> impl Strategy<Value = Vec<u8>> {
    let between = prop_oneof![4 => Just(""), 1 => Just("\n"), 1 => Just(" \r\n\t")];
    vec((prop_oneof![12 => envelope().boxed(), 1 => other_object().boxed()], between), 1..5)
        .prop_map(|things| {
            things.into_iter().flat_map(|(thing, between)| [thing, between.to_owned()]).collect::<String>()
        })
        .prop_flat_map(with_broken_bytes)
}

/// The text with invalid UTF-8 at the marked places of messages, or with nothing there.
fn with_broken_bytes(text: String) -> impl Strategy<Value = Vec<u8>> {
    any::<bool>().prop_map(move |broken| {
        let broken: &[u8] = if broken { b"\xff\xfe" } else { b"" };
        let parts: Vec<&[u8]> = text.split(BROKEN_HERE).map(str::as_bytes).collect();
        parts.join(broken)
    })
}

/// Marks a place for invalid UTF-8.
const BROKEN_HERE: char = '\u{e000}';

fn envelope() -> BoxedStrategy<String> {
    let kind = prop_oneof![
        10 => Just(Some("DATA_MESSAGE")), 1 => Just(Some("CONTROL_MESSAGE")), 1 => Just(Some("NEW_MESSAGE")), 1 => Just(None)
    ];
    let group = prop_oneof![
        3 => Just("vpc-flow-logs-prod"), 2 => Just("vpc-five"), 2 => Just("aws-waf-logs-x"), 2 => Just("/ids/ü"), 1 => Just("none")
    ];
    let stream = prop_oneof![6 => Just("eni-1-all"), 1 => Just("other")];
    (
        kind,
        option::weighted(0.95, group),
        option::weighted(0.95, stream),
        option::weighted(0.9, Just("123456789012")),
    )
        .prop_flat_map(|(kind, group, stream, owner)| {
            let name = |name: &'static str, value: Option<&'static str>| match value {
                Some(value) => json_string(Just(value.to_owned()))
                    .prop_map(move |value| vec![(name.to_owned(), value)])
                    .boxed(),
                None => Just(Vec::new()).boxed(),
            };
            let events = vec(event(group.unwrap_or("none")).boxed(), 0..6).prop_flat_map(array).boxed();
            let events = events.prop_map(|events| vec![("logEvents".to_owned(), events)]);
            (
                name("messageType", kind),
                name("owner", owner),
                name("logGroup", group),
                name("logStream", stream),
                events,
                unknown(),
            )
        })
        .prop_flat_map(|(kind, owner, group, stream, events, unknown)| {
            let pairs = [kind, owner, group, stream, unknown, events].concat();
            // Mostly the order that CloudWatch Logs writes.
            prop_oneof![2 => Just(pairs.clone()), 1 => Just(pairs).prop_shuffle()]
        })
        .prop_flat_map(object_text)
        .boxed()
}

fn other_object() -> BoxedStrategy<String> {
    prop_oneof![
        Just(r#"{"a":{"messageType":"DATA_MESSAGE","logEvents":[]}}"#.to_owned()),
        Just(r#"{"messageType":"DATA_MESSAGE","logEvents":null}"#.to_owned()),
        Just(r#"{"messageType":"CONTROL_MESSAGE"}"#.to_owned()),
        Just(r#"{"messageType":"DATA_MESSAGE","logEvents":[],"x":1,"logEvents":[]}"#.to_owned()),
        Just(r#"{"messageType":"DATA_MESSAGE","owner":"a","logEvents":[{"timestamp":1,"message":"x"}],"owner":"\u0061"}"#.to_owned()),
        Just(r#"{"messageType":"DATA_MESSAGE","owner":"a","logGroup":"g","logStream":"s","logEvents":[],"logGroup":"h"}"#.to_owned()),
        Just("{}".to_owned()),
    ]
    .boxed()
}

fn event(group: &'static str) -> impl Strategy<Value = String> {
    let id = Just(vec![("id".to_owned(), "\"366\"".to_owned())]);
    let timestamp = prop_oneof![
        12 => (0..=253_402_300_799_999_i64).prop_map(|ms| ms.to_string()),
        1 => prop_oneof![Just("-1"), Just("253402300800000"), Just("1.5"), Just("1e3"), Just("\"1\""), Just("null"),
            Just("0"), Just("99999999999999999999"), Just("[1]")].prop_map(str::to_owned),
    ];
    let timestamp = option::weighted(0.97, timestamp)
        .prop_map(|value| value.map(|value| ("timestamp".to_owned(), value)).into_iter().collect::<Vec<_>>());
    let message = prop_oneof![
        30 => json_string(message(group)).prop_map(Some),
        1 => prop_oneof![Just("5"), Just("null"), Just("{\"message\":\"x\"}"), Just(r#""\ud800 lone""#), Just(r#""\u0000""#), Just("\"raw \u{1} control\n\""),
            Just(r#""NOTE a -> \udc00\u0000b""#), Just("\"NOTE a -> \0\""), Just(r#""{\"action\":\"\\ud800 \\u0000\"}""#)]
            .prop_map(|value| Some(value.to_owned())),
        1 => Just(None),
    ]
    .prop_map(|value| value.map(|value| ("message".to_owned(), value)).into_iter().collect::<Vec<_>>());
    let normal = (id, timestamp, message, unknown()).prop_flat_map(|(id, timestamp, message, unknown)| {
        let pairs = [id, timestamp, message, unknown].concat();
        prop_oneof![3 => Just(pairs.clone()), 1 => Just(pairs).prop_shuffle()]
    });
    prop_oneof![
        30 => normal.prop_flat_map(object_text),
        1 => prop_oneof![Just("5"), Just("null"), Just("\"x\""), Just("[]"), Just("{}"),
            Just(r#"{"timestamp":1,"message":"a","message":"b"}"#),
            Just(r#"{"timestamp":1,"message":"a","message":"\u0061","timestamp":1}"#),
            Just(r#"{"timestamp":1,"timestamp":1,"message":"a"}"#),
            Just(r#"{"timest\u0061mp":1580515200000,"m\u0065ssage":"a"}"#)].prop_map(str::to_owned),
    ]
}

/// Unknown keys with values that look like an event or an envelope.
fn unknown() -> impl Strategy<Value = Vec<(String, String)>> {
    let value = prop_oneof![
        Just(r#"{"eni":"eni-1","message":"x"}"#),
        Just(r#"[{"id":"1","timestamp":1,"message":"no event"}]"#),
        Just(r#""{\"id\":\"1\",\"timestamp\":1,\"message\":\"no event\"}]}""#),
        Just(r#""}{\\""#),
        Just("null"),
        Just("-1.5e-3"),
        Just("[[[[]]],{}]"),
        Just("\"raw \u{2} control\n\""),
        Just("true"),
    ];
    let name = prop_oneof![
        Just("extractedFields"),
        Just("policyLevel"),
        Just("x\\\"y"),
        Just("subscriptionFilters"),
        Just("")
    ];
    prop_oneof![2 => Just(None), 1 => (name, value).prop_map(Some)]
        .prop_map(|pair| pair.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect())
}

fn message(group: &'static str) -> BoxedStrategy<String> {
    let any = prop_oneof![
        flow().boxed(),
        flow_of_five().boxed(),
        ids().boxed(),
        json().boxed(),
        free_text().boxed()
    ];
    let fitting = match group {
        "vpc-five" => flow_of_five().boxed(),
        "aws-waf-logs-x" => json().boxed(),
        "/ids/ü" => ids().boxed(),
        _ => flow().boxed(),
    };
    prop_oneof![4 => fitting, 1 => any].boxed()
}

fn free_text() -> BoxedStrategy<String> {
    prop_oneof![
        "\\PC{0,12}",
        "[\\x01-\\x7f]{0,12}",
        "[a ,\"\\\\\n\r\t\u{1}]{0,12}",
        Just(format!("broken {BROKEN_HERE} here")),
        Just(r#"{"messageType":"CONTROL_MESSAGE","logEvents":[{"id":"1","timestamp":1,"message":"no event"}]}"#.to_owned()),
    ]
    .boxed()
}

fn number() -> impl Strategy<Value = String> {
    prop_oneof![8 => (0..100_000_u32).prop_map(|number| number.to_string()), 1 => Just("-".to_owned()), 1 => Just("x1".to_owned()), 1 => Just("99999999999".to_owned())]
}

fn address() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..3_u8, 0..4_u8, any::<u8>()).prop_map(|(b, c, d)| format!("10.{b}.{c}.{d}")),
        Just("192.0.2.1".to_owned()),
        Just("2001:db8::7".to_owned()),
        Just("2001:db8:0:1::7".to_owned()),
        Just("-".to_owned()),
        Just("10.0.0.256".to_owned()),
    ]
}

fn seconds() -> impl Strategy<Value = String> {
    prop_oneof![10 => (0..4_000_000_000_u64).prop_map(|s| s.to_string()), 1 => Just("-".to_owned()), 1 => Just("9999999999999".to_owned())]
}

fn interface() -> impl Strategy<Value = &'static str> {
    prop_oneof![Just("eni-1"), Just("eni-2"), Just("eni-3"), Just("eni-9"), Just("-")]
}

fn flow() -> BoxedStrategy<String> {
    let ports = (number(), number(), number());
    let sizes = (number(), number(), seconds(), seconds());
    (interface(), address(), address(), ports, sizes, spoil()).prop_map(
        |(eni, src, dst, (sport, dport, protocol), (packets, bytes, start, end), spoil)| {
            spoil(format!(
                "2 123456789012 {eni} {src} {dst} {sport} {dport} {protocol} {packets} {bytes} {start} {end} ACCEPT OK"
            ))
        },
    )
    .boxed()
}

fn flow_of_five() -> BoxedStrategy<String> {
    let vpc = prop_oneof![Just("vpc-1"), Just("vpc-2"), Just("vpc-9"), Just("-")];
    let subnet = prop_oneof![Just("subnet-1"), Just("subnet-3"), Just("subnet-9"), Just("-")];
    (vpc, subnet, interface(), address(), address(), seconds(), number(), spoil())
        .prop_map(|(vpc, subnet, eni, src, dst, start, path, spoil)| {
            spoil(format!("{vpc} {subnet} {eni} {src} {dst} {start} egress {path}"))
        })
        .boxed()
}

/// Mostly leaves the line unchanged. Otherwise breaks its format, or adds characters that need quotes in CSV.
fn spoil() -> impl Strategy<Value = fn(String) -> String> {
    prop_oneof![
        16 => Just((|line| line) as fn(String) -> String),
        1 => Just((|line| line + " more") as fn(String) -> String),
        1 => Just((|line| line.replacen(' ', "  ", 1)) as fn(String) -> String),
        1 => Just((|line| line.rsplit_once(' ').unwrap().0.to_owned()) as fn(String) -> String),
        1 => Just((|line| line.replace("ACCEPT", "A,\"\\C\"")) as fn(String) -> String),
        1 => Just((|line| line.replace("egress", "\u{e9}\r\n\u{1}")) as fn(String) -> String),
    ]
}

fn ids() -> BoxedStrategy<String> {
    prop_oneof![
        4 => "[A-Z]{1,5} [a-z0-9.]{1,6} -> [a-z0-9.,\"]{1,6}(:[0-9]{1,4})?",
        1 => "[A-Za-z]{0,3} ?->? ?[a-z:]{0,4}",
    ]
    .boxed()
}

fn json() -> BoxedStrategy<String> {
    prop_oneof![6 => json_object(), 1 => Just("[1]".to_owned()), 1 => Just("{\"a\":1} x".to_owned())].boxed()
}

fn json_object() -> BoxedStrategy<String> {
    let value = prop_oneof![
        Just("\"BLOCK\"".to_owned()),
        json_string("\\PC{0,5}"),
        Just(format!("\"broken {BROKEN_HERE}\"")),
        Just(r#""/p\ud800x""#.to_owned()),
        Just(r#""/p\u0000x""#.to_owned()),
        Just("null".to_owned()),
        Just("17".to_owned()),
        Just("-5".to_owned()),
        prop_oneof![
            Just("=1+1"),
            Just("-1.5e3"),
            Just("+1+1"),
            Just("@a, b"),
            Just("\\t="),
            Just("\\r\\n-"),
            Just("－1"),
            Just("-")
        ]
        .prop_map(|text| format!("\"{text}\"")),
        Just("{\"a\":[1,\"x, y\"]}".to_owned()),
        Just("\"one\\u0001 two\"".to_owned()),
    ];
    let request = prop_oneof![
        3 => Just(r#"{"clientIp":"192.0.2.9","headers":[{"name":"Host","value":"a \"b\", c"},{"name":"X"}],"httpVersion":"2"}"#.to_owned()),
        1 => Just(r#"{"headers":{"0":{"name":5}}}"#.to_owned()),
        1 => Just("[]".to_owned()),
    ];
    let again = prop_oneof![
        12 => Just(None),
        1 => Just(Some(("timestamp", "1"))),
        1 => Just(Some(("action", "\"BLOCK\""))),
        1 => Just(Some(("messageType", "\"ORDER\""))),
    ];
    let pairs = (option::weighted(0.9, value), option::weighted(0.9, request), again);
    let pairs = pairs.prop_map(|(value, request, again)| {
        let mut pairs = vec![("timestamp".to_owned(), "1".to_owned())];
        pairs.extend(value.map(|value| ("action".to_owned(), value)));
        pairs.extend(request.map(|request| ("httpRequest".to_owned(), request)));
        pairs.extend(again.map(|(name, value)| (name.to_owned(), value.to_owned())));
        pairs
    });
    pairs.prop_shuffle().prop_flat_map(object_text).boxed()
}

fn lines() -> impl Strategy<Value = (Vec<u8>, &'static str)> {
    let header = prop_oneof![
        2 => Just(None),
        2 => Just(Some("version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status")),
        1 => Just(Some("start srcaddr interface-id")),
        1 => Just(Some("start vpc-id")),
        1 => Just(Some("start start")),
        1 => Just(Some("action")),
        1 => Just(Some("version account-id next-year srcaddr")),
        1 => Just(Some("tgw-id tgw-attachment-id start")),
    ];
    let line = prop_oneof![
        6 => flow().boxed(),
        2 => (seconds(), address(), interface()).prop_map(|(start, src, eni)| format!("{start} {src} {eni}")),
        1 => free_text().prop_map(|text| text.replace('\n', " ")),
        1 => Just("start srcaddr interface-id".to_owned()),
        1 => prop_oneof![Just("OKstart srcaddr interface-id"), Just("the start of it all"), Just("\tstart srcaddr "), Just("  indented")]
            .prop_map(str::to_owned),
        1 => Just(String::new()),
    ];
    let end = prop_oneof![4 => Just("\n"), 1 => Just("\r\n")];
    let key = prop_oneof![4 => Just("plain/x"), 1 => Just("elsewhere/x")];
    (header, vec(line, 0..8), end, any::<bool>(), key).prop_flat_map(|(header, lines, end, last_end, key)| {
        let lines: Vec<String> = header.into_iter().map(str::to_owned).chain(lines).collect();
        let text = lines.join(end) + if last_end { end } else { "" };
        with_broken_bytes(text).prop_map(move |text| (text, key))
    })
}

/// A JSON string, with each character in one of the forms that JSON has.
pub(crate) fn json_string(text: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    (text, vec(0..12_u8, 1..20)).prop_map(|(text, ways)| {
        let mut json = String::from("\"");
        for (character, way) in text.chars().zip(ways.iter().cycle()) {
            let short = match character {
                '"' => Some("\\\""),
                '\\' => Some("\\\\"),
                '/' => Some("\\/"),
                '\n' => Some("\\n"),
                '\r' => Some("\\r"),
                '\t' => Some("\\t"),
                '\u{8}' => Some("\\b"),
                '\u{c}' => Some("\\f"),
                _ => None,
            };
            let must = character < ' ' || character == '"' || character == '\\';
            match short {
                _ if *way == 0 && character != BROKEN_HERE => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        json += &format!("\\u{unit:04x}");
                    }
                }
                Some(short) if must || *way == 1 => json += short,
                None if must => json += &format!("\\u{:04X}", u32::from(character)),
                _ => json.push(character),
            }
        }
        json + "\""
    })
}

fn space() -> impl Strategy<Value = &'static str> {
    prop_oneof![10 => Just(""), 1 => Just(" "), 1 => Just("\n\t\r ")]
}

fn object_text(pairs: Vec<(String, String)>) -> impl Strategy<Value = String> {
    (space(), space(), space()).prop_map(move |(a, b, c)| {
        let members: Vec<String> =
            pairs.iter().map(|(name, value)| format!("{a}\"{name}\"{b}:{c}{value}{a}")).collect();
        format!("{{{}{b}}}", members.join(","))
    })
}

pub(crate) fn array(elements: Vec<String>) -> impl Strategy<Value = String> {
    (space(), space()).prop_map(move |(a, b)| format!("[{a}{}{b}]", elements.join(&format!("{b},{a}"))))
}

/// Returns a configuration with this number of cases, or with `PROPTEST_CASES`.
pub(crate) fn cases(usual: u32) -> ProptestConfig {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(usual),
    }
}
