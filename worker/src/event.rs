//! The messages of one invocation, as Lambda gives them.

use std::collections::BTreeMap;

use aws_lambda_events::sqs::SqsMessage;
use flowherd_shared::queue::Received;

/// Messages of one group are of one object: one after another, in the order in which they came.
#[must_use]
pub fn groups(messages: Vec<SqsMessage>) -> Vec<Vec<Received>> {
    let mut groups: BTreeMap<String, Vec<Received>> = BTreeMap::new();
    for message in messages {
        let group = message.attributes.get("MessageGroupId").cloned().unwrap_or_default();
        groups.entry(group).or_default().push(received(message));
    }
    groups.into_values().collect()
}

fn received(message: SqsMessage) -> Received {
    let deliveries = message.attributes.get("ApproximateReceiveCount").and_then(|count| count.parse().ok());
    Received {
        id: message.message_id.unwrap_or_default(),
        handle: message.receipt_handle.unwrap_or_default(),
        body: message.body.unwrap_or_default(),
        deliveries: deliveries.unwrap_or(1),
    }
}
