//! A process that uses the fakes. Each of its calls can fail, lose its response, wait, or never happen, so that a test
//! decides how far one process comes before another continues.

use std::{
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    time::Duration,
};

use flowherd_shared::{
    queue::{Message, NewMessage, PurgeError, Queue, QueueDepth, QueueError, RejectedEntry},
    store::{Head, Lister, ManifestEntry, Page, Sink, Source, Store, StoreError},
};

use super::Injected;

/// What happens to a process at one of its next calls. The next call has the number 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// No call fails.
    Whole,
    /// This call fails.
    FailsAt(u8),
    /// This call succeeds, but its response is lost.
    LosesResponseOf(u8),
    /// The process ends before this call.
    DiesAt(u8),
    /// The process waits before this call.
    WaitsAt(u8),
}

/// Called before each call with the name of the process, the call, and the bytes it writes.
pub type Watch = Arc<dyn Fn(&str, &str, &[u8]) + Send + Sync>;

/// A process that calls its ports through [`Paced`].
pub struct Process {
    name: String,
    watch: Watch,
    state: Mutex<State>,
    changed: Condvar,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Process").field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct State {
    /// Number of calls.
    calls: usize,
    /// The process waits before this call.
    until: usize,
    fails_at: Option<usize>,
    loses: Option<usize>,
    dies_at: Option<usize>,
    is_dead: bool,
    has_ended: bool,
    /// Number of threads in a call, and of threads that wait.
    in_call: usize,
    waiting: usize,
}

impl State {
    fn set(&mut self, pace: Pace) {
        let at = |number: u8| self.calls + usize::from(number);
        let (mut fails_at, mut loses, mut dies_at, mut until) = (None, None, None, usize::MAX);
        match pace {
            Pace::Whole => {}
            Pace::FailsAt(number) => fails_at = Some(at(number)),
            Pace::LosesResponseOf(number) => loses = Some(at(number)),
            Pace::DiesAt(number) => dies_at = Some(at(number)),
            Pace::WaitsAt(number) => until = at(number),
        }
        (self.fails_at, self.loses, self.dies_at, self.until) = (fails_at, loses, dies_at, until);
    }

    fn is_idle(&self) -> bool {
        self.has_ended || (self.waiting > 0 && self.in_call == 0 && self.calls >= self.until)
    }
}

impl Process {
    /// Creates a process that has made no call.
    #[must_use]
    pub fn new(name: String, pace: Pace, watch: Watch) -> Self {
        let mut state = State {
            calls: 0,
            until: 0,
            fails_at: None,
            loses: None,
            dies_at: None,
            is_dead: false,
            has_ended: false,
            in_call: 0,
            waiting: 0,
        };
        state.set(pace);
        Self { name, watch, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Returns the name of the process.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sets another pace. Returns when the process waits again or has ended.
    pub fn resume(&self, pace: Pace) {
        self.state().set(pace);
        self.changed.notify_all();
        self.wait_until_idle();
    }

    /// Returns when the process waits or has ended.
    pub fn wait_until_idle(&self) {
        let mut state = self.state();
        while !state.is_idle() {
            state = self.changed.wait(state).unwrap();
        }
    }

    /// Prevents all further calls.
    pub fn kill(&self) {
        self.state().is_dead = true;
        self.changed.notify_all();
    }

    /// Records that the work of the process has ended.
    pub fn end(&self) {
        self.state().has_ended = true;
        self.changed.notify_all();
    }

    /// Returns whether the work of the process has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.state().has_ended
    }

    /// Returns whether the process was killed. Its result is then unknown.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.state().is_dead
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn call<T, E: From<Injected>>(
        &self,
        what: &str,
        bytes: &[u8],
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let injected = |message| Err(Injected { message, fault: None }.into());
        let mut state = self.state();
        while !state.is_dead && state.calls >= state.until {
            state.waiting += 1;
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap();
            state.waiting -= 1;
        }
        let number = state.calls;
        state.calls += 1;
        state.is_dead |= state.dies_at == Some(number);
        if state.is_dead {
            return injected("the process is dead");
        }
        if state.fails_at == Some(number) {
            return injected("injected: the call failed");
        }
        let is_lost = state.loses == Some(number);
        state.in_call += 1;
        drop(state);
        (self.watch)(&self.name, what, bytes);
        let outcome = work();
        self.state().in_call -= 1;
        self.changed.notify_all();
        if is_lost { injected("injected: the response was lost") } else { outcome }
    }
}

/// A port that belongs to a process.
#[derive(Debug)]
pub struct Paced<'a, T> {
    port: &'a T,
    process: &'a Process,
}

impl<'a, T> Paced<'a, T> {
    /// Creates a port whose calls belong to `process`.
    #[must_use]
    pub fn new(port: &'a T, process: &'a Process) -> Self {
        Self { port, process }
    }
}

impl<T: Source> Source for Paced<'_, T> {
    type Body = T::Body;

    fn open(&self, object: &ManifestEntry) -> Result<Self::Body, StoreError> {
        self.process.call(&format!("open {}", object.key), &[], || self.port.open(object))
    }

    fn head(&self, key: &str) -> Result<Option<ManifestEntry>, StoreError> {
        self.process.call(&format!("head {key}"), &[], || self.port.head(key))
    }
}

impl<T: Lister> Lister for Paced<'_, T> {
    fn page(&self, prefix: &str, token: Option<&str>) -> Result<Page, StoreError> {
        self.process.call(&format!("list {prefix} {token:?}"), &[], || self.port.page(prefix, token))
    }
}

/// A result that a process writes.
#[derive(Debug)]
pub struct PacedSink<'a, T> {
    sink: T,
    path: String,
    process: &'a Process,
}

impl<T: Write> Write for PacedSink<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sink.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

impl<T: Sink> Sink for PacedSink<'_, T> {
    fn commit(self) -> Result<String, StoreError> {
        self.process.call(&format!("commit {}", self.path), &[], || self.sink.commit())
    }
}

impl<'a, T: Store> Store for Paced<'a, T> {
    type Sink = PacedSink<'a, T::Sink>;

    fn create(&self, path: &str) -> Result<Self::Sink, StoreError> {
        let sink = self.process.call(&format!("create {path}"), &[], || self.port.create(path))?;
        Ok(PacedSink { sink, path: path.to_owned(), process: self.process })
    }

    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.process.call(&format!("put {path}"), bytes, || self.port.put(path, bytes))
    }

    fn put_if_absent(&self, path: &str, bytes: &[u8]) -> Result<bool, StoreError> {
        self.process.call(&format!("put if absent {path}"), bytes, || self.port.put_if_absent(path, bytes))
    }

    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.process.call(&format!("get {path}"), &[], || self.port.get(path))
    }

    fn head(&self, path: &str) -> Result<Option<Head>, StoreError> {
        self.process.call(&format!("head {path}"), &[], || self.port.head(path))
    }

    fn remove(&self, path: &str) -> Result<(), StoreError> {
        self.process.call(&format!("remove {path}"), &[], || self.port.remove(path))
    }
}

impl<T: Queue> Queue for Paced<'_, T> {
    fn send(&self, batch: &[NewMessage]) -> Result<Vec<RejectedEntry>, QueueError> {
        self.process.call(&format!("send {}", batch.len()), &[], || self.port.send(batch))
    }

    fn receive(&self, limit: usize, wait: Duration) -> Result<Vec<Message>, QueueError> {
        self.process.call("receive", &[], || self.port.receive(limit, wait))
    }

    fn delete_batch(&self, handles: &[&str]) -> Result<Vec<RejectedEntry>, QueueError> {
        self.process.call(&format!("delete {handles:?}"), &[], || self.port.delete_batch(handles))
    }

    fn change_visibility_batch(
        &self,
        changes: &[(&str, Duration)],
    ) -> Result<Vec<RejectedEntry>, QueueError> {
        self.process.call(&format!("change visibility {changes:?}"), &[], || {
            self.port.change_visibility_batch(changes)
        })
    }

    fn depth(&self) -> Result<QueueDepth, QueueError> {
        self.process.call("depth", &[], || self.port.depth())
    }

    fn purge(&self) -> Result<(), PurgeError> {
        self.process.call("purge", &[], || self.port.purge())
    }

    fn redrive(&self) -> Result<bool, QueueError> {
        self.process.call("redrive", &[], || self.port.redrive())
    }
}
