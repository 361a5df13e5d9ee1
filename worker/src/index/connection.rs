//! The connection of a worker to its cluster. When the cluster refuses the credentials, reads them again: a rotation of the
//! secret needs no restart.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use flowherd_indexer::job::Indexer;
use flowherd_shared::store::Cause;
use jiff::{SignedDuration, Timestamp};

/// Minimum time between two reads of credentials that the cluster refuses. Each read is a request to Secrets Manager.
const INTERVAL: SignedDuration = SignedDuration::from_mins(1);

/// Reads the credentials and creates an indexer that uses them.
type Connect<'a> = Box<dyn Fn() -> Result<Indexer, Cause> + Send + Sync + 'a>;

/// The indexer with the credentials that were read last.
pub(super) struct Connection<'a> {
    connect: Connect<'a>,
    clock: &'a (dyn Fn() -> Timestamp + Sync),
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    indexer: Option<Arc<Indexer>>,
    /// When the credentials were read last, also without success.
    read: Option<Timestamp>,
}

impl fmt::Debug for Connection<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("state", &self.state).finish_non_exhaustive()
    }
}

impl<'a> Connection<'a> {
    pub(super) fn new(connect: Connect<'a>, clock: &'a (dyn Fn() -> Timestamp + Sync)) -> Self {
        Self { connect, clock, state: Mutex::default() }
    }

    /// Returns the indexer. The first successful call reads the credentials.
    pub(super) fn indexer(&self) -> Result<Arc<Indexer>, Cause> {
        let mut state = self.state();
        match &state.indexer {
            Some(indexer) => Ok(Arc::clone(indexer)),
            None => self.read(&mut state),
        }
    }

    /// Reads the credentials again after the cluster has refused those of `refused`. Does nothing if another object has done it,
    /// or if they were read within the last minute. After an error, the old credentials remain.
    pub(super) fn renew(&self, refused: &Arc<Indexer>) -> Result<(), Cause> {
        let mut state = self.state();
        let is_current = state.indexer.as_ref().is_some_and(|current| Arc::ptr_eq(current, refused));
        let is_recent = state.read.is_some_and(|read| (self.clock)().duration_since(read) < INTERVAL);
        if is_current && !is_recent {
            self.read(&mut state)?;
        }
        Ok(())
    }

    fn read(&self, state: &mut State) -> Result<Arc<Indexer>, Cause> {
        state.read = Some((self.clock)());
        let indexer = Arc::new((self.connect)()?);
        state.indexer = Some(Arc::clone(&indexer));
        Ok(indexer)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
