//! Text of the page: cut to a size, without characters that move the cursor or change the direction of text.

use maud::{Escaper, Render};

use crate::text::printable;
pub(super) use crate::text::{number, plural};

/// Maximum bytes of a key or a message.
const MAX_LONG: usize = 200;
/// Maximum bytes of a name: of a run, rule, table, column or reason.
const MAX_NAME: usize = 64;
/// Maximum bytes of an error or a warning.
const MAX_ERROR: usize = 400;

/// The name of a run, rule, table, column or reason.
#[derive(Clone, Copy)]
pub(super) struct Name<'a>(pub(super) &'a str);

/// A key or a prefix. The middle of a long one is cut, because the parts at both ends differ most.
#[derive(Clone, Copy)]
pub(super) struct Key<'a>(pub(super) &'a str);

/// The beginning of a message.
#[derive(Clone, Copy)]
pub(super) struct Message<'a>(pub(super) &'a str);

/// An error or a warning.
#[derive(Clone, Copy)]
pub(super) struct Long<'a>(pub(super) &'a str);

impl Render for Name<'_> {
    fn render_to(&self, buffer: &mut String) {
        write(self.0, MAX_NAME, 0, buffer);
    }
}

impl Render for Key<'_> {
    fn render_to(&self, buffer: &mut String) {
        write(self.0, MAX_LONG / 2, MAX_LONG / 2, buffer);
    }
}

impl Render for Message<'_> {
    fn render_to(&self, buffer: &mut String) {
        write(self.0, MAX_LONG, 0, buffer);
    }
}

impl Render for Long<'_> {
    fn render_to(&self, buffer: &mut String) {
        write(self.0, MAX_ERROR, 0, buffer);
    }
}

/// Appends the first and last bytes of a text, escaped. A text of characters that HTML escapes is cut earlier.
fn write(text: &str, first: usize, last: usize, buffer: &mut String) {
    use std::fmt::Write;
    let text = printable(text);
    let mut escaper = Escaper::new(buffer);
    let mut append = |text: &str| {
        // A string accepts every write.
        let _ = escaper.write_str(text);
    };
    if fitting(text.chars(), first + last) == text.len() {
        return append(&text);
    }
    append(&text[..fitting(text.chars(), first)]);
    append("…");
    append(&text[text.len() - fitting(text.chars().rev(), last)..]);
}

/// Returns the bytes of the characters that fit a maximum, which is twice as large for the escaped text.
fn fitting(characters: impl Iterator<Item = char>, max: usize) -> usize {
    let (mut bytes, mut escaped) = (0, 0);
    for character in characters {
        escaped += match character {
            '"' => "&quot;".len(),
            '&' => "&amp;".len(),
            '<' | '>' => "&lt;".len(),
            other => other.len_utf8(),
        };
        if bytes + character.len_utf8() > max || escaped > 2 * max {
            break;
        }
        bytes += character.len_utf8();
    }
    bytes
}

/// Returns the bytes of a whole text in HTML; `None` if the page would show another text.
pub(super) fn whole_size(text: &str) -> Option<usize> {
    (printable(text) == text).then(|| text.render().into_string().len())
}

/// Returns a number with its noun, in the plural unless it is one.
pub(super) fn count(count: u64, noun: &str) -> String {
    format!("{} {noun}{}", number(count), plural(count, "", "s"))
}

/// Returns a size in the largest unit in which it is at least one.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return count(bytes, "byte");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// Returns a duration in one unit below ten seconds, and in two above a minute.
pub(super) fn duration(milliseconds: u64) -> String {
    let seconds = milliseconds / 1000;
    match seconds {
        _ if milliseconds < 10_000 => format!("{} ms", number(milliseconds)),
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", number(seconds / 3600), seconds / 60 % 60),
    }
}

/// Returns a share in percent. A small share is not zero, and nearly all is not all.
pub(super) fn percent(part: u64, whole: u64) -> String {
    if part == 0 || whole == 0 {
        return "0 %".to_owned();
    }
    let share = part as f64 * 100.0 / whole as f64;
    match share {
        _ if part >= whole => "100 %".to_owned(),
        share if share < 0.1 => "< 0.1 %".to_owned(),
        share if share > 99.9 => "> 99.9 %".to_owned(),
        share => format!("{share:.1} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters_and_escaped() {
        assert_eq!(
            Name("a<b>&\"\u{202e}\u{0}'").render().into_string(),
            "a&lt;b&gt;&amp;&quot;\u{fffd}\u{fffd}'"
        );
        let key = "é".repeat(300);
        let shown = Key(&key).render().into_string();
        assert_eq!(shown, format!("{0}…{0}", "é".repeat(50)));
        let odd = format!("a{key}b");
        assert!(Message(&odd).render().into_string().ends_with("é…"));
        assert_eq!(Key("short").render().into_string(), "short");
        // 21 quotes are 126 bytes of HTML, and a name has at most 128.
        let quotes = "\"".repeat(64);
        assert_eq!(Name(&quotes).render().into_string(), format!("{}…", "&quot;".repeat(21)));
    }

    #[test]
    fn numbers_sizes_durations_and_shares_are_short() {
        assert_eq!([1, 2].map(|number| count(number, "row")), ["1 row", "2 rows"]);
        assert_eq!(
            [1, 1023, 1024, 1_048_575, 1 << 20, u64::MAX].map(bytes),
            ["1 byte", "1,023 bytes", "1.0 KiB", "1.0 MiB", "1.0 MiB", "16.0 EiB"]
        );
        assert_eq!(
            [0, 9_999, 10_000, 59_999, 61_000, 3_599_999, 7_260_000].map(duration),
            ["0 ms", "9,999 ms", "10 s", "59 s", "1 min 1 s", "59 min 59 s", "2 h 1 min"]
        );
        let shares = [(0, 0), (0, 5), (1, 3), (1, 10_000), (9_999, 10_000), (5, 5)];
        assert_eq!(
            shares.map(|(part, whole)| percent(part, whole)),
            ["0 %", "0 %", "33.3 %", "< 0.1 %", "> 99.9 %", "100 %"]
        );
    }
}
