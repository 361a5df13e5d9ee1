//! The values of a JSON object as CSV fields. Most are copied from the message, with one scan.

use super::field::{self, ABSENT};
use crate::pipeline::{
    bytes::{self, LANES},
    json_input::JsonInput,
    rules::Row,
};

/// Appends the values of a row, each after a comma.
pub(super) fn write_values(row: &Row<'_>, out: &mut Vec<u8>) {
    let text = row.text();
    let length = text.message.bytes.len();
    for cell in row.cells() {
        let Some((start, end)) = cell else {
            out.push(b',');
            out.extend_from_slice(ABSENT);
            continue;
        };
        out.push(b',');
        let (start, end) = (start as usize, end as usize);
        if start < length {
            write_part(text.message, start, end, out);
        } else {
            field::write_part(text.decoded, start - length, end - length, out);
        }
    }
}

/// Appends a part of a message, in quotes only if it needs them. It has no line breaks and no control characters, because a JSON
/// string has those only as escapes.
#[inline]
fn write_part(message: JsonInput<'_>, start: usize, end: usize, out: &mut Vec<u8>) {
    // With escaped quotes, each quote has a backslash before it, and there are no other backslashes.
    let special = if message.has_escaped_quotes { b'\\' } else { b'"' };
    match bytes::vector(message.bytes, start) {
        Some(vector) if end - start <= LANES => {
            let before = out.len();
            out.extend_from_slice(&vector);
            out.truncate(before + end - start);
            if bytes::has_either(vector, end - start, [b',', special]) {
                out.truncate(before);
                write_quoted(message, start, end, out);
            }
        }
        _ => write_long(message, start, end, special, out),
    }
}

#[inline(never)]
fn write_long(message: JsonInput<'_>, start: usize, end: usize, special: u8, out: &mut Vec<u8>) {
    let value = &message.bytes[start..end];
    if bytes::either_is_in(value, [b',', special]) {
        write_quoted(message, start, end, out);
    } else {
        out.extend_from_slice(value);
    }
}

fn write_quoted(message: JsonInput<'_>, start: usize, end: usize, out: &mut Vec<u8>) {
    out.push(b'"');
    if message.has_escaped_quotes {
        let from = out.len();
        out.extend_from_slice(&message.bytes[start..end]);
        // The backslash before a quote becomes the first of two quotes.
        for byte in &mut out[from..] {
            *byte = if *byte == b'\\' { b'"' } else { *byte };
        }
    } else {
        bytes::append_doubling_quotes(message.bytes, start, end, out);
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pipeline::csv::field;

    proptest! {
        #[test]
        fn parts_of_a_message_are_written_as_their_values(
            before in "[a-z\",]{0,20}",
            value in prop_oneof![r#"[a\",é \[\{]{0,20}"#, "[a-z]{10,40}[\",é]?[a\"]{0,3}", r#"([a-z ]{0,20}[",:]{0,3}){0,6}"#],
            after in "[a-z\",]{0,20}",
        ) {
            let mut expected = Vec::new();
            field::write(value.as_bytes(), &mut expected);
            for has_escaped_quotes in [false, true] {
                let text = |part: &str| if has_escaped_quotes { part.replace('"', "\\\"") } else { part.to_owned() };
                let whole = [text(&before), text(&value), text(&after)].concat();
                let message = JsonInput { bytes: whole.as_bytes(), has_escaped_quotes };
                let start = text(&before).len();
                let mut out = b"x".to_vec();
                write_part(message, start, start + text(&value).len(), &mut out);
                prop_assert_eq!(&out[1..], &expected, "{}", has_escaped_quotes);
            }
        }
    }
}
