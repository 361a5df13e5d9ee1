//! Finds the values of a row that need quotes or an escape, with one scan of the text that they are cut from.

use crate::pipeline::bytes::{self, BLOCK};

/// A bit for each byte of a text: whether it matters in a CSV file. Reused for every row.
#[derive(Debug, Default)]
pub(super) struct Specials {
    bits: Vec<u64>,
}

impl Specials {
    /// Scans a text.
    pub(super) fn scan(&mut self, text: &[u8]) {
        let (blocks, rest) = text.as_chunks();
        self.bits.clear();
        self.bits.extend(blocks.iter().map(bytes::csv_specials));
        let mut last = [0; BLOCK];
        last[..rest.len()].copy_from_slice(rest);
        self.bits.push(bytes::csv_specials(&last));
    }

    /// Returns whether any byte of `text[start..end]` matters.
    #[inline]
    pub(super) fn are_in(&self, start: usize, end: usize) -> bool {
        let (first, last) = (start / BLOCK, end / BLOCK);
        let (from, before) = (u64::MAX << (start % BLOCK), !(u64::MAX << (end % BLOCK)));
        if first == last {
            return self.bits[first] & from & before != 0;
        }
        let are_between = || self.bits[first + 1..last].iter().any(|bits| *bits != 0);
        self.bits[first] & from != 0 || self.bits[last] & before != 0 || are_between()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Specials;
    use crate::pipeline::csv::field;

    proptest! {
        #[test]
        fn special_bytes_are_found_in_any_part(
            text in proptest::collection::vec(prop_oneof![60 => Just(b'a'), 1 => proptest::sample::select(b",\"\n\r\x01".as_slice())], 0..300),
            part: (prop::sample::Index, prop::sample::Index),
        ) {
            let (one, other) = (part.0.index(text.len() + 1), part.1.index(text.len() + 1));
            let (start, end) = (one.min(other), one.max(other));
            let mut specials = Specials::default();
            specials.scan(&text);
            prop_assert_eq!(specials.are_in(start, end), text[start..end].iter().any(|byte| field::is_special(*byte)));
        }
    }
}
