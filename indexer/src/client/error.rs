//! Why a request has no usable answer.

use std::{borrow::Cow, error::Error};

use aws_credential_types::provider::error::CredentialsError;
use serde::Deserialize;

use super::Response;

/// Maximum bytes of a text from the cluster that an error or a reject quotes.
pub(crate) const MAX_REASON_BYTES: usize = 1000;

/// The error type of an index or a cluster that accepts no writes: the disk is full, the cluster has no manager, or an operator
/// blocked it. The status is 403, 429 or 503, depending on the block. Blocks end without a change of the request
/// (<https://docs.opensearch.org/latest/api-reference/index-apis/blocks/>).
pub(crate) const BLOCKED: &str = "cluster_block_exception";

/// Why a request has no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The connection failed or ended before the response was complete. The cluster may have executed the request.
    #[error("no complete response from {url}; check the network, the address, and the certificate")]
    Connection {
        /// The address of the cluster.
        url: String,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The request timed out. The cluster may have executed it.
    #[error("no complete response from {url} within {seconds} s; check the load of the cluster")]
    Timeout {
        /// The address of the cluster.
        url: String,
        /// The timeout of a request, in seconds.
        seconds: u64,
    },
    /// The cluster answers with a status that is not a success.
    #[error("the cluster answers {status}: {reason}{hint}")]
    Status {
        /// The status.
        status: u16,
        /// The error type and the reason of the cluster, or the beginning of the answer.
        reason: String,
        /// What to check; empty or after a semicolon.
        hint: &'static str,
    },
    /// The cluster refuses the request, or the documents of an index, for a cause that other documents share.
    #[error("the cluster refuses documents of an index: {reason}{hint}")]
    Index {
        /// The error type and the reason of the cluster.
        reason: String,
        /// What to check; empty or after a semicolon.
        hint: &'static str,
    },
    /// The cluster accepts no document of a request now.
    #[error("the cluster accepts no documents now: {status}: {reason}; check its load and disk space")]
    Documents {
        /// The status of the first document.
        status: u16,
        /// The error type and the reason of the cluster.
        reason: String,
    },
    /// The response has more bytes than the request allows.
    #[error(
        "the response is larger than {limit} bytes; index into fewer indices, or use a narrower name pattern"
    )]
    ResponseTooLarge {
        /// The limit.
        limit: usize,
    },
    /// The answer does not fit its request.
    #[error(
        "the answer of the cluster does not fit the request: {0}; check that the address is that of a cluster"
    )]
    Malformed(String),
    /// The credentials cannot be loaded.
    #[error("cannot load the AWS credentials for the cluster; check the profile and the role")]
    Credentials(#[source] CredentialsError),
    /// The request cannot be built or signed.
    #[error("cannot build the request; check the address of the cluster and the credentials")]
    Request(#[source] Box<dyn Error + Send + Sync>),
}

impl ClientError {
    /// Returns the error of an answer that is not a success.
    #[must_use]
    pub fn status(response: &Response) -> Self {
        let status = response.status;
        Self::Status { status, reason: reason(&response.body), hint: hint(status) }
    }

    /// Whether the cluster accepts nothing because it is overloaded or blocked. The cause is never a single document.
    pub(crate) fn is_overload(&self) -> bool {
        match self {
            Self::Status { status, reason, .. } | Self::Documents { status, reason } => {
                *status == 429 || is_block(reason)
            }
            _ => false,
        }
    }

    /// Whether the cluster works, and only the documents of the request fail, such as each time with status 500.
    pub(crate) fn is_of_documents(&self) -> bool {
        matches!(self, Self::Documents { status, .. } if *status != 503) && !self.is_overload()
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn can_retry(&self) -> bool {
        match self {
            Self::Connection { .. }
            | Self::Timeout { .. }
            | Self::Documents { .. }
            | Self::Malformed(_)
            | Self::Credentials(_) => true,
            Self::Status { status, reason, .. } => can_retry(*status) || is_block(reason),
            Self::Index { .. } | Self::ResponseTooLarge { .. } | Self::Request(_) => false,
        }
    }
}

/// Whether a reason is that of a block. It begins with the error type.
fn is_block(reason: &str) -> bool {
    reason.starts_with(BLOCKED)
}

/// Whether a request or document with this status may succeed later: too many requests, timeouts, and errors of the cluster or
/// of a proxy.
pub(crate) fn can_retry(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599)
}

/// Returns what to check after this status.
pub(crate) fn hint(status: u16) -> &'static str {
    match status {
        401 => {
            "; check the settings of the cluster's authentication: user and password, API key, or signature"
        }
        403 => {
            "; check that the user or role may create documents and indices, and with signatures the service and the region"
        }
        404 => "; check the address, and that the index exists or the cluster may create it",
        _ => "",
    }
}

#[derive(Deserialize)]
struct ErrorAnswer<'a> {
    #[serde(borrow)]
    error: Option<ErrorText<'a>>,
    /// Amazon OpenSearch Service answers requests that it does not authorize with this.
    #[serde(borrow, alias = "Message")]
    message: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ErrorText<'a> {
    Object {
        #[serde(borrow, rename = "type")]
        kind: Cow<'a, str>,
        #[serde(borrow)]
        reason: Option<Cow<'a, str>>,
    },
    Text(Cow<'a, str>),
}

/// Returns the error type and reason of an answer, or its first bytes.
fn reason(body: &[u8]) -> String {
    let parsed: Option<ErrorAnswer<'_>> = serde_json::from_slice(body).ok();
    let found = parsed.and_then(|answer| match answer {
        ErrorAnswer { error: Some(ErrorText::Object { kind, reason }), .. } => {
            Some(format!("{kind}: {}", reason.as_deref().unwrap_or("no reason")))
        }
        ErrorAnswer { error: Some(ErrorText::Text(text)), .. } => Some(text.into_owned()),
        ErrorAnswer { message, .. } => message.map(Cow::into_owned),
    });
    match found {
        Some(text) => quoted(&text),
        None if body.is_empty() => "no reason".to_owned(),
        None => quoted(&String::from_utf8_lossy(&body[..body.len().min(4 * MAX_REASON_BYTES)])),
    }
}

/// Returns the beginning of a text from the cluster, without control characters. The text may quote field values.
pub(crate) fn quoted(text: &str) -> String {
    let mut end = text.len().min(MAX_REASON_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_type_and_reason_of_the_cluster() {
        let body =
            br#"{"error":{"root_cause":[],"type":"parse_exception","reason":"no \u0007 good"},"status":400}"#;
        assert_eq!(reason(body), "parse_exception: no   good");
        assert_eq!(reason(br#"{"Message":"User: x is not authorized"}"#), "User: x is not authorized");
        assert_eq!(reason(br#"{"message":"Forbidden"}"#), "Forbidden");
        assert_eq!(reason(br#"{"error":"no handler"}"#), "no handler");
        assert_eq!(reason(b"<html>"), "<html>");
        assert_eq!(reason(b""), "no reason");
    }

    #[test]
    fn a_block_of_the_cluster_can_be_retried_also_with_403() {
        let status = |kind: &str| {
            let body = format!(r#"{{"error":{{"type":"{kind}","reason":"why"}},"status":403}}"#);
            ClientError::status(&Response { status: 403, retry_after: None, body: body.into_bytes() })
        };
        assert!(status(BLOCKED).can_retry() && status(BLOCKED).is_overload());
        assert!(!status("security_exception").can_retry());
    }

    #[test]
    fn a_quoted_text_has_a_limit_and_whole_characters() {
        let text = "é".repeat(MAX_REASON_BYTES);
        assert_eq!(quoted(&text).len(), MAX_REASON_BYTES);
        assert!(quoted(&format!("a{text}")).len() < MAX_REASON_BYTES);
    }
}
