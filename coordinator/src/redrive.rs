//! Dead letters go back to the queue, when what made them so has been repaired.

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
    active::{Active, Stage},
    steps::{Checks, Coordinator, CoordinatorError, Operation, Step},
};

/// How dead letters were moved. The counts are what the dead-letter queue reported before, or what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redriven {
    /// SQS moves about this many by itself.
    Started(u64),
    /// This many were received and sent.
    Moved(u64),
}

impl<L: Lister, S: Store + Lister, Q: Queue> Coordinator<'_, L, S, Q> {
    /// Moves all dead letters back, of every run, and returns the step that follows the given run to a new report.
    pub fn redrive(&self, run: &str) -> Result<(Redriven, Step), CoordinatorError> {
        let run = self.run(run)?;
        let Some(dead) = self.dead_letters else {
            let todo = "set one up, or name it by FLOWHERD_DEAD_LETTER_QUEUE_URL";
            return Err(CoordinatorError::Refused(format!("the queue has no dead-letter queue; {todo}")));
        };
        self.refuse_while_purging(&run)?;
        let before = Active::find(self.results, &run.run).map_err(CoordinatorError::Ledger)?;
        // Its own purge too: the marker below would end the protection that the purge still needs.
        if let Some(own) = &before
            && own.is_purging(self.results).map_err(CoordinatorError::Ledger)?
        {
            return Err(refused_by_purge(&run.run));
        }
        // Writes its own marker before it reads others' again, as every sender does.
        self.mark(&run, Stage::Redriving)?;
        if let Err(error) = self.refuse_while_purging(&run) {
            if before.is_none() {
                Active::remove(self.results, &run.run).map_err(CoordinatorError::Ledger)?;
            }
            return Err(error);
        }
        let depth = dead.depth().map_err(CoordinatorError::Queue)?;
        let redriven = if dead.redrive().map_err(CoordinatorError::Queue)? {
            Redriven::Started(depth.visible + depth.in_flight)
        } else {
            Redriven::Moved(self.move_one_by_one(dead, depth.visible).map_err(CoordinatorError::Queue)?)
        };
        let checks = Checks { redriven: true, ..Checks::default() };
        let progress = self.progress(&run.run)?;
        Ok((redriven, Step { checks, progress, wait_seconds: 1, ..Step::new(Operation::Check, &run) }))
    }

    /// A purge would delete the messages that a redrive moves, which are no longer dead letters then.
    fn refuse_while_purging(&self, run: &Run) -> Result<(), CoordinatorError> {
        match self.purging_run(&run.run)? {
            Some(other) => Err(refused_by_purge(&other)),
            None => Ok(()),
        }
    }

    /// Receives and sends up to `count` dead letters: one that fails again is soon back, and would be moved for ever. This is
    /// for servers without `StartMessageMoveTask`; AWS has it. A dead letter is sent before it is deleted. If a call between
    /// them fails, it is sent twice, which the queue or the worker notices. One that the queue refuses becomes visible
    /// again when its visibility timeout ends.
    fn move_one_by_one(&self, dead: &Q, count: u64) -> Result<u64, QueueError> {
        let mut moved = 0;
        while moved < count {
            let pending = usize::try_from(count - moved).unwrap_or(BATCH);
            let letters = dead.receive(pending.min(BATCH), Duration::from_secs(1))?;
            if letters.is_empty() {
                break;
            }
            let batch: Vec<NewMessage> = letters.iter().map(again).collect();
            let refused = self.queue.send(&batch)?;
            for (position, letter) in letters.iter().enumerate() {
                if !refused.iter().any(|refused| refused.position == position) {
                    dead.delete(&letter.handle)?;
                    moved += 1;
                }
            }
            if let Some(refused) = refused.first() {
                return Err(QueueError::Rejected(refused.reason.clone()));
            }
        }
        Ok(moved)
    }
}

fn refused_by_purge(run: &str) -> CoordinatorError {
    CoordinatorError::Refused(format!(
        "the queue is being purged for run {run} just now; redrive in some minutes"
    ))
}

/// The same message under a deduplication id of its own: that of its first sending may be less than five minutes old.
fn again(letter: &Message) -> NewMessage {
    let hash = |text: &str| hex(&Sha256::digest(text));
    let group = Task::parse(&letter.body).map_or_else(|_| hash(&letter.body), |task| task.group());
    NewMessage { group, deduplication: hash(&format!("redrive {}", letter.id)), body: letter.body.clone() }
}
