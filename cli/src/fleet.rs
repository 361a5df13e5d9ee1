//! The commands that drive the fleet. They use the standard AWS environment, and run the coordinator's steps in this process
//! with the same code as its function.

pub(crate) mod buckets;
mod drive;
pub(crate) mod estimate;
pub(crate) mod index;
pub(crate) mod live;
mod outcome;
mod patience;
pub(crate) mod query;
pub(crate) mod reports;
pub(crate) mod results;
pub(crate) mod run;
mod runs;
mod stack;
pub(crate) mod status;
mod step_loop;
pub(crate) mod then;
mod watch;

use std::{cell::Cell, time::Duration};

use anyhow::Context;
use flowherd_aws::Aws;
use flowherd_coordinator::{
    connect::{AwsCoordinator, ConnectError, Connected},
    error::CoordinatorError,
    fleets::Driver,
    settings::Settings,
};

use flowherd_shared::error::error_chain;

use self::{patience::Patience, step_loop::StepLoop};
use crate::{
    args::FleetArgs,
    stop::Stop,
    summary::{json, print_message},
};

/// What a command uses: a deployed stack, or the buckets and queues of the environment.
struct Deployment<'a> {
    aws: &'a Aws,
    connected: &'a Connected<'a>,
    settings: &'a Settings,
    /// The state machine of a deployed stack.
    step_loop: Option<&'a StepLoop<'a>>,
    /// The time limit of the command.
    patience: &'a Patience,
    /// Whether the command has printed a damaged ledger file.
    has_damage: Cell<bool>,
}

/// A fleet of the deployment.
struct Fleet<'a> {
    deployment: &'a Deployment<'a>,
    coordinator: &'a AwsCoordinator<'a>,
}

impl Deployment<'_> {
    /// Prints a ledger file or a queue that cannot be used. The command continues its other work, and fails at its end.
    fn name_damage(&self, problem: &str) {
        print_message(problem);
        self.has_damage.set(true);
    }

    /// Returns whether output has to name the fleet.
    fn has_several_fleets(&self) -> bool {
        self.settings.fleets.count() > 1
    }

    /// Connects to a fleet and passes it to `work`.
    fn with_fleet<T>(&self, name: &str, work: impl FnOnce(&Fleet<'_>) -> Result<T, Stop>) -> Result<T, Stop> {
        self.patience.during(format!("the queue of fleet {name}"), || self.connected.check_fleet(name))?;
        self.connected.with(name, |coordinator| work(&Fleet { deployment: self, coordinator }))?
    }
}

/// Finds the deployment, connects to its buckets, and passes it to `work`. The environment defines it if it names a queue or
/// fleets; otherwise the outputs of the stack do.
fn connected<T>(args: &FleetArgs, work: impl FnOnce(&Deployment<'_>) -> Result<T, Stop>) -> Result<T, Stop> {
    let patience = Patience::new(Duration::from_secs(args.timeout));
    let is_in_environment = stack::requested_name(args).is_none() && stack::environment_names_a_fleet();
    let settings = is_in_environment.then(|| Settings::read(&stack::variable)).transpose();
    let settings = settings.map_err(Stop::Usage)?;
    let aws = connect(&patience)?;
    let (settings, state_machine) = if let Some(settings) = settings {
        for (_, fleet) in settings.fleets.iter() {
            if let Driver::Queue { url, .. } = &fleet.driver {
                aws.check_queue(url)?;
            }
        }
        (settings, None)
    } else {
        patience.during("the outputs of the stack", || stack::find(&aws, args))?
    };
    let step_loop = state_machine.map(|arn| StepLoop::new(&aws, arn));
    let connected =
        patience.during("the source bucket and the results bucket", || Connected::new(&aws, &settings))?;
    let on_page = || patience.renew();
    let connected = connected.on_page(&on_page);
    let deployment = Deployment {
        aws: &aws,
        connected: &connected,
        settings: &settings,
        step_loop: step_loop.as_ref(),
        patience: &patience,
        has_damage: Cell::new(false),
    };
    let done = work(&deployment)?;
    if deployment.has_damage.get() { Err(Stop::Failed) } else { Ok(done) }
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
