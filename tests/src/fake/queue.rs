//! The FIFO queue in memory, as SQS documents it: groups, deduplication, visibility, dead letters, purge. Its clock is
//! moved by the test.

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
/// The time at which the clock of the queue begins, in milliseconds since 1970: 2026-02-18.
pub const EPOCH_MS: i64 = 1_771_372_800_000;

/// What a queue is created with.
#[derive(Clone, Copy, Debug)]
pub struct QueueSettings {
    /// How long a received message is hidden.
    pub visibility: Duration,
    /// After so many deliveries a message becomes a dead letter.
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

/// Of the queue and of its dead letters, which have one clock.
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

/// Requests that the workers of a queue have made.
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
    /// All of them.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.receives + self.deletes + self.changes
    }
}

/// A message that a purge has taken.
#[derive(Clone, Debug)]
pub struct Lost {
    /// Its body.
    pub body: String,
    /// When: of the purge, or of its own sending if that was within the minute after it.
    pub at: Duration,
}

#[derive(Debug, Default)]
struct List {
    /// In the order of sending.
    messages: Vec<StoredMessage>,
    /// By group and deduplication id: when it was sent.
    sent: BTreeMap<(String, String), Duration>,
    last_purge: Option<Duration>,
}

/// What goes wrong on purpose.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Every so-many-th `send` fails as a whole; half of those have arrived all the same.
    pub send_fails_every: Option<u64>,
    /// Every so-many-th `send` takes only the even positions.
    pub send_takes_half_every: Option<u64>,
    /// Bodies that hold this text are refused as wrong.
    pub refuse: Option<String>,
    /// Until then the counts are all zero: SQS's lag behind.
    pub counts_nothing_until: Duration,
    /// Dead letters can be moved by one call, as on AWS.
    pub moves_back: bool,
    /// Each receive begins with another partition, which this number chooses, and takes the oldest messages of each. SQS
    /// distributes the groups of a high-throughput FIFO queue over partitions
    /// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/partitions-and-data-distribution.html>).
    pub shuffles_partitions: Option<u64>,
    /// Every batch of deletions leaves out its first entry, until this many were left out.
    pub deletions_to_refuse: u32,
}

#[derive(Clone, Debug)]
struct StoredMessage {
    id: String,
    outgoing: NewMessage,
    deliveries: u32,
    hidden_until: Duration,
    handle: Option<String>,
    /// Message, and neither given back nor acknowledged.
    in_hand: bool,
    sent: Duration,
}

impl MemoryQueue {
    /// With these settings.
    #[must_use]
    pub fn new(settings: QueueSettings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// The queue of its dead letters.
    #[must_use]
    pub fn dead_letters(&self) -> Self {
        let never = QueueSettings { max_deliveries: u32::MAX, ..self.settings };
        Self { settings: never, is_dead: true, state: Arc::clone(&self.state) }
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Fails the operation with this number; with `None` counts anew and fails none. Those of both queues count.
    pub fn fail_at(&self, operation: Option<usize>) {
        self.state().operations.fail_at(operation);
    }

    /// Faults strike after the operation from now on, if it changes something.
    pub fn lose_responses(&self) {
        self.state().operations.is_late = true;
    }

    /// How many operations there were since [`MemoryQueue::fail_at`].
    #[must_use]
    pub fn operations(&self) -> usize {
        self.state().operations.count
    }

    /// Lets time pass.
    pub fn advance(&self, time: Duration) {
        self.state().now += time;
    }

    /// The time since the beginning.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.state().now
    }

    /// Bodies of all messages that are neither acknowledged nor dead, in the order of sending.
    #[must_use]
    pub fn bodies(&self) -> Vec<String> {
        self.state().live.bodies()
    }

    /// Bodies of the dead letters.
    #[must_use]
    pub fn dead(&self) -> Vec<String> {
        self.state().dead.bodies()
    }

    /// What purges have taken.
    #[must_use]
    pub fn lost(&self) -> Vec<Lost> {
        self.state().lost.clone()
    }

    /// Requests of workers so far, to the queue and its dead letters together.
    #[must_use]
    pub fn requests(&self) -> Requests {
        self.state().requests
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// An operation on messages in hand, which are out of it afterwards whether the operation succeeds or not.
    fn let_go(&self, handles: &[&str]) -> Result<MutexGuard<'_, State>, QueueError> {
        assert!((1..=10).contains(&handles.len()), "SQS takes 1 to 10 entries a batch");
        let mut state = self.state();
        for message in &mut state.list(self.is_dead).messages {
            if message.handle.as_deref().is_some_and(|handle| handles.contains(&handle)) {
                message.in_hand = false;
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
        Self { id, outgoing, deliveries: 0, hidden_until: now, handle: None, in_hand: false, sent: now }
    }
}

impl Queue for MemoryQueue {
    fn send(&self, batch: &[NewMessage]) -> Result<Vec<RejectedEntry>, QueueError> {
        assert!((1..=10).contains(&batch.len()), "SQS takes 1 to 10 messages a batch");
        let mut state = self.operate()?;
        state.calls += 1;
        let calls = state.calls;
        let is_due = |every: Option<u64>| every.is_some_and(|every| calls.is_multiple_of(every));
        let (fails, halves) =
            (is_due(state.faults.send_fails_every), is_due(state.faults.send_takes_half_every));
        if fails && calls.is_multiple_of(2) {
            return Err(Injected { message: "injected: the call did not arrive", fault: None }.into());
        }
        let mut refused = Vec::new();
        for (position, message) in batch.iter().enumerate() {
            let sender_fault = state.faults.refuse.as_ref().is_some_and(|text| message.body.contains(text));
            if sender_fault || (halves && position % 2 == 1) {
                let reason = if sender_fault { "InvalidMessageContents" } else { "InternalError" }.to_owned();
                refused.push(RejectedEntry { position, reason, sender_fault });
                continue;
            }
            let (now, number) = (state.now, state.number());
            let list = state.list(self.is_dead);
            // High-throughput mode: within the group.
            let known = (message.group.clone(), message.deduplication.clone());
            if list.sent.get(&known).is_some_and(|sent| now < *sent + DEDUPLICATION) {
                continue;
            }
            list.sent.insert(known, now);
            // What is sent while a purge is in progress may vanish; here it always does.
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
            Ok(refused)
        }
    }

    fn receive(&self, most: usize, wait: Duration) -> Result<Vec<Message>, QueueError> {
        assert!((1..=10).contains(&most), "SQS gives 1 to 10 messages a call");
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
            if received.len() == most || busy_groups.contains(&group) {
                // Behind a message of its group that is in somebody's hands, nothing is delivered.
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
                message.in_hand = true;
                // More of its group may come along, in their order
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
        let is_worked_on = kept.iter().any(|(_, message)| message.in_hand && message.hidden_until > now);
        kept.sort_by_key(|(place, _)| *place);
        state.list(self.is_dead).messages = kept.into_iter().map(|(_, message)| message).collect();
        // Time passes for those who wait, but not while others work: they take none.
        if received.is_empty() && is_worked_on {
            drop(state);
            std::thread::yield_now();
        } else if received.is_empty() {
            state.now += wait;
        }
        Ok(received)
    }

    fn delete_batch(&self, handles: &[&str]) -> Result<Vec<RejectedEntry>, QueueError> {
        let mut state = self.let_go(handles)?;
        state.requests.deletes += 1;
        let now = state.now;
        let mut refused = Vec::new();
        for (position, handle) in handles.iter().enumerate() {
            if position == 0 && state.faults.deletions_to_refuse > 0 {
                state.faults.deletions_to_refuse -= 1;
                refused.push(RejectedEntry {
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
        Ok(refused)
    }

    fn change_visibility_batch(
        &self,
        changes: &[(&str, Duration)],
    ) -> Result<Vec<RejectedEntry>, QueueError> {
        let handles: Vec<&str> = changes.iter().map(|(handle, _)| *handle).collect();
        let mut state = self.let_go(&handles)?;
        state.requests.changes += 1;
        let now = state.now;
        let mut refused = Vec::new();
        for (position, (handle, time)) in changes.iter().enumerate() {
            let messages = &mut state.list(self.is_dead).messages;
            let held = messages.iter_mut().find(|message| message.handle.as_deref() == Some(handle));
            match held.filter(|message| message.hidden_until > now) {
                Some(message) => message.hidden_until = now + *time,
                None => refused.push(RejectedEntry {
                    position,
                    reason: "the handle is no longer valid".to_owned(),
                    sender_fault: true,
                }),
            }
        }
        state.operations.respond()?;
        Ok(refused)
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
        let taken = std::mem::take(&mut list.messages);
        state.lost.extend(taken.into_iter().map(|message| Lost { body: message.outgoing.body, at: now }));
        Ok(state.operations.respond()?)
    }

    fn redrive(&self) -> Result<bool, QueueError> {
        let mut state = self.operate()?;
        if !state.faults.moves_back {
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
