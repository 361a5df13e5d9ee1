//! Limits that AWS documents outside of its models, and that the local cloud does not enforce.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Call;

/// A rule of AWS.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Its name.
    pub name: &'static str,
    /// The page of AWS that states it.
    pub page: &'static str,
    check: fn(&[Call], &mut Verdict),
}

/// The result of a rule over all calls of a run.
#[derive(Debug, Default)]
pub struct Verdict {
    /// How often there was something to check.
    pub seen: usize,
    /// What AWS would have refused.
    pub broken: Vec<String>,
}

impl Rule {
    /// Applies the rule to the calls of a whole run.
    #[must_use]
    pub fn check(&self, calls: &[Call]) -> Verdict {
        let mut verdict = Verdict::default();
        (self.check)(calls, &mut verdict);
        verdict
    }
}

impl Verdict {
    fn see(&mut self, is_allowed: bool, what: &Call, why: impl FnOnce() -> String) {
        self.seen += 1;
        if !is_allowed {
            let of = what.text("Key").or(what.text("Bucket")).or(what.text("QueueUrl")).unwrap_or_default();
            self.broken.push(format!("{} {of:?}: {}", what.operation, why()));
        }
    }
}

/// All rules.
pub const RULES: [Rule; 16] = [
    Rule {
        name: "parts_have_the_checksum_algorithm_that_their_upload_names",
        page: "https://docs.aws.amazon.com/AmazonS3/latest/API/API_UploadPart.html",
        check: checksum_of_parts,
    },
    Rule {
        name: "a_multipart_upload_is_completed_with_the_checksums_of_its_parts",
        page: "https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompletedPart.html",
        check: completed_parts,
    },
    Rule {
        name: "parts_but_the_last_have_at_least_5_mib",
        page: "https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html",
        check: size_of_parts,
    },
    Rule {
        name: "part_numbers_are_1_to_10000",
        page: "https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html",
        check: part_numbers,
    },
    Rule {
        name: "a_key_has_at_most_1024_bytes",
        page: "https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html",
        check: key_lengths,
    },
    Rule {
        name: "a_bucket_has_a_valid_name",
        page: "https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html",
        check: bucket_names,
    },
    Rule {
        name: "a_bucket_is_named_with_its_owner",
        page: "https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-owner-condition.html",
        check: bucket_owners,
    },
    Rule {
        name: "a_conditional_header_is_an_etag_or_any",
        page: "https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-requests.html",
        check: conditions,
    },
    Rule {
        name: "a_fifo_queue_has_a_valid_name",
        page: "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html",
        check: queue_names,
    },
    Rule {
        name: "a_batch_has_1_to_10_entries_with_distinct_ids",
        page: "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessageBatch.html",
        check: batches,
    },
    Rule {
        name: "a_fifo_message_has_a_group_and_a_deduplication_id",
        page: "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html",
        check: fifo_attributes,
    },
    Rule {
        name: "messages_have_at_most_1_mib_of_allowed_characters",
        page: "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html",
        check: bodies,
    },
    Rule {
        name: "a_visibility_timeout_is_0_to_43200_seconds",
        page: "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html",
        check: visibilities,
    },
    Rule {
        name: "a_receive_waits_at_most_20_seconds",
        page: "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html",
        check: waits,
    },
    Rule {
        name: "a_receive_asks_for_1_to_10_messages",
        page: "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html",
        check: receives,
    },
    Rule {
        name: "an_identifier_is_not_empty",
        page: "https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessage.html",
        check: identifiers,
    },
];

const S3_CHECKSUMS: [&str; 5] = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"];

/// The algorithms of the checksums that a call, or a part of it, carries.
fn checksums(input: &serde_json::Map<String, Value>) -> BTreeSet<&'static str> {
    let is_there = |name: &&str| input.contains_key(&format!("Checksum{name}"));
    S3_CHECKSUMS.into_iter().filter(is_there).collect()
}

fn calls<'a>(calls: &'a [Call], operations: &'a [&str]) -> impl Iterator<Item = &'a Call> {
    calls.iter().filter(move |call| operations.contains(&call.operation.as_str()))
}

/// Where an object is.
fn place(call: &Call) -> (Option<&str>, Option<&str>) {
    (call.text("Bucket"), call.text("Key"))
}

fn checksum_of_parts(all: &[Call], verdict: &mut Verdict) {
    let mut named: BTreeMap<_, BTreeSet<&str>> = BTreeMap::new();
    for upload in calls(all, &["CreateMultipartUpload"]) {
        named.entry(place(upload)).or_default().extend(upload.text("ChecksumAlgorithm"));
    }
    for part in calls(all, &["UploadPart"]) {
        let sent: BTreeSet<&str> =
            checksums(&part.input).into_iter().chain(part.text("ChecksumAlgorithm")).collect();
        let named = named.get(&place(part));
        verdict.see(named == Some(&sent), part, || format!("its upload names {named:?}, it has {sent:?}"));
    }
}

fn completed_parts(all: &[Call], verdict: &mut Verdict) {
    for complete in calls(all, &["CompleteMultipartUpload"]) {
        let parts = complete.input.get("MultipartUpload").and_then(|parts| parts["Parts"].as_array());
        let parts = parts.map_or(&[][..], Vec::as_slice);
        verdict.see(!parts.is_empty(), complete, || "it names no parts".to_owned());
        let is_of_upload = |part: &&Call| part.text("UploadId") == complete.text("UploadId");
        for (part, number) in parts.iter().zip(1..) {
            let is_next = part["PartNumber"] == number && part["ETag"].is_string();
            verdict.see(is_next, complete, || format!("part {number} is {part}"));
            let mut sent = calls(all, &["UploadPart"]).filter(is_of_upload);
            let sent = sent.find(|sent| sent.number("PartNumber") == Some(number));
            let (sent, told) = (sent.map(|sent| checksums(&sent.input)), part.as_object().map(checksums));
            verdict.see(sent.is_some() && sent == told, complete, || {
                format!("part {number} was sent with {sent:?}, and is completed with {told:?}")
            });
        }
    }
}

fn size_of_parts(all: &[Call], verdict: &mut Verdict) {
    let number = |part: &Call| part.number("PartNumber");
    for part in calls(all, &["UploadPart"]) {
        let is_after =
            |other: &Call| other.text("UploadId") == part.text("UploadId") && number(other) > number(part);
        let is_last = !calls(all, &["UploadPart"]).any(is_after);
        let bytes = part.body_bytes;
        verdict.see(is_last || bytes >= 5 << 20, part, || format!("{bytes} bytes"));
    }
}

fn part_numbers(all: &[Call], verdict: &mut Verdict) {
    for part in calls(all, &["UploadPart"]) {
        let number = part.number("PartNumber");
        let is_allowed = number.is_some_and(|number| (1..=10_000).contains(&number));
        verdict.see(is_allowed, part, || format!("part {number:?}"));
    }
}

fn key_lengths(all: &[Call], verdict: &mut Verdict) {
    for call in all {
        for key in [call.text("Key"), call.text("Prefix"), call.text("StartAfter")].into_iter().flatten() {
            verdict.see(key.len() <= 1024, call, || format!("{} bytes", key.len()));
        }
    }
}

fn bucket_names(all: &[Call], verdict: &mut Verdict) {
    for call in all.iter().filter(|call| call.service == "s3") {
        let is_allowed = call.text("Bucket").is_some_and(|name| {
            let is_alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            let bytes = name.as_bytes();
            (3..=63).contains(&bytes.len())
                && bytes.iter().all(|byte| is_alphanumeric(*byte) || matches!(byte, b'.' | b'-'))
                && is_alphanumeric(bytes[0])
                && is_alphanumeric(bytes[bytes.len() - 1])
                && !name.contains("..")
        });
        verdict.see(is_allowed, call, || "no name of a bucket".to_owned());
    }
}

fn bucket_owners(all: &[Call], verdict: &mut Verdict) {
    for call in all.iter().filter(|call| call.service == "s3") {
        let owner = call.text("ExpectedBucketOwner");
        let is_account = |owner: &str| owner.len() == 12 && owner.bytes().all(|byte| byte.is_ascii_digit());
        verdict.see(owner.is_some_and(is_account), call, || format!("expected owner {owner:?}"));
    }
}

fn conditions(all: &[Call], verdict: &mut Verdict) {
    let is_etag = |value: &str| {
        let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        inner.is_some_and(|inner| !inner.is_empty() && !inner.contains('"'))
    };
    for call in all {
        let is_write = matches!(call.operation.as_str(), "PutObject" | "CompleteMultipartUpload");
        if let Some(value) = call.text("IfMatch") {
            verdict.see(is_etag(value), call, || format!("If-Match: {value}"));
        }
        // A write takes no ETag here: S3 answers 501.
        if let Some(value) = call.text("IfNoneMatch") {
            verdict.see(value == "*" || (!is_write && is_etag(value)), call, || {
                format!("If-None-Match: {value}")
            });
        }
    }
}

fn queue_names(all: &[Call], verdict: &mut Verdict) {
    for call in all.iter().filter(|call| call.service == "sqs") {
        let Some(url) = call.text("QueueUrl").or(call.text("QueueName")) else { continue };
        let name = url.rsplit('/').next().unwrap_or_default();
        let is_allowed = name.strip_suffix(".fifo").is_some_and(|stem| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            !stem.is_empty() && name.len() <= 80 && stem.bytes().all(fits)
        });
        verdict.see(is_allowed, call, || "no name of a FIFO queue".to_owned());
    }
}

fn batches(all: &[Call], verdict: &mut Verdict) {
    for call in all.iter().filter(|call| call.service == "sqs" && call.operation.ends_with("Batch")) {
        let entries = call.list("Entries");
        verdict.see((1..=10).contains(&entries.len()), call, || format!("{} entries", entries.len()));
        let ids: BTreeSet<&str> = entries.iter().filter_map(|entry| entry["Id"].as_str()).collect();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_id = |id: &&str| (1..=80).contains(&id.len()) && id.bytes().all(fits);
        verdict.see(ids.len() == entries.len() && ids.iter().all(is_id), call, || format!("ids {ids:?}"));
    }
}

/// Each message that is sent, alone or in a batch.
fn messages(all: &[Call]) -> impl Iterator<Item = (&Call, Value)> {
    calls(all, &["SendMessage", "SendMessageBatch"]).flat_map(|call| {
        let alone = (call.operation == "SendMessage").then(|| Value::Object(call.input.clone()));
        call.list("Entries").iter().cloned().chain(alone).map(move |message| (call, message))
    })
}

fn fifo_attributes(all: &[Call], verdict: &mut Verdict) {
    for (call, message) in messages(all) {
        for attribute in ["MessageGroupId", "MessageDeduplicationId"] {
            let value = message[attribute].as_str().unwrap_or_default();
            // Letters, digits and punctuation of ASCII.
            let is_allowed =
                (1..=128).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic());
            verdict.see(is_allowed, call, || format!("{attribute} {value:?}"));
        }
        // A FIFO queue takes a delay for all messages only, of the queue itself.
        verdict.see(message.get("DelaySeconds").is_none(), call, || "a delay of its own".to_owned());
    }
}

fn bodies(all: &[Call], verdict: &mut Verdict) {
    let is_allowed = |character: char| matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    for (call, message) in messages(all) {
        let body = message["MessageBody"].as_str().unwrap_or_default();
        let bytes = body.len();
        verdict.see((1..=1 << 20).contains(&bytes), call, || format!("{bytes} bytes"));
        verdict.see(body.chars().all(is_allowed), call, || format!("characters of {body:?}"));
    }
    // The limit is also that of a batch.
    for call in calls(all, &["SendMessageBatch"]) {
        let body = |entry: &Value| entry["MessageBody"].as_str().map_or(0, str::len);
        let bytes: usize = call.list("Entries").iter().map(body).sum();
        verdict.see(bytes <= 1 << 20, call, || format!("{bytes} bytes in a batch"));
    }
}

fn visibilities(all: &[Call], verdict: &mut Verdict) {
    for call in all.iter().filter(|call| call.service == "sqs") {
        let entries = call.list("Entries").iter().map(|entry| entry["VisibilityTimeout"].as_i64());
        for seconds in entries.chain([call.number("VisibilityTimeout")]).flatten() {
            verdict.see((0..=43_200).contains(&seconds), call, || format!("{seconds} seconds"));
        }
    }
}

fn waits(all: &[Call], verdict: &mut Verdict) {
    for call in calls(all, &["ReceiveMessage"]) {
        let seconds = call.number("WaitTimeSeconds").unwrap_or_default();
        verdict.see((0..=20).contains(&seconds), call, || format!("{seconds} seconds"));
    }
}

fn receives(all: &[Call], verdict: &mut Verdict) {
    for call in calls(all, &["ReceiveMessage"]) {
        let count = call.number("MaxNumberOfMessages").unwrap_or(1);
        verdict.see((1..=10).contains(&count), call, || format!("{count} messages"));
    }
}

fn identifiers(all: &[Call], verdict: &mut Verdict) {
    for call in all {
        let own = ["UploadId", "ReceiptHandle", "SourceArn", "QueueUrl"].map(|name| (name, call.text(name)));
        let handles = call.list("Entries").iter();
        let handles = handles.map(|entry| ("ReceiptHandle", entry["ReceiptHandle"].as_str()));
        for (name, value) in own.into_iter().chain(handles) {
            if let Some(value) = value {
                verdict.see(!value.is_empty(), call, || format!("an empty {name}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(operation: &str, input: &Value) -> Call {
        let is_s3 = input.get("Bucket").is_some();
        Call {
            service: if is_s3 { "s3" } else { "sqs" },
            operation: operation.to_owned(),
            input: input.as_object().unwrap().clone(),
            body_bytes: input["body"].as_u64().unwrap_or_default() as usize,
        }
    }

    /// The rule has something to check in both, refuses the bad calls and takes the good ones.
    fn check(name: &str, good: &[(&str, Value)], bad: &[&[(&str, Value)]]) {
        let rule = RULES.iter().find(|rule| rule.name == name).unwrap();
        let calls = |all: &[(&str, Value)]| -> Vec<Call> {
            all.iter().map(|(operation, input)| call(operation, input)).collect()
        };
        let verdict = rule.check(&calls(good));
        assert!(verdict.seen > 0 && verdict.broken.is_empty(), "{name}: {verdict:?}");
        for bad in bad {
            let verdict = rule.check(&calls(bad));
            assert!(!verdict.broken.is_empty(), "{name}: {bad:?}");
        }
    }

    /// A multipart upload of parts with these lengths and checksums, completed with these checksums.
    fn upload(algorithm: Option<&str>, parts: &[(u64, &str)], completed: &str) -> Vec<(&'static str, Value)> {
        let mut create = json!({ "Bucket": "results", "Key": "k" });
        if let Some(algorithm) = algorithm {
            create["ChecksumAlgorithm"] = algorithm.into();
        }
        let mut all = vec![("CreateMultipartUpload", create)];
        let mut named = Vec::new();
        for ((body, checksum), number) in parts.iter().zip(1..) {
            let mut part = json!({ "Bucket": "results", "Key": "k", "UploadId": "u", "PartNumber": number });
            part["body"] = (*body).into();
            part[format!("Checksum{checksum}")] = "AAAAAA==".into();
            all.push(("UploadPart", part));
            let mut part = json!({ "PartNumber": number, "ETag": "\"e\"" });
            part[format!("Checksum{completed}")] = "AAAAAA==".into();
            named.push(part);
        }
        let complete = json!({ "Bucket": "results", "Key": "k", "UploadId": "u", "MultipartUpload": { "Parts": named } });
        all.push(("CompleteMultipartUpload", complete));
        all
    }

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_part_whose_checksum_its_upload_does_not_name_is_refused() {
        let parts = [(16 * MIB, "CRC32"), (1, "CRC32")];
        check(
            "parts_have_the_checksum_algorithm_that_their_upload_names",
            &upload(Some("CRC32"), &parts, "CRC32"),
            &[
                &upload(None, &parts, "CRC32"),
                &upload(Some("CRC32C"), &parts, "CRC32"),
                &[upload(Some("CRC32"), &parts, "CRC32")[1].clone()],
            ],
        );
    }

    #[test]
    fn an_upload_completed_without_a_part_or_its_checksum_is_refused() {
        let parts = [(16 * MIB, "CRC32"), (1, "CRC32")];
        let mut gap = upload(Some("CRC32"), &parts, "CRC32");
        gap[3].1["MultipartUpload"]["Parts"].as_array_mut().unwrap().remove(0);
        check(
            "a_multipart_upload_is_completed_with_the_checksums_of_its_parts",
            &upload(Some("CRC32"), &parts, "CRC32"),
            &[&upload(Some("CRC32"), &parts, "SHA1"), &upload(Some("CRC32"), &[], "CRC32"), &gap],
        );
    }

    #[test]
    fn a_part_of_a_wrong_size_or_number_is_refused() {
        let small = upload(Some("CRC32"), &[(5 * MIB - 1, "CRC32"), (1, "CRC32")], "CRC32");
        let good = upload(Some("CRC32"), &[(5 * MIB, "CRC32"), (1, "CRC32")], "CRC32");
        check("parts_but_the_last_have_at_least_5_mib", &good, &[&small]);
        let numbered = |number: i64| {
            [(
                "UploadPart",
                json!({ "Bucket": "results", "Key": "k", "UploadId": "u", "PartNumber": number }),
            )]
        };
        let bad = [numbered(0), numbered(10_001)];
        check("part_numbers_are_1_to_10000", &numbered(10_000), &[&bad[0], &bad[1]]);
    }

    #[test]
    fn a_name_that_is_too_long_or_has_other_characters_is_refused() {
        let key = |length: usize| [("GetObject", json!({ "Bucket": "b", "Key": "ü".repeat(length / 2) }))];
        let prefix = [("ListObjectsV2", json!({ "Bucket": "b", "Prefix": "p".repeat(1025) }))];
        check("a_key_has_at_most_1024_bytes", &key(1024), &[&key(1026), &prefix]);
        let bucket = |name: &str| [("HeadBucket", json!({ "Bucket": name }))];
        let bad = ["ab", "Results", "results-", "a..b", &"b".repeat(64)].map(bucket);
        check("a_bucket_has_a_valid_name", &bucket("results.of-1"), &bad.each_ref().map(|bad| &bad[..]));
        let queue = |name: &str| [("PurgeQueue", json!({ "QueueUrl": format!("http://h/1/{name}") }))];
        let bad = ["tasks", ".fifo", "ta.sks.fifo", &format!("{}.fifo", "q".repeat(76))].map(queue);
        check("a_fifo_queue_has_a_valid_name", &queue("tasks_1-a.fifo"), &bad.each_ref().map(|bad| &bad[..]));
    }

    #[test]
    fn a_bucket_without_its_owner_is_refused() {
        let owned = |owner: Option<&str>| {
            let mut input = json!({ "Bucket": "results", "Key": "k" });
            if let Some(owner) = owner {
                input["ExpectedBucketOwner"] = owner.into();
            }
            [("HeadObject", input)]
        };
        let bad = [owned(None), owned(Some("me"))];
        check("a_bucket_is_named_with_its_owner", &owned(Some("000000000000")), &[&bad[0], &bad[1]]);
    }

    #[test]
    fn a_condition_that_s3_does_not_understand_is_refused() {
        let with = |operation: &'static str, condition: &str, value: &str| {
            [(operation, json!({ "Bucket": "results", "Key": "k", condition: value }))]
        };
        let name = "a_conditional_header_is_an_etag_or_any";
        let bad = [
            with("GetObject", "IfMatch", "abc"),
            with("GetObject", "IfMatch", "\"\""),
            with("PutObject", "IfNoneMatch", "\"abc\""),
        ];
        check(name, &with("GetObject", "IfMatch", "\"abc-2\""), &bad.each_ref().map(|bad| &bad[..]));
        check(name, &with("PutObject", "IfNoneMatch", "*"), &[]);
    }

    #[test]
    fn a_batch_of_a_wrong_size_or_with_ids_that_are_not_distinct_is_refused() {
        let batch = |ids: &[&str]| {
            let entries: Vec<Value> =
                ids.iter().map(|id| json!({ "Id": id, "ReceiptHandle": "h" })).collect();
            [("DeleteMessageBatch", json!({ "QueueUrl": "u", "Entries": entries }))]
        };
        let eleven: Vec<String> = (0..11).map(|id| id.to_string()).collect();
        let eleven: Vec<&str> = eleven.iter().map(String::as_str).collect();
        let bad = [&[][..], &eleven, &["1", "1"], &["a b"], &[""], &["i".repeat(81).as_str()]].map(batch);
        let name = "a_batch_has_1_to_10_entries_with_distinct_ids";
        check(name, &batch(&eleven[..10]), &bad.each_ref().map(|bad| &bad[..]));
    }

    #[test]
    fn a_message_without_fifo_attributes_or_with_a_body_that_sqs_does_not_take_is_refused() {
        let send = |changes: Value| {
            let mut message =
                json!({ "MessageBody": "b", "MessageGroupId": "g", "MessageDeduplicationId": "d" });
            for (name, value) in changes.as_object().unwrap() {
                message[name] = value.clone();
            }
            message["QueueUrl"] = "u".into();
            [("SendMessage", message)]
        };
        let bad = [
            json!({ "MessageGroupId": "" }),
            json!({ "MessageGroupId": "g".repeat(129) }),
            json!({ "MessageGroupId": "a b" }),
            json!({ "MessageDeduplicationId": null }),
            json!({ "MessageDeduplicationId": "ü" }),
            json!({ "DelaySeconds": 1 }),
        ]
        .map(send);
        let name = "a_fifo_message_has_a_group_and_a_deduplication_id";
        check(name, &send(json!({ "MessageGroupId": "g".repeat(128) })), &bad.each_ref().map(|bad| &bad[..]));
        let bad = [
            json!({ "MessageBody": "" }),
            json!({ "MessageBody": "b".repeat((1 << 20) + 1) }),
            json!({ "MessageBody": "\u{1}" }),
            json!({ "MessageBody": "\u{ffff}" }),
        ]
        .map(send);
        let half = json!({ "MessageBody": "b".repeat((1 << 19) + 1) });
        let batch = [("SendMessageBatch", json!({ "QueueUrl": "u", "Entries": [half, half] }))];
        let bad: Vec<&[_]> = bad.iter().map(|bad| &bad[..]).chain([&batch[..]]).collect();
        let name = "messages_have_at_most_1_mib_of_allowed_characters";
        check(name, &send(json!({ "MessageBody": "b".repeat(1 << 20) })), &bad);
    }

    #[test]
    fn a_number_of_seconds_or_messages_that_sqs_does_not_take_is_refused() {
        let hide = |seconds: i64| {
            let input = json!({ "QueueUrl": "u", "ReceiptHandle": "h", "VisibilityTimeout": seconds });
            [("ChangeMessageVisibility", input)]
        };
        let entry = json!({ "Id": "1", "ReceiptHandle": "h", "VisibilityTimeout": 43_201 });
        let batch = [("ChangeMessageVisibilityBatch", json!({ "QueueUrl": "u", "Entries": [entry] }))];
        let name = "a_visibility_timeout_is_0_to_43200_seconds";
        check(name, &hide(43_200), &[&hide(43_201), &hide(-1), &batch]);
        let receive =
            |member: &str, value: i64| [("ReceiveMessage", json!({ "QueueUrl": "u", member: value }))];
        let wait = |seconds| receive("WaitTimeSeconds", seconds);
        check("a_receive_waits_at_most_20_seconds", &wait(20), &[&wait(21), &wait(-1)]);
        let count = |count| receive("MaxNumberOfMessages", count);
        check("a_receive_asks_for_1_to_10_messages", &count(10), &[&count(11), &count(0)]);
    }

    #[test]
    fn an_empty_identifier_is_refused() {
        let delete = |handle: &str| [("DeleteMessage", json!({ "QueueUrl": "u", "ReceiptHandle": handle }))];
        let entry = json!({ "Id": "1", "ReceiptHandle": "" });
        let batch = [("DeleteMessageBatch", json!({ "QueueUrl": "u", "Entries": [entry] }))];
        let upload = [("AbortMultipartUpload", json!({ "Bucket": "results", "Key": "k", "UploadId": "" }))];
        check("an_identifier_is_not_empty", &delete("h"), &[&delete(""), &batch, &upload]);
    }

    #[test]
    fn every_rule_has_a_page_and_a_name_of_its_own() {
        let names: BTreeSet<&str> = RULES.iter().map(|rule| rule.name).collect();
        assert_eq!(names.len(), RULES.len());
        assert!(RULES.iter().all(|rule| rule.page.starts_with("https://docs.aws.amazon.com/")));
    }
}
