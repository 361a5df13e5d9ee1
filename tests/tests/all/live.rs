//! Live runs on the fakes: objects that arrive as events, and days that are closed.

mod closes;
mod days;
mod events;
mod prefixes;
mod schedules;
mod status;

use std::time::Duration;

use flowherd_coordinator::{
    live::{
        batch::{ArrivalMessage, Arrivals, FleetKeys, Handled},
        close::Closed,
        day::{Day, FleetPrefixes},
    },
    state::RunState,
};
use flowherd_shared::{
    ledger::{Report, ReportState, layout},
    queue::Queue,
};
use flowherd_tests::objects::{FLOW, envelope, event as log_event, gzip};
use jiff::Timestamp;
use serde_json::json;

use super::fleet::{BUCKET, Fleet, START};

const HOUR: Duration = Duration::from_hours(1);

/// A live fleet with prefix `p/`. Its clock begins on 2026-02-18.
struct Live {
    fleet: Fleet,
    keys: Vec<FleetKeys>,
}

impl Live {
    fn new() -> Self {
        Self::with(&["p/"], &[])
    }

    /// A live fleet `main` with these prefixes, and another fleet that is not live.
    fn with(prefixes: &[&str], others: &[&str]) -> Self {
        let fleet = Fleet::new(0);
        let clock = fleet.queue.clone();
        fleet.source.set_clock(move || START + clock.now());
        let texts = |texts: &[&str]| -> Vec<String> { texts.iter().map(|text| (*text).to_owned()).collect() };
        let (own, other) = (texts(prefixes), texts(others));
        let main = FleetPrefixes::new(&own, &other);
        let mut keys = vec![FleetKeys { fleet: "main".to_owned(), prefixes: main, live: true }];
        if !other.is_empty() {
            let prefixes = FleetPrefixes::new(&other, &own);
            keys.push(FleetKeys { fleet: "other".to_owned(), prefixes, live: false });
        }
        Self { fleet, keys }
    }

    fn prefixes(&self) -> &FleetPrefixes {
        &self.keys[0].prefixes
    }

    fn now(&self) -> Timestamp {
        Timestamp::try_from(std::time::SystemTime::UNIX_EPOCH + START + self.fleet.queue.now()).unwrap()
    }

    fn pass(&self, time: Duration) {
        self.fleet.queue.advance(time);
    }

    /// Writes an object with one row of this group, and returns its event.
    fn put(&self, key: &str, group: &str) -> String {
        let row = envelope(group, &[log_event(1, FLOW)]);
        self.fleet.source.put(key, gzip(row.as_bytes()));
        self.event(key)
    }

    /// The event of an object's current version.
    fn event(&self, key: &str) -> String {
        let object = self.fleet.source.entry(key);
        let etag = object.etag.trim_matches('"');
        json!({
            "version": "0", "id": key, "detail-type": "Object Created", "source": "aws.s3", "account": "111122223333",
            "time": self.now().to_string(), "region": "eu-west-1", "resources": [format!("arn:aws:s3:::{BUCKET}")],
            "detail": {
                "version": "0", "bucket": {"name": BUCKET}, "reason": "PutObject",
                "object": {"key": key, "size": object.size, "etag": etag, "sequencer": "00"},
            }
        })
        .to_string()
    }

    fn arrive(&self, bodies: &[String]) -> Handled {
        self.arrive_while(bodies, &|| true)
    }

    /// Lets events arrive in an invocation that has time while `has_time` returns `true`.
    fn arrive_while(&self, bodies: &[String], has_time: &dyn Fn() -> bool) -> Handled {
        let message = |(at, body): (usize, &String)| ArrivalMessage {
            message_id: at.to_string(),
            body: body.clone(),
            queue_arn: "arn:aws:sqs:eu-west-1:111122223333:arrivals".to_owned(),
        };
        let messages: Vec<ArrivalMessage> = bodies.iter().enumerate().map(message).collect();
        let arrivals = Arrivals { bucket: BUCKET, fleets: &self.keys, now: self.now() };
        arrivals.handle(&messages, has_time, |keys, day, objects| {
            assert_eq!(keys.fleet, "main");
            self.fleet.coordinate(|coordinator| coordinator.arrive(&keys.prefixes, day, objects))
        })
    }

    /// Lets events arrive, and expects that all of their tasks are sent.
    fn arrive_all(&self, bodies: &[String]) {
        let handled = self.arrive(bodies);
        assert_eq!((handled.failed, handled.problems), (vec![], vec![]));
    }

    fn close(&self, day: Option<&str>) -> Closed {
        let day = day.map(|day| Day::parse(day).unwrap());
        self.fleet.coordinate(|coordinator| coordinator.close(&self.keys[0], day)).unwrap()
    }

    /// Closes the days that are over, or one day, and returns the report of each run, in the order of their names.
    fn close_and_report(&self, day: Option<&str>) -> Vec<Report> {
        let closed = self.close(day);
        assert_eq!(closed.problems, [""; 0]);
        let mut reports: Vec<Report> =
            closed.runs.into_iter().map(|state: RunState| self.fleet.finish(state)).collect();
        reports.sort_by(|a, b| a.run.cmp(&b.run));
        reports
    }

    /// Closes the only run that is to be closed, and expects that it is done.
    fn close_one(&self, day: Option<&str>) -> Report {
        let mut reports = self.close_and_report(day);
        assert_eq!(reports.len(), 1, "{:?}", reports.iter().map(|report| &report.run).collect::<Vec<_>>());
        let report = reports.remove(0);
        assert_eq!(report.state, ReportState::Done, "{report:?}");
        report
    }

    /// Lets the workers process the queue.
    fn work(&self) {
        self.fleet.drain(2);
    }

    fn receipts(&self, run: &str) -> Vec<String> {
        let files = self.fleet.store.files();
        let keys = files.keys().filter_map(|path| path.strip_prefix(&layout::receipts(run)));
        keys.map(|key| key.trim_end_matches(".json").to_owned()).collect()
    }

    fn messages(&self) -> u64 {
        self.fleet.queue.depth().unwrap().sum()
    }
}

/// `listed`, `done`, `failed`, `skipped` and `missing` of a report.
fn objects(report: &Report) -> [u64; 5] {
    let objects = report.objects;
    [objects.listed, objects.done, objects.failed, objects.skipped, objects.missing]
}
