//! Ctrl-C: once, the objects in hand are finished; twice, they are discarded.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

/// How urgently the run is to stop. The numbers only grow.
#[derive(Clone, Debug, Default)]
pub(super) struct StopSwitch(Arc<AtomicU8>);

const TAKE_NO_MORE: u8 = 1;
const DISCARD: u8 = 2;

impl StopSwitch {
    /// Listens for Ctrl-C and SIGTERM.
    pub(super) fn install() -> Result<Self, ctrlc::Error> {
        let switch = Self::default();
        let pressed = switch.clone();
        ctrlc::set_handler(move || {
            let before = pressed
                .0
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |level| Some(DISCARD.min(level + 1)));
            if before == Ok(0) {
                eprintln!(
                    "\nflowherd: stopping when the objects in hand are finished; once more discards them"
                );
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
