//! Sizes of requests and documents, and concurrent requests.

use flowherd_indexer::{job::Indexer, settings::BULK_BYTES};

use crate::{
    fake_cluster::{FakeCluster, Reply},
    support::{assert_rows_once, assert_sum, gzip, index, index_with, object, row, runtime, settings},
};

#[test]
fn bulks_have_a_limit_of_bytes_and_of_rows() {
    let cluster = FakeCluster::start();
    let mut settings = settings(&cluster);
    settings.bulk_bytes = 2000;
    index(&settings, &object(100)).0.unwrap();
    assert_rows_once(&cluster, 100);
    let requests = cluster.requests();
    assert!(requests.iter().all(|request| request.bytes <= 2000 && request.rows.len() < 10), "{requests:?}");
    assert!(
        requests.iter().filter(|request| request.bytes > 1600).count() >= requests.len() - 1,
        "{requests:?}"
    );
}

#[test]
fn a_request_that_is_too_large_is_halved_and_later_bulks_are_smaller() {
    let cluster = FakeCluster::start();
    cluster.set_max_bytes(1500);
    let mut settings = settings(&cluster);
    settings.max_in_flight = 1;
    let counts = index(&settings, &object(100)).0.unwrap();
    assert_rows_once(&cluster, 100);
    assert_eq!((counts.indexed, counts.existing), (100, 0));
    let too_large = cluster.requests().iter().filter(|request| request.bytes > 1500).count();
    assert!((1..=2).contains(&too_large), "each size is refused once: {:?}", cluster.requests());
}

#[test]
fn one_document_that_is_too_large_for_the_cluster_is_refused_and_the_others_are_indexed() {
    let cluster = FakeCluster::start();
    cluster.set_max_bytes(4000);
    let long = format!("2026-02-18T09:00:00.000Z,10.0.0.1,2,{}\n", "x".repeat(5000));
    let (counts, refused) = index(&settings(&cluster), &gzip(&[&*row(1), &long, &row(3)].concat()));
    assert_sum(&counts.unwrap(), 3);
    assert_eq!(cluster.rows(), [1, 3]);
    assert_eq!((refused[0].row, &*refused[0].reason), (2, "too-large"));
    assert!(refused[0].detail.contains("413"), "{}", refused[0].detail);
}

#[test]
fn a_small_document_that_alone_gets_413_is_refused_and_smaller_ones_are_indexed() {
    // A proxy may accept less than the least size of bulks in the settings.
    let small = "2026-02-18T09:00:00.000Z,10.0.0.1,1,a\n";
    let larger = |number: u64| format!("2026-02-18T09:00:00.000Z,10.0.0.1,{number},{}\n", "b".repeat(40));
    let cluster = FakeCluster::start();
    index(&settings(&cluster), &gzip(small)).0.unwrap();
    let bytes = cluster.requests()[0].bytes;
    assert!(bytes < BULK_BYTES.0, "{bytes}");

    let cluster = FakeCluster::start();
    cluster.set_max_bytes(bytes);
    let (counts, refused) =
        index(&settings(&cluster), &gzip(&[small, &larger(2), small, &larger(4)].concat()));
    let counts = counts.unwrap();
    assert_sum(&counts, 4);
    assert_eq!((counts.indexed, counts.refused), (2, 2));
    assert_eq!(cluster.rows(), [1, 3]);
    let mut rows: Vec<(u64, &str)> = refused.iter().map(|refused| (refused.row, &*refused.reason)).collect();
    rows.sort_unstable();
    assert_eq!(rows, [(2, "too-large"), (4, "too-large")]);
    assert!(refused.iter().all(|refused| refused.detail.contains("413")), "{refused:?}");
    // The second half has the size of the first one, which was refused, so it is not sent.
    let sizes: Vec<usize> = cluster.requests().iter().map(|request| request.rows.len()).collect();
    assert_eq!(sizes, [4, 2, 1, 1, 1, 1]);
}

#[test]
fn one_document_that_is_larger_than_a_bulk_is_refused_without_a_request() {
    let cluster = FakeCluster::start();
    let mut settings = settings(&cluster);
    settings.bulk_bytes = 1 << 10;
    let long = format!("2026-02-18T09:00:00.000Z,10.0.0.1,2,{}\n", "x".repeat(2000));
    let (counts, refused) = index(&settings, &gzip(&[&*row(1), &long, &row(3)].concat()));
    assert_sum(&counts.unwrap(), 3);
    assert_eq!(cluster.rows(), [1, 3]);
    assert_eq!((refused[0].row, &*refused[0].reason), (2, "too-large"));
}

#[test]
fn an_answer_that_is_too_large_is_asked_for_again_in_halves() {
    let cluster = FakeCluster::scripted([Reply::LongAnswer(1 << 20)]);
    let counts = index(&settings(&cluster), &object(10)).0.unwrap();
    assert_rows_once(&cluster, 10);
    let sizes: Vec<usize> = cluster.requests().iter().map(|request| request.rows.len()).collect();
    assert_eq!((sizes, counts.existing), (vec![10, 5, 5], 10));
}

#[test]
fn requests_run_at_the_same_time_up_to_the_limit_for_all_objects_of_a_process() {
    let cluster = FakeCluster::start();
    cluster.afterwards(Some(Reply::Held));
    let mut settings = settings(&cluster);
    settings.max_in_flight = 3;
    let indexer = Indexer::new(&settings).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            cluster.wait_for_requests(3);
            cluster.release();
        });
        let object = object(100);
        let one = index_with(&indexer, &object, &|| false);
        let other = index_with(&indexer, &object, &|| false);
        let (one, other) = runtime().block_on(async { tokio::join!(one, other) });
        let (one, other) = (one.0.unwrap(), other.0.unwrap());
        assert_eq!((one.indexed + other.indexed, one.existing + other.existing), (100, 100));
    });
    assert_rows_once(&cluster, 100);
    assert_eq!(cluster.max_running(), 3);
}
