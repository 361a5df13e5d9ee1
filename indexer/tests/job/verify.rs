//! The comparison of documents with receipts.

use std::cell::Cell;

use flowherd_indexer::{
    client::Client,
    cluster::Cluster,
    verify::{Difference, Expected, Verification},
};

use crate::{
    fake_cluster::FakeCluster,
    support::{ETAG, KEY, index, index_version, object, runtime, settings},
};

fn verify(cluster: &FakeCluster, expected: &[(&str, &str, u64)]) -> Verification {
    let client = Client::new(&settings(cluster)).unwrap();
    let expected: Vec<Expected> = expected
        .iter()
        .map(|(object, etag, documents)| Expected {
            object: (*object).to_owned(),
            etag: (*etag).to_owned(),
            documents: *documents,
            rows: *documents,
        })
        .collect();
    runtime().block_on(Cluster::new(&client).verify("flowherd-vpc_flow-*", &expected, &|| ())).unwrap()
}

#[test]
fn documents_of_an_earlier_version_of_an_object_are_missing() {
    let cluster = FakeCluster::start();
    index(&settings(&cluster), &object(20)).0.unwrap();
    assert_eq!(verify(&cluster, &[(KEY, ETAG, 20), ("none", ETAG, 0)]).differences, []);
    // A new conversion has other values and one row more. The ids of the other rows exist.
    let counts = index_version(&settings(&cluster), &object(21), "etag-2");
    assert_eq!((counts.indexed, counts.existing), (1, 20));
    let difference = |expected, found, other_versions| {
        [Difference { object: KEY.to_owned(), expected, found, other_versions, has_other_rows: false }]
    };
    let verification = verify(&cluster, &[(KEY, "etag-2", 21)]);
    assert_eq!((verification.documents, &verification.differences[..]), (1, &difference(21, 1, 20)[..]));
    // Documents of another version are a difference even if no document is missing.
    assert_eq!(verify(&cluster, &[(KEY, ETAG, 20)]).differences, difference(20, 20, 1));
}

#[test]
fn each_answer_of_the_cluster_is_reported_so_that_the_caller_can_renew_a_time_limit() {
    let cluster = FakeCluster::start();
    index(&settings(&cluster), &object(3)).0.unwrap();
    let client = Client::new(&settings(&cluster)).unwrap();
    let expected = |number| Expected {
        object: format!("csv/vpc_flow/{number}.csv.gz"),
        etag: ETAG.to_owned(),
        documents: 0,
        rows: 0,
    };
    let expected: Vec<Expected> = (0..1001).map(expected).collect();
    let answers = Cell::new(0);
    let on_answer = || answers.set(answers.get() + 1);
    let cluster = Cluster::new(&client);
    runtime().block_on(cluster.verify("flowherd-vpc_flow-*", &expected, &on_answer)).unwrap();
    // The refresh, and a search for each 500 objects.
    assert_eq!(answers.get(), 4);
}
