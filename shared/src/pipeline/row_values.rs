//! The values of `[[enrich]]` for rows whose addresses have the same values. Most addresses have no value, or one of a few, so rows
//! repeat these texts more often than they repeat addresses.

/// Texts that a cache of a table has. A power of two.
const CACHED_TEXTS: usize = 1024;

/// The numbers of the values of up to two addresses; `None` without an address.
pub(super) type Numbers = [Option<u32>; 2];

/// The texts that were written last, by the numbers of their values.
#[derive(Debug, Default)]
pub(super) struct RowValues {
    /// Empty until the first row.
    slots: Vec<Option<Slot>>,
    texts: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    numbers: Numbers,
    /// Where the text is in `texts`.
    start: u32,
    end: u32,
}

impl RowValues {
    /// Empties the cache. The numbers before it have other values than those after it.
    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.texts = Vec::new();
    }

    /// Returns the text of these numbers. `write` appends it if the cache does not have it. `cached_bytes` grows with the cache.
    #[inline]
    pub(super) fn get(
        &mut self,
        numbers: Numbers,
        cached_bytes: &mut usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> &[u8] {
        let at = slot(numbers);
        let cached = self.slots.get(at).copied().flatten().filter(|slot| slot.numbers == numbers);
        let Slot { start, end, .. } = match cached {
            Some(slot) => slot,
            None => self.add(at, numbers, cached_bytes, write),
        };
        &self.texts[start as usize..end as usize]
    }

    #[cold]
    fn add(
        &mut self,
        at: usize,
        numbers: Numbers,
        cached_bytes: &mut usize,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Slot {
        self.slots.resize(CACHED_TEXTS, None);
        let start = self.texts.len() as u32;
        write(&mut self.texts);
        *cached_bytes += self.texts.len() - start as usize;
        let slot = Slot { numbers, start, end: self.texts.len() as u32 };
        self.slots[at] = Some(slot);
        slot
    }
}

/// Returns the slot of a key. Spreads them by the golden ratio, as [`super::address::slot`] does.
#[inline]
fn slot([first, second]: Numbers) -> usize {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let bits = |number: Option<u32>| number.map_or(0, |number| u64::from(number) + 1);
    let mixed = (bits(first) << 32 ^ bits(second)).wrapping_mul(GOLDEN);
    (mixed >> (64 - CACHED_TEXTS.trailing_zeros())) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn rows_have_the_text_of_their_numbers_and_their_bytes_are_counted(
            rows in proptest::collection::vec([proptest::option::of(0..60_u32), proptest::option::of(0..60_u32)], 1..400),
            length in 0..30_usize,
        ) {
            let mut values = RowValues::default();
            let mut cached_bytes = 0;
            for numbers in rows {
                let expected = format!("{numbers:?}{}", "x".repeat(length)).into_bytes();
                let write = |text: &mut Vec<u8>| text.extend_from_slice(&expected);
                prop_assert_eq!(values.get(numbers, &mut cached_bytes, write), &*expected);
                prop_assert_eq!(values.get(numbers, &mut cached_bytes, |text| text.push(b'?')), &*expected);
                prop_assert_eq!(cached_bytes, values.texts.len());
            }
        }
    }
}
