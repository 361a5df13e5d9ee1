//! The commands that drive the fleet. They use the standard AWS environment, and run the coordinator's steps in this process
//! with the same code as its function.

pub(crate) mod buckets;
mod drive;
pub(crate) mod estimate;
mod outcome;
mod patience;
pub(crate) mod query;
pub(crate) mod results;
pub(crate) mod run;
mod runs;
mod stack;
pub(crate) mod status;
mod step_loop;
mod watch;

use std::{cell::Cell, time::Duration};

use anyhow::Context;
use flowherd_aws::{Aws, s3::Bucket, sqs::SqsQueue};
use flowherd_coordinator::{
    coordinator::Coordinator,
    error::CoordinatorError,
    settings::{ConnectError, Connected, Settings},
};

use flowherd_shared::error::error_chain;

use self::{patience::Patience, step_loop::StepLoop};
use crate::{
    args::FleetArgs,
    stop::Stop,
    summary::{json, print_message},
};

/// The coordinator with its AWS clients.
pub(crate) type AwsCoordinator<'a> = Coordinator<'a, Bucket, Bucket, SqsQueue>;

/// The fleet that a command drives.
struct Fleet<'a> {
    aws: &'a Aws,
    coordinator: &'a AwsCoordinator<'a>,
    settings: &'a Settings,
    /// The state machine of a deployed stack.
    step_loop: Option<&'a StepLoop<'a>>,
    /// The time limit of the command.
    patience: &'a Patience,
    /// Whether the command has printed a damaged ledger file.
    has_damage: Cell<bool>,
}

impl Fleet<'_> {
    /// Prints a ledger file that cannot be used. The command continues its other work, and fails at its end.
    fn name_damage(&self, problem: &str) {
        print_message(problem);
        self.has_damage.set(true);
    }
}

/// Finds the fleet, connects, and passes it to `work`. The environment defines the fleet if it names the queue; otherwise the
/// outputs of the stack do.
fn connected<T>(args: &FleetArgs, work: impl FnOnce(&Fleet<'_>) -> Result<T, Stop>) -> Result<T, Stop> {
    let patience = Patience::new(Duration::from_secs(args.timeout));
    let is_in_environment = stack::requested_name(args).is_none() && stack::environment_names_a_fleet();
    let settings = is_in_environment.then(|| Settings::read(&stack::variable)).transpose();
    let settings = settings.map_err(Stop::Usage)?;
    let aws = connect(&patience)?;
    let (settings, state_machine) = if let Some(settings) = settings {
        aws.check_queue(&settings.common.queue_url)?;
        (settings, None)
    } else {
        patience.during("the outputs of the stack", || stack::find(&aws, args))?
    };
    let step_loop = state_machine.map(|arn| StepLoop::new(&aws, arn));
    let connected = patience
        .during(format!("the settings of queue {}", settings.common.queue_url), || {
            Connected::new(&aws, &settings)
        })?;
    connected.with(|coordinator| {
        let step_loop = step_loop.as_ref();
        let (settings, patience, has_damage) = (&settings, &patience, Cell::new(false));
        let fleet = Fleet { aws: &aws, coordinator, settings, step_loop, patience, has_damage };
        let done = work(&fleet)?;
        if fleet.has_damage.get() { Err(Stop::Failed) } else { Ok(done) }
    })
}

/// Connects to AWS with an environment that has region and credentials.
fn connect(patience: &Patience) -> Result<Aws, Stop> {
    let aws = Aws::connect().context("cannot start the runtime")?;
    let profile = stack::variable("AWS_PROFILE");
    patience.during("the AWS credentials", || aws.check_environment(profile))?;
    Ok(aws)
}

impl From<ConnectError> for Stop {
    /// A mistake in settings, credentials or network. Nothing was begun.
    fn from(error: ConnectError) -> Self {
        Self::usage(error_chain(&error))
    }
}

impl From<CoordinatorError> for Stop {
    fn from(error: CoordinatorError) -> Self {
        match error {
            CoordinatorError::Refused(why) => Self::usage(why),
            error => Self::Broken(error.into()),
        }
    }
}
