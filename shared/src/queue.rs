//! The port to the queue between coordinator and workers. SQS and the in-memory fake of the tests implement it.

use std::time::Duration;

use crate::store::Cause;

/// Maximum number of messages in one call
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html>).
pub const BATCH: usize = 10;

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    /// The body.
    pub body: String,
    /// The message group. The queue delivers the messages of a group in order.
    pub group: String,
    /// The deduplication id. The queue drops a message whose id it has seen in the last five minutes.
    pub deduplication: String,
}

/// An entry of a batch that the queue rejected although the call succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedEntry {
    /// Position in the batch.
    pub position: usize,
    /// The error code and message that the queue returned.
    pub reason: String,
    /// Whether the entry itself is wrong. If so, a retry cannot succeed.
    pub sender_fault: bool,
}

/// A received message. Other receivers do not see it until its visibility timeout ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The message's id, the same at each delivery.
    pub id: String,
    /// The receipt handle of this delivery.
    pub handle: String,
    /// The message group.
    pub group: String,
    /// The body.
    pub body: String,
    /// Number of deliveries, this one included.
    pub deliveries: u32,
    /// Time at which the message was sent, or redriven from the dead-letter queue, in milliseconds since 1970. A redriven
    /// message counts as new
    /// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-configure-dead-letter-queue-redrive.html>).
    pub sent_ms: i64,
}

/// Number of messages by state. The counts of SQS are approximate and settle about a minute after the last send. They say
/// when to check a run, never that it is complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueDepth {
    /// Messages that can be received.
    pub visible: u64,
    /// Messages that were received and whose visibility timeout has not ended.
    pub in_flight: u64,
    /// Messages whose delay has not ended.
    pub delayed: u64,
}

impl QueueDepth {
    /// Returns the number of messages in any state.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.visible.saturating_add(self.in_flight).saturating_add(self.delayed)
    }
}

/// Why a call to the queue failed.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The service did not answer, or answered with an error.
    #[error("{call} failed")]
    Call {
        /// The operation, such as `SendMessageBatch`.
        call: &'static str,
        /// The error of the client.
        source: Cause,
    },
    /// The call succeeded, but the queue rejected the only entry.
    #[error("the queue rejected the message: {0}")]
    Rejected(String),
    /// The response lacks something that every response has.
    #[error("{0}")]
    InvalidResponse(String),
}

/// Why a queue was not purged.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// Another purge happened within 60 seconds
    /// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_PurgeQueue.html>).
    #[error("another purge is in progress; try again in a minute")]
    InProgress,
    /// The call failed.
    #[error("cannot purge the queue")]
    Failed(#[source] QueueError),
}

/// A FIFO queue.
pub trait Queue: Sync {
    /// Sends up to [`BATCH`] messages. Returns those that the queue rejected.
    fn send(&self, batch: &[NewMessage]) -> Result<Vec<RejectedEntry>, QueueError>;

    /// Receives up to `limit` messages, at most [`BATCH`]. Waits up to `wait` for the first one.
    fn receive(&self, limit: usize, wait: Duration) -> Result<Vec<Message>, QueueError>;

    /// Deletes up to [`BATCH`] messages by their receipt handles. Returns those that the queue did not delete.
    fn delete_batch(&self, handles: &[&str]) -> Result<Vec<RejectedEntry>, QueueError>;

    /// Sets the visibility timeout of up to [`BATCH`] messages, counted from now. Zero makes a message visible at once.
    /// Returns those whose timeout the queue did not change.
    fn change_visibility_batch(&self, changes: &[(&str, Duration)])
    -> Result<Vec<RejectedEntry>, QueueError>;

    /// Deletes one message.
    fn delete(&self, handle: &str) -> Result<(), QueueError> {
        single(self.delete_batch(&[handle])?)
    }

    /// Sets the visibility timeout of one message.
    fn change_visibility(&self, handle: &str, timeout: Duration) -> Result<(), QueueError> {
        single(self.change_visibility_batch(&[(handle, timeout)])?)
    }

    /// Returns the number of messages.
    fn depth(&self) -> Result<QueueDepth, QueueError>;

    /// Deletes all messages, including those sent within the next 60 seconds.
    fn purge(&self) -> Result<(), PurgeError>;

    /// Starts moving all messages of this dead-letter queue back to their source queue. The service continues by itself.
    /// Returns `false` if the service has no such operation; the caller then receives and sends the messages.
    fn redrive(&self) -> Result<bool, QueueError>;
}

/// Returns the outcome of a batch with one entry.
fn single(rejected: Vec<RejectedEntry>) -> Result<(), QueueError> {
    match rejected.into_iter().next() {
        None => Ok(()),
        Some(entry) => Err(QueueError::Rejected(entry.reason)),
    }
}
