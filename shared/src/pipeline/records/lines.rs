//! Lines: text up to a line feed or the end of the text.

use std::io::Read;

use memchr::memmem::Finder;

use super::{Found, Message, Records, State};
use crate::{
    error::{ObjectError, Reason},
    pipeline::{
        json_text as text,
        layers::embedded::{self, PROOF_BYTES},
    },
};

/// Bytes kept of the end of a line that is too long: more than the longest header line of a flow log has.
const KEPT_BYTES: usize = 2 << 10;

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
        let line = &self.window.seen()[..length];
        let without_return = line.strip_suffix(b"\r").unwrap_or(line).len();
        // Not beyond the limit: how much of a longer line the window holds depends on the reads.
        self.refuse_binary(without_return.min(limit))?;

        self.items.lines += 1;
        let start = self.window.at;
        let end = start + without_return;
        self.window.at += length + line_feed;
        std::mem::swap(&mut self.skipped, &mut self.skipped_before);
        self.skipped.clear();
        let line = &self.window.bytes[start..end];
        let fault = if line.len() > limit {
            keep_end(&mut self.skipped, line);
            Some(Reason::TooLong)
        } else {
            self.signature.is_in(line).then_some(Reason::GluedEnvelope)
        };
        let found = match fault {
            Some(reason) => {
                self.set_plain_origin();
                Found::new(Some(reason), Message::Window(start, end))
            }
            None => self.plain(start, end),
        };
        Ok(Found { is_line: true, ..found })
    }

    /// Fails the object if compressed or binary data begins within the next `length` bytes.
    fn refuse_binary(&mut self, length: usize) -> Result<(), ObjectError> {
        let bytes = &self.window.seen()[..length];
        if text::is_text(bytes) || embedded::find(bytes, length).is_none() {
            return Ok(());
        }
        // The header may hold a line feed.
        let proof = length + PROOF_BYTES;
        while self.window.seen().len() < proof && self.window.more()?.is_more() {}
        let bytes = self.window.seen();
        match embedded::find(&bytes[..bytes.len().min(proof)], length) {
            Some((format, at)) => Err(self.window.binary_in_text(format, self.window.at + at)),
            None => Ok(()),
        }
    }

    pub(super) fn skip_line(&mut self) -> Result<(), ObjectError> {
        loop {
            let seen = self.window.seen();
            if let Some(end) = memchr::memchr(b'\n', seen) {
                keep_end(&mut self.skipped, &seen[..end]);
                self.window.at += end + 1;
                break;
            }
            keep_end(&mut self.skipped, seen);
            self.window.at = self.window.len;
            if !self.window.more()?.is_more() {
                break;
            }
        }
        self.state = State::Between;
        Ok(())
    }
}

/// Appends `bytes` and keeps the end of the result.
fn keep_end(kept: &mut Vec<u8>, bytes: &[u8]) {
    kept.extend_from_slice(&bytes[bytes.len().saturating_sub(KEPT_BYTES)..]);
    kept.drain(..kept.len().saturating_sub(KEPT_BYTES));
}

/// Finds the two keys that show a whole envelope within a line. The line is a reject: as a row it would hide the events,
/// and as an envelope it would let an attacker who writes part of a line forge events of any log group.
#[derive(Debug)]
pub(super) struct EnvelopeSignature {
    events: Finder<'static>,
    message_type: Finder<'static>,
}

impl EnvelopeSignature {
    pub(super) fn new() -> Self {
        Self { events: Finder::new(br#""logEvents""#), message_type: Finder::new(br#""messageType""#) }
    }

    fn is_in(&self, line: &[u8]) -> bool {
        let skip_space = |bytes: &mut &[u8]| *bytes = bytes.trim_ascii_start();
        let has_value = |at: usize, key: &Finder<'_>, first: &[u8]| {
            let mut rest = &line[at + key.needle().len()..];
            skip_space(&mut rest);
            let Some(mut rest) = rest.strip_prefix(b":") else { return false };
            skip_space(&mut rest);
            rest.starts_with(first)
        };
        let has = |key: &Finder<'_>, first| key.find_iter(line).any(|at| has_value(at, key, first));
        has(&self.events, b"[") && has(&self.message_type, b"")
    }
}
