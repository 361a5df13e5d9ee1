//! Objects of rows, and the results of indexing them.

use std::{
    io::{self, Write},
    pin::Pin,
    sync::mpsc::Sender,
    task::{Context, Poll},
};

use flate2::{Compression, write::GzEncoder};
use flowherd_indexer::{
    index_name::Destination,
    job::{Counts, IndexError, Indexer, Object, Refused, RefusedSink, Target},
    schema::{DocumentSchema, Naming},
};
use flowherd_shared::table::Table;
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

/// The `ETag` of all objects.
pub(crate) const ETAG: &str = "etag-1";

/// The rows that the cluster refused.
#[derive(Default)]
pub(crate) struct Rejects(pub(crate) Vec<Refused>);

impl RefusedSink for Rejects {
    async fn refuse(&mut self, refused: Refused) -> io::Result<()> {
        self.0.push(refused);
        Ok(())
    }
}

pub(crate) fn target(table: &Table, destination: &Destination, naming: Naming) -> Target {
    Target {
        columns: table.columns.iter().map(|column| column.name.clone()).collect(),
        schema: DocumentSchema::new(table, naming).unwrap(),
        index: destination.of_table(&table.name),
    }
}

/// Compresses a CSV of these rows.
pub(crate) fn object(table: &Table, rows: impl Iterator<Item = String>) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    let columns: Vec<&str> = table.columns.iter().map(|column| &*column.name).collect();
    writeln!(gzip, "{}", columns.join(",")).unwrap();
    rows.for_each(|row| writeln!(gzip, "{row}").unwrap());
    gzip.finish().unwrap()
}

/// A row of a default flow log at this second after 2026-02-18T00:00:00Z.
pub(crate) fn flow_row(second: u64, source: &str, bytes: u64) -> String {
    let (day, time) = (18 + second / 86_400, second % 86_400);
    let (hour, minute, seconds) = (time / 3600, time / 60 % 60, time % 60);
    let start = 1_771_372_800 + second;
    format!(
        "2026-02-{day:02}T{hour:02}:{minute:02}:{seconds:02}.000Z,2,123456789012,eni-{:08x},{source},10.0.0.9,{},443,6,10,{bytes},{start},{},\
         ACCEPT,OK,web,public-a,prod,-,public-b",
        second % 97,
        1024 + second % 50_000,
        start + 60
    )
}

/// Rows with addresses of 10.0.0.0/8, one per second.
pub(crate) fn flow_rows(count: u64) -> impl Iterator<Item = String> {
    (0..count).map(|row| flow_row(row, &format!("10.{}.{}.{}", row % 200, row / 200 % 250, row % 7), row))
}

/// Indexes one object.
pub(crate) async fn index(
    indexer: &Indexer,
    target: &Target,
    key: &str,
    object: impl AsyncBufRead + Unpin,
    should_stop: &dyn Fn() -> bool,
) -> (Result<Counts, IndexError>, Rejects) {
    let mut rejects = Rejects::default();
    let object_of = Object { key, etag: ETAG, run: "run-1", target };
    let outcome = indexer.index(object_of, object, &mut rejects, should_stop).await;
    (outcome, rejects)
}

/// A body that reports when half of it is read.
pub(crate) struct HalfWay<'a> {
    body: &'a [u8],
    half: usize,
    reached: Option<Sender<()>>,
}

impl<'a> HalfWay<'a> {
    pub(crate) fn new(body: &'a [u8], reached: Sender<()>) -> Self {
        Self { body, half: body.len() / 2, reached: Some(reached) }
    }
}

impl AsyncRead for HalfWay<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = std::task::ready!(self.as_mut().poll_fill_buf(context))?;
        let count = filled.len().min(buffer.remaining());
        buffer.put_slice(&filled[..count]);
        self.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncBufRead for HalfWay<'_> {
    fn poll_fill_buf(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        Poll::Ready(Ok(&self.body[..self.body.len().min(4096)]))
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        self.body = &self.body[amount..];
        if self.body.len() < self.half
            && let Some(reached) = self.reached.take()
        {
            reached.send(()).unwrap();
        }
    }
}
