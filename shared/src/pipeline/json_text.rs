//! JSON strings in a byte window: their end, their value, and whether they are valid text.

use super::bytes::{self, Escapes, JsonBlock, LongBlock};

/// A string's content between its quotes, as positions in the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// Whether the content has backslashes and must be unescaped.
    pub(crate) escaped: bool,
    /// Whether a scan has found that all content is ASCII without control characters, and all escapes are `\"`. False if it is
    /// not known.
    pub(crate) is_simple: bool,
}

impl Text {
    pub(crate) fn raw(self, window: &[u8]) -> &[u8] {
        &window[self.start..self.end]
    }
}

/// Scans from after an opening quote to the closing one. Returns `None` if the window ends first.
pub(crate) fn scan(window: &[u8], start: usize) -> Option<Text> {
    let mut at = start;
    let (mut escaped, mut is_simple) = (false, true);
    // Whether the byte at `at` is part of an escape.
    let mut in_escape = 0;
    while let Some(block) = window.get(at..).and_then(<[u8]>::first_chunk) {
        let JsonBlock { quotes, backslashes, has_others } = JsonBlock::of(block);
        is_simple &= !has_others;
        let after_backslashes = backslashes << 1 | in_escape;
        if quotes == after_backslashes {
            // Every quote is escaped, and nothing else is.
            escaped |= backslashes != 0;
            in_escape = backslashes >> (bytes::BLOCK - 1);
            at += bytes::BLOCK;
            continue;
        }
        let ends = if after_backslashes == 0 {
            quotes
        } else {
            quotes & !escaped_bytes(backslashes, &mut in_escape)
        };
        if ends != 0 {
            let end = ends.trailing_zeros();
            let content = (1 << end) - 1;
            escaped |= backslashes & content != 0;
            is_simple &= (quotes ^ after_backslashes) & content == 0;
            return Some(Text { start, end: at + end as usize, escaped, is_simple });
        }
        (escaped, is_simple) = (true, false);
        at += bytes::BLOCK;
    }
    at += in_escape as usize;
    loop {
        at += memchr::memchr2(b'"', b'\\', window.get(at..)?)?;
        if window[at] == b'"' {
            return Some(Text { start, end: at, escaped, is_simple: false });
        }
        escaped = true;
        at += 2;
    }
}

/// Returns the positions directly after a backslash that begins an escape. `in_escape` is 1 if the first position is one; after
/// the call, if the first position of the next block is one.
///
/// An addition carries through each run of backslashes, so that the end of a run shows whether its length is odd: Langdale and
/// Lemire, "Parsing Gigabytes of JSON per Second", section 3.1.1 (<https://arxiv.org/abs/1902.08318>).
pub(crate) fn escaped_bytes(backslashes: u64, in_escape: &mut u64) -> u64 {
    const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;
    let begins = backslashes & !*in_escape;
    let codes = ((begins << 1) | ODD).wrapping_sub(begins) ^ ODD;
    let escaped = codes ^ (backslashes | *in_escape);
    *in_escape = (codes & backslashes) >> 63;
    escaped
}

/// Returns whether raw string content has a control character, which JSON allows only as an escape (RFC 8259 section 7).
pub(crate) fn has_control(raw: &[u8]) -> bool {
    bytes::any(raw, |byte| byte < 0x20)
}

/// Returns whether bytes are text: UTF-8 without NUL.
pub(crate) fn is_text(bytes: &[u8]) -> bool {
    !bytes::any(bytes, |byte| byte == 0 || byte >= 0x80)
        || (memchr::memchr(0, bytes).is_none() && std::str::from_utf8(bytes).is_ok())
}

/// Returns whether raw string content without escapes is text without control characters.
pub(crate) fn is_clean(raw: &[u8]) -> bool {
    // One test decides for ASCII, which is almost everything. Bytes from 0x80 are negative as signed numbers.
    !bytes::any(raw, |byte| byte.cast_signed() < 0x20) || (!has_control(raw) && is_text(raw))
}

/// Replaces the content of `out` by the value of an escaped string, if that is clean text: without control characters, invalid
/// escapes, lone surrogates, NUL and invalid UTF-8. Returns false otherwise; `out` is then unspecified.
pub(crate) fn decode(raw: &[u8], out: &mut Vec<u8>) -> bool {
    const ROOM: usize = bytes::BLOCK + bytes::LANES;
    // No value is longer than its escaped form. Whole blocks are written, so the last one needs room.
    out.resize(raw.len() + ROOM, 0);
    let (mut at, mut length, mut is_ascii) = (0, 0, true);
    while at < raw.len() {
        let Some(to) = out.get_mut(length..).and_then(<[u8]>::first_chunk_mut) else { return false };
        let padded;
        let (block, count) = if let Some(block) = raw[at..].first_chunk() {
            (block, bytes::BLOCK)
        } else {
            let rest = &raw[at..];
            let mut block = [b' '; ROOM];
            block[..rest.len()].copy_from_slice(rest);
            padded = block;
            (&padded, rest.len().min(bytes::BLOCK))
        };
        let found = Escapes::of(block);
        if found.has_controls {
            return false;
        }
        is_ascii &= found.is_ascii;
        let (read, written) = decode_plain(block, count, found.backslashes, to);
        at += read;
        length += written;
        if read < count {
            // This escape is not `\"`, `\/` or `\\`.
            let Some((character, read)) = raw.get(at + 1..).and_then(escape) else { return false };
            is_ascii &= character.is_ascii() && character != '\0';
            length += character.encode_utf8(&mut out[length..]).len();
            at += 1 + read;
        }
    }
    out.truncate(length);
    is_ascii || is_text(out)
}

/// Decodes the first `count` bytes of a block, up to the first escape other than `\"`, `\/` and `\\`, or one that the block cuts.
/// Returns the counts of bytes read and written.
#[inline]
fn decode_plain(block: &LongBlock, count: usize, mut backslashes: u64, to: &mut LongBlock) -> (usize, usize) {
    // From here, bytes stand for themselves. A byte after a backslash is copied with those after it.
    let mut plain = 0;
    let mut written = 0;
    while backslashes != 0 {
        let stop = backslashes.trailing_zeros() as usize % bytes::BLOCK;
        backslashes &= backslashes - 1;
        let after = block[stop + 1];
        if after != b'"' && after != b'/' {
            // The second of two backslashes begins no escape.
            if after != b'\\' || backslashes == 0 {
                bytes::copy(block, plain, to, written, stop - plain);
                return (stop, written + stop - plain);
            }
            backslashes &= backslashes - 1;
        }
        bytes::copy(block, plain, to, written, stop - plain);
        written += stop - plain;
        plain = stop + 1;
    }
    if plain < count {
        bytes::copy(block, plain, to, written, count - plain);
        written += count - plain;
    }
    (count, written)
}

/// Appends the value of an escaped string. Returns false for an invalid escape or a lone surrogate; `out` is then
/// unspecified.
pub(crate) fn unescape(raw: &[u8], out: &mut Vec<u8>) -> bool {
    let mut at = 0;
    while let Some(plain) = memchr::memchr(b'\\', &raw[at..]) {
        out.extend_from_slice(&raw[at..at + plain]);
        at += plain + 1;
        let Some((character, length)) = escape(&raw[at..]) else { return false };
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        at += length;
    }
    out.extend_from_slice(&raw[at..]);
    true
}

/// Returns the value and the length of an escape, given from after its backslash; `None` if it is invalid or a lone surrogate.
fn escape(raw: &[u8]) -> Option<(char, usize)> {
    let character = match *raw.first()? {
        escape @ (b'"' | b'\\' | b'/') => char::from(escape),
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let (character, length) = unicode_escape(&raw[1..])?;
            return Some((character, 1 + length));
        }
        _ => return None,
    };
    Some((character, 1))
}

/// Returns the value of a string's raw content, with invalid text replaced; `None` if it is not JSON.
pub(crate) fn value(raw: &[u8]) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    unescape_repaired(raw, &mut value).then_some(value)
}

/// Returns whether two JSON values are equal: the same text, or strings of the same value.
pub(crate) fn same_value(one: &[u8], other: &[u8]) -> bool {
    fn content(raw: &[u8]) -> Option<&[u8]> {
        raw.strip_prefix(b"\"")?.strip_suffix(b"\"")
    }
    one == other || matches!((content(one), content(other)), (Some(one), Some(other)) if same(one, other))
}

/// Returns whether the raw contents of two strings have the same value.
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    let mut value = Vec::new();
    one == other || unescape(one, &mut value) && has_value(other, &value)
}

/// Returns whether the raw content of a string has this value.
pub(crate) fn has_value(raw: &[u8], expected: impl AsRef<[u8]>) -> bool {
    let mut value = Vec::new();
    unescape(raw, &mut value) && value == expected.as_ref()
}

/// The replacement of NUL.
const NUL: &[u8] = b"\\u0000";

/// Appends bytes as text: U+FFFD for invalid UTF-8, `\u0000` for NUL. After a backslash that begins an escape, NUL is U+FFFD:
/// with `\u0000` the two would be another escape, and JSON that is damaged would be valid.
pub(crate) fn repair(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    for chunk in bytes.utf8_chunks() {
        let mut parts = chunk.valid().split('\0');
        out.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
        for part in parts {
            let backslashes = out[start..].iter().rev().take_while(|byte| **byte == b'\\').count();
            let is_escape = backslashes % 2 == 1;
            out.extend_from_slice(if is_escape { "\u{fffd}".as_bytes() } else { NUL });
            out.extend_from_slice(part.as_bytes());
        }
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// Appends the value of a string's raw content, with invalid text replaced as [`repair`] does and lone surrogates by
/// U+FFFD. Returns false if the content is not JSON: a control character other than NUL, or an invalid escape. `out` is
/// then unspecified.
pub(crate) fn unescape_repaired(raw: &[u8], out: &mut Vec<u8>) -> bool {
    if bytes::any(raw, |byte| byte < 0x20 && byte != 0) {
        return false;
    }
    let mut value = Vec::new();
    let mut rest = raw;
    // `unescape` handles everything up to the next lone surrogate.
    while let Some((before, after)) = split_at_lone_surrogate(rest) {
        if !unescape(before, &mut value) {
            return false;
        }
        value.extend_from_slice("\u{fffd}".as_bytes());
        rest = after;
    }
    if !unescape(rest, &mut value) {
        return false;
    }
    repair(&value, out);
    true
}

/// Splits around the first escape that is a lone surrogate.
fn split_at_lone_surrogate(raw: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    while let Some(plain) = memchr::memchr(b'\\', raw.get(at..)?) {
        let escape = at + plain;
        at = escape + 2;
        if raw.get(escape + 1) == Some(&b'u') {
            match unicode_escape(raw.get(at..)?) {
                Some((_, length)) => at += length,
                None if hex4(&raw[at..]).is_some() => return Some((&raw[..escape], &raw[at + 4..])),
                None => return None,
            }
        }
    }
    None
}

/// Returns the character after `\u` and the number of its bytes: four digits, or a surrogate pair.
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

    #[test]
    fn invalid_text_is_replaced_and_invalid_json_is_refused() {
        let repaired = |raw: &[u8]| {
            let mut out = Vec::new();
            unescape_repaired(raw, &mut out).then(|| String::from_utf8(out).unwrap())
        };
        for (raw, expected) in [
            (b"a\\u0000b".as_slice(), Some(r"a\u0000b")),
            (b"a\0b", Some(r"a\u0000b")),
            (b"/p\xc0\xafx", Some("/p\u{fffd}\u{fffd}x")),
            (br"\ud800\ud83d\ude00\udc00A\n", Some("\u{fffd}\u{1f600}\u{fffd}A\n")),
            (br"\\ud800\ud800", Some("\\ud800\u{fffd}")),
            (br"\ud800\u0041", Some("\u{fffd}A")),
            (br"\ud800\q", None),
            (br"\u12", None),
            (b"a\x01\xff", None),
        ] {
            assert_eq!(repaired(raw).as_deref(), expected, "{}", String::from_utf8_lossy(raw));
        }
    }

    /// Raw string content of any length, with escapes at any position of a block.
    fn raw_content() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => "[a-z ]{0,30}".prop_map(String::into_bytes),
            4 => Just(br#"\""#.to_vec()),
            2 => Just(br"\\".to_vec()),
            1 => Just(br"\n".to_vec()),
            1 => Just(br"\u00e9\ud83d\ude00".to_vec()),
            1 => Just("é".as_bytes().to_vec()),
            1 => "[a-z]{60,70}".prop_map(String::into_bytes),
            1 => prop_oneof![Just(br"\u0000".to_vec()), Just(br"\ud800".to_vec()), Just(br"\q".to_vec()), Just(vec![b'\\']),
                Just(vec![0xff]), Just(vec![0]), Just(vec![b'\n']), Just(vec![b'"'])],
        ];
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    fn simple_content() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![4 => "[a-z ]{0,30}", 4 => Just(r#"\""#.to_owned()), 1 => "[a-z]{60,70}"];
        proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat().into_bytes())
    }

    proptest! {
        #[test]
        fn clean_text_is_decoded_in_blocks_as_byte_by_byte(raw in raw_content(), before in "[a-z]{0,3}") {
            let mut expected = Vec::new();
            let is_clean = !has_control(&raw) && unescape(&raw, &mut expected) && is_text(&expected);
            let mut out = before.into_bytes();
            prop_assert_eq!(decode(&raw, &mut out), is_clean);
            if is_clean {
                prop_assert_eq!(out, expected);
            }
        }

        #[test]
        fn simple_content_is_ascii_text_with_escaped_quotes(
            raw in prop_oneof![raw_content(), simple_content()],
            after in "[a-z]{0,100}",
        ) {
            let window = [&raw[..], b"\"", after.as_bytes()].concat();
            if let Some(text) = scan(&window, 0).filter(|text| text.is_simple) {
                let content = String::from_utf8(text.raw(&window).to_vec()).unwrap();
                let is_printable = content.bytes().all(|byte| (b' '..0x80).contains(&byte));
                let has_other_escapes = content.replace("\\\"", "").contains('\\');
                prop_assert!(is_printable && !has_other_escapes, "{}", content);
                let (mut value, mut unescaped) = (Vec::new(), Vec::new());
                bytes::append_without_backslashes(&window, 0, text.end, &mut value);
                prop_assert!(unescape(text.raw(&window), &mut unescaped));
                prop_assert_eq!(value, unescaped);
            }
        }

        #[test]
        fn simple_content_before_enough_text_is_found(raw in simple_content()) {
            let window = [&raw[..], b"\"", &[b' '; bytes::BLOCK]].concat();
            let escaped = raw.contains(&b'\\');
            prop_assert_eq!(scan(&window, 0), Some(Text { start: 0, end: raw.len(), escaped, is_simple: true }));
        }

        #[test]
        fn the_end_of_a_string_is_found_in_blocks_as_byte_by_byte(window in raw_content(), start in 0..3_usize) {
            let simple = || {
                let (mut at, mut escaped) = (start, false);
                loop {
                    match window.get(at)? {
                        b'"' => return Some((at, escaped)),
                        b'\\' => (at, escaped) = (at + 2, true),
                        _ => at += 1,
                    }
                }
            };
            prop_assert_eq!(scan(&window, start).map(|text| (text.end, text.escaped)), simple());
        }
        #[test]
        fn repaired_bytes_equal_those_of_the_standard_library(
            bytes in proptest::collection::vec(prop_oneof![Just(0), Just(b'\\'), any::<u8>()], 0..40),
        ) {
            let mut expected = String::new();
            let mut is_escape = false;
            for character in String::from_utf8_lossy(&bytes).chars() {
                match character {
                    '\0' if is_escape => expected.push('\u{fffd}'),
                    '\0' => expected.push_str(r"\u0000"),
                    other => expected.push(other),
                }
                is_escape = character == '\\' && !is_escape;
            }
            let mut out = Vec::new();
            repair(&bytes, &mut out);
            prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
        }

        #[test]
        fn any_string_is_unescaped_as_serde_json_unescapes_it(
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
