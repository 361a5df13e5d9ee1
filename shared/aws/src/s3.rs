//! Objects and results in S3 buckets.

mod errors;
mod find;
mod head;
mod listing;
mod upload;

use std::{
    io::{self, Read},
    time::Duration,
};

use aws_sdk_s3::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::{get_object::GetObjectError, head_object::HeadObjectError},
    primitives::ByteStream,
};
use flowherd_shared::{
    ledger::ManifestEntry,
    limits::{MAX_KEY_BYTES, MAX_RESULT_BYTES},
    store::{Head, Source, Store, too_large},
};
use tokio::runtime::Handle;
use tracing::warn;

pub use self::{
    find::{BucketError, FoundBucket},
    upload::Upload,
};
use crate::io_error;

/// How often in a row a body that breaks off is asked for again without having given a byte.
const RESUMES: u32 = 5;

/// One bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    client: Client,
    handle: Handle,
    name: String,
    owner: Option<String>,
}

impl Bucket {
    /// `handle` is of the runtime on which the client works; `owner` the account that the bucket must belong to.
    #[must_use]
    pub fn new(client: Client, handle: Handle, name: &str, owner: Option<&str>) -> Self {
        Self { client, handle, name: name.to_owned(), owner: owner.map(str::to_owned) }
    }

    fn get(&self, object: &ManifestEntry, from: u64) -> io::Result<ByteStream> {
        let mut request = self.client.get_object().bucket(&self.name).key(&object.key).if_match(&object.etag);
        request = request.set_expected_bucket_owner(self.owner.clone());
        if from > 0 {
            request = request.range(format!("bytes={from}-"));
        }
        let answer = self.handle.block_on(request.send());
        let answer = answer.map_err(|error| errors::of_source(&self.name, &error))?;
        if from > 0
            && !answer.content_range().is_some_and(|range| range.starts_with(&format!("bytes {from}-")))
        {
            return Err(io::Error::other("S3 did not go on where the body broke off"));
        }
        Ok(answer.body)
    }
}

impl Source for Bucket {
    type Body = Body;

    fn open(&self, object: &ManifestEntry) -> io::Result<Body> {
        let stream = self.get(object, 0)?;
        let (bucket, object) = (self.clone(), object.clone());
        Ok(Body { bucket, object, stream, chunk: Vec::new(), at: 0, read: 0, resumes: 0 })
    }

    fn now(&self, key: &str) -> io::Result<Option<ManifestEntry>> {
        let request = self.client.head_object().bucket(&self.name).key(key);
        let request = request.set_expected_bucket_owner(self.owner.clone()).send();
        match self.handle.block_on(request) {
            Ok(answer) => {
                let size = answer.content_length().and_then(|size| u64::try_from(size).ok());
                let (Some(size), Some(etag)) = (size, answer.e_tag) else {
                    return Err(io::Error::other("S3 names neither size nor ETag"));
                };
                Ok(Some(ManifestEntry { key: key.to_owned(), size, etag }))
            }
            Err(error) if error.as_service_error().is_some_and(HeadObjectError::is_not_found) => Ok(None),
            // Opening it will tell the same with a name.
            Err(error) if error.raw_response().is_some_and(|answer| answer.status().as_u16() == 403) => {
                Ok(None)
            }
            Err(error) => Err(io_error(&error)),
        }
    }
}

/// The bytes of an object. The SDK does not ask again for a body that breaks off midway; this does, from where it broke,
/// and only for the same version.
#[derive(Debug)]
pub struct Body {
    bucket: Bucket,
    object: ManifestEntry,
    stream: ByteStream,
    /// What was received and not yet given out: `chunk[at..]`.
    chunk: Vec<u8>,
    at: usize,
    /// Bytes received in all.
    read: u64,
    resumes: u32,
}

impl Body {
    /// Receives the next chunk; false at the end.
    fn receive(&mut self) -> io::Result<bool> {
        loop {
            match self.bucket.handle.block_on(self.stream.next()) {
                Some(Ok(chunk)) => {
                    self.chunk.clear();
                    self.chunk.extend_from_slice(&chunk);
                    self.at = 0;
                    self.read += chunk.len() as u64;
                    self.resumes = 0;
                    return Ok(true);
                }
                // A connection that closes early need not be told as an error.
                None if self.read >= self.object.size => return Ok(false),
                broken => {
                    let error = match broken {
                        Some(Err(error)) => io_error(&error),
                        _ => io::Error::new(io::ErrorKind::UnexpectedEof, "the body ends too soon"),
                    };
                    if self.resumes == RESUMES || self.read >= self.object.size {
                        return Err(error);
                    }
                    self.resumes += 1;
                    warn!(key = self.object.key, at = self.read, error = %error, "the body broke off; going on from there");
                    let pause = Duration::from_millis(100 << self.resumes);
                    self.bucket.handle.block_on(async { tokio::time::sleep(pause).await });
                    self.stream = self.bucket.get(&self.object, self.read)?;
                }
            }
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

impl Store for Bucket {
    type Sink = Upload;

    fn create(&self, path: &str) -> io::Result<Upload> {
        check_length(path)?;
        Ok(Upload::new(self.clone(), path))
    }

    fn put(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.put_whole(path, bytes.to_vec()).map(|_| ())
    }

    fn put_new(&self, path: &str, bytes: &[u8]) -> io::Result<bool> {
        check_length(path)?;
        // <https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>. Of two at once one may be told of
        // the conflict, and does not know how it ended: an error.
        let request = self.client.put_object().bucket(&self.name).key(path).if_none_match("*");
        let request = request.checksum_algorithm(upload::CHECKSUM);
        let request =
            request.set_expected_bucket_owner(self.owner.clone()).body(bytes.to_vec().into()).send();
        match self.handle.block_on(request) {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some("PreconditionFailed") => Ok(false),
            Err(error) => Err(errors::of_result(path, &error)),
        }
    }

    fn get(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        self.get_within(path, MAX_RESULT_BYTES)
    }

    fn get_within(&self, path: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        if check_length(path).is_err() {
            return Ok(None);
        }
        let request = self.client.get_object().bucket(&self.name).key(path);
        let request = request.set_expected_bucket_owner(self.owner.clone()).send();
        let mut answer = match self.handle.block_on(request) {
            Ok(answer) => answer,
            Err(SdkError::ServiceError(error)) if matches!(error.err(), GetObjectError::NoSuchKey(_)) => {
                return Ok(None);
            }
            Err(error) => return Err(io_error(&error)),
        };
        let mut bytes = Vec::new();
        while let Some(chunk) = self.handle.block_on(answer.body.next()) {
            let chunk = chunk.map_err(|error| io_error(&error))?;
            if (bytes.len() + chunk.len()) as u64 > most {
                return Err(too_large(path, most));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Some(bytes))
    }

    fn head(&self, path: &str) -> io::Result<Option<Head>> {
        if check_length(path).is_err() {
            return Ok(None);
        }
        self.head_result(path)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        if check_length(path).is_err() {
            return Ok(());
        }
        let request = self.client.delete_object().bucket(&self.name).key(path);
        let request = request.set_expected_bucket_owner(self.owner.clone()).send();
        self.handle.block_on(request).map_err(|error| io_error(&error))?;
        Ok(())
    }
}

/// A source key may be as long as any, so that its output's, which is longer, may be none: nothing can be there.
fn check_length(path: &str) -> io::Result<()> {
    if path.len() <= MAX_KEY_BYTES {
        return Ok(());
    }
    let why = format!("{} bytes, but S3 takes keys of up to {MAX_KEY_BYTES}", path.len());
    Err(io::Error::new(io::ErrorKind::InvalidFilename, why))
}

impl Bucket {
    fn put_whole(&self, path: &str, bytes: Vec<u8>) -> io::Result<String> {
        check_length(path)?;
        let request = self.client.put_object().bucket(&self.name).key(path).body(bytes.into());
        let request = request.checksum_algorithm(upload::CHECKSUM);
        let request = request.set_expected_bucket_owner(self.owner.clone()).send();
        let answer = self.handle.block_on(request).map_err(|error| errors::of_result(path, &error))?;
        answer.e_tag.ok_or_else(|| io::Error::other("S3 gave no ETag for what was written"))
    }
}
