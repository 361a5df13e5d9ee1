//! The store and the source in memory, with faults on request.

mod queue;

use std::{
    collections::BTreeMap,
    io::{self, Cursor, Write},
    sync::{Arc, Mutex, MutexGuard},
};

use flowherd_shared::{
    ledger::ManifestEntry,
    store::{Lister, Page, Sink, Source, Store},
};

pub use queue::{Faults, MemoryQueue, QueueSettings};

/// Objects in memory.
#[derive(Debug, Default)]
pub struct MemorySource(pub BTreeMap<String, Vec<u8>>);

impl MemorySource {
    /// The manifest's entry of an object.
    #[must_use]
    pub fn entry(&self, key: &str) -> ManifestEntry {
        let size = self.0[key].len() as u64;
        ManifestEntry { key: key.to_owned(), size, etag: format!("etag-{size}") }
    }
}

impl Source for MemorySource {
    type Body = Cursor<Vec<u8>>;

    fn open(&self, object: &ManifestEntry) -> io::Result<Self::Body> {
        let bytes = self.0.get(&object.key).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(Cursor::new(bytes.clone()))
    }
}

impl Lister for MemorySource {
    /// Pages of three; the token is the last key.
    fn page(&self, prefix: &str, token: Option<&str>) -> io::Result<Page> {
        let keys = || {
            self.0
                .keys()
                .filter(|key| key.starts_with(prefix) && token.is_none_or(|last| key.as_str() > last))
        };
        let entries: Vec<ManifestEntry> = keys().take(3).map(|key| self.entry(key)).collect();
        let next = keys().nth(3).and(entries.last()).map(|entry| entry.key.clone());
        Ok(Page { entries, next })
    }
}

/// Of the content, as S3's is.
fn etag(bytes: &[u8]) -> String {
    let mut hasher = std::hash::DefaultHasher::new();
    std::hash::Hash::hash(bytes, &mut hasher);
    format!("\"{:016x}\"", std::hash::Hasher::finish(&hasher))
}

/// Results in memory; remembers in which order they were published.
#[derive(Clone, Default)]
pub struct MemoryStore {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    files: BTreeMap<String, Vec<u8>>,
    published: Vec<String>,
    /// Fails the operation with this number, from 0.
    fault_at: Option<usize>,
    operations: usize,
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore").field("files", &self.files().keys()).finish()
    }
}

impl MemoryStore {
    /// Fails the operation with this number; with `None` counts anew and fails none.
    pub fn fail_at(&self, operation: Option<usize>) {
        let mut shared = self.shared();
        shared.fault_at = operation;
        shared.operations = 0;
    }

    /// Everything published.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.shared().files.clone()
    }

    /// Paths in the order of publishing.
    #[must_use]
    pub fn published(&self) -> Vec<String> {
        self.shared().published.clone()
    }

    /// How many operations there were since [`MemoryStore::fail_at`].
    #[must_use]
    pub fn operations(&self) -> usize {
        self.shared().operations
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }

    fn operate(&self) -> io::Result<MutexGuard<'_, Shared>> {
        let mut shared = self.shared();
        let number = shared.operations;
        shared.operations += 1;
        if shared.fault_at == Some(number) { Err(io::Error::other("injected fault")) } else { Ok(shared) }
    }
}

/// A result being written to memory.
#[derive(Debug)]
pub struct MemorySink {
    store: MemoryStore,
    path: String,
    bytes: Vec<u8>,
}

impl Store for MemoryStore {
    type Sink = MemorySink;

    fn create(&self, path: &str) -> io::Result<MemorySink> {
        drop(self.operate()?);
        Ok(MemorySink { store: self.clone(), path: path.to_owned(), bytes: Vec::new() })
    }

    fn put(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let mut shared = self.operate()?;
        shared.files.insert(path.to_owned(), bytes.to_vec());
        shared.published.push(path.to_owned());
        Ok(())
    }

    fn get(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.operate()?.files.get(path).cloned())
    }

    fn etag(&self, path: &str) -> io::Result<Option<String>> {
        Ok(self.operate()?.files.get(path).map(|bytes| etag(bytes)))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.operate()?.files.remove(path);
        Ok(())
    }
}

impl Write for MemorySink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        drop(self.store.operate()?);
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for MemorySink {
    fn commit(self) -> io::Result<String> {
        self.store.put(&self.path, &self.bytes)?;
        Ok(etag(&self.bytes))
    }
}
