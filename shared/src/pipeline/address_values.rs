//! The values of several entries of `[[enrich]]` for an address, with a cache: a few addresses have most of the traffic.

use std::net::IpAddr;

use super::{
    address,
    bytes::{self, LANES},
};
use crate::interner::Interner;

const CACHED_ADDRESSES: usize = 4096;

/// The values of addresses that were looked up last. Addresses with the same values share them, so that the values of most rows are in
/// the processor's cache.
#[derive(Debug)]
pub(super) struct AddressValues {
    /// The numbers of the entries.
    pub(super) entries: Vec<usize>,
    /// An address and its values. Empty until the first address.
    slots: Vec<Option<(IpAddr, u32)>>,
    values: ValueSets,
    /// The values that are being looked up.
    found: ValueSet,
}

/// Different values by their number.
#[derive(Debug, Default)]
struct ValueSets {
    texts: Interner,
    /// The same texts, with a vector of padding.
    bytes: Vec<u8>,
    /// The end of each value in `bytes`. The next value begins there.
    ends: Vec<u32>,
}

impl ValueSets {
    /// Returns the bytes of the texts, which are in memory twice.
    fn size(&self) -> usize {
        self.ends.last().map_or(0, |end| *end as usize * 2)
    }

    /// Returns the number of values. Each entry has the same number of fields for all addresses, so equal texts have equal ends.
    fn add(&mut self, values: &ValueSet) -> u32 {
        let Self { texts, bytes, ends } = self;
        let count = texts.texts().len();
        let number = texts.add(&values.text);
        if number as usize == count {
            let start = ends.last().copied().unwrap_or(0);
            bytes.truncate(start as usize);
            bytes.extend_from_slice(&values.text);
            bytes.extend_from_slice(&[0; LANES]);
            ends.extend(values.ends.iter().map(|end| start + end));
        }
        number
    }
}

/// The values of all entries for an address, each with a comma before it.
#[derive(Debug, Default)]
pub(super) struct ValueSet {
    text: Vec<u8>,
    ends: Vec<u32>,
}

impl ValueSet {
    /// Appends the value of the next entry, which `write` appends to a text.
    pub(super) fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.text.push(b',');
        write(&mut self.text);
        self.ends.push(self.text.len() as u32);
    }
}

impl AddressValues {
    pub(super) fn new(entries: Vec<usize>) -> Self {
        Self { entries, slots: Vec::new(), values: ValueSets::default(), found: ValueSet::default() }
    }

    /// Empties the cache. Numbers that were returned before are then no longer valid.
    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.values = ValueSets::default();
    }

    /// Returns the number of the values of an address. `find` adds the value of each entry if the cache does not have them.
    /// `cached_bytes` grows with the cache.
    #[inline]
    pub(super) fn number(
        &mut self,
        address: IpAddr,
        cached_bytes: &mut usize,
        find: impl FnOnce(&[usize], &mut ValueSet),
    ) -> u32 {
        let slot = address::slot(address, 0, CACHED_ADDRESSES);
        if let Some(Some((cached, number))) = self.slots.get(slot)
            && *cached == address
        {
            return *number;
        }
        self.add(slot, address, cached_bytes, find)
    }

    #[inline(never)]
    fn add(
        &mut self,
        slot: usize,
        address: IpAddr,
        cached_bytes: &mut usize,
        find: impl FnOnce(&[usize], &mut ValueSet),
    ) -> u32 {
        self.slots.resize(CACHED_ADDRESSES, None);
        let Self { entries, slots, values, found } = self;
        found.text.clear();
        found.ends.clear();
        find(entries, found);
        let before = values.size();
        let number = values.add(found);
        *cached_bytes += values.size() - before;
        slots[slot] = Some((address, number));
        number
    }

    /// Appends the value of an entry, by its position among the entries, with a comma before it.
    #[inline]
    pub(super) fn append(&self, number: u32, position: usize, out: &mut Vec<u8>) {
        let ValueSets { bytes, ends, .. } = &self.values;
        let at = number as usize * self.entries.len() + position;
        let start = at.checked_sub(1).map_or(0, |before| ends[before]);
        bytes::append(bytes, start as usize, ends[at] as usize, out);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_address_has_its_own_values_and_their_bytes_are_counted(
            rows in proptest::collection::vec(proptest::collection::vec(0..9000_u32, 1..3), 1..300),
            length in 0..30_usize,
            clear_every in 1..100_usize,
        ) {
            let value = |entry: usize, address: u32| format!("{}{}", address % 700 * 3 + entry as u32, "x".repeat(length));
            let mut values = AddressValues::new(vec![5, 7]);
            let mut cached_bytes = 0;
            for (number, row) in rows.into_iter().enumerate() {
                if number % clear_every == 0 {
                    values.clear();
                    cached_bytes = 0;
                }
                let number = |bits: &u32| {
                    let address = std::net::Ipv4Addr::from(*bits).into();
                    values.number(address, &mut cached_bytes, |entries, found| {
                        for entry in entries {
                            found.add(|text| text.extend_from_slice(value(*entry, *bits).as_bytes()));
                        }
                    })
                };
                let numbers: Vec<u32> = row.iter().map(number).collect();
                prop_assert_eq!(cached_bytes, 2 * (values.values.bytes.len() - LANES));
                for (number, bits) in numbers.into_iter().zip(&row) {
                    for (position, entry) in [5, 7].into_iter().enumerate() {
                        let mut text = Vec::new();
                        values.append(number, position, &mut text);
                        prop_assert_eq!(text, format!(",{}", value(entry, *bits)).into_bytes());
                    }
                }
            }
        }
    }
}
