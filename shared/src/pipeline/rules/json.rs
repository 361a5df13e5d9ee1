//! `kind = "json"`: values of one JSON object, each by its JSON Pointer (RFC 6901).
//!
//! The message is parsed once along the tree of pointers. Values that no column needs are validated and skipped.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::Values;
use crate::{
    error::Reason,
    limits::MAX_ROW_BYTES,
    pipeline::json_text,
    table::{Column, ColumnType},
};

/// Each step is a nested call, and one more pass over the remaining message.
const MAX_STEPS: usize = 64;

/// A column of a JSON format.
#[derive(Clone, Copy, Debug)]
pub struct JsonColumn<'a> {
    /// The column's name.
    pub name: &'a str,
    /// Where its value is.
    pub path: JsonPath<'a>,
    /// The type that queries use.
    pub kind: ColumnType,
}

/// The path of a value in a JSON object.
#[derive(Clone, Copy, Debug)]
pub enum JsonPath<'a> {
    /// A JSON Pointer (RFC 6901).
    Pointer(&'a str),
    /// A JSONPath query (RFC 9535). Its first node is the value.
    Query(&'a str),
}

/// The columns, the hidden values after them, and the tree of their paths.
#[derive(Debug)]
pub struct JsonFormat {
    root: Node,
    columns: Vec<Column>,
    /// Number of values: columns, then hidden ones.
    cells: usize,
}

/// A path in the object that columns read, or that leads to one.
#[derive(Debug, Default)]
struct Node {
    columns: Vec<usize>,
    children: Vec<Child>,
}

#[derive(Debug)]
struct Child {
    name: String,
    /// The name as a position in an array, if it is one.
    index: Option<usize>,
    node: Node,
}

impl JsonFormat {
    /// Compiles the columns, and JSON Pointers of hidden values. A hidden value is no column: its cell follows those of the
    /// columns. The error has all problems, one line each.
    pub fn new<'a>(
        columns: impl IntoIterator<Item = JsonColumn<'a>>,
        hidden: &[&str],
    ) -> Result<Self, Vec<String>> {
        let mut format = Self { root: Node::default(), columns: Vec::new(), cells: 0 };
        let mut problems = Vec::new();
        for JsonColumn { name, path, kind } in columns {
            format.columns.push(Column { name: name.to_owned(), kind });
            if let Err(problem) = format.add(path) {
                problems.push(format!("column {name:?}: {problem}"));
            }
        }
        if format.columns.is_empty() {
            problems.push(
                "columns is empty; add at least one, for example { name = \"action\", path = \"/action\" }"
                    .to_owned(),
            );
        }
        problems.extend(format.add_hidden(hidden));
        if problems.is_empty() { Ok(format) } else { Err(problems) }
    }

    /// Compiles JSON Pointers of hidden values, without any column.
    pub fn hidden_only(hidden: &[&str]) -> Result<Self, Vec<String>> {
        let mut format = Self { root: Node::default(), columns: Vec::new(), cells: 0 };
        let problems = format.add_hidden(hidden);
        if problems.is_empty() { Ok(format) } else { Err(problems) }
    }

    /// Returns the problems.
    fn add_hidden(&mut self, hidden: &[&str]) -> Vec<String> {
        hidden.iter().filter_map(|path| self.add(JsonPath::Pointer(path)).err()).collect()
    }

    /// Adds the next cell. The error is the problem with its path.
    fn add(&mut self, path: JsonPath<'_>) -> Result<(), String> {
        let cell = self.cells;
        self.cells += 1;
        let path = match path {
            JsonPath::Pointer(path) => path,
            JsonPath::Query(_) => return Err("jsonpath is not supported yet; use path".to_owned()),
        };
        let steps = pointer_steps(path).ok_or_else(|| {
            format!("path = {path:?} is not a JSON Pointer; an example: \"/httpRequest/clientIp\"")
        })?;
        if steps.len() > MAX_STEPS {
            return Err(format!("path has more than {MAX_STEPS} steps; use a shorter path"));
        }
        self.root.at(steps).columns.push(cell);
        Ok(())
    }

    pub(super) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Reads the columns. With `can_repair`, a NUL or a lone surrogate in a value is replaced; otherwise it is a reject.
    pub(super) fn parse(&self, message: &[u8], can_repair: bool, values: &mut Values) -> Result<(), Reason> {
        let message = std::str::from_utf8(message).map_err(|_| Reason::BadEncoding)?;
        let message = message.trim_matches([' ', '\t', '\n', '\r']);
        if !message.starts_with('{') {
            return Err(Reason::NotJson);
        }
        match self.read(message, can_repair, false, values) {
            // One of its keys may be half a surrogate pair.
            Err(Reason::NotJson) => self.read(message, can_repair, true, values),
            outcome => outcome,
        }
    }

    fn read(
        &self,
        message: &str,
        can_repair: bool,
        raw_keys: bool,
        values: &mut Values,
    ) -> Result<(), Reason> {
        values.cells.clear();
        values.cells.resize(self.cells, None);
        values.text.clear();
        values.repaired = false;
        values.seen.clear();
        let mut found = Found { message, values, can_repair, raw_keys, fault: None };
        let mut json = serde_json::Deserializer::from_str(message);
        let root = Read { node: &self.root, child: None, found: &mut found };
        // Only a column for the whole message needs it as raw text.
        let outcome = if self.root.columns.is_empty() {
            json.deserialize_map(root)
        } else {
            root.deserialize(&mut json)
        };
        let outcome = outcome.and_then(|()| json.end());
        match (outcome, found.fault) {
            (Err(_), _) => Err(Reason::NotJson),
            (Ok(()), Some(reason)) => Err(reason),
            (Ok(()), None) => Ok(()),
        }
    }
}

/// Returns a pointer's reference tokens; `None` if it is not a pointer.
pub(crate) fn pointer_steps(path: &str) -> Option<Vec<String>> {
    if path.is_empty() {
        return Some(Vec::new());
    }
    let step = |token: &str| {
        let rest = token.replace("~0", "").replace("~1", "");
        (!rest.contains('~')).then(|| token.replace("~1", "/").replace("~0", "~"))
    };
    path.strip_prefix('/')?.split('/').map(step).collect()
}

impl Node {
    fn at(&mut self, steps: Vec<String>) -> &mut Self {
        let mut node = self;
        for step in steps {
            let position = node.child(&step).unwrap_or_else(|| {
                let index = step.parse().ok().filter(|index: &usize| index.to_string() == step);
                node.children.push(Child { name: step, index, node: Self::default() });
                node.children.len() - 1
            });
            node = &mut node.children[position].node;
        }
        node
    }

    fn child(&self, name: &str) -> Option<usize> {
        self.children.iter().position(|child| child.name == name)
    }
}

struct Found<'v> {
    message: &'v str,
    values: &'v mut Values,
    can_repair: bool,
    /// Reads keys without decoding them. It is slower, and finds keys that are not valid text.
    raw_keys: bool,
    fault: Option<Reason>,
}

impl Found<'_> {
    /// Stores a value: strings unescaped, null as absent, other values as compact JSON text.
    fn take(&mut self, columns: &[usize], raw: &str) {
        if raw == "null" {
            return;
        }
        let text = &mut self.values.text;
        let start = text.len();
        if start > MAX_ROW_BYTES {
            self.fault = self.fault.or(Some(Reason::TooLong));
            return;
        }
        match raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) {
            Some(string) => {
                let raw = string.as_bytes();
                if !json_text::unescape(raw, text) || !json_text::is_text(&text[start..]) {
                    text.truncate(start);
                    self.values.repaired = true;
                    if !self.can_repair || !json_text::unescape_repaired(raw, text) {
                        self.fault = self.fault.or(Some(Reason::BadEncoding));
                    }
                }
            }
            None => compact(raw.as_bytes(), text),
        }
        let cell = Some((start as u32, text.len() as u32));
        for column in columns {
            self.values.cells[*column] = cell;
        }
    }
}

impl Found<'_> {
    /// Returns whether this is the first value of a child, and remembers it. A later value must be equal.
    fn is_first(&mut self, child: usize, raw: &str) -> bool {
        // `raw` is a slice of the message.
        let start = raw.as_ptr().addr() - self.message.as_ptr().addr();
        let Some((first, end)) = self.values.seen[child] else {
            self.values.seen[child] = Some((start as u32, (start + raw.len()) as u32));
            return true;
        };
        let first = &self.message[first as usize..end as usize];
        if !is_same(first, raw) {
            self.fault = Some(Reason::DuplicateKey);
        }
        false
    }
}

/// Returns whether two JSON values are equal except for white space and the escapes of a string.
fn is_same(one: &str, other: &str) -> bool {
    let without_space = |raw: &str| {
        let mut text = Vec::new();
        compact(raw.as_bytes(), &mut text);
        text
    };
    json_text::same_value(one.as_bytes(), other.as_bytes()) || without_space(one) == without_space(other)
}

/// Appends JSON text without the white space outside its strings.
pub(crate) fn compact(raw: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while at < raw.len() {
        match raw[at] {
            b'"' => {
                let end = json_text::scan(raw, at + 1).map_or(raw.len(), |text| text.end + 1);
                out.extend_from_slice(&raw[at..end]);
                at = end;
                continue;
            }
            b' ' | b'\t' | b'\n' | b'\r' => {}
            byte => out.push(byte),
        }
        at += 1;
    }
}

/// Reads a value along a node of the tree.
struct Read<'n, 'f, 'v> {
    node: &'n Node,
    /// Its position in [`Values::seen`], if it is a member of an object.
    child: Option<usize>,
    found: &'f mut Found<'v>,
}

impl<'de> DeserializeSeed<'de> for Read<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let raw = <&RawValue as serde::Deserialize>::deserialize(deserializer)?.get();
        if let Some(child) = self.child
            && !self.found.is_first(child, raw)
        {
            return Ok(());
        }
        if !self.node.columns.is_empty() {
            self.found.take(&self.node.columns, raw);
        }
        // Other values have no children. They may even be invalid for the decoder, for example 1e999.
        if self.node.children.is_empty() || !raw.starts_with(['{', '[']) {
            return Ok(());
        }
        serde_json::Deserializer::from_str(raw).deserialize_any(self).map_err(D::Error::custom)
    }
}

impl<'de> Visitor<'de> for Read<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let seen = self.found.values.seen.len();
        self.found.values.seen.resize(seen + self.node.children.len(), None);
        while let Some(child) =
            map.next_key_seed(ChildOf { node: self.node, raw_keys: self.found.raw_keys })?
        {
            let Some(child) = child else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let node = &self.node.children[child].node;
            map.next_value_seed(Read { node, child: Some(seen + child), found: self.found })?;
        }
        self.found.values.seen.truncate(seen);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        for index in 0_usize.. {
            let more = match self.node.children.iter().find(|child| child.index == Some(index)) {
                Some(child) => {
                    let read = Read { node: &child.node, child: None, found: self.found };
                    elements.next_element_seed(read)?.is_some()
                }
                None => elements.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
        }
        Ok(())
    }
}

/// Reads a key as the position of its child.
struct ChildOf<'n> {
    node: &'n Node,
    raw_keys: bool,
}

impl<'de> DeserializeSeed<'de> for ChildOf<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.raw_keys {
            let raw = <&RawValue as serde::Deserialize>::deserialize(deserializer)?.get();
            return Ok(serde_json::from_str::<String>(raw).ok().and_then(|name| self.node.child(&name)));
        }
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for ChildOf<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.node.child(name))
    }
}

#[cfg(test)]
mod tests {
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
}
