//! A live day: events in a standard queue, the functions of the fleet, and the close.

use std::collections::{BTreeMap, BTreeSet};

use flowherd_shared::store::{Store, pages};
use flowherd_tests::{
    command::flowherd_in,
    function_host::FunctionHost,
    ledger::keys_below,
    local_cloud::wait_until,
    objects::{FLOW, envelope, event as log_event, gunzip, gzip},
    servers::{ArrivalsQueue, Servers},
};
use rand::{RngExt, SeedableRng, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::{
    fleet::{Fleet, report, start_worker, stop},
    place::PROGRAM,
};

const COORDINATOR: &str = env!("CARGO_BIN_EXE_flowherd-coordinator-under-test");
const DAY: &str = "2026-02-18";
const PREFIX: &str = "arrive/";
/// Writes of the day.
const WRITES: i64 = 60;

/// What happened in the bucket, and the messages about it.
struct Stream {
    messages: Vec<String>,
    /// Keys that were overwritten, and keys that were deleted.
    overwritten: BTreeSet<String>,
    deleted: BTreeSet<String>,
    /// Keys whose last version no message has.
    lost: BTreeSet<String>,
}

impl Stream {
    /// Writes objects, overwrites some and deletes others. Some events are lost, some come twice, and all in another order.
    fn generate(fleet: &Fleet<'_>, random: &mut ChaCha8Rng) -> Self {
        let mut stream = Self {
            messages: Vec::new(),
            overwritten: BTreeSet::new(),
            deleted: BTreeSet::new(),
            lost: BTreeSet::new(),
        };
        for write in 0..WRITES {
            let key =
                format!("{PREFIX}{}/10/a b+%ü-{}", DAY.replace('-', "/"), random.random_range(0..WRITES / 2));
            let events: Vec<String> = (0..=write).map(|at| log_event(at + 1, FLOW)).collect();
            let object = gzip(envelope("g", &events).as_bytes());
            let existed = fleet.source.head(&key).unwrap().is_some();
            fleet.source.put(&key, &object).unwrap();
            if existed {
                stream.overwritten.insert(key.clone());
            }
            let etag = fleet.source.head(&key).unwrap().unwrap().etag;
            let created = json!({"key": key, "size": object.len(), "etag": etag.trim_matches('"')});
            if stream.add("Object Created", &created, fleet, random) {
                stream.lost.remove(&key);
            } else {
                stream.lost.insert(key.clone());
            }
            if random.random_ratio(1, 6) {
                fleet.source.remove(&key).unwrap();
                stream.add("Object Deleted", &json!({"key": key}), fleet, random);
                stream.deleted.insert(key);
            }
        }
        stream.messages.shuffle(random);
        stream
    }

    /// Adds the event, if it is not lost. Returns whether it has.
    fn add(&mut self, detail_type: &str, object: &Value, fleet: &Fleet<'_>, random: &mut ChaCha8Rng) -> bool {
        let event = json!({
            "version": "0", "detail-type": detail_type, "source": "aws.s3", "time": format!("{DAY}T10:00:00Z"),
            "detail": {"version": "0", "bucket": {"name": fleet.source_name()}, "object": object},
        });
        let times = match random.random_range(0..10) {
            0 | 1 => 0,
            2 | 3 => 2,
            _ => 1,
        };
        self.messages.extend((0..times).map(|_| event.to_string()));
        times > 0
    }
}

pub(crate) fn a_live_day_with_lost_repeated_and_outdated_events_is_closed_as_it_is_listed(
    servers: &Servers<'_>,
) {
    let fleet = Fleet::new(servers, "arrivals", 1, 5);
    let fleets = json!({ "main": { "queueUrl": fleet.queues.url, "prefixes": [PREFIX], "live": true } });
    let mut environment = fleet.environment();
    environment.retain(|(name, _)| *name != "FLOWHERD_QUEUE_URL");
    environment.push(("FLOWHERD_FLEETS", fleets.to_string()));

    let stream = Stream::generate(&fleet, &mut ChaCha8Rng::seed_from_u64(20));
    let queue = ArrivalsQueue::create(servers.sqs, &format!("{}-arrivals", servers.kind));
    queue.send(&stream.messages);
    queue.send(&["no event".to_owned()]);
    let function = FunctionHost::start(COORDINATOR, environment.clone());
    let worker = start_worker(fleet.environment()).without_output();
    let failed = queue.deliver(|event| function.invoke(event).unwrap());
    assert_eq!(failed, ["no event"], "each event of the bucket is handled");
    drop(function);
    // The arrivals have begun the run, and the workers do its objects before anybody closes the day.
    let receipts = format!("runs/live-main-{DAY}/receipts/");
    wait_until("an object is done", || !keys_below(&fleet.results, &receipts).is_empty());

    let ran = flowherd_in(PROGRAM, environment, ["live", "close", "--day", DAY, "--watch", "--json"]);
    stop(worker);
    let report = report(&ran);
    assert_eq!((ran.status, &report["state"]), (0, &"done".into()), "{ran:?}");
    // The report has the objects of the listing in their last versions.
    let listed = pages(&fleet.source, PREFIX).flat_map(|page| page.unwrap().entries);
    let listed: BTreeMap<String, u64> = listed.map(|entry| (entry.key, entry.size)).collect();
    // Each kind of object is among them.
    assert!(stream.overwritten.iter().any(|key| listed.contains_key(key)));
    assert!(stream.deleted.iter().any(|key| !listed.contains_key(key)));
    assert!(stream.lost.iter().any(|key| listed.contains_key(key)));
    let objects = &report["objects"];
    for (part, count) in [("listed", listed.len()), ("done", listed.len()), ("failed", 0), ("missing", 0)] {
        assert_eq!(objects[part], count, "{part}: {report}");
    }
    assert_eq!(report["bytes"]["compressed_in"], listed.values().sum::<u64>(), "{report}");
    let rows = |key: &String| {
        let object = Store::get(&fleet.source, key).unwrap().unwrap();
        String::from_utf8(gunzip(&object)).unwrap().matches(FLOW).count()
    };
    assert_eq!(report["records"]["rows"], listed.keys().map(rows).sum::<usize>(), "{report}");
    let done: BTreeSet<String> = keys_below(&fleet.results, &receipts)
        .iter()
        .map(|path| path[receipts.len()..].trim_end_matches(".json").to_owned())
        .collect();
    assert!(listed.keys().all(|key| done.contains(key)), "{done:?}");
}
