//! Blocks of subnets that other subnets take over.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{Changes, Ids, combine::Combined, entry::Entry};
use crate::{names::parse_cidr, timestamp};

/// A subnet that has a block now.
#[derive(Clone)]
struct Holder {
    vpc: Option<String>,
    block: IpNet,
    id: String,
    /// When it was read; `None` if it was not.
    read_at: Option<i64>,
    from: Option<i64>,
    /// Whether a reading created its entry, not a person.
    is_read_entry: bool,
}

impl Holder {
    /// Of two that were read, one was deleted and the other created during the reading: the newer one exists.
    fn rank(&self) -> (bool, Option<i64>, &str) {
        (self.read_at.is_some(), self.from, &self.id)
    }
}

/// Ends the entries of subnets whose addresses a subnet that was read has now. Two subnets of a VPC never overlap
/// (<https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html>), so the other one is deleted, although no reading
/// covers its owner. Returns a line for each.
pub(super) fn end_replaced(subnets: &mut Ids, readings: &Combined<'_>, changes: &mut Changes) -> Vec<String> {
    let mut lines = Vec::new();
    for (id, Holder { id: winner, block, read_at, .. }) in replaced(&holders(subnets, readings)) {
        let (Some(at), Some(entries)) = (read_at, subnets.get_mut(&id)) else { continue };
        let Some(number) = entries.iter().position(|entry| is_open(entry, at)) else { continue };
        if !entries[number].end(at) {
            entries.remove(number);
        }
        changes.gone += 1;
        lines.push(format!(
            "subnet {id:?} ends at {}: subnet {winner:?} of the same VPC has {block} now",
            timestamp::iso(at).unwrap_or_else(|| at.to_string())
        ));
    }
    subnets.retain(|_, entries| !entries.is_empty());
    lines
}

/// Adds the blocks that were read to entries that a person wrote without any, unless other subnets have them at some time.
pub(super) fn complete(subnets: &mut Ids, readings: &Combined<'_>) {
    let is_incomplete =
        |entry: &Entry, at: i64| entry.source.is_none() && entry.cidrs.is_empty() && entry.contains(at);
    let incomplete: Vec<(String, usize)> = subnets
        .iter()
        .filter_map(|(id, entries)| {
            let at = readings.read_at(id)?;
            Some((id.clone(), entries.iter().position(|entry| is_incomplete(entry, at))?))
        })
        .collect();
    for (id, number) in incomplete {
        let entries = &subnets[&id];
        let (cidrs, vpc) = (readings.cidrs(&id), vpc_of(entries));
        let is_taken = subnets.iter().filter(|(other, entries)| **other != id && vpc_of(entries) == vpc);
        let is_taken = is_taken.flat_map(|(_, entries)| entries).any(|other| {
            let overlaps = other.overlaps(&entries[number]);
            overlaps && blocks(other).any(|block| cidrs.iter().any(|cidr| parse_cidr(cidr) == Ok(block)))
        });
        if !is_taken && let Some(entries) = subnets.get_mut(&id) {
            entries[number].cidrs = cidrs.to_vec();
        }
    }
}

/// Returns the blocks that subnets have now. Blocks of one VPC are together, each after those around it.
fn holders(subnets: &Ids, readings: &Combined<'_>) -> Vec<Holder> {
    let mut holders = Vec::new();
    for (id, entries) in subnets {
        let read_at = readings.read_at(id);
        let Some(last) = entries.iter().rfind(|entry| is_open(entry, read_at.unwrap_or(i64::MAX))) else {
            continue;
        };
        let vpc = vpc_of(entries);
        let (from, is_read_entry) = (last.from, last.source.is_some());
        holders.extend(blocks(last).map(|block| {
            let (vpc, id) = (vpc.cloned(), id.clone());
            Holder { vpc, block, id, read_at, from, is_read_entry }
        }));
    }
    holders.sort_by(|one, other| {
        let key = |holder: &Holder| (holder.block.network(), holder.block.prefix_len());
        one.vpc.cmp(&other.vpc).then_with(|| key(one).cmp(&key(other)))
    });
    holders
}

/// Returns the subnets that others have replaced, each with the subnet that exists.
fn replaced(holders: &[Holder]) -> BTreeMap<String, Holder> {
    let mut replaced: BTreeMap<String, Holder> = BTreeMap::new();
    let mut around: Vec<&Holder> = Vec::new();
    for holder in holders {
        while around.pop_if(|outer| outer.vpc != holder.vpc || !outer.block.contains(&holder.block)).is_some()
        {
        }
        for outer in around.iter().filter(|outer| outer.id != holder.id) {
            let (loser, winner) =
                if holder.rank() < outer.rank() { (holder, *outer) } else { (*outer, holder) };
            // Without a VPC, subnets may be of different ones. A person may name a part of a subnet.
            let can_overlap = holder.block != outer.block && (holder.vpc.is_none() || !loser.is_read_entry);
            if winner.read_at.is_none() || can_overlap {
                continue;
            }
            let known = replaced.get(&loser.id);
            if known.is_none_or(|known| known.rank() < winner.rank()) {
                replaced.insert(loser.id.clone(), winner.clone());
            }
        }
        around.push(holder);
    }
    replaced
}

fn is_open(entry: &Entry, at: i64) -> bool {
    entry.until.is_none_or(|until| at < until)
}

fn blocks(entry: &Entry) -> impl Iterator<Item = IpNet> {
    entry.cidrs.iter().filter_map(|cidr| parse_cidr(cidr).ok())
}

fn vpc_of(entries: &[Entry]) -> Option<&String> {
    entries.iter().find_map(|entry| entry.vpc_id.as_ref())
}
