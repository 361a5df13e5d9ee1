//! The worker as a Lambda function: batches and deadlines, on the fakes.

use std::{ops::ControlFlow, sync::Mutex, time::Duration};

use aws_lambda_events::sqs::SqsMessage;
use flowherd_shared::{ledger::ReportState, queue::Queue};
use flowherd_worker::lambda::batch;
use jiff::Timestamp;

use super::{
    delivery::{counts, send},
    fleet::Fleet,
};

/// Receives up to ten messages as Lambda passes them to a function.
pub(super) fn receive_as_lambda(fleet: &Fleet) -> Vec<SqsMessage> {
    let messages = fleet.queue.receive(10, Duration::ZERO).unwrap().into_iter().map(|received| {
        let mut message = SqsMessage::default();
        message.message_id = Some(received.id);
        message.receipt_handle = Some(received.handle);
        message.attributes.insert("MessageGroupId".to_owned(), received.group);
        message.attributes.insert("SentTimestamp".to_owned(), received.sent_ms.to_string());
        message.attributes.insert("ApproximateReceiveCount".to_owned(), received.deliveries.to_string());
        message.body = Some(received.body);
        message
    });
    messages.collect()
}

#[test]
fn a_batch_names_only_the_messages_that_are_not_done() {
    let fleet = Fleet::new(6);
    let keys = fleet.source.keys();
    fleet.source.put(&keys[2], b"\x1f\x8b damaged".to_vec());
    let step = fleet.plan("r", "");
    send(&fleet.queue, "odd".to_owned(), "no task".to_owned(), "");
    let messages = receive_as_lambda(&fleet);
    let of_damaged = messages.iter().find(|message| message.body.as_ref().unwrap().contains(&keys[2]));
    let of_odd = messages.iter().find(|message| message.body.as_deref() == Some("no task"));
    let mut expected = [of_damaged, of_odd].map(|message| message.unwrap().message_id.clone().unwrap());
    expected.sort();
    let mut handler = fleet.handler(&fleet.source);
    handler.clock = &|| Timestamp::UNIX_EPOCH;
    let deadline = Timestamp::UNIX_EPOCH + Duration::from_mins(5);
    let response = batch(&handler, messages, deadline, 3).unwrap();
    let mut failed: Vec<String> =
        response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect();
    failed.sort();
    assert_eq!(failed, expected);
    assert_eq!(counts(&fleet.finish(step)), (ReportState::Failed, 5, 1, 0));
}

#[test]
fn a_function_returns_unfinished_messages_to_the_queue_at_once() {
    let fleet = Fleet::new(6);
    let step = fleet.plan("r", "");
    let messages = receive_as_lambda(&fleet);
    // At the deadline, no message is started.
    let mut handler = fleet.handler(&fleet.source);
    handler.clock = &|| Timestamp::UNIX_EPOCH;
    let response = batch(&handler, messages, Timestamp::UNIX_EPOCH, 2).unwrap();
    assert_eq!(response.batch_item_failures.len(), 6);
    assert_eq!(fleet.results(), []);
    assert_eq!(fleet.queue.depth().unwrap().visible, 6, "the messages are not visible at once");
    assert_eq!(counts(&fleet.finish(step)), (ReportState::Done, 6, 0, 0));
}

#[test]
fn an_object_that_exceeds_the_function_timeout_fails_by_name() {
    use flowherd_worker::processor::StopReason;
    let fleet = Fleet::new(1);
    let step = fleet.plan("r", "");
    // The deadline passes after the first check, as with a long object.
    for _ in 0..fleet.settings.max_deliveries {
        let message = fleet.queue.receive(1, Duration::ZERO).unwrap().remove(0);
        let looks = Mutex::new(0);
        let should_continue = || {
            *looks.lock().unwrap() += 1;
            if *looks.lock().unwrap() > 1 {
                ControlFlow::Break(StopReason::Deadline)
            } else {
                ControlFlow::Continue(())
            }
        };
        fleet.handler(&fleet.source).single(&message, &should_continue);
    }
    let report = fleet.finish(step);
    assert_eq!(counts(&report), (ReportState::Failed, 0, 1, 0));
    assert!(report.failures[0].error.contains("raise workerTimeoutSeconds"), "{report:?}");
}
