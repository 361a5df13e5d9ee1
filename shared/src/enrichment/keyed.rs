//! Records that are found by an address or by a text.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    fragments,
    problems::FileProblems,
    settings::{EnrichmentColumn, Matching},
};
use crate::{
    interner::{Interner, Texts},
    limits::{MAX_ENRICHMENT_ROWS, MAX_ENRICHMENT_VALUE_BYTES, MAX_ENRICHMENTS_BYTES},
    names::{AddressRanges, parse_cidr},
    pipeline::address::canonical,
    table::ColumnType,
    text::quoted,
};

/// The records of a file by their keys.
#[derive(Debug)]
pub(crate) struct KeyedTable {
    keys: Keys,
    fragments: Texts,
    /// For a value that the file does not have.
    missing: Vec<u8>,
    /// For a row without a value.
    absent: Vec<u8>,
}

#[derive(Debug)]
enum Keys {
    Addresses(AddressRanges),
    /// The values, and by their numbers those of the fragments.
    Values(Interner, Vec<u32>),
}

impl KeyedTable {
    /// Returns whether the keys are addresses.
    pub(crate) fn has_addresses(&self) -> bool {
        matches!(self.keys, Keys::Addresses(_))
    }

    /// Returns the values for an address.
    pub(crate) fn of_address(&self, address: IpAddr) -> &[u8] {
        let Keys::Addresses(ranges) = &self.keys else { return &self.absent };
        ranges.find(address).map_or(&self.missing, |id| self.fragments.get(id))
    }

    /// Returns the values for a text.
    pub(crate) fn of_text(&self, text: &[u8]) -> &[u8] {
        let Keys::Values(values, fragments) = &self.keys else { return &self.absent };
        values.find(text).map_or(&self.missing, |number| self.fragments.get(fragments[number as usize]))
    }

    /// Returns the values of a row that has nothing to look up.
    pub(crate) fn absent(&self) -> &[u8] {
        &self.absent
    }
}

/// Collects the records of a file.
#[derive(Debug)]
pub(super) struct KeyedTableBuilder<'a> {
    /// Name of the keys in errors.
    key: &'a str,
    matching: Matching,
    kinds: Vec<ColumnType>,
    guard_formulas: bool,
    rows: usize,
    /// Each with its line and the number of its fragment.
    addresses: Vec<(IpNet, u32, u32)>,
    values: Interner,
    /// By the number of a value: its line and the number of its fragment.
    first_lines: Vec<(u32, u32)>,
    fragments: Interner,
    fragment: Vec<u8>,
}

impl<'a> KeyedTableBuilder<'a> {
    pub(super) fn new(
        key: &'a str,
        matching: Matching,
        columns: &[EnrichmentColumn],
        guard_formulas: bool,
    ) -> Self {
        Self {
            key,
            matching,
            kinds: columns.iter().map(|column| column.kind).collect(),
            guard_formulas,
            rows: 0,
            addresses: Vec::new(),
            values: Interner::default(),
            first_lines: Vec::new(),
            fragments: Interner::default(),
            fragment: Vec::new(),
        }
    }

    /// Adds the record of a line. `cells` are the names and values of its columns. Returns false once the file has too many
    /// records.
    pub(super) fn add<'c>(
        &mut self,
        line: u64,
        key: &str,
        cells: impl Iterator<Item = (&'c str, &'c str)>,
        problems: &mut FileProblems<'_>,
    ) -> bool {
        self.rows += 1;
        if self.rows > MAX_ENRICHMENT_ROWS {
            problems.add("rows", || {
                format!("has more than {MAX_ENRICHMENT_ROWS} rows; keep only rows that appear in the logs")
            });
            return false;
        }
        self.fragment.clear();
        for ((name, cell), kind) in cells.zip(&self.kinds) {
            let cell = Some(cell).filter(|cell| !matches!(*cell, "" | "-"));
            if let Some(why) = cell.and_then(|cell| cell_problem(cell, *kind)) {
                problems.add("value", || format!("line {line}: {name} {why}"));
            }
            fragments::push(cell, *kind, self.guard_formulas, &mut self.fragment);
        }
        let fragment = self.fragments.add(&self.fragment);
        if self.fragments.texts().bytes() > MAX_ENRICHMENTS_BYTES {
            problems.add("rows", || {
                format!("adds more than {MAX_ENRICHMENTS_BYTES} bytes of values; use fewer columns or rows")
            });
            return false;
        }
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        match self.matching {
            Matching::Value => self.add_value(line, key, fragment, problems),
            Matching::Cidr | Matching::Address => match self.block(key.trim()) {
                Ok(block) => self.addresses.push((block, line, fragment)),
                Err(why) => {
                    problems.add("key", || format!("line {line}: {} {} {why}", self.key, quoted(key)));
                }
            },
        }
        true
    }

    fn add_value(&mut self, line: u32, key: &str, fragment: u32, problems: &mut FileProblems<'_>) {
        if key.is_empty() {
            problems.add("key", || format!("line {line}: {} is empty; remove the line", self.key));
            return;
        }
        let number = self.values.add(key.as_bytes());
        match self.first_lines.get(number as usize) {
            None => self.first_lines.push((line, fragment)),
            Some((_, first)) if *first == fragment => {}
            Some((first_line, _)) => add_clash(self.key, key, *first_line, line, problems),
        }
    }

    /// Parses a key. The error continues a sentence whose subject is the key.
    fn block(&self, key: &str) -> Result<IpNet, String> {
        if self.matching == Matching::Cidr && key.contains('/') {
            return parse_cidr(key).map(without_mapping);
        }
        let address: Option<IpAddr> = key.parse().ok();
        address.map(canonical).map(IpNet::from).ok_or_else(|| match self.matching {
            Matching::Cidr => "is not an address or a CIDR block; an example: \"192.0.2.0/24\"".to_owned(),
            _ if key.contains('/') => "is a CIDR block; use match = \"cidr\"".to_owned(),
            _ => "is not an address; an example: \"192.0.2.7\"".to_owned(),
        })
    }

    /// Returns the table, unless the file has problems. `missing` is for a value that the file does not have.
    pub(super) fn finish(mut self, missing: Vec<u8>, problems: &mut FileProblems<'_>) -> Option<KeyedTable> {
        if self.rows == 0 && problems.is_empty() {
            // Every row would then say that its value is not in the file.
            problems.add("rows", || "has no rows; get the file again, or remove its entry".to_owned());
        }
        // The first line of each block comes first.
        self.addresses.sort_unstable();
        self.addresses.dedup_by(|later, first| {
            if later.0 != first.0 {
                return false;
            }
            if later.2 != first.2 {
                add_clash(self.key, &first.0.to_string(), first.1, later.1, problems);
            }
            true
        });
        if !problems.is_empty() {
            return None;
        }
        let keys = match self.matching {
            Matching::Value => {
                Keys::Values(self.values, self.first_lines.iter().map(|(_, fragment)| *fragment).collect())
            }
            Matching::Cidr | Matching::Address => {
                let blocks = self.addresses.into_iter().map(|(block, _, fragment)| (block, fragment));
                Keys::Addresses(AddressRanges::new(blocks))
            }
        };
        let absent = fragments::absent(self.kinds.len());
        Some(KeyedTable { keys, fragments: self.fragments.into_texts(), missing, absent })
    }
}

fn add_clash(name: &str, key: &str, first: u32, line: u32, problems: &mut FileProblems<'_>) {
    problems.add("clash", || {
        format!(
            "line {line}: {name} {} has other values on line {first}; remove one of the lines",
            quoted(key)
        )
    });
}

/// Returns the IPv4 block of a block of IPv4-mapped addresses, and other blocks unchanged.
fn without_mapping(block: IpNet) -> IpNet {
    const MAPPED_PREFIX: u8 = 96;
    let IpNet::V6(v6) = block else { return block };
    let mapped = v6.addr().to_ipv4_mapped().filter(|_| v6.prefix_len() >= MAPPED_PREFIX);
    let v4 = mapped.and_then(|address| IpNet::new(address.into(), v6.prefix_len() - MAPPED_PREFIX).ok());
    v4.unwrap_or(block)
}

/// Returns why a value cannot be one of its type. The text continues a sentence whose subject is the name of its column.
fn cell_problem(value: &str, kind: ColumnType) -> Option<String> {
    if value.len() > MAX_ENRICHMENT_VALUE_BYTES {
        return Some(format!(
            "has {} bytes: the limit is {MAX_ENRICHMENT_VALUE_BYTES}, because every row repeats it",
            value.len()
        ));
    }
    (!is_of_type(value, kind)).then(|| format!("is {}, not a value of its type; correct it", quoted(value)))
}

/// Returns whether queries can read a value with this type.
pub(super) fn is_of_type(value: &str, kind: ColumnType) -> bool {
    let is_number_text = || value.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    match kind {
        ColumnType::String | ColumnType::Timestamp => true,
        ColumnType::Int => value.parse::<i32>().is_ok(),
        ColumnType::BigInt => value.parse::<i64>().is_ok(),
        ColumnType::Double => is_number_text() && value.parse::<f64>().is_ok_and(f64::is_finite),
        ColumnType::Boolean => matches!(value, "true" | "false"),
        ColumnType::Ip => value.parse::<IpAddr>().is_ok(),
    }
}
