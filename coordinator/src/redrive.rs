//! Moves dead-letter messages back to the queue after the cause of their failures was repaired.

use std::time::Duration;

use flowherd_shared::{
    ledger::Run,
    queue::{BATCH, Message, NewMessage, Queue, QueueError},
    store::{Lister, Store},
    task::Task,
    text::hex,
};
use sha2::{Digest, Sha256};

use crate::{
    coordinator::Coordinator,
    error::CoordinatorError,
    live::stage::LiveStage,
    marker::{RunMarker, Stage},
    state::{Checking, Operation, RunState},
};

/// What follows the redrive of a live run that still accepts arrivals.
pub const REDRIVEN_OPEN: &str = "the live run is open, so it has no new report; see flowherd live status: the close of its day reports it";

/// How dead-letter messages are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redriven {
    /// SQS moves them in the background: about this many, by the count of the dead-letter queue.
    Started(u64),
    /// The coordinator has received and sent this many.
    Moved(u64),
}

impl<L: Lister, S: Store + Lister, Q: Queue> Coordinator<'_, L, S, Q> {
    /// Moves the dead-letter messages of all runs of the fleet back. Returns the state from which the given run gets a new report;
    /// `None` for an open live run, which only the close of its day reports.
    ///
    /// # Errors
    /// [`CoordinatorError::Refused`] without a dead-letter queue, and while the queue is being purged.
    pub fn redrive(&self, run: &str) -> Result<(Redriven, Option<RunState>), CoordinatorError> {
        let run = self.run(run)?;
        let instead =
            format!("begin a run of its failed and missing objects: flowherd run --resume {}", run.run);
        let queue = self.queue_or(&instead)?;
        let Some(dead) = self.dead_letters else {
            return Err(CoordinatorError::refused(
                "the queue has no dead-letter queue; add a redrive policy to the queue, or set \
                 FLOWHERD_DEAD_LETTER_QUEUE_URL",
            ));
        };
        self.refuse_while_purging(&run)?;
        let before = RunMarker::find(self.results, &run.run).map_err(CoordinatorError::Ledger)?;
        // Its own purge blocks too: the marker below would end the protection that the purge still needs.
        if let Some(own) = &before
            && own.is_purging(self.results).map_err(CoordinatorError::Ledger)?
        {
            return Err(refused_by_purge(&run.run));
        }
        // Writes its own marker before reading others' again, as planning does.
        self.mark(&run, Stage::Redriving)?;
        if let Err(error) = self.refuse_while_purging(&run) {
            let restored = match before {
                None => RunMarker::remove(self.results, &run.run),
                Some(before) => before.write(self.results),
            };
            restored.map_err(CoordinatorError::Ledger)?;
            return Err(error);
        }
        let depth = dead.depth().map_err(CoordinatorError::Queue)?;
        let redriven = if dead.redrive().map_err(CoordinatorError::Queue)? {
            Redriven::Started(depth.visible + depth.in_flight)
        } else {
            Redriven::Moved(move_one_by_one(queue, dead, depth.visible).map_err(CoordinatorError::Queue)?)
        };
        if run.live.is_some() && self.live_stage(&run)? == LiveStage::Open {
            return Ok((redriven, None));
        }
        let checks = Operation::Check(Checking { redriven: true, ..Checking::default() });
        let progress = self.progress(&run.run)?;
        let state = RunState { progress, wait_seconds: 1, ..RunState::new(&run, checks) };
        Ok((redriven, Some(state)))
    }

    /// Refuses while another run purges: the purge would delete the messages that are moved back.
    fn refuse_while_purging(&self, run: &Run) -> Result<(), CoordinatorError> {
        match self.purging_run(run)? {
            Some(other) => Err(refused_by_purge(&other)),
            None => Ok(()),
        }
    }
}

/// Receives and sends up to `count` messages. Without this limit, a message that fails again would be moved forever.
/// Only servers without `StartMessageMoveTask` need this; AWS has it. A message is sent before it is deleted: after a
/// failure between the two it is sent twice, which the queue or the worker detects. A rejected message becomes visible
/// again when its visibility timeout ends.
fn move_one_by_one<Q: Queue>(queue: &Q, dead: &Q, count: u64) -> Result<u64, QueueError> {
    let mut moved = 0;
    while moved < count {
        let pending = usize::try_from(count - moved).unwrap_or(BATCH);
        let messages = dead.receive(pending.min(BATCH), Duration::from_secs(1))?;
        if messages.is_empty() {
            break;
        }
        let batch: Vec<NewMessage> = messages.iter().map(copy).collect();
        let rejected = queue.send(&batch)?;
        for (position, message) in messages.iter().enumerate() {
            if !rejected.iter().any(|entry| entry.position == position) {
                dead.delete(&message.handle)?;
                moved += 1;
            }
        }
        if let Some(entry) = rejected.first() {
            return Err(QueueError::Rejected(entry.reason.clone()));
        }
    }
    Ok(moved)
}

fn refused_by_purge(run: &str) -> CoordinatorError {
    CoordinatorError::Refused(format!(
        "the queue is being purged for run {run}; redrive again in a few minutes"
    ))
}

/// Returns the message with a new deduplication id. Under the original one, the queue would drop it for five minutes.
fn copy(message: &Message) -> NewMessage {
    let hash = |text: &str| hex(&Sha256::digest(text));
    let group = Task::parse(&message.body).map_or_else(|_| hash(&message.body), |task| task.group());
    NewMessage { group, deduplication: hash(&format!("redrive {}", message.id)), body: message.body.clone() }
}
