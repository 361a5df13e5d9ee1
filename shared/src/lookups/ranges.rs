//! The block that contains an address: nested blocks become ranges that do not overlap, found by binary search.

use std::collections::BTreeMap;

use super::timeline::{NameRef, Period, Timelines};

/// A block of addresses, and its name in one period.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) first: u128,
    pub(super) last: u128,
    pub(super) period: Period,
    /// Number of its subnet.
    pub(super) subnet: u32,
}

/// Adjacent ranges: range `i` begins at `starts[i]` and ends before `starts[i + 1]`.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    starts: Vec<u128>,
    names: Vec<Option<NameRef>>,
}

/// A block that contains the current address.
struct Open {
    last: u128,
    name: NameRef,
}

impl Ranges {
    /// Creates ranges from CIDR blocks. Any two blocks are disjoint, nested or equal. At any time, the innermost block
    /// wins. `clash` receives two equal blocks whose periods overlap.
    pub(super) fn nested(
        mut blocks: Vec<Block>,
        timelines: &mut Timelines,
        mut clash: impl FnMut(&Block, &Block),
    ) -> Self {
        // Outer blocks come before inner blocks with the same first address.
        blocks.sort_unstable_by(|a, b| {
            let places = a.first.cmp(&b.first).then(b.last.cmp(&a.last));
            places.then(a.period.from.cmp(&b.period.from)).then(a.subnet.cmp(&b.subnet))
        });
        let mut ranges = Self::default();
        let mut open: Vec<Open> = Vec::new();
        for equal in blocks.chunk_by(|a, b| (a.first, a.last) == (b.first, b.last)) {
            let mut is_ambiguous = false;
            for pair in equal.windows(2) {
                if pair[1].period.from < pair[0].period.until {
                    is_ambiguous = true;
                    clash(&pair[0], &pair[1]);
                }
            }
            if is_ambiguous {
                continue;
            }
            let Block { first, last, .. } = equal[0];
            ranges.close(&mut open, Some(first));
            let periods = equal.iter().map(|block| block.period).collect();
            let name = timelines.overlay(open.last().map(|block| block.name), periods);
            ranges.begin(first, Some(name));
            open.push(Open { last, name });
        }
        ranges.close(&mut open, None);
        ranges
    }

    /// Ends the open blocks that end before `next`.
    fn close(&mut self, open: &mut Vec<Open>, next: Option<u128>) {
        while let Some(block) = open.pop_if(|block| next.is_none_or(|next| block.last < next)) {
            // The last block of the address space has no successor.
            if let Some(after) = block.last.checked_add(1) {
                self.begin(after, open.last().map(|block| block.name));
            }
        }
    }

    fn begin(&mut self, start: u128, name: Option<NameRef>) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.names.pop();
        }
        self.starts.push(start);
        self.names.push(name);
    }

    /// Returns the same ranges with other names.
    pub(super) fn renamed(&self, mut name: impl FnMut(NameRef) -> NameRef) -> Self {
        let names = self.names.iter().map(|old| old.map(&mut name)).collect();
        Self { starts: self.starts.clone(), names }
    }

    /// Returns the addresses that exactly one of the spaces contains, with that space's names. An address that several
    /// spaces contain, each at its own times, has a name while exactly one of them contains it.
    pub(super) fn unambiguous(spaces: &[&Self], timelines: &mut Timelines) -> Self {
        let mut changes: Vec<(u128, u32, Option<NameRef>)> = Vec::new();
        for (space, ranges) in (0..).zip(spaces) {
            changes
                .extend(ranges.starts.iter().zip(&ranges.names).map(|(start, name)| (*start, space, *name)));
        }
        changes.sort_unstable_by_key(|(start, space, _)| (*start, *space));
        let mut ranges = Self::default();
        let mut current = vec![None; spaces.len()];
        let mut containing = Containing::default();
        for same in changes.chunk_by(|one, next| one.0 == next.0) {
            for (_, space, name) in same {
                let before = std::mem::replace(&mut current[*space as usize], *name);
                containing.remove(*space, before);
                containing.add(*space, *name);
            }
            ranges.begin(same[0].0, containing.only_one(timelines));
        }
        ranges
    }

    /// Returns the name of the address.
    pub(super) fn find(&self, address: u128) -> Option<NameRef> {
        let after = self.starts.partition_point(|start| *start <= address);
        self.names[after.checked_sub(1)?]
    }
}

/// The spaces that contain an address.
#[derive(Default)]
struct Containing {
    /// Those that contain it at all times: their number, and their names combined by exclusive or. While one remains, the
    /// combination is its name.
    always: (u32, u32),
    /// Those that contain it at some times.
    timed: BTreeMap<u32, NameRef>,
}

impl Containing {
    fn add(&mut self, space: u32, name: Option<NameRef>) {
        match name {
            Some(name) if name.is_timed() => {
                self.timed.insert(space, name);
            }
            Some(name) => self.always = (self.always.0 + 1, self.always.1 ^ name.id()),
            None => {}
        }
    }

    fn remove(&mut self, space: u32, name: Option<NameRef>) {
        match name {
            Some(name) if name.is_timed() => {
                self.timed.remove(&space);
            }
            Some(name) => self.always = (self.always.0 - 1, self.always.1 ^ name.id()),
            None => {}
        }
    }

    fn only_one(&self, timelines: &mut Timelines) -> Option<NameRef> {
        let always = (self.always.0 == 1).then(|| NameRef::always(self.always.1));
        match (self.always.0, self.timed.len()) {
            (0, 0) => None,
            (0, 1) => self.timed.values().next().copied(),
            (1, 0) => always,
            (0 | 1, _) => timelines.only_one(always.into_iter().chain(self.timed.values().copied())),
            _ => None,
        }
    }
}
