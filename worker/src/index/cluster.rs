//! Sends rows with the indexer. Its code is asynchronous, and the worker's is not: a thread reads the object, and this one waits
//! for the indexer.

use std::{
    io::{self, Read},
    pin::Pin,
    task::{Context, Poll, ready},
    thread,
};

use flowherd_indexer::{
    job::{Counts, IndexError as Failed, Indexer, Object, Refused, RefusedSink},
    target,
};
use flowherd_shared::{error::Verdict, ledger::DocumentCounts};
use tokio::{
    io::{AsyncBufRead, AsyncRead, ReadBuf},
    runtime::Handle,
    sync::mpsc,
};

use super::{IndexError, RefusedRow, RowIndexer, Rows};

/// Bytes of one piece of an object.
const PIECE_BYTES: usize = 64 << 10;
/// Pieces in memory before the thread that reads waits.
const PIECES: usize = 4;

/// An indexer and the runtime of its connections.
#[derive(Debug)]
pub struct ClusterIndexer {
    indexer: Indexer,
    runtime: Handle,
}

impl ClusterIndexer {
    /// Uses a runtime with threads of its own.
    #[must_use]
    pub fn new(indexer: Indexer, runtime: Handle) -> Self {
        Self { indexer, runtime }
    }
}

impl RowIndexer for ClusterIndexer {
    fn index(
        &self,
        rows: &Rows<'_>,
        body: &mut (dyn Read + Send),
        refuse: &mut dyn FnMut(&RefusedRow) -> io::Result<()>,
        should_stop: &dyn Fn() -> bool,
    ) -> Result<DocumentCounts, IndexError> {
        let target = target::of_table(rows.table, rows.target)
            .map_err(|error| IndexError::Failed { source: error.into(), verdict: Verdict::Permanent })?;
        let object = Object { key: rows.key, etag: rows.etag, run: rows.run, target: &target };
        let (sender, receiver) = mpsc::channel(PIECES);
        let mut sink = Sink(refuse);
        let indexed = thread::scope(|scope| {
            let reader = thread::Builder::new().spawn_scoped(scope, move || read_pieces(body, &sender));
            reader.map_err(Failed::Read)?;
            let pieces = Pieces { receiver, piece: Vec::new(), position: 0 };
            // The end of the indexer drops the receiver, which ends the thread.
            self.runtime.block_on(self.indexer.index(object, pieces, &mut sink, should_stop))
        });
        match indexed {
            Ok(Counts { rows, indexed, existing, refused, .. }) => {
                Ok(DocumentCounts { rows, indexed, existing, refused })
            }
            Err(Failed::Stopped(_)) => Err(IndexError::Stopped),
            Err(error @ Failed::Unavailable { .. }) => Err(IndexError::Unavailable(error.into())),
            Err(error) => {
                let verdict = verdict(&error);
                Err(IndexError::Failed { source: error.into(), verdict })
            }
        }
    }
}

/// Rights and mappings of a cluster can change without a change of the object, so another attempt may succeed.
fn verdict(error: &Failed) -> Verdict {
    match error {
        Failed::Refused(_) => Verdict::Retry,
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

/// Passes refused rows to the worker. The file counts rows from 0.
struct Sink<'a>(&'a mut dyn FnMut(&RefusedRow) -> io::Result<()>);

impl RefusedSink for Sink<'_> {
    async fn refuse(&mut self, refused: Refused) -> io::Result<()> {
        let Refused { row, reason, detail, document } = refused;
        (self.0)(&RefusedRow { record: row.saturating_sub(1), reason, detail, document })
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
