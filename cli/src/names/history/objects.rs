//! Lists the files below a prefix or a directory, and reads several at once.

use std::{
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow};
use flowherd_shared::{
    error::error_chain,
    store::{ManifestEntry, Source, StoreError, pages},
};
use indicatif::HumanBytes;

use super::{
    changes::{Changes, MAX_CHANGES},
    config, object,
};
use crate::{
    convert::listing::{Found, Listing},
    fleet::buckets,
    local::DirSource,
    location::Location,
    progress::{Line, Rate, View},
    stop::Stop,
    words::objects_per_second,
};

/// Objects that are read at the same time. Most of the time goes to waiting for S3.
const CONCURRENT: usize = 8;

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Read {
    pub(super) changes: Changes,
    pub(super) objects: u64,
    /// Files of other resource types, and those that have no items.
    pub(super) skipped: u64,
    /// A line for each object that could not be read, sorted.
    pub(super) failures: Vec<String>,
    bytes: u64,
}

/// Reads all files of a location.
///
/// # Errors
/// If they cannot be listed, or report more changes than the limit.
pub(super) fn read(location: &Location, now_ms: i64) -> Result<Read, Stop> {
    let read = Shared::default();
    let (shown, rate, began) = (read.clone(), Mutex::new(Rate::default()), Instant::now());
    let line = Line::show(move || shown.view(&mut lock(&rate), began.elapsed()));
    let root = location.root();
    let listed = match location {
        Location::Files(path) => {
            let source = DirSource::new(path);
            read_all(&source, &root, &read, now_ms, |found| files(path, found))
        }
        Location::Bucket { bucket, prefix } => {
            let (_aws, bucket) = buckets::find(bucket)?;
            read_all(&bucket, &root, &read, now_ms, |found| {
                for page in pages(&bucket, prefix) {
                    page?.entries.into_iter().for_each(|entry| found(Found { entry, problem: None }));
                }
                Ok(())
            })
        }
        Location::Stdin => {
            return Err(Stop::usage("--from-config -: give a directory or s3://BUCKET/PREFIX"));
        }
    };
    drop(line);
    listed.with_context(|| format!("cannot list {location}"))?;
    let mut read = std::mem::take(&mut *read.lock());
    if read.changes.exceed(MAX_CHANGES) {
        return Err(Stop::Broken(anyhow!(
            "{location}: more than {MAX_CHANGES} changes of names; read a longer prefix, such as that of one region or year"
        )));
    }
    read.failures.sort();
    Ok(read)
}

fn files(path: &Path, found: &mut dyn FnMut(Found)) -> Result<(), StoreError> {
    let listing = Listing { source: path, prefix: "", excluded: Vec::new() };
    listing.each(|object| {
        found(object);
        Ok(())
    })
}

/// Reads each object that `list` finds.
fn read_all<S: Source>(
    source: &S,
    root: &str,
    read: &Shared,
    now_ms: i64,
    list: impl FnOnce(&mut dyn FnMut(Found)) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let (send, receive) = sync_channel::<ManifestEntry>(CONCURRENT);
    let receive = Mutex::new(receive);
    thread::scope(|scope| {
        for _ in 0..CONCURRENT {
            scope.spawn(|| {
                while let Some(object) = next(&receive) {
                    read.add(root, &object, source.open(&object), now_ms);
                }
            });
        }
        // Its end ends the threads.
        let send = send;
        list(&mut |Found { entry, problem }| match problem {
            Some(problem) => read.lock().failures.push(failure(root, &entry.key, &problem)),
            None if !has_items(&entry.key) => read.lock().skipped += 1,
            // The threads receive until the list ends.
            None => drop(send.send(entry)),
        })
    })
}

fn next(receive: &Mutex<Receiver<ManifestEntry>>) -> Option<ManifestEntry> {
    lock(receive).recv().ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failure(root: &str, key: &str, why: &str) -> String {
    let separator = if root.ends_with('/') { "" } else { "/" };
    format!("cannot read {root}{separator}{key}: {why}. Its changes are missing")
}

/// Returns whether a file may have items of the types that are read. CloudTrail writes digests beside its logs
/// (<https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-log-file-validation-digest-file-structure.html>), and
/// AWS Config writes an empty file to check its rights
/// (<https://docs.aws.amazon.com/config/latest/developerguide/s3-bucket-policy.html>).
pub(super) fn has_items(key: &str) -> bool {
    const OTHER: [&str; 4] = [
        "CloudTrail-Digest",
        "CloudTrail-Insight",
        "OversizedChangeNotification",
        "ConfigWritabilityCheckFile",
    ];
    if key.split('/').any(|part| OTHER.contains(&part)) {
        return false;
    }
    match key.split_once("_ConfigHistory_") {
        Some((_, history)) => config::is_history_of_type(history),
        None => true,
    }
}

/// What is read so far.
#[derive(Clone, Debug, Default)]
struct Shared(Arc<Mutex<Read>>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Read> {
        lock(&self.0)
    }

    /// Reads an object, and adds its changes if it is complete.
    fn add<B: std::io::Read>(
        &self,
        root: &str,
        object: &ManifestEntry,
        body: Result<B, StoreError>,
        now_ms: i64,
    ) {
        if self.lock().changes.exceed(MAX_CHANGES) {
            return;
        }
        let reports =
            body.map_err(|error| error_chain(&error)).and_then(|body| object::reports(body, now_ms));
        let mut read = self.lock();
        read.bytes += object.size;
        match reports {
            Ok(reports) => {
                read.objects += 1;
                reports.into_iter().for_each(|report| read.changes.add(report));
            }
            Err(why) => read.failures.push(failure(root, &object.key, &why)),
        }
    }

    fn view(&self, rate: &mut Rate, now: Duration) -> View {
        let read = self.lock();
        rate.add(now, read.objects);
        View::stage("reading the history")
            .count(read.objects, "files read")
            .count(read.skipped, "skipped")
            .count(read.failures.len() as u64, "failed")
            .part(rate.per_second().map(objects_per_second))
            .part(Some(HumanBytes(read.bytes).to_string()))
    }
}
