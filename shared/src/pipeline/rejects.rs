//! Rejected records as JSON lines, for audits: each has the record and the reason.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;

use super::records::Record;
use crate::error::Reason;

#[derive(Serialize)]
struct Reject<'a> {
    object: &'a str,
    record: u64,
    timestamp: Option<i64>,
    log_group: Option<&'a str>,
    log_stream: Option<&'a str>,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    /// The message if it is not UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    message_base64: Option<String>,
}

/// Appends one line for a rejected record. `ordinal` counts the object's records from 0.
pub(super) fn write(object: &str, ordinal: u64, record: &Record<'_>, reason: Reason, out: &mut Vec<u8>) {
    let message = match std::str::from_utf8(record.message()) {
        Ok(message) => Some(message),
        // The limit of a record may have cut a character.
        Err(error) if reason == Reason::TooLong && error.error_len().is_none() => {
            std::str::from_utf8(&record.message()[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    let reject = Reject {
        object,
        record: ordinal,
        timestamp: record.timestamp,
        log_group: record.origin.log_group.as_deref(),
        log_stream: record.origin.log_stream.as_deref(),
        reason: reason.as_str(),
        message,
        message_base64: message.is_none().then(|| STANDARD.encode(record.message())),
    };
    #[expect(clippy::expect_used, reason = "a vector accepts every write, and all fields are plain values")]
    serde_json::to_writer(&mut *out, &reject).expect("a reject is always valid JSON");
    out.push(b'\n');
}
