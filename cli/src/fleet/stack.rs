//! A deployed stack, found by its name.

use anyhow::{Context, anyhow};
use aws_sdk_cloudformation::{Client, error::ProvideErrorMetadata};
use flowherd_aws::{Aws, io_error};
use flowherd_coordinator::settings::Settings;

use crate::Stop;

/// What `cdk deploy` calls it unless it is told otherwise.
pub(super) const DEFAULT_NAME: &str = "Flowherd";

/// Its settings, and its state machine, from its outputs.
pub(super) fn find(aws: &Aws, name: &str) -> Result<(Settings, Option<String>), Stop> {
    let request = Client::new(aws.config()).describe_stacks().stack_name(name).send();
    let answer = aws.handle().block_on(request).map_err(|error| match error.code() {
        Some("ValidationError") => Stop::usage(format!(
            "there is no stack {name:?} in this account and region; name it with --stack, or set FLOWHERD_QUEUE_URL, \
             FLOWHERD_SOURCE_BUCKET and FLOWHERD_RESULTS_BUCKET"
        )),
        _ => anyhow!(io_error(&error)).context(format!("cannot look for stack {name:?}")).into(),
    })?;
    let stack = answer.stacks().first().context("CloudFormation names no stack")?;
    let output = |key: &str| {
        let found = stack.outputs().iter().find(|output| output.output_key() == Some(key));
        found.and_then(|output| output.output_value()).map(str::to_owned)
    };
    let needed = |key: &str| {
        output(key)
            .ok_or_else(|| Stop::usage(format!("stack {name:?} has no output {key}; is it one of Flowherd?")))
    };
    let settings = Settings::of(
        needed("SourceBucket")?,
        needed("ResultsBucket")?,
        needed("QueueUrl")?,
        needed("DeadLetterQueueUrl")?,
    );
    Ok((settings, output("StateMachineArn")))
}
