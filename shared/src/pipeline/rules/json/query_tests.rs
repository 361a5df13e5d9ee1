//! Queries against the examples of RFC 9535 and against `jsonpath-rust`.

use std::sync::LazyLock;

use jsonpath_rust::{
    parser::{model::JpQuery, parse_json_path},
    query::js_path_process,
};
use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn query(query: &str) -> Result<JsonFormat, Vec<String>> {
    JsonFormat::new([JsonColumn { name: "q", path: JsonPath::Query(query), kind: ColumnType::String }], &[])
}

/// Returns the first node of a query in an object, as the cell has it.
fn first(text: &str, message: &str) -> Result<Option<String>, Reason> {
    first_of(&query(text).unwrap(), message)
}

/// Reads a message with quotes as they are, and with a backslash before each: the cell is the same.
fn first_of(format: &JsonFormat, message: &str) -> Result<Option<String>, Reason> {
    let read = |input: JsonInput<'_>| {
        let mut values = Values::default();
        format.parse(input, true, &mut values)?;
        let cell = tests::cells(&values, input).swap_remove(0);
        Ok(cell.map(|cell| String::from_utf8(cell).unwrap()))
    };
    let found = read(JsonInput::new(message.as_bytes()));
    if let Some(escaped) = tests::with_escaped_quotes(message.as_bytes()) {
        assert_eq!(read(JsonInput { bytes: &escaped, has_escaped_quotes: true }), found, "{message}");
    }
    found
}

/// RFC 9535 section 1.5, figure 1.
const STORE: &str = r#"{ "store": {
    "book": [
      { "category": "reference", "author": "Nigel Rees", "title": "Sayings of the Century", "price": 8.95 },
      { "category": "fiction", "author": "Evelyn Waugh", "title": "Sword of Honour", "price": 12.99 },
      { "category": "fiction", "author": "Herman Melville", "title": "Moby Dick", "isbn": "0-553-21311-3", "price": 8.99 },
      { "category": "fiction", "author": "J. R. R. Tolkien", "title": "The Lord of the Rings", "isbn": "0-395-19395-8", "price": 22.99 }
    ],
    "bicycle": { "color": "red", "price": 399 } } }"#;

#[test]
fn queries_of_the_store_find_the_first_node_of_rfc_9535() {
    let cases = [
        ("$.store.book[*].author", Some("Nigel Rees")),
        ("$..author", Some("Nigel Rees")),
        ("$.store.bicycle.*", Some("red")),
        ("$.store..price", Some("8.95")),
        ("$..book[2].author", Some("Herman Melville")),
        ("$..book[2].publisher", None),
        ("$..book[-1].title", Some("The Lord of the Rings")),
        ("$..book[0,1].title", Some("Sayings of the Century")),
        ("$..book[1:2].title", Some("Sword of Honour")),
        ("$..book[::-1].title", Some("The Lord of the Rings")),
        ("$..book[?@.isbn].title", Some("Moby Dick")),
        ("$..book[?@.price<10].title", Some("Sayings of the Century")),
        ("$['store']['bicycle']", Some(r#"{"color":"red","price":399}"#)),
        ("$.store.book[?@.price > $.store.book[1].price].title", Some("The Lord of the Rings")),
        ("$.store.book[?match(@.author, '.*R\\\\..*')].title", Some("The Lord of the Rings")),
        ("$.store.book[?search(@.author, 'Mel|Waugh')].title", Some("Sword of Honour")),
        ("$.store.book[?match(@.author, 'Mel')].title", None),
        ("$.store.book[?length(@.title) == 9].author", Some("Herman Melville")),
        ("$.store.book[?count(@.*) == 5].author", Some("Herman Melville")),
        ("$.store.book[?value(@..isbn) == '0-395-19395-8'].author", Some("J. R. R. Tolkien")),
        ("$.store.book[?!@.isbn && @.category != 'reference'].author", Some("Evelyn Waugh")),
        // jsonpath-rust 1.0 finds nothing with a filter inside a filter.
        ("$.store[?@[?@.isbn]][0].title", Some("Sayings of the Century")),
        ("$.store.book[?(@.price > 20 || @.price < 8.96) && @.isbn].author", Some("J. R. R. Tolkien")),
    ];
    for (text, expected) in cases {
        assert_eq!(first(text, STORE).unwrap().as_deref(), expected, "{text}");
    }
}

#[test]
fn comparisons_are_those_of_rfc_9535_table_11() {
    let message = r#"{ "obj": {"x": "y"}, "arr": [2, 3], "same": {"x":"\u0079"}, "list": [2.0, 3e0] }"#;
    let cases = [
        ("$.absent1 == $.absent2", true),
        ("$.absent1 <= $.absent2", true),
        ("$.absent == 'g'", false),
        ("$.absent1 != $.absent2", false),
        ("$.absent != 'g'", true),
        ("1 <= 2", true),
        ("1 > 2", false),
        ("13 == '13'", false),
        ("'a' <= 'b'", true),
        ("'a' > 'b'", false),
        ("$.obj == $.arr", false),
        ("$.obj != $.arr", true),
        ("$.obj == $.obj", true),
        ("$.obj == $.same", true),
        ("$.obj != $.obj", false),
        ("$.arr == $.arr", true),
        ("$.arr == $.list", true),
        ("$.arr != $.arr", false),
        ("$.obj == 17", false),
        ("$.obj != 17", true),
        ("$.obj <= $.arr", false),
        ("$.obj < $.arr", false),
        ("$.obj <= $.obj", true),
        ("$.arr <= $.arr", true),
        ("1 <= $.arr", false),
        ("1 >= $.arr", false),
        ("1 > $.arr", false),
        ("1 < $.arr", false),
        ("true <= true", true),
        ("true > true", false),
        ("null == null", true),
        ("null < null", false),
    ];
    for (comparison, expected) in cases {
        let found = first(&format!("$.arr[?{comparison}]"), message).unwrap();
        assert_eq!(found.is_some(), expected, "{comparison}");
    }
}

#[test]
fn a_value_has_the_text_that_the_message_gives_it() {
    let message = r#"{"a":[{"k":"x\u0020y","n":1.50e+3},{"k":"\ud800","v":{"b" : [ 1 ]}},{"k":null}]}"#;
    for (text, expected) in [
        ("$.a[?@.k == 'x y'].n", Some("1.50e+3")),
        ("$.a[?@.n == 1500].k", Some("x y")),
        ("$.a[1].k", Some("\u{fffd}")),
        ("$.a[?@.v].v", Some(r#"{"b":[1]}"#)),
        // A null is a node, and an absent value.
        ("$.a[?@.k == null].k", None),
        ("$.a[?@['\\u006b'] == 'x y'].n", Some("1.50e+3")),
    ] {
        assert_eq!(first(text, message).unwrap().as_deref(), expected, "{text}");
    }
}

#[test]
fn a_key_that_a_query_selects_twice_with_different_values_is_rejected() {
    let message = r#"{"a":[{"k":1,"k":1},{"k":"x","k":"y"}]}"#;
    assert_eq!(first("$.a[?@.k == 1].k", message), Ok(Some("1".to_owned())));
    assert_eq!(first("$.a[?@.k == 'x'].k", message), Err(Reason::DuplicateKey));
}

#[test]
fn a_query_and_a_pointer_may_begin_at_the_same_value() {
    let columns = [
        column("raw", JsonPath::Pointer("/a")),
        column("query", JsonPath::Query("$.a[?@.b].b")),
        column("part", JsonPath::Pointer("/a/1/b")),
        column("same", JsonPath::Query("$.a")),
    ];
    let format = JsonFormat::new(columns, &["/a/0/c"]).unwrap();
    let mut values = Values::default();
    let message = JsonInput::new(br#"{"a": [ {"c": 0}, {"b": 1} ]}"#);
    format.parse(message, true, &mut values).unwrap();
    let cells: Vec<Vec<u8>> = tests::cells(&values, message).into_iter().flatten().collect();
    let raw = br#"[{"c":0},{"b":1}]"#.as_slice();
    assert_eq!(cells, [raw, b"1", b"1", raw, b"0"]);
}

fn column<'a>(name: &'a str, path: JsonPath<'a>) -> JsonColumn<'a> {
    JsonColumn { name, path, kind: ColumnType::String }
}

#[test]
fn a_bad_query_has_one_error_with_its_reason() {
    for (text, expected) in [
        (
            "a.b",
            "column \"q\": jsonpath = \"a.b\": is not a JSONPath query: character 1: expected jp_query; an example: \"$.headers[?@.name == 'Host'].value\"",
        ),
        (
            "$.a[?length(@.b)]",
            "column \"q\": jsonpath = \"$.a[?length(@.b)]\": length(), count() and value() need a comparison, for example length(@.a) > 0",
        ),
        (
            "$.a[?match(@.b, @.c)]",
            "column \"q\": jsonpath = \"$.a[?match(@.b, @.c)]\": match() and search() need a regular expression in quotes",
        ),
        (
            "$.a[?search(@.b, '(')]",
            "column \"q\": jsonpath = \"$.a[?search(@.b, '(')]\": pattern = \"(\": unclosed group",
        ),
        (
            "$.a[?match(@.b, 'a)(b')]",
            "column \"q\": jsonpath = \"$.a[?match(@.b, 'a)(b')]\": pattern = \"a)(b\": unopened group",
        ),
        (
            "$.a[?length(@.*) == 1]",
            "column \"q\": jsonpath = \"$.a[?length(@.*) == 1]\": a function needs one value, but this query can select several; use value()",
        ),
        (
            "$..a..b..c..d..e",
            "column \"q\": jsonpath = \"$..a..b..c..d..e\": has 5 times '..': the limit is 4",
        ),
    ] {
        assert_eq!(query(text).unwrap_err(), [expected], "{text}");
    }
    let long = format!("$.{}", "a".repeat(1023));
    assert!(query(&long).unwrap_err()[0].ends_with("has 1025 bytes: the limit is 1024"));
    let deep = format!("$[?{}@.a{}]", "(".repeat(500), ")".repeat(500));
    assert!(query(&deep).unwrap_err()[0].ends_with("nested deeper than 8 parentheses and brackets"));
    // Brackets in strings do not count, nor do points.
    assert!(query("$['((((((((((........']").is_ok());
    assert!(query("$[\"\\\"((((((((((\"]").is_ok());
}

#[test]
fn work_of_a_query_is_limited() {
    let deep = |depth: usize| format!("{{\"a\":{}1{}}}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(first("$..b", &deep(120)), Ok(None));
    assert_eq!(first("$..b", &deep(100_000)), Err(Reason::TooLong));
    // Without `..` the depth does not matter.
    assert_eq!(first("$.a[0][0][1]", &deep(100_000)), Ok(None));
    // The filter visits the whole record once for each element.
    let wide = format!("{{\"a\":[{}0]}}", "0,".repeat(20_000));
    assert_eq!(first("$.a[?count($.a[*]) == 1]", &wide), Err(Reason::TooLong));
    assert_eq!(first("$.a[?@ == 1]", &wide), Ok(None));
    // The filter reads a long text, or a long key with an escape, once for each element.
    let elements = "0,".repeat(20_000);
    let long = |first: &str| format!("{{{first},\"a\":[{elements}0]}}");
    let text = long(&format!("\"b\":\"{}\"", "x".repeat(100_000)));
    assert_eq!(first("$.a[?length($.b) == 1]", &text), Err(Reason::TooLong));
    assert_eq!(first("$.a[?search($.b, '[a-z][0-9]')]", &text), Err(Reason::TooLong));
    let twice = long(&format!("\"b\":\"{0}\",\"b\":\"{0}\"", "x".repeat(50_000)));
    assert_eq!(first("$.a[?!$.b]", &twice), Err(Reason::TooLong));
    let key = long(&format!("\"{}\\n\":0", "x".repeat(100_000)));
    assert_eq!(first("$.a[?$.b]", &key), Ok(None));
    // Each of many comparisons reads each text once.
    let texts = format!("{{\"a\":[{}0]}}", format!("\"{}\",", "x".repeat(1000)).repeat(100));
    assert_eq!(first(&format!("$.a[?{}@=='y']", "@=='x'||".repeat(120)), &texts), Ok(None));
    let too_wide = format!("{{\"a\":[{}0]}}", "0,".repeat(1 << 20));
    assert_eq!(first("$.a[-1]", &too_wide), Err(Reason::TooLong));
}

const QUERIES: &[&str] = &[
    "$.a",
    "$.a.b",
    "$['a']['b']",
    "$.a[0]",
    "$.a[-1]",
    "$.a[1:3]",
    "$.a[::2]",
    "$.a[::-1]",
    "$.a[5:0:-2]",
    "$.a[-3:-1]",
    "$.a[*].b",
    "$.a[0,1,-1]",
    "$.a['b',0]",
    "$.a[?@.b]",
    "$.a[?!@.b]",
    "$.a[?@ == 1]",
    "$.a[?@.b == 'x']",
    "$.a[?@.b != @.a].b",
    "$.a[?@.b == 'x' || @.a == 1].b",
    "$.a[?@.b > 0 && @.b < 9]",
    "$.a[?@[0]]",
    "$.a[?@.b == $.b]",
    "$.a[?length(@) > 1]",
    "$.a[?length(@.b) == 1].b",
    "$.a[?count(@[*]) == 2]",
    "$.a[?match(@.b, 'x|y')].b",
    "$.a[?search(@.b, '[xy]')]",
    "$.a[?match(@, 'x')]",
    "$.a[?value(@[0]) == 1]",
    "$.a[?@ == $.b]",
    "$.a[?@.a == @.b]",
    "$.b[?@]",
    "$.a[?@.b == null]",
    "$.a[?@.b == true || @.b == false]",
    "$.a[?@ >= 1.5]",
    "$.a[?@ < 'y']",
];

/// A query, compiled by this crate and by `jsonpath-rust`.
struct Compiled {
    text: &'static str,
    ours: JsonFormat,
    theirs: JpQuery,
}

impl Compiled {
    /// Returns the cells that `jsonpath-rust` finds in a message.
    fn their_cells(&self, message: &Value) -> Vec<Option<String>> {
        let nodes = js_path_process(&self.theirs, message).unwrap();
        nodes.into_iter().map(|node| cell(node.val())).collect()
    }
}

/// Compiling takes most of a debug build's time, so each query is compiled once and not for each case.
fn compiled(queries: &[&'static str]) -> Vec<Compiled> {
    let compile = |text: &&'static str| Compiled {
        text,
        ours: query(text).unwrap(),
        theirs: parse_json_path(text).unwrap(),
    };
    queries.iter().map(compile).collect()
}

static ORDERED_QUERIES: LazyLock<Vec<Compiled>> = LazyLock::new(|| compiled(QUERIES));
static UNORDERED_QUERIES: LazyLock<Vec<Compiled>> = LazyLock::new(|| compiled(UNORDERED));

/// Queries whose nodes may come in several orders.
const UNORDERED: &[&str] =
    &["$.*", "$..b", "$..[0]", "$..*", "$.a.*", "$..[?@.b].b", "$..a..b", "$.a[?@.b == 1]", "$.b[*]"];

fn json() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        proptest::sample::select(["x", "y", "xy", "", "é"].as_slice()).prop_map(Value::from),
        (-2..4_i64).prop_map(Value::from),
        Just(Value::from(1.5)),
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
    ];
    scalar.prop_recursive(4, 40, 5, |inner| {
        let key = proptest::sample::select(["a", "b", "c"].as_slice()).prop_map(str::to_owned);
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((key, inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// The text that a cell has for a node; `None` for null.
fn cell(node: &Value) -> Option<String> {
    match node {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

proptest! {
    #[test]
    fn queries_find_what_jsonpath_rust_finds(a in json(), b in json()) {
        let message = serde_json::json!({ "a": a, "b": b });
        let text = message.to_string();
        for query in &*ORDERED_QUERIES {
            // Its objects are sorted, and so are those of the message.
            let theirs = query.their_cells(&message).first().cloned().flatten();
            prop_assert_eq!(first_of(&query.ours, &text).unwrap(), theirs, "{} {}", query.text, text);
        }
        for query in &*UNORDERED_QUERIES {
            let theirs = query.their_cells(&message);
            let ours = first_of(&query.ours, &text).unwrap();
            prop_assert!(theirs.contains(&ours) || ours.is_none() && theirs.is_empty(), "{} {} {:?}", query.text, text, ours);
        }
    }
}
