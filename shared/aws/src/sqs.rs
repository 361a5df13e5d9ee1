//! A FIFO queue of SQS.

use std::{io, time::Duration};

use aws_sdk_sqs::{
    Client,
    error::ProvideErrorMetadata,
    operation::purge_queue::PurgeQueueError,
    types::{MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry},
};
use flowherd_shared::queue::{Depth, Outgoing, PurgeError, Queue, Received, Refused};
use tokio::runtime::Handle;

use crate::io_error;

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

    /// How long a received message is hidden, as the queue is set.
    pub fn visibility(&self) -> io::Result<Duration> {
        let seconds = self.attribute(&[QueueAttributeName::VisibilityTimeout])?;
        Ok(Duration::from_secs(seconds[0]))
    }

    /// The URL of the queue of dead letters behind this one; `None` if there is none.
    pub fn dead_letters(&self) -> io::Result<Option<String>> {
        let request = self.client.get_queue_attributes().queue_url(&self.url);
        let request = request.attribute_names(QueueAttributeName::RedrivePolicy).send();
        let answer = self.handle.block_on(request).map_err(|error| io_error(&error))?;
        let policy = answer.attributes().and_then(|all| all.get(&QueueAttributeName::RedrivePolicy));
        let target = policy.and_then(|policy| policy.split("deadLetterTargetArn").nth(1)?.split('"').nth(2));
        // arn:aws:sqs:<region>:<account>:<name>
        let parts = target.map(|arn| arn.split(':').collect::<Vec<_>>());
        let Some([.., account, name]) = parts.as_deref() else {
            return Ok(None);
        };
        let request =
            self.client.get_queue_url().queue_name(*name).queue_owner_aws_account_id(*account).send();
        Ok(self.handle.block_on(request).map_err(|error| io_error(&error))?.queue_url)
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
        // What is not told to be taken is not: an answer that leaves a message out has not taken it either.
        let is_taken =
            |position: &usize| answer.successful().iter().any(|taken| taken.id() == position.to_string());
        let refused = (0..batch.len()).filter(|position| !is_taken(position)).map(|position| {
            match answer.failed().iter().find(|failed| failed.id() == position.to_string()) {
                Some(failed) => Refused {
                    position,
                    why: format!("{}: {}", failed.code(), failed.message().unwrap_or_default()),
                    senders_fault: failed.sender_fault(),
                },
                None => {
                    Refused { position, why: "the queue says nothing of it".to_owned(), senders_fault: false }
                }
            }
        });
        Ok(refused.collect())
    }

    fn receive(&self, most: usize, wait: Duration) -> io::Result<Vec<Received>> {
        let request = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(number(most)?)
            .wait_time_seconds(number(wait.as_secs())?)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .send();
        let answer = self.handle.block_on(request).map_err(|error| io_error(&error))?;
        let received = answer.messages.unwrap_or_default().into_iter().map(|message| {
            let count = MessageSystemAttributeName::ApproximateReceiveCount;
            let deliveries = message.attributes.as_ref().and_then(|all| all.get(&count)?.parse().ok());
            Received {
                id: message.message_id.unwrap_or_default(),
                handle: message.receipt_handle.unwrap_or_default(),
                body: message.body.unwrap_or_default(),
                deliveries: deliveries.unwrap_or(1),
            }
        });
        Ok(received.collect())
    }

    fn acknowledge(&self, handle: &str) -> io::Result<()> {
        let request = self.client.delete_message().queue_url(&self.url).receipt_handle(handle).send();
        self.handle.block_on(request).map(|_| ()).map_err(|error| io_error(&error))
    }

    fn hide(&self, handle: &str, time: Duration) -> io::Result<()> {
        let request = self.client.change_message_visibility().queue_url(&self.url).receipt_handle(handle);
        let request = request.visibility_timeout(number(time.as_secs())?).send();
        self.handle.block_on(request).map(|_| ()).map_err(|error| io_error(&error))
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
        let arn = answer.attributes().and_then(|all| all.get(&QueueAttributeName::QueueArn)).cloned();
        let request = self.client.start_message_move_task().set_source_arn(arn).send();
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

fn number(
    value: impl TryInto<i32, Error: Into<Box<dyn std::error::Error + Send + Sync>>>,
) -> io::Result<i32> {
    value.try_into().map_err(io::Error::other)
}
