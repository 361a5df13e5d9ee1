//! The command `flowherd`: parses arguments, runs a command, returns its exit status.

mod args;
mod check;
mod convert;
pub mod cost;
mod duckdb;
mod explain;
mod fleet;
pub mod index_cost;
mod inputs;
pub mod local;
mod location;
mod manual;
mod missing;
mod names;
mod page;
mod presets;
mod progress;
pub mod query;
mod query_local;
mod results_dir;
mod run_rules;
mod runs_table;
mod sql;
mod stop;
mod suggest;
mod summary;
mod synth;
mod terminal;
mod times;
mod verify;
mod words;

use std::{env, ffi::OsString, process::ExitCode};

use clap::{ColorChoice, CommandFactory as _, FromArgMatches as _};
use flowherd_shared::error::error_chain;

use args::{Args, Command};
use stop::Stop;

/// Parses the process's arguments. Prints help, version or a usage error, and then returns the exit status.
fn parse() -> Result<Args, ExitCode> {
    // Clap's own choice gives a dumb terminal styled help where the variable CI is set.
    let styles = if terminal::has_colours() { ColorChoice::Auto } else { ColorChoice::Never };
    let parse_from = |arguments: &mut dyn Iterator<Item = OsString>| {
        let mut command = Args::command().color(styles);
        let matches = command.try_get_matches_from_mut(arguments)?;
        Args::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    };
    let error = match parse_from(&mut env::args_os()) {
        Ok(args) => return Ok(args),
        Err(error) => error,
    };
    // Clap prints arguments as they are, and those may be names of hostile files.
    let harmless = env::args_os().map(|argument| summary::printable(&argument.to_string_lossy()));
    match parse_from(&mut harmless.map(OsString::from)) {
        Err(error) => error.exit(),
        Ok(_) => summary::print_message(&error.to_string()),
    }
    Err(ExitCode::from(2))
}

/// Parses the process's arguments and runs the command.
#[must_use]
pub fn main() -> ExitCode {
    // Clap also exits with 2 on a usage error.
    let args = match parse() {
        Ok(args) => args,
        Err(status) => return status,
    };
    let is_verbose = args.verbose;
    terminal::choose_colours(args.color);
    let outcome = match args.command {
        Command::Convert(args) => convert::convert(&args),
        Command::Synth(args) => synth::synth(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Presets(args) => presets::presets(&args),
        Command::Suggest(args) => suggest::suggest(&args),
        Command::Check(args) => check::check(&args),
        Command::Names(args) => names::names(&args),
        Command::Run(args) => fleet::then::run(&args),
        Command::Rerun(args) => fleet::run::rerun(&args),
        Command::Index(args) => fleet::index::index(&args),
        Command::Status(args) => match &args.results {
            Some(results) => results_dir::status(&args, results),
            None => fleet::status::status(&args),
        },
        Command::Runs(args) => match &args.results {
            Some(results) => results_dir::runs(&args, results),
            None => fleet::reports::runs(&args),
        },
        Command::Verify(args) => verify::verify(&args),
        Command::Report(args) => match &args.results {
            Some(results) => results_dir::report(&args, results),
            None => fleet::reports::report(&args),
        },
        Command::Redrive(args) => fleet::run::redrive(&args),
        Command::Live(args) => fleet::live::live(&args),
        Command::Estimate(args) => fleet::estimate::estimate(&args),
        Command::Sql(args) => sql::sql(&args),
        Command::Query(args) => match &args.local {
            Some(results) => query_local::query(&args, results),
            None => fleet::query::query(&args),
        },
        Command::Completions(args) => manual::completions(&args),
        Command::Man(args) => manual::man(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Failed) => ExitCode::from(1),
        Err(Stop::Broken(error)) => {
            summary::print_message(&error_chain(&*error));
            ExitCode::from(1)
        }
        Err(Stop::Usage(problems)) => {
            problems.iter().for_each(|problem| summary::print_message(problem));
            ExitCode::from(2)
        }
        Err(Stop::Environment(error)) => {
            summary::print_message(&if is_verbose { error_chain(&error) } else { error.to_string() });
            ExitCode::from(2)
        }
    }
}
