//! The text that the values of a row are cut from.

use std::borrow::Cow;

use crate::pipeline::json_input::JsonInput;

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
