//! Starts the step loop of a deployed stack and reads its state.

use anyhow::Context;
use aws_sdk_sfn::{Client, types::ExecutionStatus};
use flowherd_aws::Aws;

use crate::stop::Stop;

/// A state machine.
pub(super) struct StepLoop<'a> {
    aws: &'a Aws,
    client: Client,
    arn: String,
}

/// The state of an execution.
pub(super) enum Execution {
    /// It is running, or it has ended well or passed the run to another execution.
    Running,
    /// The begin was refused. Nothing was begun.
    Refused(String),
    /// It ended with this error.
    Failed(String),
}

impl<'a> StepLoop<'a> {
    pub(super) fn new(aws: &'a Aws, arn: String) -> Self {
        Self { aws, client: Client::new(aws.config()), arn }
    }

    /// Starts an execution and returns its ARN.
    pub(super) fn start(&self, name: &str, input: &impl serde::Serialize) -> Result<String, Stop> {
        let input = serde_json::to_string(input).context("cannot serialize the input")?;
        let request =
            self.client.start_execution().state_machine_arn(&self.arn).name(name).input(input).send();
        let answer = self.aws.handle().block_on(request).map_err(anyhow::Error::new);
        Ok(answer.context("cannot start the step loop")?.execution_arn)
    }

    /// Reads the state of an execution.
    pub(super) fn look(&self, execution: &str) -> Result<Execution, Stop> {
        let request = self.client.describe_execution().execution_arn(execution).send();
        let answer = self.aws.handle().block_on(request).map_err(anyhow::Error::new);
        let answer = answer.context("cannot read the state of the step loop")?;
        let why = || match (answer.error(), answer.cause()) {
            (Some(error), Some(cause)) => format!("{error}: {cause}"),
            (Some(only), None) | (None, Some(only)) => only.to_owned(),
            (None, None) => "Step Functions returned no cause".to_owned(),
        };
        Ok(match answer.status() {
            // A succeeded execution has ended the run, or passed it to the next execution.
            ExecutionStatus::Running | ExecutionStatus::PendingRedrive | ExecutionStatus::Succeeded => {
                Execution::Running
            }
            ExecutionStatus::Failed if answer.error() == Some("Refused") => {
                Execution::Refused(answer.cause().map_or_else(why, str::to_owned))
            }
            ExecutionStatus::Aborted => Execution::Failed("somebody stopped it".to_owned()),
            ExecutionStatus::TimedOut => Execution::Failed("it exceeded its time limit".to_owned()),
            _ => Execution::Failed(why()),
        })
    }
}
