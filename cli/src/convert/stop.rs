//! Ctrl-C: once, the objects in hand are finished; twice, they are discarded; a third time ends the process.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use crate::summary::tell;

/// How urgently the run is to stop. The numbers only grow.
#[derive(Clone, Debug, Default)]
pub(super) struct StopSwitch(Arc<AtomicU8>);

const TAKE_NO_MORE: u8 = 1;
const DISCARD: u8 = 2;
/// What a shell reports of a process that Ctrl-C ended.
const KILLED: i32 = 130;

impl StopSwitch {
    /// Listens for Ctrl-C, SIGTERM and SIGHUP.
    pub(super) fn install() -> Result<Self, ctrlc::Error> {
        let switch = Self::default();
        let pressed = switch.clone();
        ctrlc::set_handler(move || {
            match pressed.0.fetch_add(1, Ordering::SeqCst) + 1 {
                TAKE_NO_MORE => {
                    tell("stopping when the objects in hand are finished; once more discards them");
                }
                DISCARD => tell(
                    "discarding the objects in hand; once more ends at once, as safely, without a report",
                ),
                // What is not committed is never seen; it is as if the process were killed.
                _ => std::process::exit(KILLED),
            }
        })?;
        Ok(switch)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.0.load(Ordering::SeqCst) >= TAKE_NO_MORE
    }

    pub(super) fn is_discarding(&self) -> bool {
        self.0.load(Ordering::SeqCst) >= DISCARD
    }

    /// Stops everything: the work cannot go on.
    pub(super) fn stop_now(&self) {
        self.0.store(DISCARD, Ordering::SeqCst);
    }
}
