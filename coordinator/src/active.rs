//! Which runs of the fleet may have work in the queue: a small file for each, from its begin, or a redrive, to the report
//! that finds nothing under way. A purge destroys
//! everybody's messages, so whoever purges looks here first, and whoever begins looks whether somebody purges.

use std::io;

use flowherd_shared::{
    ledger::{Purged, layout, put_json, read_json},
    store::{Lister, Store},
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How long somebody who purges is waited for: a purge takes a minute, and may have to wait for another.
const PURGE_TAKES_AT_MOST: SignedDuration = SignedDuration::from_mins(10);

/// `active/<run>.json`: a run may have work in the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Active {
    /// The run.
    pub run: String,
    /// Its prefix.
    pub prefix: String,
    /// ISO-8601 UTC.
    pub started: String,
    /// Whether it may have sent messages: not before its first planning.
    pub has_sent: bool,
    /// When it last set out to purge the queue, ISO-8601 UTC; none if it does not, or has done so.
    pub purging: Option<String>,
}

/// What a run is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing yet.
    Waiting,
    /// Empty the queue.
    Purging,
    /// Send messages.
    Sending,
}

impl Active {
    /// Notes the run.
    pub fn write(&self, store: &impl Store) -> io::Result<()> {
        put_json(store, &layout::active(&self.run), self)
    }

    /// Removes the note.
    pub fn remove(store: &impl Store, run: &str) -> io::Result<()> {
        store.remove(&layout::active(run))
    }

    /// The note of a run, if there is one.
    pub fn find(store: &impl Store, run: &str) -> io::Result<Option<Self>> {
        read_json(store, &layout::active(run))
    }

    /// All runs but this one, in no particular order.
    pub fn others(results: &(impl Store + Lister), run: &str) -> io::Result<Vec<Self>> {
        let (mut others, mut token) = (Vec::new(), None);
        loop {
            let page = results.page(layout::ACTIVE, token.as_deref())?;
            for entry in page.entries {
                // One that was removed since the listing is no longer active.
                let found: Option<Self> = read_json(results, &entry.key)?;
                others.extend(found.filter(|active| active.run != run));
            }
            token = page.next;
            if token.is_none() {
                return Ok(others);
            }
        }
    }

    /// Whether the queue may be being purged for it just now.
    #[must_use]
    pub fn is_purging(&self, now: Timestamp) -> bool {
        self.has_purged_within(PURGE_TAKES_AT_MOST, now)
    }

    /// Whether it set out to purge the queue so lately.
    #[must_use]
    pub fn has_purged_within(&self, time: SignedDuration, now: Timestamp) -> bool {
        let since = self.purging.as_ref().map(|since| since.parse::<Timestamp>());
        since.is_some_and(|since| since.is_ok_and(|since| now.duration_since(since) < time))
    }
}

/// What the ledger says of a purge under this run.
pub fn purged(store: &impl Store, run: &str) -> io::Result<Option<Purged>> {
    read_json(store, &layout::purged(run))
}
