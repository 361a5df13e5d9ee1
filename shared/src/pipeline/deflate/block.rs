//! A block of a deflate stream: literals and matches, written with codes made for them (RFC 1951 sections 3.2.3 to 3.2.7).

use super::{
    CHUNK, MAX_MATCH,
    bits::{Bits, MOST_BITS},
    huffman::Code,
};

/// From here on a block is full: enough that its codes, some hundred bits, are a small part of it.
const FULL: usize = 24 << 10;
const MIN_LENGTH: usize = 3;
const END_OF_BLOCK: usize = 256;
const LITERALS: usize = 256;
const SYMBOLS: usize = 286;
const DISTANCES: usize = 30;
const LONGEST_CODE: usize = 15;
const LONGEST_CODE_OF_LENGTHS: usize = 7;
/// A stored block's longest text.
const MAX_STORED: usize = 0xffff;

/// For each length, less 3, its symbol, less 257.
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
/// For each length symbol, its first length and how many extra bits it has.
const LENGTHS: [(u16, u8); 29] = {
    let mut lengths = [(0, 0); 29];
    let (mut symbol, mut first) = (0, MIN_LENGTH as u16);
    while symbol < lengths.len() {
        let extra_bits = if symbol < 8 { 0 } else { symbol as u8 / 4 - 1 };
        lengths[symbol] = (first, extra_bits);
        first += 1 << extra_bits;
        symbol += 1;
    }
    // The longest has a symbol of its own.
    lengths[28] = (MAX_MATCH as u16, 0);
    lengths
};

/// A literal is its byte. A match is 256 and its length less 3, from bit 9 on its distance symbol plus 1, and from bit 14
/// on its distance's extra bits: so that both can be written by the same steps, without a branch.
type Token = u32;
const DISTANCE_AT: u32 = 9;
const EXTRA_AT: u32 = 14;

/// What is still to be written.
pub(super) struct Block {
    /// Room for a full block and another chunk without any match.
    tokens: Box<[Token]>,
    count: usize,
    distances: [u32; DISTANCES],
}

impl Block {
    pub(super) fn new() -> Self {
        Self { tokens: vec![0; FULL + CHUNK].into(), count: 0, distances: [0; DISTANCES] }
    }

    /// Whether the block should be written before the next chunk.
    pub(super) fn is_full(&self) -> bool {
        self.count > FULL
    }

    /// The next tokens, to be filled with literals. There is room for them as long as no chunk is begun in a full block.
    #[inline]
    pub(super) fn room(&mut self, tokens: usize) -> &mut [Token] {
        &mut self.tokens[self.count..][..tokens]
    }

    /// Keeps so many of the literals in the room, and then a match of this length and distance.
    #[inline]
    pub(super) fn take(&mut self, literals: usize, matched: Option<(usize, usize)>) {
        self.count += literals;
        if let Some((length, distance)) = matched {
            let back = distance as u32 - 1;
            // A symbol for each half of the distances between two powers of two.
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

    /// Writes the block, whose text this is, and begins the next.
    pub(super) fn write(&mut self, text: &[u8], last: bool, bits: &mut Bits) {
        if text.is_empty() {
            return write_stored(text, last, bits);
        }
        let (symbols, extra_bits) = self.symbols();
        if self.distances.iter().filter(|count| **count > 0).count() < 2 {
            // A code is of two symbols at least.
            self.distances[0] += 1;
            self.distances[1] += 1;
        }
        let symbol_code = Code::new(&symbols, LONGEST_CODE);
        let distance_code = Code::new(&self.distances, LONGEST_CODE);
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

    /// How often each symbol occurs, and how many extra bits there are altogether.
    fn symbols(&self) -> ([u32; SYMBOLS], u64) {
        // Two, because a count that was just changed is slow to be read again.
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
        // By a token's low bits: what to write, and from bit 24 on how many bits of it.
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
        // By distance symbol plus 1: the code, from bit 16 on its bits, from bit 24 on its bits and the extra ones.
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
        // On its own, the writer stays in registers.
        let mut own = std::mem::take(bits);
        let (pairs, single) = self.tokens[..self.count].as_chunks();
        for [first, second] in pairs {
            let (first, first_bits) = look_up(*first);
            let (second, second_bits) = look_up(*second);
            // Two at once are faster; they nearly always fit.
            if first_bits + second_bits <= MOST_BITS {
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

/// Text that does not get shorter.
fn write_stored(text: &[u8], last: bool, bits: &mut Bits) {
    bits.reserve(text.len() + 5 * text.len().div_ceil(MAX_STORED).max(1));
    let mut rest = text;
    loop {
        let (part, behind) = rest.split_at(rest.len().min(MAX_STORED));
        bits.put(u64::from(last && behind.is_empty()), 3);
        bits.align();
        let length = part.len() as u16;
        bits.put(u64::from(length) | u64::from(!length) << 16, 32);
        bits.extend(part);
        rest = behind;
        if rest.is_empty() {
            return;
        }
    }
}

/// The lengths of both codes, run-length encoded and written with a code of their own.
struct CodeLengths {
    /// Symbol, value of its extra bits, how many.
    runs: Vec<(u8, u8, u8)>,
    code: Code<19>,
    counts: [u32; 19],
    symbols: usize,
    distances: usize,
}

impl CodeLengths {
    /// The order in which this code's own lengths are written.
    const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
    const BITS_OF_NUMBERS: u64 = 14;

    fn new(symbols: &Code<SYMBOLS>, distances: &Code<DISTANCES>) -> Self {
        let (of_symbols, of_distances) = (symbols.used(), distances.used());
        let mut lengths = [0; SYMBOLS + DISTANCES];
        lengths[..of_symbols].copy_from_slice(&symbols.lengths[..of_symbols]);
        lengths[of_symbols..of_symbols + of_distances].copy_from_slice(&distances.lengths[..of_distances]);
        let mut runs = Vec::new();
        for run in lengths[..of_symbols + of_distances].chunk_by(PartialEq::eq) {
            let (length, mut left) = (run[0], run.len());
            if length > 0 {
                runs.push((length, 0, 0));
                left -= 1;
            }
            while left > 0 {
                let (run, taken) = match (length, left) {
                    (0, 11..) => ((18, (left.min(138) - 11) as u8, 7), left.min(138)),
                    (0, 3..) => ((17, (left - 3) as u8, 3), left),
                    (1.., 3..) => ((16, (left.min(6) - 3) as u8, 2), left.min(6)),
                    _ => ((length, 0, 0), 1),
                };
                runs.push(run);
                left -= taken;
            }
        }
        let mut counts = [0; 19];
        for (symbol, ..) in &runs {
            counts[usize::from(*symbol)] += 1;
        }
        let code = Code::new(&counts, LONGEST_CODE_OF_LENGTHS);
        Self { runs, code, counts, symbols: of_symbols, distances: of_distances }
    }

    /// How many of this code's lengths are written.
    fn used(&self) -> usize {
        let last = Self::ORDER.iter().rposition(|symbol| self.code.lengths[*symbol] > 0);
        last.map_or(4, |last| (last + 1).max(4))
    }

    fn cost(&self) -> u64 {
        let extra: u64 = self.runs.iter().map(|(.., bits)| u64::from(*bits)).sum();
        Self::BITS_OF_NUMBERS + 3 * self.used() as u64 + self.code.cost(&self.counts) + extra
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
