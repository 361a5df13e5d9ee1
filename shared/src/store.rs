//! Where objects come from and where results go: the ports that each home of the pipeline fills in its own way.

use std::{
    io::{self, Read, Write},
    time::{Duration, SystemTime},
};

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

    /// The same, unless there is one already; says whether it did. Of all who try, one does. One who does not know, because
    /// the answer was lost, is told that there is one: it may be its own.
    fn put_new(&self, path: &str, bytes: &[u8]) -> io::Result<bool>;

    /// Reads a result of up to [`crate::limits::MAX_RESULT_BYTES`]; `None` if there is none.
    fn get(&self, path: &str) -> io::Result<Option<Vec<u8>>>;

    /// The same of one that has at most so many bytes. A larger one is an error of the kind
    /// [`io::ErrorKind::FileTooLarge`], and a store outside of memory does not read it to its end.
    fn get_within(&self, path: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        let bytes = self.get(path)?;
        match bytes.as_ref().map(Vec::len) {
            Some(length) if length as u64 > most => Err(too_large(path, most)),
            _ => Ok(bytes),
        }
    }

    /// Reads the version and the age of a result; `None` if it does not exist.
    fn head(&self, path: &str) -> io::Result<Option<Head>>;

    /// The version of a result as it is now, as [`Sink::commit`] gave it; `None` if there is none.
    fn etag(&self, path: &str) -> io::Result<Option<String>> {
        Ok(self.head(path)?.map(|head| head.etag))
    }

    /// Removes a result; none there is fine.
    fn remove(&self, path: &str) -> io::Result<()>;
}

/// Metadata of a stored result. Both times come from the store, so processes whose own clocks differ agree on them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The version, as [`Sink::commit`] returned it.
    pub etag: String,
    /// Time of the last write, by the store's clock.
    pub modified: SystemTime,
    /// Time of this answer, by the store's clock.
    pub now: SystemTime,
}

impl Head {
    /// Time since the last write. Zero if the store rounds `modified` up past `now`: S3 rounds both to seconds.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.now.duration_since(self.modified).unwrap_or(Duration::ZERO)
    }
}

/// A result being written. Dropped without a commit, it leaves nothing behind.
pub trait Sink: Write {
    /// Publishes the result whole; replaces what is there. Gives the version that it has become.
    fn commit(self) -> io::Result<String>;
}

/// Why a file is not read: nothing that Flowherd writes or asks for is as large.
#[must_use]
pub fn too_large(path: &str, most: u64) -> io::Error {
    let why = format!(
        "{path} has more than {most} bytes: it is damaged, or not what it should be; see it, and replace it"
    );
    io::Error::new(io::ErrorKind::FileTooLarge, why)
}

/// All that a reader gives, if it is at most so many bytes; `path` is for the error.
pub fn read_within(reader: impl Read, path: &str, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_large(path, most)) } else { Ok(bytes) }
}
