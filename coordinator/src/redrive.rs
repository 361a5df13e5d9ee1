//! Dead letters go back to the queue, when what made them so has been repaired.

use std::{io, time::Duration};

use flowherd_shared::{
    config::hex,
    queue::{BATCH, Outgoing, Queue, Received},
    store::{Lister, Store},
    task::Task,
};
use sha2::{Digest, Sha256};

use crate::{
    active::{Active, Stage},
    begin::iso,
    steps::{Checks, Coordinator, CoordinatorError, Operation, Step},
};

/// How dead letters were moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redriven {
    /// The service does it, and goes on by itself.
    Started,
    /// So many were received and sent.
    Moved(u64),
}

impl<L: Lister, S: Store + Lister, Q: Queue> Coordinator<'_, L, S, Q> {
    /// Moves all dead letters back, whichever run they are of, and says how to follow the given one to a new report.
    pub fn redrive(&self, run: &str) -> Result<(Redriven, Step), CoordinatorError> {
        let run = self.run(run)?;
        let Some(dead) = self.dead_letters else {
            let todo = "set one up, or name it by FLOWHERD_DEAD_LETTER_QUEUE_URL";
            return Err(CoordinatorError::Refused(format!("the queue has no dead-letter queue; {todo}")));
        };
        let others = Active::others(self.results, "").map_err(CoordinatorError::Ledger)?;
        if let Some(other) = others.iter().find(|other| other.is_purging((self.clock)())) {
            // What is moved into the queue now would vanish, out of the dead letters too.
            return Err(CoordinatorError::Refused(format!(
                "the queue is being purged for run {} just now; redrive in some minutes",
                other.run
            )));
        }
        self.note(&run, Stage::Sending)?;
        let redriven = if dead.move_back().map_err(CoordinatorError::Queue)? {
            Redriven::Started
        } else {
            Redriven::Moved(self.move_one_by_one(dead).map_err(CoordinatorError::Queue)?)
        };
        let checks = Checks { redriven: Some(iso((self.clock)())), ..Checks::default() };
        let progress = self.progress(&run.run)?;
        Ok((redriven, Step { checks, progress, wait_seconds: 1, ..Step::new(Operation::Check, &run) }))
    }

    /// As many as there are now: one that nothing can be done about is soon back, and would be moved for ever. A letter
    /// is sent before it is removed: what fails in between is sent twice, which the queue or the worker notices.
    fn move_one_by_one(&self, dead: &Q) -> io::Result<u64> {
        let depth = dead.depth()?;
        let mut moved = 0;
        while moved < depth.visible {
            let left = usize::try_from(depth.visible - moved).unwrap_or(BATCH);
            let letters = dead.receive(left.min(BATCH), Duration::from_secs(1))?;
            if letters.is_empty() {
                break;
            }
            let batch: Vec<Outgoing> = letters.iter().map(again).collect();
            let refused = self.queue.send(&batch)?;
            for (position, letter) in letters.iter().enumerate() {
                if refused.iter().any(|refused| refused.position == position) {
                    dead.hide(&letter.handle, Duration::ZERO)?;
                } else {
                    dead.acknowledge(&letter.handle)?;
                    moved += 1;
                }
            }
            if let Some(refused) = refused.first() {
                return Err(io::Error::other(format!("the queue refuses a dead letter: {}", refused.why)));
            }
        }
        Ok(moved)
    }
}

/// The same message under a deduplication id of its own: that of its first sending may be less than five minutes old.
fn again(letter: &Received) -> Outgoing {
    let hash = |text: &str| hex(&Sha256::digest(text));
    let group = Task::parse(&letter.body).map_or_else(|_| hash(&letter.body), |task| task.group());
    Outgoing { group, deduplication: hash(&format!("redrive {}", letter.id)), body: letter.body.clone() }
}
