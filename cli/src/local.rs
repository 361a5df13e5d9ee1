//! Objects and results in local directories.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::SystemTime,
};

use flowherd_shared::{
    ledger::ManifestEntry,
    limits::MAX_RESULT_BYTES,
    store::{Head, Sink, Source, Store, StoreError, read_limited},
};
use tempfile::NamedTempFile;

/// Objects below a directory, or a single file.
#[derive(Debug)]
pub struct DirSource {
    root: PathBuf,
    single_file: bool,
}

impl DirSource {
    /// Reads objects below the directory `root`, or `root` itself if it is a file.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), single_file: root.is_file() }
    }

    fn path(&self, key: &str) -> Result<PathBuf, StoreError> {
        if self.single_file { Ok(self.root.clone()) } else { below(&self.root, key) }
    }
}

/// Returns the version of a file: its size and modification time, as `make` and `rsync` compare. A checksum costs more.
#[must_use]
pub fn etag(metadata: &Metadata) -> String {
    // Seconds before 1970 are negative.
    format!("{:x}-{}.{:09}", metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

impl Source for DirSource {
    type Body = LocalBody;

    fn open(&self, object: &ManifestEntry) -> Result<LocalBody, StoreError> {
        let file = File::open(self.path(&object.key)?).map_err(StoreError::from_file_error)?;
        let body = LocalBody { file, etag: object.etag.clone() };
        body.check_unchanged()?;
        Ok(body)
    }

    fn head(&self, key: &str) -> Result<Option<ManifestEntry>, StoreError> {
        let metadata = none_if_missing(self.path(key).and_then(|path| map_file_error(fs::metadata(path))))?;
        let entry = |metadata: &Metadata| ManifestEntry {
            key: key.to_owned(),
            size: metadata.len(),
            etag: etag(metadata),
        };
        Ok(metadata.as_ref().map(entry))
    }
}

/// The bytes of a file. Reading fails at the end if the file has changed since it was listed.
#[derive(Debug)]
pub struct LocalBody {
    file: File,
    etag: String,
}

impl LocalBody {
    fn check_unchanged(&self) -> io::Result<()> {
        if etag(&self.file.metadata()?) == self.etag {
            Ok(())
        } else {
            // A resumed run lists the file again, so it can succeed.
            let message = "the file has changed since it was listed; convert it again with --resume";
            Err(StoreError::transient(message).into())
        }
    }
}

impl Read for LocalBody {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(out)?;
        if count == 0 && !out.is_empty() {
            self.check_unchanged()?;
        }
        Ok(count)
    }
}

/// Results below a directory. Each file is written to a temporary directory and renamed, so readers see all of it or nothing.
#[derive(Debug)]
pub struct DirStore {
    root: PathBuf,
    /// The temporary directory, on the same file system as the results.
    unfinished: PathBuf,
}

impl DirStore {
    /// Writes results below `root`, and temporary files to `unfinished`, a directory below it.
    pub fn new(root: &Path, unfinished: &Path) -> io::Result<Self> {
        fs::create_dir_all(unfinished)?;
        Ok(Self { root: root.to_owned(), unfinished: unfinished.to_owned() })
    }

    /// Reads the results below `root`. Writing fails, because there is no directory for temporary files.
    #[must_use]
    pub fn read_only(root: &Path) -> Self {
        Self { root: root.to_owned(), unfinished: root.join("runs/.read-only") }
    }

    /// Returns the file of a result.
    pub fn path(&self, path: &str) -> Result<PathBuf, StoreError> {
        below(&self.root, path)
    }

    fn create_temporary(&self) -> io::Result<NamedTempFile> {
        // The umask applies, as for other files. The library's default mode is for secrets.
        tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o666)).tempfile_in(&self.unfinished)
    }
}

impl Store for DirStore {
    type Sink = LocalSink;

    fn create(&self, path: &str) -> Result<LocalSink, StoreError> {
        let target = self.path(path)?;
        // Fails before anything of the object is published, instead of at the commit.
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(StoreError::from_file_error)?;
        }
        if target.is_dir() {
            return Err(StoreError::from_file_error(io::ErrorKind::IsADirectory.into()));
        }
        Ok(LocalSink { file: self.create_temporary().map_err(StoreError::from_file_error)?, target })
    }

    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let mut sink = self.create(path)?;
        sink.write_all(bytes)?;
        sink.commit().map(|_| ())
    }

    fn put_if_absent(&self, path: &str, bytes: &[u8]) -> Result<bool, StoreError> {
        let mut sink = self.create(path)?;
        sink.write_all(bytes)?;
        match sink.file.persist_noclobber(&sink.target) {
            Ok(_) => Ok(true),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(StoreError::from_file_error(error.error)),
        }
    }

    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.get_limited(path, MAX_RESULT_BYTES)
    }

    fn get_limited(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let file = none_if_missing(self.path(path).and_then(|path| map_file_error(File::open(path))))?;
        // Opening a directory succeeds, and reading it fails.
        let file = file.filter(|file| !file.metadata().is_ok_and(|metadata| metadata.is_dir()));
        file.map(|file| read_limited(file, path, limit)).transpose()
    }

    fn head(&self, path: &str) -> Result<Option<Head>, StoreError> {
        let path = self.path(path).and_then(|path| map_file_error(fs::metadata(path)));
        let Some(metadata) = none_if_missing(path)? else { return Ok(None) };
        let (modified, now) = (map_file_error(metadata.modified())?, SystemTime::now());
        Ok(Some(Head { etag: etag(&metadata), modified, now }))
    }

    fn remove(&self, path: &str) -> Result<(), StoreError> {
        none_if_missing(self.path(path).and_then(|path| map_file_error(fs::remove_file(path)))).map(|_| ())
    }
}

fn map_file_error<T>(result: io::Result<T>) -> Result<T, StoreError> {
    result.map_err(StoreError::from_file_error)
}

fn none_if_missing<T>(result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        // No file exists below a file, in place of a directory, or under an invalid name.
        Err(StoreError::NotFound(_) | StoreError::InvalidKey(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A temporary file that the commit renames.
#[derive(Debug)]
pub struct LocalSink {
    target: PathBuf,
    file: NamedTempFile,
}

impl Write for LocalSink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The library's own `write` would add the temporary name to each error.
        self.file.as_file_mut().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush()
    }
}

impl Sink for LocalSink {
    fn commit(self) -> Result<String, StoreError> {
        let file =
            self.file.persist(&self.target).map_err(|error| StoreError::from_file_error(error.error))?;
        Ok(etag(&map_file_error(file.metadata())?))
    }
}

/// Returns the path of a key below a directory. Refuses a key that would lead outside of it, or to another key's file.
fn below(root: &Path, key: &str) -> Result<PathBuf, StoreError> {
    let is_invalid = |part: &str| part.is_empty() || part == "." || part == ".." || part.contains('\0');
    if key.split('/').any(is_invalid) {
        let why = "a key with an empty part, `.` or `..` cannot be a file name";
        return Err(StoreError::InvalidKey(format!("{key:?}: {why}").into()));
    }
    Ok(root.join(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_leads_outside_the_directory() {
        for key in ["../x", "a/../../x", "/etc/passwd", "a//b", "a/", "", ".", "a/./b", "a\0b"] {
            assert!(below(Path::new("/dest"), key).is_err(), "{key:?}");
        }
        for key in ["a b+c%20", "ü/日本", "..a/b..", "a\\..\\b", "-rf"] {
            assert_eq!(below(Path::new("/dest"), key).unwrap(), Path::new("/dest").join(key));
        }
    }

    #[test]
    fn a_changed_modification_time_is_another_version_also_before_1970() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join("k")).unwrap();
        let times = [(1, 0), (1, 1), (0, 0), (-1, 0), (-1, 1)].map(|(seconds, nanoseconds)| {
            let time = jiff::Timestamp::new(seconds, 0).unwrap();
            SystemTime::from(time) + std::time::Duration::from_nanos(nanoseconds)
        });
        let versions = times.map(|time| {
            file.set_modified(time).unwrap();
            etag(&file.metadata().unwrap())
        });
        let distinct: std::collections::BTreeSet<&String> = versions.iter().collect();
        assert_eq!(distinct.len(), versions.len(), "{versions:?}");
    }

    #[test]
    fn a_file_that_grows_while_it_is_read_fails_at_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        fs::write(&path, b"before").unwrap();
        let listed =
            ManifestEntry { key: "k".to_owned(), size: 6, etag: etag(&fs::metadata(&path).unwrap()) };
        let source = DirSource::new(dir.path());
        let mut body = source.open(&listed).unwrap();
        body.read_exact(&mut [0; 3]).unwrap();
        fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b" and after").unwrap();
        let error = body.read_to_end(&mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("changed since it was listed"));
        assert!(source.open(&listed).is_err());
    }

    #[test]
    fn a_result_is_visible_only_after_its_commit() {
        let dir = tempfile::tempdir().unwrap();
        let store = DirStore::new(dir.path(), &dir.path().join("unfinished")).unwrap();
        let mut sink = store.create("a/b").unwrap();
        sink.write_all(b"half").unwrap();
        assert_eq!(store.get("a/b").unwrap(), None);
        drop(sink);
        assert_eq!(store.get("a/b").unwrap(), None);
        assert_eq!(fs::read_dir(dir.path().join("unfinished")).unwrap().count(), 0);
        store.put("a/b", b"whole").unwrap();
        assert_eq!(store.get("a/b").unwrap().unwrap(), b"whole");
        assert_eq!(store.get("a/b/c").unwrap(), None);
        store.remove("a/b").unwrap();
        store.remove("a/b").unwrap();
        assert_eq!(store.get("a/b").unwrap(), None);
    }
}
