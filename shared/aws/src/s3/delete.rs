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
    use std::{
        io::{BufRead, BufReader, Read, Write},
        net::{TcpListener, TcpStream},
        thread,
    };

    use aws_config::{BehaviorVersion, Region, SdkConfig};
    use aws_sdk_s3::config::{Credentials, SharedCredentialsProvider};
    use tokio::runtime::Runtime;

    use super::*;
    use crate::Aws;

    /// Answers one request on a connection of its own, and returns its first line.
    fn answer(connection: &TcpStream, status: &str, body: &str) -> String {
        let mut reader = BufReader::new(connection);
        let mut lines = Vec::new();
        while lines.last().is_none_or(|line: &String| line != "\r\n") {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            lines.push(line);
        }
        let length = lines
            .iter()
            .find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
        reader.read_exact(&mut vec![0; length.unwrap_or(0)]).unwrap();
        let head =
            format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
        (&mut &*connection).write_all((head + body).as_bytes()).unwrap();
        lines.swap_remove(0)
    }

    /// Deletes two objects from a server that names one of them with this error code. Returns the requests too.
    fn delete_two(code: &str, requests: usize) -> (Result<(), StoreError>, Vec<String>) {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(format!("http://{}", server.local_addr().unwrap()))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
                "k", "s", None, None, "test",
            )))
            .build();
        let errors = format!("<Error><Key>b</Key><Code>{code}</Code><Message>m</Message></Error>");
        let server = thread::spawn(move || {
            let answers = [
                ("200 OK", format!("<DeleteResult>{errors}</DeleteResult>")),
                ("204 No Content", String::new()),
            ];
            let serve = |(status, body): &(&str, String)| answer(&server.accept().unwrap().0, status, body);
            answers.iter().take(requests).map(serve).collect()
        });
        let aws = Aws::with(Runtime::new().unwrap(), config);
        let outcome = aws.bucket("results", None).delete_all(&["a".to_owned(), "b".to_owned()]);
        (outcome, server.join().unwrap())
    }

    #[test]
    fn a_key_that_a_request_for_many_did_not_delete_is_deleted_with_a_request_of_its_own() {
        let (outcome, requests) = delete_two("SlowDown", 2);
        outcome.unwrap();
        assert!(requests[0].starts_with("POST /results"), "{requests:?}");
        assert!(requests[1].starts_with("DELETE /results/b"), "{requests:?}");
    }

    #[test]
    fn a_key_whose_deletion_is_denied_fails_by_name() {
        let (outcome, _) = delete_two("AccessDenied", 1);
        let error = outcome.unwrap_err();
        assert!(matches!(error, StoreError::AccessDenied(_)), "{error:?}");
        assert!(error.to_string().contains("s3://results/b: AccessDenied"), "{error}");
    }

    #[test]
    fn a_key_that_xml_cannot_represent_is_deleted_with_a_request_of_its_own() {
        for key in ["a\nb", "a\rb", "a\u{1b}b", "a\u{85}b", "a\u{ffff}b"] {
            assert!(!fits_in_xml(key), "{key:?}");
        }
        assert!(fits_in_xml("csv/t/a b+%<&>\"'\u{fc}\u{10ffff}.csv.gz"));
    }
}
