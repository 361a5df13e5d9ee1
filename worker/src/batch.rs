//! Messages that were received together: the order of work, their visibility timeout, and what the queue is told of each.
//!
//! Messages of one group are of one object and are worked on in their order, one at a time. Groups are independent.

use std::{
    collections::BTreeMap,
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
    error::error_chain,
    ledger::Failure,
    queue::{BATCH, Message, Queue, QueueError, RejectedEntry},
    store::{Source, Store},
    task::Task,
};
use jiff::Timestamp;
use tracing::{debug, error, warn};

use crate::{
    order::{Entry, Order, SUSPECT, order},
    tasks::{Answer, FIRST_PAUSE, GoesOn, LONGEST_PAUSE, Limit, Tasks, pause},
};

/// How long a receive waits for a message. A long wait saves requests, and a worker notices a signal only after it.
const LONG_POLL: Duration = Duration::from_secs(5);
/// The time that the messages of one receive should take. Other workers cannot have them meanwhile.
const BATCH_TIME: Duration = Duration::from_secs(20);
/// Attempts to tell the queue of a message that it refuses in a batch.
const ATTEMPTS: u32 = 3;

/// Returns whether work on another message may begin. Called often.
pub type MayBegin<'a> = &'a (dyn Fn() -> bool + Sync);

/// A message that this worker has received.
struct Held {
    message: Message,
    /// What became of it; empty while nothing is known.
    answer: OnceLock<Answer>,
    /// The queue has been told.
    is_settled: AtomicBool,
    /// Extending its visibility timeout failed: another worker may have it.
    is_shared: AtomicBool,
    /// It was not begun, because the time of the process is nearly over.
    is_out_of_time: AtomicBool,
    /// The queue no longer accepts its receipt handle: another worker has it, or it was purged.
    is_gone: AtomicBool,
}

struct Batch {
    held: Vec<Held>,
    /// Attempts that have begun.
    begun: AtomicUsize,
    /// When the visibility timeout of all messages was last set, in milliseconds since 1970.
    renewed_ms: AtomicI64,
}

impl Batch {
    fn new(messages: Vec<Message>, received: Timestamp) -> Self {
        let held = messages.into_iter().map(|message| Held {
            message,
            answer: OnceLock::new(),
            is_settled: AtomicBool::new(false),
            is_shared: AtomicBool::new(false),
            is_out_of_time: AtomicBool::new(false),
            is_gone: AtomicBool::new(false),
        });
        Self {
            held: held.collect(),
            begun: AtomicUsize::new(0),
            renewed_ms: AtomicI64::new(received.as_millisecond()),
        }
    }

    /// In the order of arrival.
    fn groups(&self) -> Vec<Vec<&Held>> {
        let (mut groups, mut places) = (Vec::<Vec<&Held>>::new(), BTreeMap::new());
        for held in &self.held {
            let place = *places.entry(&held.message.group).or_insert(groups.len());
            if place == groups.len() {
                groups.push(Vec::new());
            }
            groups[place].push(held);
        }
        groups
    }

    fn unsettled(&self) -> impl Iterator<Item = &Held> {
        self.held.iter().filter(|held| !held.is_settled.load(Ordering::Relaxed))
    }

    /// Whether the visibility timeout may have ended. A suspended machine extends nothing and notices nothing, but the
    /// clock goes on.
    fn has_expired(&self, now: Timestamp, visibility: Duration) -> bool {
        let renewed = self.renewed_ms.load(Ordering::Relaxed);
        let elapsed = now.as_millisecond().abs_diff(renewed);
        u128::from(elapsed) >= visibility.as_millis()
    }
}

impl<I: Source, O: Store, Q: Queue> Tasks<'_, I, O, Q> {
    /// Receives messages and works on them, one at a time, until `may_begin` returns false. The object in progress is then
    /// finished unless `goes_on` ends it; messages that were not begun are returned at once.
    pub fn poll(&self, may_begin: MayBegin<'_>, goes_on: GoesOn<'_>) {
        let mut limit = 1;
        while may_begin() {
            // Before the receive: a suspect elsewhere in this process begins only when nobody holds messages.
            let shared = self.exclusive.read().unwrap_or_else(PoisonError::into_inner);
            let asked = (self.clock)();
            // Visibility counts from some moment of the wait: a short timeout must not end before the first extension.
            let wait = LONG_POLL.min(self.visibility / 3);
            let messages = match self.queue.receive(limit, wait) {
                Ok(messages) => messages,
                Err(error) => {
                    drop(shared);
                    error!(error = %error_chain(&error), "cannot receive; trying again");
                    (self.rest)(FIRST_PAUSE / 10);
                    continue;
                }
            };
            let (count, began) = (messages.len(), (self.clock)());
            if count > 0 {
                self.work_through(&Batch::new(messages, asked), 1, may_begin, goes_on, shared);
                let took = (self.clock)().duration_since(began).unsigned_abs();
                limit = next_limit(took, count);
            }
        }
    }

    /// Works on messages that were received together, on up to `threads` groups at a time. Returns what became of each,
    /// in their order; `None` if nothing is known.
    pub fn batch(
        &self,
        messages: Vec<Message>,
        threads: usize,
        may_begin: MayBegin<'_>,
        goes_on: GoesOn<'_>,
    ) -> Vec<Option<Answer>> {
        let batch = Batch::new(messages, (self.clock)());
        let shared = self.exclusive.read().unwrap_or_else(PoisonError::into_inner);
        self.work_through(&batch, threads, may_begin, goes_on, shared);
        batch.held.iter().map(|held| held.answer.get().copied()).collect()
    }

    /// Works on one message.
    pub fn answer(&self, message: &Message, goes_on: GoesOn<'_>) -> Option<Answer> {
        self.batch(vec![message.clone()], 1, &|| true, goes_on).remove(0)
    }

    /// Works on a batch while another thread extends the visibility timeouts.
    fn work_through(
        &self,
        batch: &Batch,
        threads: usize,
        may_begin: MayBegin<'_>,
        goes_on: GoesOn<'_>,
        shared: RwLockReadGuard<'_, ()>,
    ) {
        let (done, is_done) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let keeper = thread::Builder::new().spawn_scoped(scope, move || self.extend(batch, &is_done));
            // Without it the batch may expire, and is then treated as such.
            let keeper = keeper.inspect_err(|error| warn!(%error, "cannot start a thread")).ok();
            self.work_in_order(batch, threads, may_begin, goes_on, shared);
            drop(done);
            keeper.into_iter().for_each(|keeper| drop(keeper.join()));
        });
    }

    /// Extends the visibility timeout of all messages that are not settled, in one call, until the batch is done.
    fn extend(&self, batch: &Batch, is_done: &mpsc::Receiver<()>) {
        let every = self.visibility / 3;
        while is_done.recv_timeout(every) == Err(mpsc::RecvTimeoutError::Timeout) {
            let now = (self.clock)();
            if batch.has_expired(now, self.visibility) {
                batch.unsettled().for_each(|held| held.is_shared.store(true, Ordering::Relaxed));
            }
            let held: Vec<&Held> = batch.unsettled().collect();
            let (mut is_renewed, mut problem) = (true, None);
            for chunk in held.chunks(BATCH) {
                let changes: Vec<(&str, Duration)> =
                    chunk.iter().map(|held| (held.message.handle.as_str(), self.visibility)).collect();
                match self.queue.change_visibility_batch(&changes) {
                    Ok(refused) => {
                        for RejectedEntry { position, reason, sender_fault } in refused {
                            // One that was settled meanwhile needs no extension.
                            let is_open = |held: &&&Held| held.answer.get().is_none();
                            let Some(held) = chunk.get(position).filter(is_open) else { continue };
                            held.is_shared.store(true, Ordering::Relaxed);
                            held.is_gone.store(sender_fault, Ordering::Relaxed);
                            problem = Some(reason);
                        }
                    }
                    Err(error) => {
                        chunk.iter().for_each(|held| held.is_shared.store(true, Ordering::Relaxed));
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

    fn work_in_order(
        &self,
        batch: &Batch,
        threads: usize,
        may_begin: MayBegin<'_>,
        goes_on: GoesOn<'_>,
        shared_guard: RwLockReadGuard<'_, ()>,
    ) {
        let groups = batch.groups();
        let entries: Vec<Entry> = groups.iter().map(|group| self.entry(group)).collect();
        let Order { shared, alone } = order(&entries);
        let began = (self.clock)();
        let next = AtomicUsize::new(0);
        let work = || {
            while let Some(at) = shared.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.work_on_group(batch, &groups[*at], may_begin, goes_on);
            }
        };
        // A thread that is lost or was never there leaves messages without an answer, which count as failed.
        thread::scope(|scope| {
            let others = (1..threads.min(shared.len()))
                .filter_map(|_| thread::Builder::new().spawn_scoped(scope, work).ok())
                .collect::<Vec<_>>();
            let own = catch_unwind(AssertUnwindSafe(&work)).is_err();
            if own | others.into_iter().fold(false, |lost, other| lost | other.join().is_err()) {
                error!("a bug in Flowherd: a thread of the worker panicked; please report it");
            }
        });

        self.spread(batch, began);
        // What a suspect takes with it must not be what is done, nor what was never begun. Lambda deletes the messages
        // that are done at the end of the invocation only.
        self.settle(batch, self.acknowledges || !alone.is_empty());
        drop(shared_guard);
        for at in alone {
            let _exclusive = self.exclusive.write().unwrap_or_else(PoisonError::into_inner);
            self.work_on_group(batch, &groups[at], may_begin, goes_on);
            self.spread(batch, began);
            self.settle(batch, true);
        }
    }

    /// Decides when the messages return that the time was too short for: the first one at once, each further one after the
    /// time that an object of this batch took. Returned together, they would be received together, and again most of them
    /// would use up a delivery without being begun.
    fn spread(&self, batch: &Batch, since: Timestamp) {
        let is_open =
            |held: &&Held| held.answer.get().is_none() && held.is_out_of_time.load(Ordering::Relaxed);
        let mut held: Vec<&Held> = batch.held.iter().filter(is_open).collect();
        held.sort_by_key(|held| std::cmp::Reverse(held.message.deliveries));
        let begun = batch.begun.load(Ordering::Relaxed);
        let elapsed = (self.clock)().duration_since(since).unsigned_abs();
        let each =
            u32::try_from(begun).ok().and_then(|begun| elapsed.checked_div(begun)).unwrap_or(Duration::ZERO);
        for (number, held) in (0_u32..).zip(&held) {
            _ = held.answer.set(Answer::Retry(each.saturating_mul(number).min(LONGEST_PAUSE)));
        }
        if held.len() > batch.held.len() / 2 {
            let (not_begun, messages) = (held.len(), batch.held.len());
            warn!(not_begun, messages, "too little time; lower batchSize or raise workerTimeoutSeconds");
        }
    }

    /// After a message that may be tried again, the later ones of its group wait: otherwise the older run's retry would
    /// replace what the newer run has written
    /// (<https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html>). One exception: a message on its
    /// last delivery would become a dead letter without having been begun.
    fn work_on_group(&self, batch: &Batch, group: &[&Held], may_begin: MayBegin<'_>, goes_on: GoesOn<'_>) {
        let mut waits_for = None;
        for held in group {
            let message = &held.message;
            let is_last = self.max_deliveries.is_some_and(|max| message.deliveries >= max);
            if held.is_gone.load(Ordering::Relaxed) || batch.has_expired((self.clock)(), self.visibility) {
                debug!(message_id = message.id, "not begun: the visibility timeout has ended");
                held.is_settled.store(true, Ordering::Relaxed);
                return;
            }
            let answer = match waits_for {
                Some(pause) if !is_last => Answer::Retry(pause),
                _ if !may_begin() => {
                    debug!(message_id = message.id, "not begun: the worker is about to end");
                    Answer::Retry(Duration::ZERO)
                }
                _ => match goes_on() {
                    Ok(()) => {
                        batch.begun.fetch_add(1, Ordering::Relaxed);
                        self.attempt(batch, held, goes_on)
                    }
                    Err(Limit::Stopping) => {
                        debug!(message_id = message.id, "not begun: the worker is about to end");
                        Answer::Retry(Duration::ZERO)
                    }
                    Err(Limit::Deadline) => {
                        held.is_out_of_time.store(true, Ordering::Relaxed);
                        continue;
                    }
                },
            };
            if let Answer::Retry(pause) = answer {
                waits_for = Some(pause);
            }
            _ = held.answer.set(answer);
        }
    }

    fn attempt(&self, batch: &Batch, held: &Held, goes_on: GoesOn<'_>) -> Answer {
        let message = &held.message;
        let alone = || {
            message.deliveries == 1
                && !held.is_shared.load(Ordering::Relaxed)
                && !batch.has_expired((self.clock)(), self.visibility)
        };
        // One message must not cost a worker; it comes back after the pause.
        catch_unwind(AssertUnwindSafe(|| self.work(message, &alone, goes_on))).unwrap_or_else(|_| {
            error!("a bug in Flowherd: the worker panicked; please report it");
            Answer::Retry(pause(message.deliveries))
        })
    }

    fn entry(&self, group: &[&Held]) -> Entry {
        let deliveries = group.iter().map(|held| held.message.deliveries).fold(0, u32::max);
        // Below, the order does not depend on it.
        let attempts = group.iter().filter(|_| deliveries >= SUSPECT);
        let unfinished_attempts =
            attempts.map(|held| self.unfinished_attempts(&held.message)).fold(0, u32::max);
        Entry { deliveries, unfinished_attempts }
    }

    /// The attempts at this message, if the ledger says that the last one began and did not end; otherwise 0. If the ledger
    /// cannot be read, there may be one, which is the cautious answer.
    fn unfinished_attempts(&self, message: &Message) -> u32 {
        let Ok(task) = Task::parse(&message.body) else { return 0 };
        match Failure::find(self.store, &task.run, &task.object.key) {
            Ok(found) => found
                .filter(|failure| failure.unfinished && failure.message_id.as_ref() == Some(&message.id))
                .map_or(0, |failure| failure.attempts),
            Err(_) => 1,
        }
    }

    /// Tells the queue of every message whose outcome is known. A message of which the queue cannot be told comes back
    /// when its visibility timeout ends, and is then found done.
    fn settle(&self, batch: &Batch, deletes: bool) {
        let (mut done, mut returned) = (Vec::new(), Vec::new());
        for held in batch.unsettled() {
            match held.answer.get() {
                Some(Answer::Done) if deletes => done.push((held, Duration::ZERO)),
                Some(Answer::Retry(pause)) => returned.push((held, *pause)),
                Some(Answer::DeadLetter) => returned.push((held, Duration::ZERO)),
                Some(Answer::Done) | None => {}
            }
        }
        self.tell(&done, |entries| {
            let handles: Vec<&str> = entries.iter().map(|(held, _)| held.message.handle.as_str()).collect();
            self.queue.delete_batch(&handles)
        });
        self.tell(&returned, |entries| {
            let changes: Vec<(&str, Duration)> =
                entries.iter().map(|(held, pause)| (held.message.handle.as_str(), *pause)).collect();
            self.queue.change_visibility_batch(&changes)
        });
    }

    /// Makes a call for all entries, in batches. Entries that the queue refuses are tried again, and only those.
    fn tell(
        &self,
        entries: &[(&Held, Duration)],
        call: impl Fn(&[(&Held, Duration)]) -> Result<Vec<RejectedEntry>, QueueError>,
    ) {
        for chunk in entries.chunks(BATCH) {
            // First: whatever happens now, the timeout is not extended any more.
            chunk.iter().for_each(|(held, _)| held.is_settled.store(true, Ordering::Relaxed));
            let (mut left, mut problem) = (chunk.to_vec(), None);
            for attempt in 0..ATTEMPTS {
                if attempt > 0 {
                    (self.rest)(FIRST_PAUSE / 100);
                }
                match call(&left) {
                    Err(error) => {
                        problem = Some((left.len(), error_chain(&error)));
                        break;
                    }
                    Ok(refused) => {
                        problem = refused.first().map(|first| (refused.len(), first.reason.clone()));
                        let again = refused.iter().filter(|refused| !refused.sender_fault);
                        left = again.filter_map(|refused| left.get(refused.position).copied()).collect();
                        if left.is_empty() {
                            break;
                        }
                    }
                }
            }
            if let Some((messages, error)) = problem {
                warn!(messages, error, "cannot delete or return messages; they come back by themselves");
            }
        }
    }
}

/// How many messages to receive next, by the time that the last ones took: as many as fit into [`BATCH_TIME`].
fn next_limit(took: Duration, messages: usize) -> usize {
    let fit = BATCH_TIME.as_millis() * messages as u128 / took.as_millis().max(1);
    usize::try_from(fit).unwrap_or(BATCH).clamp(1, BATCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_objects_are_received_by_ten_and_slow_ones_singly() {
        assert_eq!(next_limit(Duration::ZERO, 1), 10);
        assert_eq!(next_limit(Duration::from_millis(500), 1), 10);
        assert_eq!(next_limit(Duration::from_secs(40), 10), 5);
        assert_eq!(next_limit(Duration::from_mins(3), 1), 1);
        assert_eq!(next_limit(Duration::from_mins(10), 10), 1);
    }
}
