//! Values and counts as text in errors, messages and file names.

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

/// Returns a number with separators, such as `2,000`.
#[must_use]
pub fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns the noun for a count: `one` only for one.
#[must_use]
pub fn plural<'a>(count: u64, one: &'a str, many: &'a str) -> &'a str {
    if count == 1 { one } else { many }
}

/// Returns a count and its noun, such as `1 row` or `2,000 rows`.
#[must_use]
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(count), plural(count, one, many))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_has_separators_and_only_one_has_the_singular() {
        assert_eq!([0, 999, 1000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 1, 2].map(|count| plural(count, "is", "are")), ["are", "is", "are"]);
        let rows = [0, 1, 2000].map(|count| counted(count, "row", "rows"));
        assert_eq!(rows, ["0 rows", "1 row", "2,000 rows"]);
    }

    #[test]
    fn printed_text_has_no_control_characters_and_none_that_change_its_direction() {
        let hostile = "a\u{1b}[2J\nb\u{9b}1m\u{7f}\u{202e}gpj.exe\u{2028}\u{2066}é日";
        assert_eq!(
            printable(hostile),
            "a\u{fffd}[2J\u{fffd}b\u{fffd}1m\u{fffd}\u{fffd}gpj.exe\u{fffd}\u{fffd}é日"
        );
    }
}
