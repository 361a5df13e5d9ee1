//! Processes one object: opens it, runs the pipeline, publishes the outputs or none, and writes a receipt or a failure.

use std::{
    error::Error,
    io::{self, Read},
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use flowherd_shared::{
    error::{ObjectError, Verdict},
    ledger::{Attempt, Failure, Fingerprint, ManifestEntry, Receipt, layout, put_json},
    pipeline::{self, Finished, Output, RunConfig},
    store::{Sink, Source, Store, StoreError},
};

/// Maximum number of bytes to read after damage to find out whether the transfer caused it.
const MAX_READ_AFTER_DAMAGE: u64 = 64 << 20;

/// Why an attempt stopped before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The process is about to end.
    Shutdown,
    /// The time of the function is nearly over.
    Deadline,
    /// Another run has purged the queue.
    Purged,
    /// The search cluster accepts nothing now.
    Unavailable,
}

/// Processes the objects of one run.
#[allow(missing_debug_implementations)] // sources and stores need not implement it
pub struct ObjectProcessor<'a, I, O> {
    /// The name of the run.
    pub run: &'a str,
    /// Configuration and names.
    pub run_config: &'a RunConfig,
    /// Source of the objects.
    pub source: &'a I,
    /// Store of the outputs and of the ledger.
    pub store: &'a O,
}

/// One attempt at an object.
#[derive(Debug)]
pub struct Job<'a> {
    /// The object.
    pub object: &'a ManifestEntry,
    /// The failure of an earlier attempt in this run.
    pub previous: Option<Failure>,
    /// The delivery of the queue message; `None` without a queue.
    pub delivery: Option<Delivery<'a>>,
}

/// One delivery of a queue message.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The id of the message.
    pub message_id: &'a str,
    /// Number of deliveries of the message, this one included. Attempts at earlier messages do not make denied access
    /// permanent: a redriven message gets as many attempts as the first one.
    pub number: u32,
}

/// Decides whether an attempt continues.
#[allow(missing_debug_implementations)] // it contains functions
pub struct Control<'a> {
    /// Called with the number of bytes after each read of the object.
    pub should_continue: &'a dyn Fn(u64) -> ControlFlow<StopReason>,
    /// Called after the last byte of the object, before the first output is published.
    pub can_publish: &'a dyn Fn() -> Result<ControlFlow<StopReason>, StoreError>,
}

impl Control<'_> {
    /// Never stops an attempt.
    pub const NEVER_STOP: Control<'static> = Control {
        should_continue: &|_| ControlFlow::Continue(()),
        can_publish: &|| Ok(ControlFlow::Continue(())),
    };
}

/// Outcome of an attempt.
#[derive(Debug)]
pub enum Outcome {
    /// All outputs and the receipt are written.
    Done(Box<Receipt>),
    /// The failure is written. No output is published.
    Failed(Failure),
    /// The attempt was stopped. It published nothing and wrote nothing to the ledger.
    Stopped(StopReason),
}

/// Counts, and the committed outputs with their versions.
type Published = (pipeline::Counts, Vec<(Output, String)>);

/// Why an attempt published nothing.
enum Unpublished {
    Stopped(StopReason),
    Failed(Box<dyn Error>, Verdict),
}

/// Carries a [`StopReason`] through [`Read`], whose only way to end the pipeline is an error.
#[derive(Debug, thiserror::Error)]
#[error("the attempt was stopped")]
struct Stopped(StopReason);

/// Returns why reading stopped, if the attempt was stopped.
fn stop_reason(error: &ObjectError) -> Option<StopReason> {
    let ObjectError::Read { source, .. } = error else { return None };
    source.get_ref()?.downcast_ref().map(|Stopped(reason)| *reason)
}

impl<'a, I: Source, O: Store> ObjectProcessor<'a, I, O> {
    /// Creates a processor of one run.
    pub fn new(run: &'a str, run_config: &'a RunConfig, source: &'a I, store: &'a O) -> Self {
        Self { run, run_config, source, store }
    }

    /// Makes one attempt at an object that no queue message names. Fails only if the ledger cannot be used.
    pub fn process_unqueued(
        &self,
        object: &ManifestEntry,
        control: &Control<'_>,
    ) -> Result<Outcome, StoreError> {
        let previous = Failure::find(self.store, self.run, &object.key)?;
        self.process(Job { object, previous, delivery: None }, control)
    }

    /// Makes one attempt at an object. Fails only if the ledger cannot be written: the outcome is then unknown.
    pub fn process(&self, job: Job<'_>, control: &Control<'_>) -> Result<Outcome, StoreError> {
        let began = Instant::now();
        let Job { object, previous, delivery } = job;
        let number = previous.as_ref().map_or(0, |failure| failure.attempts).saturating_add(1);
        let number_of_message = delivery.map_or(number, |delivery| number.min(delivery.number));
        let published = self.publish(object, number_of_message, control);
        let fingerprint = Fingerprint::from(self.run_config);
        let attempt = Attempt {
            run: self.run,
            object,
            fingerprint: &fingerprint,
            number,
            finished: now()?,
            milliseconds: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            message_id: delivery.map(|delivery| delivery.message_id),
        };
        let (counts, outputs) = match published {
            Ok(published) => published,
            Err(Unpublished::Stopped(reason)) => return Ok(Outcome::Stopped(reason)),
            Err(Unpublished::Failed(error, verdict)) => return self.fail(&attempt, &*error, verdict),
        };
        let receipt = Receipt::new(&attempt, self.run_config, &counts, &outputs);
        let path = layout::receipt(self.run, &object.key);
        if let Err(source) = put_json(self.store, &path, &receipt) {
            self.withdraw(object, &outputs);
            let error = ObjectError::Write { output: path, source: source.into() };
            return self.fail(&attempt, &error, error.verdict_at(number));
        }
        // If this is lost, the receipt still counts and the failure does not.
        if let Some(failure) = previous {
            failure.remove(self.store)?;
        }
        Ok(Outcome::Done(Box::new(receipt)))
    }

    fn fail(
        &self,
        attempt: &Attempt<'_>,
        error: &dyn Error,
        verdict: Verdict,
    ) -> Result<Outcome, StoreError> {
        let failure = Failure::new(attempt, error, verdict);
        failure.write(self.store)?;
        Ok(Outcome::Failed(failure))
    }

    /// Runs the pipeline and publishes all outputs, or none if it fails. `attempt` is the number of this attempt, from 1.
    fn publish(
        &self,
        object: &ManifestEntry,
        attempt: u32,
        control: &Control<'_>,
    ) -> Result<Published, Unpublished> {
        let failed = |error: ObjectError| {
            let verdict = error.verdict_at(attempt);
            Unpublished::Failed(error.into(), verdict)
        };
        let Finished { counts, outputs } = self.run_pipeline(object, attempt, control)?;
        match (control.can_publish)() {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(reason)) => return Err(Unpublished::Stopped(reason)),
            Err(source) => {
                return Err(failed(ObjectError::Write {
                    output: layout::purged(self.run),
                    source: source.into(),
                }));
            }
        }
        let mut committed = Vec::with_capacity(outputs.len());
        for (output, sink) in outputs {
            match sink.commit() {
                Ok(etag) => committed.push((output, etag)),
                Err(source) => {
                    self.withdraw(object, &committed);
                    return Err(failed(ObjectError::Write { output: output.path, source: source.into() }));
                }
            }
        }
        if let Err(error) = self.remove_stale(object, &committed) {
            self.withdraw(object, &committed);
            return Err(failed(error));
        }
        Ok((counts, committed))
    }

    fn run_pipeline(
        &self,
        object: &ManifestEntry,
        attempt: u32,
        control: &Control<'_>,
    ) -> Result<Finished<O::Sink>, Unpublished> {
        let failed = |error: ObjectError| {
            if let Some(reason) = stop_reason(&error) {
                return Unpublished::Stopped(reason);
            }
            let verdict = error.verdict_at(attempt);
            Unpublished::Failed(error.into(), verdict)
        };
        let opened = self.source.open(object);
        let body = opened.map_err(|source| failed(ObjectError::Read { at: 0, source: source.into() }))?;
        let mut body = ControlledBody { body, should_continue: control.should_continue, read: 0 };
        // A panic that one object causes must not end the work on the others.
        let finished = catch_unwind(AssertUnwindSafe(|| {
            pipeline::run(&mut body, &object.key, self.run_config, |path| Ok(self.store.create(path)?))
        }));
        match finished {
            Ok(finished) => finished.map_err(|error| failed(body.find_cause(error))),
            Err(_) => Err(Unpublished::Failed(
                "a bug in Flowherd: the pipeline panicked; please report it".into(),
                Verdict::Permanent,
            )),
        }
    }

    /// Removes the published outputs of an object that fails after all. Keeps outputs that are not of this attempt: another
    /// worker may have processed the object meanwhile, with outputs of the same version. An output that cannot be removed
    /// has no receipt.
    fn withdraw(&self, object: &ManifestEntry, committed: &[(Output, String)]) {
        let fingerprint = Fingerprint::from(self.run_config);
        let receipt = Receipt::find(self.store, self.run, object, &fingerprint);
        if receipt.is_ok_and(|receipt| receipt.is_some()) {
            return;
        }
        for (output, etag) in committed {
            if self.store.etag(&output.path).is_ok_and(|now| now.as_ref() == Some(etag)) {
                let _ = self.store.remove(&output.path);
            }
        }
    }

    /// Removes the outputs of an earlier run with another configuration that this attempt did not replace.
    fn remove_stale(
        &self,
        object: &ManifestEntry,
        committed: &[(Output, String)],
    ) -> Result<(), ObjectError> {
        let tables = self.run_config.config.tables.iter().map(|table| layout::csv(&table.name, &object.key));
        let paths = tables.chain([layout::rejects(&object.key)]);
        let stale: Vec<String> =
            paths.filter(|path| !committed.iter().any(|(output, _)| output.path == *path)).collect();
        let Some(first) = stale.first() else { return Ok(()) };
        let removed = self.store.remove_all(&stale);
        removed.map_err(|source| ObjectError::Write { output: first.clone(), source: source.into() })
    }
}

/// The bytes of an object, which end with [`Stopped`] when the attempt is to stop.
struct ControlledBody<'a, R> {
    body: R,
    should_continue: &'a dyn Fn(u64) -> ControlFlow<StopReason>,
    read: u64,
}

impl<R: Read> ControlledBody<'_, R> {
    /// Returns the read error that caused damage, or else the damage. The corruption may have happened in transit. A source
    /// with a checksum reports that at the last byte, which the pipeline does not read after damage.
    fn find_cause(&mut self, error: ObjectError) -> ObjectError {
        let is_damage = !matches!(error, ObjectError::Read { .. } | ObjectError::Write { .. });
        if !is_damage || error.verdict() == Verdict::Retry {
            return error;
        }
        match io::copy(&mut self.take(MAX_READ_AFTER_DAMAGE), &mut io::sink()) {
            Ok(_) => error,
            Err(source) => ObjectError::Read { at: self.read, source },
        }
    }
}

impl<R: Read> Read for ControlledBody<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.body.read(out)?;
        self.read += count as u64;
        match (self.should_continue)(count as u64) {
            ControlFlow::Continue(()) => Ok(count),
            ControlFlow::Break(reason) => Err(io::Error::other(Stopped(reason))),
        }
    }
}

/// The clock of this machine is wrong.
#[derive(Debug, thiserror::Error)]
#[error("the clock of this machine is wrong: {0}; set it, then start again")]
pub struct ClockError(jiff::Timestamp);

/// A receipt without a valid time cannot be written. A later attempt can succeed.
impl From<ClockError> for StoreError {
    fn from(error: ClockError) -> Self {
        Self::Transient(error.into())
    }
}

/// Returns the time as ISO-8601 UTC. Fails outside the years 1970 to 9999.
pub fn now() -> Result<String, ClockError> {
    let now = jiff::Timestamp::now();
    flowherd_shared::timestamp::iso(now.as_millisecond()).ok_or(ClockError(now))
}
