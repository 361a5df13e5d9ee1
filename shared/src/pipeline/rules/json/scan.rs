//! Scans JSON text against the grammar of RFC 8259, without recursion and without a limit of depth.

use crate::pipeline::bytes;

/// A position in JSON text. `None` everywhere in this module: the text is not JSON.
#[derive(Debug)]
pub(super) struct Scan<'t> {
    pub(super) text: &'t [u8],
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

impl<'t> Scan<'t> {
    pub(super) fn new(text: &'t [u8], closers: Vec<u8>) -> Self {
        Self { text, has_space: false, is_ascii: true, closers }
    }

    /// Returns the buffer for the next scan.
    pub(super) fn into_closers(self) -> Vec<u8> {
        self.closers
    }

    #[inline]
    pub(super) fn byte(&self, at: usize) -> Option<u8> {
        self.text.get(at).copied()
    }

    /// Returns the next byte that is not white space, and its position.
    #[inline]
    pub(super) fn token(&mut self, at: usize) -> Option<(u8, usize)> {
        let byte = self.byte(at)?;
        // White space is at or below the space character, and no token is.
        if byte > b' ' { Some((byte, at)) } else { self.token_after_space(at) }
    }

    #[cold]
    #[inline(never)]
    fn token_after_space(&mut self, mut at: usize) -> Option<(u8, usize)> {
        self.has_space = true;
        while matches!(self.byte(at)?, b' ' | b'\n' | b'\r' | b'\t') {
            at += 1;
        }
        Some((self.byte(at)?, at))
    }

    /// Scans the colon after a key. Returns the first byte of the value, and its position.
    #[inline]
    pub(super) fn colon(&mut self, at: usize) -> Option<(u8, usize)> {
        match self.token(at)? {
            (b':', at) => self.token(at + 1),
            _ => None,
        }
    }

    /// Scans a value that begins with this byte.
    #[inline]
    pub(super) fn value(&mut self, (first, at): (u8, usize)) -> Option<End> {
        let end = match first {
            b'"' => {
                let (end, has_escapes) = self.string(at + 1)?;
                return Some(End { at: end + 1, has_escapes });
            }
            b'{' | b'[' => self.container(first, at)?,
            _ => self.word(first, at)?,
        };
        Some(End { at: end, has_escapes: false })
    }

    /// Scans a string from after its opening quote. Returns the position of its closing quote and whether it has escapes.
    #[inline]
    pub(super) fn string(&mut self, start: usize) -> Option<(usize, bool)> {
        let text = self.text;
        let mut at = start;
        while let Some(vector) = bytes::vector(text, at) {
            let stops = bytes::string_stops(vector);
            if stops == 0 {
                at += bytes::LANES;
                continue;
            }
            at += stops.trailing_zeros() as usize;
            if text[at] == b'"' {
                return Some((at, false));
            }
            break;
        }
        self.rest_of_string(at)
    }

    /// Scans a string from the first byte that needs a closer look.
    #[inline(never)]
    fn rest_of_string(&mut self, mut at: usize) -> Option<(usize, bool)> {
        let mut has_escapes = false;
        loop {
            match self.byte(at)? {
                b'"' => return Some((at, has_escapes)),
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
                    let stops = bytes::vector(self.text, at).map(bytes::string_stops);
                    at += stops.map_or(1, |stops| stops.trailing_zeros().min(bytes::LANES as u32) as usize);
                }
            }
        }
    }

    /// Scans an escape from after its backslash. Surrogates are not checked.
    fn escape(&self, at: usize) -> Option<usize> {
        match self.byte(at)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(at + 1),
            b'u' => {
                let digits = self.text.get(at + 1..at + 5)?;
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
        (self.text.get(at..end)? == word).then_some(end)
    }

    fn number(&self, at: usize) -> Option<usize> {
        let mut at = at + usize::from(self.text[at] == b'-');
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
        while self.text.get(at).is_some_and(u8::is_ascii_digit) {
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
                b'"' => self.string(at + 1)?.0 + 1,
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
        self.colon(end + 1)
    }
}

/// Returns the closing bracket of an opening one.
pub(super) fn closer_of(bracket: u8) -> u8 {
    if bracket == b'{' { b'}' } else { b']' }
}
