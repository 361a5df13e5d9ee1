//! The ports through which objects are read and results are written. S3 buckets, local directories and the in-memory fakes
//! of the tests implement them.

use std::{
    error::Error,
    io::{self, Read, Write},
    time::{Duration, SystemTime},
};

use serde::{Deserialize, Serialize};

/// An object as a listing returns it. Also one line of `runs/<run>/manifest/*.jsonl.gz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestEntry {
    /// The key as listed.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// Version of the object's bytes. On S3 the `ETag`; for a local file, its size and modification time.
    pub etag: String,
}

/// The error that caused another one.
pub type Cause = Box<dyn Error + Send + Sync>;

/// Why a store, a lister or a source failed. The variants differ in what the caller can do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The object or file does not exist.
    #[error(transparent)]
    NotFound(Problem),
    /// The object is no longer the version that was listed.
    #[error(transparent)]
    PreconditionFailed(Problem),
    /// Access is denied now. IAM may grant a new permission minutes after the change.
    #[error(transparent)]
    AccessDenied(Problem),
    /// The object is in an archive storage class and must be restored first.
    #[error(transparent)]
    Archived(Problem),
    /// The object is encrypted with a key that Flowherd does not have.
    #[error(transparent)]
    Encrypted(Problem),
    /// The bucket does not exist or is in another region. The settings must change, not the object.
    #[error(transparent)]
    WrongBucket(Problem),
    /// The file exceeds the size limit of its path.
    #[error(
        "{path} has more than {limit} bytes, the limit of this file; if Flowherd wrote it, it is damaged: replace it"
    )]
    TooLarge {
        /// The path of the file.
        path: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// The store cannot represent this key, for example as a file name.
    #[error(transparent)]
    InvalidKey(Problem),
    /// Flowherd cannot use the store's response. A retry would get the same response.
    #[error(transparent)]
    Invalid(Problem),
    /// Anything else. A later attempt can succeed.
    #[error(transparent)]
    Transient(Cause),
}

/// A message and, if there is one, the error that caused it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Problem {
    message: String,
    source: Option<Cause>,
}

impl Problem {
    /// Adds a message to an error.
    #[must_use]
    pub fn caused_by(message: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self { message: message.into(), source: Some(source.into()) }
    }
}

impl<T: Into<String>> From<T> for Problem {
    fn from(message: T) -> Self {
        Self { message: message.into(), source: None }
    }
}

impl StoreError {
    /// Returns a [`StoreError::Transient`] with a message and without a cause.
    #[must_use]
    pub fn transient(message: impl Into<String>) -> Self {
        Self::Transient(Problem::from(message).into())
    }

    /// Returns a [`StoreError::Transient`] with a message and its cause.
    #[must_use]
    pub fn transient_because(message: impl Into<String>, source: impl Into<Cause>) -> Self {
        Self::Transient(Problem::caused_by(message, source).into())
    }

    /// Maps an error of a local file system.
    #[must_use]
    pub fn from_file_error(error: io::Error) -> Self {
        use io::ErrorKind::{
            AlreadyExists, InvalidFilename, InvalidInput, IsADirectory, NotADirectory, NotFound,
            PermissionDenied,
        };
        let variant = match error.kind() {
            NotFound => Self::NotFound,
            PermissionDenied => Self::AccessDenied,
            // Another file or directory has this path, or no file can have it.
            AlreadyExists | InvalidFilename | InvalidInput | IsADirectory | NotADirectory => Self::InvalidKey,
            _ => return error.into(),
        };
        variant(Problem::caused_by(error.to_string(), error))
    }

    /// Returns the typed error that [`io::Error::from`] wrapped, if `error` wraps one.
    #[must_use]
    pub fn downcast_io(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

/// Wraps the error, so that it passes through [`Read`] and [`Write`]. [`StoreError::downcast_io`] finds it again.
impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        Self::other(error)
    }
}

/// Unwraps a [`StoreError`]. Any other I/O error is [`StoreError::Transient`].
impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        error.downcast().unwrap_or_else(|error| Self::Transient(error.into()))
    }
}

/// Reads objects.
pub trait Source: Sync {
    /// The bytes of one object.
    type Body: Read + Send;

    /// Opens exactly the version that was listed. Fails if the object no longer exists or has changed since.
    fn open(&self, object: &ManifestEntry) -> Result<Self::Body, StoreError>;

    /// Returns the object as a listing would return it now; `None` if it does not exist.
    fn head(&self, key: &str) -> Result<Option<ManifestEntry>, StoreError>;
}

/// One page of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Objects in the order of their keys.
    pub entries: Vec<ManifestEntry>,
    /// When each of them was last modified, by the store's clock; `None` if the store does not return it. S3 rounds it to
    /// seconds. For a multipart upload it is the time of its begin
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html>).
    pub modified: Vec<Option<SystemTime>>,
    /// The key after which the next page begins; `None` on the last page.
    pub next: Option<String>,
}

/// Lists objects.
pub trait Lister: Sync {
    /// Returns one page of the keys that begin with `prefix` and follow `after`.
    fn page(&self, prefix: &str, after: Option<&str>) -> Result<Page, StoreError>;
}

/// Lists all pages of the keys that begin with `prefix`. Ends after the first error.
pub fn pages<'a>(
    lister: &'a impl Lister,
    prefix: &'a str,
) -> impl Iterator<Item = Result<Page, StoreError>> + 'a {
    let (mut after, mut is_done) = (None, false);
    std::iter::from_fn(move || {
        if is_done {
            return None;
        }
        let page = lister.page(prefix, after.as_deref());
        after = page.as_ref().ok().and_then(|page| page.next.clone());
        is_done = after.is_none();
        Some(page)
    })
}

/// Writes and reads results by their path below the root of the results.
pub trait Store: Sync {
    /// One result being written.
    type Sink: Sink;

    /// Begins a result, which becomes visible at [`Sink::commit`].
    fn create(&self, path: &str) -> Result<Self::Sink, StoreError>;

    /// Writes a small result atomically. Replaces an existing one.
    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError>;

    /// Creates a small result only if it does not exist; returns whether it was created. Exactly one writer wins. After a
    /// lost response, a retry may return `false` although its first attempt succeeded.
    fn put_if_absent(&self, path: &str, bytes: &[u8]) -> Result<bool, StoreError>;

    /// Reads a result of up to [`crate::limits::MAX_RESULT_BYTES`]; `None` if it does not exist.
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError>;

    /// Reads a result of up to `limit` bytes; `None` if it does not exist. Returns [`StoreError::TooLarge`] for a larger
    /// result. S3 and local directories stop reading at the limit; this default reads the whole result.
    fn get_limited(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let bytes = self.get(path)?;
        match &bytes {
            Some(bytes) if bytes.len() as u64 > limit => {
                Err(StoreError::TooLarge { path: path.to_owned(), limit })
            }
            _ => Ok(bytes),
        }
    }

    /// Reads the version and the age of a result; `None` if it does not exist.
    fn head(&self, path: &str) -> Result<Option<Head>, StoreError>;

    /// Returns the current version of a result, as [`Sink::commit`] returned it; `None` if it does not exist.
    fn etag(&self, path: &str) -> Result<Option<String>, StoreError> {
        Ok(self.head(path)?.map(|head| head.etag))
    }

    /// Removes a result. Succeeds if it does not exist.
    fn remove(&self, path: &str) -> Result<(), StoreError>;

    /// Removes several results. Succeeds if they do not exist. After an error, each of them may still exist.
    fn remove_all(&self, paths: &[String]) -> Result<(), StoreError> {
        paths.iter().try_for_each(|path| self.remove(path))
    }
}

/// Metadata of a stored result. Both times come from the store, so processes whose own clocks differ agree on them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The version, as [`Sink::commit`] returned it.
    pub etag: String,
    /// Time of the last write, by the store's clock.
    pub modified: SystemTime,
    /// Time of this response, by the store's clock.
    pub now: SystemTime,
}

impl Head {
    /// Returns the time since the last write. Zero if the store rounds `modified` up past `now`: S3 rounds both to seconds.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.now.duration_since(self.modified).unwrap_or(Duration::ZERO)
    }
}

/// A result being written. Dropping it without a commit discards the result.
pub trait Sink: Write + Send {
    /// Publishes the whole result and returns its version. Replaces an existing result.
    fn commit(self) -> Result<String, StoreError>;
}

/// Reads a file of up to `limit` bytes. The error names `path`.
pub fn read_limited(reader: impl Read, path: &str, limit: u64) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    reader.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(StoreError::TooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_error_keeps_its_variant_through_read_and_write() {
        let wrapped = io::Error::from(StoreError::Archived("in Glacier".into()));
        assert!(matches!(StoreError::downcast_io(&wrapped), Some(StoreError::Archived(_))));
        assert!(matches!(StoreError::from(wrapped), StoreError::Archived(_)));
        assert!(matches!(StoreError::from(io::Error::other("reset")), StoreError::Transient(_)));
    }

    #[test]
    fn a_transient_error_keeps_its_cause() {
        let error = StoreError::transient_because("GetObject failed", io::Error::other("reset"));
        assert_eq!(error.to_string(), "GetObject failed");
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some("reset"));
    }
}
