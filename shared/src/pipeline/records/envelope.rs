//! The fast scanner for CloudWatch Logs envelopes, over a window of text that may end anywhere.
//!
//! [`EVENT_PATTERN`] specifies its result for the form that CloudWatch Logs writes, and JSON for every other form. Tests
//! prove that all three agree. Form of an envelope:
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/SubscriptionFilters.html>.

use crate::pipeline::{
    bytes,
    json_text::{self as text, Text},
};

/// One event as CloudWatch Logs writes it: group 1 is the timestamp, group 2 the message, still escaped.
pub const EVENT_PATTERN: &str = r#"\{"id":"[0-9]+","timestamp":([0-9]+),"message":"((?:[^"\\]|\\.)*)"(?:,"extractedFields":\{[^{}]*\})?\}"#;

/// Why a scan stopped before its end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The window ends too early: read more and scan again.
    More,
    /// Not valid in an envelope at this position of the window.
    Wrong(&'static str, usize),
}

type Scan<T> = Result<(T, usize), Stop>;

/// An envelope's own values. `None`: missing, or not a string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) message_type: Option<Text>,
    pub(crate) owner: Option<Text>,
    pub(crate) log_group: Option<Text>,
    pub(crate) log_stream: Option<Text>,
    /// Whether there is an array of events. The scan then ends after its bracket.
    pub(crate) has_events: bool,
    /// The envelope was checked to its end, because some value follows the events.
    pub(crate) checked_to_end: bool,
}

/// One element of `logEvents`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    Event(Event),
    /// Not an object.
    Other,
    /// The array's closing bracket.
    End,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// `None`: missing, or not an integer from 0 to 2^63 - 1.
    pub(crate) timestamp: Option<i64>,
    /// `None`: missing, or not a string.
    pub(crate) message: Option<Text>,
    /// `None`: missing, or not a string.
    pub(crate) id: Option<Text>,
    /// Start and end of the value of `extractedFields`; `None` if it is missing.
    pub(crate) extracted: Option<(usize, usize)>,
    /// `timestamp` or `message` is given twice with different values.
    pub(crate) duplicate: bool,
}

/// A key of an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    MessageType = 1,
    Owner = 2,
    LogGroup = 4,
    LogStream = 8,
    LogEvents = 16,
    Other = 0,
}
const ALL_BUT_EVENTS: u8 = 15;

/// Scans from an envelope's `{` to its first event, or to its end if it has none. If a value of the head follows the
/// events, the scan checks the whole envelope first.
pub(crate) fn head(window: &[u8], at: usize) -> Scan<Head> {
    let mut at = expect(window, at, b'{', "something other than an envelope")?;
    let mut head = Head::default();
    let mut events_at = None;
    let mut seen = 0;
    let mut first = true;
    loop {
        let (name, start) = member(window, at, &mut first)?;
        let Some(name) = name else {
            at = start;
            break;
        };
        let key = key(name, window)?;
        let again = seen & key as u8 != 0;
        seen |= key as u8;
        let value = match key {
            Key::LogEvents if again => return Err(twice(name)),
            Key::LogEvents => {
                if byte(window, start)? == b'[' {
                    head.has_events = true;
                    if seen & ALL_BUT_EVENTS == ALL_BUT_EVENTS {
                        return Ok((head, start + 1));
                    }
                    events_at = Some(start + 1);
                }
                at = skip(window, start)?;
                continue;
            }
            Key::MessageType => &mut head.message_type,
            Key::Owner => &mut head.owner,
            Key::LogGroup => &mut head.log_group,
            Key::LogStream => &mut head.log_stream,
            Key::Other => {
                at = skip(window, start)?;
                continue;
            }
        };
        let text = if byte(window, start)? == b'"' {
            let (text, after) = string(window, start)?;
            at = after;
            Some(text)
        } else {
            at = skip(window, start)?;
            None
        };
        let is_same = match (*value, text) {
            (Some(one), Some(other)) => text::same(one.raw(window), other.raw(window)),
            (one, other) => one.is_some() == other.is_some(),
        };
        if again && !is_same {
            return Err(twice(name));
        }
        *value = text;
    }
    head.checked_to_end = true;
    Ok((head, events_at.unwrap_or(at)))
}

fn twice(name: Text) -> Stop {
    Stop::Wrong("an envelope that gives a key twice with different values", name.start)
}

/// Scans the next element of `logEvents`. `first` is whether it is the first one.
pub(crate) fn element(window: &[u8], at: usize, first: bool) -> Scan<Element> {
    let mut at = space(window, at);
    match byte(window, at)? {
        b']' => return Ok((Element::End, at + 1)),
        b',' if !first => at = space(window, at + 1),
        _ if !first => return Err(Stop::Wrong("no comma between two events", at)),
        _ => {}
    }
    if byte(window, at)? == b'{' {
        let (event, at) = match usual_event(window, at) {
            Some(found) => found,
            None => event(window, at)?,
        };
        return Ok((Element::Event(event), at));
    }
    Ok((Element::Other, skip(window, at)?))
}

/// Scans the next value of an array and returns its start and end; no value at the closing bracket. `first` is whether it is
/// the first one.
pub(crate) fn array_value(window: &[u8], at: usize, first: bool) -> Scan<Option<(usize, usize)>> {
    let mut at = space(window, at);
    match byte(window, at)? {
        b']' => return Ok((None, at + 1)),
        b',' if !first => at = space(window, at + 1),
        _ if !first => return Err(Stop::Wrong("no comma between two elements of an array of records", at)),
        _ => {}
    }
    let end = skip(window, at)?;
    Ok((Some((at, end)), end))
}

/// Scans from after the events to after the envelope's `}`. `head` has the values of message type, owner, log group
/// and log stream before the events; `None` if the envelope was checked to its end.
pub(crate) fn tail(window: &[u8], at: usize, head: Option<[Option<&str>; 4]>) -> Scan<()> {
    let mut at = at;
    let mut first = false;
    loop {
        let (name, start) = member(window, at, &mut first)?;
        let Some(name) = name else { return Ok(((), start)) };
        at = skip(window, start)?;
        let Some(head) = head else { continue };
        let before = match key(name, window)? {
            Key::Other => continue,
            Key::LogEvents => return Err(twice(name)),
            Key::MessageType => head[0],
            Key::Owner => head[1],
            Key::LogGroup => head[2],
            Key::LogStream => head[3],
        };
        let is_same = match (before, window[start] == b'"') {
            (Some(before), true) => text::has_value(&window[start + 1..at - 1], before),
            (before, is_text) => before.is_some() == is_text,
        };
        if !is_same {
            return Err(twice(name));
        }
    }
}

/// Reads an event exactly as CloudWatch Logs writes it today, with an id of 56 digits and a timestamp of 13. Returns `None`
/// for any other event, or if it does not end here.
fn usual_event(window: &[u8], at: usize) -> Option<(Event, usize)> {
    const ID: &[u8] = br#"{"id":""#;
    const ID_DIGITS: usize = 56;
    const TIMESTAMP: &[u8] = br#"","timestamp":"#;
    const TIMESTAMP_DIGITS: usize = 13;
    const MESSAGE: &[u8] = br#","message":""#;
    const HEAD: usize = ID.len() + ID_DIGITS + TIMESTAMP.len() + TIMESTAMP_DIGITS + MESSAGE.len();

    let head: &[u8; HEAD] = window.get(at..)?.first_chunk()?;
    let (id, rest) = head.strip_prefix(ID)?.split_at(ID_DIGITS);
    let (timestamp, rest) = rest.strip_prefix(TIMESTAMP)?.split_at(TIMESTAMP_DIGITS);
    if rest != MESSAGE || bytes::any(id, |byte| !byte.is_ascii_digit()) || timestamp[0] == b'0' {
        return None;
    }
    // Two words that share three digits.
    let high = bytes::eight_digits(bytes::word(timestamp, 0), 8)?;
    let low = bytes::eight_digits(bytes::word(timestamp, TIMESTAMP_DIGITS - 8), 5)?;
    let message = text::scan(window, at + HEAD)?;
    let end = message.end + 1;
    let timestamp = Some((high * 100_000 + low).cast_signed());
    let id_start = at + ID.len();
    let id = Some(Text { start: id_start, end: id_start + ID_DIGITS, escaped: false, is_simple: true });
    let event = Event { timestamp, message: Some(message), id, extracted: None, duplicate: false };
    (window.get(end) == Some(&b'}')).then_some((event, end + 1))
}

fn event(window: &[u8], at: usize) -> Scan<Event> {
    let mut at = at + 1;
    let mut event = Event::default();
    let (mut timestamp, mut message, mut first) = (None, None, true);
    loop {
        let (name, start) = member(window, at, &mut first)?;
        let Some(name) = name else { return Ok((event, start)) };
        let mut unescaped = Vec::new();
        let before = match name_of(name, window, &mut unescaped)? {
            b"timestamp" => {
                (event.timestamp, at) = integer(window, start)?;
                &mut timestamp
            }
            b"message" => {
                if byte(window, start)? == b'"' {
                    // Invalid text rejects only this record, so it is not checked here.
                    let (text, after) = string(window, start)?;
                    event.message = Some(text);
                    at = after;
                } else {
                    event.message = None;
                    at = skip(window, start)?;
                }
                &mut message
            }
            name => {
                let is_id = name == b"id";
                let is_extracted = name == b"extractedFields";
                at = skip(window, start)?;
                if is_id && window[start] == b'"' {
                    event.id = Some(text_between(window, start, at));
                } else if is_extracted {
                    event.extracted = Some((start, at));
                }
                continue;
            }
        };
        match *before {
            Some((first, end)) => {
                event.duplicate |= !text::same_value(&window[first..end], &window[start..at]);
            }
            None => *before = Some((start, at)),
        }
    }
}

/// Returns the next member's key and the position of its value, or no key and the position after the closing brace.
fn member(window: &[u8], at: usize, first: &mut bool) -> Scan<Option<Text>> {
    let mut at = space(window, at);
    match byte(window, at)? {
        b'}' => return Ok((None, at + 1)),
        b',' if !*first => at = space(window, at + 1),
        _ if !*first => return Err(Stop::Wrong("no comma between two members of an object", at)),
        _ => {}
    }
    *first = false;
    if byte(window, at)? != b'"' {
        return Err(Stop::Wrong("a member of an object without a key", at));
    }
    let (name, at) = string(window, at)?;
    let at = expect(window, space(window, at), b':', "a key without a colon")?;
    Ok((Some(name), space(window, at)))
}

fn key(name: Text, window: &[u8]) -> Result<Key, Stop> {
    let mut unescaped = Vec::new();
    Ok(key_named(name_of(name, window, &mut unescaped)?))
}

/// Returns the key of this name.
pub(super) fn key_named(name: &[u8]) -> Key {
    match name {
        b"messageType" => Key::MessageType,
        b"owner" => Key::Owner,
        b"logGroup" => Key::LogGroup,
        b"logStream" => Key::LogStream,
        b"logEvents" => Key::LogEvents,
        _ => Key::Other,
    }
}

/// Returns the key, which may be written with escapes.
fn name_of<'a>(name: Text, window: &'a [u8], unescaped: &'a mut Vec<u8>) -> Result<&'a [u8], Stop> {
    if !name.escaped {
        return Ok(name.raw(window));
    }
    if text::unescape(name.raw(window), unescaped) {
        Ok(unescaped)
    } else {
        Err(Stop::Wrong("a key that is no text", name.start))
    }
}

/// Returns the content of the string from its opening quote to after its closing one.
fn text_between(window: &[u8], start: usize, after: usize) -> Text {
    let (start, end) = (start + 1, after - 1);
    let escaped = memchr::memchr(b'\\', &window[start..end]).is_some();
    Text { start, end, escaped, is_simple: false }
}

/// Scans the string whose opening quote is at `at`.
fn string(window: &[u8], at: usize) -> Scan<Text> {
    let text = text::scan(window, at + 1).ok_or(Stop::More)?;
    Ok((text, text.end + 1))
}

/// Reads an integer from 0 to 2^63 - 1. Returns `None` for any other value.
fn integer(window: &[u8], at: usize) -> Scan<Option<i64>> {
    let digits = window[at.min(window.len())..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let end = at + digits;
    // The byte after the digits decides: 1.5 and 1e3 begin with digits too.
    if digits == 0 || digits > 18 || !matches!(byte(window, end)?, b',' | b'}' | b' ' | b'\n' | b'\r' | b'\t')
    {
        return Ok((None, skip(window, at)?));
    }
    if digits > 1 && window[at] == b'0' {
        return Ok((None, end));
    }
    let value = window[at..end].iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
    Ok((Some(value), end))
}

/// Skips a value that is not read and returns the position after it. Only its brackets and strings are checked, so that a
/// malformed value does not fail the envelope. Does not recurse.
fn skip(window: &[u8], at: usize) -> Result<usize, Stop> {
    match byte(window, at)? {
        b'"' => string(window, at).map(|(_, after)| after),
        b'{' | b'[' => {
            let (mut at, mut depth) = (at, 0_usize);
            loop {
                match byte(window, at)? {
                    b'"' => {
                        at = string(window, at)?.1;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Ok(at);
                }
            }
        }
        _ => {
            let length = window[at..].iter().take_while(|byte| is_bare(**byte)).count();
            // Only the byte after it shows that it is complete.
            byte(window, at + length)?;
            if length == 0 { Err(Stop::Wrong("no value", at)) } else { Ok(at + length) }
        }
    }
}

/// Returns whether a byte may be part of a number, `true`, `false` or `null`.
pub(super) fn is_bare(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.')
}

fn expect(window: &[u8], at: usize, wanted: u8, otherwise: &'static str) -> Result<usize, Stop> {
    if byte(window, at)? == wanted { Ok(at + 1) } else { Err(Stop::Wrong(otherwise, at)) }
}

fn byte(window: &[u8], at: usize) -> Result<u8, Stop> {
    window.get(at).copied().ok_or(Stop::More)
}

/// Returns the position after JSON's white space.
pub(crate) fn space(window: &[u8], mut at: usize) -> usize {
    while matches!(window.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}
