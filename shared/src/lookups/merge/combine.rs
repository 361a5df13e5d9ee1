//! What all readings found together, and how it changes the entries of a section.

use std::collections::{BTreeMap, BTreeSet};

use super::{Changes, Ids, Named, Part, Reading, entry::Entry};

/// One section in all readings.
pub(super) struct Combined<'r> {
    part: Part,
    /// Accounts and regions in which the section was read.
    pub(super) sources: BTreeSet<String>,
    found: BTreeMap<&'r str, Found<'r>>,
}

struct Found<'r> {
    named: &'r Named,
    source: String,
    /// Whether its owner read it. Others see a shared subnet without its tags
    /// (<https://docs.aws.amazon.com/vpc/latest/userguide/vpc-sharing.html>).
    is_own: bool,
    /// Whether the section was read in this account and region before.
    was_read: bool,
}

impl<'r> Combined<'r> {
    pub(super) fn new(
        readings: &'r [Reading],
        part: Part,
        read_before: &BTreeMap<String, BTreeSet<String>>,
    ) -> Self {
        let mut combined = Self { part, sources: BTreeSet::new(), found: BTreeMap::new() };
        for reading in readings {
            let Some(ids) = reading.parts.get(&part) else { continue };
            let reader = format!("{}/{}", reading.account, reading.region);
            let was_read = read_before.get(&reader).is_some_and(|parts| parts.contains(part.name()));
            for (id, named) in ids {
                let owner = named.owner.as_ref().unwrap_or(&reading.account);
                let source = format!("{owner}/{}", reading.region);
                let found = Found { named, source, is_own: *owner == reading.account, was_read };
                combined.add(id, found);
            }
            combined.sources.insert(reader);
        }
        combined
    }

    /// Of several readers, the owner counts. Among others any order of readings must give the same file.
    fn add(&mut self, id: &'r str, found: Found<'r>) {
        let rank =
            |found: &Found<'r>| (!found.is_own, !found.was_read, found.source.clone(), &found.named.name);
        if self.found.get(id).is_none_or(|other| rank(&found) < rank(other)) {
            self.found.insert(id, found);
        }
    }

    /// Changes the entries of the section as of `at`.
    pub(super) fn apply(&self, ids: &mut Ids, at: i64, changes: &mut Changes) {
        for (id, found) in &self.found {
            match ids.get_mut(*id) {
                None => {
                    let from = found.was_read.then_some(at);
                    ids.insert((*id).to_owned(), vec![self.entry(found, from)]);
                    changes.new += 1;
                }
                Some(entries) => self.update(entries, found, at, changes),
            }
        }
        ids.retain(|id, entries| {
            let is_found = self.found.contains_key(&**id);
            if !is_found && self.end(entries, at) {
                changes.gone += 1;
            }
            !entries.is_empty()
        });
    }

    fn entry(&self, found: &Found<'_>, from: Option<i64>) -> Entry {
        let Named { name, subnet_id, vpc_id, cidrs, .. } = found.named.clone();
        let name = Some(name).filter(|name| !name.is_empty());
        let (description, name) = if self.part == Part::Interfaces { (name, None) } else { (None, name) };
        let source = Some(found.source.clone());
        Entry { description, name, subnet_id, vpc_id, cidrs, source, from, until: None }
    }

    fn update(&self, entries: &mut Vec<Entry>, found: &Found<'_>, at: i64, changes: &mut Changes) {
        if let [only] = &mut **entries
            && only.is_reference()
        {
            *only = self.entry(found, None);
            changes.changed += 1;
            return;
        }
        // An id keeps its subnet and its VPC, so what was read completes earlier entries.
        for entry in entries.iter_mut() {
            entry.subnet_id = entry.subnet_id.take().or_else(|| found.named.subnet_id.clone());
            entry.vpc_id = entry.vpc_id.take().or_else(|| found.named.vpc_id.clone());
        }
        if let Some(number) = entries.iter().position(|entry| entry.contains(at)) {
            let current = &mut entries[number];
            if !found.is_own {
                return;
            }
            if current.is_same(found.named) {
                current.source = Some(found.source.clone());
                return;
            }
            changes.changed += 1;
            let next = Entry { until: current.until, ..self.entry(found, Some(at)) };
            if current.from == Some(at) {
                *current = next;
            } else {
                current.until = Some(at);
                entries.insert(number + 1, next);
            }
            return;
        }
        changes.returned += 1;
        let begun = entries.iter().take_while(|entry| entry.begins_by(at)).count();
        let until = entries.get(begun).and_then(|entry| entry.from);
        // What was gone for no time continues.
        let continued = begun.checked_sub(1).filter(|last| {
            let last = &entries[*last];
            last.until == Some(at) && last.is_same(found.named)
        });
        if let Some(last) = continued {
            (entries[last].until, entries[last].source) = (until, Some(found.source.clone()));
        } else {
            entries.insert(begun, Entry { until, ..self.entry(found, Some(at)) });
        }
    }

    /// Ends the entry that applies, if it came from an account and region that was read. Returns whether it did.
    fn end(&self, entries: &mut Vec<Entry>, at: i64) -> bool {
        let Some(number) = entries.iter().position(|entry| entry.contains(at)) else { return false };
        if !entries[number].source.as_ref().is_some_and(|source| self.sources.contains(source)) {
            return false;
        }
        if entries[number].from == Some(at) {
            entries.remove(number);
        } else {
            entries[number].until = Some(at);
        }
        true
    }
}
