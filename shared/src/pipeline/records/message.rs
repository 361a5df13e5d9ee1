//! The message of a record.

use std::cell::{OnceCell, RefCell};

use crate::pipeline::{bytes, json_input::JsonInput};

/// The location of a message while the window is still borrowed mutably.
#[derive(Clone, Copy, Debug)]
pub(super) enum Message {
    /// Start and end in the window.
    Window(usize, usize),
    /// Start and end in the window. Its quotes have a backslash before them, and it has no other escapes.
    EscapedQuotes(usize, usize),
    Scratch,
}

/// The text of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MessageText<'a> {
    pub(super) raw: &'a [u8],
    /// Where to unescape it, if its quotes are escaped.
    pub(super) unescaped: Option<&'a Unescaped>,
}

/// A message without its escapes, made when it is first read. A JSON rule reads its columns from the escaped text.
#[derive(Debug, Default)]
pub(crate) struct Unescaped {
    text: OnceCell<Vec<u8>>,
    /// The buffer of the next text.
    buffer: RefCell<Vec<u8>>,
}

impl Unescaped {
    /// Removes the text and keeps its buffer for the next one.
    pub(super) fn clear(&mut self) {
        if let Some(mut buffer) = self.text.take() {
            buffer.clear();
            self.buffer.replace(buffer);
        }
    }

    fn get(&self, raw: &[u8]) -> &[u8] {
        self.text.get_or_init(|| {
            let mut text = self.buffer.take();
            bytes::append_without_backslashes(raw, 0, raw.len(), &mut text);
            text
        })
    }
}

impl<'a> MessageText<'a> {
    pub(super) fn bytes(self) -> &'a [u8] {
        match self.unescaped {
            Some(unescaped) => unescaped.get(self.raw),
            None => self.raw,
        }
    }

    pub(super) fn json(self) -> JsonInput<'a> {
        JsonInput { bytes: self.raw, has_escaped_quotes: self.unescaped.is_some() }
    }
}
