//! Stage 4, second part: the values of `[[enrich]]` for a row.

#[cfg(test)]
mod tests;

use std::{borrow::Cow, net::IpAddr};

use super::{
    address, address_values::AddressValues, csv::field, csv_names::CsvNames, metadata, row_values::RowValues,
    rules::Row, value_caches::ValueCaches,
};
use crate::{
    config::Config,
    enrichment::{Enrichments, NameColumn, RecordCache, Values},
    names::NameIndex,
    table::{InputColumn, Table},
};

/// Finds the values that `[[enrich]]` adds to rows.
#[derive(Debug)]
pub(super) struct TableEnricher<'a> {
    config: &'a Config,
    enrichments: &'a Enrichments,
    names: &'a NameIndex,
    csv_names: &'a CsvNames,
    /// By table.
    plans: Vec<Plan>,
    caches: ValueCaches,
    /// Of the entries with a database.
    records: Vec<RecordCache>,
    /// The addresses of the current row, by the inputs of its table.
    addresses: Vec<Option<IpAddr>>,
    /// The number of the values of each of them.
    numbers: Vec<Option<u32>>,
    /// The values of the current row.
    text: Vec<u8>,
}

/// How the last columns of a table are filled.
#[derive(Debug, Default)]
struct Plan {
    /// The columns with addresses.
    inputs: Vec<Input>,
    added: Vec<Added>,
    /// Whether all values come from caches, those of at most two inputs.
    has_cached_rows: bool,
}

/// A column whose addresses are looked up.
#[derive(Debug)]
struct Input {
    column: InputColumn,
    /// Whether it is the source, 0, or destination, 1, of a flow log, whose address is parsed already.
    of_flow: Option<usize>,
    /// The cache of the entries that look it up, if any of them has a file.
    cache: Option<usize>,
}

/// Where the values of an entry for a column come from.
#[derive(Clone, Copy, Debug)]
enum Added {
    /// From the values of an input, at this position.
    Cached { input: usize, position: usize },
    /// From names, which depend on the time of the row.
    Names { entry: usize, input: usize },
    /// From a table whose keys are texts.
    Text { entry: usize, column: InputColumn },
}

impl<'a> TableEnricher<'a> {
    /// Creates it for one object. `csv_names` must come from `names`.
    pub(super) fn new(
        config: &'a Config,
        enrichments: &'a Enrichments,
        names: &'a NameIndex,
        csv_names: &'a CsvNames,
    ) -> Self {
        let mut caches = ValueCaches::default();
        let plan = |table| Plan::new(table, enrichments, &mut caches.addresses);
        let plans: Vec<Plan> = config.tables.iter().map(plan).collect();
        caches.rows = plans.iter().map(|plan| plan.has_cached_rows.then(RowValues::default)).collect();
        let records = config.enrichments.iter().map(|_| RecordCache::default()).collect();
        let (addresses, numbers, text) = (Vec::new(), Vec::new(), Vec::new());
        Self { config, enrichments, names, csv_names, plans, caches, records, addresses, numbers, text }
    }

    /// Returns the CSV fields of the table's last columns, each with a comma before it, and whether one of them is a name of
    /// another time.
    pub(super) fn fields(&mut self, row: &Row<'_>) -> (&[u8], bool) {
        let Self { plans, caches, records, addresses, numbers, text, .. } = self;
        let table: &Table = &self.config.tables[row.writing.table];
        caches.trim();
        let ValueCaches { addresses: caches, rows, bytes: cached_bytes } = caches;
        let plan = &plans[row.writing.table];
        addresses.clear();
        numbers.clear();
        for input in &plan.inputs {
            let address = input.address(table, row);
            addresses.push(address);
            numbers.push(address.zip(input.cache).map(|(address, cache)| {
                caches[cache].number(address, cached_bytes, |entries, found| {
                    for entry in entries {
                        let values = self.enrichments.get(*entry);
                        found.add(|text| write_values(values, address, &mut records[*entry], text));
                    }
                })
            }));
        }
        let Plan { inputs, added, .. } = plan;
        let append_cached = |input: usize, position: usize, text: &mut Vec<u8>| {
            let Some(cache) = inputs[input].cache.map(|cache| &caches[cache]) else { return };
            if let Some(number) = numbers[input] {
                cache.append(number, position, text);
            } else {
                text.push(b',');
                text.extend_from_slice(self.enrichments.get(cache.entries[position]).absent());
            }
        };
        if let Some(rows) = &mut rows[row.writing.table] {
            let of_input = |at: usize| numbers.get(at).copied().flatten();
            let found = rows.get([of_input(0), of_input(1)], cached_bytes, |text| {
                for added in added {
                    if let Added::Cached { input, position } = *added {
                        append_cached(input, position, text);
                    }
                }
            });
            return (found, false);
        }
        text.clear();
        let mut has_guess = false;
        for added in added {
            match *added {
                Added::Cached { input, position } => append_cached(input, position, text),
                Added::Names { entry, input } => {
                    text.push(b',');
                    let Values::Names(columns) = self.enrichments.get(entry) else { continue };
                    match addresses[input] {
                        None => absent(columns.len(), text),
                        Some(address) => {
                            let names = (self.names, self.csv_names);
                            has_guess |= add_names(names, columns, address, row.timestamp, text);
                        }
                    }
                }
                Added::Text { entry, column } => {
                    text.push(b',');
                    let Values::Keyed(keyed) = self.enrichments.get(entry) else { continue };
                    let found = value(column, table, row);
                    let found = found.as_deref().map_or(keyed.absent(), |value| keyed.of_text(value));
                    text.extend_from_slice(found);
                }
            }
        }
        (text, has_guess)
    }
}

impl Plan {
    /// Adds the caches that the table needs to those of other tables.
    fn new(table: &Table, enrichments: &Enrichments, caches: &mut Vec<AddressValues>) -> Self {
        let flow_columns = ["srcaddr", "dstaddr"].map(|name| {
            table.format().iter().position(|column| column.name == name).map(InputColumn::Format)
        });
        let mut plan = Self::default();
        // By input: the entries whose values are cached.
        let mut entries_of: Vec<Vec<usize>> = Vec::new();
        for added in &table.enrichments {
            let (entry, column) = (added.enrichment, added.input);
            let values = enrichments.get(entry);
            if matches!(values, Values::Keyed(keyed) if !keyed.has_addresses()) {
                plan.added.push(Added::Text { entry, column });
                continue;
            }
            let known = plan.inputs.iter().position(|input| input.column == column);
            let input = known.unwrap_or_else(|| {
                let of_flow = flow_columns.iter().position(|of_flow| *of_flow == Some(column));
                plan.inputs.push(Input { column, of_flow, cache: None });
                entries_of.push(Vec::new());
                plan.inputs.len() - 1
            });
            if matches!(values, Values::Names(_)) {
                plan.added.push(Added::Names { entry, input });
            } else {
                plan.added.push(Added::Cached { input, position: entries_of[input].len() });
                entries_of[input].push(entry);
            }
        }
        for (input, entries) in plan.inputs.iter_mut().zip(entries_of) {
            if entries.is_empty() {
                continue;
            }
            let known = caches.iter().position(|cache| cache.entries == entries);
            input.cache = Some(known.unwrap_or_else(|| {
                caches.push(AddressValues::new(entries));
                caches.len() - 1
            }));
        }
        let are_cached = plan.added.iter().all(|added| matches!(added, Added::Cached { .. }));
        plan.has_cached_rows = are_cached && plan.inputs.len() <= 2;
        plan
    }
}

impl Input {
    /// Returns the address in the column.
    fn address(&self, table: &Table, row: &Row<'_>) -> Option<IpAddr> {
        let of_flow = self.of_flow.zip(row.flow).and_then(|(at, flow)| [flow.srcaddr, flow.dstaddr][at]);
        if let Some(address) = of_flow {
            return Some(address::canonical(address));
        }
        let value = value(self.column, table, row)?;
        // White space around an address is not part of it.
        address::parse(value.trim_ascii()).map(address::canonical)
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

/// Appends the values of an entry for an address.
fn write_values(values: &Values, address: IpAddr, records: &mut RecordCache, out: &mut Vec<u8>) {
    match values {
        Values::Keyed(keyed) => out.extend_from_slice(keyed.of_address(address)),
        Values::MaxMind(database) => database.write(address, records, out),
        // Not cached.
        Values::Names(_) => {}
    }
}

/// Appends names of an address that exactly one VPC contains. Returns whether one of them is of another time.
fn add_names(
    (names, csv_names): (&NameIndex, &CsvNames),
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
            NameColumn::Subnet => names.address_at(None, address, time),
            NameColumn::Vpc => names.vpc_of_address_at(address, time),
        };
        has_guess |= is_guess;
        out.extend_from_slice(csv_names.get(names, name));
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
