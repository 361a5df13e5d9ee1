//! The results of a run in the fleet's bucket.

use flowherd_aws::s3::Bucket;
use flowherd_shared::ledger::Run;

use super::{connected, patience::Patience, runs};
use crate::{args::VerifyArgs, stop::Stop, summary};

/// Finds a run and passes it to `work`, with the bucket of the results and the time limit.
pub(crate) fn with_run(
    args: &VerifyArgs,
    work: impl FnOnce(&Bucket, &Run, &Patience) -> Result<(), Stop>,
) -> Result<(), Stop> {
    connected(&args.fleet, |deployment| {
        let run = runs::find(deployment, &args.run)?;
        if runs::active(deployment)?.contains(&run.run) {
            summary::print_message(&format!(
                "run {} is in progress; the receipts that it has now are verified",
                run.run
            ));
        }
        let verify = || work(&deployment.connected.results, &run, deployment.patience);
        deployment.patience.during("the outputs of the run", verify)
    })
}
