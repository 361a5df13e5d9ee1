//! Invalid settings end commands and workers at their start, with status 2 and an error that names the setting.

use aws_sdk_sqs::types::QueueAttributeName;
use flowherd_tests::{command::flowherd_in, servers::Servers};

use super::{
    fleet::{Fleet, start_worker},
    place::PROGRAM,
};

/// Checks that command and worker end with status 2, print these words, and change nothing.
fn check_refused(fleet: &Fleet<'_>, environment: &[(&'static str, String)], words: &[&str]) {
    let command = flowherd_in(PROGRAM, environment.to_vec(), ["run", "--prefix", "firehose/", "--run", "r"]);
    let worker = start_worker(environment.to_vec()).output();
    for ran in [&command, &worker] {
        assert_eq!(ran.status, 2, "{ran:?}");
        assert!(words.iter().all(|word| ran.stderr.contains(word)), "{words:?}: {ran:?}");
    }
    assert_eq!(fleet.results_below(""), [""; 0], "a refused program wrote results");
}

pub(crate) fn wrong_credentials_are_refused_at_the_start(servers: &Servers<'_>) {
    let fleet = Fleet::new(servers, "credentials", 1, 5);
    check_refused(&fleet, &fleet.environment_with("AWS_SECRET_ACCESS_KEY", "wrong"), &["FLOWHERD_"]);
    check_refused(&fleet, &fleet.environment_with("AWS_ACCESS_KEY_ID", "nobody"), &["FLOWHERD_"]);
}

pub(crate) fn a_missing_bucket_is_refused_at_the_start(servers: &Servers<'_>) {
    let fleet = Fleet::new(servers, "missing", 1, 5);
    for variable in ["FLOWHERD_SOURCE_BUCKET", "FLOWHERD_RESULTS_BUCKET"] {
        check_refused(
            &fleet,
            &fleet.environment_with(variable, "no-such-bucket"),
            &[variable, "no-such-bucket"],
        );
    }
}

pub(crate) fn a_queue_of_the_wrong_kind_is_refused_at_the_start(servers: &Servers<'_>) {
    let fleet = Fleet::new(servers, "kind", 1, 5);
    let fifo = (QueueAttributeName::FifoQueue, "true");
    let name = |name: &str| format!("{}-kind-{name}", servers.kind);
    let standard = servers.sqs.create(&name("standard"), &[]);
    check_refused(
        &fleet,
        &fleet.environment_with("FLOWHERD_QUEUE_URL", &standard),
        &["FLOWHERD_QUEUE_URL", ".fifo"],
    );
    // Without a dead-letter queue, SQS would redeliver the message of a damaged object forever.
    let single = servers.sqs.create(&name("alone.fifo"), &[fifo]);
    check_refused(
        &fleet,
        &fleet.environment_with("FLOWHERD_QUEUE_URL", &single),
        &["FLOWHERD_QUEUE_URL", "dead-letter"],
    );
    let gone = single.replace("alone", "gone");
    check_refused(&fleet, &fleet.environment_with("FLOWHERD_QUEUE_URL", &gone), &["FLOWHERD_QUEUE_URL"]);
}
