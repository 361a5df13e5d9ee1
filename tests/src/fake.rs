//! In-memory fakes of source, store and queue, with injected faults.

mod process;
mod queue;
pub mod search_cluster;
mod slow_queue;

use std::{
    collections::BTreeMap,
    io::{self, Cursor, Write},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use flowherd_shared::queue::{PurgeError, QueueError};
use flowherd_shared::store::{Head, Lister, ManifestEntry, Page, Sink, Source, Store, StoreError};

pub use process::{Pace, Paced, Process, Watch};
pub use queue::{EPOCH_MS, Faults, Lost, MemoryQueue, QueueSettings, Requests};
pub use slow_queue::SlowQueue;

/// Returns the error of an injected fault.
pub type Fault = fn() -> StoreError;

/// Counts operations, and fails one of them on request.
#[derive(Debug, Default)]
struct Operations {
    /// Fails the operation with this number, from 0.
    fault_at: Option<usize>,
    /// Fails after the operation instead of before it: its response is lost.
    is_late: bool,
    /// The error; [`StoreError::Transient`] by default.
    fault: Option<Fault>,
    count: usize,
}

impl Operations {
    fn fail_at(&mut self, operation: Option<usize>) {
        *self = Self { fault_at: operation, count: 0, ..*self };
    }

    fn next(&mut self) -> Result<(), Injected> {
        let number = self.count;
        self.count += 1;
        if self.fault_at == Some(number) && !self.is_late {
            return Err(Injected { message: "injected fault", fault: self.fault });
        }
        Ok(())
    }

    /// Fails if the response of the operation is to be lost. Called after each operation that changes something.
    fn respond(&self) -> Result<(), Injected> {
        if self.fault_at.is_some_and(|at| at + 1 == self.count) && self.is_late {
            return Err(Injected { message: "injected: the response was lost", fault: None });
        }
        Ok(())
    }
}

/// A fault that a test has injected.
struct Injected {
    message: &'static str,
    fault: Option<Fault>,
}

impl From<Injected> for StoreError {
    fn from(Injected { message, fault }: Injected) -> Self {
        fault.map_or_else(|| Self::transient(message), |fault| fault())
    }
}

impl From<Injected> for QueueError {
    fn from(Injected { message, .. }: Injected) -> Self {
        Self::Call { call: "a call of the fake", source: message.into() }
    }
}

impl From<Injected> for PurgeError {
    fn from(injected: Injected) -> Self {
        Self::Failed(injected.into())
    }
}

/// The objects of a source.
#[derive(Default)]
struct Objects {
    bytes: BTreeMap<String, Vec<u8>>,
    /// Time of the last write of each key.
    modified: BTreeMap<String, SystemTime>,
    clock: Option<Clock>,
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.bytes.keys().fmt(f)
    }
}

impl Objects {
    fn put(&mut self, key: String, object: Vec<u8>) {
        let now = self.clock.as_ref().map_or(Duration::ZERO, |clock| clock());
        self.modified.insert(key.clone(), SystemTime::UNIX_EPOCH + now);
        self.bytes.insert(key, object);
    }
}

/// Objects in memory.
#[derive(Debug)]
pub struct MemorySource {
    objects: Mutex<Objects>,
    operations: Mutex<Operations>,
    /// Prefixes that may not be listed.
    denied: Mutex<Vec<String>>,
    /// Keys of a page; S3 has 1,000.
    pub page_size: usize,
}

impl Default for MemorySource {
    fn default() -> Self {
        Self {
            objects: Mutex::default(),
            operations: Mutex::default(),
            denied: Mutex::default(),
            page_size: 3,
        }
    }
}

impl FromIterator<(String, Vec<u8>)> for MemorySource {
    fn from_iter<T: IntoIterator<Item = (String, Vec<u8>)>>(objects: T) -> Self {
        let source = Self::default();
        objects.into_iter().for_each(|(key, object)| source.put(&key, object));
        source
    }
}

impl MemorySource {
    /// Adds or replaces an object.
    pub fn put(&self, key: &str, object: Vec<u8>) {
        self.objects.lock().unwrap().put(key.to_owned(), object);
    }

    /// Sets the source's own clock: the time since the epoch. Without it, every write happens at the epoch.
    pub fn set_clock(&self, clock: impl Fn() -> Duration + Send + 'static) {
        self.objects.lock().unwrap().clock = Some(Box::new(clock));
    }

    /// Removes an object and returns it.
    pub fn remove(&self, key: &str) -> Option<Vec<u8>> {
        self.objects.lock().unwrap().bytes.remove(key)
    }

    /// Returns all keys in order.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        self.objects.lock().unwrap().bytes.keys().cloned().collect()
    }

    /// Returns the manifest entry of an object.
    #[must_use]
    pub fn entry(&self, key: &str) -> ManifestEntry {
        entry(key, &self.objects.lock().unwrap().bytes[key])
    }

    /// Fails the operation with this number from now, from 0; `None` fails no operation.
    pub fn fail_at(&self, operation: Option<usize>) {
        self.operations.lock().unwrap().fail_at(operation);
    }

    /// Denies the operation with this number.
    pub fn deny_at(&self, operation: usize) {
        self.fail_with(operation, || StoreError::AccessDenied("injected fault".into()));
    }

    /// Denies the listing of a prefix and of all longer ones.
    pub fn deny_listing(&self, prefix: &str) {
        self.denied.lock().unwrap().push(prefix.to_owned());
    }

    /// Fails the operation with this number with this error.
    pub fn fail_with(&self, operation: usize, fault: Fault) {
        self.fail_at(Some(operation));
        self.operations.lock().unwrap().fault = Some(fault);
    }

    /// Returns the number of operations since [`MemorySource::fail_at`].
    #[must_use]
    pub fn operations(&self) -> usize {
        self.operations.lock().unwrap().count
    }

    fn operate(&self) -> Result<MutexGuard<'_, Objects>, StoreError> {
        self.operations.lock().unwrap().next()?;
        Ok(self.objects.lock().unwrap())
    }
}

fn entry(key: &str, object: &[u8]) -> ManifestEntry {
    ManifestEntry { key: key.to_owned(), size: object.len() as u64, etag: etag(object) }
}

impl Source for MemorySource {
    type Body = Cursor<Vec<u8>>;

    fn open(&self, object: &ManifestEntry) -> Result<Self::Body, StoreError> {
        let objects = self.operate()?;
        let missing =
            || StoreError::NotFound("the object no longer exists; put it back, then redrive".into());
        let bytes = objects.bytes.get(&object.key).ok_or_else(missing)?;
        if entry(&object.key, bytes) == *object {
            Ok(Cursor::new(bytes.clone()))
        } else {
            let message =
                "the object has changed since it was listed; redrive to process its current version";
            Err(StoreError::PreconditionFailed(message.into()))
        }
    }

    fn head(&self, key: &str) -> Result<Option<ManifestEntry>, StoreError> {
        Ok(self.operate()?.bytes.get(key).map(|object| entry(key, object)))
    }
}

impl Lister for MemorySource {
    fn page(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError> {
        let objects = self.operate()?;
        if self.denied.lock().unwrap().iter().any(|denied| prefix.starts_with(denied.as_str())) {
            return Err(StoreError::AccessDenied(format!("no right to list {prefix:?}").into()));
        }
        Ok(page((&objects.bytes, &objects.modified), self.page_size, prefix, after))
    }
}

fn page(
    (files, modified): (&BTreeMap<String, Vec<u8>>, &BTreeMap<String, SystemTime>),
    size: usize,
    prefix: &str,
    after: Option<&str>,
) -> Page {
    let from = after.map_or(Bound::Included(prefix), Bound::Excluded);
    let mut below =
        files.range::<str, _>((from, Bound::Unbounded)).take_while(|(key, _)| key.starts_with(prefix));
    let entries: Vec<ManifestEntry> =
        below.by_ref().take(size).map(|(key, object)| entry(key, object)).collect();
    let next = below.next().and(entries.last()).map(|entry| entry.key.clone());
    let modified = entries.iter().map(|entry| modified.get(&entry.key).copied()).collect();
    Page { entries, next, modified }
}

/// Returns a hash of the content, as S3 does.
fn etag(bytes: &[u8]) -> String {
    let mut hasher = std::hash::DefaultHasher::new();
    std::hash::Hash::hash(bytes, &mut hasher);
    format!("\"{:016x}\"", std::hash::Hasher::finish(&hasher))
}

/// Results in memory, with the order in which they were published.
#[derive(Clone, Default)]
pub struct MemoryStore {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    files: BTreeMap<String, Vec<u8>>,
    /// Time of the last write of each path.
    modified: BTreeMap<String, SystemTime>,
    clock: Option<Clock>,
    max_key_bytes: Option<usize>,
    published: Vec<String>,
    operations: Operations,
    /// Whether each write of the same bytes has another version, as with SSE-KMS.
    versions: bool,
    before: Option<(String, Hook)>,
}

type Hook = Box<dyn FnOnce() + Send>;
/// Returns the time since the epoch.
type Clock = Box<dyn Fn() -> Duration + Send>;

impl Shared {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.clock.as_ref().map_or(Duration::ZERO, |clock| clock())
    }

    fn write(&mut self, path: &str, bytes: &[u8]) {
        let now = self.now();
        self.files.insert(path.to_owned(), bytes.to_vec());
        self.modified.insert(path.to_owned(), now);
        self.published.push(path.to_owned());
    }

    /// S3 returns `KeyTooLongError`.
    fn check_length(&self, path: &str) -> Result<(), StoreError> {
        match self.max_key_bytes {
            Some(max) if path.len() > max => Err(StoreError::InvalidKey(
                format!("KeyTooLongError: the key has {} bytes, the limit is {max}", path.len()).into(),
            )),
            _ => Ok(()),
        }
    }

    fn etag(&self, path: &str) -> Option<String> {
        let etag = etag(self.files.get(path)?);
        let writes = self.published.iter().filter(|published| *published == path).count();
        Some(if self.versions { format!("{etag}-{writes}") } else { etag })
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryStore").field("files", &self.files().keys()).finish()
    }
}

impl MemoryStore {
    /// Fails the operation with this number from now, from 0; `None` fails no operation.
    pub fn fail_at(&self, operation: Option<usize>) {
        self.shared().operations.fail_at(operation);
    }

    /// From now on, faults occur after an operation that changes something: its response is lost.
    pub fn lose_responses(&self) {
        self.shared().operations.is_late = true;
    }

    /// From now on, each write of the same bytes has another version.
    pub fn version_each_write(&self) {
        self.shared().versions = true;
    }

    /// Sets the store's own clock: the time since the epoch. Without it, every write happens at the epoch.
    pub fn set_clock(&self, clock: impl Fn() -> Duration + Send + 'static) {
        self.shared().clock = Some(Box::new(clock));
    }

    /// From now on, every call rejects longer keys.
    pub fn limit_keys(&self, max_key_bytes: usize) {
        self.shared().max_key_bytes = Some(max_key_bytes);
    }

    /// Calls `hook` just before the next time that `path` is published.
    pub fn before(&self, path: String, hook: impl FnOnce() + Send + 'static) {
        self.shared().before = Some((path, Box::new(hook)));
    }

    /// Returns all published results.
    #[must_use]
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.shared().files.clone()
    }

    /// Returns the published paths in order.
    #[must_use]
    pub fn published(&self) -> Vec<String> {
        self.shared().published.clone()
    }

    /// Returns the number of operations since [`MemoryStore::fail_at`].
    #[must_use]
    pub fn operations(&self) -> usize {
        self.shared().operations.count
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap()
    }

    fn operate(&self) -> Result<MutexGuard<'_, Shared>, StoreError> {
        let mut shared = self.shared();
        shared.operations.next()?;
        Ok(shared)
    }

    fn before_put(&self, path: &str) -> Result<MutexGuard<'_, Shared>, StoreError> {
        let mut shared = self.operate()?;
        if shared.before.as_ref().is_some_and(|(awaited, _)| awaited == path) {
            let hook = shared.before.take();
            drop(shared);
            hook.into_iter().for_each(|(_, hook)| hook());
            shared = self.shared();
        }
        shared.check_length(path)?;
        Ok(shared)
    }
}

/// A result being written to memory.
#[derive(Debug)]
pub struct MemorySink {
    store: MemoryStore,
    path: String,
    bytes: Vec<u8>,
}

impl Lister for MemoryStore {
    fn page(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError> {
        let shared = self.operate()?;
        Ok(page((&shared.files, &shared.modified), 1000, prefix, after))
    }
}

impl Store for MemoryStore {
    type Sink = MemorySink;

    fn create(&self, path: &str) -> Result<MemorySink, StoreError> {
        self.operate()?.check_length(path)?;
        Ok(MemorySink { store: self.clone(), path: path.to_owned(), bytes: Vec::new() })
    }

    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let mut shared = self.before_put(path)?;
        shared.write(path, bytes);
        Ok(shared.operations.respond()?)
    }

    fn put_if_absent(&self, path: &str, bytes: &[u8]) -> Result<bool, StoreError> {
        let mut shared = self.before_put(path)?;
        let is_new = !shared.files.contains_key(path);
        if is_new {
            shared.write(path, bytes);
        }
        shared.operations.respond()?;
        Ok(is_new)
    }

    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let shared = self.operate()?;
        shared.check_length(path)?;
        Ok(shared.files.get(path).cloned())
    }

    fn head(&self, path: &str) -> Result<Option<Head>, StoreError> {
        let shared = self.operate()?;
        shared.check_length(path)?;
        let Some(etag) = shared.etag(path) else { return Ok(None) };
        Ok(Some(Head { etag, modified: shared.modified[path], now: shared.now() }))
    }

    fn remove(&self, path: &str) -> Result<(), StoreError> {
        let mut shared = self.operate()?;
        shared.check_length(path)?;
        shared.files.remove(path);
        Ok(shared.operations.respond()?)
    }
}

impl Write for MemorySink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.store.shared().operations.next().map_err(StoreError::from)?;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for MemorySink {
    fn commit(self) -> Result<String, StoreError> {
        self.store.put(&self.path, &self.bytes)?;
        Ok(self.store.shared().etag(&self.path).unwrap())
    }
}
