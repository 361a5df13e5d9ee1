//! Ctrl-C: the first one finishes the objects in progress, the second discards them, the third ends the process.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use crate::{summary::print_message, terminal};

/// The level of urgency to stop; it only increases.
#[derive(Clone, Debug, Default)]
pub(super) struct StopSwitch(Arc<AtomicU8>);

const FINISH: u8 = 1;
const DISCARD: u8 = 2;
/// The status that a shell reports for a process that Ctrl-C ended.
const KILLED: i32 = 130;

impl StopSwitch {
    /// Listens for Ctrl-C, SIGTERM and SIGHUP.
    pub(super) fn install() -> Result<Self, ctrlc::Error> {
        let switch = Self::default();
        let pressed = switch.clone();
        ctrlc::set_handler(move || {
            match pressed.0.fetch_add(1, Ordering::SeqCst) + 1 {
                FINISH => {
                    print_message(
                        "stopping after the objects in progress; press Ctrl-C again to discard them",
                    );
                }
                DISCARD => {
                    print_message(
                        "discarding the objects in progress; press Ctrl-C again to end without a report",
                    );
                }
                // Uncommitted outputs are invisible, as after a kill.
                _ => {
                    terminal::clear();
                    std::process::exit(KILLED)
                }
            }
        })?;
        Ok(switch)
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.0.load(Ordering::SeqCst) >= FINISH
    }

    pub(super) fn is_discarding(&self) -> bool {
        self.0.load(Ordering::SeqCst) >= DISCARD
    }

    /// Discards the objects in progress, because the work cannot continue.
    pub(super) fn stop_now(&self) {
        self.0.store(DISCARD, Ordering::SeqCst);
    }
}
