//! An arrivals queue on the server for SQS, whose messages a function handles.

use aws_sdk_sqs::{
    Client,
    types::{QueueAttributeName, SendMessageBatchRequestEntry},
};
use flowherd_aws::Aws;
use serde_json::{Value, json};

use super::{REGION, Sqs};

/// Deliveries of a message before this trigger gives it up.
const DELIVERIES: u32 = 5;

/// A standard queue.
#[derive(Debug)]
pub struct ArrivalsQueue<'a> {
    aws: &'a Aws,
    client: Client,
    url: String,
    arn: String,
}

impl<'a> ArrivalsQueue<'a> {
    /// Creates the queue.
    #[must_use]
    pub fn create(sqs: &'a Sqs, name: &str) -> Self {
        // So that a message that was returned is soon delivered again.
        let url = sqs.create(name, &[(QueueAttributeName::VisibilityTimeout, "1")]);
        let arn = format!("arn:aws:sqs:{REGION}:000000000000:{name}");
        Self { aws: &sqs.aws, client: Client::new(sqs.aws.config()), url, arn }
    }

    /// Sends messages.
    pub fn send(&self, bodies: &[String]) {
        for batch in bodies.chunks(10) {
            let entry = |(at, body): (usize, &String)| {
                SendMessageBatchRequestEntry::builder().id(at.to_string()).message_body(body).build().unwrap()
            };
            let entries = batch.iter().enumerate().map(entry).collect();
            let request = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(entries));
            let response = self.aws.handle().block_on(request.send()).unwrap();
            assert!(response.failed().is_empty(), "{response:?}");
        }
    }

    /// Delivers all messages as the trigger of a function does: deletes those that `handle` does not return as failures, and
    /// delivers the others again. Returns the bodies of those that fail each time, which SQS would make dead-letter messages.
    pub fn deliver(&self, handle: impl Fn(&Value) -> Value) -> Vec<String> {
        let mut exhausted = Vec::new();
        let mut idle = 0;
        // Messages that were returned are invisible for a second.
        while idle < 3 {
            let receive = self.client.receive_message().queue_url(&self.url).max_number_of_messages(10);
            let receive =
                receive.wait_time_seconds(1).message_system_attribute_names("ApproximateReceiveCount".into());
            let messages = self.aws.handle().block_on(receive.send()).unwrap().messages.unwrap_or_default();
            if messages.is_empty() {
                idle += 1;
                continue;
            }
            idle = 0;
            let record = |message: &aws_sdk_sqs::types::Message| {
                json!({
                    "messageId": message.message_id, "receiptHandle": message.receipt_handle, "body": message.body,
                    "attributes": {}, "messageAttributes": {}, "eventSource": "aws:sqs", "eventSourceARN": self.arn,
                    "awsRegion": REGION,
                })
            };
            let response = handle(&json!({ "Records": messages.iter().map(record).collect::<Vec<_>>() }));
            let failures = response["batchItemFailures"].as_array().expect("a list of failures");
            for message in messages {
                let id = message.message_id.unwrap();
                let deliveries = message.attributes.unwrap_or_default().into_values().next();
                let deliveries: u32 = deliveries.and_then(|count| count.parse().ok()).unwrap();
                let has_failed = failures.iter().any(|failure| failure["itemIdentifier"] == *id);
                if has_failed && deliveries < DELIVERIES {
                    continue;
                }
                exhausted.extend(message.body.filter(|_| has_failed));
                let delete = self.client.delete_message().queue_url(&self.url);
                let delete = delete.receipt_handle(message.receipt_handle.unwrap()).send();
                self.aws.handle().block_on(delete).unwrap();
            }
        }
        exhausted
    }
}
