//! One suite for every implementation of a port: the in-memory fakes, the local cloud (`conforming.rs`), and strict servers
//! (`make test-servers`). It makes tests on the fakes valid for S3 and SQS.

use std::{collections::BTreeSet, io::Write, time::Duration};

use flowherd_shared::{
    queue::{Message, NewMessage, Queue, QueueDepth},
    store::{Lister, Sink, Store, StoreError},
};
use flowherd_tests::fake::QueueSettings;

/// Checks the behaviour of every store.
pub(crate) fn check_store(store: &impl Store) {
    let path = "csv/t/a b+%ü/k.csv.gz";
    assert_eq!((store.get(path).unwrap(), store.etag(path).unwrap()), (None, None));
    store.remove(path).unwrap();

    let mut sink = store.create(path).unwrap();
    sink.write_all(b"not ").unwrap();
    drop(sink);
    assert_eq!(store.get(path).unwrap(), None, "a result that is dropped without a commit does not exist");

    let mut sink = store.create(path).unwrap();
    sink.write_all(b"one").unwrap();
    assert_eq!(store.get(path).unwrap(), None, "a result does not exist before its commit");
    let one = sink.commit().unwrap();
    assert_eq!(store.get(path).unwrap().unwrap(), b"one");
    assert_eq!(store.etag(path).unwrap(), Some(one.clone()));
    let first = store.head(path).unwrap().unwrap();
    // Both times are whole seconds on S3, and servers compute the date of their responses once a second.
    let latest = first.now + Duration::from_secs(1);
    assert!(first.etag == one && first.modified <= latest, "{first:?}");

    let mut sink = store.create(path).unwrap();
    sink.write_all(b"other").unwrap();
    let other = sink.commit().unwrap();
    assert_ne!(one, other, "different bytes have different versions");
    assert_eq!(store.get(path).unwrap().unwrap(), b"other");
    let second = store.head(path).unwrap().unwrap();
    assert!(second.modified >= first.modified && second.now >= first.now, "{first:?} {second:?}");

    assert_eq!(store.get_limited(path, 5).unwrap().unwrap(), b"other");
    let too_large = store.get_limited(path, 4).unwrap_err();
    assert!(matches!(&too_large, StoreError::TooLarge { limit: 4, .. }), "{too_large:?}");
    store.put(path, b"").unwrap();
    assert_eq!(store.get(path).unwrap().unwrap(), b"");
    assert!(!store.put_if_absent(path, b"new").unwrap(), "an empty result exists");
    assert_eq!(store.get(path).unwrap().unwrap(), b"");
    store.remove(path).unwrap();
    assert_eq!(store.head(path).unwrap(), None);
    let others = ["rejects/k 1+%ü&<>.gz", "rejects/k2.gz", "rejects/k3.gz", "rejects/k4.gz"];
    let others = others.map(str::to_owned);
    others[..3].iter().for_each(|path| store.put(path, b"x").unwrap());
    store.remove_all(&others).unwrap();
    for path in &others {
        assert_eq!(store.get(path).unwrap(), None, "{path:?} is removed");
    }
    store.remove_all(&[]).unwrap();
    assert!(store.put_if_absent(path, b"new").unwrap());
    assert_eq!(store.get(path).unwrap().unwrap(), b"new");
}

/// Checks the behaviour of every lister, with these keys below `x/` and other keys beside them.
pub(crate) fn check_lister(lister: &impl Lister, keys: &[String]) {
    let (mut found, mut token, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = lister.page("x/", token.as_deref()).unwrap();
        found.extend(page.entries);
        pages += 1;
        match page.next {
            Some(next) => token = Some(next),
            None => break,
        }
    }
    assert!(pages > 1);
    assert_eq!(found.iter().map(|entry| entry.key.clone()).collect::<Vec<_>>(), keys, "keys are in order");
    assert!(found.iter().all(|entry| entry.size == 1 && !entry.etag.is_empty()));
    assert_eq!(lister.page("nothing/", None).unwrap().entries, []);
}

pub(crate) const VISIBILITY: Duration = Duration::from_secs(4);
pub(crate) const SETTINGS: QueueSettings = QueueSettings { visibility: VISIBILITY, max_deliveries: 2 };

fn message(group: &str, name: &str) -> NewMessage {
    NewMessage { body: format!("body of {name}"), group: group.to_owned(), deduplication: name.to_owned() }
}

fn bodies(received: &[Message]) -> BTreeSet<&str> {
    received.iter().map(|message| &message.body["body of ".len()..]).collect()
}

/// Checks the behaviour of every queue. `wait` lets time pass; `dead` counts the dead-letter messages. Without
/// `deduplicates_in_groups`, the queue deduplicates across groups.
pub(crate) fn check_queue(
    queue: &impl Queue,
    wait: &dyn Fn(Duration),
    dead: &dyn Fn() -> u64,
    deduplicates_in_groups: bool,
) {
    let now = Duration::ZERO;
    let batch: Vec<NewMessage> =
        [("a", "a1"), ("a", "a2"), ("b", "b1")].map(|(group, name)| message(group, name)).into();
    assert_eq!(queue.send(&batch).unwrap(), []);
    assert_eq!(
        queue.send(&batch).unwrap(),
        [],
        "a message that is sent twice is accepted twice and queued once"
    );
    // Deduplication is within a group: the same id in another group is another message.
    let third = if deduplicates_in_groups { "a1" } else { "c1" };
    assert_eq!(queue.send(&[message("c", third)]).unwrap(), []);
    assert_eq!(queue.depth().unwrap(), QueueDepth { visible: 4, in_flight: 0, delayed: 0 });

    let first = queue.receive(1, now).unwrap().remove(0);
    assert_eq!((first.body.as_str(), first.deliveries), ("body of a1", 1));
    // A group with a message in flight is not delivered. Other groups are.
    let others = queue.receive(10, now).unwrap();
    assert_eq!(bodies(&others), BTreeSet::from(["b1", third]));
    assert!(others.iter().all(|other| other.handle != first.handle));
    for other in &others {
        queue.delete(&other.handle).unwrap();
    }
    assert_eq!(queue.receive(10, now).unwrap(), []);

    // A message that is returned at once is delivered at once, before the others of its group.
    queue.change_visibility(&first.handle, Duration::ZERO).unwrap();
    let again = queue.receive(1, now).unwrap().remove(0);
    assert_eq!((again.body.as_str(), again.deliveries), ("body of a1", 2));
    // An extended visibility timeout prevents delivery after the original one.
    wait(VISIBILITY / 2);
    queue.change_visibility(&again.handle, VISIBILITY * 3).unwrap();
    wait(VISIBILITY);
    assert_eq!(queue.receive(10, now).unwrap(), []);
    queue.delete(&again.handle).unwrap();

    // A message that is not deleted is delivered again, and becomes a dead-letter message after the last delivery.
    for delivery in 1..=SETTINGS.max_deliveries {
        let received = queue.receive(1, now).unwrap();
        assert_eq!((received[0].body.as_str(), received[0].deliveries), ("body of a2", delivery));
        assert_eq!(queue.depth().unwrap(), QueueDepth { visible: 0, in_flight: 1, delayed: 0 });
        wait(VISIBILITY + VISIBILITY / 4);
    }
    assert_eq!(queue.receive(10, now).unwrap(), []);
    assert_eq!((queue.depth().unwrap(), dead()), (QueueDepth::default(), 1));

    queue.send(&[message("d", "d1")]).unwrap();
    queue.purge().unwrap();
    assert_eq!(queue.depth().unwrap(), QueueDepth::default());
}
