//! S3's errors as the ports know them, by what the caller can do about them.

use std::io::{self, ErrorKind};

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};

use crate::io_error;

/// Error codes of a request that was sent to another region than the bucket's
/// (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>).
const OTHER_REGION: [&str; 4] = [
    "PermanentRedirect",
    "TemporaryRedirect",
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
];

/// Maps an error of reading a source object.
///
/// - [`ErrorKind::NotFound`]: this version of the object cannot be read until somebody changes the object.
/// - [`ErrorKind::PermissionDenied`]: access is denied now; IAM may grant it minutes after a change.
/// - Any other kind: of the bucket or the service. The object is not to blame.
pub(super) fn of_source<E>(bucket: &str, error: &SdkError<E>) -> io::Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let gone = |why: &str| io::Error::new(ErrorKind::NotFound, why);
    let said = error.message().unwrap_or_default();
    match error.code() {
        Some("PreconditionFailed") => {
            gone("the object has changed since it was listed; redrive to process its current version")
        }
        Some("NoSuchKey") => gone("the object no longer exists; put it back, then redrive"),
        Some("InvalidObjectState") => gone(
            "the object is archived (S3 Glacier or Intelligent-Tiering archive); restore it with `aws s3api \
             restore-object`, then redrive",
        ),
        // <https://docs.aws.amazon.com/AmazonS3/latest/userguide/specifying-s3-c-encryption.html>
        Some("InvalidRequest") if said.contains("Server Side Encryption") => gone(
            "the object is encrypted with a customer-provided key (SSE-C), which Flowherd does not have; copy it over \
             itself with SSE-S3 or SSE-KMS, then redrive",
        ),
        Some("AccessDenied") => io::Error::new(ErrorKind::PermissionDenied, denied(bucket, said)),
        Some("NoSuchBucket") => {
            io::Error::other(format!("there is no bucket {bucket:?}; correct FLOWHERD_SOURCE_BUCKET"))
        }
        Some(code) if OTHER_REGION.contains(&code) => other_region(bucket, error),
        _ => io_error(error),
    }
}

/// Maps an error of listing: [`ErrorKind::PermissionDenied`] if trying again cannot help.
pub(super) fn of_listing<E>(bucket: &str, error: &SdkError<E>) -> io::Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let refused = |why: io::Error| io::Error::new(ErrorKind::PermissionDenied, why);
    match error.code() {
        Some("AccessDenied" | "NoSuchBucket") => refused(io_error(error)),
        Some(code) if OTHER_REGION.contains(&code) => refused(other_region(bucket, error)),
        _ => io_error(error),
    }
}

/// Maps an error of writing a result: [`ErrorKind::InvalidFilename`] if the store takes no such key, now or later.
pub(super) fn of_result<E>(path: &str, error: &SdkError<E>) -> io::Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error.code() {
        Some("KeyTooLongError") => {
            let why = format!("the store takes no key as long as {path:?} ({} bytes)", path.len());
            io::Error::new(ErrorKind::InvalidFilename, why)
        }
        _ => io_error(error),
    }
}

/// S3 answers 403 for several reasons, and most often names none. It also answers 403 instead of 404 to those who may not
/// list the bucket (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html>), and for a Requester Pays bucket
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/ObjectsinRequesterPaysBuckets.html>).
fn denied(bucket: &str, said: &str) -> String {
    let lower = said.to_ascii_lowercase();
    if lower.contains("requester") && lower.contains("pay") {
        return format!(
            "bucket {bucket:?} is a Requester Pays bucket, which Flowherd does not pay for; copy the objects to a bucket \
             of your own"
        );
    }
    if lower.contains("kms") {
        return format!(
            "S3 denies access: {said}; allow the worker's role kms:Decrypt on the key (sourceKmsKeyArn)"
        );
    }
    let said = if said.is_empty() { "no reason given" } else { said };
    format!(
        "S3 denies access: {said}. The object no longer exists, or the worker may not read it: check its role, the bucket \
         policy, the expected owner, and that the bucket is not a Requester Pays bucket; then redrive"
    )
}

fn other_region<E>(bucket: &str, error: &SdkError<E>) -> io::Error {
    let region = error.raw_response().and_then(|answer| answer.headers().get("x-amz-bucket-region"));
    let region = region.unwrap_or("another one");
    io::Error::other(format!(
        "bucket {bucket:?} is in another region ({region}); set FLOWHERD_SOURCE_BUCKET_REGION (sourceBucketRegion)"
    ))
}

#[cfg(test)]
mod tests {
    use aws_sdk_s3::{
        config::http::HttpResponse, error::ErrorMetadata, operation::get_object::GetObjectError,
        primitives::SdkBody,
    };

    use super::*;

    fn answered(code: &str, message: &str) -> SdkError<GetObjectError> {
        let error = GetObjectError::generic(ErrorMetadata::builder().code(code).message(message).build());
        let answer = HttpResponse::new(403.try_into().unwrap(), SdkBody::empty());
        SdkError::service_error(error, answer)
    }

    #[test]
    fn what_only_a_change_of_the_object_repairs_is_told_from_what_is_not_its_fault() {
        let kind = |code, message| of_source("logs", &answered(code, message)).kind();
        for code in ["PreconditionFailed", "NoSuchKey", "InvalidObjectState"] {
            assert_eq!(kind(code, ""), ErrorKind::NotFound, "{code}");
        }
        for code in [
            "NoSuchBucket",
            "PermanentRedirect",
            "AuthorizationHeaderMalformed",
            "SlowDown",
            "InvalidRequest",
        ] {
            assert_eq!(kind(code, "x"), ErrorKind::Other, "{code}");
        }
        assert_eq!(kind("AccessDenied", "Access Denied"), ErrorKind::PermissionDenied);
    }

    #[test]
    fn each_reason_for_which_s3_refuses_an_object_has_a_message_of_its_own() {
        let sse_c = "The object was stored using a form of Server Side Encryption. The correct parameters must be provided";
        for (code, message, expected) in [
            ("InvalidObjectState", "", "restore-object"),
            ("InvalidRequest", sse_c, "SSE-C"),
            ("AccessDenied", "Bucket is requester pays", "is a Requester Pays bucket"),
            ("AccessDenied", "not authorized to perform: kms:Decrypt on resource", "sourceKmsKeyArn"),
            ("AccessDenied", "Access Denied", "Access Denied. The object no longer exists, or"),
            ("NoSuchBucket", "", "FLOWHERD_SOURCE_BUCKET"),
            ("PermanentRedirect", "", "FLOWHERD_SOURCE_BUCKET_REGION"),
        ] {
            let told = of_source("logs", &answered(code, message)).to_string();
            assert!(told.contains(expected), "{told}");
        }
    }

    #[test]
    fn a_bucket_in_another_region_cannot_be_listed_however_often_it_is_tried() {
        let error = of_listing("logs", &answered("PermanentRedirect", ""));
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("another region"), "{error}");
    }

    #[test]
    fn a_key_that_the_store_refuses_for_good_is_no_passing_fault() {
        assert_eq!(of_result("csv/x", &answered("KeyTooLongError", "")).kind(), ErrorKind::InvalidFilename);
        assert_eq!(of_result("csv/x", &answered("SlowDown", "")).kind(), ErrorKind::Other);
    }
}
