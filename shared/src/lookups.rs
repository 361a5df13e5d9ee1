//! `lookups.json`: the names behind interface, subnet and VPC ids, and which subnet an address belongs to.

mod ranges;

use std::{collections::HashMap, fmt, hash::Hash, marker::PhantomData, net::IpAddr};

use foldhash::fast::FixedState;
use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};
use sha2::{Digest, Sha256};

use self::ranges::Ranges;
use crate::{
    config::{ColumnType, ConfigError, hex, quoted},
    limits::{MAX_LOOKUP_BLOCKS, MAX_LOOKUP_IDS, MAX_LOOKUP_NAME_BYTES, MAX_LOOKUPS_BYTES},
    pipeline::csv,
};

/// A name as it is written to CSV. 0 is the absent one.
pub(crate) type NameId = u32;
const ABSENT: NameId = 0;
/// Problems told at once; a file of 100,000 interfaces can have as many.
const PROBLEMS_TOLD: usize = 20;

type IdMap<T> = HashMap<Box<[u8]>, T, FixedState>;

/// All names, ready to look up by the bytes of an id.
#[derive(Debug)]
pub struct Lookups {
    names: Vec<Box<[u8]>>,
    /// Of those that a spreadsheet would take for formulas, what is written instead if they are to be guarded.
    guarded: HashMap<NameId, Box<[u8]>, FixedState>,
    interfaces: IdMap<Interface>,
    subnets: IdMap<Subnet>,
    vpcs: IdMap<Vpc>,
    /// By [`Vpc::number`]; behind them, subnets of no VPC.
    spaces: Vec<Addresses>,
    /// Addresses that exactly one VPC knows.
    anywhere: Addresses,
    /// SHA-256 of the file, in hex; empty without one.
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

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    #[serde(deserialize_with = "unique")]
    interfaces: HashMap<String, InterfaceFile>,
    #[serde(deserialize_with = "unique")]
    subnets: HashMap<String, SubnetFile>,
    #[serde(deserialize_with = "unique")]
    vpcs: HashMap<String, VpcFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InterfaceFile {
    description: Option<String>,
    subnet_id: Option<String>,
    vpc_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SubnetFile {
    name: Option<String>,
    vpc_id: Option<String>,
    #[serde(default)]
    cidrs: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VpcFile {
    name: Option<String>,
}

impl Default for Lookups {
    fn default() -> Self {
        Self {
            names: vec![csv::ABSENT.into()],
            guarded: HashMap::default(),
            interfaces: IdMap::default(),
            subnets: IdMap::default(),
            vpcs: IdMap::default(),
            spaces: Vec::new(),
            anywhere: Addresses::default(),
            hash: String::new(),
        }
    }
}

impl Lookups {
    /// Reads and checks the bytes of a `lookups.json`: every id that is named must be there, and every CIDR block must
    /// be one, and only once in its VPC.
    pub fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        let problem = |problem: String| ConfigError { problems: vec![problem] };
        if json.len() > MAX_LOOKUPS_BYTES {
            let told = format!(
                "has {} bytes; at most {MAX_LOOKUPS_BYTES}: keep only ids that the logs name",
                json.len()
            );
            return Err(problem(told));
        }
        // A derived struct would also be read from an array, by position.
        if !json.trim_ascii_start().starts_with(b"{") {
            return Err(problem(
                "is no JSON object; an example: {\"vpcs\":{\"vpc-1\":{\"name\":\"prod\"}}}".to_owned(),
            ));
        }
        let file: File =
            serde_json::from_slice(json).map_err(|error| problem(error.to_string().replace('\n', " ")))?;
        let mut lookups = Self { hash: hex(&Sha256::digest(json)), ..Self::default() };
        let mut problems = Problems::default();
        let blocks: usize = file.subnets.values().map(|subnet| subnet.cidrs.len()).sum();
        if blocks > MAX_LOOKUP_BLOCKS {
            let told = format!(
                "cidrs: {blocks} blocks; at most {MAX_LOOKUP_BLOCKS}: keep only subnets that the logs name"
            );
            return Err(problem(told));
        }

        // In the order of ids, so that the same file always gives the same problems and numbers.
        for (number, (id, vpc)) in sorted(&file.vpcs).into_iter().enumerate() {
            let name = lookups.name(&format!("VPC {id:?}"), vpc.name.as_deref(), &mut problems);
            let vpc = Vpc { name, number: number as u32 };
            lookups.vpcs.insert(id.as_bytes().into(), vpc);
        }
        let mut spaces = vec![Blocks::default(); file.vpcs.len() + 1];
        let mut owners = HashMap::new();
        for (id, subnet) in sorted(&file.subnets) {
            let owner = format!("subnet {id:?}");
            let vpc = lookups.named_vpc(&owner, subnet.vpc_id.as_deref(), &mut problems);
            let name = lookups.name(&owner, subnet.name.as_deref(), &mut problems);
            lookups.subnets.insert(id.as_bytes().into(), Subnet { name, vpc });
            let space = vpc.map_or(file.vpcs.len(), |vpc| vpc.number as usize);
            for cidr in &subnet.cidrs {
                let block = match ranges::parse_cidr(cidr) {
                    Ok(block) => block,
                    Err(why) => {
                        problems.add(format!("subnet {id:?}: cidrs: {} {why}", quoted(cidr)));
                        continue;
                    }
                };
                if let Some(other) = owners.insert((space, block), id) {
                    problems.add(format!(
                        "subnet {id:?}: cidrs: {cidr:?} is also subnet {other:?}'s, in the same VPC"
                    ));
                    continue;
                }
                let blocks = &mut spaces[space];
                let family = if block.v6 { &mut blocks.v6 } else { &mut blocks.v4 };
                family.push((block.first, block.last, name));
            }
        }
        for (id, interface) in sorted(&file.interfaces) {
            let owner = format!("interface {id:?}");
            let vpc = lookups.named_vpc(&owner, interface.vpc_id.as_deref(), &mut problems);
            let subnet = interface.subnet_id.as_deref().and_then(|subnet| {
                let known = lookups.subnets.get(subnet.as_bytes()).copied();
                if known.is_none() {
                    problems.add(format!("{owner} names subnet {}, which is not in subnets", quoted(subnet)));
                }
                known
            });
            let description = lookups.name(&owner, interface.description.as_deref(), &mut problems);
            lookups.interfaces.insert(id.as_bytes().into(), Interface { description, subnet, vpc });
        }
        lookups.spaces = spaces
            .iter()
            .map(|blocks| Addresses { v4: Ranges::nested(&blocks.v4), v6: Ranges::nested(&blocks.v6) })
            .collect();
        lookups.anywhere = Addresses {
            v4: Ranges::known_once(lookups.spaces.iter().map(|space| &space.v4)),
            v6: Ranges::known_once(lookups.spaces.iter().map(|space| &space.v6)),
        };
        problems.into_result(lookups)
    }

    /// How many interfaces, subnets and VPCs there are.
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

    /// The name of the subnet that holds the address: the longest prefix in the record's own VPC; outside it, only if
    /// exactly one VPC knows the address, because VPCs overlap.
    pub(crate) fn address(&self, vpc: Option<Vpc>, address: IpAddr) -> NameId {
        let own = vpc.and_then(|vpc| self.spaces[vpc.number as usize].find(address));
        own.or_else(|| self.anywhere.find(address)).unwrap_or(ABSENT)
    }

    /// The text of a name as CSV; if asked for, so that no spreadsheet takes it for a formula.
    pub(crate) fn csv(&self, name: NameId, guard_formulas: bool) -> &[u8] {
        let guarded = if guard_formulas { self.guarded.get(&name) } else { None };
        guarded.unwrap_or(&self.names[name as usize])
    }

    fn name(&mut self, owner: &str, name: Option<&str>, problems: &mut Problems) -> NameId {
        let Some(name) = name.filter(|name| !name.is_empty()) else { return ABSENT };
        if name.len() > MAX_LOOKUP_NAME_BYTES {
            let most = MAX_LOOKUP_NAME_BYTES;
            problems.add(format!(
                "{owner}: a name of {} bytes; at most {most}: it would stand in every row",
                name.len()
            ));
            return ABSENT;
        }
        let id = self.names.len() as NameId;
        let mut text = Vec::new();
        csv::write_value(name.as_bytes(), &mut text);
        self.names.push(text.into());
        if csv::begins_like_formula(name.as_bytes()) {
            let mut text = Vec::new();
            csv::write_guarded(name.as_bytes(), ColumnType::String, &mut text);
            self.guarded.insert(id, text.into());
        }
        id
    }

    fn named_vpc(&self, owner: &str, id: Option<&str>, problems: &mut Problems) -> Option<Vpc> {
        let id = id?;
        let vpc = self.vpc(id.as_bytes());
        if vpc.is_none() {
            problems.add(format!("{owner} names VPC {}, which is not in vpcs", quoted(id)));
        }
        vpc
    }
}

#[derive(Clone, Default)]
struct Blocks {
    v4: Vec<(u128, u128, NameId)>,
    v6: Vec<(u128, u128, NameId)>,
}

#[derive(Default)]
struct Problems {
    told: Vec<String>,
    count: usize,
}

impl Problems {
    fn add(&mut self, problem: String) {
        self.count += 1;
        if self.told.len() < PROBLEMS_TOLD {
            self.told.push(problem);
        }
    }

    fn into_result(mut self, lookups: Lookups) -> Result<Lookups, ConfigError> {
        if self.count == 0 {
            return Ok(lookups);
        }
        if self.count > self.told.len() {
            self.told.push(format!("and {} more problems", self.count - self.told.len()));
        }
        Err(ConfigError { problems: self.told })
    }
}

fn sorted<T>(map: &HashMap<String, T>) -> Vec<(&String, &T)> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_unstable_by_key(|(id, _)| *id);
    entries
}

/// A map in which no key stands twice: which of the two is meant cannot be known.
fn unique<'de, D, K, V>(deserializer: D) -> Result<HashMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: Deserialize<'de> + Eq + Hash + fmt::Debug + Clone + AsRef<str>,
    V: Deserialize<'de>,
{
    struct Unique<K, V>(PhantomData<(K, V)>);
    impl<'de, K, V> Visitor<'de> for Unique<K, V>
    where
        K: Deserialize<'de> + Eq + Hash + fmt::Debug + Clone + AsRef<str>,
        V: Deserialize<'de>,
    {
        type Value = HashMap<K, V>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object by id")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut values = HashMap::new();
            while let Some((key, value)) = map.next_entry::<K, V>()? {
                if key.as_ref().len() > MAX_LOOKUP_NAME_BYTES {
                    return Err(A::Error::custom(format!(
                        "the id {} has more than {MAX_LOOKUP_NAME_BYTES} bytes",
                        quoted(key.as_ref())
                    )));
                }
                if values.len() == MAX_LOOKUP_IDS {
                    return Err(A::Error::custom(format!(
                        "more than {MAX_LOOKUP_IDS} interfaces, subnets or VPCs, the last of them {}; keep only those that the logs name",
                        quoted(key.as_ref())
                    )));
                }
                if values.insert(key.clone(), value).is_some() {
                    return Err(A::Error::custom(format!("{} stands twice", quoted(key.as_ref()))));
                }
            }
            Ok(values)
        }
    }
    deserializer.deserialize_map(Unique(PhantomData))
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
        String::from_utf8(lookups.csv(name, false).to_vec()).unwrap()
    }

    #[test]
    fn an_address_belongs_to_the_longest_prefix_of_the_records_own_vpc() {
        let lookups = Lookups::parse(OVERLAPPING.as_bytes()).unwrap();
        assert_eq!(name(&lookups, "vpc-1", "10.0.0.1"), "a");
        assert_eq!(name(&lookups, "vpc-1", "10.0.0.200"), "a-inner");
        assert_eq!(name(&lookups, "vpc-2", "10.0.0.1"), "b");
        assert_eq!(name(&lookups, "vpc-1", "2001:db8::ffff"), "a");
        assert_eq!(name(&lookups, "vpc-1", "2001:db8:0:1::"), "-");
    }

    #[test]
    fn outside_its_vpc_an_address_has_a_name_only_if_one_vpc_alone_knows_it() {
        let all = Lookups::parse(OVERLAPPING.as_bytes()).unwrap();
        assert_eq!(name(&all, "vpc-1", "10.9.0.1"), "-", "vpc-2 and vpc-3 know it");
        let without_the_third = OVERLAPPING.replace("\"0.0.0.0/0\", ", "");
        let lookups = Lookups::parse(without_the_third.as_bytes()).unwrap();
        assert_eq!(name(&lookups, "vpc-1", "10.9.0.1"), "b");
        assert_eq!(name(&lookups, "no vpc", "10.0.0.1"), "-", "two know it");
        assert_eq!(name(&lookups, "no vpc", "10.0.0.200"), "a-inner");
        assert_eq!(name(&lookups, "no vpc", "10.0.1.0"), "-");
        assert_eq!(
            name(&lookups, "vpc-3", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
            "-",
            "a subnet without a name"
        );
    }

    #[test]
    fn names_are_ready_for_csv() {
        let lookups = Lookups::parse(OVERLAPPING.as_bytes()).unwrap();
        let interface = lookups.interface(b"eni-1").unwrap();
        assert_eq!(lookups.csv(interface.description, false), b"\"web, front\"");
        assert_eq!(lookups.csv(lookups.vpc(b"vpc-3").unwrap().name, false), b"-");
    }

    #[test]
    fn mistakes_are_told_together() {
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
        let told: Vec<String> =
            cases.iter().map(|json| format!("{}\n", Lookups::parse(json.as_bytes()).unwrap_err())).collect();
        insta::assert_snapshot!(told.concat());
    }
}
