//! A FIFO queue of SQS.

use std::{collections::BTreeSet, time::Duration};

use aws_sdk_sqs::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::{
        get_queue_attributes::{GetQueueAttributesError, GetQueueAttributesOutput},
        purge_queue::PurgeQueueError,
    },
    types::{
        BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry,
        ChangeMessageVisibilityBatchResultEntry, DeleteMessageBatchRequestEntry,
        DeleteMessageBatchResultEntry, Message as SdkMessage, MessageSystemAttributeName, QueueAttributeName,
        SendMessageBatchRequestEntry, SendMessageBatchResultEntry,
    },
};
use flowherd_shared::{
    queue::{Message, NewMessage, PurgeError, Queue, QueueDepth, QueueError, RejectedEntry},
    store::Cause,
};
use tokio::runtime::Handle;

pub use self::attributes::QueueAttributes;

mod attributes;

/// The attributes with which each message is received.
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
    /// Creates a queue without a request. `handle` is of the runtime on which the client works.
    #[must_use]
    pub fn new(client: Client, handle: Handle, url: &str) -> Self {
        Self { client, handle, url: url.to_owned() }
    }

    /// Returns the attributes of the queue.
    pub fn attributes(&self) -> Result<QueueAttributes, QueueError> {
        let names = [
            QueueAttributeName::FifoQueue,
            QueueAttributeName::VisibilityTimeout,
            QueueAttributeName::RedrivePolicy,
        ];
        let response = match self.get_attributes(&names) {
            // A queue that is not FIFO does not have the first attribute, and SQS rejects its name
            // (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_GetQueueAttributes.html>).
            Err(error) if error.code() == Some("InvalidAttributeName") => self.get_attributes(&names[1..]),
            response => response,
        };
        let response = response.map_err(failed("GetQueueAttributes"))?;
        QueueAttributes::read(&|name| Some(response.attributes()?.get(name)?.as_str()))
    }

    /// Returns the ARN of the queue.
    pub fn arn(&self) -> Result<String, QueueError> {
        let response = self.get_attributes(&[QueueAttributeName::QueueArn]);
        let response = response.map_err(failed("GetQueueAttributes"))?;
        let arn = response.attributes().and_then(|attributes| attributes.get(&QueueAttributeName::QueueArn));
        arn.cloned()
            .ok_or_else(|| QueueError::InvalidResponse("SQS returned no QueueArn for the queue".to_owned()))
    }

    /// Returns the URL of the queue with this ARN.
    pub fn url_of(&self, arn: &str) -> Result<String, QueueError> {
        // arn:aws:sqs:<region>:<account>:<name>
        let [.., account, name] = *arn.split(':').collect::<Vec<_>>() else {
            return Err(QueueError::InvalidResponse(format!("{arn:?} is not the ARN of a queue")));
        };
        let request = self.client.get_queue_url().queue_name(name).queue_owner_aws_account_id(account).send();
        let response = self.handle.block_on(request).map_err(failed("GetQueueUrl"))?;
        let missing = || QueueError::InvalidResponse(format!("SQS returned no URL for {arn}"));
        response.queue_url.ok_or_else(missing)
    }

    fn get_attributes(
        &self,
        names: &[QueueAttributeName],
    ) -> Result<GetQueueAttributesOutput, Box<SdkError<GetQueueAttributesError>>> {
        let request = self.client.get_queue_attributes().queue_url(&self.url);
        self.handle.block_on(request.set_attribute_names(Some(names.to_vec())).send()).map_err(Box::new)
    }
}

impl Queue for SqsQueue {
    fn send(&self, batch: &[NewMessage]) -> Result<Vec<RejectedEntry>, QueueError> {
        const CALL: &str = "SendMessageBatch";
        let entry = |(position, message): (usize, &NewMessage)| {
            SendMessageBatchRequestEntry::builder()
                .id(position.to_string())
                .message_body(&message.body)
                .message_group_id(&message.group)
                .message_deduplication_id(&message.deduplication)
                .build()
                .map_err(failed(CALL))
        };
        let entries = batch.iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>()?;
        let request = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(entries)).send();
        let response = self.handle.block_on(request).map_err(failed(CALL))?;
        let accepted = response.successful().iter().map(SendMessageBatchResultEntry::id);
        Ok(rejected(batch.len(), &accepted.collect(), response.failed()))
    }

    fn receive(&self, limit: usize, wait: Duration) -> Result<Vec<Message>, QueueError> {
        const CALL: &str = "ReceiveMessage";
        let request = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(number(CALL, limit)?)
            .wait_time_seconds(number(CALL, wait.as_secs())?)
            .set_message_system_attribute_names(Some(SYSTEM_ATTRIBUTES.to_vec()))
            .send();
        let response = self.handle.block_on(request).map_err(failed(CALL))?;
        response.messages.unwrap_or_default().into_iter().map(message).collect()
    }

    fn delete_batch(&self, handles: &[&str]) -> Result<Vec<RejectedEntry>, QueueError> {
        const CALL: &str = "DeleteMessageBatch";
        let entry = |(position, handle): (usize, &&str)| {
            DeleteMessageBatchRequestEntry::builder()
                .id(position.to_string())
                .receipt_handle(*handle)
                .build()
                .map_err(failed(CALL))
        };
        let entries = handles.iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>()?;
        let request =
            self.client.delete_message_batch().queue_url(&self.url).set_entries(Some(entries)).send();
        let response = self.handle.block_on(request).map_err(failed(CALL))?;
        let accepted = response.successful().iter().map(DeleteMessageBatchResultEntry::id);
        Ok(rejected(handles.len(), &accepted.collect(), response.failed()))
    }

    fn change_visibility_batch(
        &self,
        changes: &[(&str, Duration)],
    ) -> Result<Vec<RejectedEntry>, QueueError> {
        const CALL: &str = "ChangeMessageVisibilityBatch";
        let entry = |(position, (handle, timeout)): (usize, &(&str, Duration))| {
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(position.to_string())
                .receipt_handle(*handle)
                .visibility_timeout(number(CALL, timeout.as_secs())?)
                .build()
                .map_err(failed(CALL))
        };
        let entries = changes.iter().enumerate().map(entry).collect::<Result<Vec<_>, _>>()?;
        let request = self.client.change_message_visibility_batch().queue_url(&self.url);
        let response = self.handle.block_on(request.set_entries(Some(entries)).send());
        let response = response.map_err(failed(CALL))?;
        let accepted = response.successful().iter().map(ChangeMessageVisibilityBatchResultEntry::id);
        Ok(rejected(changes.len(), &accepted.collect(), response.failed()))
    }

    fn depth(&self) -> Result<QueueDepth, QueueError> {
        use QueueAttributeName::{
            ApproximateNumberOfMessages, ApproximateNumberOfMessagesDelayed,
            ApproximateNumberOfMessagesNotVisible,
        };
        let names = [
            ApproximateNumberOfMessages,
            ApproximateNumberOfMessagesNotVisible,
            ApproximateNumberOfMessagesDelayed,
        ];
        let response = self.get_attributes(&names).map_err(failed("GetQueueAttributes"))?;
        let count = |name: &QueueAttributeName| {
            let value = response.attributes().and_then(|all| all.get(name)?.parse().ok());
            value.ok_or_else(|| QueueError::InvalidResponse(format!("SQS returned no valid {name}")))
        };
        let [visible, in_flight, delayed] = &names;
        Ok(QueueDepth { visible: count(visible)?, in_flight: count(in_flight)?, delayed: count(delayed)? })
    }

    fn purge(&self) -> Result<(), PurgeError> {
        match self.handle.block_on(self.client.purge_queue().queue_url(&self.url).send()) {
            Ok(_) => Ok(()),
            Err(error)
                if error.as_service_error().is_some_and(PurgeQueueError::is_purge_queue_in_progress) =>
            {
                Err(PurgeError::InProgress)
            }
            Err(error) => Err(PurgeError::Failed(failed("PurgeQueue")(error))),
        }
    }

    fn redrive(&self) -> Result<bool, QueueError> {
        let response = self.get_attributes(&[QueueAttributeName::QueueArn]);
        let response = response.map_err(failed("GetQueueAttributes"))?;
        let arn = response.attributes().and_then(|all| all.get(&QueueAttributeName::QueueArn));
        let missing =
            || QueueError::InvalidResponse("SQS returned no QueueArn for the dead-letter queue".to_owned());
        let request = self.client.start_message_move_task().source_arn(arn.ok_or_else(missing)?).send();
        match self.handle.block_on(request) {
            Ok(_) => Ok(true),
            Err(error) => match error.code() {
                Some(
                    "InvalidAction" | "UnsupportedOperation" | "AWS.SimpleQueueService.UnsupportedOperation",
                ) => Ok(false),
                _ => Err(failed("StartMessageMoveTask")(error)),
            },
        }
    }
}

/// Returns the function that wraps an error of this call.
fn failed<E: Into<Cause>>(call: &'static str) -> impl FnOnce(E) -> QueueError {
    move |error| QueueError::Call { call, source: error.into() }
}

/// Returns the entries of a batch that the queue did not accept. The call also succeeds if it accepted none, and an entry
/// that the response leaves out was not accepted either
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessageBatch.html>).
fn rejected(
    entries: usize,
    accepted: &BTreeSet<&str>,
    failed: &[BatchResultErrorEntry],
) -> Vec<RejectedEntry> {
    let ids = (0..entries).map(|position| (position, position.to_string()));
    ids.filter(|(_, id)| !accepted.contains(id.as_str()))
        .map(|(position, id)| match failed.iter().find(|failed| failed.id() == id) {
            Some(failed) => {
                let message = failed.message().map_or(String::new(), |message| format!(": {message}"));
                let reason = format!("{}{message}", failed.code());
                RejectedEntry { position, reason, sender_fault: failed.sender_fault() }
            }
            None => RejectedEntry {
                position,
                reason: "the response of SQS leaves the message out".to_owned(),
                sender_fault: false,
            },
        })
        .collect()
}

/// Converts a message of the SDK. Fails if it lacks a part that every message has.
fn message(message: SdkMessage) -> Result<Message, QueueError> {
    let missing =
        |part: &str| QueueError::InvalidResponse(format!("SQS returned a message without a valid {part}"));
    let attribute = |name: &MessageSystemAttributeName| {
        let value = message.attributes.as_ref().and_then(|all| all.get(name));
        value.ok_or_else(|| missing(name.as_str()))
    };
    let [deliveries, group, sent] = &SYSTEM_ATTRIBUTES;
    Ok(Message {
        group: attribute(group)?.clone(),
        deliveries: attribute(deliveries)?.parse().map_err(|_| missing(deliveries.as_str()))?,
        sent_ms: attribute(sent)?.parse().map_err(|_| missing(sent.as_str()))?,
        id: message.message_id.ok_or_else(|| missing("MessageId"))?,
        handle: message.receipt_handle.ok_or_else(|| missing("ReceiptHandle"))?,
        body: message.body.ok_or_else(|| missing("Body"))?,
    })
}

/// Converts a parameter of a call.
fn number(
    call: &'static str,
    value: impl TryInto<i32, Error: std::error::Error + Send + Sync + 'static>,
) -> Result<i32, QueueError> {
    value.try_into().map_err(failed(call))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed_entry(id: &str) -> BatchResultErrorEntry {
        BatchResultErrorEntry::builder().id(id).code("Throttled").sender_fault(false).build().unwrap()
    }

    #[test]
    fn an_entry_that_the_response_leaves_out_is_rejected() {
        let entries = rejected(3, &BTreeSet::from(["1"]), &[failed_entry("2")]);
        let positions: Vec<(usize, &str)> =
            entries.iter().map(|entry| (entry.position, entry.reason.as_str())).collect();
        assert_eq!(positions, [(0, "the response of SQS leaves the message out"), (2, "Throttled")]);
    }

    #[test]
    fn a_message_that_lacks_a_part_is_an_error_that_names_it() {
        let whole = || {
            SdkMessage::builder()
                .message_id("m")
                .receipt_handle("h")
                .body("b")
                .attributes(MessageSystemAttributeName::ApproximateReceiveCount, "2")
                .attributes(MessageSystemAttributeName::MessageGroupId, "g")
                .attributes(MessageSystemAttributeName::SentTimestamp, "7")
        };
        let got = message(whole().build()).unwrap();
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
        for (part, incomplete) in lacking {
            let error = message(incomplete.build()).unwrap_err().to_string();
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
