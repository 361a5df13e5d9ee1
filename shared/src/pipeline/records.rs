//! Stage 2: splits decoded text into records: events of CloudWatch Logs envelopes, JSON objects, elements of arrays, lines.
//!
//! The text is a sequence of items in any mixture. Each item begins where the one before it ends, and its first bytes
//! alone decide what it is. The text passes through a window that grows only while one item, or one part of an envelope,
//! does not fit; chunk, member and record boundaries may fall anywhere.

mod elements;
mod envelope;
mod events;
mod json_scan;
mod lines;
mod message;
mod record;
mod window;

use std::io::Read;

pub(crate) use elements::has_array;
pub use envelope::EVENT_PATTERN;
use events::{AfterSkip, Skipping};
use json_scan::{JsonScan, Step};
pub(crate) use json_scan::{MAX_STEP_BYTES, RecordsPath, unmatched_path};
use lines::EnvelopeSignature;
use message::{Message, MessageText, Unescaped};
pub use record::{Items, Origin, OriginKind, Record};
use window::{More, Window};

use super::{
    json_text::{self as text, Text},
    layers::{Layers, embedded},
};
use crate::{
    error::{ObjectError, Reason},
    limits::Limits,
};

#[derive(Clone, Copy, Debug)]
enum State {
    /// Before the first byte.
    Start,
    /// Between two items.
    Between,
    /// Directly after a JSON text or envelope.
    AfterJson,
    Events {
        first: bool,
        checked_to_end: bool,
    },
    /// Inside an event or element that is too long, already returned.
    SkipEvent(Skipping),
    /// Inside an array of records.
    Elements {
        path: usize,
        first: bool,
    },
    /// After an array of records, inside its object.
    AfterArray,
    /// Inside a JSON text that is too long. It begins at this byte of the decoded text.
    SkipJson(u64),
    /// Inside a line that is too long, already returned.
    SkipLine,
}

/// Splits decoded text into records.
#[derive(Debug)]
pub struct Records<R> {
    window: Window<R>,
    state: State,
    origin: Origin,
    limits: Limits,
    items: Items,
    json: JsonScan,
    /// The message of the current record, if it has escapes other than those of quotes; the beginning of a JSON text that is too long.
    scratch: Vec<u8>,
    unescaped: Unescaped,
    /// The repaired message of the current record, if it had to be repaired.
    repaired: Vec<u8>,
    /// Counts the files of the object.
    file: u64,
    /// No record of the current file was found yet.
    at_file_start: bool,
    /// The end of the last line that was too long, until the next line.
    skipped: Vec<u8>,
    /// The end of the line before the current one, if that was too long.
    skipped_before: Vec<u8>,
    signature: EnvelopeSignature,
}

/// A record's parts while the window is still borrowed mutably.
struct Found {
    timestamp: Option<i64>,
    fault: Option<Reason>,
    message: Message,
    is_repaired: bool,
    is_line: bool,
    element: Option<usize>,
    id: Option<Text>,
    extracted: Option<(usize, usize)>,
}

impl<R: Read> Records<R> {
    /// Reads records from decoded text.
    pub fn new(layers: Layers<R>, limits: Limits) -> Self {
        Self::with_arrays(layers, limits, Vec::new())
    }

    /// Reads records from decoded text. A JSON object with an array at one of these paths is not a record: its elements are.
    pub(crate) fn with_arrays(layers: Layers<R>, limits: Limits, paths: Vec<RecordsPath>) -> Self {
        Self {
            window: Window::new(layers, limits.max_envelope_bytes),
            state: State::Start,
            origin: Origin::default(),
            limits,
            items: Items::default(),
            json: JsonScan::new(paths),
            scratch: Vec::new(),
            unescaped: Unescaped::default(),
            repaired: Vec::new(),
            file: 0,
            at_file_start: true,
            skipped: Vec::new(),
            skipped_before: Vec::new(),
            signature: EnvelopeSignature::new(),
        }
    }

    /// Returns the next record; `None` at the end of the object.
    #[expect(clippy::should_implement_trait, reason = "a record borrows from the reader")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, ObjectError> {
        self.unescaped.clear();
        let Some(found) = self.find()? else { return Ok(None) };
        let Found { timestamp, fault, message, is_repaired, is_line, element, id, extracted } = found;
        let (raw, unescaped) = match message {
            Message::Window(start, end) => (&self.window.bytes[start..end], None),
            Message::EscapedQuotes(start, end) => (&self.window.bytes[start..end], Some(&self.unescaped)),
            Message::Scratch => (&self.scratch[..], None),
        };
        let raw = &raw[..raw.len().min(self.limits.max_record_bytes)];
        let repaired = is_repaired.then_some(&self.repaired[..]);
        Ok(Some(Record {
            origin: &self.origin,
            timestamp,
            fault,
            message: MessageText { raw, unescaped },
            repaired,
            file: self.file,
            is_first: std::mem::take(&mut self.at_file_start),
            is_line,
            element,
            id: id.map(|id| id.raw(&self.window.bytes)),
            extracted: extracted.map(|(start, end)| &self.window.bytes[start..end]),
            skipped: if is_line { &self.skipped_before } else { &[] },
        }))
    }

    /// Returns the counts of items read so far.
    pub fn items(&self) -> Items {
        self.items
    }

    /// Returns the number of decoded bytes read so far.
    pub fn decoded_bytes(&self) -> u64 {
        self.window.base + self.window.len as u64
    }

    /// Returns the layers below.
    pub fn layers(&self) -> &Layers<R> {
        &self.window.layers
    }

    fn find(&mut self) -> Result<Option<Found>, ObjectError> {
        loop {
            match self.state {
                State::Start => self.skip_byte_order_mark()?,
                State::Between => {
                    let Some(at) = self.next_item()? else {
                        if !self.next_file()? {
                            return Ok(None);
                        }
                        continue;
                    };
                    let found = match self.window.bytes[at] {
                        b'{' | b'[' => self.json_text(at)?,
                        _ => Some(self.line()?),
                    };
                    if found.is_some() {
                        return Ok(found);
                    }
                }
                State::AfterJson => self.skip_separator()?,
                State::Events { first, checked_to_end } => {
                    if let Some(found) = self.next_event(first, checked_to_end)? {
                        return Ok(Some(found));
                    }
                }
                State::SkipEvent(skipping) => self.skip_event(skipping)?,
                State::Elements { path, first } => {
                    if let Some(found) = self.next_element(path, first)? {
                        return Ok(Some(found));
                    }
                }
                State::AfterArray => self.after_array()?,
                State::SkipJson(start) => {
                    if let Some(found) = self.skip_json(start)? {
                        return Ok(Some(found));
                    }
                }
                State::SkipLine => self.skip_line()?,
            }
        }
    }

    /// Goes to the next file of the object. Nothing of an earlier file affects it.
    fn next_file(&mut self) -> Result<bool, ObjectError> {
        self.window.at = self.window.len;
        self.state = State::Start;
        self.file += 1;
        self.at_file_start = true;
        self.skipped.clear();
        self.window.layers.next_file()
    }

    /// Skips one separator, `,` or the two characters `\n`, between a JSON text or envelope and what follows it: another
    /// one, which may have a space before it, or the end of the line.
    fn skip_separator(&mut self) -> Result<(), ObjectError> {
        const LONGEST: usize = br"\n {".len();
        self.state = State::Between;
        while self.window.seen().len() < LONGEST && self.window.more()?.is_more() {}
        let seen = self.window.seen();
        let separator = match seen {
            [b',', ..] => 1,
            [b'\\', b'n', ..] => 2,
            _ => return Ok(()),
        };
        let after = &seen[separator..];
        let after = after.strip_prefix(b" ").unwrap_or(after);
        if matches!(after, [] | [b'{' | b'[' | b'\r' | b'\n', ..]) {
            self.window.at += separator;
        }
        Ok(())
    }

    /// Skips a byte order mark, which some editors and exports write before the text.
    fn skip_byte_order_mark(&mut self) -> Result<(), ObjectError> {
        const MARK: &[u8] = b"\xef\xbb\xbf";
        while self.window.len < MARK.len() && self.window.more()?.is_more() {}
        if self.window.seen().starts_with(MARK) {
            self.window.at += MARK.len();
        }
        self.state = State::Between;
        Ok(())
    }

    /// Skips white space up to the next item and returns the position of its first byte; `None` at the end of the text.
    /// The window's position stays at the start of the item's line, because white space there is part of a line.
    fn next_item(&mut self) -> Result<Option<usize>, ObjectError> {
        let mut at = self.window.at;
        loop {
            match self.window.bytes[..self.window.len].get(at) {
                Some(b'\n') => {
                    at += 1;
                    self.window.at = at;
                }
                Some(b' ' | b'\t' | b'\r') => at += 1,
                Some(_) => break,
                None => {
                    self.bound_indent(at);
                    let indent = at - self.window.at;
                    if !self.window.more()?.is_more() {
                        return Ok(None);
                    }
                    at = self.window.at + indent;
                }
            }
        }
        self.bound_indent(at);
        Ok(Some(at))
    }

    /// Limits the white space before a line to the maximum length of a record, because it could fill the window.
    fn bound_indent(&mut self, at: usize) {
        self.window.at = self.window.at.max(at.saturating_sub(self.limits.max_record_bytes));
    }

    /// Reads the item at a `{` or `[`: an envelope, a JSON object, or a line that only begins like one. Returns `None` for
    /// an envelope, whose events follow.
    fn json_text(&mut self, at: usize) -> Result<Option<Found>, ObjectError> {
        const USUAL: &[u8] = br#"{"messageType":"DATA_MESSAGE","#;
        if self.window.bytes[at..self.window.len].starts_with(USUAL) {
            self.window.at = at;
            return self.open_envelope();
        }
        let indent = at - self.window.at;
        let mut scanned = indent;
        self.json.restart();
        loop {
            let step = self.json.advance(&self.window.seen()[scanned..]);
            match step {
                Step::End(length) => {
                    let start = self.window.at + indent;
                    self.window.at += scanned + length;
                    self.items.objects += 1;
                    self.state = State::AfterJson;
                    return Ok(Some(self.plain(start, self.window.at)));
                }
                Step::Envelope => {
                    self.window.at += indent;
                    return self.open_envelope();
                }
                Step::Records { path, length } => {
                    self.window.at += scanned + length;
                    self.items.objects += 1;
                    self.open_array(path);
                    return Ok(None);
                }
                Step::NotJson if self.json.resembles_envelope() => {
                    return Err(self.window.corrupt("a damaged envelope", self.window.at + indent));
                }
                Step::NotJson => return self.line().map(Some),
                Step::More => {
                    scanned = self.window.seen().len();
                    match self.window.more()? {
                        More::Yes => {}
                        More::End => return Err(self.cut_json()),
                        More::Full => {
                            self.begin_long_json(indent);
                            return Ok(None);
                        }
                    }
                }
            }
        }
    }

    /// Returns the error of a JSON text that ends with the object.
    fn cut_json(&self) -> ObjectError {
        let bytes = self.window.seen();
        match embedded::find(bytes, bytes.len()).filter(|_| !text::is_text(bytes)) {
            Some((format, at)) => self.window.binary_in_text(format, self.window.at + at),
            None => self.window.truncated("a JSON object or envelope"),
        }
    }

    /// Keeps the beginning of a JSON text that does not fit the window. Only its remaining bytes show whether it is a record.
    fn begin_long_json(&mut self, indent: usize) {
        let start = self.window.at + indent;
        self.state = State::SkipJson(self.window.base + start as u64);
        self.items.objects += 1;
        let end = self.window.len.min(start + self.limits.max_record_bytes);
        self.scratch.clear();
        self.scratch.extend_from_slice(&self.window.bytes[start..end]);
        self.window.at = self.window.len;
    }

    /// Skips the remaining bytes of a JSON text that does not fit the window. Returns it as a record, unless it has an array of
    /// records.
    fn skip_json(&mut self, start: u64) -> Result<Option<Found>, ObjectError> {
        loop {
            match self.json.advance(self.window.seen()) {
                Step::End(length) => {
                    self.window.at += length;
                    self.state = State::AfterJson;
                    break;
                }
                Step::Envelope => return Err(self.window.too_large(start)),
                Step::Records { path, length } => {
                    self.window.at += length;
                    self.open_array(path);
                    return Ok(None);
                }
                // One line, however long, is a record of its own. Several lines were records, and have been skipped.
                Step::NotJson if !self.json.has_line_feed() => {
                    (self.items.objects, self.items.lines) = (self.items.objects - 1, self.items.lines + 1);
                    self.state = State::SkipLine;
                    break;
                }
                Step::NotJson => return Err(self.window.not_json(start)),
                Step::More => {
                    self.window.at = self.window.len;
                    if !self.window.more()?.is_more() {
                        return Err(self.window.truncated("a JSON object"));
                    }
                }
            }
        }
        self.set_plain_origin();
        Ok(Some(Found::new(Some(Reason::TooLong), Message::Scratch)))
    }

    /// Returns the line or JSON text at these positions as a record.
    fn plain(&mut self, start: usize, end: usize) -> Found {
        self.set_plain_origin();
        let message = Message::Window(start, end);
        let bytes = &self.window.bytes[start..end];
        if bytes.len() > self.limits.max_record_bytes {
            return Found::new(Some(Reason::TooLong), message);
        }
        let is_repaired = !text::is_text(bytes);
        if is_repaired {
            self.repaired.clear();
            text::repair(bytes, &mut self.repaired);
        }
        Found { is_repaired, ..Found::new(None, message) }
    }

    fn set_plain_origin(&mut self) {
        if self.origin.kind != OriginKind::Plain {
            self.origin = Origin { serial: self.origin.serial + 1, ..Origin::default() };
        }
    }
}

impl Found {
    fn new(fault: Option<Reason>, message: Message) -> Self {
        Self {
            timestamp: None,
            fault,
            message,
            is_repaired: false,
            is_line: false,
            element: None,
            id: None,
            extracted: None,
        }
    }
}
