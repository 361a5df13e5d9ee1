//! Handles the items of a Distributed Map of Step Functions as messages, without a queue.
//!
//! A child execution of the map invokes the worker with a batch of items and the number of the attempt. An item is the body of
//! a queue message. The child waits for the response, so no other worker has the items meanwhile, and the worker extends,
//! deletes and returns nothing. The worker ends before its child ([`MapEvent::ends`]). A child whose invocation fails makes
//! another attempt, which skips objects that are done.

use std::{ops::ControlFlow, time::Duration};

use flowherd_shared::{
    queue::{Message, NewMessage, PurgeError, Queue, QueueDepth, QueueError, RejectedEntry},
    store::{Source, Store},
    task::{Task, TaskError},
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tracing::debug;

use crate::{
    handler::{Disposition, MessageHandler},
    processor::StopReason,
};

/// Time from the start of a child execution to the end of its worker. An express execution ends after 5 minutes
/// (<https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html>).
const CHILD: SignedDuration = SignedDuration::from_secs(295);

/// The event of one invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapEvent {
    /// Number of the attempt at these items, from 1.
    attempt: u32,
    /// When the child execution began.
    started: Timestamp,
    tasks: Vec<Task>,
}

/// Why an event is not one of a Distributed Map. A retry cannot succeed.
#[derive(Debug, thiserror::Error)]
pub enum MapEventError {
    /// The event lacks a member, or has an unknown one.
    #[error(
        "the event is not of the map of a Flowherd stack: {0}. The state machine of the stack invokes this function; do not \
         invoke it in another way, and deploy function and state machine together"
    )]
    Malformed(&'static str),
    /// An item is not a task.
    #[error("item {position} of the event is not a task; deploy the function and the state machine together")]
    Item {
        /// Position in the event, from 0.
        position: usize,
        /// The cause.
        source: TaskError,
    },
}

/// Objects of an invocation are neither done nor permanently failed. A retry can succeed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{pending} of {total} objects need another attempt, among them {key:?}; runs/{run}/failures/ has the reason if an attempt \
     began"
)]
pub struct Unfinished {
    /// Objects that need another attempt.
    pub pending: usize,
    /// Objects of the invocation.
    pub total: usize,
    /// The key of the first of them.
    pub key: String,
    /// The run of that object.
    pub run: String,
}

/// The answer to an invocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Objects with a receipt in this run or in a run that it resumes.
    pub done: u64,
    /// Objects that failed permanently.
    pub failed: u64,
}

impl Answer {
    /// Returns the answer as JSON. It is the output of the child execution.
    #[must_use]
    pub fn to_json(self) -> Value {
        json!({ "done": self.done, "failed": self.failed })
    }
}

impl MapEvent {
    /// Parses `{"attempt": 1, "started": "2026-11-27T10:00:00Z", "input": …}`. The input of a child execution is a batch,
    /// `{"Items": [task, …]}`, or a single task if the map has no `ItemBatcher`
    /// (<https://docs.aws.amazon.com/step-functions/latest/dg/input-output-itembatcher.html>).
    ///
    /// # Errors
    /// [`MapEventError`] for any other JSON, and for a batch with one invalid item: the same state machine made all items.
    pub fn parse(event: Value) -> Result<Self, MapEventError> {
        let Value::Object(mut event) = event else {
            return Err(MapEventError::Malformed("it is not an object"));
        };
        let attempt = event.remove("attempt").and_then(|attempt| u32::try_from(attempt.as_u64()?).ok());
        let attempt = attempt
            .filter(|attempt| *attempt > 0)
            .ok_or(MapEventError::Malformed("attempt is not a positive number"))?;
        let started = event.remove("started").and_then(|started| started.as_str()?.parse().ok());
        let started = started.ok_or(MapEventError::Malformed("started is not a time"))?;
        let input = event.remove("input").ok_or(MapEventError::Malformed("it has no input"))?;
        if !event.is_empty() {
            return Err(MapEventError::Malformed("it has other members than attempt, started and input"));
        }
        let tasks = items(input)?
            .into_iter()
            .enumerate()
            .map(|(position, item)| task(item).map_err(|source| MapEventError::Item { position, source }));
        Ok(Self { attempt, started, tasks: tasks.collect::<Result<_, _>>()? })
    }

    /// Returns when the worker must end: 295 s after the start of its child execution. Lambda does not stop an invocation whose
    /// child has ended. The worker would continue, and could change outputs after the report.
    #[must_use]
    pub fn ends(&self) -> Timestamp {
        self.started + CHILD
    }

    /// Returns a message for each item. The id is the same in every attempt, so the handler recognizes an object that failed
    /// permanently and does not try it again.
    fn messages(&self, now: Timestamp) -> Vec<Message> {
        let message = |task: &Task| Message {
            id: task.deduplication(),
            handle: String::new(),
            group: task.group(),
            body: task.body(),
            deliveries: self.attempt,
            sent_ms: now.as_millisecond(),
        };
        self.tasks.iter().map(message).collect()
    }
}

/// Returns the items of a child's input.
fn items(input: Value) -> Result<Vec<Value>, MapEventError> {
    let Value::Object(mut batch) = input else {
        return Err(MapEventError::Malformed("its input is not an object"));
    };
    match batch.remove("Items") {
        None => Ok(vec![batch.into()]),
        Some(Value::Array(items)) if !items.is_empty() && batch.is_empty() => Ok(items),
        Some(_) => Err(MapEventError::Malformed("its input is not a batch of items")),
    }
}

/// Parses one item. The map's listing may return an `ETag` without quotation marks. The manifest has them, so this adds them.
fn task(mut item: Value) -> Result<Task, TaskError> {
    if let Some(etag) = item.get_mut("etag")
        && let Value::String(text) = etag
        && !text.is_empty()
        && text != "*"
        && !text.ends_with('"')
    {
        *etag = format!("\"{text}\"").into();
    }
    Task::parse(&item.to_string())
}

/// Handles the items of one invocation.
///
/// # Errors
/// [`Unfinished`] if an object is neither done nor permanently failed. All other objects have had an attempt.
pub fn convert<I: Source, O: Store>(
    handler: &MessageHandler<'_, I, O, NoQueue>,
    event: &MapEvent,
    concurrency: usize,
    has_time: &(dyn Fn() -> ControlFlow<StopReason> + Sync),
) -> Result<Answer, Unfinished> {
    debug!(items = event.tasks.len(), attempt = event.attempt, "batch");
    let messages = event.messages((handler.clock)());
    let dispositions = handler.batch(messages, concurrency, &|| true, has_time);
    let (mut answer, mut pending) = (Answer::default(), Vec::new());
    for (task, disposition) in event.tasks.iter().zip(dispositions) {
        match disposition {
            Some(Disposition::Ack) => answer.done += 1,
            Some(Disposition::DeadLetter) => answer.failed += 1,
            Some(Disposition::Retry(_)) | None => pending.push(task),
        }
    }
    match pending.first() {
        None => Ok(answer),
        Some(first) => Err(Unfinished {
            pending: pending.len(),
            total: event.tasks.len(),
            key: first.object.key.clone(),
            run: first.run.clone(),
        }),
    }
}

/// Replaces the queue, which a map does not have. Deleting and changing the visibility of messages do nothing; all other calls
/// return an error.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoQueue;

fn no_queue() -> QueueError {
    QueueError::InvalidResponse("the items of a map have no queue".to_owned())
}

impl Queue for NoQueue {
    fn send(&self, _: &[NewMessage]) -> Result<Vec<RejectedEntry>, QueueError> {
        Err(no_queue())
    }

    fn receive(&self, _: usize, _: Duration) -> Result<Vec<Message>, QueueError> {
        Err(no_queue())
    }

    fn delete_batch(&self, _: &[&str]) -> Result<Vec<RejectedEntry>, QueueError> {
        Ok(Vec::new())
    }

    fn change_visibility_batch(&self, _: &[(&str, Duration)]) -> Result<Vec<RejectedEntry>, QueueError> {
        Ok(Vec::new())
    }

    fn depth(&self) -> Result<QueueDepth, QueueError> {
        Err(no_queue())
    }

    fn purge(&self) -> Result<(), PurgeError> {
        Err(PurgeError::Failed(no_queue()))
    }

    fn redrive(&self) -> Result<bool, QueueError> {
        Err(no_queue())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: &str = "2026-11-27T10:00:00.123Z";

    fn item(key: &str) -> Value {
        json!({"v": 1, "run": "r", "fleet": "bulk", "bucket": "b", "key": key, "size": 7, "etag": "\"e\""})
    }

    fn refusal(event: Value) -> String {
        flowherd_shared::error::error_chain(&MapEvent::parse(event).unwrap_err())
    }

    #[test]
    fn the_input_of_a_child_is_a_batch_or_a_single_item() {
        let batch =
            json!({"attempt": 2, "started": STARTED, "input": {"Items": [item("a"), item("ü \"\\")]}});
        let batch = MapEvent::parse(batch).unwrap();
        assert_eq!(batch.attempt, 2);
        let keys: Vec<&str> = batch.tasks.iter().map(|task| task.object.key.as_str()).collect();
        assert_eq!(keys, ["a", "ü \"\\"]);
        let single = MapEvent::parse(json!({"attempt": 1, "started": STARTED, "input": item("a")})).unwrap();
        assert_eq!(single.tasks, batch.tasks[..1]);
    }

    #[test]
    fn a_worker_ends_before_its_child() {
        let event = json!({"attempt": 3, "started": STARTED, "input": item("a")});
        let ends: Timestamp = "2026-11-27T10:04:55.123Z".parse().unwrap();
        assert_eq!(MapEvent::parse(event).unwrap().ends(), ends);
    }

    #[test]
    fn an_etag_without_quotation_marks_gets_them() {
        let mut bare = item("a");
        bare["etag"] = json!("e");
        let event =
            |item: Value| MapEvent::parse(json!({"attempt": 1, "started": STARTED, "input": item})).unwrap();
        assert_eq!(event(bare), event(item("a")));
    }

    #[test]
    fn json_that_is_not_of_a_map_is_refused_with_the_reason() {
        for (event, reason) in [
            (json!([]), "it is not an object"),
            (json!({"Records": []}), "attempt is not a positive number"),
            (json!({"attempt": 0, "input": item("a")}), "attempt is not a positive number"),
            (json!({"attempt": 1, "input": item("a")}), "started is not a time"),
            (json!({"attempt": 1, "started": 7, "input": item("a")}), "started is not a time"),
            (json!({"attempt": 1, "started": STARTED}), "it has no input"),
            (
                json!({"attempt": 1, "started": STARTED, "input": item("a"), "Records": []}),
                "it has other members",
            ),
            (json!({"attempt": 1, "started": STARTED, "input": [item("a")]}), "its input is not an object"),
            (
                json!({"attempt": 1, "started": STARTED, "input": {"Items": []}}),
                "its input is not a batch of items",
            ),
            (
                json!({"attempt": 1, "started": STARTED, "input": {"Items": [item("a")], "more": 1}}),
                "its input is not a batch",
            ),
        ] {
            let refused = refusal(event);
            assert!(refused.starts_with("the event is not of the map of a Flowherd stack: "), "{refused}");
            assert!(refused.contains(reason), "{refused}");
        }
        let mut other = item("b");
        other["etag"] = json!("*");
        let refused =
            refusal(json!({"attempt": 1, "started": STARTED, "input": {"Items": [item("a"), other]}}));
        assert!(refused.starts_with("item 1 of the event is not a task"), "{refused}");
        assert!(refused.ends_with("the message names version \"*\", which no object has"), "{refused}");
        let foreign = refusal(json!({"attempt": 1, "started": STARTED, "input": {"Key": "a", "Size": 7}}));
        assert!(foreign.contains("missing field `v`"), "{foreign}");
    }
}
