//! Manifest minus receipts minus failures: whether a run is done is proven by its files, not by an empty queue.

use std::io;

use flowherd_shared::{
    ledger::{Failure, ManifestEntry, Outcome, Receipt, Report, Run, layout},
    store::Store,
};

use crate::manifest;

/// The report of a run, from nothing but its files.
pub fn reconcile(store: &impl Store, run: &Run, finished: String) -> io::Result<Report> {
    let mut report = Report::new(run);
    for entry in manifest::read(store, run) {
        let entry = entry?;
        let outcome = outcome(store, run, &entry)?;
        report.add(&entry, outcome);
    }
    report.finish(finished, run.manifest.is_some());
    Ok(report)
}

/// A receipt that covers the object wins over a failure: it was done on a later attempt.
fn outcome(store: &impl Store, run: &Run, entry: &ManifestEntry) -> io::Result<Outcome> {
    let receipt = |run_name: &str| -> io::Result<Option<Receipt>> {
        let bytes = store.get(&layout::receipt(run_name, &entry.key))?;
        let receipt = bytes.and_then(|bytes| serde_json::from_slice::<Receipt>(&bytes).ok());
        Ok(receipt.filter(|receipt| receipt.covers(entry, &run.basis)))
    };
    if let Some(receipt) = receipt(&run.run)? {
        return Ok(Outcome::Done(Box::new(receipt)));
    }
    if let Some(bytes) = store.get(&layout::failure(&run.run, &entry.key))?
        && let Ok(failure) = serde_json::from_slice::<Failure>(&bytes)
    {
        return Ok(Outcome::Failed(failure));
    }
    for earlier in &run.resumes {
        if receipt(earlier)?.is_some() {
            return Ok(Outcome::Skipped);
        }
    }
    Ok(Outcome::Missing)
}
