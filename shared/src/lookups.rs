//! `names.json`: the names of interfaces, subnets and VPCs, and the subnet of an address, each at its time.

mod address_ranges;
mod entries;
mod file;
pub mod merge;
mod ranges;
#[cfg(test)]
mod tests;
mod timeline;

use std::{collections::HashMap, net::IpAddr};

use foldhash::fast::FixedState;
use ipnet::IpNet;
use sha2::{Digest, Sha256};

pub(crate) use self::address_ranges::AddressRanges;
pub(crate) use self::timeline::{NO_NAME, NameId, NameRef};
use self::{
    entries::{Entries, Validity},
    file::File,
    ranges::{Block, Ranges},
    timeline::{Period, Timelines},
};
use crate::{
    limits::{MAX_LOOKUP_NAME_BYTES, MAX_LOOKUP_PERIODS},
    problems::{ConfigError, Problems},
    text::{hex, quoted},
};

type IdMap<T> = HashMap<Box<[u8]>, T, FixedState>;

/// All names, found by the bytes of an id or by an address.
#[derive(Debug)]
pub struct Lookups {
    /// By [`NameId`].
    names: Vec<Box<str>>,
    timelines: Timelines,
    interfaces: IdMap<Interface>,
    subnets: IdMap<Subnet>,
    vpcs: IdMap<Vpc>,
    /// By [`Vpc::number`], followed by the subnets without a VPC.
    spaces: Vec<Addresses>,
    /// Addresses that exactly one VPC contains.
    unambiguous: Addresses,
    /// The names of the VPCs of these addresses. Empty until [`Lookups::add_vpc_ranges`].
    vpc_ranges: Addresses,
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

#[derive(Debug, Default)]
struct Addresses {
    v4: Ranges,
    v6: Ranges,
}

impl Addresses {
    fn find(&self, address: IpAddr) -> Option<NameRef> {
        match address {
            IpAddr::V4(address) => self.v4.find(u128::from(u32::from(address))),
            IpAddr::V6(address) => self.v6.find(u128::from(address)),
        }
    }
}

impl Default for Lookups {
    fn default() -> Self {
        Self {
            names: vec!["".into()],
            timelines: Timelines::default(),
            interfaces: IdMap::default(),
            subnets: IdMap::default(),
            vpcs: IdMap::default(),
            spaces: Vec::new(),
            unambiguous: Addresses::default(),
            vpc_ranges: Addresses::default(),
            hash: String::new(),
        }
    }
}

impl Lookups {
    /// Parses and checks the bytes of a `names.json`. Every referenced id must exist, and every CIDR block must be valid
    /// and unique within its VPC at any time.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let file = File::parse(json)?;
        let mut lookups = Self { hash: hex(&Sha256::digest(json)), ..Self::default() };
        let mut problems = Problems::default();
        // Sorted by id, so that the same file always gives the same problems and numbers.
        lookups.add_vpcs(&file, &mut problems);
        lookups.add_subnets(&file, &mut problems);
        lookups.add_interfaces(&file, &mut problems);
        if lookups.timelines.exceed_limit() {
            problems.add(too_many_periods());
        }
        problems.check()?;
        Ok(lookups)
    }

    /// Prepares [`Lookups::vpc_of_address_at`], which few configurations need.
    pub(crate) fn add_vpc_ranges(&mut self) -> Result<(), ConfigError> {
        // The last space is that of subnets without a VPC.
        let mut names = vec![NameRef::NONE; self.spaces.len()];
        for vpc in self.vpcs.values() {
            names[vpc.number as usize] = vpc.name;
        }
        let timelines = &mut self.timelines;
        let mut spaces = Vec::with_capacity(names.len());
        for (space, name) in self.spaces.iter().zip(names) {
            let mut renamed = |ranges: &Ranges| ranges.renamed(|subnet| timelines.during(subnet, name));
            spaces.push(Addresses { v4: renamed(&space.v4), v6: renamed(&space.v6) });
        }
        let v4: Vec<&Ranges> = spaces.iter().map(|space| &space.v4).collect();
        let v6: Vec<&Ranges> = spaces.iter().map(|space| &space.v6).collect();
        self.vpc_ranges =
            Addresses { v4: Ranges::unambiguous(&v4, timelines), v6: Ranges::unambiguous(&v6, timelines) };
        if self.timelines.exceed_limit() { Err(ConfigError::of(too_many_periods())) } else { Ok(()) }
    }

    /// Returns the name of the only VPC that contains an address at a time, and whether it is a guess.
    pub(crate) fn vpc_of_address_at(&self, address: IpAddr, time: Option<i64>) -> (NameId, bool) {
        self.vpc_ranges.find(address).map_or((NO_NAME, false), |name| self.name_at(name, time))
    }

    /// Returns the numbers of interfaces, subnets and VPCs.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.interfaces.len(), self.subnets.len(), self.vpcs.len())
    }

    pub(crate) fn interface(&self, id: &[u8]) -> Option<Interface> {
        self.interfaces.get(id).copied()
    }

    pub(crate) fn subnet(&self, id: &[u8]) -> Option<Subnet> {
        self.subnets.get(id).copied()
    }

    pub(crate) fn vpc(&self, id: &[u8]) -> Option<Vpc> {
        self.vpcs.get(id).copied()
    }

    /// Returns the name of the subnet that contains the address: the longest prefix in the record's own VPC. Outside it,
    /// VPCs may overlap, so the address has a name only if exactly one VPC contains it. If the name depends on the time,
    /// returns [`NameRef::BY_TIME`].
    pub(crate) fn address(&self, vpc: Option<Vpc>, address: IpAddr) -> NameRef {
        match self.own_subnet(vpc, address).or_else(|| self.unambiguous.find(address)) {
            Some(name) if name.is_timed() => NameRef::BY_TIME,
            Some(name) => name,
            None => NameRef::NONE,
        }
    }

    fn own_subnet(&self, vpc: Option<Vpc>, address: IpAddr) -> Option<NameRef> {
        vpc.and_then(|vpc| self.spaces[vpc.number as usize].find(address))
    }

    /// Returns the name of an address as [`Lookups::address`] does, at a time, and whether it is a guess: no subnet contained
    /// the address at that time, so the name is that of the nearest time at which one did.
    pub(crate) fn address_at(&self, vpc: Option<Vpc>, address: IpAddr, time: Option<i64>) -> (NameId, bool) {
        let found = [self.own_subnet(vpc, address), self.unambiguous.find(address)];
        let found = || found.into_iter().flatten();
        if let Some(name) = found().find_map(|name| self.timelines.exact(name, time)) {
            return (name, false);
        }
        let guess = found().find_map(|name| self.timelines.guess(name, time)).unwrap_or(NO_NAME);
        (guess, guess != NO_NAME)
    }

    /// Returns the name at a time, and whether it is a guess: the name whose period ended last before that time, or else the
    /// first one. Without a time, the last name is the guess.
    pub(crate) fn name_at(&self, name: NameRef, time: Option<i64>) -> (NameId, bool) {
        if let Some(name) = self.timelines.exact(name, time) {
            return (name, false);
        }
        let guess = self.timelines.guess(name, time).unwrap_or(NO_NAME);
        (guess, guess != NO_NAME)
    }

    /// Returns a name's text.
    pub(crate) fn name(&self, name: NameId) -> &str {
        &self.names[name as usize]
    }

    /// Iterates over all names in the order of [`NameId`].
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| &**name)
    }

    fn add_vpcs(&mut self, file: &File, problems: &mut Problems) {
        for (number, (id, entries)) in sorted(&file.vpcs).into_iter().enumerate() {
            let periods = self.periods(&format!("VPC {id:?}"), entries, |vpc| vpc.name.as_deref(), problems);
            let vpc = Vpc { name: self.timelines.add(periods), number: number as u32 };
            self.vpcs.insert(id.as_bytes().into(), vpc);
        }
    }

    fn add_subnets(&mut self, file: &File, problems: &mut Problems) {
        let mut spaces = vec![Blocks::default(); file.vpcs.len() + 1];
        let subnets = sorted(&file.subnets);
        for (number, (id, entries)) in (0..).zip(&subnets) {
            let owner = format!("subnet {id:?}");
            let vpc_ids = entries.as_slice().iter().map(|subnet| subnet.vpc_id.as_deref());
            let vpc_id = only_id(&owner, "vpc_id", vpc_ids, problems);
            let vpc = self.referenced_vpc(&owner, vpc_id, problems);
            let periods = self.periods(&owner, entries, |subnet| subnet.name.as_deref(), problems);
            let space = vpc.map_or(file.vpcs.len(), |vpc| vpc.number as usize);
            // Blocks of an entry whose times are wrong are checked too.
            let times = periods.iter().copied().map(Some).chain(std::iter::repeat(None));
            for (subnet, period) in entries.as_slice().iter().zip(times) {
                for cidr in &subnet.cidrs {
                    match (parse_cidr(cidr), period) {
                        (Err(why), _) => problems.add(format!("{owner}: cidrs: {} {why}", quoted(cidr))),
                        (Ok(block), Some(period)) => spaces[space].add(block, period, number),
                        (Ok(_), None) => {}
                    }
                }
            }
            let name = self.timelines.add(periods);
            self.subnets.insert(id.as_bytes().into(), Subnet { name, vpc });
        }
        let timelines = &mut self.timelines;
        let mut clash = |first: &Block, second: &Block, cidr: String| {
            let [id, other] = [second, first].map(|block| subnets[block.subnet as usize].0);
            problems.add(format!(
                "subnet {id:?}: cidrs: subnet {other:?} of the same VPC has \"{cidr}\" too at that time; remove one of them"
            ));
        };
        self.spaces = spaces
            .into_iter()
            .map(|Blocks { v4, v6 }| Addresses {
                v4: Ranges::nested(v4, timelines, |first, second| clash(first, second, cidr_v4(first))),
                v6: Ranges::nested(v6, timelines, |first, second| clash(first, second, cidr_v6(first))),
            })
            .collect();
        let v4: Vec<&Ranges> = self.spaces.iter().map(|space| &space.v4).collect();
        let v6: Vec<&Ranges> = self.spaces.iter().map(|space| &space.v6).collect();
        self.unambiguous =
            Addresses { v4: Ranges::unambiguous(&v4, timelines), v6: Ranges::unambiguous(&v6, timelines) };
    }

    fn add_interfaces(&mut self, file: &File, problems: &mut Problems) {
        for (id, entries) in sorted(&file.interfaces) {
            let owner = format!("interface {id:?}");
            let vpc_ids = entries.as_slice().iter().map(|interface| interface.vpc_id.as_deref());
            let vpc_id = only_id(&owner, "vpc_id", vpc_ids, problems);
            let vpc = self.referenced_vpc(&owner, vpc_id, problems);
            let subnet_ids = entries.as_slice().iter().map(|interface| interface.subnet_id.as_deref());
            let subnet = only_id(&owner, "subnet_id", subnet_ids, problems).and_then(|subnet| {
                let known = self.subnets.get(subnet.as_bytes()).copied();
                if known.is_none() {
                    problems.add(format!(
                        "{owner}: subnet_id {} is not in subnets; add it there",
                        quoted(subnet)
                    ));
                }
                known
            });
            let periods =
                self.periods(&owner, entries, |interface| interface.description.as_deref(), problems);
            let description = self.timelines.add(periods);
            self.interfaces.insert(id.as_bytes().into(), Interface { description, subnet, vpc });
        }
    }

    /// Returns the names of an id and their times. Returns none if the times are wrong.
    fn periods<T: Validity>(
        &mut self,
        owner: &str,
        entries: &Entries<T>,
        name: impl Fn(&T) -> Option<&str>,
        problems: &mut Problems,
    ) -> Vec<Period> {
        let times = entries.periods(owner, problems).unwrap_or_default();
        let named = times.into_iter().zip(entries.as_slice());
        named
            .map(|((from, until), entry)| Period {
                from,
                until,
                name: self.add_name(owner, name(entry), problems),
            })
            .collect()
    }

    fn add_name(&mut self, owner: &str, name: Option<&str>, problems: &mut Problems) -> NameId {
        let Some(name) = name.filter(|name| !name.is_empty()) else { return NO_NAME };
        if name.len() > MAX_LOOKUP_NAME_BYTES {
            problems.add(format!(
                "{owner}: its name has {} bytes: the limit is {MAX_LOOKUP_NAME_BYTES}, because every row repeats it",
                name.len()
            ));
            return NO_NAME;
        }
        self.names.push(name.into());
        self.names.len() as NameId - 1
    }

    fn referenced_vpc(&self, owner: &str, id: Option<&str>, problems: &mut Problems) -> Option<Vpc> {
        let id = id?;
        let vpc = self.vpc(id.as_bytes());
        if vpc.is_none() {
            problems.add(format!("{owner}: vpc_id {} is not in vpcs; add it there", quoted(id)));
        }
        vpc
    }
}

/// The blocks of one VPC.
#[derive(Clone, Default)]
struct Blocks {
    v4: Vec<Block>,
    v6: Vec<Block>,
}

impl Blocks {
    fn add(&mut self, block: IpNet, period: Period, subnet: u32) {
        let (family, first, last) = match block {
            IpNet::V4(block) => {
                (&mut self.v4, u32::from(block.network()).into(), u32::from(block.broadcast()).into())
            }
            IpNet::V6(block) => (&mut self.v6, u128::from(block.network()), u128::from(block.broadcast())),
        };
        family.push(Block { first, last, period, subnet });
    }
}

fn too_many_periods() -> String {
    format!(
        "cidrs: blocks that overlap at different times need more than {MAX_LOOKUP_PERIODS} periods of names; remove entries that \
         ended before your logs begin"
    )
}

fn cidr_v4(block: &Block) -> String {
    let length = 32 - (block.last - block.first).count_ones();
    format!("{}/{length}", std::net::Ipv4Addr::from(block.first as u32))
}

fn cidr_v6(block: &Block) -> String {
    let length = 128 - (block.last - block.first).count_ones();
    format!("{}/{length}", std::net::Ipv6Addr::from(block.first))
}

/// Returns the id that all entries of an id have in common. EC2 has no action that moves an interface to another subnet, or a
/// subnet to another VPC (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifySubnetAttribute.html>).
fn only_id<'f>(
    owner: &str,
    key: &str,
    ids: impl Iterator<Item = Option<&'f str>>,
    problems: &mut Problems,
) -> Option<&'f str> {
    let mut only = None;
    for id in ids.flatten() {
        match only {
            None => only = Some(id),
            Some(other) if other != id => {
                problems.add(format!(
                    "{owner}: its entries have {key} {} and {}; an id keeps the same one at all times",
                    quoted(other),
                    quoted(id)
                ));
                break;
            }
            Some(_) => {}
        }
    }
    only
}

/// Parses a CIDR block. The error continues a sentence whose subject is the block.
pub(crate) fn parse_cidr(text: &str) -> Result<IpNet, String> {
    // Not `IpNet::from_str`, which reads octets with leading zeros as decimal where other tools read them as octal.
    let parts = text.split_once('/').and_then(|(address, length)| {
        let address: IpAddr = address.parse().ok()?;
        IpNet::new(address, length.parse().ok()?).ok()
    });
    let block = parts.ok_or("is not a CIDR block; an example: \"10.0.0.0/24\"")?;
    if block.addr() != block.network() {
        return Err(format!("has host bits set; use \"{}\"", block.trunc()));
    }
    Ok(block)
}

fn sorted<T>(map: &HashMap<String, T>) -> Vec<(&String, &T)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_unstable_by_key(|(id, _)| *id);
    entries
}
