//! `lookups.json`: the names of interfaces, subnets and VPCs, and the subnet of an address.

mod file;
mod ranges;

use std::{collections::HashMap, net::IpAddr};

use foldhash::fast::FixedState;
use ipnet::IpNet;
use sha2::{Digest, Sha256};

use self::{
    file::File,
    ranges::{Block, Ranges},
};
use crate::{
    limits::MAX_LOOKUP_NAME_BYTES,
    problems::{ConfigError, Problems},
    text::{hex, quoted},
};

/// Position of a name.
pub(crate) type NameId = u32;
/// The empty name, for what has none.
pub(crate) const NO_NAME: NameId = 0;

type IdMap<T> = HashMap<Box<[u8]>, T, FixedState>;

/// All names, found by the bytes of an id or by an address.
#[derive(Debug)]
pub struct Lookups {
    /// By [`NameId`].
    names: Vec<Box<str>>,
    interfaces: IdMap<Interface>,
    subnets: IdMap<Subnet>,
    vpcs: IdMap<Vpc>,
    /// By [`Vpc::number`], followed by the subnets without a VPC.
    spaces: Vec<Addresses>,
    /// Addresses that exactly one VPC contains.
    unambiguous: Addresses,
    /// SHA-256 of the file in hex, or empty without a file.
    pub hash: String,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Interface {
    pub(crate) description: NameId,
    pub(crate) subnet: Option<Subnet>,
    pub(crate) vpc: Option<Vpc>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Subnet {
    pub(crate) name: NameId,
    pub(crate) vpc: Option<Vpc>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Vpc {
    pub(crate) name: NameId,
    pub(crate) number: u32,
}

#[derive(Debug, Default)]
struct Addresses {
    v4: Ranges,
    v6: Ranges,
}

impl Addresses {
    fn find(&self, address: IpAddr) -> Option<NameId> {
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
            interfaces: IdMap::default(),
            subnets: IdMap::default(),
            vpcs: IdMap::default(),
            spaces: Vec::new(),
            unambiguous: Addresses::default(),
            hash: String::new(),
        }
    }
}

impl Lookups {
    /// Parses and checks the bytes of a `lookups.json`. Every referenced id must exist, and every CIDR block must be valid
    /// and unique within its VPC.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let file = File::parse(json)?;
        let mut lookups = Self { hash: hex(&Sha256::digest(json)), ..Self::default() };
        let mut problems = Problems::default();
        // Sorted by id, so that the same file always gives the same problems and numbers.
        lookups.add_vpcs(&file, &mut problems);
        lookups.add_subnets(&file, &mut problems);
        lookups.add_interfaces(&file, &mut problems);
        problems.check()?;
        Ok(lookups)
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
    /// VPCs may overlap, so the address has a name only if exactly one VPC contains it.
    pub(crate) fn address(&self, vpc: Option<Vpc>, address: IpAddr) -> NameId {
        let own = vpc.and_then(|vpc| self.spaces[vpc.number as usize].find(address));
        own.or_else(|| self.unambiguous.find(address)).unwrap_or(NO_NAME)
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
        for (number, (id, vpc)) in sorted(&file.vpcs).into_iter().enumerate() {
            let name = self.add_name(&format!("VPC {id:?}"), vpc.name.as_deref(), problems);
            let vpc = Vpc { name, number: number as u32 };
            self.vpcs.insert(id.as_bytes().into(), vpc);
        }
    }

    fn add_subnets(&mut self, file: &File, problems: &mut Problems) {
        let mut spaces = vec![Blocks::default(); file.vpcs.len() + 1];
        let mut owners = HashMap::new();
        for (id, subnet) in sorted(&file.subnets) {
            let owner = format!("subnet {id:?}");
            let vpc = self.referenced_vpc(&owner, subnet.vpc_id.as_deref(), problems);
            let name = self.add_name(&owner, subnet.name.as_deref(), problems);
            self.subnets.insert(id.as_bytes().into(), Subnet { name, vpc });
            let space = vpc.map_or(file.vpcs.len(), |vpc| vpc.number as usize);
            for cidr in &subnet.cidrs {
                match parse_cidr(cidr) {
                    Err(why) => problems.add(format!("{owner}: cidrs: {} {why}", quoted(cidr))),
                    Ok(block) => match owners.insert((space, block), id) {
                        None => spaces[space].add(block, name),
                        Some(other) => problems.add(format!(
                            "{owner}: cidrs: subnet {other:?} of the same VPC has {cidr:?} too; remove one of them"
                        )),
                    },
                }
            }
        }
        self.spaces = spaces
            .iter()
            .map(|blocks| Addresses { v4: Ranges::nested(&blocks.v4), v6: Ranges::nested(&blocks.v6) })
            .collect();
        self.unambiguous = Addresses {
            v4: Ranges::unambiguous(self.spaces.iter().map(|space| &space.v4)),
            v6: Ranges::unambiguous(self.spaces.iter().map(|space| &space.v6)),
        };
    }

    fn add_interfaces(&mut self, file: &File, problems: &mut Problems) {
        for (id, interface) in sorted(&file.interfaces) {
            let owner = format!("interface {id:?}");
            let vpc = self.referenced_vpc(&owner, interface.vpc_id.as_deref(), problems);
            let subnet = interface.subnet_id.as_deref().and_then(|subnet| {
                let known = self.subnets.get(subnet.as_bytes()).copied();
                if known.is_none() {
                    problems.add(format!(
                        "{owner}: subnet_id {} is not in subnets; add it there",
                        quoted(subnet)
                    ));
                }
                known
            });
            let description = self.add_name(&owner, interface.description.as_deref(), problems);
            self.interfaces.insert(id.as_bytes().into(), Interface { description, subnet, vpc });
        }
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
    fn add(&mut self, block: IpNet, name: NameId) {
        let (family, first, last) = match block {
            IpNet::V4(block) => {
                (&mut self.v4, u32::from(block.network()).into(), u32::from(block.broadcast()).into())
            }
            IpNet::V6(block) => (&mut self.v6, u128::from(block.network()), u128::from(block.broadcast())),
        };
        family.push(Block { first, last, name });
    }
}

/// Parses a CIDR block. The error continues a sentence whose subject is the block.
fn parse_cidr(text: &str) -> Result<IpNet, String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    const OVERLAPPING: &str = r#"{
        "interfaces": {"eni-1": {"description": "web, front", "subnet_id": "subnet-a", "vpc_id": "vpc-1"}},
        "subnets": {
            "subnet-a": {"name": "a", "vpc_id": "vpc-1", "cidrs": ["10.0.0.0/24", "2001:db8::/64"]},
            "subnet-a2": {"name": "a-inner", "vpc_id": "vpc-1", "cidrs": ["10.0.0.128/25"]},
            "subnet-b": {"name": "b", "vpc_id": "vpc-2", "cidrs": ["10.0.0.0/25", "10.9.0.0/16"]},
            "subnet-c": {"vpc_id": "vpc-3", "cidrs": ["0.0.0.0/0", "ffff:ffff:ffff:ffff::/64"]}
        },
        "vpcs": {"vpc-1": {"name": "one"}, "vpc-2": {"name": "two"}, "vpc-3": {}}
    }"#;

    fn name(lookups: &Lookups, vpc: &str, address: &str) -> String {
        let name = lookups.address(lookups.vpc(vpc.as_bytes()), address.parse().unwrap());
        lookups.name(name).to_owned()
    }

    #[test]
    fn an_address_resolves_by_the_longest_prefix_of_the_records_own_vpc() {
        let lookups = Lookups::parse(OVERLAPPING.as_bytes()).unwrap();
        assert_eq!(name(&lookups, "vpc-1", "10.0.0.1"), "a");
        assert_eq!(name(&lookups, "vpc-1", "10.0.0.200"), "a-inner");
        assert_eq!(name(&lookups, "vpc-2", "10.0.0.1"), "b");
        assert_eq!(name(&lookups, "vpc-1", "2001:db8::ffff"), "a");
        assert_eq!(name(&lookups, "vpc-1", "2001:db8:0:1::"), "");
    }

    #[test]
    fn outside_its_vpc_an_address_has_a_name_only_if_exactly_one_vpc_contains_it() {
        let all = Lookups::parse(OVERLAPPING.as_bytes()).unwrap();
        assert_eq!(name(&all, "vpc-1", "10.9.0.1"), "", "vpc-2 and vpc-3 contain it");
        let without_the_third = OVERLAPPING.replace("\"0.0.0.0/0\", ", "");
        let lookups = Lookups::parse(without_the_third.as_bytes()).unwrap();
        assert_eq!(name(&lookups, "vpc-1", "10.9.0.1"), "b");
        assert_eq!(name(&lookups, "no vpc", "10.0.0.1"), "", "two VPCs contain it");
        assert_eq!(name(&lookups, "no vpc", "10.0.0.200"), "a-inner");
        assert_eq!(name(&lookups, "no vpc", "10.0.1.0"), "");
        assert_eq!(
            name(&lookups, "vpc-3", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            "",
            "a subnet without a name"
        );
    }

    #[test]
    fn all_problems_are_reported_together() {
        let wrong = r#"{
            "interfaces": {"eni-1": {"subnet_id": "subnet-9", "vpc_id": "vpc-9"}},
            "subnets": {
                "subnet-1": {"name": "x", "vpc_id": "vpc-1", "cidrs": ["10.0.0.1/24", "10.0.0.0/33", "10.0.0.0", "x/8"]},
                "subnet-2": {"vpc_id": "vpc-1", "cidrs": ["10.0.0.0/24"]},
                "subnet-3": {"vpc_id": "vpc-1", "cidrs": ["10.0.0.0/24"]}
            },
            "vpcs": {"vpc-1": {}}
        }"#;
        let cases = [
            wrong,
            "{",
            "[]",
            r#"{"interface":{}}"#,
            r#"{"vpcs":{"vpc-1":{"nam":"x"}}}"#,
            r#"{"vpcs":{"vpc-1":{},"vpc-1":{}}}"#,
            r#"{"two\nlines":{}}"#,
        ];
        let reported: Vec<String> =
            cases.iter().map(|json| format!("{}\n", Lookups::parse(json.as_bytes()).unwrap_err())).collect();
        insta::assert_snapshot!(reported.concat());
    }
}
