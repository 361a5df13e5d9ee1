//! Starts the step loop of a deployed stack and reads its state.

use anyhow::Context;
use aws_sdk_sfn::{
    Client,
    error::SdkError,
    operation::{
        describe_execution::{DescribeExecutionError, DescribeExecutionOutput},
        start_execution::StartExecutionError,
    },
    types::ExecutionStatus,
};
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
    Running,
    /// It has ended well, or has passed the run to another execution.
    Ended,
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
        match self.aws.handle().block_on(request).map_err(SdkError::into_service_error) {
            Ok(answer) => Ok(answer.execution_arn),
            Err(StartExecutionError::ExecutionAlreadyExists(_)) => Err(taken(name)),
            Err(error) => Err(anyhow::Error::new(error).context("cannot start the step loop").into()),
        }
    }

    /// Returns the state of the execution with this name. Step Functions keeps executions for 90
    /// days
    /// (<https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html>).
    pub(super) fn find(&self, name: &str) -> Result<Option<Execution>, Stop> {
        // arn:aws:states:REGION:ACCOUNT:stateMachine:NAME, and of an execution with :execution:NAME:EXECUTION.
        let execution = format!("{}:{name}", self.arn.replacen(":stateMachine:", ":execution:", 1));
        let request = self.client.describe_execution().execution_arn(execution).send();
        match self.aws.handle().block_on(request).map_err(SdkError::into_service_error) {
            Ok(answer) => Ok(Some(state(&answer))),
            Err(DescribeExecutionError::ExecutionDoesNotExist(_)) => Ok(None),
            Err(error) => {
                Err(anyhow::Error::new(error).context("cannot read the state of the step loop").into())
            }
        }
    }

    /// Reads the state of an execution.
    pub(super) fn look(&self, execution: &str) -> Result<Execution, Stop> {
        let request = self.client.describe_execution().execution_arn(execution).send();
        let answer = self.aws.handle().block_on(request).map_err(anyhow::Error::new);
        Ok(state(&answer.context("cannot read the state of the step loop")?))
    }
}

/// Returns the error for a run whose name an execution has already.
pub(super) fn taken(run: &str) -> Stop {
    Stop::usage(format!(
        "run name {run:?} is taken: the step loop has had an execution of that name in the last 90 days; choose another \
         name with --run, or omit it"
    ))
}

fn state(answer: &DescribeExecutionOutput) -> Execution {
    let why = || match (answer.error(), answer.cause()) {
        (Some(error), Some(cause)) => format!("{error}: {cause}"),
        (Some(only), None) | (None, Some(only)) => only.to_owned(),
        (None, None) => "Step Functions returned no cause".to_owned(),
    };
    match answer.status() {
        ExecutionStatus::Running | ExecutionStatus::PendingRedrive => Execution::Running,
        ExecutionStatus::Succeeded => Execution::Ended,
        ExecutionStatus::Failed if answer.error() == Some("Refused") => {
            Execution::Refused(answer.cause().map_or_else(why, str::to_owned))
        }
        ExecutionStatus::Aborted => Execution::Failed("somebody stopped it".to_owned()),
        ExecutionStatus::TimedOut => Execution::Failed("it exceeded its time limit".to_owned()),
        _ => Execution::Failed(why()),
    }
}
