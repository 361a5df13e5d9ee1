//! JSON values without their white space.

use crate::pipeline::json_text;

/// Returns whether two JSON values are equal except for white space and the escapes of a string.
pub(super) fn is_same(one: &[u8], other: &[u8]) -> bool {
    let without_space = |raw: &[u8]| {
        let mut text = Vec::new();
        compact(raw, &mut text);
        text
    };
    json_text::same_value(one, other) || without_space(one) == without_space(other)
}

/// Appends JSON text without the white space outside its strings.
pub(crate) fn compact(raw: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while at < raw.len() {
        match raw[at] {
            b'"' => {
                let end = json_text::scan(raw, at + 1).map_or(raw.len(), |text| text.end + 1);
                out.extend_from_slice(&raw[at..end]);
                at = end;
                continue;
            }
            b' ' | b'\t' | b'\n' | b'\r' => {}
            byte => out.push(byte),
        }
        at += 1;
    }
}
