//! Lines: text up to a line feed or the end of the text.

use std::io::Read;

use super::{Found, Message, Records, State, binary};
use crate::{
    error::{ObjectError, Reason},
    pipeline::json_text as text,
};

impl<R: Read> Records<R> {
    /// Reads the line at the window's position. It is not empty.
    pub(super) fn line(&mut self) -> Result<Found, ObjectError> {
        let limit = self.limits.max_record_bytes;
        let mut searched = 0;
        let (length, line_feed) = loop {
            let seen = self.window.seen();
            if let Some(end) = memchr::memchr(b'\n', &seen[searched..]) {
                break (searched + end, 1);
            }
            if seen.len() > limit + 1 {
                self.state = State::SkipLine;
                break (seen.len(), 0);
            }
            searched = seen.len();
            if !self.window.more()?.is_more() {
                break (searched, 0);
            }
        };
        self.items.lines += 1;
        let start = self.window.at;
        self.window.at += length + line_feed;
        let line = &self.window.bytes[start..start + length];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let end = start + line.len();
        // Not more, because the bytes of a longer line in the window depend on the reads.
        let checked = &line[..line.len().min(limit)];
        if !text::is_text(checked)
            && let Some((format, at)) = binary::find(checked)
        {
            return Err(self.window.binary_in_text(format, start + at));
        }
        if line.len() > limit {
            self.set_plain_origin();
            return Ok(Found::faulty(Reason::TooLong, Message::Window(start, end)));
        }
        Ok(self.plain(start, end))
    }

    pub(super) fn skip_line(&mut self) -> Result<(), ObjectError> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', self.window.seen()) {
                self.window.at += end + 1;
                break;
            }
            self.window.at = self.window.len;
            if !self.window.more()?.is_more() {
                break;
            }
        }
        self.state = State::Between;
        Ok(())
    }
}
