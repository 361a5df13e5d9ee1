//! Run markers: a small file for each run that may have messages in the queue, from its begin, or a redrive, to the report
//! that finds nothing pending. A purge deletes the messages of all runs of the fleet, so a purging run reads the markers first, and a
//! sending run checks whether another one purges. Each fleet has its own queue, so a purge concerns the runs of its fleet only.
//!
//! Ages come from the store's clock ([`Head::age`]), because the processes that write and read markers run on different
//! machines.

use std::time::Duration;

use flowherd_shared::{
    ledger::{ManifestTotals, Purged, Run, layout, put_json, read_json},
    store::{Head, Lister, Store, StoreError, pages},
};
use serde::{Deserialize, Serialize};

use crate::live::day::is_reserved;

/// Age up to which a purging marker counts: a purge takes a minute, and may have to wait for another one.
pub(crate) const PURGE_LIMIT: Duration = Duration::from_mins(10);

/// `active/<run>.json`: a run may have messages in the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunMarker {
    /// The run.
    pub run: String,
    /// Its fleet, in whose queue its messages are; `None` for a marker that does not parse.
    pub fleet: Option<String>,
    /// Its prefix.
    pub prefix: String,
    /// ISO-8601 UTC, by the store's clock. `None` until the begin has read when the store wrote the marker.
    pub started: Option<String>,
    /// Whether the run may have sent messages: not before its first planning.
    pub has_sent: bool,
    /// Whether the run is about to purge the queue. The marker's age says since when.
    pub purging: bool,
    /// Whether dead-letter messages were moved back to the queue: failures in the ledger are not final then.
    #[serde(default)]
    pub redriven: bool,
    /// What was sent before the listing failed permanently.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<ManifestTotals>,
}

/// The next operation of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The run has no next operation yet.
    Waiting,
    /// Purging the queue.
    Purging,
    /// Sending messages.
    Sending,
    /// Moving dead-letter messages back to the queue.
    Redriving,
    /// The run has no further operation: the listing failed permanently after these objects.
    Stopped(ManifestTotals),
}

impl RunMarker {
    /// Creates the marker of a run.
    #[must_use]
    pub fn new(run: &Run, stage: Stage) -> Self {
        Self {
            run: run.run.clone(),
            fleet: Some(run.fleet.clone()),
            prefix: run.prefix.clone(),
            started: Some(run.started.clone()),
            has_sent: matches!(stage, Stage::Sending | Stage::Redriving | Stage::Stopped(_)),
            purging: matches!(stage, Stage::Purging),
            redriven: matches!(stage, Stage::Redriving),
            sent: if let Stage::Stopped(sent) = stage { Some(sent) } else { None },
        }
    }

    /// Writes the marker.
    pub fn write(&self, store: &impl Store) -> Result<(), StoreError> {
        put_json(store, &layout::active(&self.run), self)
    }

    /// Removes the marker.
    pub fn remove(store: &impl Store, run: &str) -> Result<(), StoreError> {
        store.remove(&layout::active(run))
    }

    /// Reads the marker of a run; `None` if there is none.
    pub fn find(store: &impl Store, run: &str) -> Result<Option<Self>, StoreError> {
        read_json(store, &layout::active(run))
    }

    /// Reads the markers of all other runs, in no particular order. A marker that does not parse still protects its run.
    pub fn others(results: &(impl Store + Lister), run: &str) -> Result<Vec<Self>, StoreError> {
        Self::read_all(results, |name| name != run)
    }

    /// Reads the markers of all other runs of the same fleet. A marker that does not parse may be of any fleet.
    pub fn others_of_fleet(results: &(impl Store + Lister), run: &Run) -> Result<Vec<Self>, StoreError> {
        let mut others = Self::others(results, &run.run)?;
        others.retain(|other| other.is_of_fleet(run));
        Ok(others)
    }

    /// Reads the markers of other runs of the same fleet that may purge. Live runs never do, and there may be hundreds of them, so
    /// theirs are not read.
    pub fn others_that_may_purge(
        results: &(impl Store + Lister),
        run: &Run,
    ) -> Result<Vec<Self>, StoreError> {
        let mut others = Self::read_all(results, |name| name != run.run && !is_reserved(name))?;
        others.retain(|other| other.is_of_fleet(run));
        Ok(others)
    }

    fn is_of_fleet(&self, run: &Run) -> bool {
        self.fleet.as_ref().is_none_or(|fleet| *fleet == run.fleet)
    }

    fn read_all(
        results: &(impl Store + Lister),
        is_wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<Self>, StoreError> {
        let mut others = Vec::new();
        for page in pages(results, layout::ACTIVE) {
            for entry in page?.entries {
                let name = entry.key.strip_prefix(layout::ACTIVE).and_then(|name| name.strip_suffix(".json"));
                let Some(name) = name.filter(|name| layout::is_run_name(name) && is_wanted(name)) else {
                    continue;
                };
                let found: Option<Self> = read_json(results, &entry.key)?;
                match found.filter(|marker| marker.run == name) {
                    Some(marker) => others.push(marker),
                    // Removed since the listing: no longer active.
                    None if results.head(&entry.key)?.is_none() => {}
                    None => others.push(Self::unreadable(name)),
                }
            }
        }
        Ok(others)
    }

    /// A marker whose content does not parse: the run may have sent messages.
    fn unreadable(run: &str) -> Self {
        Self {
            run: run.to_owned(),
            fleet: None,
            prefix: String::new(),
            started: None,
            has_sent: true,
            purging: false,
            redriven: false,
            sent: None,
        }
    }

    /// Returns whether the run may be purging the queue now.
    pub fn is_purging(&self, store: &impl Store) -> Result<bool, StoreError> {
        self.has_purged_within(PURGE_LIMIT, store)
    }

    /// Returns whether the run marked itself as purging at most this long ago.
    pub fn has_purged_within(&self, time: Duration, store: &impl Store) -> Result<bool, StoreError> {
        if !self.purging {
            return Ok(false);
        }
        Ok(store.head(&layout::active(&self.run))?.is_some_and(|head: Head| head.age() < time))
    }
}

/// Reads the record of a purge that deleted this run's messages.
pub fn purged(store: &impl Store, run: &str) -> Result<Option<Purged>, StoreError> {
    read_json(store, &layout::purged(run))
}
