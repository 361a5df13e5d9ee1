//! The arguments of `flowherd index`.

use clap::ArgGroup;
use flowherd_coordinator::options::RunOptions;

use super::{FleetArgs, OutputArgs};
use crate::index_cost::ROWS_PER_SECOND;

/// What `flowherd estimate` has for index runs.
#[derive(Debug, clap::Args)]
pub(crate) struct IndexEstimateArgs {
    /// Estimate an index run: the rows in csv/TABLE/ of the results, in a results bucket or in a directory that convert has written
    #[arg(long)]
    pub(crate) index: bool,
    /// With --index: rows that the cluster accepts in a second
    #[arg(long, value_name = "N", requires = "index", default_value_t = ROWS_PER_SECOND, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rows_per_second: u32,
}

/// `flowherd index`.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[command(group = ArgGroup::new("verified").args(["prefix", "run"]).multiple(true))]
pub(crate) struct IndexArgs {
    /// Only rows below this prefix of the results bucket, such as csv/waf/firehose/2026/02/18/
    #[arg(long, required_unless_present_any = ["resume", "verify", "drop"])]
    pub(crate) prefix: Option<String>,
    /// Send all documents to this index, which is created if missing [default: the indices of the fleet's settings]; with --verify,
    /// compare a run that has sent them there
    #[arg(long, value_name = "INDEX")]
    pub(crate) to: Option<String>,
    /// Process only objects without a receipt in this earlier index run
    #[arg(long, value_name = "RUN")]
    pub(crate) resume: Option<String>,
    /// Name of the run [default: the time and six more characters]; with --verify, the run to verify
    #[arg(long, value_name = "NAME")]
    pub(crate) run: Option<String>,
    /// Fleet with job index [default: the only one of the stack]
    #[arg(id = "of_fleet", long = "fleet", value_name = "NAME")]
    pub(crate) of_fleet: Option<String>,
    /// Purge the fleet's queue first; refused while a run of another prefix has unfinished objects
    #[arg(long)]
    pub(crate) purge: bool,
    /// Purge in any case; the reports of the runs that lose messages record the purge
    #[arg(long, requires = "purge")]
    pub(crate) force: bool,
    /// Count the documents of each object in the cluster, and compare them with the receipts: of --run, or of the latest run of
    /// --prefix, --to and --fleet that has ended
    #[arg(long, requires = "verified", conflicts_with_all = ["resume", "purge", "drop", "watch", "strict"])]
    pub(crate) verify: bool,
    /// Delete an index, a data stream, or the indices of a pattern; only those that Flowherd made
    #[arg(long, value_name = "INDEX", conflicts_with_all = ["prefix", "to", "resume", "run", "purge", "watch", "json"])]
    pub(crate) drop: Option<String>,
    /// With --drop: delete without a question
    #[arg(long, requires = "drop")]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) fleet: FleetArgs,
}

impl IndexArgs {
    /// Returns the options of the run.
    pub(crate) fn options(&self) -> RunOptions {
        RunOptions {
            prefix: self.prefix.clone(),
            resume: self.resume.clone(),
            run: self.run.clone(),
            fleet: self.of_fleet.clone(),
            index: true,
            to: self.to.clone(),
            purge: self.purge,
            force: self.force,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::args::Args;

    #[test]
    fn verify_needs_a_prefix_or_a_run_and_begins_nothing() {
        let parse = |args: &[&str]| {
            let parsed = Args::try_parse_from(["flowherd", "index"].iter().chain(args));
            parsed.map(drop).map_err(|error| error.to_string())
        };
        for args in [
            &["--verify", "--run", "r"][..],
            &["--prefix", "csv/t/", "--verify"],
            &["--verify", "--prefix", "csv/t/", "--to", "x"],
        ] {
            assert_eq!(parse(args), Ok(()), "{args:?}");
        }
        for args in [
            &["--verify"][..],
            &["--run", "r"],
            &["--verify", "--run", "r", "--watch"],
            &["--verify", "--to", "x"],
            &["--verify", "--run", "r", "--drop", "x"],
        ] {
            assert!(parse(args).is_err(), "{args:?}");
        }
    }
}
