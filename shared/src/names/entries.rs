//! The entries of an id: one, or a list of those that apply at different times.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

use super::part::Part;
use crate::{limits::MAX_CIDR_BLOCKS, problems::Problems, text::quoted, timestamp};

/// A point in time as the file has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Time(Result<i64, Box<str>>);

impl Time {
    /// Returns milliseconds since 1970, if the text is a time.
    pub(super) fn ms(&self) -> Option<i64> {
        self.0.as_ref().ok().copied()
    }
}

impl From<&str> for Time {
    fn from(text: &str) -> Self {
        if let Some(ms) = whole_seconds(text.as_bytes()) {
            return Self(Ok(ms));
        }
        let time = text.parse::<jiff::Timestamp>().ok().filter(|_| text.ends_with('Z'));
        let ms = time.map(jiff::Timestamp::as_millisecond);
        Self(ms.filter(|ms| (0..=timestamp::MAX_MS).contains(ms)).ok_or_else(|| text.into()))
    }
}

/// Parses the form that `flowherd names` writes, `2026-02-18T03:00:00Z` or `…00.000Z`, in a fraction of the time. Returns `None` for
/// any other text.
fn whole_seconds(text: &[u8]) -> Option<i64> {
    let text = text.strip_suffix(b"Z")?;
    let text: &[u8; 19] = text.strip_suffix(b".000").unwrap_or(text).try_into().ok()?;
    let separators = [text[4], text[7], text[10], text[13], text[16]];
    let mut is_number = true;
    let mut pair = |at: usize| {
        let [tens, units] = [text[at], text[at + 1]].map(|digit| digit.wrapping_sub(b'0'));
        is_number &= tens <= 9 && units <= 9;
        i64::from(tens) * 10 + i64::from(units)
    };
    let year = pair(0) * 100 + pair(2);
    let [month, day, hour, minute, second] = [5, 8, 11, 14, 17].map(pair);
    // jiff ends before the end of the year 9999.
    if !is_number || separators != *b"--T::" || !(1970..9999).contains(&year) {
        return None;
    }
    let leap_day = leap_years_before(year + 1) - leap_years_before(year);
    let february = 28 + leap_day;
    let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let before = usize::try_from(month - 1).ok()?;
    if !(1..=*months.get(before)?).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let days_before_year = (year - 1970) * 365 + leap_years_before(year) - leap_years_before(1970);
    let days = days_before_year + months[..before].iter().sum::<i64>() + day - 1;
    Some((days * 86_400 + hour * 3600 + minute * 60 + second) * 1000)
}

/// Returns the leap years from year 1 until before a year.
fn leap_years_before(year: i64) -> i64 {
    let last = year - 1;
    last / 4 - last / 100 + last / 400
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TimeVisitor;
        impl Visitor<'_> for TimeVisitor {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E>(self, text: &str) -> Result<Time, E> {
                Ok(Time::from(text))
            }
        }
        deserializer.deserialize_str(TimeVisitor)
    }
}

/// An entry of any section.
pub(super) trait FileEntry {
    /// Returns `from` and `until`.
    fn validity(&self) -> (Option<&Time>, Option<&Time>);

    /// Returns the number of its CIDR blocks.
    fn blocks(&self) -> usize {
        0
    }
}

/// An id in errors, such as `subnet "subnet-1"`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Owner<'a> {
    pub(super) noun: &'static str,
    pub(super) id: &'a str,
}

impl fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.noun, self.id)
    }
}

/// Appends the begin and end of each entry, in order. Adds a problem for each mistake, and then appends nothing.
pub(super) fn add_times<T: FileEntry>(
    entries: &[T],
    owner: Owner<'_>,
    problems: &mut Problems,
    times: &mut Vec<(i64, i64)>,
) {
    let mut is_valid = true;
    let mut problem = |text: String| {
        problems.add(format!("{owner}: {text}"));
        is_valid = false;
    };
    if entries.is_empty() {
        problem("its list has no entry; remove the id".to_owned());
    }
    let before = times.len();
    let mut end = i64::MIN;
    for (number, entry) in (1..).zip(entries) {
        let (from, until) = entry.validity();
        let mut ms = |key: &str, time: Option<&Time>, default: i64| match time.map(|time| &time.0) {
            None => Some(default),
            Some(Ok(ms)) => Some(*ms),
            Some(Err(text)) => {
                let text = quoted(text);
                problem(format!("{key} {text} is not a time in UTC; an example: \"2026-02-18T03:00:00Z\""));
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
            problem(overlap(number, from, end));
        }
        end = until;
        times.push((from, until));
    }
    if !is_valid {
        times.truncate(before);
    }
}

/// Returns the problem of an entry that begins before the end of the one before it.
fn overlap(number: usize, from: i64, end: i64) -> String {
    let begins = match from {
        i64::MIN => Cow::Borrowed("has no from"),
        from => format!("begins at {}", shown(from)).into(),
    };
    let ends = match end {
        i64::MAX => Cow::Borrowed("has no until"),
        end => format!("ends at {}", shown(end)).into(),
    };
    format!(
        "entry {number} {begins}, but entry {} {ends}; sort the entries by time, and let each end before the next begins",
        number - 1
    )
}

/// Returns a time as the file would have it.
fn shown(ms: i64) -> String {
    timestamp::iso(ms).unwrap_or_else(|| ms.to_string())
}

/// Returns the error for a file with too many blocks.
pub(super) fn too_many_blocks() -> String {
    format!("more than {MAX_CIDR_BLOCKS} CIDR blocks; keep only subnets that appear in the logs")
}

/// Reads the entries of an id: one, or a list.
pub(super) struct EntriesSeed<'s> {
    pub(super) part: Part,
    pub(super) id: &'s str,
    /// Entries of the section so far. An id counts at least once.
    pub(super) count: &'s mut usize,
    /// CIDR blocks of the section so far.
    pub(super) blocks: &'s mut usize,
}

impl<'s> EntriesSeed<'s> {
    /// Appends the entries to a list.
    pub(super) fn into_list<T>(self, entries: &'s mut Vec<T>) -> EntriesVisitor<'s, T> {
        EntriesVisitor { seed: self, entries }
    }

    /// Counts an entry.
    fn count<E: Error>(&mut self, blocks: usize) -> Result<(), E> {
        *self.count += 1;
        *self.blocks += blocks;
        if *self.count > self.part.limit() {
            return Err(E::custom(format!(
                "{}: more than {} entries, the last of them of {}; keep only ids that appear in the logs, or remove old \
                 entries with flowherd names --forget-before",
                self.part.name(),
                self.part.limit(),
                quoted(self.id)
            )));
        }
        if *self.blocks > MAX_CIDR_BLOCKS { Err(E::custom(too_many_blocks())) } else { Ok(()) }
    }
}

/// See [`EntriesSeed`].
pub(super) struct EntriesVisitor<'s, T> {
    seed: EntriesSeed<'s>,
    entries: &'s mut Vec<T>,
}

impl<'de, T: FileEntry + Deserialize<'de>> DeserializeSeed<'de> for EntriesVisitor<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: FileEntry + Deserialize<'de>> Visitor<'de> for EntriesVisitor<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object, or a list of objects for different times")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, map: A) -> Result<(), A::Error> {
        let entry = T::deserialize(MapAccessDeserializer::new(map))?;
        self.seed.count(entry.blocks())?;
        self.entries.push(entry);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        while let Some(Object(entry)) = list.next_element::<Object<T>>()? {
            self.seed.count(entry.blocks())?;
            self.entries.push(entry);
        }
        if self.entries.is_empty() { self.seed.count(0) } else { Ok(()) }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_time_of_whole_seconds_is_read_as_by_jiff(
            seconds in 0..253_370_764_800_i64,
            text in "[0-9]{4}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.000)?Z",
        ) {
            let by_jiff = |text: &str| text.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond);
            let iso = timestamp::iso(seconds * 1000).unwrap();
            prop_assert_eq!(whole_seconds(iso.as_bytes()), Some(seconds * 1000));
            prop_assert_eq!(whole_seconds(iso.replace(".000", "").as_bytes()), Some(seconds * 1000));
            if let Some(ms) = whole_seconds(text.as_bytes()) {
                prop_assert_eq!(Some(ms), by_jiff(&text).filter(|ms| *ms >= 0));
            }
        }
    }
}
