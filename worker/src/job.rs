//! Open ▶ run ▶ commit or abort ▶ receipt or failure.

use std::{
    cell::Cell,
    error::Error,
    io::{self, Read},
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use flowherd_shared::{
    error::{ObjectError, Verdict},
    ledger::{Attempt, Failure, Fingerprint, ManifestEntry, Receipt, layout, put_json},
    pipeline::{self, Finished, Output, Plan},
    store::{Sink, Source, Store, StoreError},
};

/// Bytes behind damage that are read only to learn whose it is, at most.
const MOST_LOOKED_AT: u64 = 64 << 20;

/// What every job of a run shares.
#[allow(missing_debug_implementations)] // it holds a function
pub struct Jobs<'a, I, O> {
    /// The run's name.
    pub run: &'a str,
    /// Rules and names.
    pub plan: &'a Plan,
    /// Where objects come from.
    pub source: &'a I,
    /// Where results go.
    pub store: &'a O,
    /// Asked when all of an object has been read, before the first output is published. False discards it.
    pub may_publish: &'a (dyn Fn() -> Result<bool, StoreError> + Sync),
    /// The message that asks for it, if it is one.
    pub message_id: Option<&'a str>,
    /// Deliveries of that message. Attempts at earlier messages do not make denied access permanent: a redrive is tried
    /// as often as a first message.
    pub deliveries: Option<u32>,
}

/// How a job ended.
#[derive(Debug)]
pub enum Ended {
    /// All outputs and the receipt are there.
    Done(Box<Receipt>),
    /// The failure is written; nothing of the object was published.
    Failed(Failure),
    /// Stopped on request: nothing of the object was published or noted.
    Stopped,
}

impl<'a, I: Source, O: Store> Jobs<'a, I, O> {
    /// All that is read is published.
    pub fn new(run: &'a str, plan: &'a Plan, source: &'a I, store: &'a O) -> Self {
        Self { run, plan, source, store, may_publish: &|| Ok(true), message_id: None, deliveries: None }
    }

    /// Does one job. `watch` is told of the bytes read as they come, and stops the job by answering false. An error
    /// means that the ledger itself could not be written, so nothing is known of the object.
    pub fn work(&self, object: &ManifestEntry, watch: &dyn Fn(u64) -> bool) -> Result<Ended, StoreError> {
        self.work_after(Failure::find(self.store, self.run, &object.key)?, object, watch)
    }

    /// The same, where it is known how it failed before.
    pub fn work_after(
        &self,
        failed_before: Option<Failure>,
        object: &ManifestEntry,
        watch: &dyn Fn(u64) -> bool,
    ) -> Result<Ended, StoreError> {
        let began = Instant::now();
        let stopped = Cell::new(false);

        let number = failed_before.as_ref().map_or(0, |failure| failure.attempts).saturating_add(1);
        let of_message = number.min(self.deliveries.unwrap_or(u32::MAX));
        let outcome = self.publish(object, of_message, &stopped, &|bytes| {
            let goes_on = watch(bytes);
            stopped.set(!goes_on);
            goes_on
        });

        let fingerprint = Fingerprint::from(self.plan);
        let attempt = Attempt {
            run: self.run,
            object,
            fingerprint: &fingerprint,
            number,
            finished: now()?,
            milliseconds: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            message_id: self.message_id,
        };
        match outcome {
            Ok((counts, outputs)) => {
                let receipt = Receipt::new(&attempt, self.plan, &counts, &outputs);
                if let Err(source) = put_json(self.store, &layout::receipt(self.run, &object.key), &receipt) {
                    self.withdraw(object, &outputs);
                    let error = ObjectError::Write {
                        output: layout::receipt(self.run, &object.key),
                        source: source.into(),
                    };
                    return self.fail(&attempt, &error, error.verdict_at(number));
                }
                // The receipt alone already wins over the failure.
                if let Some(failure) = failed_before {
                    failure.remove(self.store)?;
                }
                Ok(Ended::Done(Box::new(receipt)))
            }
            Err(_) if stopped.get() => Ok(Ended::Stopped),
            Err((error, verdict)) => self.fail(&attempt, &*error, verdict),
        }
    }

    fn fail(&self, attempt: &Attempt<'_>, error: &dyn Error, verdict: Verdict) -> Result<Ended, StoreError> {
        let failure = Failure::new(attempt, error, verdict);
        failure.write(self.store)?;
        Ok(Ended::Failed(failure))
    }

    /// Runs the pipeline and publishes all outputs, or none if it fails.
    fn publish(
        &self,
        object: &ManifestEntry,
        attempt: u32,
        stopped: &Cell<bool>,
        watch: &dyn Fn(u64) -> bool,
    ) -> Result<Published, (Box<dyn Error>, Verdict)> {
        let by_verdict = |error: ObjectError| {
            let verdict = error.verdict_at(attempt);
            (error.into(), verdict)
        };
        let body = self
            .source
            .open(object)
            .map_err(|source| by_verdict(ObjectError::Read { at: 0, source: source.into() }))?;
        let mut body = Watched { body, watch, read: 0 };
        // A bug that one object sets off must not take the others with it.
        let ran = catch_unwind(AssertUnwindSafe(|| {
            pipeline::run(&mut body, &object.key, self.plan, |path| Ok(self.store.create(path)?))
        }));
        let Finished { counts, outputs } = match ran {
            Ok(finished) => finished.map_err(|error| by_verdict(body.blamed_for(error)))?,
            Err(_) => {
                return Err((
                    "a bug in Flowherd: the pipeline panicked; please report it".into(),
                    Verdict::Permanent,
                ));
            }
        };

        match (self.may_publish)() {
            Ok(true) => {}
            Ok(false) => {
                stopped.set(true);
                return Err(("stopped".into(), Verdict::Retry));
            }
            Err(source) => {
                return Err(by_verdict(ObjectError::Write {
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
                    return Err(by_verdict(ObjectError::Write {
                        output: output.path,
                        source: source.into(),
                    }));
                }
            }
        }
        self.remove_stale(object, &committed).map_err(|error| {
            self.withdraw(object, &committed);
            by_verdict(error)
        })?;
        Ok((counts, committed))
    }

    /// Takes back what has been published of an object that fails after all, as far as it is still this attempt's: another
    /// worker may have done the object meanwhile, with outputs of the same version. What cannot be taken back has no
    /// receipt.
    fn withdraw(&self, object: &ManifestEntry, committed: &[(Output, String)]) {
        let fingerprint = Fingerprint::from(self.plan);
        if Receipt::find(self.store, self.run, object, &fingerprint).is_ok_and(|receipt| receipt.is_some()) {
            return;
        }
        for (output, etag) in committed {
            if self.store.etag(&output.path).is_ok_and(|now| now.as_ref() == Some(etag)) {
                let _ = self.store.remove(&output.path);
            }
        }
    }

    /// Removes what an earlier run, with other rules, published for this object and this one did not replace.
    fn remove_stale(
        &self,
        object: &ManifestEntry,
        committed: &[(Output, String)],
    ) -> Result<(), ObjectError> {
        let tables = self.plan.config.tables.iter().map(|table| layout::csv(&table.name, &object.key));
        for path in tables.chain([layout::rejects(&object.key)]) {
            if !committed.iter().any(|(output, _)| output.path == path) {
                self.store
                    .remove(&path)
                    .map_err(|source| ObjectError::Write { output: path, source: source.into() })?;
            }
        }
        Ok(())
    }
}

/// What was counted, and the outputs that are committed, each with its version.
type Published = (pipeline::Counts, Vec<(Output, String)>);

/// Tells of the bytes as they are read.
struct Watched<'a, R> {
    body: R,
    watch: &'a dyn Fn(u64) -> bool,
    read: u64,
}

impl<R: Read> Watched<'_, R> {
    /// Damage may be of the way, not of the object. A source that has a checksum tells at the end of the bytes, where
    /// nobody reads after damage in their middle.
    fn blamed_for(&mut self, error: ObjectError) -> ObjectError {
        let is_of_the_bytes = !matches!(error, ObjectError::Read { .. } | ObjectError::Write { .. });
        if !is_of_the_bytes || error.verdict() == Verdict::Retry {
            return error;
        }
        match io::copy(&mut self.take(MOST_LOOKED_AT), &mut io::sink()) {
            Ok(_) => error,
            Err(source) => ObjectError::Read { at: self.read, source },
        }
    }
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.body.read(out)?;
        self.read += count as u64;
        if (self.watch)(count as u64) { Ok(count) } else { Err(io::Error::other("stopped")) }
    }
}

/// Returns the time as ISO-8601 UTC; an error if the clock is outside of the years 1970 to 9999.
pub fn now() -> Result<String, StoreError> {
    let now = jiff::Timestamp::now();
    flowherd_shared::timestamp::iso(now.as_millisecond()).ok_or_else(|| {
        StoreError::transient(format!("the clock of this machine is wrong: {now}; set it, then start again"))
    })
}
