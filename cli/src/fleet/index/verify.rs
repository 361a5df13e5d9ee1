//! `flowherd index --verify`: compares the documents of an index run with its receipts.

mod choose;

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
    ledger::{Destination, IndexTarget, Receipt, Run, layout},
    store::ManifestEntry,
};
use indicatif::HumanCount;
use serde::Serialize;

use self::choose::{Choice, described};
use super::{
    super::{Deployment, json},
    MAX_NAMED, connect, stop,
};
use crate::{
    args::IndexArgs,
    stop::Stop,
    summary::{self, printable},
    words::counted,
};

/// The output of `--verify --json`.
#[derive(Serialize)]
struct Verified<'a> {
    run: &'a str,
    fleet: &'a str,
    prefix: &'a str,
    /// Where the documents of the run are, as in `run.json`.
    destination: &'a Destination,
    objects: u64,
    documents: u64,
    /// Objects that failed or are not done.
    without_receipt: u64,
    differences: Vec<Difference>,
    /// Whether a command must name the fleet, because the stack has several that index.
    #[serde(skip)]
    has_several_fleets: bool,
}

impl<'a> Verified<'a> {
    /// Starts without any object.
    fn new(run: &'a Run, destination: &'a Destination, has_several_fleets: bool) -> Self {
        Self {
            run: &run.run,
            fleet: &run.fleet,
            prefix: &run.prefix,
            destination,
            objects: 0,
            documents: 0,
            without_receipt: 0,
            differences: Vec::new(),
            has_several_fleets,
        }
    }

    /// Returns whether the cluster has the documents of all objects of the run. Nothing is proven without an object.
    fn is_proven(&self) -> bool {
        self.objects > 0 && self.without_receipt == 0 && self.differences.is_empty()
    }

    /// Returns the commands that index the prefix again, and that drop its documents.
    fn repairs(&self) -> [String; 2] {
        let fleet = if self.has_several_fleets {
            format!(" --fleet {}", printable(self.fleet))
        } else {
            String::new()
        };
        let (to, name) = match self.destination {
            Destination::To(index) => (format!(" --to {}", printable(index)), printable(index)),
            Destination::Pattern(_) | Destination::DataStream(_) => (String::new(), "NAME".to_owned()),
        };
        [
            format!("flowherd index --prefix {}{to}{fleet}", printable(self.prefix)),
            format!("flowherd index --drop {name}{fleet}"),
        ]
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
    /// Whether the numbers agree, but not the rows.
    has_other_rows: bool,
}

/// Compares the documents of a run with its receipts: of the named run, or of the latest of the prefix that has ended.
pub(super) fn verify(deployment: &Deployment<'_>, args: &IndexArgs) -> Result<(), Stop> {
    let Choice { run, target } = choose::run(deployment, args)?;
    let fleets = &deployment.settings.fleets;
    let client = connect(deployment, fleets.of_run(&run.run, &run.fleet)?)?;
    let mut sum = Verified::new(&run, &target.destination, fleets.index_fleet(None).is_err());
    let parts = manifest::parts(&run).context("cannot compare the documents")?;
    for part in 0..parts {
        let Part { without_receipt, verified } = verify_part(deployment, &client, &run, &target, part)?;
        sum.without_receipt += without_receipt;
        for Verification { objects, documents, differences } in verified {
            sum.objects += objects;
            sum.documents += documents;
            sum.differences.extend(differences.into_iter().map(|difference| Difference {
                object: difference.object,
                expected: difference.expected,
                found: difference.found,
                other_versions: difference.other_versions,
                has_other_rows: difference.has_other_rows,
            }));
        }
    }
    let listed = run.manifest.map_or(0, |totals| totals.objects);
    manifest::check_complete(&run, sum.objects + sum.without_receipt, listed)
        .context("cannot compare the documents")?;
    summary::print(&if args.output.json { json(&sum)? } else { description_of(&sum) })?;
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
    let patience = deployment.patience;
    let mut of_tables: BTreeMap<String, Vec<Expected>> = BTreeMap::new();
    let mut without_receipt = 0;
    let visit = |entry: &ManifestEntry, receipt: Option<&Receipt>| {
        patience.renew();
        let documents = receipt.and_then(|receipt| Some((&receipt.object.etag, receipt.documents?)));
        let (Some(table), Some((etag, documents))) = (layout::table_of_csv(&entry.key), documents) else {
            without_receipt += 1;
            return;
        };
        let expected = Expected {
            object: entry.key.clone(),
            etag: etag.clone(),
            documents: documents.indexed.saturating_add(documents.existing),
            rows: documents.rows,
        };
        of_tables.entry(table.to_owned()).or_default().push(expected);
    };
    let read = || reconcile::receipts(&deployment.connected.results, run, part, visit);
    patience.during("the receipts of the run", read).context("cannot read the ledger")?;
    let destination = target::destination(target).map_err(|error| Stop::usage(error.to_string()))?;
    let cluster = Cluster::new(client);
    let mut verified = Vec::new();
    for (table, expected) in of_tables {
        let pattern = destination.of_table(&table).pattern();
        // Each answer has the whole time limit.
        let on_answer = || patience.renew();
        let compare = || deployment.aws.handle().block_on(cluster.verify(&pattern, &expected, &on_answer));
        let found = patience.during("the documents in the cluster", compare);
        verified.push(found.map_err(|error| stop(of_indexer(error)))?);
    }
    Ok(Part { without_receipt, verified })
}

/// Returns the result of a comparison for people.
fn description_of(verified: &Verified<'_>) -> String {
    let Verified {
        run, fleet, prefix, destination, objects, documents, without_receipt, differences, ..
    } = verified;
    let mut text = format!(
        "run {run} of fleet {fleet}: prefix {}, {}\n{} with {}\n",
        printable(prefix),
        described(destination),
        counted(*objects, "object", "objects"),
        counted(*documents, "document in the cluster", "documents in the cluster")
    );
    for Difference { object, expected, found, other_versions, has_other_rows } in
        differences.iter().take(MAX_NAMED)
    {
        let rows = if *has_other_rows { ", but of other rows" } else { "" };
        let others = match other_versions {
            0 => String::new(),
            count => format!(", and {} of another conversion", HumanCount(*count)),
        };
        text += &format!(
            "  {}: {} in the cluster, {} in the receipt{rows}{others}\n",
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
    text += &match (objects, differences.len() as u64) {
        (0, _) => "no object was compared\n".to_owned(),
        (_, 0) => "each object with a receipt has its documents\n".to_owned(),
        (_, count) => {
            let [index, drop] = verified.repairs();
            format!(
                "{}: the documents are not those of the receipt\nif documents are missing, index them again:\n  {index}\nif there \
                 are too many or other rows, or if the CSV was converted again since, drop the index first:\n  {drop}\n",
                counted(count, "object", "objects")
            )
        }
    };
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pattern() -> Destination {
        Destination::Pattern("flowherd-{table}-{yyyy.MM.dd}".to_owned())
    }

    fn verified(destination: &Destination) -> Verified<'_> {
        Verified {
            run: "r",
            fleet: "index",
            prefix: "csv/vpc_flow/",
            destination,
            objects: 2,
            documents: 9,
            without_receipt: 0,
            differences: Vec::new(),
            has_several_fleets: false,
        }
    }

    fn difference(found: u64) -> Difference {
        let object = "csv/vpc_flow/a.csv.gz".to_owned();
        Difference { object, expected: 3, found, other_versions: 2, has_other_rows: found == 3 }
    }

    #[test]
    fn a_run_with_objects_without_a_receipt_is_not_proven() {
        let pattern = pattern();
        let done = verified(&pattern);
        assert!(done.is_proven());
        let failed = Verified { without_receipt: 1, ..done };
        assert!(!failed.is_proven());
        let text = description_of(&failed);
        assert!(text.contains("1 object has no receipt") && text.contains("flowherd report r"), "{text}");
    }

    #[test]
    fn a_run_without_objects_is_not_proven() {
        let pattern = pattern();
        let empty = Verified { objects: 0, documents: 0, ..verified(&pattern) };
        assert!(!empty.is_proven());
        let text = description_of(&empty);
        assert!(text.ends_with("\nno object was compared\n"), "{text}");
    }

    #[test]
    fn other_documents_than_those_of_the_receipt_are_not_proven_and_the_text_says_when_to_drop_the_index() {
        let pattern = pattern();
        let different = Verified { differences: vec![difference(6), difference(3)], ..verified(&pattern) };
        assert!(!different.is_proven());
        let text = description_of(&different);
        for line in [
            "  csv/vpc_flow/a.csv.gz: 6 in the cluster, 3 in the receipt, and 2 of another conversion\n",
            "  csv/vpc_flow/a.csv.gz: 3 in the cluster, 3 in the receipt, but of other rows, and 2 of another conversion\n",
            "\n  flowherd index --prefix csv/vpc_flow/\n",
            "\n  flowherd index --drop NAME\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn text_and_json_have_fleet_and_destination_and_the_repair_has_the_flags_of_the_run() {
        let to = Destination::To("incident-7".to_owned());
        let different = Verified {
            prefix: "csv/vpc_flow/\u{1b}[2J",
            differences: vec![difference(1)],
            has_several_fleets: true,
            ..verified(&to)
        };
        let text = description_of(&different);
        for line in [
            "run r of fleet index: prefix csv/vpc_flow/\u{fffd}[2J, index incident-7\n",
            "\n  flowherd index --prefix csv/vpc_flow/\u{fffd}[2J --to incident-7 --fleet index\n",
            "\n  flowherd index --drop incident-7 --fleet index\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        let json = serde_json::to_value(&different).unwrap();
        assert_eq!((&json["fleet"], &json["destination"]), (&json!("index"), &json!({ "to": "incident-7" })));
    }
}
