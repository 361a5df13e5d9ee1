//! `flowherd index`: begins an index run, compares one with its cluster, or drops an index.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, IsTerminal, Write},
};

use anyhow::Context;
use flowherd_coordinator::{
    cluster::{RemoteCluster, of_indexer},
    index::ClusterError,
    options::RunOptions,
    reconcile,
    report::finished_report,
};
use flowherd_indexer::{
    client::Client,
    cluster::Cluster,
    removal::Removal,
    target,
    verify::{Expected, Verification},
};
use flowherd_shared::{
    cluster::ClusterOptions,
    ledger::{IndexTarget, Receipt, Run, layout},
    store::ManifestEntry,
};
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use super::{Deployment, connected, json, run, runs};
use crate::{
    args::{FleetArgs, IndexArgs, OutputArgs},
    stop::Stop,
    summary::{self, print_message, printable},
    words::counted,
};

/// Objects with other numbers of documents that the command names.
const MAX_NAMED: usize = 20;

/// `flowherd index`.
pub(crate) fn index(args: &IndexArgs) -> Result<(), Stop> {
    if let Some(run) = &args.verify {
        return connected(&args.fleet, |deployment| verify(deployment, run, args.output.json));
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
        let report = || finished_report(&deployment.connected.results, name);
        let report = deployment.patience.during("the report", report).context("cannot read the report")?;
        let tables = report.map(|report| report.tables).unwrap_or_default();
        Ok(tables.keys().map(|table| layout::csv_of(table) + &run.prefix).collect::<Vec<_>>())
    })?;
    for prefix in prefixes {
        let options = RunOptions { prefix: Some(prefix), index: true, ..RunOptions::default() };
        run::begin(args, options, output)?;
    }
    Ok(())
}

/// The output of `--verify --json`.
#[derive(Serialize)]
struct Verified<'a> {
    run: &'a str,
    objects: u64,
    documents: u64,
    differences: Vec<Difference>,
}

/// An object whose documents are not those of its receipt.
#[derive(Serialize)]
struct Difference {
    object: String,
    expected: u64,
    found: u64,
}

/// Compares the documents of a run with its receipts.
fn verify(deployment: &Deployment<'_>, name: &str, as_json: bool) -> Result<(), Stop> {
    let run = runs::find(deployment, name)?;
    let Some(target) = run.job.target() else {
        return Err(Stop::usage(format!(
            "run {name} converts objects and has no documents; compare its outputs with: flowherd verify {name}"
        )));
    };
    let fleet = deployment.settings.fleets.of_run(&run.run, &run.fleet)?;
    let client = connect(deployment, fleet)?;
    let mut sum = Verified { run: name, objects: 0, documents: 0, differences: Vec::new() };
    let parts = run.manifest.map_or(0, |totals| totals.parts);
    for part in 0..parts {
        let compare = || verify_part(deployment, &client, &run, target, part);
        let verified = deployment.patience.during("the documents in the cluster", compare)?;
        for Verification { objects, documents, differences } in verified {
            sum.objects += objects;
            sum.documents += documents;
            sum.differences.extend(differences.into_iter().map(|difference| Difference {
                object: difference.object,
                expected: difference.expected,
                found: difference.found,
            }));
        }
    }
    show(&sum, as_json)?;
    if sum.differences.is_empty() { Ok(()) } else { Err(Stop::Failed) }
}

/// Compares the objects of one part of the manifest, table by table.
fn verify_part(
    deployment: &Deployment<'_>,
    client: &Client,
    run: &Run,
    target: &IndexTarget,
    part: u64,
) -> Result<Vec<Verification>, Stop> {
    let mut of_tables: BTreeMap<String, Vec<Expected>> = BTreeMap::new();
    let visit = |entry: &ManifestEntry, receipt: &Receipt| {
        let (Some(table), Some(documents)) = (layout::table_of_csv(&entry.key), receipt.documents) else {
            return;
        };
        let expected = Expected {
            object: entry.key.clone(),
            etag: entry.etag.clone(),
            documents: documents.indexed.saturating_add(documents.existing),
        };
        of_tables.entry(table.to_owned()).or_default().push(expected);
    };
    reconcile::done(&deployment.connected.results, run, part, visit).context("cannot read the ledger")?;
    let destination = target::destination(target).map_err(|error| Stop::usage(error.to_string()))?;
    let cluster = Cluster::new(client);
    let mut verified = Vec::new();
    for (table, expected) in of_tables {
        let pattern = destination.of_table(&table).pattern();
        let found = deployment.aws.handle().block_on(cluster.verify(&pattern, &expected));
        verified.push(found.map_err(|error| stop(of_indexer(error)))?);
    }
    Ok(verified)
}

fn show(verified: &Verified<'_>, as_json: bool) -> Result<(), Stop> {
    if as_json {
        return summary::print(&json(verified)?);
    }
    let Verified { run, objects, documents, differences } = verified;
    let mut text = format!(
        "run {run}: {} with {}\n",
        counted(*objects, "object", "objects"),
        counted(*documents, "document in the cluster", "documents in the cluster")
    );
    for Difference { object, expected, found } in differences.iter().take(MAX_NAMED) {
        text += &format!(
            "  {}: {} in the cluster, {} by the receipt\n",
            printable(object),
            HumanCount(*found),
            HumanCount(*expected)
        );
    }
    if differences.len() > MAX_NAMED {
        text += &format!("  and {} more\n", differences.len() - MAX_NAMED);
    }
    text += &match differences.len() as u64 {
        0 => "each object has the documents of its receipt\n".to_owned(),
        count => format!(
            "{} other numbers of documents than their receipts; index them again: flowherd index --prefix {:?}\n",
            counted(count, "object has", "objects have"),
            "csv/TABLE/"
        ),
    };
    summary::print(&text)
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
        return Err(Stop::usage("nothing was deleted"));
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
