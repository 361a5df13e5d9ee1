//! The file that `flowherd names` replaces.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use flowherd_shared::{
    limits::MAX_NAMES_BYTES,
    store::{StoreError, read_limited},
};
use tempfile::NamedTempFile;

use crate::stop::Stop;

/// A file that is replaced in one step, so that a reader sees the former file or the new one.
pub(super) struct Output {
    /// The path without symbolic links: a rename would replace a link.
    path: PathBuf,
    former: Option<Vec<u8>>,
    temporary: NamedTempFile,
}

impl Output {
    /// Reads the file if it exists, and creates the temporary file beside it.
    ///
    /// # Errors
    /// If the file cannot be read, or the temporary file cannot be created.
    pub(super) fn open(path: &Path) -> Result<Self, Stop> {
        let cannot_write =
            |error: io::Error| Stop::usage(format!("cannot write {}: {error}", path.display()));
        let resolved = match fs::canonicalize(path) {
            Ok(resolved) => resolved,
            Err(error) if error.kind() == ErrorKind::NotFound && !path.is_symlink() => path.to_owned(),
            Err(error) => return Err(cannot_write(error)),
        };
        let former = read(&resolved)
            .map_err(|error| Stop::usage(format!("cannot read {}: {error}", path.display())))?;
        let temporary = tempfile::Builder::new()
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(directory(&resolved))
            .map_err(cannot_write)?;
        if former.is_some() {
            let permissions = fs::metadata(&resolved).map_err(cannot_write)?.permissions();
            temporary.as_file().set_permissions(permissions).map_err(cannot_write)?;
        }
        Ok(Self { path: resolved, former, temporary })
    }

    /// Returns the content of the file; `None` if it did not exist.
    pub(super) fn former(&self) -> Option<&[u8]> {
        self.former.as_deref()
    }

    /// Replaces the file and waits until the disk has it.
    ///
    /// # Errors
    /// If another process changed the file since [`Output::open`].
    pub(super) fn replace(mut self, bytes: &[u8]) -> anyhow::Result<()> {
        if self.former() == Some(bytes) {
            return Ok(());
        }
        let file = self.temporary.as_file_mut();
        file.write_all(bytes)?;
        file.sync_all()?;
        let directory = File::open(directory(&self.path))?;
        // Another run of this command waits here.
        directory.lock().context("cannot lock its directory")?;
        ensure!(
            read(&self.path)? == self.former,
            "another process changed it while the names were read; run the command again"
        );
        self.temporary.persist(&self.path)?;
        directory.sync_all()?;
        Ok(())
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let file = File::open(path).map_err(StoreError::from_file_error);
    match file.and_then(|file| read_limited(file, &path.display().to_string(), MAX_NAMES_BYTES as u64)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(StoreError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
