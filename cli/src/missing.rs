//! `flowherd report RUN --missing`: lists the missing objects of a run, each with its reason from the ledger.

use std::ops::ControlFlow;

use anyhow::Context;
use flowherd_coordinator::{reconcile, runs::IndexedRun};
use flowherd_shared::{
    ledger::{ManifestEntry, Missing, Receipt, Run, layout, read_json},
    store::Store,
};
use serde::Serialize;

use crate::{
    stop::Stop,
    summary::{self, printable},
    words::counted,
};

/// A missing object in the output of `--json`.
#[derive(Serialize)]
struct MissingObject {
    key: String,
    size: u64,
    etag: String,
    reason: String,
    /// The run that has written the outputs since, if a receipt proves it.
    replaced_by: Option<String>,
}

/// The missing objects of a run, by its current ledger.
pub(crate) struct MissingObjects<'a, S> {
    /// The files of the ledger.
    pub(crate) store: &'a S,
    /// The run.
    pub(crate) run: &'a Run,
    /// Returns the runs of the ledger, latest first.
    pub(crate) all_runs: &'a dyn Fn() -> Result<Vec<IndexedRun>, Stop>,
    /// The command that shows the progress of the run.
    pub(crate) status: String,
    /// What to do to process the objects.
    pub(crate) resume: String,
    /// Called for each object, because each shows that the ledger responds. Renews the time limit.
    pub(crate) renew: &'a dyn Fn(),
    /// Prints without the time limit: the reader of a pipe may be slow.
    pub(crate) pause: &'a dyn Fn(&mut dyn FnMut()),
}

impl<S: Store> MissingObjects<'_, S> {
    /// Prints the missing objects. Fails if there are any.
    pub(crate) fn show(&self, as_json: bool) -> Result<(), Stop> {
        if self.run.manifest.is_none() {
            return Err(Stop::usage(format!(
                "the listing of run {} is incomplete, so its missing objects are unknown; see: {}",
                self.run.run, self.status
            )));
        }
        let mut found = MissingPrinter { objects: self, as_json, others: None, count: 0, replaced: 0 };
        let add = |entry: &ManifestEntry, why: Missing| {
            (self.renew)();
            match found.add(entry, &why) {
                Ok(()) => ControlFlow::Continue(()),
                Err(stop) => ControlFlow::Break(stop),
            }
        };
        match reconcile::missing(self.store, self.run, add).context("cannot read the ledger")? {
            ControlFlow::Break(stop) => Err(stop),
            ControlFlow::Continue(()) => found.finish(),
        }
    }

    /// Returns an object and the reason why it is missing. `others` are the runs that may have replaced its outputs.
    fn object(
        &self,
        others: &[IndexedRun],
        entry: ManifestEntry,
        why: &Missing,
    ) -> Result<MissingObject, Stop> {
        let mut replaced_by = None;
        let reason = match why {
            Missing::NoOutcome => "it has neither a receipt nor a failure".to_owned(),
            Missing::OtherReceipt => {
                "its receipt is of another version of the object, other rules or other names, or its counts are inconsistent"
                    .to_owned()
            }
            Missing::DamagedReceipt(why) => format!("its receipt cannot be used: {why}"),
            Missing::Removed(path) => format!("{path} was removed after the receipt was written"),
            Missing::Replaced(path) => {
                replaced_by = self.writer(others, &entry, path)?;
                match &replaced_by {
                    Some(run) => format!("run {run} has written {path} since"),
                    None => format!("{path} was replaced after the receipt was written"),
                }
            }
        };
        let ManifestEntry { key, size, etag } = entry;
        Ok(MissingObject { key, size, etag, reason, replaced_by })
    }

    /// Returns the run whose receipt names the current version of an output.
    fn writer(
        &self,
        others: &[IndexedRun],
        entry: &ManifestEntry,
        path: &str,
    ) -> Result<Option<String>, Stop> {
        let Some(now) = self.store.etag(path).context("cannot read the ledger")? else { return Ok(None) };
        for other in others.iter().filter(|other| entry.key.starts_with(&other.prefix)) {
            (self.renew)();
            let receipt: Option<Receipt> = read_json(self.store, &layout::receipt(&other.run, &entry.key))
                .context("cannot read the ledger")?;
            let outputs = receipt.iter().flat_map(|receipt| &receipt.outputs);
            if outputs.into_iter().any(|output| output.path == path && output.etag == now) {
                return Ok(Some(other.run.clone()));
            }
        }
        Ok(None)
    }

    /// Prints without the time limit.
    fn print(&self, text: &str) -> Result<(), Stop> {
        let mut printed = Ok(());
        (self.pause)(&mut || printed = summary::print(text));
        printed
    }
}

/// Prints object by object, because there may be millions.
struct MissingPrinter<'a, S> {
    objects: &'a MissingObjects<'a, S>,
    as_json: bool,
    /// Other runs, latest first. Read when they are needed.
    others: Option<Vec<IndexedRun>>,
    count: u64,
    replaced: u64,
}

impl<S: Store> MissingPrinter<'_, S> {
    fn add(&mut self, entry: &ManifestEntry, why: &Missing) -> Result<(), Stop> {
        if matches!(why, Missing::Replaced(_)) && self.others.is_none() {
            let runs = (self.objects.all_runs)()?;
            self.others = Some(runs.into_iter().filter(|other| other.run != self.objects.run.run).collect());
        }
        let others = self.others.as_deref().unwrap_or_default();
        let object = self.objects.object(others, entry.clone(), why)?;
        let before = if self.count == 0 { "[\n" } else { ",\n" };
        self.count += 1;
        self.replaced += u64::from(object.replaced_by.is_some());
        if self.as_json {
            let object = serde_json::to_string(&object).context("cannot print JSON")?;
            return self.objects.print(&format!("{before}  {object}"));
        }
        self.objects.print(&format!("{}: {}\n", printable(&object.key), printable(&object.reason)))
    }

    fn finish(self) -> Result<(), Stop> {
        if self.as_json {
            self.objects.print(if self.count == 0 { "[]\n" } else { "\n]\n" })?;
        } else {
            let todo = match (self.count, self.replaced) {
                (0, _) => String::new(),
                (_, 0) => format!("; {}", printable(&self.objects.resume)),
                (all, some) if all == some => {
                    "; another run has processed all of them since: do not resume this one".to_owned()
                }
                _ => "; resuming the run would replace the outputs of the others".to_owned(),
            };
            let (run, missing) = (
                printable(&self.objects.run.run),
                counted(self.count, "object is missing", "objects are missing"),
            );
            self.objects.print(&format!("run {run}: {missing}{todo}\n"))?;
        }
        if self.count == 0 { Ok(()) } else { Err(Stop::Failed) }
    }
}
