//! A fleet on fakes. A schedule controls every process.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use flowherd_coordinator::{
    error::CoordinatorError,
    options::RunOptions,
    state::{Operation, Planning, Reporting, RunState},
};
use flowherd_shared::{
    ledger::{Run, layout, read_json},
    queue::{Queue, QueueDepth},
    store::Store,
};
use flowherd_tests::{
    fake::{Faults, Pace, Process, Watch},
    objects::{FLOW, envelope, event, gzip},
};

use super::{
    Event,
    services::{Outcome, Services},
};

/// Maximum lifetime of a process. The time between a worker's last check for a purge and its receipt must be shorter than the
/// minute that a purge takes.
const LIFETIME: Duration = Duration::from_secs(59);
const MAX_DRIVERS: usize = 5;
pub(super) const KEYS: [&str; 6] = ["p/0", "p/1 +%ü", "p/2", "p/3", "q/0", "q/1"];
/// Keys that schedules may add: before, between and after the others.
const LATER: [&str; 6] = ["p/", "p/1", "p/1 a", "p/4", "q/00", "q/2"];

/// The first call of a driver.
#[derive(Clone, Debug)]
enum First {
    Begin(RunOptions),
    Redrive,
}

/// A driver, which calls the coordinator for a run repeatedly.
#[derive(Clone, Debug)]
pub(super) struct Driver {
    pub(super) run: String,
    first: First,
    /// The last state that it received; `None` until the run is begun.
    pub(super) step: Option<RunState>,
    due: Duration,
    pub(super) refused: Option<String>,
    /// Whether a call of the driver is in progress.
    is_busy: bool,
}

impl Driver {
    pub(super) fn redrives(&self) -> bool {
        matches!(self.first, First::Redrive)
    }

    pub(super) fn has_ended(&self) -> bool {
        self.refused.is_some() || self.step.as_ref().is_some_and(RunState::has_ended)
    }
}

struct Live {
    process: Arc<Process>,
    thread: JoinHandle<thread::Result<Outcome>>,
    driver: Option<usize>,
    since: Duration,
}

pub(super) struct World {
    pub(super) services: Arc<Services>,
    pub(super) drivers: Vec<Driver>,
    live: Vec<Live>,
    watch: Watch,
    numbers: usize,
    has_lagged: bool,
    /// Every content of an object, by key and `ETag`.
    pub(super) contents: BTreeMap<(String, String), Vec<u8>>,
    /// Keys whose content was damaged, replaced or removed at some time.
    pub(super) touched: BTreeSet<String>,
    /// Runs with two drivers.
    pub(super) shared: BTreeSet<String>,
    /// Times of purges from outside the fleet.
    pub(super) outside_purges: Vec<Duration>,
    /// Whether a worker's call failed, or a worker died or waited.
    pub(super) had_bad_workers: bool,
}

impl Drop for World {
    fn drop(&mut self) {
        for live in self.live.drain(..) {
            live.process.kill();
            let _ = live.thread.join();
        }
    }
}

impl World {
    pub(super) fn new(versions: bool) -> Self {
        let services = Services::new(versions);
        let watch = services.watch();
        let mut world = Self {
            services,
            drivers: Vec::new(),
            live: Vec::new(),
            watch,
            numbers: 0,
            has_lagged: false,
            contents: BTreeMap::new(),
            touched: BTreeSet::new(),
            shared: BTreeSet::new(),
            outside_purges: Vec::new(),
            had_bad_workers: false,
        };
        KEYS.iter().for_each(|key| world.put(key, true));
        world
    }

    /// Puts an object with new content.
    fn put(&mut self, key: &str, is_whole: bool) {
        self.numbers += 1;
        let serial = i64::try_from(self.numbers).unwrap();
        let events = [event(serial, FLOW), event(serial, "a reject"), event(serial, FLOW)];
        let mut bytes = gzip(envelope("g", &events[..self.numbers % 4]).as_bytes());
        // Objects without records differ by the time in their gzip header.
        bytes[4..8].copy_from_slice(&u32::try_from(serial).unwrap().to_le_bytes());
        if !is_whole {
            bytes.truncate(bytes.len() - 9);
        }
        self.services.source.put(key, bytes.clone());
        self.contents.insert((key.to_owned(), self.services.source.entry(key).etag), bytes);
    }

    pub(super) fn apply(&mut self, event: &Event) {
        self.services.record(format!("{:?} {event:?}", self.services.queue.now()));
        match *event {
            Event::Begin { prefix, purge, force, resume, pace } => {
                let resume = resume.and_then(|run| self.begun(run));
                let prefix = resume.is_none().then(|| prefix.to_owned());
                let options = RunOptions { prefix, purge, force, resume, ..RunOptions::default() };
                if self.drivers.len() < MAX_DRIVERS {
                    let driver = self.begin(options);
                    self.drive(driver, pace);
                }
            }
            Event::Redrive(run, pace) => {
                if let Some(run) = self.begun(run).filter(|_| self.drivers.len() < MAX_DRIVERS) {
                    let driver = self.redrive(run);
                    self.drive(driver, pace);
                }
            }
            Event::Second(driver) => {
                let Some(like) = self.pick(driver).map(|at| self.drivers[at].clone()) else { return };
                if self.drivers.len() < MAX_DRIVERS {
                    self.shared.insert(like.run.clone());
                    self.drivers.push(Driver { is_busy: false, ..like });
                }
            }
            Event::Drive(driver, pace) => {
                if let Some(driver) = self.pick(driver) {
                    self.drive(driver, pace);
                }
            }
            Event::Look { run, is_final } => {
                let Some(run) = self.begun(run) else { return };
                let process = Process::new("operator".to_owned(), Pace::Whole, Arc::clone(&self.watch));
                let looked = self.services.coordinate(&process, |coordinator| {
                    let run = coordinator.run(&run)?;
                    let reporting = Reporting { is_final, ..Reporting::default() };
                    coordinator.step(RunState::new(&run, Operation::Report(reporting)), &|| true)
                });
                if let Err(error @ CoordinatorError::Ledger(_)) = looked {
                    self.services.violate(format!("a report with the current ledger fails: {error}"));
                }
            }
            Event::Work(pace) => _ = self.work(pace),
            Event::Resume(which, pace) => {
                if !self.live.is_empty() {
                    let at = usize::from(which) % self.live.len();
                    let process = Arc::clone(&self.live[at].process);
                    process.resume(pace);
                    self.reap();
                }
            }
            Event::Pass(seconds) => self.pass(Duration::from_secs(seconds)),
            Event::CountsLag(seconds) => {
                if !std::mem::replace(&mut self.has_lagged, true) {
                    let until = self.services.queue.now() + Duration::from_secs(seconds);
                    let faults = Faults { counts_nothing_until: until, ..Faults::default() };
                    self.services.queue.set_faults(faults);
                }
            }
            Event::SendsFail { whole, half, can_redrive } => self.services.queue.set_faults(Faults {
                send_fails_every: (whole > 1).then_some(whole),
                send_accepts_half_every: (half > 1).then_some(half),
                can_redrive,
                ..Faults::default()
            }),
            Event::PurgedOutside => {
                if self.services.queue.purge().is_ok() {
                    self.outside_purges.push(self.services.queue.now());
                }
            }
            Event::Overwrite(key) => self.replace(key, true),
            Event::Damage(key) => self.replace(key, false),
            Event::Remove(key) => {
                let key = KEYS[usize::from(key) % KEYS.len()];
                self.touched.insert(key.to_owned());
                self.services.source.remove(key);
            }
            Event::Appear(key) => {
                let all = [LATER, KEYS].concat();
                let key = all[usize::from(key) % all.len()];
                self.touched.insert(key.to_owned());
                self.put(key, true);
            }
            Event::Again { driver, purge } => {
                // A repeated begin of a listed run is refused, which would leave the run without a driver.
                let is_listed = |at: &usize| self.is_listed(&self.drivers[*at].run);
                let Some(at) = self.pick(driver).filter(|at| !is_listed(at)) else { return };
                if let First::Begin(options) = &mut self.drivers[at].first {
                    options.purge = purge;
                    self.drivers[at].step = None;
                }
            }
        }
    }

    fn replace(&mut self, key: u8, is_whole: bool) {
        let key = KEYS[usize::from(key) % KEYS.len()];
        self.touched.insert(key.to_owned());
        self.put(key, is_whole);
    }

    /// Selects a run that has been begun.
    fn begun(&self, number: u8) -> Option<String> {
        let runs = self.runs();
        (!runs.is_empty()).then(|| runs[usize::from(number) % runs.len()].clone())
    }

    /// Returns the runs that have been begun, in the order of their begins.
    pub(super) fn runs(&self) -> Vec<String> {
        let names: BTreeSet<&String> = self.drivers.iter().map(|driver| &driver.run).collect();
        let is_there = |run: &&&String| self.services.store.get(&layout::run(run)).unwrap().is_some();
        names.iter().filter(is_there).map(|run| (*run).clone()).collect()
    }

    fn is_listed(&self, run: &str) -> bool {
        let run: Option<Run> = read_json(&self.services.store, &layout::run(run)).unwrap();
        run.is_some_and(|run| run.manifest.is_some())
    }

    /// Selects a driver that has not ended and has no call in progress.
    fn pick(&self, number: u8) -> Option<usize> {
        let waiting = |at: &usize| !self.drivers[*at].has_ended() && !self.drivers[*at].is_busy;
        let waiting: Vec<usize> = (0..self.drivers.len()).filter(waiting).collect();
        (!waiting.is_empty()).then(|| waiting[usize::from(number) % waiting.len()])
    }

    /// Adds a driver for a new run.
    pub(super) fn begin(&mut self, options: RunOptions) -> usize {
        let run = format!("r{}", self.drivers.len());
        self.add(run.clone(), First::Begin(RunOptions { run: Some(run), ..options }))
    }

    /// Adds a driver that redrives a run.
    pub(super) fn redrive(&mut self, run: String) -> usize {
        self.add(run, First::Redrive)
    }

    fn add(&mut self, run: String, first: First) -> usize {
        let due = self.services.queue.now();
        self.drivers.push(Driver { run, first, step: None, due, refused: None, is_busy: false });
        self.drivers.len() - 1
    }

    /// Makes the next call of a driver, after the wait that the coordinator requested.
    pub(super) fn drive(&mut self, at: usize, pace: Pace) {
        let Driver { run, first, step, due, .. } = self.drivers[at].clone();
        self.pass(due.saturating_sub(self.services.queue.now()));
        self.drivers[at].is_busy = true;
        // If a call stalls between writing its marker and acting on it while another driver of the run continues, objects can
        // be missing. Only the report shows them, so schedules do not stall such calls.
        let writes_marker = |step: &RunState| match &step.operation {
            Operation::Plan(planning) => *planning == Planning::default(),
            operation => matches!(operation, Operation::Purge(_)),
        };
        let stalls = matches!(pace, Pace::WaitsAt(_))
            && step.as_ref().is_some_and(writes_marker)
            && self.shared.contains(&run);
        let pace = if stalls { Pace::Whole } else { pace };
        let what = step.as_ref().map_or_else(|| format!("{first:?}"), |step| format!("{:?}", step.operation));
        // Drivers with odd numbers have time for all pages of the listing.
        let has_time = at % 2 == 1;
        self.start(format!("driver {at} of {run}, {what}"), Some(at), pace, move |services, process| {
            Outcome::Stepped(Box::new(services.coordinate(process, |coordinator| match (&step, &first) {
                (Some(step), _) => coordinator.step(step.clone(), &|| has_time),
                (None, First::Begin(options)) => coordinator.begin(options),
                (None, First::Redrive) => coordinator.redrive(&run).map(|(_, step)| step.unwrap()),
            })))
        });
    }

    /// Lets a worker handle a message. Returns false if the queue delivers none.
    pub(super) fn work(&mut self, pace: Pace) -> bool {
        self.had_bad_workers |= pace != Pace::Whole;
        self.numbers += 1;
        let is_idle = self.live.is_empty();
        let name = format!("worker {}", self.numbers);
        let outcome = self.start(name, None, pace, move |services, process| services.work(process, is_idle));
        matches!(outcome, Some(Outcome::Worked { has_received: true }))
    }

    /// Starts a process. Returns its outcome unless the process waits.
    fn start(
        &mut self,
        name: String,
        driver: Option<usize>,
        pace: Pace,
        work: impl FnOnce(&Services, &Process) -> Outcome + Send + 'static,
    ) -> Option<Outcome> {
        let process = Arc::new(Process::new(name, pace, Arc::clone(&self.watch)));
        let services = Arc::clone(&self.services);
        if !matches!(pace, Pace::WaitsAt(_)) {
            let outcome = work(&services, &process);
            return self.ended(&process, driver, outcome, false);
        }
        let own = Arc::clone(&process);
        let thread = thread::spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| work(&services, &own)));
            own.end();
            outcome
        });
        process.wait_until_idle();
        let since = self.services.queue.now();
        self.live.push(Live { process, thread, driver, since });
        self.reap();
        None
    }

    /// Handles the outcomes of processes that have ended.
    fn reap(&mut self) {
        while let Some(at) = self.live.iter().position(|live| live.process.has_ended()) {
            let Live { process, thread, driver, .. } = self.live.remove(at);
            let outcome = thread.join().unwrap().unwrap_or_else(|panic| resume_unwind(panic));
            self.ended(&process, driver, outcome, true);
        }
    }

    /// Handles the outcome of a process. `has_waited`: other processes may have run since it read the ledger.
    fn ended(
        &mut self,
        process: &Process,
        driver: Option<usize>,
        outcome: Outcome,
        has_waited: bool,
    ) -> Option<Outcome> {
        if let Some(driver) = driver {
            self.drivers[driver].is_busy = false;
        }
        if process.is_dead() {
            return None;
        }
        let (Some(at), Outcome::Stepped(stepped)) = (driver, &outcome) else { return Some(outcome) };
        let now = self.services.queue.now();
        let driver = &mut self.drivers[at];
        match &**stepped {
            Ok(step) => {
                driver.due = now + Duration::from_secs(step.wait_seconds);
                // A report of several calls has each part's state at the time of its call.
                let at_once = driver.step.as_ref().is_some_and(|before| match &before.operation {
                    Operation::Report(report) => report.parts == 0,
                    _ => true,
                });
                driver.step = Some(step.clone());
                if step.has_ended() && at_once && !has_waited && self.live.is_empty() {
                    let step = step.clone();
                    super::report::check(&self.services, &step);
                }
            }
            Err(CoordinatorError::Refused(why)) => {
                let doing = driver.step.as_ref().map(|step| step.operation.clone());
                if !matches!(doing, None | Some(Operation::Purge(_))) {
                    self.services.violate(format!("{} is refused {doing:?}: {why}", driver.run));
                }
                driver.refused = Some(why.clone());
            }
            Err(_) => driver.due = now + Duration::from_secs(5),
        }
        Some(outcome)
    }

    /// Advances the clock, and kills processes that have waited for too long.
    pub(super) fn pass(&mut self, time: Duration) {
        self.services.queue.advance(time);
        let now = self.services.queue.now();
        for live in self.live.iter().filter(|live| now > live.since + LIFETIME) {
            live.process.kill();
            live.process.wait_until_idle();
        }
        self.reap();
    }

    /// Ends the faults, resumes waiting processes, and drives each run to its end with workers that drain the queue.
    pub(super) fn settle(&mut self) {
        self.services.record("the faults end".to_owned());
        self.services.queue.set_faults(Faults::default());
        while let Some(live) = self.live.first() {
            Arc::clone(&live.process).resume(Pace::Whole);
            self.reap();
        }
        for _ in 0..400 {
            if self.drivers.iter().all(Driver::has_ended) {
                break;
            }
            for at in 0..self.drivers.len() {
                if !self.drivers[at].has_ended() {
                    self.drain();
                    self.drive(at, Pace::Whole);
                }
            }
        }
        self.drain();
        for driver in self.drivers.iter().filter(|driver| !driver.has_ended()) {
            self.services.violate(format!("run {} never ends: {:?}", driver.run, driver.step));
        }
    }

    fn drain(&mut self) {
        for _ in 0..2000 {
            if self.work(Pace::Whole) {
                continue;
            }
            if self.services.queue.depth().unwrap() == QueueDepth::default() {
                return;
            }
            self.pass(Duration::from_secs(10));
        }
        self.services.violate("the queue never empties".to_owned());
    }

    /// Replaces damaged and removed objects by valid ones in new versions.
    pub(super) fn repair(&mut self) {
        for key in KEYS {
            let there = self.services.source.remove(key);
            match there.filter(|bytes| super::truth::reference(key, bytes).is_some()) {
                Some(bytes) => self.services.source.put(key, bytes),
                None => self.put(key, true),
            }
        }
    }
}
