//! Limits of S3.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Call, Rule, Verdict, calls};

pub(super) const RULES: [Rule; 9] = [
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
        name: "a_deletion_of_many_objects_names_1_to_1000_keys",
        page: "https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html",
        check: deletions,
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
];

const S3_CHECKSUMS: [&str; 5] = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"];

/// Returns the checksum algorithms of a call or of a part.
fn checksums(input: &serde_json::Map<String, Value>) -> BTreeSet<&'static str> {
    let is_there = |name: &&str| input.contains_key(&format!("Checksum{name}"));
    S3_CHECKSUMS.into_iter().filter(is_there).collect()
}

/// Returns the bucket and the key of a call.
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
            let (sent, completed) =
                (sent.map(|sent| checksums(&sent.input)), part.as_object().map(checksums));
            verdict.see(sent.is_some() && sent == completed, complete, || {
                format!("part {number} was sent with {sent:?}, and is completed with {completed:?}")
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

fn deletions(all: &[Call], verdict: &mut Verdict) {
    for deletion in calls(all, &["DeleteObjects"]) {
        let keys = deletion.deleted_keys();
        let is_allowed = (1..=1000).contains(&keys.len());
        verdict.see(is_allowed, deletion, || format!("{} keys", keys.len()));
        for key in keys {
            verdict.see(key.len() <= 1024, deletion, || format!("a key of {} bytes", key.len()));
        }
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
        // S3 returns 501 for a write with an ETag in this header.
        if let Some(value) = call.text("IfNoneMatch") {
            verdict.see(value == "*" || (!is_write && is_etag(value)), call, || {
                format!("If-None-Match: {value}")
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::check;

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
    fn a_deletion_of_no_or_too_many_objects_is_refused() {
        let deletion = |keys: usize| {
            let objects: Vec<Value> = (0..keys).map(|key| json!({ "Key": key.to_string() })).collect();
            [("DeleteObjects", json!({ "Bucket": "results", "Delete": { "Objects": objects } }))]
        };
        check(
            "a_deletion_of_many_objects_names_1_to_1000_keys",
            &deletion(1000),
            &[&deletion(0), &deletion(1001)],
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
    fn a_key_or_bucket_name_that_s3_does_not_allow_is_refused() {
        let key = |length: usize| [("GetObject", json!({ "Bucket": "b", "Key": "ü".repeat(length / 2) }))];
        let prefix = [("ListObjectsV2", json!({ "Bucket": "b", "Prefix": "p".repeat(1025) }))];
        check("a_key_has_at_most_1024_bytes", &key(1024), &[&key(1026), &prefix]);
        let bucket = |name: &str| [("HeadBucket", json!({ "Bucket": name }))];
        let bad = ["ab", "Results", "results-", "a..b", &"b".repeat(64)].map(bucket);
        check("a_bucket_has_a_valid_name", &bucket("results.of-1"), &bad.each_ref().map(|bad| &bad[..]));
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
}
