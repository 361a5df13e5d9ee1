//! Rejected records as JSON lines: what an auditor reads to see what did not become a row, and why.

use std::borrow::Cow;

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
    message: Cow<'a, str>,
}

/// Appends one line for a rejected record; `ordinal` counts the object's records from 0.
pub(super) fn write(object: &str, ordinal: u64, record: &Record<'_>, reason: Reason, out: &mut Vec<u8>) {
    let reject = Reject {
        object,
        record: ordinal,
        timestamp: record.timestamp,
        log_group: record.origin.log_group.as_deref(),
        log_stream: record.origin.log_stream.as_deref(),
        reason: reason.as_str(),
        message: String::from_utf8_lossy(record.message),
    };
    // Neither the vector nor these fields can fail.
    let _ = serde_json::to_writer(&mut *out, &reject);
    out.push(b'\n');
}
