//! The part of an object's text that is in memory.

use std::io::Read;

use crate::{error::ObjectError, pipeline::layers::Layers};

const WINDOW_BYTES: usize = 256 << 10;

/// The part of the decoded text that is in memory: `bytes[..len]`. `bytes[at..len]` is not used yet.
#[derive(Debug)]
pub(super) struct Window<R> {
    pub(super) layers: Layers<R>,
    pub(super) bytes: Vec<u8>,
    pub(super) len: usize,
    pub(super) at: usize,
    /// Position of `bytes[0]` in the decoded text.
    pub(super) base: u64,
    limit: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum More {
    Yes,
    End,
    Full,
}

impl More {
    pub(super) fn is_more(self) -> bool {
        self == Self::Yes
    }
}

impl<R: Read> Window<R> {
    pub(super) fn new(layers: Layers<R>, max_envelope_bytes: usize) -> Self {
        // Room for a record of the maximum length and for the bytes that end it.
        let limit = max_envelope_bytes + 64;
        Self { layers, bytes: vec![0; WINDOW_BYTES.min(limit)], len: 0, at: 0, base: 0, limit }
    }

    pub(super) fn seen(&self) -> &[u8] {
        &self.bytes[self.at..self.len]
    }

    /// Moves the unused bytes to the front and reads until their number has doubled. So scanning a growing item again after
    /// each read takes linear time in total.
    pub(super) fn more(&mut self) -> Result<More, ObjectError> {
        self.bytes.copy_within(self.at..self.len, 0);
        self.base += self.at as u64;
        self.len -= self.at;
        self.at = 0;
        let before = self.len;
        while self.len < before * 2 + 1 {
            if self.len == self.bytes.len() {
                if self.len == self.limit {
                    return Ok(if self.len > before { More::Yes } else { More::Full });
                }
                self.bytes.resize((self.len * 2).min(self.limit), 0);
            }
            match self.layers.read(&mut self.bytes[self.len..])? {
                0 if self.len > before => return Ok(More::Yes),
                0 => return Ok(More::End),
                count => self.len += count,
            }
        }
        Ok(More::Yes)
    }

    pub(super) fn corrupt(&self, what: &str, at: usize) -> ObjectError {
        ObjectError::Corrupt { what: what.to_owned(), layer: self.layer(), at: self.base + at as u64 }
    }

    pub(super) fn truncated(&self, what: &'static str) -> ObjectError {
        ObjectError::Truncated { what, layer: self.layer(), at: self.base + self.len as u64 }
    }

    /// Returns the window's position in the decoded text.
    pub(super) fn position(&self) -> u64 {
        self.base + self.at as u64
    }

    pub(super) fn too_large(&self, at: u64) -> ObjectError {
        ObjectError::EnvelopeTooLarge { max: self.limit - 64, at }
    }

    pub(super) fn not_json(&self, at: u64) -> ObjectError {
        let what = format!("a JSON object of more than {} bytes that is damaged", self.limit - 64);
        ObjectError::Corrupt { what, layer: self.layer(), at }
    }

    pub(super) fn binary_in_text(&self, format: &'static str, at: usize) -> ObjectError {
        ObjectError::CompressedInText { format, layer: self.layer(), at: self.base + at as u64 }
    }

    /// Returns the number of the text's own layer, which the innermost compressed layer contains.
    pub(super) fn layer(&self) -> usize {
        self.layers.depth()
    }
}
