//! Planning: pages of a listing become parts of the manifest and messages of the queue, one stretch at a time.
//!
//! A planning call does what its time allows and says where the next one goes on, so a prefix of millions of keys is
//! many calls and memory holds one page. A call that dies is made again from where it began. A page that is written down
//! stays as it is: it is not listed again, only sent, in messages that the queue knows already.

mod send;

use std::{io, time::Duration};

use flowherd_shared::{
    ledger::{ManifestEntry, ManifestTotals, Receipt, Run, layout, put_json, read_json},
    queue::Queue,
    store::{Lister, Page, Store},
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
    /// The key behind which the listing goes on; `None` before the first page and after the last.
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
    List(#[source] io::Error),
    /// The manifest or `run.json` could not be written, or an earlier receipt not be read.
    #[error("cannot use the ledger")]
    Ledger(#[source] io::Error),
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
        /// What the queue has got.
        sent: u64,
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
        let mut planned = from;
        while !planned.complete {
            let page = match self.written(run, &planned)? {
                Some(page) => page,
                None => self.list(run, &planned)?,
            };
            self.send_page(run, &page, &mut planned)?;
            planned.complete = page.next.is_none();
            planned.after = page.next;
            if !goes_on() {
                break;
            }
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

    /// The page as an earlier call, or another driver, has written it down: were it listed anew, the manifest could name
    /// another version of an object than a message that is under way.
    fn written(&self, run: &Run, planned: &Planned) -> Result<Option<Page>, PlanError> {
        let part = manifest::find_part(self.results, run, planned.totals.parts).map_err(|error| {
            let told = format!("{error}; if it is damaged, remove it, and plan the run once more");
            PlanError::Ledger(io::Error::new(error.kind(), told))
        })?;
        let page =
            |entries: Vec<ManifestEntry>| Page { next: Some(entries.last()?.key.clone()), entries }.into();
        Ok(part.and_then(page))
    }

    /// Lists a page and writes it down.
    fn list(&self, run: &Run, planned: &Planned) -> Result<Page, PlanError> {
        let page = self.source.page(&run.prefix, planned.after.as_deref()).map_err(PlanError::List)?;
        if planned.totals.objects.saturating_add(page.entries.len() as u64) > self.max_keys {
            return Err(PlanError::TooMany { sent: planned.totals.objects, max: self.max_keys });
        }
        if !page.entries.is_empty() {
            let part = layout::manifest_part(&run.run, planned.totals.parts);
            manifest::write_part(self.results, &part, &page.entries).map_err(PlanError::Ledger)?;
            // Of two drivers that list it at once, the later one's is the page; both go on behind it.
            if let Some(written) = self.written(run, planned)?
                && written.entries != page.entries
            {
                return Ok(written);
            }
        }
        Ok(page)
    }

    /// Sends the messages of a page that is written down.
    fn send_page(&self, run: &Run, page: &Page, planned: &mut Planned) -> Result<(), PlanError> {
        if page.entries.is_empty() {
            return Ok(());
        }
        let part = layout::manifest_part(&run.run, planned.totals.parts);
        let done = if run.resumes.is_empty() {
            vec![false; page.entries.len()]
        } else {
            let done = parallel::map(READERS, &page.entries, |object| self.is_done(run, object));
            done.into_iter().collect::<io::Result<_>>().map_err(PlanError::Ledger)?
        };
        let left = page.entries.iter().zip(done).filter(|(_, is_done)| !is_done).map(|(object, _)| object);
        let task = |object: &ManifestEntry| Task {
            run: run.run.clone(),
            bucket: self.bucket.to_owned(),
            object: object.clone(),
        };
        let tasks: Vec<Task> = left.map(task).collect();
        let skipped = (page.entries.len() - tasks.len()) as u64;
        send::send(self.queue, &tasks, self.pause).map_err(|source| PlanError::Send { part, source })?;
        let totals = &mut planned.totals;
        totals.skipped = totals.skipped.saturating_add(skipped);
        totals.parts = totals.parts.saturating_add(1);
        totals.objects = totals.objects.saturating_add(page.entries.len() as u64);
        totals.bytes = page.entries.iter().fold(totals.bytes, |sum, object| sum.saturating_add(object.size));
        Ok(())
    }

    fn is_done(&self, run: &Run, object: &ManifestEntry) -> io::Result<bool> {
        for earlier in &run.resumes {
            if Receipt::find(self.results, earlier, object, &run.basis)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
