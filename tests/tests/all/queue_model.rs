//! Compares the fake queue and the queue of the local cloud with a model of a FIFO queue, as AWS documents it.
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
const MAX_DELIVERIES: u32 = 3;
const FIVE_MINUTES: u64 = 300;
const MINUTE: u64 = 60;

/// An operation on a queue. `dead`: on its dead-letter queue.
#[derive(Clone, Debug)]
enum Operation {
    /// Messages with their groups and deduplication ids.
    Send(Vec<(u8, u8)>),
    Receive {
        dead: bool,
        limit: usize,
    },
    /// Uses an earlier handle by its number; 0 is the latest.
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

/// A message of the queue or of its dead-letter queue.
#[derive(Clone, Debug)]
struct ModelMessage {
    body: String,
    group: u8,
    id: Option<String>,
    deliveries: u32,
    /// The handle of the latest delivery, and the end of its visibility timeout.
    handle: Option<String>,
    hidden_until: u64,
}

#[derive(Debug, Default)]
struct Model {
    now: u64,
    /// The queue and its dead-letter queue, each in the order of arrival.
    lists: [Vec<ModelMessage>; 2],
    /// Handles in the order of the deliveries.
    handles: [Vec<String>; 2],
    /// Group, deduplication id and time of each accepted message.
    taken: Vec<(u8, u8, u64)>,
    purged: Option<u64>,
    bodies: u32,
}

impl Model {
    fn is_hidden(&self, message: &ModelMessage) -> bool {
        message.hidden_until > self.now
    }

    /// Returns whether the group has a message in flight. SQS then delivers no other message of it.
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

    /// Sorts received messages by their group's position in the list. Only the order within a group is defined.
    fn in_order_of_sending(&self, list: usize, received: &mut [Message]) {
        let at = |got: &Message| self.lists[list].iter().position(|message| message.body == got.body);
        let group = |got: &Message| at(got).map(|at| self.lists[list][at].group);
        for (number, later) in received.iter().enumerate() {
            let earlier = received[..number].iter().filter(|earlier| group(earlier) == group(later));
            assert!(earlier.clone().all(|earlier| at(earlier) < at(later)), "{received:?}");
        }
        received.sort_by_key(at);
    }

    /// Compares received messages with the rules, and records their deliveries.
    fn received(&mut self, list: usize, limit: usize, received: &[Message]) {
        assert!(received.len() <= limit);
        let locked: Vec<u8> = (0..=u8::MAX).filter(|group| self.is_locked(list, *group)).collect();
        let max_deliveries = if list == 0 { MAX_DELIVERIES } else { u32::MAX };
        let mut delivered = received.iter();
        let mut next = delivered.next();
        let mut kept: Vec<ModelMessage> = Vec::new();
        for mut message in std::mem::take(&mut self.lists[list]) {
            let is_free = !locked.contains(&message.group);
            // Messages beyond the batch are not checked.
            let is_full = received.len() == limit && next.is_none();
            if is_free && !is_full && message.deliveries == max_deliveries {
                let dead =
                    ModelMessage { deliveries: 0, handle: None, id: None, hidden_until: self.now, ..message };
                self.lists[1].push(dead);
                continue;
            }
            if is_free && !is_full {
                let got = next.unwrap_or_else(|| panic!("{message:?} is not delivered, but should be"));
                next = delivered.next();
                assert_eq!(got.body, message.body, "not the oldest message of its group");
                message.deliveries += 1;
                assert_eq!(got.deliveries, message.deliveries);
                assert_eq!(message.id.get_or_insert(got.id.clone()), &got.id, "the id has changed");
                assert!(!self.handles[list].contains(&got.handle), "the handle is not new");
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

    /// Returns the message for which a handle is valid.
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

/// Applies the operations to the model and to a queue with its dead-letter queue, and compares the two. With `stale`, also
/// uses handles that are no longer valid.
fn compare<Q: Queue>(queues: [&Q; 2], pass: &dyn Fn(Duration), stale: bool, operations: &[Operation]) {
    let mut model = Model::default();
    for operation in operations {
        match *operation {
            Operation::Send(ref messages) => {
                let batch = model.send(messages);
                assert_eq!(queues[0].send(&batch).unwrap(), []);
            }
            Operation::Receive { dead, limit } => {
                let list = usize::from(dead);
                let mut received = queues[list].receive(limit, Duration::ZERO).unwrap();
                model.in_order_of_sending(list, &mut received);
                model.received(list, limit, &received);
            }
            Operation::Acknowledge { dead, handle } => {
                let list = usize::from(dead);
                let Some(handle) = model.handle(list, handle) else { continue };
                if !stale && model.held(list, &handle).is_none() {
                    continue;
                }
                // Documentation and services disagree about whether an expired handle is an error.
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
    // Most operations are on the queue, few on its dead-letter queue.
    let dead = || prop::bool::weighted(0.15);
    prop_oneof![
        4 => send(),
        6 => (dead(), prop_oneof![1..4_usize, Just(10)]).prop_map(|(dead, limit)| Operation::Receive { dead, limit }),
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
    fn the_fake_queue_behaves_as_the_model(operations in vec(operation(), 1..60)) {
        let settings =
            QueueSettings { visibility: Duration::from_secs(VISIBILITY), max_deliveries: MAX_DELIVERIES };
        let queue = MemoryQueue::new(settings);
        queue.set_faults(Faults { can_redrive: true, ..Faults::default() });
        compare([&queue, &queue.dead_letters()], &|time| queue.advance(time), true, &operations);
    }
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn the_queue_of_the_local_cloud_behaves_as_the_model_while_no_time_passes() {
    let cloud = LocalCloud::start();
    // Receives ten messages, so that the choice of groups does not matter. Lets no time pass, because the test cannot
    // advance a real clock. Uses no handle of a message that is visible again: SQS refuses it, but the local cloud accepts
    // it.
    let handle = || 0..6_usize;
    let operation = prop_oneof![
        3 => send(),
        3 => Just(Operation::Receive { dead: false, limit: 10 }),
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
        let (queue, _, dead) = cloud.queue(&format!("q{}", number.get()), visibility, MAX_DELIVERIES);
        compare([&queue, &dead], &|_| {}, false, &operations);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
