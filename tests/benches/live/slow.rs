//! Ports in memory whose every call takes some time.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use flowherd_shared::{
    queue::{Message, NewMessage, PurgeError, Queue, QueueDepth, QueueError, RejectedEntry},
    store::{Head, Lister, Page, Store, StoreError},
};
use flowherd_tests::fake::MemoryStore;

/// A ledger.
pub(crate) struct SlowStore {
    store: MemoryStore,
    call: Duration,
}

/// A queue that only counts.
pub(crate) struct SlowQueue {
    sent: AtomicU64,
    call: Duration,
}

impl SlowStore {
    pub(crate) fn new(call: Duration) -> Self {
        Self { store: MemoryStore::default(), call }
    }

    fn call(&self) -> &MemoryStore {
        thread::sleep(self.call);
        &self.store
    }
}

impl Lister for SlowStore {
    fn page(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError> {
        self.call().page(prefix, after)
    }
}

impl Store for SlowStore {
    type Sink = <MemoryStore as Store>::Sink;

    fn create(&self, path: &str) -> Result<Self::Sink, StoreError> {
        self.store.create(path)
    }

    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.call().put(path, bytes)
    }

    fn put_if_absent(&self, path: &str, bytes: &[u8]) -> Result<bool, StoreError> {
        self.call().put_if_absent(path, bytes)
    }

    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.call().get(path)
    }

    fn head(&self, path: &str) -> Result<Option<Head>, StoreError> {
        self.call().head(path)
    }

    fn remove(&self, path: &str) -> Result<(), StoreError> {
        self.call().remove(path)
    }
}

impl SlowQueue {
    pub(crate) fn new(call: Duration) -> Self {
        Self { sent: AtomicU64::new(0), call }
    }

    pub(crate) fn sent(&self) -> u64 {
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
