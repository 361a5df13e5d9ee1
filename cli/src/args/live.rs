//! The commands of live fleets, which convert objects as they arrive.

use clap::{Args, Subcommand};

use super::{FleetArgs, OutputArgs};

/// `flowherd live`.
#[derive(Debug, Args)]
pub(crate) struct LiveArgs {
    #[command(subcommand)]
    pub(crate) command: LiveCommand,
}

/// What `flowherd live` does.
#[derive(Debug, Subcommand)]
pub(crate) enum LiveCommand {
    /// Check whether the bucket sends its events, and whether they become tasks
    Check(LiveLookArgs),
    /// Show the objects of today, their latency and the verdict on yesterday
    Status(LiveLookArgs),
    /// Close days that are over: list each one, convert what has no receipt, and report
    Close(LiveCloseArgs),
    /// Close today's run now, so that later objects of today get the current rules and names
    ApplyNow(LiveApplyArgs),
}

/// The options of commands that only read.
#[derive(Debug, Args)]
pub(crate) struct LiveLookArgs {
    /// Live fleet to show [default: all live fleets of the stack]
    #[arg(id = "of_fleet", long = "fleet", value_name = "NAME")]
    pub(crate) of_fleet: Option<String>,
    /// Print JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
}

/// `flowherd live close`.
#[derive(Debug, Args)]
pub(crate) struct LiveCloseArgs {
    /// Day in UTC: a date such as 2026-02-18, today or yesterday. One that is closed already is closed again [default: all days
    /// that are over]
    #[arg(long, value_name = "DAY", value_parser = crate::times::day)]
    pub(crate) day: Option<jiff::civil::Date>,
    #[command(flatten)]
    pub(crate) apply: LiveApplyArgs,
}

/// `flowherd live apply-now`.
#[derive(Debug, Args)]
pub(crate) struct LiveApplyArgs {
    /// Live fleet, or one that is no longer live [default: the only one of the stack]
    #[arg(id = "of_fleet", long = "fleet", value_name = "NAME")]
    pub(crate) of_fleet: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
}
