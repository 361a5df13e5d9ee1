use super::*;

fn values(columns: &[(&str, &str)], message: &str) -> Result<Vec<Option<String>>, Reason> {
    let format = JsonFormat::new(columns.iter().map(|(name, path)| column(name, path)), &[]).unwrap();
    parse(&format, message)
}

fn column<'a>(name: &'a str, path: &'a str) -> JsonColumn<'a> {
    JsonColumn { name, path: JsonPath::Pointer(path), kind: ColumnType::String }
}

fn parse(format: &JsonFormat, message: &str) -> Result<Vec<Option<String>>, Reason> {
    let mut values = Values::default();
    format.parse(message.as_bytes(), false, &mut values)?;
    let text = |cell: &(u32, u32)| {
        String::from_utf8(values.text[cell.0 as usize..cell.1 as usize].to_vec()).unwrap()
    };
    Ok(values.cells.iter().map(|cell| cell.as_ref().map(text)).collect())
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
    for twice in [
        r#"{"a":{"b":1},"a":{"b":1}}"#,
        r#"{"a":{"b":1}, "a": { "b" : 1 }}"#,
        r#"{"a":{"b":1,"c":2,"b":1}}"#,
    ] {
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
