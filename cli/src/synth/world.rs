//! The AWS account of the sample: VPCs with overlapping addresses, their subnets and interfaces.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
    ops::Range,
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

#[derive(Debug, Default)]
pub(super) struct World {
    /// In the order of their VPCs and subnets.
    pub(super) interfaces: Vec<Interface>,
    pub(super) outside: Vec<Ipv4Addr>,
    pub(super) vpcs: Vec<Vpc>,
    /// The VPC of the incident, whose addresses are unique; `None` if no VPC has enough interfaces.
    pub(super) incident_vpc: Option<usize>,
}

#[derive(Debug)]
pub(super) struct Interface {
    pub(super) id: String,
    pub(super) account: String,
    pub(super) address: Ipv4Addr,
    pub(super) address_v6: Option<Ipv6Addr>,
    pub(super) vpc: usize,
    pub(super) subnet_id: String,
    pub(super) description: String,
}

#[derive(Debug)]
pub(super) struct Vpc {
    pub(super) id: String,
    name: &'static str,
    subnets: Vec<Subnet>,
    /// Its interfaces, by their positions in the world.
    pub(super) interfaces: Range<usize>,
    /// The interfaces of each subnet.
    pub(super) by_subnet: Vec<Range<usize>>,
}

impl Vpc {
    /// Returns a VPC of a `names.json`.
    pub(super) fn of_names(id: &str, interfaces: Range<usize>, by_subnet: Vec<Range<usize>>) -> Self {
        Self { id: id.to_owned(), name: "", subnets: Vec::new(), interfaces, by_subnet }
    }
}

#[derive(Debug)]
struct Subnet {
    id: String,
    name: String,
    cidrs: [String; 2],
}

#[derive(Serialize)]
pub(super) struct Names<'a> {
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
        let mut world = Self::default();
        for (vpc, (name, second)) in VPCS.into_iter().enumerate() {
            let begin = world.interfaces.len();
            let (mut subnets, mut by_subnet) = (Vec::new(), Vec::new());
            for (third, subnet) in (0_u8..).zip(SUBNETS) {
                let id = aws_id("subnet", random);
                let first = world.interfaces.len();
                for host in 0..INTERFACES_OF_SUBNET {
                    let role = ROLES[usize::from(host) % ROLES.len()];
                    world.interfaces.push(Interface {
                        id: aws_id("eni", random),
                        account: ACCOUNT.to_owned(),
                        address: Ipv4Addr::new(10, second, third, 10 + host),
                        address_v6: Some(address_v6(vpc, third, host)),
                        vpc,
                        subnet_id: id.clone(),
                        description: format!("{role} {name} {subnet}"),
                    });
                }
                let cidrs = [format!("10.{second}.{third}.0/24"), format!("2001:db8:{vpc:x}:{third:x}::/64")];
                subnets.push(Subnet { id, name: format!("{name}-{subnet}"), cidrs });
                by_subnet.push(first..world.interfaces.len());
            }
            let interfaces = begin..world.interfaces.len();
            world.vpcs.push(Vpc { id: aws_id("vpc", random), name, subnets, interfaces, by_subnet });
        }
        world.incident_vpc = Some(VPCS.len() - 1);
        world.add_outside(random);
        world
    }

    pub(super) fn add_outside(&mut self, random: &mut ChaCha8Rng) {
        // Addresses reserved for documentation and benchmarks (RFC 5737, RFC 2544).
        for _ in 0..200 {
            let last = random.random_range(1..255);
            self.outside.push(match random.random_range(0..4) {
                0 => Ipv4Addr::new(192, 0, 2, last),
                1 => Ipv4Addr::new(198, 51, 100, last),
                2 => Ipv4Addr::new(203, 0, 113, last),
                _ => Ipv4Addr::new(198, 18, random.random(), last),
            });
        }
    }

    /// Returns the interface of a VPC with this subnet and host.
    pub(super) fn interface(&self, vpc: usize, subnet: usize, host: usize) -> &Interface {
        &self.interfaces[self.vpcs[vpc].by_subnet[subnet].start + host]
    }

    pub(super) fn names(&self) -> Names<'_> {
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
        Names { interfaces: interfaces.collect(), subnets: subnets.collect(), vpcs: vpcs.collect() }
    }
}

fn address_v6(vpc: usize, subnet: u8, host: u8) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, vpc as u16, subnet.into(), 0, 0, 0, host.into())
}

fn aws_id(kind: &str, random: &mut ChaCha8Rng) -> String {
    format!("{kind}-0{:016x}", random.random::<u64>())
}
