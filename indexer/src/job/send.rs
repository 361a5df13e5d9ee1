//! Sends one bulk until each of its documents has an outcome.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use flowherd_deflate::Deflater;
use tokio::time::Instant;

use super::{Counts, IndexError, Refused, TOO_LARGE};
use crate::{
    answer::{self, BULK_PATH, DocumentOutcome, MAX_ANSWER_BYTES},
    bulk::Bulk,
    client::{Body, Client, ClientError, Method, Response},
    pace::{End, Outage, SharedPace},
    settings::ClusterSettings,
};

/// Connections, pace and bulk size, which all objects of a process share.
#[derive(Debug)]
pub(super) struct Sender {
    client: Client,
    pace: SharedPace,
    unavailable_limit: Duration,
    /// Maximum bytes of a bulk. Shrinks when the cluster refuses a request for its size.
    bulk_bytes: AtomicUsize,
    /// Idle compressors.
    deflaters: Mutex<Vec<Deflater>>,
}

/// The outcomes of a bulk's documents.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Without the rows read.
    pub(super) counts: Counts,
    pub(super) refused: Vec<Refused>,
}

impl Sent {
    fn refuse(&mut self, refused: Refused) {
        self.counts.refused += 1;
        self.refused.push(refused);
    }
}

/// The outcomes of a bulk's documents before an error, and the error.
pub(super) type Unsent = (Sent, IndexError);

/// How one request ended.
enum Attempt {
    /// Documents have an outcome, except those at these positions, which the cluster cannot accept now.
    Answered { retry: Vec<usize> },
    /// The request is too large for the cluster. Contains its answer.
    TooLarge(ClientError),
    /// The answer exceeds the limit of this process. Fewer documents have a shorter answer.
    ResponseTooLarge(ClientError),
    /// The outcome of every document is unknown.
    Failed { error: ClientError, outage: Option<Outage> },
}

/// Failed attempts of one bulk since one of its documents had an outcome.
struct Stall {
    began: Instant,
    attempts: u32,
}

impl Stall {
    fn begin() -> Self {
        Self { began: Instant::now(), attempts: 0 }
    }
}

impl Sender {
    pub(super) fn new(settings: &ClusterSettings, client: Client, pace: SharedPace) -> Self {
        Self {
            client,
            pace,
            unavailable_limit: settings.unavailable_limit,
            bulk_bytes: AtomicUsize::new(settings.bulk_bytes),
            deflaters: Mutex::default(),
        }
    }

    /// Returns the maximum bytes of a bulk. A single document may be larger, up to the limit of the settings.
    pub(super) fn bulk_bytes(&self) -> usize {
        self.bulk_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn outage(&self) -> Option<Outage> {
        self.pace.outage()
    }

    /// Sends a bulk, or parts of it, until each document has an outcome.
    pub(super) async fn send(&self, bulk: Bulk) -> Result<Sent, Unsent> {
        let mut sent = Sent::default();
        let mut stall = None;
        let mut pending = VecDeque::from([bulk]);
        while let Some(bulk) = pending.pop_front() {
            if bulk.len() > 1 && bulk.lines().len() > self.bulk_bytes() {
                split(bulk, &mut pending);
                continue;
            }
            let attempt = match self.attempt(&bulk, &mut sent).await {
                Ok(attempt) => attempt,
                Err(error) => return Err((sent, IndexError::Refused(error))),
            };
            match attempt {
                Attempt::Answered { retry } => {
                    stall = None;
                    if !retry.is_empty() {
                        sent.counts.resent += retry.len() as u64;
                        pending.push_front(bulk.select(retry));
                    }
                }
                Attempt::TooLarge(error) if bulk.len() == 1 => sent.refuse(too_large(&bulk, &error)),
                Attempt::TooLarge(_) => {
                    self.bulk_bytes.fetch_min(bulk.lines().len() / 2, Ordering::Relaxed);
                    sent.counts.resent += bulk.len() as u64;
                    split(bulk, &mut pending);
                }
                Attempt::ResponseTooLarge(error) if bulk.len() == 1 => {
                    return Err((sent, IndexError::Refused(error)));
                }
                Attempt::ResponseTooLarge(_) => {
                    sent.counts.resent += bulk.len() as u64;
                    split(bulk, &mut pending);
                }
                Attempt::Failed { error, outage } => {
                    let stall = stall.get_or_insert_with(Stall::begin);
                    stall.attempts += 1;
                    let own = Outage { duration: stall.began.elapsed(), attempts: stall.attempts };
                    let error = match end_or_retry(self.unavailable_limit, outage, own, error) {
                        Ok(error) => error,
                        Err(end) => return Err((sent, end)),
                    };
                    tracing::debug!(%error, documents = bulk.len(), "the request is sent again");
                    sent.counts.resent += bulk.len() as u64;
                    pending.push_front(bulk);
                }
            }
        }
        Ok(sent)
    }

    /// Sends one request when the pace allows it, and reports its end to the pace.
    ///
    /// # Errors
    /// Only permanent ones.
    async fn attempt(&self, bulk: &Bulk, sent: &mut Sent) -> Result<Attempt, ClientError> {
        let running = self.pace.start().await;
        // Compressed again for each attempt, so that waiting bulks need no memory for it.
        let body = self.compress(bulk);
        sent.counts.requests += 1;
        let answer = self.client.send(Method::Post, BULK_PATH, Body::GzipLines(body), MAX_ANSWER_BYTES).await;
        let retry_after = answer.as_ref().ok().and_then(|response| response.retry_after);
        match answer.and_then(|response| judge(&response, bulk, sent)) {
            Ok(Attempt::Answered { retry }) => {
                running.end(if retry.is_empty() { End::Success } else { End::Partial(retry_after) });
                Ok(Attempt::Answered { retry })
            }
            Ok(attempt) => Ok(attempt),
            Err(error @ ClientError::ResponseTooLarge { .. }) => Ok(Attempt::ResponseTooLarge(error)),
            Err(error) if error.can_retry() => {
                let end = if error.is_of_documents() { End::Partial } else { End::Failure };
                Ok(Attempt::Failed { outage: running.end(end(retry_after)), error })
            }
            Err(error) => Err(error),
        }
    }

    fn compress(&self, bulk: &Bulk) -> Vec<u8> {
        let idle = || self.deflaters.lock().unwrap_or_else(PoisonError::into_inner);
        let pooled = idle().pop();
        let mut deflater = pooled.unwrap_or_default();
        let body = deflater.member(bulk.lines()).to_vec();
        idle().push(deflater);
        body
    }
}

/// Reads the outcome of each document from an answer.
fn judge(response: &Response, bulk: &Bulk, sent: &mut Sent) -> Result<Attempt, ClientError> {
    match response.status {
        200..300 => {}
        413 => return Ok(Attempt::TooLarge(ClientError::status(response))),
        _ => return Err(ClientError::status(response)),
    }
    let mut retry = Vec::new();
    let mut failure = None;
    answer::parse(&response.body, bulk.len(), |position, outcome| match outcome {
        DocumentOutcome::Created => sent.counts.indexed += 1,
        DocumentOutcome::Existing => sent.counts.existing += 1,
        DocumentOutcome::Retry { status, reason } => {
            failure.get_or_insert((status, reason));
            retry.push(position);
        }
        DocumentOutcome::Refused { reason, detail } => sent.refuse(Refused {
            row: bulk.row(position),
            reason,
            detail,
            document: bulk.source(position).to_vec(),
        }),
    })?;
    match failure {
        // No document has an outcome, as if the cluster had refused the request.
        Some((status, reason)) if retry.len() == bulk.len() => Err(ClientError::Documents { status, reason }),
        _ => Ok(Attempt::Answered { retry }),
    }
}

/// Puts both halves of a bulk before the others.
fn split(mut bulk: Bulk, pending: &mut VecDeque<Bulk>) {
    let tail = bulk.split_off(bulk.len() / 2);
    pending.push_front(tail);
    pending.push_front(bulk);
}

/// Returns the failure of a bulk if it is to be sent again, or the end of the attempt.
///
/// If only this bulk has failed for too long, the cluster is available. The worker must then record a failure of the object, or
/// it would try forever. A full queue or a block may concern one index only, and is an outage nevertheless.
fn end_or_retry(
    limit: Duration,
    cluster: Option<Outage>,
    own: Outage,
    error: ClientError,
) -> Result<ClientError, IndexError> {
    match cluster.filter(|outage| outage.duration >= limit) {
        Some(outage) => Err(unavailable(outage, error)),
        None if own.duration < limit => Ok(error),
        None if error.is_overload() => Err(unavailable(own, error)),
        None => Err(stalled(own, error)),
    }
}

fn unavailable(outage: Outage, source: ClientError) -> IndexError {
    let Outage { duration, attempts } = outage;
    IndexError::Unavailable { seconds: duration.as_secs(), attempts, counts: Counts::default(), source }
}

/// Returns the error of a bulk that fails while the cluster accepts others.
fn stalled(outage: Outage, source: ClientError) -> IndexError {
    let Outage { duration, attempts } = outage;
    IndexError::Stalled { seconds: duration.as_secs(), attempts, source }
}

fn too_large(bulk: &Bulk, error: &ClientError) -> Refused {
    Refused {
        row: bulk.row(0),
        reason: TOO_LARGE.to_owned(),
        detail: format!("a request with this document alone: {error}"),
        document: bulk.source(0).to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bulk_that_fails_alone_is_a_failure_of_the_object_unless_the_cluster_is_overloaded() {
        let limit = Duration::from_mins(2);
        let outage = |seconds| Outage { duration: Duration::from_secs(seconds), attempts: 9 };
        let end = |cluster: u64, own: u64, status: u16, reason: &str| {
            let error = ClientError::Documents { status, reason: reason.to_owned() };
            end_or_retry(limit, Some(outage(cluster)), outage(own), error)
        };
        assert!(end(119, 119, 500, "some_exception: why").is_ok());
        let stalled = end(3, 120, 500, "some_exception: why").unwrap_err();
        assert!(stalled.can_retry());
        let IndexError::Stalled { seconds: 120, attempts: 9, source } = stalled else {
            panic!("{stalled:?}")
        };
        assert!(source.to_string().contains("500: some_exception: why"), "{source}");
        for (status, reason) in
            [(429, "rejected_execution_exception: full"), (403, "cluster_block_exception: disk")]
        {
            let overload = end(3, 120, status, reason).unwrap_err();
            assert!(matches!(overload, IndexError::Unavailable { .. }), "{overload:?}");
        }
        let down = end(120, 130, 500, "some_exception: why").unwrap_err();
        assert!(matches!(down, IndexError::Unavailable { seconds: 120, .. }), "{down:?}");
    }
}
