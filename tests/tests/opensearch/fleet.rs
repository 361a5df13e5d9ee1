//! A fleet of real processes: the command, workers that poll a queue of the local AWS, and a node.

use std::{io::Write, time::Duration};

use flowherd_aws::{s3::Bucket, sqs::SqsQueue};
use flowherd_indexer::client::Method;
use flowherd_tests::{
    command::{Ran, Running, flowherd_in},
    local_cloud::LocalCloud,
    on_terminal::{Shown, flowherd_answering},
};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::session::Session;

const PROGRAM: &str = env!("CARGO_BIN_EXE_flowherd-under-test");
const WORKER: &str = env!("CARGO_BIN_EXE_flowherd-worker-under-test");

/// The visibility timeout of the queues, and the deliveries before a message is a dead letter.
const VISIBILITY: Duration = Duration::from_secs(10);
const DELIVERIES: u32 = 5;
/// Small requests, so that an object takes many of them.
const BULK_BYTES: u32 = 128 << 10;

/// A fleet that converts (`main`), and one that indexes its rows (`index`).
pub(crate) struct Fleet {
    pub(crate) cloud: LocalCloud,
    pub(crate) source: Bucket,
    pub(crate) results: Bucket,
    /// The dead-letter queue of the index fleet.
    pub(crate) dead: SqsQueue,
    urls: [String; 2],
    cluster: Value,
    /// The file with the rules of both fleets; none with the built-in rule.
    rules: Option<NamedTempFile>,
}

impl Fleet {
    /// Creates the fleets for the cluster of a session, without rules of their own.
    pub(crate) fn new(session: &Session) -> Self {
        let cloud = LocalCloud::start();
        let (source, results) = (cloud.bucket("source"), cloud.bucket("results"));
        let (_, convert, _) = cloud.queue("convert", VISIBILITY, DELIVERIES);
        let (_, index, dead) = cloud.queue("index", VISIBILITY, DELIVERIES);
        let cluster = json!({ "url": session.url(), "bulkBytes": BULK_BYTES });
        Self { cloud, source, results, dead, urls: [convert, index], cluster, rules: None }
    }

    /// Creates the fleets with these rules.
    pub(crate) fn with_rules(session: &Session, rules: &str) -> Self {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(rules.as_bytes()).unwrap();
        Self { rules: Some(file), ..Self::new(session) }
    }

    /// Runs a command to its end.
    pub(crate) fn flowherd(&self, args: &[&str]) -> Ran {
        flowherd_in(PROGRAM, self.environment(), args)
    }

    /// Runs a command to its end. It must succeed, and print JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let ran = self.flowherd(&[args, &["--json"]].concat());
        assert_eq!(ran.status, 0, "{args:?}: {ran:?}");
        serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{ran:?}"))
    }

    /// Runs a command on a terminal, and types this line.
    pub(crate) fn answer(&self, args: &[&str], line: &str) -> Shown {
        flowherd_answering(PROGRAM, self.environment(), args, line)
    }

    /// Starts a command.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        Running::start_in(PROGRAM, self.environment(), args)
    }

    /// Starts a worker that converts.
    pub(crate) fn converter(&self) -> Running {
        self.worker("source", &self.urls[0], &[])
    }

    /// Starts a worker that indexes one object at a time.
    pub(crate) fn indexer(&self) -> Running {
        let cluster = self.cluster.to_string();
        let job = [("FLOWHERD_JOB", "index".to_owned()), ("FLOWHERD_CLUSTER", cluster)];
        self.worker("results", &self.urls[1], &job)
    }

    fn worker(&self, source: &str, url: &str, more: &[(&'static str, String)]) -> Running {
        let queue = [("FLOWHERD_QUEUE_URL", url.to_owned())];
        let environment = self.common(source).chain(queue).chain(more.iter().cloned());
        // A worker never outlives a killed test process.
        Running::start_bound(WORKER, environment, ["--poll", "--concurrency", "1"]).without_output()
    }

    fn environment(&self) -> impl Iterator<Item = (&'static str, String)> {
        let fleets = json!({
            "main": { "queueUrl": self.urls[0], "prefixes": ["firehose/"] },
            "index": { "queueUrl": self.urls[1], "job": "index", "cluster": self.cluster },
        });
        let more = [("FLOWHERD_FLEETS", fleets.to_string()), ("FLOWHERD_SETTLE_SECONDS", "10".to_owned())];
        let path = self.rules.as_ref().map(|file| file.path().to_str().unwrap().to_owned());
        self.common("source").chain(more).chain(path.map(|path| ("FLOWHERD_CONFIG", path)))
    }

    fn common(&self, source: &str) -> impl Iterator<Item = (&'static str, String)> {
        let buckets = [("FLOWHERD_SOURCE_BUCKET", source), ("FLOWHERD_RESULTS_BUCKET", "results")];
        self.cloud.environment().chain(buckets.map(|(name, value)| (name, value.to_owned())))
    }
}

/// Stops a worker; it must end without an error.
pub(crate) fn stop(mut worker: Running) {
    worker.signal("TERM");
    assert_eq!(worker.wait(), 0);
}

/// The documents of one object in the cluster.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Documents {
    pub(crate) object: String,
    pub(crate) count: u64,
    /// Least, largest and sum of their row numbers.
    pub(crate) rows: [f64; 3],
}

/// Returns the documents of up to 1,000 objects in the indices of a pattern, by key. Refreshes the indices first.
pub(crate) fn documents(session: &Session, pattern: &str) -> Vec<Documents> {
    session.ok(Method::Post, &format!("/{pattern}/_refresh"), &Value::Null);
    let query = json!({ "size": 0, "aggs": { "objects": {
        "terms": { "field": "flowherd.object", "size": 1000, "order": { "_key": "asc" } },
        "aggs": { "rows": { "stats": { "field": "flowherd.row" } } },
    } } });
    let body = session.ok(Method::Post, &format!("/{pattern}/_search"), &query);
    let Some(buckets) = body["aggregations"]["objects"]["buckets"].as_array() else { return Vec::new() };
    let documents = |bucket: &Value| Documents {
        object: bucket["key"].as_str().unwrap().to_owned(),
        count: bucket["doc_count"].as_u64().unwrap(),
        rows: ["min", "max", "sum"].map(|name| bucket["rows"][name].as_f64().unwrap()),
    };
    buckets.iter().map(documents).collect()
}
