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

/// Replaces characters that could move the cursor of a terminal or disguise text. Keys, messages and values may hold them.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|character| if is_printable(character) { character } else { '\u{fffd}' }).collect()
}

/// Returns false for control characters, ends of lines or paragraphs, and characters that change the direction of text
/// (<https://www.unicode.org/reports/tr36/#Bidirectional_Text_Spoofing>).
#[must_use]
pub fn is_printable(character: char) -> bool {
    let changes_direction = matches!(
        character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    !(character.is_control() || changes_direction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printed_text_has_no_control_characters_and_none_that_change_its_direction() {
        let hostile = "a\u{1b}[2J\nb\u{9b}1m\u{7f}\u{202e}gpj.exe\u{2028}\u{2066}é日";
        assert_eq!(
            printable(hostile),
            "a\u{fffd}[2J\u{fffd}b\u{fffd}1m\u{fffd}\u{fffd}gpj.exe\u{fffd}\u{fffd}é日"
        );
    }
}
