//! The input of one layer: fetched bytes that are not yet decoded, and their position for errors.

use crate::error::ObjectError;

/// Bytes that a layer fetches at a time.
const INPUT_BYTES: usize = 64 << 10;

/// Fills the given buffer with bytes of the layer below. Returns their number; 0 means the end.
pub(super) type Refill<'a> = &'a mut dyn FnMut(&mut [u8]) -> Result<usize, ObjectError>;

/// Fetched bytes `bytes[at..end]` that are not yet decoded.
pub(super) struct Input {
    layer: usize,
    bytes: Vec<u8>,
    at: usize,
    end: usize,
    /// Position of `bytes[0]` in the layer.
    base: u64,
}

impl Input {
    /// Starts with `head`, whose first byte is at `base` of the layer.
    pub(super) fn new(layer: usize, base: u64, head: Vec<u8>) -> Self {
        Self { layer, at: 0, end: head.len(), bytes: head, base }
    }

    pub(super) fn unused(&self) -> &[u8] {
        &self.bytes[self.at..self.end]
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.at = self.end.min(self.at + count);
    }

    /// Fetches more bytes after the unused ones. Returns false at the end of the layer. Does not clear the buffer, because
    /// the layer below may return one byte per call.
    pub(super) fn fetch(&mut self, refill: Refill<'_>) -> Result<bool, ObjectError> {
        if self.at > 0 {
            self.base += self.at as u64;
            self.bytes.copy_within(self.at..self.end, 0);
            self.end -= self.at;
            self.at = 0;
        }
        if self.bytes.len() < INPUT_BYTES.max(self.end + 1) {
            self.bytes.resize(INPUT_BYTES.max(self.end * 2), 0);
        }
        let count = refill(&mut self.bytes[self.end..])?;
        self.end += count;
        Ok(count > 0)
    }

    /// Fetches until `count` bytes are unused. Returns false if the layer ends before that.
    pub(super) fn want(&mut self, count: usize, refill: Refill<'_>) -> Result<bool, ObjectError> {
        while self.unused().len() < count {
            if !self.fetch(refill)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Fetches until `count` bytes are unused and returns them. The end of the layer is an error that names `what`.
    pub(super) fn need(
        &mut self,
        count: usize,
        what: &'static str,
        refill: Refill<'_>,
    ) -> Result<&[u8], ObjectError> {
        if self.want(count, refill)? { Ok(&self.unused()[..count]) } else { Err(self.truncated(what)) }
    }

    /// Fetches bytes and returns whether they are `expected`. They are not consumed.
    pub(super) fn next_is(&mut self, expected: &[u8], refill: Refill<'_>) -> Result<bool, ObjectError> {
        Ok(self.want(expected.len(), refill)? && self.unused().starts_with(expected))
    }

    /// Skips `count` bytes, which may be more than the buffer holds.
    pub(super) fn skip(
        &mut self,
        mut count: u64,
        what: &'static str,
        refill: Refill<'_>,
    ) -> Result<(), ObjectError> {
        while count > 0 {
            self.need(1, what, refill)?;
            let here = count.min(self.unused().len() as u64);
            self.consume(here as usize);
            count -= here;
        }
        Ok(())
    }

    /// Returns the position of the next unused byte in the layer.
    pub(super) fn position(&self) -> u64 {
        self.base + self.at as u64
    }

    pub(super) fn corrupt(&self, what: impl Into<String>) -> ObjectError {
        self.corrupt_at(self.position(), what)
    }

    pub(super) fn corrupt_at(&self, at: u64, what: impl Into<String>) -> ObjectError {
        ObjectError::Corrupt { what: what.into(), layer: self.layer, at }
    }

    pub(super) fn truncated(&self, what: &'static str) -> ObjectError {
        ObjectError::Truncated { what, layer: self.layer, at: self.base + self.end as u64 }
    }

    pub(super) fn unsupported(&self, what: impl Into<String>, todo: &'static str) -> ObjectError {
        ObjectError::Unsupported { what: what.into(), layer: self.layer, at: self.position(), todo }
    }

    pub(super) fn window_too_large(&self, at: u64, what: &'static str, max: u64) -> ObjectError {
        ObjectError::WindowTooLarge { what, layer: self.layer, at, max }
    }
}

/// Reads `bytes` as a little-endian number.
pub(super) fn le(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// Reads `bytes` as a big-endian number.
pub(super) fn be(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
