//! A deployed stack, found by its name.

use std::collections::BTreeMap;

use anyhow::Context;
use aws_sdk_cloudformation::{Client, error::ProvideErrorMetadata, types::Output};
use flowherd_aws::Aws;
use flowherd_coordinator::settings::Settings;

use crate::{Stop, args::FleetArgs};

/// What `cdk deploy` calls it unless it is told otherwise.
const DEFAULT_NAME: &str = "Flowherd";

/// What a stack gives out.
pub(super) struct Outputs {
    stack: String,
    outputs: BTreeMap<String, String>,
}

impl Outputs {
    pub(super) fn get(&self, key: &str) -> Option<String> {
        self.outputs.get(key).cloned()
    }

    pub(super) fn needed(&self, key: &str) -> Result<String, Stop> {
        let missing =
            || Stop::usage(format!("stack {:?} has no output {key}; is it one of Flowherd?", self.stack));
        self.get(key).ok_or_else(missing)
    }
}

/// Its settings, and its state machine.
pub(super) fn find(aws: &Aws, args: &FleetArgs) -> Result<(Settings, Option<String>), Stop> {
    let outputs = outputs(aws, args)?;
    let settings = Settings {
        source_bucket_owner: outputs.get("SourceBucketOwner"),
        source_bucket_region: outputs.get("SourceBucketRegion"),
        results_bucket_owner: outputs.get("ResultsBucketOwner"),
        ..Settings::of(
            outputs.needed("SourceBucket")?,
            outputs.needed("ResultsBucket")?,
            outputs.needed("QueueUrl")?,
            outputs.needed("DeadLetterQueueUrl")?,
        )
    };
    Ok((settings, outputs.get("StateMachineArn")))
}

/// The name that a stack was asked for by.
pub(super) fn asked_name(args: &FleetArgs) -> Option<String> {
    args.stack.clone().or_else(|| std::env::var("FLOWHERD_STACK").ok().filter(|name| !name.is_empty()))
}

/// All outputs of the stack that is asked for, or of the one with the usual name.
pub(super) fn outputs(aws: &Aws, args: &FleetArgs) -> Result<Outputs, Stop> {
    let name = asked_name(args).unwrap_or_else(|| DEFAULT_NAME.to_owned());
    let request = Client::new(aws.config()).describe_stacks().stack_name(&name).send();
    let answer = aws.handle().block_on(request).map_err(|error| match error.code() {
        Some("ValidationError") => Stop::usage(format!(
            "there is no stack {name:?} in this account and region; name it with --stack, or set FLOWHERD_QUEUE_URL, \
             FLOWHERD_SOURCE_BUCKET and FLOWHERD_RESULTS_BUCKET"
        )),
        _ => anyhow::Error::new(error).context(format!("cannot look for stack {name:?}")).into(),
    })?;
    let stack = answer.stacks().first().context("CloudFormation names no stack")?;
    let output = |output: &Output| Some((output.output_key()?.to_owned(), output.output_value()?.to_owned()));
    Ok(Outputs { outputs: stack.outputs().iter().filter_map(output).collect(), stack: name })
}
