//! Finds the ends of strings in JSON text, 64 bytes at once.

use crate::pipeline::{
    bytes::{self, BLOCK, JsonBlock},
    json_input::JsonInput,
    json_text,
};

/// The quotes of one block of a text. It moves forward only.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quotes {
    /// A bit for each quote of the block that opens or closes a string.
    found: u64,
    /// The position of the block.
    base: usize,
    /// 1 if the next block begins after a backslash that begins an escape.
    in_escape: u64,
    /// The end of the last block so far with a backslash, a control character, or a byte that is not ASCII.
    special_end: usize,
}

impl Quotes {
    pub(super) fn new(text: JsonInput<'_>) -> Self {
        let mut quotes = Self { found: 0, base: 0, in_escape: 0, special_end: 0 };
        quotes.read_block(text);
        quotes
    }

    /// Returns the position of the first quote from `start` on; `None` if there is none. `start` is not before the block.
    #[inline]
    pub(super) fn next(&mut self, text: JsonInput<'_>, start: usize) -> Option<usize> {
        let offset = start - self.base;
        if offset < BLOCK {
            let found = self.found >> offset;
            if found != 0 {
                return Some(start + found.trailing_zeros() as usize);
            }
        }
        self.next_in_later_block(text, start)
    }

    #[inline(never)]
    fn next_in_later_block(&mut self, text: JsonInput<'_>, start: usize) -> Option<usize> {
        loop {
            self.base += BLOCK;
            if self.base >= text.bytes.len() {
                return None;
            }
            self.read_block(text);
            let before = start.saturating_sub(self.base);
            if before < BLOCK {
                let found = self.found & (u64::MAX << before);
                if found != 0 {
                    return Some(self.base + found.trailing_zeros() as usize);
                }
            }
        }
    }

    /// Returns whether a string from `start` to a quote that [`Quotes::next`] returned has only ASCII, and neither escapes nor
    /// control characters.
    #[inline]
    pub(super) fn is_plain_from(&self, start: usize) -> bool {
        self.special_end <= start
    }

    fn read_block(&mut self, text: JsonInput<'_>) {
        let rest = &text.bytes[self.base..];
        let mut last = [b' '; BLOCK];
        let block = rest.first_chunk().unwrap_or_else(|| {
            last[..rest.len()].copy_from_slice(rest);
            &last
        });
        if text.has_escaped_quotes {
            self.found = bytes::quotes_and_backslashes(block).0;
            return;
        }
        let JsonBlock { quotes, backslashes, has_others } = JsonBlock::of(block);
        self.found = quotes;
        if backslashes | self.in_escape != 0 {
            self.found &= !json_text::escaped_bytes(backslashes, &mut self.in_escape);
        }
        if has_others || backslashes != 0 {
            self.special_end = self.base + BLOCK;
        }
    }
}
