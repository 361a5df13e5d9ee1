//! Runs and manifests for tests.

use flowherd_coordinator::manifest::ManifestWriter;
use flowherd_shared::{
    ledger::{Fingerprint, ManifestEntry, ManifestTotals, Run},
    pipeline::RunConfig,
    store::Store,
};

/// A run of the whole bucket, with the rules and names of the plan; without totals it is still being listed.
#[must_use]
pub fn run(name: &str, plan: &RunConfig, manifest: Option<ManifestTotals>) -> Run {
    Run {
        run: name.to_owned(),
        prefix: String::new(),
        fingerprint: Fingerprint::from(plan),
        version: "test".to_owned(),
        started: "2026-01-01T00:00:00.000Z".to_owned(),
        resumed: None,
        resumes: Vec::new(),
        manifest,
    }
}

/// Writes the manifest of a run and returns its totals.
pub fn manifest(store: &impl Store, run: &str, entries: &[ManifestEntry]) -> ManifestTotals {
    let mut writer = ManifestWriter::new(store, run);
    entries.iter().for_each(|entry| writer.add(entry.clone()).unwrap());
    writer.finish().unwrap()
}
