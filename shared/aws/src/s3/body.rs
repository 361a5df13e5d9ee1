//! The bytes of a source object. The SDK does not retry a body that fails during the transfer. This module does: it requests
//! the remaining bytes of the same version.

use std::{
    io::{self, Read},
    time::Duration,
};

use aws_sdk_s3::primitives::ByteStream;
use flowherd_shared::{
    backoff,
    error::error_chain,
    store::{ManifestEntry, StoreError},
};
use tracing::warn;

use super::{Bucket, errors};

/// Maximum consecutive resume attempts without progress.
const RESUMES: u32 = 5;
/// Pauses before the resume attempts, up to 6 s in total.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(4);

/// The bytes of an object.
#[derive(Debug)]
pub struct Body {
    bucket: Bucket,
    object: ManifestEntry,
    stream: ByteStream,
    /// The received bytes that the reader does not have yet are `chunk[at..]`.
    chunk: Vec<u8>,
    at: usize,
    /// Bytes received in total.
    received: u64,
    /// Consecutive resume attempts without progress.
    resumes: u32,
}

impl Body {
    pub(super) fn new(bucket: Bucket, object: ManifestEntry, stream: ByteStream) -> Self {
        Self { bucket, object, stream, chunk: Vec::new(), at: 0, received: 0, resumes: 0 }
    }

    /// Receives the next chunk. Returns `false` at the end of the object.
    fn receive(&mut self) -> Result<bool, StoreError> {
        loop {
            let error = match self.bucket.handle.block_on(self.stream.next()) {
                Some(Ok(chunk)) => {
                    self.chunk.clear();
                    self.chunk.extend_from_slice(&chunk);
                    self.at = 0;
                    self.received += chunk.len() as u64;
                    self.resumes = 0;
                    return Ok(true);
                }
                None if self.received >= self.object.size => return Ok(false),
                Some(Err(error)) => errors::of_transfer(&self.bucket.name, &self.object.key, error),
                // A connection that closes early is not always an error of the stream.
                None => errors::of_transfer(
                    &self.bucket.name,
                    &self.object.key,
                    format!("the body ends after {} of {} bytes", self.received, self.object.size),
                ),
            };
            // After the last byte, the error is a wrong checksum.
            if self.resumes == RESUMES || self.received >= self.object.size {
                return Err(error);
            }
            self.resumes += 1;
            let key = &self.object.key;
            warn!(key, at = self.received, error = %error_chain(&error), "the transfer failed; resuming it");
            let pause = backoff::pause(FIRST_PAUSE, MAX_PAUSE, self.resumes, (key, self.received));
            self.bucket.handle.block_on(async { tokio::time::sleep(pause).await });
            self.stream = self.bucket.get(&self.object, self.received)?;
        }
    }
}

impl Read for Body {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        // An empty chunk is not the end.
        while self.at == self.chunk.len() {
            if !self.receive()? {
                return Ok(0);
            }
        }
        let count = out.len().min(self.chunk.len() - self.at);
        out[..count].copy_from_slice(&self.chunk[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}
