//! An in-memory FIFO queue that behaves as SQS documents: groups, deduplication, visibility, dead-letter queue, purge. The
//! test advances its clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use super::{Injected, Operations};
use flowherd_shared::queue::{Message, NewMessage, PurgeError, Queue, QueueDepth, QueueError, RejectedEntry};

const DEDUPLICATION: Duration = Duration::from_mins(5);
const PURGE: Duration = Duration::from_mins(1);
const PARTITIONS: u64 = 16;
/// Start of the queue's clock in milliseconds since 1970: 2026-02-18.
pub const EPOCH_MS: i64 = 1_771_372_800_000;

/// Settings of a queue.
#[derive(Clone, Copy, Debug)]
pub struct QueueSettings {
    /// The visibility timeout.
    pub visibility: Duration,
    /// Number of deliveries after which a message becomes a dead-letter message.
    pub max_deliveries: u32,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { visibility: Duration::from_mins(15), max_deliveries: 3 }
    }
}

/// The queue. A clone is the same queue.
#[derive(Clone, Debug, Default)]
pub struct MemoryQueue {
    settings: QueueSettings,
    is_dead: bool,
    state: Arc<Mutex<State>>,
}

/// State of the queue and of its dead-letter queue, which share a clock.
#[derive(Debug, Default)]
struct State {
    now: Duration,
    live: List,
    dead: List,
    numbers: u64,
    calls: u64,
    lost: Vec<Lost>,
    faults: Faults,
    operations: Operations,
    requests: Requests,
}

/// Number of requests of a queue's workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// `ReceiveMessage`.
    pub receives: u64,
    /// `DeleteMessageBatch`.
    pub deletes: u64,
    /// `ChangeMessageVisibilityBatch`.
    pub changes: u64,
}

impl Requests {
    /// Returns the number of all requests.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.receives + self.deletes + self.changes
    }
}

/// A message that a purge has deleted.
#[derive(Clone, Debug)]
pub struct Lost {
    /// Its body.
    pub body: String,
    /// Time of the purge, or of the send if that was within the minute after the purge.
    pub at: Duration,
}

#[derive(Debug, Default)]
struct List {
    /// In the order of the sends.
    messages: Vec<StoredMessage>,
    /// Time of the send by group and deduplication id.
    sent: BTreeMap<(String, String), Duration>,
    last_purge: Option<Duration>,
}

/// Injected faults.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Every n-th `send` fails. Half of the failed sends are queued nevertheless.
    pub send_fails_every: Option<u64>,
    /// Every n-th `send` accepts only the even positions.
    pub send_accepts_half_every: Option<u64>,
    /// The queue rejects bodies with this text as the sender's fault.
    pub reject: Option<String>,
    /// Until this time all counts are zero, because the counts of SQS are delayed.
    pub counts_nothing_until: Duration,
    /// Whether one call redrives the dead-letter queue, as on AWS.
    pub can_redrive: bool,
    /// Each receive begins with another partition, which depends on this seed, and returns the oldest messages of each. SQS
    /// distributes the groups of a high-throughput FIFO queue over partitions
    /// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/partitions-and-data-distribution.html>).
    pub shuffles_partitions: Option<u64>,
    /// Number of deletions to reject: the first entry of each batch.
    pub deletions_to_reject: u32,
}

#[derive(Clone, Debug)]
struct StoredMessage {
    id: String,
    outgoing: NewMessage,
    deliveries: u32,
    hidden_until: Duration,
    handle: Option<String>,
    /// Whether the message is received, and neither returned nor deleted.
    is_held: bool,
    sent: Duration,
}

impl MemoryQueue {
    /// Creates an empty queue.
    #[must_use]
    pub fn new(settings: QueueSettings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Returns the dead-letter queue.
    #[must_use]
    pub fn dead_letters(&self) -> Self {
        let never = QueueSettings { max_deliveries: u32::MAX, ..self.settings };
        Self { settings: never, is_dead: true, state: Arc::clone(&self.state) }
    }

    /// Sets the faults from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Fails the operation with this number from now, from 0; `None` fails no operation. Operations of both queues count.
    pub fn fail_at(&self, operation: Option<usize>) {
        self.state().operations.fail_at(operation);
    }

    /// From now on, faults occur after an operation that changes something: its response is lost.
    pub fn lose_responses(&self) {
        self.state().operations.is_late = true;
    }

    /// Returns the number of operations since [`MemoryQueue::fail_at`].
    #[must_use]
    pub fn operations(&self) -> usize {
        self.state().operations.count
    }

    /// Advances the clock.
    pub fn advance(&self, time: Duration) {
        self.state().now += time;
    }

    /// Returns the time since the start of the clock.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.state().now
    }

    /// Returns the bodies of all messages, in the order of the sends.
    #[must_use]
    pub fn bodies(&self) -> Vec<String> {
        self.state().live.bodies()
    }

    /// Returns the bodies of the dead-letter messages.
    #[must_use]
    pub fn dead(&self) -> Vec<String> {
        self.state().dead.bodies()
    }

    /// Returns the messages that purges have deleted.
    #[must_use]
    pub fn lost(&self) -> Vec<Lost> {
        self.state().lost.clone()
    }

    /// Returns the number of requests to the queue and its dead-letter queue.
    #[must_use]
    pub fn requests(&self) -> Requests {
        self.state().requests
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Begins an operation on messages in flight. The worker no longer has them, even if the operation fails.
    fn release(&self, handles: &[&str]) -> Result<MutexGuard<'_, State>, QueueError> {
        assert!((1..=10).contains(&handles.len()), "a batch of SQS has 1 to 10 entries");
        let mut state = self.state();
        for message in &mut state.list(self.is_dead).messages {
            if message.handle.as_deref().is_some_and(|handle| handles.contains(&handle)) {
                message.is_held = false;
            }
        }
        state.operations.next()?;
        Ok(state)
    }

    fn operate(&self) -> Result<MutexGuard<'_, State>, QueueError> {
        let mut state = self.state();
        state.operations.next()?;
        Ok(state)
    }
}

impl State {
    fn list(&mut self, is_dead: bool) -> &mut List {
        if is_dead { &mut self.dead } else { &mut self.live }
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }
}

impl List {
    fn bodies(&self) -> Vec<String> {
        self.messages.iter().map(|message| message.outgoing.body.clone()).collect()
    }
}

impl StoredMessage {
    fn new(outgoing: NewMessage, number: u64, now: Duration) -> Self {
        let id = format!("message-{number}");
        Self { id, outgoing, deliveries: 0, hidden_until: now, handle: None, is_held: false, sent: now }
    }
}

impl Queue for MemoryQueue {
    fn send(&self, batch: &[NewMessage]) -> Result<Vec<RejectedEntry>, QueueError> {
        assert!((1..=10).contains(&batch.len()), "a batch of SQS has 1 to 10 messages");
        let mut state = self.operate()?;
        state.calls += 1;
        let calls = state.calls;
        let is_due = |every: Option<u64>| every.is_some_and(|every| calls.is_multiple_of(every));
        let (fails, halves) =
            (is_due(state.faults.send_fails_every), is_due(state.faults.send_accepts_half_every));
        if fails && calls.is_multiple_of(2) {
            return Err(Injected { message: "injected: the call did not arrive", fault: None }.into());
        }
        let mut rejected = Vec::new();
        for (position, message) in batch.iter().enumerate() {
            let sender_fault = state.faults.reject.as_ref().is_some_and(|text| message.body.contains(text));
            if sender_fault || (halves && position % 2 == 1) {
                let reason = if sender_fault { "InvalidMessageContents" } else { "InternalError" }.to_owned();
                rejected.push(RejectedEntry { position, reason, sender_fault });
                continue;
            }
            let (now, number) = (state.now, state.number());
            let list = state.list(self.is_dead);
            // In high-throughput mode, deduplication is within the group.
            let known = (message.group.clone(), message.deduplication.clone());
            if list.sent.get(&known).is_some_and(|sent| now < *sent + DEDUPLICATION) {
                continue;
            }
            list.sent.insert(known, now);
            // SQS may delete a message that is sent during a purge. The fake always does.
            if list.last_purge.is_some_and(|purge| now < purge + PURGE) {
                state.lost.push(Lost { body: message.body.clone(), at: now });
                continue;
            }
            list.messages.push(StoredMessage::new(message.clone(), number, now));
        }
        if fails {
            Err(Injected { message: "injected: the response was lost", fault: None }.into())
        } else {
            state.operations.respond()?;
            Ok(rejected)
        }
    }

    fn receive(&self, limit: usize, wait: Duration) -> Result<Vec<Message>, QueueError> {
        assert!((1..=10).contains(&limit), "SQS returns 1 to 10 messages");
        let mut state = self.operate()?;
        state.requests.receives += 1;
        let (now, settings, shuffles) = (state.now, self.settings, state.faults.shuffles_partitions);
        let calls = state.requests.receives;
        let messages = std::mem::take(&mut state.list(self.is_dead).messages);
        let hidden = messages.iter().filter(|message| message.hidden_until > now);
        let mut busy_groups: BTreeSet<String> =
            hidden.map(|message| message.outgoing.group.clone()).collect();
        let mut places: Vec<(usize, StoredMessage)> = messages.into_iter().enumerate().collect();
        if let Some(seed) = shuffles {
            let partition = |group: &String| number_of(group) % PARTITIONS;
            places.sort_by_cached_key(|(_, message)| {
                number_of(&(seed, calls, partition(&message.outgoing.group)))
            });
        }
        let (mut received, mut kept) = (Vec::new(), Vec::new());
        for (place, mut message) in places {
            let group = message.outgoing.group.clone();
            if received.len() == limit || busy_groups.contains(&group) {
                // A group with a message in flight is not delivered.
                busy_groups.insert(group);
                kept.push((place, message));
            } else if message.deliveries == settings.max_deliveries {
                let (id, outgoing) = (message.id, message.outgoing);
                state.dead.messages.push(StoredMessage { id, ..StoredMessage::new(outgoing, 0, now) });
            } else {
                let handle = format!("handle-{}", state.number());
                message.deliveries += 1;
                message.hidden_until = now + settings.visibility;
                message.handle = Some(handle.clone());
                message.is_held = true;
                // The response can contain more messages of the group, in order
                // (https://repost.aws/knowledge-center/sqs-fifo-messages-not-returned).
                received.push(Message {
                    id: message.id.clone(),
                    handle,
                    group,
                    body: message.outgoing.body.clone(),
                    deliveries: message.deliveries,
                    sent_ms: EPOCH_MS + i64::try_from(message.sent.as_millis()).unwrap(),
                });
                kept.push((place, message));
            }
        }
        let is_worked_on = kept.iter().any(|(_, message)| message.is_held && message.hidden_until > now);
        kept.sort_by_key(|(place, _)| *place);
        state.list(self.is_dead).messages = kept.into_iter().map(|(_, message)| message).collect();
        // Only waits advance the clock. Work takes no time.
        if received.is_empty() && is_worked_on {
            drop(state);
            std::thread::yield_now();
        } else if received.is_empty() {
            state.now += wait;
        }
        Ok(received)
    }

    fn delete_batch(&self, handles: &[&str]) -> Result<Vec<RejectedEntry>, QueueError> {
        let mut state = self.release(handles)?;
        state.requests.deletes += 1;
        let now = state.now;
        let mut rejected = Vec::new();
        for (position, handle) in handles.iter().enumerate() {
            if position == 0 && state.faults.deletions_to_reject > 0 {
                state.faults.deletions_to_reject -= 1;
                rejected.push(RejectedEntry {
                    position,
                    reason: "InternalError".to_owned(),
                    sender_fault: false,
                });
                continue;
            }
            let held = |message: &StoredMessage| {
                message.handle.as_deref() == Some(handle) && message.hidden_until > now
            };
            state.list(self.is_dead).messages.retain(|message| !held(message));
        }
        state.operations.respond()?;
        Ok(rejected)
    }

    fn change_visibility_batch(
        &self,
        changes: &[(&str, Duration)],
    ) -> Result<Vec<RejectedEntry>, QueueError> {
        let handles: Vec<&str> = changes.iter().map(|(handle, _)| *handle).collect();
        let mut state = self.release(&handles)?;
        state.requests.changes += 1;
        let now = state.now;
        let mut rejected = Vec::new();
        for (position, (handle, time)) in changes.iter().enumerate() {
            let messages = &mut state.list(self.is_dead).messages;
            let held = messages.iter_mut().find(|message| message.handle.as_deref() == Some(handle));
            match held.filter(|message| message.hidden_until > now) {
                Some(message) => message.hidden_until = now + *time,
                None => rejected.push(RejectedEntry {
                    position,
                    reason: "the handle is no longer valid".to_owned(),
                    sender_fault: true,
                }),
            }
        }
        state.operations.respond()?;
        Ok(rejected)
    }

    fn depth(&self) -> Result<QueueDepth, QueueError> {
        let mut state = self.operate()?;
        let now = state.now;
        if now < state.faults.counts_nothing_until {
            return Ok(QueueDepth::default());
        }
        let messages = &state.list(self.is_dead).messages;
        let in_flight = messages.iter().filter(|message| message.hidden_until > now).count() as u64;
        Ok(QueueDepth { visible: messages.len() as u64 - in_flight, in_flight, delayed: 0 })
    }

    fn purge(&self) -> Result<(), PurgeError> {
        let mut state = self.operate().map_err(PurgeError::Failed)?;
        let now = state.now;
        let list = state.list(self.is_dead);
        if list.last_purge.is_some_and(|purge| now < purge + PURGE) {
            return Err(PurgeError::InProgress);
        }
        list.last_purge = Some(now);
        let deleted = std::mem::take(&mut list.messages);
        state.lost.extend(deleted.into_iter().map(|message| Lost { body: message.outgoing.body, at: now }));
        Ok(state.operations.respond()?)
    }

    fn redrive(&self) -> Result<bool, QueueError> {
        let mut state = self.operate()?;
        if !state.faults.can_redrive {
            return Ok(false);
        }
        let now = state.now;
        for letter in std::mem::take(&mut state.dead.messages) {
            let number = state.number();
            state.live.messages.push(StoredMessage::new(letter.outgoing, number, now));
        }
        state.operations.respond()?;
        Ok(true)
    }
}

fn number_of(value: &impl std::hash::Hash) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    value.hash(&mut hasher);
    std::hash::Hasher::finish(&hasher)
}
