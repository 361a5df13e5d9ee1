//! JSON as `serde_json` reads it, with every duplicate key, and text that holds invalid parts.
//!
//! The model keeps text as `String`. Bytes that are not UTF-8 and control characters within JSON strings are kept as
//! private characters.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The first private character for control characters that JSON forbids.
const CONTROLS: u32 = 0xe100;
/// The first private character for bytes that are not UTF-8.
const BYTES: u32 = 0xe200;

/// Masks the bytes that are not UTF-8.
pub(super) fn mask_bytes(bytes: &[u8]) -> String {
    let mask = |byte: &u8| char::from_u32(BYTES + u32::from(*byte)).unwrap();
    bytes
        .utf8_chunks()
        .flat_map(|chunk| {
            chunk.valid().chars().chain(chunk.invalid().iter().map(mask)).collect::<Vec<char>>()
        })
        .collect()
}

/// Masks the control characters within JSON strings.
pub(crate) fn mask_controls(text: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let mut mask = |character: char| {
        match character {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => in_string = !in_string,
            _ => {}
        }
        let masked = in_string && character < ' ';
        if masked { char::from_u32(CONTROLS + u32::from(character)).unwrap() } else { character }
    };
    text.chars().map(&mut mask).collect()
}

/// Returns the bytes that a masked text represents.
pub(super) fn unmask(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for character in text.chars() {
        match u32::from(character) {
            control @ CONTROLS..0xe120 => bytes.push((control - CONTROLS) as u8),
            byte @ BYTES..0xe300 => bytes.push((byte - BYTES) as u8),
            _ => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// Whether the bytes are UTF-8 without NUL.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok() && !bytes.contains(&0)
}

/// Returns the bytes as text with invalid parts replaced.
pub(super) fn repaired(bytes: &[u8]) -> String {
    let mut text = String::new();
    for character in String::from_utf8_lossy(bytes).chars() {
        let backslashes = text.chars().rev().take_while(|character| *character == '\\').count();
        match character {
            '\0' if backslashes % 2 == 1 => text.push('\u{fffd}'),
            '\0' => text.push_str("\\u0000"),
            character => text.push(character),
        }
    }
    text
}

/// The value of a JSON string.
pub(super) enum Text {
    Valid(String),
    /// The value with its invalid parts replaced.
    Repaired(String),
    /// The string breaks JSON's grammar.
    Damaged,
}

/// Reads the masked text between the quotes of a string.
pub(super) fn string_text(inner: &str) -> Text {
    let mut bytes: Vec<u8> = Vec::new();
    let mut is_half = false;
    let characters: Vec<char> = inner.chars().collect();
    let unit = |at: usize| -> Option<u16> {
        let escape: String = characters.get(at..at + 6)?.iter().collect();
        let digits = escape.strip_prefix("\\u")?;
        digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u16::from_str_radix(digits, 16).unwrap())
    };
    let mut at = 0;
    while at < characters.len() {
        if unit(at).is_some() {
            // Two adjacent halves may be a pair.
            let units: Vec<u16> = (0..).map_while(|number| unit(at + 6 * number)).collect();
            at += 6 * units.len();
            is_half |= String::from_utf16(&units).is_err();
            bytes.extend_from_slice(String::from_utf16_lossy(&units).as_bytes());
        } else if characters[at] == '\\' {
            bytes.push(match characters.get(at + 1) {
                Some('"') => b'"',
                Some('\\') => b'\\',
                Some('/') => b'/',
                Some('b') => 8,
                Some('f') => 12,
                Some('n') => b'\n',
                Some('r') => b'\r',
                Some('t') => b'\t',
                _ => return Text::Damaged,
            });
            at += 2;
        } else {
            let raw = unmask(&characters[at].to_string());
            if raw[0] < b' ' && raw[0] != 0 {
                return Text::Damaged;
            }
            bytes.extend_from_slice(&raw);
            at += 1;
        }
    }
    if is_text(&bytes) && !is_half {
        Text::Valid(String::from_utf8(bytes).unwrap())
    } else {
        Text::Repaired(repaired(&bytes))
    }
}

/// Whether two values are the same JSON text, or strings with the same value.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    let string = |raw: &str| serde_json::from_str::<String>(raw).ok();
    one == other || string(one).is_some() && string(one) == string(other)
}

/// A JSON object with all its members in order, duplicates included.
#[derive(Debug)]
pub(crate) struct Pairs {
    /// A key is `None` if it is not valid text.
    pub(crate) pairs: Vec<(Option<String>, Box<RawValue>)>,
    pub(super) text: String,
}

impl Pairs {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(key, _)| key.as_deref() == Some(name)).map(|(_, value)| value.get())
    }

    pub(super) fn has_text_keys(&self) -> bool {
        self.pairs.iter().all(|(key, _)| key.is_some())
    }

    /// Whether the key occurs again with another value.
    pub(super) fn differs(&self, name: &str) -> bool {
        self.all(name).any(|value| !is_same(value, self.get(name).unwrap()))
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Vec<(Option<String>, Box<RawValue>)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some((key, value)) = map.next_entry::<Box<RawValue>, Box<RawValue>>()? {
                    pairs.push((serde_json::from_str(key.get()).ok(), value));
                }
                Ok(pairs)
            }
        }
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let pairs = serde_json::Deserializer::from_str(text.get())
            .deserialize_map(Members)
            .map_err(serde::de::Error::custom)?;
        Ok(Self { pairs, text: text.get().to_owned() })
    }
}
