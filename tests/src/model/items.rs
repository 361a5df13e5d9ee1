//! The grammar of an object's text, by recursive descent over all of it.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Deserializer;

use super::json_object::{Pairs, is_text, mask_controls, unmask};

/// One item of a text.
pub(super) enum Item<'t> {
    Envelope(Pairs),
    /// A JSON object, or an array of objects.
    Json(&'t str),
    Line(&'t str),
    /// The elements of a JSON text's arrays, each with the path of its array.
    Elements(Vec<(Vec<String>, String)>),
}

/// The object fails.
pub(super) struct Failed;

/// Why a JSON text does not end.
enum Stop {
    /// The text ends first.
    Cut,
    /// It is not JSON.
    Wrong,
    /// It is an envelope.
    Envelope,
}

const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];
const OWN_KEYS: [&str; 5] = ["messageType", "owner", "logGroup", "logStream", "logEvents"];

/// Magic numbers that fail the object if a line contains them. The model does not check the header after the number.
const MAGICS: [&[u8]; 11] = [
    b"\x82SNAPPY\0",
    b"\x02\x21\x4c\x18",
    b"\xf3\x89\x9a\xc2",
    b"Obj\x01",
    b"PAR1",
    b"\x1f\x8b\x08",
    b"\x28\xb5\x2f\xfd",
    b"\xfd7zXZ\0",
    b"\x04\x22\x4d\x18",
    b"\xff\x06\0\0sNaPpY",
    b"PK\x03\x04",
];

/// Returns the first item of a text and the text after it, or `None` at the end of the text.
///
/// The records of a JSON text with an array at one of the paths are the elements of these arrays.
pub(super) fn next<'t>(text: &'t str, paths: &[Vec<String>]) -> Result<Option<(Item<'t>, &'t str)>, Failed> {
    let item = text.trim_start_matches(SPACE);
    if item.is_empty() {
        return Ok(None);
    }
    if item.starts_with(['{', '[']) {
        let mut grammar = Grammar::new(item, paths);
        match grammar.json_text() {
            Ok(length) => {
                let (json, after) = item.split_at(length);
                let item =
                    if grammar.has_array { Item::Elements(grammar.elements) } else { Item::Json(json) };
                return Ok(Some((item, without_separator(after))));
            }
            Err(Stop::Cut) => return Err(Failed),
            // Its first elements are records already.
            Err(Stop::Envelope) if grammar.has_array => return Err(Failed),
            Err(Stop::Envelope) => return envelope(item).map(Some),
            Err(Stop::Wrong) if grammar.has_array || grammar.own_keys.len() >= 2 => return Err(Failed),
            Err(Stop::Wrong) => {}
        }
    }
    // White space before a line is part of it.
    let before = &text[..text.len() - item.len()];
    let text = &text[before.rfind('\n').map_or(0, |at| at + 1)..];
    let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
    let line = line.strip_suffix('\r').unwrap_or(line);
    let bytes = unmask(line);
    let bzip2 = |bytes: &[u8]| bytes.starts_with(b"BZh") && bytes.get(4..10) == Some(b"1AY&SY");
    let is_compressed =
        |at: usize| bzip2(&bytes[at..]) || MAGICS.iter().any(|magic| bytes[at..].starts_with(magic));
    if !is_text(&bytes) && (0..bytes.len()).any(is_compressed) {
        return Err(Failed);
    }
    Ok(Some((Item::Line(line), rest)))
}

fn envelope(text: &str) -> Result<(Item<'_>, &str), Failed> {
    let masked = mask_controls(text);
    let mut envelopes = Deserializer::from_str(&masked).into_iter::<Pairs>();
    let Some(Ok(pairs)) = envelopes.next() else { return Err(Failed) };
    let length: usize =
        text.chars().take(masked[..envelopes.byte_offset()].chars().count()).map(char::len_utf8).sum();
    Ok((Item::Envelope(pairs), without_separator(&text[length..])))
}

/// Returns the elements of the arrays in a message, or the reason of a reject.
pub(super) fn elements_of_message(text: &str, path: &[String]) -> Result<Vec<String>, &'static str> {
    let text = text.trim_matches([' ', '\t', '\n', '\r', '\x0c']);
    if !text.starts_with(['{', '[']) {
        return Err("no-records");
    }
    let paths = [path.to_vec()];
    let mut grammar = Grammar::new(text, &paths);
    match grammar.json_text() {
        _ if !grammar.has_array => Err("no-records"),
        Ok(length) if length == text.len() => {
            Ok(grammar.elements.into_iter().map(|(_, element)| element).collect())
        }
        // More text after the object, or damage in it.
        _ => Err("not-json"),
    }
}

/// Returns the text after one separator of a JSON text or envelope. A separator is `,` or the two characters `\n`. Only
/// one space may come between it and the next JSON text or the end of the line.
fn without_separator(text: &str) -> &str {
    for separator in [",", "\\n"] {
        let Some(after) = text.strip_prefix(separator) else { continue };
        let next = after.strip_prefix(' ').unwrap_or(after);
        if next.is_empty() || next.starts_with(['{', '[', '\r', '\n']) {
            return after;
        }
    }
    text
}

/// Whether a line has both keys of an envelope, one of them before an array.
pub(super) fn holds_envelope(line: &str) -> bool {
    static EVENTS: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r#""logEvents"[ \t\r\x0c]*:[ \t\r\x0c]*\["#).unwrap());
    static TYPE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#""messageType"[ \t\r\x0c]*:"#).unwrap());
    EVENTS.is_match(line) && TYPE.is_match(line)
}

/// Levels of nesting that a JSON text may have.
const MAX_DEPTH: usize = 128;

/// A JSON text that begins here.
struct Grammar<'t> {
    text: &'t [u8],
    /// Paths of arrays whose elements are records.
    paths: &'t [Vec<String>],
    /// The keys of an envelope at the top level.
    own_keys: Vec<String>,
    /// Whether one of these arrays has begun.
    has_array: bool,
    /// Their elements, each with the path of its array.
    elements: Vec<(Vec<String>, String)>,
}

/// Keys from the top to a value; `None` below an array.
type Path = Option<Vec<String>>;

impl<'t> Grammar<'t> {
    fn new(text: &'t str, paths: &'t [Vec<String>]) -> Self {
        Self { text: text.as_bytes(), paths, own_keys: Vec::new(), has_array: false, elements: Vec::new() }
    }

    /// Returns where the text ends. An array is a JSON text only if its first element is an object.
    fn json_text(&mut self) -> Result<usize, Stop> {
        if self.text[0] == b'{' {
            return self.object(0, 0, &Some(Vec::new()));
        }
        match self.text.get(space(self.text, 1)) {
            None => Err(Stop::Cut),
            Some(b'{') if self.paths.contains(&Vec::new()) => self.records(0, &[]),
            Some(b'{') => self.array(0, 0),
            Some(_) => Err(Stop::Wrong),
        }
    }

    /// `depth` levels are open around the value.
    fn value(&mut self, at: usize, depth: usize, path: &Path) -> Result<usize, Stop> {
        let text = self.text;
        match text.get(at) {
            None => Err(Stop::Cut),
            Some(b'{' | b'[') if depth == MAX_DEPTH => Err(Stop::Wrong),
            Some(b'{') => self.object(at, depth, path),
            Some(b'[') => match path {
                Some(path) if self.paths.contains(path) => self.records(at, path),
                _ => self.array(at, depth),
            },
            Some(b'"') => string(text, at),
            Some(b'-' | b'0'..=b'9') => number(text, at),
            Some(_) => {
                for word in ["true", "false", "null"] {
                    if text[at..].starts_with(word.as_bytes()) {
                        return Ok(at + word.len());
                    }
                    if word.as_bytes().starts_with(&text[at..]) {
                        return Err(Stop::Cut);
                    }
                }
                Err(Stop::Wrong)
            }
        }
    }

    fn object(&mut self, at: usize, depth: usize, path: &Path) -> Result<usize, Stop> {
        let text = self.text;
        let is_top = depth == 0;
        let mut at = space(text, at + 1);
        if text.get(at) == Some(&b'}') {
            return Ok(at + 1);
        }
        loop {
            let key_at = at;
            expect(text, at, b'"')?;
            at = string(text, at)?;
            let key = string_value(&text[key_at..at]);
            if let Some(key) = &key
                && is_top
                && OWN_KEYS.contains(&&**key)
                && !self.own_keys.contains(key)
            {
                self.own_keys.push(key.clone());
            }
            at = space(text, at);
            expect(text, at, b':')?;
            at = space(text, at + 1);
            let value_at = at;
            if is_top && key.as_deref() == Some("logEvents") && text.get(at) == Some(&b'[') {
                return Err(Stop::Envelope);
            }
            let path_of_value = path.clone().zip(key.clone()).map(|(path, key)| [path, vec![key]].concat());
            at = self.value(at, depth + 1, &path_of_value)?;
            let types = ["DATA_MESSAGE", "CONTROL_MESSAGE"];
            if is_top
                && key.as_deref() == Some("messageType")
                && string_value(&text[value_at..at]).is_some_and(|value| types.contains(&&*value))
            {
                return Err(Stop::Envelope);
            }
            at = space(text, at);
            match text.get(at) {
                None => return Err(Stop::Cut),
                Some(b'}') => return Ok(at + 1),
                Some(b',') => at = space(text, at + 1),
                Some(_) => return Err(Stop::Wrong),
            }
        }
    }

    /// An array of records. Strings and brackets alone decide where an element ends, so damage inside of it costs no other.
    fn records(&mut self, at: usize, path: &[String]) -> Result<usize, Stop> {
        self.has_array = true;
        let text = self.text;
        let mut at = space(text, at + 1);
        if text.get(at) == Some(&b']') {
            return Ok(at + 1);
        }
        loop {
            let end = element_end(text, at)?;
            let element = String::from_utf8(text[at..end].to_vec()).unwrap();
            self.elements.push((path.to_vec(), element));
            at = space(text, end);
            match text.get(at) {
                None => return Err(Stop::Cut),
                Some(b']') => return Ok(at + 1),
                Some(b',') => at = space(text, at + 1),
                Some(_) => return Err(Stop::Wrong),
            }
        }
    }

    fn array(&mut self, at: usize, depth: usize) -> Result<usize, Stop> {
        let text = self.text;
        let mut at = space(text, at + 1);
        if text.get(at) == Some(&b']') {
            return Ok(at + 1);
        }
        loop {
            at = space(text, self.value(at, depth + 1, &None)?);
            match text.get(at) {
                None => return Err(Stop::Cut),
                Some(b']') => return Ok(at + 1),
                Some(b',') => at = space(text, at + 1),
                Some(_) => return Err(Stop::Wrong),
            }
        }
    }
}

/// Returns where an element of an array of records ends.
fn element_end(text: &[u8], start: usize) -> Result<usize, Stop> {
    let (mut at, mut depth) = (start, 0_usize);
    loop {
        match text.get(at).ok_or(Stop::Cut)? {
            b'"' => {
                at += 1;
                while *text.get(at).ok_or(Stop::Cut)? != b'"' {
                    at += if text[at] == b'\\' { 2 } else { 1 };
                }
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth > 0 => depth -= 1,
            _ if depth > 0 => {}
            byte if byte.is_ascii_alphanumeric() || b"-+.".contains(byte) => {
                let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || b"-+.".contains(byte);
                return Ok(at + text[at..].iter().take_while(is_part).count());
            }
            _ => return Err(Stop::Wrong),
        }
        at += 1;
        if depth == 0 {
            return Ok(at);
        }
    }
}

/// Returns where a string ends. A string ends on its line.
fn string(text: &[u8], at: usize) -> Result<usize, Stop> {
    let mut at = at + 1;
    loop {
        match (text.get(at), text.get(at + 1)) {
            (None, _) | (Some(b'\\'), None) => return Err(Stop::Cut),
            (Some(b'\n'), _) | (Some(b'\\'), Some(b'\n')) => return Err(Stop::Wrong),
            (Some(b'"'), _) => return Ok(at + 1),
            (Some(b'\\'), _) => at += 2,
            _ => at += 1,
        }
    }
}

fn number(text: &[u8], at: usize) -> Result<usize, Stop> {
    static NUMBER: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?$").unwrap());
    let is_part = |byte: &&u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let length = text[at..].iter().take_while(is_part).count();
    let number = String::from_utf8(text[at..at + length].to_vec()).unwrap();
    if NUMBER.is_match(&number) {
        Ok(at + length)
    } else if at + length == text.len() && NUMBER.is_match(&format!("{number}0")) {
        Err(Stop::Cut)
    } else {
        Err(Stop::Wrong)
    }
}

fn expect(text: &[u8], at: usize, wanted: u8) -> Result<(), Stop> {
    match text.get(at) {
        None => Err(Stop::Cut),
        Some(byte) if *byte == wanted => Ok(()),
        Some(_) => Err(Stop::Wrong),
    }
}

fn space(text: &[u8], at: usize) -> usize {
    at + text[at..].iter().take_while(|byte| SPACE.contains(&char::from(**byte))).count()
}

/// Returns the value of a string, or `None` if it is not a valid string.
fn string_value(raw: &[u8]) -> Option<String> {
    serde_json::from_slice(raw).ok()
}
