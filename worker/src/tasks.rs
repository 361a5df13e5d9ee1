//! From a message of the queue to a job, and from its outcome to what the queue must be told.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use flowherd_shared::{
    error::Verdict,
    ledger::{Amendment, Attempt, Basis, Failure, ManifestEntry, Purged, Receipt, Run, layout, read_json},
    pipeline::Plan,
    queue::{Queue, Received},
    store::{Source, Store},
    task::{Task, TaskError},
};
use jiff::Timestamp;
use tracing::{error, info, info_span, warn};

use crate::{
    closing::Closing,
    job::{Ended, Jobs, now},
    plans::{PlanError, Plans},
};

/// How long a receive waits for a message: long, because an empty answer costs as much as a full one, but a worker that
/// is to stop notices it only then.
const LONG_POLL: Duration = Duration::from_secs(5);
/// The pause before the second attempt at what may succeed later; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_mins(15);
/// How often in a row one delivery does an object whose outputs another worker replaces meanwhile.
const ROUNDS: u32 = 3;

/// What the queue must be told of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done: acknowledge it.
    Done,
    /// It is not: give it back, to be delivered again after this time.
    GiveBack(Duration),
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
    /// Whether messages that are done are acknowledged here. Lambda does it by itself for a whole batch.
    pub acknowledges: bool,
    /// Waits, when the queue cannot be reached.
    pub rest: fn(Duration),
    /// The time.
    pub clock: &'a (dyn Fn() -> Timestamp + Sync),
    plans: Plans,
}

impl<'a, I: Source, O: Store, Q: Queue> Tasks<'a, I, O, Q> {
    /// Nothing is read or received yet.
    pub fn new(
        (bucket, source): (&'a str, &'a I),
        store: &'a O,
        (queue, visibility): (&'a Q, Duration),
    ) -> Self {
        let (metrics_of, acknowledges, rest, plans) = (None, true, thread::sleep, Plans::default());
        let clock = &Timestamp::now;
        Self { source, bucket, store, queue, visibility, metrics_of, acknowledges, rest, clock, plans }
    }

    /// Receives and works, one message at a time, while `goes_on`. The message in hand is finished, unless `may_finish`
    /// ends before it.
    pub fn poll(&self, goes_on: &dyn Fn() -> bool, may_finish: GoesOn<'_>) {
        while goes_on() {
            let received = match self.queue.receive(1, LONG_POLL) {
                Ok(received) => received,
                Err(error) => {
                    error!(error = %chain(&error), "cannot receive; trying again");
                    (self.rest)(FIRST_PAUSE / 10);
                    continue;
                }
            };
            for message in received {
                self.answer(&message, may_finish);
            }
        }
    }

    /// Works on a message, hidden all the while, and tells the queue of the outcome. If the queue cannot be told, the
    /// message comes back by itself, and is found done.
    pub fn answer(&self, message: &Received, goes_on: GoesOn<'_>) -> Answer {
        let (lost, since) = (AtomicBool::new(false), (self.clock)());
        // A machine that slept renews nothing and notices nothing, but its clock does.
        let alone = || {
            let took = (self.clock)().duration_since(since).unsigned_abs();
            message.deliveries == 1 && !lost.load(Ordering::Relaxed) && took < self.visibility
        };
        let answer = self.hidden(message, &lost, || {
            // One message must not cost a worker; it comes back when its visibility ends.
            catch_unwind(AssertUnwindSafe(|| self.work(message, &alone, goes_on))).unwrap_or_else(|_| {
                error!("a bug in Flowherd: the worker panicked; please report it");
                Answer::GiveBack(pause(message.deliveries))
            })
        });
        let told = match answer {
            Answer::Done if self.acknowledges => self.queue.acknowledge(&message.handle),
            Answer::Done => Ok(()),
            Answer::GiveBack(pause) => self.queue.hide(&message.handle, pause),
        };
        if let Err(error) = told {
            warn!(error = %chain(&error), "cannot tell the queue; the message will come back");
        }
        answer
    }

    /// Keeps a message hidden while `work` goes on. `lost` tells when that failed: somebody else may have it then.
    fn hidden<T>(&self, message: &Received, lost: &AtomicBool, work: impl FnOnce() -> T) -> T {
        let (done, is_done) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                let every = self.visibility / 3;
                while is_done.recv_timeout(every) == Err(mpsc::RecvTimeoutError::Timeout) {
                    if let Err(error) = self.queue.hide(&message.handle, self.visibility) {
                        lost.store(true, Ordering::Relaxed);
                        warn!(error = %chain(&error), "cannot keep the message hidden; another worker may receive it");
                    }
                }
            });
            let outcome = work();
            drop(done);
            outcome
        })
    }

    /// `alone` says whether nobody else can have had the message.
    fn work(&self, message: &Received, alone: &dyn Fn() -> bool, goes_on: GoesOn<'_>) -> Answer {
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
            error!(error = %chain(&problem), "cannot use the ledger or the source");
            Answer::GiveBack(pause(message.deliveries))
        })
    }

    fn work_on(
        &self,
        task: &Task,
        message: &Received,
        alone: &dyn Fn() -> bool,
        goes_on: GoesOn<'_>,
    ) -> io::Result<Answer> {
        if goes_on().is_err() {
            info!("not begun; given back");
            return Ok(Answer::GiveBack(Duration::ZERO));
        }
        let (run, deliveries) = (&task.run, message.deliveries);
        let plan = match self.plans.of(self.store, run)? {
            Ok(plan) => plan,
            Err(error) => return self.refuse(task, message, &Refusal::Plan(error)),
        };
        if task.bucket != self.bucket {
            let refusal = Refusal::Bucket(task.bucket.clone(), self.bucket.to_owned());
            return self.refuse(task, message, &refusal);
        }
        let basis = Basis::from(&*plan);
        let mut left = match self.left(task, message, &basis)? {
            Left::Work(left) => left,
            Left::Nothing => {
                info!("done already");
                return Ok(Answer::Done);
            }
            Left::Hopeless => {
                info!("has failed for good; on to the dead letters");
                return Ok(Answer::GiveBack(Duration::ZERO));
            }
        };
        for _ in 0..ROUNDS {
            let (object, failed_before) = (&left.0, left.1.take());
            let answer = self.job(task, message, object, failed_before, &plan, goes_on)?;
            // Only where two may have been at it can the receipt speak of outputs that the other has replaced.
            if answer != Answer::Done
                || alone()
                || Receipt::find(self.store, run, object, &basis)?.is_some()
                || self.is_purged(run)?
            {
                return Ok(answer);
            }
            info!("another worker has replaced the outputs; doing the object again");
        }
        Ok(Answer::GiveBack(pause(deliveries)))
    }

    /// One attempt at the object.
    fn job(
        &self,
        task: &Task,
        message: &Received,
        object: &ManifestEntry,
        failed_before: Option<Failure>,
        plan: &Plan,
        goes_on: GoesOn<'_>,
    ) -> io::Result<Answer> {
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
            ..Jobs::new(&task.run, plan, self.source, self.store)
        };
        let ended = jobs.work_after(failed_before, object, &|_| may_go_on())?;
        let reached = *limit.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match ended {
            Ended::Done(receipt) => {
                self.close(&Closing::Done(&receipt));
                Answer::Done
            }
            Ended::Failed(failure) => {
                self.close(&Closing::Failed(&failure));
                match failure.verdict {
                    Verdict::Permanent => Answer::GiveBack(Duration::ZERO),
                    Verdict::Retry => Answer::GiveBack(pause(message.deliveries)),
                }
            }
            Ended::Stopped if purged.into_inner() => {
                info!("another run has purged the queue; given up");
                Answer::Done
            }
            Ended::Stopped if reached == Some(Limit::Deadline) => {
                self.refuse(task, message, &Refusal::Deadline)?
            }
            Ended::Stopped => {
                info!("stopped; given back");
                Answer::GiveBack(Duration::ZERO)
            }
        })
    }

    /// What is left to do of a task, by what the ledger says already.
    fn left(&self, task: &Task, message: &Received, basis: &Basis) -> io::Result<Left> {
        let (run, listed) = (&task.run, &task.object);
        if Receipt::find(self.store, run, listed, basis)?.is_some() {
            return Ok(Left::Nothing);
        }
        let failure = Failure::find(self.store, run, &listed.key)?;
        let amended = if message.deliveries > 1 || failure.is_some() {
            Amendment::find(self.store, run, listed)?
        } else {
            None
        };
        if let Some(now) = &amended
            && Receipt::find(self.store, run, now, basis)?.is_some()
        {
            return Ok(Left::Nothing);
        }
        let object = amended.unwrap_or_else(|| listed.clone());
        let for_good = failure.as_ref().filter(|failure| {
            failure.verdict == Verdict::Permanent && failure.object == object && failure.basis == *basis
        });
        let Some(for_good) = for_good else { return Ok(Left::Work(Box::new((object, failure)))) };
        // By this very message: it fails again. Another one is a dead letter that somebody has moved back.
        if for_good.message_id.as_ref() == Some(&message.id) {
            return Ok(Left::Hopeless);
        }
        match self.source.now(&object.key)? {
            Some(now) if now != object => {
                warn!(etag = now.etag, size = now.size, "the object has been replaced since it failed");
                Amendment { listed: listed.clone(), now: now.clone() }.write(self.store, run)?;
                Ok(Left::Work(Box::new((now, failure))))
            }
            _ => Ok(Left::Work(Box::new((object, failure)))),
        }
    }

    fn is_purged(&self, run: &str) -> io::Result<bool> {
        Ok(read_json::<Purged>(self.store, &layout::purged(run))?.is_some())
    }

    /// Notes the refusal, once for each message. The bucket stays wrong; the rest may be better next time.
    fn refuse(&self, task: &Task, message: &Received, refusal: &Refusal) -> io::Result<Answer> {
        let (verdict, answer) = match refusal {
            Refusal::Bucket(..) => (Verdict::Permanent, Answer::GiveBack(Duration::ZERO)),
            Refusal::Plan(_) => (Verdict::Retry, Answer::GiveBack(pause(message.deliveries))),
            Refusal::Deadline => (Verdict::Retry, Answer::GiveBack(Duration::ZERO)),
        };
        let before = Failure::find(self.store, &task.run, &task.object.key)?;
        let is_known = |before: &Failure| {
            before.message_id.as_ref() == Some(&message.id) && before.verdict == Verdict::Permanent
        };
        if verdict == Verdict::Permanent && before.as_ref().is_some_and(is_known) {
            return Ok(answer);
        }
        // Under the run's own basis, or else the failure would not count.
        let asked: Option<Run> = read_json(self.store, &layout::run(&task.run))?;
        let none = || Basis { config_hash: String::new(), lookups_hash: String::new() };
        let attempt = Attempt {
            run: &task.run,
            object: &task.object,
            basis: &asked.map_or_else(none, |run| run.basis),
            number: message.deliveries,
            finished: now(),
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

fn malformed(message: &Received, problem: &TaskError) -> Answer {
    error!(message_id = message.id, error = %chain(problem), "no task; it goes to the dead letters");
    Answer::GiveBack(Duration::ZERO)
}

/// The pause after so many deliveries.
fn pause(deliveries: u32) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(deliveries.saturating_sub(1)));
    doubled.min(LONGEST_PAUSE)
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string);
    causes.collect::<Vec<_>>().join(": ")
}
