//! Finds a deployed stack by its name.

use std::collections::BTreeMap;

use anyhow::Context;
use aws_sdk_cloudformation::{Client, error::ProvideErrorMetadata, types::Output};
use flowherd_aws::{Aws, settings::CommonSettings};
use flowherd_coordinator::{
    fleets::{Driver, FleetSettings, Fleets},
    settings::{FLEETS, Settings},
};

use crate::{args::FleetArgs, stop::Stop};

/// The default stack name of `cdk deploy`.
const DEFAULT_NAME: &str = "Flowherd";

/// The outputs of a stack.
pub(super) struct Outputs {
    stack: String,
    outputs: BTreeMap<String, String>,
}

impl Outputs {
    pub(super) fn get(&self, key: &str) -> Option<String> {
        self.outputs.get(key).cloned()
    }

    pub(super) fn needed(&self, key: &str) -> Result<String, Stop> {
        let missing = || {
            Stop::usage(format!(
                "stack {:?} has no output {key}. Check that it is a Flowherd stack of this version",
                self.stack
            ))
        };
        self.get(key).ok_or_else(missing)
    }
}

/// Returns the settings of a stack, and the ARN of its state machine.
pub(super) fn find(aws: &Aws, args: &FleetArgs) -> Result<(Settings, Option<String>), Stop> {
    let outputs = outputs(aws, args)?;
    let common = CommonSettings {
        source_bucket: outputs.needed("SourceBucket")?,
        source_bucket_owner: outputs.get("SourceBucketOwner"),
        source_bucket_region: outputs.get("SourceBucketRegion"),
        results_bucket: outputs.needed("ResultsBucket")?,
        results_bucket_owner: outputs.get("ResultsBucketOwner"),
    };
    let (url, dead_letters) = (outputs.needed("QueueUrl")?, outputs.needed("DeadLetterQueueUrl")?);
    let driver = Driver::Queue { url, dead_letters: Some(dead_letters) };
    let settings = Settings::of(common, Fleets::only(FleetSettings::on(driver)));
    Ok((settings, outputs.get("StateMachineArn")))
}

/// Returns the stack name from `--stack` or the environment.
pub(super) fn requested_name(args: &FleetArgs) -> Option<String> {
    args.stack.clone().or_else(|| variable("FLOWHERD_STACK"))
}

/// Returns whether the environment describes a fleet. One of these variables is enough, so that a missing one is an error and
/// not another fleet.
pub(super) fn environment_names_a_fleet() -> bool {
    let names = ["FLOWHERD_QUEUE_URL", FLEETS, "FLOWHERD_SOURCE_BUCKET", "FLOWHERD_RESULTS_BUCKET"];
    names.into_iter().any(|name| variable(name).is_some())
}

/// Returns an environment variable. An empty one counts as unset.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Reads the outputs of the requested stack, or of the default one.
pub(super) fn outputs(aws: &Aws, args: &FleetArgs) -> Result<Outputs, Stop> {
    let name = requested_name(args).unwrap_or_else(|| DEFAULT_NAME.to_owned());
    let request = Client::new(aws.config()).describe_stacks().stack_name(&name).send();
    let answer = aws.handle().block_on(request).map_err(|error| match error.code() {
        Some("ValidationError") => Stop::usage(format!(
            "no stack {name:?} in this account and region. Name it with --stack, or set FLOWHERD_QUEUE_URL, \
             FLOWHERD_SOURCE_BUCKET and FLOWHERD_RESULTS_BUCKET"
        )),
        _ => anyhow::Error::new(error).context(format!("cannot read stack {name:?}")).into(),
    })?;
    let stack = answer.stacks().first().context("CloudFormation returned no stack")?;
    let output = |output: &Output| Some((output.output_key()?.to_owned(), output.output_value()?.to_owned()));
    Ok(Outputs { outputs: stack.outputs().iter().filter_map(output).collect(), stack: name })
}
