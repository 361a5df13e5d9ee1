//! The commands about files: results, configurations, and the command itself.

use std::path::PathBuf;

use super::FleetArgs;

/// `flowherd verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    /// Run to verify
    pub(crate) run: String,
    /// Verify a run of 'flowherd convert' in this directory (its DEST) instead of a run of the fleet
    #[arg(long, value_name = "DIR", conflicts_with = "stack")]
    pub(crate) results: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
}

/// `flowherd check`.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    /// Rules and limits (flowherd.toml)
    pub(crate) file: PathBuf,
    /// Names of interfaces, subnets and VPCs (names.json)
    #[arg(long, value_name = "FILE")]
    pub(crate) names: Option<PathBuf>,
}

/// `flowherd completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// `flowherd man`.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Write the pages of all commands to this directory instead; created if missing
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}
