//! Messages of the arrivals queue: events that S3 sends through `EventBridge`, or notifications that it sends to the queue
//! itself. Nothing is dropped: a message that is neither is an error, and becomes a dead-letter message.

use flowherd_shared::{limits::MAX_KEY_BYTES, store::ManifestEntry};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::Value;

/// Maximum bytes of a message: that of SQS
/// (<https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html>).
pub const MAX_ARRIVAL_BYTES: usize = 1 << 20;

/// The event in a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// An object was created or replaced.
    Created(Created),
    /// Another event, such as that of a deleted object, or the test event that S3 sends when notifications are configured.
    Other(String),
}

/// An object was created or replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Its bucket.
    pub bucket: String,
    /// The object, as a listing returns it.
    pub object: ManifestEntry,
    /// When S3 wrote it.
    pub time: Timestamp,
}

/// Why a message is no event of S3 that this coordinator reads.
#[derive(Debug, thiserror::Error)]
pub enum NoticeError {
    /// Not the JSON of an event.
    #[error("the message is not an event of S3: {0}")]
    Malformed(#[from] serde_json::Error),
    /// An event without a part that every event has.
    #[error("the message is not an event of S3: {0}")]
    Incomplete(String),
    /// An event of a newer format.
    #[error(
        "the event has version {0:?}, but this coordinator reads version {1}; deploy a newer version and redrive"
    )]
    Version(String, &'static str),
    /// Longer than any event.
    #[error("the message has {0} bytes, and an event at most {MAX_ARRIVAL_BYTES}; another program sent it")]
    TooLong(usize),
}

/// An event through `EventBridge` (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html>). Its key is not
/// encoded.
#[derive(Deserialize)]
struct Bridged {
    version: String,
    #[serde(rename = "detail-type")]
    detail_type: String,
    source: String,
    time: String,
    detail: Value,
}

#[derive(Deserialize)]
struct Detail {
    version: String,
    /// The version of the schema; absent in events from before 2026.
    #[serde(default, rename = "event-version")]
    event_version: Option<String>,
    bucket: BucketName,
    object: BridgedObject,
}

#[derive(Deserialize)]
struct BucketName {
    name: String,
}

#[derive(Deserialize)]
struct BridgedObject {
    key: String,
    size: u64,
    etag: String,
}

/// A notification (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>).
#[derive(Deserialize)]
struct Notification {
    #[serde(rename = "Records")]
    records: Vec<Record>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    event_version: String,
    event_source: String,
    event_time: String,
    event_name: String,
    s3: Value,
}

#[derive(Deserialize)]
struct Notified {
    bucket: BucketName,
    object: NotifiedObject,
}

#[derive(Deserialize)]
struct NotifiedObject {
    /// Encoded as in a form.
    key: String,
    size: u64,
    #[serde(rename = "eTag")]
    etag: String,
}

/// Parses a message. A notification may have several records; each gives a notice or an error.
#[must_use]
pub fn parse(body: &str) -> Vec<Result<Notice, NoticeError>> {
    if body.len() > MAX_ARRIVAL_BYTES {
        return vec![Err(NoticeError::TooLong(body.len()))];
    }
    let message: Value = match serde_json::from_str(body) {
        Ok(message) => message,
        Err(error) => return vec![Err(error.into())],
    };
    if message.get("Records").is_some() {
        return match serde_json::from_value::<Notification>(message) {
            Ok(notification) => notification.records.into_iter().map(of_record).collect(),
            Err(error) => vec![Err(error.into())],
        };
    }
    // S3 sends it when notifications to the queue are configured.
    if message.get("Event").and_then(Value::as_str) == Some("s3:TestEvent") {
        return vec![Ok(Notice::Other("s3:TestEvent".to_owned()))];
    }
    vec![of_bridge(message)]
}

fn of_bridge(message: Value) -> Result<Notice, NoticeError> {
    let event: Bridged = serde_json::from_value(message)?;
    if event.source != "aws.s3" {
        return Err(NoticeError::Incomplete(format!("its source is {:?}, not \"aws.s3\"", event.source)));
    }
    if event.version != "0" {
        return Err(NoticeError::Version(event.version, "0"));
    }
    if event.detail_type != "Object Created" {
        return Ok(Notice::Other(event.detail_type));
    }
    let Detail { version, event_version, bucket, object } = serde_json::from_value(event.detail)?;
    if version != "0" {
        return Err(NoticeError::Version(version, "0"));
    }
    check_version(event_version.as_deref().unwrap_or("1.0"), "1")?;
    created(bucket.name, object.key, (object.size, &object.etag), &event.time)
}

fn of_record(record: Record) -> Result<Notice, NoticeError> {
    if record.event_source != "aws:s3" {
        let source = record.event_source;
        return Err(NoticeError::Incomplete(format!("its source is {source:?}, not \"aws:s3\"")));
    }
    check_version(&record.event_version, "2")?;
    if !record.event_name.starts_with("ObjectCreated:") {
        return Ok(Notice::Other(record.event_name));
    }
    let Notified { bucket, object } = serde_json::from_value(record.s3)?;
    let key = percent_decode_str(&object.key.replace('+', "%20")).decode_utf8().map(String::from);
    let key = key.map_err(|_| NoticeError::Incomplete(format!("its key {:?} is not UTF-8", object.key)))?;
    created(bucket.name, key, (object.size, &object.etag), &record.event_time)
}

/// A new minor version adds members. A new major version changes their meaning
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>).
fn check_version(version: &str, major: &'static str) -> Result<(), NoticeError> {
    if version.split('.').next() == Some(major) {
        return Ok(());
    }
    Err(NoticeError::Version(version.to_owned(), major))
}

fn created(
    bucket: String,
    key: String,
    (size, etag): (u64, &str),
    time: &str,
) -> Result<Notice, NoticeError> {
    let time = time.parse().map_err(|_| NoticeError::Incomplete(format!("its time {time:?} is no time")))?;
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(NoticeError::Incomplete(format!("its key has {} bytes", key.len())));
    }
    let etag = etag.trim_matches('"');
    // S3 matches an empty ETag with nothing and `*` with any version.
    if matches!(etag, "" | "*") {
        return Err(NoticeError::Incomplete(format!("the object {key:?} has no ETag")));
    }
    // Listings and responses have the quotes, events have not.
    let object = ManifestEntry { key, size, etag: format!("\"{etag}\"") };
    Ok(Notice::Created(Created { bucket, object, time }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bridged() -> Value {
        json!({
            "version": "0", "id": "17793124-05d4-b198-2fde-7ededc63b103", "detail-type": "Object Created",
            "source": "aws.s3", "account": "111122223333", "time": "2026-02-18T10:00:00Z", "region": "eu-west-1",
            "resources": ["arn:aws:s3:::logs"],
            "detail": {
                "version": "0", "event-version": "1.0", "bucket": {"name": "logs"},
                "object": {"key": "p/a b+c%20ü", "size": 5, "etag": "b1946ac92492d2347c6235b4d2611184",
                    "version-id": "IYV3p45BT0ac8hjHg1houSdS1a.Mro8e", "sequencer": "617f08299329d189"},
                "request-id": "N4N7GDK58NMKJ12R", "requester": "123456789012", "source-ip-address": "1.2.3.4",
                "reason": "PutObject"
            }
        })
    }

    fn record() -> Value {
        json!({
            "eventVersion": "2.5", "eventSource": "aws:s3", "awsRegion": "eu-west-1",
            "eventTime": "2026-02-18T10:00:00.123Z", "eventName": "ObjectCreated:Put",
            "s3": {
                "s3SchemaVersion": "1.0", "bucket": {"name": "logs", "arn": "arn:aws:s3:::logs"},
                "object": {"key": "p/a+b%2Bc%2520%C3%BC", "size": 5, "eTag": "b1946ac92492d2347c6235b4d2611184",
                    "sequencer": "0055AED6DCD90281E5"}
            }
        })
    }

    fn one(message: &Value) -> Result<Notice, NoticeError> {
        let mut parsed = parse(&message.to_string());
        assert_eq!(parsed.len(), 1, "{message}");
        parsed.remove(0)
    }

    fn object() -> ManifestEntry {
        let etag = "\"b1946ac92492d2347c6235b4d2611184\"".to_owned();
        ManifestEntry { key: "p/a b+c%20ü".to_owned(), size: 5, etag }
    }

    #[test]
    fn an_event_gives_the_object_as_it_is_listed_and_a_notification_with_an_encoded_key_too() {
        let Notice::Created(created) = one(&bridged()).unwrap() else { panic!("created") };
        assert_eq!((created.bucket.as_str(), &created.object), ("logs", &object()));
        let Notice::Created(created) = one(&json!({"Records": [record()]})).unwrap() else {
            panic!("created")
        };
        assert_eq!((created.bucket.as_str(), &created.object), ("logs", &object()));
        assert_eq!(created.time, "2026-02-18T10:00:00.123Z".parse().unwrap());
    }

    #[test]
    fn each_record_of_a_notification_counts_by_itself() {
        let mut removed = record();
        removed["eventName"] = json!("ObjectRemoved:Delete");
        let mut newer = record();
        newer["eventVersion"] = json!("3.0");
        let parsed = parse(&json!({"Records": [removed, newer, record()]}).to_string());
        assert!(
            matches!(&parsed[0], Ok(Notice::Other(name)) if name == "ObjectRemoved:Delete"),
            "{parsed:?}"
        );
        assert!(matches!(&parsed[1], Err(NoticeError::Version(..))), "{parsed:?}");
        assert!(matches!(&parsed[2], Ok(Notice::Created(_))), "{parsed:?}");
    }

    #[test]
    fn other_events_and_the_test_event_are_recognised() {
        let test = json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2026-02-18T10:00:00.000Z",
            "Bucket": "logs", "RequestId": "5582815E1AEA5ADF", "HostId": "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR"});
        assert!(matches!(one(&test).unwrap(), Notice::Other(name) if name == "s3:TestEvent"));
        let mut deleted = bridged();
        deleted["detail-type"] = json!("Object Deleted");
        deleted["detail"]["object"] = json!({"key": "p/a"});
        assert!(matches!(one(&deleted).unwrap(), Notice::Other(name) if name == "Object Deleted"));
    }

    #[test]
    fn any_other_message_is_an_error_with_the_reason() {
        let with = |pointer: &str, value: Value| {
            let mut event = bridged();
            *event.pointer_mut(pointer).unwrap() = value;
            one(&event).unwrap_err().to_string()
        };
        assert!(with("/version", json!("1")).contains("version \"1\""));
        assert!(with("/detail/version", json!("1")).contains("version \"1\""));
        assert!(with("/detail/event-version", json!("2.0")).contains("version \"2.0\""));
        assert!(with("/source", json!("aws.ec2")).contains("\"aws.ec2\""));
        assert!(with("/detail/object/size", json!(null)).contains("invalid type: null"));
        assert!(with("/detail/object/etag", json!("")).contains("no ETag"));
        assert!(with("/detail/object/etag", json!("\"*\"")).contains("no ETag"));
        assert!(with("/detail/object/key", json!("")).contains("0 bytes"));
        assert!(with("/detail/object/key", json!("k".repeat(1025))).contains("1025 bytes"));
        assert!(with("/time", json!("yesterday")).contains("not an event of S3"));
        let mut encoded = record();
        encoded["s3"]["object"]["key"] = json!("%FF");
        assert!(one(&json!({"Records": [encoded]})).unwrap_err().to_string().contains("not UTF-8"));
        for body in ["", "{}", "[]", "null", "7", "{\"Records\":7}", &"[".repeat(10_000)] {
            let error = parse(body).remove(0).unwrap_err().to_string();
            assert!(error.starts_with("the message is not an event of S3"), "{error}");
        }
        assert!(
            parse(&" ".repeat(MAX_ARRIVAL_BYTES + 1)).remove(0).unwrap_err().to_string().contains("1048577")
        );
    }
}
