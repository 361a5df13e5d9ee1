//! The fleet on servers that are stricter than the local cloud: S3 by versitygw and by SeaweedFS, SQS by ElasticMQ. Run it
//! with `make test-servers`, which installs them. `cargo test --test servers -- WORD` runs the checks whose names have it.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

#[path = "../all/conformance.rs"]
mod conformance;
mod convert;
mod differences;
mod fleet;
mod live;
#[path = "../all/place.rs"]
#[allow(dead_code)] // the other tests use all of it
mod place;
mod ports;
mod refusals;
mod runs;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    thread,
    time::Instant,
};

use flowherd_tests::servers::{S3Server, Servers, Sqs};

use self::differences::DIFFERENCES;

/// A check on one server of S3, and its name.
type Check = (&'static str, fn(&Servers<'_>));

macro_rules! checks {
    ($($module:ident::$name:ident),* $(,)?) => {
        const CHECKS: &[Check] = &[$((stringify!($name), $module::$name)),*];
    };
}

checks![
    ports::stores_and_listers_conform,
    ports::a_listing_continues_behind_all_keys_of_a_directory,
    ports::queues_conform,
    ports::a_multipart_upload_is_published_whole_or_not_at_all,
    ports::a_result_is_replaced_only_in_the_version_that_was_read,
    runs::outputs_below_and_above_the_part_size_equal_those_of_convert,
    runs::keys_with_special_characters_are_converted,
    runs::failed_objects_are_done_after_repair_and_a_redrive_by_sqs,
    runs::another_worker_finishes_the_objects_of_a_killed_one,
    runs::a_prefix_is_run_again_after_a_purge,
    convert::a_bucket_is_converted_like_a_directory,
    convert::an_object_that_changes_or_vanishes_after_its_listing_fails_by_name,
    live::a_live_day_with_lost_repeated_and_outdated_events_is_closed_as_it_is_listed,
    refusals::wrong_credentials_are_refused_at_the_start,
    refusals::a_missing_bucket_is_refused_at_the_start,
    refusals::a_queue_of_the_wrong_kind_is_refused_at_the_start,
];

fn main() -> ExitCode {
    // Arguments that begin with dashes come from Cargo.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    println!("known differences from AWS");
    for difference in DIFFERENCES {
        println!("  {}: {}: {}", difference.server, difference.what, difference.why);
    }
    let sqs = Sqs::start();
    let results: Vec<(usize, usize)> = thread::scope(|scope| {
        let (sqs, words) = (&sqs, &words);
        let run = |kind: S3Server| {
            let lane = thread::Builder::new().name(kind.to_string());
            lane.spawn_scoped(scope, move || run_checks(&Servers::start(kind, sqs), words)).unwrap()
        };
        let lanes = [S3Server::Versitygw, S3Server::SeaweedFs].map(run);
        // A server that does not start is a failure.
        lanes.map(|lane| lane.join().unwrap_or((0, 1))).to_vec()
    });
    let (passed, failed) =
        results.iter().fold((0, 0), |(passed, failed), lane| (passed + lane.0, failed + lane.1));
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs the checks whose names contain one of the words; returns how many passed and how many failed.
fn run_checks(servers: &Servers<'_>, words: &[String]) -> (usize, usize) {
    let is_chosen = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    let (mut passed, mut failed) = (0, 0);
    for (name, check) in CHECKS.iter().filter(|(name, _)| is_chosen(name)) {
        let begin = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| check(servers)));
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        println!("{} {name} ... {verdict} ({:.1} s)", servers.kind, begin.elapsed().as_secs_f32());
        passed += usize::from(result.is_ok());
        failed += usize::from(result.is_err());
    }
    (passed, failed)
}
