//! The command line. A test checks that docs/configuration.md describes every flag.

mod index;
pub(crate) mod live;
mod names;
mod query;
mod tools;

use std::path::PathBuf;

use clap::{
    ColorChoice, Parser, Subcommand,
    builder::{OsStringValueParser, TypedValueParser},
};
use flowherd_coordinator::options::RunOptions;

use crate::{location::Location, times};

pub(crate) use self::{
    index::{IndexArgs, IndexEstimateArgs},
    names::NamesArgs,
    query::{QueryArgs, QuestionArgs},
    tools::{CheckArgs, CompletionsArgs, ManArgs, VerifyArgs},
};

/// Converts log archives on S3 into CSV that Athena can query.
#[derive(Debug, Parser)]
#[command(name = "flowherd", version, max_term_width = 100)]
pub(crate) struct Args {
    /// Print all causes if the AWS credentials are not usable
    #[arg(long, global = true)]
    pub(crate) verbose: bool,
    /// Colours of states: auto follows the terminal, NO_COLOR and CLICOLOR_FORCE
    #[arg(long, global = true, value_name = "WHEN", default_value_t = ColorChoice::Auto)]
    pub(crate) color: ColorChoice,
    /// The command.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Convert log objects on this machine: a file, a directory, a bucket or standard input
    Convert(ConvertArgs),
    /// Write realistic sample objects and a matching names.json
    Synth(SynthArgs),
    /// Show the layers of a file, the outcome of its records under each rule, and the first rows
    Explain(ExplainArgs),
    /// List the presets for known log types, or print the rule of a preset
    Presets(PresetsArgs),
    /// Infer rules from sample log files and print them as a flowherd.toml
    Suggest(SuggestArgs),
    /// Check a flowherd.toml and print its rules and tables
    Check(CheckArgs),
    /// Read the names of interfaces, subnets and VPCs from AWS into a names.json
    Names(NamesArgs),
    /// Begin a run of the fleet: list a prefix and send its objects to the workers
    Run(RunArgs),
    /// Purge the queue and run a prefix again
    Rerun(RerunArgs),
    /// Send rows of the results to a search cluster, compare them with it, or drop an index
    Index(IndexArgs),
    /// Show the progress of active runs, and the queue
    Status(StatusArgs),
    /// List the runs of the fleet, latest last
    Runs(RunsArgs),
    /// Print the report of a run
    Report(ReportArgs),
    /// Read every output of a run again and compare it with its receipt
    Verify(VerifyArgs),
    /// Move dead-letter messages back to the queue, after you have fixed the cause
    Redrive(RedriveArgs),
    /// Watch and close the days of live fleets, which convert objects as they arrive
    Live(live::LiveArgs),
    /// Estimate what a run of a prefix or a directory would do and cost; changes nothing
    Estimate(EstimateArgs),
    /// Print the definitions of tables and views for Athena, Glue or DuckDB
    Sql(SqlArgs),
    /// Run a SQL statement or a predefined question in Athena, or with --local in DuckDB
    Query(QueryArgs),
    /// Print the completions for a shell
    Completions(CompletionsArgs),
    /// Print the manual page
    Man(ManArgs),
}

/// `flowherd convert`.
#[derive(Debug, clap::Args)]
pub(crate) struct ConvertArgs {
    #[arg(
        help = "A file, a directory whose relative paths are the keys, s3://BUCKET/PREFIX, or - for standard input",
        value_parser = OsStringValueParser::new().try_map(Location::parse)
    )]
    pub(crate) source: Location,
    /// Directory for the results; created if missing
    pub(crate) dest: PathBuf,
    /// Only keys with this prefix
    #[arg(long)]
    pub(crate) prefix: Option<String>,
    /// Rules and limits (flowherd.toml) [default: all records are version 2 flow logs]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Names of interfaces, subnets and VPCs (names.json)
    #[arg(long, value_name = "FILE")]
    pub(crate) names: Option<PathBuf>,
    /// Key of standard input, for the rules to match and the names of the outputs [default: stdin]
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Maximum concurrent objects [default: number of cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) jobs: Option<u16>,
    /// Name of the run [default: convert- and the time]
    #[arg(long, value_name = "NAME")]
    pub(crate) run: Option<String>,
    /// Skip objects that have a valid receipt; without --run, continue the latest run
    #[arg(long)]
    pub(crate) resume: bool,
    /// Print the report as JSON instead of the summary
    #[arg(long)]
    pub(crate) json: bool,
    /// Exit with status 1 if the report has warnings or no object was found
    #[arg(long)]
    pub(crate) strict: bool,
}

/// `flowherd synth`.
#[derive(Debug, clap::Args)]
pub(crate) struct SynthArgs {
    /// Directory for the sample; created if missing
    pub(crate) dest: PathBuf,
    /// Number of objects, spread over one day
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) objects: u32,
    /// Records per object
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100_000_000))]
    pub(crate) records: u32,
    /// Seed of the random numbers; the same seed writes the same bytes
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Day of the records, UTC: a date, today or yesterday
    #[arg(long, default_value = "2026-02-18", value_name = "DAY", value_parser = times::day)]
    pub(crate) day: jiff::civil::Date,
    /// Percentage of malformed records
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT")]
    pub(crate) malformed: f64,
    /// Add an incident, from a port scan to an exfiltration, and print its details
    #[arg(long)]
    pub(crate) incident: bool,
    /// Take interfaces and subnets from this names.json instead of writing one
    #[arg(long, value_name = "FILE")]
    pub(crate) names: Option<PathBuf>,
}

/// `flowherd explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// Log object to read
    pub(crate) file: PathBuf,
    /// Rules and limits (flowherd.toml)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Names of interfaces, subnets and VPCs (names.json)
    #[arg(long, value_name = "FILE")]
    pub(crate) names: Option<PathBuf>,
    /// Key for the rules to match [default: the file's name]
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Rows to show per table
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub(crate) rows: u16,
}

/// `flowherd presets`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct PresetsArgs {
    #[command(subcommand)]
    pub(crate) action: Option<PresetsAction>,
    /// Print JSON instead of a table, with all columns
    #[arg(long)]
    pub(crate) json: bool,
}

/// `flowherd presets show`.
#[derive(Debug, Subcommand)]
pub(crate) enum PresetsAction {
    /// Print the rule of a preset as TOML, as a starting point
    Show {
        /// Name of the preset
        name: String,
    },
}

/// `flowherd suggest`.
#[derive(Debug, clap::Args)]
pub(crate) struct SuggestArgs {
    /// Log files, or directories whose relative paths are the keys
    #[arg(required = true, value_name = "FILE|DIR")]
    pub(crate) paths: Vec<PathBuf>,
}

/// `flowherd run`.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) options: RunOptions,
    /// With --watch: when the run is done, send the rows of each of its tables to the search cluster of the index fleet
    #[arg(long, value_enum, value_name = "JOB", requires = "watch")]
    pub(crate) then: Option<NextJob>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
}

/// What follows a run that is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum NextJob {
    /// Send the rows to a search cluster
    Index,
}

/// `flowherd rerun`.
#[derive(Debug, clap::Args)]
pub(crate) struct RerunArgs {
    /// Only keys with this prefix
    #[arg(long)]
    pub(crate) prefix: String,
    /// Fleet that processes the objects [default: the one whose prefixes contain the prefix]
    #[arg(id = "of_fleet", long = "fleet", value_name = "NAME")]
    pub(crate) of_fleet: Option<String>,
    /// Purge even if a run of another prefix has work in the queue; the report of that run then records the purge
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
}

/// The options that select a stack.
#[derive(Debug, clap::Args)]
pub(crate) struct FleetArgs {
    /// Name of the deployed stack [default: FLOWHERD_STACK, or the fleet of FLOWHERD_QUEUE_URL, or Flowherd]
    #[arg(long, value_name = "NAME")]
    pub(crate) stack: Option<String>,
    /// Maximum seconds to wait for one response of AWS
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: u64,
}

/// The output options of a run.
#[derive(Debug, clap::Args)]
pub(crate) struct OutputArgs {
    /// Show progress until the run ends, then its report
    #[arg(long)]
    pub(crate) watch: bool,
    /// Print JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
    /// With --watch: exit with status 1 if the report has warnings or no object was found
    #[arg(long, requires = "watch")]
    pub(crate) strict: bool,
}

/// `flowherd status`.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// Run to show [default: all active runs]
    pub(crate) run: Option<String>,
    /// Show runs of 'flowherd convert' in this directory (its DEST) instead of runs of the fleet
    #[arg(long, value_name = "DIR", conflicts_with = "stack")]
    pub(crate) results: Option<PathBuf>,
    /// Show only this fleet [default: all fleets of the stack]
    #[arg(id = "of_fleet", long = "fleet", value_name = "NAME", conflicts_with = "results")]
    pub(crate) of_fleet: Option<String>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
}

/// `flowherd runs`.
#[derive(Debug, clap::Args)]
pub(crate) struct RunsArgs {
    /// List the runs of 'flowherd convert' in this directory (its DEST) instead of runs of the fleet
    #[arg(long, value_name = "DIR", conflicts_with_all = ["forget", "stack"])]
    pub(crate) results: Option<PathBuf>,
    /// Show only the runs of this fleet [default: all fleets of the stack]
    #[arg(id = "of_fleet", long = "fleet", value_name = "NAME", conflicts_with_all = ["results", "forget"])]
    pub(crate) of_fleet: Option<String>,
    /// Number of runs to show
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) last: usize,
    /// Remove the run marker of an abandoned run, so that it blocks no purge
    #[arg(long, value_name = "RUN", conflicts_with_all = ["last", "json"])]
    pub(crate) forget: Option<String>,
    /// Remove the marker even if the queue may still have messages of the run
    #[arg(long, requires = "forget")]
    pub(crate) force: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
}

/// `flowherd report`.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct ReportArgs {
    /// Run to report
    pub(crate) run: String,
    /// Reconcile with the current ledger, even if the run is in progress, and write that report
    #[arg(long)]
    pub(crate) now: bool,
    /// List the missing objects instead, each with its reason
    #[arg(long, conflicts_with = "now")]
    pub(crate) missing: bool,
    /// Print JSON instead of the summary
    #[arg(long)]
    pub(crate) json: bool,
    /// Exit with status 1 if the report has warnings or no object was listed
    #[arg(long, conflicts_with = "missing")]
    pub(crate) strict: bool,
    /// Also write the report to this file, as one page of HTML without scripts and requests
    #[arg(long, value_name = "FILE", conflicts_with = "missing")]
    pub(crate) html: Option<PathBuf>,
    /// Report a run of 'flowherd convert' in this directory (its DEST) instead of a run of the fleet
    #[arg(long, value_name = "DIR", conflicts_with_all = ["now", "stack"])]
    pub(crate) results: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
}

/// `flowherd redrive`.
#[derive(Debug, clap::Args)]
pub(crate) struct RedriveArgs {
    /// Run to report again [default: the latest run with failures]
    pub(crate) run: Option<String>,
    /// Fleet whose dead-letter messages are moved [default: that of the run]
    #[arg(id = "of_fleet", long = "fleet", value_name = "NAME")]
    pub(crate) of_fleet: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
}

/// `flowherd estimate`.
#[derive(Debug, clap::Args)]
pub(crate) struct EstimateArgs {
    /// A directory with logs as they are in the archive; nothing needs to be deployed
    #[arg(conflicts_with_all = ["bucket", "stack"])]
    pub(crate) source: Option<PathBuf>,
    /// A bucket to list; nothing needs to be deployed
    #[arg(long, conflicts_with = "stack")]
    pub(crate) bucket: Option<String>,
    /// Only keys with this prefix
    #[arg(long, required_unless_present = "source")]
    pub(crate) prefix: Option<String>,
    /// Fleet of the stack that processes the objects [default: that of the prefix; with --index the only one with job index]
    #[arg(id = "of_fleet", long = "fleet", value_name = "NAME", conflicts_with_all = ["source", "bucket"])]
    pub(crate) of_fleet: Option<String>,
    /// Compare with a live day, on which the objects are converted as they arrive
    #[arg(long, conflicts_with = "index")]
    pub(crate) live: bool,
    #[command(flatten)]
    pub(crate) index: IndexEstimateArgs,
    /// Workers at the same time: maxConcurrency, or max of the tasks [default: that of the fleet; without one 50, with --index 4]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub(crate) concurrency: Option<u32>,
    /// Memory of a worker in MB; Lambda allocates CPU in proportion to it [default: that of the fleet; without one 1769, with --index 512]
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u32).range(128..=10240))]
    pub(crate) memory: Option<u32>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
}

/// `flowherd sql`.
#[derive(Debug, clap::Args)]
pub(crate) struct SqlArgs {
    /// Rules (flowherd.toml) that define the tables
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Dialect::Athena)]
    pub(crate) dialect: Dialect,
    #[arg(
        long,
        help = "Location of the results: a directory or s3://BUCKET",
        value_name = "LOCATION",
        default_value = "s3://BUCKET"
    )]
    pub(crate) results: String,
    /// Folders of the keys, such as firehose/{yyyy/MM/dd/HH}/, to partition the tables by. Repeatable
    #[arg(long, value_name = "[TABLE:]TEMPLATE")]
    pub(crate) layout: Vec<String>,
    /// Keys to check the layouts with, one a line; - for stdin [default: those of a local --results]
    #[arg(long, value_name = "FILE", requires = "layout")]
    pub(crate) keys: Option<PathBuf>,
    /// First day of these partitions
    #[arg(long, value_name = "DAY", default_value = "2020-01-01", value_parser = times::day)]
    pub(crate) since: jiff::civil::Date,
}

/// The consumer of a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Dialect {
    /// Tables and typed views
    Athena,
    /// Typed views over the files
    Duckdb,
    /// Tables, views and saved queries as JSON, for the stack
    Glue,
}
