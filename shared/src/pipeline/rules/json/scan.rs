//! Scans JSON text against the grammar of RFC 8259, without recursion and without a limit of depth.

use super::quotes::Quotes;
use crate::pipeline::{bytes, json_input::JsonInput};

/// A position in JSON text. `None` everywhere in this module: the text is not JSON. `ESCAPED`: whether its quotes are escaped.
#[derive(Debug)]
pub(super) struct Scan<'t, const ESCAPED: bool> {
    pub(super) text: JsonInput<'t>,
    /// The quotes from the position on. A scan that returns to an earlier position needs those from there.
    pub(super) quotes: Quotes,
    /// Whether white space between two tokens was skipped.
    pub(super) has_space: bool,
    /// Whether all strings so far are ASCII. Outside of strings, the grammar allows nothing else.
    pub(super) is_ascii: bool,
    /// The closing brackets of the containers around a position. Reused.
    closers: Vec<u8>,
}

/// The end of a value, and what is known about its text.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) at: usize,
    /// For a string: whether it has escapes.
    pub(super) has_escapes: bool,
}

impl<'t, const ESCAPED: bool> Scan<'t, ESCAPED> {
    /// The end of a key's string, a colon, and the quote of the value.
    const BEFORE_STRING: &'static [u8] = if ESCAPED { br#"\":\""# } else { br#"":""# };
    /// The end of a value, and the quote of the next key.
    const BEFORE_KEY: &'static [u8] = if ESCAPED { br#",\""# } else { br#",""# };

    pub(super) fn new(text: JsonInput<'t>, closers: Vec<u8>) -> Self {
        debug_assert_eq!(text.has_escaped_quotes, ESCAPED);
        Self { text, quotes: Quotes::new(text), has_space: false, is_ascii: true, closers }
    }

    /// Returns the buffer for the next scan.
    pub(super) fn into_closers(self) -> Vec<u8> {
        self.closers
    }

    #[inline]
    pub(super) fn byte(&self, at: usize) -> Option<u8> {
        self.text.bytes.get(at).copied()
    }

    /// Returns the next byte that is not white space, and its position.
    #[inline]
    pub(super) fn token(&mut self, at: usize) -> Option<(u8, usize)> {
        let byte = self.byte(at)?;
        // White space is at or below the space character, and no token is.
        if byte <= b' ' { self.token_after_space(at) } else { Some(Self::unescaped(byte, at)) }
    }

    /// Returns an escaped quote as a quote, and any other byte as it is.
    #[inline]
    fn unescaped(byte: u8, at: usize) -> (u8, usize) {
        if ESCAPED && byte == b'\\' { (b'"', at + 1) } else { (byte, at) }
    }

    #[cold]
    #[inline(never)]
    fn token_after_space(&mut self, mut at: usize) -> Option<(u8, usize)> {
        self.has_space = true;
        while matches!(self.byte(at)?, b' ' | b'\n' | b'\r' | b'\t') {
            at += 1;
        }
        Some(Self::unescaped(self.byte(at)?, at))
    }

    /// Scans a value that begins with this byte.
    #[inline]
    pub(super) fn value(&mut self, (first, at): (u8, usize)) -> Option<End> {
        if first == b'"' {
            let (end, has_escapes) = self.string(at + 1)?;
            return Some(End { at: Self::after_string(end), has_escapes });
        }
        Some(End { at: self.other_value(first, at)?, has_escapes: false })
    }

    /// Scans a value other than a string. Out of line, because strings are the most frequent values.
    #[inline(never)]
    fn other_value(&mut self, first: u8, at: usize) -> Option<usize> {
        if matches!(first, b'{' | b'[') { self.container(first, at) } else { self.word(first, at) }
    }

    /// Scans a string from after its opening quote. Returns the end of its content and whether it has escapes.
    #[inline]
    pub(super) fn string(&mut self, start: usize) -> Option<(usize, bool)> {
        let quote = self.quotes.next(self.text, start)?;
        let end = quote - usize::from(ESCAPED);
        if self.quotes.is_plain_from(start) { Some((end, false)) } else { self.special_string(start, end) }
    }

    /// Returns the position after the closing quote of a string, given the end of its content.
    #[inline]
    pub(super) fn after_string(end: usize) -> usize {
        end + 1 + usize::from(ESCAPED)
    }

    /// Scans what is between the content of a key, which ends at a position, and its value. Returns the first byte of the value, and
    /// its position.
    #[inline]
    pub(super) fn after_key(&mut self, end: usize) -> Option<(u8, usize)> {
        // Usually a string follows without white space.
        if self.text.bytes[end..].starts_with(Self::BEFORE_STRING) {
            return Some((b'"', end + Self::BEFORE_STRING.len() - 1));
        }
        match self.token(Self::after_string(end))? {
            (b':', at) => self.token(at + 1),
            _ => None,
        }
    }

    /// Returns the quote of the next key if that follows a value, which ends at a position, without white space.
    #[inline]
    pub(super) fn next_key(&self, end: usize) -> Option<(u8, usize)> {
        let is_next = self.text.bytes[end..].starts_with(Self::BEFORE_KEY);
        is_next.then_some((b'"', end + Self::BEFORE_KEY.len() - 1))
    }

    /// Checks the content of a string that may have escapes, control characters, or bytes that are not ASCII.
    #[inline(never)]
    fn special_string(&mut self, start: usize, end: usize) -> Option<(usize, bool)> {
        let (mut at, mut has_escapes) = (start, false);
        while at < end {
            match self.byte(at)? {
                b'\\' => {
                    has_escapes = true;
                    at = self.escape(at + 1)?;
                }
                0..b' ' => return None,
                0x80.. => {
                    self.is_ascii = false;
                    at += 1;
                }
                _ => {
                    let stops = bytes::vector(self.text.bytes, at).map(bytes::string_stops);
                    at += stops.map_or(1, |stops| stops.trailing_zeros().min(bytes::LANES as u32) as usize);
                }
            }
        }
        Some((end, has_escapes))
    }

    /// Scans an escape from after its backslash. Surrogates are not checked.
    fn escape(&self, at: usize) -> Option<usize> {
        match self.byte(at)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(at + 1),
            b'u' => {
                let digits = self.text.bytes.get(at + 1..at + 5)?;
                digits.iter().all(u8::is_ascii_hexdigit).then_some(at + 5)
            }
            _ => None,
        }
    }

    /// Scans a number, `true`, `false` or `null`.
    #[inline]
    fn word(&self, first: u8, at: usize) -> Option<usize> {
        let word: &[u8] = match first {
            b'-' | b'0'..=b'9' => return self.number(at),
            b't' => b"true",
            b'f' => b"false",
            b'n' => b"null",
            _ => return None,
        };
        let end = at + word.len();
        (self.text.bytes.get(at..end)? == word).then_some(end)
    }

    fn number(&self, at: usize) -> Option<usize> {
        let mut at = at + usize::from(self.text.bytes[at] == b'-');
        at = match self.byte(at)? {
            b'0' => at + 1,
            _ => self.digits(at)?,
        };
        if self.byte(at) == Some(b'.') {
            at = self.digits(at + 1)?;
        }
        if matches!(self.byte(at), Some(b'e' | b'E')) {
            let sign = matches!(self.byte(at + 1), Some(b'+' | b'-'));
            at = self.digits(at + 1 + usize::from(sign))?;
        }
        Some(at)
    }

    /// Scans one or more digits.
    fn digits(&self, start: usize) -> Option<usize> {
        let mut at = start;
        while self.text.bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        (at > start).then_some(at)
    }

    /// Scans an object or array from its bracket.
    fn container(&mut self, bracket: u8, at: usize) -> Option<usize> {
        self.closers.clear();
        let mut closer = closer_of(bracket);
        let mut next = self.token(at + 1)?;
        if next.0 == closer {
            return Some(next.1 + 1);
        }
        loop {
            // The first byte of a member or an element.
            if closer == b'}' {
                next = self.key(next)?;
            }
            let (first, at) = next;
            let mut at = match first {
                b'"' => {
                    let end = self.string(at + 1)?.0;
                    Self::after_string(end)
                }
                b'{' | b'[' => {
                    let inner = closer_of(first);
                    next = self.token(at + 1)?;
                    if next.0 == inner {
                        next.1 + 1
                    } else {
                        self.closers.push(closer);
                        closer = inner;
                        continue;
                    }
                }
                _ => self.word(first, at)?,
            };
            loop {
                let (byte, position) = self.token(at)?;
                at = position + 1;
                if byte == b',' {
                    next = self.token(at)?;
                    break;
                }
                if byte != closer {
                    return None;
                }
                match self.closers.pop() {
                    Some(outer) => closer = outer,
                    None => return Some(at),
                }
            }
        }
    }

    /// Scans a key and its colon. Returns the first byte of the value, and its position.
    #[inline]
    fn key(&mut self, (quote, at): (u8, usize)) -> Option<(u8, usize)> {
        if quote != b'"' {
            return None;
        }
        let (end, _) = self.string(at + 1)?;
        self.after_key(end)
    }
}

/// Returns the closing bracket of an opening one.
pub(super) fn closer_of(bracket: u8) -> u8 {
    if bracket == b'{' { b'}' } else { b']' }
}
