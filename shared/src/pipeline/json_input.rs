//! JSON text as it is, or as it is inside a JSON string.

use std::borrow::Cow;

use super::bytes;

/// JSON text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JsonInput<'t> {
    pub(crate) bytes: &'t [u8],
    /// Whether the bytes are those inside a JSON string whose only escapes are `\"`. They are valid text. Each quote has a
    /// backslash before it, and there are no other backslashes.
    pub(crate) has_escaped_quotes: bool,
}

impl<'t> JsonInput<'t> {
    /// Returns JSON text as it is.
    pub(crate) fn new(bytes: &'t [u8]) -> Self {
        Self { bytes, has_escaped_quotes: false }
    }

    /// Returns the bytes of a quote.
    #[inline]
    pub(crate) fn quote_length(self) -> usize {
        1 + usize::from(self.has_escaped_quotes)
    }

    /// Returns start and end of the content of a string, given the position of its opening quote and its end.
    #[inline]
    pub(crate) fn content(self, quote: usize, end: usize) -> (usize, usize) {
        (quote + 1, end - self.quote_length())
    }

    /// Returns a value as it is outside of a JSON string.
    pub(crate) fn value(self, start: usize, end: usize) -> Cow<'t, [u8]> {
        let raw = &self.bytes[start..end];
        if !self.has_escaped_quotes || memchr::memchr(b'\\', raw).is_none() {
            return raw.into();
        }
        let mut value = Vec::new();
        bytes::append_without_backslashes(self.bytes, start, end, &mut value);
        value.into()
    }
}
