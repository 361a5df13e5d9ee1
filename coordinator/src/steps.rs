//! The operations of a run, one after another: \[purge\] ▶ plan ▶ check … ▶ report ▶ end.
//!
//! Each takes what the one before it gave, so whoever drives them (the step loop, a person with `aws lambda invoke`, the
//! command `flowherd`) only has to hand the answer back after the time that it names. Answers hold counts and names of
//! ledger files, never lists.

use std::time::Duration;

use flowherd_shared::{
    error::error_chain,
    ledger::{ManifestTotals, ReportState, Run, layout, read_json},
    queue::{Queue, QueueError},
    store::{Lister, Store, StoreError},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    active::{self, Active, Stage},
    plan::{PlanError, Planned, Planner},
};

/// A purge takes so long, and swallows what is sent meanwhile
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_PurgeQueue.html>).
pub(crate) const PURGE_SECONDS: u64 = 60;
/// The minute of a purge by the age of a run marker. One second more, because S3 rounds times to seconds.
const PURGE: Duration = Duration::from_secs(PURGE_SECONDS + 1);
/// How soon it is tried again when somebody else has purged.
pub(crate) const PURGE_AGAIN_SECONDS: u64 = 15;

/// What a run is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Begin {
    /// Only keys that begin with it. Needed, unless `resume` is there.
    pub prefix: Option<String>,
    /// Empty the queue first.
    pub purge: Option<bool>,
    /// Purge also if another run still has work in the queue.
    pub force: Option<bool>,
    /// An earlier run: what it has done is not done again.
    pub resume: Option<String>,
    /// The run's name, if it is not to be made up: the same begin may then be made twice.
    pub run: Option<String>,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// Empty the queue.
    Purge,
    /// List, write the manifest, send the tasks: as much as there is time for.
    Plan,
    /// See how far the workers are.
    Check,
    /// Reconcile: as much as there is time for.
    Report,
    /// Nothing: the report is written.
    End,
}

/// How far a run is. Counts of the queue are approximate and of all runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Objects of the manifest.
    pub listed: u64,
    /// Receipts.
    pub done: u64,
    /// Failures, some of which may be tried again.
    pub failed: u64,
    /// Done by an earlier run.
    pub skipped: u64,
    /// Messages waiting.
    pub queued: u64,
    /// Messages in the hands of workers, or waiting for another attempt.
    pub in_flight: u64,
    /// Messages given up.
    pub dead_letters: u64,
}

impl Progress {
    /// Objects without an outcome.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.listed.saturating_sub(self.done).saturating_sub(self.failed).saturating_sub(self.skipped)
    }
}

/// What checks remember.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Checks {
    /// How many there were.
    pub turns: u64,
    /// For how long the queue has been empty, without a break.
    pub idle_seconds: u64,
    /// Before this turn no report is tried again: the last one found something still under way.
    pub no_report_before: u64,
    /// Whether a redrive began these checks: objects that have failed may still be retried.
    pub redriven: bool,
}

/// A step: what to do next, and all that it needs. The answer to one is the next one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What to do.
    pub operation: Operation,
    /// The run.
    pub run: String,
    /// Its prefix.
    #[serde(default)]
    pub prefix: String,
    /// When: after so many seconds.
    #[serde(default)]
    pub wait_seconds: u64,
    /// The queue may be purged also if another run has work in it.
    #[serde(default)]
    pub force: bool,
    /// How far planning is.
    #[serde(default)]
    pub planned: Planned,
    /// How far the workers are.
    #[serde(default)]
    pub progress: Progress,
    /// What checks remember.
    #[serde(default)]
    pub checks: Checks,
    /// Parts of the manifest that are reconciled.
    #[serde(default)]
    pub reconciled: u64,
    /// The report is to be written whatever is still under way.
    #[serde(default, rename = "final")]
    pub is_final: bool,
    /// How the run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<ReportState>,
    /// Where the report is, in the results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<String>,
    /// What a person should know, on one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Step {
    /// The first step of a run, or the first after its begin.
    #[must_use]
    pub fn new(operation: Operation, run: &Run) -> Self {
        Self {
            operation,
            run: run.run.clone(),
            prefix: run.prefix.clone(),
            wait_seconds: 0,
            force: false,
            planned: Planned::default(),
            progress: Progress::default(),
            checks: Checks::default(),
            reconciled: 0,
            is_final: false,
            state: None,
            report: None,
            message: None,
        }
    }

    pub(crate) fn next(self, operation: Operation, wait_seconds: u64) -> Self {
        Self { operation, wait_seconds, ..self }
    }
}

/// The files that a run is begun with, as they are now.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// `flowherd.toml`; none means the built-in rule.
    pub config: Option<Vec<u8>>,
    /// `lookups.json`.
    pub lookups: Option<Vec<u8>>,
}

/// Why an operation was not done.
#[derive(Debug, thiserror::Error)]
pub enum CoordinatorError {
    /// What was asked for cannot be done, however often it is tried.
    #[error("{0}")]
    Refused(String),
    /// Planning cannot go on; the call can be made again.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The call can be made again.
    #[error("cannot use the ledger; see that the results bucket can be read and written")]
    Ledger(#[source] StoreError),
    /// The call can be made again.
    #[error("cannot use the queue; see its URL, and that it may be used")]
    Queue(#[source] QueueError),
    /// The call can be made again.
    #[error("cannot read the settings")]
    Inputs(#[source] StoreError),
}

impl CoordinatorError {
    /// With its causes.
    #[must_use]
    pub fn on_one_line(&self) -> String {
        error_chain(self)
    }
}

/// What the operations work with.
#[allow(missing_debug_implementations)] // it holds functions
pub struct Coordinator<'a, L, S, Q> {
    /// Where the objects are listed.
    pub source: &'a L,
    /// The bucket they are in.
    pub bucket: &'a str,
    /// Where results and ledger are.
    pub results: &'a S,
    /// The name of their bucket.
    pub results_bucket: &'a str,
    /// Where the tasks go.
    pub queue: &'a Q,
    /// Where tasks that were given up are.
    pub dead_letters: Option<&'a Q>,
    /// Reads the settings of new runs.
    pub inputs: &'a (dyn Fn() -> Result<Inputs, StoreError> + Sync),
    /// For how long the queue must be empty until what has no outcome is called missing: its counts lag behind.
    pub settle: Duration,
    /// A run that takes longer is reported as it stands.
    pub time_limit: Duration,
    /// Objects of a run, at most.
    pub max_keys: u64,
    /// The time.
    pub clock: &'a (dyn Fn() -> Timestamp + Sync),
    /// Waits between attempts to send.
    pub pause: &'a (dyn Fn(Duration) + Sync),
}

impl<L: Lister, S: Store + Lister, Q: Queue> Coordinator<'_, L, S, Q> {
    /// Does one step. `goes_on` says whether there is time for more of what is done in stretches.
    pub fn step(&self, step: Step, goes_on: &dyn Fn() -> bool) -> Result<Step, CoordinatorError> {
        match step.operation {
            Operation::Purge => self.purge(step),
            Operation::Plan => self.plan(step, goes_on),
            Operation::Check => self.check(step),
            Operation::Report => self.report(step, goes_on),
            Operation::End => Ok(step),
        }
    }

    /// Does steps as long as none has to be waited for and there is time. One that fails, but can be made again, is the
    /// next one: so the run's name is not lost with the error.
    pub fn run_on(&self, mut step: Step, goes_on: &dyn Fn() -> bool) -> Result<Step, CoordinatorError> {
        while step.operation != Operation::End && step.wait_seconds == 0 && goes_on() {
            match self.step(step.clone(), goes_on) {
                Ok(next) => step = next,
                Err(error @ CoordinatorError::Refused(_)) => return Err(error),
                Err(error) => return Ok(Step { message: Some(error.on_one_line()), ..step }),
            }
        }
        Ok(step)
    }

    fn plan(&self, mut step: Step, goes_on: &dyn Fn() -> bool) -> Result<Step, CoordinatorError> {
        let mut run = self.run(&step.run)?;
        if active::purged(self.results, &run.run).map_err(CoordinatorError::Ledger)?.is_some() {
            return Ok(Step { is_final: true, ..step }.next(Operation::Report, 0));
        }
        if step.planned == Planned::default() {
            // By somebody else who drives the same run: whoever purged has waited for the minute.
            let own = Active::find(self.results, &run.run).map_err(CoordinatorError::Ledger)?;
            if let Some(own) = &own
                && own.has_purged_within(PURGE, self.results).map_err(CoordinatorError::Ledger)?
            {
                return Ok(step.next(Operation::Plan, PURGE_AGAIN_SECONDS));
            }
            // Writes its own marker before reading others'. A purging run does the reverse, so at least one of the two sees
            // the other: messages sent during a purge would be deleted.
            self.mark(&run, Stage::Sending)?;
            if self.purging_run(&run.run)?.is_some() {
                // What another driver of the same run has sent, or is about to send, must stay known.
                let has_sent = own.is_some_and(|own| own.has_sent) || self.has_sent(&run.run)?;
                self.mark(&run, if has_sent { Stage::Sending } else { Stage::Waiting })?;
                return Ok(step.next(Operation::Plan, PURGE_AGAIN_SECONDS));
            }
        }
        let planner = Planner {
            source: self.source,
            bucket: self.bucket,
            results: self.results,
            queue: self.queue,
            max_keys: self.max_keys,
            pause: self.pause,
        };
        // What is sent after a purge would only be in the way of the run it was made for.
        let goes_on = || goes_on() && matches!(active::purged(self.results, &step.run), Ok(None));
        step.planned = match planner.plan(&mut run, step.planned.clone(), goes_on) {
            Ok(so_far) => so_far,
            Err(PlanError::List { source, sent }) => {
                let error = self.list_error(&run.prefix, source);
                if matches!(error, CoordinatorError::Refused(_)) {
                    self.stop_planning(&run, sent)?;
                }
                return Err(error);
            }
            Err(PlanError::TooMany { sent, max }) => {
                self.stop_planning(&run, sent)?;
                let (prefix, bucket, run, sent) = (&run.prefix, self.bucket, &run.run, sent.objects);
                return Err(CoordinatorError::Refused(format!(
                    "prefix {prefix:?} of {bucket} has more than {max} objects (FLOWHERD_MAX_KEYS), of which {sent} are \
                     sent and go on; choose longer prefixes, or raise it and go on with run {run}"
                )));
            }
            Err(error) => return Err(error.into()),
        };
        let totals = step.planned.totals;
        step.progress.listed = totals.objects;
        step.progress.skipped = totals.skipped;
        Ok(if !step.planned.complete {
            step.next(Operation::Plan, 0)
        } else if step.progress.left() == 0 {
            step.next(Operation::Report, 0)
        } else {
            step.next(Operation::Check, 1)
        })
    }

    /// Ends the protection of a run whose listing failed for good: without messages it needs none, otherwise until the
    /// objects that it sent are done.
    fn stop_planning(&self, run: &Run, sent: ManifestTotals) -> Result<(), CoordinatorError> {
        if self.has_sent(&run.run)? {
            return self.mark(run, Stage::Stopped(sent));
        }
        Active::remove(self.results, &run.run).map_err(CoordinatorError::Ledger)
    }

    /// Separates listing errors that end the run from those that a retry can help.
    pub(crate) fn list_error(&self, prefix: &str, error: StoreError) -> CoordinatorError {
        let bucket = self.bucket;
        match error {
            StoreError::AccessDenied(_) | StoreError::NotFound(_) | StoreError::WrongBucket(_) => {
                CoordinatorError::Refused(format!(
                    "cannot list prefix {prefix:?} of {bucket}; check that the bucket exists, and that the prefix is one of \
                     the readable prefixes: {}",
                    error_chain(&error)
                ))
            }
            StoreError::Invalid(_)
            | StoreError::InvalidKey(_)
            | StoreError::PreconditionFailed(_)
            | StoreError::Archived(_)
            | StoreError::Encrypted(_)
            | StoreError::TooLarge { .. } => CoordinatorError::Refused(format!(
                "cannot list prefix {prefix:?} of {bucket}: {}",
                error_chain(&error)
            )),
            StoreError::Transient(_) => {
                PlanError::List { source: error, sent: ManifestTotals::default() }.into()
            }
        }
    }

    /// Returns another run for which the queue may be being purged now.
    pub(crate) fn purging_run(&self, run: &str) -> Result<Option<String>, CoordinatorError> {
        for other in Active::others(self.results, run).map_err(CoordinatorError::Ledger)? {
            if other.is_purging(self.results).map_err(CoordinatorError::Ledger)? {
                return Ok(Some(other.run));
            }
        }
        Ok(None)
    }

    /// Writes the run's marker.
    pub(crate) fn mark(&self, run: &Run, stage: Stage) -> Result<(), CoordinatorError> {
        let active = Active {
            run: run.run.clone(),
            prefix: run.prefix.clone(),
            started: Some(run.started.clone()),
            has_sent: matches!(stage, Stage::Sending | Stage::Redriving | Stage::Stopped(_)),
            purging: matches!(stage, Stage::Purging),
            redriven: matches!(stage, Stage::Redriving),
            sent: if let Stage::Stopped(sent) = stage { Some(sent) } else { None },
        };
        active.write(self.results).map_err(CoordinatorError::Ledger)
    }

    /// Reads what a run was asked.
    pub fn run(&self, name: &str) -> Result<Run, CoordinatorError> {
        if !layout::is_run_name(name) {
            let todo = "those that are there are told by flowherd runs";
            return Err(CoordinatorError::Refused(format!("{name:?} is no name of a run; {todo}")));
        }
        let run = read_json(self.results, &layout::run(name)).map_err(CoordinatorError::Ledger)?;
        if let Some(run) = run {
            return Ok(run);
        }
        let marker = self.results.head(&layout::active(name)).map_err(CoordinatorError::Ledger)?;
        Err(CoordinatorError::Refused(match marker {
            Some(_) => format!(
                "run {name} has a run marker, but no {}: its begin was interrupted, or its ledger was deleted; remove the \
                 marker with: flowherd runs --forget {name}",
                layout::run(name)
            ),
            None => format!("there is no run {name}; see flowherd runs"),
        }))
    }

    /// Removes the marker of a run that is given up, so that it no longer blocks purges. Refused while objects of the run
    /// have no receipt and the queue has messages, unless `force` is set.
    pub fn forget(&self, name: &str, force: bool) -> Result<(), CoordinatorError> {
        if !layout::is_run_name(name) {
            return Err(CoordinatorError::Refused(format!(
                "{name:?} is no name of a run; flowherd status lists the active ones"
            )));
        }
        let path = layout::active(name);
        if self.results.head(&path).map_err(CoordinatorError::Ledger)?.is_none() {
            return Err(CoordinatorError::Refused(format!(
                "run {name} has no run marker ({path}), so it blocks nothing; flowherd status lists the active runs"
            )));
        }
        // A marker that does not parse protects nothing that it could name.
        let marker = Active::find(self.results, name).map_err(CoordinatorError::Ledger)?;
        if let Some(marker) = marker.filter(|_| !force) {
            let depth = self.queue.depth().map_err(CoordinatorError::Queue)?;
            let messages = depth.visible + depth.in_flight + depth.delayed;
            if messages > 0 && self.has_work_left(&marker)? {
                return Err(CoordinatorError::Refused(format!(
                    "run {name} has objects without a receipt, and the queue has {messages} messages, which may be its \
                     own; wait until the queue is empty, or add --force: a purge may then destroy them"
                )));
            }
        }
        Active::remove(self.results, name).map_err(CoordinatorError::Ledger)
    }
}
