use proptest::prelude::*;

use super::*;
use crate::pipeline::rules::{Cell, RowText};

fn values(columns: &[(&str, &str)], message: &str) -> Result<Vec<Option<String>>, Reason> {
    let format = JsonFormat::new(columns.iter().map(|(name, path)| column(name, path)), &[]).unwrap();
    parse(&format, message)
}

fn column<'a>(name: &'a str, path: &'a str) -> JsonColumn<'a> {
    JsonColumn { name, path: JsonPath::Pointer(path), kind: ColumnType::String }
}

fn parse(format: &JsonFormat, message: &str) -> Result<Vec<Option<String>>, Reason> {
    let mut values = Values::default();
    let input = JsonInput::new(message.as_bytes());
    format.parse(input, false, &mut values)?;
    let text = |cell: &[u8]| String::from_utf8(cell.to_vec()).unwrap();
    Ok(cells(&values, input).iter().map(|cell| cell.as_deref().map(text)).collect())
}

/// Returns the value of each cell. It is the same after the values are copied out of the message.
pub(super) fn cells(values: &Values, message: JsonInput<'_>) -> Vec<Option<Vec<u8>>> {
    let cells = |text: RowText<'_>, cells: &[Cell]| -> Vec<Option<Vec<u8>>> {
        cells.iter().map(|cell| cell.map(|cell| text.value(cell).into_owned())).collect()
    };
    let found = cells(values.text(message), &values.cells);
    let mut detached =
        Values { cells: values.cells.clone(), decoded: values.decoded.clone(), ..Values::default() };
    detached.detach(message).unwrap();
    assert_eq!(cells(detached.detached(), &detached.cells), found);
    found
}

/// Returns a text with a backslash before each quote, if it is clean text without backslashes.
pub(super) fn with_escaped_quotes(text: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(text).ok()?;
    let is_clean = !text.contains(|character| character < ' ' || character == '\\');
    is_clean.then(|| text.replace('"', "\\\"").into_bytes())
}

#[test]
fn pointers_reach_objects_arrays_and_escaped_keys() {
    let columns = [
        ("a", "/a/b/1"),
        ("whole", "/a"),
        ("escaped", "/x~1y/~0"),
        ("null", "/n"),
        ("none", "/a/c"),
        ("all", ""),
    ];
    let message =
        r#" {"a": {"b": [true, "two \" \u00e9"]}, "x/y": {"~": 1.50}, "n": null, "rest": [{"a": 1}]} "#;
    let expected = [
        Some("two \" é"),
        Some(r#"{"b":[true,"two \" \u00e9"]}"#),
        Some("1.50"),
        None,
        None,
        Some(r#"{"a":{"b":[true,"two \" \u00e9"]},"x/y":{"~":1.50},"n":null,"rest":[{"a":1}]}"#),
    ];
    let expected: Vec<Option<String>> = expected.iter().map(|value| value.map(str::to_owned)).collect();
    assert_eq!(values(&columns, message).unwrap(), expected);
}

#[test]
fn a_message_that_is_not_one_object_is_rejected() {
    for message in ["", "[]", "1", "{} {}", "{", "{\"a\":}", "\"{}\"", "x"] {
        assert_eq!(values(&[("a", "/a")], message), Err(Reason::NotJson), "{message}");
    }
}

#[test]
fn a_duplicate_key_with_different_values_is_rejected() {
    for twice in
        [r#"{"a":{"b":1},"a":{"b":1}}"#, r#"{"a":{"b":1}, "a": { "b" : 1 }}"#, r#"{"a":{"b":1,"c":2,"b":1}}"#]
    {
        assert_eq!(values(&[("a", "/a/b")], twice), Ok(vec![Some("1".to_owned())]), "{twice}");
    }
    assert_eq!(values(&[("a", "/a")], r#"{"a":"x","a":"\u0078"}"#), Ok(vec![Some("x".to_owned())]));
    assert_eq!(values(&[("a", "/a")], r#"{"a":"x","a":null}"#), Err(Reason::DuplicateKey));
    assert_eq!(values(&[("a", "/a/b")], r#"{"a":{"b":1},"a":{"b":2}}"#), Err(Reason::DuplicateKey));
    assert_eq!(values(&[("a", "/a/b")], r#"{"a":{"b":1,"b":1.0}}"#), Err(Reason::DuplicateKey));
    assert!(values(&[("a", "/a")], r#"{"a":1,"c":1,"c":2}"#).is_ok());
}

#[test]
fn a_pointer_has_a_maximum_number_of_steps() {
    let new = |path: &str| JsonFormat::new([column("a", path)], &[]);
    assert!(new(&"/a".repeat(64)).is_ok());
    // Following this pointer would overflow the stack.
    assert_eq!(
        new(&"/a".repeat(300_000)).unwrap_err(),
        ["column \"a\": path has more than 64 steps; use a shorter path"]
    );
    let deep = format!("{}1{}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let found = values(&[("a", &"/a".repeat(64)), ("all", "")], &deep).unwrap();
    assert_eq!(found[1].as_deref(), Some(&*deep));
}

#[test]
fn values_without_children_are_not_decoded() {
    let columns = [("a", "/a/b"), ("c", "/c")];
    for value in ["1e999", r#""\ud800""#, "true", "null"] {
        let found = values(&columns, &format!(r#"{{"a":{value},"c":1,"x":{value}}}"#)).unwrap();
        assert_eq!(found, [None, Some("1".to_owned())], "{value}");
    }
}

#[test]
fn invalid_text_is_rejected() {
    assert_eq!(values(&[("a", "/a")], r#"{"a":"\ud800"}"#), Err(Reason::BadEncoding));
    assert_eq!(values(&[("a", "/a")], r#"{"a":"\u0000"}"#), Err(Reason::BadEncoding));
}

#[test]
fn cells_of_hidden_values_follow_those_of_the_columns() {
    let format = JsonFormat::new([column("a", "/a"), column("b", "/b/c")], &["/b", "/x"]).unwrap();
    assert_eq!(format.columns().len(), 2);
    let message = r#"{"x":"y","a":1,"b":{"c":2}}"#;
    let cell = |text: &str| Some(text.to_owned());
    assert_eq!(parse(&format, message).unwrap(), [cell("1"), cell("2"), cell(r#"{"c":2}"#), cell("y")]);
    let format = JsonFormat::hidden_only(&["/x", "/none"]).unwrap();
    assert!(format.columns().is_empty());
    assert_eq!(parse(&format, message).unwrap(), [cell("y"), None]);
    assert_eq!(
        JsonFormat::hidden_only(&["x", "/x"]).unwrap_err(),
        ["path = \"x\" is not a JSON Pointer; an example: \"/httpRequest/clientIp\""]
    );
}

/// Pointers that meet each other: a value and its parts, keys of every length, positions in arrays.
const POINTERS: [&[&str]; 4] = [
    &["/a", "/a/b", "/a/b/0", "/b/1/a", "/key-of-16-bytes-", "/a-key-of-more-than-16-bytes"],
    &["", "/b", "/b/a/b", "/0", "/a/0/0"],
    &["/a/a/a/a", "/ü", "/~0~1", "/", "/eight-by"],
    &["/none"],
];

/// A key or another string: few of them, so that pointers find them and keys repeat.
fn json_string() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => prop_oneof![Just("a"), Just("b"), Just("0"), Just("ü"), Just("~/"), Just("")].prop_map(str::to_owned),
        2 => prop_oneof![Just(r"\u0061"), Just(r"\ud800"), Just(r"\ud83d\ude00"), Just(r"\u0000"), Just(r"\/\n")]
            .prop_map(str::to_owned),
        2 => prop_oneof![
            Just("key-of-16-bytes-"), Just("key-of-16-bytes+"), Just("a-key-of-more-than-16-bytes"),
            Just("a-key-of-MORE-than-16-bytes"), Just("eight-by"), Just(r"\u0061-key-of-more-than-16-bytes"),
        ].prop_map(str::to_owned),
        1 => r"[ -~é]{0,40}".prop_map(|text| text.replace(['"', '\\'], "")),
    ]
    .prop_map(|content| format!("\"{content}\""))
}

fn json_value() -> impl Strategy<Value = String> {
    let space = || prop_oneof![6 => Just(""), 1 => Just(" "), 1 => Just("\n\t\r ")];
    let scalar = prop_oneof![
        3 => json_string(),
        2 => prop_oneof![Just("null"), Just("true"), Just("false"), Just("0"), Just("-1.50e+3"), Just("1E999")]
            .prop_map(str::to_owned),
    ];
    scalar.prop_recursive(5, 40, 6, move |inner| {
        let member = (json_string(), space(), space(), inner.clone())
            .prop_map(|(key, before, after, value)| format!("{key}{before}:{after}{value}"));
        let list = |items: Vec<String>, space: &str| items.join(&format!("{space},{space}"));
        prop_oneof![
            3 => (proptest::collection::vec(member, 0..6), space())
                .prop_map(move |(members, space)| format!("{{{space}{}{space}}}", list(members, space))),
            1 => (proptest::collection::vec(inner, 0..4), space())
                .prop_map(move |(values, space)| format!("[{space}{}{space}]", list(values, space))),
        ]
    })
}

/// A JSON text, usually an object, with up to two damaged bytes.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let damage = (
        any::<proptest::sample::Index>(),
        proptest::sample::select(b"\"\\{}[],: \n\x00\x1f\x7f\xff\xc3eE+-.019utnl/".as_slice()),
        0..3_u8,
    );
    let damages = prop_oneof![2 => Just(0..1), 1 => Just(1..3)]
        .prop_flat_map(move |count| proptest::collection::vec(damage.clone(), count));
    let object = (proptest::collection::vec((json_string(), json_value()), 0..6), any::<bool>()).prop_map(
        |(members, padded)| {
            let members: Vec<String> = members.iter().map(|(key, value)| format!("{key}:{value}")).collect();
            let object = format!("{{{}}}", members.join(","));
            if padded { format!("\r\n {object}\t") } else { object }
        },
    );
    (prop_oneof![9 => object, 1 => json_value()], damages).prop_map(|(text, damages)| {
        let mut bytes = text.into_bytes();
        for (at, byte, kind) in damages {
            let at = at.index(bytes.len() + 1);
            match kind {
                0 => bytes.insert(at, byte),
                _ if at == bytes.len() => bytes.truncate(at / 2),
                1 => bytes[at] = byte,
                _ => drop(bytes.remove(at)),
            }
        }
        bytes
    })
}

proptest! {
    #[test]
    fn any_message_is_read_as_serde_json_reads_it(
        message in message(),
        pointers in proptest::sample::select(POINTERS.as_slice()),
        can_repair: bool,
    ) {
        let format = JsonFormat::new(pointers.iter().map(|path| column(path, path)), &[]).unwrap();
        let read = |input: JsonInput<'_>| {
            let mut values = Values::default();
            format.parse(input, can_repair, &mut values).map(|()| (cells(&values, input), values.repaired))
        };
        let theirs = oracle::read(pointers, &message, can_repair);
        prop_assert_eq!(read(JsonInput::new(&message)), theirs.clone(), "{}", String::from_utf8_lossy(&message));
        if let Some(escaped) = with_escaped_quotes(&message) {
            let input = JsonInput { bytes: &escaped, has_escaped_quotes: true };
            prop_assert_eq!(read(input), theirs, "escaped: {}", String::from_utf8_lossy(&message));
        }
    }
}
