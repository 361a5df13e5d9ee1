//! Checks that a bucket exists and is readable, and finds its region.

use flowherd_shared::store::Cause;

use super::Bucket;

/// The response header with the region of a bucket. S3 sends it to every client, also with an error
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadBucket.html>).
const REGION: &str = "x-amz-bucket-region";

/// A bucket that exists.
#[derive(Debug)]
pub struct FoundBucket {
    /// The bucket, addressed in its own region.
    pub bucket: Bucket,
    /// Whether these credentials may list the bucket. If not, S3 also returns 403 for objects that do not exist.
    pub is_readable: bool,
}

/// Why a bucket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// No bucket has this name.
    #[error("bucket {0:?} does not exist")]
    Missing(String),
    /// The bucket is not in the given region.
    #[error("bucket {bucket:?} is in region {found}, not in {given}")]
    OtherRegion {
        /// Name of the bucket.
        bucket: String,
        /// The given region.
        given: String,
        /// The region that S3 returned.
        found: String,
    },
    /// S3 did not answer, or did not accept the request.
    #[error("cannot reach bucket {bucket:?}")]
    Unreachable {
        /// Name of the bucket.
        bucket: String,
        /// The error of the client.
        source: Cause,
    },
}

impl Bucket {
    /// Returns the region of the bucket, if the store returns it, and whether these credentials may list the bucket.
    ///
    /// A response to HEAD has no body, so 403 has the same form for missing permissions, an unexpected owner, and wrong
    /// credentials.
    pub(crate) fn head_bucket(&self) -> Result<(Option<String>, bool), BucketError> {
        let request = self.client.head_bucket().bucket(&self.name);
        let request = request.set_expected_bucket_owner(self.owner.clone()).send();
        let error = match self.handle.block_on(request) {
            Ok(response) => return Ok((response.bucket_region, true)),
            Err(error) => error,
        };
        let response = error.raw_response();
        let region = response.and_then(|response| response.headers().get(REGION)).map(str::to_owned);
        match response.map(|response| response.status().as_u16()) {
            Some(404) => Err(BucketError::Missing(self.name.clone())),
            Some(403) => Ok((region, false)),
            // The request was signed for another region than the bucket's.
            Some(301 | 307 | 400) if region.is_some() => Ok((region, true)),
            _ => Err(BucketError::Unreachable { bucket: self.name.clone(), source: error.into() }),
        }
    }
}
