//! Stage 4, second part: the values of `[[enrich]]` for a row.

use std::net::IpAddr;

use super::{address, csv::field, csv_names::CsvNames, metadata, rules::Row};
use crate::{
    config::Config,
    enrichment::{Enrichments, NameColumn, Values},
    lookups::Lookups,
    table::{InputColumn, Table},
};

const CACHED_ADDRESSES: usize = 4096;

/// Finds the values that `[[enrich]]` adds to rows. Each entry has a cache of addresses, because a few of them have most of the
/// traffic.
#[derive(Debug)]
pub(super) struct TableEnricher<'a> {
    config: &'a Config,
    enrichments: &'a Enrichments,
    lookups: &'a Lookups,
    names: &'a CsvNames,
    caches: Vec<AddressCache>,
    /// The values of the current row.
    text: Vec<u8>,
}

/// The values of addresses that were looked up last. Empty until the first one.
#[derive(Debug, Default)]
struct AddressCache {
    slots: Vec<Slot>,
}

#[derive(Clone, Debug, Default)]
struct Slot {
    address: Option<IpAddr>,
    values: Vec<u8>,
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
        Self { config, enrichments, lookups, names, caches, text: Vec::new() }
    }

    /// Returns the CSV fields of the table's last columns, each with a comma before it, and whether one of them is a name of
    /// another time.
    pub(super) fn fields(&mut self, row: &Row<'_>) -> (&[u8], bool) {
        self.text.clear();
        let mut has_guess = false;
        let table: &Table = &self.config.tables[row.writing.table];
        for added in &table.enrichments {
            self.text.push(b',');
            let number = added.enrichment;
            has_guess |= match added.input {
                InputColumn::Format(at) => self.add(number, row.value(at).as_deref(), row.timestamp),
                InputColumn::Metadata(at) => {
                    let value = metadata::value(at, table, row);
                    self.add(number, value.as_deref(), row.timestamp)
                }
            };
        }
        (&self.text, has_guess)
    }

    /// Appends the values of an entry for the value of a column. Returns whether one of them is a name of another time.
    fn add(&mut self, number: usize, value: Option<&[u8]>, time: Option<i64>) -> bool {
        let out = &mut self.text;
        let value = value.filter(|value| *value != field::ABSENT);
        // White space around an address is not part of it.
        let address = || value.and_then(|value| address::parse(value.trim_ascii())).map(address::canonical);
        match self.enrichments.get(number) {
            Values::Keyed(table) if !table.has_addresses() => {
                out.extend_from_slice(value.map_or(table.absent(), |value| table.of_text(value)));
            }
            Values::Keyed(table) => match address() {
                None => out.extend_from_slice(table.absent()),
                Some(address) => {
                    let find = |values: &mut Vec<u8>| values.extend_from_slice(table.of_address(address));
                    out.extend_from_slice(self.caches[number].get(address, find));
                }
            },
            Values::MaxMind(database) => match address() {
                None => out.extend_from_slice(database.absent()),
                Some(address) => {
                    let find = |values: &mut Vec<u8>| database.write(address, values);
                    out.extend_from_slice(self.caches[number].get(address, find));
                }
            },
            Values::Names(columns) => match address() {
                None => absent(columns.len(), out),
                Some(address) => return add_names((self.lookups, self.names), columns, address, time, out),
            },
        }
        false
    }
}

impl AddressCache {
    /// Returns the values of an address. `find` appends them if the cache does not have them.
    fn get(&mut self, address: IpAddr, find: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        if self.slots.is_empty() {
            self.slots = vec![Slot::default(); CACHED_ADDRESSES];
        }
        let slot = &mut self.slots[address::slot(address, 0, CACHED_ADDRESSES)];
        if slot.address != Some(address) {
            slot.address = Some(address);
            slot.values.clear();
            find(&mut slot.values);
        }
        &slot.values
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
