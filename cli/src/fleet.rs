//! The commands that drive the deployed fleet, with the ordinary AWS environment. They do the coordinator's steps in this
//! process, with the same code as its function.

pub(crate) mod estimate;
pub(crate) mod run;
pub(crate) mod status;
mod watch;

use anyhow::Context;
use flowherd_aws::{Aws, s3::Bucket, sqs::SqsQueue};
use flowherd_coordinator::{
    settings::{Connected, Settings},
    steps::{Coordinator, CoordinatorError},
};

use crate::Stop;

/// The coordinator, as it works here.
pub(crate) type Here<'a> = Coordinator<'a, Bucket, Bucket, SqsQueue>;

/// Connects, and gives the coordinator and the settings to `work`.
fn connected<T>(work: impl FnOnce(&Here<'_>, &Settings) -> Result<T, Stop>) -> Result<T, Stop> {
    let settings = Settings::read(&|name| std::env::var(name).ok()).map_err(Stop::Usage)?;
    let aws = Aws::connect().context("cannot start the runtime")?;
    let connected = Connected::new(&aws, &settings).context("cannot ask the queue for its dead letters")?;
    connected.with(|coordinator| work(coordinator, &settings))
}

impl From<CoordinatorError> for Stop {
    fn from(error: CoordinatorError) -> Self {
        match error {
            CoordinatorError::Refused(why) => Self::usage(why),
            error => Self::Broken(error.into()),
        }
    }
}

/// Text for `--json`.
fn json(value: &impl serde::Serialize) -> Result<String, Stop> {
    Ok(serde_json::to_string_pretty(value).context("cannot print JSON")? + "\n")
}
