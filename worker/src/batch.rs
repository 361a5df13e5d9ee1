//! Handles the messages of one receive: their order, their visibility timeouts, and the calls that delete or return them.
//!
//! All messages of one group name the same object. The worker handles them sequentially, in order. Groups are independent.

use std::{
    collections::BTreeMap,
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        OnceLock, PoisonError, RwLockReadGuard,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use flowherd_shared::{
    backoff,
    error::error_chain,
    ledger::Failure,
    queue::{BATCH, Message, Queue, QueueError, RejectedEntry},
    store::{Source, Store},
    task::Task,
};
use jiff::Timestamp;
use tracing::{debug, error, warn};

use crate::{
    handler::{Disposition, FIRST_PAUSE, MAX_PAUSE, MessageHandler, ShouldContinue, pause},
    order::{Entry, Order, SUSPECT, order},
    processor::StopReason,
};

/// Wait time of a receive. A long wait saves requests, but the worker reacts to a signal only when the receive returns.
const LONG_POLL: Duration = Duration::from_secs(5);
/// Pause between looks at an outage of the cluster, during which the worker receives nothing.
const OUTAGE_POLL: Duration = Duration::from_secs(1);
/// Target time to handle the messages of one receive. No other worker can receive them during this time.
const BATCH_TIME: Duration = Duration::from_secs(20);
/// Maximum attempts to delete or return a message that the queue rejects.
const MAX_ATTEMPTS: u32 = 3;

/// Returns whether work on another message can begin. Must be cheap: it is called before each message.
pub type CanBegin<'a> = &'a (dyn Fn() -> bool + Sync);

/// A received message.
struct InFlight {
    message: Message,
    /// Whether the message is deleted or returned; empty until that is decided.
    disposition: OnceLock<Disposition>,
    /// Why work on the message did not start. [`MessageHandler::stagger_returns`] then sets the disposition.
    not_started: OnceLock<StopReason>,
    /// The worker no longer extends the visibility timeout: it deletes or returns the message, or the timeout has ended.
    is_settled: AtomicBool,
    /// The visibility timeout was not extended in time: another worker can have the message.
    may_be_redelivered: AtomicBool,
    /// The receipt handle is no longer valid: another worker has the message, or it was purged.
    is_gone: AtomicBool,
}

struct Batch {
    messages: Vec<InFlight>,
    /// Number of attempts that have begun.
    begun: AtomicUsize,
    /// Time at which the visibility timeout of all messages was last set, in milliseconds since 1970.
    renewed_ms: AtomicI64,
}

impl Batch {
    fn new(messages: Vec<Message>, received: Timestamp) -> Self {
        let messages = messages.into_iter().map(|message| InFlight {
            message,
            disposition: OnceLock::new(),
            not_started: OnceLock::new(),
            is_settled: AtomicBool::new(false),
            may_be_redelivered: AtomicBool::new(false),
            is_gone: AtomicBool::new(false),
        });
        Self {
            messages: messages.collect(),
            begun: AtomicUsize::new(0),
            renewed_ms: AtomicI64::new(received.as_millisecond()),
        }
    }

    /// Groups the messages. Groups, and the messages of each group, keep the order of arrival.
    fn groups(&self) -> Vec<Vec<&InFlight>> {
        let (mut groups, mut positions) = (Vec::<Vec<&InFlight>>::new(), BTreeMap::new());
        for in_flight in &self.messages {
            let position = *positions.entry(&in_flight.message.group).or_insert(groups.len());
            if position == groups.len() {
                groups.push(Vec::new());
            }
            groups[position].push(in_flight);
        }
        groups
    }

    fn unsettled(&self) -> impl Iterator<Item = &InFlight> {
        self.messages.iter().filter(|in_flight| !in_flight.is_settled.load(Ordering::Relaxed))
    }

    /// Returns whether the visibility timeout may have ended. A suspended machine stops extending visibility; elapsed
    /// wall-clock time reveals it.
    fn has_expired(&self, now: Timestamp, visibility: Duration) -> bool {
        let renewed = self.renewed_ms.load(Ordering::Relaxed);
        let elapsed = now.as_millisecond().abs_diff(renewed);
        u128::from(elapsed) >= visibility.as_millis()
    }
}

impl<I: Source, O: Store, Q: Queue> MessageHandler<'_, I, O, Q> {
    /// Receives messages and handles them sequentially until `can_begin` returns false. The worker then finishes the object
    /// in progress, unless `should_continue` stops it, and returns the messages that it has not started.
    pub fn poll(&self, can_begin: CanBegin<'_>, should_continue: ShouldContinue<'_>) {
        let mut limit = 1;
        while can_begin() {
            // A received message would only be returned, which costs a delivery.
            if self.index.is_some_and(|index| index.outage.remaining((self.clock)()).is_some()) {
                (self.sleep)(OUTAGE_POLL);
                continue;
            }
            // Locked before the receive, because another thread may begin a suspect only while no thread holds messages.
            let shared = self.exclusive.read().unwrap_or_else(PoisonError::into_inner);
            let requested_at = (self.clock)();
            // The visibility timeout begins at an unknown moment of the wait. With a long wait, a short timeout could end
            // before the first extension.
            let wait = LONG_POLL.min(self.visibility / 3);
            let messages = match self.queue.receive(limit, wait) {
                Ok(messages) => messages,
                Err(error) => {
                    drop(shared);
                    error!(error = error_chain(&error), "cannot receive messages; retrying");
                    (self.sleep)(FIRST_PAUSE / 10);
                    continue;
                }
            };
            let (count, began) = (messages.len(), (self.clock)());
            if count > 0 {
                self.process(&Batch::new(messages, requested_at), 1, can_begin, should_continue, shared);
                let took = (self.clock)().duration_since(began).unsigned_abs();
                limit = next_limit(took, count);
            }
        }
    }

    /// Handles messages of one receive, up to `threads` groups in parallel. Returns the dispositions in the order of the
    /// messages; `None` if a disposition is unknown.
    pub fn batch(
        &self,
        messages: Vec<Message>,
        threads: usize,
        can_begin: CanBegin<'_>,
        should_continue: ShouldContinue<'_>,
    ) -> Vec<Option<Disposition>> {
        let batch = Batch::new(messages, (self.clock)());
        let shared = self.exclusive.read().unwrap_or_else(PoisonError::into_inner);
        self.process(&batch, threads, can_begin, should_continue, shared);
        batch.messages.iter().map(|in_flight| in_flight.disposition.get().copied()).collect()
    }

    /// Handles one message.
    pub fn single(&self, message: &Message, should_continue: ShouldContinue<'_>) -> Option<Disposition> {
        self.batch(vec![message.clone()], 1, &|| true, should_continue).remove(0)
    }

    /// Processes a batch while another thread extends the visibility timeouts.
    fn process(
        &self,
        batch: &Batch,
        threads: usize,
        can_begin: CanBegin<'_>,
        should_continue: ShouldContinue<'_>,
        shared: RwLockReadGuard<'_, ()>,
    ) {
        let (done, is_done) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let extender = thread::Builder::new().spawn_scoped(scope, move || self.extend(batch, &is_done));
            // Without this thread, the visibility timeout can end. `has_expired` then reports it.
            let extender = extender.inspect_err(|error| warn!(%error, "cannot start a thread")).ok();
            self.process_in_order(batch, threads, can_begin, should_continue, shared);
            drop(done);
            extender.into_iter().for_each(|extender| drop(extender.join()));
        });
    }

    /// Extends the visibility timeout of all unsettled messages, until the batch is done.
    fn extend(&self, batch: &Batch, is_done: &mpsc::Receiver<()>) {
        let every = self.visibility / 3;
        while is_done.recv_timeout(every) == Err(mpsc::RecvTimeoutError::Timeout) {
            let now = (self.clock)();
            if batch.has_expired(now, self.visibility) {
                batch
                    .unsettled()
                    .for_each(|in_flight| in_flight.may_be_redelivered.store(true, Ordering::Relaxed));
            }
            let unsettled: Vec<&InFlight> = batch.unsettled().collect();
            let (mut is_renewed, mut problem) = (true, None);
            for chunk in unsettled.chunks(BATCH) {
                let changes: Vec<(&str, Duration)> = chunk
                    .iter()
                    .map(|in_flight| (in_flight.message.handle.as_str(), self.visibility))
                    .collect();
                match self.queue.change_visibility_batch(&changes) {
                    Ok(rejected) => {
                        for RejectedEntry { position, reason, sender_fault } in rejected {
                            // A message that was settled meanwhile needs no extension.
                            let is_open = |in_flight: &&&InFlight| in_flight.disposition.get().is_none();
                            let Some(in_flight) = chunk.get(position).filter(is_open) else { continue };
                            in_flight.may_be_redelivered.store(true, Ordering::Relaxed);
                            in_flight.is_gone.store(sender_fault, Ordering::Relaxed);
                            problem = Some(reason);
                        }
                    }
                    Err(error) => {
                        chunk.iter().for_each(|in_flight| {
                            in_flight.may_be_redelivered.store(true, Ordering::Relaxed);
                        });
                        (is_renewed, problem) = (false, Some(error_chain(&error)));
                    }
                }
            }
            if is_renewed {
                batch.renewed_ms.store(now.as_millisecond(), Ordering::Relaxed);
            }
            if let Some(error) = problem {
                warn!(error, "cannot extend the visibility timeout; another worker may receive the message");
            }
        }
    }

    fn process_in_order(
        &self,
        batch: &Batch,
        threads: usize,
        can_begin: CanBegin<'_>,
        should_continue: ShouldContinue<'_>,
        shared_guard: RwLockReadGuard<'_, ()>,
    ) {
        let groups = batch.groups();
        let entries: Vec<Entry> = groups.iter().map(|group| self.entry(group)).collect();
        let Order { shared, alone } = order(&entries);
        let began = (self.clock)();
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(position) = shared.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.process_group(batch, &groups[*position], can_begin, should_continue);
            }
        };
        // If a thread does not start, the others do its work. If one panics, messages without a
        // disposition count as failed.
        thread::scope(|scope| {
            let others = (1..threads.min(shared.len()))
                .filter_map(|_| thread::Builder::new().spawn_scoped(scope, work).ok())
                .collect::<Vec<_>>();
            let own = catch_unwind(AssertUnwindSafe(&work)).is_err();
            if own | others.into_iter().fold(false, |lost, other| lost | other.join().is_err()) {
                error!("a bug in Flowherd: a thread of the worker panicked; please report it");
            }
        });

        self.stagger_returns(batch, began);
        // Settle before a suspect begins, because the suspect can end the process. Without suspects, Lambda deletes the
        // completed messages at the end of the invocation.
        self.settle(batch, self.deletes_messages || !alone.is_empty());
        drop(shared_guard);
        for position in alone {
            let _exclusive = self.exclusive.write().unwrap_or_else(PoisonError::into_inner);
            self.process_group(batch, &groups[position], can_begin, should_continue);
            self.stagger_returns(batch, began);
            self.settle(batch, true);
        }
    }

    /// Sets when the messages that were not started before the deadline become visible again. The first one does so at
    /// once, each further one later by the average duration of an object of this batch. If all became visible at once, one
    /// receive would get all of them, and most would again use up a delivery without an attempt.
    fn stagger_returns(&self, batch: &Batch, since: Timestamp) {
        let is_open = |in_flight: &&InFlight| {
            in_flight.disposition.get().is_none() && in_flight.not_started.get().is_some()
        };
        let mut pending: Vec<&InFlight> = batch.messages.iter().filter(is_open).collect();
        pending.sort_by_key(|in_flight| std::cmp::Reverse(in_flight.message.deliveries));
        let begun = batch.begun.load(Ordering::Relaxed);
        let elapsed = (self.clock)().duration_since(since).unsigned_abs();
        let each =
            u32::try_from(begun).ok().and_then(|begun| elapsed.checked_div(begun)).unwrap_or(Duration::ZERO);
        for (number, in_flight) in (0_u32..).zip(&pending) {
            let pause = each.saturating_mul(number).min(MAX_PAUSE);
            _ = in_flight.disposition.set(Disposition::Retry(pause));
        }
        if pending.len() > batch.messages.len() / 2 {
            let (not_started, messages) = (pending.len(), batch.messages.len());
            warn!(
                not_started,
                messages,
                "most messages not started before the function's deadline; lower batchSize or raise workerTimeoutSeconds"
            );
        }
    }

    /// Handles the messages of one group in order. If one is retried, the later ones wait for it. Otherwise the retry of the
    /// older run would replace the outputs of the newer run
    /// (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>). A message on its last delivery does
    /// not wait: otherwise it would become a dead-letter message without an attempt.
    fn process_group(
        &self,
        batch: &Batch,
        group: &[&InFlight],
        can_begin: CanBegin<'_>,
        should_continue: ShouldContinue<'_>,
    ) {
        let mut waits_for = None;
        for in_flight in group {
            let message = &in_flight.message;
            let is_last = self.max_deliveries.is_some_and(|max| message.deliveries >= max);
            if in_flight.is_gone.load(Ordering::Relaxed) || batch.has_expired((self.clock)(), self.visibility)
            {
                debug!(message_id = message.id, "not started: the visibility timeout has ended");
                in_flight.is_settled.store(true, Ordering::Relaxed);
                return;
            }
            let should_begin =
                || if can_begin() { should_continue() } else { ControlFlow::Break(StopReason::Shutdown) };
            let disposition = match waits_for {
                Some(pause) if !is_last => Disposition::Retry(pause),
                _ => match should_begin() {
                    ControlFlow::Continue(()) => {
                        batch.begun.fetch_add(1, Ordering::Relaxed);
                        self.attempt_message(batch, in_flight, should_continue)
                    }
                    ControlFlow::Break(reason @ StopReason::Deadline) => {
                        _ = in_flight.not_started.set(reason);
                        continue;
                    }
                    ControlFlow::Break(
                        StopReason::Shutdown | StopReason::Purged | StopReason::Unavailable,
                    ) => {
                        debug!(message_id = message.id, "not started: the worker is shutting down");
                        Disposition::Retry(Duration::ZERO)
                    }
                },
            };
            if let Disposition::Retry(pause) = disposition {
                waits_for = Some(pause);
            }
            _ = in_flight.disposition.set(disposition);
        }
    }

    fn attempt_message(
        &self,
        batch: &Batch,
        in_flight: &InFlight,
        should_continue: ShouldContinue<'_>,
    ) -> Disposition {
        let message = &in_flight.message;
        let sole_owner = || {
            message.deliveries == 1
                && !in_flight.may_be_redelivered.load(Ordering::Relaxed)
                && !batch.has_expired((self.clock)(), self.visibility)
        };
        // A panic that one message causes must not end the worker.
        let handled = catch_unwind(AssertUnwindSafe(|| self.handle(message, &sole_owner, should_continue)));
        handled.unwrap_or_else(|_| {
            error!("a bug in Flowherd: the worker panicked; please report it");
            Disposition::Retry(pause(message.deliveries))
        })
    }

    fn entry(&self, group: &[&InFlight]) -> Entry {
        let deliveries = group.iter().map(|in_flight| in_flight.message.deliveries).fold(0, u32::max);
        // With fewer deliveries, the order does not depend on attempts, which cost a read of the ledger.
        let attempts = group.iter().filter(|_| deliveries >= SUSPECT);
        let unfinished_attempts =
            attempts.map(|in_flight| self.unfinished_attempts(&in_flight.message)).fold(0, u32::max);
        Entry { deliveries, unfinished_attempts }
    }

    /// Returns the number of attempts at this message if the last one did not end, otherwise 0. If the ledger cannot be read,
    /// returns 1, so that the message is treated as a suspect.
    fn unfinished_attempts(&self, message: &Message) -> u32 {
        let Ok(task) = Task::parse(&message.body) else { return 0 };
        match Failure::find(self.store, &task.run, &task.object.key) {
            Ok(found) => found
                .filter(|failure| failure.unfinished && failure.message_id.as_ref() == Some(&message.id))
                .map_or(0, |failure| failure.attempts),
            Err(_) => 1,
        }
    }

    /// Deletes or returns every message with a known disposition. If a call fails, the message becomes visible when its
    /// visibility timeout ends, and its next delivery finds the object done.
    fn settle(&self, batch: &Batch, deletes: bool) {
        let (mut done, mut returned) = (Vec::new(), Vec::new());
        for in_flight in batch.unsettled() {
            match in_flight.disposition.get() {
                Some(Disposition::Ack) if deletes => done.push((in_flight, Duration::ZERO)),
                Some(Disposition::Retry(pause)) => returned.push((in_flight, *pause)),
                Some(Disposition::DeadLetter) => returned.push((in_flight, Duration::ZERO)),
                Some(Disposition::Ack) | None => {}
            }
        }
        self.call(&done, |entries| {
            let handles: Vec<&str> =
                entries.iter().map(|(in_flight, _)| in_flight.message.handle.as_str()).collect();
            self.queue.delete_batch(&handles)
        });
        self.call(&returned, |entries| {
            let changes: Vec<(&str, Duration)> = entries
                .iter()
                .map(|(in_flight, pause)| (in_flight.message.handle.as_str(), *pause))
                .collect();
            self.queue.change_visibility_batch(&changes)
        });
    }

    /// Makes a call for all entries, in batches. Retries the entries that the queue rejects, and only those.
    fn call(
        &self,
        entries: &[(&InFlight, Duration)],
        call: impl Fn(&[(&InFlight, Duration)]) -> Result<Vec<RejectedEntry>, QueueError>,
    ) {
        for chunk in entries.chunks(BATCH) {
            // Set before the call, so that the other thread stops extending the visibility timeout.
            chunk.iter().for_each(|(in_flight, _)| in_flight.is_settled.store(true, Ordering::Relaxed));
            let (mut pending, mut problem) = (chunk.to_vec(), None);
            for attempt in 0..MAX_ATTEMPTS {
                if attempt > 0 {
                    let handle = pending.first().map(|(in_flight, _)| &in_flight.message.handle);
                    (self.sleep)(backoff::pause(FIRST_PAUSE / 100, FIRST_PAUSE, attempt, handle));
                }
                match call(&pending) {
                    Err(error) => {
                        problem = Some((pending.len(), error_chain(&error)));
                        break;
                    }
                    Ok(rejected) => {
                        problem = rejected.first().map(|first| (rejected.len(), first.reason.clone()));
                        let retried = rejected.iter().filter(|entry| !entry.sender_fault);
                        pending = retried.filter_map(|entry| pending.get(entry.position).copied()).collect();
                        if pending.is_empty() {
                            break;
                        }
                    }
                }
            }
            if let Some((messages, error)) = problem {
                warn!(
                    messages,
                    error,
                    "cannot delete or return messages; SQS redelivers them after the visibility timeout"
                );
            }
        }
    }
}

/// Returns the maximum messages of the next receive: the count that fits into [`BATCH_TIME`] at the speed of the last batch.
fn next_limit(took: Duration, messages: usize) -> usize {
    let fit = BATCH_TIME.as_millis() * messages as u128 / took.as_millis().max(1);
    usize::try_from(fit).unwrap_or(BATCH).clamp(1, BATCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fast_objects_are_received_ten_at_a_time_and_slow_ones_singly() {
        assert_eq!(next_limit(Duration::ZERO, 1), 10);
        assert_eq!(next_limit(Duration::from_millis(500), 1), 10);
        assert_eq!(next_limit(Duration::from_secs(40), 10), 5);
        assert_eq!(next_limit(Duration::from_mins(3), 1), 1);
        assert_eq!(next_limit(Duration::from_mins(10), 10), 1);
    }
}
