//! A record and where it comes from.

use super::message::MessageText;
use crate::{error::Reason, pipeline::json_input::JsonInput};

/// The origin of a record. All events of an envelope share it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Changes whenever another value here does.
    pub serial: u64,
    /// The kind of envelope, if it is one.
    pub kind: OriginKind,
    /// The type that the envelope gives.
    pub message_type: Option<String>,
    /// The AWS account.
    pub owner: Option<String>,
    /// The log group.
    pub log_group: Option<String>,
    /// The log stream.
    pub log_stream: Option<String>,
}

/// The item that holds a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OriginKind {
    /// No envelope: the record is a line or a JSON object.
    #[default]
    Plain,
    /// A `DATA_MESSAGE` envelope.
    Data,
    /// A `CONTROL_MESSAGE` envelope: counted, never written.
    Control,
    /// An envelope of another type.
    Unknown,
    /// An envelope without a type.
    Untyped,
}

/// One event, JSON object, element of an array, or line.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Its origin.
    pub origin: &'a Origin,
    /// Milliseconds since 1970, within `0..=MAX_MS`; `None` outside of envelopes.
    pub timestamp: Option<i64>,
    /// The reason why it cannot be a row under any rules.
    pub fault: Option<Reason>,
    pub(in crate::pipeline) message: MessageText<'a>,
    /// The message with invalid text replaced, if that is its only fault.
    pub repaired: Option<&'a [u8]>,
    /// Counts the files of the object. Each entry of a zip archive is one.
    pub file: u64,
    /// Whether it is the first record of its file.
    pub is_first: bool,
    /// Whether it is a line.
    pub is_line: bool,
    /// For an element of an array of records: the position of its path among those of the reader.
    pub element: Option<usize>,
    /// For an event, the raw content of its `id`, if that is a string.
    pub id: Option<&'a [u8]>,
    /// For an event, the raw value of its `extractedFields`.
    pub extracted: Option<&'a [u8]>,
    /// For a line, the end of the line before it if that was too long and is not in any record.
    pub skipped: &'a [u8],
}

impl<'a> Record<'a> {
    /// Returns the message, unescaped. If it is invalid, as many of the record's own bytes as possible.
    #[must_use]
    pub fn message(&self) -> &'a [u8] {
        self.message.bytes()
    }

    /// Returns the message for a reader of JSON, which needs no unescaped text.
    pub(crate) fn json(&self) -> JsonInput<'a> {
        self.message.json()
    }

    /// Returns whether it is an event of a control envelope, which is counted and never written.
    #[must_use]
    pub fn is_control(&self) -> bool {
        self.origin.kind == OriginKind::Control && self.fault != Some(Reason::BadEnvelope)
    }
}

/// Counts of the items in the text of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Items {
    /// CloudWatch Logs envelopes.
    pub envelopes: u64,
    /// JSON objects, and arrays of them.
    pub objects: u64,
    /// Lines.
    pub lines: u64,
}
