//! Stage 4: names for the ids and addresses of a flow-log row.

use std::net::IpAddr;

use super::{
    csv,
    rules::{FlowValues, Row},
};
use crate::lookups::{Interface, Lookups, NameId, Vpc};

const CACHED_ADDRESSES: usize = 4096;

/// A row's values for [`crate::config::ENRICHED_COLUMNS`], as CSV.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// Of the interface, its subnet and its VPC, with commas between them.
    pub own: &'a [u8],
    /// Of the source address's subnet.
    pub source: &'a [u8],
    /// Of the destination address's subnet.
    pub destination: &'a [u8],
}

/// Looks up names, remembering the last interface and many addresses: an envelope is of one interface, and a few
/// addresses make most of its traffic.
#[derive(Debug)]
pub struct Enricher<'a> {
    lookups: &'a Lookups,
    guard_formulas: bool,
    last_interface: (Vec<u8>, Interface),
    /// Interface, subnet and VPC of the last row, and their names.
    last_own: ([NameId; 3], Vec<u8>),
    addresses: Vec<Option<(CacheKey, NameId)>>,
}

type CacheKey = (Option<u32>, IpAddr);

impl<'a> Enricher<'a> {
    /// Without lookups every name is absent. `guard_formulas` as [`crate::config::Config::guard_formulas`].
    #[must_use]
    pub fn new(lookups: &'a Lookups, guard_formulas: bool) -> Self {
        Self {
            lookups,
            guard_formulas,
            last_interface: (Vec::new(), Interface::default()),
            last_own: ([0; 3], b"-,-,-".to_vec()),
            addresses: vec![None; CACHED_ADDRESSES],
        }
    }

    /// The row's names.
    pub fn names(&mut self, row: &Row<'_>) -> Names<'_> {
        let Some(flow) = row.flow else {
            return Names { own: b"-,-,-", source: csv::ABSENT, destination: csv::ABSENT };
        };
        let (own, source, destination) = self.ids(row.text(), flow);
        if self.last_own.0 != own {
            let (ids, text) = &mut self.last_own;
            *ids = own;
            *text = own.map(|name| self.lookups.csv(name, self.guard_formulas)).join(&b',');
        }
        Names {
            own: &self.last_own.1,
            source: self.lookups.csv(source, self.guard_formulas),
            destination: self.lookups.csv(destination, self.guard_formulas),
        }
    }

    fn ids(&mut self, line: &[u8], flow: &FlowValues) -> ([NameId; 3], NameId, NameId) {
        let id = |cell: Option<(u32, u32)>| cell.map(|(start, end)| &line[start as usize..end as usize]);
        let interface = id(flow.interface_id).map(|id| self.interface(id)).unwrap_or_default();
        // The record's own ids win over the interface's; a subnet is of one VPC.
        let own_subnet = id(flow.subnet_id).map(|id| self.lookups.subnet(id));
        let subnet = own_subnet.unwrap_or(interface.subnet);
        let vpc = if let Some(id) = id(flow.vpc_id) {
            self.lookups.vpc(id)
        } else {
            let of_own_subnet = own_subnet.flatten().and_then(|subnet| subnet.vpc);
            of_own_subnet.or(interface.vpc).or(subnet.and_then(|subnet| subnet.vpc))
        };
        let own =
            [interface.description, subnet.map_or(0, |subnet| subnet.name), vpc.map_or(0, |vpc| vpc.name)];
        (own, self.address(vpc, flow.srcaddr), self.address(vpc, flow.dstaddr))
    }

    fn interface(&mut self, id: &[u8]) -> Interface {
        if self.last_interface.0 != id {
            self.last_interface.0.clear();
            self.last_interface.0.extend_from_slice(id);
            self.last_interface.1 = self.lookups.interface(id).unwrap_or_default();
        }
        self.last_interface.1
    }

    fn address(&mut self, vpc: Option<Vpc>, address: Option<IpAddr>) -> NameId {
        let Some(address) = address else { return 0 };
        let key = (vpc.map(|vpc| vpc.number), address);
        let slot = slot(key);
        if let Some((cached, name)) = self.addresses[slot]
            && cached == key
        {
            return name;
        }
        let name = self.lookups.address(vpc, address);
        self.addresses[slot] = Some((key, name));
        name
    }
}

/// Spreads keys over the cache by the golden ratio (Knuth, The Art of Computer Programming, volume 3, section 6.4).
fn slot((vpc, address): CacheKey) -> usize {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let bits = match address {
        IpAddr::V4(address) => u64::from(u32::from(address)),
        IpAddr::V6(address) => {
            let bits = u128::from(address);
            (bits >> 64) as u64 ^ bits as u64
        }
    };
    let mixed = (bits ^ u64::from(vpc.unwrap_or(u32::MAX)) << 32).wrapping_mul(GOLDEN);
    (mixed >> (64 - CACHED_ADDRESSES.trailing_zeros())) as usize
}
