//! The ports on S3 and SQS, without a run.

use std::{
    io::Write,
    time::{Duration, Instant},
};

use flowherd_shared::{
    queue::Queue,
    store::{Lister, Sink, Store},
};
use flowherd_tests::{local_cloud::wait_until, servers::Servers};

use super::{
    conformance::{SETTINGS, VISIBILITY, check_lister, check_queue, check_store},
    differences::differs,
};

pub(crate) fn stores_and_listers_conform(servers: &Servers<'_>) {
    check_store(&servers.bucket("conform-store"));
    let keys: Vec<String> = (0..1100).map(|number| format!("x/{number:04} +%ü")).collect();
    let bucket = servers.bucket("conform-lister");
    let beside = ["w", "y/z"].map(str::to_owned);
    keys.iter().chain(&beside).for_each(|key| bucket.put(key, b"1").unwrap());
    check_lister(&bucket, &keys);
}

/// The listing of a live day passes over the directories of other days in this way.
pub(crate) fn a_listing_continues_behind_all_keys_of_a_directory(servers: &Servers<'_>) {
    let bucket = servers.bucket("days");
    let keys = ["d/2026/02/17/a", "d/2026/02/17/ü", "d/2026/02/18/a", "d/z"];
    keys.iter().for_each(|key| bucket.put(key, b"1").unwrap());
    let page = bucket.page("d/", Some("d/2026/02/17/\u{10ffff}")).unwrap();
    let listed: Vec<&str> = page.entries.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(listed, keys[2..]);
}

pub(crate) fn queues_conform(servers: &Servers<'_>) {
    let queues =
        servers.sqs.queues(&format!("{}-conform", servers.kind), VISIBILITY, SETTINGS.max_deliveries);
    let let_pass = |time: Duration| {
        let until = Instant::now() + time;
        wait_until("the visibility timeout has passed", || Instant::now() >= until);
    };
    let deduplicates_in_groups = !differs("ElasticMQ", "deduplication within a group");
    check_queue(&queues.queue, &let_pass, &|| queues.dead.depth().unwrap().visible, deduplicates_in_groups);
}

pub(crate) fn a_multipart_upload_is_published_whole_or_not_at_all(servers: &Servers<'_>) {
    let bucket = servers.bucket("parts");
    let bytes: Vec<u8> = (0..40_u32 << 20).map(|at| (at >> 8) as u8).collect();
    for is_committed in [false, true] {
        let mut sink = bucket.create("a b/+%ü").unwrap();
        bytes.chunks(1 << 20).for_each(|chunk| sink.write_all(chunk).unwrap());
        assert_eq!(Store::get(&bucket, "a b/+%ü").unwrap(), None);
        if is_committed {
            sink.commit().unwrap();
        }
    }
    assert!(Store::get(&bucket, "a b/+%ü").unwrap() == Some(bytes));
}

pub(crate) fn a_result_is_replaced_only_in_the_version_that_was_read(servers: &Servers<'_>) {
    let bucket = servers.bucket("versions");
    let path = "names/names.json";
    let version = || bucket.version(path, 100).unwrap().unwrap();
    assert_eq!(bucket.version(path, 100).unwrap(), None);
    assert!(bucket.replace(path, b"one", None).unwrap());
    assert!(!bucket.replace(path, b"other", None).unwrap());
    let one = version();
    assert_eq!(one.bytes, b"one");
    assert!(bucket.replace(path, b"two", Some(&one.etag)).unwrap());
    assert!(!bucket.replace(path, b"other", Some(&one.etag)).unwrap());
    assert_eq!(version().bytes, b"two");
    bucket.remove(path).unwrap();
    assert!(!bucket.replace(path, b"other", Some(&one.etag)).unwrap());
    assert_eq!(bucket.version(path, 100).unwrap(), None);
}
