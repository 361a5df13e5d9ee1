//! Limits of SQS.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Call, Rule, Verdict, calls};

pub(super) const RULES: [Rule; 8] = [
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

/// Returns each sent message, single or of a batch.
fn messages(all: &[Call]) -> impl Iterator<Item = (&Call, Value)> {
    calls(all, &["SendMessage", "SendMessageBatch"]).flat_map(|call| {
        let single = (call.operation == "SendMessage").then(|| Value::Object(call.input.clone()));
        call.list("Entries").iter().cloned().chain(single).map(move |message| (call, message))
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
        // A FIFO queue has one delay for all messages; a message cannot have its own.
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
    // The limit applies to the whole batch too.
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
    use serde_json::{Value, json};

    use super::super::tests::check;

    #[test]
    fn a_queue_name_that_is_not_a_fifo_name_is_refused() {
        let queue = |name: &str| [("PurgeQueue", json!({ "QueueUrl": format!("http://h/1/{name}") }))];
        let bad = ["tasks", ".fifo", "ta.sks.fifo", &format!("{}.fifo", "q".repeat(76))].map(queue);
        check("a_fifo_queue_has_a_valid_name", &queue("tasks_1-a.fifo"), &bad.each_ref().map(|bad| &bad[..]));
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
    fn a_message_without_fifo_attributes_or_with_a_body_that_sqs_does_not_accept_is_refused() {
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
    fn a_number_of_seconds_or_messages_that_sqs_does_not_accept_is_refused() {
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
}
