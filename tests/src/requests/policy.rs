//! Evaluates the policies of the stack's roles for the calls of a run, with resources and conditions, as IAM does
//! (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html>). The local cloud evaluates
//! none.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use serde_json::{Map, Value};

use super::Call;

/// The stack's template, with the values of its references.
#[derive(Debug)]
pub struct Template {
    resources: Map<String, Value>,
    /// Values of `Ref` and `Fn::GetAtt … Arn`, by the beginning of the logical id.
    references: BTreeMap<&'static str, String>,
}

/// An access that IAM evaluates.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Access {
    /// The action, such as `s3:GetObject`.
    pub action: String,
    /// The ARN of the resource.
    pub resource: String,
    /// Condition keys of the request.
    pub context: BTreeMap<&'static str, String>,
}

/// The statements of one or more policies.
#[derive(Debug)]
pub struct Policy {
    statements: Vec<Value>,
}

impl Template {
    /// Synthesizes the stack with these settings, in `directory`. `references` gives the ARN or name of resources.
    ///
    /// # Panics
    /// If the CDK is not installed, or refuses the settings.
    #[must_use]
    pub fn synthesize(
        directory: &Path,
        mut settings: Value,
        references: BTreeMap<&'static str, String>,
    ) -> Self {
        for name in ["flowherd-coordinator", "flowherd-worker"] {
            let function = directory.join("artifacts").join(name);
            fs::create_dir_all(&function).unwrap();
            fs::write(function.join("bootstrap"), "#!/bin/sh\n").unwrap();
        }
        settings["artifacts"] = directory.join("artifacts").to_str().unwrap().into();
        let cdk = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("cdk");
        assert!(cdk.join("node_modules").exists(), "no cdk/node_modules: `make test` installs it");
        let out = directory.join("cdk.out");
        // Runs the app as the CDK's command does, because the command takes seconds longer.
        let output = Command::new("node")
            .args(["--import", "tsx", "bin/flowherd.ts"])
            .current_dir(cdk)
            .env("CDK_CONTEXT_JSON", settings.to_string())
            .env("CDK_OUTDIR", &out)
            .output()
            .expect("node starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let file = out.join("Flowherd.template.json");
        let template = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut template: Value = serde_json::from_slice(&template).unwrap();
        let resources = template["Resources"].as_object_mut().map(std::mem::take).expect("resources");
        Self { resources, references }
    }

    /// Returns the policies of the role whose logical id begins with `id`.
    ///
    /// # Panics
    /// If there is none, or one has a reference that is not known.
    #[must_use]
    pub fn role(&self, id: &str) -> Policy {
        let policies = self
            .resources
            .iter()
            .filter(|(logical, resource)| resource["Type"] == "AWS::IAM::Policy" && logical.starts_with(id));
        let statements: Vec<Value> = policies
            .flat_map(|(_, policy)| {
                match self.resolve(&policy["Properties"]["PolicyDocument"]["Statement"]) {
                    Value::Array(statements) => statements,
                    statement => panic!("{id}: {statement}"),
                }
            })
            .collect();
        assert!(!statements.is_empty(), "{id} has no policy");
        Policy { statements }
    }

    /// Returns a property of the only resource of that type, with its references.
    ///
    /// # Panics
    /// If there is no or more than one resource of that type.
    #[must_use]
    pub fn property(&self, kind: &str, name: &str) -> &Value {
        let found: Vec<&Value> =
            self.resources.values().filter(|resource| resource["Type"] == kind).collect();
        let [resource] = found.as_slice() else { panic!("{} resources of type {kind}", found.len()) };
        &resource["Properties"][name]
    }

    /// Replaces references by their values.
    ///
    /// # Panics
    /// If a reference is not known.
    #[must_use]
    pub fn resolve(&self, value: &Value) -> Value {
        match value {
            Value::Array(values) => values.iter().map(|value| self.resolve(value)).collect(),
            Value::Object(object) => match object.iter().next() {
                Some((function, argument)) if object.len() == 1 && function == "Ref" => {
                    self.reference(argument.as_str().unwrap()).into()
                }
                Some((function, argument)) if object.len() == 1 && function == "Fn::GetAtt" => {
                    assert_eq!(argument[1], "Arn", "{value}");
                    self.reference(argument[0].as_str().unwrap()).into()
                }
                Some((function, argument)) if object.len() == 1 && function == "Fn::Join" => {
                    let parts = self.resolve(&argument[1]);
                    let parts = parts.as_array().unwrap().iter().map(|part| part.as_str().unwrap());
                    parts.collect::<Vec<_>>().join(argument[0].as_str().unwrap()).into()
                }
                _ => {
                    let resolved = object.iter().map(|(name, value)| (name.clone(), self.resolve(value)));
                    Value::Object(resolved.collect())
                }
            },
            value => value.clone(),
        }
    }

    fn reference(&self, logical: &str) -> &str {
        let found = self.references.iter().filter(|(known, _)| logical.starts_with(**known));
        let longest = found.max_by_key(|(known, _)| known.len());
        longest.map_or_else(|| panic!("no value for the reference {logical}"), |(_, value)| value)
    }
}

impl Policy {
    /// Returns whether IAM allows the access.
    ///
    /// # Panics
    /// If a statement has an element or a condition that this function does not evaluate.
    #[must_use]
    pub fn allows(&self, access: &Access) -> bool {
        let matching = |effect: &str| {
            let applies = |statement: &&Value| statement["Effect"] == effect && applies(statement, access);
            self.statements.iter().any(|statement| applies(&statement))
        };
        matching("Allow") && !matching("Deny")
    }
}

fn applies(statement: &Value, access: &Access) -> bool {
    for element in statement.as_object().expect("a statement").keys() {
        let is_known = ["Sid", "Effect", "Action", "Resource", "Condition"].contains(&element.as_str());
        assert!(is_known, "not evaluated: {statement}");
    }
    // Actions are case-insensitive, resources are not.
    let is_action =
        |pattern: &str| is_like(&pattern.to_ascii_lowercase(), &access.action.to_ascii_lowercase());
    texts(&statement["Action"]).any(is_action)
        && texts(&statement["Resource"]).any(|pattern| is_like(pattern, &access.resource))
        && statement["Condition"].as_object().is_none_or(|conditions| {
            conditions.iter().all(|(operator, keys)| {
                keys.as_object().expect("condition keys").iter().all(|(key, allowed)| {
                    let given = access.context.get(key.as_str());
                    let mut allowed = texts(allowed);
                    // If the request lacks the key, neither operator matches.
                    given.is_some_and(|given| match operator.as_str() {
                        "StringLike" => allowed.any(|pattern| is_like(pattern, given)),
                        "StringEquals" => allowed.any(|value| value == given),
                        _ => panic!("not evaluated: {statement}"),
                    })
                })
            })
        })
}

/// The strings of a value that is one or a list.
fn texts(value: &Value) -> Box<dyn Iterator<Item = &str> + '_> {
    match value {
        Value::Array(values) => Box::new(values.iter().map(|value| value.as_str().expect("a string"))),
        value => Box::new(std::iter::once(value.as_str().unwrap_or_else(|| panic!("no string: {value}")))),
    }
}

/// Returns whether a text matches a pattern in which `*` is any text and `?` any character.
fn is_like(pattern: &str, text: &str) -> bool {
    let pattern = regex::escape(pattern).replace("\\*", "(?s:.*)").replace("\\?", "(?s:.)");
    regex::Regex::new(&format!("^{pattern}$")).unwrap().is_match(text)
}

/// Returns the accesses that a call needs, including those that S3 or SQS makes on behalf of the caller.
///
/// # Panics
/// For operations that no role needs.
#[must_use]
pub fn needed(call: &Call, arn_of_queue: &dyn Fn(&str) -> String) -> Vec<Access> {
    let access = |action: &str, resource: String, context: &[(&'static str, Option<&str>)]| Access {
        action: format!("{}:{action}", call.service),
        resource,
        context: context
            .iter()
            .filter_map(|(key, value)| Some((*key, value.as_ref()?.to_string())))
            .collect(),
    };
    if call.service == "s3" {
        let bucket = format!("arn:aws:s3:::{}", call.text("Bucket").unwrap());
        let object = || format!("{bucket}/{}", call.text("Key").unwrap());
        if call.operation == "DeleteObjects" {
            let keys = call.deleted_keys().into_iter();
            return keys.map(|key| access("DeleteObject", format!("{bucket}/{key}"), &[])).collect();
        }
        // https://docs.aws.amazon.com/AmazonS3/latest/userguide/using-with-s3-policy-actions.html
        return vec![match call.operation.as_str() {
            // Without a prefix, the request has an empty `s3:prefix`.
            "ListObjectsV2" => access(
                "ListBucket",
                bucket,
                &[
                    ("s3:prefix", Some(call.text("Prefix").unwrap_or_default())),
                    ("s3:delimiter", call.text("Delimiter")),
                ],
            ),
            "HeadBucket" => access("ListBucket", bucket, &[]),
            "GetObject" | "HeadObject" => access("GetObject", object(), &[]),
            "PutObject" | "CreateMultipartUpload" | "UploadPart" | "CompleteMultipartUpload" => {
                access("PutObject", object(), &[])
            }
            operation @ ("DeleteObject" | "AbortMultipartUpload") => access(operation, object(), &[]),
            operation => panic!("no permissions are known for {operation}"),
        }];
    }
    let queue = |member: &str| arn_of_queue(call.text(member).unwrap());
    match call.operation.as_str() {
        // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html
        "StartMessageMoveTask" => {
            ["StartMessageMoveTask", "ReceiveMessage", "DeleteMessage", "GetQueueAttributes"]
                .map(|action| access(action, call.text("SourceArn").unwrap().to_owned(), &[]))
                .to_vec()
        }
        "GetQueueUrl" => vec![access("GetQueueUrl", arn_of_queue(call.text("QueueName").unwrap()), &[])],
        operation => vec![access(operation.trim_end_matches("Batch"), queue("QueueUrl"), &[])],
    }
}

/// Returns the access to KMS that reading an object of a bucket with SSE-KMS needs
/// (<https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html>).
#[must_use]
pub fn decryption(key: &str, region: &str) -> Access {
    Access {
        action: "kms:Decrypt".to_owned(),
        resource: key.to_owned(),
        context: BTreeMap::from([("kms:ViaService", format!("s3.{region}.amazonaws.com"))]),
    }
}

/// Creates a policy from statements.
#[must_use]
pub fn policy(statements: Value) -> Policy {
    match statements {
        Value::Array(statements) => Policy { statements },
        statement => Policy { statements: vec![statement] },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn access(action: &str, resource: &str, context: &[(&'static str, &str)]) -> Access {
        let context = context.iter().map(|(key, value)| (*key, (*value).to_owned())).collect();
        Access { action: action.to_owned(), resource: resource.to_owned(), context }
    }

    #[test]
    fn only_the_named_actions_and_resources_are_allowed() {
        let allowed = policy(json!([{
            "Effect": "Allow", "Action": ["s3:GetObject", "s3:List*"], "Resource": "arn:aws:s3:::b/csv/*",
        }]));
        assert!(allowed.allows(&access("s3:GetObject", "arn:aws:s3:::b/csv/a\nb", &[])));
        assert!(allowed.allows(&access("s3:listBucket", "arn:aws:s3:::b/csv/", &[])));
        for (action, resource) in [
            ("s3:PutObject", "arn:aws:s3:::b/csv/a"),
            ("s3:GetObjectAcl", "arn:aws:s3:::b/csv/a"),
            ("s3:GetObject", "arn:aws:s3:::b/runs/a"),
            ("s3:GetObject", "arn:aws:s3:::b/CSV/a"),
            ("s3:GetObject", "arn:aws:s3:::b"),
        ] {
            assert!(!allowed.allows(&access(action, resource, &[])), "{action} {resource}");
        }
    }

    #[test]
    fn a_condition_is_not_fulfilled_by_another_value_or_none() {
        let allowed = policy(json!([{
            "Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::b",
            "Condition": { "StringLike": { "s3:prefix": ["firehose/*", "waf/?"] } },
        }]));
        let list = |context: &[(&'static str, &str)]| {
            allowed.allows(&access("s3:ListBucket", "arn:aws:s3:::b", context))
        };
        assert!(list(&[("s3:prefix", "firehose/2026/")]) && list(&[("s3:prefix", "waf/1")]));
        assert!(!list(&[("s3:prefix", "")]) && !list(&[("s3:prefix", "waf/10")]) && !list(&[]));
        let equals = policy(json!({
            "Effect": "Allow", "Action": "kms:Decrypt", "Resource": "k",
            "Condition": { "StringEquals": { "kms:ViaService": "s3.eu-west-1.amazonaws.com" } },
        }));
        let decrypt = |region| Access { resource: "k".to_owned(), ..decryption("k", region) };
        assert!(equals.allows(&decrypt("eu-west-1")) && !equals.allows(&decrypt("us-east-1")));
    }

    #[test]
    fn a_deny_wins_over_every_allow() {
        let both = policy(json!([
            { "Effect": "Allow", "Action": "s3:*", "Resource": "*" },
            { "Effect": "Deny", "Action": "s3:DeleteObject", "Resource": "arn:aws:s3:::b/runs/*" },
        ]));
        assert!(both.allows(&access("s3:DeleteObject", "arn:aws:s3:::b/csv/k", &[])));
        assert!(!both.allows(&access("s3:DeleteObject", "arn:aws:s3:::b/runs/k", &[])));
        assert!(!policy(json!([])).allows(&access("s3:GetObject", "arn:aws:s3:::b/k", &[])));
    }

    #[test]
    fn a_call_needs_the_right_of_its_operation_on_its_resource() {
        let call = |service, operation: &str, input: Value| Call {
            service,
            operation: operation.to_owned(),
            input: input.as_object().unwrap().clone(),
            body_bytes: 0,
        };
        let arn = |url: &str| format!("arn:aws:sqs:r:a:{}", url.rsplit('/').next().unwrap());
        let list = call("s3", "ListObjectsV2", json!({ "Bucket": "b", "Prefix": "p/" }));
        assert_eq!(needed(&list, &arn), [access("s3:ListBucket", "arn:aws:s3:::b", &[("s3:prefix", "p/")])]);
        let part = call("s3", "UploadPart", json!({ "Bucket": "b", "Key": "csv/k" }));
        assert_eq!(needed(&part, &arn), [access("s3:PutObject", "arn:aws:s3:::b/csv/k", &[])]);
        let delete = call("sqs", "DeleteMessageBatch", json!({ "QueueUrl": "http://h/a/q.fifo" }));
        assert_eq!(needed(&delete, &arn), [access("sqs:DeleteMessage", "arn:aws:sqs:r:a:q.fifo", &[])]);
        let redrive = call("sqs", "StartMessageMoveTask", json!({ "SourceArn": "arn:aws:sqs:r:a:d.fifo" }));
        let needed = needed(&redrive, &arn);
        assert!(needed.iter().all(|access| access.resource.ends_with(":d.fifo")) && needed.len() == 4);
    }
}
