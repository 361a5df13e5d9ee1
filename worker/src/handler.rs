//! Handles one queue message: decides whether its object needs an attempt, makes it, and returns the disposition.

mod refusal;

use std::{ops::ControlFlow, sync::RwLock, thread, time::Duration};

use flowherd_shared::{
    error::{Verdict, error_chain},
    ledger::{
        Amendment, Attempt, Failure, Fingerprint, ManifestEntry, Purged, Receipt, Run, layout, read_json,
    },
    queue::{Message, NewMessage, Queue},
    store::{Problem, Source, Store, StoreError},
    task::Task,
};
use jiff::Timestamp;
use tracing::{debug, error, info, info_span, warn};

use self::refusal::{Refusal, Unfinished};
use crate::{
    config_cache::{CachedRun, ConfigCache, ConfigCacheError, RunWork},
    index::{IndexJob, IndexProcessor},
    processor::{Control, Delivery, Job, ObjectProcessor, Outcome, StopReason, now},
    telemetry::TaskOutcome,
};

/// The pause before the second delivery. Each further pause is twice as long.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_secs(10);
pub(crate) const MAX_PAUSE: Duration = Duration::from_mins(15);
/// The longest pause before another delivery during an outage of the cluster.
const MAX_OUTAGE_PAUSE: Duration = Duration::from_mins(5);
/// Maximum attempts in one delivery if other workers keep replacing the outputs.
const MAX_ROUNDS: u32 = 3;

/// How a message is settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The object is done. The message is deleted.
    Ack,
    /// Another attempt can succeed. The message returns to the queue and becomes visible after this time.
    Retry(Duration),
    /// No attempt can succeed. The message becomes visible at once, until SQS moves it to the dead-letter queue.
    DeadLetter,
}

/// Returns whether work continues, or why it stops. Called often.
pub type ShouldContinue<'a> = &'a (dyn Fn() -> ControlFlow<StopReason> + Sync);

/// Handles the messages of one queue.
#[allow(missing_debug_implementations)] // it contains functions
pub struct MessageHandler<'a, I, O, Q> {
    /// Source of the objects.
    pub source: &'a I,
    /// The only bucket whose objects are read.
    pub bucket: &'a str,
    /// Store of the outputs and of the ledger.
    pub store: &'a O,
    /// The queue.
    pub queue: &'a Q,
    /// The visibility timeout of the queue.
    pub visibility: Duration,
    /// The name of the queue in the metrics; `None` prints no metrics.
    pub metrics_queue: Option<&'a str>,
    /// The `maxReceiveCount` of the queue, if it is known.
    pub max_deliveries: Option<u32>,
    /// Whether the handler deletes messages. Lambda deletes them itself, at the end of an invocation.
    pub deletes_messages: bool,
    /// Whether to skip objects with a receipt in a resumed run. The coordinator sends no messages for these objects, but a
    /// Distributed Map lists all objects.
    pub skips_resumed: bool,
    /// The search cluster of a worker that indexes; `None` for a worker that converts.
    pub index: Option<&'a IndexJob<'a>>,
    /// Sleeps before a failed call to the queue is retried.
    pub sleep: fn(Duration),
    /// The clock.
    pub clock: &'a (dyn Fn() -> Timestamp + Sync),
    configs: ConfigCache,
    /// Locked for reading while messages are in flight, and for writing while a suspect is processed alone.
    pub(crate) exclusive: RwLock<()>,
}

/// The work that remains for a message according to the ledger.
enum Remaining {
    /// An attempt at this version of the object, after this failure.
    Attempt(Box<(ManifestEntry, Option<Failure>)>),
    /// No work: the object is done.
    Nothing,
    /// No work: the object failed permanently.
    PermanentlyFailed,
}

impl<'a, I: Source, O: Store, Q: Queue> MessageHandler<'a, I, O, Q> {
    /// Creates a handler. Makes no request.
    pub fn new(
        (bucket, source): (&'a str, &'a I),
        store: &'a O,
        (queue, visibility): (&'a Q, Duration),
    ) -> Self {
        Self {
            source,
            bucket,
            store,
            queue,
            visibility,
            metrics_queue: None,
            max_deliveries: None,
            deletes_messages: true,
            skips_resumed: false,
            index: None,
            sleep: thread::sleep,
            clock: &Timestamp::now,
            configs: ConfigCache::default(),
            exclusive: RwLock::new(()),
        }
    }

    /// Handles one message. `sole_owner` returns whether no other worker can have the message.
    pub(crate) fn handle(
        &self,
        message: &Message,
        sole_owner: &dyn Fn() -> bool,
        should_continue: ShouldContinue<'_>,
    ) -> Disposition {
        let task = match Task::parse(&message.body) {
            Ok(task) => task,
            Err(problem) => {
                let error = error_chain(&problem);
                error!(message_id = message.id, error, "not a task; it becomes a dead-letter message");
                return Disposition::DeadLetter;
            }
        };
        let span = info_span!(
            "task",
            run = task.run,
            bucket = task.bucket,
            key = task.object.key,
            delivery = message.deliveries
        );
        let _in_span = span.enter();
        self.handle_task(&task, message, sole_owner, should_continue).unwrap_or_else(|problem| {
            error!(error = error_chain(&problem), "cannot use the ledger or the source");
            Disposition::Retry(pause(message.deliveries))
        })
    }

    fn handle_task(
        &self,
        task: &Task,
        message: &Message,
        sole_owner: &dyn Fn() -> bool,
        should_continue: ShouldContinue<'_>,
    ) -> Result<Disposition, StoreError> {
        let (run, deliveries) = (&task.run, message.deliveries);
        // A message that waits for its next attempt blocks newer runs of the same object. Checked from the second delivery
        // on, because it costs a request.
        if deliveries > 1 && self.is_purged(run)? {
            info!("acknowledged without work: another run has purged the queue");
            return Ok(Disposition::Ack);
        }
        let CachedRun { fingerprint, work, resumes } = match self.configs.get(self.store, run) {
            Ok(cached) => cached,
            Err(ConfigCacheError::Store(error)) => return Err(error),
            Err(error) => return self.refuse(task, message, &Refusal::Config(error)),
        };
        if task.bucket != self.bucket {
            let refusal = Refusal::Bucket { found: task.bucket.clone(), expected: self.bucket.to_owned() };
            return self.refuse(task, message, &refusal);
        }
        if let Some(refusal) = Refusal::of_job(&work, self.index.is_some()) {
            return self.refuse(task, message, &refusal);
        }
        if self.skips_resumed && self.is_done_in_any(&resumes, &task.object, &fingerprint)? {
            debug!("skipped: a resumed run has done the object");
            return Ok(Disposition::Ack);
        }
        let (object, mut previous) = match self.remaining(task, message, &fingerprint)? {
            Remaining::Attempt(attempt) => *attempt,
            Remaining::Nothing => {
                debug!("already done");
                return Ok(Disposition::Ack);
            }
            Remaining::PermanentlyFailed => {
                debug!("failed permanently; returned to the queue until it is a dead-letter message");
                return Ok(Disposition::DeadLetter);
            }
        };
        if deliveries > 1 && self.is_over(run, message)? {
            info!("acknowledged without work: the run is over");
            return Ok(Disposition::Ack);
        }
        if let Some(index) = self.index
            && index.outage.remaining((self.clock)()).is_some()
        {
            debug!("not started: the cluster is unavailable");
            return Ok(self.wait_for_cluster(index, message));
        }
        for _ in 0..MAX_ROUNDS {
            let attempted =
                self.attempt(task, message, &object, previous.take(), (&work, &fingerprint), should_continue);
            let (disposition, is_done) = attempted?;
            // The receipt can name outputs that another worker has replaced, but only if another worker had the message.
            if !is_done
                || sole_owner()
                || Receipt::find(self.store, run, &object, &fingerprint)?.is_some()
                || self.is_purged(run)?
            {
                return Ok(disposition);
            }
            debug!("another worker has replaced the outputs; processing the object again");
        }
        Ok(Disposition::Retry(pause(deliveries)))
    }

    /// Makes one attempt at the object. Returns also whether the object is done.
    fn attempt(
        &self,
        task: &Task,
        message: &Message,
        object: &ManifestEntry,
        previous: Option<Failure>,
        (work, fingerprint): (&RunWork, &Fingerprint),
        should_continue: ShouldContinue<'_>,
    ) -> Result<(Disposition, bool), StoreError> {
        let unfinished = self.write_unfinished(task, message, object, previous.as_ref(), fingerprint)?;
        let to_replace = match &unfinished {
            // The attempt counts once.
            Some(unfinished) => {
                let attempts = unfinished.attempts.saturating_sub(1);
                Some(Failure { attempts, ..unfinished.clone() })
            }
            None => previous.clone(),
        };
        let delivery = Delivery { message_id: &message.id, number: message.deliveries };
        let job = Job { object, previous: to_replace, delivery: Some(delivery) };
        let control = Control {
            should_continue: &|_| should_continue(),
            // A late worker must not replace outputs of the run that purged the queue.
            can_publish: &|| {
                let is_purged = self.is_purged(&task.run)?;
                Ok(if is_purged { ControlFlow::Break(StopReason::Purged) } else { should_continue() })
            },
        };
        let outcome = match (work, self.index) {
            (RunWork::Convert(run_config), _) => {
                ObjectProcessor::new(&task.run, run_config, self.source, self.store).process(job, &control)
            }
            (RunWork::Index(index_run), Some(IndexJob { rows, .. })) => {
                let (run, source, store) = (&*task.run, self.source, self.store);
                IndexProcessor { run, index_run, rows: *rows, source, store }.process(job, &control)
            }
            (RunWork::Index(_), None) => return Ok((self.refuse(task, message, &Refusal::INDEXES)?, false)),
        };
        let disposition = match outcome? {
            Outcome::Done(receipt) => {
                if let Some(index) = self.index {
                    index.outage.end();
                }
                self.report(&TaskOutcome::Done(&receipt));
                return Ok((Disposition::Ack, true));
            }
            Outcome::Failed(failure) => {
                self.report(&TaskOutcome::Failed(&failure));
                match failure.verdict {
                    Verdict::Permanent => Disposition::DeadLetter,
                    Verdict::Retry => Disposition::Retry(pause(message.deliveries)),
                }
            }
            Outcome::Stopped(StopReason::Purged) => {
                self.restore(unfinished, previous)?;
                info!("stopped: another run has purged the queue");
                Disposition::Ack
            }
            Outcome::Stopped(StopReason::Unavailable) => {
                self.restore(unfinished, previous)?;
                match self.index {
                    Some(index) => {
                        index.outage.begin((self.clock)());
                        self.wait_for_cluster(index, message)
                    }
                    None => Disposition::Retry(pause(message.deliveries)),
                }
            }
            Outcome::Stopped(StopReason::Deadline) => self.refuse(task, message, &Refusal::Deadline)?,
            Outcome::Stopped(StopReason::Shutdown) => {
                self.restore(unfinished, previous)?;
                debug!("stopped; returned to the queue");
                Disposition::Retry(Duration::ZERO)
            }
        };
        Ok((disposition, false))
    }

    /// Returns a message to the queue because the cluster is unavailable. That is no failure of the object, so it must not
    /// lead to the dead-letter queue: before its last deliveries, a copy replaces the message, whose deliveries count from 1
    /// again. If the copy is sent and the message is not deleted, one of both finds the object done.
    fn wait_for_cluster(&self, index: &IndexJob<'_>, message: &Message) -> Disposition {
        let remaining = index.outage.remaining((self.clock)()).unwrap_or_default();
        let wait = Disposition::Retry(remaining.max(pause(message.deliveries).min(MAX_OUTAGE_PAUSE)));
        if self.max_deliveries.is_none_or(|max| message.deliveries.saturating_add(1) < max) {
            return wait;
        }
        // SQS drops a copy with the same id within five minutes, so a message is replaced once.
        let copy = NewMessage {
            body: message.body.clone(),
            group: message.group.clone(),
            deduplication: format!("waits-{}", message.id),
        };
        let problem = match self.queue.send(&[copy]) {
            Ok(rejected) => match rejected.into_iter().next() {
                None => return Disposition::Ack,
                Some(entry) => entry.reason,
            },
            Err(error) => error_chain(&error),
        };
        warn!(error = problem, "cannot send the message again; it may become a dead-letter message");
        wait
    }

    /// From the second delivery on, writes a failure before the attempt begins. If the process ends during the attempt, the
    /// failure remains, and the message is a suspect ([`crate::order`]).
    fn write_unfinished(
        &self,
        task: &Task,
        message: &Message,
        object: &ManifestEntry,
        previous: Option<&Failure>,
        fingerprint: &Fingerprint,
    ) -> Result<Option<Failure>, StoreError> {
        if message.deliveries == 1 {
            return Ok(None);
        }
        let attempt = Attempt {
            run: &task.run,
            object,
            fingerprint,
            number: previous.map_or(0, |failure| failure.attempts).saturating_add(1),
            finished: now()?,
            milliseconds: 0,
            message_id: Some(&message.id),
        };
        let failure = Failure { unfinished: true, ..Failure::new(&attempt, &Unfinished, Verdict::Retry) };
        failure.write(self.store)?;
        Ok(Some(failure))
    }

    /// Replaces the failure of a stopped attempt by the one before it.
    fn restore(&self, unfinished: Option<Failure>, previous: Option<Failure>) -> Result<(), StoreError> {
        match (unfinished, previous) {
            (None, _) => Ok(()),
            (Some(_), Some(previous)) => previous.write(self.store),
            (Some(unfinished), None) => unfinished.remove(self.store),
        }
    }

    /// Returns the work that remains according to the ledger.
    fn remaining(
        &self,
        task: &Task,
        message: &Message,
        fingerprint: &Fingerprint,
    ) -> Result<Remaining, StoreError> {
        let (run, listed) = (&task.run, &task.object);
        if Receipt::find(self.store, run, listed, fingerprint)?.is_some() {
            return Ok(Remaining::Nothing);
        }
        let failure = Failure::find(self.store, run, &listed.key)?;
        let amended = if message.deliveries > 1 || failure.is_some() {
            Amendment::find(self.store, run, listed)?
        } else {
            None
        };
        if let Some(now) = &amended
            && Receipt::find(self.store, run, now, fingerprint)?.is_some()
        {
            return Ok(Remaining::Nothing);
        }
        let object = amended.unwrap_or_else(|| listed.clone());
        let permanent = failure.as_ref().filter(|failure| {
            failure.verdict == Verdict::Permanent
                && failure.object == object
                && failure.fingerprint == *fingerprint
        });
        let Some(permanent) = permanent else { return Ok(Remaining::Attempt(Box::new((object, failure)))) };
        // The same message fails again. Another message was redriven.
        if permanent.message_id.as_ref() == Some(&message.id) {
            return Ok(Remaining::PermanentlyFailed);
        }
        match self.source.head(&object.key)? {
            Some(now) if now != object => {
                warn!(etag = now.etag, size = now.size, "the object has been replaced since it failed");
                Amendment { listed: listed.clone(), now: now.clone() }.write(self.store, run)?;
                Ok(Remaining::Attempt(Box::new((now, failure))))
            }
            _ => Ok(Remaining::Attempt(Box::new((object, failure)))),
        }
    }

    fn is_done_in_any(
        &self,
        runs: &[String],
        object: &ManifestEntry,
        fingerprint: &Fingerprint,
    ) -> Result<bool, StoreError> {
        for run in runs {
            if Receipt::find(self.store, run, object, fingerprint)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_purged(&self, run: &str) -> Result<bool, StoreError> {
        Ok(read_json::<Purged>(self.store, &layout::purged(run))?.is_some())
    }

    /// Returns whether the run ended after this message was sent: its report is written, it has no marker, and the message
    /// was not redriven since, because a redriven message is newer. Objects that the report counts as missing or failed
    /// stay so; a resumed run processes them.
    fn is_over(&self, run: &str, message: &Message) -> Result<bool, StoreError> {
        if self.store.etag(&layout::active(run))?.is_some() {
            return Ok(false);
        }
        // Both times are of AWS's clocks. The clock of the machine that wrote the report can be wrong.
        let Some(report) = self.store.head(&layout::report(run))? else { return Ok(false) };
        let written = Timestamp::try_from(report.modified).map_err(|error| {
            StoreError::Invalid(Problem::caused_by("the store returned an invalid time", error))
        })?;
        Ok(written.as_millisecond() > message.sent_ms)
    }

    /// Writes the refusal as a failure, once for each message. A wrong bucket is permanent; the other reasons can pass.
    fn refuse(&self, task: &Task, message: &Message, refusal: &Refusal) -> Result<Disposition, StoreError> {
        let (verdict, disposition) = match refusal {
            Refusal::Bucket { .. } => (Verdict::Permanent, Disposition::DeadLetter),
            Refusal::Config(_) | Refusal::Job { .. } => {
                (Verdict::Retry, Disposition::Retry(pause(message.deliveries)))
            }
            Refusal::Deadline => (Verdict::Retry, Disposition::Retry(Duration::ZERO)),
        };
        // A failure counts only with the fingerprint of its run. Without a run, no report could name the failure.
        let Some(run) = read_json::<Run>(self.store, &layout::run(&task.run))? else {
            warn!(error = error_chain(refusal), "cannot begin: the ledger has no such run");
            // Growing pauses would block newer runs of the object for an hour.
            return Ok(match disposition {
                Disposition::DeadLetter => Disposition::DeadLetter,
                _ => Disposition::Retry(FIRST_PAUSE),
            });
        };
        let previous = Failure::find(self.store, &task.run, &task.object.key)?;
        let is_written = previous.is_some_and(|previous| {
            previous.message_id.as_ref() == Some(&message.id) && previous.verdict == Verdict::Permanent
        });
        if verdict == Verdict::Permanent && is_written {
            return Ok(disposition);
        }
        let attempt = Attempt {
            run: &task.run,
            object: &task.object,
            fingerprint: &run.fingerprint,
            number: message.deliveries,
            finished: now()?,
            milliseconds: 0,
            message_id: Some(&message.id),
        };
        let failure = Failure::new(&attempt, refusal, verdict);
        failure.write(self.store)?;
        self.report(&TaskOutcome::Failed(&failure));
        Ok(disposition)
    }

    fn report(&self, outcome: &TaskOutcome<'_>) {
        outcome.log();
        if let Some(queue) = self.metrics_queue {
            outcome.print_metrics(queue);
        }
    }
}

/// Returns the pause after this number of deliveries.
pub(crate) fn pause(deliveries: u32) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(deliveries.saturating_sub(1)));
    doubled.min(MAX_PAUSE)
}
