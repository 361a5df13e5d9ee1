//! Sends tasks in batches of 10, several batches in flight, until the queue has accepted every task.

use std::time::Duration;

use flowherd_shared::{
    backoff,
    queue::{BATCH, NewMessage, Queue, QueueError, RejectedEntry},
    task::Task,
};

use crate::parallel;

/// Batches in flight at once. A request takes some milliseconds, and a queue in high-throughput mode accepts thousands a
/// second (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>).
const IN_FLIGHT: usize = 16;
/// Attempts for each batch. The pauses between them, of 50 ms, 100 ms, 200 ms, …, take 7 to 13 seconds together.
const ATTEMPTS: u32 = 9;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// Why tasks were not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The queue rejected messages of a batch in every attempt, or permanently.
    #[error("the queue rejects {count} messages, among them that for {key:?}: {why}")]
    Rejected {
        /// Rejected messages of the batch.
        count: usize,
        /// The key of one of them.
        key: String,
        /// The reason that the queue gave for it.
        why: String,
    },
    /// The queue did not respond in any attempt.
    #[error("the queue does not respond")]
    Unreachable(#[source] QueueError),
}

/// Sends every task. `SendMessageBatch` succeeds even if it rejects entries, so exactly those are sent again
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html>).
pub(crate) fn send(
    queue: &impl Queue,
    tasks: &[Task],
    pause: &(dyn Fn(Duration) + Sync),
) -> Result<(), SendError> {
    let batches: Vec<&[Task]> = tasks.chunks(BATCH).collect();
    parallel::try_map(IN_FLIGHT, &batches, |batch| send_batch(queue, batch, pause)).map(|_| ())
}

fn send_batch(
    queue: &impl Queue,
    tasks: &[Task],
    pause: &(dyn Fn(Duration) + Sync),
) -> Result<(), SendError> {
    let mut pending: Vec<&Task> = tasks.iter().collect();
    let mut attempt = 0;
    loop {
        let batch: Vec<NewMessage> = pending.iter().map(|task| outgoing(task)).collect();
        let outcome = queue.send(&batch);
        attempt += 1;
        match outcome {
            Ok(rejected) if rejected.is_empty() => return Ok(()),
            Ok(rejected) => {
                let permanent = rejected.iter().find(|entry| entry.sender_fault);
                if let Some(entry) = permanent.or((attempt == ATTEMPTS).then(|| &rejected[0])) {
                    return Err(error(entry, rejected.len(), &pending));
                }
                pending = rejected.iter().filter_map(|entry| pending.get(entry.position).copied()).collect();
            }
            Err(error) if attempt == ATTEMPTS => return Err(SendError::Unreachable(error)),
            // Whether or not the batch arrived: the queue drops a second copy within five minutes.
            Err(_) => {}
        }
        pause(backoff::pause(FIRST_PAUSE, MAX_PAUSE, attempt, &tasks[0].object.key));
    }
}

fn outgoing(task: &Task) -> NewMessage {
    NewMessage { body: task.body(), group: task.group(), deduplication: task.deduplication() }
}

fn error(rejected: &RejectedEntry, count: usize, batch: &[&Task]) -> SendError {
    match batch.get(rejected.position) {
        Some(task) => {
            SendError::Rejected { count, key: task.object.key.clone(), why: rejected.reason.clone() }
        }
        None => SendError::Unreachable(QueueError::InvalidResponse(format!(
            "the queue rejects message {} of a batch of {}: {}",
            rejected.position,
            batch.len(),
            rejected.reason
        ))),
    }
}
