//! Merges readings from AWS into a former `names.json`, so that every name keeps the time in which it applied.

mod blocks;
mod combine;
mod entry;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use self::{combine::Combined, entry::Entry};
pub use super::part::Part;
use super::{Lookups, file};
use crate::{limits::MAX_LOOKUPS_BYTES, problems::ConfigError, timestamp};

/// The result of reading one account in one region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// The account whose credentials read it.
    pub account: String,
    /// The region.
    pub region: String,
    /// When it began, in milliseconds since 1970.
    pub at_ms: i64,
    /// The parts that were read completely, by id. A part that could not be read is absent.
    pub parts: BTreeMap<Part, BTreeMap<String, Named>>,
}

/// An interface, a subnet or a VPC, and its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Its name; empty if it has none.
    pub name: String,
    /// Whether the name may be wrong, because the resource that gives it was not read. The former name then stays.
    pub is_provisional: bool,
    /// The account that owns it, if the response names it.
    pub owner: Option<String>,
    /// Its subnet.
    pub subnet_id: Option<String>,
    /// Its VPC.
    pub vpc_id: Option<String>,
    /// Its CIDR blocks.
    pub cidrs: Vec<String>,
}

/// The new file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// Its bytes. The same names always give the same bytes.
    pub bytes: Vec<u8>,
    /// The difference to the former file.
    pub changes: Changes,
    /// Messages about the file for people, one line each.
    pub notes: Vec<String>,
}

/// Ids that differ from the former file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes {
    /// Not in the former file.
    pub new: u64,
    /// With another name or other blocks.
    pub changed: u64,
    /// No longer there.
    pub gone: u64,
    /// There again.
    pub returned: u64,
}

type Ids = BTreeMap<String, Vec<Entry>>;

/// Merges readings into a former file.
///
/// An id that a reading of its owner no longer has ends at the time of that reading. A new id begins then. An id with another
/// name or other blocks does both. An id that returns gets another entry. Parts that no reading has stay as they are, and so do
/// entries that a person wrote. `now_ms` is the time of the clock, in milliseconds since 1970.
///
/// # Errors
/// All problems of the former file or, where the limits are exceeded, of the new one; or a clock that is behind the file.
pub fn merge<'r>(
    former: Option<&[u8]>,
    readings: impl IntoIterator<Item = &'r Reading>,
    now_ms: i64,
) -> Result<Merged, ConfigError> {
    let mut names = match former {
        Some(bytes) => Names::parse(bytes)?,
        None => Names::default(),
    };
    let readings: Vec<&Reading> = readings.into_iter().collect();
    names.check_clock(readings.iter().map(|reading| reading.at_ms).fold(now_ms, i64::min))?;
    let (mut changes, mut notes) = (Changes::default(), Vec::new());
    for part in Part::ALL {
        let combined = Combined::new(&readings, part);
        let ids = names.parts.entry(part).or_default();
        combined.apply(ids, &mut changes);
        if part == Part::Subnets {
            notes = blocks::end_replaced(ids, &combined, &mut changes);
            blocks::complete(ids, &combined);
        }
    }
    names.add_missing_references();
    let bytes = names.to_json()?;
    Lookups::parse(&bytes)?;
    notes.extend(names.near_limits(bytes.len()));
    Ok(Merged { bytes, changes, notes })
}

/// Removes the entries that ended before a time, in milliseconds since 1970. Returns the new file and the number of removed
/// entries.
///
/// # Errors
/// All problems of the file.
pub fn forget_before(file: &[u8], before_ms: i64) -> Result<(Vec<u8>, usize), ConfigError> {
    let mut names = Names::parse(file)?;
    let mut removed = 0;
    for ids in names.parts.values_mut() {
        ids.retain(|_, entries| {
            let before = entries.len();
            entries.retain(|entry| entry.until.is_none_or(|until| until > before_ms));
            removed += before - entries.len();
            !entries.is_empty()
        });
    }
    names.add_missing_references();
    Ok((names.to_json()?, removed))
}

/// A whole file.
#[derive(Debug, Default)]
struct Names {
    parts: BTreeMap<Part, Ids>,
}

impl<T: Into<Entry>> file::Sink<T> for Names {
    fn add(&mut self, part: Part, id: &str, entries: &mut Vec<T>) -> Result<(), String> {
        let entries = entries.drain(..).map(Into::into).collect();
        match self.parts.entry(part).or_default().insert(id.to_owned(), entries) {
            None => Ok(()),
            Some(_) => Err(file::duplicate(id)),
        }
    }
}

impl Names {
    fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        Lookups::parse(json)?;
        let mut names = Self::default();
        file::read(json, &mut names)?;
        Ok(names)
    }

    /// Checks that no entry from AWS begins or ends after `at`. A clock that is behind would change the past.
    fn check_clock(&self, at: i64) -> Result<(), ConfigError> {
        let entries = self.parts.values().flat_map(|ids| ids.values().flatten());
        match entries.filter_map(Entry::last_time).max() {
            Some(last) if at < last => {
                let time = |ms: i64| timestamp::iso(ms).unwrap_or_else(|| ms.to_string());
                Err(ConfigError::of(format!(
                    "the clock is at {}, but the file has names of {}; correct the clock of this machine, or the times in \
                     the file",
                    time(at),
                    time(last)
                )))
            }
            _ => Ok(()),
        }
    }

    /// Returns a line for each limit that is nearly reached.
    fn near_limits(&self, bytes: usize) -> Vec<String> {
        let counts = self.parts.iter().map(|(part, ids)| {
            let entries = ids.values().map(Vec::len).sum();
            (part.name(), entries, part.limit())
        });
        let all = counts.chain([("bytes", bytes, MAX_LOOKUPS_BYTES)]);
        all.filter(|(_, count, limit)| *count > limit / 5 * 4)
            .map(|(what, count, limit)| {
                format!(
                    "the file has {count} {what} of at most {limit}; remove the entries that ended before your logs begin \
                     with flowherd names --forget-before"
                )
            })
            .collect()
    }

    /// Adds an entry without a name for each id that others refer to, so that subnets of different VPCs stay apart
    /// although the VPCs could not be read.
    fn add_missing_references(&mut self) {
        for (from, to) in
            [(Part::Interfaces, Part::Subnets), (Part::Interfaces, Part::Vpcs), (Part::Subnets, Part::Vpcs)]
        {
            let entries = self.parts.get(&from).into_iter().flat_map(|ids| ids.values().flatten());
            let reference = |entry: &Entry| match to {
                Part::Subnets => entry.subnet_id.clone(),
                _ => entry.vpc_id.clone(),
            };
            let referenced: BTreeSet<String> = entries.filter_map(reference).collect();
            let ids = self.parts.entry(to).or_default();
            for id in referenced {
                ids.entry(id).or_insert_with(|| vec![Entry::default()]);
            }
        }
    }

    /// Returns the file: one line for each id, sorted.
    fn to_json(&self) -> Result<Vec<u8>, ConfigError> {
        let json = |value: Result<String, serde_json::Error>| value.map_err(|error| ConfigError::bug(&error));
        let mut text = String::new();
        for part in Part::ALL {
            let before = if text.is_empty() { "{" } else { "," };
            text += &format!("{before}\n\"{}\": {{", part.name());
            let mut separator = "\n";
            for (id, entries) in self.parts.get(&part).into_iter().flatten() {
                let id = json(serde_json::to_string(id))?;
                let entries = match &**entries {
                    [only] => serde_json::to_string(only),
                    several => serde_json::to_string(several),
                };
                text += &format!("{separator}{id}: {}", json(entries)?);
                separator = ",\n";
            }
            text += "\n}";
        }
        text += "\n}\n";
        Ok(text.into_bytes())
    }
}

/// Writes a time as the file has it.
#[expect(clippy::ref_option, reason = "serde passes a reference")]
fn write_time<S: serde::Serializer>(ms: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    ms.and_then(timestamp::iso).serialize(serializer)
}
