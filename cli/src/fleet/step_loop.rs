//! The step loop of a deployed stack: it is started, and looked at.

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

/// How an execution is.
pub(super) enum Execution {
    /// It works, or another one goes on for it.
    UnderWay,
    /// It was refused: nothing was begun.
    Refused(String),
    /// It ended with an error, and why.
    Failed(String),
}

impl<'a> StepLoop<'a> {
    pub(super) fn new(aws: &'a Aws, arn: String) -> Self {
        Self { aws, client: Client::new(aws.config()), arn }
    }

    /// Starts an execution, and gives its ARN.
    pub(super) fn start(&self, name: &str, input: &impl serde::Serialize) -> Result<String, Stop> {
        let input = serde_json::to_string(input).context("cannot write the input")?;
        let request =
            self.client.start_execution().state_machine_arn(&self.arn).name(name).input(input).send();
        let answer = self.aws.handle().block_on(request).map_err(anyhow::Error::new);
        Ok(answer.context("cannot start the step loop")?.execution_arn)
    }

    pub(super) fn look(&self, execution: &str) -> Result<Execution, Stop> {
        let request = self.client.describe_execution().execution_arn(execution).send();
        let answer = self.aws.handle().block_on(request).map_err(anyhow::Error::new);
        let answer = answer.context("cannot look at the step loop")?;
        let why = || {
            let (error, cause) = (answer.error().unwrap_or_default(), answer.cause().unwrap_or_default());
            if cause.is_empty() { error.to_owned() } else { format!("{error}: {cause}") }
        };
        Ok(match answer.status() {
            // One that has succeeded has ended the run, or handed it to the next execution.
            ExecutionStatus::Running | ExecutionStatus::PendingRedrive | ExecutionStatus::Succeeded => {
                Execution::UnderWay
            }
            ExecutionStatus::Failed if answer.error() == Some("Refused") => {
                Execution::Refused(answer.cause().unwrap_or_default().to_owned())
            }
            ExecutionStatus::Aborted => Execution::Failed("it was stopped".to_owned()),
            ExecutionStatus::TimedOut => Execution::Failed("it took longer than it may".to_owned()),
            _ => Execution::Failed(why()),
        })
    }
}
