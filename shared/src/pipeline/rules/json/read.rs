//! Reads the cells of a format from a message in one pass along its tree.

use super::{
    query::Query,
    scan::{End, Scan},
    select::{Halt, Select},
    tape::Tape,
    tree::Node,
    value::{compact, is_same},
};
use crate::{
    error::Reason,
    limits::MAX_ROW_BYTES,
    pipeline::{json_input::JsonInput, json_text, rules::Values},
};

/// Buffers of a reader. Reused for every record.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    /// For each child of the nodes on the current path: start and end of its first value in the message. No value ends at 0.
    seen: Vec<(u32, u32)>,
    closers: Vec<u8>,
    tape: Tape,
}

/// Reads the cells below `root` from a message that is one JSON object. White space may be around it.
pub(super) fn read(
    root: &Node,
    message: JsonInput<'_>,
    can_repair: bool,
    values: &mut Values,
) -> Result<(), Reason> {
    if message.has_escaped_quotes {
        read_as::<true>(root, message, can_repair, values)
    } else {
        read_as::<false>(root, message, can_repair, values)
    }
}

fn read_as<const ESCAPED: bool>(
    root: &Node,
    message: JsonInput<'_>,
    can_repair: bool,
    values: &mut Values,
) -> Result<(), Reason> {
    let closers = std::mem::take(&mut values.json.closers);
    let mut seen = std::mem::take(&mut values.json.seen);
    seen.clear();
    let mut scan = Scan::<ESCAPED>::new(message, closers);
    let first = scan.token(0);
    scan.has_space = false;
    let mut reader = Reader { scan, seen, values, can_repair, fault: None };
    let end = match first {
        Some(first @ (b'{', _)) => reader.value(root, first),
        _ => None,
    };
    let Reader { mut scan, seen, fault, .. } = reader;
    // Invalid UTF-8 is possible only where a string was not ASCII, or where the text is not JSON.
    let is_json = end.is_some_and(|end| scan.token(end).is_none());
    let is_text = is_json && scan.is_ascii || std::str::from_utf8(message.bytes).is_ok();
    values.json.closers = scan.into_closers();
    values.json.seen = seen;
    match fault {
        _ if !is_text => Err(Reason::BadEncoding),
        _ if !is_json => Err(Reason::NotJson),
        Some(reason) => Err(reason),
        None => Ok(()),
    }
}

struct Reader<'m, 'v, const ESCAPED: bool> {
    scan: Scan<'m, ESCAPED>,
    seen: Vec<(u32, u32)>,
    values: &'v mut Values,
    can_repair: bool,
    fault: Option<Reason>,
}

impl<const ESCAPED: bool> Reader<'_, '_, ESCAPED> {
    /// Reads a value along a node, given its first byte and position. Returns its end; `None` if it is not JSON.
    #[inline]
    fn value(&mut self, node: &Node, (first, at): (u8, usize)) -> Option<usize> {
        if matches!(first, b'{' | b'[') {
            return self.container(node, (first, at));
        }
        let end = self.scan.value((first, at))?;
        if !node.cells.is_empty() {
            self.take(&node.cells, at, end);
        }
        Some(end.at)
    }

    fn container(&mut self, node: &Node, (bracket, at): (u8, usize)) -> Option<usize> {
        if node.children.is_empty() || !node.cells.is_empty() || !node.queries.is_empty() {
            let had_space = std::mem::take(&mut self.scan.has_space);
            let quotes = self.scan.quotes;
            let end = if node.queries.is_empty() {
                self.scan.value((bracket, at))?
            } else {
                let end = self.values.json.tape.record(&mut self.scan, (bracket, at))?;
                End { at: end, has_escapes: false }
            };
            if !node.cells.is_empty() {
                self.take(&node.cells, at, end);
            }
            for (cell, query) in &node.queries {
                self.query(query, *cell);
            }
            self.scan.has_space |= had_space;
            if node.children.is_empty() {
                return Some(end.at);
            }
            self.scan.quotes = quotes;
        }
        if bracket == b'{' { self.object(node, at + 1) } else { self.array(node, at + 1) }
    }

    /// Reads an object from after its brace.
    fn object(&mut self, node: &Node, at: usize) -> Option<usize> {
        let seen = self.seen.len();
        self.seen.resize(seen + node.children.len(), (0, 0));
        let end = self.members(node, seen, at)?;
        self.seen.truncate(seen);
        Some(end)
    }

    /// Reads the members of an object. `seen` is the position of the first child in the buffer of that name.
    fn members(&mut self, node: &Node, seen: usize, at: usize) -> Option<usize> {
        let text = self.scan.text.bytes;
        let mut next = self.scan.token(at)?;
        if next.0 == b'}' {
            return Some(next.1 + 1);
        }
        loop {
            let (b'"', at) = next else { return None };
            let start = at + 1;
            let (end, has_escapes) = self.scan.string(start)?;
            let first = self.scan.after_key(end)?;
            let end = match node.child(text, start, end, has_escapes) {
                None => self.scan.value(first)?.at,
                Some(child) => self.member(&node.children[child].node, seen + child, first)?,
            };
            if let Some(key) = self.scan.next_key(end) {
                next = key;
                continue;
            }
            next = match self.scan.token(end)? {
                (b',', at) => self.scan.token(at + 1)?,
                (b'}', at) => return Some(at + 1),
                _ => return None,
            };
        }
    }

    /// Reads the value of a key. If the key was given before, the value must be the same.
    fn member(&mut self, node: &Node, seen: usize, first: (u8, usize)) -> Option<usize> {
        let start = first.1;
        let (before, before_end) = self.seen[seen];
        if before_end > 0 {
            let end = self.scan.value(first)?.at;
            let text = self.scan.text;
            if !is_same(&text.value(before as usize, before_end as usize), &text.value(start, end)) {
                self.fault = Some(Reason::DuplicateKey);
            }
            return Some(end);
        }
        let end = self.value(node, first)?;
        self.seen[seen] = (start as u32, end as u32);
        Some(end)
    }

    /// Reads an array from after its bracket.
    fn array(&mut self, node: &Node, at: usize) -> Option<usize> {
        let mut next = self.scan.token(at)?;
        if next.0 == b']' {
            return Some(next.1 + 1);
        }
        for index in 0_usize.. {
            let end = match node.children.iter().find(|child| child.index == Some(index)) {
                Some(child) => self.value(&child.node, next)?,
                None => self.scan.value(next)?.at,
            };
            match self.scan.token(end)? {
                (b',', at) => next = self.scan.token(at + 1)?,
                (b']', at) => return Some(at + 1),
                _ => return None,
            }
        }
        None
    }

    /// Stores the first node of a query on the tape.
    fn query(&mut self, query: &Query, cell: usize) {
        let tape = &self.values.json.tape;
        if !tape.is_complete() {
            self.fault = self.fault.or(Some(Reason::TooLong));
            return;
        }
        match Select::new(self.scan.text, tape).first(query) {
            Ok(None) => {}
            Ok(Some((start, end))) => {
                let has_escapes =
                    tape.has_escapes && memchr::memchr(b'\\', &self.scan.text.bytes[start..end]).is_some();
                self.take(&[cell], start, End { at: end, has_escapes });
            }
            Err(Halt::DuplicateKey) => self.fault = Some(Reason::DuplicateKey),
            Err(Halt::TooMuch) => self.fault = self.fault.or(Some(Reason::TooLong)),
        }
    }

    /// Stores a value: a string unescaped, null as absent, another value as compact JSON text. A value with the same text in the
    /// message is not copied.
    #[inline]
    fn take(&mut self, cells: &[usize], start: usize, end: End) {
        let json = self.scan.text;
        let (start, end) = match json.bytes[start] {
            b'n' => return,
            b'"' if end.has_escapes => return self.decode(cells, start, end.at),
            b'"' => json.content(start, end.at),
            b'{' | b'[' if self.scan.has_space => return self.decode(cells, start, end.at),
            _ => (start, end.at),
        };
        self.store(cells, start, end);
    }

    /// Stores the value of a string with escapes, or of an array or object with white space.
    #[inline(never)]
    fn decode(&mut self, cells: &[usize], start: usize, end: usize) {
        let json = self.scan.text;
        let decoded = &mut self.values.decoded;
        let from = decoded.len();
        if from > MAX_ROW_BYTES {
            self.fault = self.fault.or(Some(Reason::TooLong));
            return;
        }
        if json.bytes[start] == b'"' {
            let raw = &json.bytes[start + 1..end - 1];
            if !json_text::unescape(raw, decoded) || !json_text::is_text(&decoded[from..]) {
                decoded.truncate(from);
                self.values.repaired = true;
                if !self.can_repair || !json_text::unescape_repaired(raw, decoded) {
                    self.fault = self.fault.or(Some(Reason::BadEncoding));
                }
            }
        } else {
            compact(&json.value(start, end), decoded);
        }
        let to = json.bytes.len() + decoded.len();
        self.store(cells, json.bytes.len() + from, to);
    }

    #[inline]
    fn store(&mut self, cells: &[usize], start: usize, end: usize) {
        for at in cells {
            self.values.cells[*at] = Some((start as u32, end as u32));
        }
    }
}
