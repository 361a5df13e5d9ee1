//! The members of a sample's JSON objects: how often each is present, and which types fit all of its values.

use std::{cmp::Reverse, collections::HashMap, fmt};

use flowherd_shared::table::ColumnType;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{names::Columns, values::Values};

/// Levels of objects whose members become columns of their own. Deeper objects are columns with JSON text.
const MAX_LEVELS: usize = 3;
/// Members of one object, over all records. An object with more is a map whose keys are data, and stays JSON text. The
/// record itself may have more.
const MAX_MEMBERS: usize = 100;
/// Members of all objects together.
pub(super) const MAX_NODES: usize = 1000;
/// Members that become columns if the records have more than [`MAX_NODES`], because then some keys are probably data.
const MAX_MEMBERS_OF_MAP: usize = 100;
/// Maximum bytes of a member's pointer, and so of its name.
const MAX_POINTER_BYTES: usize = 1024;
/// Names of members that hold the time of a record, best first. Compared without case, `_`, `-` and `@`.
const TIME_NAMES: [&str; 10] = [
    "timestamp",
    "time",
    "eventtime",
    "ts",
    "datetime",
    "eventtimestamp",
    "logtimestamp",
    "logtime",
    "createdat",
    "date",
];

/// The members of the objects that were read.
#[derive(Clone, Debug, Default)]
pub(super) struct JsonShape {
    root: Node,
    objects: u64,
    nodes: usize,
}

/// One member, by the values that it has.
#[derive(Clone, Debug, Default)]
struct Node {
    name: String,
    /// Values that are not null.
    present: u64,
    objects: u64,
    arrays: u64,
    values: Values,
    /// In the order of first appearance.
    members: Vec<Self>,
    /// The position of each member by name.
    positions: HashMap<String, usize>,
    /// Has more members than the limit.
    is_map: bool,
}

/// A column of a JSON rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct JsonColumn {
    pub(super) name: String,
    pub(super) pointer: String,
    pub(super) kind: ColumnType,
}

/// A member that may be the time of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TimeMember {
    pub(super) pointer: String,
    pub(super) unit: &'static str,
}

impl JsonShape {
    /// Adds a message. Returns false if it is not one JSON object.
    pub(super) fn add(&mut self, message: &str) -> bool {
        if !message.trim_start().starts_with('{') {
            return false;
        }
        // A truncated message must not add members.
        if serde_json::from_str::<IgnoredAny>(message).is_err() {
            return false;
        }
        let mut json = serde_json::Deserializer::from_str(message);
        let read = Reader { node: &mut self.root, level: 0, nodes: &mut self.nodes }.deserialize(&mut json);
        self.objects += u64::from(read.is_ok());
        read.is_ok()
    }

    /// Returns the columns: each scalar, array and deep object.
    pub(super) fn columns(&self) -> Vec<JsonColumn> {
        let mut names = Columns::default();
        let mut columns = Vec::new();
        self.leaves(&mut |pointer, path, node| {
            columns.push(JsonColumn {
                name: names.name(path),
                pointer: pointer.to_owned(),
                kind: node.column_type(),
            });
        });
        columns
    }

    /// Returns the member that is clearly the time of each object, and all that may be.
    pub(super) fn times(&self) -> (Option<TimeMember>, Vec<TimeMember>) {
        let mut found: Vec<(usize, usize, TimeMember)> = Vec::new();
        let mut possible = Vec::new();
        self.leaves(&mut |pointer, _, node| {
            let is_in_all = node.present == self.objects && node.objects + node.arrays == 0;
            let Some(unit) = node.values.time_unit().filter(|_| is_in_all) else { return };
            let time = TimeMember { pointer: pointer.to_owned(), unit };
            let name: String = node.name.chars().filter(char::is_ascii_alphanumeric).collect();
            let rank = TIME_NAMES.iter().position(|known| name.eq_ignore_ascii_case(known));
            if let Some(rank) = rank {
                found.push((pointer.matches('/').count(), rank, time.clone()));
            }
            possible.push(time);
        });
        found.sort_by_key(|(level, rank, _)| (*level, *rank));
        (found.into_iter().next().map(|(_, _, time)| time), possible)
    }

    /// Returns how much the members of two shapes agree: 1 if all are the same, 0 if none is.
    pub(super) fn similarity(&self, other: &Self) -> f64 {
        let pointers = |shape: &Self| {
            let mut pointers = std::collections::BTreeSet::new();
            shape.leaves(&mut |pointer, _, _| _ = pointers.insert(pointer.to_owned()));
            pointers
        };
        let (own, others) = (pointers(self), pointers(other));
        let common = own.intersection(&others).count();
        let all = own.len() + others.len() - common;
        if all == 0 { 0.0 } else { common as f64 / all as f64 }
    }

    /// Returns whether the records have more members than it counts.
    pub(super) fn has_more_members(&self) -> bool {
        self.root.is_map
    }

    /// Calls `each` with the pointer, the readable path and the node of each column. If the records have too many members, only
    /// those count that are in the most records.
    fn leaves(&self, each: &mut impl FnMut(&str, &str, &Node)) {
        let members = &self.root.members;
        let mut chosen: Vec<usize> = (0..members.len()).collect();
        if self.has_more_members() {
            chosen.sort_by_key(|at| Reverse(members[*at].present));
            chosen.truncate(MAX_MEMBERS_OF_MAP);
            chosen.sort_unstable();
        }
        chosen.into_iter().for_each(|at| members[at].leaves("", "", 1, each));
    }
}

impl Node {
    /// Calls `each` for this member, or for its members if these are columns. `pointer` and `path` are those of its object.
    fn leaves(&self, pointer: &str, path: &str, level: usize, each: &mut impl FnMut(&str, &str, &Self)) {
        let pointer = format!("{pointer}/{}", self.name.replace('~', "~0").replace('/', "~1"));
        if pointer.len() > MAX_POINTER_BYTES {
            return;
        }
        let path = if path.is_empty() { self.name.clone() } else { format!("{path}.{}", self.name) };
        if self.has_columns(level) {
            self.members.iter().for_each(|member| member.leaves(&pointer, &path, level + 1, each));
        } else {
            each(&pointer, &path, self);
        }
    }

    /// Returns whether its members are columns instead of itself.
    fn has_columns(&self, level: usize) -> bool {
        let is_object = self.objects > 0 && self.objects == self.present;
        is_object && level < MAX_LEVELS && !self.is_map && !self.members.is_empty()
    }

    fn column_type(&self) -> ColumnType {
        if self.objects + self.arrays > 0 { ColumnType::String } else { self.values.column_type() }
    }

    /// Returns the member of this name, or `None` if there are too many.
    fn member(&mut self, name: String, limit: usize, nodes: &mut usize) -> Option<&mut Self> {
        if let Some(at) = self.positions.get(&name) {
            return self.members.get_mut(*at);
        }
        if self.is_map || self.members.len() == limit || *nodes == MAX_NODES {
            self.is_map = true;
            return None;
        }
        *nodes += 1;
        self.positions.insert(name.clone(), self.members.len());
        self.members.push(Self { name, ..Self::default() });
        self.members.last_mut()
    }
}

/// Reads one value into a node.
struct Reader<'a> {
    node: &'a mut Node,
    level: usize,
    nodes: &'a mut usize,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        self.node.present += 1;
        self.node.values.add_boolean();
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        self.node.present += 1;
        self.node.values.add_integer(value);
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        self.node.present += 1;
        match i64::try_from(value) {
            Ok(value) => self.node.values.add_integer(value),
            Err(_) => self.node.values.add_other(),
        }
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        self.node.present += 1;
        self.node.values.add_double(value);
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        self.node.present += 1;
        self.node.values.add_string(value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        self.node.present += 1;
        self.node.arrays += 1;
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let Self { node, level, nodes } = self;
        node.present += 1;
        node.objects += 1;
        let limit = if level == 0 { MAX_NODES } else { MAX_MEMBERS };
        while let Some(name) = members.next_key::<String>()? {
            let member = if level < MAX_LEVELS { node.member(name, limit, nodes) } else { None };
            match member {
                Some(node) => members.next_value_seed(Reader { node, level: level + 1, nodes })?,
                None => _ = members.next_value::<IgnoredAny>()?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(messages: &[&str]) -> JsonShape {
        let mut shape = JsonShape::default();
        messages.iter().for_each(|message| assert!(shape.add(message), "{message}"));
        shape
    }

    fn columns(messages: &[&str]) -> String {
        let columns = shape(messages).columns().into_iter();
        columns.map(|column| format!("{} {} {:?}\n", column.name, column.pointer, column.kind)).collect()
    }

    #[test]
    fn members_of_three_levels_are_columns_in_the_order_of_the_log() {
        assert_eq!(
            columns(&[
                r#"{"z":"x","request":{"clientIp":"192.0.2.1","tls":{"v":1,"deep":{"a":1}}},"tags":["a"]}"#,
                r#"{"z":null,"request":{"clientIp":"::1"},"a/b~c":true}"#,
            ]),
            "z /z String\n\
             request_client_ip /request/clientIp String\n\
             request_tls_v /request/tls/v BigInt\n\
             request_tls_deep /request/tls/deep String\n\
             tags /tags String\n\
             a_b_c /a~1b~0c Boolean\n"
        );
    }

    #[test]
    fn a_type_is_given_only_if_every_value_fits() {
        let first =
            r#"{"a":1,"b":1,"c":true,"d":"2026-02-18T00:00:00Z","e":{"x":1},"f":12345678901234567890}"#;
        let second = r#"{"a":2,"b":1.5,"c":"true","d":"yesterday","e":[1],"f":1}"#;
        assert_eq!(
            columns(&[first]),
            "a /a BigInt\nb /b BigInt\nc /c Boolean\nd /d Timestamp\ne_x /e/x BigInt\nf /f String\n"
        );
        assert_eq!(
            columns(&[first, second]),
            "a /a BigInt\nb /b Double\nc /c String\nd /d String\ne /e String\nf /f String\n"
        );
    }

    #[test]
    fn an_object_whose_keys_are_data_is_one_column() {
        let messages: Vec<String> =
            (0..200).map(|id| format!(r#"{{"counts":{{"user{id}":1}},"x":1}}"#)).collect();
        let messages: Vec<&str> = messages.iter().map(String::as_str).collect();
        assert_eq!(columns(&messages), "counts /counts String\nx /x BigInt\n");
    }

    #[test]
    fn records_with_too_many_members_have_columns_for_the_most_frequent_ones() {
        let members: Vec<String> = (0..MAX_NODES).map(|id| format!("\"user{id}\":1")).collect();
        let many = format!("{{{},\"last\":1}}", members.join(","));
        let shape = shape(&[&many, r#"{"user999":1}"#, r#"{"user0":1}"#]);
        assert!(shape.has_more_members());
        let columns = shape.columns();
        assert_eq!(columns.len(), MAX_MEMBERS_OF_MAP);
        let names: Vec<&str> = [0, 1, 99].map(|at| &*columns[at].name).into();
        assert_eq!(names, ["user0", "user1", "user999"]);
    }

    #[test]
    fn the_time_is_a_known_name_that_every_object_has_in_one_unit() {
        let time = |messages: &[&str]| shape(messages).times().0.map(|time| (time.pointer, time.unit));
        let some = |pointer: &str, unit| Some((pointer.to_owned(), unit));
        assert_eq!(time(&[r#"{"id":1771372800000,"timestamp":1771372800000}"#]), some("/timestamp", "ms"));
        assert_eq!(time(&[r#"{"time":1771372800.25}"#]), some("/time", "s"));
        assert_eq!(time(&[r#"{"@timestamp":"2026-02-18T00:00:00.1+01:00"}"#]), some("/@timestamp", "iso"));
        assert_eq!(time(&[r#"{"ts":1771372800,"time":"12:00"}"#]), some("/ts", "s"));
        assert_eq!(time(&[r#"{"log":{"event_time":1771372800000000}}"#]), some("/log/event_time", "us"));
        assert_eq!(time(&[r#"{"time":1771372800}"#, r#"{"time":1771372800000}"#]), None);
        assert_eq!(time(&[r#"{"time":1771372800}"#, "{}"]), None);
        assert_eq!(time(&[r#"{"time":5}"#]), None);
        let (none, possible) = shape(&[r#"{"start":1771372800,"n":1}"#]).times();
        assert_eq!((none, possible.len()), (None, 1));
    }

    #[test]
    fn text_that_is_not_one_object_leaves_no_members() {
        let mut shape = JsonShape::default();
        let deep = format!("{{\"a\":{}", "[".repeat(100_000));
        for text in ["", "x", "[1]", "{\"a\":1", "{\"a\":1} x", "{\"a\":1}{\"b\":1}", &deep] {
            assert!(!shape.add(text));
        }
        assert_eq!(shape.columns(), []);
    }

    #[test]
    fn similarity_counts_common_members() {
        let one = shape(&[r#"{"a":1,"b":1}"#]);
        assert!((one.similarity(&shape(&[r#"{"b":1,"a":2}"#])) - 1.0).abs() < f64::EPSILON);
        assert!((one.similarity(&shape(&[r#"{"c":1}"#]))).abs() < f64::EPSILON);
    }
}
