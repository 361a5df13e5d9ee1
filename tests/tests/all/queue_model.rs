//! A FIFO queue as AWS's pages describe it, in lists and times, against the queue in memory on which the fleet is tested,
//! and against the local cloud's.
//!
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-understanding-logic.html>,
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-exactly-once-processing.html>,
//! <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_PurgeQueue.html>.

use std::{cell::Cell, time::Duration};

use flowherd_shared::queue::{Message, NewMessage, PurgeError, Queue, QueueDepth};
use flowherd_tests::{
    fake::{Faults, MemoryQueue, QueueSettings},
    local_cloud::LocalCloud,
};
use proptest::{
    collection::vec,
    prelude::*,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};

use super::generate::cases;

const VISIBILITY: u64 = 30;
const MOST_DELIVERIES: u32 = 3;
const FIVE_MINUTES: u64 = 300;
const MINUTE: u64 = 60;

/// An operation on a queue. `dead`: on its dead-letter queue.
#[derive(Clone, Debug)]
enum Operation {
    /// Messages, each with its group and its deduplication id.
    Send(Vec<(u8, u8)>),
    Receive {
        dead: bool,
        most: usize,
    },
    /// With a handle that was given at some time, the latest being 0.
    Acknowledge {
        dead: bool,
        handle: usize,
    },
    Hide {
        dead: bool,
        handle: usize,
        seconds: u64,
    },
    Pass(u64),
    Purge,
    MoveBack,
}

/// One message, in the queue or dead.
#[derive(Clone, Debug)]
struct ModelMessage {
    body: String,
    group: u8,
    id: Option<String>,
    deliveries: u32,
    /// The latest delivery's, and until when that one keeps it hidden.
    handle: Option<String>,
    hidden_until: u64,
}

#[derive(Debug, Default)]
struct Model {
    now: u64,
    /// The queue and its dead-letter queue, each in the order of arrival.
    lists: [Vec<ModelMessage>; 2],
    /// Handles in the order in which they were given.
    handles: [Vec<String>; 2],
    /// Group, deduplication id, and when it was taken.
    taken: Vec<(u8, u8, u64)>,
    purged: Option<u64>,
    bodies: u32,
}

impl Model {
    fn is_hidden(&self, message: &ModelMessage) -> bool {
        message.hidden_until > self.now
    }

    /// The group has a message in somebody's hands: nothing else of it is delivered.
    fn is_locked(&self, list: usize, group: u8) -> bool {
        self.lists[list].iter().any(|message| message.group == group && self.is_hidden(message))
    }

    fn send(&mut self, messages: &[(u8, u8)]) -> Vec<NewMessage> {
        let mut batch = Vec::new();
        for &(group, deduplication) in messages {
            self.bodies += 1;
            let body = format!("body {}", self.bodies);
            batch.push(NewMessage {
                body: body.clone(),
                group: format!("group {group}"),
                deduplication: format!("id {deduplication}"),
            });
            let same = |taken: &&(u8, u8, u64)| (taken.0, taken.1) == (group, deduplication);
            if self.taken.iter().filter(same).any(|taken| self.now < taken.2 + FIVE_MINUTES) {
                continue;
            }
            self.taken.push((group, deduplication, self.now));
            if self.purged.is_some_and(|purged| self.now < purged + MINUTE) {
                continue;
            }
            let message =
                ModelMessage { body, group, id: None, deliveries: 0, handle: None, hidden_until: self.now };
            self.lists[0].push(message);
        }
        batch
    }

    /// Groups may come in any order; messages of one group come in theirs.
    fn in_order_of_sending(&self, list: usize, received: &mut [Message]) {
        let at = |got: &Message| self.lists[list].iter().position(|message| message.body == got.body);
        let group = |got: &Message| at(got).map(|at| self.lists[list][at].group);
        for (number, later) in received.iter().enumerate() {
            let earlier = received[..number].iter().filter(|earlier| group(earlier) == group(later));
            assert!(earlier.clone().all(|earlier| at(earlier) < at(later)), "{received:?}");
        }
        received.sort_by_key(at);
    }

    /// Holds what was received against the rules, and takes note of it.
    fn received(&mut self, list: usize, most: usize, received: &[Message]) {
        assert!(received.len() <= most);
        let locked: Vec<u8> = (0..=u8::MAX).filter(|group| self.is_locked(list, *group)).collect();
        let limit = if list == 0 { MOST_DELIVERIES } else { u32::MAX };
        let mut left = received.iter();
        let mut next = left.next();
        let mut kept: Vec<ModelMessage> = Vec::new();
        for mut message in std::mem::take(&mut self.lists[list]) {
            let is_free = !locked.contains(&message.group);
            // Messages beyond the batch are not checked.
            let is_full = received.len() == most && next.is_none();
            if is_free && !is_full && message.deliveries == limit {
                let dead =
                    ModelMessage { deliveries: 0, handle: None, id: None, hidden_until: self.now, ..message };
                self.lists[1].push(dead);
                continue;
            }
            if is_free && !is_full {
                let got = next.unwrap_or_else(|| panic!("{message:?} is not delivered, but should be"));
                next = left.next();
                assert_eq!(got.body, message.body, "the oldest that may be delivered");
                message.deliveries += 1;
                assert_eq!(got.deliveries, message.deliveries);
                assert_eq!(message.id.get_or_insert(got.id.clone()), &got.id, "one id at each delivery");
                assert!(!self.handles[list].contains(&got.handle), "a handle of its own at each delivery");
                self.handles[list].push(got.handle.clone());
                message.handle = Some(got.handle.clone());
                message.hidden_until = self.now + VISIBILITY;
            }
            kept.push(message);
        }
        assert_eq!(next, None, "delivered, but should not be");
        self.lists[list] = kept;
    }

    fn handle(&self, list: usize, number: usize) -> Option<String> {
        let handles = &self.handles[list];
        (number < handles.len()).then(|| handles[handles.len() - 1 - number].clone())
    }

    /// The message that a handle is still good for.
    fn held(&mut self, list: usize, handle: &str) -> Option<usize> {
        let at = self.lists[list].iter().position(|message| message.handle.as_deref() == Some(handle))?;
        self.is_hidden(&self.lists[list][at]).then_some(at)
    }

    fn depth(&self, list: usize) -> QueueDepth {
        let in_flight = self.lists[list].iter().filter(|message| self.is_hidden(message)).count();
        let visible = (self.lists[list].len() - in_flight) as u64;
        QueueDepth { visible, in_flight: in_flight as u64, delayed: 0 }
    }
}

/// Applies the operations to the model and to a queue with its dead-letter queue, and compares the two. `stale`:
/// also with handles that are no longer good.
fn compare<Q: Queue>(queues: [&Q; 2], pass: &dyn Fn(Duration), stale: bool, operations: &[Operation]) {
    let mut model = Model::default();
    for operation in operations {
        match *operation {
            Operation::Send(ref messages) => {
                let batch = model.send(messages);
                assert_eq!(queues[0].send(&batch).unwrap(), []);
            }
            Operation::Receive { dead, most } => {
                let list = usize::from(dead);
                let mut received = queues[list].receive(most, Duration::ZERO).unwrap();
                model.in_order_of_sending(list, &mut received);
                model.received(list, most, &received);
            }
            Operation::Acknowledge { dead, handle } => {
                let list = usize::from(dead);
                let Some(handle) = model.handle(list, handle) else { continue };
                if !stale && model.held(list, &handle).is_none() {
                    continue;
                }
                // For an expired handle, documentation and services disagree about whether it is an error.
                let result = queues[list].delete(&handle);
                if let Some(at) = model.held(list, &handle) {
                    result.unwrap();
                    model.lists[list].remove(at);
                }
            }
            Operation::Hide { dead, handle, seconds } => {
                let list = usize::from(dead);
                let Some(handle) = model.handle(list, handle) else { continue };
                if !stale && model.held(list, &handle).is_none() {
                    continue;
                }
                let result = queues[list].change_visibility(&handle, Duration::from_secs(seconds));
                let held = model.held(list, &handle);
                assert_eq!(result.is_ok(), held.is_some(), "{result:?}");
                if let Some(at) = held {
                    model.lists[list][at].hidden_until = model.now + seconds;
                }
            }
            Operation::Pass(seconds) => {
                pass(Duration::from_secs(seconds));
                model.now += seconds;
            }
            Operation::Purge => {
                let is_early = model.purged.is_some_and(|purged| model.now < purged + MINUTE);
                match queues[0].purge() {
                    Ok(()) => {
                        assert!(!is_early);
                        model.purged = Some(model.now);
                        model.lists[0].clear();
                    }
                    Err(PurgeError::InProgress) => assert!(is_early),
                    Err(error) => panic!("{error}"),
                }
            }
            Operation::MoveBack => {
                assert!(queues[1].redrive().unwrap());
                let back = std::mem::take(&mut model.lists[1]);
                let fresh = |message| ModelMessage { deliveries: 0, handle: None, id: None, ..message };
                model.lists[0].extend(
                    back.into_iter()
                        .map(fresh)
                        .map(|message| ModelMessage { hidden_until: model.now, ..message }),
                );
            }
        }
        for list in [0, 1] {
            assert_eq!(queues[list].depth().unwrap(), model.depth(list), "after {operation:?}");
        }
    }
}

fn send() -> impl Strategy<Value = Operation> {
    vec((0..3_u8, 0..6_u8), 1..5).prop_map(Operation::Send)
}

fn operation() -> impl Strategy<Value = Operation> {
    // Mostly on the queue itself.
    let dead = || prop::bool::weighted(0.15);
    prop_oneof![
        4 => send(),
        6 => (dead(), prop_oneof![1..4_usize, Just(10)]).prop_map(|(dead, most)| Operation::Receive { dead, most }),
        3 => (dead(), 0..6_usize).prop_map(|(dead, handle)| Operation::Acknowledge { dead, handle }),
        3 => (dead(), 0..6_usize, prop_oneof![Just(0), 1..90_u64])
            .prop_map(|(dead, handle, seconds)| Operation::Hide { dead, handle, seconds }),
        4 => prop_oneof![Just(1), Just(VISIBILITY), Just(MINUTE), Just(FIVE_MINUTES), 2..400_u64]
            .prop_map(Operation::Pass),
        1 => Just(Operation::Purge),
        1 => Just(Operation::MoveBack),
    ]
}

proptest! {
    #![proptest_config(cases(3000))]

    #[test]
    fn the_queue_in_memory_does_what_the_model_says(operations in vec(operation(), 1..60)) {
        let settings =
            QueueSettings { visibility: Duration::from_secs(VISIBILITY), max_deliveries: MOST_DELIVERIES };
        let queue = MemoryQueue::new(settings);
        queue.set_faults(Faults { can_redrive: true, ..Faults::default() });
        compare([&queue, &queue.dead_letters()], &|time| queue.advance(time), true, &operations);
    }
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn the_local_clouds_queue_does_what_the_model_says_as_far_as_no_time_passes() {
    let cloud = LocalCloud::start();
    // All places, so that it does not matter which groups are preferred; no time, because the real one cannot be moved; no
    // handle of a message that is visible again, which SQS refuses on a FIFO queue and the local cloud takes.
    let handle = || 0..6_usize;
    let operation = prop_oneof![
        3 => send(),
        3 => Just(Operation::Receive { dead: false, most: 10 }),
        3 => handle().prop_map(|handle| Operation::Acknowledge { dead: false, handle }),
        3 => handle().prop_map(|handle| Operation::Hide { dead: false, handle, seconds: 0 }),
    ];
    let mut runner = TestRunner::new_with_rng(
        ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(12) },
        TestRng::deterministic_rng(RngAlgorithm::ChaCha),
    );
    let number = Cell::new(0);
    let outcome = runner.run(&vec(operation, 1..25), |operations| {
        number.set(number.get() + 1);
        let visibility = Duration::from_mins(10);
        let (queue, _, dead) = cloud.queue(&format!("q{}", number.get()), visibility, MOST_DELIVERIES);
        compare([&queue, &dead], &|_| {}, false, &operations);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
