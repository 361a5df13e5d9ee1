//! `flowherd run`, and what follows a run that is done.

use super::{index, run};
use crate::{
    args::{NextJob, RunArgs},
    stop::Stop,
};

/// `flowherd run`.
pub(crate) fn run(args: &RunArgs) -> Result<(), Stop> {
    let run = run::run(args)?;
    match args.then {
        None => Ok(()),
        Some(NextJob::Index) => index::after(&args.fleet, &run, &args.output),
    }
}
