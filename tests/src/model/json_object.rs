//! JSON objects, read by `serde_json` so that nothing of them is lost.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// Where control characters that JSON forbids are kept while JSON is read.
const MASK: u32 = 0xe100;

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
        if masked { char::from_u32(MASK + u32::from(character)).unwrap() } else { character }
    };
    text.chars().map(&mut mask).collect()
}

pub(super) fn unmask(text: &str) -> String {
    let unmask = |character: char| match u32::from(character) {
        masked @ MASK..0xe120 => char::from_u32(masked - MASK).unwrap(),
        _ => character,
    };
    text.chars().map(unmask).collect()
}

/// A JSON object with all its members, in order: no duplicate is lost.
#[derive(Debug)]
pub(crate) struct Pairs {
    pub(crate) pairs: Vec<(String, Box<RawValue>)>,
    pub(super) text: String,
}

impl Pairs {
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.get())
    }

    pub(super) fn count(&self, name: &str) -> usize {
        self.pairs.iter().filter(|(key, _)| key == name).count()
    }
}

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Vec<(String, Box<RawValue>)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
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
