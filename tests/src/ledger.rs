//! Runs, manifests and outputs for tests.

use std::collections::BTreeMap;

use flowherd_coordinator::manifest::ManifestWriter;
use flowherd_shared::{
    ledger::{Fingerprint, Job, ManifestEntry, ManifestTotals, Run, layout},
    pipeline::RunConfig,
    store::{Lister, Store, pages},
};

/// Returns a run of the whole bucket with the fingerprint of `plan`. Without totals, its listing is incomplete.
#[must_use]
pub fn run(name: &str, plan: &RunConfig, manifest: Option<ManifestTotals>) -> Run {
    Run {
        run: name.to_owned(),
        fleet: layout::MAIN_FLEET.to_owned(),
        prefix: String::new(),
        job: Job::Convert,
        fingerprint: Fingerprint::from(plan),
        enrichment: plan.enrichment_files().to_vec(),
        version: "test".to_owned(),
        started: "2026-01-01T00:00:00.000Z".to_owned(),
        resumed: None,
        resumes: Vec::new(),
        live: None,
        lacks_names: false,
        manifest,
    }
}

/// Writes the manifest of a run and returns its totals.
pub fn manifest(store: &impl Store, run: &str, entries: &[ManifestEntry]) -> ManifestTotals {
    let mut writer = ManifestWriter::new(store, run);
    entries.iter().for_each(|entry| writer.add(entry.clone()).unwrap());
    writer.finish().unwrap()
}

/// Returns the keys below a prefix.
pub fn keys_below(store: &impl Lister, prefix: &str) -> Vec<String> {
    pages(store, prefix).flat_map(|page| page.unwrap().entries).map(|entry| entry.key).collect()
}

/// Returns key and bytes of all rows and rejects.
pub fn outputs(store: &(impl Store + Lister)) -> BTreeMap<String, Vec<u8>> {
    let keys = ["csv/", "rejects/"].into_iter().flat_map(|prefix| keys_below(store, prefix));
    keys.map(|key| (key.clone(), Store::get(store, &key).unwrap().unwrap())).collect()
}
