//! The objects below a directory, one after another: memory does not grow with their number.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Context;
use flowherd_shared::ledger::ManifestEntry;
use walkdir::{DirEntry, WalkDir};

use crate::local::etag;

/// The object's version when its name cannot be one: no file ever has it.
pub(super) const NO_NAME: &str = "name-is-no-utf-8";

/// What to list.
#[derive(Debug)]
pub(super) struct Listing<'a> {
    /// A file or a directory.
    pub(super) source: &'a Path,
    /// Only keys that begin with it.
    pub(super) prefix: &'a str,
    /// Files and directories that are no log objects though they may stand below the source: results, rules, names.
    pub(super) not: Vec<PathBuf>,
}

impl Listing<'_> {
    /// Every object, in no particular order.
    pub(super) fn each(&self, mut found: impl FnMut(ManifestEntry) -> io::Result<()>) -> anyhow::Result<()> {
        let source = self.source;
        if source.is_file() {
            let name = source.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let metadata =
                fs::metadata(source).with_context(|| format!("cannot look at {}", source.display()))?;
            return Ok(self.give(name, &metadata, true, &mut found)?);
        }
        let walk = WalkDir::new(source).follow_links(true).min_depth(1);
        for entry in walk.into_iter().filter_entry(|entry| !self.is_left_out(entry)) {
            let entry = entry.with_context(|| format!("cannot list {}", source.display()))?;
            if !entry.file_type().is_file() {
                continue;
            }
            let metadata =
                entry.metadata().with_context(|| format!("cannot look at {}", entry.path().display()))?;
            let below = entry.path().strip_prefix(source).unwrap_or(entry.path());
            let is_text = below.to_str().is_some();
            self.give(below.to_string_lossy().into_owned(), &metadata, is_text, &mut found)
                .context("cannot write the manifest")?;
        }
        Ok(())
    }

    fn give(
        &self,
        key: String,
        metadata: &fs::Metadata,
        is_text: bool,
        found: &mut impl FnMut(ManifestEntry) -> io::Result<()>,
    ) -> io::Result<()> {
        if !key.starts_with(self.prefix) {
            return Ok(());
        }
        let etag = if is_text { etag(metadata) } else { NO_NAME.to_owned() };
        found(ManifestEntry { key, size: metadata.len(), etag })
    }

    fn is_left_out(&self, entry: &DirEntry) -> bool {
        // Comparing names first spares a system call for nearly every entry.
        let may_be = self.not.iter().any(|path| path.file_name() == Some(entry.file_name()));
        may_be && fs::canonicalize(entry.path()).is_ok_and(|path| self.not.contains(&path))
    }
}
