//! The match finder: one greedy pass over the text, like the lowest levels of igzip and libdeflate.
//!
//! The text goes through a ring of 64 KiB. A position is a `u16`, so it is always inside the ring and needs no bounds check.
//! Eight positions are looked up at once without a branch between them, because mispredicted branches, not instructions,
//! take most of the time.

use crate::{
    bits::Bits,
    block::{Block, CHUNK, MAX_MATCH},
};

/// Four chunks: the current one, and more text before it than matches may refer to.
const RING: usize = 4 * CHUNK;
/// The beginning of the ring is repeated after its end, for words and matches that cross the end.
const TAIL: usize = MAX_MATCH + 16;
/// Longest distance of a match (RFC 1951 section 2).
const WINDOW: usize = 1 << 15;
/// Bytes of a word.
const WORD: usize = 8;
/// Shorter matches often need more bits than digits need as literals, and always more time.
const MIN_MATCH: usize = WORD;
/// Positions looked up at once. At most [`MIN_MATCH`], so that no position is looked up twice.
const LANES: usize = MIN_MATCH;
/// Small enough to stay in the first-level cache together with the window.
const TABLE_BITS: u32 = 13;

/// Finds matches and writes blocks.
pub(crate) struct MatchFinder {
    ring: Box<[u8; RING + TAIL]>,
    /// The last position in the ring of bytes with this hash. Stale positions remain: every candidate is compared.
    table: Box<[u16; 1 << TABLE_BITS]>,
    block: Block,
}

impl Default for MatchFinder {
    fn default() -> Self {
        Self { ring: zeros(), table: zeros(), block: Block::new() }
    }
}

impl MatchFinder {
    /// Appends the text as a whole stream, padded to a whole byte.
    pub(crate) fn write(&mut self, text: &[u8], bits: &mut Bits) {
        self.table.fill(0);
        let mut block_start = 0;
        for (number, chunk) in text.chunks(CHUNK).enumerate() {
            let start = number * CHUNK;
            self.find(start, chunk);
            let end = start + chunk.len();
            if end < text.len() && self.block.is_full() {
                self.block.write(&text[block_start..end], false, bits);
                block_start = end;
            }
        }
        self.block.write(&text[block_start..], true, bits);
        bits.align();
    }

    /// Splits the chunk that begins at `start` of the text into literals and matches.
    fn find(&mut self, start: usize, chunk: &[u8]) {
        let (ring, table, block) = (&mut *self.ring, &mut *self.table, &mut self.block);
        let in_ring = start % RING;
        ring[in_ring..in_ring + chunk.len()].copy_from_slice(chunk);
        if in_ring == 0 {
            ring.copy_within(..TAIL, RING);
        }
        let mut at = 0;
        while at + LANES + MIN_MATCH <= chunk.len() {
            let position = (in_ring + at) as u16;
            let here = &ring[usize::from(position)..][..LANES + MIN_MATCH];
            let tokens = block.literal_slots(LANES);
            let mut candidates = [0; LANES];
            let mut slots = [0; LANES];
            let mut same = 0_u32;
            for lane in 0..LANES {
                let word_here = word(here, lane);
                slots[lane] = slot(word_here);
                candidates[lane] = table[slots[lane]];
                same |= u32::from(word_here == word(ring, usize::from(candidates[lane]))) << lane;
            }
            for (token, byte) in tokens.iter_mut().zip(here) {
                *token = u32::from(*byte);
            }
            for (lane, slot) in slots.iter().enumerate() {
                table[*slot] = position.wrapping_add(lane as u16);
            }
            let literals = (same | 1 << LANES).trailing_zeros() as usize;
            let matched = candidates.get(literals).and_then(|candidate| {
                let position = position.wrapping_add(literals as u16);
                let back = usize::from(position.wrapping_sub(*candidate));
                // A stale candidate may point to text that is out of reach or not there yet.
                let reach = (start + at + literals).min(WINDOW);
                let within = (1..=reach).contains(&back);
                within.then(|| (back, length(ring, position, *candidate)))
            });
            if let Some((back, length)) = matched {
                let length = length.min(chunk.len() - at - literals);
                block.push(literals, Some((length, back)));
                at += literals + length;
            } else {
                block.push(LANES, None);
                at += LANES;
            }
        }
        for byte in &chunk[at..] {
            block.literal_slots(1)[0] = u32::from(*byte);
            block.push(1, None);
        }
    }
}

/// Allocates on the heap directly, because `Box::new` builds the array on the stack first.
#[expect(clippy::unnecessary_box_returns, reason = "the array is too large for the stack")]
fn zeros<T: Copy + Default, const N: usize>() -> Box<[T; N]> {
    let zeros = vec![T::default(); N].into_boxed_slice();
    zeros.try_into().unwrap_or_else(|_| unreachable!("the slice has N elements"))
}

/// Reads the word that begins at a position, its first byte lowest.
#[inline]
fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; WORD];
    word.copy_from_slice(&bytes[at..at + WORD]);
    u64::from_le_bytes(word)
}

/// Returns the word's slot in the table (Knuth, The Art of Computer Programming, volume 3, section 6.4).
#[inline]
fn slot(word: u64) -> usize {
    (word.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - TABLE_BITS)) as usize
}

/// Returns the length of the match between two positions, whose first [`MIN_MATCH`] bytes are equal.
#[inline]
fn length(ring: &[u8; RING + TAIL], one: u16, other: u16) -> usize {
    let (one, other) = (usize::from(one), usize::from(other));
    let mut length = 0;
    while length < MAX_MATCH {
        let different = word(ring, one + length) ^ word(ring, other + length);
        if different != 0 {
            return (length + different.trailing_zeros() as usize / 8).min(MAX_MATCH);
        }
        length += WORD;
    }
    MAX_MATCH
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    /// Compresses the text, decodes it with two decoders, and returns the stream's length.
    fn check(finder: &mut MatchFinder, text: &[u8]) -> usize {
        let mut bits = Bits::default();
        finder.write(text, &mut bits);
        let stream = bits.bytes();
        let mut read = Vec::new();
        let mut decoder = flate2::read::DeflateDecoder::new(stream);
        decoder.read_to_end(&mut read).unwrap();
        assert!(read == text, "decoded by zlib-rs");
        assert_eq!(decoder.total_in(), stream.len() as u64);
        read.resize(text.len() + 1, 0);
        let length = libdeflater::Decompressor::new().deflate_decompress(stream, &mut read).unwrap();
        assert!(read[..length] == *text, "decoded by libdeflate");
        stream.len()
    }

    /// Bytes without a pattern.
    fn noise(length: usize, mut seed: u64) -> Vec<u8> {
        let mut next = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 56) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    #[test]
    fn incompressible_text_grows_by_five_bytes_per_block_at_most() {
        /// Text of a full block without a match.
        const SHORTEST_BLOCK: usize = 2 * CHUNK;
        let finder = &mut MatchFinder::default();
        for length in [0, 1, 2, 13, 14, 15, 100, 65_534, 65_535, 65_536, 65_537, 131_070, 131_071, 300_000] {
            let stored = check(finder, &noise(length, 7));
            assert!(stored <= length + 5 * (length / SHORTEST_BLOCK + 1), "{length}: {stored}");
        }
    }

    #[test]
    fn runs_of_any_length_are_decoded() {
        let finder = &mut MatchFinder::default();
        let around = |middle: usize| middle - 3..middle + 3;
        for length in [around(8), around(MAX_MATCH), around(2 * MAX_MATCH), around(CHUNK), around(RING)]
            .into_iter()
            .flatten()
        {
            assert!(check(finder, &vec![b'x'; length]) < 60 + length / 100);
        }
        assert!(check(finder, &vec![0; 3 << 20]) < 20_000);
    }

    #[test]
    fn matches_reach_as_far_as_the_format_allows_and_no_further() {
        let finder = &mut MatchFinder::default();
        let repeated = noise(200, 1);
        // At different positions in the ring.
        for before in [0, 1, 1000, CHUNK, RING - 250, RING - 1] {
            let [near, far] = [WINDOW, WINDOW + 1].map(|gap| {
                let text =
                    [&vec![0; before], &repeated[..], &vec![0; gap - repeated.len()], &repeated].concat();
                check(finder, &text)
            });
            assert!(far - near > 150, "{before}: {near} {far}");
        }
    }

    #[test]
    fn earlier_texts_do_not_change_the_output() {
        let (mut used, text) =
            (MatchFinder::default(), b"a text of some length, of some length, of length".repeat(50));
        check(&mut used, &noise(100_000, 5));
        check(&mut used, &text.repeat(40));
        let streams = [&mut used, &mut MatchFinder::default()].map(|finder| {
            let mut bits = Bits::default();
            finder.write(&text, &mut bits);
            bits.bytes().to_vec()
        });
        assert!(streams[0] == streams[1]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_text_is_decoded(
            pieces in proptest::collection::vec(
                prop_oneof![
                    proptest::collection::vec(any::<u8>(), 0..50),
                    "[0-9]{1,12},".prop_map(String::into_bytes),
                    (any::<u8>(), 1_usize..600).prop_map(|(byte, length)| vec![byte; length]),
                    (1_usize..40_000, any::<u64>()).prop_map(|(length, seed)| noise(length, seed)),
                ], 1..30),
            order in proptest::collection::vec(any::<proptest::sample::Index>(), 0..200),
        ) {
            let text: Vec<u8> = order.iter().flat_map(|index| index.get(&pieces).clone()).collect();
            check(&mut MatchFinder::default(), &text);
        }
    }
}
