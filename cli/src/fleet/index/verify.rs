//! `flowherd index --verify`: compares the documents of an index run with its receipts.

use std::collections::BTreeMap;

use anyhow::Context;
use flowherd_coordinator::{cluster::of_indexer, manifest, reconcile};
use flowherd_indexer::{
    client::Client,
    cluster::Cluster,
    target,
    verify::{Expected, Verification},
};
use flowherd_shared::{
    ledger::{IndexTarget, Receipt, Run, layout},
    store::ManifestEntry,
};
use indicatif::HumanCount;
use serde::Serialize;

use super::{
    super::{Deployment, json, runs},
    MAX_NAMED, connect, stop,
};
use crate::{
    args::IndexArgs,
    runs_table::ReportFile,
    stop::Stop,
    summary::{self, print_message, printable},
    words::counted,
};

/// The output of `--verify --json`.
#[derive(Default, Serialize)]
struct Verified<'a> {
    run: &'a str,
    /// The prefix of the run.
    prefix: &'a str,
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
    /// Documents of another conversion of the object.
    other_versions: u64,
}

/// Compares the documents of a run with its receipts: of the named run, or of the latest of the prefix that has ended.
pub(super) fn verify(deployment: &Deployment<'_>, args: &IndexArgs) -> Result<(), Stop> {
    let name = match &args.run {
        Some(name) => name,
        None => &latest(deployment, args)?,
    };
    let run = runs::find(deployment, name)?;
    check_named(&run, args)?;
    let Some(target) = run.job.target() else {
        return Err(Stop::usage(format!(
            "run {name} converts objects and has no documents; compare its outputs with: flowherd verify {name}"
        )));
    };
    let fleet = deployment.settings.fleets.of_run(&run.run, &run.fleet)?;
    let client = connect(deployment, fleet)?;
    let mut sum = Verified { run: name, prefix: &run.prefix, ..Verified::default() };
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
                other_versions: difference.other_versions,
            }));
        }
    }
    let listed = run.manifest.map_or(0, |totals| totals.objects);
    manifest::check_complete(&run, sum.objects + sum.without_receipt, listed)
        .context("cannot compare the documents")?;
    show(&sum, args.output.json)?;
    if sum.is_proven() { Ok(()) } else { Err(Stop::Failed) }
}

/// Returns the latest run of the prefix that has a report, of one index fleet or of all.
fn latest(deployment: &Deployment<'_>, args: &IndexArgs) -> Result<String, Stop> {
    let prefix = args.prefix.as_deref().unwrap_or_default();
    let fleets = &deployment.settings.fleets;
    if let Some(fleet) = &args.of_fleet {
        fleets.index_fleet(Some(fleet))?;
    }
    let mut candidates = runs::runs_of(deployment, args.of_fleet.as_deref())?;
    candidates.retain(|run| {
        let is_index = fleets.get(&run.fleet).is_ok_and(|(_, fleet)| fleet.cluster.is_some());
        run.prefix == prefix && is_index
    });
    let has_ended = |report: &ReportFile| matches!(report, Some(Ok(_)));
    let found = runs::search(deployment, &candidates, 1, has_ended)?.into_iter().next();
    let open = candidates.first().filter(|run| Some(&run.run) != found.as_ref());
    let open =
        open.map(|run| format!("run {0} of the prefix has no report yet: flowherd status {0}", run.run));
    match (found, open) {
        (Some(found), open) => {
            if let Some(open) = open {
                print_message(&open);
            }
            Ok(found)
        }
        (None, Some(open)) => Err(Stop::usage(open)),
        (None, None) => Err(Stop::usage(format!(
            "no index run of prefix {prefix:?}; list all runs with: flowherd runs; verify one of them with: flowherd index \
             --verify --run RUN"
        ))),
    }
}

/// Refuses a named run of another prefix or fleet than the arguments.
fn check_named(run: &Run, args: &IndexArgs) -> Result<(), Stop> {
    let name = &run.run;
    if let Some(prefix) = args.prefix.as_ref().filter(|prefix| **prefix != run.prefix) {
        return Err(Stop::usage(format!("run {name} has the prefix {:?}, not {prefix:?}", run.prefix)));
    }
    if let Some(fleet) = args.of_fleet.as_ref().filter(|fleet| **fleet != run.fleet) {
        return Err(Stop::usage(format!("run {name} is of fleet {}, not of fleet {fleet}", run.fleet)));
    }
    Ok(())
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
    let Verified { run, prefix, objects, documents, without_receipt, differences } = verified;
    let mut text = format!(
        "run {run}: {} with {}\n",
        counted(*objects, "object", "objects"),
        counted(*documents, "document in the cluster", "documents in the cluster")
    );
    for Difference { object, expected, found, other_versions } in differences.iter().take(MAX_NAMED) {
        let others = match other_versions {
            0 => String::new(),
            count => format!(", and {} of another conversion", HumanCount(*count)),
        };
        text += &format!(
            "  {}: {} in the cluster, {} in the receipt{others}\n",
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
            "{}: the number of documents differs from the receipt. If documents are missing, index them again: flowherd index \
             --prefix {prefix}. If there are too many, or the CSV was converted again since, first drop the index: flowherd \
             index --drop NAME\n",
            counted(count, "object", "objects")
        ),
    };
    text
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
        let difference = Difference { object, expected: 3, found: 6, other_versions: 2 };
        let verified = Verified {
            run: "r",
            prefix: "csv/vpc_flow/",
            objects: 1,
            differences: vec![difference],
            ..Verified::default()
        };
        assert!(!verified.is_proven());
        let text = description_of(&verified);
        let line = "a.csv.gz: 6 in the cluster, 3 in the receipt, and 2 of another conversion";
        assert!(text.contains(line), "{text}");
        assert!(text.contains("flowherd index --prefix csv/vpc_flow/."), "{text}");
        assert!(text.contains("flowherd index --drop NAME"), "{text}");
    }
}
