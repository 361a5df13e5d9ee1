//! A compiled rule.

use serde::{Deserialize, Serialize};

use super::{Format, JsonFormat, Matches, time::TimeSource};
use crate::error::Reason;

/// A rule that is ready to use.
#[derive(Debug)]
pub struct Rule {
    /// Position among the rules.
    pub number: usize,
    /// Its unique name.
    pub name: String,
    /// The records it takes.
    pub matches: Matches,
    /// The outcome of a record that it takes but that does not fit.
    pub on_mismatch: OnMismatch,
    /// Where its message is.
    pub source: Source,
    /// Its action on the message.
    pub action: Action,
    /// How to handle invalid text in values. Flow logs always reject it.
    pub bad_text: BadText,
}

impl Rule {
    /// Returns how it writes rows, if it does.
    #[must_use]
    pub fn writing(&self) -> Option<&Writing> {
        match &self.action {
            Action::Write(writing) => Some(writing),
            Action::Drop | Action::Decode => None,
        }
    }

    /// Returns whether it reads every record as JSON, as a whole.
    pub(super) fn reads_json(&self) -> bool {
        self.source.is_whole()
            && self.writing().is_some_and(|writing| matches!(writing.format, Format::Json(_)))
    }

    /// Returns whether it reads W3C logs.
    pub(super) fn reads_w3c(&self) -> bool {
        self.writing().is_some_and(|writing| matches!(writing.format, Format::W3c(_)))
    }

    /// Returns whether it drops a record that is invalid for this reason. One that it cannot match, or that may hide events, is
    /// a reject.
    pub(super) fn drops_invalid(&self, reason: Reason) -> bool {
        let hides_events =
            matches!(reason, Reason::GluedEnvelope | Reason::BadEnvelope | Reason::UnknownMessageType);
        matches!(self.action, Action::Drop) && !self.matches.has_message() && !hides_events
    }
}

/// The location of the message in a record.
#[derive(Debug, Default)]
pub struct Source {
    /// Messages that begin with this text are control events.
    pub comments: Option<String>,
    /// Whether a line is a time and a message, as export tasks write it.
    pub export_lines: bool,
    /// Position of the path of the array whose elements are its records.
    pub records: Option<usize>,
    /// Finds the message in a JSON record, then the time if the record has it.
    pub unwrap: Option<JsonFormat>,
}

impl Source {
    /// Returns whether every record is a message as a whole.
    pub(super) fn is_whole(&self) -> bool {
        let Self { comments, export_lines, records, unwrap } = self;
        comments.is_none() && !export_lines && records.is_none() && unwrap.is_none()
    }
}

/// The action of a rule on a message.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "almost every rule writes rows")]
pub enum Action {
    /// Counts it as dropped.
    Drop,
    /// Decodes it from base64 and reads it as an object.
    Decode,
    /// Writes a row.
    Write(Writing),
}

/// How a rule writes rows.
#[derive(Debug)]
pub struct Writing {
    /// Position of its table among the tables.
    pub table: usize,
    /// For each metadata column of the table: whether this rule fills it.
    pub metadata: Vec<bool>,
    /// Number of the format's columns.
    pub columns: usize,
    /// For each format column of the table: the position of its value in the format.
    pub cells: Vec<Option<usize>>,
    /// Whether the cells are the fields of the message in their own order.
    pub(crate) in_order: bool,
    /// How a message becomes values.
    pub format: Format,
    /// Positions of the format's columns without which a record is rejected.
    pub required: Vec<usize>,
    /// Where the time of a record outside envelopes is.
    pub timestamp: Option<TimeSource>,
}

/// The outcome of a record that a rule takes but that does not fit it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnMismatch {
    /// It is rejected.
    #[default]
    Reject,
    /// The rules below are tried.
    Next,
}

/// How a rule handles invalid UTF-8, lone surrogates and NUL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BadText {
    /// Replaces it and counts the row as repaired.
    #[default]
    Replace,
    /// Rejects the record.
    Reject,
}
