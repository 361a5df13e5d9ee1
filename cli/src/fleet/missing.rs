//! `flowherd report RUN --missing`: lists the missing objects of a run, each with its reason from the ledger.

use std::ops::ControlFlow;

use anyhow::Context;
use flowherd_coordinator::runs::IndexedRun;
use flowherd_shared::{
    ledger::{ManifestEntry, Missing, Receipt, Run, layout, read_json},
    store::Store,
};
use serde::Serialize;

use super::{Fleet, runs::all_runs};
use crate::{
    stop::Stop,
    summary::{self, printable},
    words::counted,
};

#[derive(Serialize)]
struct MissingObject {
    key: String,
    size: u64,
    etag: String,
    reason: String,
    /// The run that has written the outputs since, if a receipt proves it.
    replaced_by: Option<String>,
}

/// Prints the missing objects of a run from its current ledger. Fails if there are any.
pub(super) fn show(fleet: &Fleet<'_>, run: &Run, as_json: bool) -> Result<(), Stop> {
    if run.manifest.is_none() {
        return Err(Stop::usage(format!(
            "the listing of run {} is incomplete, so its missing objects are unknown; see: flowherd status {}",
            run.run, run.run
        )));
    }
    let mut found = MissingPrinter { fleet, run, as_json, others: None, count: 0, replaced: 0 };
    let add = |entry: &ManifestEntry, why: Missing| {
        fleet.patience.renew();
        match found.add(entry, &why) {
            Ok(()) => ControlFlow::Continue(()),
            Err(stop) => ControlFlow::Break(stop),
        }
    };
    let searched = fleet
        .patience
        .during("the receipts and failures of the ledger", || fleet.coordinator.missing(run, add));
    match searched.context("cannot read the ledger")? {
        ControlFlow::Break(stop) => Err(stop),
        ControlFlow::Continue(()) => found.finish(),
    }
}

/// Prints object by object, because there may be millions.
struct MissingPrinter<'a> {
    fleet: &'a Fleet<'a>,
    run: &'a Run,
    as_json: bool,
    /// Other runs, latest first. Read when they are needed.
    others: Option<Vec<IndexedRun>>,
    count: u64,
    replaced: u64,
}

impl MissingPrinter<'_> {
    fn add(&mut self, entry: &ManifestEntry, why: &Missing) -> Result<(), Stop> {
        if matches!(why, Missing::Replaced(_)) && self.others.is_none() {
            let others = all_runs(self.fleet)?.into_iter().filter(|other| other.run != self.run.run);
            self.others = Some(others.collect());
        }
        let others = self.others.as_deref().unwrap_or_default();
        let object = object(self.fleet, others, entry.clone(), why)?;
        let before = if self.count == 0 { "[\n" } else { ",\n" };
        self.count += 1;
        self.replaced += u64::from(object.replaced_by.is_some());
        if self.as_json {
            let object = serde_json::to_string(&object).context("cannot print JSON")?;
            return self.fleet.patience.pause(|| summary::print(&format!("{before}  {object}")));
        }
        let line = format!("{}: {}\n", printable(&object.key), printable(&object.reason));
        self.fleet.patience.pause(|| summary::print(&line))
    }

    fn finish(self) -> Result<(), Stop> {
        if self.as_json {
            summary::print(if self.count == 0 { "[]\n" } else { "\n]\n" })?;
        } else {
            let run = printable(&self.run.run);
            let todo = match (self.count, self.replaced) {
                (0, _) => String::new(),
                (_, 0) => format!("; process them with: flowherd run --resume {run}"),
                (all, some) if all == some => {
                    "; another run has processed all of them since: do not resume this one".to_owned()
                }
                _ => "; resuming the run would replace the outputs of the others".to_owned(),
            };
            let missing = counted(self.count, "object is missing", "objects are missing");
            summary::print(&format!("run {run}: {missing}{todo}\n"))?;
        }
        if self.count == 0 { Ok(()) } else { Err(Stop::Failed) }
    }
}

fn object(
    fleet: &Fleet<'_>,
    others: &[IndexedRun],
    entry: ManifestEntry,
    why: &Missing,
) -> Result<MissingObject, Stop> {
    let mut replaced_by = None;
    let reason = match why {
        Missing::NoOutcome => "it has neither a receipt nor a failure".to_owned(),
        Missing::OtherReceipt => {
            "its receipt is of another version of it, other rules or other names, or its counts are inconsistent"
                .to_owned()
        }
        Missing::DamagedReceipt(why) => format!("its receipt cannot be used: {why}"),
        Missing::Removed(path) => format!("{path} was removed after the receipt was written"),
        Missing::Replaced(path) => {
            replaced_by = fleet
                .patience
                .during("the receipts of other runs", || writer(fleet, others, &entry, path))?;
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
    fleet: &Fleet<'_>,
    others: &[IndexedRun],
    entry: &ManifestEntry,
    path: &str,
) -> Result<Option<String>, Stop> {
    let results = fleet.coordinator.results;
    let Some(now) = results.etag(path).context("cannot read the ledger")? else { return Ok(None) };
    for other in others.iter().filter(|other| entry.key.starts_with(&other.prefix)) {
        let receipt: Option<Receipt> =
            read_json(results, &layout::receipt(&other.run, &entry.key)).context("cannot read the ledger")?;
        let outputs = receipt.iter().flat_map(|receipt| &receipt.outputs);
        if outputs.into_iter().any(|output| output.path == path && output.etag == now) {
            return Ok(Some(other.run.clone()));
        }
    }
    Ok(None)
}
