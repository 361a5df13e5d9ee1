//! Sending tasks in batches of 10, several batches in flight, until the queue has taken every one.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use flowherd_shared::{
    queue::{BATCH, NewMessage, Queue, QueueError, RejectedEntry},
    task::Task,
};

use crate::parallel;

/// Batches in flight at once. A call takes some milliseconds, and a queue in high-throughput mode takes thousands a second
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>).
const IN_FLIGHT: usize = 16;
/// Attempts for each batch, with pauses of 50 ms, 100 ms, 200 ms, … between them: about 13 seconds together.
const ATTEMPTS: u32 = 9;
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// Why tasks were not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The queue took part of a batch, again and again.
    #[error("the queue refuses {count} of the tasks, among them that of {key:?}: {why}")]
    Refused {
        /// How many.
        count: usize,
        /// The key of one of them.
        key: String,
        /// What the queue said of it.
        why: String,
    },
    /// The queue could not be reached, again and again.
    #[error("the queue does not answer")]
    Unreachable(#[source] QueueError),
}

/// Sends every task. `SendMessageBatch` answers well even if it took only some: exactly the others are sent again.
pub(super) fn send(
    queue: &impl Queue,
    tasks: &[Task],
    pause: &(dyn Fn(Duration) + Sync),
) -> Result<(), SendError> {
    let batches: Vec<&[Task]> = tasks.chunks(BATCH).collect();
    let gave_up = AtomicBool::new(false);
    let send = |batch: &&[Task]| {
        // The call fails as a whole and is made again: the other batches need not be tried for seconds each.
        if gave_up.load(Ordering::Relaxed) {
            return Ok(());
        }
        send_batch(queue, batch, pause).inspect_err(|_| gave_up.store(true, Ordering::Relaxed))
    };
    parallel::map(IN_FLIGHT, &batches, send).into_iter().collect()
}

fn send_batch(
    queue: &impl Queue,
    tasks: &[Task],
    pause: &(dyn Fn(Duration) + Sync),
) -> Result<(), SendError> {
    let mut left: Vec<&Task> = tasks.iter().collect();
    let mut attempt = 0;
    loop {
        let batch: Vec<NewMessage> = left.iter().map(|task| outgoing(task)).collect();
        let outcome = queue.send(&batch);
        attempt += 1;
        match outcome {
            Ok(refused) if refused.is_empty() => return Ok(()),
            Ok(refused) => {
                let hopeless = refused.iter().find(|refused| refused.sender_fault);
                if let Some(told) = hopeless.or((attempt == ATTEMPTS).then(|| &refused[0])) {
                    return Err(error(told, refused.len(), &left));
                }
                left = refused.iter().filter_map(|refused| left.get(refused.position).copied()).collect();
            }
            Err(error) if attempt == ATTEMPTS => return Err(SendError::Unreachable(error)),
            // Whether it arrived or not: sent twice within five minutes, it is queued once.
            Err(_) => {}
        }
        pause(FIRST_PAUSE * 2_u32.pow(attempt - 1));
    }
}

fn outgoing(task: &Task) -> NewMessage {
    NewMessage { body: task.body(), group: task.group(), deduplication: task.deduplication() }
}

fn error(told: &RejectedEntry, count: usize, batch: &[&Task]) -> SendError {
    match batch.get(told.position) {
        Some(task) => SendError::Refused { count, key: task.object.key.clone(), why: told.reason.clone() },
        None => SendError::Unreachable(QueueError::InvalidResponse(format!(
            "the queue refuses message {} of a batch of {}: {}",
            told.position,
            batch.len(),
            told.reason
        ))),
    }
}
