//! Combines all readings of a section, and changes its entries.

use std::collections::BTreeMap;

use super::{Changes, Ids, Named, Part, Reading, entry::Entry, rewrite::EditIds};

/// One section in all readings.
pub(super) struct Combined<'r> {
    part: Part,
    /// When each account and region read the section.
    readers: BTreeMap<String, i64>,
    /// Sorted by id. The first one of an id has the best name.
    observed: Vec<Observed<'r>>,
}

/// A resource as one account sees it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Observed<'r> {
    id: &'r str,
    named: &'r Named,
    owner: &'r str,
    reading: &'r Reading,
}

impl Observed<'_> {
    /// Returns whether its owner read it. Others see a shared subnet without its tags
    /// (<https://docs.aws.amazon.com/vpc/latest/userguide/vpc-sharing.html>), and an interface without the names of its
    /// owner's instances.
    fn is_own(&self) -> bool {
        self.owner == self.reading.account
    }

    fn source(&self) -> String {
        source(self.owner, &self.reading.region)
    }

    fn reader(&self) -> Option<String> {
        (!self.is_own()).then(|| source(&self.reading.account, &self.reading.region))
    }

    pub(super) fn at(&self) -> i64 {
        self.reading.at_ms
    }
}

fn source(account: &str, region: &str) -> String {
    format!("{account}/{region}")
}

impl<'r> Combined<'r> {
    pub(super) fn new(readings: &[&'r Reading], part: Part) -> Self {
        let mut combined = Self { part, readers: BTreeMap::new(), observed: Vec::new() };
        let read =
            || readings.iter().copied().filter_map(|reading| Some((reading, reading.parts.get(&part)?)));
        for (reading, _) in read() {
            let at = combined.readers.entry(source(&reading.account, &reading.region)).or_insert(i64::MAX);
            *at = reading.at_ms.min(*at);
        }
        for (reading, ids) in read() {
            for (id, named) in ids {
                let owner = named.owner.as_ref().unwrap_or(&reading.account);
                let observed = Observed { id, named, owner, reading };
                // The owner's list decides whether the resource exists.
                if observed.is_own() || !combined.readers.contains_key(&observed.source()) {
                    combined.observed.push(observed);
                }
            }
        }
        // Any order of readings must give the same file.
        let rank = |one: &Observed<'r>| {
            let account = (&*one.reading.account, &*one.reading.region);
            (!one.is_own(), one.named.is_provisional, account, &*one.named.name, one.at())
        };
        combined
            .observed
            .sort_by(|one, other| one.id.cmp(other.id).then_with(|| rank(one).cmp(&rank(other))));
        combined
    }

    /// Returns when an id was read; `None` if no reading has it.
    pub(super) fn read_at(&self, id: &str) -> Option<i64> {
        self.observed(id).first().map(Observed::at)
    }

    /// Returns the blocks that were read of a subnet.
    pub(super) fn cidrs(&self, id: &str) -> &'r [String] {
        self.observed(id).first().map_or(&[], |best| &best.named.cidrs)
    }

    /// Returns what was read of an id.
    fn observed(&self, id: &str) -> &[Observed<'r>] {
        let after = &self.observed[self.observed.partition_point(|observed| observed.id < id)..];
        &after[..after.partition_point(|observed| observed.id == id)]
    }

    /// Returns an editor of the section. It must receive all ids, in order.
    pub(super) fn edit(&self) -> SectionEdit<'_, 'r> {
        SectionEdit { combined: self, remaining: &self.observed, changes: Changes::default() }
    }

    /// Changes the entries of the section.
    pub(super) fn apply(&self, ids: &mut Ids) -> Changes {
        let mut edit = self.edit();
        let mut new = Vec::new();
        let mut add_new = |edit: &mut SectionEdit<'_, 'r>, before: Option<&str>| {
            while let Some((id, entries)) = edit.next_new(before) {
                new.push((id.to_owned(), entries));
            }
        };
        ids.retain(|id, entries| {
            add_new(&mut edit, Some(id));
            edit.edit(id, entries);
            !entries.is_empty()
        });
        add_new(&mut edit, None);
        ids.extend(new);
        edit.changes
    }

    /// Returns an entry that begins with the reading. Nothing is known about the time before it.
    fn entry(&self, observed: &Observed<'_>) -> Entry {
        let Named { name, subnet_id, vpc_id, cidrs, is_provisional, .. } = observed.named.clone();
        let (source, reader) = (Some(observed.source()), observed.reader());
        let (from, until) = (Some(observed.at()), None);
        let unnamed = Entry {
            description: None,
            name: None,
            subnet_id,
            vpc_id,
            cidrs,
            is_provisional,
            source,
            reader,
            from,
            until,
        };
        self.with_name(unnamed, &name)
    }

    fn with_name(&self, entry: Entry, name: &str) -> Entry {
        let name = Some(name.to_owned()).filter(|name| !name.is_empty());
        match self.part {
            Part::Interfaces => Entry { description: name, ..entry },
            Part::Subnets | Part::Vpcs => Entry { name, ..entry },
        }
    }

    fn update(&self, entries: &mut Vec<Entry>, all: &[Observed<'_>], changes: &mut Changes) {
        let best = &all[0];
        if let [only] = &mut **entries
            && only.is_reference()
        {
            *only = self.entry(best);
            changes.changed += 1;
            return;
        }
        // An id keeps its subnet and its VPC, so what was read completes earlier entries.
        for entry in entries.iter_mut() {
            entry.subnet_id = entry.subnet_id.take().or_else(|| best.named.subnet_id.clone());
            entry.vpc_id = entry.vpc_id.take().or_else(|| best.named.vpc_id.clone());
        }
        let Some(number) = entries.iter().position(|entry| entry.contains(best.at())) else {
            self.resume(entries, best);
            changes.returned += 1;
            return;
        };
        let Some(observed) = self.reader_of(&entries[number], all) else { return };
        let is_renamed = self.replace_preliminary(entries, number, observed);
        let at = observed.at();
        let current = &mut entries[number];
        if is_same(current, observed.named) {
            (current.source, current.reader) = (Some(observed.source()), observed.reader());
            changes.changed += u64::from(is_renamed);
            return;
        }
        changes.changed += 1;
        let next = Entry { until: current.until, ..self.entry(observed) };
        if current.end(at) {
            entries.insert(number + 1, next);
        } else {
            *current = next;
        }
    }

    /// Returns the observation that may change an entry, if any: that of the owner, of the account that read the entry, or,
    /// if this account no longer sees the resource, of another one.
    fn reader_of<'o>(&self, entry: &Entry, all: &'o [Observed<'r>]) -> Option<&'o Observed<'r>> {
        // A person wrote it.
        entry.source.as_ref()?;
        if all[0].is_own() {
            return Some(&all[0]);
        }
        // Its owner named it.
        let reader = entry.reader.as_ref()?;
        let same = all.iter().find(|observed| observed.reader().as_ref() == Some(reader));
        same.or_else(|| self.readers.contains_key(reader).then_some(&all[0]))
    }

    /// Replaces the name of an entry at all its times, if a better one was read. Returns whether the name is another one.
    fn replace_preliminary(&self, entries: &mut [Entry], number: usize, observed: &Observed<'_>) -> bool {
        let current = &entries[number];
        let is_taken_over = observed.is_own() && current.reader.is_some();
        let is_final = current.is_provisional && !observed.named.is_provisional;
        if !is_taken_over && !is_final {
            return false;
        }
        let former = current.text().to_owned();
        // Earlier entries of the same name differ in their blocks.
        for number in (0..=number).rev() {
            let entry = std::mem::take(&mut entries[number]);
            let begin = entry.from;
            entries[number] = Entry {
                is_provisional: observed.named.is_provisional,
                source: Some(observed.source()),
                reader: observed.reader(),
                ..self.with_name(entry, &observed.named.name)
            };
            let is_continued = number.checked_sub(1).is_some_and(|before| {
                let before = &entries[before];
                before.is_preliminary() && before.text() == former && before.until == begin
            });
            if !is_continued {
                break;
            }
        }
        former != observed.named.name
    }

    /// Adds an entry to an id that has none at this time.
    fn resume(&self, entries: &mut Vec<Entry>, observed: &Observed<'_>) {
        let at = observed.at();
        let begun = entries.iter().take_while(|entry| entry.begins_by(at)).count();
        let until = entries.get(begun).and_then(|entry| entry.from);
        // An id that ended at this same time continues its entry.
        let continued = begun.checked_sub(1).filter(|last| {
            let last = &entries[*last];
            last.until == Some(at) && last.source.is_some() && is_same(last, observed.named)
        });
        if let Some(last) = continued {
            let last = &mut entries[last];
            (last.until, last.source, last.reader) = (until, Some(observed.source()), observed.reader());
        } else {
            entries.insert(begun, Entry { until, ..self.entry(observed) });
        }
    }

    /// Ends the entry that applies, if its owner read the section, or else its reader. Returns whether it ended.
    fn end(&self, entries: &mut Vec<Entry>) -> bool {
        let time = |entry: &Entry| {
            let source = entry.source.as_ref()?;
            let reader = || self.readers.get(entry.reader.as_ref()?);
            let at = self.readers.get(source).or_else(reader).copied()?;
            entry.contains(at).then_some(at)
        };
        let Some((number, at)) =
            entries.iter().enumerate().find_map(|(number, entry)| Some((number, time(entry)?)))
        else {
            return false;
        };
        if !entries[number].end(at) {
            entries.remove(number);
        }
        true
    }
}

/// Changes the ids of a section in their order.
pub(super) struct SectionEdit<'c, 'r> {
    combined: &'c Combined<'r>,
    /// What was read of the ids that follow.
    remaining: &'c [Observed<'r>],
    pub(super) changes: Changes,
}

impl<'c, 'r> SectionEdit<'c, 'r> {
    /// Takes what was read of the next id.
    fn take_next(&mut self) -> &'c [Observed<'r>] {
        let Some(first) = self.remaining.first() else { return &[] };
        let count = self.remaining.iter().take_while(|observed| observed.id == first.id).count();
        let (next, remaining) = self.remaining.split_at(count);
        self.remaining = remaining;
        next
    }
}

impl EditIds for SectionEdit<'_, '_> {
    fn next_new(&mut self, before: Option<&str>) -> Option<(&str, Vec<Entry>)> {
        self.remaining.first().filter(|next| before.is_none_or(|before| next.id < before))?;
        let best = self.take_next().first()?;
        self.changes.new += 1;
        Some((best.id, vec![self.combined.entry(best)]))
    }

    fn edit(&mut self, id: &str, entries: &mut Vec<Entry>) {
        if self.remaining.first().is_some_and(|next| next.id == id) {
            let observed = self.take_next();
            self.combined.update(entries, observed, &mut self.changes);
        } else if self.combined.end(entries) {
            self.changes.gone += 1;
        }
    }
}

/// Returns whether an entry has the name and the blocks that were read.
fn is_same(entry: &Entry, named: &Named) -> bool {
    let keeps_name = named.is_provisional && !entry.is_provisional;
    (keeps_name || entry.text() == named.name) && entry.cidrs == named.cidrs
}
