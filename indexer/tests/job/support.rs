//! An object of flow-log rows, and an indexer for it.

use std::{io, time::Duration};

use flowherd_deflate::Deflater;
use flowherd_indexer::{
    index_name::NameLayout,
    job::{Counts, IndexError, Indexer, Object, Refused, RefusedSink, Target},
    schema::{DocumentSchema, Field, FieldKind},
    settings::ClusterSettings,
};

use crate::fake_cluster::FakeCluster;

pub(crate) const KEY: &str = "csv/vpc_flow/firehose/2026/02/18/09/a.gz.csv.gz";
pub(crate) const ETAG: &str = "etag-1";

/// Keeps refused rows.
#[derive(Debug, Default)]
pub(crate) struct Refusals(pub(crate) Vec<Refused>);

impl RefusedSink for Refusals {
    async fn refuse(&mut self, refused: Refused) -> io::Result<()> {
        self.0.push(refused);
        Ok(())
    }
}

pub(crate) fn target() -> Target {
    let fields = [
        ("timestamp", "@timestamp", FieldKind::Date),
        ("srcaddr", "srcaddr", FieldKind::Ip),
        ("bytes", "bytes", FieldKind::Long),
        ("name", "name", FieldKind::Keyword),
    ];
    let field = |(_, name, kind): (&str, &str, FieldKind)| Some(Field { name: name.to_owned(), kind });
    Target {
        columns: fields.iter().map(|(column, ..)| (*column).to_owned()).collect(),
        schema: DocumentSchema { fields: fields.into_iter().map(field).collect() },
        index: NameLayout::default().of_table("vpc_flow"),
    }
}

/// Settings with short pauses. Tests wait for answers, not for a fixed time.
pub(crate) fn settings(cluster: &FakeCluster) -> ClusterSettings {
    let mut settings = ClusterSettings::new(cluster.url());
    settings.bulk_rows = 10;
    settings.first_pause = Duration::from_millis(1);
    settings.max_pause = Duration::from_millis(4);
    settings
}

/// Returns the text of a row. Its values depend on its number.
pub(crate) fn row(number: u64) -> String {
    let minute = number % 60;
    format!("2026-02-18T09:{minute:02}:00.000Z,10.0.{}.{},{number},web\n", number / 256 % 256, number % 256)
}

pub(crate) fn gzip(text: &str) -> Vec<u8> {
    let rows = format!("timestamp,srcaddr,bytes,name\n{text}");
    let mut deflater = Deflater::default();
    rows.as_bytes().chunks(1000).flat_map(|part| deflater.member(part).to_vec()).collect()
}

/// Returns an object of this many rows.
pub(crate) fn object(rows: u64) -> Vec<u8> {
    gzip(&(1..=rows).map(row).collect::<String>())
}

/// Indexes an object with the default key.
pub(crate) fn index(settings: &ClusterSettings, object: &[u8]) -> (Result<Counts, IndexError>, Vec<Refused>) {
    index_until(settings, object, &|| false)
}

/// Indexes another version of the object with the default key.
pub(crate) fn index_version(settings: &ClusterSettings, object: &[u8], etag: &str) -> Counts {
    let indexer = Indexer::new(settings).unwrap();
    let target = target();
    let about = Object { key: KEY, etag, run: "r1", target: &target };
    runtime().block_on(indexer.index(about, object, &mut Refusals::default(), &|| false)).unwrap()
}

pub(crate) fn index_until(
    settings: &ClusterSettings,
    object: &[u8],
    should_stop: &dyn Fn() -> bool,
) -> (Result<Counts, IndexError>, Vec<Refused>) {
    let runtime = runtime();
    let indexer = Indexer::new(settings).unwrap();
    runtime.block_on(index_with(&indexer, object, should_stop))
}

pub(crate) async fn index_with(
    indexer: &Indexer,
    object: &[u8],
    should_stop: &dyn Fn() -> bool,
) -> (Result<Counts, IndexError>, Vec<Refused>) {
    let target = target();
    let about = Object { key: KEY, etag: ETAG, run: "r1", target: &target };
    let mut refusals = Refusals::default();
    let outcome = indexer.index(about, object, &mut refusals, should_stop).await;
    (outcome, refusals.0)
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Asserts that each row is in the cluster once, with the values of its row.
pub(crate) fn assert_rows_once(cluster: &FakeCluster, rows: u64) {
    assert_eq!(cluster.rows(), (1..=rows).collect::<Vec<_>>());
    for ((index, _), document) in cluster.documents() {
        assert_eq!(index, "flowherd-vpc_flow-2026.02.18");
        assert_eq!(document["bytes"], document["flowherd.row"]);
        assert_eq!(document["flowherd.object"], KEY);
    }
}

/// Asserts that the counts add up.
pub(crate) fn assert_sum(counts: &Counts, rows: u64) {
    assert_eq!(counts.rows, rows);
    assert_eq!(counts.indexed + counts.existing + counts.refused, rows, "{counts:?}");
}
