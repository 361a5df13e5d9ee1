//! Bits as bytes, the lowest first (RFC 1951 section 3.1.1).

const WORD: usize = 8;
/// As many can be appended at once.
pub(crate) const MOST_BITS: u32 = 56;

/// Bytes that are being written, and fewer than eight bits that are no byte yet.
#[derive(Debug, Default)]
pub(crate) struct Bits {
    /// Written up to `at`. What is behind stays from before, so that it need not be cleared for each use.
    bytes: Vec<u8>,
    at: usize,
    pending: u64,
    count: u32,
}

impl Bits {
    /// Forgets what was written.
    pub(crate) fn clear(&mut self) {
        (self.at, self.pending, self.count) = (0, 0, 0);
    }

    /// What was written, without bits that are no byte yet.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.at]
    }

    /// Makes room for so many bytes; [`Bits::put`] must have it.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        let needed = self.at + bytes + 2 * WORD;
        if self.bytes.len() < needed {
            self.bytes.resize(needed, 0);
        }
    }

    /// Appends up to [`MOST_BITS`].
    #[inline]
    pub(crate) fn put(&mut self, bits: u64, count: u32) {
        self.pending |= bits << self.count;
        self.count += count;
        self.bytes[self.at..self.at + WORD].copy_from_slice(&self.pending.to_le_bytes());
        self.at += (self.count / 8) as usize;
        self.pending >>= self.count & !7;
        self.count %= 8;
    }

    /// Fills the last byte.
    pub(crate) fn align(&mut self) {
        self.put(0, self.count.wrapping_neg() % 8);
    }

    /// Appends whole bytes behind a whole byte.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        debug_assert_eq!(self.count, 0);
        self.reserve(bytes.len());
        self.bytes[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}
