//! Reads and replaces one version of a result, so that two writers do not overwrite each other's work.

use aws_sdk_s3::error::ProvideErrorMetadata;
use flowherd_shared::store::StoreError;

use super::{Bucket, Fetched, check_length, errors, upload};

/// A result and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The `ETag`.
    pub etag: String,
}

impl Bucket {
    /// Reads a result of up to `limit` bytes with its version; `None` if it does not exist.
    pub fn version(&self, path: &str, limit: u64) -> Result<Option<Version>, StoreError> {
        let Some(Fetched { bytes, etag }) = self.fetch(path, limit)? else { return Ok(None) };
        let etag = etag.ok_or_else(|| errors::incomplete("GetObject", &self.name, path, "ETag"))?;
        Ok(Some(Version { bytes, etag }))
    }

    /// Replaces exactly the version `former`, or creates the result if `former` is `None`. Returns whether it was written:
    /// `false` if the result has changed since. After a lost response, a retry may return `false` although its first attempt
    /// succeeded.
    ///
    /// S3 answers 412 if another version is there, 404 if the result was deleted, and 409 if another request changes it at
    /// this moment (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html>).
    pub fn replace(&self, path: &str, bytes: &[u8], former: Option<&str>) -> Result<bool, StoreError> {
        check_length(path)?;
        let request = self.client.put_object().bucket(&self.name).key(path).body(bytes.to_vec().into());
        let request = match former {
            Some(etag) => request.if_match(etag),
            None => request.if_none_match("*"),
        };
        let request = request.checksum_algorithm(upload::CHECKSUM);
        let request = request.set_expected_bucket_owner(self.owner.clone()).send();
        match self.handle.block_on(request) {
            Ok(_) => Ok(true),
            Err(error) => match error.code() {
                Some("PreconditionFailed" | "ConditionalRequestConflict" | "NoSuchKey") => Ok(false),
                _ => Err(self.error("PutObject", path, error)),
            },
        }
    }
}
