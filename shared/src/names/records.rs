//! What is in memory of a `names.json`: records of a few bytes that refer to each other by number.

use std::net::IpAddr;

use super::{
    ranges::Ranges,
    timeline::{NO_NAME, NameId, NameRef, Timelines},
};
use crate::interner::{Interner, Texts};

/// The index of a file.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) names: NameTexts,
    pub(super) timelines: Timelines,
    /// Whether the file has the form that `flowherd names` writes, with interfaces in the order of their ids.
    pub(super) is_as_written: bool,
    pub(super) interfaces: Section<InterfaceRecord>,
    pub(super) subnets: Section<SubnetRecord>,
    pub(super) vpcs: Section<VpcRecord>,
    /// The blocks of each VPC that has subnets, and of the subnets without a VPC.
    pub(super) spaces: Vec<Addresses>,
    /// Addresses that exactly one VPC contains.
    pub(super) unambiguous: Addresses,
    /// The latest begin of a name.
    pub(super) last_begin: Option<i64>,
}

impl Default for Index {
    fn default() -> Self {
        let mut no_name = Interner::default();
        no_name.add(b"");
        Self {
            names: NameTexts { texts: no_name.into_texts(), of_names: vec![0] },
            timelines: Timelines::default(),
            is_as_written: true,
            interfaces: Section::default(),
            subnets: Section::default(),
            vpcs: Section::default(),
            spaces: Vec::new(),
            unambiguous: Addresses::default(),
            last_begin: None,
        }
    }
}

/// The texts of names. Names that begin at different times can have the same text.
#[derive(Debug)]
pub(super) struct NameTexts {
    pub(super) texts: Texts,
    /// By [`NameId`]: the number of its text.
    pub(super) of_names: Vec<u32>,
}

impl NameTexts {
    /// Returns the number of the text of a name.
    pub(super) fn number(&self, name: NameId) -> u32 {
        self.of_names[name as usize]
    }

    /// Returns whether a name has no text.
    pub(super) fn is_empty(&self, name: NameId) -> bool {
        self.number(name) == NO_NAME
    }
}

/// Ids and their records.
#[derive(Debug)]
pub(super) struct Section<T> {
    pub(super) ids: Interner,
    /// By the number of the id.
    pub(super) records: Vec<T>,
}

impl<T> Default for Section<T> {
    fn default() -> Self {
        Self { ids: Interner::default(), records: Vec::new() }
    }
}

impl<T: Copy> Section<T> {
    /// Returns the number of an id.
    pub(super) fn find(&self, id: &[u8]) -> Link {
        Link::from(self.ids.find(id))
    }

    pub(super) fn get(&self, link: Link) -> Option<T> {
        link.number().map(|number| self.records[number as usize])
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }
}

/// The number of a record, or none, in four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Link(u32);

impl Link {
    pub(super) const NONE: Self = Self(u32::MAX);

    pub(super) fn number(self) -> Option<u32> {
        (self != Self::NONE).then_some(self.0)
    }
}

impl From<Option<u32>> for Link {
    fn from(number: Option<u32>) -> Self {
        number.map_or(Self::NONE, Self)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct InterfaceRecord {
    pub(super) description: NameRef,
    pub(super) subnet: Link,
    pub(super) vpc: Link,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct SubnetRecord {
    pub(super) name: NameRef,
    pub(super) vpc: Link,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct VpcRecord {
    pub(super) name: NameRef,
    /// The space of its addresses, if it has subnets.
    pub(super) space: Link,
}

/// Ranges of addresses with their names.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    pub(super) v4: Ranges<u32>,
    pub(super) v6: Ranges<u128>,
}

impl Addresses {
    pub(super) fn find(&self, address: IpAddr) -> Option<NameRef> {
        match address {
            IpAddr::V4(address) => self.v4.find(address.to_bits()),
            IpAddr::V6(address) => self.v6.find(address.to_bits()),
        }
    }

    /// Returns the addresses that exactly one of the spaces contains.
    pub(super) fn unambiguous(spaces: &[Self], timelines: &mut Timelines) -> Self {
        let v4: Vec<&Ranges<u32>> = spaces.iter().map(|space| &space.v4).collect();
        let v6: Vec<&Ranges<u128>> = spaces.iter().map(|space| &space.v6).collect();
        Self { v4: Ranges::unambiguous(&v4, timelines), v6: Ranges::unambiguous(&v6, timelines) }
    }
}

/// Which VPC contains an address, where exactly one does. The names of the timelines are the numbers of spaces.
#[derive(Debug, Default)]
pub(super) struct VpcRanges {
    pub(super) ranges: Addresses,
    pub(super) timelines: Timelines,
    /// By the number of a space: the name of its VPC.
    pub(super) names: Vec<NameRef>,
}

impl VpcRanges {
    pub(super) fn of(index: &Index) -> Self {
        let mut timelines = Timelines::default();
        let mut spaces = Vec::with_capacity(index.spaces.len());
        for (number, Addresses { v4, v6 }) in (0..).zip(&index.spaces) {
            let mut presence = |subnet| timelines.add_presence(&index.timelines, subnet, number);
            spaces.push(Addresses { v4: v4.renamed(&mut presence), v6: v6.renamed(&mut presence) });
        }
        let ranges = Addresses::unambiguous(&spaces, &mut timelines);
        // A space without a VPC has no name.
        let mut names = vec![NameRef::NONE; spaces.len()];
        for vpc in &index.vpcs.records {
            if let Some(space) = vpc.space.number() {
                names[space as usize] = vpc.name;
            }
        }
        Self { ranges, timelines, names }
    }
}
