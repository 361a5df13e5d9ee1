//! The command line. docs/configuration.md describes it; a test keeps the two together.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Turns log archives (CloudWatch Logs by Firehose on S3, gzipped) into enriched CSV.
#[derive(Debug, Parser)]
#[command(name = "flowherd", version, max_term_width = 100)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Convert a directory of log objects on this machine
    Convert(ConvertArgs),
    /// Write realistic sample objects and a matching lookups.json
    Synth(SynthArgs),
    /// Show what a file is, layer by layer, which rule takes its records, and the first rows
    Explain(ExplainArgs),
    /// Begin a run of the fleet: list a prefix and send its objects to the workers
    Run(RunArgs),
    /// Purge the queue and run a prefix again
    Rerun(RerunArgs),
    /// How far the active runs are, and the queue
    Status(StatusArgs),
    /// The runs of the fleet, latest last
    Runs(RunsArgs),
    /// The report of a run
    Report(ReportArgs),
    /// Move the dead letters back to the queue, after what they failed for was repaired
    Redrive(RedriveArgs),
    /// What a run of a prefix would do and cost; lists it and touches nothing
    Estimate(EstimateArgs),
    /// Print the definitions of the tables, for Athena, Glue or `DuckDB`
    Sql(SqlArgs),
    /// Run a statement on Athena and print its answer
    Query(QueryArgs),
}

/// `flowherd convert`.
#[derive(Debug, clap::Args)]
pub(crate) struct ConvertArgs {
    /// A file, or a directory: keys are the paths below it
    pub(crate) source: PathBuf,
    /// Where the results go; created if missing
    pub(crate) dest: PathBuf,
    /// Only keys that begin with this
    #[arg(long)]
    pub(crate) prefix: Option<String>,
    /// Rules and limits (flowherd.toml); without it, everything is a version 2 flow log
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Names of interfaces, subnets and VPCs (lookups.json)
    #[arg(long, value_name = "FILE")]
    pub(crate) lookups: Option<PathBuf>,
    /// Objects worked on at once [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) jobs: Option<u16>,
    /// The run's name [default: convert- and the time]
    #[arg(long, value_name = "NAME")]
    pub(crate) run: Option<String>,
    /// Do only what has no receipt for the same bytes and configuration; without --run, in the latest run
    #[arg(long)]
    pub(crate) resume: bool,
    /// Print the report as JSON instead of the summary
    #[arg(long)]
    pub(crate) json: bool,
}

/// `flowherd synth`.
#[derive(Debug, clap::Args)]
pub(crate) struct SynthArgs {
    /// A directory, created if missing
    pub(crate) dest: PathBuf,
    /// Objects to write, spread over one day
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) objects: u32,
    /// Records of each object
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100_000_000))]
    pub(crate) records: u32,
    /// The same seed writes the same bytes
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// The day of the records, UTC
    #[arg(long, default_value = "2026-02-18", value_name = "YYYY-MM-DD")]
    pub(crate) day: jiff::civil::Date,
    /// Percent of records that fit no rule
    #[arg(long, default_value_t = 0.0, value_name = "PERCENT")]
    pub(crate) odd: f64,
}

/// `flowherd explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// A log object
    pub(crate) file: PathBuf,
    /// Rules and limits (flowherd.toml)
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Names of interfaces, subnets and VPCs (lookups.json)
    #[arg(long, value_name = "FILE")]
    pub(crate) lookups: Option<PathBuf>,
    /// The key whose rules apply [default: the file's name]
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// Rows to show of each table
    #[arg(long, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub(crate) rows: u16,
}

/// `flowherd run`.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Only keys that begin with this
    #[arg(long, required_unless_present = "resume")]
    pub(crate) prefix: Option<String>,
    /// Purge the queue first; refused if a run of another prefix still has work in it
    #[arg(long)]
    pub(crate) purge: bool,
    /// Purge all the same; the report of the other run then says so
    #[arg(long, requires = "purge")]
    pub(crate) force: bool,
    /// Do only what this earlier run has no receipt for
    #[arg(long, value_name = "RUN")]
    pub(crate) resume: Option<String>,
    /// The run's name [default: the time and six more characters]
    #[arg(long, value_name = "NAME")]
    pub(crate) run: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
}

/// `flowherd rerun`.
#[derive(Debug, clap::Args)]
pub(crate) struct RerunArgs {
    /// Only keys that begin with this
    #[arg(long)]
    pub(crate) prefix: String,
    /// Purge also if a run of another prefix still has work in the queue; its report then says so
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
}

/// Which fleet.
#[derive(Debug, clap::Args)]
pub(crate) struct FleetArgs {
    /// The deployed stack [default: `FLOWHERD_STACK`, or the fleet of `FLOWHERD_QUEUE_URL`, or Flowherd]
    #[arg(long, value_name = "NAME")]
    pub(crate) stack: Option<String>,
}

/// What is shown of a run.
#[derive(Debug, clap::Args)]
pub(crate) struct OutputArgs {
    /// Show progress until the run ends, then its report
    #[arg(long)]
    pub(crate) watch: bool,
    /// Print JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// `flowherd status`.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// The run [default: all active ones]
    pub(crate) run: Option<String>,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
}

/// `flowherd runs`.
#[derive(Debug, clap::Args)]
pub(crate) struct RunsArgs {
    /// How many to show
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) last: usize,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
}

/// `flowherd report`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReportArgs {
    /// The run
    pub(crate) run: String,
    /// Reconcile anew, as the ledger is now, and write that report
    #[arg(long)]
    pub(crate) now: bool,
    /// Print JSON instead of the summary
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
}

/// `flowherd redrive`.
#[derive(Debug, clap::Args)]
pub(crate) struct RedriveArgs {
    /// The run that is to be reported anew [default: the latest that has failures]
    pub(crate) run: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
}

/// `flowherd estimate`.
#[derive(Debug, clap::Args)]
pub(crate) struct EstimateArgs {
    /// Only keys that begin with this
    #[arg(long)]
    pub(crate) prefix: String,
    /// Memory of a worker in MB, which is also its share of a processor
    #[arg(long, value_name = "MB", default_value_t = 1769, value_parser = clap::value_parser!(u32).range(128..=10240))]
    pub(crate) memory: u32,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
}

/// `flowherd sql`.
#[derive(Debug, clap::Args)]
pub(crate) struct SqlArgs {
    /// Rules (flowherd.toml), from which the tables come
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// For whom
    #[arg(long, value_enum, default_value_t = Dialect::Athena)]
    pub(crate) dialect: Dialect,
    /// Where the results are: a directory, or `s3://BUCKET`
    #[arg(long, value_name = "PLACE", default_value = "s3://BUCKET")]
    pub(crate) results: String,
}

/// Who is to read a definition.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Dialect {
    /// Tables and typed views
    Athena,
    /// Typed views straight over the files
    Duckdb,
    /// The tables as JSON, as the stack takes them
    Glue,
}

/// `flowherd query`.
#[derive(Debug, clap::Args)]
pub(crate) struct QueryArgs {
    /// The statement
    pub(crate) sql: String,
    /// Print CSV instead of a table
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
}
