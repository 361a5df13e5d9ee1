//! The message inside a record: after the time of an export line, unwrapped, or decoded.

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::{Rule, Values, time};
use crate::{
    error::Reason,
    pipeline::{
        json_input::JsonInput,
        records::{OriginKind, Record},
    },
};

/// Accepts base64 with and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// The object that CloudWatch Logs writes before an export task, and its only line
/// (<https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/S3ExportTasks.html>).
const EXPORT_TEST: &[u8] = b"Permission Check Successful";

/// The message that a row's cells are cut from.
#[derive(Clone, Copy, Debug)]
pub(super) enum TextOf {
    /// The record's message from this byte.
    Message(usize),
    /// The repaired message from this byte.
    Repaired(usize),
    Unwrapped,
}

impl TextOf {
    /// Returns the text of a record, in the form in which the rule has read it.
    pub(super) fn of<'r>(
        self,
        rule: &Rule,
        record: &Record<'r>,
        unwrapped_values: &'r Values,
    ) -> JsonInput<'r> {
        match self {
            Self::Message(_) if rule.reads_json() => record.json(),
            Self::Message(start) => JsonInput::new(&record.message()[start..]),
            Self::Repaired(start) => JsonInput::new(&record.repaired.unwrap_or_default()[start..]),
            Self::Unwrapped => JsonInput::new(unwrapped(unwrapped_values)),
        }
    }
}

/// A message while a rule reads it.
#[derive(Clone, Copy)]
pub(super) struct Message<'m> {
    pub(super) text: &'m [u8],
    /// Whether the text has a backslash before each quote. Only for a rule that reads the whole record as JSON.
    pub(super) has_escaped_quotes: bool,
    pub(super) of: TextOf,
    pub(super) is_repaired: bool,
    /// The time in the line.
    pub(super) time: Option<i64>,
}

impl<'m> Message<'m> {
    /// Returns the whole message of a record for a rule.
    pub(super) fn of_record(rule: &Rule, record: &Record<'m>) -> Self {
        let JsonInput { bytes: text, has_escaped_quotes } =
            if rule.reads_json() { record.json() } else { JsonInput::new(record.message()) };
        Self { text, has_escaped_quotes, of: TextOf::Message(0), is_repaired: false, time: None }
    }

    /// Returns the repaired message of a record.
    pub(super) fn of_repaired(text: &'m [u8]) -> Self {
        Self { text, has_escaped_quotes: false, of: TextOf::Repaired(0), is_repaired: true, time: None }
    }

    /// Returns the text for a reader of JSON.
    pub(super) fn json(&self) -> JsonInput<'m> {
        JsonInput { bytes: self.text, has_escaped_quotes: self.has_escaped_quotes }
    }

    /// Returns the message of a line of an export task, with its time; `None` for the line of the test object.
    pub(super) fn of_line(self, rule: &Rule, record: &Record<'_>) -> Result<Option<Self>, Reason> {
        if !rule.source.export_lines || record.origin.kind != OriginKind::Plain {
            return Ok(Some(self));
        }
        // Every event begins with its time. A JSON object is a further line of an event.
        if !record.is_line {
            return Err(Reason::BadTimestamp);
        }
        if self.text == EXPORT_TEST {
            return Ok(None);
        }
        let (time, start) = time::export_line(self.text).ok_or(Reason::BadTimestamp)?;
        let of = if self.is_repaired { TextOf::Repaired(start) } else { TextOf::Message(start) };
        Ok(Some(Self { text: &self.text[start..], of, time: Some(time), ..self }))
    }
}

/// Returns the message that `unwrap` found, as the first of these values.
pub(super) fn unwrapped(values: &Values) -> &[u8] {
    match values.cells[0] {
        Some((start, end)) => &values.decoded[start as usize..end as usize],
        None => &[],
    }
}

/// Decodes base64, which may be broken into lines, into `out`. Returns whether it is valid.
pub(super) fn decode(text: &[u8], out: &mut Vec<u8>) -> bool {
    let compact: Vec<u8>;
    let text = if text.iter().any(u8::is_ascii_whitespace) {
        compact = text.iter().filter(|byte| !byte.is_ascii_whitespace()).copied().collect();
        &compact
    } else {
        text
    };
    out.clear();
    BASE64.decode_vec(text, out).is_ok()
}
