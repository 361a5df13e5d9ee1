//! Stage 2: decoded text as records: the events of CloudWatch Logs envelopes, or lines.
//!
//! The text is seen through a window that grows only while one event, or one envelope whose values stand behind its
//! events, does not fit; chunk, member and record boundaries may fall anywhere.

mod envelope;
mod window;

use std::io::Read;

pub use envelope::EVENT_PATTERN;
use envelope::{Element, Event, Head, Stop};
use window::{More, Window};

use super::{
    json_text::{self as text, Text},
    layers::Layers,
};
use crate::{
    error::{ObjectError, Reason},
    limits::Limits,
    timestamp::MAX_MS,
};

/// Log group and stream names have at most 512 characters; longer ones would be repeated in every row.
const MAX_NAME_BYTES: usize = 4096;

/// Where a record comes from: shared by all events of an envelope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Changes whenever another value here does.
    pub serial: u64,
    /// What kind of envelope it is, or none.
    pub kind: OriginKind,
    /// The AWS account.
    pub owner: Option<String>,
    /// The log group.
    pub log_group: Option<String>,
    /// The log stream.
    pub log_stream: Option<String>,
}

/// What a record stands in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OriginKind {
    /// A line of plain text.
    #[default]
    Line,
    /// A `DATA_MESSAGE` envelope.
    Data,
    /// An envelope of any other type: counted, never written.
    Control,
    /// An envelope without a type.
    Untyped,
}

/// One event or line.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Where it comes from.
    pub origin: &'a Origin,
    /// Milliseconds since 1970, within `0..=MAX_MS`; `None` for a line.
    pub timestamp: Option<i64>,
    /// Why it can be no row whatever the rules say. Never set on events of a control envelope.
    pub fault: Option<Reason>,
    /// The message, unescaped; with a fault, as much of the record as can be shown.
    pub message: &'a [u8],
}

/// What the text of an object turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// CloudWatch Logs envelopes.
    Envelopes,
    /// Lines.
    Lines,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Nothing seen yet.
    Start,
    Between,
    Events {
        first: bool,
        checked_to_end: bool,
    },
    /// Inside an event that is too long, already given out.
    Skip(Skipping),
    Lines,
    /// Inside a line that is too long, already given out.
    SkipLine,
}

#[derive(Clone, Copy, Debug)]
struct Skipping {
    depth: usize,
    in_string: bool,
    after_backslash: bool,
    checked_to_end: bool,
}

/// Splits decoded text into records.
#[derive(Debug)]
pub struct Records<R> {
    window: Window<R>,
    state: State,
    origin: Origin,
    limits: Limits,
    /// The message of the record in hand, when it had to be unescaped.
    scratch: Vec<u8>,
}

/// A record's parts while the window is still borrowed mutably.
struct Found {
    timestamp: Option<i64>,
    fault: Option<Reason>,
    message: Message,
}

enum Message {
    Window(usize, usize),
    Scratch,
}

impl<R: Read> Records<R> {
    /// Reads records from decoded text.
    pub fn new(layers: Layers<R>, limits: Limits) -> Self {
        Self {
            window: Window::new(layers, limits.max_envelope_bytes),
            state: State::Start,
            origin: Origin::default(),
            limits,
            scratch: Vec::new(),
        }
    }

    /// The next record; `None` at the object's end.
    #[allow(clippy::should_implement_trait)] // it lends
    pub fn next(&mut self) -> Result<Option<Record<'_>>, ObjectError> {
        let Some(Found { timestamp, fault, message }) = self.find()? else { return Ok(None) };
        let message = match message {
            Message::Window(start, end) => &self.window.bytes[start..end],
            Message::Scratch => &self.scratch[..],
        };
        let message = &message[..message.len().min(self.limits.max_record_bytes)];
        Ok(Some(Record { origin: &self.origin, timestamp, fault, message }))
    }

    /// What the text is; known after the first [`Records::next`].
    pub fn shape(&self) -> Option<Shape> {
        match self.state {
            State::Start => None,
            State::Lines | State::SkipLine => Some(Shape::Lines),
            State::Between | State::Events { .. } | State::Skip(_) => Some(Shape::Envelopes),
        }
    }

    /// Decoded bytes read so far.
    pub fn decoded_bytes(&self) -> u64 {
        self.window.base + self.window.len as u64
    }

    /// The layers below.
    pub fn layers(&self) -> &Layers<R> {
        &self.window.layers
    }

    fn find(&mut self) -> Result<Option<Found>, ObjectError> {
        loop {
            match self.state {
                State::Start => self.state = self.look_at_start()?,
                State::Between => {
                    if !self.next_thing()? {
                        return Ok(None);
                    }
                    let (head, start) = self.scan("an envelope", envelope::head)?;
                    if let Some(found) = self.open_envelope(start, head)? {
                        return Ok(Some(found));
                    }
                }
                State::Events { first, checked_to_end } => {
                    if let Some(found) = self.next_event(first, checked_to_end)? {
                        return Ok(Some(found));
                    }
                }
                State::Skip(skipping) => self.skip_event(skipping)?,
                State::Lines => return self.next_line(),
                State::SkipLine => self.skip_line()?,
            }
        }
    }

    /// Envelopes or lines? Decided once, by the first JSON object if there is one.
    fn look_at_start(&mut self) -> Result<State, ObjectError> {
        self.skip_byte_order_mark()?;
        loop {
            let at = envelope::space(self.window.seen(), 0);
            let verdict = match self.window.seen().get(at) {
                Some(b'{') => envelope::is_envelope(self.window.seen(), at),
                Some(_) => return Ok(State::Lines),
                None => Err(Stop::More),
            };
            match verdict {
                Ok(true) => return Ok(State::Between),
                Err(Stop::More) if self.window.more()?.is_more() => {}
                // Damaged, cut or endless before we know: what begins like an envelope fails as one.
                Err(_) if envelope::begins_like_one(self.window.seen(), at) => return Ok(State::Between),
                Ok(false) | Err(_) => return Ok(State::Lines),
            }
        }
    }

    /// Some editors and exports put one before the text; it says nothing.
    fn skip_byte_order_mark(&mut self) -> Result<(), ObjectError> {
        const MARK: &[u8] = b"\xef\xbb\xbf";
        while self.window.len < MARK.len() && self.window.more()?.is_more() {}
        if self.window.seen().starts_with(MARK) {
            self.window.at += MARK.len();
        }
        Ok(())
    }

    /// Goes to the next envelope; false at the end of the text.
    fn next_thing(&mut self) -> Result<bool, ObjectError> {
        loop {
            self.window.at = envelope::space(&self.window.bytes[..self.window.len], self.window.at);
            if self.window.at < self.window.len {
                return Ok(true);
            }
            if !self.window.more()?.is_more() {
                return Ok(false);
            }
        }
    }

    /// Scans a thing at the window's position, reading more while it is incomplete, and moves behind it. Gives it and
    /// where it begins; reading more has moved the window, so positions from before do not count any more.
    fn scan<T>(
        &mut self,
        what: &'static str,
        scanner: impl Fn(&[u8], usize) -> Result<(T, usize), Stop>,
    ) -> Result<(T, usize), ObjectError> {
        loop {
            match scanner(&self.window.bytes[..self.window.len], self.window.at) {
                Ok((thing, behind)) => {
                    let start = std::mem::replace(&mut self.window.at, behind);
                    return Ok((thing, start));
                }
                Err(Stop::Wrong(what, at)) => return Err(self.window.corrupt(what, at)),
                Err(Stop::More) => match self.window.more()? {
                    More::Yes => {}
                    More::End => return Err(self.window.truncated(what)),
                    More::Full => return Err(self.window.too_large()),
                },
            }
        }
    }

    fn open_envelope(&mut self, start: usize, head: Head) -> Result<Option<Found>, ObjectError> {
        let bytes = &self.window.bytes;
        let name = |text: Option<Text>| name_of(text, bytes).map_err(|what| self.window.corrupt(what, start));
        let message_type = name(head.message_type)?;
        let kind = match message_type.as_deref() {
            Some("DATA_MESSAGE") => OriginKind::Data,
            Some(_) => OriginKind::Control,
            None => OriginKind::Untyped,
        };
        let origin = Origin {
            serial: self.origin.serial,
            kind,
            owner: name(head.owner)?,
            log_group: name(head.log_group)?,
            log_stream: name(head.log_stream)?,
        };
        if origin != self.origin {
            self.origin = Origin { serial: self.origin.serial + 1, ..origin };
        }
        if head.has_events {
            self.state = State::Events { first: true, checked_to_end: head.checked_to_end };
            return Ok(None);
        }
        if kind == OriginKind::Control {
            return Ok(None);
        }
        // The scan of an envelope without events has gone to its end.
        let message = Message::Window(start, self.window.at);
        Ok(Some(Found { timestamp: None, fault: Some(Reason::BadEnvelope), message }))
    }

    fn next_event(&mut self, first: bool, checked_to_end: bool) -> Result<Option<Found>, ObjectError> {
        let (element, start) = loop {
            match envelope::element(&self.window.bytes[..self.window.len], self.window.at, first) {
                Ok((element, behind)) => {
                    break (element, std::mem::replace(&mut self.window.at, behind));
                }
                Err(Stop::Wrong(what, at)) => return Err(self.window.corrupt(what, at)),
                Err(Stop::More) => match self.window.more()? {
                    More::Yes => {}
                    More::End => return Err(self.window.truncated("an envelope")),
                    More::Full => return self.give_out_long_event(checked_to_end).map(Some),
                },
            }
        };
        self.state = State::Events { first: false, checked_to_end };
        match element {
            Element::End => {
                self.scan("an envelope", |window, at| envelope::tail(window, at, checked_to_end))?;
                self.state = State::Between;
                Ok(None)
            }
            Element::Event(event) => Ok(Some(self.found_event(event, start))),
            Element::Other => Ok(Some(self.bad_event(start, Reason::BadEvent))),
        }
    }

    fn found_event(&mut self, event: Event, start: usize) -> Found {
        if event.duplicate {
            return self.bad_event(start, Reason::DuplicateKey);
        }
        let Some(text) = event.message else { return self.bad_event(start, Reason::BadEvent) };
        let raw = text.raw(&self.window.bytes);
        let (clean, length, message);
        if text.escaped {
            self.scratch.clear();
            clean = !text::has_control(raw)
                && text::unescape(raw, &mut self.scratch)
                && text::is_text(&self.scratch);
            if !clean {
                self.scratch.clear();
                self.scratch.extend_from_slice(raw);
            }
            (length, message) = (self.scratch.len(), Message::Scratch);
        } else {
            clean = text::is_clean(raw);
            (length, message) = (raw.len(), Message::Window(text.start, text.end));
        }
        let timestamp = event.timestamp.filter(|ms| (0..=MAX_MS).contains(ms));
        let fault = if self.origin.kind == OriginKind::Untyped {
            Some(Reason::BadEnvelope)
        } else if length > self.limits.max_record_bytes {
            Some(Reason::TooLong)
        } else if !clean {
            Some(Reason::BadEncoding)
        } else if timestamp.is_none() {
            Some(Reason::BadTimestamp)
        } else {
            None
        };
        Found { timestamp, fault, message }
    }

    /// The event as it stands in the text.
    fn bad_event(&self, behind_previous: usize, reason: Reason) -> Found {
        let start = self.element_start(behind_previous);
        Found { timestamp: None, fault: Some(reason), message: Message::Window(start, self.window.at) }
    }

    /// Where an element begins: behind the comma and the white space before it.
    fn element_start(&self, behind_previous: usize) -> usize {
        let text = &self.window.bytes[..self.window.len];
        let at = envelope::space(text, behind_previous);
        if text.get(at) == Some(&b',') { envelope::space(text, at + 1) } else { at }
    }

    /// An event that does not fit the window: its beginning is the record, the rest is passed over.
    fn give_out_long_event(&mut self, checked_to_end: bool) -> Result<Found, ObjectError> {
        let start = self.element_start(self.window.at);
        if self.window.bytes[..self.window.len].get(start) != Some(&b'{') {
            return Err(self.window.too_large());
        }
        self.window.at = start;
        self.state =
            State::Skip(Skipping { depth: 0, in_string: false, after_backslash: false, checked_to_end });
        let end = self.window.len.min(start + self.limits.max_record_bytes);
        Ok(Found { timestamp: None, fault: Some(Reason::TooLong), message: Message::Window(start, end) })
    }

    fn skip_event(&mut self, mut skipping: Skipping) -> Result<(), ObjectError> {
        loop {
            while self.window.at < self.window.len {
                let byte = self.window.bytes[self.window.at];
                self.window.at += 1;
                if skipping.in_string {
                    match byte {
                        _ if skipping.after_backslash => skipping.after_backslash = false,
                        b'\\' => skipping.after_backslash = true,
                        b'"' => skipping.in_string = false,
                        _ => {}
                    }
                    continue;
                }
                match byte {
                    b'"' => skipping.in_string = true,
                    b'{' | b'[' => skipping.depth += 1,
                    b'}' | b']' => {
                        skipping.depth = skipping.depth.saturating_sub(1);
                        if skipping.depth == 0 {
                            self.state =
                                State::Events { first: false, checked_to_end: skipping.checked_to_end };
                            return Ok(());
                        }
                    }
                    _ => {}
                }
            }
            if !self.window.more()?.is_more() {
                return Err(self.window.truncated("an envelope"));
            }
        }
    }

    fn next_line(&mut self) -> Result<Option<Found>, ObjectError> {
        let longest = self.limits.max_record_bytes;
        let mut searched = 0;
        loop {
            let seen = self.window.seen();
            let end = memchr::memchr(b'\n', &seen[searched..]).map(|end| searched + end);
            let (length, skip) = match end {
                Some(end) => (end, 1),
                None if seen.len() > longest + 1 => {
                    self.state = State::SkipLine;
                    (seen.len(), 0)
                }
                None => {
                    searched = seen.len();
                    if self.window.more()?.is_more() {
                        continue;
                    }
                    if searched == 0 {
                        return Ok(None);
                    }
                    (searched, 0)
                }
            };
            let start = self.window.at;
            self.window.at += length + skip;
            let line = &self.window.bytes[start..start + length];
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                searched = 0;
                continue;
            }
            let fault = if line.len() > longest {
                Some(Reason::TooLong)
            } else if text::is_text(line) {
                None
            } else {
                Some(Reason::BadEncoding)
            };
            let message = Message::Window(start, start + line.len());
            return Ok(Some(Found { timestamp: None, fault, message }));
        }
    }

    fn skip_line(&mut self) -> Result<(), ObjectError> {
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
        self.state = State::Lines;
        Ok(())
    }
}

fn name_of(text: Option<Text>, window: &[u8]) -> Result<Option<String>, &'static str> {
    let Some(text) = text else { return Ok(None) };
    let raw = text.raw(window);
    let mut said = Vec::new();
    if text.escaped && !text::unescape(raw, &mut said) {
        return Err("an envelope with a name that is no text");
    }
    let bytes = if text.escaped { &said[..] } else { raw };
    if bytes.len() > MAX_NAME_BYTES {
        return Err("an envelope with a name of more than 4096 bytes");
    }
    if !text::is_text(bytes) {
        return Err("an envelope with a name that is no text");
    }
    Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
}
