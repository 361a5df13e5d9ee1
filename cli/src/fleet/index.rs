//! `flowherd index`: begins an index run, compares one with its cluster, or drops an index.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufRead, IsTerminal, Write},
};

use anyhow::{Context, anyhow};
use flowherd_coordinator::{
    cluster::{RemoteCluster, of_indexer},
    manifest,
    options::RunOptions,
    reconcile,
    report::finished_report,
    search::ClusterError,
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
        // A resumed run has no tables of the objects that it skipped.
        let mut tables = BTreeSet::new();
        for name in std::iter::once(name).chain(run.resumes.iter().map(String::as_str)) {
            let report = || finished_report(&deployment.connected.results, name);
            let report =
                deployment.patience.during("the report", report).context("cannot read the report")?;
            let report =
                report.ok_or_else(|| anyhow!("run {name} has no report, so its tables are not known"))?;
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

/// The output of `--verify --json`.
#[derive(Default, Serialize)]
struct Verified<'a> {
    run: &'a str,
    objects: u64,
    documents: u64,
    /// Objects that failed or are not done.
    without_receipt: u64,
    differences: Vec<Difference>,
}

impl Verified<'_> {
    /// Returns whether the cluster has the documents of all objects of the run.
    fn is_proven(&self) -> bool {
        self.without_receipt == 0 && self.differences.is_empty()
    }
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
    let mut sum = Verified { run: name, ..Verified::default() };
    let parts = manifest::parts(&run).context("cannot compare the documents")?;
    for part in 0..parts {
        let compare = || verify_part(deployment, &client, &run, target, part);
        let Part { without_receipt, verified } =
            deployment.patience.during("the documents in the cluster", compare)?;
        sum.without_receipt += without_receipt;
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
    let listed = run.manifest.map_or(0, |totals| totals.objects);
    manifest::check_complete(&run, sum.objects + sum.without_receipt, listed)
        .context("cannot compare the documents")?;
    show(&sum, as_json)?;
    if sum.is_proven() { Ok(()) } else { Err(Stop::Failed) }
}

/// The objects of one part of the manifest.
struct Part {
    without_receipt: u64,
    verified: Vec<Verification>,
}

/// Compares the objects of one part of the manifest, table by table.
fn verify_part(
    deployment: &Deployment<'_>,
    client: &Client,
    run: &Run,
    target: &IndexTarget,
    part: u64,
) -> Result<Part, Stop> {
    let mut of_tables: BTreeMap<String, Vec<Expected>> = BTreeMap::new();
    let mut without_receipt = 0;
    let visit = |entry: &ManifestEntry, receipt: Option<&Receipt>| {
        let documents = receipt.and_then(|receipt| Some((&receipt.object.etag, receipt.documents?)));
        let (Some(table), Some((etag, documents))) = (layout::table_of_csv(&entry.key), documents) else {
            without_receipt += 1;
            return;
        };
        let expected = Expected {
            object: entry.key.clone(),
            etag: etag.clone(),
            documents: documents.indexed.saturating_add(documents.existing),
        };
        of_tables.entry(table.to_owned()).or_default().push(expected);
    };
    reconcile::receipts(&deployment.connected.results, run, part, visit).context("cannot read the ledger")?;
    let destination = target::destination(target).map_err(|error| Stop::usage(error.to_string()))?;
    let cluster = Cluster::new(client);
    let mut verified = Vec::new();
    for (table, expected) in of_tables {
        let pattern = destination.of_table(&table).pattern();
        let found = deployment.aws.handle().block_on(cluster.verify(&pattern, &expected));
        verified.push(found.map_err(|error| stop(of_indexer(error)))?);
    }
    Ok(Part { without_receipt, verified })
}

fn show(verified: &Verified<'_>, as_json: bool) -> Result<(), Stop> {
    summary::print(&if as_json { json(verified)? } else { description_of(verified) })
}

/// Returns the result of a comparison for people.
fn description_of(verified: &Verified<'_>) -> String {
    let Verified { run, objects, documents, without_receipt, differences } = verified;
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
    if *without_receipt > 0 {
        text += &format!(
            "{} no receipt: failed or not done; flowherd report {run} names the cause\n",
            counted(*without_receipt, "object has", "objects have")
        );
    }
    text += &match differences.len() as u64 {
        0 => "each object with a receipt has its documents\n".to_owned(),
        count => format!(
            "{} other numbers of documents than their receipts. If documents are missing, index the objects again: flowherd index \
             --prefix csv/TABLE/. If there are too many, or the CSV was converted again since, first delete the index: flowherd \
             index --drop NAME\n",
            counted(count, "object has", "objects have")
        ),
    };
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_with_objects_without_a_receipt_is_not_proven() {
        let done = Verified { run: "r", objects: 2, documents: 9, ..Verified::default() };
        assert!(done.is_proven());
        let failed = Verified { without_receipt: 1, ..done };
        assert!(!failed.is_proven());
        let text = description_of(&failed);
        assert!(text.contains("1 object has no receipt") && text.contains("flowherd report r"), "{text}");
    }

    #[test]
    fn other_counts_than_those_of_the_receipt_are_not_proven_and_the_text_says_when_to_drop_the_index() {
        let object = "csv/vpc_flow/a.csv.gz".to_owned();
        let difference = Difference { object, expected: 3, found: 6 };
        let verified =
            Verified { run: "r", objects: 1, differences: vec![difference], ..Verified::default() };
        assert!(!verified.is_proven());
        let text = description_of(&verified);
        assert!(text.contains("a.csv.gz: 6 in the cluster, 3 by the receipt"), "{text}");
        assert!(text.contains("flowherd index --drop NAME"), "{text}");
    }
}
