//! The networks of a `names.json` as the world of a sample.

use std::{collections::BTreeMap, fs, net::Ipv4Addr, path::Path};

use flowherd_shared::names::NameIndex;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::world::{ACCOUNT, Interface, Vpc, World};
use crate::stop::Stop;

/// Why a sample cannot have an incident.
pub(super) const NO_INCIDENT: &str = "--incident: no VPC of --names has four subnets with four interfaces each and addresses that \
    no other VPC has; add such a VPC, or omit --incident";
/// Subnets of the incident's VPC, and interfaces in each.
const INCIDENT: (usize, usize) = (4, 4);
/// Number of the first address of an interface in its subnet. AWS reserves the first four
/// (<https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html>).
const FIRST_HOST: u32 = 10;

/// An IPv4 block: its first address and its number of addresses.
type Block = (u32, u32);

/// Returns the interfaces of a `names.json`, with addresses in the blocks of their subnets. A file has no addresses of interfaces.
/// Interfaces whose subnet has no IPv4 block do not take part.
pub(super) fn world(path: &Path, random: &mut ChaCha8Rng) -> Result<World, Stop> {
    let unusable = |why: String| Stop::usage(format!("{}: {why}", path.display()));
    let bytes = fs::read(path).map_err(|error| unusable(format!("cannot be read: {error}")))?;
    if let Err(error) = NameIndex::parse(&bytes) {
        return Err(Stop::Usage(
            error.problems.iter().map(|problem| format!("{}: {problem}", path.display())).collect(),
        ));
    }
    let file: Value = serde_json::from_slice(&bytes).map_err(|error| unusable(error.to_string()))?;
    let world = Networks::read(&file).world(random);
    if world.interfaces.is_empty() {
        return Err(unusable("it has no interface in a subnet with an IPv4 block".to_owned()));
    }
    Ok(world)
}

/// The subnets and interfaces of a file.
struct Networks<'f> {
    /// By VPC, then by block.
    subnets: BTreeMap<&'f str, BTreeMap<Block, &'f str>>,
    /// By subnet, then by id.
    interfaces: BTreeMap<&'f str, BTreeMap<&'f str, &'f Value>>,
}

impl<'f> Networks<'f> {
    fn read(file: &'f Value) -> Self {
        let (mut subnets, mut interfaces) = (BTreeMap::new(), BTreeMap::new());
        for (id, subnet) in current(&file["subnets"]) {
            let cidrs = subnet["cidrs"].as_array().into_iter().flatten().filter_map(Value::as_str);
            if let (Some(block), Some(vpc)) = (cidrs.filter_map(block).min(), subnet["vpc_id"].as_str()) {
                subnets.entry(vpc).or_insert_with(BTreeMap::new).insert(block, id);
            }
        }
        for (id, interface) in current(&file["interfaces"]) {
            if let Some(subnet) = interface["subnet_id"].as_str() {
                interfaces.entry(subnet).or_insert_with(BTreeMap::new).insert(id, interface);
            }
        }
        Self { subnets, interfaces }
    }

    /// Returns the world, with the VPCs in the order of their addresses.
    fn world(&self, random: &mut ChaCha8Rng) -> World {
        let mut world = World::default();
        let mut vpcs: Vec<(&str, &BTreeMap<Block, &str>)> =
            self.subnets.iter().map(|(vpc, subnets)| (*vpc, subnets)).collect();
        vpcs.sort_by_key(|(id, subnets)| (subnets.keys().next().copied(), *id));
        for (vpc_id, subnets) in vpcs {
            let (begin, vpc) = (world.interfaces.len(), world.vpcs.len());
            let mut by_subnet = Vec::new();
            for (block, subnet) in subnets {
                let first = world.interfaces.len();
                world.interfaces.extend(self.interfaces_of(subnet, *block, vpc));
                by_subnet.push(first..world.interfaces.len());
            }
            if world.interfaces.len() > begin {
                let is_large = |subnet: &&std::ops::Range<usize>| subnet.len() >= INCIDENT.1;
                by_subnet.sort_by_key(|subnet| (subnet.len() < INCIDENT.1, subnet.start));
                if by_subnet.iter().filter(is_large).count() >= INCIDENT.0 && self.is_apart(vpc_id) {
                    world.incident_vpc = Some(vpc);
                }
                let interfaces = begin..world.interfaces.len();
                world.vpcs.push(Vpc::of_names(vpc_id, interfaces, by_subnet));
            }
        }
        world.add_outside(random);
        world
    }

    fn interfaces_of(&self, subnet: &str, (network, size): Block, vpc: usize) -> Vec<Interface> {
        let of_subnet = self.interfaces.get(subnet).into_iter().flatten();
        let interface = |(number, (id, interface)): (u32, (&&str, &&Value))| Interface {
            id: (*id).to_owned(),
            account: account(interface).unwrap_or(ACCOUNT).to_owned(),
            address: Ipv4Addr::from(network + number),
            address_v6: None,
            vpc,
            subnet_id: subnet.to_owned(),
            description: String::new(),
        };
        // The last address is reserved too.
        (FIRST_HOST..size.saturating_sub(1)).zip(of_subnet).map(interface).collect()
    }

    /// Returns whether no other VPC has an address of this one.
    fn is_apart(&self, vpc: &str) -> bool {
        let of = |vpc: &str| self.subnets.get(vpc).into_iter().flat_map(BTreeMap::keys).copied();
        let others = || self.subnets.keys().filter(|other| **other != vpc).flat_map(|other| of(other));
        of(vpc).all(|(begin, size)| {
            others().all(|(other, length)| begin + (size - 1) < other || other + (length - 1) < begin)
        })
    }
}

/// Returns the last entry of each id.
fn current(section: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let entries = section.as_object().into_iter().flatten();
    entries.map(|(id, entry)| (&**id, entry.as_array().and_then(|entries| entries.last()).unwrap_or(entry)))
}

fn block(cidr: &str) -> Option<Block> {
    let (network, length) = cidr.split_once('/')?;
    let length: u32 = length.parse().ok().filter(|length| (1..=32).contains(length))?;
    Some((network.parse::<Ipv4Addr>().ok()?.into(), 1 << (32 - length)))
}

/// Returns the account of an entry that was read from AWS.
fn account(entry: &Value) -> Option<&str> {
    entry["source"].as_str()?.split('/').next()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;
    use serde_json::json;

    use super::*;

    fn world_of(file: &Value) -> World {
        Networks::read(file).world(&mut ChaCha8Rng::seed_from_u64(1))
    }

    /// Returns a file with these VPCs: each with the second octet of its addresses.
    fn file(vpcs: &[(&str, u8)], of_subnet: usize) -> Value {
        let (mut subnets, mut interfaces) = (json!({}), json!({}));
        for (vpc, second) in vpcs {
            for third in 0..4 {
                let subnet = format!("subnet-{vpc}-{third}");
                let cidrs = [format!("10.{second}.{third}.0/24"), format!("2001:db8:{second}:{third}::/64")];
                subnets[&subnet] = json!({ "vpc_id": vpc, "cidrs": cidrs });
                for host in 0..of_subnet {
                    let entry =
                        json!({ "subnet_id": subnet, "vpc_id": vpc, "source": "210987654321/eu-west-1" });
                    interfaces[format!("eni-{vpc}-{third}-{host}")] =
                        json!([{ "until": "2026-01-01T00:00:00Z" }, entry]);
                }
            }
        }
        json!({ "interfaces": interfaces, "subnets": subnets })
    }

    #[test]
    fn interfaces_have_addresses_in_their_subnets() {
        let world = world_of(&file(&[("vpc-b", 8), ("vpc-a", 0)], 2));
        let first = &world.interfaces[0];
        assert_eq!((&*first.id, first.address), ("eni-vpc-a-0-0", Ipv4Addr::new(10, 0, 0, 10)));
        assert_eq!(first.account, "210987654321");
        let addresses: BTreeSet<Ipv4Addr> =
            world.interfaces.iter().map(|interface| interface.address).collect();
        assert_eq!((addresses.len(), world.vpcs.len(), world.incident_vpc), (16, 2, None));
        assert_eq!(world.interface(1, 3, 1).address, Ipv4Addr::new(10, 8, 3, 11));
    }

    #[test]
    fn the_incident_is_in_a_vpc_whose_addresses_are_unique() {
        let vpcs = [("vpc-a", 0), ("vpc-b", 0), ("vpc-c", 8)];
        assert_eq!(world_of(&file(&vpcs, 4)).incident_vpc, Some(2));
        assert_eq!(world_of(&file(&vpcs[..2], 4)).incident_vpc, None);
        assert_eq!(world_of(&file(&vpcs, 3)).incident_vpc, None);
    }

    #[test]
    fn interfaces_that_do_not_fit_their_subnet_or_have_no_block_do_not_take_part() {
        let interfaces = json!({ "eni-1": { "subnet_id": "subnet-1" }, "eni-2": { "subnet_id": "subnet-1" }, "eni-3": {} });
        let file = |cidr: &str| json!({ "interfaces": interfaces, "subnets": { "subnet-1": { "vpc_id": "vpc-1", "cidrs": [cidr] } } });
        assert_eq!(world_of(&file("10.0.0.0/28")).interfaces.len(), 2);
        assert_eq!(world_of(&file("10.0.0.0/29")).interfaces.len(), 0);
        assert_eq!(world_of(&file("2001:db8::/64")).interfaces.len(), 0);
    }
}
