//! The entries of an id: one, or a list of those that apply at different times.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

use crate::{problems::Problems, text::quoted, timestamp};

/// A point in time as the file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Time(Result<i64, Box<str>>);

impl Time {
    /// Returns milliseconds since 1970, if the text is a time.
    pub(super) fn ms(&self) -> Option<i64> {
        self.0.as_ref().ok().copied()
    }

    fn parse(text: &str) -> Result<i64, Box<str>> {
        let time = text.parse::<jiff::Timestamp>().ok().filter(|_| text.ends_with('Z'));
        let ms = time.map(jiff::Timestamp::as_millisecond);
        ms.filter(|ms| (0..=timestamp::MAX_MS).contains(ms)).ok_or_else(|| text.into())
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Self::parse(&Cow::<str>::deserialize(deserializer)?)))
    }
}

/// When an entry applies.
pub(super) trait Validity {
    /// Returns `from` and `until`.
    fn validity(&self) -> (Option<&Time>, Option<&Time>);
}

/// One entry or several.
#[derive(Clone, Debug)]
pub(super) enum Entries<T> {
    One(T),
    Several(Vec<T>),
}

impl<T> Entries<T> {
    pub(super) fn as_slice(&self) -> &[T] {
        match self {
            Self::One(entry) => std::slice::from_ref(entry),
            Self::Several(entries) => entries,
        }
    }
}

impl<T: Validity> Entries<T> {
    /// Returns the begin and end of each entry, in order, or adds a problem for each mistake and returns `None`.
    pub(super) fn periods(&self, owner: &str, problems: &mut Problems) -> Option<Vec<(i64, i64)>> {
        let mut periods = Vec::with_capacity(self.as_slice().len());
        let mut is_valid = true;
        let mut problem = |text: String| {
            problems.add(format!("{owner}: {text}"));
            is_valid = false;
        };
        if self.as_slice().is_empty() {
            problem("its list has no entry; remove the id".to_owned());
        }
        let mut end = i64::MIN;
        for (number, entry) in (1..).zip(self.as_slice()) {
            let (from, until) = entry.validity();
            let mut ms = |key: &str, time: Option<&Time>, default: i64| match time.map(|time| &time.0) {
                None => Some(default),
                Some(Ok(ms)) => Some(*ms),
                Some(Err(text)) => {
                    let text = quoted(text);
                    problem(format!(
                        "{key} {text} is not a time in UTC; an example: \"2026-02-18T03:00:00Z\""
                    ));
                    None
                }
            };
            let (from, until) = (ms("from", from, i64::MIN), ms("until", until, i64::MAX));
            let (Some(from), Some(until)) = (from, until) else { continue };
            if from >= until {
                problem(format!("from {} is not before until {}", shown(from), shown(until)));
                continue;
            }
            if number > 1 && from < end {
                let begins = if from == i64::MIN {
                    "has no from".to_owned()
                } else {
                    format!("begins at {}", shown(from))
                };
                let ends = if end == i64::MAX {
                    "has no until".to_owned()
                } else {
                    format!("ends at {}", shown(end))
                };
                problem(format!(
                    "entry {number} {begins}, but entry {} {ends}; sort the entries by time, and let each end before the next \
                     begins",
                    number - 1
                ));
            }
            end = until;
            periods.push((from, until));
        }
        is_valid.then_some(periods)
    }
}

/// Returns a time as the file would have it.
fn shown(ms: i64) -> String {
    timestamp::iso(ms).unwrap_or_else(|| ms.to_string())
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Entries<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrSeveral<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for OneOrSeveral<T> {
            type Value = Entries<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object, or a list of objects for different times")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Entries::One)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(Object(entry)) = list.next_element()? {
                    entries.push(entry);
                }
                Ok(Entries::Several(entries))
            }
        }
        deserializer.deserialize_any(OneOrSeveral(PhantomData))
    }
}

/// A struct that is read from an object only. serde also reads a struct from an array, by position.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FromObject<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for FromObject<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(Object)
            }
        }
        deserializer.deserialize_map(FromObject(PhantomData))
    }
}
