//! A value that is one word of a fixed list.

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{IntoDeserializer, value},
};

use crate::text::quoted;

/// A word of a list. Another word is not an error of the parser, so that it is reported together with all other problems.
#[derive(Clone, Debug)]
pub(super) enum Choice<T> {
    Known(T),
    Unknown {
        text: String,
        /// The words of the list.
        expected: String,
    },
}

impl<T> Choice<T> {
    /// Returns the value of a known word.
    pub(super) fn known(&self) -> Option<&T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Unknown { .. } => None,
        }
    }

    /// Returns the problem of an unknown word, if it is one. `key` is the key with this value, and `example` a correct line.
    pub(super) fn problem(&self, key: &str, example: &str) -> Option<String> {
        match self {
            Self::Known(_) => None,
            Self::Unknown { text, expected } => {
                Some(format!("{key} = {}: {expected}; an example: {example}", quoted(text)))
            }
        }
    }
}

impl<T: Default> Default for Choice<T> {
    fn default() -> Self {
        Self::Known(T::default())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Choice<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let word: Result<T, value::Error> = T::deserialize(text.clone().into_deserializer());
        Ok(match word {
            Ok(value) => Self::Known(value),
            Err(error) => {
                // The library's message is "unknown variant `x`, expected `a` or `b`".
                let message = error.to_string();
                let expected = message.find("expected ").map_or(&*message, |at| &message[at..]);
                Self::Unknown { expected: expected.replace('`', "\""), text }
            }
        })
    }
}

impl<T: Serialize> Serialize for Choice<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Known(value) => value.serialize(serializer),
            Self::Unknown { text, .. } => text.serialize(serializer),
        }
    }
}
