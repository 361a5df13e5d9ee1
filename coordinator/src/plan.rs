//! Planning: pages of a listing become parts of the manifest and messages of the queue, one stretch at a time.
//!
//! A planning call does what its time allows and says where the next one goes on, so a prefix of millions of keys is
//! many calls and memory holds one page. A call that dies is made again from where it began. A page that is written down
//! stays as it is, and so does the end, an empty page: neither is listed again, and a page only sent, in messages that the
//! queue knows already.

mod send;

use std::time::Duration;

use flowherd_shared::{
    ledger::{ManifestEntry, ManifestTotals, Receipt, Run, layout, put_json, read_json},
    queue::Queue,
    store::{Lister, Page, Store, StoreError},
    task::Task,
};
use serde::{Deserialize, Serialize};

pub use send::SendError;

use crate::{manifest, parallel};

/// Receipts of an earlier run read at once.
const READERS: usize = 32;

/// Where planning stands. Travels between calls as JSON, so it holds counts and a key, never a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
// Of another version it could mean another place.
#[serde(deny_unknown_fields)]
pub struct Planned {
    /// The key behind which the listing goes on; `None` before the first page and after the last. For people: a call takes it
    /// from the manifest.
    pub after: Option<String>,
    /// Whether the last page has been planned.
    pub complete: bool,
    /// Parts, objects and bytes so far.
    pub totals: ManifestTotals,
}

/// What planning works with.
#[allow(missing_debug_implementations)] // it holds a function
pub struct Planner<'a, L, S, Q> {
    /// Where the objects are listed.
    pub source: &'a L,
    /// The bucket they are in.
    pub bucket: &'a str,
    /// Where the ledger is.
    pub results: &'a S,
    /// Where the tasks go.
    pub queue: &'a Q,
    /// Objects of the run, at most.
    pub max_keys: u64,
    /// Waits between attempts to send; tests do not.
    pub pause: &'a (dyn Fn(Duration) + Sync),
}

/// Why planning cannot go on. The call can be made again; but for too many objects that does not help.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The prefix could not be listed.
    #[error("cannot list the prefix")]
    List {
        /// Why.
        source: StoreError,
        /// What was sent before.
        sent: ManifestTotals,
    },
    /// The manifest or `run.json` could not be written, or an earlier receipt not be read.
    #[error("cannot use the ledger")]
    Ledger(#[source] StoreError),
    /// Messages were not taken.
    #[error("cannot send the tasks of {part}")]
    Send {
        /// The part of the manifest whose objects they are.
        part: String,
        /// Why.
        source: SendError,
    },
    /// More objects than a run may have. Those before are planned and sent; nothing of the page that has more is.
    #[error("more than {max} objects")]
    TooMany {
        /// What was sent before.
        sent: ManifestTotals,
        /// The limit in force.
        max: u64,
    },
}

impl<L: Lister, S: Store, Q: Queue> Planner<'_, L, S, Q> {
    /// Plans page after page while `goes_on` says that there is time for one more; at least one. When the last page is
    /// planned, writes the totals into `run.json`: from then on the manifest is complete.
    pub fn plan(
        &self,
        run: &mut Run,
        from: Planned,
        goes_on: impl Fn() -> bool,
    ) -> Result<Planned, PlanError> {
        let mut planned = self.borne_out(run, from)?;
        while !planned.complete {
            // What was listed by a version that did not write the end down.
            if run.manifest.is_some_and(|totals| planned.totals.parts >= totals.parts) {
                planned.complete = true;
                break;
            }
            match self.written(run, planned.totals.parts)? {
                Some(entries) if entries.is_empty() => planned.complete = true,
                Some(entries) => self.send_page(run, entries, &mut planned)?,
                None => self.list(run, &mut planned)?,
            }
            if !goes_on() {
                break;
            }
        }
        if planned.complete {
            planned.after = None;
        }
        if planned.complete && run.manifest != Some(planned.totals) {
            // Another driver may have come to the end before, and told from then on that the manifest is complete.
            let now: Option<Run> =
                read_json(self.results, &layout::run(&run.run)).map_err(PlanError::Ledger)?;
            if let Some(totals) = now.and_then(|run| run.manifest) {
                (run.manifest, planned.totals) = (Some(totals), totals);
                return Ok(planned);
            }
            run.manifest = Some(planned.totals);
            put_json(self.results, &layout::run(&run.run), run).map_err(PlanError::Ledger)?;
        }
        Ok(planned)
    }

    /// Where planning stands, as far as the ledger says so too: it goes on behind the last key that is written down, and is
    /// complete only if `run.json` has the totals. An event that says more, or is an old one, cannot leave keys out.
    fn borne_out(&self, run: &Run, said: Planned) -> Result<Planned, PlanError> {
        if said.complete && run.manifest.is_some() {
            return Ok(said);
        }
        let Some(part) = said.totals.parts.checked_sub(1) else {
            return Ok(Planned { after: None, complete: false, ..said });
        };
        let last = self.written(run, part)?.and_then(|mut entries| entries.pop()).ok_or_else(|| {
            let path = layout::manifest_part(&run.run, part);
            PlanError::Ledger(StoreError::Invalid(
                format!("{path} has no objects to go on behind; plan the run anew").into(),
            ))
        })?;
        Ok(Planned { after: Some(last.key), complete: false, ..said })
    }

    /// The page as an earlier call, or another driver, has written it down: were it listed anew, the manifest could name
    /// another version of an object than a message that is under way. A page without objects is the end.
    fn written(&self, run: &Run, part: u64) -> Result<Option<Vec<ManifestEntry>>, PlanError> {
        manifest::find_part(self.results, run, part).map_err(|error| {
            let told = format!("if the manifest is damaged, begin a new run that resumes {}", run.run);
            PlanError::Ledger(StoreError::transient_because(told, error))
        })
    }

    /// Lists a page, writes it down, and the end if it is the last; then sends it. What somebody else has written down
    /// meanwhile stands, and is for the next turn: all who drive the run agree on every page, and where they end.
    fn list(&self, run: &Run, planned: &mut Planned) -> Result<(), PlanError> {
        let sent = planned.totals;
        let Page { entries, next } = self
            .source
            .page(&run.prefix, planned.after.as_deref())
            .map_err(|source| PlanError::List { source, sent })?;
        if sent.objects.saturating_add(entries.len() as u64) > self.max_keys {
            return Err(PlanError::TooMany { sent, max: self.max_keys });
        }
        let part = planned.totals.parts;
        if !entries.is_empty() && !self.write_down(run, part, &entries)? {
            return Ok(());
        }
        let end = if entries.is_empty() { part } else { part.saturating_add(1) };
        let is_complete = next.is_none() && self.write_down(run, end, &[])?;
        if !entries.is_empty() {
            self.send_page(run, entries, planned)?;
        }
        planned.complete = is_complete;
        Ok(())
    }

    /// False if there is a page already.
    fn write_down(&self, run: &Run, part: u64, entries: &[ManifestEntry]) -> Result<bool, PlanError> {
        let bytes = manifest::encode(entries).map_err(PlanError::Ledger)?;
        self.results.put_if_absent(&layout::manifest_part(&run.run, part), &bytes).map_err(PlanError::Ledger)
    }

    /// Sends the messages of a page that is written down.
    fn send_page(
        &self,
        run: &Run,
        entries: Vec<ManifestEntry>,
        planned: &mut Planned,
    ) -> Result<(), PlanError> {
        let part = layout::manifest_part(&run.run, planned.totals.parts);
        let done = if run.resumes.is_empty() {
            vec![false; entries.len()]
        } else {
            let done = parallel::map(READERS, &entries, |object| self.is_done(run, object));
            done.into_iter().collect::<Result<_, StoreError>>().map_err(PlanError::Ledger)?
        };
        let left = entries.iter().zip(done).filter(|(_, is_done)| !is_done).map(|(object, _)| object);
        let task = |object: &ManifestEntry| Task {
            run: run.run.clone(),
            bucket: self.bucket.to_owned(),
            object: object.clone(),
        };
        let tasks: Vec<Task> = left.map(task).collect();
        let skipped = (entries.len() - tasks.len()) as u64;
        send::send(self.queue, &tasks, self.pause).map_err(|source| PlanError::Send { part, source })?;
        let totals = &mut planned.totals;
        totals.skipped = totals.skipped.saturating_add(skipped);
        totals.parts = totals.parts.saturating_add(1);
        totals.objects = totals.objects.saturating_add(entries.len() as u64);
        totals.bytes = entries.iter().fold(totals.bytes, |sum, object| sum.saturating_add(object.size));
        planned.after = entries.into_iter().next_back().map(|last| last.key);
        Ok(())
    }

    fn is_done(&self, run: &Run, object: &ManifestEntry) -> Result<bool, StoreError> {
        for earlier in &run.resumes {
            if Receipt::find(self.results, earlier, object, &run.fingerprint)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
