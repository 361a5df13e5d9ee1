//! The events of an envelope.

use std::io::Read;

use super::{
    Found, Message, Origin, OriginKind, Records, State,
    envelope::{self, Element, Event, Stop},
    window::More,
};
use crate::{
    error::{ObjectError, Reason},
    pipeline::json_text::{self as text, Text},
    timestamp::MAX_MS,
};

/// Log group and stream names have at most 512 characters; longer ones would be repeated in every row.
const MAX_NAME_BYTES: usize = 4096;

/// The position inside an event or element that is skipped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Skipping {
    depth: usize,
    in_string: bool,
    after_backslash: bool,
    /// Whether it is a number or another value without brackets and quotes.
    is_bare: bool,
    then: AfterSkip,
}

/// What follows an event or element that is skipped.
#[derive(Clone, Copy, Debug)]
pub(super) enum AfterSkip {
    Events { checked_to_end: bool },
    Elements { path: usize },
}

impl Skipping {
    /// Skips the value that begins with this byte.
    pub(super) fn new(first: u8, then: AfterSkip) -> Self {
        let is_bare = !matches!(first, b'{' | b'[' | b'"');
        Self { depth: 0, in_string: false, after_backslash: false, is_bare, then }
    }

    /// Returns whether the value ends with this byte.
    fn ends_with(&mut self, byte: u8) -> bool {
        if self.in_string {
            match byte {
                _ if self.after_backslash => self.after_backslash = false,
                b'\\' => self.after_backslash = true,
                b'"' => {
                    self.in_string = false;
                    return self.depth == 0;
                }
                _ => {}
            }
            return false;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}

impl<R: Read> Records<R> {
    /// Scans at the window's position, reads more while the input is incomplete, and moves the position to the end.
    /// Returns the result and its start. Reading more moves the window, so earlier positions are invalid.
    fn scan<T>(
        &mut self,
        what: &'static str,
        scanner: impl Fn(&[u8], usize) -> Result<(T, usize), Stop>,
    ) -> Result<(T, usize), ObjectError> {
        loop {
            match scanner(&self.window.bytes[..self.window.len], self.window.at) {
                Ok((thing, after)) => {
                    let start = std::mem::replace(&mut self.window.at, after);
                    return Ok((thing, start));
                }
                Err(Stop::Wrong(what, at)) => return Err(self.window.corrupt(what, at)),
                Err(Stop::More) => match self.window.more()? {
                    More::Yes => {}
                    More::End => return Err(self.window.truncated(what)),
                    More::Full => return Err(self.window.too_large(self.window.position())),
                },
            }
        }
    }

    /// Reads the head of the envelope at the window's position. Returns a record only if the envelope has no events.
    pub(super) fn open_envelope(&mut self) -> Result<Option<Found>, ObjectError> {
        let (head, start) = self.scan("an envelope", envelope::head)?;
        self.items.envelopes += 1;
        let bytes = &self.window.bytes;
        let name = |text: Option<Text>| name_of(text, bytes).map_err(|what| self.window.corrupt(what, start));
        let message_type = name(head.message_type)?;
        let kind = match message_type.as_deref() {
            Some("DATA_MESSAGE") => OriginKind::Data,
            Some("CONTROL_MESSAGE") => OriginKind::Control,
            Some(_) => OriginKind::Unknown,
            None => OriginKind::Untyped,
        };
        let origin = Origin {
            serial: self.origin.serial,
            kind,
            message_type,
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
        // The scan of an envelope without events ends at its end.
        self.state = State::AfterJson;
        Ok(Some(Found::new(Some(Reason::BadEnvelope), Message::Window(start, self.window.at))))
    }

    pub(super) fn next_event(
        &mut self,
        first: bool,
        checked_to_end: bool,
    ) -> Result<Option<Found>, ObjectError> {
        let (element, start) = loop {
            match envelope::element(&self.window.bytes[..self.window.len], self.window.at, first) {
                Ok((element, after)) => {
                    break (element, std::mem::replace(&mut self.window.at, after));
                }
                Err(Stop::Wrong(what, at)) => return Err(self.window.corrupt(what, at)),
                Err(Stop::More) => match self.window.more()? {
                    More::Yes => {}
                    More::End => return Err(self.window.truncated("an envelope")),
                    More::Full => return self.return_long_event(checked_to_end).map(Some),
                },
            }
        };
        self.state = State::Events { first: false, checked_to_end };
        match element {
            Element::End => {
                self.end_envelope(checked_to_end)?;
                self.state = State::AfterJson;
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
        let timestamp = event.timestamp.filter(|ms| (0..=MAX_MS).contains(ms));
        let (message, fault, is_repaired) = self.text_message(text);
        let fault = match self.origin.kind {
            OriginKind::Untyped => Some(Reason::BadEnvelope),
            OriginKind::Unknown => Some(Reason::UnknownMessageType),
            _ if fault.is_some() => fault,
            _ if timestamp.is_none() => Some(Reason::BadTimestamp),
            _ => None,
        };
        let (id, extracted) = (event.id, event.extracted);
        Found { timestamp, is_repaired, id, extracted, ..Found::new(fault, message) }
    }

    /// Returns a string of the window as a message, its fault, and whether it had to be repaired.
    pub(super) fn text_message(&mut self, text: Text) -> (Message, Option<Reason>, bool) {
        let raw = text.raw(&self.window.bytes);
        let (clean, message, length);
        if text.escaped && text.is_simple && raw.len() <= self.limits.max_record_bytes {
            return (Message::EscapedQuotes(text.start, text.end), None, false);
        }
        if text.escaped {
            clean = text::decode(raw, &mut self.scratch);
            if !clean {
                self.scratch.clear();
                self.scratch.extend_from_slice(raw);
            }
            message = Message::Scratch;
            length = self.scratch.len();
        } else {
            clean = text.is_simple || text::is_clean(raw);
            message = Message::Window(text.start, text.end);
            length = raw.len();
        }
        let is_repaired = !clean && length <= self.limits.max_record_bytes && {
            self.repaired.clear();
            text::unescape_repaired(raw, &mut self.repaired)
        };
        let fault = match () {
            () if length > self.limits.max_record_bytes => Some(Reason::TooLong),
            () if !clean && !is_repaired => Some(Reason::BadEncoding),
            () => None,
        };
        (message, fault, is_repaired)
    }

    fn end_envelope(&mut self, checked_to_end: bool) -> Result<(), ObjectError> {
        let origin = std::mem::take(&mut self.origin);
        let outcome = {
            let values = [&origin.message_type, &origin.owner, &origin.log_group, &origin.log_stream];
            let head = (!checked_to_end).then_some(values.map(|value| value.as_deref()));
            self.scan("an envelope", |window, at| envelope::tail(window, at, head))
        };
        self.origin = origin;
        outcome.map(|_| ())
    }

    /// The event with its own bytes as the message.
    fn bad_event(&self, after_previous: usize, reason: Reason) -> Found {
        let start = self.element_start(after_previous);
        let reason = self.origin.kind.unknown_type().unwrap_or(reason);
        Found::new(Some(reason), Message::Window(start, self.window.at))
    }

    /// Returns the start of an element: after the comma and the white space before it.
    pub(super) fn element_start(&self, after_previous: usize) -> usize {
        let text = &self.window.bytes[..self.window.len];
        let at = envelope::space(text, after_previous);
        if text.get(at) == Some(&b',') { envelope::space(text, at + 1) } else { at }
    }

    /// An event that does not fit the window: its beginning is the record, the remaining bytes are skipped.
    fn return_long_event(&mut self, checked_to_end: bool) -> Result<Found, ObjectError> {
        let message = self.begin_skip(AfterSkip::Events { checked_to_end })?;
        let reason = self.origin.kind.unknown_type().unwrap_or(Reason::TooLong);
        Ok(Found::new(Some(reason), message))
    }

    /// Begins to skip the event or element that does not fit the window. Returns its beginning.
    pub(super) fn begin_skip(&mut self, then: AfterSkip) -> Result<Message, ObjectError> {
        let start = self.element_start(self.window.at);
        let Some(first) = self.window.bytes[..self.window.len].get(start) else {
            return Err(self.window.too_large(self.window.position()));
        };
        self.state = State::SkipEvent(Skipping::new(*first, then));
        self.window.at = start;
        let end = self.window.len.min(start + self.limits.max_record_bytes);
        Ok(Message::Window(start, end))
    }

    pub(super) fn skip_event(&mut self, mut skipping: Skipping) -> Result<(), ObjectError> {
        let then = match skipping.then {
            AfterSkip::Events { checked_to_end } => State::Events { first: false, checked_to_end },
            AfterSkip::Elements { path } => State::Elements { path, first: false },
        };
        loop {
            while self.window.at < self.window.len {
                let byte = self.window.bytes[self.window.at];
                if skipping.is_bare && !envelope::is_bare(byte) {
                    self.state = then;
                    return Ok(());
                }
                self.window.at += 1;
                if !skipping.is_bare && skipping.ends_with(byte) {
                    self.state = then;
                    return Ok(());
                }
            }
            if !self.window.more()?.is_more() {
                return Err(self.window.truncated(match skipping.then {
                    AfterSkip::Events { .. } => "an envelope",
                    AfterSkip::Elements { .. } => "a JSON array of records",
                }));
            }
        }
    }
}

impl OriginKind {
    /// The reason of every event of an envelope whose type is not known.
    fn unknown_type(self) -> Option<Reason> {
        (self == Self::Unknown).then_some(Reason::UnknownMessageType)
    }
}

fn name_of(text: Option<Text>, window: &[u8]) -> Result<Option<String>, &'static str> {
    let Some(text) = text else { return Ok(None) };
    let raw = text.raw(window);
    let mut value = Vec::new();
    if text.escaped && !text::unescape(raw, &mut value) {
        return Err("an envelope with a name that is no text");
    }
    let bytes = if text.escaped { &value[..] } else { raw };
    if bytes.len() > MAX_NAME_BYTES {
        return Err("an envelope with a name of more than 4096 bytes");
    }
    if !text::is_text(bytes) {
        return Err("an envelope with a name that is no text");
    }
    Ok(Some(String::from_utf8_lossy(bytes).into_owned()))
}
