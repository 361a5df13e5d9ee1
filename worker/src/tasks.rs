//! From a message of the queue to a job, and from its outcome to what the queue must be told.

use std::{
    cell::Cell,
    collections::HashMap,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Mutex,
    time::{Duration, Instant},
};

use flowherd_shared::{
    error::Verdict,
    ledger::{Attempt, Basis, Failure, Receipt, Run, layout, read_json},
    pipeline::Plan,
    queue::{Queue, Received},
    store::{Source, Store},
    task::{Task, TaskError},
};
use tracing::{error, info, warn};

use crate::job::{Ended, Jobs, now};

/// How long a receive waits for a message: long, because an empty answer costs as much as a full one, but a worker that
/// is to stop notices it only then.
const LONG_POLL: Duration = Duration::from_secs(5);
/// The pause before the second attempt at what may succeed later; doubled for each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_mins(15);
/// Runs whose rules are remembered; a worker seldom sees more than one.
const RUNS_REMEMBERED: usize = 64;

/// What the queue must be told of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done: acknowledge it.
    Done,
    /// It is not: give it back, to be delivered again after this time.
    GiveBack(Duration),
}

/// Why a message could not become a job.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the message names bucket {0:?}, but this worker reads {1:?} only")]
    Bucket(String, String),
    #[error(
        "this worker's rules or lookups are not those of the run; deploy the same to both, or begin a new run"
    )]
    Basis,
}

/// Works on messages.
#[derive(Debug)]
pub struct Tasks<'a, I, O, Q> {
    /// Rules and names.
    pub plan: &'a Plan,
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
    /// Waits, when the queue cannot be reached.
    rest: fn(Duration),
    runs: Mutex<HashMap<String, Basis>>,
}

impl<'a, I: Source, O: Store, Q: Queue> Tasks<'a, I, O, Q> {
    /// Nothing is read or received yet.
    pub fn new(
        plan: &'a Plan,
        (bucket, source): (&'a str, &'a I),
        store: &'a O,
        (queue, visibility): (&'a Q, Duration),
    ) -> Self {
        Self {
            plan,
            source,
            bucket,
            store,
            queue,
            visibility,
            rest: std::thread::sleep,
            runs: Mutex::default(),
        }
    }

    /// Receives and works, one message at a time, while `goes_on`. The message in hand is finished.
    pub fn poll(&self, goes_on: &dyn Fn() -> bool) {
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
                // One message must not cost a thread; it comes back when its visibility ends.
                if catch_unwind(AssertUnwindSafe(|| self.answer(&message))).is_err() {
                    error!("a bug in Flowherd: the worker panicked; please report it");
                }
            }
        }
    }

    /// Works on a message, hidden all the while, and tells the queue of the outcome. If the queue cannot be told, the
    /// message comes back by itself, and is found done.
    pub fn answer(&self, message: &Received) {
        let hidden_at = Cell::new(Instant::now());
        let answer = self.work(message, &|_| {
            if hidden_at.get().elapsed() > self.visibility / 3 {
                hidden_at.set(Instant::now());
                if let Err(error) = self.queue.hide(&message.handle, self.visibility) {
                    warn!(error = %chain(&error), "cannot keep the message hidden; another worker may receive it");
                }
            }
            true
        });
        let told = match answer {
            Answer::Done => self.queue.acknowledge(&message.handle),
            Answer::GiveBack(pause) => self.queue.hide(&message.handle, pause),
        };
        if let Err(error) = told {
            warn!(error = %chain(&error), "cannot tell the queue; the message will come back");
        }
    }

    /// Works on a message. `watch` is told of the bytes read, and stops the work by answering false: the message is
    /// given back at once.
    pub fn work(&self, message: &Received, watch: &dyn Fn(u64) -> bool) -> Answer {
        let task = match Task::parse(&message.body) {
            Ok(task) => task,
            Err(problem) => return malformed(&problem),
        };
        self.work_on(&task, message.deliveries, watch).unwrap_or_else(|problem| {
            error!(run = task.run, key = task.object.key, error = %chain(&problem), "cannot use the ledger");
            Answer::GiveBack(pause(message.deliveries))
        })
    }

    fn work_on(&self, task: &Task, deliveries: u32, watch: &dyn Fn(u64) -> bool) -> io::Result<Answer> {
        let (run, object) = (&task.run, &task.object);
        let basis = Basis::from(self.plan);
        if task.bucket != self.bucket {
            let refusal = Refusal::Bucket(task.bucket.clone(), self.bucket.to_owned());
            return self.refuse(task, deliveries, &basis, &refusal);
        }
        if Receipt::find(self.store, run, object, &basis)?.is_some() {
            info!(run, key = object.key, "done already");
            return Ok(Answer::Done);
        }
        if self.basis_of(run, &basis)?.as_ref() != Some(&basis) {
            return self.refuse(task, deliveries, &basis, &Refusal::Basis);
        }
        // What failed for good fails again: straight on to the dead letters. Redriven from there, it counts anew.
        if deliveries > 1
            && let Some(failure) = Failure::find(self.store, run, &object.key)?
            && failure.verdict == Verdict::Permanent
            && failure.object == *object
            && failure.basis == basis
        {
            return Ok(Answer::GiveBack(Duration::ZERO));
        }
        let jobs = Jobs { run, plan: self.plan, source: self.source, store: self.store };
        Ok(match jobs.work(object, watch)? {
            Ended::Done(receipt) => {
                info!(
                    run,
                    key = object.key,
                    attempt = receipt.attempt,
                    rows = receipt.records.rows,
                    rejected = receipt.records.rejected,
                    control = receipt.records.control,
                    bytes_in = receipt.bytes.compressed_in,
                    bytes_out = receipt.bytes.compressed_out,
                    milliseconds = receipt.milliseconds,
                    "done"
                );
                Answer::Done
            }
            Ended::Failed(failure) => {
                let attempt = failure.attempts;
                warn!(run, key = object.key, attempt, verdict = ?failure.verdict, error = failure.error(), "failed");
                match failure.verdict {
                    Verdict::Permanent => Answer::GiveBack(Duration::ZERO),
                    Verdict::Retry => Answer::GiveBack(pause(deliveries)),
                }
            }
            Ended::Stopped => {
                info!(run, key = object.key, "stopped; given back");
                Answer::GiveBack(Duration::ZERO)
            }
        })
    }

    /// What a run was begun with. Read once for each run, and again as long as it is not what this worker has: the run
    /// may only just have been begun, or resumed with other rules.
    fn basis_of(&self, run: &str, own: &Basis) -> io::Result<Option<Basis>> {
        let broken = |_| io::Error::other("another thread panicked");
        if self.runs.lock().map_err(broken)?.get(run) == Some(own) {
            return Ok(Some(own.clone()));
        }
        let asked: Option<Run> = read_json(self.store, &layout::run(run))?;
        let Some(basis) = asked.map(|run| run.basis) else { return Ok(None) };
        let mut runs = self.runs.lock().map_err(|_| io::Error::other("another thread panicked"))?;
        if runs.len() == RUNS_REMEMBERED {
            runs.clear();
        }
        runs.insert(run.to_owned(), basis.clone());
        Ok(Some(basis))
    }

    /// Notes the refusal. The bucket stays wrong; other rules may be deployed while the message waits.
    fn refuse(&self, task: &Task, deliveries: u32, basis: &Basis, refusal: &Refusal) -> io::Result<Answer> {
        let (verdict, answer) = match refusal {
            Refusal::Bucket(..) => (Verdict::Permanent, Answer::GiveBack(Duration::ZERO)),
            Refusal::Basis => (Verdict::Retry, Answer::GiveBack(pause(deliveries))),
        };
        error!(run = task.run, key = task.object.key, error = %refusal, "refused");
        let asked = self.basis_of(&task.run, basis)?.unwrap_or_else(|| basis.clone());
        let attempt = Attempt {
            run: &task.run,
            object: &task.object,
            basis: &asked,
            number: deliveries,
            finished: now(),
            milliseconds: 0,
        };
        Failure::new(&attempt, refusal, verdict).write(self.store)?;
        Ok(answer)
    }
}

fn malformed(problem: &TaskError) -> Answer {
    error!(error = %chain(problem), "no task; it goes to the dead letters");
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
