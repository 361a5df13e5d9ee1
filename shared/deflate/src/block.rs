//! A block of a DEFLATE stream: literals and matches with dynamic Huffman codes, or stored bytes (RFC 1951 sections 3.2.3
//! to 3.2.7).

use crate::{
    bits::{Bits, MAX_BITS},
    huffman::Code,
};

/// Bytes of text that the match finder adds to a block at a time.
pub(crate) const CHUNK: usize = 1 << 14;
/// Longest match (RFC 1951 section 3.2.5).
pub(crate) const MAX_MATCH: usize = 258;
/// Tokens of a full block. The block's header, some hundred bits, is small in comparison.
const FULL: usize = 24 << 10;
const MIN_LENGTH: usize = 3;
const END_OF_BLOCK: usize = 256;
const LITERALS: usize = 256;
const SYMBOLS: usize = 286;
const DISTANCES: usize = 30;
const MAX_CODE_BITS: usize = 15;
const MAX_LENGTH_CODE_BITS: usize = 7;
/// Maximum bytes of a stored block.
const MAX_STORED: usize = 0xffff;

/// The length symbol minus 257, indexed by the match length minus 3.
const LENGTH_SYMBOLS: [u8; MAX_MATCH - MIN_LENGTH + 1] = {
    let mut symbols = [0; MAX_MATCH - MIN_LENGTH + 1];
    let (mut symbol, mut length) = (0, 0);
    while length < symbols.len() {
        if symbol + 1 < LENGTHS.len() && LENGTHS[symbol + 1].0 as usize == length + MIN_LENGTH {
            symbol += 1;
        }
        symbols[length] = symbol as u8;
        length += 1;
    }
    symbols
};
/// The first length and the number of extra bits, indexed by the length symbol minus 257.
const LENGTHS: [(u16, u8); 29] = {
    let mut lengths = [(0, 0); 29];
    let (mut symbol, mut first) = (0, MIN_LENGTH as u16);
    while symbol < lengths.len() {
        let extra_bits = if symbol < 8 { 0 } else { symbol as u8 / 4 - 1 };
        lengths[symbol] = (first, extra_bits);
        first += 1 << extra_bits;
        symbol += 1;
    }
    // The longest match has a symbol of its own.
    lengths[28] = (MAX_MATCH as u16, 0);
    lengths
};

/// A literal or a match. A literal is its byte.
///
/// A match has 256 plus its length minus 3 in bits 0 to 8, its distance symbol plus 1 in bits 9 to 13, and the extra bits of
/// its distance from bit 14. This layout lets [`Block::write_tokens`] write both kinds without a branch.
type Token = u32;
const DISTANCE_AT: u32 = 9;
const EXTRA_AT: u32 = 14;

/// The tokens of the current block.
pub(crate) struct Block {
    /// Has space for a full block and a further chunk of literals.
    tokens: Box<[Token]>,
    count: usize,
    distances: [u32; DISTANCES],
}

impl Block {
    pub(crate) fn new() -> Self {
        Self { tokens: vec![0; FULL + CHUNK].into(), count: 0, distances: [0; DISTANCES] }
    }

    /// Returns whether the block must be written before the next chunk.
    pub(crate) fn is_full(&self) -> bool {
        self.count > FULL
    }

    /// Returns the next unused tokens, which the caller fills with literals. The space suffices if the caller writes a full
    /// block before it begins a chunk.
    #[inline]
    pub(crate) fn literal_slots(&mut self, tokens: usize) -> &mut [Token] {
        &mut self.tokens[self.count..][..tokens]
    }

    /// Keeps the first `literals` tokens of [`Block::literal_slots`]. Then appends the match, given as length and distance.
    #[inline]
    pub(crate) fn push(&mut self, literals: usize, matched: Option<(usize, usize)>) {
        self.count += literals;
        if let Some((length, distance)) = matched {
            let back = distance as u32 - 1;
            // Two symbols divide the distances between two powers of two.
            let bits = (back | 2).ilog2();
            let (symbol, extra) = if back < 2 {
                (back, 0)
            } else {
                (2 * bits + (back >> (bits - 1) & 1), back & ((1 << (bits - 1)) - 1))
            };
            self.tokens[self.count] =
                (LITERALS + length - MIN_LENGTH) as u32 | (symbol + 1) << DISTANCE_AT | extra << EXTRA_AT;
            self.distances[symbol as usize] += 1;
            self.count += 1;
        }
    }

    /// Writes the block, whose tokens represent `text`, and begins the next one. Stores the text if that is shorter.
    pub(crate) fn write(&mut self, text: &[u8], last: bool, bits: &mut Bits) {
        if text.is_empty() {
            return write_stored(text, last, bits);
        }
        let (symbols, extra_bits) = self.symbols();
        if self.distances.iter().filter(|count| **count > 0).count() < 2 {
            // A code needs at least two symbols.
            self.distances[0] += 1;
            self.distances[1] += 1;
        }
        let symbol_code = Code::new(&symbols, MAX_CODE_BITS);
        let distance_code = Code::new(&self.distances, MAX_CODE_BITS);
        let lengths = CodeLengths::new(&symbol_code, &distance_code);
        let tokens = symbol_code.cost(&symbols) + distance_code.cost(&self.distances) + extra_bits;
        let bytes = (3 + lengths.cost() + tokens).div_ceil(8) as usize;
        if bytes < text.len() + 5 * text.len().div_ceil(MAX_STORED).max(1) {
            bits.reserve(bytes);
            bits.put(u64::from(last) | 2 << 1, 3);
            lengths.write(bits);
            self.write_tokens(&symbol_code, &distance_code, bits);
        } else {
            write_stored(text, last, bits);
        }
        self.count = 0;
        self.distances.fill(0);
    }

    /// Returns the count of each symbol, and the number of all extra bits.
    fn symbols(&self) -> ([u32; SYMBOLS], u64) {
        // Two sets of counts, because reading a count right after writing it stalls.
        let (mut counts, mut others) = ([0; 2 * LITERALS], [0; 2 * LITERALS]);
        let (pairs, single) = self.tokens[..self.count].as_chunks();
        for [first, second] in pairs {
            counts[*first as usize % (2 * LITERALS)] += 1;
            others[*second as usize % (2 * LITERALS)] += 1;
        }
        for token in single {
            counts[*token as usize % (2 * LITERALS)] += 1;
        }
        for (count, other) in counts.iter_mut().zip(others) {
            *count += other;
        }
        let mut symbols = [0; SYMBOLS];
        symbols[..LITERALS].copy_from_slice(&counts[..LITERALS]);
        symbols[END_OF_BLOCK] = 1;
        let mut extra_bits = 0;
        for (length, count) in counts[LITERALS..].iter().enumerate() {
            let symbol = usize::from(LENGTH_SYMBOLS[length]);
            symbols[END_OF_BLOCK + 1 + symbol] += count;
            extra_bits += u64::from(*count) * u64::from(LENGTHS[symbol].1);
        }
        for (symbol, count) in self.distances.iter().enumerate() {
            extra_bits += u64::from(*count) * u64::from(extra_of_distance(symbol));
        }
        (symbols, extra_bits)
    }

    fn write_tokens(&self, symbols: &Code<SYMBOLS>, distances: &Code<DISTANCES>, bits: &mut Bits) {
        // Indexed by the low 9 bits of a token: its code and extra bits, and from bit 24 their count.
        let mut of_symbol = [0_u32; 2 * LITERALS];
        let literals = of_symbol.iter_mut().zip(symbols.bits.iter().zip(symbols.lengths)).take(LITERALS);
        for (literal, (bits, length)) in literals {
            *literal = u32::from(*bits) | u32::from(length) << 24;
        }
        for (length, symbol) in LENGTH_SYMBOLS.iter().enumerate() {
            let (first, extra_bits) = LENGTHS[usize::from(*symbol)];
            let symbol = END_OF_BLOCK + 1 + usize::from(*symbol);
            let code_bits = u32::from(symbols.lengths[symbol]);
            let extra = (length + MIN_LENGTH) as u32 - u32::from(first);
            of_symbol[LITERALS + length] = u32::from(symbols.bits[symbol])
                | extra << code_bits
                | (code_bits + u32::from(extra_bits)) << 24;
        }
        // Indexed by distance symbol plus 1: its code, from bit 16 the count of code bits, from bit 24 the count of all bits.
        let mut of_distance = [0_u32; 32];
        for symbol in 0..DISTANCES {
            let code_bits = u32::from(distances.lengths[symbol]);
            of_distance[symbol + 1] = u32::from(distances.bits[symbol])
                | code_bits << 16
                | (code_bits + extra_of_distance(symbol)) << 24;
        }
        let look_up = |token: Token| {
            let symbol = of_symbol[token as usize % of_symbol.len()];
            let distance = of_distance[(token >> DISTANCE_AT) as usize % of_distance.len()];
            let (symbol_bits, code_bits) = (symbol >> 24, distance >> 16 & 0xff);
            let distance_and_extra = u64::from(distance & 0xffff) | u64::from(token >> EXTRA_AT) << code_bits;
            (
                u64::from(symbol & 0xff_ffff) | distance_and_extra << symbol_bits,
                symbol_bits + (distance >> 24),
            )
        };
        // The compiler keeps the fields of a local writer in registers.
        let mut own = std::mem::take(bits);
        let (pairs, single) = self.tokens[..self.count].as_chunks();
        for [first, second] in pairs {
            let (first, first_bits) = look_up(*first);
            let (second, second_bits) = look_up(*second);
            // Writing two tokens at once is faster, and they nearly always fit.
            if first_bits + second_bits <= MAX_BITS {
                own.put(first | second << first_bits, first_bits + second_bits);
            } else {
                own.put(first, first_bits);
                own.put(second, second_bits);
            }
        }
        for token in single {
            let (token, token_bits) = look_up(*token);
            own.put(token, token_bits);
        }
        own.put(u64::from(symbols.bits[END_OF_BLOCK]), u32::from(symbols.lengths[END_OF_BLOCK]));
        *bits = own;
    }
}

fn extra_of_distance(symbol: usize) -> u32 {
    (symbol as u32 / 2).saturating_sub(1)
}

/// Writes text as stored blocks, without compression.
fn write_stored(text: &[u8], last: bool, bits: &mut Bits) {
    bits.reserve(text.len() + 5 * text.len().div_ceil(MAX_STORED).max(1));
    let mut remaining = text;
    loop {
        let (part, after) = remaining.split_at(remaining.len().min(MAX_STORED));
        bits.put(u64::from(last && after.is_empty()), 3);
        bits.align();
        let length = part.len() as u16;
        bits.put(u64::from(length) | u64::from(!length) << 16, 32);
        bits.extend(part);
        remaining = after;
        if remaining.is_empty() {
            return;
        }
    }
}

/// The code lengths of both codes, run-length encoded and compressed with the code length code (RFC 1951 section 3.2.7).
struct CodeLengths {
    /// Symbol, value of its extra bits, and count of its extra bits.
    runs: Vec<(u8, u8, u8)>,
    code: Code<19>,
    counts: [u32; 19],
    symbols: usize,
    distances: usize,
}

impl CodeLengths {
    /// The order in which the lengths of the code length code are written.
    const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
    /// Bits of the fields HLIT, HDIST and HCLEN.
    const COUNT_BITS: u64 = 14;

    fn new(symbols: &Code<SYMBOLS>, distances: &Code<DISTANCES>) -> Self {
        let (of_symbols, of_distances) = (symbols.used(), distances.used());
        let mut lengths = [0; SYMBOLS + DISTANCES];
        lengths[..of_symbols].copy_from_slice(&symbols.lengths[..of_symbols]);
        lengths[of_symbols..of_symbols + of_distances].copy_from_slice(&distances.lengths[..of_distances]);
        let mut runs = Vec::new();
        for run in lengths[..of_symbols + of_distances].chunk_by(PartialEq::eq) {
            let (length, mut remaining) = (run[0], run.len());
            if length > 0 {
                runs.push((length, 0, 0));
                remaining -= 1;
            }
            while remaining > 0 {
                let (run, taken) = match (length, remaining) {
                    (0, 11..) => ((18, (remaining.min(138) - 11) as u8, 7), remaining.min(138)),
                    (0, 3..) => ((17, (remaining - 3) as u8, 3), remaining),
                    (1.., 3..) => ((16, (remaining.min(6) - 3) as u8, 2), remaining.min(6)),
                    _ => ((length, 0, 0), 1),
                };
                runs.push(run);
                remaining -= taken;
            }
        }
        let mut counts = [0; 19];
        for (symbol, ..) in &runs {
            counts[usize::from(*symbol)] += 1;
        }
        let code = Code::new(&counts, MAX_LENGTH_CODE_BITS);
        Self { runs, code, counts, symbols: of_symbols, distances: of_distances }
    }

    /// Returns the number of lengths of the code length code that are written.
    fn used(&self) -> usize {
        let last = Self::ORDER.iter().rposition(|symbol| self.code.lengths[*symbol] > 0);
        last.map_or(4, |last| (last + 1).max(4))
    }

    fn cost(&self) -> u64 {
        let extra: u64 = self.runs.iter().map(|(.., bits)| u64::from(*bits)).sum();
        Self::COUNT_BITS + 3 * self.used() as u64 + self.code.cost(&self.counts) + extra
    }

    fn write(&self, bits: &mut Bits) {
        bits.put((self.symbols - 257) as u64, 5);
        bits.put((self.distances - 1) as u64, 5);
        bits.put((self.used() - 4) as u64, 4);
        for symbol in &Self::ORDER[..self.used()] {
            bits.put(u64::from(self.code.lengths[*symbol]), 3);
        }
        for (symbol, extra, extra_bits) in &self.runs {
            let symbol = usize::from(*symbol);
            bits.put(u64::from(self.code.bits[symbol]), u32::from(self.code.lengths[symbol]));
            bits.put(u64::from(*extra), u32::from(*extra_bits));
        }
    }
}
