//! Which block of addresses holds an address: blocks flattened into ranges that do not overlap, found by bisection.

use std::{collections::BTreeMap, net::IpAddr};

use super::NameId;

/// First and last address of a block, and what to call it.
type Block = (u128, u128, NameId);

/// A CIDR block's addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Cidr {
    pub(super) v6: bool,
    pub(super) first: u128,
    pub(super) last: u128,
}

/// Ranges side by side: range `i` goes from `starts[i]` to just before `starts[i + 1]`.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    starts: Vec<u128>,
    names: Vec<Option<NameId>>,
}

impl Ranges {
    /// From CIDR blocks, of which any two are apart or one within the other: the inner one wins. No two may be
    /// the same.
    pub(super) fn nested(blocks: &[Block]) -> Self {
        let mut blocks = blocks.to_vec();
        // Outer blocks before the inner ones that begin with them.
        blocks.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        let mut ranges = Self::default();
        let mut open: Vec<Block> = Vec::new();
        for block in blocks {
            ranges.close(&mut open, Some(block.0));
            ranges.begin(block.0, Some(block.2));
            open.push(block);
        }
        ranges.close(&mut open, None);
        ranges
    }

    /// Ends the open blocks that end before `next`.
    fn close(&mut self, open: &mut Vec<Block>, next: Option<u128>) {
        while let Some(&(_, last, _)) = open.last() {
            if next.is_some_and(|next| last >= next) {
                break;
            }
            open.pop();
            let outer = open.last().map(|block| block.2);
            if let Some(behind) = last.checked_add(1) {
                self.begin(behind, outer);
            }
        }
    }

    fn begin(&mut self, start: u128, name: Option<NameId>) {
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.names.pop();
        }
        self.starts.push(start);
        self.names.push(name);
    }

    /// The addresses that exactly one of these knows, by its name for them.
    pub(super) fn known_once<'a>(spaces: impl Iterator<Item = &'a Self>) -> Self {
        // At each address where something changes: how many more spaces know what follows, and which names come or go.
        let mut changes: BTreeMap<u128, (i64, u32)> = BTreeMap::new();
        for space in spaces {
            let mut before = None;
            for (start, name) in space.starts.iter().zip(&space.names) {
                let change = changes.entry(*start).or_default();
                for (gone_or_come, delta) in [(before, -1), (*name, 1)] {
                    if let Some(name) = gone_or_come {
                        change.0 += delta;
                        // With one space left, what remains of all exclusive-ors is its name.
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

    pub(super) fn find(&self, address: u128) -> Option<NameId> {
        let behind = self.starts.partition_point(|start| *start <= address);
        self.names[behind.checked_sub(1)?]
    }
}

/// Reads a CIDR block, or says why it is none.
pub(super) fn parse_cidr(text: &str) -> Result<Cidr, String> {
    let no_block = || "is no CIDR block; an example: \"10.0.0.0/24\"".to_owned();
    let (address, length) = text.split_once('/').ok_or_else(no_block)?;
    let address: IpAddr = address.parse().map_err(|_| no_block())?;
    let length: u32 = length.parse().map_err(|_| no_block())?;
    let (first, bits) = match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    };
    if length > bits {
        return Err(no_block());
    }
    let host = u128::MAX.checked_shr(128 - (bits - length)).unwrap_or(0);
    if first & host != 0 {
        return Err(format!("has host bits set; the block's address ends in {} zero bits", bits - length));
    }
    Ok(Cidr { v6: bits == 128, first, last: first | host })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bisection_finds_what_looking_at_every_block_finds(
            spaces in proptest::collection::vec(
                proptest::collection::btree_map((0_u32..=6, 0_u128..64), 1_u32..1000, 0..12), 0..4),
            addresses in proptest::collection::vec(0_u128..80, 1..20),
        ) {
            let spaces: Vec<Vec<Block>> = spaces.into_iter().map(|blocks| {
                let mut blocks: Vec<Block> = blocks.into_iter().map(|((bits, at), name)| {
                    let first = at >> bits << bits;
                    (first, first + (1 << bits) - 1, name)
                }).collect();
                blocks.sort_unstable();
                blocks.dedup_by_key(|block| (block.0, block.1));
                blocks
            }).collect();
            let longest = |blocks: &[Block], address: u128| {
                blocks.iter().filter(|block| (block.0..=block.1).contains(&address)).min_by_key(|block| block.1 - block.0).map(|block| block.2)
            };
            let ranges: Vec<Ranges> = spaces.iter().map(|blocks| Ranges::nested(blocks)).collect();
            let once = Ranges::known_once(ranges.iter());
            for address in addresses {
                let found: Vec<NameId> = spaces.iter().filter_map(|blocks| longest(blocks, address)).collect();
                for (blocks, ranges) in spaces.iter().zip(&ranges) {
                    prop_assert_eq!(ranges.find(address), longest(blocks, address));
                }
                prop_assert_eq!(once.find(address), (found.len() == 1).then(|| found[0]));
            }
        }
    }
}
