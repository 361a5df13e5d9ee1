//! A cluster that accepts nothing, and attempts that are stopped.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use flowherd_indexer::job::{IndexError, Indexer};

use crate::{
    fake_cluster::{FakeCluster, Reply},
    support::{assert_rows_once, index, index_until, index_with, object, runtime, settings},
};

#[test]
fn a_cluster_that_is_down_ends_the_attempt_and_the_next_one_continues() {
    let cluster = FakeCluster::scripted([Reply::Accept, Reply::Accept]);
    cluster.afterwards(Some(Reply::status(503)));
    let mut settings = settings(&cluster);
    settings.max_in_flight = 1;
    settings.unavailable_limit = Duration::from_millis(50);
    let runtime = runtime();
    let indexer = Indexer::new(&settings).unwrap();
    let (outcome, _) = runtime.block_on(index_with(&indexer, &object(60), &|| false));
    let error = outcome.unwrap_err();
    assert!(error.can_retry());
    let IndexError::Unavailable { counts, attempts, source, .. } = error else { panic!("{error:?}") };
    assert_eq!(counts.indexed, 20);
    assert!(attempts > 1 && source.to_string().contains("503"), "{attempts} {source}");
    assert!(indexer.outage().is_some());

    cluster.afterwards(None);
    let counts = runtime.block_on(index_with(&indexer, &object(60), &|| false)).0.unwrap();
    assert_rows_once(&cluster, 60);
    assert_eq!((counts.indexed, counts.existing), (40, 20));
    assert!(indexer.outage().is_none());
}

#[test]
fn during_an_outage_each_attempt_sends_one_request() {
    let cluster = FakeCluster::start();
    cluster.afterwards(Some(Reply::status(503)));
    let mut settings = settings(&cluster);
    settings.unavailable_limit = Duration::from_millis(20);
    let runtime = runtime();
    let indexer = Indexer::new(&settings).unwrap();
    let attempt = || runtime.block_on(index_with(&indexer, &object(10), &|| false)).0.unwrap_err();
    assert!(matches!(attempt(), IndexError::Unavailable { .. }));
    let before = cluster.requests().len();
    assert!(matches!(attempt(), IndexError::Unavailable { .. }));
    assert_eq!(cluster.requests().len(), before + 1);
}

#[test]
fn a_server_that_does_not_exist_is_unavailable() {
    let address = {
        let cluster = FakeCluster::start();
        cluster.url()
    };
    let cluster = FakeCluster::start();
    let mut settings = settings(&cluster);
    settings.url = address;
    settings.unavailable_limit = Duration::from_millis(20);
    let error = index(&settings, &object(5)).0.unwrap_err();
    assert!(matches!(error, IndexError::Unavailable { .. }), "{error:?}");
}

#[test]
fn a_document_that_always_fails_does_not_hold_up_its_object_forever() {
    let cluster = FakeCluster::start();
    cluster.afterwards(Some(Reply::Items(vec![500])));
    let mut settings = settings(&cluster);
    settings.unavailable_limit = Duration::from_millis(50);
    let error = index(&settings, &object(3)).0.unwrap_err();
    let IndexError::Stalled { source, .. } = error else { panic!("{error:?}") };
    assert!(source.to_string().contains("500: some_exception: scripted"), "{source}");
}

#[test]
fn a_stopped_attempt_abandons_its_requests_and_keeps_its_counts() {
    let cluster = FakeCluster::scripted([Reply::Accept, Reply::Accept]);
    cluster.afterwards(Some(Reply::Held));
    let mut settings = settings(&cluster);
    settings.max_in_flight = 1;
    let stop = AtomicBool::new(false);
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            cluster.wait_for_requests(3);
            stop.store(true, Ordering::SeqCst);
        });
        index_until(&settings, &object(100), &|| stop.load(Ordering::SeqCst)).0
    });
    let error = outcome.unwrap_err();
    assert!(error.can_retry());
    let IndexError::Stopped(counts) = error else { panic!("{error:?}") };
    assert_eq!(counts.indexed, 20);
}

#[test]
fn a_pause_that_the_cluster_asks_for_does_not_delay_a_stop() {
    let hour = Reply::Status { status: 429, retry_after: Some("3600"), body: "" };
    let cluster = FakeCluster::scripted([hour]);
    let mut settings = settings(&cluster);
    settings.unavailable_limit = Duration::from_hours(2);
    let stop = AtomicBool::new(false);
    let outcome = std::thread::scope(|scope| {
        scope.spawn(|| {
            cluster.wait_for_requests(1);
            stop.store(true, Ordering::SeqCst);
        });
        index_until(&settings, &object(5), &|| stop.load(Ordering::SeqCst)).0
    });
    assert!(matches!(outcome, Err(IndexError::Stopped(_))), "{outcome:?}");
    assert_eq!(cluster.requests().len(), 1);
}
