//! The queue message: one object to do. Versioned, because messages of an older coordinator may wait in the queue while
//! a newer worker is deployed.

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    config::hex,
    ledger::{ManifestEntry, layout},
    limits::MAX_MESSAGE_BYTES,
};

const VERSION: u32 = 1;

/// One object to do for a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The run.
    pub run: String,
    /// The bucket of the object.
    pub bucket: String,
    /// The object as it was listed.
    pub object: ManifestEntry,
}

/// Why a message is no task. It must reach the dead-letter queue, because nobody else knows what it asked for.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// Not the JSON of a message.
    #[error("the message is no task: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Longer than any task.
    #[error(
        "the message is no task: it has {0} bytes, but a task at most {MAX_MESSAGE_BYTES}; it was not sent by this \
         fleet's coordinator"
    )]
    TooLong(usize),
    /// Written by a newer coordinator.
    #[error(
        "the message has version {0}, but this worker knows version {VERSION} only; deploy a newer worker and redrive"
    )]
    Version(u32),
    /// A run name that would lead out of the ledger.
    #[error("the message names run {0:?}, which is no run name")]
    Run(String),
    /// A version that S3 takes for any
    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html#API_GetObject_RequestSyntax>).
    #[error("the message names version {0:?}, which is that of no object")]
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
        // The version first: another one may have other keys.
        let Head { v } = serde_json::from_str(body)?;
        if v != VERSION {
            return Err(TaskError::Version(v));
        }
        let Body { run, bucket, key, size, etag, .. } = serde_json::from_str(body)?;
        if !layout::is_run_name(&run) {
            return Err(TaskError::Run(run));
        }
        if matches!(&*etag, "" | "*") {
            return Err(TaskError::VersionName(etag));
        }
        Ok(Self { run, bucket, object: ManifestEntry { key, size, etag } })
    }

    /// The message's body.
    #[must_use]
    pub fn body(&self) -> String {
        let Self { run, bucket, object: ManifestEntry { key, size, etag } } = self;
        // `Display` of a JSON value cannot fail, unlike `serde_json::to_string`, and the order of the keys is documented.
        let [run, bucket, key, etag] = [run, bucket, key, etag].map(|text| Value::from(text.as_str()));
        let body = format!(
            r#"{{"v":{VERSION},"run":{run},"bucket":{bucket},"key":{key},"size":{size},"etag":{etag}}}"#
        );
        // Two characters that a key may have, but no message: SQS takes what XML 1.0 can hold
        // (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>).
        body.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff")
    }

    /// The message group: a hash of the key, so that one object is never worked on twice at once and all others run in
    /// parallel. 64 hexadecimal digits of the 128 characters that SQS allows
    /// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/using-messagegroupid-property.html>).
    #[must_use]
    pub fn group(&self) -> String {
        hash(&[&self.bucket, &self.object.key])
    }

    /// The deduplication id: the same page planned twice sends nothing new, and a new run is never taken for an old
    /// one, as it would be by content alone within five minutes.
    #[must_use]
    pub fn deduplication(&self) -> String {
        hash(&[&self.run, &self.bucket, &self.object.key, &self.object.etag])
    }
}

/// A hash in which no two lists of parts are the same text.
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
        Task { run: run.to_owned(), bucket: "b".to_owned(), object }
    }

    #[test]
    fn the_body_is_the_documented_json() {
        let body = task("r", "a b/\"ü\"", "\"e\"").body();
        assert_eq!(body, r#"{"v":1,"run":"r","bucket":"b","key":"a b/\"ü\"","size":7,"etag":"\"e\""}"#);
    }

    #[test]
    fn the_body_has_only_characters_that_a_message_may_have() {
        let task = task("r", "a\u{fffe}\u{ffff}\u{1}\u{7f}\u{10ffff}b", "e");
        let fits = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
        assert!(task.body().chars().all(fits), "{:?}", task.body());
        assert_eq!(Task::parse(&task.body()).unwrap(), task);
    }

    #[test]
    fn what_is_no_task_is_refused_with_the_reason() {
        let told = |body: &str| Task::parse(body).unwrap_err().to_string();
        assert!(told("").starts_with("the message is no task"));
        assert!(told("{}").contains("missing field `v`"));
        assert!(told(&"[".repeat(MAX_MESSAGE_BYTES)).starts_with("the message is no task"));
        assert!(told(&format!("{{\"v\":{}", "[".repeat(16_000))).starts_with("the message is no task"));
        assert!(told(&"[".repeat(MAX_MESSAGE_BYTES + 1)).contains("it has 16385 bytes"));
        assert!(told(r#"{"v":2,"anything":[]}"#).contains("version 2"));
        assert!(
            told(r#"{"v":1,"run":"r","bucket":"b","key":"k","size":0,"etag":"e","x":1}"#)
                .contains("unknown field")
        );
        assert!(
            told(r#"{"v":1,"run":"../r","bucket":"b","key":"k","size":0,"etag":"e"}"#)
                .contains("no run name")
        );
        for etag in ["*", ""] {
            let body = task("r", "k", etag).body();
            assert!(told(&body).contains("that of no object"), "{body}");
        }
    }

    #[test]
    fn the_group_is_of_the_object_and_the_deduplication_also_of_run_and_version() {
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
        fn any_key_comes_back_from_its_message(key in "\\PC{0,30}", etag in "\"\\PC{0,5}") {
            let task = task("r", &key, &etag);
            prop_assert_eq!(Task::parse(&task.body()).unwrap(), task);
        }
    }
}
