//! The results of a run in the fleet's bucket.

use anyhow::Context;
use flowherd_aws::s3::Bucket;
use flowherd_shared::ledger::{Report, Run};

use super::{connected, runs};
use crate::{args::VerifyArgs, stop::Stop, summary};

/// Finds a run and passes it to `work`, with the bucket of the results, the report, and a function that restarts the time
/// limit.
pub(crate) fn with_run(
    args: &VerifyArgs,
    work: impl FnOnce(&Bucket, &Run, Option<&Report>, &(dyn Fn() + Sync)) -> Result<(), Stop>,
) -> Result<(), Stop> {
    connected(&args.fleet, |fleet| {
        let run = runs::find(fleet, &args.run)?;
        if runs::active(fleet)?.contains(&run.run) {
            summary::print_message(&format!(
                "run {} is in progress; the receipts that it has now are verified",
                run.run
            ));
        }
        let read = || fleet.coordinator.finished_report(&run.run).context("cannot read the report");
        let report = fleet.patience.during("the report", read)?;
        let renew = || fleet.patience.renew();
        let verify = || work(fleet.coordinator.results, &run, report.as_ref(), &renew);
        fleet.patience.during("the outputs of the run", verify)
    })
}
