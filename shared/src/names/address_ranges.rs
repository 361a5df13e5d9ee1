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
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

impl AddressRanges {
    /// Creates ranges from different blocks.
    pub(crate) fn new(blocks: impl Iterator<Item = (IpNet, u32)>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (block, number) in blocks {
            let period = Period::always(number);
            match block {
                IpNet::V4(block) => {
                    let (first, last) = (block.network().to_bits(), block.broadcast().to_bits());
                    v4.push(Block { first, last, period, subnet: 0 });
                }
                IpNet::V6(block) => {
                    let (first, last) = (block.network().to_bits(), block.broadcast().to_bits());
                    v6.push(Block { first, last, period, subnet: 0 });
                }
            }
        }
        let mut timelines = Timelines::default();
        Self {
            v4: Ranges::nested(v4, &mut timelines, |_, _| {}),
            v6: Ranges::nested(v6, &mut timelines, |_, _| {}),
        }
    }

    pub(crate) fn find(&self, address: IpAddr) -> Option<u32> {
        let found = match address {
            IpAddr::V4(address) => self.v4.find(address.to_bits()),
            IpAddr::V6(address) => self.v6.find(address.to_bits()),
        };
        found.map(NameRef::id)
    }
}
