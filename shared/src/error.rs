//! Why an object failed, by what can be done about it, and why a record was rejected.

use std::{fmt, io};

use serde::{Deserialize, Serialize};

/// Why a whole object failed. Nothing of it is published.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The source stopped giving bytes: network, permission, disk.
    #[error("cannot read the source after {at} bytes")]
    Read {
        /// Compressed bytes read before the error.
        at: u64,
        /// What the source said.
        source: io::Error,
    },
    /// An output could not be written.
    #[error("cannot write {output}")]
    Write {
        /// The output's path within the results.
        output: String,
        /// What the destination said.
        source: io::Error,
    },
    /// The bytes end in the middle of a compressed unit (a gzip member, a zstd frame, a zip entry) or an envelope.
    #[error("truncated: {what} ends too soon at byte {at} of layer {layer}")]
    Truncated {
        /// The thing that is incomplete.
        what: &'static str,
        /// Layer, 0 being the object as stored.
        layer: usize,
        /// Byte of that layer.
        at: u64,
    },
    /// The bytes contradict their own format.
    #[error("corrupt: {what} at byte {at} of layer {layer}")]
    Corrupt {
        /// What was found.
        what: String,
        /// Layer, 0 being the object as stored.
        layer: usize,
        /// Byte of that layer.
        at: u64,
    },
    /// A form of its format that is not read: encryption, a dictionary, a rare method.
    #[error("unsupported: {what} at byte {at} of layer {layer}; {todo}")]
    Unsupported {
        /// What was found.
        what: String,
        /// Layer, 0 being the object as stored.
        layer: usize,
        /// Byte of that layer.
        at: u64,
        /// What to do.
        todo: &'static str,
    },
    /// Decoding needs more memory than the fixed limit for it.
    #[error(
        "too large a window: {what} at byte {at} of layer {layer} needs more than {max} bytes of memory to decode; \
         compress the object again with a smaller window or block"
    )]
    WindowTooLarge {
        /// The compressed unit.
        what: &'static str,
        /// Layer, 0 being the object as stored.
        layer: usize,
        /// Byte of that layer.
        at: u64,
        /// The limit.
        max: u64,
    },
    /// The object or one of its layers is neither text nor a compression that is read.
    #[error(
        "not text: this is {format} ({evidence} at byte {at} of layer {layer}), which Flowherd does not read; {todo}"
    )]
    NotText {
        /// The format's name.
        format: &'static str,
        /// What shows it.
        evidence: &'static str,
        /// Layer, 0 being the object as stored.
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
        /// The limit in force.
        max: usize,
    },
    /// Decodes to more than `limits.max_decoded_bytes`.
    #[error("too large: decodes to more than {max} bytes (limits.max_decoded_bytes)")]
    TooLarge {
        /// The limit in force.
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
        /// The limit in force.
        max: u64,
    },
    /// A part of an envelope that must be held in memory is larger than `limits.max_envelope_bytes`.
    #[error(
        "envelope too large: more than {max} bytes in one piece at byte {at} of the decoded text (limits.max_envelope_bytes)"
    )]
    EnvelopeTooLarge {
        /// The limit in force.
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
        /// The limit in force.
        max: u64,
        /// The most frequent cause.
        cause: RejectCause,
    },
    /// A flow-log header line that cannot be used.
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

/// What to do with a failed object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// May succeed when tried again as it is.
    Retry,
    /// Fails again until the object or the configuration changes.
    Permanent,
}

/// Attempts at which denied access is a permanent failure. IAM grants a new right only after some time
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency>); with
/// the pauses between attempts this is two and a half minutes.
pub const DENIED_ATTEMPTS: u32 = 5;

impl ObjectError {
    /// Returns whether another attempt can help, if this one was the attempt of this number, from 1.
    #[must_use]
    pub fn verdict_at(&self, attempt: u32) -> Verdict {
        match self {
            Self::Read { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied && attempt >= DENIED_ATTEMPTS =>
            {
                Verdict::Permanent
            }
            _ => self.verdict(),
        }
    }

    /// Returns whether another attempt can ever help.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            // What is gone, or is not what was listed any more, does not come back by waiting.
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => Verdict::Permanent,
            Self::Write { source, .. } if source.kind() == io::ErrorKind::InvalidFilename => {
                Verdict::Permanent
            }
            Self::Read { .. } | Self::Write { .. } => Verdict::Retry,
            Self::Truncated { .. }
            | Self::Corrupt { .. }
            | Self::Unsupported { .. }
            | Self::WindowTooLarge { .. }
            | Self::NotText { .. }
            | Self::CompressedInText { .. }
            | Self::TooDeep { .. }
            | Self::TooLarge { .. }
            | Self::Bomb { .. }
            | Self::EnvelopeTooLarge { .. }
            | Self::TooManyRejects { .. }
            | Self::Header { .. } => Verdict::Permanent,
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a record was rejected. The text form stands in rejects, receipts and the report.
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
    /// No value for any of the rule's columns: the message is of another kind.
    NoColumns = "no-columns",
    /// No value for one of the rule's required columns.
    MissingRequired = "missing-required",
    /// A JSON message gives a key that a column reads twice with different values, or an event its timestamp or message.
    DuplicateKey = "duplicate-key",
    /// The timestamp is missing, not an integer, or outside the years 1970 to 9999.
    BadTimestamp = "bad-timestamp",
    /// Longer than `limits.max_record_bytes`.
    TooLong = "too-long",
    /// Text that cannot be replaced: control characters or escapes that JSON forbids. In flow logs, and with
    /// `bad_text = "reject"`, also invalid UTF-8, half surrogate pairs and NUL.
    BadEncoding = "bad-encoding",
    /// An element of `logEvents` without a text message.
    BadEvent = "bad-event",
    /// An envelope without an array `logEvents` or without a text `messageType`.
    BadEnvelope = "bad-envelope",
    /// An event of an envelope whose `messageType` is neither `DATA_MESSAGE` nor `CONTROL_MESSAGE`.
    UnknownMessageType = "unknown-message-type",
}
