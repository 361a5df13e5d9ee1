//! The queue message, which names one object. It has a version, because the queue can hold messages of an older coordinator
//! when a newer worker is deployed.

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    ledger::{ManifestEntry, layout},
    limits::MAX_MESSAGE_BYTES,
    text::hex,
};

const VERSION: u32 = 1;

/// One object of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The run.
    pub run: String,
    /// The run's fleet.
    pub fleet: String,
    /// The bucket of the object.
    pub bucket: String,
    /// The object as listed.
    pub object: ManifestEntry,
}

/// Why a message is not a task. It must reach the dead-letter queue, because nothing else records what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// Not the JSON of a task.
    #[error("the message is not a task: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Longer than any task.
    #[error(
        "the message is not a task: it has {0} bytes, and a task at most {MAX_MESSAGE_BYTES}; another program sent it"
    )]
    TooLong(usize),
    /// Written by a newer coordinator.
    #[error(
        "the message has version {0}, but this worker only reads version {VERSION}; deploy a newer worker and redrive"
    )]
    Version(u32),
    /// A run name that would lead out of the ledger.
    #[error("the message names run {0:?}, which is not a valid run name")]
    Run(String),
    /// A fleet name that no fleet can have.
    #[error("the message names fleet {0:?}, which is not a valid fleet name")]
    Fleet(String),
    /// An `ETag` that S3 matches with any version
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html#API_GetObject_RequestSyntax>).
    #[error("the message names version {0:?}, which no object has")]
    VersionName(String),
}

#[derive(Deserialize)]
struct Head {
    v: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(rename = "v")]
    _v: u32,
    run: String,
    fleet: String,
    bucket: String,
    key: String,
    size: u64,
    etag: String,
}

impl Task {
    /// Reads a message's body.
    pub fn parse(body: &str) -> Result<Self, TaskError> {
        if body.len() > MAX_MESSAGE_BYTES {
            return Err(TaskError::TooLong(body.len()));
        }
        // Reads the version first, because another version can have other keys.
        let Head { v } = serde_json::from_str(body)?;
        if v != VERSION {
            return Err(TaskError::Version(v));
        }
        let Body { run, fleet, bucket, key, size, etag, .. } = serde_json::from_str(body)?;
        if !layout::is_run_name(&run) {
            return Err(TaskError::Run(run));
        }
        if layout::fleet_name_problem(&fleet).is_some() {
            return Err(TaskError::Fleet(fleet));
        }
        if matches!(&*etag, "" | "*") {
            return Err(TaskError::VersionName(etag));
        }
        Ok(Self { run, fleet, bucket, object: ManifestEntry { key, size, etag } })
    }

    /// Returns the body of the message.
    #[must_use]
    pub fn body(&self) -> String {
        let Self { run, fleet, bucket, object: ManifestEntry { key, size, etag } } = self;
        // `Display` of a JSON value cannot fail, unlike `serde_json::to_string`. The order of the keys is documented.
        let [run, fleet, bucket, key, etag] =
            [run, fleet, bucket, key, etag].map(|text| Value::from(text.as_str()));
        let body = format!(
            r#"{{"v":{VERSION},"run":{run},"fleet":{fleet},"bucket":{bucket},"key":{key},"size":{size},"etag":{etag}}}"#
        );
        // A key can have these two characters, but a message cannot: SQS accepts the characters of XML 1.0
        // (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>).
        body.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff")
    }

    /// Returns the message group, a hash of the key: no object is processed twice at once, and all others in parallel. 64 hexadecimal digits of the 128 characters that SQS allows
    /// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/using-messagegroupid-property.html>).
    #[must_use]
    pub fn group(&self) -> String {
        hash(&[&self.bucket, &self.object.key])
    }

    /// Returns the deduplication id. A page that is planned twice within five minutes is queued once, and messages of
    /// different runs are never duplicates.
    #[must_use]
    pub fn deduplication(&self) -> String {
        hash(&[&self.run, &self.bucket, &self.object.key, &self.object.etag])
    }
}

/// Returns a hash of the parts. The length of each part is hashed too, so that no two lists are the same text.
fn hash(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn task(run: &str, key: &str, etag: &str) -> Task {
        let object = ManifestEntry { key: key.to_owned(), size: 7, etag: etag.to_owned() };
        Task { run: run.to_owned(), fleet: "main".to_owned(), bucket: "b".to_owned(), object }
    }

    #[test]
    fn the_body_is_the_documented_json() {
        let body = task("r", "a b/\"ü\"", "\"e\"").body();
        assert_eq!(
            body,
            r#"{"v":1,"run":"r","fleet":"main","bucket":"b","key":"a b/\"ü\"","size":7,"etag":"\"e\""}"#
        );
    }

    #[test]
    fn the_body_has_only_characters_that_sqs_accepts() {
        let task = task("r", "a\u{fffe}\u{ffff}\u{1}\u{7f}\u{10ffff}b", "e");
        let fits = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
        assert!(task.body().chars().all(fits), "{:?}", task.body());
        assert_eq!(Task::parse(&task.body()).unwrap(), task);
    }

    #[test]
    fn a_message_that_is_not_a_task_is_an_error_with_the_reason() {
        let error = |body: &str| Task::parse(body).unwrap_err().to_string();
        assert!(error("").starts_with("the message is not a task"));
        assert!(error("{}").contains("missing field `v`"));
        assert!(error(&"[".repeat(MAX_MESSAGE_BYTES)).starts_with("the message is not a task"));
        assert!(error(&format!("{{\"v\":{}", "[".repeat(16_000))).starts_with("the message is not a task"));
        assert!(error(&"[".repeat(MAX_MESSAGE_BYTES + 1)).contains("it has 16385 bytes"));
        assert!(error(r#"{"v":2,"anything":[]}"#).contains("version 2"));
        assert!(
            error(r#"{"v":1,"run":"r","fleet":"f","bucket":"b","key":"k","size":0,"etag":"e","x":1}"#)
                .contains("unknown field")
        );
        assert!(
            error(r#"{"v":1,"run":"../r","fleet":"f","bucket":"b","key":"k","size":0,"etag":"e"}"#)
                .contains("not a valid run name")
        );
        assert!(
            error(r#"{"v":1,"run":"r","fleet":"../f","bucket":"b","key":"k","size":0,"etag":"e"}"#)
                .contains("not a valid fleet name")
        );
        for etag in ["*", ""] {
            let body = task("r", "k", etag).body();
            assert!(error(&body).contains("which no object has"), "{body}");
        }
    }

    #[test]
    fn the_group_depends_on_the_object_and_the_deduplication_id_also_on_run_and_version() {
        let one = task("r", "k", "e");
        assert_eq!(one.group(), task("s", "k", "f").group());
        assert_ne!(one.group(), task("r", "l", "e").group());
        for other in [task("s", "k", "e"), task("r", "l", "e"), task("r", "k", "f"), task("rk", "", "e")] {
            assert_ne!(one.deduplication(), other.deduplication());
        }
        assert!(one.group().len() <= 128 && one.deduplication().len() <= 128);
    }

    proptest! {
        #[test]
        fn any_key_is_read_back_from_its_message(key in "\\PC{0,30}", etag in "\"\\PC{0,5}") {
            let task = task("r", &key, &etag);
            prop_assert_eq!(Task::parse(&task.body()).unwrap(), task);
        }
    }
}
