//! A ledger in memory whose every call takes some time.

use std::{thread, time::Duration};

use flowherd_shared::store::{Head, Lister, Page, Store, StoreError};
use flowherd_tests::fake::MemoryStore;

/// The ledger.
pub(crate) struct SlowStore {
    store: MemoryStore,
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
