//! A fleet on the servers: buckets, a queue, and the programs.

use std::{collections::BTreeMap, fs, time::Duration};

use flowherd_aws::s3::Bucket;
use flowherd_shared::store::Store;
use flowherd_tests::{
    command::{Ran, Running, files_below, flowherd_in},
    ledger::{keys_below, outputs},
    servers::{Queues, Servers},
};
use serde_json::Value;

use super::place::{PROGRAM, Place};

const WORKER: &str = env!("CARGO_BIN_EXE_flowherd-worker-under-test");

pub(crate) struct Fleet<'a> {
    pub(crate) servers: &'a Servers<'a>,
    pub(crate) place: Place,
    pub(crate) source: Bucket,
    pub(crate) results: Bucket,
    pub(crate) queues: Queues,
    name: &'static str,
}

impl<'a> Fleet<'a> {
    /// Creates a fleet with a synthesized day below `firehose/` of the source bucket. `name` is part of the names of buckets
    /// and queue.
    pub(crate) fn new(servers: &'a Servers<'a>, name: &'static str, objects: u32, records: u32) -> Self {
        let place = Place::synth(objects, records, &["--malformed", "3"]);
        let fleet = Self {
            servers,
            source: servers.bucket(&format!("{name}-source")),
            results: servers.bucket(&format!("{name}-results")),
            queues: servers.sqs.queues(&format!("{}-{name}", servers.kind), Duration::from_secs(10), 4),
            place,
            name,
        };
        for key in files_below(&fleet.place.path("in/firehose")) {
            let object = fs::read(fleet.place.path("in/firehose").join(&key)).unwrap();
            fleet.source.put(&format!("firehose/{key}"), &object).unwrap();
        }
        fleet
    }

    /// Returns the environment of the programs.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let mut environment = self.servers.environment();
        environment.extend([
            ("FLOWHERD_SOURCE_BUCKET", format!("{}-source", self.name)),
            ("FLOWHERD_RESULTS_BUCKET", format!("{}-results", self.name)),
            ("FLOWHERD_QUEUE_URL", self.queues.url.clone()),
            ("FLOWHERD_NAMES", self.path("in/names.json")),
            ("FLOWHERD_SETTLE_SECONDS", "10".to_owned()),
        ]);
        let config = self.place.path("flowherd.toml");
        environment.extend(config.exists().then(|| ("FLOWHERD_CONFIG", self.path("flowherd.toml"))));
        environment
    }

    /// Returns the environment with another value of a variable.
    pub(crate) fn environment_with(&self, name: &'static str, value: &str) -> Vec<(&'static str, String)> {
        let others = self.environment().into_iter().filter(|(other, _)| *other != name);
        others.chain([(name, value.to_owned())]).collect()
    }

    fn path(&self, below: &str) -> String {
        self.place.path(below).to_str().unwrap().to_owned()
    }

    /// Returns the name of the source bucket.
    pub(crate) fn source_name(&self) -> String {
        format!("{}-source", self.name)
    }

    /// Runs a command.
    pub(crate) fn flowherd(&self, args: &[&str]) -> Ran {
        flowherd_in(PROGRAM, self.environment(), args)
    }

    /// Runs a command in the background.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running::start_in(PROGRAM, self.environment(), args)
    }

    /// Starts a worker.
    pub(crate) fn worker(&self) -> Running {
        start_worker(self.environment()).without_output()
    }

    /// Returns the keys below a prefix of the results.
    pub(crate) fn results_below(&self, prefix: &str) -> Vec<String> {
        keys_below(&self.results, prefix)
    }

    /// Returns key and bytes of all rows and rejects.
    pub(crate) fn outputs(&self) -> BTreeMap<String, Vec<u8>> {
        outputs(&self.results)
    }

    /// Checks that report and outputs are those of `flowherd convert` for the same day.
    pub(crate) fn check_same_as_convert(&self, report: &Value) {
        let mut args = vec!["--prefix", "firehose/", "--names"];
        let (names, config) = (self.path("in/names.json"), self.path("flowherd.toml"));
        args.push(&names);
        if self.place.path("flowherd.toml").exists() {
            args.extend(["--config", &config]);
        }
        let local = self.place.report(&args);
        for part in ["objects", "records", "tables", "rejects", "bytes"] {
            assert_eq!(report[part], local[part], "{part}");
        }
        let (outputs, converted) = (self.outputs(), self.place.results());
        assert_eq!(outputs.keys().collect::<Vec<_>>(), converted.keys().collect::<Vec<_>>());
        assert!(outputs == converted, "the outputs differ from those of convert");
    }
}

/// Starts a worker with an environment.
pub(crate) fn start_worker(environment: Vec<(&'static str, String)>) -> Running {
    Running::start_in(WORKER, environment, ["--poll", "--concurrency", "2"])
}

/// Stops a worker; it must end without an error.
pub(crate) fn stop(mut worker: Running) {
    worker.signal("TERM");
    assert_eq!(worker.wait(), 0);
}

/// Returns the report that a command printed.
pub(crate) fn report(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"))
}
