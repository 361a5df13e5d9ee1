//! The records of an item.

use serde_json::value::RawValue;

use super::{
    items::{Item, holds_envelope},
    json_object::{Pairs, Text, is_text, repaired, string_text, unmask},
};

/// Where a record comes from. A record outside of envelopes has no group, stream or owner.
#[derive(Clone, Debug, Default)]
pub(super) struct Origin {
    pub(super) owner: Option<String>,
    pub(super) log_group: Option<String>,
    pub(super) log_stream: Option<String>,
    pub(super) event_id: Option<String>,
    /// The event's `extractedFields`.
    pub(super) extracted: Option<String>,
    pub(super) is_plain: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Event,
    Json,
    Line,
    /// An element of the array at this pointer.
    Element(Vec<String>),
}

#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) origin: Origin,
    pub(super) timestamp: Option<i64>,
    /// The record's own bytes, which a reject keeps.
    pub(super) bytes: Vec<u8>,
    /// The text with invalid parts replaced, if it has any.
    pub(super) repaired: Option<String>,
    pub(super) shape: Shape,
    /// Why the record is a reject under any rule.
    pub(super) fault: Option<&'static str>,
    pub(super) is_control: bool,
}

impl Record {
    fn new(origin: &Origin, shape: Shape, bytes: Vec<u8>) -> Self {
        let repaired = (!is_text(&bytes)).then(|| repaired(&bytes));
        let origin = origin.clone();
        Self { origin, timestamp: None, bytes, repaired, shape, fault: None, is_control: false }
    }

    /// A record whose message is the masked text between the quotes of a JSON string.
    fn of_string(origin: &Origin, shape: Shape, inner: &str) -> Self {
        let mut record = Self::new(origin, shape, unmask(inner));
        match string_text(inner) {
            Text::Valid(text) => (record.bytes, record.repaired) = (text.into_bytes(), None),
            Text::Repaired(text) => record.repaired = Some(text),
            Text::Damaged => record.fault = Some("bad-encoding"),
        }
        record
    }

    pub(super) fn text(&self) -> String {
        self.repaired.clone().unwrap_or_else(|| String::from_utf8(self.bytes.clone()).unwrap())
    }

    /// The text of any record, also of a damaged one.
    pub(super) fn lossy_text(&self) -> String {
        self.repaired.clone().unwrap_or_else(|| String::from_utf8_lossy(&self.bytes).into_owned())
    }

    /// The same record with an element as its message.
    pub(super) fn element(&self, pointer: &[String], raw: &str) -> Self {
        let shape = Shape::Element(pointer.to_vec());
        let element = match raw.strip_prefix('"') {
            Some(raw) => Self::of_string(&self.origin, shape, raw.strip_suffix('"').unwrap()),
            None => Self::new(&self.origin, shape, unmask(raw)),
        };
        // Elements of a repaired message are parts of its repaired text.
        let is_whole = self.repaired.is_none() || element.repaired.is_some() || element.fault.is_some();
        let repaired = if is_whole { element.repaired.clone() } else { Some(element.text()) };
        Self { timestamp: self.timestamp, repaired, ..element }
    }
}

/// Returns the records of an item, or `None` if the object fails.
pub(super) fn of_item(item: Item<'_>) -> Option<Vec<Record>> {
    let plain = Origin { is_plain: true, ..Origin::default() };
    Some(match item {
        Item::Envelope(envelope) => return of_envelope(&envelope),
        Item::Json(text) => vec![Record::new(&plain, Shape::Json, unmask(text))],
        Item::Line(text) => {
            let mut record = Record::new(&plain, Shape::Line, unmask(text));
            record.fault = holds_envelope(text).then_some("glued-envelope");
            vec![record]
        }
        Item::Elements(elements) => {
            let container = Record::new(&plain, Shape::Json, Vec::new());
            elements.iter().map(|(pointer, raw)| container.element(pointer, raw)).collect()
        }
    })
}

fn of_envelope(envelope: &Pairs) -> Option<Vec<Record>> {
    if !envelope.has_text_keys() || envelope.all("logEvents").count() > 1 {
        return None;
    }
    // A value that is not a string counts as none; a string that is not text is damage of the envelope.
    let text = |name: &str| {
        let mut values = envelope.all(name).map(|raw| {
            let Some(raw) = raw.strip_prefix('"') else { return Some(None) };
            let Text::Valid(text) = string_text(raw.strip_suffix('"').unwrap()) else { return None };
            (text.len() <= 4096).then_some(Some(text))
        });
        let Some(first) = values.next() else { return Some(None) };
        let first = first?;
        values.all(|value| value == Some(first.clone())).then_some(first)
    };
    let message_type = text("messageType")?;
    let origin = Origin {
        owner: text("owner")?,
        log_group: text("logGroup")?,
        log_stream: text("logStream")?,
        ..Origin::default()
    };
    let Some(Ok(events)) = envelope.get("logEvents").map(serde_json::from_str::<Vec<&RawValue>>) else {
        let mut record = Record::new(&origin, Shape::Event, unmask(&envelope.text));
        record.fault = Some("bad-envelope");
        return Some(vec![record]);
    };
    let unknown = match message_type.as_deref() {
        Some("DATA_MESSAGE" | "CONTROL_MESSAGE") => None,
        Some(_) => Some("unknown-message-type"),
        None => Some("bad-envelope"),
    };
    let is_control = message_type.as_deref() == Some("CONTROL_MESSAGE");
    events.iter().map(|raw| of_event(&origin, raw.get(), unknown, is_control)).collect()
}

/// Returns `None` if the event's structure is damaged, which fails the object.
fn of_event(origin: &Origin, raw: &str, unknown: Option<&'static str>, is_control: bool) -> Option<Record> {
    let mut whole = Record::new(origin, Shape::Event, unmask(raw));
    whole.is_control = is_control;
    let fault = |reason: &'static str| {
        // An unknown type of message is reported before damage of its events.
        Some(unknown.filter(|unknown| *unknown == "unknown-message-type").unwrap_or(reason))
    };
    if !raw.starts_with('{') {
        whole.fault = fault("bad-event");
        return Some(whole);
    }
    let pairs = serde_json::from_str::<Pairs>(raw).ok()?;
    if !pairs.has_text_keys() {
        return None;
    }
    if is_control {
        return Some(whole);
    }
    if pairs.differs("message") || pairs.differs("timestamp") {
        whole.fault = fault("duplicate-key");
        return Some(whole);
    }
    let Some(message) = pairs.get("message").filter(|raw| raw.starts_with('"')) else {
        whole.fault = fault("bad-event");
        return Some(whole);
    };
    let string = |name: &str| match string_text(pairs.get(name)?.strip_prefix('"')?.strip_suffix('"')?) {
        Text::Valid(text) => Some(text),
        Text::Repaired(_) | Text::Damaged => None,
    };
    let origin = Origin {
        event_id: string("id"),
        extracted: pairs.get("extractedFields").map(str::to_owned),
        ..origin.clone()
    };
    let mut record = Record::of_string(&origin, Shape::Event, &message[1..message.len() - 1]);
    let digits = |raw: &&str| raw.bytes().all(|byte| byte.is_ascii_digit());
    let timestamp = pairs.get("timestamp").filter(digits).and_then(|raw| raw.parse::<i64>().ok());
    record.timestamp = timestamp.filter(|ms| (0..=253_402_300_799_999).contains(ms));
    let is_timeless = record.timestamp.is_none();
    record.fault = unknown.or(record.fault).or(is_timeless.then_some("bad-timestamp"));
    Some(record)
}
