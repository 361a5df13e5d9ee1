//! Huffman codes of limited length, in the canonical order of RFC 1951 section 3.2.2.

/// Symbols of the largest alphabet.
const MAX_SYMBOLS: usize = 286;
const MAX_LENGTH: usize = 15;

/// A code: for each symbol, its bits in writing order and their number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Code<const N: usize> {
    pub(crate) bits: [u16; N],
    pub(crate) lengths: [u8; N],
}

impl<const N: usize> Code<N> {
    /// Returns the shortest code for symbols with these counts, of at most `max_bits` each. At least two symbols must
    /// occur, because decoders refuse incomplete codes.
    pub(crate) fn new(counts: &[u32; N], max_bits: usize) -> Self {
        let lengths = lengths(counts, max_bits);
        let mut of_length = [0_u16; MAX_LENGTH + 1];
        for length in lengths {
            of_length[usize::from(length)] += 1;
        }
        let mut next = [0_u16; MAX_LENGTH + 1];
        for length in 2..=MAX_LENGTH {
            next[length] = (next[length - 1] + of_length[length - 1]) << 1;
        }
        let mut bits = [0; N];
        for (bits, length) in bits.iter_mut().zip(lengths) {
            if length > 0 {
                let next = &mut next[usize::from(length)];
                *bits = next.reverse_bits() >> (16 - length);
                *next += 1;
            }
        }
        Self { bits, lengths }
    }

    /// Returns the number of bits that symbols with these counts take.
    pub(crate) fn cost(&self, counts: &[u32; N]) -> u64 {
        counts.iter().zip(self.lengths).map(|(count, length)| u64::from(*count) * u64::from(length)).sum()
    }

    /// Returns the number of symbols up to the last one that occurs.
    pub(crate) fn used(&self) -> usize {
        self.lengths.iter().rposition(|length| *length > 0).map_or(0, |last| last + 1)
    }
}

/// Huffman's algorithm with two queues: leaves in the order of their counts, and inner nodes in the order of their creation.
/// The two smallest heads become the next node.
fn lengths<const N: usize>(counts: &[u32; N], max_bits: usize) -> [u8; N] {
    const { assert!(N <= MAX_SYMBOLS) };
    let mut symbols = [(0, 0_u16); MAX_SYMBOLS];
    let mut leaves = 0;
    for (symbol, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        symbols[leaves] = (*count, symbol as u16);
        leaves += 1;
    }
    let symbols = &mut symbols[..leaves];
    symbols.sort_unstable();

    let nodes = (2 * leaves).saturating_sub(1);
    let mut weights = [0_u32; 2 * MAX_SYMBOLS];
    let mut parents = [0_u16; 2 * MAX_SYMBOLS];
    for (weight, (count, _)) in weights.iter_mut().zip(&*symbols) {
        *weight = *count;
    }
    let (mut leaf, mut inner) = (0, leaves);
    for node in leaves..nodes {
        for _ in 0..2 {
            let from_leaves = leaf < leaves && (inner == node || weights[leaf] <= weights[inner]);
            let head = if from_leaves { &mut leaf } else { &mut inner };
            weights[node] += weights[*head];
            parents[*head] = node as u16;
            *head += 1;
        }
    }

    let mut depths = [0_u16; 2 * MAX_SYMBOLS];
    let mut of_length = [0_usize; MAX_LENGTH + 1];
    for node in (0..nodes.saturating_sub(1)).rev() {
        depths[node] = depths[usize::from(parents[node])] + 1;
        if node < leaves {
            of_length[usize::from(depths[node]).min(max_bits)] += 1;
        }
    }
    limit(&mut of_length, max_bits);

    let mut lengths = [0; N];
    let rarest_last = symbols.iter().rev();
    let ascending = (1..=max_bits).flat_map(|length| std::iter::repeat_n(length, of_length[length]));
    for ((_, symbol), length) in rarest_last.zip(ascending) {
        lengths[usize::from(*symbol)] = length as u8;
    }
    lengths
}

/// Makes the code valid after longer codes were cut to `max_bits`. For each excess code, a shorter code gets one bit longer,
/// which makes room for one code of `max_bits`.
fn limit(of_length: &mut [usize; MAX_LENGTH + 1], max_bits: usize) {
    let mut taken: usize = (1..=max_bits).map(|length| of_length[length] << (max_bits - length)).sum();
    while taken > 1 << max_bits {
        let Some(shorter) = (1..max_bits).rev().find(|length| of_length[*length] > 0) else { return };
        of_length[max_bits] -= 1;
        of_length[shorter] -= 1;
        of_length[shorter + 1] += 2;
        taken -= 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_code_is_complete_within_its_limit_and_ordered_by_count(
            counts in proptest::collection::vec(prop_oneof![Just(0), 1_u32..4, 0_u32..100_000], 30),
            growth in proptest::bool::ANY,
        ) {
            let mut counts: [u32; 30] = counts.try_into().unwrap();
            if growth {
                // Fibonacci numbers give the deepest trees.
                let (mut a, mut b) = (1, 1);
                for count in &mut counts {
                    (*count, a, b) = (a, b, a + b);
                }
            }
            prop_assume!(counts.iter().filter(|count| **count > 0).count() >= 2);
            for max_bits in [5, 7, 15] {
                let code = Code::new(&counts, max_bits);
                let used = || code.lengths.iter().filter(|length| **length > 0);
                prop_assert!(used().all(|length| usize::from(*length) <= max_bits));
                prop_assert_eq!(used().map(|length| 1_u32 << (15 - length)).sum::<u32>(), 1 << 15);
                for (a, count) in counts.iter().enumerate() {
                    prop_assert_eq!(*count == 0, code.lengths[a] == 0);
                    for (b, other) in counts.iter().enumerate() {
                        prop_assert!(count <= other || *other == 0 || code.lengths[a] <= code.lengths[b]);
                    }
                }
            }
        }
    }
}
