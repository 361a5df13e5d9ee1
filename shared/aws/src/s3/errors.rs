//! Maps the errors of S3 to [`StoreError`], by what the caller can do about them.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use flowherd_shared::store::{Cause, Problem, StoreError};

/// Error codes of a request that was sent to another region than the bucket's
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>).
const OTHER_REGION: [&str; 4] = [
    "PermanentRedirect",
    "TemporaryRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
];

/// Maps an error of reading a source object.
pub(super) fn of_source<E>(bucket: &str, key: &str, error: SdkError<E>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let message = error.message().unwrap_or_default();
    match error.code() {
        Some("PreconditionFailed") => StoreError::PreconditionFailed(Problem::caused_by(
            "the object has changed since it was listed; redrive to process its current version",
            error,
        )),
        Some("NoSuchKey") => StoreError::NotFound(Problem::caused_by(
            "the object no longer exists; put it back, then redrive",
            error,
        )),
        Some("InvalidObjectState") => StoreError::Archived(Problem::caused_by(
            "the object is archived (S3 Glacier or Intelligent-Tiering archive); restore it with `aws s3api \
             restore-object`, then redrive",
            error,
        )),
        // <https://docs.aws.amazon.com/AmazonS3/latest/userguide/specifying-s3-c-encryption.html>
        Some("InvalidRequest") if message.contains("Server Side Encryption") => {
            StoreError::Encrypted(Problem::caused_by(
                "the object is encrypted with a customer-provided key (SSE-C), which Flowherd does not have; copy it \
                 over itself with SSE-S3 or SSE-KMS, then redrive",
                error,
            ))
        }
        Some("AccessDenied") => {
            StoreError::AccessDenied(Problem::caused_by(access_denied(bucket, message), error))
        }
        _ => of_bucket("GetObject", bucket, key, error),
    }
}

/// Maps an error of a request to a bucket: of a listing, or of a result.
pub(super) fn of_bucket<E>(call: &str, bucket: &str, key: &str, error: SdkError<E>) -> StoreError
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let failed = || format!("{call} of s3://{bucket}/{key} failed");
    match error.code() {
        Some("AccessDenied") => StoreError::AccessDenied(Problem::caused_by(failed(), error)),
        Some("NoSuchBucket") => StoreError::WrongBucket(Problem::caused_by(
            format!("bucket {bucket:?} does not exist; correct its name in the settings"),
            error,
        )),
        Some("KeyTooLongError") => StoreError::InvalidKey(Problem::caused_by(
            format!("the store does not accept a key of {} bytes: {key:?}", key.len()),
            error,
        )),
        Some(code) if OTHER_REGION.contains(&code) => {
            StoreError::WrongBucket(Problem::caused_by(other_region(bucket, &error), error))
        }
        _ => StoreError::transient_because(failed(), error),
    }
}

/// Maps an error that has no code, such as a body that ends too soon.
pub(super) fn of_transfer(bucket: &str, key: &str, error: impl Into<Cause>) -> StoreError {
    StoreError::transient_because(format!("the transfer of s3://{bucket}/{key} failed"), error)
}

/// Returns an error for a response without a field that every response has.
pub(super) fn incomplete(call: &str, bucket: &str, key: &str, field: &str) -> StoreError {
    StoreError::Invalid(
        format!(
            "{call} of s3://{bucket}/{key} returned no valid {field}, which S3 always returns; use another store"
        )
        .into(),
    )
}

/// S3 returns 403 for several reasons, and often does not name the reason. It also returns 403 instead of 404 to a client
/// without `s3:ListBucket` (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>), and 403 for a Requester
/// Pays bucket (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/ObjectsinRequesterPaysBuckets.html>).
fn access_denied(bucket: &str, message: &str) -> String {
    let lower = message.to_ascii_lowercase();
    if lower.contains("requester") && lower.contains("pay") {
        return format!(
            "bucket {bucket:?} is a Requester Pays bucket, which Flowherd does not pay for; copy the objects to a bucket \
             of your own"
        );
    }
    if lower.contains("kms") {
        return format!(
            "S3 denies access: {message}; allow the worker's role kms:Decrypt on the key (sourceKmsKeyArn)"
        );
    }
    let message = if message.is_empty() { "no reason given" } else { message };
    format!(
        "S3 denies access: {message}. The object no longer exists, or the worker may not read it: check its role, the \
         bucket policy, the expected owner, and that the bucket is not a Requester Pays bucket; then redrive"
    )
}

fn other_region<E>(bucket: &str, error: &SdkError<E>) -> String {
    let region = error.raw_response().and_then(|response| response.headers().get("x-amz-bucket-region"));
    let region = region.map_or(String::new(), |region| format!(" ({region})"));
    format!(
        "bucket {bucket:?} is in another region{region}; set FLOWHERD_SOURCE_BUCKET_REGION (sourceBucketRegion)"
    )
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::{
        config::http::HttpResponse, error::ErrorMetadata, operation::get_object::GetObjectError,
        primitives::SdkBody,
    };
    use flowherd_shared::error::error_chain;

    use super::*;

    fn returned(code: &str, message: &str) -> SdkError<GetObjectError> {
        let error = GetObjectError::generic(ErrorMetadata::builder().code(code).message(message).build());
        let response = HttpResponse::new(403.try_into().unwrap(), SdkBody::empty());
        SdkError::service_error(error, response)
    }

    fn source_error(code: &str, message: &str) -> StoreError {
        of_source("logs", "k", returned(code, message))
    }

    const SSE_C: &str = "The object was stored using a form of Server Side Encryption. The correct parameters must be provided";

    #[test]
    fn each_error_code_of_an_object_has_its_variant() {
        assert!(matches!(source_error("PreconditionFailed", ""), StoreError::PreconditionFailed(_)));
        assert!(matches!(source_error("NoSuchKey", ""), StoreError::NotFound(_)));
        assert!(matches!(source_error("InvalidObjectState", ""), StoreError::Archived(_)));
        assert!(matches!(source_error("InvalidRequest", SSE_C), StoreError::Encrypted(_)));
        assert!(matches!(source_error("AccessDenied", "Access Denied"), StoreError::AccessDenied(_)));
        for code in ["NoSuchBucket", "PermanentRedirect", "AuthorizationHeaderMalformed"] {
            assert!(matches!(source_error(code, "x"), StoreError::WrongBucket(_)), "{code}");
        }
        for code in ["SlowDown", "InvalidRequest"] {
            assert!(matches!(source_error(code, "x"), StoreError::Transient(_)), "{code}");
        }
    }

    #[test]
    fn each_reason_for_which_s3_refuses_an_object_has_its_message() {
        for (code, message, expected) in [
            ("InvalidObjectState", "", "restore-object"),
            ("InvalidRequest", SSE_C, "SSE-C"),
            ("AccessDenied", "Bucket is requester pays", "is a Requester Pays bucket"),
            ("AccessDenied", "not authorized to perform: kms:Decrypt on resource", "sourceKmsKeyArn"),
            ("AccessDenied", "Access Denied", "Access Denied. The object no longer exists, or"),
            ("NoSuchBucket", "", "bucket \"logs\" does not exist"),
            ("PermanentRedirect", "", "FLOWHERD_SOURCE_BUCKET_REGION"),
        ] {
            let error = source_error(code, message).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_error_of_the_sdk_is_kept_as_the_cause() {
        for code in ["NoSuchKey", "AccessDenied", "SlowDown"] {
            let chain = error_chain(&source_error(code, "reason of S3"));
            assert!(chain.contains(code) && chain.contains("reason of S3"), "{chain}");
        }
    }

    #[test]
    fn a_listing_of_a_bucket_in_another_region_is_not_transient() {
        let error = of_bucket("ListObjectsV2", "logs", "p/", returned("PermanentRedirect", ""));
        assert!(matches!(error, StoreError::WrongBucket(_)), "{error:?}");
        assert!(error.to_string().contains("another region"), "{error}");
    }

    #[test]
    fn a_key_that_is_too_long_for_the_store_is_not_transient() {
        let put = |code| of_bucket("PutObject", "results", "csv/x", returned(code, ""));
        assert!(matches!(put("KeyTooLongError"), StoreError::InvalidKey(_)));
        assert!(matches!(put("SlowDown"), StoreError::Transient(_)));
    }
}
