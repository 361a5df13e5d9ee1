//! Trims text that was cut at a byte limit, so that it is a shorter object with whole records.

/// Maximum depth of brackets. Text with more of them is a line.
const MAX_DEPTH: usize = 128;

/// Where a JSON text ends.
enum End {
    /// After its last bracket.
    Whole(usize),
    /// It is cut off. Holds the end of the last whole element of its outermost array, and the brackets that close the text
    /// there.
    Cut(Option<(usize, Vec<u8>)>),
    /// It breaks JSON's grammar, so it is a line.
    NotJson,
}

/// Removes what follows the last whole record. If the text is a single JSON text, closes it after the last whole element of
/// its array. Returns false if the text has no whole record.
pub(super) fn trim_to_records(text: &mut Vec<u8>) -> bool {
    let (mut at, mut end) = (0, 0);
    while at < text.len() {
        match text[at] {
            b' ' | b'\t' | b'\r' | b'\n' | b',' => at += 1,
            b'{' | b'[' if is_json(&text[at..]) => match json_end(text, at) {
                End::Whole(after) => (at, end) = (after, after),
                End::Cut(Some((after, closing))) if end == 0 => {
                    text.truncate(after);
                    text.extend(closing);
                    return true;
                }
                End::Cut(_) => break,
                End::NotJson => match line_end(text, at) {
                    Some(after) => (at, end) = (after, after),
                    None => break,
                },
            },
            _ => match line_end(text, at) {
                Some(after) => (at, end) = (after, after),
                None => break,
            },
        }
    }
    text.truncate(end);
    end > 0
}

/// Returns whether text that begins with a bracket may be JSON: an object, or an array of objects.
fn is_json(text: &[u8]) -> bool {
    text[0] == b'{' || text[1..].trim_ascii_start().first().is_none_or(|first| *first == b'{')
}

fn line_end(text: &[u8], from: usize) -> Option<usize> {
    text[from..].iter().position(|byte| *byte == b'\n').map(|length| from + length + 1)
}

fn json_end(text: &[u8], from: usize) -> End {
    let mut open: Vec<u8> = Vec::new();
    let mut arrays = 0;
    let mut last_element = None;
    let (mut in_string, mut is_escaped) = (false, false);
    for (at, byte) in text.iter().enumerate().skip(from) {
        if in_string {
            match byte {
                b'\n' => return End::NotJson,
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' if open.len() == MAX_DEPTH => return End::NotJson,
            b'{' => open.push(b'}'),
            b'[' => {
                open.push(b']');
                arrays += 1;
            }
            b'}' | b']' => {
                if open.pop() != Some(*byte) {
                    return End::NotJson;
                }
                arrays -= usize::from(*byte == b']');
                if open.is_empty() {
                    return End::Whole(at + 1);
                }
                if arrays == 1 && *byte == b'}' && open.last() == Some(&b']') {
                    last_element = Some((at + 1, open.iter().rev().copied().collect()));
                }
            }
            _ => {}
        }
    }
    End::Cut(last_element)
}

/// Returns an object that ends after this number of members, or `None` if it has no more.
pub(super) fn first_members(object: &str, count: usize) -> Option<String> {
    let (mut depth, mut members) = (0, 1);
    let (mut in_string, mut is_escaped) = (false, false);
    for (at, byte) in object.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_string,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b',' if depth == 1 && members == count => return Some(format!("{}}}", &object[..at])),
            b',' if depth == 1 => members += 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_text_ends_with_its_last_whole_record() {
        for (cut, expected) in [
            ("one\ntwo\nthr", Some("one\ntwo\n")),
            ("{\"a\":1}{\"a\":2}{\"a\"", Some("{\"a\":1}{\"a\":2}")),
            ("{\"a\":\"}\\\"\"}\n{\"b\":[1,", Some("{\"a\":\"}\\\"\"}")),
            ("{\"Records\":[{\"a\":[{\"b\":1}]},{\"a\":", Some("{\"Records\":[{\"a\":[{\"b\":1}]}]}")),
            (
                "{\"x\":{\"Records\":[{\"a\":1}, {\"a\":2}",
                Some("{\"x\":{\"Records\":[{\"a\":1}, {\"a\":2}]}}"),
            ),
            ("{\"a\":1}\n{\"Records\":[{\"a\":1},{\"a\":", Some("{\"a\":1}")),
            ("[{\"a\":1},{\"a", Some("[{\"a\":1}]")),
            ("[INFO] {\nnext", Some("[INFO] {\n")),
            ("{broken \"\n} x\nnext", Some("{broken \"\n} x\n")),
            ("no line feed", None),
            ("{\"a\":[{\"b", None),
            ("", None),
        ] {
            let mut text = cut.as_bytes().to_vec();
            let has_record = trim_to_records(&mut text);
            assert_eq!(has_record.then(|| String::from_utf8(text).unwrap()).as_deref(), expected, "{cut}");
        }
    }

    #[test]
    fn an_object_is_cut_after_whole_members() {
        let object = r#"{"a":{"x":1,"y":[1,2]},"b":",\"},","c":3}"#;
        assert_eq!(first_members(object, 1).as_deref(), Some(r#"{"a":{"x":1,"y":[1,2]}}"#));
        assert_eq!(first_members(object, 2).as_deref(), Some(r#"{"a":{"x":1,"y":[1,2]},"b":",\"},"}"#));
        assert_eq!(first_members(object, 3), None);
        assert_eq!(first_members("", 1), None);
    }

    #[test]
    fn nesting_without_end_is_a_line() {
        let mut text = [&b"a\n"[..], &b"[".repeat(1 << 20)].concat();
        assert!(trim_to_records(&mut text));
        assert_eq!(text, b"a\n");
    }
}
