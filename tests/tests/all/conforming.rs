//! The ports' fakes in memory and their implementations in a directory and on the local cloud pass one suite.

use std::time::Duration;

use flowherd_cli::local::DirStore;
use flowherd_shared::{queue::Queue, store::Store};
use flowherd_tests::{
    fake::{MemoryQueue, MemorySource, MemoryStore},
    local_cloud::{LocalCloud, wait_until},
};

use super::conformance::{SETTINGS, VISIBILITY, check_lister, check_queue, check_store};

#[test]
#[ignore = "needs .venv; run `make test`"]
fn the_stores_in_memory_in_a_directory_and_on_s3_behave_alike() {
    check_store(&MemoryStore::default());
    let dir = tempfile::tempdir().unwrap();
    check_store(&DirStore::new(dir.path(), &dir.path().join("unfinished")).unwrap());
    let cloud = LocalCloud::start();
    check_store(&cloud.bucket("results"));
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn the_listers_in_memory_and_on_s3_behave_alike() {
    let keys: Vec<String> = (0..1100).map(|number| format!("x/{number:04} +%ü")).collect();
    let all = || keys.iter().cloned().chain(["w".to_owned(), "x".to_owned(), "y/z".to_owned()]);
    check_lister(&all().map(|key| (key, vec![b'1'])).collect::<MemorySource>(), &keys);
    let cloud = LocalCloud::start();
    let bucket = cloud.bucket("source");
    all().for_each(|key| bucket.put(&key, b"1").unwrap());
    check_lister(&bucket, &keys);
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn the_queues_in_memory_and_on_sqs_behave_alike() {
    let fake = MemoryQueue::new(SETTINGS);
    check_queue(&fake, &|time| fake.advance(time), &|| fake.dead().len() as u64, true);

    let cloud = LocalCloud::start();
    let (queue, _, dead) = cloud.queue("q", VISIBILITY, SETTINGS.max_deliveries);
    let let_pass = |time: Duration| {
        let until = std::time::Instant::now() + time;
        wait_until("the time has passed", || std::time::Instant::now() >= until);
    };
    check_queue(&queue, &let_pass, &|| dead.depth().unwrap().visible, true);
}
