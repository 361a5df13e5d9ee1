//! The regular expressions of `match()` and `search()`: I-Regexp (RFC 9485).

use regex::bytes::Regex;

use crate::{limits::MAX_QUERY_REGEX_COMPILED_BYTES, pipeline::rules::pattern};

/// A compiled regular expression.
#[derive(Debug)]
pub(super) enum Pattern {
    /// Text of a fixed length. Each byte is one of two, for example `[Hh][Oo][Ss][Tt]`: faster than the library.
    Bytes(Vec<[u8; 2]>),
    Regex(Regex),
}

impl Pattern {
    /// Compiles a pattern. With `is_whole`, it must match the whole text. The error is one line.
    pub(super) fn new(pattern: &str, is_whole: bool) -> Result<Self, String> {
        if is_whole && let Some(bytes) = bytes(pattern) {
            return Ok(Self::Bytes(bytes));
        }
        let own = translate(pattern);
        let own = if is_whole { format!(r"\A(?:{own})\z") } else { own };
        let problem = |problems: Vec<String>| problems.join("; ");
        // Compiled alone as well: "a)(b" is valid only inside the group.
        let compile =
            |own: &str| pattern::compile_up_to("pattern", own, None, MAX_QUERY_REGEX_COMPILED_BYTES);
        compile(&translate(pattern)).map_err(problem)?;
        compile(&own).map(Self::Regex).map_err(problem)
    }

    pub(super) fn is_match(&self, text: &[u8]) -> bool {
        match self {
            Self::Bytes(bytes) => {
                bytes.len() == text.len()
                    && bytes.iter().zip(text).all(|([one, other], byte)| byte == one || byte == other)
            }
            Self::Regex(regex) => regex.is_match(text),
        }
    }
}

/// Returns the alternatives of each byte if the pattern is a sequence of ASCII characters and classes of two of them.
fn bytes(pattern: &str) -> Option<Vec<[u8; 2]>> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b" -_:/@#%&=,;<>~'\"!".contains(&byte);
    let mut bytes = Vec::new();
    let mut rest = pattern.as_bytes();
    while let [first, after @ ..] = rest {
        (rest, bytes) = match rest {
            [b'[', one, other, b']', after @ ..]
                if one.is_ascii_alphanumeric() && other.is_ascii_alphanumeric() =>
            {
                bytes.push([*one, *other]);
                (after, bytes)
            }
            _ if is_plain(*first) => {
                bytes.push([*first, *first]);
                (after, bytes)
            }
            _ => return None,
        };
    }
    Some(bytes)
}

/// Translates the only difference: `.` of an I-Regexp matches neither line feed nor carriage return (RFC 9485 section 5.3).
fn translate(pattern: &str) -> String {
    let mut own = String::new();
    let (mut in_class, mut after_backslash) = (false, false);
    for character in pattern.chars() {
        if character == '.' && !in_class && !after_backslash {
            own.push_str(r"[^\n\r]");
            continue;
        }
        own.push(character);
        match character {
            _ if after_backslash => after_backslash = false,
            '\\' => after_backslash = true,
            '[' => in_class = true,
            ']' => in_class = false,
            _ => {}
        }
    }
    own
}
