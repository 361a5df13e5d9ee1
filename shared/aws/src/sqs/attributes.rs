//! The attributes of a queue, and the values that Flowherd requires.

use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use flowherd_shared::queue::QueueError;
use serde::Deserialize;

/// A worker extends the visibility timeout after a third of it, and SQS counts in whole seconds.
const SHORTEST_VISIBILITY: Duration = Duration::from_secs(3);

/// The attributes of a queue that Flowherd depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueAttributes {
    /// Whether it is a FIFO queue.
    pub is_fifo: bool,
    /// The visibility timeout.
    pub visibility: Duration,
    /// The redrive policy; `None` without a dead-letter queue.
    pub redrive: Option<Redrive>,
}

/// The redrive policy of a queue
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html>).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Redrive {
    /// The ARN of the dead-letter queue.
    #[serde(rename = "deadLetterTargetArn")]
    pub dead_letter_arn: String,
    /// Number of deliveries after which SQS moves a message to the dead-letter queue.
    #[serde(deserialize_with = "count")]
    pub max_receive_count: u32,
}

/// Reads a count. SQS returns it as it was set: as a JSON number or as a string.
fn count<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Count {
        Number(u32),
        Text(String),
    }
    match Count::deserialize(deserializer)? {
        Count::Number(number) => Ok(number),
        Count::Text(text) => text.parse().map_err(serde::de::Error::custom),
    }
}

impl QueueAttributes {
    /// Reads the attributes as SQS returns them.
    pub(super) fn read<'a>(
        attribute: &dyn Fn(&QueueAttributeName) -> Option<&'a str>,
    ) -> Result<Self, QueueError> {
        let visibility = attribute(&QueueAttributeName::VisibilityTimeout)
            .and_then(|seconds| seconds.parse().ok())
            .ok_or_else(|| invalid("SQS returned no valid VisibilityTimeout for the queue".to_owned()))?;
        let redrive = attribute(&QueueAttributeName::RedrivePolicy).filter(|policy| !policy.is_empty());
        let redrive = redrive.map(serde_json::from_str).transpose();
        let redrive =
            redrive.map_err(|error| invalid(format!("SQS returned an invalid RedrivePolicy: {error}")))?;
        let is_fifo = attribute(&QueueAttributeName::FifoQueue) == Some("true");
        Ok(Self { is_fifo, visibility: Duration::from_secs(visibility), redrive })
    }

    /// Returns every reason why Flowherd cannot use the queue, each with what to do.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !self.is_fifo {
            problems.push("the queue is not a FIFO queue; create one, its name ends with .fifo".to_owned());
        }
        if self.visibility < SHORTEST_VISIBILITY {
            problems.push(format!(
                "the queue's visibility timeout is {} s, and the minimum is {} s; set VisibilityTimeout to the time that \
                 an object takes",
                self.visibility.as_secs(),
                SHORTEST_VISIBILITY.as_secs()
            ));
        }
        if self.redrive.is_none() {
            problems.push(
                "the queue has no dead-letter queue, so the message of a damaged object would be delivered without end; \
                 set a RedrivePolicy with a FIFO dead-letter queue and a maxReceiveCount of 10"
                    .to_owned(),
            );
        }
        problems
    }
}

fn invalid(message: String) -> QueueError {
    QueueError::InvalidResponse(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        fifo: Option<&str>,
        visibility: &str,
        redrive: Option<&str>,
    ) -> Result<QueueAttributes, QueueError> {
        QueueAttributes::read(&|name| match name {
            QueueAttributeName::FifoQueue => fifo,
            QueueAttributeName::VisibilityTimeout => Some(visibility),
            QueueAttributeName::RedrivePolicy => redrive,
            other => panic!("{other} is not read"),
        })
    }

    #[test]
    fn a_redrive_policy_is_read_in_any_order_of_keys_and_with_a_count_in_quotes() {
        for policy in [
            r#"{"deadLetterTargetArn":"arn:aws:sqs:eu-west-1:1:d.fifo","maxReceiveCount":4}"#,
            r#"{ "maxReceiveCount" : "4", "deadLetterTargetArn" : "arn:aws:sqs:eu-west-1:1:d.fifo" }"#,
        ] {
            let attributes = read(Some("true"), "30", Some(policy)).unwrap();
            assert_eq!(attributes.problems(), [""; 0]);
            let redrive = attributes.redrive.unwrap();
            assert_eq!((redrive.dead_letter_arn.ends_with(":d.fifo"), redrive.max_receive_count), (true, 4));
        }
        assert!(read(Some("true"), "30", Some("{}")).unwrap_err().to_string().contains("RedrivePolicy"));
        assert!(read(Some("true"), "", None).unwrap_err().to_string().contains("VisibilityTimeout"));
    }

    #[test]
    fn every_reason_why_a_queue_cannot_be_used_is_reported_with_what_to_do() {
        let problems = read(None, "2", None).unwrap().problems();
        assert_eq!(problems.len(), 3, "{problems:?}");
        for (problem, part) in problems.iter().zip(["not a FIFO queue", "is 2 s", "no dead-letter queue"]) {
            assert!(problem.contains(part) && problem.contains("; "), "{problem}");
        }
    }
}
