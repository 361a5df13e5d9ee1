//! A live day under faults: its objects arrive as events, and its close lists them.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    thread,
};

use flowherd_coordinator::{
    connect::Connected,
    live::batch::{ArrivalMessage, Arrivals, FleetKeys},
    settings::Settings,
};
use flowherd_shared::store::ManifestEntry;
use flowherd_tests::command::flowherd_in;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{DELIVERIES, PREFIX, Play, Schedule};
use crate::{cloud::report, place::PROGRAM};

/// The events in one invocation of the function.
const BATCH: usize = 5;

impl Play<'_> {
    /// The environment of a live fleet.
    fn live_environment(&self, faulty: bool) -> Vec<(&'static str, String)> {
        let mut environment = self.environment(faulty);
        let at = environment.iter().position(|(name, _)| *name == "FLOWHERD_QUEUE_URL").unwrap();
        let (_, queue) = environment.remove(at);
        let fleets = json!({ "main": { "queueUrl": queue, "prefixes": [PREFIX], "live": true } });
        environment.push(("FLOWHERD_FLEETS", fleets.to_string()));
        environment
    }

    /// The day of the objects, from their paths.
    fn day(&self) -> String {
        let key = self.objects().remove(0).key;
        key[PREFIX.len()..][..10].replace('/', "-")
    }

    fn messages(&self) -> Vec<ArrivalMessage> {
        let message = |object: ManifestEntry| ArrivalMessage {
            message_id: object.key.clone(),
            body: event(&object).to_string(),
            queue_arn: "arn:aws:sqs:us-east-1:000000000000:arrivals".to_owned(),
        };
        self.objects().into_iter().map(message).collect()
    }

    /// Delivers all events as SQS does: those that the function does not handle again, up to the maximum deliveries.
    /// Returns the number of objects whose tasks were sent.
    fn arrive(&self) -> u64 {
        let environment = self.live_environment(true);
        let variable =
            |name: &str| environment.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        let settings = Settings::read(&variable).unwrap();
        let fleets = FleetKeys::of(&settings.fleets);
        let (mut pending, mut sent) = (self.messages(), 0);
        for _ in 0..DELIVERIES {
            let aws = self.fleet.cloud.through(&self.proxy.endpoint);
            // A function that cannot connect handles none.
            let Ok(connected) = Connected::new(&aws, &settings) else { continue };
            let arrivals = Arrivals { bucket: "source", fleets: &fleets, now: Timestamp::now() };
            let mut failed = Vec::new();
            for batch in pending.chunks(BATCH) {
                let handled = arrivals.handle(batch, &|| true, |keys, day, objects| {
                    connected
                        .with(&keys.fleet, |coordinator| coordinator.arrive(&keys.prefixes, day, objects))?
                });
                sent += handled.sent;
                failed.extend(handled.failed);
            }
            pending.retain(|message| failed.contains(&message.message_id));
        }
        sent
    }

    /// Closes the day and follows its run. Returns the report, unless the faults were too many.
    fn close(&self, faulty: bool) -> Option<Value> {
        let args = ["live", "close", "--day", &self.day(), "--watch", "--json"];
        let ran = flowherd_in(PROGRAM, self.live_environment(faulty), args);
        (!ran.stdout.is_empty()).then(|| report(&ran))
    }

    /// Lets the objects of a day arrive and closes the day, with faults and then without them.
    /// Returns the number of requests with a fault and of arrivals that were sent.
    fn live_day(mut self) -> (usize, u64) {
        let rules: Vec<Value> = self.schedule.faults.iter().map(|(_, rule)| rule.clone()).collect();
        self.proxy.set_faults(&rules);
        self.keep_workers(true);
        let sent = self.arrive();
        if let Some(report) = self.close(true) {
            self.check_close(&report);
        }
        let struck = self.proxy.struck().len();
        self.proxy.set_faults(&[]);
        self.workers.clear();
        self.keep_workers(false);
        let report = self.close(false).expect("a close without faults has a report");
        let not_done = self.check_close(&report);
        assert_eq!(not_done, u64::from(self.schedule.damages), "{report}");
        assert!(self.fleet.outputs() == self.fleet.converted().1, "the outputs differ from those of convert");
        (struck, sent)
    }

    /// Checks that each object of the day is done or named. Returns the number of those that are named.
    fn check_close(&self, report: &Value) -> u64 {
        let count = |what: &str| report["objects"][what].as_u64().unwrap();
        let not_done = count("failed") + count("missing");
        assert_eq!(count("listed"), self.objects().len() as u64, "a key is not listed: {report}");
        assert_eq!(count("listed"), count("done") + count("skipped") + not_done, "{report}");
        not_done
    }
}

/// The event of an object (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html>).
fn event(object: &ManifestEntry) -> Value {
    let etag = object.etag.trim_matches('"');
    json!({
        "version": "0", "id": object.key, "detail-type": "Object Created", "source": "aws.s3",
        "account": "000000000000", "time": Timestamp::now().to_string(), "region": "us-east-1",
        "resources": ["arn:aws:s3:::source"],
        "detail": {
            "version": "0", "bucket": { "name": "source" }, "reason": "PutObject",
            "object": { "key": object.key, "size": object.size, "etag": etag, "sequencer": "00" },
        },
    })
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn under_random_faults_every_object_of_a_live_day_is_done_or_named_by_its_close() {
    let (struck, sent) = (AtomicUsize::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for seed in 1..=3 {
            let (struck, sent) = (&struck, &sent);
            scope.spawn(move || {
                let schedule = Schedule::new(seed);
                println!("{schedule}");
                let (faults, arrivals) = Play::new(&schedule).live_day();
                struck.fetch_add(faults, Ordering::Relaxed);
                sent.fetch_add(arrivals, Ordering::Relaxed);
            });
        }
    });
    assert!(struck.into_inner() > 0, "no fault was injected");
    assert!(sent.into_inner() > 0, "no object arrived before its close");
}
