//! Which objects the listing of a day has.

use flowherd_coordinator::live::day::FleetPrefixes;
use flowherd_shared::ledger::{ReportState, layout};

use super::{HOUR, Live, objects};

pub(super) fn keys_of_manifest(live: &Live, run: &str) -> Vec<String> {
    let run = live.fleet.coordinate(|coordinator| coordinator.run(run)).unwrap();
    let mut keys: Vec<String> = flowherd_coordinator::manifest::read(&live.fleet.store, &run)
        .map(|entry| entry.unwrap().key)
        .collect();
    keys.sort_unstable();
    keys
}

#[test]
fn keys_without_a_date_are_of_the_day_on_which_they_were_written() {
    let live = Live::with(&["p/", "p/x/", "r/"], &["p/other/"]);
    // Directories of other days, which the listing passes over; more keys than a page has.
    for day in 1..=28 {
        for n in 0..4 {
            live.put(&format!("p/2026/01/{day:02}/10/{n}"), "g");
        }
    }
    for key in [
        "p/2025",
        "p/2026/02/18/",
        "p/2026/x",
        "p/a",
        "p/other/a",
        "p/x/a",
        "p/x/2026/02/17/a",
        "p/z/2026/02/17/a",
        "q/a",
        "r/a",
    ] {
        live.put(key, "g");
    }
    live.pass(24 * HOUR);
    for key in [
        "p/2026/02/18/23/late",
        "p/2026/02/19/a",
        "p/b",
        "p/x/b",
        "p/x/2026/02/18/b",
        "r/b",
        "r/2026/02/18/c",
    ] {
        live.put(key, "g");
    }
    live.pass(2 * HOUR);
    let report = live.close_one(None);
    assert_eq!(report.objects.listed, report.objects.done);
    assert_eq!(
        keys_of_manifest(&live, "live-main-2026-02-18"),
        [
            "p/2025",
            "p/2026/02/18/",
            "p/2026/02/18/23/late",
            "p/2026/x",
            "p/a",
            "p/x/2026/02/18/b",
            "p/x/a",
            "p/z/2026/02/17/a",
            "r/2026/02/18/c",
            "r/a"
        ]
    );
    live.pass(24 * HOUR);
    live.close_one(None);
    assert_eq!(keys_of_manifest(&live, "live-main-2026-02-19"), ["p/2026/02/19/a", "p/b", "p/x/b", "r/b"]);
}

#[test]
fn each_object_that_arrives_is_in_the_listing_of_the_day_of_its_run() {
    let live = Live::with(&["p/", "p/x/"], &[]);
    let events: Vec<String> =
        ["p/2026/02/18/10/a", "p/2026/02/18/b", "p/c", "p/x/2026/02/18/d", "p/x/e", "p/x/2026/02/17/late"]
            .iter()
            .map(|key| live.put(key, "g"))
            .collect();
    live.arrive_all(&events);
    live.work();
    live.pass(26 * HOUR);
    let reports = live.close_and_report(None);
    let days: Vec<_> = reports.iter().map(|report| (report.run.as_str(), objects(report))).collect();
    assert_eq!(days, [("live-main-2026-02-17", [1, 1, 0, 0, 0]), ("live-main-2026-02-18", [5, 5, 0, 0, 0])]);
}

#[test]
fn a_listing_without_an_object_of_the_day_in_many_pages_continues_where_it_stopped() {
    let live = Live::new();
    for n in 0..300 {
        live.put(&format!("p/old/{n:03}"), "g");
    }
    live.pass(24 * HOUR);
    live.put("p/zz", "g");
    live.pass(24 * HOUR);
    let closed = live.close(None);
    let state = closed.runs.into_iter().find(|state| state.run == "live-main-2026-02-19").unwrap();
    // Each call lists 20 pages of three keys. A begin from the front would never reach the end.
    let calls = std::cell::Cell::new(0);
    let report = {
        let state = live.fleet.drive(state, |state| {
            let is_plan = state.operation.name() == "plan";
            calls.set(calls.get() + u32::from(is_plan));
            is_plan
        });
        live.fleet.finish(state)
    };
    assert_eq!(objects(&report), [1, 1, 0, 0, 0]);
    assert!((5..=8).contains(&calls.get()), "{} calls", calls.get());
}

#[test]
fn a_prefix_that_the_fleet_has_lost_is_named_in_the_report_and_the_others_are_listed() {
    let mut live = Live::with(&["a/", "b/"], &[]);
    live.arrive_all(&[live.put("a/2026/02/18/10/x", "g"), live.put("b/2026/02/18/10/x", "g")]);
    live.put("b/2026/02/18/11/lost", "g");
    live.keys[0].prefixes = FleetPrefixes::new(&["b/".to_owned()], &[]);
    live.fleet.source.deny_listing("a/");
    live.pass(26 * HOUR);
    let run = "live-main-2026-02-18";
    let state = live.close(None).runs.remove(0);
    let state = live.fleet.drive(state, |state| state.operation.name() == "plan");
    assert!(live.fleet.has(&layout::active(run)), "the tasks that arrived are not protected");
    let report = live.fleet.finish(state);
    assert_eq!((objects(&report), report.state), ([2, 2, 0, 0, 0], ReportState::Incomplete));
    assert_eq!(report.unlisted, ["a/"]);
    assert_eq!(keys_of_manifest(&live, run), ["b/2026/02/18/10/x", "b/2026/02/18/11/lost"]);
    // The day has its verdict: it is not closed again every day.
    assert_eq!(live.close(None).runs, []);
}

#[test]
fn a_prefix_that_the_fleet_has_lost_is_named_in_the_report_also_after_a_failed_step_of_planning() {
    for operation in 0..30 {
        let mut live = Live::with(&["a/", "b/"], &[]);
        live.arrive_all(&[live.put("a/2026/02/18/10/x", "g"), live.put("b/2026/02/18/10/x", "g")]);
        live.keys[0].prefixes = FleetPrefixes::new(&["b/".to_owned()], &[]);
        live.fleet.source.deny_listing("a/");
        live.pass(26 * HOUR);
        let state = live.close(None).runs.remove(0);
        live.fleet.store.fail_at(Some(operation));
        let step = |state| live.fleet.coordinate(|coordinator| coordinator.step(state, &|| true));
        let stepped = step(state.clone());
        live.fleet.store.fail_at(None);
        let report = live.fleet.finish(stepped.unwrap_or(state));
        assert_eq!(
            (report.state, &*report.unlisted),
            (ReportState::Incomplete, &["a/".to_owned()][..]),
            "{operation}"
        );
    }
}

#[test]
fn a_live_run_whose_prefix_may_not_be_listed_stays_protected_and_is_closed_again() {
    let live = Live::new();
    live.arrive_all(&[live.put("p/2026/02/18/10/a", "g")]);
    live.pass(26 * HOUR);
    let run = "live-main-2026-02-18";
    for _ in 0..2 {
        let state = live.close(None).runs.remove(0);
        live.fleet.source.deny_at(0);
        let step = |state| live.fleet.coordinate(|coordinator| coordinator.step(state, &|| true));
        let error = step(state).unwrap_err();
        assert!(error.is_permanent() && error.to_string().contains("may list this prefix"), "{error}");
        live.fleet.source.fail_at(None);
        assert!(live.fleet.has(&layout::active(run)), "the tasks that arrived are not protected");
    }
    assert_eq!(objects(&live.close_one(None)), [1, 1, 0, 0, 0]);
}
