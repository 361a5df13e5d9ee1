//! Reads the state of objects from the ledger without the coordinator's code.

use std::collections::BTreeMap;

use flowherd_shared::{
    layout,
    ledger::{Amendment, Failure, ManifestEntry, Receipt, Run},
    pipeline::RunConfig,
    store::Store,
};
use flowherd_tests::{fake::MemoryStore, objects::convert};
use serde::de::DeserializeOwned;

/// The state of an object by the ledger, read without the coordinator's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Truth {
    Done,
    Failed,
    Skipped,
    Missing,
}

/// Reads a ledger file.
pub(super) fn read<T: DeserializeOwned>(store: &MemoryStore, path: &str) -> Option<T> {
    store.get(path).unwrap().map(|bytes| serde_json::from_slice(&bytes).unwrap())
}

/// Returns the receipt of an object if its outputs exist in the versions that it names.
pub(super) fn receipt(store: &MemoryStore, run: &str, object: &ManifestEntry) -> Option<Receipt> {
    let found =
        read(store, &layout::receipt(run, &object.key)).filter(|receipt: &Receipt| receipt.object == *object);
    found.filter(|receipt| {
        let is_there = |path: &str, etag: &String| store.etag(path).unwrap().as_ref() == Some(etag);
        receipt.outputs.iter().all(|output| is_there(&output.path, &output.etag))
    })
}

/// Returns the texts of an object's outputs by their paths; `None` if it is damaged.
pub(super) fn reference(key: &str, bytes: &[u8]) -> Option<BTreeMap<String, String>> {
    let (_, outputs) = convert(bytes, key, &RunConfig::default()).ok()?;
    Some(outputs.into_iter().map(|(output, text)| (output.path, text)).collect())
}

/// Returns the state of an object in a run.
pub(super) fn truth(store: &MemoryStore, run: &Run, entry: &ManifestEntry) -> Truth {
    let amended = read(store, &layout::amendment(&run.run, &entry.key))
        .filter(|amendment: &Amendment| amendment.listed == *entry)
        .map(|amendment| amendment.now);
    let of = |run: &str, object: &ManifestEntry| receipt(store, run, object).is_some();
    let failure: Option<Failure> = read(store, &layout::failure(&run.run, &entry.key));
    let is_its = |failure: Failure| failure.object == *entry || Some(failure.object) == amended;
    if of(&run.run, entry) || amended.as_ref().is_some_and(|now| of(&run.run, now)) {
        Truth::Done
    } else if failure.is_some_and(is_its) {
        Truth::Failed
    } else if run.resumes.iter().any(|earlier| of(earlier, entry)) {
        Truth::Skipped
    } else {
        Truth::Missing
    }
}
