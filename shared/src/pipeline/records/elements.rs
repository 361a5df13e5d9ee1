//! The elements of an array of records, such as `Records` of a CloudTrail object, which may be longer than the window.

use std::io::Read;

use super::{
    AfterSkip, Found, Message, Records, State,
    envelope::{self, Stop},
    json_scan::{JsonScan, RecordsPath, Step},
    window::More,
};
use crate::{
    error::{ObjectError, Reason},
    pipeline::json_text,
};

/// The name in errors of an object with an array of records.
const ARRAY: &str = "a JSON array of records";

/// Returns whether a message is a JSON object, or array, with an array of records at this path.
pub(crate) fn has_array(message: &[u8], path: &RecordsPath) -> bool {
    let message = message.trim_ascii();
    let mut scan = JsonScan::new(vec![path.clone()]);
    scan.restart();
    matches!(message.first(), Some(b'{' | b'[')) && matches!(scan.advance(message), Step::Records { .. })
}

impl<R: Read> Records<R> {
    /// Begins to read the elements of the array whose bracket, or first element, ends at the window's position.
    pub(super) fn open_array(&mut self, path: usize) {
        self.set_plain_origin();
        self.state = State::Elements { path, first: true };
    }

    pub(super) fn next_element(&mut self, path: usize, first: bool) -> Result<Option<Found>, ObjectError> {
        let (start, end) = loop {
            match envelope::array_value(&self.window.bytes[..self.window.len], self.window.at, first) {
                Ok((Some((start, end)), after)) => {
                    self.window.at = after;
                    break (start, end);
                }
                Ok((None, after)) => {
                    self.window.at = after;
                    self.state =
                        if self.json.paths()[path].is_empty() { State::AfterJson } else { State::AfterArray };
                    return Ok(None);
                }
                Err(Stop::Wrong(what, at)) => return Err(self.window.corrupt(what, at)),
                Err(Stop::More) => match self.window.more()? {
                    More::Yes => {}
                    More::End => return Err(self.window.truncated(ARRAY)),
                    More::Full => return self.long_element(path).map(Some),
                },
            }
        };
        self.state = State::Elements { path, first: false };
        let found = if self.window.bytes[start] == b'"' {
            let raw = &self.window.bytes[start + 1..end - 1];
            let escaped = memchr::memchr(b'\\', raw).is_some();
            let text = json_text::Text { start: start + 1, end: end - 1, escaped, is_simple: false };
            let (message, fault, is_repaired) = self.text_message(text);
            Found { is_repaired, ..Found::new(fault, message) }
        } else {
            self.plain(start, end)
        };
        Ok(Some(Found { element: Some(path), ..found }))
    }

    /// An element that does not fit the window: its beginning is the record, the remaining bytes are skipped.
    fn long_element(&mut self, path: usize) -> Result<Found, ObjectError> {
        let mut message = self.begin_skip(AfterSkip::Elements { path })?;
        if let Message::Window(start, end) = &mut message
            && self.window.bytes[*start] == b'"'
        {
            *start += 1;
            *end = self.window.len.min(*end + 1);
        }
        Ok(Found { element: Some(path), ..Found::new(Some(Reason::TooLong), message) })
    }

    /// Reads from after an array of records to the end of its object, or to its next array of records.
    pub(super) fn after_array(&mut self) -> Result<(), ObjectError> {
        loop {
            match self.json.advance(self.window.seen()) {
                Step::End(length) => {
                    self.window.at += length;
                    self.state = State::AfterJson;
                    return Ok(());
                }
                Step::Records { path, length } => {
                    self.window.at += length;
                    self.state = State::Elements { path, first: true };
                    return Ok(());
                }
                Step::Envelope => {
                    return Err(self
                        .window
                        .corrupt("an envelope that also has an array of records", self.window.at));
                }
                Step::NotJson => {
                    return Err(self
                        .window
                        .corrupt("a JSON object with an array of records", self.window.at));
                }
                Step::More => {
                    self.window.at = self.window.len;
                    if !self.window.more()?.is_more() {
                        return Err(self.window.truncated("a JSON object with an array of records"));
                    }
                }
            }
        }
    }
}
