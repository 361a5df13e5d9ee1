//! Names of interfaces, subnets and VPCs.

use std::{collections::BTreeMap, net::IpAddr};

use serde_json::Value;

use super::Model;

pub(super) const ENRICHED: [&str; 5] =
    ["interface_description", "subnet_name", "vpc_name", "src_subnet_name", "dst_subnet_name"];

impl Model {
    /// Adds the names for a flow-log row.
    pub(super) fn enrich(&self, values: &mut BTreeMap<String, String>) {
        let given = |name: &str| values.get(name).filter(|value| *value != "-").cloned();
        let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let interface = given("interface_id").map_or(&Value::Null, |id| &self.lookups["interfaces"][id]);
        let subnet_id = given("subnet_id").or_else(|| text(&interface["subnet_id"]));
        let subnet = subnet_id.map_or(&Value::Null, |id| &self.lookups["subnets"][id]);
        let of_own_subnet = given("subnet_id").and_then(|_| text(&subnet["vpc_id"]));
        let of_interface = text(&interface["vpc_id"]).or_else(|| text(&subnet["vpc_id"]));
        let vpc_id = given("vpc_id").or(of_own_subnet).or(of_interface);
        let vpc = vpc_id.as_ref().map_or(&Value::Null, |id| &self.lookups["vpcs"][id]);
        let address = |name: &str| {
            given(name).and_then(|address| self.subnet_of(vpc_id.as_deref(), address.parse().unwrap()))
        };
        let names = [
            text(&interface["description"]),
            text(&subnet["name"]),
            text(&vpc["name"]),
            address("srcaddr"),
            address("dstaddr"),
        ];
        for (column, name) in ENRICHED.iter().zip(names) {
            values.insert((*column).to_owned(), name.unwrap_or("-".to_owned()));
        }
    }

    fn subnet_of(&self, vpc: Option<&str>, address: IpAddr) -> Option<String> {
        // By VPC, the subnet with the longest prefix that contains the address.
        let mut holders: BTreeMap<Option<&str>, (u32, &Value)> = BTreeMap::new();
        for subnet in self.lookups["subnets"].as_object().into_iter().flat_map(|subnets| subnets.values()) {
            for cidr in subnet["cidrs"].as_array().into_iter().flatten() {
                let (network, length) = cidr.as_str().unwrap().split_once('/').unwrap();
                let length: u32 = length.parse().unwrap();
                if holds(network.parse().unwrap(), length, address) {
                    // Subnets of no VPC count as one more VPC.
                    let holder = holders.entry(subnet["vpc_id"].as_str()).or_insert((length, subnet));
                    if length >= holder.0 {
                        *holder = (length, subnet);
                    }
                }
            }
        }
        let own = vpc.and_then(|vpc| holders.get(&Some(vpc)));
        let only = holders.values().next().filter(|_| holders.len() == 1);
        let name =
            |subnet: &Value| subnet["name"].as_str().filter(|name| !name.is_empty()).map(str::to_owned);
        own.or(only).and_then(|(_, subnet)| name(subnet))
    }
}

fn holds(network: IpAddr, length: u32, address: IpAddr) -> bool {
    let bits = |bytes: &[u8]| -> Vec<bool> {
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1 == 1)).collect()
    };
    let (network, address) = match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => (bits(&network.octets()), bits(&address.octets())),
        (IpAddr::V6(network), IpAddr::V6(address)) => (bits(&network.octets()), bits(&address.octets())),
        _ => return false,
    };
    network[..length as usize] == address[..length as usize]
}
