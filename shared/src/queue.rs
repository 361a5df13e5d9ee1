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

/// A message received: hidden from other receivers until its visibility ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// What the message is called, the same at each delivery.
    pub id: String,
    /// What this delivery is called.
    pub handle: String,
    /// The body.
    pub body: String,
    /// How often it has been received, this time included.
    pub deliveries: u32,
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

    /// The message is done and never comes again.
    fn acknowledge(&self, handle: &str) -> io::Result<()>;

    /// The message stays hidden from now on for so long; zero gives it back at once.
    fn hide(&self, handle: &str, time: Duration) -> io::Result<()>;

    /// How much there is.
    fn depth(&self) -> io::Result<Depth>;

    /// Removes everything, also what is sent within the next 60 seconds.
    fn purge(&self) -> Result<(), PurgeError>;

    /// Of a queue of dead letters: asks the service to move all of them back to where they came from, which goes on by
    /// itself. False if the service cannot; then they are received and sent instead.
    fn move_back(&self) -> io::Result<bool>;
}
