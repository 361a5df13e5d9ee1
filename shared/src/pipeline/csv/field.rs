//! One field of a CSV row: quoting, and the guard against formulas.

use crate::{
    pipeline::bytes::{self, CsvMarks},
    table::ColumnType,
};

/// The text of an absent value.
pub(crate) const ABSENT: &[u8] = b"-";

/// Appends a value, in quotes only if it needs them.
///
/// Line breaks become the two characters `\n` or `\r`, because Hive and Athena read line by line. U+0001 becomes
/// `\u0001`, because Hive's `OpenCSVSerDe` uses it as its escape character.
pub(crate) fn write(value: &[u8], out: &mut Vec<u8>) {
    write_part(value, 0, value.len(), out);
}

/// Appends the value `text[start..end]` as [`write`] does. Faster for a short value with text after it.
pub(crate) fn write_part(text: &[u8], start: usize, end: usize, out: &mut Vec<u8>) {
    let found = CsvMarks::of(text, start, end);
    if found.breaks {
        return write_breaks(&text[start..end], found.quotes || found.commas, out);
    }
    match (found.quotes, found.commas) {
        (false, false) => bytes::append(text, start, end, out),
        (has_quotes, _) => {
            out.push(b'"');
            if has_quotes {
                bytes::append_doubling_quotes(text, start, end, out);
            } else {
                bytes::append(text, start, end, out);
            }
            out.push(b'"');
        }
    }
}

fn write_breaks(value: &[u8], quoted: bool, out: &mut Vec<u8>) {
    if quoted {
        out.push(b'"');
    }
    for byte in value {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            1 => out.extend_from_slice(b"\\u0001"),
            b'"' => out.extend_from_slice(b"\"\""),
            _ => out.push(*byte),
        }
    }
    if quoted {
        out.push(b'"');
    }
}

/// Appends a value so that spreadsheets do not read it as a formula: text that begins like a formula gets a `'` in front.
/// In a column of numbers or times, numbers with a sign stay as they are.
pub(crate) fn write_guarded(value: &[u8], kind: ColumnType, out: &mut Vec<u8>) {
    if begins_like_formula(value)
        && (matches!(kind, ColumnType::String | ColumnType::Ip) || !is_number(value))
    {
        write(&[b"'", value].concat(), out);
    } else {
        write(value, out);
    }
}

/// Returns whether a value with this byte needs quotes or an escape.
pub(crate) fn is_special(byte: u8) -> bool {
    (byte == b',') | (byte == b'"') | (byte == b'\n') | (byte == b'\r') | (byte == 1)
}

/// The characters of <https://owasp.org/www-community/attacks/CSV_Injection>, with full-width forms and line feed.
fn begins_like_formula(value: &[u8]) -> bool {
    const FULL_WIDTH: [&str; 4] = ["＝", "＋", "－", "＠"];
    match value {
        ABSENT => false,
        [b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r' | b'\n', ..] => true,
        _ => FULL_WIDTH.iter().any(|sign| value.starts_with(sign.as_bytes())),
    }
}

fn is_number(value: &[u8]) -> bool {
    // Rust parses words such as `-inf` as numbers, but spreadsheets do not.
    let fits = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    value.iter().all(fits) && std::str::from_utf8(value).is_ok_and(|text| text.parse::<f64>().is_ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn values_are_written_as_the_csv_crate_writes_them(
            values in proptest::collection::vec(
                prop_oneof!["[a\"',\n\r\u{1}\\\\é ]{0,6}", "[a\",]{10,50}", "[a-z]{10,40}[\",\n]?[a\"]{0,3}"], 2..6),
            after in "[\",\n]{0,20}",
        ) {
            let mut ours = Vec::new();
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    ours.push(b',');
                }
                // The text after a value does not matter.
                let text = format!("{value}{after}");
                super::write_part(text.as_bytes(), 0, value.len(), &mut ours);
            }
            ours.push(b'\n');
            let mut theirs = csv::WriterBuilder::new().quote_style(csv::QuoteStyle::Necessary).from_writer(Vec::new());
            theirs.write_record(values.iter().map(|value| value.replace('\n', "\\n").replace('\r', "\\r").replace('\u{1}', "\\u0001"))).unwrap();
            let theirs = theirs.into_inner().unwrap();
            prop_assert_eq!(String::from_utf8(ours).unwrap(), String::from_utf8(theirs).unwrap());
        }
    }
}
