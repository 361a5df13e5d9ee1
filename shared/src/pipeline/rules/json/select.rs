//! Evaluates a JSONPath query on the text of a JSON value, in document order, up to its first node.
//!
//! Nothing is kept for each value, so memory does not grow. Values are scanned again for each segment that passes them; the
//! bytes that one query may scan are limited.

use std::borrow::Cow;

use super::{
    pattern::Pattern,
    query::{Filter, Operand, Operator, Path, Query, Segment, Selector},
    read,
    scan::{Scan, closer_of},
};
use crate::pipeline::json_text;

/// Maximum bytes that a query scans, in lengths of the message. A query without `..` scans each byte a few times; `..` scans it
/// once for each level around it.
const MAX_PASSES: usize = 64;
/// Maximum depth of values that `..` visits. Each level is a nested call.
const MAX_DEPTH: usize = 128;
/// Work that is always possible, for short messages.
const MIN_WORK: usize = 1 << 16;

/// Start and end of a value in the message.
type Span = (usize, usize);

/// Why an evaluation stopped before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Halt {
    /// The message is not JSON. Only possible after the value at which the query begins.
    NotJson,
    /// A key that the query selects is given twice with different values.
    DuplicateKey,
    /// More work or depth than a query may use.
    TooMuch,
}

/// The nodes that a query has selected so far.
#[derive(Debug)]
struct Nodes {
    first: Option<Span>,
    count: usize,
    /// The number of nodes after which the evaluation stops.
    enough: usize,
}

impl Nodes {
    fn up_to(enough: usize) -> Self {
        Self { first: None, count: 0, enough }
    }

    fn is_enough(&self) -> bool {
        self.count >= self.enough
    }

    /// Returns the only node.
    fn only(&self) -> Option<Span> {
        self.first.filter(|_| self.count == 1)
    }
}

/// The children of a container that are still to come.
#[derive(Debug)]
struct Children {
    at: usize,
    closer: u8,
    is_first: bool,
}

#[derive(Debug)]
struct Child {
    /// Start and end of the key's raw content, and whether it has escapes.
    key: Option<(Span, bool)>,
    value: Span,
}

/// The value of an operand.
#[derive(Debug, PartialEq)]
enum Value<'t> {
    Nothing,
    Null,
    Bool(bool),
    Number(f64),
    Text(Cow<'t, [u8]>),
    /// An array or object.
    Container(&'t [u8]),
}

#[derive(Debug)]
pub(super) struct Select<'s, 't> {
    scan: &'s mut Scan<'t>,
    /// Bytes that may still be scanned.
    work: usize,
}

impl<'s, 't> Select<'s, 't> {
    /// Begins an evaluation on the text of a scan.
    pub(super) fn new(scan: &'s mut Scan<'t>) -> Self {
        let work = MIN_WORK.max(scan.text.len().saturating_mul(MAX_PASSES));
        Self { scan, work }
    }

    /// Returns the first node of a query that begins at a value.
    pub(super) fn first(mut self, query: &Query, value: Span) -> Result<Option<Span>, Halt> {
        let mut nodes = Nodes::up_to(1);
        self.nodes(&query.segments, value, &mut nodes)?;
        Ok(nodes.first)
    }

    fn nodes(&mut self, segments: &[Segment], value: Span, nodes: &mut Nodes) -> Result<(), Halt> {
        let Some((segment, rest)) = segments.split_first() else {
            nodes.first = nodes.first.or(Some(value));
            nodes.count += 1;
            return Ok(());
        };
        if segment.is_descendant {
            return self.descend(segment, rest, value, nodes, 0);
        }
        self.apply(segment, rest, value, nodes)
    }

    /// Applies a segment to a value and its descendants. A value comes before its children.
    fn descend(
        &mut self,
        segment: &Segment,
        rest: &[Segment],
        value: Span,
        nodes: &mut Nodes,
        depth: usize,
    ) -> Result<(), Halt> {
        let Some(mut children) = self.children(value) else { return Ok(()) };
        if depth == MAX_DEPTH {
            return Err(Halt::TooMuch);
        }
        self.apply(segment, rest, value, nodes)?;
        while !nodes.is_enough()
            && let Some(child) = self.next(&mut children)?
        {
            self.descend(segment, rest, child.value, nodes, depth + 1)?;
        }
        Ok(())
    }

    /// Applies the selectors of a segment to the children of a value.
    fn apply(
        &mut self,
        segment: &Segment,
        rest: &[Segment],
        value: Span,
        nodes: &mut Nodes,
    ) -> Result<(), Halt> {
        for selector in &segment.selectors {
            if nodes.is_enough() {
                return Ok(());
            }
            match selector {
                Selector::Name(name) => {
                    if let Some(child) = self.member(value, name.as_bytes())? {
                        self.nodes(rest, child, nodes)?;
                    }
                }
                Selector::Index(index) => {
                    if let Some(child) = self.element(value, *index)? {
                        self.nodes(rest, child, nodes)?;
                    }
                }
                Selector::Slice { start, end, step } => {
                    self.slice((*start, *end, *step), rest, value, nodes)?;
                }
                Selector::Wildcard | Selector::Filter(_) => {
                    let Some(mut children) = self.children(value) else { continue };
                    while !nodes.is_enough()
                        && let Some(child) = self.next(&mut children)?
                    {
                        let fits = match selector {
                            Selector::Filter(filter) => self.fits(filter, child.value)?,
                            _ => true,
                        };
                        if fits {
                            self.nodes(rest, child.value, nodes)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the children of a value, if it is an object or array.
    fn children(&self, (start, _): Span) -> Option<Children> {
        let bracket = self.scan.byte(start).filter(|byte| matches!(byte, b'{' | b'['))?;
        Some(Children { at: start + 1, closer: closer_of(bracket), is_first: true })
    }

    fn elements(&self, value: Span) -> Option<Children> {
        self.children(value).filter(|children| children.closer == b']')
    }

    fn next(&mut self, children: &mut Children) -> Result<Option<Child>, Halt> {
        let from = children.at;
        let child = self.scan_child(children).ok_or(Halt::NotJson)?;
        self.work = self.work.checked_sub(children.at - from).ok_or(Halt::TooMuch)?;
        Ok(child)
    }

    fn scan_child(&mut self, children: &mut Children) -> Option<Option<Child>> {
        let scan = &mut *self.scan;
        let mut next = scan.token(children.at)?;
        if next.0 == children.closer {
            children.at = next.1 + 1;
            return Some(None);
        }
        if !std::mem::take(&mut children.is_first) {
            let (b',', at) = next else { return None };
            next = scan.token(at + 1)?;
        }
        let mut key = None;
        if children.closer == b'}' {
            let (b'"', at) = next else { return None };
            let (end, has_escapes) = scan.string(at + 1)?;
            key = Some(((at + 1, end), has_escapes));
            next = scan.colon(end + 1)?;
        }
        children.at = scan.value(next)?.at;
        Some(Some(Child { key, value: (next.1, children.at) }))
    }

    /// Returns the value of a key of an object.
    fn member(&mut self, value: Span, name: &[u8]) -> Result<Option<Span>, Halt> {
        let Some(mut children) = self.children(value) else { return Ok(None) };
        let mut found: Option<Span> = None;
        while let Some(Child { key, value }) = self.next(&mut children)? {
            let Some(((start, end), has_escapes)) = key else { return Ok(None) };
            let raw = &self.scan.text[start..end];
            if !(raw == name || has_escapes && json_text::has_value(raw, name)) {
                continue;
            }
            let text = |(start, end): Span| &self.scan.text[start..end];
            match found {
                Some(first) if !read::is_same(text(first), text(value)) => return Err(Halt::DuplicateKey),
                Some(_) => {}
                None => found = Some(value),
            }
        }
        Ok(found)
    }

    /// Returns an element of an array. A negative index counts from the end.
    fn element(&mut self, value: Span, index: i64) -> Result<Option<Span>, Halt> {
        let index = if index < 0 { self.length(value)? + index } else { index };
        let Some(mut children) = self.elements(value).filter(|_| index >= 0) else { return Ok(None) };
        for _ in 0..index {
            if self.next(&mut children)?.is_none() {
                return Ok(None);
            }
        }
        Ok(self.next(&mut children)?.map(|child| child.value))
    }

    /// Returns the number of children of a value.
    fn length(&mut self, value: Span) -> Result<i64, Halt> {
        let Some(mut children) = self.children(value) else { return Ok(0) };
        let mut length = 0;
        while self.next(&mut children)?.is_some() {
            length += 1;
        }
        Ok(length)
    }

    /// Applies a slice (RFC 9535 section 2.3.4.2.2).
    fn slice(
        &mut self,
        (start, end, step): (Option<i64>, Option<i64>, i64),
        rest: &[Segment],
        value: Span,
        nodes: &mut Nodes,
    ) -> Result<(), Halt> {
        if step == 0 || self.elements(value).is_none() {
            return Ok(());
        }
        let length = self.length(value)?;
        let from_end = |index: i64| if index < 0 { length + index } else { index };
        if step > 0 {
            let start = from_end(start.unwrap_or(0)).clamp(0, length);
            let end = from_end(end.unwrap_or(length)).clamp(0, length);
            let Some(mut children) = self.elements(value) else { return Ok(()) };
            for index in 0..end {
                let Some(child) = self.next(&mut children)? else { return Ok(()) };
                if index >= start && (index - start) % step == 0 {
                    self.nodes(rest, child.value, nodes)?;
                    if nodes.is_enough() {
                        return Ok(());
                    }
                }
            }
            return Ok(());
        }
        let start = start.map_or(length - 1, from_end).clamp(-1, length - 1);
        let end = end.map_or(-1, from_end).clamp(-1, length - 1);
        let mut index = start;
        while index > end && !nodes.is_enough() {
            if let Some(child) = self.element(value, index)? {
                self.nodes(rest, child, nodes)?;
            }
            index = index.saturating_add(step);
        }
        Ok(())
    }

    fn fits(&mut self, filter: &Filter, value: Span) -> Result<bool, Halt> {
        match filter {
            Filter::Or(filters) => {
                for filter in filters {
                    if self.fits(filter, value)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Filter::And(filters) => {
                for filter in filters {
                    if !self.fits(filter, value)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Filter::Not(filter) => Ok(!self.fits(filter, value)?),
            Filter::Exists(path) => Ok(self.path(path, value, 1)?.count > 0),
            Filter::Matches(operand, pattern) => self.matches(operand, pattern, value),
            Filter::Compare(left, operator, right) => {
                let (left, right) = (self.operand(left, value)?, self.operand(right, value)?);
                if let (Value::Container(one), Value::Container(other)) = (&left, &right) {
                    // Both are parsed as trees.
                    self.charge(one.len() + other.len())?;
                }
                Ok(compare(&left, *operator, &right))
            }
        }
    }

    fn charge(&mut self, bytes: usize) -> Result<(), Halt> {
        self.work = self.work.checked_sub(bytes).ok_or(Halt::TooMuch)?;
        Ok(())
    }

    fn matches(&mut self, operand: &Operand, pattern: &Pattern, value: Span) -> Result<bool, Halt> {
        match self.operand(operand, value)? {
            Value::Text(text) => {
                self.charge(text.len())?;
                Ok(pattern.is_match(&text))
            }
            _ => Ok(false),
        }
    }

    fn path(&mut self, path: &Path, value: Span, enough: usize) -> Result<Nodes, Halt> {
        let from = if path.is_absolute { (0, self.scan.text.len()) } else { value };
        let mut nodes = Nodes::up_to(enough);
        self.nodes(&path.segments, from, &mut nodes)?;
        Ok(nodes)
    }

    fn operand<'a>(&mut self, operand: &'a Operand, value: Span) -> Result<Value<'a>, Halt>
    where
        't: 'a,
    {
        Ok(match operand {
            Operand::Null => Value::Null,
            Operand::Bool(value) => Value::Bool(*value),
            Operand::Number(number) => Value::Number(*number),
            Operand::Text(text) => Value::Text(text.as_bytes().into()),
            Operand::Value(path) => match self.path(path, value, 2)?.only() {
                Some((start, end)) => parse(&self.scan.text[start..end]),
                None => Value::Nothing,
            },
            Operand::Count(path) => Value::Number(self.path(path, value, usize::MAX)?.count as f64),
            Operand::Length(operand) => match self.operand(operand, value)? {
                Value::Text(text) => match std::str::from_utf8(&text) {
                    Ok(text) => Value::Number(text.chars().count() as f64),
                    Err(_) => Value::Nothing,
                },
                Value::Container(raw) => {
                    let start = raw.as_ptr().addr() - self.scan.text.as_ptr().addr();
                    Value::Number(self.length((start, start + raw.len()))? as f64)
                }
                _ => Value::Nothing,
            },
        })
    }
}

/// Returns the value of a JSON text. Text that is not valid is repaired.
fn parse(raw: &[u8]) -> Value<'_> {
    match raw {
        b"null" => Value::Null,
        b"true" => Value::Bool(true),
        b"false" => Value::Bool(false),
        [b'"', content @ .., b'"'] if memchr::memchr(b'\\', content).is_none() => Value::Text(content.into()),
        [b'"', content @ .., b'"'] => {
            json_text::value(content).map_or(Value::Nothing, |text| Value::Text(text.into()))
        }
        [b'{' | b'[', ..] => Value::Container(raw),
        _ => number(raw).map_or(Value::Nothing, Value::Number),
    }
}

/// Numbers are compared as 64-bit floating-point numbers (RFC 9535 section 2.3.5.2.2, RFC 8259 section 6).
fn number(raw: &[u8]) -> Option<f64> {
    std::str::from_utf8(raw).ok()?.parse().ok()
}

fn compare(left: &Value<'_>, operator: Operator, right: &Value<'_>) -> bool {
    match operator {
        Operator::Equal => is_equal(left, right),
        Operator::NotEqual => !is_equal(left, right),
        Operator::Less => is_less(left, right),
        Operator::LessOrEqual => is_less(left, right) || is_equal(left, right),
        Operator::Greater => is_less(right, left),
        Operator::GreaterOrEqual => is_less(right, left) || is_equal(left, right),
    }
}

fn is_less(left: &Value<'_>, right: &Value<'_>) -> bool {
    match (left, right) {
        (Value::Number(one), Value::Number(other)) => one < other,
        // The order of UTF-8 is that of the characters.
        (Value::Text(one), Value::Text(other)) => one < other,
        _ => false,
    }
}

fn is_equal(left: &Value<'_>, right: &Value<'_>) -> bool {
    let (Value::Container(one), Value::Container(other)) = (left, right) else { return left == right };
    let parse = |raw: &[u8]| serde_json::from_slice(raw).ok();
    matches!((parse(one), parse(other)), (Some(one), Some(other)) if is_same_tree(&one, &other))
}

fn is_same_tree(one: &serde_json::Value, other: &serde_json::Value) -> bool {
    use serde_json::Value::{Array, Number, Object};
    match (one, other) {
        (Number(one), Number(other)) => one.as_f64() == other.as_f64(),
        (Array(one), Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_same_tree(one, other))
        }
        (Object(one), Object(other)) => {
            let is_same_member = |(key, one): (&String, &serde_json::Value)| {
                other.get(key).is_some_and(|other| is_same_tree(one, other))
            };
            one.len() == other.len() && one.iter().all(is_same_member)
        }
        (one, other) => one == other,
    }
}
