//! Manifest minus receipts minus failures: whether a run is done is proven by its files, not by an empty queue.

use std::ops::ControlFlow;

use flowherd_shared::{
    error::Verdict,
    ledger::{Amendment, Failure, ManifestEntry, Missing, Outcome, Receipt, Report, Run},
    store::{Store, StoreError},
};
use serde::{Deserialize, Serialize};

use crate::{manifest, parallel};

/// Ledger files read at once.
const READERS: usize = 32;
/// Entries whose outcomes are in memory at once.
const CHUNK: usize = 1000;

/// A report being added up, part after part of the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciliation {
    /// Parts added.
    pub parts: u64,
    /// Failures that are to be tried again.
    pub retrying: u64,
    /// Missing objects whose outputs another run has written since.
    pub replaced: u64,
    /// What they add up to.
    pub report: Report,
}

/// The report of a run, from nothing but its files.
pub fn reconcile(store: &impl Store, run: &Run, finished: String) -> Result<Report, StoreError> {
    let mut reconciliation = Reconciliation::new(run);
    while !reconciliation.is_complete(run) {
        reconciliation.add_part(store, run)?;
    }
    reconciliation.finish(run, finished)
}

impl Reconciliation {
    /// Nothing is added yet.
    #[must_use]
    pub fn new(run: &Run) -> Self {
        Self { parts: 0, retrying: 0, replaced: 0, report: Report::new(run) }
    }

    /// Whether every part is added.
    #[must_use]
    pub fn is_complete(&self, run: &Run) -> bool {
        self.parts >= run.manifest.unwrap_or_default().parts
    }

    /// Adds the next part. On an error nothing of it is added.
    pub fn add_part(&mut self, store: &impl Store, run: &Run) -> Result<(), StoreError> {
        let entries = manifest::read_part(store, run, self.parts)?;
        let mut sum = self.clone();
        for chunk in entries.chunks(CHUNK) {
            let outcomes = parallel::map(READERS, chunk, |entry| outcome(store, run, entry));
            for (entry, outcome) in chunk.iter().zip(outcomes) {
                let outcome = outcome?;
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

    /// The report, when every part is added. An error if the manifest holds fewer or more entries than were listed: then
    /// nothing is proven.
    pub fn finish(mut self, run: &Run, finished: String) -> Result<Report, StoreError> {
        if let Some(totals) = run.manifest {
            manifest::check_complete(run, self.report.objects.listed, totals.objects)?;
        }
        self.report.finish(finished, run.manifest.is_some());
        Ok(self.report)
    }
}

/// Calls `visit` for each missing object of a complete manifest, in the order of the manifest, until it breaks.
pub(crate) fn missing<B>(
    store: &impl Store,
    run: &Run,
    visit: &mut dyn FnMut(&ManifestEntry, Missing) -> ControlFlow<B>,
) -> Result<ControlFlow<B>, StoreError> {
    let parts = run.manifest.map_or(0, |totals| totals.parts);
    for part in 0..parts {
        let entries = manifest::read_part(store, run, part)?;
        let outcomes = parallel::map(READERS, &entries, |entry| outcome(store, run, entry));
        for (entry, outcome) in entries.iter().zip(outcomes) {
            if let Outcome::Missing(why) = outcome?
                && let stop @ ControlFlow::Break(_) = visit(entry, why)
            {
                return Ok(stop);
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// A receipt that proves the object done wins over a failure: it was done on a later attempt.
fn outcome(store: &impl Store, run: &Run, entry: &ManifestEntry) -> Result<Outcome, StoreError> {
    let mut why = match Receipt::examine(store, &run.run, entry, &run.fingerprint)? {
        Ok(receipt) => return Ok(Outcome::Done(Box::new(receipt))),
        Err(why) => why,
    };
    let amended = Amendment::find(store, &run.run, entry)?;
    if let Some(now) = &amended {
        match Receipt::examine(store, &run.run, now, &run.fingerprint)? {
            Ok(receipt) => return Ok(Outcome::Done(Box::new(receipt))),
            Err(of_amended) => why = of_amended,
        }
    }
    // A failure of other bytes, or under other rules, says nothing about these.
    let failure = Failure::find(store, &run.run, &entry.key)?;
    let is_its = |object: &ManifestEntry| object == entry || Some(object) == amended.as_ref();
    if let Some(failure) =
        failure.filter(|failure| is_its(&failure.object) && failure.fingerprint == run.fingerprint)
    {
        return Ok(Outcome::Failed(failure));
    }
    for earlier in &run.resumes {
        match Receipt::examine(store, earlier, entry, &run.fingerprint)? {
            Ok(_) => return Ok(Outcome::Skipped),
            Err(of_earlier) if why == Missing::NoOutcome => why = of_earlier,
            Err(_) => {}
        }
    }
    Ok(Outcome::Missing(why))
}
