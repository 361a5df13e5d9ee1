//! Reads the answer of `_bulk`: the outcome of each document
//! (<https://docs.opensearch.org/latest/api-reference/document-apis/bulk/#response>).

use std::borrow::Cow;

use serde::Deserialize;

use crate::client::{BLOCKED, ClientError, can_retry, hint, quoted};

/// The path of a bulk request. Its filter limits the answer to the members that [`parse`] reads: about 30 bytes for a document.
pub const BULK_PATH: &str = "/_bulk?filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason,\
                             items.*.error.caused_by.reason";

/// Maximum bytes of an answer. A refused document takes 300 to 500 bytes of it.
pub const MAX_ANSWER_BYTES: usize = 8 << 20;
/// Maximum bytes of a reason.
const MAX_KIND_BYTES: usize = 64;

/// Error types that concern an index, not one document. Other documents would fail in the same way, so these errors must not
/// lead to rejects.
const INDEX_ERRORS: [&str; 7] = [
    "index_closed_exception",
    "index_not_found_exception",
    "invalid_alias_name_exception",
    "invalid_index_name_exception",
    "security_exception",
    // The mapping lacks a field of the table: a program changed it, or created the index without the template.
    "strict_dynamic_mapping_exception",
    // For example, the cluster has reached its limit of shards.
    "validation_exception",
];
/// The error type of a `create` whose document exists.
const CONFLICT: &str = "version_conflict_engine_exception";
/// Reason of a document that an ingest pipeline dropped.
const DROPPED: &str = "dropped";
const DROPPED_DETAIL: &str =
    "the cluster answered 200 without creating the document: an ingest pipeline dropped it";

/// The outcome of one document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DocumentOutcome {
    /// The document is new in the cluster.
    Created,
    /// The cluster had a document with this id.
    Existing,
    /// The cluster cannot accept the document now. A later request may succeed.
    Retry {
        /// The status of the document.
        status: u16,
        /// The error type and the reason of the cluster.
        reason: String,
    },
    /// The cluster refuses this document.
    Refused {
        /// The error type.
        reason: String,
        /// The reason in words.
        detail: String,
    },
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    items: Vec<Item<'a>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    #[serde(borrow)]
    create: Outcome<'a>,
}

#[derive(Deserialize)]
struct Outcome<'a> {
    status: u16,
    #[serde(borrow, default)]
    error: Option<ItemError<'a>>,
}

#[derive(Deserialize)]
struct ItemError<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    reason: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    caused_by: Option<Cause<'a>>,
}

#[derive(Deserialize)]
struct Cause<'a> {
    #[serde(borrow, default)]
    reason: Option<Cow<'a, str>>,
}

/// Parses an answer for `sent` documents, and passes the position and outcome of each to `take`. If the answer does not fit the
/// request, no outcome is known: returns an error and passes none.
pub fn parse(
    body: &[u8],
    sent: usize,
    mut take: impl FnMut(usize, DocumentOutcome),
) -> Result<(), ClientError> {
    let answer: Answer<'_> = serde_json::from_slice(body)
        .map_err(|error| ClientError::Malformed(format!("not an answer of _bulk: {error}")))?;
    if answer.items.len() != sent {
        let answered = answer.items.len();
        return Err(ClientError::Malformed(format!("{answered} outcomes for {sent} documents")));
    }
    if let Some(error) = answer.items.iter().find_map(|item| index_error(&item.create)) {
        return Err(error);
    }
    for (position, item) in answer.items.into_iter().enumerate() {
        take(position, outcome(&item.create));
    }
    Ok(())
}

fn index_error(item: &Outcome<'_>) -> Option<ClientError> {
    let error = item.error.as_ref()?;
    let concerns_index = matches!(item.status, 401 | 403 | 404) || INDEX_ERRORS.contains(&&*error.kind);
    (concerns_index && !can_retry(item.status) && error.kind != BLOCKED)
        .then(|| ClientError::Index { reason: error.text(), hint: hint(item.status) })
}

fn outcome(item: &Outcome<'_>) -> DocumentOutcome {
    match (item.status, &item.error) {
        (201, None) => DocumentOutcome::Created,
        // A new document is always 201. A dropped one is a `noop`
        // (<https://docs.opensearch.org/latest/ingest-pipelines/processors/drop/>).
        (200, None) => {
            DocumentOutcome::Refused { reason: DROPPED.to_owned(), detail: DROPPED_DETAIL.to_owned() }
        }
        (409, Some(error)) if error.kind == CONFLICT => DocumentOutcome::Existing,
        (status, Some(error)) if is_refusal(status, error) => {
            DocumentOutcome::Refused { reason: kind(&error.kind), detail: error.detail() }
        }
        (status, error) => DocumentOutcome::Retry {
            status,
            reason: error.as_ref().map_or_else(|| "no reason".to_owned(), ItemError::text),
        },
    }
}

fn is_refusal(status: u16, error: &ItemError<'_>) -> bool {
    (400..500).contains(&status) && status != 409 && !can_retry(status) && error.kind != BLOCKED
}

impl ItemError<'_> {
    /// Returns the reason and its cause, which names the value that does not fit.
    fn detail(&self) -> String {
        let reason = self.reason.as_deref().unwrap_or("no reason");
        match self.caused_by.as_ref().and_then(|cause| cause.reason.as_deref()) {
            Some(cause) => quoted(&format!("{reason}: {cause}")),
            None => quoted(reason),
        }
    }

    fn text(&self) -> String {
        quoted(&format!("{}: {}", self.kind, self.detail()))
    }
}

/// Returns an error type as a reason of rejects, which reports count.
fn kind(kind: &str) -> String {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let is_kind = !kind.is_empty() && kind.len() <= MAX_KIND_BYTES && kind.bytes().all(is_name);
    if is_kind { kind.to_owned() } else { "refused".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(items: &[&str]) -> Result<Vec<DocumentOutcome>, ClientError> {
        let body = format!(r#"{{"took":3,"errors":true,"items":[{}]}}"#, items.join(","));
        let mut found = Vec::new();
        parse(body.as_bytes(), items.len(), |position, outcome| {
            assert_eq!(position, found.len());
            found.push(outcome);
        })?;
        Ok(found)
    }

    #[test]
    fn each_document_has_its_outcome() {
        let found = outcomes(&[
            r#"{"create":{"_index":"a","_id":"1","status":201}}"#,
            r#"{"create":{"status":409,"error":{"type":"version_conflict_engine_exception","reason":"exists"}}}"#,
            r#"{"create":{"status":429,"error":{"type":"rejected_execution_exception","reason":"full"}}}"#,
            r#"{"create":{"status":400,"error":{"type":"mapper_parsing_exception",
                "reason":"failed to parse field [srcaddr] of type [ip]",
                "caused_by":{"type":"illegal_argument_exception","reason":"'x' is not an IP string literal."}}}}"#,
            r#"{"create":{"status":503,"error":{"type":"unavailable_shards_exception"}}}"#,
        ])
        .unwrap();
        let retry = |status, reason: &str| DocumentOutcome::Retry { status, reason: reason.to_owned() };
        let refused = DocumentOutcome::Refused {
            reason: "mapper_parsing_exception".into(),
            detail: "failed to parse field [srcaddr] of type [ip]: 'x' is not an IP string literal.".into(),
        };
        assert_eq!(
            found,
            [
                DocumentOutcome::Created,
                DocumentOutcome::Existing,
                retry(429, "rejected_execution_exception: full"),
                refused,
                retry(503, "unavailable_shards_exception: no reason"),
            ]
        );
    }

    #[test]
    fn an_answer_that_does_not_fit_the_request_has_no_outcomes() {
        let none = |_: usize, outcome: DocumentOutcome| panic!("{outcome:?}");
        for body in [
            r#"{"items":[{"create":{"status":201}}]}"#,
            r#"{"items":[{"create":{"status":201}},{"create":{"sta"#,
            r#"{"items":[{"create":{"status":201}},{"index":{"status":201}}]}"#,
            "<html>",
            "",
        ] {
            let error = parse(body.as_bytes(), 2, none).unwrap_err();
            assert!(matches!(error, ClientError::Malformed(_)) && error.can_retry(), "{body}: {error:?}");
        }
    }

    #[test]
    fn an_error_of_the_index_is_not_a_refused_document() {
        for (status, kind) in [
            (403, "security_exception"),
            (400, "strict_dynamic_mapping_exception"),
            (404, "index_not_found_exception"),
            (400, "validation_exception"),
            (400, "index_closed_exception"),
        ] {
            let item =
                format!(r#"{{"create":{{"status":{status},"error":{{"type":"{kind}","reason":"why"}}}}}}"#);
            let error = outcomes(&[r#"{"create":{"status":201}}"#, &item]).unwrap_err();
            assert!(error.to_string().contains(kind) && !error.can_retry(), "{error}");
        }
    }

    #[test]
    fn a_block_is_retried_with_any_status() {
        for status in [403, 429, 503] {
            let blocked = format!(
                r#"{{"create":{{"status":{status},"error":{{"type":"cluster_block_exception","reason":"disk"}}}}}}"#
            );
            let found = outcomes(&[&blocked]).unwrap();
            assert!(
                matches!(found[0], DocumentOutcome::Retry { status: answered, .. } if answered == status),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_document_that_a_pipeline_dropped_is_not_created() {
        let found = outcomes(&[r#"{"create":{"_id":"1","result":"noop","status":200}}"#]).unwrap();
        let DocumentOutcome::Refused { reason, detail } = &found[0] else { panic!("{found:?}") };
        assert!(reason == "dropped" && detail.contains("ingest pipeline"), "{reason}: {detail}");
    }

    #[test]
    fn a_reason_is_a_short_name() {
        assert_eq!(kind("mapper_parsing_exception"), "mapper_parsing_exception");
        for hostile in ["", "<script>", "a b", &"x".repeat(MAX_KIND_BYTES + 1)] {
            assert_eq!(kind(hostile), "refused", "{hostile}");
        }
    }
}
