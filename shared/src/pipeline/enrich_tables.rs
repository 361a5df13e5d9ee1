//! Stage 4, second part: the values of `[[enrich]]` for a row.

use std::{borrow::Cow, net::IpAddr};

use super::{address, csv::field, csv_names::CsvNames, metadata, rules::Row};
use crate::{
    config::Config,
    enrichment::{Enrichments, NameColumn, RecordCache, Values},
    lookups::Lookups,
    table::{InputColumn, Table},
};

const CACHED_ADDRESSES: usize = 4096;
/// Bytes of values that a slot holds itself. With them, a slot has the size of a cache line.
const SHORT_VALUES: usize = 30;

/// Finds the values that `[[enrich]]` adds to rows. Each entry has a cache of addresses, because a few of them have most of the
/// traffic.
#[derive(Debug)]
pub(super) struct TableEnricher<'a> {
    config: &'a Config,
    enrichments: &'a Enrichments,
    lookups: &'a Lookups,
    names: &'a CsvNames,
    caches: Vec<AddressCache>,
    /// Of the entries with a database.
    records: Vec<RecordCache>,
    /// By table: the columns of a flow log's source and destination address.
    flow_columns: Vec<[Option<InputColumn>; 2]>,
    /// The columns of the current row that were parsed as addresses. Entries often look up the same ones.
    parsed: Vec<(InputColumn, Option<IpAddr>)>,
    /// The values of the current row.
    text: Vec<u8>,
}

/// The values of addresses that were looked up last. Empty until the first one.
#[derive(Debug, Default)]
struct AddressCache {
    slots: Vec<Slot>,
    /// The values that are being looked up.
    found: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    address: Option<IpAddr>,
    short_bytes: u8,
    short: [u8; SHORT_VALUES],
    /// Longer values; otherwise empty.
    long: Box<[u8]>,
}

impl Slot {
    fn set(&mut self, address: IpAddr, values: &[u8]) {
        self.address = Some(address);
        if let Some(short) = self.short.get_mut(..values.len()) {
            short.copy_from_slice(values);
            self.short_bytes = values.len() as u8;
            self.long = Box::default();
        } else {
            self.long = values.into();
        }
    }

    fn values(&self) -> &[u8] {
        if self.long.is_empty() { &self.short[..usize::from(self.short_bytes)] } else { &self.long }
    }
}

impl<'a> TableEnricher<'a> {
    /// Creates it for one object. `names` must come from `lookups`.
    pub(super) fn new(
        config: &'a Config,
        enrichments: &'a Enrichments,
        lookups: &'a Lookups,
        names: &'a CsvNames,
    ) -> Self {
        let caches = config.enrichments.iter().map(|_| AddressCache::default()).collect();
        let column = |table: &Table, name: &str| {
            table.format().iter().position(|column| column.name == name).map(InputColumn::Format)
        };
        let flow_columns =
            config.tables.iter().map(|table| ["srcaddr", "dstaddr"].map(|name| column(table, name)));
        let flow_columns = flow_columns.collect();
        let records = config.enrichments.iter().map(|_| RecordCache::default()).collect();
        let (parsed, text) = (Vec::new(), Vec::new());
        Self { config, enrichments, lookups, names, caches, records, flow_columns, parsed, text }
    }

    /// Returns the CSV fields of the table's last columns, each with a comma before it, and whether one of them is a name of
    /// another time.
    pub(super) fn fields(&mut self, row: &Row<'_>) -> (&[u8], bool) {
        self.text.clear();
        self.parsed.clear();
        if let Some(flow) = row.flow {
            for (column, address) in
                self.flow_columns[row.writing.table].iter().zip([flow.srcaddr, flow.dstaddr])
            {
                if let (Some(column), Some(address)) = (*column, address) {
                    self.parsed.push((column, Some(address::canonical(address))));
                }
            }
        }
        let mut has_guess = false;
        let table: &Table = &self.config.tables[row.writing.table];
        for added in &table.enrichments {
            self.text.push(b',');
            has_guess |= self.add(added.enrichment, added.input, table, row);
        }
        (&self.text, has_guess)
    }

    /// Appends the values of an entry for a column. Returns whether one of them is a name of another time.
    fn add(&mut self, number: usize, input: InputColumn, table: &Table, row: &Row<'_>) -> bool {
        let address = match self.enrichments.get(number) {
            Values::Keyed(keyed) if !keyed.has_addresses() => {
                let found = value(input, table, row);
                let found = found.as_deref().map_or(keyed.absent(), |value| keyed.of_text(value));
                self.text.extend_from_slice(found);
                return false;
            }
            _ => self.address(input, table, row),
        };
        let out = &mut self.text;
        match (self.enrichments.get(number), address) {
            (Values::Keyed(keyed), None) => out.extend_from_slice(keyed.absent()),
            (Values::Keyed(keyed), Some(address)) => {
                let find = |values: &mut Vec<u8>| values.extend_from_slice(keyed.of_address(address));
                out.extend_from_slice(self.caches[number].get(address, find));
            }
            (Values::MaxMind(database), None) => out.extend_from_slice(database.absent()),
            (Values::MaxMind(database), Some(address)) => {
                let records = &mut self.records[number];
                let find = |values: &mut Vec<u8>| database.write(address, records, values);
                out.extend_from_slice(self.caches[number].get(address, find));
            }
            (Values::Names(columns), None) => absent(columns.len(), out),
            (Values::Names(columns), Some(address)) => {
                return add_names((self.lookups, self.names), columns, address, row.timestamp, out);
            }
        }
        false
    }

    /// Returns the address in a column.
    fn address(&mut self, input: InputColumn, table: &Table, row: &Row<'_>) -> Option<IpAddr> {
        if let Some((_, address)) = self.parsed.iter().find(|(parsed, _)| *parsed == input) {
            return *address;
        }
        let value = value(input, table, row);
        // White space around an address is not part of it.
        let address = value.and_then(|value| address::parse(value.trim_ascii())).map(address::canonical);
        self.parsed.push((input, address));
        address
    }
}

/// Returns the value of a column, unless it is absent.
fn value<'r>(input: InputColumn, table: &'r Table, row: &'r Row<'_>) -> Option<Cow<'r, [u8]>> {
    let value = match input {
        InputColumn::Format(at) => row.value(at),
        InputColumn::Metadata(at) => metadata::value(at, table, row),
    };
    value.filter(|value| **value != *field::ABSENT)
}

impl AddressCache {
    /// Returns the values of an address. `find` appends them if the cache does not have them.
    fn get(&mut self, address: IpAddr, find: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        let Self { slots, found } = self;
        if slots.is_empty() {
            *slots = vec![Slot::default(); CACHED_ADDRESSES];
        }
        let slot = &mut slots[address::slot(address, 0, CACHED_ADDRESSES)];
        if slot.address != Some(address) {
            found.clear();
            find(found);
            slot.set(address, found);
        }
        slot.values()
    }
}

/// Appends names of an address that exactly one VPC contains. Returns whether one of them is of another time.
fn add_names(
    (lookups, names): (&Lookups, &CsvNames),
    columns: &[NameColumn],
    address: IpAddr,
    time: Option<i64>,
    out: &mut Vec<u8>,
) -> bool {
    let mut has_guess = false;
    for (at, column) in columns.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let (name, is_guess) = match column {
            NameColumn::Subnet => lookups.address_at(None, address, time),
            NameColumn::Vpc => lookups.vpc_of_address_at(address, time),
        };
        has_guess |= is_guess;
        out.extend_from_slice(names.get(lookups, name));
    }
    has_guess
}

fn absent(columns: usize, out: &mut Vec<u8>) {
    for at in 0..columns {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(field::ABSENT);
    }
}
