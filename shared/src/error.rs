//! Reasons why an object fails, by what can be done about it, and reasons why a record is rejected. Formats error chains.

use std::{error::Error, fmt, io};

use serde::{Deserialize, Serialize};

use crate::store::StoreError;

/// Returns the text of an error and of each of its causes, outermost first. Leaves out a cause whose text the error above it
/// already ends with.
#[must_use]
pub fn causes(error: &dyn Error) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !texts.last().is_some_and(|above| above.ends_with(&text)) {
            texts.push(text);
        }
        next = error.source();
    }
    texts
}

/// Formats an error and its causes on one line, outermost first.
#[must_use]
pub fn error_chain(error: &dyn Error) -> String {
    causes(error).join(": ")
}

/// Why a whole object failed. Nothing of the object is published.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The source failed: network, permission, disk.
    #[error("cannot read the source after {at} bytes")]
    Read {
        /// Compressed bytes read before the error.
        at: u64,
        /// The error of the source. It wraps a [`StoreError`] if the cause is known.
        source: io::Error,
    },
    /// An output could not be written.
    #[error("cannot write {output}")]
    Write {
        /// The output's path within the results.
        output: String,
        /// The error of the destination. It wraps a [`StoreError`] if the cause is known.
        source: io::Error,
    },
    /// The bytes end in the middle of a compressed unit (a gzip member, a zstd frame, a zip entry) or an envelope.
    #[error("truncated: {what} ends too soon at byte {at} of layer {layer}")]
    Truncated {
        /// The incomplete unit.
        what: &'static str,
        /// Layer; 0 is the object as stored.
        layer: usize,
        /// Byte of that layer.
        at: u64,
    },
    /// The bytes violate their format.
    #[error("corrupt: {what} at byte {at} of layer {layer}")]
    Corrupt {
        /// Description of the damage.
        what: String,
        /// Layer; 0 is the object as stored.
        layer: usize,
        /// Byte of that layer.
        at: u64,
    },
    /// The data uses a feature of its format that Flowherd does not support: encryption, a dictionary, a rare method.
    #[error("unsupported: {what} at byte {at} of layer {layer}; {todo}")]
    Unsupported {
        /// The unsupported feature.
        what: String,
        /// Layer; 0 is the object as stored.
        layer: usize,
        /// Byte of that layer.
        at: u64,
        /// What to do.
        todo: &'static str,
    },
    /// Decoding needs more memory than the fixed limit.
    #[error(
        "too large a window: {what} at byte {at} of layer {layer} needs more than {max} bytes of memory to decode; \
         compress the object again with a smaller window or block"
    )]
    WindowTooLarge {
        /// The compressed unit.
        what: &'static str,
        /// Layer; 0 is the object as stored.
        layer: usize,
        /// Byte of that layer.
        at: u64,
        /// The limit.
        max: u64,
    },
    /// The object or one of its layers is neither text nor a supported compression.
    #[error(
        "not text: this is {format} ({evidence} at byte {at} of layer {layer}), which Flowherd does not read; {todo}"
    )]
    NotText {
        /// The format's name.
        format: &'static str,
        /// The bytes that identify the format.
        evidence: &'static str,
        /// Layer; 0 is the object as stored.
        layer: usize,
        /// Byte of that layer.
        at: u64,
        /// What to do.
        todo: &'static str,
    },
    /// Compressed data follows text, so the object is not compressed as a whole.
    #[error(
        "{format} data in text at byte {at} of layer {layer}; write text and compressed data to separate objects, or \
         compress all of it"
    )]
    CompressedInText {
        /// The format of the compressed data.
        format: &'static str,
        /// Layer of the text, 0 being the object as stored.
        layer: usize,
        /// Byte of that layer where the compressed data begins.
        at: u64,
    },
    /// More layers of compression than `limits.max_layers`.
    #[error("too deep: more than {max} layers of compression (limits.max_layers)")]
    TooDeep {
        /// The limit.
        max: usize,
    },
    /// Decodes to more than `limits.max_decoded_bytes`.
    #[error("too large: decodes to more than {max} bytes (limits.max_decoded_bytes)")]
    TooLarge {
        /// The limit.
        max: u64,
    },
    /// Its payloads decode to more than `limits.max_decoded_bytes` together.
    #[error("too large: its payloads decode to more than {max} bytes together (limits.max_decoded_bytes)")]
    PayloadsTooLarge {
        /// The limit.
        max: u64,
    },
    /// Expands more than `limits.max_decode_ratio` times.
    #[error(
        "decompression bomb: {decoded} bytes out of {compressed} is more than {max} times (limits.max_decode_ratio)"
    )]
    Bomb {
        /// Bytes decoded so far.
        decoded: u64,
        /// Bytes read of the object so far.
        compressed: u64,
        /// The limit.
        max: u64,
    },
    /// A part of an envelope that must fit in memory is larger than `limits.max_envelope_bytes`.
    #[error(
        "envelope too large: more than {max} bytes in one piece at byte {at} of the decoded text (limits.max_envelope_bytes)"
    )]
    EnvelopeTooLarge {
        /// The limit.
        max: usize,
        /// Byte of the decoded text where the piece begins.
        at: u64,
    },
    /// More rejects than `limits.max_rejects` or `limits.max_reject_percent`, or more bytes of rejects than
    /// `limits.max_reject_bytes`.
    #[error("too many rejects: {rejected} of {read} records (limits.{limit} is {max}). {cause}")]
    TooManyRejects {
        /// All rejected records of the object, also those that were not written.
        rejected: u64,
        /// Records of the object, without control events and dropped records.
        read: u64,
        /// The limit's name.
        limit: &'static str,
        /// The limit.
        max: u64,
        /// The most frequent cause.
        cause: RejectCause,
    },
    /// A header line of a flow log or W3C log that cannot be used.
    #[error("the header line names {field:?} {why}")]
    Header {
        /// The field or fields.
        field: String,
        /// Why that is not usable, and what to do.
        why: String,
    },
}

/// Why most records of an object were rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectCause {
    /// The rule that takes them; `None` if no rule does.
    pub rule: Option<String>,
    /// The most frequent reason.
    pub reason: Reason,
    /// Records with this rule and reason.
    pub count: u64,
    /// Log group of the first record that no rule takes, if it has one.
    pub log_group: Option<String>,
}

impl fmt::Display for RejectCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, reason, count, log_group } = self;
        match (rule, reason, log_group) {
            (Some(rule), reason, _) => write!(
                f,
                "Rule {rule:?} rejected {count} of them as {}. Run `flowherd explain` on the object, then correct the \
                 rule or raise the limit",
                reason.as_str()
            ),
            (None, Reason::NoRule, Some(log_group)) => write!(
                f,
                "No rule takes {count} of them (first log group: {log_group:?}). Add a rule that matches them, or raise \
                 the limit"
            ),
            (None, Reason::NoRule, None) => write!(
                f,
                "No rule takes {count} of them (the first has no log group). Add a rule that matches their key, or raise \
                 the limit"
            ),
            (None, reason, _) => write!(
                f,
                "No rule takes them, and {count} are {}. Run `flowherd explain` on the object, then correct its records \
                 or raise the limit",
                reason.as_str()
            ),
        }
    }
}

/// Whether another attempt at a failed object can succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Another attempt can succeed.
    Retry,
    /// Every attempt fails until the object or the configuration changes.
    Permanent,
}

/// Number of attempts after which denied access is a permanent failure. A new IAM permission takes effect with a delay
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency>). With
/// the pauses between attempts, this is two and a half minutes.
pub const DENIED_ATTEMPTS: u32 = 5;

impl ObjectError {
    /// Returns whether another attempt can succeed. `attempt` is the number of this one, from 1.
    #[must_use]
    pub fn verdict_at(&self, attempt: u32) -> Verdict {
        match self {
            Self::Read { source, .. }
                if matches!(StoreError::downcast_io(source), Some(StoreError::AccessDenied(_)))
                    && attempt >= DENIED_ATTEMPTS =>
            {
                Verdict::Permanent
            }
            _ => self.verdict(),
        }
    }

    /// Returns whether any later attempt can succeed.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Read { source, .. } => StoreError::downcast_io(source).map_or(Verdict::Retry, read_verdict),
            Self::Write { source, .. } => {
                StoreError::downcast_io(source).map_or(Verdict::Retry, write_verdict)
            }
            Self::Truncated { .. }
            | Self::Corrupt { .. }
            | Self::Unsupported { .. }
            | Self::WindowTooLarge { .. }
            | Self::NotText { .. }
            | Self::CompressedInText { .. }
            | Self::TooDeep { .. }
            | Self::TooLarge { .. }
            | Self::PayloadsTooLarge { .. }
            | Self::Bomb { .. }
            | Self::EnvelopeTooLarge { .. }
            | Self::TooManyRejects { .. }
            | Self::Header { .. } => Verdict::Permanent,
        }
    }
}

fn read_verdict(error: &StoreError) -> Verdict {
    match error {
        // Only a change of the object helps.
        StoreError::NotFound(_)
        | StoreError::PreconditionFailed(_)
        | StoreError::Archived(_)
        | StoreError::Encrypted(_)
        | StoreError::InvalidKey(_) => Verdict::Permanent,
        StoreError::AccessDenied(_)
        | StoreError::WrongBucket(_)
        | StoreError::TooLarge { .. }
        | StoreError::Invalid(_)
        | StoreError::Transient(_) => Verdict::Retry,
    }
}

fn write_verdict(error: &StoreError) -> Verdict {
    match error {
        StoreError::InvalidKey(_) => Verdict::Permanent,
        StoreError::NotFound(_)
        | StoreError::PreconditionFailed(_)
        | StoreError::AccessDenied(_)
        | StoreError::Archived(_)
        | StoreError::Encrypted(_)
        | StoreError::WrongBucket(_)
        | StoreError::TooLarge { .. }
        | StoreError::Invalid(_)
        | StoreError::Transient(_) => Verdict::Retry,
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a record was rejected. Rejects, receipts and the report contain the text form.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $name,)* }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The text form, e.g. `field-count`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text),* }
            }
        }
    };
}

reasons! {
    /// No rule matches the record's log group, log stream and key.
    NoRule = "no-rule",
    /// A flow-log line with more, fewer or empty fields than its format.
    FieldCount = "field-count",
    /// A flow-log field whose value is not of the field's type: the line has another format.
    FieldType = "field-type",
    /// The rule's regular expression does not match.
    NoMatch = "no-match",
    /// The message is not one JSON object.
    NotJson = "not-json",
    /// The record has no value for any of the rule's columns.
    NoColumns = "no-columns",
    /// The record has no value for one of the rule's required columns.
    MissingRequired = "missing-required",
    /// The record is not an element of the array that the rule's `records` names, and does not hold one.
    NoRecords = "no-records",
    /// The record has no value at the rule's `unwrap`.
    NoMessage = "no-message",
    /// The payload is not base64, or not an object that can be read.
    BadPayload = "bad-payload",
    /// A line of a W3C log before any `#Fields:` line.
    NoHeader = "no-header",
    /// A JSON message repeats a key that a column reads, with a different value, or an event its timestamp or message.
    DuplicateKey = "duplicate-key",
    /// The timestamp is missing, not an integer, or outside the years 1970 to 9999.
    BadTimestamp = "bad-timestamp",
    /// Longer than `limits.max_record_bytes`.
    TooLong = "too-long",
    /// Control characters or escapes that JSON forbids. In flow logs, and with `bad_text = "reject"`, also invalid UTF-8,
    /// lone surrogates and NUL.
    BadEncoding = "bad-encoding",
    /// An element of `logEvents` without a text message.
    BadEvent = "bad-event",
    /// An envelope without an array `logEvents` or without a text `messageType`.
    BadEnvelope = "bad-envelope",
    /// A line that holds an envelope after other text.
    GluedEnvelope = "glued-envelope",
    /// An event of an envelope whose `messageType` is neither `DATA_MESSAGE` nor `CONTROL_MESSAGE`.
    UnknownMessageType = "unknown-message-type",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_chain_is_one_line_and_repeats_no_text() {
        let cause = StoreError::transient_because("GetObject failed: reset", io::Error::other("reset"));
        let error = ObjectError::Read { at: 7, source: cause.into() };
        assert_eq!(error_chain(&error), "cannot read the source after 7 bytes: GetObject failed: reset");
    }

    #[test]
    fn only_errors_that_need_a_change_of_the_object_are_permanent() {
        let read = |source: StoreError| ObjectError::Read { at: 0, source: source.into() };
        let permanent = [
            StoreError::NotFound("x".into()),
            StoreError::PreconditionFailed("x".into()),
            StoreError::Archived("x".into()),
            StoreError::Encrypted("x".into()),
            StoreError::InvalidKey("x".into()),
        ];
        for error in permanent.map(read) {
            assert_eq!(error.verdict(), Verdict::Permanent, "{error:?}");
        }
        for error in [StoreError::WrongBucket("x".into()), StoreError::transient("x")].map(read) {
            assert_eq!(error.verdict_at(u32::MAX), Verdict::Retry, "{error:?}");
        }
        let denied = read(StoreError::AccessDenied("x".into()));
        assert_eq!(denied.verdict_at(DENIED_ATTEMPTS - 1), Verdict::Retry);
        assert_eq!(denied.verdict_at(DENIED_ATTEMPTS), Verdict::Permanent);
        let write = |source: StoreError| ObjectError::Write { output: "o".to_owned(), source: source.into() };
        assert_eq!(write(StoreError::InvalidKey("x".into())).verdict(), Verdict::Permanent);
        assert_eq!(write(StoreError::AccessDenied("x".into())).verdict_at(u32::MAX), Verdict::Retry);
    }
}
