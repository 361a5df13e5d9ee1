//! A queue for benchmarks.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use flowherd_shared::queue::{Message, NewMessage, PurgeError, Queue, QueueDepth, QueueError, RejectedEntry};

/// A queue that counts what is sent, and holds nothing. Each send takes the same time.
#[derive(Debug)]
pub struct SlowQueue {
    sent: AtomicU64,
    call: Duration,
}

impl SlowQueue {
    /// Creates a queue whose sends take `call`.
    #[must_use]
    pub fn new(call: Duration) -> Self {
        Self { sent: AtomicU64::new(0), call }
    }

    /// Returns the number of messages sent.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Queue for SlowQueue {
    fn send(&self, batch: &[NewMessage]) -> Result<Vec<RejectedEntry>, QueueError> {
        thread::sleep(self.call);
        self.sent.fetch_add(batch.len() as u64, Ordering::Relaxed);
        Ok(Vec::new())
    }

    fn receive(&self, _: usize, _: Duration) -> Result<Vec<Message>, QueueError> {
        Ok(Vec::new())
    }

    fn delete_batch(&self, _: &[&str]) -> Result<Vec<RejectedEntry>, QueueError> {
        Ok(Vec::new())
    }

    fn change_visibility_batch(&self, _: &[(&str, Duration)]) -> Result<Vec<RejectedEntry>, QueueError> {
        Ok(Vec::new())
    }

    fn depth(&self) -> Result<QueueDepth, QueueError> {
        Ok(QueueDepth::default())
    }

    fn purge(&self) -> Result<(), PurgeError> {
        Ok(())
    }

    fn redrive(&self) -> Result<bool, QueueError> {
        Ok(true)
    }
}
