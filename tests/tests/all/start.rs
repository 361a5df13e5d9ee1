//! Checks that workers and commands make at their start.

use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use flowherd_tests::{
    command::{Ran, Running, flowherd_in},
    local_cloud::LocalCloud,
};

use super::{cloud::WORKER, place::PROGRAM};

struct Fleet {
    cloud: LocalCloud,
    queue_url: String,
}

impl Fleet {
    fn new() -> Self {
        let cloud = LocalCloud::start();
        let _ = (cloud.bucket("source"), cloud.bucket("results"));
        let (_, queue_url, _) = cloud.queue("tasks", Duration::from_secs(30), 5);
        Self { cloud, queue_url }
    }

    /// Returns the environment of a program with one variable changed.
    fn environment(&self, variable: &str, value: &str) -> Vec<(&'static str, String)> {
        let settings = [
            ("FLOWHERD_SOURCE_BUCKET", "source".to_owned()),
            ("FLOWHERD_RESULTS_BUCKET", "results".to_owned()),
            ("FLOWHERD_QUEUE_URL", self.queue_url.clone()),
        ];
        let changed =
            settings.map(|(name, given)| (name, if name == variable { value.to_owned() } else { given }));
        self.cloud.environment().chain(changed).collect()
    }

    fn worker(&self, variable: &str, value: &str) -> Ran {
        Running::start_in(WORKER, self.environment(variable, value), ["--poll"]).output()
    }

    fn set(&self, name: QueueAttributeName, value: &str) {
        let client = aws_sdk_sqs::Client::new(self.cloud.aws().config());
        let request = client.set_queue_attributes().queue_url(&self.queue_url).attributes(name, value);
        self.cloud.aws().handle().block_on(request.send()).unwrap();
    }
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn a_queue_that_cannot_be_used_is_refused_at_the_start_by_worker_and_commands() {
    let fleet = Fleet::new();
    let url = fleet.queue_url.clone();
    let command = || flowherd_in(PROGRAM, fleet.environment("", ""), ["status"]);
    assert_eq!(command().status, 0);
    let check = |expected: &str| {
        for ran in [fleet.worker("", ""), command()] {
            assert_eq!(ran.status, 2, "{ran:?}");
            assert!(ran.stderr.contains(&format!("FLOWHERD_QUEUE_URL={url}")), "{ran:?}");
            assert!(ran.stderr.contains(expected), "{ran:?}");
        }
    };
    fleet.set(QueueAttributeName::VisibilityTimeout, "2");
    check("the queue's visibility timeout is 2 s, and the minimum is 3 s");
    fleet.set(QueueAttributeName::VisibilityTimeout, "30");
    fleet.set(QueueAttributeName::RedrivePolicy, "");
    check("the queue has no dead-letter queue");
    let ran = fleet.worker("FLOWHERD_QUEUE_URL", &url.replace("tasks", "other"));
    assert!(ran.status == 2 && ran.stderr.contains("cannot read the queue's attributes"), "{ran:?}");
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn a_worker_whose_bucket_is_missing_ends_at_its_start_and_names_the_variable() {
    let fleet = Fleet::new();
    for variable in ["FLOWHERD_SOURCE_BUCKET", "FLOWHERD_RESULTS_BUCKET"] {
        let ran = fleet.worker(variable, "not-there");
        assert_eq!(ran.status, 2, "{ran:?}");
        assert!(
            ran.stderr.contains(&format!("{variable}=not-there: bucket \\\"not-there\\\" does not exist")),
            "{ran:?}"
        );
    }
    let environment = fleet.environment("FLOWHERD_SOURCE_BUCKET", "not-there");
    let ran = flowherd_in(PROGRAM, environment, ["status"]);
    assert_eq!(ran.status, 2, "{ran:?}");
    assert!(
        ran.stderr.contains("FLOWHERD_SOURCE_BUCKET=not-there: bucket \"not-there\" does not exist"),
        "{ran:?}"
    );
}
