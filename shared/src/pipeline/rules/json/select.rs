//! Evaluates a JSONPath query on a tape, in document order, up to its first node.

use std::borrow::Cow;

use super::{
    operand::{Value, is_less, number},
    pattern::Pattern,
    query::{Filter, Operand, Operator, Path, Query, Segment, Selector},
    tape::{At, Tape},
    value,
};
use crate::pipeline::{json_input::JsonInput, json_text};

/// Maximum visits of values by one query, for each value of the tape. A query without `..` visits each value a few times; `..`
/// visits it once for each level around it.
const MAX_VISITS: usize = 64;
/// Bytes of a text, number or key that count as one visit when a filter reads them. A regular expression needs as long for them as a
/// visit.
const BYTES_OF_VISIT: usize = 8;
/// Maximum times that one query reads each byte. A filter of 1,024 bytes has fewer comparisons, so only `..` and absolute paths
/// exceed it.
const MAX_READS: usize = 128;
/// Visits that are always possible, for short messages.
const MIN_VISITS: usize = 1 << 14;
/// Maximum depth of values that `..` visits. Each level is a nested call.
const MAX_DEPTH: usize = 128;

/// Bytes of the longest escape for one byte: `\u0041`.
const MAX_ESCAPE_BYTES: usize = 6;

/// Why an evaluation stopped before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Halt {
    /// A key that the query selects is given twice with different values.
    DuplicateKey,
    /// More visits or depth than a query may use.
    TooMuch,
}

/// The nodes that a query has selected so far.
#[derive(Debug)]
struct Nodes {
    first: Option<At>,
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
    fn only(&self) -> Option<At> {
        self.first.filter(|_| self.count == 1)
    }
}

/// The values in a container that are still to come.
#[derive(Debug)]
struct Children {
    /// The position of the next key or element on the tape.
    at: usize,
    end: usize,
    is_object: bool,
}

#[derive(Debug)]
pub(super) struct Select<'t> {
    text: JsonInput<'t>,
    tape: &'t Tape,
    /// Visits that remain.
    visits: usize,
}

impl<'t> Select<'t> {
    /// Begins an evaluation on a text with its tape.
    pub(super) fn new(text: JsonInput<'t>, tape: &'t Tape) -> Self {
        let bytes = tape.entries.first().map_or(0, |whole| (whole.end - whole.start) as usize);
        let of_values = tape.entries.len().saturating_mul(MAX_VISITS);
        let of_bytes = (bytes / BYTES_OF_VISIT).saturating_mul(MAX_READS);
        Self { text, tape, visits: MIN_VISITS.max(of_values.saturating_add(of_bytes)) }
    }

    /// Returns the first node of a query that begins at the first value of the tape: its start and end.
    pub(super) fn first(mut self, query: &Query) -> Result<Option<(usize, usize)>, Halt> {
        let mut nodes = Nodes::up_to(1);
        self.nodes(&query.segments, 0, &mut nodes)?;
        let span = |at: At| (self.tape.entries[at].start as usize, self.tape.entries[at].end as usize);
        Ok(nodes.first.map(span))
    }

    fn raw(&self, at: At) -> &'t [u8] {
        let entry = self.tape.entries[at];
        &self.text.bytes[entry.start as usize..entry.end as usize]
    }

    /// Returns the text of a value as it is outside of a JSON string.
    fn plain(&self, at: At) -> Cow<'t, [u8]> {
        let entry = self.tape.entries[at];
        self.text.value(entry.start as usize, entry.end as usize)
    }

    /// Counts visits. The error ends the evaluation.
    fn visit(&mut self, count: usize) -> Result<(), Halt> {
        self.visits = self.visits.checked_sub(count).ok_or(Halt::TooMuch)?;
        Ok(())
    }

    /// Counts the bytes of a value or key that is read.
    fn read(&mut self, at: At) -> Result<(), Halt> {
        self.visit(self.raw(at).len() / BYTES_OF_VISIT)
    }

    fn nodes(&mut self, mut segments: &[Segment], mut value: At, nodes: &mut Nodes) -> Result<(), Halt> {
        while let Some((segment, rest)) = segments.split_first() {
            if segment.is_descendant {
                return self.descend(segment, rest, value, nodes, 0);
            }
            let child = match &segment.selectors[..] {
                [Selector::Name(name)] => self.member(value, name.as_bytes())?,
                [Selector::Index(index)] => self.element(value, *index)?,
                _ => return self.apply(segment, rest, value, nodes),
            };
            let Some(child) = child else { return Ok(()) };
            (segments, value) = (rest, child);
        }
        nodes.first = nodes.first.or(Some(value));
        nodes.count += 1;
        Ok(())
    }

    /// Applies a segment to a value and its descendants. A value comes before its children.
    fn descend(
        &mut self,
        segment: &Segment,
        rest: &[Segment],
        value: At,
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
            self.descend(segment, rest, child, nodes, depth + 1)?;
        }
        Ok(())
    }

    /// Applies the selectors of a segment to the children of a value.
    fn apply(
        &mut self,
        segment: &Segment,
        rest: &[Segment],
        value: At,
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
                            Selector::Filter(filter) => self.fits(filter, child)?,
                            _ => true,
                        };
                        if fits {
                            self.nodes(rest, child, nodes)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns the children of a value, if it is an object or array.
    fn children(&self, value: At) -> Option<Children> {
        let entry = self.tape.entries[value];
        let bracket = self.text.bytes[entry.start as usize];
        let is_object = bracket == b'{';
        (is_object || bracket == b'[').then_some(Children {
            at: value + 1,
            end: entry.next as usize,
            is_object,
        })
    }

    fn elements(&self, value: At) -> Option<Children> {
        self.children(value).filter(|children| !children.is_object)
    }

    /// Returns the next child.
    fn next(&mut self, children: &mut Children) -> Result<Option<At>, Halt> {
        if children.at == children.end {
            return Ok(None);
        }
        self.visit(1)?;
        let child = children.at + usize::from(children.is_object);
        children.at = self.tape.entries[child].next as usize;
        Ok(Some(child))
    }

    /// Returns the value of a key of an object.
    fn member(&mut self, value: At, name: &[u8]) -> Result<Option<At>, Halt> {
        let Some(mut children) = self.children(value).filter(|children| children.is_object) else {
            return Ok(None);
        };
        let mut found = None;
        while let Some(child) = self.next(&mut children)? {
            if !self.is_key(child - 1, name)? {
                continue;
            }
            let Some(first) = found else {
                found = Some(child);
                continue;
            };
            self.read(first)?;
            self.read(child)?;
            if !value::is_same(&self.plain(first), &self.plain(child)) {
                return Err(Halt::DuplicateKey);
            }
        }
        Ok(found)
    }

    /// Returns whether a key has this name.
    #[inline]
    fn is_key(&mut self, at: At, name: &[u8]) -> Result<bool, Halt> {
        let key = self.raw(at);
        if key == name {
            return Ok(true);
        }
        if self.tape.has_escapes { self.is_escaped_key(at, name) } else { Ok(false) }
    }

    #[cold]
    #[inline(never)]
    fn is_escaped_key(&mut self, at: At, name: &[u8]) -> Result<bool, Halt> {
        let key = self.raw(at);
        if key.len() > name.len() * MAX_ESCAPE_BYTES || !self.has_escapes(key) {
            return Ok(false);
        }
        self.read(at)?;
        Ok(json_text::has_value(key, name))
    }

    /// Returns an element of an array. A negative index counts from the end.
    fn element(&mut self, value: At, index: i64) -> Result<Option<At>, Halt> {
        let index = if index < 0 { self.length(value)? + index } else { index };
        let Some(mut children) = self.elements(value).filter(|_| index >= 0) else { return Ok(None) };
        for _ in 0..index {
            if self.next(&mut children)?.is_none() {
                return Ok(None);
            }
        }
        self.next(&mut children)
    }

    /// Returns the number of children of a value.
    fn length(&mut self, value: At) -> Result<i64, Halt> {
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
        value: At,
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
                    self.nodes(rest, child, nodes)?;
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

    fn fits(&mut self, filter: &Filter, value: At) -> Result<bool, Halt> {
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
                self.compare(&left, *operator, &right)
            }
        }
    }

    fn matches(&mut self, operand: &Operand, pattern: &Pattern, value: At) -> Result<bool, Halt> {
        match self.operand(operand, value)? {
            Value::Text(text) => Ok(pattern.is_match(&text)),
            _ => Ok(false),
        }
    }

    fn path(&mut self, path: &Path, value: At, enough: usize) -> Result<Nodes, Halt> {
        // The tape of a query with an absolute path begins at the whole record.
        let from = if path.is_absolute { 0 } else { value };
        let mut nodes = Nodes::up_to(enough);
        self.nodes(&path.segments, from, &mut nodes)?;
        Ok(nodes)
    }

    fn operand<'a>(&mut self, operand: &'a Operand, value: At) -> Result<Value<'a>, Halt>
    where
        't: 'a,
    {
        Ok(match operand {
            Operand::Null => Value::Null,
            Operand::Bool(value) => Value::Bool(*value),
            Operand::Number(number) => Value::Number(*number),
            Operand::Text(text) => Value::Text(text.as_bytes().into()),
            Operand::Value(path) => match self.path(path, value, 2)?.only() {
                Some(at) => self.value(at)?,
                None => Value::Nothing,
            },
            Operand::Count(path) => Value::Number(self.path(path, value, usize::MAX)?.count as f64),
            Operand::Length(operand) => match self.operand(operand, value)? {
                Value::Text(text) => Value::Number(String::from_utf8_lossy(&text).chars().count() as f64),
                Value::Container(at) => Value::Number(self.length(at)? as f64),
                _ => Value::Nothing,
            },
        })
    }

    /// Returns a value of the tape. Text that is not valid is repaired.
    fn value(&mut self, at: At) -> Result<Value<'t>, Halt> {
        let raw = self.raw(at);
        if let [b'{' | b'[', ..] = raw {
            return Ok(Value::Container(at));
        }
        self.read(at)?;
        Ok(match raw {
            b"null" => Value::Null,
            b"true" => Value::Bool(true),
            b"false" => Value::Bool(false),
            [b'"', ..] => {
                let entry = self.tape.entries[at];
                let (start, end) = self.text.content(entry.start as usize, entry.end as usize);
                self.text_of(&self.text.bytes[start..end]).map_or(Value::Nothing, Value::Text)
            }
            raw => number(raw).map_or(Value::Nothing, Value::Number),
        })
    }

    /// Returns the value of a string's raw content, with invalid text replaced.
    fn text_of(&self, content: &'t [u8]) -> Option<Cow<'t, [u8]>> {
        if self.has_escapes(content) {
            json_text::value(content).map(Cow::from)
        } else {
            Some(content.into())
        }
    }

    /// Returns whether the raw content of a string has escapes.
    fn has_escapes(&self, content: &[u8]) -> bool {
        self.tape.has_escapes && memchr::memchr(b'\\', content).is_some()
    }

    fn compare(&mut self, left: &Value<'_>, operator: Operator, right: &Value<'_>) -> Result<bool, Halt> {
        Ok(match operator {
            Operator::Equal => self.is_equal(left, right)?,
            Operator::NotEqual => !self.is_equal(left, right)?,
            Operator::Less => is_less(left, right),
            Operator::LessOrEqual => is_less(left, right) || self.is_equal(left, right)?,
            Operator::Greater => is_less(right, left),
            Operator::GreaterOrEqual => is_less(right, left) || self.is_equal(left, right)?,
        })
    }

    fn is_equal(&mut self, left: &Value<'_>, right: &Value<'_>) -> Result<bool, Halt> {
        match (left, right) {
            (Value::Container(one), Value::Container(other)) => self.is_same_container(*one, *other, 0),
            _ => Ok(left == right),
        }
    }

    /// Compares arrays by position, and objects by key (RFC 9535 section 2.3.5.2.2).
    fn is_same_container(&mut self, one: At, other: At, depth: usize) -> Result<bool, Halt> {
        if depth == MAX_DEPTH {
            return Err(Halt::TooMuch);
        }
        let (Some(mut ones), Some(mut others)) = (self.children(one), self.children(other)) else {
            return Ok(false);
        };
        if ones.is_object != others.is_object || self.length(one)? != self.length(other)? {
            return Ok(false);
        }
        while let Some(child) = self.next(&mut ones)? {
            let other = if ones.is_object {
                self.read(child - 1)?;
                match self.text_of(self.raw(child - 1)) {
                    Some(name) => self.member(other, &name)?,
                    None => None,
                }
            } else {
                self.next(&mut others)?
            };
            let Some(other) = other else { return Ok(false) };
            let is_same = match (self.value(child)?, self.value(other)?) {
                (Value::Container(one), Value::Container(other)) => {
                    self.is_same_container(one, other, depth + 1)?
                }
                (one, other) => one == other,
            };
            if !is_same {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
