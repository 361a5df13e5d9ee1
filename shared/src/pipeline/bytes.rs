//! Operations on many bytes at once: folds that become vector instructions, vectors, and words of eight bytes as small vectors.

use wide::u8x16;

/// Bytes of a word.
pub(crate) const WORD: usize = 8;
/// Bytes that are searched at once: a 64-bit word has one bit for each.
pub(crate) const BLOCK: usize = 64;
const ONES: u64 = u64::MAX / 0xff;
const HIGH: u64 = ONES << 7;

/// Bytes of a vector.
pub(crate) const LANES: usize = 16;

/// Returns the vector that begins at a position; `None` if the bytes end before its end.
#[inline]
pub(crate) fn vector(bytes: &[u8], at: usize) -> Option<[u8; LANES]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Returns a bit for each byte at which the plain text of a JSON string ends: a quote, a backslash, a control character, or a
/// byte that is not ASCII.
#[inline]
pub(crate) fn string_stops(vector: [u8; LANES]) -> u32 {
    let bytes = u8x16::new(vector);
    let quotes = bytes.simd_eq(u8x16::splat(b'"')) | bytes.simd_eq(u8x16::splat(b'\\'));
    let controls = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
    // The mask has the highest bit of each byte, which is that of a byte that is not ASCII.
    (quotes | controls | bytes).to_bitmask()
}

/// Returns a bit for each quote of a block, and one for each backslash.
#[inline]
pub(crate) fn quotes_and_backslashes(block: &[u8; BLOCK]) -> (u64, u64) {
    let (mut quotes, mut backslashes) = (0, 0);
    for (at, vector) in block.as_chunks::<LANES>().0.iter().enumerate() {
        let bytes = u8x16::new(*vector);
        quotes |= u64::from(bytes.simd_eq(u8x16::splat(b'"')).to_bitmask()) << (at * LANES);
        backslashes |= u64::from(bytes.simd_eq(u8x16::splat(b'\\')).to_bitmask()) << (at * LANES);
    }
    (quotes, backslashes)
}

/// A block, and the vector that may be copied from its last byte.
pub(crate) type LongBlock = [u8; BLOCK + LANES];

/// What a JSON decoder needs to know of the first 64 bytes of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Escapes {
    /// A bit for each backslash.
    pub(crate) backslashes: u64,
    pub(crate) has_controls: bool,
    pub(crate) is_ascii: bool,
}

impl Escapes {
    #[inline]
    pub(crate) fn of(block: &LongBlock) -> Self {
        let mut backslashes = 0;
        let (mut controls, mut all) = (u8x16::splat(0), u8x16::splat(0));
        for (at, vector) in block.as_chunks::<LANES>().0[..BLOCK / LANES].iter().enumerate() {
            let bytes = u8x16::new(*vector);
            controls |= bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
            backslashes |= u64::from(bytes.simd_eq(u8x16::splat(b'\\')).to_bitmask()) << (at * LANES);
            all |= bytes;
        }
        Self { backslashes, has_controls: controls.to_bitmask() != 0, is_ascii: all.to_bitmask() == 0 }
    }
}

/// The bytes of a block that matter to a scanner of JSON.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JsonBlock {
    /// A bit for each quote.
    pub(crate) quotes: u64,
    /// A bit for each backslash.
    pub(crate) backslashes: u64,
    /// Whether it has a control character, or a byte that is not ASCII.
    pub(crate) has_others: bool,
}

impl JsonBlock {
    #[inline]
    pub(crate) fn of(block: &[u8; BLOCK]) -> Self {
        let (quotes, backslashes) = quotes_and_backslashes(block);
        let mut others = u8x16::splat(0);
        for vector in block.as_chunks::<LANES>().0 {
            let bytes = u8x16::new(*vector);
            others |= bytes.min(u8x16::splat(0x1f)).simd_eq(bytes) | bytes;
        }
        // The mask has the highest bit of each byte, which is that of a byte that is not ASCII.
        Self { quotes, backslashes, has_others: others.to_bitmask() != 0 }
    }
}

/// Copies up to 64 bytes in whole vectors. Both positions are below 64.
#[inline]
pub(crate) fn copy(from: &LongBlock, start: usize, to: &mut LongBlock, at: usize, length: usize) {
    let mut copied = 0;
    loop {
        // The masks show the compiler that no index is out of bounds.
        let (start, at) = ((start + copied) & (BLOCK - 1), (at + copied) & (BLOCK - 1));
        to[at..at + LANES].copy_from_slice(&from[start..start + LANES]);
        copied += LANES;
        if copied >= length {
            return;
        }
    }
}

/// Appends `bytes[start..end]`. Short texts are copied as a whole vector.
#[inline]
pub(crate) fn append(bytes: &[u8], start: usize, end: usize, out: &mut Vec<u8>) {
    match vector(bytes, start) {
        Some(vector) if end - start <= LANES => {
            let length = out.len() + (end - start);
            out.extend_from_slice(&vector);
            out.truncate(length);
        }
        _ => out.extend_from_slice(&bytes[start..end]),
    }
}

/// Which bytes a value has that matter in a CSV file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CsvMarks {
    pub(crate) quotes: bool,
    pub(crate) commas: bool,
    /// Line feed, carriage return or U+0001.
    pub(crate) breaks: bool,
}

impl CsvMarks {
    /// Looks for them in `text[start..end]`.
    #[inline]
    pub(crate) fn of(text: &[u8], start: usize, end: usize) -> Self {
        match vector(text, start) {
            // Most values are short, and have none.
            Some(vector) if end - start <= LANES => {
                let [quotes, commas, breaks] = csv_marks(vector);
                if (quotes | commas | breaks).to_bitmask() & first_bits(end - start) == 0 {
                    return Self { quotes: false, commas: false, breaks: false };
                }
            }
            _ => {}
        }
        Self::of_long(text, start, end)
    }

    #[inline(never)]
    fn of_long(text: &[u8], start: usize, end: usize) -> Self {
        let [mut quotes, mut commas, mut breaks] = [u8x16::splat(0); 3];
        let (vectors, rest) = text[start..end].as_chunks::<LANES>();
        let mut last = [0; LANES];
        last[..rest.len()].copy_from_slice(rest);
        for vector in vectors.iter().chain([&last]) {
            let marks = csv_marks(*vector);
            quotes |= marks[0];
            commas |= marks[1];
            breaks |= marks[2];
        }
        let any = |marks: u8x16| marks.to_bitmask() != 0;
        Self { quotes: any(quotes), commas: any(commas), breaks: any(breaks) }
    }
}

/// Returns a bit for each byte of a block that matters in a CSV file.
#[inline]
pub(crate) fn csv_specials(block: &[u8; BLOCK]) -> u64 {
    let mut specials = 0;
    for (at, vector) in block.as_chunks::<LANES>().0.iter().enumerate() {
        let [quotes, commas, breaks] = csv_marks(*vector);
        specials |= u64::from((quotes | commas | breaks).to_bitmask()) << (at * LANES);
    }
    specials
}

/// Returns the bytes of a vector that are quotes, commas, and breaks.
#[inline]
fn csv_marks(vector: [u8; LANES]) -> [u8x16; 3] {
    let bytes = u8x16::new(vector);
    let equal = |byte| bytes.simd_eq(u8x16::splat(byte));
    [equal(b'"'), equal(b','), equal(b'\n') | equal(b'\r') | equal(1)]
}

/// Returns whether one of the first `count` bytes of a vector is one of two.
#[inline]
pub(crate) fn has_either(vector: [u8; LANES], count: usize, of: [u8; 2]) -> bool {
    either(vector, of).to_bitmask() & first_bits(count) != 0
}

/// Returns whether bytes have one of two.
#[inline]
pub(crate) fn either_is_in(bytes: &[u8], of: [u8; 2]) -> bool {
    let (vectors, rest) = bytes.as_chunks::<LANES>();
    let is_in = |vector: &[u8; LANES]| either(*vector, of).to_bitmask() != 0;
    // The last vector overlaps the one before it, so that no byte is compared alone.
    match bytes.last_chunk() {
        Some(last) => vectors.iter().any(is_in) || is_in(last),
        None => rest.iter().any(|byte| of.contains(byte)),
    }
}

#[inline]
fn either(vector: [u8; LANES], of: [u8; 2]) -> u8x16 {
    let bytes = u8x16::new(vector);
    bytes.simd_eq(u8x16::splat(of[0])) | bytes.simd_eq(u8x16::splat(of[1]))
}

/// Appends `bytes[start..end]` with two quotes for each.
pub(crate) fn append_doubling_quotes(bytes: &[u8], start: usize, end: usize, out: &mut Vec<u8>) {
    out.reserve(2 * (end - start) + LANES);
    let mut at = start;
    // A quote is copied with the bytes before it, and again with those after it.
    let mut is_second = false;
    while end - at >= LANES
        && let Some(vector) = vector(bytes, at)
    {
        out.extend_from_slice(&vector);
        let quotes = u8x16::new(vector).simd_eq(u8x16::splat(b'"')).to_bitmask() & !u32::from(is_second);
        is_second = quotes != 0;
        if is_second {
            let before = quotes.trailing_zeros() as usize;
            out.truncate(out.len() - LANES + before + 1);
            at += before;
        } else {
            at += LANES;
        }
    }
    for byte in &bytes[at..end] {
        if *byte == b'"' && !std::mem::take(&mut is_second) {
            out.push(b'"');
        }
        out.push(*byte);
    }
}

/// Appends `bytes[start..end]` without its backslashes.
pub(crate) fn append_without_backslashes(bytes: &[u8], start: usize, end: usize, out: &mut Vec<u8>) {
    out.reserve(end - start + LANES);
    let mut at = start;
    while end - at >= LANES
        && let Some(vector) = vector(bytes, at)
    {
        out.extend_from_slice(&vector);
        let found = u8x16::new(vector).simd_eq(u8x16::splat(b'\\')).to_bitmask();
        let before = (found.trailing_zeros() as usize).min(LANES);
        out.truncate(out.len() - LANES + before);
        at += before + usize::from(before < LANES);
    }
    out.extend(bytes[at..end].iter().copied().filter(|byte| *byte != b'\\'));
}

/// Returns the mask of the first `count` bits; all bits of a vector for more.
#[inline]
fn first_bits(count: usize) -> u32 {
    !(u32::MAX << count.min(LANES))
}

/// Returns whether any byte passes the test.
#[inline]
pub(crate) fn any(bytes: &[u8], test: impl Fn(u8) -> bool) -> bool {
    let Some(last) = bytes.last_chunk::<LANES>() else {
        return bytes.iter().fold(false, |any, byte| any | test(*byte));
    };
    // The last chunk overlaps the one before it, so that no byte is tested alone.
    let (chunks, _) = bytes.as_chunks::<LANES>();
    let mut any = [0; LANES];
    for chunk in chunks.iter().chain([last]) {
        for (any, byte) in any.iter_mut().zip(chunk) {
            *any |= u8::from(test(*byte));
        }
    }
    any != [0; LANES]
}

/// Reads the word that begins at a position, its first byte lowest.
#[inline]
pub(crate) fn word(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; WORD];
    word.copy_from_slice(&bytes[at..at + WORD]);
    u64::from_le_bytes(word)
}

/// Sets the highest bit of each byte that equals `byte`, and clears all other bits.
#[inline]
pub(crate) fn equal(word: u64, byte: u8) -> u64 {
    let different = word ^ (u64::from(byte) * ONES);
    !(((different & !HIGH) + !HIGH) | different) & HIGH
}

/// Collects the highest bits of the eight bytes. The other bits must be zero.
#[inline]
pub(crate) fn bits_of_bytes(word: u64) -> u64 {
    // The factor moves each bit to its position in the highest byte.
    word.wrapping_mul(0x0002_0408_1020_4081) >> 56
}

/// Iterates over the positions of a byte, then returns the text's length forever.
#[derive(Debug)]
pub(crate) struct Ends<'a> {
    text: &'a [u8],
    byte: u8,
    /// One bit for each position from `base`.
    found: u64,
    base: usize,
}

impl<'a> Ends<'a> {
    #[inline]
    pub(crate) fn new(text: &'a [u8], byte: u8) -> Self {
        Self { text, byte, found: block_of(text, byte), base: 0 }
    }

    #[inline]
    pub(crate) fn next(&mut self) -> usize {
        while self.found == 0 {
            self.base += BLOCK;
            self.found = block_of(self.text.get(self.base..).unwrap_or_default(), self.byte);
        }
        let end = self.base + self.found.trailing_zeros() as usize;
        self.found &= self.found - 1;
        end.min(self.text.len())
    }
}

/// Returns the positions of a byte in the first block. Positions after the text count as found.
#[inline]
fn block_of(text: &[u8], byte: u8) -> u64 {
    if let Some(block) = text.first_chunk() {
        return positions(block, byte);
    }
    let mut block = [byte; BLOCK];
    block[..text.len()].copy_from_slice(text);
    positions(&block, byte)
}

#[inline]
fn positions(block: &[u8; BLOCK], byte: u8) -> u64 {
    let mut found = 0;
    for at in 0..BLOCK / WORD {
        found |= bits_of_bytes(equal(word(block, at * WORD), byte)) << (at * WORD);
    }
    found
}

/// Returns whether `text[start..end]` is an integer from 0 to `max`, which must have more than eight digits.
#[inline]
pub(crate) fn is_number(text: &[u8], start: usize, end: usize, max: u64) -> bool {
    let digits = end - start;
    if (1..=WORD).contains(&digits) && end >= WORD {
        return digit_values(word(text, end - WORD), digits).is_some();
    }
    number(text, start, end).is_some_and(|number| number <= max)
}

/// Returns the value of `text[start..end]` if it is an integer of up to 19 digits.
#[inline]
pub(crate) fn number(text: &[u8], start: usize, end: usize) -> Option<u64> {
    let digits = end - start;
    // Whole words are read, up to the end. The bytes before the number are cleared.
    if digits == 0 || digits > 2 * WORD || end < 2 * WORD {
        return number_by_digits(&text[start..end]);
    }
    let low = eight_digits(word(text, end - WORD), digits.min(WORD))?;
    if digits <= WORD {
        return Some(low);
    }
    let high = eight_digits(word(text, end - 2 * WORD), digits - WORD)?;
    Some(high * 100_000_000 + low)
}

#[cold]
fn number_by_digits(text: &[u8]) -> Option<u64> {
    let digits = (1..=19).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    digits.then(|| text.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0')))
}

/// Returns the value of a word's last `digits` bytes, one to eight, if they are digits.
#[inline]
pub(crate) fn eight_digits(word: u64, digits: usize) -> Option<u64> {
    let values = digit_values(word, digits)?;
    // Pairs of digits, then of pairs, then of fours: the first byte is the highest digit.
    let pairs = (values * 10 + (values >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours * 10_000 + (fours >> 32)) & 0xffff_ffff)
}

/// Returns the values of a word's last `digits` bytes, one to eight, if they are digits. The bytes before them are zero.
#[inline]
fn digit_values(word: u64, digits: usize) -> Option<u64> {
    const ZEROS: u64 = b'0' as u64 * ONES;
    let before = 8 * (WORD - digits);
    let values = (word ^ ZEROS) >> before << before;
    // A value above nine sets the highest bit, or already has it.
    ((values.wrapping_add((0x7f - 9) * ONES) | values) & HIGH == 0).then_some(values)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Ends, is_number, number};

    proptest! {
        #[test]
        fn every_byte_is_tested(bytes in proptest::collection::vec(prop_oneof![9 => Just(b'a'), 1 => Just(b'b')], 0..80)) {
            prop_assert_eq!(super::any(&bytes, |byte| byte == b'b'), bytes.contains(&b'b'));
        }

        #[test]
        fn ends_equal_those_of_a_simple_search(
            text in proptest::collection::vec(prop_oneof![4 => Just(b' '), 4 => Just(b'!'), 1 => any::<u8>()], 0..200),
        ) {
            let mut ends = Ends::new(&text, b' ');
            let simple = text.iter().enumerate().filter(|(_, byte)| **byte == b' ').map(|(at, _)| at);
            for end in simple.chain([text.len(), text.len()]) {
                prop_assert_eq!(ends.next(), end);
            }
        }

        #[test]
        fn numbers_equal_those_of_the_standard_library(
            before in "[ -~]{0,20}",
            text in prop_oneof!["[0-9]{0,20}", "[0-9]{1,17}[ -~][0-9]{0,3}", any::<[u8; 12]>().prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned())],
        ) {
            let line = format!("{before}{text} and more");
            let expected = text.parse::<u64>().ok().filter(|_| text.len() <= 19 && !text.starts_with('+'));
            let (start, end) = (before.len(), before.len() + text.len());
            prop_assert_eq!(number(line.as_bytes(), start, end), expected, "{}", line);
            for max in [999_999_999, 1 << 31, 1 << 63] {
                let fits = expected.is_some_and(|number| number <= max);
                prop_assert_eq!(is_number(line.as_bytes(), start, end, max), fits, "{}", line);
            }
        }
    }
}
