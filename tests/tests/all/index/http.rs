//! Index runs whose documents reach a scripted cluster over HTTP.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use flowherd_indexer::{
    job::Indexer,
    settings::{Auth, ClusterSettings},
    template::Template,
};
use flowherd_shared::{config::Config, error::Verdict, error::error_chain};
use flowherd_tests::{
    fake_cluster::{FakeCluster, Reply},
    objects::gzip,
};
use flowherd_worker::index::{IndexError, RefusedRow, Rows, cluster::ClusterIndexer};
use tokio::runtime::Runtime;

use super::*;

/// Settings of a cluster at this address, which is soon taken for unavailable.
fn settings(url: &str) -> ClusterSettings {
    ClusterSettings {
        unavailable_limit: Duration::ZERO,
        first_pause: Duration::from_millis(1),
        max_pause: Duration::from_millis(1),
        ..ClusterSettings::new(url)
    }
}

/// The worker's indexer with a cluster at this address.
fn cluster_indexer(url: &str, runtime: &Runtime) -> ClusterIndexer<'static> {
    let settings = settings(url);
    let connect = move || Ok(Indexer::new(&settings)?);
    ClusterIndexer::new(connect, &Timestamp::now, runtime.handle().clone())
}

#[test]
fn rows_reach_a_cluster_over_http_once_although_it_refuses_one_and_is_overloaded() {
    let indexing = Indexing::new();
    let state = indexing.drive(indexing.begin(&options(RUN)).unwrap(), true);
    let runtime = Runtime::new().unwrap();
    // The first document is refused, the second has to be sent again, and a whole request is answered with 503.
    let cluster =
        FakeCluster::scripted([Reply::Items(vec![400, 429, 201]), Reply::Accept, Reply::status(503)]);
    let indexer = cluster_indexer(&cluster.url(), &runtime);
    let queue = &indexing.day.queue;
    let is_left = || queue.depth().map_or(true, |depth| depth != QueueDepth::default());
    indexing.work_with(&indexer, &is_left);
    let report = indexing.finish(state);
    let documents = report.documents.unwrap();
    assert_eq!((report.state, documents.rows), (ReportState::Done, ROWS));
    assert_eq!((documents.indexed + documents.existing, documents.refused), (ROWS - 1, 1));
    assert_eq!(cluster.documents().len() as u64, ROWS - 1);
    assert_eq!(queue.dead(), [""; 0]);
    let refused = indexing.day.store.published();
    assert_eq!(
        refused.iter().filter(|path| path.starts_with("rejects/index-1/csv/")).count(),
        1,
        "{refused:?}"
    );
}

#[test]
fn a_cluster_that_does_not_answer_is_an_outage_and_no_failure() {
    let indexing = Indexing::new();
    let state = indexing.drive(indexing.begin(&options(RUN)).unwrap(), true);
    let runtime = Runtime::new().unwrap();
    let cluster = FakeCluster::start();
    cluster.afterwards(Some(Reply::status(503)));
    let indexer = cluster_indexer(&cluster.url(), &runtime);
    let began = indexing.day.queue.now();
    indexing.work_with(&indexer, &|| indexing.day.queue.now() < began + Duration::from_hours(6));
    let files = indexing.day.store.files();
    assert!(!files.keys().any(|path| path.contains("index-1/failures/")), "{:?}", files.keys());
    assert_eq!((indexing.day.queue.dead().len(), indexing.day.queue.bodies().len()), (0, OBJECTS - 1));

    cluster.afterwards(None);
    let queue = &indexing.day.queue;
    indexing.work_with(&indexer, &|| queue.depth().map_or(true, |depth| depth != QueueDepth::default()));
    let report = indexing.finish(state);
    assert_eq!(
        (report.state, report.documents.map(|documents| documents.rows)),
        (ReportState::Done, Some(ROWS))
    );
    assert_eq!(cluster.documents().len() as u64, ROWS);
}

/// An object with many rows.
fn many_rows(indexing: &Indexing) -> (String, Vec<u8>) {
    let key = indexing.rows.keys().into_iter().find(|key| key.contains("004")).unwrap();
    let csv = gunzip(&indexing.day.store.files()[&key]);
    let mut lines = csv.split_inclusive(|byte| *byte == b'\n');
    let (header, row) = (lines.next().unwrap(), lines.next().unwrap());
    (key, gzip(&[header, &row.repeat(2_000)].concat()))
}

fn target() -> IndexTarget {
    let destination = Destination::Pattern("flowherd-{table}".to_owned());
    IndexTarget { destination, naming: FieldNaming::Columns }
}

/// Indexes an object whose rows the cluster refuses, and passes them to `refuse`.
fn refuse_all(
    runtime: &Runtime,
    refuse: &mut (dyn FnMut(&RefusedRow) -> std::io::Result<()> + Send),
) -> Result<DocumentCounts, IndexError> {
    let cluster = FakeCluster::start();
    cluster.afterwards(Some(Reply::Items(vec![400])));
    let (key, body) = many_rows(&Indexing::new());
    let (config, target) = (Config::default(), target());
    let rows = Rows { run: RUN, key: &key, etag: "etag", table: &config.tables[0], target: &target };
    cluster_indexer(&cluster.url(), runtime).index(&rows, &mut &*body, refuse, &|| false)
}

#[test]
fn a_row_whose_declared_address_is_none_is_refused_with_the_reason() {
    let rules = "[[rule]]\nname = \"ids\"\ntable = \"ids\"\nformat = { kind = \"regex\", pattern = '^(?P<srcaddr>.*)$', types = \
                 { srcaddr = \"ip\" } }";
    let config = Config::parse(rules).unwrap();
    let (table, target) = (&config.tables[0], target());
    let destination = flowherd_indexer::target::destination(&target).unwrap();
    let schema = flowherd_indexer::target::schema(table, &target).unwrap();
    let template = Template::new(table, &schema, &destination);
    assert_eq!(template.mappings()["properties"]["srcaddr"]["type"], "ip");

    let runtime = Runtime::new().unwrap();
    // The fake has the type `ip` for this name.
    let cluster = FakeCluster::start();
    let object = gzip(b"timestamp,srcaddr\n-,10.0.0.1\n-,web.example.com\n-,2001:db8::1\n-,-\n");
    let rows = Rows { run: RUN, key: "csv/ids/a.csv.gz", etag: "etag", table, target: &target };
    let mut refused = Vec::new();
    let counts = cluster_indexer(&cluster.url(), &runtime).index(
        &rows,
        &mut &*object,
        &mut |row| {
            refused.push((row.record, row.reason.clone(), row.detail.clone()));
            Ok(())
        },
        &|| false,
    );
    assert_eq!(counts.unwrap(), DocumentCounts { rows: 4, indexed: 3, existing: 0, refused: 1 });
    let detail = "failed to parse field [srcaddr] of type [ip]".to_owned();
    assert_eq!(refused, [(1, "mapper_parsing_exception".to_owned(), detail)]);
}

#[test]
fn refused_rows_can_be_written_to_a_store_that_waits_for_the_runtime_of_the_cluster() {
    let runtime = Runtime::new().unwrap();
    let handle = runtime.handle().clone();
    let mut records = Vec::new();
    let counts = refuse_all(&runtime, &mut |row| {
        // As an upload of a part to S3 does.
        handle.block_on(async {});
        records.push(row.record);
        Ok(())
    });
    let counts = counts.unwrap();
    assert_eq!((counts.rows, counts.refused), (2_000, 2_000));
    records.sort_unstable();
    assert_eq!(records, (0..2_000).collect::<Vec<u64>>());
}

#[test]
fn an_attempt_whose_refused_rows_cannot_be_written_is_retried_and_names_the_cause() {
    let runtime = Runtime::new().unwrap();
    let failed = refuse_all(&runtime, &mut |_| Err(std::io::Error::other("injected: the disk is full")));
    let Err(IndexError::Failed { source, verdict: Verdict::Retry }) = failed else { panic!("{failed:?}") };
    let error = error_chain(&*source);
    assert!(error.contains("refused row") && error.contains("injected: the disk is full"), "{error}");
}

#[test]
fn an_attempt_whose_time_ends_during_an_outage_is_no_failure() {
    let runtime = Runtime::new().unwrap();
    let cluster = FakeCluster::start();
    cluster.afterwards(Some(Reply::status(503)));
    let patient = ClusterSettings { unavailable_limit: Duration::from_hours(1), ..settings(&cluster.url()) };
    let connect = || Ok(Indexer::new(&patient)?);
    let indexer = ClusterIndexer::new(connect, &Timestamp::now, runtime.handle().clone());
    let (key, body) = many_rows(&Indexing::new());
    let (config, target) = (Config::default(), target());
    let rows = Rows { run: RUN, key: &key, etag: "etag", table: &config.tables[0], target: &target };
    // The second request comes after the indexer has seen the first answer.
    let has_failed = || cluster.requests().len() > 1;
    let ended = indexer.index(&rows, &mut &*body, &mut |_| Ok(()), &has_failed);
    assert!(matches!(ended, Err(IndexError::Unavailable(_))), "{ended:?}");
}

/// Works until the queue is empty, or for six hours.
fn work_for_hours(indexing: &Indexing, indexer: &ClusterIndexer<'_>) {
    let queue = &indexing.day.queue;
    let end = queue.now() + Duration::from_hours(6);
    let is_left = || queue.depth().map_or(true, |depth| depth != QueueDepth::default());
    indexing.work_with(indexer, &|| queue.now() < end && is_left());
}

#[test]
fn after_a_rotation_the_worker_reads_the_secret_again_and_no_delivery_fails() {
    let indexing = Indexing::new();
    let state = indexing.drive(indexing.begin(&options(RUN)).unwrap(), true);
    let runtime = Runtime::new().unwrap();
    let cluster = FakeCluster::start();
    cluster.afterwards(Some(Reply::status(401)));
    let reads = AtomicUsize::new(0);
    // The first key is the old one. Then Secrets Manager does not respond once.
    let connect = || {
        let read = reads.fetch_add(1, Ordering::Relaxed);
        let key = match read {
            0 => "old",
            1 => return Err("injected: Secrets Manager does not respond".into()),
            _ => "new",
        };
        if key == "new" {
            cluster.afterwards(None);
        }
        let auth = Auth::ApiKey(key.to_owned());
        Ok(Indexer::new(&ClusterSettings { auth, ..settings(&cluster.url()) })?)
    };
    let clock = || indexing.now();
    let indexer = ClusterIndexer::new(connect, &clock, runtime.handle().clone());
    work_for_hours(&indexing, &indexer);
    let report = indexing.finish(state);
    let documents = report.documents.map(|documents| documents.indexed);
    assert_eq!((report.state, documents), (ReportState::Done, Some(ROWS)));
    assert_eq!((reads.load(Ordering::Relaxed), indexing.day.queue.dead().len()), (3, 0));
    let last = cluster.requests().last().and_then(|request| request.authorization.clone());
    assert_eq!(last.as_deref(), Some("ApiKey new"));
}

#[test]
fn refused_credentials_are_read_again_at_most_once_a_minute_and_are_an_outage() {
    let indexing = Indexing::new();
    indexing.drive(indexing.begin(&options(RUN)).unwrap(), true);
    let runtime = Runtime::new().unwrap();
    let cluster = FakeCluster::start();
    cluster.afterwards(Some(Reply::status(403)));
    let reads = Mutex::new(Vec::new());
    let connect = || {
        reads.lock().unwrap().push(indexing.now());
        Ok(Indexer::new(&settings(&cluster.url()))?)
    };
    let clock = || indexing.now();
    let indexer = ClusterIndexer::new(connect, &clock, runtime.handle().clone());
    work_for_hours(&indexing, &indexer);
    let reads = reads.lock().unwrap().clone();
    let minute = jiff::SignedDuration::from_mins(1);
    assert!(reads.len() > 2, "{reads:?}");
    assert!(reads.windows(2).all(|pair| pair[1].duration_since(pair[0]) >= minute), "{reads:?}");
    assert_eq!(indexing.day.queue.dead(), [""; 0]);
    let files = indexing.day.store.files();
    assert!(!files.keys().any(|path| path.contains("index-1/failures/")), "{:?}", files.keys());
}

#[test]
fn a_secret_that_cannot_be_read_at_the_start_is_an_outage() {
    let indexing = Indexing::new();
    let state = indexing.drive(indexing.begin(&options(RUN)).unwrap(), true);
    let runtime = Runtime::new().unwrap();
    let cluster = FakeCluster::start();
    let reads = AtomicUsize::new(0);
    let connect = || match reads.fetch_add(1, Ordering::Relaxed) {
        0..5 => Err("injected: Secrets Manager denies access".into()),
        _ => Ok(Indexer::new(&settings(&cluster.url()))?),
    };
    let clock = || indexing.now();
    let indexer = ClusterIndexer::new(connect, &clock, runtime.handle().clone());
    work_for_hours(&indexing, &indexer);
    assert_eq!((indexing.finish(state).state, indexing.day.queue.dead().len()), (ReportState::Done, 0));
}
