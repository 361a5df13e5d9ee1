//! The queue between coordinator and workers, as both see it: a port with a twin in memory for tests.

use std::{io, time::Duration};

/// Messages of one call, at most; SQS takes no more
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html>).
pub const BATCH: usize = 10;

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The body.
    pub body: String,
    /// Messages of one group are received one after another.
    pub group: String,
    /// Sent again within five minutes, the message is not queued again.
    pub deduplication: String,
}

/// A message of a batch that the queue did not take, although the call went well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Position in the batch.
    pub position: usize,
    /// What the queue said.
    pub why: String,
    /// The message itself is wrong: sending it again cannot help.
    pub senders_fault: bool,
}

/// A message received. Other receivers do not see it until its visibility timeout ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The message's id, the same at each delivery.
    pub id: String,
    /// The receipt handle of this delivery.
    pub handle: String,
    /// The message group.
    pub group: String,
    /// The body.
    pub body: String,
    /// How often the message has been received, this time included.
    pub deliveries: u32,
    /// When the message was sent, or moved back from the dead-letter queue, in milliseconds since 1970. A message that is
    /// moved back counts as new
    /// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-configure-dead-letter-queue-redrive.html>).
    pub sent_ms: i64,
}

/// How many messages there are. SQS's own counts are approximate and settle only about a minute after sending stops:
/// they say when to look, never that a run is complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    /// Waiting.
    pub visible: u64,
    /// Received and hidden.
    pub in_flight: u64,
    /// Not deliverable yet.
    pub delayed: u64,
}

/// Why a queue was not purged.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// Another purge happened within 60 seconds
    /// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_PurgeQueue.html>).
    #[error("another purge is in progress; try again in a minute")]
    InProgress,
    /// The queue could not be reached.
    #[error("cannot purge the queue")]
    Failed(#[source] io::Error),
}

/// A FIFO queue.
pub trait Queue: Sync {
    /// Sends up to [`BATCH`] messages; gives those that were not taken.
    fn send(&self, batch: &[Outgoing]) -> io::Result<Vec<Refused>>;

    /// Waits up to `wait` for messages; at most [`BATCH`].
    fn receive(&self, most: usize, wait: Duration) -> io::Result<Vec<Received>>;

    /// Deletes up to [`BATCH`] messages by their receipt handles. Returns those that the queue did not delete.
    fn acknowledge_batch(&self, handles: &[&str]) -> io::Result<Vec<Refused>>;

    /// Sets the visibility timeout of up to [`BATCH`] messages, counted from now; zero returns a message at once. Returns
    /// those whose timeout the queue did not change.
    fn hide_batch(&self, changes: &[(&str, Duration)]) -> io::Result<Vec<Refused>>;

    /// Deletes one message.
    fn acknowledge(&self, handle: &str) -> io::Result<()> {
        one(self.acknowledge_batch(&[handle])?)
    }

    /// Sets the visibility timeout of one message.
    fn hide(&self, handle: &str, time: Duration) -> io::Result<()> {
        one(self.hide_batch(&[(handle, time)])?)
    }

    /// How much there is.
    fn depth(&self) -> io::Result<Depth>;

    /// Removes everything, also what is sent within the next 60 seconds.
    fn purge(&self) -> Result<(), PurgeError>;

    /// Of a queue of dead letters: asks the service to move all of them back to where they came from, which goes on by
    /// itself. False if the service cannot; then they are received and sent instead.
    fn move_back(&self) -> io::Result<bool>;
}

/// The outcome of a batch of one.
fn one(refused: Vec<Refused>) -> io::Result<()> {
    match refused.into_iter().next() {
        None => Ok(()),
        Some(Refused { why, .. }) => Err(io::Error::other(format!("the queue refuses the message: {why}"))),
    }
}
