//! The AWS account of the sample: VPCs with overlapping addresses, their subnets and interfaces.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
};

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

pub(super) const ACCOUNT: &str = "123456789012";

/// Name and second octet of the addresses. The first two overlap, as copies of an environment do.
const VPCS: [(&str, u8); 3] = [("prod", 0), ("staging", 0), ("shared-services", 8)];
const SUBNETS: [&str; 4] = ["public-a", "public-b", "private-a", "private-b"];
const ROLES: [&str; 6] = ["web", "api", "worker", "database", "cache", "nat gateway"];
const INTERFACES_OF_SUBNET: u8 = 6;

#[derive(Debug)]
pub(super) struct World {
    pub(super) interfaces: Vec<Interface>,
    pub(super) outside: Vec<Ipv4Addr>,
    vpcs: Vec<Vpc>,
}

#[derive(Debug)]
pub(super) struct Interface {
    pub(super) id: String,
    pub(super) address: Ipv4Addr,
    pub(super) address_v6: Ipv6Addr,
    pub(super) vpc: usize,
    subnet_id: String,
    description: String,
}

#[derive(Debug)]
struct Vpc {
    id: String,
    name: &'static str,
    subnets: Vec<Subnet>,
}

#[derive(Debug)]
struct Subnet {
    id: String,
    name: String,
    cidrs: [String; 2],
}

#[derive(Serialize)]
pub(super) struct Lookups<'a> {
    interfaces: BTreeMap<&'a str, InterfaceNames<'a>>,
    subnets: BTreeMap<&'a str, SubnetNames<'a>>,
    vpcs: BTreeMap<&'a str, BTreeMap<&'a str, &'a str>>,
}

#[derive(Serialize)]
struct InterfaceNames<'a> {
    description: &'a str,
    subnet_id: &'a str,
    vpc_id: &'a str,
}

#[derive(Serialize)]
struct SubnetNames<'a> {
    name: &'a str,
    vpc_id: &'a str,
    cidrs: &'a [String],
}

impl World {
    pub(super) fn new(random: &mut ChaCha8Rng) -> Self {
        let mut world = Self { interfaces: Vec::new(), outside: Vec::new(), vpcs: Vec::new() };
        for (vpc, (name, second)) in VPCS.into_iter().enumerate() {
            let mut subnets = Vec::new();
            for (third, subnet) in (0_u8..).zip(SUBNETS) {
                let id = aws_id("subnet", random);
                for host in 0..INTERFACES_OF_SUBNET {
                    let role = ROLES[usize::from(host) % ROLES.len()];
                    world.interfaces.push(Interface {
                        id: aws_id("eni", random),
                        address: Ipv4Addr::new(10, second, third, 10 + host),
                        address_v6: Ipv6Addr::new(
                            0x2001,
                            0xdb8,
                            vpc as u16,
                            third.into(),
                            0,
                            0,
                            0,
                            host.into(),
                        ),
                        vpc,
                        subnet_id: id.clone(),
                        description: format!("{role} {name} {subnet}"),
                    });
                }
                let cidrs = [format!("10.{second}.{third}.0/24"), format!("2001:db8:{vpc:x}:{third:x}::/64")];
                subnets.push(Subnet { id, name: format!("{name}-{subnet}"), cidrs });
            }
            world.vpcs.push(Vpc { id: aws_id("vpc", random), name, subnets });
        }
        // Addresses reserved for documentation and benchmarks (RFC 5737, RFC 2544).
        for _ in 0..200 {
            let last = random.random_range(1..255);
            world.outside.push(match random.random_range(0..4) {
                0 => Ipv4Addr::new(192, 0, 2, last),
                1 => Ipv4Addr::new(198, 51, 100, last),
                2 => Ipv4Addr::new(203, 0, 113, last),
                _ => Ipv4Addr::new(198, 18, random.random(), last),
            });
        }
        world
    }

    /// Returns the interface of the third VPC, whose addresses are unique, with this subnet and host.
    pub(super) fn shared_service(&self, subnet: usize, host: usize) -> &Interface {
        let of_subnet = usize::from(INTERFACES_OF_SUBNET);
        &self.interfaces[(2 * SUBNETS.len() + subnet) * of_subnet + host]
    }

    pub(super) fn lookups(&self) -> Lookups<'_> {
        let interfaces = self.interfaces.iter().map(|interface| {
            let vpc_id = &self.vpcs[interface.vpc].id;
            let (description, subnet_id) = (&interface.description, &interface.subnet_id);
            (&*interface.id, InterfaceNames { description, subnet_id, vpc_id })
        });
        let subnets = self.vpcs.iter().flat_map(|vpc| {
            vpc.subnets.iter().map(|subnet| {
                (&*subnet.id, SubnetNames { name: &subnet.name, vpc_id: &vpc.id, cidrs: &subnet.cidrs })
            })
        });
        let vpcs = self.vpcs.iter().map(|vpc| (&*vpc.id, BTreeMap::from([("name", vpc.name)])));
        Lookups { interfaces: interfaces.collect(), subnets: subnets.collect(), vpcs: vpcs.collect() }
    }
}

fn aws_id(kind: &str, random: &mut ChaCha8Rng) -> String {
    format!("{kind}-0{:016x}", random.random::<u64>())
}
