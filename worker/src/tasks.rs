//! From a message of the queue to a job, and from the job's outcome to what the queue is told.

use std::{
    sync::{
        Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use flowherd_shared::{
    error::{Verdict, error_chain},
    ledger::{
        Amendment, Attempt, Failure, Fingerprint, ManifestEntry, Purged, Receipt, Run, layout, read_json,
    },
    pipeline::Plan,
    queue::{Message, Queue},
    store::{Problem, Source, Store, StoreError},
    task::{Task, TaskError},
};
use jiff::Timestamp;
use tracing::{debug, error, info, info_span, warn};

use crate::{
    closing::Closing,
    job::{Ended, Jobs, now},
    plans::{PlanError, Plans},
};

/// The pause before the second attempt at what may succeed later; doubled for each further one.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_secs(10);
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_mins(15);
/// How often in a row one delivery does an object whose outputs another worker replaces meanwhile.
const ROUNDS: u32 = 3;

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Its object is done: delete the message.
    Done,
    /// It may be tried again: return the message, to be delivered after this time.
    Retry(Duration),
    /// No further attempt can succeed: return the message at once, until SQS moves it to the dead-letter queue.
    DeadLetter,
}

/// Why the work on an object may not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The process is to end.
    Stopping,
    /// The function's time is nearly over.
    Deadline,
}

/// Says whether the work may go on; asked often.
pub type GoesOn<'a> = &'a (dyn Fn() -> Result<(), Limit> + Sync);

/// Why a message could not become a job, or a job not be finished.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(
        "the message names bucket {0:?}, but this worker reads {1:?} only; it was not sent by this fleet's coordinator"
    )]
    Bucket(String, String),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(
        "the function's time was over before the object's end; if it is so again, raise its timeout or its memory"
    )]
    Deadline,
}

/// The error of the note that is written before an attempt begins, and replaced when it ends.
#[derive(Debug, thiserror::Error)]
#[error(
    "a worker began this attempt and did not report its end: it was stopped, ran out of memory, or its function's time \
     was over; if it is so again, raise the worker's memory or timeout"
)]
struct Unfinished;

/// Works on messages.
#[allow(missing_debug_implementations)] // it holds a function
pub struct Tasks<'a, I, O, Q> {
    /// Where objects come from.
    pub source: &'a I,
    /// The only bucket whose objects are read.
    pub bucket: &'a str,
    /// Where results go.
    pub store: &'a O,
    /// Where messages come from.
    pub queue: &'a Q,
    /// How long the queue hides a message that was received.
    pub visibility: Duration,
    /// The queue's name, if metrics are to be printed.
    pub metrics_of: Option<&'a str>,
    /// After this many deliveries a message becomes a dead letter, if that is known.
    pub max_deliveries: Option<u32>,
    /// Whether messages that are done are deleted here. Lambda deletes them itself, at the end of an invocation.
    pub acknowledges: bool,
    /// Waits, when the queue cannot be reached.
    pub rest: fn(Duration),
    /// The time.
    pub clock: &'a (dyn Fn() -> Timestamp + Sync),
    plans: Plans,
    /// Held for reading while messages are held, and for writing while a suspect is worked on alone.
    pub(crate) exclusive: RwLock<()>,
}

impl<'a, I: Source, O: Store, Q: Queue> Tasks<'a, I, O, Q> {
    /// Nothing is read or received yet.
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
            metrics_of: None,
            max_deliveries: None,
            acknowledges: true,
            rest: thread::sleep,
            clock: &Timestamp::now,
            plans: Plans::default(),
            exclusive: RwLock::new(()),
        }
    }

    /// Works on a message. `alone` returns whether nobody else can have had it.
    pub(crate) fn work(&self, message: &Message, alone: &dyn Fn() -> bool, goes_on: GoesOn<'_>) -> Answer {
        let task = match Task::parse(&message.body) {
            Ok(task) => task,
            Err(problem) => return malformed(message, &problem),
        };
        let span = info_span!(
            "task",
            run = task.run,
            bucket = task.bucket,
            key = task.object.key,
            delivery = message.deliveries
        );
        let _in_span = span.enter();
        self.work_on(&task, message, alone, goes_on).unwrap_or_else(|problem| {
            error!(error = %error_chain(&problem), "cannot use the ledger or the source");
            Answer::Retry(pause(message.deliveries))
        })
    }

    fn work_on(
        &self,
        task: &Task,
        message: &Message,
        alone: &dyn Fn() -> bool,
        goes_on: GoesOn<'_>,
    ) -> Result<Answer, StoreError> {
        let (run, deliveries) = (&task.run, message.deliveries);
        // A message that waits for its next attempt holds up newer runs of the same object. Looked at from the second
        // delivery on, because it takes a request.
        if deliveries > 1 && self.is_purged(run)? {
            info!("acknowledged without work: another run has purged the queue");
            return Ok(Answer::Done);
        }
        let plan = match self.plans.of(self.store, run)? {
            Ok(plan) => plan,
            Err(error) => return self.refuse(task, message, &Refusal::Plan(error)),
        };
        if task.bucket != self.bucket {
            let refusal = Refusal::Bucket(task.bucket.clone(), self.bucket.to_owned());
            return self.refuse(task, message, &refusal);
        }
        let fingerprint = Fingerprint::from(&*plan);
        let mut left = match self.left(task, message, &fingerprint)? {
            Left::Work(left) => left,
            Left::Nothing => {
                debug!("done already");
                return Ok(Answer::Done);
            }
            Left::Hopeless => {
                debug!("failed permanently; returned until it is a dead letter");
                return Ok(Answer::DeadLetter);
            }
        };
        if deliveries > 1 && self.is_over(run, message)? {
            info!("acknowledged without work: the run is over");
            return Ok(Answer::Done);
        }
        for _ in 0..ROUNDS {
            let (object, failed_before) = (&left.0, left.1.take());
            let answer = self.job(task, message, object, failed_before, &plan, goes_on)?;
            // Only where two may have been at it can the receipt speak of outputs that the other has replaced.
            if answer != Answer::Done
                || alone()
                || Receipt::find(self.store, run, object, &fingerprint)?.is_some()
                || self.is_purged(run)?
            {
                return Ok(answer);
            }
            debug!("another worker has replaced the outputs; doing the object again");
        }
        Ok(Answer::Retry(pause(deliveries)))
    }

    /// Makes one attempt at the object.
    fn job(
        &self,
        task: &Task,
        message: &Message,
        object: &ManifestEntry,
        failed_before: Option<Failure>,
        plan: &Plan,
        goes_on: GoesOn<'_>,
    ) -> Result<Answer, StoreError> {
        let limit = Mutex::new(None);
        let may_go_on = || {
            let reached = goes_on().err();
            *limit.lock().unwrap_or_else(PoisonError::into_inner) = reached;
            reached.is_none()
        };
        let purged = AtomicBool::new(false);
        // A worker that is late must not replace what the run after the purge writes.
        let may_publish = || {
            let is_purged = self.is_purged(&task.run)?;
            purged.store(is_purged, Ordering::Relaxed);
            Ok(!is_purged && may_go_on())
        };
        let jobs = Jobs {
            may_publish: &may_publish,
            message_id: Some(&message.id),
            deliveries: Some(message.deliveries),
            ..Jobs::new(&task.run, plan, self.source, self.store)
        };
        let noted = self.note_begin(task, message, object, failed_before.as_ref(), plan)?;
        let to_replace = match &noted {
            // The attempt counts once.
            Some(note) => Some(Failure { attempts: note.attempts.saturating_sub(1), ..note.clone() }),
            None => failed_before.clone(),
        };
        let ended = jobs.work_after(to_replace, object, &|_| may_go_on())?;
        let reached = *limit.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match ended {
            Ended::Done(receipt) => {
                self.close(&Closing::Done(&receipt));
                Answer::Done
            }
            Ended::Failed(failure) => {
                self.close(&Closing::Failed(&failure));
                match failure.verdict {
                    Verdict::Permanent => Answer::DeadLetter,
                    Verdict::Retry => Answer::Retry(pause(message.deliveries)),
                }
            }
            Ended::Stopped if purged.into_inner() => {
                self.take_back(noted, failed_before)?;
                info!("stopped: another run has purged the queue");
                Answer::Done
            }
            Ended::Stopped if reached == Some(Limit::Deadline) => {
                self.refuse(task, message, &Refusal::Deadline)?
            }
            Ended::Stopped => {
                self.take_back(noted, failed_before)?;
                debug!("stopped; returned to the queue");
                Answer::Retry(Duration::ZERO)
            }
        })
    }

    /// From the second delivery on, notes in the ledger that an attempt begins. If the process ends in it, the object has
    /// a failure that says so, and the message is a suspect ([`crate::order`]).
    fn note_begin(
        &self,
        task: &Task,
        message: &Message,
        object: &ManifestEntry,
        failed_before: Option<&Failure>,
        plan: &Plan,
    ) -> Result<Option<Failure>, StoreError> {
        if message.deliveries == 1 {
            return Ok(None);
        }
        let attempt = Attempt {
            run: &task.run,
            object,
            fingerprint: &Fingerprint::from(plan),
            number: failed_before.map_or(0, |failure| failure.attempts).saturating_add(1),
            finished: now()?,
            milliseconds: 0,
            message_id: Some(&message.id),
        };
        let note = Failure { unfinished: true, ..Failure::new(&attempt, &Unfinished, Verdict::Retry) };
        note.write(self.store)?;
        Ok(Some(note))
    }

    /// Removes the note of an attempt that was stopped, and writes what it has replaced.
    fn take_back(&self, noted: Option<Failure>, failed_before: Option<Failure>) -> Result<(), StoreError> {
        match (noted, failed_before) {
            (None, _) => Ok(()),
            (Some(_), Some(before)) => before.write(self.store),
            (Some(note), None) => note.remove(self.store),
        }
    }

    /// What is left to do of a task, by what the ledger says already.
    fn left(&self, task: &Task, message: &Message, fingerprint: &Fingerprint) -> Result<Left, StoreError> {
        let (run, listed) = (&task.run, &task.object);
        if Receipt::find(self.store, run, listed, fingerprint)?.is_some() {
            return Ok(Left::Nothing);
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
            return Ok(Left::Nothing);
        }
        let object = amended.unwrap_or_else(|| listed.clone());
        let for_good = failure.as_ref().filter(|failure| {
            failure.verdict == Verdict::Permanent
                && failure.object == object
                && failure.fingerprint == *fingerprint
        });
        let Some(for_good) = for_good else { return Ok(Left::Work(Box::new((object, failure)))) };
        // By this very message: it fails again. Another one is a dead letter that somebody has moved back.
        if for_good.message_id.as_ref() == Some(&message.id) {
            return Ok(Left::Hopeless);
        }
        match self.source.head(&object.key)? {
            Some(now) if now != object => {
                warn!(etag = now.etag, size = now.size, "the object has been replaced since it failed");
                Amendment { listed: listed.clone(), now: now.clone() }.write(self.store, run)?;
                Ok(Left::Work(Box::new((now, failure))))
            }
            _ => Ok(Left::Work(Box::new((object, failure)))),
        }
    }

    fn is_purged(&self, run: &str) -> Result<bool, StoreError> {
        Ok(read_json::<Purged>(self.store, &layout::purged(run))?.is_some())
    }

    /// Whether the run ended after this message was sent: its report is written, nothing protects it any more, and the
    /// message was not moved back from the dead letters since, which would have made it a newer one. The objects that the
    /// report calls missing or failed stay so, and a resumed run does them.
    fn is_over(&self, run: &str, message: &Message) -> Result<bool, StoreError> {
        if self.store.etag(&layout::active(run))?.is_some() {
            return Ok(false);
        }
        // Times of S3 and SQS, not of whoever wrote the report.
        let Some(report) = self.store.head(&layout::report(run))? else { return Ok(false) };
        let written = Timestamp::try_from(report.modified).map_err(|error| {
            StoreError::Invalid(Problem::caused_by("the store returned an invalid time", error))
        })?;
        Ok(written.as_millisecond() > message.sent_ms)
    }

    /// Writes the refusal into the ledger, once for each message. The bucket stays wrong; the others may pass later.
    fn refuse(&self, task: &Task, message: &Message, refusal: &Refusal) -> Result<Answer, StoreError> {
        let (verdict, answer) = match refusal {
            Refusal::Bucket(..) => (Verdict::Permanent, Answer::DeadLetter),
            Refusal::Plan(_) => (Verdict::Retry, Answer::Retry(pause(message.deliveries))),
            Refusal::Deadline => (Verdict::Retry, Answer::Retry(Duration::ZERO)),
        };
        // A failure counts only with the fingerprint of its run. Without a run there is no report that could name it.
        let Some(asked) = read_json::<Run>(self.store, &layout::run(&task.run))? else {
            warn!(error = %error_chain(refusal), "cannot begin; the ledger has no such run");
            // No growing pauses: they would hold up newer runs of the object for an hour.
            return Ok(if answer == Answer::DeadLetter { answer } else { Answer::Retry(FIRST_PAUSE) });
        };
        let before = Failure::find(self.store, &task.run, &task.object.key)?;
        let is_known = |before: &Failure| {
            before.message_id.as_ref() == Some(&message.id) && before.verdict == Verdict::Permanent
        };
        if verdict == Verdict::Permanent && before.as_ref().is_some_and(is_known) {
            return Ok(answer);
        }
        let attempt = Attempt {
            run: &task.run,
            object: &task.object,
            fingerprint: &asked.fingerprint,
            number: message.deliveries,
            finished: now()?,
            milliseconds: 0,
            message_id: Some(&message.id),
        };
        let failure = Failure::new(&attempt, refusal, verdict);
        failure.write(self.store)?;
        self.close(&Closing::Failed(&failure));
        Ok(answer)
    }

    fn close(&self, closing: &Closing<'_>) {
        closing.log();
        if let Some(queue) = self.metrics_of {
            closing.print_metrics(queue);
        }
    }
}

enum Left {
    /// This version of the object is to be done, which has failed so before.
    Work(Box<(ManifestEntry, Option<Failure>)>),
    /// It is done.
    Nothing,
    /// It has failed for good.
    Hopeless,
}

fn malformed(message: &Message, problem: &TaskError) -> Answer {
    error!(message_id = message.id, error = %error_chain(problem), "no task; it goes to the dead letters");
    Answer::DeadLetter
}

/// The pause after so many deliveries.
pub(crate) fn pause(deliveries: u32) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(deliveries.saturating_sub(1)));
    doubled.min(LONGEST_PAUSE)
}
