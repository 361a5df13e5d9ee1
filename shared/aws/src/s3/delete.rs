//! Deletes results, many with one request.

use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use flowherd_shared::store::{Problem, StoreError};

use super::{Bucket, check_length, upload::CHECKSUM};

/// Maximum number of keys of one request (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html>).
const MAX_KEYS: usize = 1000;

impl Bucket {
    pub(super) fn delete_object(&self, path: &str) -> Result<(), StoreError> {
        if check_length(path).is_err() {
            return Ok(());
        }
        let request = self.client.delete_object().bucket(&self.name).key(path);
        let request = request.set_expected_bucket_owner(self.owner.clone()).send();
        self.handle.block_on(request).map_err(|error| self.error("DeleteObject", path, error))?;
        Ok(())
    }

    /// Deletes results with one request, except those with keys that XML cannot represent.
    pub(super) fn delete_all(&self, paths: &[String]) -> Result<(), StoreError> {
        let valid = paths.iter().map(String::as_str).filter(|path| check_length(path).is_ok());
        let (many, mut single): (Vec<&str>, Vec<&str>) = valid.partition(|path| fits_in_xml(path));
        for chunk in many.chunks(MAX_KEYS) {
            match chunk {
                [path] => single.push(path),
                chunk => self.delete_objects(chunk)?,
            }
        }
        single.into_iter().try_for_each(|path| self.delete_object(path))
    }

    /// S3 returns 200 also if it did not delete some of the objects, and names those with their error codes. It reports an
    /// object that does not exist as deleted.
    fn delete_objects(&self, paths: &[&str]) -> Result<(), StoreError> {
        const CALL: &str = "DeleteObjects";
        let invalid = |error| StoreError::Invalid(Problem::caused_by(format!("cannot build {CALL}"), error));
        let object = |path: &&str| ObjectIdentifier::builder().key(*path).build();
        let objects = paths.iter().map(object).collect::<Result<Vec<_>, _>>().map_err(invalid)?;
        let delete = Delete::builder().set_objects(Some(objects)).quiet(true).build().map_err(invalid)?;
        // S3 requires a checksum of the body.
        let request = self.client.delete_objects().bucket(&self.name).delete(delete);
        let request = request.checksum_algorithm(CHECKSUM);
        let request = request.set_expected_bucket_owner(self.owner.clone()).send();
        let response = self.handle.block_on(request);
        let response = response.map_err(|error| self.error(CALL, paths.first().unwrap_or(&""), error))?;
        response.errors().iter().try_for_each(|error| {
            let (key, code) = (error.key().unwrap_or_default(), error.code().unwrap_or_default());
            let message = error.message().unwrap_or_default();
            let text = format!("{CALL} did not delete s3://{}/{key}: {code}: {message}", self.name);
            match code {
                "AccessDenied" => Err(StoreError::AccessDenied(text.into())),
                _ if key.is_empty() => Err(StoreError::transient(text)),
                // The SDK retries requests, but not single keys of this one.
                _ => self.delete_object(key),
            }
        })
    }
}

/// Returns whether a key is the same after it was written to XML and read from it
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html#object-key-xml-related-constraints>).
fn fits_in_xml(key: &str) -> bool {
    !key.contains(|character: char| character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_xml_cannot_represent_is_deleted_with_a_request_of_its_own() {
        for key in ["a\nb", "a\rb", "a\u{1b}b", "a\u{85}b", "a\u{ffff}b"] {
            assert!(!fits_in_xml(key), "{key:?}");
        }
        assert!(fits_in_xml("csv/t/a b+%<&>\"'\u{fc}\u{10ffff}.csv.gz"));
    }
}
