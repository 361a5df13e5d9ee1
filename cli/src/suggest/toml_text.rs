//! TOML text of untrusted values: strings and comments on one line.

use crate::summary::{is_printable, printable};

/// Columns of a comment's line.
const COMMENT_COLUMNS: usize = 110;

/// Returns a basic string. Escapes quotes, backslashes, and characters that could disguise text.
pub(super) fn string(value: &str) -> String {
    let mut text = String::from("\"");
    for character in value.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            character if is_printable(character) => text.push(character),
            character if u32::from(character) <= 0xffff => {
                text.push_str(&format!("\\u{:04X}", u32::from(character)));
            }
            character => text.push_str(&format!("\\U{:08X}", u32::from(character))),
        }
    }
    text.push('"');
    text
}

/// Returns a literal string if the value can be one, because patterns are easier to read without escapes.
pub(super) fn literal(value: &str) -> String {
    if value.chars().all(|character| character != '\'' && is_printable(character)) {
        format!("'{value}'")
    } else {
        string(value)
    }
}

/// Returns a comment, wrapped between words.
pub(super) fn comment(text: &str) -> String {
    let mut lines = String::new();
    let mut line = String::new();
    for word in printable(text).split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > COMMENT_COLUMNS {
            lines += &format!("# {line}\n");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    format!("{lines}# {line}\n")
}

/// Turns TOML into a comment, for a rule that the user must check first.
pub(super) fn commented(toml: &str) -> String {
    toml.lines().map(|line| format!("# {line}").trim_end().to_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_values_stay_one_string_on_one_line() {
        let hostile = [
            "a\"b\\c\n]\r\t",
            "\u{0}\u{7f}\u{202e}'''",
            "日本 \u{e0001}",
            "\"]\n[[rule]]\nname = \"x\"",
            "it's",
        ];
        for value in hostile {
            for text in [string(value), literal(value)] {
                let table: toml::Table = toml::from_str(&format!("x = {text}")).unwrap();
                assert_eq!(table["x"].as_str(), Some(value), "{text}");
                assert!(!text.contains(['\n', '\u{202e}']));
            }
            let text = comment(value);
            assert!(text.lines().all(|line| line.starts_with("# ")), "{text:?}");
        }
    }

    #[test]
    fn a_long_comment_is_wrapped_between_words() {
        let text = comment(&"word ".repeat(60));
        assert!(text.lines().count() > 2 && text.lines().all(|line| line.len() <= COMMENT_COLUMNS + 2));
    }
}
