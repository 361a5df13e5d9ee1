//! Planning: pages of a listing become parts of the manifest and messages of the queue.
//!
//! A call plans as many pages as it has time for and returns the position of the next one, so memory holds one page. A
//! written part of the manifest never changes, and neither does the end, an empty part: a repeated call lists neither
//! again, and sends messages whose deduplication ids the queue knows.

mod day;
mod rows;
pub(crate) mod send;

use std::time::Duration;

use flowherd_shared::{
    layout,
    ledger::{LiveCursor, ManifestTotals, Missing, Receipt, Run, put_json, read_json},
    queue::Queue,
    store::{Lister, ManifestEntry, Page, Store, StoreError},
    task::Task,
};

pub use send::SendError;

use crate::{manifest, parallel, reconcile, search::RowFilter, state::Planning};

/// Receipts of an earlier run read at once.
const READERS: usize = 32;

/// The ports and limits of planning.
#[expect(missing_debug_implementations, reason = "it holds functions")]
pub struct Planner<'a, L, S, Q> {
    /// Lists the source bucket.
    pub source: &'a L,
    /// The name of the source bucket.
    pub bucket: &'a str,
    /// Holds the ledger.
    pub results: &'a S,
    /// The queue to the workers. Without one, planning only writes the manifest.
    pub queue: Option<&'a Q>,
    /// The tables whose rows an index run sends; `None` for a run that converts. Other objects are not part of the run.
    pub rows_of: Option<&'a RowFilter>,
    /// Maximum objects of the run.
    pub max_keys: u64,
    /// Waits between attempts to send. In tests it returns at once.
    pub pause: &'a (dyn Fn(Duration) + Sync),
    /// Called with messages for people: a receipt of an earlier run cannot be used, so its object is sent; or objects are passed
    /// over.
    pub note: &'a (dyn Fn(String) + Sync),
}

/// Why planning failed. The call can be repeated, except after [`PlanError::TooMany`].
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The listing failed.
    #[error("cannot list the prefix")]
    List {
        /// The cause.
        source: StoreError,
        /// What was sent before.
        sent: ManifestTotals,
    },
    /// The manifest or `run.json` could not be written, or a receipt of an earlier run could not be read.
    #[error("cannot access the ledger")]
    Ledger(#[source] StoreError),
    /// The queue did not accept messages.
    #[error("cannot send the messages of {part}")]
    Send {
        /// The part of the manifest that names their objects.
        part: String,
        /// The cause.
        source: SendError,
    },
    /// The prefix has more objects than a run may have. The pages before are planned and sent; nothing of this page is.
    #[error("more than {max} objects")]
    TooMany {
        /// What was sent before.
        sent: ManifestTotals,
        /// The limit.
        max: u64,
    },
}

impl<L: Lister, S: Store, Q: Queue> Planner<'_, L, S, Q> {
    /// Plans at least one page, and more while `should_continue` returns `true`. After the last page, writes the totals to
    /// `run.json`, which completes the manifest.
    pub fn plan(
        &self,
        run: &mut Run,
        from: Planning,
        should_continue: impl Fn() -> bool,
    ) -> Result<Planning, PlanError> {
        let mut planning = self.verified(run, from)?;
        while !planning.complete {
            // Does not list after the end, even if the part that marks it was removed.
            if run.manifest.is_some_and(|totals| planning.totals.parts >= totals.parts) {
                planning.complete = true;
                break;
            }
            match self.written(run, planning.totals.parts)? {
                Some(entries) if entries.is_empty() => planning.complete = true,
                Some(entries) => self.send_page(run, entries, &mut planning)?,
                None => self.list(run, &mut planning)?,
            }
            if !should_continue() {
                break;
            }
        }
        if planning.complete {
            planning.after = None;
            self.complete(run, &mut planning)?;
        }
        Ok(planning)
    }

    /// Writes the totals to `run.json`. Totals that another driver has written stay.
    fn complete(&self, run: &mut Run, planning: &mut Planning) -> Result<(), PlanError> {
        if run.manifest == Some(planning.totals) {
            return Ok(());
        }
        let now: Option<Run> = read_json(self.results, &layout::run(&run.run)).map_err(PlanError::Ledger)?;
        if let Some(totals) = now.and_then(|run| run.manifest) {
            (run.manifest, planning.totals) = (Some(totals), totals);
            return Ok(());
        }
        run.manifest = Some(planning.totals);
        put_json(self.results, &layout::run(&run.run), run).map_err(PlanError::Ledger)
    }

    /// Verifies a position against the ledger. The listing continues after the last key of the manifest, and is complete only
    /// if `run.json` has the totals: an old or wrong state cannot leave keys out.
    fn verified(&self, run: &Run, claimed: Planning) -> Result<Planning, PlanError> {
        if claimed.complete && run.manifest.is_some() {
            return Ok(claimed);
        }
        let Some(part) = claimed.totals.parts.checked_sub(1) else {
            return Ok(Planning { after: None, complete: false, ..claimed });
        };
        let last = self.written(run, part)?.and_then(|mut entries| entries.pop()).ok_or_else(|| {
            let path = layout::manifest_part(&run.run, part);
            PlanError::Ledger(StoreError::Invalid(
                format!(
                    "{path} has no objects, although planning has passed it; plan the run from its beginning"
                )
                .into(),
            ))
        })?;
        Ok(Planning { after: Some(last.key), complete: false, ..claimed })
    }

    /// Reads a part that an earlier call or another driver has written. Listing the page again could give other versions of
    /// objects than the messages in the queue name. A part without objects is the end.
    fn written(&self, run: &Run, part: u64) -> Result<Option<Vec<ManifestEntry>>, PlanError> {
        manifest::find_part(self.results, run, part).map_err(|error| {
            let message = format!(
                "if the manifest is damaged, begin a run that resumes this one (flowherd run --resume {})",
                run.run
            );
            PlanError::Ledger(StoreError::transient_because(message, error))
        })
    }

    /// Lists a page, writes its part of the manifest, and the end if it is the last page; then sends it. If another driver
    /// has written the part meanwhile, discards the page and leaves the part to the next turn: all drivers agree on every
    /// part.
    fn list(&self, run: &Run, planning: &mut Planning) -> Result<(), PlanError> {
        let sent = planning.totals;
        let listed = match &run.live {
            None => match self.rows_of {
                None => self.source.page(&run.prefix, planning.after.as_deref()).map(Listed::from),
                Some(filter) => self.list_rows(run, filter, planning)?,
            },
            Some(live) => self.list_day(run, live, planning)?,
        };
        let Listed { entries, is_last, cursor } =
            listed.map_err(|source| PlanError::List { source, sent })?;
        if entries.is_empty() && !is_last {
            return self.save_cursor(run, cursor);
        }
        if sent.objects.saturating_add(entries.len() as u64) > self.max_keys {
            return Err(PlanError::TooMany { sent, max: self.max_keys });
        }
        let part = planning.totals.parts;
        if !entries.is_empty() && !self.write_part(run, part, &entries)? {
            return Ok(());
        }
        let end = if entries.is_empty() { part } else { part.saturating_add(1) };
        self.save_cursor(run, cursor)?;
        let is_complete = is_last && self.write_part(run, end, &[])?;
        if !entries.is_empty() {
            self.send_page(run, entries, planning)?;
        }
        planning.complete = is_complete;
        Ok(())
    }

    /// Writes a part of the manifest. Returns `false` if the part exists.
    fn write_part(&self, run: &Run, part: u64, entries: &[ManifestEntry]) -> Result<bool, PlanError> {
        let bytes = manifest::encode(entries).map_err(PlanError::Ledger)?;
        self.results.put_if_absent(&layout::manifest_part(&run.run, part), &bytes).map_err(PlanError::Ledger)
    }

    /// Sends the messages of a written part, except those for objects that an earlier run has done. Without a queue, sends
    /// nothing and only adds to the totals.
    fn send_page(
        &self,
        run: &Run,
        entries: Vec<ManifestEntry>,
        planning: &mut Planning,
    ) -> Result<(), PlanError> {
        let part = layout::manifest_part(&run.run, planning.totals.parts);
        let covered = if run.earlier().next().is_none() && run.live.is_none() {
            vec![Covered::No; entries.len()]
        } else {
            parallel::try_map(READERS, &entries, |object| self.covered(run, object))
                .map_err(PlanError::Ledger)?
        };
        let skipped = covered.iter().filter(|covered| **covered == Covered::ByEarlierRun).count() as u64;
        let pending = entries.iter().zip(covered).filter(|(_, covered)| *covered == Covered::No);
        let pending = pending.map(|(object, _)| object);
        let task = |object: &ManifestEntry| Task {
            run: run.run.clone(),
            fleet: run.fleet.clone(),
            bucket: self.bucket.to_owned(),
            object: object.clone(),
        };
        let tasks: Vec<Task> = pending.map(task).collect();
        if let Some(queue) = self.queue {
            send::send(queue, &tasks, self.pause).map_err(|source| PlanError::Send { part, source })?;
        }
        let totals = &mut planning.totals;
        totals.skipped = totals.skipped.saturating_add(skipped);
        totals.parts = totals.parts.saturating_add(1);
        totals.objects = totals.objects.saturating_add(entries.len() as u64);
        totals.bytes = entries.iter().fold(totals.bytes, |sum, object| sum.saturating_add(object.size));
        planning.after = entries.into_iter().next_back().map(|last| last.key);
        Ok(())
    }

    /// Returns whether a receipt covers an object. Objects of a live run were sent when they arrived. Its own receipt covers an
    /// object although another run has replaced the outputs: the report names it, and sending it would undo the other run.
    fn covered(&self, run: &Run, object: &ManifestEntry) -> Result<Covered, StoreError> {
        if run.live.is_some() && Receipt::read(self.results, &run.run, object, &run.fingerprint)?.is_ok() {
            return Ok(Covered::ByRun);
        }
        for (earlier, fingerprint) in run.earlier() {
            match Receipt::examine(self.results, earlier, object, fingerprint)? {
                Ok(_) => return Ok(Covered::ByEarlierRun),
                Err(Missing::DamagedReceipt(why)) => {
                    (self.note)(reconcile::damaged_receipt(earlier, object, &why));
                }
                Err(_) => {}
            }
        }
        Ok(Covered::No)
    }
}

/// Which receipt covers an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Covered {
    /// None. The object is sent.
    No,
    /// One of the run itself.
    ByRun,
    /// One of an earlier run, so that the object counts as skipped.
    ByEarlierRun,
}

/// A page of the listing of a run.
struct Listed {
    entries: Vec<ManifestEntry>,
    is_last: bool,
    /// Where the listing continues, if that is not after the last object.
    cursor: Option<LiveCursor>,
}

impl From<Page> for Listed {
    fn from(Page { entries, next, .. }: Page) -> Self {
        Self { entries, is_last: next.is_none(), cursor: None }
    }
}
