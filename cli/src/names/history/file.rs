//! Merges timelines into a `names.json`.

use std::collections::{BTreeMap, BTreeSet};

use flowherd_shared::timestamp;
use serde::{Deserialize, Serialize};

use super::timeline::{Segment, Timeline, Timelines};

/// A `names.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct File {
    pub(super) interfaces: Ids,
    pub(super) subnets: Ids,
    pub(super) vpcs: Ids,
}

/// The entries of each id, in the order of their times.
pub(super) type Ids = BTreeMap<String, Entries>;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Entries {
    One(Box<Entry>),
    Several(Vec<Entry>),
}

/// An entry of any section, which uses some of the keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subnet_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    vpc_id: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cidrs: Vec<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    provisional: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reader: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Time>,
}

/// Milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Time(i64);

impl TryFrom<String> for Time {
    type Error = jiff::Error;

    fn try_from(text: String) -> Result<Self, jiff::Error> {
        text.parse::<jiff::Timestamp>().map(|time| Self(time.as_millisecond()))
    }
}

impl From<Time> for String {
    fn from(Time(ms): Time) -> Self {
        timestamp::iso(ms).unwrap_or_default()
    }
}

impl File {
    /// Adds an entry without a name for each id that others refer to, as a refresh does.
    pub(super) fn add_missing_references(&mut self) {
        let interfaces = || self.interfaces.values().flat_map(Entries::as_slice);
        add_missing(&mut self.subnets, interfaces().filter_map(|entry| entry.subnet_id.as_ref()));
        let networks = interfaces().chain(self.subnets.values().flat_map(Entries::as_slice));
        add_missing(&mut self.vpcs, networks.filter_map(|entry| entry.vpc_id.as_ref()));
    }
}

fn add_missing<'i>(ids: &mut Ids, referenced: impl Iterator<Item = &'i String>) {
    for id in referenced {
        if !ids.contains_key(id) {
            ids.insert(id.clone(), Entries::One(Box::default()));
        }
    }
}

impl Entries {
    fn into_vec(self) -> Vec<Entry> {
        match self {
            Self::One(entry) => vec![*entry],
            Self::Several(entries) => entries,
        }
    }
}

impl Entry {
    fn begin(&self) -> i64 {
        self.from.map_or(i64::MIN, |Time(ms)| ms)
    }

    fn end(&self) -> i64 {
        self.until.map_or(i64::MAX, |Time(ms)| ms)
    }

    fn contains(&self, at: i64) -> bool {
        self.begin() <= at && at < self.end()
    }

    /// Returns the name, or the description of an interface.
    fn shown_name(&self) -> Option<&str> {
        self.description.as_deref().or(self.name.as_deref())
    }

    /// Returns the part of the entry within a time, if there is one.
    fn within(&self, from: i64, until: i64) -> Option<Self> {
        let (from, until) = (self.begin().max(from), self.end().min(until));
        (from < until).then(|| self.during(from, until))
    }

    /// Returns the entry with other times.
    fn during(&self, from: i64, until: i64) -> Self {
        let time = |ms: i64, unlimited: i64| (ms != unlimited).then_some(Time(ms));
        Self { from: time(from, i64::MIN), until: time(until, i64::MAX), ..self.clone() }
    }

    /// Returns whether the entry says the same as another one. The later `source` counts.
    fn is_like(&self, other: &Self) -> bool {
        let said =
            |entry: &Self| Self { source: None, reader: None, from: None, until: None, ..entry.clone() };
        said(self) == said(other)
    }
}

/// A section of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    Interfaces,
    Networks,
}

/// Merges timelines into a section. Returns the ids that are new, and those that changed.
///
/// From the first to the last time of a timeline, the timeline decides. Before and after it, the section's entries stay. The
/// last name of the timeline applies until the next change in the section. Two exceptions: entries that a person wrote stay, and
/// a provisional name replaces no final one.
pub(super) fn merge(
    ids: &mut Ids,
    section: Section,
    timelines: &Timelines,
) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut new, mut changed) = (BTreeSet::new(), BTreeSet::new());
    for (id, timeline) in timelines {
        let former = ids.get(id).cloned().map(Entries::into_vec).unwrap_or_default();
        let known: Vec<Entry> = former.iter().filter(|entry| **entry != Entry::default()).cloned().collect();
        if known.iter().any(|entry| entry.source.is_none()) {
            continue;
        }
        let merged = merge_again(known, section, timeline);
        if merged.is_empty() || merged == former {
            continue;
        }
        if former.is_empty() { &mut new } else { &mut changed }.insert(id.clone());
        ids.insert(id.clone(), Entries::Several(merged));
    }
    (new, changed)
}

/// Merges until nothing changes. A final name that replaces a provisional one then follows the provisional name before it.
fn merge_again(mut known: Vec<Entry>, section: Section, timeline: &Timeline) -> Vec<Entry> {
    // Each time, at least one more provisional name is replaced.
    for _ in 0..=timeline.segments.len() {
        let merged = merge_id(&known, section, timeline);
        if merged == known {
            break;
        }
        known = merged;
    }
    known
}

fn merge_id(known: &[Entry], section: Section, timeline: &Timeline) -> Vec<Entry> {
    let Timeline { first, last, segments, .. } = timeline;
    let mut merged: Vec<Entry> = known.iter().filter_map(|entry| entry.within(i64::MIN, *first)).collect();
    let next = known.iter().map(Entry::begin).find(|begin| begin > last).unwrap_or(i64::MAX);
    // A refresh ended the entry at the last time because the resource was gone or had another name.
    let current = known.iter().find(|entry| entry.contains(*last)).map_or(next, Entry::end);
    let is_own = |entry: &Entry| segments.iter().any(|own| !own.is_provisional && own.from == entry.begin());
    for (number, segment) in segments.iter().enumerate() {
        let until = segment.until.unwrap_or(current);
        let entry = entry(segment, section).during(segment.from, until);
        if segment.is_provisional {
            let before = number.checked_sub(1).map(|before| &segments[before]);
            let ended = before.filter(|before| !before.is_provisional && before.until == Some(segment.from));
            merged.extend(with_final_names(&entry, known, ended.map(|ended| &*ended.name), is_own));
        } else {
            merged.push(entry);
        }
    }
    merged.extend(known.iter().filter(|entry| entry.begin() > *last).cloned());
    complete(&mut merged, known, timeline);
    merged.sort_by_key(Entry::begin);
    coalesced(merged)
}

/// Returns an entry without times.
fn entry(segment: &Segment, section: Section) -> Entry {
    let name = Some(segment.name.clone()).filter(|name| !name.is_empty());
    let (description, name) = if section == Section::Interfaces { (name, None) } else { (None, name) };
    let (cidrs, source) = (segment.cidrs.clone(), Some(segment.source.clone()));
    Entry { description, name, cidrs, provisional: segment.is_provisional, source, ..Entry::default() }
}

/// Replaces a provisional name by the final names that are known at its time, or that follow it. As in a refresh, a final name
/// replaces a provisional one at all its times. A name that follows it in the timeline itself, as an earlier merge has written it,
/// does not, and neither does the name that ended when the provisional one began: a refresh that read it was earlier.
fn with_final_names(
    provisional: &Entry,
    known: &[Entry],
    ended: Option<&str>,
    is_own: impl Fn(&Entry) -> bool,
) -> Vec<Entry> {
    let (from, until) = (provisional.begin(), provisional.end());
    let is_near = |entry: &&Entry| {
        let follows = entry.begin() == until && !is_own(entry);
        let has_ended = ended.is_some_and(|ended| entry.begin() < from && entry.shown_name() == Some(ended));
        !entry.provisional && !has_ended && from < entry.end() && (entry.begin() < until || follows)
    };
    let finals: Vec<&Entry> = known.iter().filter(is_near).collect();
    if finals.is_empty() {
        return vec![provisional.clone()];
    }
    let mut pieces = Vec::new();
    for (number, entry) in finals.iter().enumerate() {
        let begin = if number == 0 { from } else { entry.begin() };
        let end = finals.get(number + 1).map_or(until, |next| next.begin());
        if begin < end {
            pieces.push(entry.during(begin, end));
        }
    }
    pieces
}

/// Gives all entries of an id its subnet and VPC, which never change.
fn complete(entries: &mut [Entry], known: &[Entry], timeline: &Timeline) {
    let subnet_id =
        known.iter().find_map(|entry| entry.subnet_id.clone()).or_else(|| timeline.subnet_id.clone());
    let vpc_id = known.iter().find_map(|entry| entry.vpc_id.clone()).or_else(|| timeline.vpc_id.clone());
    for entry in entries {
        entry.subnet_id.clone_from(&subnet_id);
        entry.vpc_id.clone_from(&vpc_id);
    }
}

/// Joins entries with the same content that follow each other without a gap. The source of the later one stays.
fn coalesced(entries: Vec<Entry>) -> Vec<Entry> {
    let mut joined: Vec<Entry> = Vec::new();
    for entry in entries {
        match joined.last_mut() {
            Some(last) if last.end() == entry.begin() && last.is_like(&entry) => {
                *last = Entry { from: last.from, ..entry };
            }
            _ => joined.push(entry),
        }
    }
    joined
}

/// The begin and the id of each subnet entry, by VPC and block.
type Holders = BTreeMap<(Option<String>, String), Vec<(i64, String)>>;

/// Ends entries of subnets whose block a later subnet has, as a refresh does: two subnets of a VPC never overlap
/// (<https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html>), so the deletion of the earlier one is not in the files.
/// Returns a line for each.
pub(super) fn end_replaced(subnets: &mut Ids, merged: &BTreeSet<String>) -> Vec<String> {
    let mut holders = Holders::new();
    for (id, entries) in &*subnets {
        for entry in entries.as_slice() {
            for cidr in &entry.cidrs {
                holders
                    .entry((entry.vpc_id.clone(), cidr.clone()))
                    .or_default()
                    .push((entry.begin(), id.clone()));
            }
        }
    }
    let mut lines = Vec::new();
    for ((_, cidr), mut holders) in holders {
        holders.sort();
        for pair in holders.windows(2) {
            let [(begin, id), (next, other)] = pair else { continue };
            if id != other
                && (merged.contains(id) || merged.contains(other))
                && end_at(subnets, id, *begin, *next)
            {
                let time = timestamp::iso(*next).unwrap_or_default();
                lines.push(format!(
                    "subnet {id:?} ends at {time}: subnet {other:?} of the same VPC has {cidr} then"
                ));
            }
        }
    }
    subnets.retain(|_, entries| !entries.as_slice().is_empty());
    lines
}

/// Ends the entry that begins at a time, unless it ends before, or a person wrote it. Returns whether it did.
fn end_at(subnets: &mut Ids, id: &str, begin: i64, at: i64) -> bool {
    let Some(entries) = subnets.get_mut(id) else { return false };
    let mut all = entries.as_slice().to_vec();
    let is_it = |entry: &Entry| entry.begin() == begin && entry.end() > at && entry.source.is_some();
    let Some(number) = all.iter().position(is_it) else { return false };
    match all[number].within(i64::MIN, at) {
        Some(ended) => all[number] = ended,
        None => drop(all.remove(number)),
    }
    *entries = Entries::Several(all);
    true
}

impl Entries {
    fn as_slice(&self) -> &[Entry] {
        match self {
            Self::One(entry) => std::slice::from_ref(entry),
            Self::Several(entries) => entries,
        }
    }
}
