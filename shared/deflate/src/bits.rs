//! A writer of bits, the lowest first (RFC 1951 section 3.1.1).

const WORD: usize = 8;
/// Bits that one call can append.
pub(crate) const MAX_BITS: u32 = 56;

/// The bytes written so far, and up to seven pending bits.
#[derive(Debug, Default)]
pub(crate) struct Bits {
    /// Written up to `at`. The bytes after it are stale and are overwritten, which is faster than clearing them.
    bytes: Vec<u8>,
    at: usize,
    pending: u64,
    count: u32,
}

impl Bits {
    /// Removes everything written.
    pub(crate) fn clear(&mut self) {
        (self.at, self.pending, self.count) = (0, 0, 0);
    }

    /// Returns the written bytes, without pending bits.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.at]
    }

    /// Makes room for this number of bytes. [`Bits::put`] needs it.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        let needed = self.at + bytes + 2 * WORD;
        if self.bytes.len() < needed {
            self.bytes.resize(needed, 0);
        }
    }

    /// Appends up to [`MAX_BITS`]. Call [`Bits::reserve`] first.
    #[inline]
    pub(crate) fn put(&mut self, bits: u64, count: u32) {
        self.pending |= bits << self.count;
        self.count += count;
        self.bytes[self.at..self.at + WORD].copy_from_slice(&self.pending.to_le_bytes());
        self.at += (self.count / 8) as usize;
        self.pending >>= self.count & !7;
        self.count %= 8;
    }

    /// Pads the last byte with zeros.
    pub(crate) fn align(&mut self) {
        self.put(0, self.count.wrapping_neg() % 8);
    }

    /// Appends bytes. There must be no pending bits.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        debug_assert_eq!(self.count, 0);
        self.reserve(bytes.len());
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}
