//! Any finite script of failures: every row is in the cluster once, and the counts add up.

use std::time::Duration;

use proptest::prelude::*;

use crate::{
    fake_cluster::{FakeCluster, Reply},
    support::{assert_rows_once, assert_sum, index, object, settings},
};

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        3 => Just(Reply::Accept),
        4 => prop::collection::vec(prop::sample::select(vec![201, 201, 429, 503, 500]), 1..12).prop_map(Reply::Items),
        2 => prop::sample::select(vec![429, 500, 502, 503, 504, 413]).prop_map(Reply::status),
        1 => Just(Reply::Status { status: 429, retry_after: Some("0"), body: "wait" }),
        1 => Just(Reply::ResetInRequest),
        1 => Just(Reply::ResetBeforeAnswer),
        1 => Just(Reply::ResetInAnswer),
        1 => Just(Reply::TruncatedJson),
        1 => Just(Reply::FewerItems),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn any_failures_that_end_leave_every_row_in_the_cluster_once(
        script in prop::collection::vec(reply(), 0..25),
        rows in 0_u64..120,
        bulk_rows in 2_usize..40,
        max_in_flight in 1_usize..6,
    ) {
        // A single document that gets 413 is refused. That is correct, but not the subject of this property.
        let script: Vec<Reply> = script.into_iter().enumerate().map(|(position, reply)| {
            if reply == Reply::status(413) && position > 2 { Reply::Accept } else { reply }
        }).collect();
        let cluster = FakeCluster::scripted(script);
        let mut settings = settings(&cluster);
        settings.bulk_rows = bulk_rows;
        settings.max_in_flight = max_in_flight;
        settings.first_pause = Duration::from_micros(100);
        settings.max_pause = Duration::from_micros(200);
        let (counts, refused) = index(&settings, &object(rows));
        let counts = counts.unwrap();
        assert_sum(&counts, rows);
        // Only a request of one row can be refused for its size.
        prop_assert!(refused.iter().all(|refused| refused.reason == "too-large"), "{:?}", refused);
        if refused.is_empty() {
            assert_rows_once(&cluster, rows);
        }
        prop_assert_eq!(cluster.documents().len() as u64, counts.indexed + counts.existing);
    }
}
