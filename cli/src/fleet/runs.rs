//! The runs of the ledger, by the coordinator's index.

use anyhow::Context;
use flowherd_coordinator::{
    coordinator::read_run,
    error::CoordinatorError,
    marker::RunMarker,
    parallel,
    runs::{self, IndexedRun, RunList},
};
use flowherd_shared::{
    ledger::{Run, examine_json, examine_report, layout},
    store::StoreError,
};

use super::{Deployment, step_loop::Execution};
use crate::{
    runs_table::{ListedRun, ReportFile},
    stop::Stop,
};

/// Ledger files read at once.
const READERS: usize = 32;
/// Maximum runs whose reports a search reads, latest first.
const SEARCHED_RUNS: usize = 1000;

/// Returns the latest run, of one fleet or of all, whose report names failed objects.
pub(super) fn latest_with_failures(deployment: &Deployment<'_>, fleet: Option<&str>) -> Result<String, Stop> {
    let has_failures = |report: &ReportFile| matches!(report, Some(Ok(report)) if report.objects.failed > 0);
    let found = search(deployment, &runs_of(deployment, fleet)?, 1, has_failures)?;
    found.into_iter().next().ok_or_else(|| {
        Stop::usage(format!(
            "none of the latest {SEARCHED_RUNS} runs has failures; name the run to report again: flowherd redrive RUN"
        ))
    })
}

/// Returns up to `limit` of the latest runs whose reports are wanted. Reads reports in batches, latest first, until it has
/// found them.
pub(super) fn search(
    deployment: &Deployment<'_>,
    runs: &[IndexedRun],
    limit: usize,
    is_wanted: impl Fn(&ReportFile) -> bool,
) -> Result<Vec<String>, Stop> {
    let mut found = Vec::new();
    for batch in runs[..runs.len().min(SEARCHED_RUNS)].chunks(READERS) {
        let reports = reports(deployment, batch.iter().map(|run| run.run.as_str()))?;
        let wanted = batch.iter().zip(&reports).filter(|(_, report)| is_wanted(report));
        found.extend(wanted.map(|(run, _)| run.run.clone()));
        if found.len() >= limit {
            break;
        }
    }
    found.truncate(limit);
    Ok(found)
}

/// Passes up to 1,000 of the latest runs with their reports to `choose`, latest first, until it returns something. Reads in batches.
pub(super) fn choose<T>(
    deployment: &Deployment<'_>,
    runs: &[IndexedRun],
    mut choose: impl FnMut(Run, ReportFile) -> Option<T>,
) -> Result<Option<T>, Stop> {
    for batch in runs[..runs.len().min(SEARCHED_RUNS)].chunks(READERS) {
        let names: Vec<String> = batch.iter().map(|run| run.run.clone()).collect();
        let runs = ledgers(deployment, &names)?;
        let reports = reports(deployment, runs.iter().map(|run| run.run.as_str()))?;
        let chosen = runs.into_iter().zip(reports).find_map(|(run, report)| choose(run, report));
        if chosen.is_some() {
            return Ok(chosen);
        }
    }
    Ok(None)
}

/// Reads the reports of runs; `None` for a run without one.
fn reports<'a>(
    deployment: &Deployment<'_>,
    runs: impl Iterator<Item = &'a str>,
) -> Result<Vec<ReportFile>, Stop> {
    let (runs, results): (Vec<&str>, _) = (runs.collect(), &deployment.connected.results);
    let read = || parallel::try_map(READERS, &runs, |run| examine_report(results, &layout::report(run)));
    Ok(deployment.patience.during("the reports of the runs", read).context("cannot read the ledger")?)
}

/// Returns the latest runs, of one fleet or of all, latest last.
pub(super) fn latest(
    deployment: &Deployment<'_>,
    fleet: Option<&str>,
    limit: usize,
) -> Result<Vec<ListedRun>, Stop> {
    let runs = runs_of(deployment, fleet)?;
    let mut names: Vec<String> = runs.into_iter().take(limit).map(|run| run.run).collect();
    names.reverse();
    let runs = ledgers(deployment, &names)?;
    let reports = reports(deployment, runs.iter().map(|run| run.run.as_str()))?;
    let active = active(deployment)?;
    let listed = runs.into_iter().zip(reports).map(|(run, report)| {
        let is_active = active.contains(&run.run);
        ListedRun::new(run, is_active, report)
    });
    Ok(listed.collect())
}

/// Reads the ledgers of runs. Names those that are damaged.
fn ledgers(deployment: &Deployment<'_>, names: &[String]) -> Result<Vec<Run>, Stop> {
    let results = &deployment.connected.results;
    let read = || parallel::try_map(READERS, names, |name| examine_json::<Run>(results, &layout::run(name)));
    let files =
        deployment.patience.during("the ledgers of the runs", read).context("cannot read the ledger")?;
    let mut runs = Vec::new();
    for (name, file) in names.iter().zip(files) {
        match file {
            Some(Ok(run)) => runs.push(run),
            Some(Err(why)) => deployment.name_damage(&format!("{}: {why}", layout::run(name))),
            // Its ledger was deleted since the listing.
            None => {}
        }
    }
    Ok(runs)
}

/// Returns the runs that have a marker: they were begun or redriven, and have no final report since.
pub(super) fn active(deployment: &Deployment<'_>) -> Result<Vec<String>, Stop> {
    let markers = deployment
        .patience
        .during("the run markers", || RunMarker::others(&deployment.connected.results, ""));
    Ok(markers.context("cannot read the ledger")?.into_iter().map(|marker| marker.run).collect())
}

/// Returns the runs of a fleet, or all runs, latest first.
pub(super) fn runs_of(deployment: &Deployment<'_>, fleet: Option<&str>) -> Result<Vec<IndexedRun>, Stop> {
    let mut runs = all_runs(deployment)?;
    runs.retain(|run| fleet.is_none_or(|fleet| run.fleet == fleet));
    Ok(runs)
}

/// Reads a run of the ledger. If there is none, the step loop's execution of that name has the reason.
pub(super) fn find(deployment: &Deployment<'_>, name: &str) -> Result<Run, Stop> {
    let read =
        deployment.patience.during("the ledger of the run", || read_run(&deployment.connected.results, name));
    let (Err(CoordinatorError::Refused(_)), Some(step_loop), true) =
        (&read, deployment.step_loop, layout::is_run_name(name))
    else {
        return Ok(read?);
    };
    match deployment.patience.during("the state of the step loop", || step_loop.find(name))? {
        Some(Execution::Refused(why)) => Err(Stop::usage(format!("run {name} was refused: {why}"))),
        Some(Execution::Failed(why)) => {
            let context = format!("the step loop ended before it began run {name}");
            Err(anyhow::anyhow!(why).context(context).into())
        }
        Some(Execution::Running) => Err(Stop::usage(format!(
            "run {name} has no ledger yet: the step loop begins it; try again in some seconds"
        ))),
        Some(Execution::Ended) | None => Ok(read?),
    }
}

/// Returns the fleet of a run that exists.
pub(super) fn fleet_of(deployment: &Deployment<'_>, name: &str) -> Result<String, Stop> {
    let run = find(deployment, name)?;
    Ok(deployment.settings.fleets.of_run(&run.run, &run.fleet)?.to_owned())
}

/// Returns all runs, latest first by their begin: names need not sort by time.
pub(super) fn all_runs(deployment: &Deployment<'_>) -> Result<Vec<IndexedRun>, Stop> {
    let results = &deployment.connected.results;
    let list = || -> Result<RunList, StoreError> { runs::list(results, &results.names_below("runs/")?) };
    let found = deployment.patience.during("the list of runs", list).context("cannot list the runs")?;
    found.damaged.iter().for_each(|problem| deployment.name_damage(problem));
    Ok(found.runs)
}

/// Returns a message if the step loop's execution of an active run has stopped. Later executions of the run have other names, and
/// are not looked up.
pub(super) fn stopped(deployment: &Deployment<'_>, name: &str) -> Result<Option<String>, Stop> {
    let Some(step_loop) = deployment.step_loop else { return Ok(None) };
    let found = deployment.patience.during("the state of the step loop", || step_loop.find(name))?;
    Ok(match found {
        Some(Execution::Refused(why)) => Some(format!("the step loop refused run {name}: {why}")),
        Some(Execution::Failed(why)) => Some(format!("the step loop of run {name} has stopped: {why}")),
        Some(Execution::Running | Execution::Ended) | None => None,
    })
}
