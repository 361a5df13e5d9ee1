//! Sends rows with the indexer. Its code is asynchronous, and the worker's is not: one thread reads the object, another writes
//! refused rows, and this one waits for the indexer.

use std::{
    io::{self, Read},
    panic::resume_unwind,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    thread,
};

use flowherd_indexer::{
    client::ClientError,
    job::{Counts, IndexError as IndexerError, Indexer, Object, Refused, RefusedSink},
    target,
};
use flowherd_shared::{
    error::{Verdict, error_chain},
    ledger::DocumentCounts,
    store::Cause,
};
use jiff::Timestamp;
use tokio::{
    io::{AsyncBufRead, AsyncRead, ReadBuf},
    runtime::Handle,
    sync::mpsc,
};
use tracing::warn;

use super::{IndexError, Refuse, RefusedRow, RowIndexer, Rows, connection::Connection};

/// Bytes of one piece of an object.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces in memory before the thread that reads waits.
const PIECES: usize = 4;
/// Refused rows in memory before the indexer waits for the thread that writes them. Each may have the bytes of a request.
const REFUSED_ROWS: usize = 4;

/// An indexer and the runtime of its connections.
#[derive(Debug)]
pub struct ClusterIndexer<'a> {
    connection: Connection<'a>,
    runtime: Handle,
}

impl<'a> ClusterIndexer<'a> {
    /// Uses a runtime with threads of its own. `connect` reads the credentials; the first object calls it, and later ones after
    /// the cluster has refused them. `clock` returns the time.
    pub fn new(
        connect: impl Fn() -> Result<Indexer, Cause> + Send + Sync + 'a,
        clock: &'a (dyn Fn() -> Timestamp + Sync),
        runtime: Handle,
    ) -> Self {
        Self { connection: Connection::new(Box::new(connect), clock), runtime }
    }

    /// Reads the credentials, unless that is done.
    ///
    /// # Errors
    /// That of `connect`.
    pub fn connect(&self) -> Result<(), Cause> {
        self.connection.indexer().map(drop)
    }

    /// Sends the rows, while threads read the object and write the refused rows. Sources and stores wait for requests on the
    /// runtime, which a task of the runtime must not do.
    fn send(
        &self,
        indexer: &Indexer,
        object: Object<'_>,
        body: &mut (dyn Read + Send),
        refuse: &mut Refuse<'_>,
        should_stop: &dyn Fn() -> bool,
    ) -> Result<Counts, IndexerError> {
        let (sender, receiver) = mpsc::channel(PIECES);
        let (refused, rows) = mpsc::channel(REFUSED_ROWS);
        thread::scope(|scope| {
            let reader = thread::Builder::new().spawn_scoped(scope, move || read_pieces(body, &sender));
            reader.map_err(IndexerError::Read)?;
            let writer = thread::Builder::new().spawn_scoped(scope, move || write_refused(rows, refuse));
            let writer = writer.map_err(IndexerError::Sink)?;
            let pieces = Pieces { receiver, piece: Vec::new(), position: 0 };
            let mut sink = Sink(refused);
            // The end of the indexer drops the receiver of the pieces and the sender of the rows, which ends the threads.
            let sent = self.runtime.block_on(indexer.index(object, pieces, &mut sink, should_stop));
            drop(sink);
            match (writer.join(), sent) {
                (Err(panic), _) => resume_unwind(panic),
                (Ok(Err(error)), Ok(_) | Err(IndexerError::Sink(_))) => Err(IndexerError::Sink(error)),
                (_, sent) => sent,
            }
        })
    }
}

impl RowIndexer for ClusterIndexer<'_> {
    fn index(
        &self,
        rows: &Rows<'_>,
        body: &mut (dyn Read + Send),
        refuse: &mut Refuse<'_>,
        should_stop: &dyn Fn() -> bool,
    ) -> Result<DocumentCounts, IndexError> {
        let target = target::of_table(rows.table, rows.target)
            .map_err(|error| IndexError::Failed { source: error.into(), verdict: Verdict::Permanent })?;
        let object = Object { key: rows.key, etag: rows.etag, run: rows.run, target: &target };
        let indexer = self.connection.indexer().map_err(IndexError::Unavailable)?;
        match self.send(&indexer, object, body, refuse, should_stop) {
            Ok(Counts { rows, indexed, existing, refused, .. }) => {
                Ok(DocumentCounts { rows, indexed, existing, refused })
            }
            // The time of the function may end before the indexer knows that the cluster is unavailable.
            Err(error @ IndexerError::Stopped(_)) if indexer.outage().is_some() => {
                Err(IndexError::Unavailable(error.into()))
            }
            Err(IndexerError::Stopped(_)) => Err(IndexError::Stopped),
            Err(error @ IndexerError::Unavailable { .. }) => Err(IndexError::Unavailable(error.into())),
            Err(error) if refuses_credentials(&error) => {
                self.renew(&indexer);
                Err(IndexError::Unavailable(error.into()))
            }
            Err(error) => {
                let verdict = verdict(&error);
                Err(IndexError::Failed { source: error.into(), verdict })
            }
        }
    }
}

impl ClusterIndexer<'_> {
    /// Reads the credentials again. The next attempt uses them; this one has read its object already.
    fn renew(&self, refused: &Arc<Indexer>) {
        if let Err(error) = self.connection.renew(refused) {
            let error = error_chain(&*error);
            warn!(error, "cannot read the credentials of the cluster again");
        }
    }
}

/// Whether the cluster refuses every request with these credentials. They may have been rotated, and no object is the cause.
fn refuses_credentials(error: &IndexerError) -> bool {
    matches!(error, IndexerError::Refused(ClientError::Status { status: 401 | 403, .. }))
}

/// Rights and mappings of a cluster can change without a change of the object, so another attempt may succeed.
fn verdict(error: &IndexerError) -> Verdict {
    match error {
        IndexerError::Refused(_) => Verdict::Retry,
        error if error.can_retry() => Verdict::Retry,
        _ => Verdict::Permanent,
    }
}

/// Reads an object until its end, an error, or the end of the indexer.
fn read_pieces(body: &mut (dyn Read + Send), pieces: &mpsc::Sender<io::Result<Vec<u8>>>) {
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let read = body.read(&mut piece).map(|count| {
            piece.truncate(count);
            piece
        });
        let is_end = !matches!(&read, Ok(piece) if !piece.is_empty());
        if pieces.blocking_send(read).is_err() || is_end {
            return;
        }
    }
}

/// The pieces of an object as an asynchronous reader. An empty piece is the end.
struct Pieces {
    receiver: mpsc::Receiver<io::Result<Vec<u8>>>,
    piece: Vec<u8>,
    position: usize,
}

impl AsyncBufRead for Pieces {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        if this.position == this.piece.len() {
            let next = match ready!(this.receiver.poll_recv(context)) {
                Some(piece) => piece?,
                // The thread has sent the end before.
                None => Vec::new(),
            };
            // Not before the piece is there: a poll that finds none must not offer the last piece again.
            (this.piece, this.position) = (next, 0);
        }
        Poll::Ready(Ok(&this.piece[this.position..]))
    }

    fn consume(self: Pin<&mut Self>, count: usize) {
        let this = self.get_mut();
        this.position = (this.position + count).min(this.piece.len());
    }
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let available = ready!(self.as_mut().poll_fill_buf(context))?;
        let count = available.len().min(buffer.remaining());
        buffer.put_slice(&available[..count]);
        self.consume(count);
        Poll::Ready(Ok(()))
    }
}

/// Writes refused rows until the end of the indexer, or an error. The file counts rows from 0.
fn write_refused(mut rows: mpsc::Receiver<Refused>, refuse: &mut Refuse<'_>) -> io::Result<()> {
    while let Some(Refused { row, reason, detail, document }) = rows.blocking_recv() {
        refuse(&RefusedRow { record: row.saturating_sub(1), reason, detail, document })?;
    }
    Ok(())
}

/// Passes refused rows to the thread that writes them.
struct Sink(mpsc::Sender<Refused>);

impl RefusedSink for Sink {
    async fn refuse(&mut self, refused: Refused) -> io::Result<()> {
        // The thread has ended with an error, which takes precedence over this one.
        self.0.send(refused).await.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_reader_that_waits_for_the_next_piece_offers_no_piece_twice() {
        let (sender, receiver) = mpsc::channel(1);
        let mut pieces = Pieces { receiver, piece: Vec::new(), position: 0 };
        let mut context = Context::from_waker(Waker::noop());
        for piece in [&b"first"[..], b"second"] {
            for _ in 0..2 {
                assert!(Pin::new(&mut pieces).poll_fill_buf(&mut context).is_pending());
            }
            sender.try_send(Ok(piece.to_vec())).unwrap();
            let Poll::Ready(Ok(read)) = Pin::new(&mut pieces).poll_fill_buf(&mut context) else {
                panic!("no piece")
            };
            assert_eq!(read, piece);
            Pin::new(&mut pieces).consume(piece.len());
        }
        drop(sender);
        assert!(matches!(Pin::new(&mut pieces).poll_fill_buf(&mut context), Poll::Ready(Ok(&[]))));
    }
}
