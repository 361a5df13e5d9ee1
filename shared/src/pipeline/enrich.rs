//! Stage 4: names for the ids and addresses of a flow-log row.

use std::net::IpAddr;

use super::{
    address,
    csv::field,
    csv_names::CsvNames,
    enrich_tables::TableEnricher,
    rules::{FlowValues, Row},
};
use crate::names::{Interface, NameId, NameIndex, NameRef, Vpc};

const CACHED_ADDRESSES: usize = 4096;
/// The three columns of a row's own names, all absent.
const NO_OWN_NAMES: &[u8] = b"-,-,-";

/// A row's values for [`crate::table::ENRICHED_COLUMNS`], as CSV.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// Names of the interface, its subnet and its VPC, separated by commas.
    pub own: &'a [u8],
    /// Name of the source address's subnet.
    pub source: &'a [u8],
    /// Name of the destination address's subnet.
    pub destination: &'a [u8],
    /// Whether one of the names is that of another time, because no name is known for the row's own.
    pub has_guess: bool,
    /// The fields of the columns that `[[enrich]]` adds, each with a comma before it.
    pub tables: &'a [u8],
}

/// Names of a row. Some may still depend on its timestamp.
#[derive(Clone, Copy, Debug)]
struct NameRefs {
    /// Interface, subnet and VPC.
    own: [NameRef; 3],
    source: NameRef,
    destination: NameRef,
    vpc: Option<Vpc>,
}

/// Finds the names of rows. Caches the last interface, because an envelope has one, and many addresses, because a few of
/// them have most of the traffic.
#[derive(Debug)]
pub struct Enricher<'a> {
    names: &'a NameIndex,
    csv: &'a CsvNames,
    last_interface: (Vec<u8>, Interface),
    last_own: OwnNames,
    addresses: Vec<Option<(CacheKey, NameRef)>>,
    /// `None` without `[[enrich]]`.
    tables: Option<TableEnricher<'a>>,
}

/// Names of the interface, subnet and VPC of a row.
#[derive(Debug)]
struct OwnNames {
    names: [NameRef; 3],
    /// The same as CSV.
    text: Vec<u8>,
    /// When the last of them begins to be known. Before that, one of them is a guess.
    begin: Option<i64>,
}

/// Number of the record's VPC, and an address.
type CacheKey = (Option<u32>, IpAddr);

impl<'a> Enricher<'a> {
    /// Creates an enricher. `csv` must come from `names`.
    pub(super) fn new(names: &'a NameIndex, csv: &'a CsvNames, tables: Option<TableEnricher<'a>>) -> Self {
        Self {
            names,
            csv,
            last_interface: (Vec::new(), Interface::default()),
            last_own: OwnNames { names: [NameRef::NONE; 3], text: NO_OWN_NAMES.to_vec(), begin: None },
            addresses: vec![None; CACHED_ADDRESSES],
            tables,
        }
    }

    /// Returns the row's names as of its timestamp, and the values of `[[enrich]]`.
    pub fn names(&mut self, row: &Row<'_>) -> Names<'_> {
        let Some(flow) = row.flow else {
            let [source, destination] = [field::ABSENT; 2];
            let (tables, has_guess) =
                self.tables.as_mut().map_or((&[][..], false), |tables| tables.fields(row));
            return Names { own: NO_OWN_NAMES, source, destination, has_guess, tables };
        };
        let mut found = self.find(row.message(), flow);
        let [first, second, third] = found.own;
        // Few names depend on the time.
        let is_timed = NameRef::any_is_timed([first, second, third, found.source, found.destination]);
        let mut has_guess = is_timed && self.resolve_at(&mut found, flow, row.timestamp);
        if self.last_own.names != found.own {
            let ids = found.own.map(NameRef::id);
            self.last_own.names = found.own;
            self.last_own.text = ids.map(|name| self.csv.get(self.names, name)).join(&b',');
            self.last_own.begin = ids.into_iter().filter_map(|name| self.named_begin(name)).max();
        }
        if !is_timed && row.timestamp < self.names.last_begin() {
            has_guess = row.timestamp < self.last_own.begin
                || row.timestamp < self.named_begin(found.source.id())
                || row.timestamp < self.named_begin(found.destination.id());
        }
        let (tables, has_guess_in_tables) =
            self.tables.as_mut().map_or((&[][..], false), |tables| tables.fields(row));
        Names {
            own: &self.last_own.text,
            source: self.csv.get(self.names, found.source.id()),
            destination: self.csv.get(self.names, found.destination.id()),
            has_guess: has_guess || has_guess_in_tables,
            tables,
        }
    }

    fn find(&mut self, line: &[u8], flow: &FlowValues) -> NameRefs {
        let id = |cell: Option<(u32, u32)>| cell.map(|(start, end)| &line[start as usize..end as usize]);
        let interface = id(flow.interface_id).map(|id| self.interface(id)).unwrap_or_default();
        // The record's own ids win over the interface's. A subnet belongs to one VPC.
        let own_subnet = id(flow.subnet_id).map(|id| self.names.subnet(id));
        let subnet = own_subnet.unwrap_or(interface.subnet);
        let vpc = if let Some(id) = id(flow.vpc_id) {
            self.names.vpc(id)
        } else {
            let of_own_subnet = own_subnet.flatten().and_then(|subnet| subnet.vpc);
            of_own_subnet.or(interface.vpc).or(subnet.and_then(|subnet| subnet.vpc))
        };
        let own = [
            interface.description,
            subnet.map_or(NameRef::NONE, |subnet| subnet.name),
            vpc.map_or(NameRef::NONE, |vpc| vpc.name),
        ];
        let (source, destination) = (self.address(vpc, flow.srcaddr), self.address(vpc, flow.dstaddr));
        NameRefs { own, source, destination, vpc }
    }

    /// Returns when a name begins to be known. A missing name is no guess.
    fn named_begin(&self, name: NameId) -> Option<i64> {
        self.names.begin(name).filter(|_| self.names.has_text(name))
    }

    /// Replaces each name that depends on the time by the one at `time`. Returns whether any of the names is a guess.
    #[cold]
    fn resolve_at(&self, found: &mut NameRefs, flow: &FlowValues, time: Option<i64>) -> bool {
        let mut has_guess = false;
        let mut at_time = |(name, is_guess): (NameId, bool)| {
            has_guess |= is_guess;
            NameRef::always(name)
        };
        found.own = found.own.map(|name| at_time(self.names.name_at(name, time)));
        for (name, address) in [(&mut found.source, flow.srcaddr), (&mut found.destination, flow.dstaddr)] {
            *name = match address.filter(|_| name.is_timed()) {
                Some(address) => at_time(self.names.address_at(found.vpc, address, time)),
                None => at_time(self.names.name_at(*name, time)),
            };
        }
        has_guess
    }

    fn interface(&mut self, id: &[u8]) -> Interface {
        if self.last_interface.0 != id {
            self.last_interface.0.clear();
            self.last_interface.0.extend_from_slice(id);
            self.last_interface.1 = self.names.interface(id).unwrap_or_default();
        }
        self.last_interface.1
    }

    fn address(&mut self, vpc: Option<Vpc>, address: Option<IpAddr>) -> NameRef {
        let Some(address) = address else { return NameRef::NONE };
        let key = (vpc.map(|vpc| vpc.number), address);
        let slot = address::slot(address, key.0.unwrap_or(u32::MAX), CACHED_ADDRESSES);
        if let Some((cached, name)) = self.addresses[slot]
            && cached == key
        {
            return name;
        }
        let name = self.names.address(vpc, address);
        self.addresses[slot] = Some((key, name));
        name
    }
}
