//! Names of interfaces, subnets and VPCs, each as of a time.

use std::{collections::BTreeMap, net::IpAddr};

use serde_json::Value;

use super::Model;

pub(super) const ENRICHED: [&str; 5] =
    ["interface_description", "subnet_name", "vpc_name", "src_subnet_name", "dst_subnet_name"];

/// A name, and whether it is of another time.
type Name = (Option<String>, bool);

/// A subnet's entry with the length of its prefix.
type Holder<'m> = (u32, &'m Value);

impl Model {
    /// Adds the names for a flow-log row. Returns whether one of them is a guess.
    pub(super) fn enrich(&self, values: &mut BTreeMap<String, String>, time: Option<i64>) -> bool {
        let given = |name: &str| values.get(name).filter(|value| *value != "-").cloned();
        let interface = given("interface_id").map_or(vec![], |id| entries(&self.names["interfaces"][id]));
        let subnet_id = given("subnet_id").or_else(|| any_text(&interface, "subnet_id"));
        let subnet = subnet_id.map_or(vec![], |id| entries(&self.names["subnets"][id]));
        let of_own_subnet = given("subnet_id").and_then(|_| any_text(&subnet, "vpc_id"));
        let of_interface = any_text(&interface, "vpc_id").or_else(|| any_text(&subnet, "vpc_id"));
        let vpc_id = given("vpc_id").or(of_own_subnet).or(of_interface);
        let vpc = vpc_id.as_ref().map_or(vec![], |id| entries(&self.names["vpcs"][id]));
        let address = |name: &str| {
            given(name).map_or((None, false), |address| {
                self.subnet_of(vpc_id.as_deref(), address.parse().unwrap(), time)
            })
        };
        let names = [
            name_at(&interface, "description", time),
            name_at(&subnet, "name", time),
            name_at(&vpc, "name", time),
            address("srcaddr"),
            address("dstaddr"),
        ];
        let has_guess = names.iter().any(|(name, is_guess)| name.is_some() && *is_guess);
        for (column, (name, _)) in ENRICHED.iter().zip(names) {
            values.insert((*column).to_owned(), name.unwrap_or("-".to_owned()));
        }
        has_guess
    }

    fn subnet_of(&self, vpc: Option<&str>, address: IpAddr, time: Option<i64>) -> Name {
        // By VPC, all entries that ever contained the address. Those of no VPC count as one more VPC.
        let mut ever: BTreeMap<Option<String>, Vec<Holder<'_>>> = BTreeMap::new();
        let subnets = self.names["subnets"].as_object().into_iter().flat_map(|subnets| subnets.values());
        for subnet in subnets.map(entries) {
            for entry in &subnet {
                for cidr in entry["cidrs"].as_array().into_iter().flatten() {
                    let (network, length) = cidr.as_str().unwrap().split_once('/').unwrap();
                    let length: u32 = length.parse().unwrap();
                    if holds(network.parse().unwrap(), length, address) {
                        ever.entry(any_text(&subnet, "vpc_id")).or_default().push((length, entry));
                    }
                }
            }
        }
        let own = vpc.and_then(|vpc| ever.get(&Some(vpc.to_owned())));
        let only = ever.values().next().filter(|_| ever.len() == 1);
        let at: Vec<&Value> = ever.values().filter_map(|holders| exact(holders, time)).collect();
        let only_now = at.first().copied().filter(|_| at.len() == 1 && (time.is_some() || only.is_some()));
        if let Some(subnet) = own.and_then(|holders| exact(holders, time)).or(only_now) {
            return (text(&subnet["name"]), false);
        }
        let guess = own.or(only).map(|holders| guess(holders, time));
        (guess.and_then(|subnet| text(&subnet["name"])), true)
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The entries of an id: none, one or several.
fn entries(id: &Value) -> Vec<&Value> {
    match id {
        Value::Null => vec![],
        Value::Array(entries) => entries.iter().collect(),
        only => vec![only],
    }
}

fn any_text(entries: &[&Value], key: &str) -> Option<String> {
    entries.iter().find_map(|entry| entry[key].as_str().map(str::to_owned))
}

/// Begin and end of an entry.
fn period(entry: &Value) -> (i64, i64) {
    let ms =
        |key: &str| entry[key].as_str().map(|time| time.parse::<jiff::Timestamp>().unwrap().as_millisecond());
    (ms("from").unwrap_or(i64::MIN), ms("until").unwrap_or(i64::MAX))
}

fn is_at(entry: &Value, time: i64) -> bool {
    let (from, until) = period(entry);
    from <= time && time < until
}

fn name_at(entries: &[&Value], key: &str, time: Option<i64>) -> Name {
    let holders: Vec<Holder<'_>> = entries.iter().map(|entry| (0, *entry)).collect();
    if holders.is_empty() {
        return (None, false);
    }
    match exact(&holders, time) {
        Some(entry) => (text(&entry[key]), false),
        None => (text(&guess(&holders, time)[key]), true),
    }
}

/// The entry with the longest prefix at a time. Without a time, only an entry without times is exact.
fn exact<'m>(holders: &[Holder<'m>], time: Option<i64>) -> Option<&'m Value> {
    if let Some(time) = time {
        return snapshot(holders, time);
    }
    let (_, longest) = holders.iter().max_by_key(|(length, _)| *length)?;
    Some(*longest).filter(|entry| period(entry) == (i64::MIN, i64::MAX))
}

fn snapshot<'m>(holders: &[Holder<'m>], time: i64) -> Option<&'m Value> {
    let then = holders.iter().filter(|(_, entry)| is_at(entry, time));
    then.max_by_key(|(length, _)| *length).map(|(_, entry)| *entry)
}

/// The entry of the last snapshot before a time that has one, or else of the first one.
fn guess<'m>(holders: &[Holder<'m>], time: Option<i64>) -> &'m Value {
    let ends = holders.iter().map(|(_, entry)| period(entry).1);
    let last = ends.filter(|until| time.is_none_or(|time| *until <= time)).max();
    let first = holders.iter().map(|(_, entry)| period(entry).0).min();
    let moment = last.map(|last| last - 1).or(first).unwrap();
    snapshot(holders, moment).unwrap()
}

pub(super) fn holds(network: IpAddr, length: u32, address: IpAddr) -> bool {
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
