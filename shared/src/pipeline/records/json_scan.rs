//! Finds the end of a JSON text, and whether it is a CloudWatch Logs envelope, without reading the bytes after it.
//!
//! The scan is incremental, so a text of any length takes bounded memory. It checks the structure of JSON (RFC 8259) and
//! leaves the content of strings to the rules, with one exception: no string has a line feed. A cut line such as
//! `{"a":"x` therefore ends at its line feed and does not include the lines after it.

use super::envelope::{Key, key_named};
use crate::pipeline::json_text as text;

/// Maximum nesting. The scan treats deeper text as not JSON, like the columns do. Text that is not JSON is scanned again from
/// its next line, so this also limits how often a byte is scanned.
const MAX_DEPTH: usize = 128;
/// Maximum bytes of a step to an array of records.
pub(crate) const MAX_STEP_BYTES: usize = 64;
/// Raw bytes kept of a key or message type: the longest one with every character escaped (`\u0041`) fits.
const KEPT_BYTES: usize = MAX_STEP_BYTES * 6 + 1;

/// Steps from a JSON object to its array of records: the names of members. Empty: the text is the array itself.
pub(crate) type RecordsPath = Vec<String>;

/// Returns a path that no text matches: its step is longer than the keys that the scan keeps.
pub(crate) fn unmatched_path() -> RecordsPath {
    vec!["\0".repeat(KEPT_BYTES + 1)]
}

/// The result of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// All bytes belong to the text, which is incomplete.
    More,
    /// The text ends after this number of the given bytes.
    End(usize),
    /// The text is an envelope: it has an array `logEvents`, or one of the two message types.
    Envelope,
    /// The text has an array of records. Its bracket ends after this number of the given bytes; if the text is the array
    /// itself, its first element begins there. The elements are the caller's: the next call continues after the array.
    Records {
        /// Position of its path.
        path: usize,
        length: usize,
    },
    /// The text breaks JSON's grammar.
    NotJson,
}

/// The state of a scan.
#[derive(Debug, Default)]
pub(super) struct JsonScan {
    paths: Vec<RecordsPath>,
    /// Steps of the longest path.
    max_steps: usize,
    /// By path: how many of its steps lead to the open containers.
    matched: Vec<usize>,
    /// The paths whose next step is the last key, as bits.
    candidates: u32,
    open: Nesting,
    next: Next,
    /// The key at the top level whose value follows.
    key: Option<Key>,
    /// Raw bytes of the string that is being read, if it may identify an envelope.
    kept: Vec<u8>,
    /// The envelope's own keys seen at the top level, as bits.
    own_keys: u8,
    line_feed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum Next {
    #[default]
    Root,
    /// The first element of an array at the top level.
    FirstObject,
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
    Text(Role),
    Escape(Role),
    Number(Number),
    /// The remaining bytes of `true`, `false` or `null`.
    Literal(&'static [u8]),
}

/// The meaning of a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    TopKey,
    /// A key below the top level that may lead to an array of records.
    PathKey,
    Key,
    MessageType,
    Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    E,
    Sign,
    Exponent,
}

impl JsonScan {
    /// Creates a scan that finds the arrays of these paths.
    pub(super) fn new(paths: Vec<RecordsPath>) -> Self {
        let max_steps = paths.iter().map(Vec::len).max().unwrap_or(0);
        Self { max_steps, matched: vec![0; paths.len()], paths, ..Self::default() }
    }

    pub(super) fn paths(&self) -> &[RecordsPath] {
        &self.paths
    }

    /// Starts a scan at a `{` or `[`.
    pub(super) fn restart(&mut self) {
        self.matched.fill(0);
        self.candidates = 0;
        self.open.depth = 0;
        self.next = Next::Root;
        self.key = None;
        self.own_keys = 0;
        self.line_feed = false;
    }

    /// Returns whether there was a line feed.
    pub(super) fn has_line_feed(&self) -> bool {
        self.line_feed
    }

    /// Returns whether the top level has two of an envelope's own keys. Damaged text with two of them is a damaged envelope.
    pub(super) fn resembles_envelope(&self) -> bool {
        self.own_keys.count_ones() >= 2
    }

    /// Scans the bytes that follow those of the previous calls.
    pub(super) fn advance(&mut self, bytes: &[u8]) -> Step {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match self.next {
                Next::Text(role) => {
                    let rest = &bytes[at..];
                    let length = memchr::memchr3(b'"', b'\\', b'\n', rest).unwrap_or(rest.len());
                    self.keep(role, &rest[..length]);
                    at += length + 1;
                    match rest.get(length) {
                        None => return Step::More,
                        Some(b'"') => {
                            if self.end_of_text(role) {
                                return Step::Envelope;
                            }
                        }
                        Some(b'\\') => {
                            self.keep(role, b"\\");
                            self.next = Next::Escape(role);
                        }
                        Some(_) => return Step::NotJson,
                    }
                    continue;
                }
                Next::Escape(_) if byte == b'\n' => return Step::NotJson,
                Next::Escape(role) => {
                    self.keep(role, &[byte]);
                    self.next = Next::Text(role);
                }
                Next::Number(number) => match number.then(byte) {
                    Some(number) => self.next = Next::Number(number),
                    None if number.is_whole() => {
                        self.next = Next::CommaOrEnd;
                        continue;
                    }
                    None => return Step::NotJson,
                },
                Next::Literal(rest) => match rest.strip_prefix(&[byte]) {
                    Some([]) => self.next = Next::CommaOrEnd,
                    Some(rest) => self.next = Next::Literal(rest),
                    None => return Step::NotJson,
                },
                _ if matches!(byte, b' ' | b'\t' | b'\r') => {}
                _ if byte == b'\n' => self.line_feed = true,
                _ => match self.structural(byte) {
                    Step::More => {}
                    Step::End(_) => return Step::End(at + 1),
                    // The first element of a text that is the array itself is not part of it.
                    Step::Records { path, .. } if self.paths[path].is_empty() => {
                        return Step::Records { path, length: at };
                    }
                    Step::Records { path, .. } => return Step::Records { path, length: at + 1 },
                    step => return step,
                },
            }
            at += 1;
        }
        Step::More
    }

    /// A byte outside of strings, numbers and literals.
    fn structural(&mut self, byte: u8) -> Step {
        match (self.next, byte) {
            (Next::Root, b'[') => {
                self.open.push(false);
                self.next = Next::FirstObject;
            }
            (Next::KeyOrEnd, b'}') | (Next::ValueOrEnd, b']') => return self.close(),
            (Next::Key | Next::KeyOrEnd, b'"') => {
                let role = match self.open.depth {
                    1 if self.open.in_object() => Role::TopKey,
                    depth if depth <= self.max_steps => Role::PathKey,
                    _ => Role::Key,
                };
                self.kept.clear();
                self.next = Next::Text(role);
            }
            (Next::Colon, b':') => self.next = Next::Value,
            (Next::CommaOrEnd, b',') => {
                self.next = if self.open.in_object() { Next::Key } else { Next::Value };
            }
            (Next::CommaOrEnd, b'}') if self.open.in_object() => return self.close(),
            (Next::CommaOrEnd, b']') if !self.open.in_object() => return self.close(),
            (Next::FirstObject, b'{') if let Some(path) = self.paths.iter().position(Vec::is_empty) => {
                return Step::Records { path, length: 0 };
            }
            (Next::Root | Next::FirstObject, b'{') | (Next::Value | Next::ValueOrEnd, _) => {
                return self.value(byte);
            }
            _ => return Step::NotJson,
        }
        Step::More
    }

    /// The first byte of a value.
    fn value(&mut self, byte: u8) -> Step {
        let key = if self.is_top() { self.key.take() } else { None };
        let candidates = std::mem::take(&mut self.candidates);
        if candidates != 0
            && matches!(byte, b'{' | b'[')
            && let Some(path) = self.follow(candidates, byte == b'[')
        {
            self.next = Next::CommaOrEnd;
            return Step::Records { path, length: 0 };
        }
        self.next = match byte {
            b'[' if key == Some(Key::LogEvents) => return Step::Envelope,
            b'{' | b'[' if self.open.depth == MAX_DEPTH => return Step::NotJson,
            b'{' => {
                self.open.push(true);
                Next::KeyOrEnd
            }
            b'[' => {
                self.open.push(false);
                Next::ValueOrEnd
            }
            b'"' if key == Some(Key::MessageType) => {
                self.kept.clear();
                Next::Text(Role::MessageType)
            }
            b'"' => Next::Text(Role::Value),
            b'-' => Next::Number(Number::Minus),
            b'0' => Next::Number(Number::Zero),
            b'1'..=b'9' => Next::Number(Number::Integer),
            b't' => Next::Literal(b"rue"),
            b'f' => Next::Literal(b"alse"),
            b'n' => Next::Literal(b"ull"),
            _ => return Step::NotJson,
        };
        Step::More
    }

    /// Follows the paths whose next step is the key of this object or array. Returns the path that ends at this array.
    fn follow(&mut self, candidates: u32, is_array: bool) -> Option<usize> {
        let depth = self.open.depth;
        for (at, path) in self.paths.iter().enumerate().filter(|(at, _)| candidates >> at & 1 == 1) {
            if path.len() > depth {
                self.matched[at] = if is_array { self.matched[at] } else { depth };
            } else if is_array {
                return Some(at);
            }
        }
        None
    }

    /// Returns the paths whose next step is this key, as bits.
    fn paths_of_key(&self, key: &[u8]) -> u32 {
        let step = self.open.depth - 1;
        let is_next = |(at, path): (usize, &RecordsPath)| {
            self.matched[at] == step && path.get(step).is_some_and(|name| name.as_bytes() == key)
        };
        self.paths.iter().enumerate().fold(0, |bits, (at, path)| bits | u32::from(is_next((at, path))) << at)
    }

    fn close(&mut self) -> Step {
        self.open.depth -= 1;
        for matched in &mut self.matched {
            *matched = (*matched).min(self.open.depth.saturating_sub(1));
        }
        self.next = Next::CommaOrEnd;
        if self.open.depth == 0 { Step::End(0) } else { Step::More }
    }

    /// The members of the text itself, if it is an object.
    fn is_top(&self) -> bool {
        self.open.depth == 1 && self.open.in_object()
    }

    fn keep(&mut self, role: Role, bytes: &[u8]) {
        if matches!(role, Role::TopKey | Role::PathKey | Role::MessageType) && self.kept.len() < KEPT_BYTES {
            let room = KEPT_BYTES - self.kept.len();
            self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// Ends a string at its closing quote. Returns whether the string identifies an envelope.
    fn end_of_text(&mut self, role: Role) -> bool {
        self.next = match role {
            Role::TopKey | Role::PathKey | Role::Key => Next::Colon,
            Role::MessageType | Role::Value => Next::CommaOrEnd,
        };
        if matches!(role, Role::Key | Role::Value) || self.kept.len() == KEPT_BYTES {
            self.key = None;
            return false;
        }
        let mut unescaped = Vec::new();
        let value = if !self.kept.contains(&b'\\') {
            &self.kept
        } else if text::unescape(&self.kept, &mut unescaped) {
            &unescaped
        } else {
            self.key = None;
            return false;
        };
        if role == Role::MessageType {
            return [b"DATA_MESSAGE".as_slice(), b"CONTROL_MESSAGE"].contains(&value.as_slice());
        }
        if !self.paths.is_empty() {
            self.candidates = self.paths_of_key(value);
        }
        if role == Role::PathKey {
            return false;
        }
        let key = key_named(value);
        self.own_keys |= key as u8;
        self.key = Some(key);
        false
    }
}

impl Number {
    /// Returns the state after one more byte; `None` if the byte is not part of the number.
    fn then(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Minus, b'0') => Self::Zero,
            (Self::Minus, b'1'..=b'9') | (Self::Integer, b'0'..=b'9') => Self::Integer,
            (Self::Zero | Self::Integer, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Self::E,
            (Self::E, b'+' | b'-') => Self::Sign,
            (Self::E | Self::Sign | Self::Exponent, b'0'..=b'9') => Self::Exponent,
            _ => return None,
        })
    }

    fn is_whole(self) -> bool {
        matches!(self, Self::Zero | Self::Integer | Self::Fraction | Self::Exponent)
    }
}

/// The open brackets, a bit each: whether it is an object's.
#[derive(Debug, Default)]
struct Nesting {
    bits: Vec<u64>,
    depth: usize,
}

impl Nesting {
    fn push(&mut self, is_object: bool) {
        let (word, bit) = (self.depth / 64, self.depth % 64);
        if word == self.bits.len() {
            self.bits.push(0);
        }
        self.bits[word] = self.bits[word] & !(1 << bit) | u64::from(is_object) << bit;
        self.depth += 1;
    }

    fn in_object(&self) -> bool {
        let Some(last) = self.depth.checked_sub(1) else { return false };
        self.bits[last / 64] >> (last % 64) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(text: &[u8], portion: usize) -> Step {
        let mut scan = JsonScan::default();
        scan.restart();
        let mut before = 0;
        for portion in text.chunks(portion) {
            match scan.advance(portion) {
                Step::More => before += portion.len(),
                Step::End(length) => return Step::End(before + length),
                step => return step,
            }
        }
        Step::More
    }

    proptest! {
        #[test]
        fn a_text_of_brackets_strings_and_values_ends_where_serde_json_ends_it(
            pieces in proptest::collection::vec(
                prop_oneof![
                    Just("{"), Just("}"), Just("["), Just("]"), Just(","), Just(":"), Just("\"a\""), Just("\"\\\"\""), Just("1"), Just("-0.5e+3"),
                    Just("01"), Just("true"), Just("null"), Just("nul"), Just(" "), Just("\n"), Just("{\"a\":[{}]}"), Just("1.")
                ], 0..14),
            portion in 1_usize..9,
        ) {
            let text = format!("{{{}", pieces.concat());
            // Not `IgnoredAny`: it takes the incomplete number of `{"a":1.` for an invalid one.
            let mut values = serde_json::Deserializer::from_str(&text).into_iter::<serde_json::Value>();
            let expected = match values.next() {
                Some(Ok(_)) => Step::End(values.byte_offset()),
                Some(Err(error)) if error.is_eof() => Step::More,
                _ => Step::NotJson,
            };
            prop_assert_eq!(scan(text.as_bytes(), portion), expected, "{}", text);
        }
    }

    #[test]
    fn an_envelope_is_known_by_its_events_or_its_type_at_the_top_level_only() {
        for text in [
            r#"{"messageType":"DATA_MESSAGE""#,
            r#"{"x":{"logEvents":[1]},"messageType" : "CONTROL_MESSAGE""#,
            r#"{"a":1,"logEvents":["#,
            r#"{"logEvents":null,"logE\u0076ents": ["#,
            r#"{"message\u0054ype":"DATA\u005fMESSAGE""#,
        ] {
            assert_eq!(scan(text.as_bytes(), 3), Step::Envelope, "{text}");
        }
        for text in [
            r#"{"a":{"messageType":"DATA_MESSAGE","logEvents":[]}}"#,
            r#"{"messageType":"ORDER","logEvents":{}}"#,
            r#"{"messageType":["DATA_MESSAGE"],"logEvents":"["}"#,
            r#"[{"messageType":"DATA_MESSAGE","logEvents":[]}]"#,
        ] {
            assert_eq!(scan(text.as_bytes(), 3), Step::End(text.len()), "{text}");
        }
    }

    #[test]
    fn a_string_that_holds_a_line_feed_ends_the_scan() {
        for text in ["{\"a\":\"x\n", "{\"a\n", "{\"a\":\"x\\\n"] {
            assert_eq!(scan(text.as_bytes(), 2), Step::NotJson, "{text:?}");
        }
        let text = b"{\"a\":\"x\t\x01\xff\\q\"}";
        assert_eq!(scan(text, 2), Step::End(text.len()));
    }

    #[test]
    fn only_an_array_of_objects_is_a_text() {
        for text in ["[1,2]", "[]", "[INFO] x", "[[{}]]", "[\"a\"]"] {
            assert_eq!(scan(text.as_bytes(), 1), Step::NotJson, "{text}");
        }
        assert_eq!(scan(b"[ {\"a\":1},\n 2 ] x", 4), Step::End(15));
    }

    #[test]
    fn nesting_without_end_takes_bounded_memory() {
        let mut scan = JsonScan::default();
        scan.restart();
        assert_eq!(scan.advance(b"{\"a\":"), Step::More);
        assert_eq!(scan.advance(&[b'['; MAX_DEPTH]), Step::NotJson);
    }
}
