//! `names.json`: the names of interfaces, subnets and VPCs, and the subnet of an address, each at its time.

mod address_ranges;
mod build;
mod cidr;
mod entries;
mod file;
pub mod merge;
mod part;
mod ranges;
mod records;
mod scan;
#[cfg(test)]
mod tests;
mod timeline;

use std::net::IpAddr;

use sha2::{Digest, Sha256};

pub(crate) use self::{
    address_ranges::AddressRanges,
    cidr::parse_cidr,
    timeline::{NO_NAME, NameId, NameRef},
};
use self::{
    records::{Index, Link, VpcRanges},
    timeline::too_many_periods,
};
use crate::{interner::Texts, problems::ConfigError, text::hex};

/// All names, found by the bytes of an id or by an address.
#[derive(Debug, Default)]
pub struct NameIndex {
    index: Index,
    /// Empty until [`NameIndex::add_vpc_ranges`].
    vpc_ranges: VpcRanges,
    /// SHA-256 of the file in hex, or empty without a file.
    pub hash: String,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Interface {
    pub(crate) description: NameRef,
    pub(crate) subnet: Option<Subnet>,
    pub(crate) vpc: Option<Vpc>,
}

impl Default for Interface {
    fn default() -> Self {
        Self { description: NameRef::NONE, subnet: None, vpc: None }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Subnet {
    pub(crate) name: NameRef,
    pub(crate) vpc: Option<Vpc>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Vpc {
    pub(crate) name: NameRef,
    pub(crate) number: u32,
}

impl NameIndex {
    /// Parses and checks the bytes of a `names.json`. Every referenced id must exist, and every CIDR block must be valid
    /// and unique within its VPC at any time.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let index = build::index(json)?;
        Ok(Self { index, vpc_ranges: VpcRanges::default(), hash: hex(&Sha256::digest(json)) })
    }

    /// Prepares [`NameIndex::vpc_of_address_at`], which few configurations need.
    pub(crate) fn add_vpc_ranges(&mut self) -> Result<(), ConfigError> {
        self.vpc_ranges = VpcRanges::of(&self.index);
        if self.vpc_ranges.timelines.exceed_limit() {
            return Err(ConfigError::of(too_many_periods()));
        }
        Ok(())
    }

    /// Returns the name of the only VPC that contains an address at a time, and whether it is a guess: either no VPC contained
    /// the address at that time, or the name of the VPC is that of another time.
    pub(crate) fn vpc_of_address_at(&self, address: IpAddr, time: Option<i64>) -> (NameId, bool) {
        let VpcRanges { ranges, timelines, names } = &self.vpc_ranges;
        let Some(found) = ranges.find(address) else { return (NO_NAME, false) };
        let exact = timelines.exact(found, time).map(|space| (space, false));
        let space = exact.or_else(|| timelines.guess(found, time).map(|space| (space, true)));
        let Some((space, is_guessed_vpc)) = space else { return (NO_NAME, false) };
        let (name, is_guessed_name) = self.name_at(names[space as usize], time);
        (name, (is_guessed_vpc || is_guessed_name) && self.has_text(name))
    }

    /// Returns the numbers of interfaces, subnets and VPCs.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize, usize) {
        let Index { interfaces, subnets, vpcs, .. } = &self.index;
        (interfaces.len(), subnets.len(), vpcs.len())
    }

    /// Returns whether the file has the form that `flowherd names` writes, with interfaces in the order of their ids.
    fn is_as_written(&self) -> bool {
        self.index.is_as_written
    }

    pub(crate) fn interface(&self, id: &[u8]) -> Option<Interface> {
        let interfaces = &self.index.interfaces;
        let found = interfaces.get(interfaces.find(id))?;
        let description = found.description;
        Some(Interface { description, subnet: self.subnet_of(found.subnet), vpc: self.vpc_of(found.vpc) })
    }

    pub(crate) fn subnet(&self, id: &[u8]) -> Option<Subnet> {
        self.subnet_of(self.index.subnets.find(id))
    }

    pub(crate) fn vpc(&self, id: &[u8]) -> Option<Vpc> {
        self.vpc_of(self.index.vpcs.find(id))
    }

    fn subnet_of(&self, link: Link) -> Option<Subnet> {
        let found = self.index.subnets.get(link)?;
        Some(Subnet { name: found.name, vpc: self.vpc_of(found.vpc) })
    }

    fn vpc_of(&self, link: Link) -> Option<Vpc> {
        let name = self.index.vpcs.get(link)?.name;
        link.number().map(|number| Vpc { name, number })
    }

    /// Returns the name of the subnet that contains the address: the longest prefix in the record's own VPC. Outside it,
    /// VPCs may overlap, so the address has a name only if exactly one VPC contains it. If the name depends on the time,
    /// returns [`NameRef::BY_TIME`].
    pub(crate) fn address(&self, vpc: Option<Vpc>, address: IpAddr) -> NameRef {
        let by_any_vpc = || self.index.unambiguous.find(address);
        match self.own_subnet(vpc, address) {
            Some(name) if name.is_timed() => NameRef::BY_TIME,
            // Before the begin of the own VPC's subnet, another VPC may contain the address.
            Some(name) if self.begin(name.id()).is_some() && by_any_vpc().is_some_and(NameRef::is_timed) => {
                NameRef::BY_TIME
            }
            Some(name) => name,
            None => match by_any_vpc() {
                Some(name) if name.is_timed() => NameRef::BY_TIME,
                name => name.unwrap_or(NameRef::NONE),
            },
        }
    }

    /// Returns when a name that does not depend on the time begins to be known; `None` if it applies at all times. Before that,
    /// the name is a guess.
    pub(crate) fn begin(&self, name: NameId) -> Option<i64> {
        self.index.timelines.begin(name)
    }

    /// Returns the latest [`NameIndex::begin`] of all names. From then on, only names that depend on the time can be guesses.
    pub(crate) const fn last_begin(&self) -> Option<i64> {
        self.index.last_begin
    }

    fn own_subnet(&self, vpc: Option<Vpc>, address: IpAddr) -> Option<NameRef> {
        let space = self.index.vpcs.records[vpc?.number as usize].space.number()?;
        self.index.spaces[space as usize].find(address)
    }

    /// Returns the name of an address as [`NameIndex::address`] does, at a time, and whether it is a guess: no subnet contained
    /// the address at that time, so the name is that of the nearest time at which one did.
    pub(crate) fn address_at(&self, vpc: Option<Vpc>, address: IpAddr, time: Option<i64>) -> (NameId, bool) {
        let Index { timelines, unambiguous, .. } = &self.index;
        let found = [self.own_subnet(vpc, address), unambiguous.find(address)];
        let found = || found.into_iter().flatten();
        if let Some(name) = found().find_map(|name| timelines.exact(name, time)) {
            return (name, false);
        }
        let guess = found().find_map(|name| timelines.guess(name, time)).unwrap_or(NO_NAME);
        (guess, self.has_text(guess))
    }

    /// Returns the name at a time, and whether it is a guess: the name whose period ended last before that time, or else the
    /// first one. Without a time, the last name is the guess.
    pub(crate) fn name_at(&self, name: NameRef, time: Option<i64>) -> (NameId, bool) {
        let timelines = &self.index.timelines;
        if let Some(name) = timelines.exact(name, time) {
            return (name, false);
        }
        let guess = timelines.guess(name, time).unwrap_or(NO_NAME);
        (guess, self.has_text(guess))
    }

    /// Returns a name's text.
    #[cfg(test)]
    fn name(&self, name: NameId) -> &str {
        std::str::from_utf8(self.texts().get(self.text_number(name))).unwrap()
    }

    /// Returns whether a name is not empty.
    pub(crate) fn has_text(&self, name: NameId) -> bool {
        !self.index.names.is_empty(name)
    }

    /// Returns the number of a name's text. Names that begin at different times can have the same text.
    pub(crate) fn text_number(&self, name: NameId) -> u32 {
        self.index.names.number(name)
    }

    /// Returns the texts of all names. The first one is empty.
    pub(crate) fn texts(&self) -> &Texts {
        &self.index.names.texts
    }
}
