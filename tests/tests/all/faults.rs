//! Injects random faults between our programs and the local cloud, and kills programs at random times. No key may be lost, no
//! output may be partial, and after the faults every object must be done.
//!
//! `make test` runs a few schedules, `make soak` hundreds. A schedule depends only on its seed.

mod live;
mod schedule;

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use flowherd_shared::{
    ledger::{ManifestEntry, Receipt, Run, layout, read_json},
    queue::{Message, NewMessage, Queue, QueueDepth},
    store::{Lister, Sink, Source, Store},
    task::Task,
};
use flowherd_tests::{
    command::{Ran, Running, flowherd_in},
    fault_proxy::FaultProxy,
    local_cloud::{LocalCloud, wait_at_most, wait_until},
};
use serde_json::{Value, json};

use self::schedule::{Event, FAULTS, PURGE_FAULTS, Schedule};
use super::{
    cloud::{Fleet, WORKER, report},
    place::PROGRAM,
};

/// Number of concurrent schedules. They mostly wait.
const LANES: u64 = 4;
/// Maximum time with faults. After it, the run continues without them.
const FAULTY: Duration = Duration::from_secs(20);
/// Maximum deliveries. The pause between them doubles, from 10 s to 160 s.
const DELIVERIES: u32 = 5;
/// Deadline of all waits; longer than the longest pause.
const PATIENCE: Duration = Duration::from_mins(5);
const PREFIX: &str = "firehose/";

/// A running schedule.
struct Play<'a> {
    schedule: &'a Schedule,
    fleet: Fleet,
    proxy: FaultProxy,
    workers: Vec<Running>,
    restarts: u32,
}

impl<'a> Play<'a> {
    fn new(schedule: &'a Schedule) -> Self {
        let seed = schedule.seed.to_string();
        let more = ["--malformed", "3", "--seed", &seed];
        let fleet =
            Fleet::with(schedule.objects, schedule.records, &more, (Duration::from_secs(6), DELIVERIES));
        if schedule.damages {
            fleet.damage_one(PREFIX);
        }
        let proxy = FaultProxy::start(&fleet.cloud.endpoint);
        Self { schedule, fleet, proxy, workers: Vec::new(), restarts: 0 }
    }

    /// Returns the environment of a program. With `faulty`, its requests go through the proxy.
    fn environment(&self, faulty: bool) -> Vec<(&'static str, String)> {
        let mut environment = self.fleet.environment();
        if faulty {
            environment.push(("AWS_ENDPOINT_URL", self.proxy.endpoint.clone()));
        }
        environment
    }

    fn start(&self, program: &str, faulty: bool, args: &[&str]) -> Running {
        Running::start_in(program, self.environment(faulty), args)
    }

    fn coordinator(&self, faulty: bool) -> Running {
        let run = ["run", "--prefix", PREFIX, "--run", "r", "--watch", "--json"];
        let purge: &[&str] = if self.schedule.purges { &["--purge"] } else { &[] };
        self.start(PROGRAM, faulty, &[&run, purge].concat())
    }

    /// Restarts workers that have ended, so that two always run.
    fn keep_workers(&mut self, faulty: bool) {
        self.workers.retain_mut(|worker| worker.0.try_wait().unwrap().is_none());
        while self.workers.len() < 2 {
            let worker = self.start(WORKER, faulty, &["--poll", "--concurrency", "2", "--grace", "2"]);
            self.workers.push(worker.without_output());
            self.restarts += 1;
        }
    }

    fn run(&self) -> Option<Run> {
        read_json(&self.fleet.results, &layout::run("r")).unwrap()
    }

    fn is_listed(&self) -> bool {
        self.run().is_some_and(|run| run.manifest.is_some())
    }

    fn objects(&self) -> Vec<ManifestEntry> {
        self.fleet.source.page(PREFIX, None).unwrap().entries
    }

    fn is_quiet(&self) -> bool {
        self.fleet.queue.depth().unwrap() == QueueDepth::default()
    }

    /// Injects faults until the run has ended, at most for [`FAULTY`].
    fn with_faults(&mut self) {
        let rules: Vec<Value> = self.schedule.faults.iter().map(|(_, rule)| rule.clone()).collect();
        self.proxy.set_faults(&rules);
        let mut events = self.schedule.events.iter().peekable();
        let mut coordinator = Some(self.coordinator(true));
        self.keep_workers(true);
        // Programs may start slowly on a busy machine.
        wait_until("a program sends requests to the proxy", || self.proxy.requests() > 0);
        let began = Instant::now();
        while began.elapsed() < FAULTY {
            self.keep_workers(true);
            while let Some((_, event)) =
                events.next_if(|(after, _)| began.elapsed().as_millis() >= u128::from(*after))
            {
                match event {
                    Event::WorkerKilled => drop(self.workers.pop()),
                    Event::CoordinatorKilled => drop(coordinator.take()),
                    Event::MessagesTwice => self.send_twice(),
                }
            }
            if let Some(running) = &mut coordinator
                && running.0.try_wait().unwrap().is_some()
            {
                let ran = coordinator.take().unwrap().output();
                if !ran.stdout.is_empty() {
                    return;
                }
            }
            if coordinator.is_none() && !self.is_listed() {
                coordinator = Some(self.coordinator(true));
            } else if coordinator.is_none() && self.is_quiet() {
                return;
            }
            thread::park_timeout(Duration::from_millis(50));
        }
    }

    /// Sends bodies of messages again with other deduplication ids, which the queue does not detect as duplicates.
    fn send_twice(&self) {
        if self.run().is_none() {
            return;
        }
        for object in self.objects().into_iter().take(6) {
            let task =
                Task { run: "r".to_owned(), fleet: "main".to_owned(), bucket: "source".to_owned(), object };
            let (group, body) = (task.group(), task.body());
            let deduplication = format!("again-{}", &task.deduplication()[..32]);
            assert_eq!(self.fleet.queue.send(&[NewMessage { body, group, deduplication }]).unwrap(), []);
        }
    }

    /// Returns the first report of the run. Injects no faults.
    fn first_report(&mut self) -> Value {
        for worker in &self.workers {
            worker.signal("TERM");
        }
        self.workers.drain(..).for_each(|mut worker| _ = worker.wait());
        self.keep_workers(false);
        if !self.is_listed() {
            return report(&self.coordinator(false).output());
        }
        let mut printed = None;
        let mut quiet = 0;
        wait_at_most(PATIENCE, "the run has a report", || {
            let ran = self.flowherd(&["report", "r", "--json"]);
            if ran.stdout.is_empty() && quiet > 3 {
                // The run has no driver, and no message is in the queue.
                printed = Some(report(&self.flowherd(&["report", "r", "--now", "--json"])));
            } else if !ran.stdout.is_empty() {
                printed = Some(report(&ran));
            }
            quiet = if self.is_quiet() { quiet + 1 } else { 0 };
            printed.is_some()
        });
        printed.unwrap()
    }

    fn flowherd(&self, args: &[&str]) -> Ran {
        flowherd_in(PROGRAM, self.environment(false), args)
    }

    /// Checks what holds after any schedule.
    fn check(&self, report: &Value) {
        // The report may exist while a worker still processes a duplicate message.
        wait_at_most(PATIENCE, "the queue is empty", || self.is_quiet());
        let objects = &report["objects"];
        let count = |what: &str| objects[what].as_u64().unwrap();
        assert_eq!(count("listed"), self.objects().len() as u64, "a key is not listed: {report}");
        // If every delivery of a message was lost, interrupted or returned by a stopped worker, its object has neither
        // receipt nor failure. The object is missing, and a dead-letter message names it.
        let letters = self.letters();
        let outcomes = |key: &str| [layout::receipt("r", key), layout::failure("r", key)];
        let has_outcome = |key: &str| {
            outcomes(key).iter().any(|path| Store::get(&self.fleet.results, path).unwrap().is_some())
        };
        let given_up = self.objects().into_iter().map(|object| object.key).filter(|key| !has_outcome(key));
        let given_up: Vec<String> = given_up.collect();
        assert!(
            given_up.iter().all(|key| letters.contains(key)),
            "a key has no outcome: {given_up:?} {report}"
        );
        assert!(given_up.len() as u64 <= count("missing"), "{given_up:?} {report}");
        assert_eq!(count("listed"), count("done") + count("failed") + count("missing"), "{report}");
        let failures = report["failures"].as_array().unwrap();
        assert!(failures.iter().all(|failure| failure["error"].as_str().is_some_and(|why| !why.is_empty())));

        // Every output belongs to a receipt, is whole, and equals the output of a run without faults.
        let (_, reference) = self.fleet.converted();
        let mut promised = BTreeSet::new();
        for path in self.fleet.results_below(&layout::receipts("r")) {
            let receipt: Receipt = read_json(&self.fleet.results, &path).unwrap().expect("a receipt");
            for output in receipt.outputs {
                let there = Store::get(&self.fleet.results, &output.path).unwrap();
                let there =
                    there.unwrap_or_else(|| panic!("{path} names {}, which does not exist", output.path));
                assert!(
                    Some(&there) == reference.get(&output.path),
                    "{} differs from the reference",
                    output.path
                );
                promised.insert(output.path);
            }
        }
        for (path, there) in self.fleet.outputs() {
            // A worker that is killed right before the receipt leaves whole outputs. No other worker processed the object.
            let is_given_up = given_up.iter().any(|key| path.contains(key));
            let is_left = is_given_up && Some(&there) == reference.get(&path);
            assert!(promised.contains(&path) || is_left, "{path} has no receipt");
        }
    }

    /// Returns the keys that dead-letter messages name.
    fn letters(&self) -> BTreeSet<String> {
        let dead = &self.fleet.dead;
        let receive =
            || Some(dead.receive(10, Duration::ZERO).unwrap()).filter(|letters| !letters.is_empty());
        let letters: Vec<Message> = std::iter::from_fn(receive).flatten().collect();
        letters.iter().for_each(|letter| dead.change_visibility(&letter.handle, Duration::ZERO).unwrap());
        letters.iter().map(|letter| Task::parse(&letter.body).unwrap().object.key).collect()
    }

    /// Redrives until every object is done. A duplicate message can become a dead-letter message after its object is done;
    /// another redrive removes it.
    fn repaired(&self, first: Value) -> Value {
        let mut last = first;
        for _ in 0..3 {
            // The damaged object keeps at least one dead-letter message, or two if its message was sent twice.
            let has_letters = self.fleet.dead.depth().unwrap() != QueueDepth::default();
            let [failed, missing] = ["failed", "missing"].map(|what| last["objects"][what].as_u64().unwrap());
            if (has_letters, failed, missing) == (self.schedule.damages, self.schedule.damages.into(), 0) {
                return last;
            }
            last = report(&self.flowherd(&["redrive", "r", "--watch", "--json"]));
            self.check(&last);
        }
        panic!("dead-letter messages or failures remain after three redrives: {last}");
    }

    fn end(mut self) -> (usize, u32) {
        self.with_faults();
        let struck = self.proxy.struck().len();
        self.proxy.set_faults(&[]);
        let first = self.first_report();
        self.check(&first);
        let last = self.repaired(first);
        self.fleet.check_same_as_convert(&last);
        assert_eq!(self.fleet.results_below("active/"), [""; 0], "no run is active");
        (struck, self.restarts - 2)
    }
}

/// Runs a schedule. Returns a summary, or the violated check.
fn play(seed: u64) -> Result<(usize, String), String> {
    let schedule = Schedule::new(seed);
    let began = Instant::now();
    let played = catch_unwind(AssertUnwindSafe(|| Play::new(&schedule).end()));
    match played {
        Ok((struck, restarts)) => Ok((
            struck,
            format!(
                "seed {seed:>6}: {:>2} objects of {:>6} records, {} kinds of faults, {struck:>3} struck, {restarts} restarts, {:>3} s: ok",
                schedule.objects,
                schedule.records,
                schedule.faults.len(),
                began.elapsed().as_secs()
            ),
        )),
        Err(panic) => {
            let message = panic.downcast_ref::<String>().cloned();
            let message = message.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(format!("{schedule}{}\nmake soak SEED={seed} RUNS=1", message.unwrap_or_default()))
        }
    }
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn under_random_faults_every_key_is_done_or_named_and_is_done_after_the_faults() {
    let number = |name: &str, otherwise: u64| {
        std::env::var(name)
            .map_or(otherwise, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value}: a number")))
    };
    let (first, runs) = (number("FLOWHERD_SOAK_SEED", 1), number("FLOWHERD_SOAK_RUNS", 6));
    let (next, struck, violations) = (AtomicU64::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..number("FLOWHERD_SOAK_LANES", LANES).min(runs) {
            scope.spawn(|| {
                while let number = next.fetch_add(1, Ordering::Relaxed)
                    && number < runs
                {
                    match play(first + number) {
                        Ok((faults, summary)) => {
                            struck.fetch_add(faults, Ordering::Relaxed);
                            eprintln!("{summary}");
                        }
                        Err(violation) => violations.lock().unwrap().push(violation),
                    }
                }
            });
        }
    });
    let violations = violations.into_inner().unwrap();
    assert!(
        violations.is_empty(),
        "{} of {runs} schedules:\n\n{}",
        violations.len(),
        violations.join("\n\n")
    );
    assert!(struck.into_inner() > 0, "no fault was injected");
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn each_fault_hits_its_operation() {
    let cloud = LocalCloud::start();
    let bucket = cloud.bucket("source");
    let (_, url, _) = cloud.queue("tasks", Duration::from_secs(30), 3);
    let proxy = FaultProxy::start(&cloud.endpoint);
    let aws = cloud.through(&proxy.endpoint);
    let (through, queue) = (aws.bucket("source", None), aws.queue(&url));
    for (number, (name, rule)) in FAULTS.iter().chain(PURGE_FAULTS).enumerate() {
        let mut rule: Value = serde_json::from_str(rule).unwrap();
        // Once, so that the retry succeeds.
        rule["times"] = 1.into();
        let (number, operation) = (number.to_string(), rule["operation"].as_str().unwrap_or("").to_owned());
        let before = proxy.struck().len();
        proxy.set_faults(&[rule]);
        // Other tests check the results of these calls.
        let is = |operations: &[&str]| operation.is_empty() || operations.contains(&operation.as_str());
        if is(&["PutObject", "GetObject", "HeadObject", "ListObjectsV2", "DeleteObject"]) {
            let object = vec![b'x'; 100_000];
            bucket.put("k", &object).unwrap();
            _ = through.put("k", &object);
            _ = Store::get(&through, "k");
            _ = through.etag("k");
            _ = through.page("", None);
            _ = through.remove("k");
        }
        if is(&["CreateMultipartUpload"]) {
            let mut sink = through.create("large").unwrap();
            if sink.write_all(&vec![b'x'; 17 << 20]).is_ok() {
                _ = sink.commit();
            }
        }
        if !operation.contains("Object") {
            let message = NewMessage { body: number.clone(), group: number.clone(), deduplication: number };
            _ = queue.send(&[message]);
            for received in queue.receive(2, Duration::from_secs(1)).unwrap_or_default() {
                _ = queue.change_visibility(&received.handle, Duration::from_secs(30));
                _ = queue.delete(&received.handle);
            }
            _ = queue.depth();
            _ = queue.purge();
        }
        assert_eq!(proxy.struck().len(), before + 1, "{name} affects no request");
    }
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn a_truncated_response_is_an_error() {
    let cloud = LocalCloud::start();
    let bucket = cloud.bucket("source");
    let keys: Vec<String> = (0..7).map(|number| format!("key {number}")).collect();
    keys.iter().for_each(|key| bucket.put(key, key.as_bytes()).unwrap());
    let listed = bucket.page("", None).unwrap();
    let (_, url, _) = cloud.queue("tasks", Duration::from_secs(30), 3);
    let proxy = FaultProxy::start(&cloud.endpoint);
    let aws = cloud.through(&proxy.endpoint);
    let (bucket, queue) = (aws.bucket("source", None), aws.queue(&url));
    let message = |number: u32| NewMessage {
        body: format!("body {number}"),
        group: number.to_string(),
        deduplication: number.to_string(),
    };
    for (number, fraction) in (0..).zip([0.05, 0.3, 0.6, 0.9, 0.97, 0.99]) {
        let cut = [json!({ "service": "*", "response": { "truncate_frac": fraction } })];
        let context = format!("{fraction} of it");
        proxy.set_faults(&cut);
        // If only the closing tags are missing, the listing is complete.
        assert!(bucket.page("", None).map_or(true, |page| page == listed), "listing, {context}");
        assert!(Store::get(&bucket, "key 3").is_err(), "reading, {context}");
        if number == 2 {
            // The SDK resumes the body at the position of each cut.
            let object = bucket.open(&listed.entries[3]);
            assert!(
                object.map_or(true, |mut body| body.read_to_end(&mut Vec::new()).is_err()),
                "an object, {context}"
            );
        }
        assert!(queue.send(&[message(number)]).is_err(), "sending, {context}");
        assert!(queue.depth().is_err(), "counting, {context}");

        proxy.set_faults(&[]);
        assert_eq!(bucket.page("", None).unwrap(), listed, "listing, {context}");
        assert_eq!(Store::get(&bucket, "key 3").unwrap().unwrap(), b"key 3", "reading, {context}");
        assert_eq!(queue.send(&[message(number)]).unwrap(), [], "sending, {context}");
        let depth = queue.depth().unwrap();
        assert_eq!(depth.visible + depth.in_flight, u64::from(number) + 1, "sent once: {context}");
        proxy.set_faults(&cut);
        assert!(queue.receive(1, Duration::from_secs(1)).is_err(), "receiving, {context}");
    }
}
