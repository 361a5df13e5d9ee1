//! The manifest: every object listed, in parts of bounded size.

use std::io::{self, BufRead, Write};

use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};
use flowherd_shared::{
    ledger::{ManifestEntry, ManifestTotals, Run, layout},
    limits::MAX_PART_BYTES,
    store::{Problem, Store, StoreError, read_limited},
};

/// Entries of one part: about 2 MiB in memory.
pub const PART_ENTRIES: usize = 10_000;

/// Writes a manifest entry by entry; holds one part in memory.
#[derive(Debug)]
pub struct ManifestWriter<'a, S> {
    store: &'a S,
    run: &'a str,
    part: Vec<ManifestEntry>,
    totals: ManifestTotals,
}

impl<'a, S: Store> ManifestWriter<'a, S> {
    /// Starts the manifest of a run; existing parts are replaced.
    pub fn new(store: &'a S, run: &'a str) -> Self {
        Self { store, run, part: Vec::new(), totals: ManifestTotals::default() }
    }

    /// Adds an object.
    pub fn add(&mut self, entry: ManifestEntry) -> Result<(), StoreError> {
        self.totals.objects += 1;
        self.totals.bytes += entry.size;
        self.part.push(entry);
        if self.part.len() == PART_ENTRIES { self.flush() } else { Ok(()) }
    }

    /// Writes the last part.
    pub fn finish(mut self) -> Result<ManifestTotals, StoreError> {
        if !self.part.is_empty() {
            self.flush()?;
        }
        Ok(self.totals)
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.store.put(&layout::manifest_part(self.run, self.totals.parts), &encode(&self.part)?)?;
        self.totals.parts += 1;
        self.part.clear();
        Ok(())
    }
}

/// Encodes a part as JSON lines in gzip.
pub(crate) fn encode(entries: &[ManifestEntry]) -> Result<Vec<u8>, StoreError> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    for entry in entries {
        serde_json::to_writer(&mut gzip, entry).map_err(io::Error::from)?;
        gzip.write_all(b"\n")?;
    }
    Ok(gzip.finish()?)
}

/// Reads the entries of a complete manifest; holds one part in memory.
///
/// # Errors
/// If the listing is incomplete, if a part is missing or unreadable, or if the number of entries is not the number listed:
/// then nothing can be proven.
pub fn read<S: Store>(store: &S, run: &Run) -> impl Iterator<Item = Result<ManifestEntry, StoreError>> {
    let entries =
        (0..parts(run).unwrap_or_default()).flat_map(move |part| match read_part(store, run, part) {
            Ok(entries) => entries.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        });
    let mut seen = 0;
    entries.map(Some).chain([None]).filter_map(move |entry| match (entry, run.manifest) {
        (Some(entry), _) => {
            seen += 1;
            Some(entry)
        }
        (None, Some(totals)) => check_complete(run, seen, totals.objects).err().map(Err),
        (None, None) => parts(run).err().map(Err),
    })
}

/// Returns the number of parts of a complete manifest.
///
/// # Errors
/// If planning has not listed all objects: then nothing can be proven.
pub fn parts(run: &Run) -> Result<u64, StoreError> {
    let name = &run.run;
    let incomplete = || {
        invalid(format!(
            "the listing of run {name} is incomplete; wait for it (flowherd status {name}), or begin a new run"
        ))
    };
    run.manifest.map(|totals| totals.parts).ok_or_else(incomplete)
}

/// Fails unless the number of entries read is the number listed.
pub fn check_complete(run: &Run, read: u64, listed: u64) -> Result<(), StoreError> {
    if read == listed {
        return Ok(());
    }
    Err(invalid(format!("the manifest of run {} has {read} entries, but {listed} were listed", run.run)))
}

/// Reads the entries of a part.
pub(crate) fn read_part(store: &impl Store, run: &Run, part: u64) -> Result<Vec<ManifestEntry>, StoreError> {
    let path = layout::manifest_part(&run.run, part);
    let missing = || invalid(format!("{path} is missing: this part of the manifest was removed"));
    find_part(store, run, part)?.ok_or_else(missing)
}

/// Reads the entries of a part; `None` if it does not exist.
pub(crate) fn find_part(
    store: &impl Store,
    run: &Run,
    part: u64,
) -> Result<Option<Vec<ManifestEntry>>, StoreError> {
    let path = layout::manifest_part(&run.run, part);
    let Some(bytes) = store.get_limited(&path, MAX_PART_BYTES)? else { return Ok(None) };
    // Bounded, because somebody may have replaced the file.
    let text = read_limited(MultiGzDecoder::new(&bytes[..]), &path, MAX_PART_BYTES)?;
    let entries = (&text[..]).lines().map(|line| {
        serde_json::from_str(&line?)
            .map_err(|error| StoreError::Invalid(Problem::caused_by(path.clone(), error)))
    });
    entries.collect::<Result<_, StoreError>>().map(Some)
}

fn invalid(message: String) -> StoreError {
    StoreError::Invalid(message.into())
}
