//! The messages of one invocation, as Lambda passes them
//! (<https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html>).

use aws_lambda_events::sqs::SqsMessage;
use flowherd_shared::queue::Message;

/// A message lacks a part that every message of a FIFO queue has. The whole batch then fails, because the response cannot
/// name a message without an id.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "message {position} of the event has no valid {part}; the event does not come from an SQS FIFO queue. \
     Check the function's trigger"
)]
pub struct EventError {
    /// Position in the event, from 0.
    pub position: usize,
    /// Name of the part in the event.
    pub part: &'static str,
}

/// Returns the messages of an event, in its order.
pub fn messages(messages: Vec<SqsMessage>) -> Result<Vec<Message>, EventError> {
    let numbered = messages.into_iter().enumerate();
    numbered.map(|(position, message)| read(message).map_err(|part| EventError { position, part })).collect()
}

fn read(message: SqsMessage) -> Result<Message, &'static str> {
    let attribute = |name: &'static str| message.attributes.get(name).ok_or(name);
    Ok(Message {
        group: attribute("MessageGroupId")?.clone(),
        deliveries: attribute("ApproximateReceiveCount")?.parse().map_err(|_| "ApproximateReceiveCount")?,
        sent_ms: attribute("SentTimestamp")?.parse().map_err(|_| "SentTimestamp")?,
        id: message.message_id.ok_or("messageId")?,
        handle: message.receipt_handle.ok_or("receiptHandle")?,
        body: message.body.ok_or("body")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Take = fn(&mut SqsMessage);

    fn whole() -> SqsMessage {
        let mut message = SqsMessage::default();
        message.message_id = Some("m".to_owned());
        message.receipt_handle = Some("h".to_owned());
        message.body = Some("b".to_owned());
        for (name, value) in
            [("MessageGroupId", "g"), ("ApproximateReceiveCount", "2"), ("SentTimestamp", "7")]
        {
            message.attributes.insert(name.to_owned(), value.to_owned());
        }
        message
    }

    #[test]
    fn a_message_that_lacks_a_part_is_an_error_that_names_it() {
        assert_eq!(messages(vec![whole()]).unwrap()[0].deliveries, 2);
        let lacking: [(&str, Take); 7] = [
            ("messageId", |message| message.message_id = None),
            ("receiptHandle", |message| message.receipt_handle = None),
            ("body", |message| message.body = None),
            ("MessageGroupId", |message| _ = message.attributes.remove("MessageGroupId")),
            ("SentTimestamp", |message| _ = message.attributes.remove("SentTimestamp")),
            ("ApproximateReceiveCount", |message| _ = message.attributes.remove("ApproximateReceiveCount")),
            ("ApproximateReceiveCount", |message| {
                message.attributes.insert("ApproximateReceiveCount".to_owned(), "often".to_owned());
            }),
        ];
        for (part, take) in lacking {
            let mut message = whole();
            take(&mut message);
            assert_eq!(messages(vec![whole(), message]).unwrap_err(), EventError { position: 1, part });
        }
    }
}
