//! Random schedules of faults of coordinators, workers, queue and objects. After each schedule, every listed object is done,
//! failed with a reason, or reported as missing. A resume or redrive then completes the run.

mod checks;
mod report;
mod services;
mod truth;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use flowherd_tests::fake::Pace;
use proptest::{prelude::*, sample::select};

use self::world::World;
use super::generate::cases;

/// An event of a schedule. Numbers select a run, driver, process or key.
#[derive(Clone, Debug)]
enum Event {
    /// Begin a run.
    Begin { prefix: &'static str, purge: bool, force: bool, resume: Option<u8>, pace: Pace },
    /// Make a driver's next call of the coordinator when it is due.
    Drive(u8, Pace),
    /// Add another driver, which continues the same run from its current state.
    Second(u8),
    /// Redrive a run.
    Redrive(u8, Pace),
    /// Report a run with the current ledger.
    Look { run: u8, is_final: bool },
    /// Let a worker receive a message and handle it.
    Work(Pace),
    /// Resume a waiting process.
    Resume(u8, Pace),
    /// Advance the clock by these seconds.
    Pass(u64),
    /// Let the queue's counts be zero for these seconds.
    CountsLag(u64),
    /// Fail every n-th send, or let it accept half of its batch, for n > 1.
    SendsFail { whole: u64, half: u64, can_redrive: bool },
    /// Purge the queue from outside the fleet.
    PurgedOutside,
    /// Replace an object by a valid one.
    Overwrite(u8),
    /// Replace an object by a damaged one.
    Damage(u8),
    /// Remove an object.
    Remove(u8),
    /// Add an object, new or removed before.
    Appear(u8),
    /// Repeat the begin of a run by its name, with or without a purge.
    Again { driver: u8, purge: bool },
}

fn pace() -> impl Strategy<Value = Pace> {
    prop_oneof![
        6 => Just(Pace::Whole),
        1 => (0..20_u8).prop_map(Pace::FailsAt),
        1 => (0..20_u8).prop_map(Pace::LosesResponseOf),
        1 => (0..20_u8).prop_map(Pace::DiesAt),
        2 => (0..20_u8).prop_map(Pace::WaitsAt),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let begin = (
        select(vec!["p/", "q/", ""]),
        any::<bool>(),
        any::<bool>(),
        prop::option::weighted(0.2, 0..4_u8),
        pace(),
    );
    prop_oneof![
        2 => begin.prop_map(|(prefix, purge, force, resume, pace)| Event::Begin { prefix, purge, force, resume, pace }),
        10 => (0..8_u8, pace()).prop_map(|(driver, pace)| Event::Drive(driver, pace)),
        1 => (0..8_u8).prop_map(Event::Second),
        1 => (0..4_u8, pace()).prop_map(|(run, pace)| Event::Redrive(run, pace)),
        1 => (0..4_u8, any::<bool>()).prop_map(|(run, is_final)| Event::Look { run, is_final }),
        12 => pace().prop_map(Event::Work),
        4 => (0..4_u8, pace()).prop_map(|(which, pace)| Event::Resume(which, pace)),
        3 => select(vec![1, 15, 31, 45, 61, 130, 310, 700]).prop_map(Event::Pass),
        1 => (1..100_u64).prop_map(Event::CountsLag),
        1 => (0..5_u64, 0..5_u64, any::<bool>())
            .prop_map(|(whole, half, can_redrive)| Event::SendsFail { whole, half, can_redrive }),
        1 => Just(Event::PurgedOutside),
        1 => (0..6_u8).prop_map(Event::Overwrite),
        1 => (0..6_u8).prop_map(Event::Damage),
        1 => (0..6_u8).prop_map(Event::Remove),
        1 => (0..12_u8).prop_map(Event::Appear),
        1 => (0..8_u8, any::<bool>()).prop_map(|(driver, purge)| Event::Again { driver, purge }),
    ]
}

/// Generates schedules. Most start with the begin of a run.
fn schedule() -> impl Strategy<Value = Vec<Event>> {
    let begin = |prefix| Event::Begin { prefix, purge: false, force: false, resume: None, pace: Pace::Whole };
    let front = select(vec![vec![], vec![begin("")], vec![begin("p/")], vec![begin("p/"), begin("q/")]]);
    (front, prop::collection::vec(event(), 1..40)).prop_map(|(front, events)| [front, events].concat())
}

/// Runs a schedule. Returns the trace and the violations as the error.
fn violations(schedule: &[Event], versions: bool) -> Result<(), String> {
    let mut world = World::new(versions);
    let ran = |world: &mut World| {
        schedule.iter().for_each(|event| world.apply(event));
        world.settle();
        world.check();
        if world.services.violations.lock().unwrap().is_empty() {
            world.check_recovery();
        }
    };
    let panicked = catch_unwind(AssertUnwindSafe(|| ran(&mut world))).is_err();
    let found = world.services.violations.lock().unwrap().join("\n");
    if found.is_empty() && !panicked {
        return Ok(());
    }
    Err(format!("{}\n\n{found}", world.services.trace()))
}

fn holds(schedule: &[Event], versions: bool) {
    if let Err(result) = violations(schedule, versions) {
        panic!("{result}");
    }
}

proptest! {
    #![proptest_config(cases(900))]

    #[test]
    fn any_schedule_ends_with_every_object_accounted_for(schedule in schedule(), versions in prop::bool::weighted(0.2)) {
        let result = violations(&schedule, versions);
        prop_assert!(result.is_ok(), "{}", result.unwrap_err());
    }
}

#[test]
fn a_schedule_without_faults_is_a_run_that_is_done() {
    let begin = Event::Begin { prefix: "", purge: true, force: false, resume: None, pace: Pace::Whole };
    holds(&[begin], false);
}
