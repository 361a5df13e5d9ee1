//! The reader as `serde_json` does it: slower, and much shorter. Tests compare both.

use std::fmt;

use serde::{
    Deserializer,
    de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::pointer_steps;
use crate::{error::Reason, limits::MAX_ROW_BYTES, pipeline::json_text};

/// Values by position of their pointer. `None`: absent.
pub(super) type Cells = Vec<Option<Vec<u8>>>;

/// Reads the values of pointers, and whether invalid text was replaced.
pub(super) fn read(pointers: &[&str], message: &[u8], can_repair: bool) -> Result<(Cells, bool), Reason> {
    let mut root = Node::default();
    for (at, pointer) in pointers.iter().enumerate() {
        root.at(pointer_steps(pointer).unwrap()).columns.push(at);
    }
    let message = std::str::from_utf8(message).map_err(|_| Reason::BadEncoding)?;
    let message = message.trim_matches([' ', '\t', '\n', '\r']);
    if !message.starts_with('{') {
        return Err(Reason::NotJson);
    }
    let cells = vec![None; pointers.len()];
    let mut found =
        Found { message, cells, bytes: 0, is_repaired: false, can_repair, seen: Vec::new(), fault: None };
    let mut json = serde_json::Deserializer::from_str(message);
    let outcome = Read { node: &root, child: None, found: &mut found }.deserialize(&mut json);
    let outcome = outcome.and_then(|()| json.end());
    match (outcome, found.fault) {
        (Err(_), _) => Err(Reason::NotJson),
        (Ok(()), Some(reason)) => Err(reason),
        (Ok(()), None) => Ok((found.cells, found.is_repaired)),
    }
}

#[derive(Default)]
struct Node {
    columns: Vec<usize>,
    children: Vec<(String, Node)>,
}

impl Node {
    fn at(&mut self, steps: Vec<String>) -> &mut Self {
        let mut node = self;
        for step in steps {
            let position = node.child(&step).unwrap_or_else(|| {
                node.children.push((step, Self::default()));
                node.children.len() - 1
            });
            node = &mut node.children[position].1;
        }
        node
    }

    fn child(&self, name: &str) -> Option<usize> {
        self.children.iter().position(|(child, _)| child == name)
    }
}

struct Found<'m> {
    message: &'m str,
    cells: Cells,
    bytes: usize,
    is_repaired: bool,
    can_repair: bool,
    /// For each child of the nodes on the current path: the position of its first value in the message.
    seen: Vec<Option<(usize, usize)>>,
    fault: Option<Reason>,
}

impl Found<'_> {
    fn take(&mut self, columns: &[usize], raw: &str) {
        if raw == "null" {
            return;
        }
        if self.bytes > MAX_ROW_BYTES {
            self.fault = self.fault.or(Some(Reason::TooLong));
            return;
        }
        let mut text = Vec::new();
        match raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) {
            Some(content) => match serde_json::from_str::<String>(raw) {
                Ok(value) if !value.contains('\0') => text = value.into_bytes(),
                _ => {
                    self.is_repaired = true;
                    if !self.can_repair || !json_text::unescape_repaired(content.as_bytes(), &mut text) {
                        self.fault = self.fault.or(Some(Reason::BadEncoding));
                    }
                }
            },
            None => text = compact(raw),
        }
        self.bytes += text.len();
        for column in columns {
            self.cells[*column] = Some(text.clone());
        }
    }

    /// Returns whether this is the first value of a child, and remembers it.
    fn is_first(&mut self, child: usize, raw: &str) -> bool {
        let start = raw.as_ptr().addr() - self.message.as_ptr().addr();
        let Some((first, end)) = self.seen[child] else {
            self.seen[child] = Some((start, start + raw.len()));
            return true;
        };
        let first = &self.message[first..end];
        let value = |raw: &str| serde_json::from_str::<String>(raw).ok();
        let is_same = compact(first) == compact(raw) || value(first).is_some() && value(first) == value(raw);
        if !is_same {
            self.fault = Some(Reason::DuplicateKey);
        }
        false
    }
}

fn compact(raw: &str) -> Vec<u8> {
    let (mut in_string, mut after_backslash) = (false, false);
    let keeps = |byte: &u8| {
        let is_space = !in_string && matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        match byte {
            _ if after_backslash => after_backslash = false,
            b'\\' => after_backslash = true,
            b'"' => in_string = !in_string,
            _ => {}
        }
        !is_space
    };
    raw.bytes().filter(keeps).collect()
}

struct Read<'n, 'f, 'm> {
    node: &'n Node,
    /// Its position in `seen`, if it is a member of an object.
    child: Option<usize>,
    found: &'f mut Found<'m>,
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
        let seen = self.found.seen.len();
        self.found.seen.resize(seen + self.node.children.len(), None);
        // A key that is half a surrogate pair is no text, so it is read raw.
        while let Some(key) = map.next_key::<&RawValue>()? {
            let name = serde_json::from_str::<String>(key.get()).ok();
            let Some(child) = name.and_then(|name| self.node.child(&name)) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let node = &self.node.children[child].1;
            map.next_value_seed(Read { node, child: Some(seen + child), found: self.found })?;
        }
        self.found.seen.truncate(seen);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        for index in 0_usize.. {
            let more = match self.node.child(&index.to_string()) {
                Some(child) => {
                    let read = Read { node: &self.node.children[child].1, child: None, found: self.found };
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
