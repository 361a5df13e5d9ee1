//! Every request of a whole run, compared with the services' models, with limits that AWS documents, and with the
//! policies of the roles that the template makes. The local cloud checks none of these.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use flowherd_tests::{
    recording_proxy::Request,
    requests::{
        Call,
        model::Models,
        policy::{Policy, Template, decryption, needed},
        rules,
    },
};
use serde_json::json;
use tempfile::TempDir;

use super::day::{ACCOUNT, DAY};

const REGION: &str = "us-east-1";
const KEY: &str = "arn:aws:kms:us-east-1:000000000000:key/1234abcd-12ab-34cd-56ef-1234567890ab";

fn calls(requests: &[Request]) -> Vec<Call> {
    static MODELS: LazyLock<Models> = LazyLock::new(Models::load);
    let call = |request| MODELS.call(request).unwrap_or_else(|why| panic!("{why}"));
    requests.iter().map(call).collect()
}

fn all_calls() -> Vec<Call> {
    [&DAY.by_worker, &DAY.by_coordinator, &DAY.by_commands].into_iter().flat_map(|by| calls(by)).collect()
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn every_request_of_a_run_is_an_operation_of_the_services_models() {
    let calls = all_calls();
    let operations: BTreeSet<&str> = calls.iter().map(|call| call.operation.as_str()).collect();
    for operation in [
        "CompleteMultipartUpload",
        "CreateMultipartUpload",
        "DeleteObject",
        "DeleteObjects",
        "GetObject",
        "GetQueueAttributes",
        "HeadObject",
        "ListObjectsV2",
        "PurgeQueue",
        "PutObject",
        "ReceiveMessage",
        "SendMessageBatch",
        "StartMessageMoveTask",
        "UploadPart",
    ] {
        assert!(operations.contains(operation), "the run has no {operation}: {operations:?}");
    }
}

#[test]
#[ignore = "needs .venv; run `make test`"]
fn every_request_of_a_run_is_within_the_limits_that_aws_documents() {
    let calls = all_calls();
    let mut broken = Vec::new();
    for rule in rules::all() {
        let verdict = rule.check(&calls);
        assert!(verdict.seen > 0, "the run has nothing for the rule {}", rule.name);
        broken.extend(verdict.broken.iter().map(|what| format!("{} ({}): {what}", rule.name, rule.page)));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The names that the run uses, in place of the template's references.
fn template(directory: &TempDir) -> Template {
    let queue = |name: &str| format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}.fifo");
    let log = |name: &str| format!("arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{name}");
    let references = BTreeMap::from([
        ("AWS::AccountId", ACCOUNT.to_owned()),
        ("AWS::Partition", "aws".to_owned()),
        ("AWS::Region", REGION.to_owned()),
        ("ResultsBucket", "arn:aws:s3:::results".to_owned()),
        ("TasksQueue", queue("tasks")),
        ("TasksDeadLetters", queue("tasks-dead")),
        ("FleetWorkerLog", log("worker")),
        ("PlanningCoordinatorLog", log("coordinator")),
    ]);
    let settings = json!({
        "sourceBucket": "source",
        "prefixes": "firehose/",
        "sourceKmsKeyArn": KEY,
        "namesUrl": "s3://names/names.json",
    });
    Template::synthesize(directory.path(), settings, references)
}

/// Calls that a role does not allow, each named once. A denied `HeadBucket` of the source is no failure: its 403 says that
/// the bucket exists, and names its region.
fn denied(policy: &Policy, calls: &[Call]) -> Vec<String> {
    let arn = |url: &str| format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{}", url.rsplit('/').next().unwrap());
    let is_probe = |call: &&Call| call.operation == "HeadBucket" && call.text("Bucket") == Some("source");
    let accesses: BTreeSet<_> =
        calls.iter().filter(|call| !is_probe(call)).flat_map(|call| needed(call, &arn)).collect();
    let denied = accesses.iter().filter(|access| !policy.allows(access));
    denied.map(|access| format!("{} {} {:?}", access.action, access.resource, access.context)).collect()
}

#[test]
#[ignore = "needs .venv and cdk/node_modules; run `make test`"]
fn the_roles_of_the_template_allow_every_request_that_its_functions_send() {
    let directory = tempfile::tempdir().unwrap();
    let template = template(&directory);
    let worker = template.role("FleetWorkerRole");
    let coordinator = template.role("PlanningCoordinatorRole");
    let none: [String; 0] = [];
    assert_eq!(denied(&worker, &calls(&DAY.by_worker)), none);
    assert_eq!(denied(&coordinator, &calls(&DAY.by_coordinator)), none);
    // Only the worker may decrypt, only through S3, and only in the key's region.
    assert!(worker.allows(&decryption(KEY, REGION)));
    assert!(!worker.allows(&decryption(KEY, "eu-west-1")) && !coordinator.allows(&decryption(KEY, REGION)));

    // Neither role has all permissions of the other.
    assert!(!denied(&worker, &calls(&DAY.by_coordinator)).is_empty());
    assert!(!denied(&coordinator, &calls(&DAY.by_worker)).is_empty());
    // Other prefixes are denied, even one that begins like the stack's.
    for prefix in ["", "fire", "waf/"] {
        let mut list = all_calls()
            .into_iter()
            .find(|call| call.text("Bucket") == Some("source") && call.operation == "ListObjectsV2")
            .unwrap();
        list.input.insert("Prefix".to_owned(), prefix.into());
        assert_eq!(denied(&coordinator, &[list]).len(), 1, "{prefix:?}");
    }
}
