//! The arguments of `flowherd query`.

use std::path::PathBuf;

use super::FleetArgs;
use crate::{
    query::questions::{InterfaceId, Network},
    times,
};

/// `flowherd query`.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct QueryArgs {
    /// SQL statement
    #[arg(required_unless_present_any = ["named", "list"], conflicts_with_all = ["named", "list"])]
    pub(crate) sql: Option<String>,
    /// List the predefined questions
    #[arg(long)]
    pub(crate) list: bool,
    /// Run a predefined question
    #[arg(long, value_name = "QUESTION", conflicts_with = "list")]
    pub(crate) named: Option<String>,
    /// Query the results of 'flowherd convert' in this directory (its DEST) with DuckDB, instead of Athena
    #[arg(long, value_name = "DIR", conflicts_with_all = ["allow_changes", "print", "stack"])]
    pub(crate) local: Option<PathBuf>,
    /// With --local: rules (flowherd.toml) that define the tables [default: those of the latest run]
    #[arg(long, value_name = "FILE", requires = "local")]
    pub(crate) config: Option<PathBuf>,
    /// Run a statement that may change data or tables
    #[arg(long, conflicts_with_all = ["named", "list"])]
    pub(crate) allow_changes: bool,
    #[command(flatten)]
    pub(crate) question: QuestionArgs,
    /// Print CSV instead of a table
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
}

/// The parameters of `flowherd query --named`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Options of a question (--named)")]
pub(crate) struct QuestionArgs {
    /// Time span before now, such as 24h or 7d [default: 24h]
    #[arg(long, value_name = "SPAN", value_parser = times::seconds, conflicts_with_all = ["day", "from", "to"])]
    pub(crate) last: Option<i64>,
    /// Day, UTC: a date such as 2026-02-18, today or yesterday
    #[arg(long, value_name = "DAY", value_parser = times::day, conflicts_with_all = ["from", "to"])]
    pub(crate) day: Option<jiff::civil::Date>,
    /// Start time, such as 2026-02-18T03:00 (UTC), 2026-02-18T04:00+01:00, today or yesterday
    #[arg(long, value_name = "TIME", value_parser = times::moment)]
    pub(crate) from: Option<jiff::Timestamp>,
    /// End time [default: now]
    #[arg(long, value_name = "TIME", value_parser = times::moment, requires = "from")]
    pub(crate) to: Option<jiff::Timestamp>,
    /// IP address, or a network such as 10.0.0.0/16
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip: Option<Network>,
    /// Network interface
    #[arg(long, value_name = "ENI")]
    pub(crate) interface: Option<InterfaceId>,
    /// Port
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Threshold; each question has its own default
    #[arg(long, value_name = "N")]
    pub(crate) at_least: Option<u32>,
    /// Run; 'flowherd runs' lists them
    #[arg(long, value_name = "RUN")]
    pub(crate) run: Option<String>,
    /// Maximum rows to show [default: 20]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) limit: Option<u32>,
    /// Table of flow logs [default: vpc_flow]
    #[arg(long, value_name = "NAME")]
    pub(crate) table: Option<String>,
    /// Read every file instead of only the partitions of the time
    #[arg(long)]
    pub(crate) everywhere: bool,
    /// Hours that a record may arrive late; Athena reads this many more [default: 24]
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u16).range(0..=720))]
    pub(crate) late: Option<u16>,
    /// Run the query even if rows of that time have other columns than the table
    #[arg(long)]
    pub(crate) anyway: bool,
    /// Print the statement, for Athena's console or for DuckDB, without running it
    #[arg(long)]
    pub(crate) print: bool,
}

impl QuestionArgs {
    /// The names of the flags that are given.
    pub(crate) fn given(&self) -> impl Iterator<Item = &'static str> {
        let flags = [
            ("last", self.last.is_some()),
            ("day", self.day.is_some()),
            ("from", self.from.is_some()),
            ("ip", self.ip.is_some()),
            ("interface", self.interface.is_some()),
            ("port", self.port.is_some()),
            ("at-least", self.at_least.is_some()),
            ("run", self.run.is_some()),
            ("limit", self.limit.is_some()),
            ("table", self.table.is_some()),
            ("everywhere", self.everywhere),
            ("late", self.late.is_some()),
            ("anyway", self.anyway),
            ("print", self.print),
        ];
        flags.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name)
    }

    /// The table of flow logs.
    pub(crate) fn table(&self) -> &str {
        self.table.as_deref().unwrap_or("vpc_flow")
    }
}
