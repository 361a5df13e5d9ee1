//! Random schedules of a live fleet: events that come twice, late, out of order or never, objects that are replaced and removed,
//! changes of the configuration, purges by the fleet and from outside, reports on demand, closes at any time, and calls that fail. After the last close, every object is done.

use std::collections::{BTreeMap, BTreeSet};

use flowherd_coordinator::{error::CoordinatorError, live::day::Day, options::RunOptions, state::RunState};
use flowherd_shared::{ledger::ReportState, queue::Queue};
use flowherd_tests::fake::Faults;
use proptest::prelude::*;

use super::{super::generate::cases, HOUR, Live, days::set_config, objects};

const KEYS: [&str; 7] = [
    "p/2026/02/17/23/late",
    "p/2026/02/18/00/a",
    "p/2026/02/18/10/b +%ü",
    "p/2026/02/19/00/c",
    "p/2026/02/20/12/d",
    "p/without date",
    "p/x/2026/02/18/other",
];

/// An event of a schedule. Numbers select a key or a message.
#[derive(Clone, Debug)]
enum Event {
    /// Write an object in a new version. Its event is sent, or lost.
    Put { key: usize, version: u8, is_lost: bool },
    /// Remove an object.
    Remove(usize),
    /// Deliver messages from here on to the function. It may die afterwards, so that they are delivered again.
    Arrive { from: usize, count: usize, again: bool, fault: Option<usize> },
    /// Delete all messages of the arrivals queue.
    LoseArrivals,
    /// Purge the queue of tasks from outside the fleet.
    LoseTasks,
    /// Let the workers process the queue.
    Work,
    /// Advance the clock by these hours.
    Pass(u32),
    /// Change the configuration of new runs.
    Configure(u8),
    /// Report a run as it is now. The step loop does this when a call has failed.
    ReportNow(usize),
    /// Begin a run of another prefix that purges the queue of tasks.
    Purge { force: bool },
    /// Close the days that are over, or the current one; a call of the store may fail.
    Close { is_today: bool, fault: Option<usize> },
    /// Drive the runs that are being closed to their ends.
    Finish,
    /// Let every n-th send fail.
    SendsFail(Option<u64>),
}

fn event() -> impl Strategy<Value = Event> {
    let fault = || prop::option::weighted(0.3, 0..40_usize);
    prop_oneof![
        6 => (0..KEYS.len(), any::<u8>(), prop::bool::weighted(0.3))
            .prop_map(|(key, version, is_lost)| Event::Put { key, version, is_lost }),
        1 => (0..KEYS.len()).prop_map(Event::Remove),
        6 => (0..8_usize, 1..5_usize, any::<bool>(), fault())
            .prop_map(|(from, count, again, fault)| Event::Arrive { from, count, again, fault }),
        1 => Just(Event::LoseArrivals),
        1 => Just(Event::LoseTasks),
        3 => Just(Event::Work),
        3 => (1..30_u32).prop_map(Event::Pass),
        1 => (0..3_u8).prop_map(Event::Configure),
        3 => (prop::bool::weighted(0.3), fault()).prop_map(|(is_today, fault)| Event::Close { is_today, fault }),
        2 => Just(Event::Finish),
        2 => (0..8_usize).prop_map(Event::ReportNow),
        1 => any::<bool>().prop_map(|force| Event::Purge { force }),
        1 => prop::option::of(1..4_u64).prop_map(Event::SendsFail),
    ]
}

struct World {
    live: Live,
    arrivals: Vec<String>,
    /// The event of the current version of each key.
    latest: BTreeMap<&'static str, String>,
    /// Keys whose current version has arrived in a run of its day.
    arrived: BTreeSet<&'static str>,
    closing: Vec<RunState>,
}

impl World {
    fn new() -> Self {
        Self {
            live: Live::new(),
            arrivals: Vec::new(),
            latest: BTreeMap::new(),
            arrived: BTreeSet::new(),
            closing: Vec::new(),
        }
    }

    fn apply(&mut self, event: &Event) {
        let store = &self.live.fleet.store;
        match event {
            Event::Put { key, version, is_lost } => {
                let sent = self.live.put(KEYS[*key], &format!("group-{version}"));
                self.arrived.remove(KEYS[*key]);
                self.latest.insert(KEYS[*key], sent.clone());
                self.arrivals.extend((!is_lost).then_some(sent));
            }
            Event::Remove(key) => _ = self.live.fleet.source.remove(KEYS[*key]),
            Event::Arrive { from, count, again, fault } => {
                let from = (*from).min(self.arrivals.len());
                let to = (from + count).min(self.arrivals.len());
                let batch: Vec<String> = self.arrivals.drain(from..to).collect();
                store.fail_at(*fault);
                let handled = self.live.arrive(&batch);
                store.fail_at(None);
                let is_failed = |at: &usize| *again || handled.failed.contains(&at.to_string());
                let back = (0..batch.len()).filter(is_failed).map(|at| batch[at].clone());
                self.arrivals.extend(back);
                let sent = (0..batch.len()).filter(|at| !handled.failed.contains(&at.to_string()));
                let sent: Vec<&String> = sent.map(|at| &batch[at]).collect();
                self.note_arrivals(&sent);
                assert_eq!(handled.refused, 0, "{:?}", handled.problems);
            }
            Event::LoseArrivals => self.arrivals.clear(),
            // A purge within a minute of another one is refused.
            Event::LoseTasks => _ = self.live.fleet.queue.purge(),
            Event::Work => self.live.work(),
            Event::Pass(hours) => self.live.pass(HOUR * *hours),
            Event::Configure(table) => set_config(&self.live, &format!("table_{table}")),
            Event::ReportNow(at) => self.report_now(*at),
            Event::Purge { force } => self.purge(*force),
            Event::Close { is_today, fault } => self.close(*is_today, *fault),
            Event::Finish => self.finish(),
            Event::SendsFail(every) => {
                let faults = Faults { send_fails_every: every.map(|every| every + 1), ..Faults::default() };
                self.live.fleet.queue.set_faults(faults);
            }
        }
    }

    /// Notes which keys have arrived in their current version. One of a future day is in the run of today, and in the listing of
    /// its own day only if that is closed within a week.
    fn note_arrivals(&mut self, sent: &[&String]) {
        let today = Day::of(self.live.now());
        for (key, event) in &self.latest {
            let is_future = self.live.prefixes().day_of_path(key).is_some_and(|day| day > today);
            if !is_future && sent.contains(&event) {
                self.arrived.insert(key);
            }
        }
    }

    /// Returns the names of all live runs.
    fn runs(&self) -> Vec<String> {
        let files = self.live.fleet.store.files();
        let names = files.keys().filter_map(|path| path.strip_prefix("runs/")?.strip_suffix("/run.json"));
        names.filter(|name| name.starts_with("live-")).map(str::to_owned).collect()
    }

    fn report_now(&self, at: usize) {
        let runs = self.runs();
        let Some(name) = runs.get(at % runs.len().max(1)) else { return };
        let reported = self.live.fleet.coordinate(|coordinator| {
            coordinator.step(RunState::report_now(&coordinator.run(name).unwrap()), &|| true)
        });
        match reported {
            Ok(state) => assert!(state.has_ended()),
            Err(CoordinatorError::Refused(why)) => assert!(why.contains("is open"), "{why}"),
            Err(error) => panic!("{error}"),
        }
    }

    fn purge(&self, force: bool) {
        self.live.fleet.source.put("q/a", b"plain".to_vec());
        let options =
            RunOptions { prefix: Some("q/".to_owned()), purge: true, force, ..RunOptions::default() };
        match self.live.fleet.coordinate(|coordinator| coordinator.begin(&options)) {
            Ok(state) => _ = self.live.fleet.finish(state),
            Err(CoordinatorError::Refused(why)) => assert!(!force || why.contains("being purged"), "{why}"),
            Err(error) => panic!("{error}"),
        }
    }

    fn close(&mut self, is_today: bool, fault: Option<usize>) {
        let day = is_today.then(|| Day::of(self.live.now()));
        self.live.fleet.store.fail_at(fault);
        let closed = self.live.fleet.coordinate(|coordinator| coordinator.close(&self.live.keys[0], day));
        self.live.fleet.store.fail_at(None);
        match closed {
            Ok(closed) => {
                assert_eq!(closed.problems, [""; 0]);
                self.closing.extend(closed.runs);
            }
            Err(error) => assert!(!error.is_permanent(), "{error}"),
        }
    }

    /// Each report accounts for every object of its listing.
    fn finish(&mut self) {
        for state in std::mem::take(&mut self.closing) {
            let report = self.live.fleet.finish(state);
            let [listed, parts @ ..] = objects(&report);
            assert_eq!(listed, parts.iter().sum::<u64>(), "{report:?}");
        }
    }

    /// Ends the faults, closes all days again, and expects that every object is done.
    fn settle(&mut self) {
        self.live.fleet.queue.set_faults(Faults::default());
        self.finish();
        self.live.work();
        let last = Day::parse("2026-02-20").unwrap().max(Day::of(self.live.now()));
        while Day::of(self.live.now()) <= last {
            self.live.pass(24 * HOUR);
        }
        self.close(false, None);
        self.finish();
        self.expect_days_proven();
        let mut expected = self.live.fleet.source.keys();
        expected.retain(|key| key.starts_with("p/"));
        let mut day = Day::parse("2026-02-17").unwrap();
        while day <= last {
            let reports = self.live.close_and_report(Some(&day.text()));
            let [report] = &reports[..] else { panic!("{reports:?}") };
            assert_eq!(report.state, ReportState::Done, "{report:?}");
            let listed = super::prefixes::keys_of_manifest(&self.live, &report.run);
            expected.retain(|key| !listed.contains(key));
            day = day.plus(1);
        }
        assert_eq!(expected, [""; 0], "in the listing of no day");
    }
}

impl World {
    /// Expects that the close without a day has left nothing to do, and that each object that arrived and exists is in the listing
    /// of a run or has a receipt.
    fn expect_days_proven(&self) {
        let again = self.live.close(None);
        assert_eq!((again.runs, again.remaining), (vec![], 0));
        let mut listed = BTreeSet::new();
        for run in self.runs() {
            let is_listed =
                self.live.fleet.coordinate(|coordinator| coordinator.run(&run).unwrap().manifest.is_some());
            listed.extend(if is_listed {
                super::prefixes::keys_of_manifest(&self.live, &run)
            } else {
                vec![]
            });
            listed.extend(self.live.receipts(&run));
        }
        let keys = self.live.fleet.source.keys();
        for key in self.arrived.iter().filter(|key| keys.iter().any(|existing| existing == *key)) {
            assert!(listed.contains(*key), "{key} has arrived, but no run has it");
        }
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn after_any_schedule_of_a_live_fleet_every_object_is_done(schedule in prop::collection::vec(event(), 1..40)) {
        let mut world = World::new();
        schedule.iter().for_each(|event| world.apply(event));
        world.settle();
    }
}
