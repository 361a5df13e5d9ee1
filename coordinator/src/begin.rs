//! The begin of a run: what is asked is checked and written down, with the rules and names it is asked for. Nothing is
//! listed or sent yet.

use flowherd_shared::{
    config::Config,
    ledger::{Basis, Purged, Run, layout, put_json, read_json},
    lookups::Lookups,
    pipeline::Plan,
    queue::Queue,
    store::{Lister, Store},
    timestamp,
};
use jiff::{Timestamp, tz::TimeZone};
use sha2::{Digest, Sha256};

use crate::{
    active::Active,
    steps::{Begin, Coordinator, CoordinatorError, Inputs, Operation, Step},
};

impl<L: Lister, S: Store + Lister, Q: Queue> Coordinator<'_, L, S, Q> {
    /// Begins a run and says what to do first. Made again with the same `run`, it gives the same.
    pub fn begin(&self, asked: &Begin) -> Result<Step, CoordinatorError> {
        let now = (self.clock)();
        let earlier = asked.resume.as_ref().map(|name| self.run(name)).transpose()?;
        let prefix = prefix(asked, earlier.as_ref())?;
        let name = match &asked.run {
            Some(name) if !layout::is_run_name(name) => {
                return Err(refused(format!(
                    "run {name:?} is no name; use letters, digits, '-', '_' and '.', at most 80"
                )));
            }
            Some(name) => name.clone(),
            None => new_name(now, &prefix),
        };
        let purges = asked.purge.unwrap_or_default();
        let first = if purges { Operation::Purge } else { Operation::Plan };
        let there: Option<Run> =
            read_json(self.results, &layout::run(&name)).map_err(CoordinatorError::Ledger)?;
        if let Some(run) = there {
            // The same begin, whose answer was lost.
            if run.prefix == prefix && run.manifest.is_none() {
                return Ok(Step::new(first, &run));
            }
            return Err(refused(format!("run {name} is there already; choose another name, or none")));
        }

        let inputs = (self.inputs)().map_err(CoordinatorError::Inputs)?;
        let plan = parse(&inputs)?;
        let resumes = earlier.into_iter().flat_map(|run| std::iter::once(run.run).chain(run.resumes));
        let run = Run {
            run: name,
            prefix,
            basis: Basis::from(&plan),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: iso(now),
            resumed: None,
            resumes: resumes.collect(),
            manifest: None,
        };
        // Before the others are looked at: of two that begin at once, at least one then sees the other.
        self.note(&run, purges)?;
        if purges && let Err(error) = self.make_way(&run, asked.force.unwrap_or_default(), now) {
            Active::remove(self.results, &run.run).map_err(CoordinatorError::Ledger)?;
            return Err(error);
        }
        self.write(&run, &inputs).map_err(CoordinatorError::Ledger)?;
        Ok(Step::new(first, &run))
    }

    /// The settings first, `run.json` last: a run that is there is complete.
    fn write(&self, run: &Run, inputs: &Inputs) -> std::io::Result<()> {
        if let Some(config) = &inputs.config {
            self.results.put(&layout::config(&run.run), config)?;
        }
        if let Some(lookups) = &inputs.lookups {
            self.results.put(&layout::lookups(&run.run), lookups)?;
        }
        put_json(self.results, &layout::run(&run.run), run)
    }

    /// Decides whether the queue may be purged for this run, and notes in every run that loses its messages who did it.
    /// A run of the same prefix is superseded; any other is in the way unless nothing of it is left.
    fn make_way(&self, run: &Run, force: bool, now: Timestamp) -> Result<(), CoordinatorError> {
        let others = Active::others(self.results, &run.run).map_err(CoordinatorError::Ledger)?;
        if let Some(other) = others.iter().find(|other| other.is_purging(now)) {
            return Err(refused(format!(
                "the queue is being purged for run {} (prefix {:?}) just now; begin again when that run is done",
                other.run, other.prefix
            )));
        }
        let mut losers = Vec::new();
        for other in others {
            if !self.has_work_left(&other)? {
                continue;
            }
            if other.prefix != run.prefix && !force {
                return Err(refused(format!(
                    "run {} (prefix {:?}, begun {}) still has work in the queue, which a purge would destroy; wait for \
                     it, or begin with force: its report will then say so",
                    other.run, other.prefix, other.started
                )));
            }
            losers.push(other);
        }
        for loser in losers {
            let purged = Purged { by: run.run.clone(), at: iso(now) };
            put_json(self.results, &layout::purged(&loser.run), &purged).map_err(CoordinatorError::Ledger)?;
            Active::remove(self.results, &loser.run).map_err(CoordinatorError::Ledger)?;
        }
        Ok(())
    }

    fn has_work_left(&self, other: &Active) -> Result<bool, CoordinatorError> {
        let asked: Option<Run> =
            read_json(self.results, &layout::run(&other.run)).map_err(CoordinatorError::Ledger)?;
        // Not even begun, or not all listed: it may be sending just now.
        let Some(totals) = asked.and_then(|run| run.manifest) else { return Ok(true) };
        Ok(self.outcomes(&other.run)?.done < totals.objects)
    }
}

fn prefix(asked: &Begin, earlier: Option<&Run>) -> Result<String, CoordinatorError> {
    match (&asked.prefix, earlier) {
        (Some(prefix), Some(earlier)) if *prefix != earlier.prefix => Err(refused(format!(
            "prefix {prefix:?}: run {} was begun with {:?}; leave the prefix out to resume it",
            earlier.run, earlier.prefix
        ))),
        (Some(prefix), _) => Ok(prefix.clone()),
        (None, Some(earlier)) => Ok(earlier.prefix.clone()),
        (None, None) => Err(refused(
            "there is no prefix; an example: {\"prefix\": \"firehose/2026/02/18/06/\"}".to_owned(),
        )),
    }
}

fn parse(inputs: &Inputs) -> Result<Plan, CoordinatorError> {
    let mut plan = Plan::default();
    if let Some(bytes) = &inputs.config {
        let text =
            std::str::from_utf8(bytes).map_err(|_| refused("flowherd.toml is no UTF-8 text".to_owned()))?;
        plan.config = Config::parse(text).map_err(|error| refused(format!("flowherd.toml: {error}")))?;
    }
    if let Some(bytes) = &inputs.lookups {
        plan.lookups = Lookups::parse(bytes).map_err(|error| refused(format!("lookups.json: {error}")))?;
    }
    Ok(plan)
}

fn refused(why: String) -> CoordinatorError {
    CoordinatorError::Refused(why)
}

/// ISO-8601 UTC.
pub(crate) fn iso(time: Timestamp) -> String {
    timestamp::iso(time.as_millisecond()).unwrap_or_default()
}

/// A name for a run that is begun now. Sorts by time; two of one second differ.
#[must_use]
pub fn new_name(now: Timestamp, prefix: &str) -> String {
    let time = now.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ").to_string();
    let of = format!("{} {} {prefix}", now.as_nanosecond(), std::process::id());
    let digest = Sha256::digest(of);
    format!("{time}-{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2])
}
