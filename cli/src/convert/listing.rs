//! Lists the objects below a directory. Memory use is independent of their number.

use std::{
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use flowherd_shared::store::{ManifestEntry, StoreError};
use walkdir::{DirEntry, WalkDir};

use crate::local::etag;

/// The version of an entry that cannot be read as an object. No file has this version.
pub(crate) const UNREADABLE: &str = "unreadable";

/// The scope of a listing.
#[derive(Debug)]
pub(crate) struct Listing<'a> {
    /// A file or a directory.
    pub(crate) source: &'a Path,
    /// Only keys that begin with it.
    pub(crate) prefix: &'a str,
    /// Files and directories below the source that are no log objects: results, rules and names.
    pub(crate) excluded: Vec<PathBuf>,
}

/// An entry below the source.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) entry: ManifestEntry,
    /// Why it cannot be read as an object. It is listed, and fails.
    pub(crate) problem: Option<String>,
}

impl Listing<'_> {
    /// Calls `found` for every object, in any order.
    pub(crate) fn each(
        &self,
        mut found: impl FnMut(Found) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if self.source.is_file() {
            let name = Path::new(self.source.file_name().unwrap_or_default());
            return self.report(name, fs::metadata(self.source), &mut found);
        }
        let walk = WalkDir::new(self.source).follow_links(true).min_depth(1);
        for entry in walk.into_iter().filter_entry(|entry| !self.is_excluded(entry)) {
            let (path, metadata) = match entry {
                Ok(entry) if entry.file_type().is_dir() => continue,
                Ok(entry) => (entry.path().to_owned(), entry.metadata().map_err(io_error)),
                Err(error) => (error.path().unwrap_or(self.source).to_owned(), Err(io_error(error))),
            };
            // Skips pipes, sockets and devices.
            if metadata.as_ref().is_ok_and(|metadata| !metadata.is_file()) {
                continue;
            }
            self.report(path.strip_prefix(self.source).unwrap_or(&path), metadata, &mut found)?;
        }
        Ok(())
    }

    fn report(
        &self,
        name: &Path,
        metadata: io::Result<fs::Metadata>,
        found: &mut impl FnMut(Found) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let (bytes, prefix) = (name.as_os_str().as_bytes(), self.prefix.as_bytes());
        // A directory that cannot be listed may contain keys with the prefix.
        let may_hide =
            || bytes.is_empty() || prefix.strip_prefix(bytes).is_some_and(|rest| rest.starts_with(b"/"));
        let is_in_scope = bytes.starts_with(prefix) || (metadata.is_err() && may_hide());
        if !is_in_scope {
            return Ok(());
        }
        // Escaping keeps a name that is not UTF-8 apart from the name of another file.
        let key = name.to_str().map_or_else(|| bytes.escape_ascii().to_string(), str::to_owned);
        let key = if key.is_empty() { self.source.to_string_lossy().into_owned() } else { key };
        let (size, etag, problem) = match metadata {
            Ok(_) if name.to_str().is_none() => {
                (0, UNREADABLE.to_owned(), Some("its name is not UTF-8; rename it".to_owned()))
            }
            Ok(metadata) => (metadata.len(), etag(&metadata), None),
            Err(error) => (0, UNREADABLE.to_owned(), Some(format!("cannot be listed: {error}"))),
        };
        found(Found { entry: ManifestEntry { key, size, etag }, problem })
    }

    fn is_excluded(&self, entry: &DirEntry) -> bool {
        // Comparing names first saves a system call for most entries.
        let may_be = self.excluded.iter().any(|path| path.file_name() == Some(entry.file_name()));
        may_be && fs::canonicalize(entry.path()).is_ok_and(|path| self.excluded.contains(&path))
    }
}

/// Returns the cause without the path, which the key contains.
fn io_error(error: walkdir::Error) -> io::Error {
    match error.loop_ancestor() {
        Some(_) => io::Error::other("the symbolic link points to a directory above it"),
        None => error.into_io_error().unwrap_or_else(|| io::Error::other("unknown error")),
    }
}
