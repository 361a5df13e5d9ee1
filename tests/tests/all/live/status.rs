//! The state of a day that `flowherd live status` and `flowherd live check` show.

use std::sync::atomic::Ordering::Relaxed;

use flowherd_coordinator::live::{day::Day, status::DayStatus};
use flowherd_shared::{
    ledger::{ReportState, layout},
    store::Store,
};

use super::{HOUR, Live};

const DAY: &str = "live-main-2026-02-18";
const LATE: &str = "live-main-2026-02-18-late-1";

fn status(live: &Live, day: &str) -> DayStatus {
    let day = Day::parse(day).unwrap();
    live.fleet.coordinate(|coordinator| coordinator.day_status(live.prefixes(), day)).unwrap()
}

#[test]
fn the_verdict_on_a_day_is_that_of_its_last_report_while_late_objects_arrive() {
    let live = Live::new();
    live.fleet.source.put("p/2026/02/18/10/broken", b"\x1f\x8b broken".to_vec());
    live.arrive_all(&[live.put("p/2026/02/18/10/a", "g"), live.event("p/2026/02/18/10/broken")]);
    assert_eq!(status(&live, "2026-02-18").verdict, None);
    live.pass(26 * HOUR);
    let report = live.close_and_report(None).remove(0);
    assert_eq!(report.state, ReportState::Failed);
    live.arrive_all(&[live.put("p/2026/02/18/23/late", "g")]);
    let open = status(&live, "2026-02-18");
    let verdict = open.verdict.unwrap();
    assert_eq!((verdict.run.as_str(), verdict.state, verdict.not_done), (DAY, ReportState::Failed, 1));
    assert_eq!(open.late_run.as_deref(), Some(LATE));
    // The next close lists the whole day again, and its report counts.
    live.put("p/2026/02/18/10/broken", "g");
    live.pass(24 * HOUR);
    live.close_and_report(None);
    let closed = status(&live, "2026-02-18");
    assert_eq!((closed.verdict.unwrap().state, closed.late_run), (ReportState::Done, None));
}

#[test]
fn objects_from_before_the_fleet_was_live_are_not_the_oldest_that_waits() {
    let live = Live::new();
    live.put("p/2026/02/18/00/before", "g");
    live.pass(HOUR);
    let oldest = |day: &str| status(&live, day).oldest_waiting.map(|oldest| oldest.key);
    assert_eq!((oldest("2026-02-18"), status(&live, "2026-02-18").waiting), (None, 1));
    live.arrive_all(&[live.put("p/2026/02/18/01/a", "g")]);
    live.work();
    assert_eq!(oldest("2026-02-18"), None);
    live.pass(HOUR);
    live.put("p/2026/02/18/02/without event", "g");
    live.pass(HOUR);
    live.put("p/2026/02/18/03/without event", "g");
    assert_eq!(oldest("2026-02-18").as_deref(), Some("p/2026/02/18/02/without event"));
    // On the next day, each object counts from midnight on, also before its run begins.
    live.pass(21 * HOUR);
    live.put("p/2026/02/19/00/without event", "g");
    assert_eq!(oldest("2026-02-19").as_deref(), Some("p/2026/02/19/00/without event"));
}

#[test]
fn the_time_limit_of_a_command_is_renewed_at_each_page_of_a_day_and_of_a_run() {
    let live = Live::new();
    let key = |number: u32| format!("p/2026/02/18/10/{number:05}");
    (0..2500).for_each(|number| live.fleet.source.put(&key(number), b"x".to_vec()));
    live.arrive_all(&[live.event(&key(0))]);
    for number in 0..1500 {
        live.fleet.store.put(&format!("{}{}.json", layout::receipts(DAY), key(number)), b"{}").unwrap();
    }
    let before = live.fleet.renewals.load(Relaxed);
    assert_eq!(status(&live, "2026-02-18").done, 1500);
    let of_day = live.fleet.renewals.load(Relaxed) - before;
    // Three pages of the day, and two of its receipts.
    assert!(of_day >= 5, "{of_day}");
    let progress = live.fleet.coordinate(|coordinator| coordinator.progress(DAY)).unwrap();
    assert_eq!(progress.done, 1500);
    let of_run = live.fleet.renewals.load(Relaxed) - before - of_day;
    assert!(of_run >= 2, "{of_run}");
}
