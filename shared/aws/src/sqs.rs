//! A FIFO queue of SQS.

use std::{collections::BTreeSet, io, time::Duration};

use aws_sdk_sqs::{
    Client,
    error::ProvideErrorMetadata,
    operation::purge_queue::PurgeQueueError,
    types::{
        BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry,
        ChangeMessageVisibilityBatchResultEntry, DeleteMessageBatchRequestEntry,
        DeleteMessageBatchResultEntry, Message, MessageSystemAttributeName, QueueAttributeName,
        SendMessageBatchRequestEntry, SendMessageBatchResultEntry,
    },
};
use flowherd_shared::queue::{Depth, Outgoing, PurgeError, Queue, Received, Refused};
use tokio::runtime::Handle;

pub use self::attributes::QueueAttributes;
use crate::io_error;

mod attributes;

/// What every message is received with.
const SYSTEM_ATTRIBUTES: [MessageSystemAttributeName; 3] = [
    MessageSystemAttributeName::ApproximateReceiveCount,
    MessageSystemAttributeName::MessageGroupId,
    MessageSystemAttributeName::SentTimestamp,
];

/// One queue.
#[derive(Clone, Debug)]
pub struct SqsQueue {
    client: Client,
    handle: Handle,
    url: String,
}

impl SqsQueue {
    /// `handle` is of the runtime on which the client works.
    #[must_use]
    pub fn new(client: Client, handle: Handle, url: &str) -> Self {
        Self { client, handle, url: url.to_owned() }
    }

    /// Returns how the queue is set up.
    pub fn attributes(&self) -> io::Result<QueueAttributes> {
        let names = [
            QueueAttributeName::FifoQueue,
            QueueAttributeName::VisibilityTimeout,
            QueueAttributeName::RedrivePolicy,
        ];
        let request = self.client.get_queue_attributes().queue_url(&self.url);
        let answer = match self.handle.block_on(request.set_attribute_names(Some(names.to_vec())).send()) {
            Ok(answer) => answer,
            // A queue that is not FIFO does not know the attribute, and SQS refuses to be asked for it
            // (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html>).
            Err(error) if error.code() == Some("InvalidAttributeName") => {
                let names = [QueueAttributeName::VisibilityTimeout, QueueAttributeName::RedrivePolicy];
                let request = self.client.get_queue_attributes().queue_url(&self.url);
                let request = request.set_attribute_names(Some(names.to_vec())).send();
                self.handle.block_on(request).map_err(|error| io_error(&error))?
            }
            Err(error) => return Err(io_error(&error)),
        };
        QueueAttributes::read(&|name| Some(answer.attributes()?.get(name)?.as_str()))
    }

    /// Returns the URL of the queue with this ARN.
    pub fn url_of(&self, arn: &str) -> io::Result<String> {
        // arn:aws:sqs:<region>:<account>:<name>
        let [.., account, name] = *arn.split(':').collect::<Vec<_>>() else {
            return Err(io::Error::other(format!("{arn:?} is not the ARN of a queue")));
        };
        let request = self.client.get_queue_url().queue_name(name).queue_owner_aws_account_id(account).send();
        let answer = self.handle.block_on(request).map_err(|error| io_error(&error))?;
        answer.queue_url.ok_or_else(|| io::Error::other(format!("SQS returned no URL for {arn}")))
    }

    /// Attributes that are numbers.
    fn attribute(&self, names: &[QueueAttributeName]) -> io::Result<Vec<u64>> {
        let request = self.client.get_queue_attributes().queue_url(&self.url);
        let request = request.set_attribute_names(Some(names.to_vec())).send();
        let answer = self.handle.block_on(request).map_err(|error| io_error(&error))?;
        let value =
            |name| answer.attributes().and_then(|all| all.get(name)).and_then(|value| value.parse().ok());
        let missing = |name| io::Error::other(format!("the queue has no attribute {name}"));
        names.iter().map(|name| value(name).ok_or_else(|| missing(name))).collect()
    }
}

impl Queue for SqsQueue {
    fn send(&self, batch: &[Outgoing]) -> io::Result<Vec<Refused>> {
        let entry = |(position, message): (usize, &Outgoing)| {
            SendMessageBatchRequestEntry::builder()
                .id(position.to_string())
                .message_body(&message.body)
                .message_group_id(&message.group)
                .message_deduplication_id(&message.deduplication)
                .build()
                .map_err(|error| io_error(&error))
        };
        let entries = batch.iter().enumerate().map(entry).collect::<io::Result<Vec<_>>>()?;
        let request = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(entries)).send();
        let answer = self.handle.block_on(request).map_err(|error| io_error(&error))?;
        let taken = answer.successful().iter().map(SendMessageBatchResultEntry::id);
        Ok(refused(batch.len(), &taken.collect(), answer.failed()))
    }

    fn receive(&self, most: usize, wait: Duration) -> io::Result<Vec<Received>> {
        let request = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(number(most)?)
            .wait_time_seconds(number(wait.as_secs())?)
            .set_message_system_attribute_names(Some(SYSTEM_ATTRIBUTES.to_vec()))
            .send();
        let answer = self.handle.block_on(request).map_err(|error| io_error(&error))?;
        answer.messages.unwrap_or_default().into_iter().map(received).collect()
    }

    fn acknowledge_batch(&self, handles: &[&str]) -> io::Result<Vec<Refused>> {
        let entry = |(position, handle): (usize, &&str)| {
            DeleteMessageBatchRequestEntry::builder()
                .id(position.to_string())
                .receipt_handle(*handle)
                .build()
                .map_err(|error| io_error(&error))
        };
        let entries = handles.iter().enumerate().map(entry).collect::<io::Result<Vec<_>>>()?;
        let request =
            self.client.delete_message_batch().queue_url(&self.url).set_entries(Some(entries)).send();
        let answer = self.handle.block_on(request).map_err(|error| io_error(&error))?;
        let taken = answer.successful().iter().map(DeleteMessageBatchResultEntry::id);
        Ok(refused(handles.len(), &taken.collect(), answer.failed()))
    }

    fn hide_batch(&self, changes: &[(&str, Duration)]) -> io::Result<Vec<Refused>> {
        let entry = |(position, (handle, time)): (usize, &(&str, Duration))| {
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(position.to_string())
                .receipt_handle(*handle)
                .visibility_timeout(number(time.as_secs())?)
                .build()
                .map_err(|error| io_error(&error))
        };
        let entries = changes.iter().enumerate().map(entry).collect::<io::Result<Vec<_>>>()?;
        let request = self.client.change_message_visibility_batch().queue_url(&self.url);
        let answer = self.handle.block_on(request.set_entries(Some(entries)).send());
        let answer = answer.map_err(|error| io_error(&error))?;
        let taken = answer.successful().iter().map(ChangeMessageVisibilityBatchResultEntry::id);
        Ok(refused(changes.len(), &taken.collect(), answer.failed()))
    }

    fn depth(&self) -> io::Result<Depth> {
        let counts = self.attribute(&[
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ])?;
        Ok(Depth { visible: counts[0], in_flight: counts[1], delayed: counts[2] })
    }

    fn purge(&self) -> Result<(), PurgeError> {
        match self.handle.block_on(self.client.purge_queue().queue_url(&self.url).send()) {
            Ok(_) => Ok(()),
            Err(error)
                if error.as_service_error().is_some_and(PurgeQueueError::is_purge_queue_in_progress) =>
            {
                Err(PurgeError::InProgress)
            }
            Err(error) => Err(PurgeError::Failed(io_error(&error))),
        }
    }

    fn move_back(&self) -> io::Result<bool> {
        let request = self.client.get_queue_attributes().queue_url(&self.url);
        let request = request.attribute_names(QueueAttributeName::QueueArn).send();
        let answer = self.handle.block_on(request).map_err(|error| io_error(&error))?;
        let arn = answer.attributes().and_then(|all| all.get(&QueueAttributeName::QueueArn));
        let arn = arn.ok_or_else(|| io::Error::other("SQS returned no ARN for the dead-letter queue"))?;
        let request = self.client.start_message_move_task().source_arn(arn).send();
        match self.handle.block_on(request) {
            Ok(_) => Ok(true),
            Err(error) => match error.code() {
                Some(
                    "InvalidAction" | "UnsupportedOperation" | "AWS.SimpleQueueService.UnsupportedOperation",
                ) => Ok(false),
                _ => Err(io_error(&error)),
            },
        }
    }
}

/// Those entries of a batch that the queue did not take. The call succeeds also if it took none of them, and an entry
/// that the response leaves out was not taken either
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessageBatch.html>).
fn refused(entries: usize, taken: &BTreeSet<&str>, failed: &[BatchResultErrorEntry]) -> Vec<Refused> {
    let refused = (0..entries).map(|position| (position, position.to_string()));
    refused
        .filter(|(_, id)| !taken.contains(id.as_str()))
        .map(|(position, id)| match failed.iter().find(|failed| failed.id() == id) {
            Some(failed) => {
                let message = failed.message().map_or(String::new(), |message| format!(": {message}"));
                let why = format!("{}{message}", failed.code());
                Refused { position, why, senders_fault: failed.sender_fault() }
            }
            None => Refused {
                position,
                why: "the response of SQS leaves the message out".to_owned(),
                senders_fault: false,
            },
        })
        .collect()
}

/// A message as SQS returned it; an error if it lacks a part that every message has.
fn received(message: Message) -> io::Result<Received> {
    let missing = |what: &str| io::Error::other(format!("SQS returned a message without a valid {what}"));
    let attribute = |name: &MessageSystemAttributeName| {
        let value = message.attributes.as_ref().and_then(|all| all.get(name));
        value.ok_or_else(|| missing(name.as_str()))
    };
    let [deliveries, group, sent] = &SYSTEM_ATTRIBUTES;
    let received = Received {
        group: attribute(group)?.clone(),
        deliveries: attribute(deliveries)?.parse().map_err(|_| missing(deliveries.as_str()))?,
        sent_ms: attribute(sent)?.parse().map_err(|_| missing(sent.as_str()))?,
        id: message.message_id.ok_or_else(|| missing("MessageId"))?,
        handle: message.receipt_handle.ok_or_else(|| missing("ReceiptHandle"))?,
        body: message.body.ok_or_else(|| missing("Body"))?,
    };
    Ok(received)
}

fn number(
    value: impl TryInto<i32, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
) -> io::Result<i32> {
    value.try_into().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(id: &str) -> BatchResultErrorEntry {
        BatchResultErrorEntry::builder().id(id).code("Throttled").sender_fault(false).build().unwrap()
    }

    #[test]
    fn an_entry_that_the_response_leaves_out_was_not_taken() {
        let told = refused(3, &BTreeSet::from(["1"]), &[failed("2")]);
        let positions: Vec<(usize, &str)> =
            told.iter().map(|refused| (refused.position, refused.why.as_str())).collect();
        assert_eq!(positions, [(0, "the response of SQS leaves the message out"), (2, "Throttled")]);
    }

    #[test]
    fn a_message_that_lacks_a_part_is_an_error_that_names_it() {
        let whole = || {
            Message::builder()
                .message_id("m")
                .receipt_handle("h")
                .body("b")
                .attributes(MessageSystemAttributeName::ApproximateReceiveCount, "2")
                .attributes(MessageSystemAttributeName::MessageGroupId, "g")
                .attributes(MessageSystemAttributeName::SentTimestamp, "7")
        };
        let got = received(whole().build()).unwrap();
        assert_eq!((got.group.as_str(), got.deliveries, got.sent_ms), ("g", 2, 7));
        let lacking = [
            ("MessageId", whole().set_message_id(None)),
            ("ReceiptHandle", whole().set_receipt_handle(None)),
            ("Body", whole().set_body(None)),
            (
                "MessageGroupId",
                whole()
                    .set_attributes(None)
                    .attributes(MessageSystemAttributeName::ApproximateReceiveCount, "2"),
            ),
            (
                "ApproximateReceiveCount",
                whole().attributes(MessageSystemAttributeName::ApproximateReceiveCount, "often"),
            ),
        ];
        for (part, message) in lacking {
            let error = received(message.build()).unwrap_err().to_string();
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
