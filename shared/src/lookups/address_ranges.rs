//! Blocks of addresses with a number each, such as those of a threat list.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    ranges::{Block, Ranges},
    timeline::{NameRef, Period, Timelines},
};

/// Blocks of addresses. An address has the number of the longest block that contains it.
#[derive(Debug, Default)]
pub(crate) struct AddressRanges {
    v4: Ranges,
    v6: Ranges,
}

impl AddressRanges {
    /// Creates ranges from different blocks.
    pub(crate) fn new(blocks: impl Iterator<Item = (IpNet, u32)>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (block, number) in blocks {
            let (family, first, last) = match block {
                IpNet::V4(block) => {
                    (&mut v4, u32::from(block.network()).into(), u32::from(block.broadcast()).into())
                }
                IpNet::V6(block) => (&mut v6, u128::from(block.network()), u128::from(block.broadcast())),
            };
            family.push(Block { first, last, period: Period::always(number), subnet: 0 });
        }
        let mut timelines = Timelines::default();
        let mut ranges = |blocks| Ranges::nested(blocks, &mut timelines, |_, _| {});
        Self { v4: ranges(v4), v6: ranges(v6) }
    }

    pub(crate) fn find(&self, address: IpAddr) -> Option<u32> {
        let found = match address {
            IpAddr::V4(address) => self.v4.find(u128::from(u32::from(address))),
            IpAddr::V6(address) => self.v6.find(u128::from(address)),
        };
        found.map(NameRef::id)
    }
}
