//! Starts the process: telemetry, settings, connection, then the Lambda function or the poller.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Parser;
use flowherd_aws::{Aws, log_to_stderr};
use flowherd_shared::error::error_chain;
use tracing::error;

use crate::{lambda, poller, settings::Settings};

/// Runs the worker with the arguments and environment of the process.
#[must_use]
pub fn main() -> ExitCode {
    // Lambda sets this variable for its functions
    // (<https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>).
    let is_lambda = std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_some();
    let args = if is_lambda { None } else { Some(poller::Args::parse()) };
    log_to_stderr();
    match run(args.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            error!(error = error_chain(&*problem), "cannot work");
            ExitCode::from(2)
        }
    }
}

fn run(args: Option<&poller::Args>) -> anyhow::Result<()> {
    let settings = match Settings::read(&|name| std::env::var(name).ok()) {
        Ok(settings) => settings,
        Err(problems) => bail!("{}", problems.join("; ")),
    };
    let aws = Aws::connect().context("cannot start the runtime")?;
    match args {
        Some(args) => poller::run(args, &settings, &aws),
        None => lambda::run(&settings, &aws).map_err(|error| anyhow::anyhow!("{error}")),
    }
}
