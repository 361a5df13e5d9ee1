//! The FIFO queue in memory, as SQS documents it: groups, deduplication, visibility, dead letters, purge. Its clock is
//! moved by the test.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use flowherd_shared::queue::{Depth, Outgoing, PurgeError, Queue, Received, Refused};

const DEDUPLICATION: Duration = Duration::from_mins(5);
const PURGE: Duration = Duration::from_mins(1);

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

/// The queue.
#[derive(Debug, Default)]
pub struct MemoryQueue {
    settings: QueueSettings,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    now: Duration,
    /// In the order of sending.
    messages: Vec<Message>,
    dead: Vec<Message>,
    /// By group and deduplication id: when it was sent.
    sent: BTreeMap<(String, String), Duration>,
    last_purge: Option<Duration>,
    handles: u64,
    calls: u64,
    faults: Faults,
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
}

#[derive(Clone, Debug)]
struct Message {
    outgoing: Outgoing,
    deliveries: u32,
    hidden_until: Duration,
    handle: Option<String>,
    /// Received, and neither given back nor acknowledged.
    in_hand: bool,
}

impl MemoryQueue {
    /// With these settings.
    #[must_use]
    pub fn new(settings: QueueSettings) -> Self {
        Self { settings, state: Mutex::default() }
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Lets time pass.
    pub fn advance(&self, time: Duration) {
        self.state().now += time;
    }

    /// Bodies of all messages that are neither acknowledged nor dead, in the order of sending.
    #[must_use]
    pub fn bodies(&self) -> Vec<String> {
        self.state().messages.iter().map(|message| message.outgoing.body.clone()).collect()
    }

    /// Bodies of the dead letters.
    #[must_use]
    pub fn dead(&self) -> Vec<String> {
        self.state().dead.iter().map(|message| message.outgoing.body.clone()).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Queue for MemoryQueue {
    fn send(&self, batch: &[Outgoing]) -> io::Result<Vec<Refused>> {
        assert!((1..=10).contains(&batch.len()), "SQS takes 1 to 10 messages a batch");
        let mut state = self.state();
        state.calls += 1;
        let calls = state.calls;
        let is_due = |every: Option<u64>| every.is_some_and(|every| calls.is_multiple_of(every));
        let (fails, halves) =
            (is_due(state.faults.send_fails_every), is_due(state.faults.send_takes_half_every));
        if fails && calls.is_multiple_of(2) {
            return Err(io::Error::other("injected: the call did not arrive"));
        }
        let mut refused = Vec::new();
        for (position, message) in batch.iter().enumerate() {
            let senders_fault = state.faults.refuse.as_ref().is_some_and(|text| message.body.contains(text));
            if senders_fault || (halves && position % 2 == 1) {
                let why = if senders_fault { "InvalidMessageContents" } else { "InternalError" }.to_owned();
                refused.push(Refused { position, why, senders_fault });
                continue;
            }
            let now = state.now;
            // High-throughput mode: within the group.
            let known = (message.group.clone(), message.deduplication.clone());
            if state.sent.get(&known).is_some_and(|sent| now < *sent + DEDUPLICATION) {
                continue;
            }
            state.sent.insert(known, now);
            // What is sent while a purge is in progress may vanish; here it always does.
            if state.last_purge.is_some_and(|purge| now < purge + PURGE) {
                continue;
            }
            let message = Message {
                outgoing: message.clone(),
                deliveries: 0,
                hidden_until: now,
                handle: None,
                in_hand: false,
            };
            state.messages.push(message);
        }
        if fails { Err(io::Error::other("injected: the answer was lost")) } else { Ok(refused) }
    }

    fn receive(&self, most: usize, wait: Duration) -> io::Result<Vec<Received>> {
        let mut state = self.state();
        let (now, settings) = (state.now, self.settings);
        let mut busy_groups: BTreeSet<String> = state
            .messages
            .iter()
            .filter(|message| message.hidden_until > now)
            .map(|message| message.outgoing.group.clone())
            .collect();
        let (mut received, mut kept, mut dead) = (Vec::new(), Vec::new(), Vec::new());
        for mut message in std::mem::take(&mut state.messages) {
            let group = message.outgoing.group.clone();
            if received.len() == most || busy_groups.contains(&group) {
                // Behind a message of its group that is not done, nothing is delivered.
                busy_groups.insert(group);
                kept.push(message);
            } else if message.deliveries == settings.max_deliveries {
                dead.push(message);
            } else {
                state.handles += 1;
                let handle = format!("handle-{}", state.handles);
                message.deliveries += 1;
                message.hidden_until = now + settings.visibility;
                message.handle = Some(handle.clone());
                message.in_hand = true;
                busy_groups.insert(group);
                let (body, deliveries) = (message.outgoing.body.clone(), message.deliveries);
                received.push(Received { handle, body, deliveries });
                kept.push(message);
            }
        }
        state.messages = kept;
        state.dead.extend(dead);
        // Time passes for those who wait, but not while others work: they take none.
        let is_worked_on = state.messages.iter().any(|message| message.in_hand && message.hidden_until > now);
        if received.is_empty() && is_worked_on {
            drop(state);
            std::thread::yield_now();
        } else if received.is_empty() {
            state.now += wait;
        }
        Ok(received)
    }

    fn acknowledge(&self, handle: &str) -> io::Result<()> {
        let mut state = self.state();
        let now = state.now;
        state
            .messages
            .retain(|message| message.handle.as_deref() != Some(handle) || message.hidden_until <= now);
        Ok(())
    }

    fn hide(&self, handle: &str, time: Duration) -> io::Result<()> {
        let mut state = self.state();
        let now = state.now;
        let held = state.messages.iter_mut().find(|message| message.handle.as_deref() == Some(handle));
        match held.filter(|message| message.hidden_until > now) {
            Some(message) => {
                message.hidden_until = now + time;
                message.in_hand = false;
                Ok(())
            }
            None => Err(io::Error::other("the handle is no longer valid")),
        }
    }

    fn depth(&self) -> io::Result<Depth> {
        let state = self.state();
        let in_flight =
            state.messages.iter().filter(|message| message.hidden_until > state.now).count() as u64;
        Ok(Depth { visible: state.messages.len() as u64 - in_flight, in_flight, delayed: 0 })
    }

    fn purge(&self) -> Result<(), PurgeError> {
        let mut state = self.state();
        let now = state.now;
        if state.last_purge.is_some_and(|purge| now < purge + PURGE) {
            return Err(PurgeError::InProgress);
        }
        state.last_purge = Some(now);
        state.messages.clear();
        Ok(())
    }
}
