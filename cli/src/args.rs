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
    /// Print the definitions of tables and views, for Athena, Glue or `DuckDB`
    Sql(SqlArgs),
    /// Ask Athena: a statement, or one of the questions that are ready
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
    /// Exit with status 1 if the report has warnings or no object was found
    #[arg(long)]
    pub(crate) strict: bool,
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
    /// Hide an incident in the day, from a port scan to an exfiltration, and tell what it is
    #[arg(long)]
    pub(crate) incident: bool,
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
    /// Maximum seconds to wait for one answer of AWS
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: u64,
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
    /// With --watch: exit with status 1 if the report has warnings or no object was found
    #[arg(long, requires = "watch")]
    pub(crate) strict: bool,
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
    /// Remove the run marker of a run that is given up, so that it blocks no purge
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
pub(crate) struct ReportArgs {
    /// The run
    pub(crate) run: String,
    /// Reconcile anew, as the ledger is now, and write that report
    #[arg(long)]
    pub(crate) now: bool,
    /// List the missing objects instead, each with the reason that the ledger gives
    #[arg(long, conflicts_with = "now")]
    pub(crate) missing: bool,
    /// Print JSON instead of the summary
    #[arg(long)]
    pub(crate) json: bool,
    /// Exit with status 1 if the report has warnings or no object was listed
    #[arg(long, conflicts_with = "missing")]
    pub(crate) strict: bool,
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
    /// What stands before yyyy/MM/dd/HH/ in the keys of a Firehose stream: its hours become partitions. Repeatable
    #[arg(long, value_name = "PREFIX")]
    pub(crate) firehose: Vec<String>,
    /// The first day of those partitions
    #[arg(long, value_name = "YYYY-MM-DD", default_value = "2020-01-01")]
    pub(crate) since: jiff::civil::Date,
}

/// Who is to read a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Dialect {
    /// Tables and typed views
    Athena,
    /// Typed views straight over the files
    Duckdb,
    /// Tables, views and saved questions as JSON, as the stack takes them
    Glue,
}

/// `flowherd query`.
#[derive(Debug, clap::Args)]
pub(crate) struct QueryArgs {
    /// The statement
    #[arg(required_unless_present_any = ["named", "list"], conflicts_with_all = ["named", "list"])]
    pub(crate) sql: Option<String>,
    /// List the questions that are ready to be asked
    #[arg(long)]
    pub(crate) list: bool,
    /// Ask one of them
    #[arg(long, value_name = "QUESTION", conflicts_with = "list")]
    pub(crate) named: Option<String>,
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

/// What `flowherd query --named` is asked.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Of a question (--named)")]
pub(crate) struct QuestionArgs {
    /// The time up to now, such as 24h or 7d [default: 24h]
    #[arg(long, value_name = "SPAN", conflicts_with_all = ["day", "from", "to"])]
    pub(crate) last: Option<jiff::Span>,
    /// One day, UTC
    #[arg(long, value_name = "YYYY-MM-DD", conflicts_with_all = ["from", "to"])]
    pub(crate) day: Option<jiff::civil::Date>,
    /// From this time on, UTC, such as 2026-02-18T03:00
    #[arg(long, value_name = "TIME", requires = "to")]
    pub(crate) from: Option<jiff::civil::DateTime>,
    /// Up to this time
    #[arg(long, value_name = "TIME", requires = "from")]
    pub(crate) to: Option<jiff::civil::DateTime>,
    /// An address
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) ip: Option<std::net::IpAddr>,
    /// A network interface
    #[arg(long, value_name = "ENI")]
    pub(crate) interface: Option<flowherd_shared::questions::InterfaceId>,
    /// A port
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// From how much on something counts; each question has its own default
    #[arg(long, value_name = "N")]
    pub(crate) at_least: Option<u32>,
    /// A run; flowherd runs lists them
    #[arg(long, value_name = "RUN")]
    pub(crate) run: Option<String>,
    /// Rows to show, at most [default: 20]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) limit: Option<u32>,
    /// The table of flow logs [default: `vpc_flow`]
    #[arg(long, value_name = "NAME")]
    pub(crate) table: Option<String>,
    /// Read every file, and not only those of the hours in question
    #[arg(long)]
    pub(crate) everywhere: bool,
    /// Hours that a record may arrive late; so many more are read [default: 24]
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u16).range(0..=720))]
    pub(crate) late: Option<u16>,
    /// Ask also if rows of that time were written with other columns than the table has
    #[arg(long)]
    pub(crate) anyway: bool,
    /// Print the statement, for Athena's console or for `DuckDB`, and ask nobody
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
