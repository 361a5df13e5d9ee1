//! Whether a bucket exists, in which region, and whether it may be used.

use std::io;

use aws_sdk_s3::error::SdkError;

use super::Bucket;
use crate::io_error;

/// The header in which S3 names the region of a bucket, whoever asks and wherever
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html>).
const REGION: &str = "x-amz-bucket-region";

/// A bucket that exists.
#[derive(Debug)]
pub struct FoundBucket {
    /// The bucket, addressed in its own region.
    pub bucket: Bucket,
    /// Whether these credentials may list it. If not, a denied request says nothing about the object it names.
    pub is_readable: bool,
}

/// Why a bucket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// There is none of this name.
    #[error("there is no bucket {0:?}")]
    Missing(String),
    /// It is in another region than the one that was given.
    #[error("bucket {bucket:?} is in region {found}, not in {given}")]
    OtherRegion {
        /// Its name.
        bucket: String,
        /// The region that was given.
        given: String,
        /// The region that S3 names.
        found: String,
    },
    /// S3 cannot be reached, or does not accept the request.
    #[error("cannot reach bucket {bucket:?}")]
    Unreachable {
        /// Its name.
        bucket: String,
        /// What S3, or the connection to it, reported.
        source: io::Error,
    },
}

impl Bucket {
    /// Returns the region of the bucket, if the store names it, and whether these credentials may list the bucket.
    ///
    /// An answer to HEAD has no body: 403 stands for missing rights, another owner than the expected one, and wrong
    /// credentials alike.
    pub(crate) fn head(&self) -> Result<(Option<String>, bool), BucketError> {
        let request = self.client.head_bucket().bucket(&self.name);
        let request = request.set_expected_bucket_owner(self.owner.clone()).send();
        let error = match self.handle.block_on(request) {
            Ok(answer) => return Ok((answer.bucket_region, true)),
            Err(error) => error,
        };
        let unreachable = |error: &SdkError<_, _>| BucketError::Unreachable {
            bucket: self.name.clone(),
            source: io_error(error),
        };
        let Some(answer) = error.raw_response() else { return Err(unreachable(&error)) };
        let region = answer.headers().get(REGION).map(str::to_owned);
        match answer.status().as_u16() {
            404 => Err(BucketError::Missing(self.name.clone())),
            403 => Ok((region, false)),
            // The signature is of another region than the bucket's.
            301 | 307 | 400 if region.is_some() => Ok((region, true)),
            _ => Err(unreachable(&error)),
        }
    }
}
