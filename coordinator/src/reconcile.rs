//! Manifest minus receipts minus failures: whether a run is done is proven by its files, not by an empty queue.

use std::io;

use flowherd_shared::{
    ledger::{Failure, ManifestEntry, Outcome, Receipt, Report, Run},
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

/// A receipt that proves the object done wins over a failure: it was done on a later attempt.
fn outcome(store: &impl Store, run: &Run, entry: &ManifestEntry) -> io::Result<Outcome> {
    if let Some(receipt) = Receipt::find(store, &run.run, entry, &run.basis)? {
        return Ok(Outcome::Done(Box::new(receipt)));
    }
    // A failure of other bytes, or under other rules, says nothing about these.
    let failure = Failure::find(store, &run.run, &entry.key)?;
    if let Some(failure) = failure.filter(|failure| failure.object == *entry && failure.basis == run.basis) {
        return Ok(Outcome::Failed(failure));
    }
    for earlier in &run.resumes {
        if Receipt::find(store, earlier, entry, &run.basis)?.is_some() {
            return Ok(Outcome::Skipped);
        }
    }
    Ok(Outcome::Missing)
}
