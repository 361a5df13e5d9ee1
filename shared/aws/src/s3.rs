//! S3 buckets as sources of objects and stores of results.

mod body;
mod delete;
mod errors;
mod find;
mod head;
mod listing;
mod notifications;
mod upload;
mod versions;

use aws_sdk_s3::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::{get_object::GetObjectError, head_object::HeadObjectError},
    primitives::ByteStream,
};
use flowherd_shared::{
    limits::{MAX_KEY_BYTES, MAX_RESULT_BYTES},
    store::{Head, ManifestEntry, Source, Store, StoreError},
};
use tokio::runtime::Handle;

pub use self::{
    body::Body,
    find::{BucketError, FoundBucket},
    upload::Upload,
    versions::Version,
};

/// One bucket.
#[derive(Clone, Debug)]
pub struct Bucket {
    client: Client,
    handle: Handle,
    name: String,
    owner: Option<String>,
}

/// A response with a result.
struct Fetched {
    bytes: Vec<u8>,
    etag: Option<String>,
}

impl Bucket {
    /// Creates a bucket without a request. `handle` is of the runtime on which the client works; `owner` is the account
    /// that must own the bucket.
    #[must_use]
    pub fn new(client: Client, handle: Handle, name: &str, owner: Option<&str>) -> Self {
        Self { client, handle, name: name.to_owned(), owner: owner.map(str::to_owned) }
    }

    /// Opens the listed version of an object at the byte `from`.
    fn get(&self, object: &ManifestEntry, from: u64) -> Result<ByteStream, StoreError> {
        let mut request = self.client.get_object().bucket(&self.name).key(&object.key).if_match(&object.etag);
        request = request.set_expected_bucket_owner(self.owner.clone());
        if from > 0 {
            request = request.range(format!("bytes={from}-"));
        }
        let response = self.handle.block_on(request.send());
        let response = response.map_err(|error| errors::of_source(&self.name, &object.key, error))?;
        let starts_at_from = |range: &str| {
            range.strip_prefix("bytes ").is_some_and(|range| range.starts_with(&format!("{from}-")))
        };
        if from > 0 && !response.content_range().is_some_and(starts_at_from) {
            return Err(StoreError::transient(format!(
                "GetObject of s3://{}/{} did not return the range from byte {from}",
                self.name, object.key
            )));
        }
        Ok(response.body)
    }

    /// Reads a result of up to `limit` bytes; `None` if it does not exist.
    fn fetch(&self, path: &str, limit: u64) -> Result<Option<Fetched>, StoreError> {
        if check_length(path).is_err() {
            return Ok(None);
        }
        let request = self.client.get_object().bucket(&self.name).key(path);
        let request = request.set_expected_bucket_owner(self.owner.clone()).send();
        let mut response = match self.handle.block_on(request) {
            Ok(response) => response,
            Err(SdkError::ServiceError(error)) if matches!(error.err(), GetObjectError::NoSuchKey(_)) => {
                return Ok(None);
            }
            Err(error) => return Err(self.error("GetObject", path, error)),
        };
        let mut bytes = Vec::new();
        while let Some(chunk) = self.handle.block_on(response.body.next()) {
            let chunk = chunk.map_err(|error| errors::of_transfer(&self.name, path, error))?;
            if (bytes.len() + chunk.len()) as u64 > limit {
                return Err(StoreError::TooLarge { path: path.to_owned(), limit });
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(Some(Fetched { bytes, etag: response.e_tag }))
    }

    fn put_object(&self, path: &str, bytes: Vec<u8>) -> Result<String, StoreError> {
        check_length(path)?;
        let request = self.client.put_object().bucket(&self.name).key(path).body(bytes.into());
        let request = request.checksum_algorithm(upload::CHECKSUM);
        let request = request.set_expected_bucket_owner(self.owner.clone()).send();
        let response = self.handle.block_on(request);
        let response = response.map_err(|error| self.error("PutObject", path, error))?;
        response.e_tag.ok_or_else(|| errors::incomplete("PutObject", &self.name, path, "ETag"))
    }

    /// Maps an error of a request for a result.
    fn error<E>(&self, call: &str, path: &str, error: SdkError<E>) -> StoreError
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        errors::of_bucket(call, &self.name, path, error)
    }
}

impl Source for Bucket {
    type Body = Body;

    fn open(&self, object: &ManifestEntry) -> Result<Body, StoreError> {
        let stream = self.get(object, 0)?;
        Ok(Body::new(self.clone(), object.clone(), stream))
    }

    fn head(&self, key: &str) -> Result<Option<ManifestEntry>, StoreError> {
        let request = self.client.head_object().bucket(&self.name).key(key);
        let request = request.set_expected_bucket_owner(self.owner.clone()).send();
        let response = match self.handle.block_on(request) {
            Ok(response) => response,
            Err(error) if error.as_service_error().is_some_and(HeadObjectError::is_not_found) => {
                return Ok(None);
            }
            // A response to HEAD has no body and so no reason. `open` fails with the reason.
            Err(error) if error.raw_response().is_some_and(|response| response.status().as_u16() == 403) => {
                return Ok(None);
            }
            Err(error) => return Err(self.error("HeadObject", key, error)),
        };
        let incomplete = |field| errors::incomplete("HeadObject", &self.name, key, field);
        let size = response.content_length().and_then(|size| u64::try_from(size).ok());
        Ok(Some(ManifestEntry {
            key: key.to_owned(),
            size: size.ok_or_else(|| incomplete("Content-Length"))?,
            etag: response.e_tag.ok_or_else(|| incomplete("ETag"))?,
        }))
    }
}

impl Store for Bucket {
    type Sink = Upload;

    fn create(&self, path: &str) -> Result<Upload, StoreError> {
        check_length(path)?;
        Ok(Upload::new(self.clone(), path))
    }

    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.put_object(path, bytes.to_vec()).map(|_| ())
    }

    /// A conditional write (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>). If two clients
    /// write at once, S3 may return 409 Conflict to one of them. That is an error, because its outcome is unknown.
    fn put_if_absent(&self, path: &str, bytes: &[u8]) -> Result<bool, StoreError> {
        check_length(path)?;
        let request = self.client.put_object().bucket(&self.name).key(path).if_none_match("*");
        let request = request.checksum_algorithm(upload::CHECKSUM);
        let request =
            request.set_expected_bucket_owner(self.owner.clone()).body(bytes.to_vec().into()).send();
        match self.handle.block_on(request) {
            Ok(_) => Ok(true),
            Err(error) if error.code() == Some("PreconditionFailed") => Ok(false),
            Err(error) => Err(self.error("PutObject", path, error)),
        }
    }

    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.get_limited(path, MAX_RESULT_BYTES)
    }

    fn get_limited(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.fetch(path, limit)?.map(|fetched| fetched.bytes))
    }

    fn head(&self, path: &str) -> Result<Option<Head>, StoreError> {
        if check_length(path).is_err() {
            return Ok(None);
        }
        self.head_result(path)
    }

    fn remove(&self, path: &str) -> Result<(), StoreError> {
        self.delete_object(path)
    }

    fn remove_all(&self, paths: &[String]) -> Result<(), StoreError> {
        self.delete_all(paths)
    }
}

/// The path of an output is longer than its source key, so it can be too long for S3. No object has such a key.
fn check_length(path: &str) -> Result<(), StoreError> {
    if path.len() <= MAX_KEY_BYTES {
        return Ok(());
    }
    Err(StoreError::InvalidKey(
        format!(
            "the key has {} bytes, and the maximum in S3 is {MAX_KEY_BYTES}; shorten the source key",
            path.len()
        )
        .into(),
    ))
}
