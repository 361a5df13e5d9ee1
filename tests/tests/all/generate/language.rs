//! Random rules in the language of rules, and objects that meet all of them often.

use flowherd_tests::objects::{base64, gzip};
use proptest::{collection::vec, option, prelude::*, sample::Index, sample::subsequence};

use super::{array, flow, ids, json_string, members, object_text};

/// A configuration, an object, its key, and the bytes per read.
pub(crate) fn language() -> impl Strategy<Value = (String, Vec<u8>, &'static str, usize)> {
    let cuts = vec(vec(any::<Index>(), 0..3), 0..=2);
    let portion = prop_oneof![Just(1), Just(2), 3_usize..64, 64_usize..5000, Just(usize::MAX)];
    let key = prop_oneof![Just("a/x"), Just("b/x")];
    (rules(), text(2), cuts, key, portion).prop_map(|(rules, text, layers, key, portion)| {
        (rules, layers.into_iter().fold(text, |bytes, cuts| members(&bytes, &cuts)), key, portion)
    })
}

/// Two to seven rules in any order.
fn rules() -> impl Strategy<Value = String> {
    vec(rule(), 2..=7).prop_map(|rules| {
        let name = |(at, rule): (usize, String)| rule.replace("NAME", &format!("t{at}"));
        rules.into_iter().enumerate().map(name).collect()
    })
}

fn rule() -> BoxedStrategy<String> {
    let lines_of_keys =
        |keys: Vec<Option<String>>| keys.into_iter().flatten().map(|key| key + "\n").collect::<String>();
    let key = |probability: f64, values: &'static [&'static str]| {
        option::weighted(probability, proptest::sample::select(values).prop_map(str::to_owned))
    };
    let mismatch = move || key(0.75, &["on_mismatch = \"next\""]);
    let all = (matches(), metadata(), mismatch(), key(0.15, &["comments = \"#\"", "comments = \"1\""]));
    let table = (
        all,
        key(0.1, &["lines = \"export\""]),
        key(
            0.1,
            &["records = \"/Records\"", "records = \"/a/list\"", "records = \"\"", "records = \"/Records\""],
        ),
        option::weighted(0.12, Just("unwrap = \"/message\"".to_owned())),
        format(),
    )
        .prop_map(
            move |((matches, metadata, mismatch, comments), lines, records, unwrap, (format, more))| {
                // A line has no array.
                let lines = lines.filter(|_| records.is_none());
                // A time at a path needs a JSON record, so a rule for other formats has one only with `unwrap`.
                let more = more
                    .filter(|more| unwrap.is_some() || format.contains("\"json\"") || !more.contains("path"));
                let keys = [matches, metadata, mismatch, comments, lines, records, unwrap, more];
                format!(
                    "[[rule]]\nname = \"NAME\"\ntable = \"NAME\"\n{}{format}",
                    lines_of_keys(keys.to_vec())
                )
            },
        );
    let decode = (
        matches(),
        mismatch(),
        option::of(Just("unwrap = \"/data\"".to_owned())),
        key(0.3, &["records = \"/Records\""]),
    )
        .prop_map(move |(matches, mismatch, unwrap, records)| {
            let keys = [matches, mismatch, unwrap, records];
            format!("[[rule]]\nname = \"NAME\"\ndecode = \"base64\"\n{}", lines_of_keys(keys.to_vec()))
        });
    let drop = matches().prop_map(move |matches| {
        format!("[[rule]]\nname = \"NAME\"\ndrop = true\n{}", lines_of_keys(vec![matches]))
    });
    prop_oneof![8 => table, 2 => decode, 1 => drop].boxed()
}

fn matches() -> impl Strategy<Value = Option<String>> {
    let entry = prop_oneof![
        3 => Just("log_group = \"g/*\""),
        1 => Just("log_group = \"*\", message = '\\d'"),
        1 => Just("log_group = \"g/?\", log_stream = \"[s]*\""),
        2 => Just("key = \"a/*\""),
        1 => Just("key = \"?/x\", message = '^[{#]'"),
        1 => Just("message = '^(2|NOTE) '"),
        1 => Just("message = '[A-Z]'"),
    ];
    let entry = entry.prop_map(|entry| format!("{{ {entry} }}"));
    prop_oneof![
        2 => Just(None),
        3 => entry.clone().prop_map(|entry| Some(format!("match = {entry}"))),
        1 => vec(entry, 1..3).prop_map(|entries| Some(format!("match = [ {} ]", entries.join(", ")))),
    ]
}

fn metadata() -> impl Strategy<Value = Option<String>> {
    let names = ["owner", "log_group", "event_id", "key", "extracted:eni", "extracted:a b"];
    prop_oneof![2 => Just(vec![]), 1 => subsequence(names.to_vec(), 1..=names.len())].prop_map(|names| {
        let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
        (!names.is_empty()).then(|| format!("metadata = [{}]", names.join(", ")))
    })
}

/// A format, and more keys of the rule that fit it.
fn format() -> impl Strategy<Value = (String, Option<String>)> {
    let time = prop_oneof![
        1 => Just(None),
        1 => proptest::sample::select(
            &["unit = \"s\"", "unit = \"ms\"", "unit = \"us\"", "unit = \"ns\"", "unit = \"iso\"", "format = \"%d/%b/%Y:%H:%M:%S %z\""][..]
        )
        .prop_map(|form| Some(format!("timestamp = {{ path = \"/t\", {form} }}"))),
    ];
    let json = (
        subsequence(
            vec![
                "{ name = \"n\", path = \"/n\" }",
                "{ name = \"b\", path = \"/a/b\", type = \"bigint\" }",
                "{ name = \"host\", jsonpath = \"$.headers[?@.name == 'Host'].value\" }",
                "{ name = \"last\", jsonpath = \"$.headers[-1].name\" }",
                "{ name = \"all\", path = \"\" }",
                "{ name = \"message\", path = \"/message\" }",
            ],
            1..=4,
        ),
        proptest::bool::weighted(0.3),
        proptest::bool::weighted(0.2),
        time.clone(),
    )
        .prop_map(|(columns, is_required, rejects_bad_text, time)| {
            let first = columns[0].split('"').nth(1).unwrap().to_owned();
            let required = if is_required { format!("required = [\"{first}\"]\n") } else { String::new() };
            let bad_text = if rejects_bad_text { "bad_text = \"reject\"\n" } else { "" };
            let format = format!(
                "{required}{bad_text}format = {{ kind = \"json\", columns = [ {} ] }}\n",
                columns.join(", ")
            );
            (format, time)
        });
    let text = prop_oneof![
        Just("'(?-u)^(?P<level>\\w+) (?P<src>[!-~]+) -> (?P<dst>[!-9;-~]+)(?::(?P<port>[0-9]+))?$'"),
        Just("'^(?P<word>[A-Za-z]+)(?: (?P<rest>[ -~]*))?'"),
        Just("'^(?P<first>.)(?P<rest>.*)$'"),
    ];
    let regex = (text, time.clone()).prop_map(|(pattern, time)| {
        (format!("format = {{ kind = \"regex\", pattern = {pattern} }}\n"), time)
    });
    let flow = prop_oneof![
        4 => Just("kind = \"vpc-flow\""),
        2 => Just("kind = \"vpc-flow\", fields = \"any\""),
        1 => Just("kind = \"vpc-flow\", fields = \"${start} ${next-year} ${interface-id}\", unknown_fields = \"text\""),
        1 => Just("kind = \"tgw-flow\", fields = \"${start} ${tgw-id} ${srcaddr}\""),
        1 => Just("kind = \"tgw-flow\", fields = \"any\""),
    ];
    let flow = (flow, time).prop_map(|(format, time)| (format!("format = {{ {format} }}\n"), time));
    let w3c = prop_oneof![
        Just("fields = \"date time cs(Host)\", delimiter = \"space\""),
        Just("fields = \"date time cs(Host)\""),
        Just("fields = \"x-new date time\", types = { x_new = \"bigint\" }"),
    ];
    let time = option::of(Just(
        "timestamp = { columns = [\"date\", \"time\"], format = \"%Y-%m-%d %H:%M:%S\" }".to_owned(),
    ));
    let w3c =
        (w3c, time).prop_map(|(format, time)| (format!("format = {{ kind = \"w3c\", {format} }}\n"), time));
    prop_oneof![4 => json, 3 => regex, 2 => flow, 1 => w3c]
}

/// The text of an object or a payload, with payloads inside up to a depth.
fn text(depth: u32) -> BoxedStrategy<Vec<u8>> {
    let line = message(depth).prop_map(|line| line.replace(['\n', '\r'], " ") + "\n");
    let header = prop_oneof![
        Just("start interface-id\n"),
        Just("start srcaddr tgw-id\n"),
        Just("#Fields: date time cs(Host)\n"),
        Just("#Fields: time x-new  date other\n"),
        Just("#Fields: Time date X-new\n"),
        Just("#Fields: date time DATE\n"),
        Just("#Version: 1.0\n"),
        Just("Permission Check Successful\n"),
        Just("\n"),
    ]
    .prop_map(str::to_owned);
    let between = prop_oneof![3 => Just("\n"), 1 => Just(""), 1 => Just(",\n")];
    let json = (
        prop_oneof![4 => document(depth), 1 => vec(document(0), 1..3).prop_flat_map(array).boxed()],
        between,
    )
        .prop_map(|(json, between)| json + between);
    let item = prop_oneof![3 => line.boxed(), 1 => header.boxed(), 4 => json.boxed(), 3 => envelope(depth)];
    let cut = option::weighted(0.06, any::<Index>());
    (vec(item, 1..7), cut, proptest::bool::weighted(0.05))
        .prop_map(|(items, cut, has_mark)| {
            let mut text = if has_mark { "\u{feff}".to_owned() } else { String::new() } + &items.concat();
            if let Some(cut) = cut {
                let mut at = cut.index(text.len() + 1);
                while !text.is_char_boundary(at) {
                    at -= 1;
                }
                text.truncate(at);
            }
            text.into_bytes()
        })
        .boxed()
}

fn envelope(depth: u32) -> BoxedStrategy<String> {
    let kind =
        prop_oneof![12 => Just("DATA_MESSAGE"), 1 => Just("CONTROL_MESSAGE"), 1 => Just("NEW_MESSAGE")];
    let group = prop_oneof![3 => Just("g/1"), 1 => Just("g/[2]"), 2 => Just("other")];
    let stream = prop_oneof![Just("[s]1"), Just("s1")];
    (kind, group, stream, vec(event(depth), 0..5))
        .prop_map(|(kind, group, stream, events)| {
            format!(
                "{{\"messageType\":\"{kind}\",\"owner\":\"123456789012\",\"logGroup\":\"{group}\",\"logStream\":\"{stream}\",\"logEvents\":[{}]}}",
                events.join(",")
            )
        })
        .boxed()
}

fn event(depth: u32) -> BoxedStrategy<String> {
    let id = prop_oneof![
        4 => Just(Some("\"366\"")), 1 => Just(Some("\"3\\u0036,\"")), 1 => Just(None),
    ];
    let extracted = prop_oneof![
        3 => Just(None),
        2 => Just(Some(r#"{"eni":"eni-1","a b":"x, \"y\""}"#)),
        1 => Just(Some(r#"{"a b":null,"eni":[1, {"x": 2}]}"#)),
        1 => Just(Some(r#"{"eni":17}"#)),
        1 => Just(Some("null")),
    ];
    let timestamp =
        prop_oneof![15 => (0..=253_402_300_799_999_i64).prop_map(Some), 1 => Just(Some(-1)), 1 => Just(None)];
    let message = prop_oneof![
        14 => json_string(message(depth)).prop_map(Some).boxed(),
        2 => Just(Some(r#""NOTE \udc00 -> b""#.to_owned())).boxed(),
        1 => Just(Some("\"raw \u{1} control\"".to_owned())).boxed(),
        1 => Just(None).boxed(),
    ];
    (id, extracted, timestamp, message)
        .prop_flat_map(|(id, extracted, timestamp, message)| {
            let member = |name: &str, value: Option<String>| value.map(|value| (name.to_owned(), value));
            let members = [
                member("id", id.map(str::to_owned)),
                member("timestamp", timestamp.map(|ms: i64| ms.to_string())),
                member("message", message),
                member("extractedFields", extracted.map(str::to_owned)),
            ];
            let members: Vec<(String, String)> = members.into_iter().flatten().collect();
            prop_oneof![3 => Just(members.clone()), 1 => Just(members).prop_shuffle()]
        })
        .prop_flat_map(object_text)
        .boxed()
}

/// A message of any kind.
fn message(depth: u32) -> BoxedStrategy<String> {
    let simple = prop_oneof![
        3 => flow(),
        1 => (0..2_000_000_000_u32).prop_map(|start| format!("{start} tgw-1 10.0.0.5")).boxed(),
        1 => (0..2_000_000_000_u32).prop_map(|start| format!("{start} {{x}} eni-1")).boxed(),
        3 => ids(),
        1 => "[ -~]{0,8}".boxed(),
        1 => Just("# a comment".to_owned()).boxed(),
        1 => Just(" \t".to_owned()).boxed(),
        1 => Just("NOTE \u{e9}t\u{e9} -> \u{fc}".to_owned()).boxed(),
        1 => Just("NOTE {\"messageType\":\"DATA_MESSAGE\",\"logEvents\":[]}".to_owned()).boxed(),
        1 => w3c_line(),
    ]
    .boxed();
    let export = (time_text(), simple.clone()).prop_map(|(time, message)| format!("{time} {message}"));
    if depth == 0 {
        return prop_oneof![8 => simple, 1 => export.boxed()].boxed();
    }
    prop_oneof![6 => simple, 1 => export.boxed(), 5 => document(depth), 2 => payload(depth - 1)].boxed()
}

fn w3c_line() -> BoxedStrategy<String> {
    let delimiter = prop_oneof![2 => Just("\t"), 1 => Just(" ")];
    let field = prop_oneof![4 => Just("2026-02-18"), 4 => Just("12:34:56"), 2 => Just("-"), 1 => Just("25:00:00"), 2 => Just("17"), 1 => Just("")];
    (vec(field, 1..5), delimiter).prop_map(|(fields, delimiter)| fields.join(delimiter)).boxed()
}

fn time_text() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        4 => Just("2026-02-18T00:00:00.123Z"),
        1 => Just("2026-02-18T00:00:00Z"),
        1 => Just("2026-02-29T00:00:00.000Z"),
        1 => Just("1969-12-31T23:59:59.999Z"),
        1 => Just("2026-02-18"),
        1 => Just("18/Feb/2026:01:30:00 +0130"),
        1 => Just("1771372800"),
    ]
}

/// A JSON object with members that the rules read.
fn document(depth: u32) -> BoxedStrategy<String> {
    let scalar = prop_oneof![
        Just("null"),
        Just("17"),
        Just("-1.5e3"),
        Just("true"),
        Just("\"text\""),
        Just("\"NOTE a -> b\""),
        Just("\"\""),
        Just("\"h\\u00e4lf \\ud800\""),
        Just("[ 1, {\"x\": [ ]} ]"),
        Just("{\"list\": 5}"),
    ]
    .prop_map(str::to_owned);
    let time = prop_oneof![
        3 => Just("1771372800"), 2 => Just("1771372800.9876"), 1 => Just("1.7713728E9"), 1 => Just("177137280012345678901e-11"), 2 => Just("1771372800123"), 1 => Just("1771372800123456"),
        1 => Just("1771372800123456789"), 1 => Just("\"1771372800\""), 1 => Just("null"), 1 => Just("-5"), 1 => Just("[]"),
        1 => Just("0"),
    ]
    .prop_map(str::to_owned);
    let time =
        prop_oneof![2 => time.boxed(), 1 => time_text().prop_map(|time| format!("\"{time}\"")).boxed()];
    let headers = prop_oneof![
        2 => Just(r#"[{"name":"X"},{"name":"Host","value":"a, \"b\""},{"name":"Host","value":"c"}]"#),
        1 => Just(r#"[{"name":"Host","value":null}, 5]"#),
        1 => Just(r#"{"name":"Host"}"#),
        1 => Just("[]"),
    ]
    .prop_map(str::to_owned);
    let inner = if depth == 0 { Just("{}".to_owned()).boxed() } else { document(depth - 1) };
    let element = prop_oneof![
        2 => scalar.clone().boxed(),
        3 => inner.clone(),
        2 => json_string(message(depth.saturating_sub(1))).boxed(),
        1 => Just("[[1], \"]\"]".to_owned()).boxed(),
    ];
    let elements = vec(element, 0..4).prop_flat_map(array);
    let object = (scalar.clone(), elements.clone())
        .prop_map(|(value, list)| format!("{{\"b\":{value}, \"list\" :{list}}}"));
    let object = prop_oneof![3 => object.boxed(), 1 => scalar.clone().boxed()];
    let message =
        prop_oneof![3 => json_string(message(depth.saturating_sub(1))).boxed(), 1 => scalar.clone().boxed()];
    let data = if depth == 0 {
        scalar.clone().boxed()
    } else {
        payload(depth - 1).prop_map(|data| format!("\"{data}\"")).boxed()
    };
    let member = |name: &'static str, probability: f64, value: BoxedStrategy<String>| {
        option::weighted(probability, value)
            .prop_map(move |value| value.map(|value| (name.to_owned(), value)))
    };
    (
        member("n", 0.6, scalar.boxed()),
        member("a", 0.5, object.boxed()),
        member("t", 0.7, time.boxed()),
        member("headers", 0.4, headers.boxed()),
        member("Records", 0.35, elements.clone().boxed()),
        member("Rec\\u006frds", 0.08, elements.boxed()),
        member("message", 0.5, message.boxed()),
        member("data", 0.4, data),
    )
        .prop_map(|(n, a, t, headers, records, more, message, data)| {
            [n, a, t, headers, records, more, message, data].into_iter().flatten().collect::<Vec<_>>()
        })
        .prop_shuffle()
        .prop_flat_map(object_text)
        .boxed()
}

/// Base64 of an object, sometimes damaged.
fn payload(depth: u32) -> BoxedStrategy<String> {
    let damage = prop_oneof![
        8 => Just(None), 1 => any::<Index>().prop_map(|at| Some((at, 0_u8))), 1 => any::<Index>().prop_map(|at| Some((at, 1))),
        1 => any::<Index>().prop_map(|at| Some((at, 2))),
    ];
    (text(depth), any::<bool>(), damage)
        .prop_map(|(text, is_compressed, damage)| {
            let mut bytes = if is_compressed { gzip(&text) } else { text };
            if let Some((at, 0)) = damage {
                bytes.truncate(at.index(bytes.len() + 1));
            }
            let mut encoded = base64(&bytes);
            match damage {
                Some((at, 1)) => encoded.truncate(at.index(encoded.len() + 1)),
                Some((at, 2)) => encoded.insert(at.index(encoded.len() + 1), '*'),
                _ => {}
            }
            encoded
        })
        .boxed()
}
