//! The values of a message, and the text that they are cut from.

use std::borrow::Cow;

use super::json;
use crate::{error::Reason, limits::MAX_ROW_BYTES, pipeline::json_input::JsonInput};

/// Start and end of a value in a [`RowText`]; `None` if it is absent.
pub(crate) type Cell = Option<(u32, u32)>;

/// The text that the values of a row are cut from: the message, then the decoded values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowText<'a> {
    /// The message. If its quotes are escaped, a value with quotes has their backslashes too.
    pub(crate) message: JsonInput<'a>,
    /// Values that differ from their text in the message. Their positions begin at the message's end.
    pub(crate) decoded: &'a [u8],
}

impl<'a> RowText<'a> {
    /// Returns the value at these positions.
    pub(crate) fn value(self, (start, end): (u32, u32)) -> Cow<'a, [u8]> {
        let (start, end) = (start as usize, end as usize);
        let length = self.message.bytes.len();
        if start < length {
            self.message.value(start, end)
        } else {
            self.decoded[start - length..end - length].into()
        }
    }
}

/// The values of a message. Reused for every record.
#[derive(Debug, Default)]
pub(crate) struct Values {
    /// By position of the format's columns.
    pub(crate) cells: Vec<Cell>,
    /// Values that differ from their text in the message.
    pub(crate) decoded: Vec<u8>,
    /// Whether invalid text was replaced in a value.
    pub(crate) repaired: bool,
    /// The ends of a line's fields.
    pub(super) ends: Vec<usize>,
    /// Buffers of JSON formats.
    pub(super) json: json::Scratch,
}

impl Values {
    /// Returns the text of the cells.
    pub(crate) fn text<'v>(&'v self, message: JsonInput<'v>) -> RowText<'v> {
        RowText { message, decoded: &self.decoded }
    }

    /// Checks that at least one of the columns, and every required column, has a value.
    pub(super) fn satisfy(&self, columns: usize, required: &[usize]) -> Result<(), Reason> {
        if self.cells[..columns].iter().all(Option::is_none) {
            return Err(Reason::NoColumns);
        }
        let is_missing = required.iter().any(|column| self.cells[*column].is_none());
        if is_missing { Err(Reason::MissingRequired) } else { Ok(()) }
    }

    /// Checks that the values fit a row. Values may overlap.
    pub(super) fn fit(&self, message: JsonInput<'_>) -> Result<(), Reason> {
        let text = self.text(message);
        // The upper bound decides almost always.
        let length = message.bytes.len() + self.decoded.len();
        if length.saturating_mul(self.cells.len()) <= MAX_ROW_BYTES {
            return Ok(());
        }
        let bytes: usize = self.cells.iter().flatten().map(|cell| text.value(*cell).len()).sum();
        if bytes > MAX_ROW_BYTES { Err(Reason::TooLong) } else { Ok(()) }
    }

    /// Copies the values out of their message. After the call, their text has an empty message.
    pub(super) fn detach(&mut self, message: JsonInput<'_>) -> Result<(), Reason> {
        let mut copied = Vec::new();
        let text = RowText { message, decoded: &self.decoded };
        for cell in &mut self.cells {
            let Some(span) = *cell else { continue };
            if copied.len() > MAX_ROW_BYTES {
                return Err(Reason::TooLong);
            }
            let start = copied.len() as u32;
            copied.extend_from_slice(&text.value(span));
            *cell = Some((start, copied.len() as u32));
        }
        self.decoded = copied;
        Ok(())
    }

    /// Returns the text of cells after [`Values::detach`].
    pub(super) fn detached(&self) -> RowText<'_> {
        self.text(JsonInput::new(&[]))
    }
}
