//! The command that reads the names of AWS accounts.

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::{location::Location, times};

/// `flowherd names`.
#[derive(Debug, clap::Args)]
pub(crate) struct NamesArgs {
    /// File to write. If it exists, its names keep the times in which they applied
    #[arg(long, value_name = "FILE", default_value = "names.json")]
    pub(crate) output: PathBuf,
    /// Region to read [default: that of the profile or the environment]. Repeatable
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Vec<String>,
    /// AWS profile of an account to read [default: the credentials of the environment]. Repeatable
    #[arg(long, value_name = "PROFILE")]
    pub(crate) profile: Vec<String>,
    /// Role to assume in an account to read. Repeatable
    #[arg(long, value_name = "ARN", conflicts_with = "organization")]
    pub(crate) role_arn: Vec<String>,
    #[arg(
        long,
        help = "Read historical names from files of AWS Config and CloudTrail: a directory, or s3://BUCKET/PREFIX",
        value_name = "SOURCE",
        value_parser = OsStringValueParser::new().try_map(Location::parse),
        conflicts_with_all = ["region", "profile", "role_arn", "organization"]
    )]
    pub(crate) from_config: Option<Location>,
    /// Remove entries of the file that ended before this time, such as 2026-02-18
    #[arg(long, value_name = "TIME", value_parser = times::moment)]
    pub(crate) forget_before: Option<jiff::Timestamp>,
    /// Read all active accounts of the organization, with a role in each
    #[arg(long)]
    pub(crate) organization: bool,
    /// With --organization: name of the role in each account
    #[arg(long, value_name = "NAME", default_value = "flowherd-names", requires = "organization")]
    pub(crate) role_name: String,
}
