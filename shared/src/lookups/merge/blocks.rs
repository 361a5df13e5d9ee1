//! Blocks of subnets that other subnets take over.

use std::collections::BTreeMap;

use ipnet::IpNet;

use super::{Changes, Ids, combine::Combined, entry::Entry};
use crate::{lookups::parse_cidr, timestamp};

/// A block in its VPC.
type Place = (Option<String>, IpNet);

/// A subnet that has a block.
struct Holder {
    id: String,
    /// When it was read; `None` if it was not.
    read_at: Option<i64>,
    from: Option<i64>,
}

/// Ends the entries of subnets whose block a subnet that was read has now. Two subnets of a VPC never overlap
/// (<https://docs.aws.amazon.com/vpc/latest/userguide/subnet-sizing.html>), so the other one is deleted, although no reading
/// covers its owner. Returns a line for each.
pub(super) fn end_replaced(subnets: &mut Ids, readings: &Combined<'_>, changes: &mut Changes) -> Vec<String> {
    let mut lines = Vec::new();
    for ((_, block), mut holders) in holders(subnets, readings) {
        // Of two that were read, one was deleted and the other created during the reading: the newer one exists.
        holders.sort_by(|one, other| {
            let rank = |holder: &Holder| (holder.read_at.is_some(), holder.from);
            rank(one).cmp(&rank(other)).then_with(|| one.id.cmp(&other.id))
        });
        let Some(Holder { id: winner, read_at: Some(at), .. }) = holders.pop() else { continue };
        for Holder { id, .. } in holders {
            let Some(entries) = subnets.get_mut(&id) else { continue };
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

/// Returns the blocks that several subnets have now, and these subnets.
fn holders(subnets: &Ids, readings: &Combined<'_>) -> BTreeMap<Place, Vec<Holder>> {
    let mut holders: BTreeMap<Place, Vec<Holder>> = BTreeMap::new();
    for (id, entries) in subnets {
        let read_at = readings.read_at(id);
        let Some(last) = entries.iter().rfind(|entry| is_open(entry, read_at.unwrap_or(i64::MAX))) else {
            continue;
        };
        for block in blocks(last) {
            let holder = Holder { id: id.clone(), read_at, from: last.from };
            holders.entry((vpc_of(entries).cloned(), block)).or_default().push(holder);
        }
    }
    holders.retain(|_, holders| holders.len() > 1);
    holders
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
