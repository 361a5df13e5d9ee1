//! The values of a JSON text as a flat list, for queries that visit them in any order.

use super::scan::{Scan, closer_of};

/// Maximum entries of a tape, which bounds its memory to 12 MiB.
const MAX_ENTRIES: usize = 1 << 20;

/// The position of a value on the tape.
pub(super) type At = usize;

/// A value, or the key before a member's value, in the order of the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Start and end in the text. A key has no quotes.
    pub(super) start: u32,
    pub(super) end: u32,
    /// The position of the entry after this value and everything in it.
    pub(super) next: u32,
}

/// The tape of one value. Reused.
#[derive(Debug, Default)]
pub(super) struct Tape {
    pub(super) entries: Vec<Entry>,
    /// Whether a string has escapes.
    pub(super) has_escapes: bool,
    /// The positions of the containers around an entry, with their closing brackets.
    open: Vec<(u32, u8)>,
}

impl Tape {
    /// Records a value, given its first byte and position. Returns its end; `None` if it is not JSON.
    pub(super) fn record<const ESCAPED: bool>(
        &mut self,
        scan: &mut Scan<'_, ESCAPED>,
        first: (u8, usize),
    ) -> Option<usize> {
        self.entries.clear();
        self.open.clear();
        self.has_escapes = false;
        let mut next = first;
        loop {
            let (first, at) = next;
            let entry = self.entries.len();
            let mut end = at + 1;
            if matches!(first, b'{' | b'[') {
                self.push(at, end);
                let closer = closer_of(first);
                next = scan.token(end)?;
                if next.0 != closer {
                    self.open.push((entry as u32, closer));
                    next = self.key(scan, next)?;
                    continue;
                }
                end = next.1 + 1;
                self.close(entry, end);
            } else {
                let value = scan.value(next)?;
                end = value.at;
                self.has_escapes |= value.has_escapes;
                self.push(at, end);
            }
            // After a value: the next one, or the end of containers.
            loop {
                let Some((container, closer)) = self.open.last().copied() else { return Some(end) };
                let (byte, at) = scan.token(end)?;
                end = at + 1;
                if byte == b',' {
                    next = scan.token(end)?;
                    next = self.key(scan, next)?;
                    break;
                }
                if byte != closer {
                    return None;
                }
                self.open.pop();
                self.close(container as usize, end);
            }
        }
    }

    /// Returns whether it has all values. A longer one is cut.
    pub(super) fn is_complete(&self) -> bool {
        self.entries.len() < MAX_ENTRIES
    }

    fn push(&mut self, start: usize, end: usize) {
        let next = self.entries.len() + 1;
        if next <= MAX_ENTRIES {
            self.entries.push(Entry { start: start as u32, end: end as u32, next: next as u32 });
        }
    }

    fn close(&mut self, entry: usize, end: usize) {
        let next = self.entries.len() as u32;
        if let Some(entry) = self.entries.get_mut(entry) {
            entry.end = end as u32;
            entry.next = next;
        }
    }

    /// Records the key of a member of the innermost container, if that is an object. Returns the first byte of the value.
    fn key<const ESCAPED: bool>(
        &mut self,
        scan: &mut Scan<'_, ESCAPED>,
        next: (u8, usize),
    ) -> Option<(u8, usize)> {
        if !matches!(self.open.last(), Some((_, b'}'))) {
            return Some(next);
        }
        let (b'"', at) = next else { return None };
        let (end, has_escapes) = scan.string(at + 1)?;
        self.has_escapes |= has_escapes;
        self.push(at + 1, end);
        scan.after_key(end)
    }
}
