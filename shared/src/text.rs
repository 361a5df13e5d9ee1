//! Values as text in errors and file names.

/// Characters of a value that an error shows.
const QUOTED_CHARS: usize = 200;

/// Returns a value in quotes and escaped, cut to 200 characters.
pub(crate) fn quoted(value: &str) -> String {
    let mut shown: String = value.chars().take(QUOTED_CHARS).collect();
    if shown.len() < value.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// Returns lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
