//! The block that contains an address: nested blocks become ranges that do not overlap, found by binary search.

use std::collections::{BTreeMap, BTreeSet};

use super::timeline::{NameId, NameRef, Period, Timelines};

/// An IPv4 address as `u32`, or an IPv6 address as `u128`.
pub(super) trait Address: Copy + Ord + Default {
    /// Returns the next address; `None` after the last one.
    fn next(self) -> Option<Self>;
}

impl Address for u32 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Address for u128 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

/// A block of addresses, and its name in one period.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block<A> {
    pub(super) first: A,
    pub(super) last: A,
    pub(super) period: Period,
    /// Number of its subnet.
    pub(super) subnet: u32,
}

/// Adjacent ranges: range `i` begins at `starts[i]` and ends before `starts[i + 1]`.
#[derive(Debug, Default)]
pub(super) struct Ranges<A> {
    starts: Vec<A>,
    /// [`NO_BLOCK`] where no block contains the addresses.
    names: Vec<NameRef>,
}

/// Not the name of a block. Half the size of an `Option`.
const NO_BLOCK: NameRef = NameRef::BY_TIME;

/// A block that contains the current address.
struct Open<A> {
    last: A,
    name: NameRef,
}

impl<A: Address> Ranges<A> {
    /// Creates ranges from CIDR blocks. Any two blocks are disjoint, nested or equal. At any time, the innermost block
    /// wins. `clash` receives two equal blocks whose periods overlap.
    pub(super) fn nested(
        mut blocks: Vec<Block<A>>,
        timelines: &mut Timelines,
        mut clash: impl FnMut(&Block<A>, &Block<A>),
    ) -> Self {
        // Outer blocks come before inner blocks with the same first address.
        blocks.sort_unstable_by(|a, b| {
            let places = a.first.cmp(&b.first).then(b.last.cmp(&a.last));
            places.then(a.period.from.cmp(&b.period.from)).then(a.subnet.cmp(&b.subnet))
        });
        let mut ranges = Self::default();
        let mut open: Vec<Open<A>> = Vec::new();
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
            let periods: Vec<_> = equal.iter().map(|block| block.period).collect();
            let name = timelines.overlay(open.last().map(|block| block.name), &periods);
            ranges.begin(first, Some(name));
            open.push(Open { last, name });
        }
        ranges.close(&mut open, None);
        ranges
    }

    /// Ends the open blocks that end before `next`.
    fn close(&mut self, open: &mut Vec<Open<A>>, next: Option<A>) {
        while let Some(block) = open.pop_if(|block| next.is_none_or(|next| block.last < next)) {
            // The last block of the address space has no successor.
            if let Some(after) = block.last.next() {
                self.begin(after, open.last().map(|block| block.name));
            }
        }
    }

    fn begin(&mut self, start: A, name: Option<NameRef>) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.names.pop();
        }
        self.starts.push(start);
        self.names.push(name.unwrap_or(NO_BLOCK));
    }

    /// Returns the same ranges with other names.
    pub(super) fn renamed(&self, mut name: impl FnMut(NameRef) -> NameRef) -> Self {
        let names = self.names.iter().map(|old| known(*old).map_or(NO_BLOCK, &mut name)).collect();
        Self { starts: self.starts.clone(), names }
    }

    /// Returns the addresses that exactly one of the spaces contains, with that space's names. An address that several
    /// spaces contain, each at its own times, has a name while exactly one of them contains it.
    pub(super) fn unambiguous(spaces: &[&Self], timelines: &mut Timelines) -> Self {
        let mut changes: Vec<(A, u32, Option<NameRef>)> = Vec::new();
        for (space, ranges) in (0..).zip(spaces) {
            let names = ranges.names.iter().map(|name| known(*name));
            changes.extend(ranges.starts.iter().zip(names).map(|(start, name)| (*start, space, name)));
        }
        changes.sort_unstable_by_key(|(start, space, _)| (*start, *space));
        let mut ranges = Self::default();
        let mut current = vec![None; spaces.len()];
        let mut containing = Containing::default();
        for same in changes.chunk_by(|one, next| one.0 == next.0) {
            for (_, space, name) in same {
                let before = std::mem::replace(&mut current[*space as usize], *name);
                containing.remove(*space, before, timelines);
                containing.add(*space, *name, timelines);
            }
            ranges.begin(same[0].0, containing.only_one(timelines));
        }
        ranges
    }

    /// Returns the name of the address.
    pub(super) fn find(&self, address: A) -> Option<NameRef> {
        let after = self.starts.partition_point(|start| *start <= address);
        known(self.names[after.checked_sub(1)?])
    }
}

fn known(name: NameRef) -> Option<NameRef> {
    (name != NO_BLOCK).then_some(name)
}

/// The spaces that contain an address.
#[derive(Default)]
struct Containing {
    /// Those that contain it from a time on, or at all times: that time, the space and the name.
    open: BTreeSet<(Option<i64>, u32, NameId)>,
    /// Those that contain it at other times.
    timed: BTreeMap<u32, NameRef>,
}

impl Containing {
    fn add(&mut self, space: u32, name: Option<NameRef>, timelines: &Timelines) {
        match name {
            Some(name) if name.is_timed() => {
                self.timed.insert(space, name);
            }
            Some(name) => {
                self.open.insert((timelines.begin(name.id()), space, name.id()));
            }
            None => {}
        }
    }

    fn remove(&mut self, space: u32, name: Option<NameRef>, timelines: &Timelines) {
        match name {
            Some(name) if name.is_timed() => {
                self.timed.remove(&space);
            }
            Some(name) => {
                self.open.remove(&(timelines.begin(name.id()), space, name.id()));
            }
            None => {}
        }
    }

    fn only_one(&self, timelines: &mut Timelines) -> Option<NameRef> {
        // From the begin of the second on, at least two contain the address, so the others do not matter.
        let mut open = self.open.iter().take(2);
        let name = |(_, _, name): &(Option<i64>, u32, NameId)| NameRef::always(*name);
        match (open.next(), open.next(), self.timed.len()) {
            (None, None, 0) | (Some((None, ..)), Some((None, ..)), _) => None,
            (None, None, 1) => self.timed.values().next().copied(),
            (Some(only), None, 0) => Some(name(only)),
            (Some((first, ..)), Some((second, ..)), 0) if first == second => None,
            (first, second, _) => {
                let open = first.into_iter().chain(second).map(name);
                timelines.only_one(open.chain(self.timed.values().copied()))
            }
        }
    }
}
