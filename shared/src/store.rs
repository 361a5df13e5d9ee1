//! Where objects come from and where results go: the ports that each home of the pipeline fills in its own way.

use std::io::{self, Read, Write};

use crate::ledger::ManifestEntry;

/// Gives the bytes of objects.
pub trait Source: Sync {
    /// The bytes of one object.
    type Body: Read;

    /// Opens exactly the version that was listed; an error if the object is gone or has changed since.
    fn open(&self, object: &ManifestEntry) -> io::Result<Self::Body>;

    /// The object as it would be listed now; `None` if there is none.
    fn now(&self, key: &str) -> io::Result<Option<ManifestEntry>>;
}

/// One page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Objects, in the order of their keys.
    pub entries: Vec<ManifestEntry>,
    /// The last key, if there are more behind it.
    pub next: Option<String>,
}

/// Lists objects.
pub trait Lister: Sync {
    /// One page of the keys that begin with `prefix`, of those behind `after`.
    fn page(&self, prefix: &str, after: Option<&str>) -> io::Result<Page>;
}

/// Takes results, by their path within the results.
pub trait Store: Sync {
    /// One result being written.
    type Sink: Sink;

    /// Begins a result that nobody sees before [`Sink::commit`].
    fn create(&self, path: &str) -> io::Result<Self::Sink>;

    /// Writes a small result, whole or not at all; replaces what is there.
    fn put(&self, path: &str, bytes: &[u8]) -> io::Result<()>;

    /// Reads a result; `None` if there is none.
    fn get(&self, path: &str) -> io::Result<Option<Vec<u8>>>;

    /// The version of a result as it is now, as [`Sink::commit`] gave it; `None` if there is none.
    fn etag(&self, path: &str) -> io::Result<Option<String>>;

    /// Removes a result; none there is fine.
    fn remove(&self, path: &str) -> io::Result<()>;
}

/// A result being written. Dropped without a commit, it leaves nothing behind.
pub trait Sink: Write {
    /// Publishes the result whole; replaces what is there. Gives the version that it has become.
    fn commit(self) -> io::Result<String>;
}
