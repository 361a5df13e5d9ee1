//! A MaxMind DB (<https://maxmind.github.io/MaxMind-DB/>). Its bytes are used as they are.

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use maxminddb::{LookupResult, PathElement, Reader};
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{fragments, keyed::is_of_type, problems::FileProblems, settings::EnrichmentColumn};
use crate::{limits::MAX_ENRICHMENT_VALUE_BYTES, table::ColumnType, text::quoted};

/// Bytes at which a cache of records is emptied.
const MAX_CACHED_BYTES: usize = 1 << 20;
/// Bytes of a record in the cache beside its values.
const BYTES_OF_ENTRY: usize = 40;

type Database = Reader<Arc<[u8]>>;

/// A database, and the values of its records that become columns.
#[derive(Debug)]
pub(crate) struct MaxMind {
    database: Database,
    columns: Vec<Column>,
    guard_formulas: bool,
    absent: Vec<u8>,
}

#[derive(Debug)]
struct Column {
    path: Vec<Step>,
    kind: ColumnType,
}

/// The values of the records that were decoded last, by their offsets in a database. Many addresses have the same record.
#[derive(Debug, Default)]
pub(crate) struct RecordCache {
    values: HashMap<usize, Box<[u8]>, FixedState>,
    bytes: usize,
}

impl RecordCache {
    /// Returns the values of a record. `decode` appends them if the cache does not have them.
    fn get(&mut self, offset: usize, decode: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        if self.bytes >= MAX_CACHED_BYTES && !self.values.contains_key(&offset) {
            *self = Self::default();
        }
        let Self { values, bytes } = self;
        values.entry(offset).or_insert_with(|| {
            let mut decoded = Vec::new();
            decode(&mut decoded);
            *bytes += decoded.len() + BYTES_OF_ENTRY;
            decoded.into()
        })
    }
}

/// A step of a path into a record.
#[derive(Debug)]
enum Step {
    Key(String),
    Index(usize),
}

/// A value of a record that a cell can hold.
struct Scalar(Option<String>);

impl MaxMind {
    /// Checks the whole database, and that a record has a value at each path.
    pub(super) fn load(
        bytes: &Arc<[u8]>,
        columns: &[EnrichmentColumn],
        guard_formulas: bool,
        problems: &mut FileProblems<'_>,
    ) -> Option<Self> {
        let opened = Database::from_source(Arc::clone(bytes));
        let verified = opened.and_then(|database| database.verify().map(|()| database));
        let database = match verified {
            Ok(database) => database,
            Err(error) => {
                problems
                    .add("database", || format!("is not a complete MaxMind DB: {error}; download it again"));
                return None;
            }
        };
        let absent = fragments::absent(columns.len());
        let compiled = columns.iter().map(|column| Column { path: steps(&column.path), kind: column.kind });
        let loaded = Self { database, columns: compiled.collect(), guard_formulas, absent };
        for at in loaded.unused_columns() {
            problems.add("path", || {
                let path = quoted(&columns[at].path);
                format!("columns: no record has a value of its type at {path}; correct the path or the type")
            });
        }
        problems.is_empty().then_some(loaded)
    }

    /// Appends the values for an address. A value that is not of its type is absent, like one that the record does not have.
    pub(crate) fn write(&self, address: IpAddr, records: &mut RecordCache, out: &mut Vec<u8>) {
        // An IPv6 address has no record in a database of IPv4 addresses.
        let found = self.database.lookup(address).ok();
        let Some((record, offset)) = found.and_then(|record| record.offset().map(|offset| (record, offset)))
        else {
            out.extend_from_slice(&self.absent);
            return;
        };
        let values = records.get(offset, |values| self.write_record(&record, values));
        out.extend_from_slice(values);
    }

    fn write_record(&self, record: &LookupResult<'_, Arc<[u8]>>, out: &mut Vec<u8>) {
        for (at, column) in self.columns.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            let value = column.value(record);
            fragments::write(value.as_deref(), column.kind, self.guard_formulas, out);
        }
    }

    /// Returns the values of a row that has no address.
    pub(crate) fn absent(&self) -> &[u8] {
        &self.absent
    }

    /// Returns the columns without a value in any record.
    fn unused_columns(&self) -> Vec<usize> {
        let mut unused: Vec<usize> = (0..self.columns.len()).collect();
        let mut seen = HashSet::new();
        // Ends early: almost every path has a value in one of the first records.
        for record in self.database.networks(maxminddb::WithinOptions::default()).into_iter().flatten() {
            if unused.is_empty() {
                break;
            }
            if let Ok(record) = record
                && record.offset().is_some_and(|offset| seen.insert(offset))
            {
                unused.retain(|at| self.columns[*at].value(&record).is_none());
            }
        }
        unused
    }
}

impl Column {
    /// Returns the value of a record, if it is of the column's type and not too long.
    fn value(&self, record: &LookupResult<'_, Arc<[u8]>>) -> Option<String> {
        let path: Vec<PathElement<'_>> = self
            .path
            .iter()
            .map(|step| match step {
                Step::Key(key) => PathElement::Key(key),
                Step::Index(index) => PathElement::Index(*index),
            })
            .collect();
        // The database is complete, so an error means that the path leads into a value of another type.
        let value = record.decode_path::<Scalar>(&path).ok()??.0?;
        (value.len() <= MAX_ENRICHMENT_VALUE_BYTES && is_of_type(&value, self.kind)).then_some(value)
    }
}

fn steps(path: &str) -> Vec<Step> {
    let step = |text: &str| text.parse().map_or_else(|_| Step::Key(text.to_owned()), Step::Index);
    path.split('.').map(step).collect()
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar(Some(text.to_owned()).filter(|text| !text.is_empty())))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Scalar, E> {
        Ok(Scalar(Some(value.to_string())))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Scalar, E> {
        Ok(Scalar(Some(value.to_string())))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Scalar, E> {
        Ok(Scalar(Some(value.to_string())))
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Scalar, E> {
        Ok(Scalar(Some(value.to_string())))
    }

    fn visit_f32<E: Error>(self, value: f32) -> Result<Scalar, E> {
        Ok(Scalar(Some(value.to_string())))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Scalar, E> {
        Ok(Scalar(Some(value.to_string())))
    }

    fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<Scalar, E> {
        Ok(Scalar(None))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Scalar, A::Error> {
        while values.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar(None))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Scalar, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar(None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_of_records_is_bounded_and_decodes_a_record_once_while_it_has_it() {
        let mut cache = RecordCache::default();
        let mut decoded = 0;
        for round in 0..2 {
            for offset in 0..5000_usize {
                let expected = offset.to_string().repeat(100);
                let values = cache.get(offset, |out| {
                    decoded += 1;
                    out.extend_from_slice(expected.as_bytes());
                });
                assert_eq!(values, expected.as_bytes(), "round {round}");
                let again = cache.get(offset, |_| decoded += 1000).to_vec();
                assert_eq!(again, expected.as_bytes());
                assert!(cache.bytes < MAX_CACHED_BYTES + 1000 && cache.values.len() <= 5000);
            }
        }
        assert_eq!(decoded, 10_000);
    }
}
