//! All caches of the values of `[[enrich]]`, with one limit.

use super::{address_values::AddressValues, row_values::RowValues};
use crate::limits::MAX_CACHED_VALUE_BYTES;

/// The caches of an object. A text of a row was made of the values of its addresses, so all caches are emptied together.
#[derive(Debug, Default)]
pub(super) struct ValueCaches {
    /// The values of columns' addresses. Columns with the same entries share them.
    pub(super) addresses: Vec<AddressValues>,
    /// By table: the texts of its rows, if they are cached.
    pub(super) rows: Vec<Option<RowValues>>,
    /// The bytes of the texts in all caches.
    pub(super) bytes: usize,
}

impl ValueCaches {
    /// Empties all caches if they are full. Numbers of values that were returned before are then no longer valid.
    #[inline]
    pub(super) fn trim(&mut self) {
        if self.bytes >= MAX_CACHED_VALUE_BYTES {
            self.clear();
        }
    }

    #[cold]
    fn clear(&mut self) {
        self.addresses.iter_mut().for_each(AddressValues::clear);
        self.rows.iter_mut().flatten().for_each(RowValues::clear);
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    /// Bytes of a value.
    const LENGTH: usize = 1000;

    #[test]
    fn all_caches_together_have_a_limit_and_are_emptied_together() {
        let addresses = (0..5).map(|entry| AddressValues::new(vec![entry])).collect();
        let rows = (0..5).map(|_| Some(RowValues::default())).collect();
        let mut caches = ValueCaches { addresses, rows, bytes: 0 };
        let mut largest = 0;
        for row in 0..20_000_u32 {
            caches.trim();
            let at = row as usize % 5;
            let value = format!("{row:0LENGTH$}").into_bytes();
            let address = IpAddr::from(Ipv4Addr::from(row));
            let ValueCaches { addresses, rows, bytes } = &mut caches;
            let number = addresses[at]
                .number(address, bytes, |_, found| found.add(|text| text.extend_from_slice(&value)));
            let text = rows[at].as_mut().unwrap().get([Some(number), None], bytes, |text| {
                addresses[at].append(number, 0, text);
            });
            assert_eq!((text[0], &text[1..]), (b',', &*value), "row {row}");
            largest = largest.max(*bytes);
        }
        assert!(
            (MAX_CACHED_VALUE_BYTES..MAX_CACHED_VALUE_BYTES + 3 * (LENGTH + 1)).contains(&largest),
            "{largest} bytes"
        );
    }
}
