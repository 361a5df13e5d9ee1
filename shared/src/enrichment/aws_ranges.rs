//! The address ranges of AWS as it publishes them in `ip-ranges.json`
//! (<https://docs.aws.amazon.com/vpc/latest/userguide/aws-ip-syntax.html>).

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use serde::Deserialize;

use super::{
    fragments,
    keyed::{KeyedTable, KeyedTableBuilder},
    problems::FileProblems,
    settings::{EnrichmentColumn, Matching},
};

/// The members of a prefix that can be columns.
pub(crate) const COLUMNS: [&str; 3] = ["service", "region", "network_border_group"];
/// The file lists the prefixes of every service under this service too.
const ALL_SERVICES: &str = "AMAZON";
/// Separates the services of one prefix.
const SEPARATOR: &str = ";";

#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    prefixes: Vec<Prefix<'a>>,
    #[serde(borrow)]
    ipv6_prefixes: Vec<Prefix<'a>>,
}

#[derive(Deserialize)]
struct Prefix<'a> {
    #[serde(borrow, rename = "ip_prefix", alias = "ipv6_prefix")]
    block: Cow<'a, str>,
    #[serde(borrow)]
    region: Cow<'a, str>,
    #[serde(borrow)]
    service: Cow<'a, str>,
    #[serde(borrow)]
    network_border_group: Cow<'a, str>,
}

/// Reads the text of a file. A prefix of several services has all of them, in alphabetical order, except `AMAZON`.
pub(super) fn load(
    text: &str,
    columns: &[EnrichmentColumn],
    guard_formulas: bool,
    problems: &mut FileProblems<'_>,
) -> Option<KeyedTable> {
    let file: File<'_> = match serde_json::from_str(text) {
        Ok(file) => file,
        Err(error) => {
            problems.add("json", || {
                format!("is not an ip-ranges.json of AWS: {error}; get it from https://ip-ranges.amazonaws.com/ip-ranges.json")
            });
            return None;
        }
    };
    let mut prefixes: BTreeMap<&str, Vec<&Prefix<'_>>> = BTreeMap::new();
    for prefix in file.prefixes.iter().chain(&file.ipv6_prefixes) {
        prefixes.entry(&prefix.block).or_default().push(prefix);
    }
    let mut table = KeyedTableBuilder::new("prefix", Matching::Cidr, columns, guard_formulas);
    for (number, (block, prefixes)) in (1..).zip(&prefixes) {
        let values: Vec<String> = columns.iter().map(|column| value(prefixes, &column.path)).collect();
        let cells = columns.iter().zip(&values).map(|(column, value)| (&*column.path, &**value));
        if !table.add(number, block, cells, problems) {
            break;
        }
    }
    table.finish(fragments::absent(columns.len()), problems)
}

/// Returns the different values of equal prefixes.
fn value(prefixes: &[&Prefix<'_>], column: &str) -> String {
    let of = |prefix: &&Prefix<'_>| -> String {
        match column {
            "service" => prefix.service.to_string(),
            "region" => prefix.region.to_string(),
            _ => prefix.network_border_group.to_string(),
        }
    };
    let mut values: BTreeSet<String> = prefixes.iter().map(of).collect();
    if values.len() > 1 && column == "service" {
        values.remove(ALL_SERVICES);
    }
    values.into_iter().collect::<Vec<_>>().join(SEPARATOR)
}
