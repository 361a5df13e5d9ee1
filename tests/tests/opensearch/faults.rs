//! Nodes that refuse requests, or are killed, while the indexer sends rows.

use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use flowherd_indexer::{
    job::{IndexError, Indexer},
    schema::Naming,
    settings::ClusterSettings,
    verify::Expected,
};
use flowherd_tests::search_node::SearchNode;

use super::{
    indexing::{assert_documents, dated, index_with},
    rows::{ETAG, HalfWay, flow_row, flow_rows, index, object, target},
    session::{Prepared, Session, flow_table},
};

pub(crate) fn requests_that_the_node_refuses_for_memory_are_sent_again() {
    let node = SearchNode::start(&["indexing_pressure.memory.limit=60kb"]);
    let session = Session::new(&node);
    let table = flow_table("pressure");
    let object = object(&table, flow_rows(5000));
    // Two concurrent requests fit into the memory; eight do not.
    let settings = ClusterSettings { bulk_bytes: 24 << 10, max_in_flight: 8, ..session.settings() };
    let (counts, _) = index_with(&session, &settings, &table, &dated(), &object);
    assert_eq!((counts.rows, counts.refused), (5000, 0));
    assert!(counts.resent > 0, "the node refused no request: {counts:?}");
    assert_documents(&session, "flowherd-pressure-*", 5000);
}

pub(crate) fn documents_that_the_node_has_no_queue_for_are_sent_again() {
    let node = SearchNode::start(&["thread_pool.write.size=1", "thread_pool.write.queue_size=1"]);
    let session = Session::new(&node);
    let table = flow_table("queue");
    // Each request has documents for ten indices, so ten tasks compete for one thread and a queue of one.
    let object = object(&table, (0..3000).map(|row| flow_row(row % 10 * 86_400 + row, "10.0.0.1", row)));
    let settings = ClusterSettings { bulk_rows: 500, ..session.settings() };
    let (counts, _) = index_with(&session, &settings, &table, &dated(), &object);
    assert_eq!((counts.rows, counts.refused), (3000, 0));
    assert!(counts.resent > 0, "the node refused no document: {counts:?}");
    assert_documents(&session, "flowherd-queue-*", 3000);
}

pub(crate) fn a_request_that_is_too_large_is_halved() {
    let node = SearchNode::start(&["http.max_content_length=64kb"]);
    let session = Session::new(&node);
    let table = flow_table("halved");
    let object = object(&table, flow_rows(8000));
    let settings = session.settings();
    let (counts, _) = index_with(&session, &settings, &table, &dated(), &object);
    assert_eq!((counts.indexed, counts.refused), (8000, 0));
    assert_documents(&session, "flowherd-halved-*", 8000);
}

pub(crate) fn a_node_that_is_killed_and_started_again_has_every_row_once() {
    let mut node = SearchNode::start(&[]);
    let session = Session::new(&node);
    let table = flow_table("killed");
    session.install(&Prepared::new(&table, dated())).unwrap();
    let object = object(&table, flow_rows(20_000));
    let settings = ClusterSettings { bulk_rows: 500, ..session.settings() };
    let indexer = Indexer::new(&settings).unwrap();
    let target = target(&table, &dated(), Naming::Columns);
    let (reached, half_way) = mpsc::channel();
    let (outcome, rejects) = thread::scope(|scope| {
        let restart = scope.spawn(move || {
            half_way.recv().unwrap();
            node.kill();
            node.start_again();
            node
        });
        let body = HalfWay::new(&object, reached);
        let outcome =
            session.runtime.block_on(index(&indexer, &target, super::indexing::KEY, body, &|| false));
        // The node must run until this point.
        let node = restart.join().unwrap();
        assert_documents(&session, "flowherd-killed-*", 20_000);
        drop(node);
        outcome
    });
    let counts = outcome.unwrap();
    assert_eq!((counts.rows, counts.indexed + counts.existing), (20_000, 20_000));
    assert_eq!(rejects.0, []);
    assert!(counts.resent > 0, "the node ended between requests: {counts:?}");
}

/// The number of objects, and the rows of each.
const OBJECTS: u64 = 30;
const ROWS: u64 = 10_000;

pub(crate) fn three_indexers_with_abandoned_attempts_and_a_killed_node_leave_every_row_once() {
    let mut node = SearchNode::start(&[]);
    let session = Session::new(&node);
    let table = flow_table("many");
    session.install(&Prepared::new(&table, dated())).unwrap();
    let object = object(&table, flow_rows(ROWS));
    let target = target(&table, &dated(), Naming::Columns);
    let settings = ClusterSettings { bulk_rows: 1000, ..session.settings() };
    // Each key with the number of its attempts.
    let queue: Mutex<VecDeque<(u64, u64)>> = Mutex::new((0..OBJECTS).map(|number| (number, 0)).collect());
    let (abandoned, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let (reached, third) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..3 {
            let (queue, object, target, settings, reached) =
                (&queue, &object, &target, &settings, reached.clone());
            let (abandoned, done) = (&abandoned, &done);
            scope.spawn(move || {
                let runtime = tokio::runtime::Runtime::new().unwrap();
                let mut indexer = Indexer::new(settings).unwrap();
                while let Some((number, attempts)) = { queue.lock().unwrap().pop_front() } {
                    let key = key(number);
                    // The first attempt at every third object ends like a killed worker: without an answer to its requests.
                    let is_killed = attempts == 0 && number % 3 == 0;
                    let (half, half_way) = mpsc::channel();
                    let body = HalfWay::new(object, half);
                    let should_stop = || is_killed && half_way.try_recv().is_ok();
                    let (outcome, rejects) =
                        runtime.block_on(index(&indexer, target, &key, body, &should_stop));
                    assert_eq!(rejects.0, []);
                    match outcome {
                        Ok(counts) => {
                            assert_eq!((counts.rows, counts.indexed + counts.existing), (ROWS, ROWS));
                            if done.fetch_add(1, Ordering::SeqCst) == OBJECTS / 3 {
                                reached.send(()).unwrap();
                            }
                        }
                        Err(IndexError::Stopped(_)) => {
                            abandoned.fetch_add(1, Ordering::SeqCst);
                            indexer = Indexer::new(settings).unwrap();
                            queue.lock().unwrap().push_back((number, attempts + 1));
                        }
                        Err(error) => panic!("{}", flowherd_shared::error::error_chain(&error)),
                    }
                }
            });
        }
        third.recv().unwrap();
        node.kill();
        node.start_again();
    });
    assert!(abandoned.into_inner() > 0, "no attempt was abandoned");
    let expected: Vec<Expected> = (0..OBJECTS)
        .map(|number| Expected { object: key(number), etag: ETAG.to_owned(), documents: ROWS, rows: ROWS })
        .collect();
    let verified =
        session.runtime.block_on(session.cluster().verify("flowherd-many-*", &expected, &|| ())).unwrap();
    assert_eq!(verified.differences, []);
    assert_eq!(verified.documents, OBJECTS * ROWS);
    assert_eq!(session.count("flowherd-many-*", &serde_json::json!({ "match_all": {} })), OBJECTS * ROWS);
}

fn key(number: u64) -> String {
    format!("csv/many/{number}.csv.gz")
}
