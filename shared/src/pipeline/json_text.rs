//! JSON strings in a byte window: where one ends, what it says, and whether it is clean text.

use super::bytes;

/// A string's content between its quotes, as positions in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Holds backslashes: the content must be unescaped.
    pub(crate) escaped: bool,
}

impl Text {
    pub(crate) fn raw(self, window: &[u8]) -> &[u8] {
        &window[self.start..self.end]
    }
}

/// Scans from behind an opening quote to the closing one; `None` when the window ends first.
pub(crate) fn scan(window: &[u8], start: usize) -> Option<Text> {
    let mut at = start;
    let mut escaped = false;
    loop {
        at += memchr::memchr2(b'"', b'\\', window.get(at..)?)?;
        if window[at] == b'"' {
            return Some(Text { start, end: at, escaped });
        }
        escaped = true;
        at += 2;
    }
}

/// Whether raw string content holds a control character, which JSON allows only as an escape (RFC 8259 section 7).
pub(crate) fn has_control(raw: &[u8]) -> bool {
    bytes::any(raw, |byte| byte < 0x20)
}

/// Whether bytes are UTF-8 without NUL: what we call text.
pub(crate) fn is_text(bytes: &[u8]) -> bool {
    !bytes::any(bytes, |byte| byte == 0 || byte >= 0x80)
        || (memchr::memchr(0, bytes).is_none() && std::str::from_utf8(bytes).is_ok())
}

/// Whether raw string content without escapes is text and holds no control character.
pub(crate) fn is_clean(raw: &[u8]) -> bool {
    // Almost all are of ASCII, and found out by one look. As a signed number, a byte from 0x80 on is below zero.
    !bytes::any(raw, |byte| byte.cast_signed() < 0x20) || (!has_control(raw) && is_text(raw))
}

/// Appends what an escaped string says; false if an escape is not one of JSON's or is half a surrogate pair, and then
/// the rest of `out` is unspecified.
pub(crate) fn unescape(raw: &[u8], out: &mut Vec<u8>) -> bool {
    let mut at = 0;
    while let Some(plain) = memchr::memchr(b'\\', &raw[at..]) {
        out.extend_from_slice(&raw[at..at + plain]);
        at += plain + 1;
        let Some(&escape) = raw.get(at) else { return false };
        at += 1;
        out.push(match escape {
            b'"' | b'\\' | b'/' => escape,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let Some((character, length)) = unicode_escape(&raw[at..]) else { return false };
                at += length;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return false,
        });
    }
    out.extend_from_slice(&raw[at..]);
    true
}

/// The character behind `\u` and how many bytes it takes: four digits, or a surrogate pair.
fn unicode_escape(bytes: &[u8]) -> Option<(char, usize)> {
    let first = hex4(bytes)?;
    if !(0xd800..0xdc00).contains(&first) {
        return Some((char::from_u32(first)?, 4));
    }
    let second = hex4(bytes.get(4..)?.strip_prefix(b"\\u")?)?;
    if !(0xdc00..0xe000).contains(&second) {
        return None;
    }
    Some((char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00))?, 10))
}

fn hex4(bytes: &[u8]) -> Option<u32> {
    bytes.get(..4)?.iter().try_fold(0, |value, byte| Some(value << 4 | char::from(*byte).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_string_that_serde_json_reads_is_unescaped_to_the_same_text(
            pieces in proptest::collection::vec(
                prop_oneof![
                    "\\PC{0,4}".prop_map(|text| serde_json::to_string(&text).unwrap().trim_matches('"').to_owned()),
                    "\\\\u[0-9a-fA-F]{4}",
                    Just(r"\ud83d\ude00".to_owned()),
                    r#"\\["\\/bfnrtq]"#,
                ], 0..8),
        ) {
            let json = format!("\"{}\"", pieces.concat());
            let text = scan(json.as_bytes(), 1).filter(|text| text.end == json.len() - 1);
            let mut out = Vec::new();
            let ours = text.is_some_and(|text| unescape(text.raw(json.as_bytes()), &mut out));
            let theirs = serde_json::from_str::<String>(&json);
            prop_assert_eq!(ours, theirs.is_ok(), "{}", json);
            if let Ok(theirs) = theirs {
                prop_assert_eq!(out, theirs.into_bytes());
            }
        }
    }
}
