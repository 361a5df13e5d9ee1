//! The block that contains an address: nested blocks become ranges that do not overlap, found by binary search.

use std::collections::BTreeMap;

/// A block of addresses and its name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) first: u128,
    pub(super) last: u128,
    pub(super) name: u32,
}

/// Adjacent ranges: range `i` begins at `starts[i]` and ends before `starts[i + 1]`.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    starts: Vec<u128>,
    names: Vec<Option<u32>>,
}

impl Ranges {
    /// Creates ranges from CIDR blocks. Any two blocks are disjoint or nested, and none are equal. The inner block wins.
    pub(super) fn nested(blocks: &[Block]) -> Self {
        let mut blocks = blocks.to_vec();
        // Outer blocks come before inner blocks with the same first address.
        blocks.sort_unstable_by(|a, b| a.first.cmp(&b.first).then(b.last.cmp(&a.last)));
        let mut ranges = Self::default();
        let mut open: Vec<Block> = Vec::new();
        for block in blocks {
            ranges.close(&mut open, Some(block.first));
            ranges.begin(block.first, Some(block.name));
            open.push(block);
        }
        ranges.close(&mut open, None);
        ranges
    }

    /// Ends the open blocks that end before `next`.
    fn close(&mut self, open: &mut Vec<Block>, next: Option<u128>) {
        while let Some(block) = open.last().copied() {
            if next.is_some_and(|next| block.last >= next) {
                break;
            }
            open.pop();
            let outer = open.last().map(|block| block.name);
            // The last block of the address space has no successor.
            if let Some(after) = block.last.checked_add(1) {
                self.begin(after, outer);
            }
        }
    }

    fn begin(&mut self, start: u128, name: Option<u32>) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.names.pop();
        }
        self.starts.push(start);
        self.names.push(name);
    }

    /// Returns the addresses that exactly one of the spaces contains, with that space's names.
    pub(super) fn unambiguous<'a>(spaces: impl Iterator<Item = &'a Self>) -> Self {
        // For each address where a range begins: by how much the number of spaces changes, and the names that begin or
        // end there, combined by exclusive or. While one space remains, the combination is its name.
        let mut changes: BTreeMap<u128, (i64, u32)> = BTreeMap::new();
        for space in spaces {
            let mut before = None;
            for (start, name) in space.starts.iter().zip(&space.names) {
                let change = changes.entry(*start).or_default();
                for (name, delta) in [(before, -1), (*name, 1)] {
                    if let Some(name) = name {
                        change.0 += delta;
                        change.1 ^= name;
                    }
                }
                before = *name;
            }
        }
        let mut ranges = Self::default();
        let (mut spaces, mut names) = (0, 0);
        for (start, (delta, name)) in changes {
            spaces += delta;
            names ^= name;
            ranges.begin(start, (spaces == 1).then_some(names));
        }
        ranges
    }

    /// Returns the name of the address.
    pub(super) fn find(&self, address: u128) -> Option<u32> {
        let after = self.starts.partition_point(|start| *start <= address);
        self.names[after.checked_sub(1)?]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn binary_search_finds_the_same_name_as_a_scan_of_all_blocks(
            spaces in proptest::collection::vec(
                proptest::collection::btree_map((0_u32..=6, 0_u128..64), 1_u32..1000, 0..12), 0..4),
            addresses in proptest::collection::vec(0_u128..80, 1..20),
        ) {
            let spaces: Vec<Vec<Block>> = spaces.into_iter().map(|blocks| {
                let mut blocks: Vec<Block> = blocks.into_iter().map(|((bits, at), name)| {
                    let first = at >> bits << bits;
                    Block { first, last: first + (1 << bits) - 1, name }
                }).collect();
                blocks.sort_unstable_by_key(|block| (block.first, block.last));
                blocks.dedup_by_key(|block| (block.first, block.last));
                blocks
            }).collect();
            let longest = |blocks: &[Block], address: u128| {
                let blocks = blocks.iter().filter(|block| (block.first..=block.last).contains(&address));
                blocks.min_by_key(|block| block.last - block.first).map(|block| block.name)
            };
            let ranges: Vec<Ranges> = spaces.iter().map(|blocks| Ranges::nested(blocks)).collect();
            let once = Ranges::unambiguous(ranges.iter());
            for address in addresses {
                let found: Vec<u32> = spaces.iter().filter_map(|blocks| longest(blocks, address)).collect();
                for (blocks, ranges) in spaces.iter().zip(&ranges) {
                    prop_assert_eq!(ranges.find(address), longest(blocks, address));
                }
                prop_assert_eq!(once.find(address), (found.len() == 1).then(|| found[0]));
            }
        }
    }
}
