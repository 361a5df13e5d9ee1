//! Merges readings from AWS into a former `names.json`, so that every name keeps the time in which it applied.

mod blocks;
mod combine;
mod document;
mod entry;
mod rewrite;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, ops::AddAssign};

use serde::Serialize;

use self::{
    combine::Combined,
    entry::Entry,
    rewrite::{Checked, EditIds, rewrite},
};
use super::NameIndex;
pub use super::part::Part;
use crate::{limits::MAX_NAMES_BYTES, problems::ConfigError, timestamp};

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

impl AddAssign for Changes {
    fn add_assign(&mut self, other: Self) {
        self.new += other.new;
        self.changed += other.changed;
        self.gone += other.gone;
        self.returned += other.returned;
    }
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
    let former = former.map(Checked::new).transpose()?;
    let readings: Vec<&Reading> = readings.into_iter().collect();
    let interfaces = Combined::new(&readings, Part::Interfaces);
    let mut edit = interfaces.edit();
    let mut names = rewrite(former, &mut edit)?;
    let mut changes = edit.changes;
    drop(interfaces);
    let begin = readings.iter().map(|reading| reading.at_ms).fold(now_ms, i64::min);
    check_clock(begin, names.last_time)?;
    let subnets = Combined::new(&readings, Part::Subnets);
    changes += subnets.apply(&mut names.subnets);
    let mut notes = blocks::end_replaced(&mut names.subnets, &subnets, &mut changes);
    blocks::complete(&mut names.subnets, &subnets);
    changes += Combined::new(&readings, Part::Vpcs).apply(&mut names.vpcs);
    let (bytes, counts) = names.finish()?;
    NameIndex::parse(&bytes)?;
    notes.extend(near_limits(&counts, bytes.len()));
    Ok(Merged { bytes, changes, notes })
}

/// Removes the entries that ended before a time, in milliseconds since 1970. Returns the new file and the number of removed
/// entries.
///
/// # Errors
/// All problems of the file.
pub fn forget_before(file: &[u8], before_ms: i64) -> Result<(Vec<u8>, usize), ConfigError> {
    let mut forget = Forget { before_ms, removed: 0 };
    let mut names = rewrite(Some(Checked::new(file)?), &mut forget)?;
    for ids in [&mut names.subnets, &mut names.vpcs] {
        ids.retain(|id, entries| {
            forget.edit(id, entries);
            !entries.is_empty()
        });
    }
    Ok((names.finish()?.0, forget.removed))
}

/// Removes the entries that ended before a time.
struct Forget {
    before_ms: i64,
    /// Removed entries so far.
    removed: usize,
}

impl EditIds for Forget {
    fn next_new(&mut self, _: Option<&str>) -> Option<(&str, Vec<Entry>)> {
        None
    }

    fn edit(&mut self, _: &str, entries: &mut Vec<Entry>) {
        let before = entries.len();
        entries.retain(|entry| entry.until.is_none_or(|until| until > self.before_ms));
        self.removed += before - entries.len();
    }
}

/// Checks that no entry from AWS begins or ends after `at`. A clock that is behind would change the past.
fn check_clock(at: i64, last: Option<i64>) -> Result<(), ConfigError> {
    match last {
        Some(last) if at < last => {
            let time = |ms: i64| timestamp::iso(ms).unwrap_or_else(|| ms.to_string());
            Err(ConfigError::of(format!(
                "the clock is at {}, but the file has names of {}; correct the clock of this machine, or the times in the file",
                time(at),
                time(last)
            )))
        }
        _ => Ok(()),
    }
}

/// Returns a line for each limit that is nearly reached.
fn near_limits(counts: &[(Part, usize)], bytes: usize) -> Vec<String> {
    let counts = counts.iter().map(|(part, count)| (part.name(), *count, part.limit()));
    let all = counts.chain([("bytes", bytes, MAX_NAMES_BYTES)]);
    all.filter(|(_, count, limit)| *count > limit / 5 * 4)
        .map(|(what, count, limit)| {
            format!(
                "the file has {count} {what} of at most {limit}; remove the entries that ended before your logs begin with \
                 flowherd names --forget-before"
            )
        })
        .collect()
}

/// Writes a time as the file has it.
#[expect(clippy::ref_option, reason = "serde passes a reference")]
fn write_time<S: serde::Serializer>(ms: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    ms.and_then(timestamp::iso).serialize(serializer)
}
