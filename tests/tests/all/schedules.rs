//! Whatever happens to coordinators, workers, queue and objects, in whatever order: when it is over, every listed object is
//! done or has failed with its reason, and what was lost is said and can be had again.

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

/// What happens next. Numbers choose among what is there.
#[derive(Clone, Debug)]
enum Event {
    /// A run is asked for.
    Begin { prefix: &'static str, purge: bool, force: bool, resume: Option<u8>, pace: Pace },
    /// A driver makes its next call of the coordinator, as soon as it is due.
    Drive(u8, Pace),
    /// Another driver continues the same run from its current step.
    Second(u8),
    /// Dead-letter messages are moved back.
    Redrive(u8, Pace),
    /// Somebody asks for a report as things stand.
    Look { run: u8, is_final: bool },
    /// A worker takes a message and works on it.
    Work(Pace),
    /// A waiting process continues.
    GoOn(u8, Pace),
    /// Seconds pass.
    Pass(u64),
    /// For these seconds the queue counts nothing.
    CountsLag(u64),
    /// Every so-many-th send fails, or takes half of its batch; more than one.
    SendsFail { whole: u64, half: u64, can_redrive: bool },
    /// Somebody who is not of the fleet purges the queue.
    PurgedOutside,
    /// An object is replaced by a whole one.
    Overwrite(u8),
    /// An object is replaced by a damaged one.
    Damage(u8),
    /// An object vanishes.
    Remove(u8),
    /// An object comes that was not there, or comes again.
    Appear(u8),
    /// A run is begun again by its name, with or without a purge.
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
        4 => (0..4_u8, pace()).prop_map(|(which, pace)| Event::GoOn(which, pace)),
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

/// Most begin as a run does that nothing happens to: the rest is what happens to it.
fn schedule() -> impl Strategy<Value = Vec<Event>> {
    let begin = |prefix| Event::Begin { prefix, purge: false, force: false, resume: None, pace: Pace::Whole };
    let front = select(vec![vec![], vec![begin("")], vec![begin("p/")], vec![begin("p/"), begin("q/")]]);
    (front, prop::collection::vec(event(), 1..40)).prop_map(|(front, rest)| [front, rest].concat())
}

/// What does not hold after a schedule, and what happened in it.
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
