//! The begin of a run: what is asked is checked and written down, with the rules and names it is asked for. Nothing is
//! listed or sent yet.

use flowherd_shared::{
    config::{Config, ConfigError},
    error::error_chain,
    ledger::{Fingerprint, Purged, Run, layout, put_json, read_json},
    limits::MAX_KEY_BYTES,
    lookups::Lookups,
    pipeline::RunConfig,
    queue::{PurgeError, Queue},
    store::{Lister, Problem, Store, StoreError},
};
use jiff::{Timestamp, tz::TimeZone};
use sha2::{Digest, Sha256};

use crate::{
    active::{self, Active, Stage},
    steps::{
        Begin, Coordinator, CoordinatorError, Inputs, Operation, PURGE_AGAIN_SECONDS, PURGE_SECONDS, Step,
    },
};

impl<L: Lister, S: Store + Lister, Q: Queue> Coordinator<'_, L, S, Q> {
    /// Begins a run and returns its first step. Called again with the same `run`, returns the same.
    pub fn begin(&self, asked: &Begin) -> Result<Step, CoordinatorError> {
        let earlier = asked.resume.as_ref().map(|name| self.run(name)).transpose()?;
        let prefix = prefix(asked, earlier.as_ref())?;
        self.check_overlap(&prefix)?;
        let name = match &asked.run {
            Some(name) if !layout::is_run_name(name) => {
                return Err(refused(format!(
                    "run {name:?} is no name; use letters, digits, '-', '_' and '.', at most 80"
                )));
            }
            Some(name) => name.clone(),
            None => new_name((self.clock)(), &prefix),
        };
        let purges = asked.purge == Some(true);
        let force = asked.force == Some(true);
        let there: Option<Run> =
            read_json(self.results, &layout::run(&name)).map_err(CoordinatorError::Ledger)?;
        if let Some(run) = there {
            if run.prefix != prefix || run.manifest.is_some() {
                return Err(refused(format!("run {name} is there already; choose another name, or none")));
            }
            return self.begin_again(&run, purges, force);
        }

        let inputs = (self.inputs)().map_err(|error| match error {
            StoreError::NotFound(_) | StoreError::AccessDenied(_) | StoreError::TooLarge { .. } => {
                refused(format!("cannot read the settings: {}", error_chain(&error)))
            }
            _ => CoordinatorError::Inputs(error),
        })?;
        let plan = parse(&inputs)?;
        // Before anything is written: a bucket that cannot be listed begins no run.
        self.source.page(&prefix, None).map_err(|error| self.list_error(&prefix, error))?;
        let fingerprint = Fingerprint::from(&plan);
        let others_rules = earlier.as_ref().is_some_and(|earlier| earlier.fingerprint != fingerprint);
        let resumes = earlier.into_iter().flat_map(|run| std::iter::once(run.run).chain(run.resumes));
        let mut run = Run {
            run: name,
            prefix,
            fingerprint,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started: String::new(),
            resumed: None,
            resumes: resumes.collect(),
            manifest: None,
        };
        // Writes its own marker before reading others': of two runs that begin at once, at least one sees the other.
        let begun = self.mark_begin(&run, purges).and_then(|started| {
            run.started = started;
            if purges {
                self.losers(&run, force)?;
            }
            self.write(&run, &inputs).map_err(CoordinatorError::Ledger)
        });
        if let Err(error) = begun {
            Active::remove(self.results, &run.run).map_err(CoordinatorError::Ledger)?;
            return Err(error);
        }
        let step = first_step(&run, purges, force);
        let told = "rules or lookups are not those of the run that is resumed: everything is done again";
        Ok(Step { message: others_rules.then(|| told.to_owned()), ..step })
    }

    /// Repeats a begin whose answer was lost. Messages that the run has sent since must not be purged.
    fn begin_again(&self, run: &Run, purges: bool, force: bool) -> Result<Step, CoordinatorError> {
        let has_sent = self.has_sent(&run.run)?;
        let is_to_purge = purges && !has_sent;
        if is_to_purge {
            self.mark(run, Stage::Purging)?;
        } else if has_sent {
            self.mark(run, Stage::Sending)?;
        } else if Active::find(self.results, &run.run).map_err(CoordinatorError::Ledger)?.is_none() {
            // An existing marker may be that of a purge that still lasts.
            self.mark(run, Stage::Waiting)?;
        }
        Ok(first_step(run, is_to_purge, force))
    }

    /// Writes the first marker of a run, and returns when the store wrote it. Runs are ordered by that time, because the
    /// clocks of the machines that begin them may differ.
    fn mark_begin(&self, run: &Run, purges: bool) -> Result<String, CoordinatorError> {
        let mut marker = Active {
            run: run.run.clone(),
            prefix: run.prefix.clone(),
            started: None,
            has_sent: false,
            purging: purges,
            redriven: false,
            sent: None,
        };
        let mut write = || -> Result<String, StoreError> {
            marker.write(self.results)?;
            let path = layout::active(&run.run);
            let head = self.results.head(&path)?;
            let head = head.ok_or_else(|| {
                StoreError::transient(format!("{path} was removed during the begin; begin the run again"))
            })?;
            let started = iso(Timestamp::try_from(head.modified).map_err(invalid_time)?);
            marker.started = Some(started.clone());
            marker.write(self.results)?;
            Ok(started)
        };
        write().map_err(CoordinatorError::Ledger)
    }

    /// Refuses a prefix whose listing would contain the results of runs.
    fn check_overlap(&self, prefix: &str) -> Result<(), CoordinatorError> {
        let overlaps = |reserved: &&&str| prefix.starts_with(**reserved) || reserved.starts_with(prefix);
        let overlap = layout::RESERVED.iter().find(overlaps);
        match overlap.filter(|_| self.bucket == self.results_bucket) {
            Some(reserved) => Err(refused(format!(
                "prefix {prefix:?} of {} contains {reserved}, where this fleet writes its results; the source and the \
                 results are the same bucket: choose a prefix that excludes {}, or another results bucket",
                self.bucket,
                layout::RESERVED.join(", ")
            ))),
            None => Ok(()),
        }
    }

    /// Purges the queue, after recording the purge in every run that loses messages by it.
    pub(crate) fn purge(&self, step: Step) -> Result<Step, CoordinatorError> {
        let run = self.run(&step.run)?;
        if active::purged(self.results, &run.run).map_err(CoordinatorError::Ledger)?.is_some() {
            return Ok(Step { is_final: true, ..step }.next(Operation::Report, 0));
        }
        // Somebody else who drives the run may be ahead.
        if self.has_sent(&run.run)? {
            return Ok(step.next(Operation::Plan, 0));
        }
        // Again: another run may have begun since.
        self.mark(&run, Stage::Purging)?;
        let losers = match self.losers(&run, step.force) {
            Err(error @ CoordinatorError::Refused(_)) => {
                Active::remove(self.results, &run.run).map_err(CoordinatorError::Ledger)?;
                return Err(error);
            }
            losers => losers?,
        };
        for loser in losers {
            let purged = Purged { by: run.run.clone(), at: iso((self.clock)()) };
            put_json(self.results, &layout::purged(&loser), &purged).map_err(CoordinatorError::Ledger)?;
            Active::remove(self.results, &loser).map_err(CoordinatorError::Ledger)?;
        }
        // Renews the marker's age, by which others wait: reading theirs may have taken long.
        self.mark(&run, Stage::Purging)?;
        if self.has_sent(&run.run)? {
            return Ok(step.next(Operation::Plan, 0));
        }
        match self.queue.purge() {
            Ok(()) => Ok(step.next(Operation::Plan, PURGE_SECONDS)),
            // Whose purge that was is not known, so neither is what it took: once more, for this run.
            Err(PurgeError::InProgress) => Ok(step.next(Operation::Purge, PURGE_AGAIN_SECONDS)),
            Err(PurgeError::Failed(error)) => Err(CoordinatorError::Queue(error)),
        }
    }

    /// Whether the run may have messages in the queue: the first part of its manifest is written before they are sent.
    pub(crate) fn has_sent(&self, run: &str) -> Result<bool, CoordinatorError> {
        let first = self.results.etag(&layout::manifest_part(run, 0)).map_err(CoordinatorError::Ledger)?;
        Ok(first.is_some())
    }

    /// The settings first, `run.json` last: a run that is there is complete.
    fn write(&self, run: &Run, inputs: &Inputs) -> Result<(), StoreError> {
        if let Some(config) = &inputs.config {
            self.results.put(&layout::config(&run.run), config)?;
        }
        if let Some(lookups) = &inputs.lookups {
            self.results.put(&layout::lookups(&run.run), lookups)?;
        }
        put_json(self.results, &layout::run(&run.run), run)
    }

    /// Returns the runs that lose messages if the queue is purged for this one, or refuses. A run of the same prefix is
    /// superseded; any other blocks the purge, unless it has no work left or force is used. Of two runs that are about to
    /// purge, neither can tell what the other has left: the earlier one of the same prefix loses, any other blocks.
    fn losers(&self, run: &Run, force: bool) -> Result<Vec<String>, CoordinatorError> {
        let ledger = CoordinatorError::Ledger;
        let mut losers = Vec::new();
        for other in Active::others(self.results, &run.run).map_err(ledger)? {
            // A marker that does not parse has no start, and an empty prefix that is not its own.
            let is_same = other.started.is_some() && other.prefix == run.prefix;
            // Without a start, the other one has not yet read the markers, and will see this run's.
            let started = other.started.as_ref();
            let is_earlier = started.is_some_and(|started| (started, &other.run) < (&run.started, &run.run));
            if other.is_purging(self.results).map_err(ledger)? {
                if is_same && is_earlier {
                    losers.push(other.run);
                    continue;
                }
                return Err(refused(format!(
                    "the queue is being purged for run {} (prefix {:?}) just now; begin again in some minutes",
                    other.run, other.prefix
                )));
            }
            if !self.has_work_left(&other)? {
                continue;
            }
            if !is_same && !force {
                let started = started.map_or("at an unknown time", String::as_str);
                return Err(refused(format!(
                    "run {} (prefix {:?}, begun {started}) still has work in the queue, which a purge would destroy; wait \
                     for it, or if it is over, make its report (flowherd report {}); if it is given up, remove its run \
                     marker (flowherd runs --forget {}); or begin with force: its report will then say so",
                    other.run, other.prefix, other.run, other.run
                )));
            }
            losers.push(other.run);
        }
        Ok(losers)
    }

    /// Returns whether any object that the run sent has no receipt. A run without `run.json` has none: workers refuse its
    /// messages.
    pub(crate) fn has_work_left(&self, marker: &Active) -> Result<bool, CoordinatorError> {
        if !marker.has_sent {
            return Ok(false);
        }
        let asked: Option<Run> =
            read_json(self.results, &layout::run(&marker.run)).map_err(CoordinatorError::Ledger)?;
        let Some(asked) = asked else { return Ok(false) };
        // The listing is incomplete: the run may be sending now.
        let Some(totals) = asked.manifest.or(marker.sent) else { return Ok(true) };
        Ok(match self.outcomes(&marker.run, totals)? {
            Some(outcomes) => outcomes.done.saturating_add(totals.skipped) < totals.objects,
            // Too many to count here.
            None => true,
        })
    }
}

fn first_step(run: &Run, purges: bool, force: bool) -> Step {
    let first = if purges { Operation::Purge } else { Operation::Plan };
    Step { force, ..Step::new(first, run) }
}

fn prefix(asked: &Begin, earlier: Option<&Run>) -> Result<String, CoordinatorError> {
    match (&asked.prefix, earlier) {
        (Some(prefix), _) if prefix.len() > MAX_KEY_BYTES => Err(refused(format!(
            "the prefix has {} bytes, but a key at most {MAX_KEY_BYTES}; give its beginning",
            prefix.len()
        ))),
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

fn invalid_time(error: jiff::Error) -> StoreError {
    StoreError::Invalid(Problem::caused_by("the store returned an invalid time", error))
}

/// Every mistake in either file is told together.
fn parse(inputs: &Inputs) -> Result<RunConfig, CoordinatorError> {
    let (mut config, mut lookups) = (Config::default(), Lookups::default());
    let mut problems = Vec::new();
    let mut tell = |file: &str, error: ConfigError| {
        problems.extend(error.problems.into_iter().map(|problem| format!("{file}: {problem}")));
    };
    if let Some(bytes) = &inputs.config {
        match Config::from_bytes(bytes) {
            Ok(parsed) => config = parsed,
            Err(error) => tell("flowherd.toml", error),
        }
    }
    if let Some(bytes) = &inputs.lookups {
        match Lookups::parse(bytes) {
            Ok(parsed) => lookups = parsed,
            Err(error) => tell("lookups.json", error),
        }
    }
    if problems.is_empty() { Ok(RunConfig::new(config, lookups)) } else { Err(refused(problems.join("; "))) }
}

fn refused(why: String) -> CoordinatorError {
    CoordinatorError::Refused(why)
}

/// ISO-8601 UTC with milliseconds.
pub(crate) fn iso(time: Timestamp) -> String {
    format!("{time:.3}")
}

/// A name for a run that is begun now. Sorts by time; two of one second differ.
#[must_use]
pub fn new_name(now: Timestamp, prefix: &str) -> String {
    let time = now.to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ").to_string();
    let of = format!("{} {} {prefix}", now.as_nanosecond(), std::process::id());
    let digest = Sha256::digest(of);
    format!("{time}-{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2])
}
