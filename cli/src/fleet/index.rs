//! `flowherd index`: begins an index run, compares one with its cluster, or drops an index.

mod verify;

use std::{
    collections::BTreeSet,
    io::{self, BufRead, IsTerminal, Write},
};

use anyhow::{Context, anyhow};
use flowherd_coordinator::{
    cluster::{RemoteCluster, of_indexer},
    options::RunOptions,
    report::finished_report,
    search::ClusterError,
};
use flowherd_indexer::{client::Client, cluster::Cluster, removal::Removal};
use flowherd_shared::{cluster::ClusterOptions, ledger::layout};
use indicatif::HumanBytes;

use super::{Deployment, connected, run, runs};
use crate::{
    args::{FleetArgs, IndexArgs, OutputArgs},
    stop::Stop,
    summary::{self, print_message, printable},
    words::counted,
};

/// Objects or indices that the command names.
const MAX_NAMED: usize = 20;

/// `flowherd index`.
pub(crate) fn index(args: &IndexArgs) -> Result<(), Stop> {
    if args.verify {
        return connected(&args.fleet, |deployment| verify::verify(deployment, args));
    }
    if let Some(name) = &args.drop {
        return connected(&args.fleet, |deployment| {
            drop_index(deployment, args.of_fleet.as_deref(), name, args.yes)
        });
    }
    run::begin(&args.fleet, args.options(), &args.output).map(drop)
}

/// Indexes the rows of a run that is done, table by table.
pub(super) fn after(args: &FleetArgs, name: &str, output: &OutputArgs) -> Result<(), Stop> {
    let prefixes = connected(args, |deployment| {
        // A mistake of the fleets is an error before the first table.
        deployment.settings.fleets.index_fleet(None)?;
        let run = runs::find(deployment, name)?;
        // A resumed run has no tables of the objects that it skipped.
        let mut tables = BTreeSet::new();
        for name in std::iter::once(name).chain(run.resumes.iter().map(String::as_str)) {
            let report = || finished_report(&deployment.connected.results, name);
            let report =
                deployment.patience.during("the report", report).context("cannot read the report")?;
            let report =
                report.ok_or_else(|| anyhow!("run {name} has no report, so its tables are unknown; write it with: flowherd report {name} --now"))?;
            tables.extend(report.tables.into_keys());
        }
        Ok(tables.iter().map(|table| layout::csv_of(table) + &run.prefix).collect::<Vec<_>>())
    })?;
    if prefixes.is_empty() {
        print_message("the run has no rows, so nothing is indexed");
    }
    for prefix in prefixes {
        let options = RunOptions { prefix: Some(prefix), index: true, ..RunOptions::default() };
        run::begin(args, options, output)?;
    }
    Ok(())
}

/// Deletes an index that Flowherd made, after a question.
fn drop_index(deployment: &Deployment<'_>, fleet: Option<&str>, name: &str, yes: bool) -> Result<(), Stop> {
    let options = RunOptions { fleet: fleet.map(str::to_owned), index: true, ..RunOptions::default() };
    let fleet = deployment.settings.fleets.index_fleet(options.fleet.as_deref())?;
    let client = connect(deployment, fleet)?;
    let cluster = Cluster::new(&client);
    let runtime = deployment.aws.handle();
    let plan = || runtime.block_on(cluster.plan_removal(name));
    let removal = deployment.patience.during("the indices of the cluster", plan);
    let removal = removal.map_err(|error| stop(of_indexer(error)))?;
    print_message(&description(&removal));
    if !yes && !is_confirmed(name)? {
        return Err(Stop::usage(format!(
            "nothing was deleted: the answer is not {name}; repeat the command, or add --yes"
        )));
    }
    let remove = || runtime.block_on(cluster.remove(&removal));
    deployment.patience.during("the deletion", remove).map_err(|error| stop(of_indexer(error)))?;
    summary::print(&format!(
        "deleted {}; the CSV in the results bucket is unchanged\n",
        counted(removal.indices.len() as u64, "index", "indices")
    ))
}

/// Returns what a removal would delete, on one line.
fn description(removal: &Removal) -> String {
    let names: Vec<String> =
        removal.indices.iter().take(MAX_NAMED).map(|index| printable(&index.name)).collect();
    let more = match removal.indices.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let streams: Vec<String> = removal.data_streams.iter().map(|name| printable(name)).collect();
    let stream = match &streams[..] {
        [] => String::new(),
        [name] => format!("data stream {name}: "),
        names => format!("data streams {}: ", names.join(", ")),
    };
    format!(
        "{stream}{} with {} and {}: {}{more}",
        counted(removal.indices.len() as u64, "index", "indices"),
        counted(removal.documents(), "document", "documents"),
        HumanBytes(removal.bytes()),
        names.join(", ")
    )
}

/// Asks a person to type the name.
fn is_confirmed(name: &str) -> Result<bool, Stop> {
    if !io::stdin().is_terminal() {
        return Err(Stop::usage(
            "--drop asks before it deletes, and standard input is not a terminal; add --yes",
        ));
    }
    let mut question = io::stderr().lock();
    write!(question, "type {} to delete: ", printable(name)).context("cannot ask")?;
    question.flush().context("cannot ask")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("cannot read the answer")?;
    Ok(answer.trim() == name)
}

/// Connects to the cluster of a fleet with the credentials of the environment, or with those of its secret.
fn connect(deployment: &Deployment<'_>, fleet: &str) -> Result<Client, Stop> {
    let (_, settings) = deployment.settings.fleets.get(fleet)?;
    let options: &ClusterOptions = settings.cluster.as_ref().ok_or_else(|| {
        Stop::usage(format!("fleet {fleet} has no search cluster; choose a fleet with job index"))
    })?;
    let connect = || RemoteCluster::new(deployment.aws, options).connect();
    deployment.patience.during("the secret of the search cluster", connect).map_err(stop)
}

fn stop(error: ClusterError) -> Stop {
    match error {
        ClusterError::Refused(why) => Stop::usage(why),
        error @ ClusterError::Unavailable(_) => Stop::Broken(error.into()),
    }
}
