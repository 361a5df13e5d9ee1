//! The tree of the paths that a JSON format reads.

use super::{pointer::array_index, query::Query};
use crate::pipeline::{bytes, json_text};

/// A path in the object that columns read, or that leads to one.
#[derive(Debug, Default)]
pub(super) struct Node {
    /// The cells of the value itself.
    pub(super) cells: Vec<usize>,
    /// Queries that begin at the value, with their cells.
    pub(super) queries: Vec<(usize, Query)>,
    pub(super) children: Vec<Child>,
    /// The keys of the children, in order.
    keys: Vec<Key>,
    slots: Slots,
}

/// For each hash of a key: the number of its child, counted from one.
#[derive(Debug)]
struct Slots(Box<[u8; SLOTS]>);

const SLOTS: usize = 256;
/// The slot of several children, or of one whose number is too large.
const SEVERAL: u8 = u8::MAX;

impl Default for Slots {
    fn default() -> Self {
        Self(Box::new([0; SLOTS]))
    }
}

#[derive(Debug)]
pub(super) struct Child {
    name: String,
    /// The name as a position in an array, if it is one.
    pub(super) index: Option<usize>,
    pub(super) node: Node,
}

/// The first and the last eight bytes of a key, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    first: u64,
    /// Zero for a key of less than eight bytes.
    last: u64,
    length: usize,
}

impl Key {
    /// Reads the key `text[start..end]`.
    #[inline]
    fn new(text: &[u8], start: usize, end: usize) -> Self {
        let length = end - start;
        if length >= bytes::WORD {
            return Self {
                first: bytes::word(text, start),
                last: bytes::word(text, end - bytes::WORD),
                length,
            };
        }
        let first = if start + bytes::WORD <= text.len() {
            bytes::word(text, start) & !(u64::MAX << (8 * length))
        } else {
            let mut word = [0; bytes::WORD];
            word[..length].copy_from_slice(&text[start..end]);
            u64::from_le_bytes(word)
        };
        Self { first, last: 0, length }
    }

    /// Returns the number of its slot.
    #[inline]
    fn slot(self) -> usize {
        // The golden ratio, as in Fibonacci hashing.
        let mixed =
            (self.first ^ self.last.rotate_left(32) ^ self.length as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> (u64::BITS - SLOTS.ilog2())) as usize
    }
}

impl Node {
    /// Returns the node at these steps, and creates it if needed.
    pub(super) fn at(&mut self, steps: Vec<String>) -> &mut Self {
        let mut node = self;
        for step in steps {
            let position = node.children.iter().position(|child| child.name == step);
            let position = position.unwrap_or_else(|| node.add(step));
            node = &mut node.children[position].node;
        }
        node
    }

    fn add(&mut self, name: String) -> usize {
        let key = Key::new(name.as_bytes(), 0, name.len());
        self.keys.push(key);
        let slot = &mut self.slots.0[key.slot()];
        *slot = if *slot == 0 { u8::try_from(self.keys.len()).unwrap_or(SEVERAL) } else { SEVERAL };
        self.children.push(Child { index: array_index(&name), name, node: Self::default() });
        self.children.len() - 1
    }

    /// Returns the child of the key `text[start..end]`, the raw content of a string.
    #[inline]
    pub(super) fn child(&self, text: &[u8], start: usize, end: usize, has_escapes: bool) -> Option<usize> {
        if has_escapes {
            return self.child_of_escaped(&text[start..end]);
        }
        let key = Key::new(text, start, end);
        let at = match self.slots.0[key.slot()] {
            0 => return None,
            SEVERAL => return self.child_of_several(&text[start..end]),
            number => usize::from(number) - 1,
        };
        // The two words of a longer key leave a gap.
        let is_child = self.keys[at] == key
            && (key.length <= 2 * bytes::WORD || self.children[at].name.as_bytes() == &text[start..end]);
        is_child.then_some(at)
    }

    #[cold]
    #[inline(never)]
    fn child_of_several(&self, name: &[u8]) -> Option<usize> {
        self.children.iter().position(|child| child.name.as_bytes() == name)
    }

    /// A key that is not valid text belongs to no child.
    #[cold]
    #[inline(never)]
    fn child_of_escaped(&self, raw: &[u8]) -> Option<usize> {
        let mut name = Vec::new();
        if !json_text::unescape(raw, &mut name) {
            return None;
        }
        self.children.iter().position(|child| child.name.as_bytes() == name)
    }
}
