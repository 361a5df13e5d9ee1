//! Compares the manifest with receipts and failures. The files of the ledger prove that a run is done; an empty queue does
//! not.

use std::ops::ControlFlow;

use flowherd_shared::{
    error::Verdict,
    layout,
    ledger::{Amendment, Failure, Missing, Outcome, Receipt, Report, Run},
    store::{ManifestEntry, Store, StoreError},
};
use serde::{Deserialize, Serialize};

use crate::{manifest, parallel};

/// Ledger files read at once.
const READERS: usize = 32;
/// Entries whose outcomes are in memory at once.
const CHUNK: usize = 1000;

/// The sum of a report over the first parts of the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciliation {
    /// Parts added.
    pub parts: u64,
    /// Failures that will be retried.
    pub retrying: u64,
    /// Missing objects whose outputs another run has written since.
    pub replaced: u64,
    /// The report of these parts.
    pub report: Report,
}

/// Returns the report of a run, from the files of its ledger alone.
pub fn reconcile(store: &impl Store, run: &Run, finished: String) -> Result<Report, StoreError> {
    let mut reconciliation = Reconciliation::new(run);
    while !reconciliation.is_complete(run) {
        reconciliation.add_part(store, run)?;
    }
    reconciliation.finish(run, finished)
}

impl Reconciliation {
    /// Starts without any part.
    #[must_use]
    pub fn new(run: &Run) -> Self {
        Self { parts: 0, retrying: 0, replaced: 0, report: Report::new(run) }
    }

    /// Returns whether every part is added.
    #[must_use]
    pub fn is_complete(&self, run: &Run) -> bool {
        self.parts >= run.manifest.unwrap_or_default().parts
    }

    /// Adds the next part. On an error nothing of it is added.
    pub fn add_part(&mut self, store: &impl Store, run: &Run) -> Result<(), StoreError> {
        let entries = manifest::read_part(store, run, self.parts)?;
        let mut sum = self.clone();
        for chunk in entries.chunks(CHUNK) {
            let outcomes = parallel::try_map(READERS, chunk, |entry| outcome(store, run, entry))?;
            for (entry, outcome) in chunk.iter().zip(outcomes) {
                match &outcome {
                    Outcome::Failed(failure) => sum.retrying += u64::from(failure.verdict == Verdict::Retry),
                    Outcome::Missing(Missing::Replaced(_)) => sum.replaced += 1,
                    _ => {}
                }
                sum.report.add(entry, outcome);
            }
        }
        sum.parts += 1;
        *self = sum;
        Ok(())
    }

    /// Returns the report after the last part.
    ///
    /// # Errors
    /// If the manifest has fewer or more entries than were listed: then nothing is proven.
    pub fn finish(mut self, run: &Run, finished: String) -> Result<Report, StoreError> {
        if let Some(totals) = run.manifest {
            manifest::check_complete(run, self.report.objects.listed, totals.objects)?;
        }
        self.report.finish(finished, run.manifest.is_some());
        Ok(self.report)
    }
}

/// Calls `visit` for each missing object of a complete manifest, in the order of the manifest, until it breaks.
pub fn missing<B>(
    store: &impl Store,
    run: &Run,
    mut visit: impl FnMut(&ManifestEntry, Missing) -> ControlFlow<B>,
) -> Result<ControlFlow<B>, StoreError> {
    let parts = run.manifest.map_or(0, |totals| totals.parts);
    for part in 0..parts {
        let entries = manifest::read_part(store, run, part)?;
        let outcomes = parallel::try_map(READERS, &entries, |entry| outcome(store, run, entry))?;
        for (entry, outcome) in entries.iter().zip(outcomes) {
            if let Outcome::Missing(why) = outcome
                && let ControlFlow::Break(reason) = visit(entry, why)
            {
                return Ok(ControlFlow::Break(reason));
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Calls `visit` for each object of a part of the manifest, with the receipt that proves it to be done: that of the run, or of an
/// earlier run that it resumes. Without one, the object failed or is not done.
pub fn receipts(
    store: &impl Store,
    run: &Run,
    part: u64,
    mut visit: impl FnMut(&ManifestEntry, Option<&Receipt>),
) -> Result<(), StoreError> {
    for chunk in manifest::read_part(store, run, part)?.chunks(CHUNK) {
        let receipts = parallel::try_map(READERS, chunk, |entry| receipt(store, run, entry))?;
        for (entry, receipt) in chunk.iter().zip(receipts) {
            visit(entry, receipt.as_deref());
        }
    }
    Ok(())
}

fn receipt(store: &impl Store, run: &Run, entry: &ManifestEntry) -> Result<Option<Box<Receipt>>, StoreError> {
    match outcome(store, run, entry)? {
        Outcome::Done(receipt) => Ok(Some(receipt)),
        Outcome::Skipped(earlier) => {
            let Some((_, fingerprint)) = run.earlier().find(|(name, _)| *name == earlier) else {
                return Ok(None);
            };
            Ok(Receipt::examine(store, &earlier, entry, fingerprint)?.ok().map(Box::new))
        }
        Outcome::Failed(_) | Outcome::Missing(_) => Ok(None),
    }
}

/// Returns the message about the first receipt that a resumed run cannot use.
#[must_use]
pub fn damaged_receipt(run: &str, object: &ManifestEntry, why: &str) -> String {
    format!("{}: {why}; objects with such a receipt are converted again", layout::receipt(run, &object.key))
}

/// Returns the outcome of an object. A valid receipt takes precedence over a failure: a later attempt succeeded.
fn outcome(store: &impl Store, run: &Run, entry: &ManifestEntry) -> Result<Outcome, StoreError> {
    let mut why = match Receipt::examine(store, &run.run, entry, &run.fingerprint)? {
        Ok(receipt) => return Ok(Outcome::Done(Box::new(receipt))),
        Err(why) => why,
    };
    let amended = Amendment::find(store, &run.run, entry)?;
    if let Some(now) = &amended {
        match Receipt::examine(store, &run.run, now, &run.fingerprint)? {
            Ok(receipt) => return Ok(Outcome::Done(Box::new(receipt))),
            Err(amended_why) => why = amended_why,
        }
    }
    // A failure of another version of the object, or under other rules, does not count.
    let failure = Failure::find(store, &run.run, &entry.key)?;
    let is_this_object = |object: &ManifestEntry| object == entry || Some(object) == amended.as_ref();
    if let Some(failure) =
        failure.filter(|failure| is_this_object(&failure.object) && failure.fingerprint == run.fingerprint)
    {
        return Ok(Outcome::Failed(failure));
    }
    for (earlier, fingerprint) in run.earlier() {
        match Receipt::examine(store, earlier, entry, fingerprint)? {
            Ok(_) => return Ok(Outcome::Skipped(earlier.to_owned())),
            Err(earlier_why) if why == Missing::NoOutcome => why = earlier_why,
            Err(_) => {}
        }
    }
    Ok(Outcome::Missing(why))
}
