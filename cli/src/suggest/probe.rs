//! Tries a rule on records of a cluster, through the pipeline that `convert` uses.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    io::{self, Read, Write},
    rc::Rc,
};

use flate2::read::MultiGzDecoder;
use flowherd_shared::{
    config::Config,
    ledger::layout,
    pipeline::{self, Counts, RunConfig},
};
use serde::Deserialize;
use serde_json::json;

use super::clusters::{Cluster, Record, Source, sample_limits};

/// Compiled rules that are kept.
const MAX_COMPILED: usize = 500;
/// A rule that takes every record inside of payloads.
const ANY: &str = "
[[rule]]
name = \"any\"
table = \"any\"
[rule.format]
kind = \"regex\"
pattern = '(?s)(?P<message>.*)'
";

/// What a rule did with the records of a cluster.
#[derive(Debug)]
pub(super) struct Fit {
    pub(super) rows: u64,
    pub(super) rejected: u64,
    /// Messages of rejected records.
    rejected_messages: HashSet<String>,
    /// Columns with a value in any row.
    pub(super) columns: usize,
}

impl Fit {
    /// Returns whether the rule takes records and rejects at most this part of them.
    pub(super) fn takes_all_but(&self, max_unfit_percent: usize) -> bool {
        self.rows > 0 && self.rejected * 100 <= (self.rows + self.rejected) * max_unfit_percent as u64
    }

    /// Returns whether the rule takes this record.
    pub(super) fn takes(&self, record: &Record) -> bool {
        !self.rejected_messages.contains(&record.message)
    }
}

/// Tries rules. Keeps those that every cluster is tried with, because compiling them takes most of the time.
#[derive(Debug, Default)]
pub(super) struct Probes {
    compiled: RefCell<HashMap<String, Option<Rc<RunConfig>>>>,
}

impl Probes {
    /// Compiles a rule that other clusters are tried with too.
    fn compile(&self, rule: &str) -> Option<Rc<RunConfig>> {
        let mut compiled = self.compiled.borrow_mut();
        if let Some(found) = compiled.get(rule) {
            return found.clone();
        }
        let run_config = sample_config(rule).map(Rc::new);
        if compiled.len() < MAX_COMPILED {
            compiled.insert(rule.to_owned(), run_config.clone());
        }
        run_config
    }

    /// Tries a rule with a preset. Returns `None` if the rule is not valid, or the records fail as an object.
    pub(super) fn try_preset(&self, rule: &str, cluster: &Cluster) -> Option<Fit> {
        fit(&*self.compile(rule)?, cluster)
    }

    /// Tries a rule that decodes payloads. Returns whether the records are containers of records.
    pub(super) fn decodes(&self, rule: &str, cluster: &Cluster) -> bool {
        self.compile(&format!("{rule}{ANY}")).is_some_and(|run_config| decodes(&run_config, cluster))
    }
}

/// Tries a rule that is made for these records. Returns `None` if the rule is not valid, or the records fail as an object.
pub(super) fn try_rule(rule: &str, cluster: &Cluster) -> Option<Fit> {
    fit(&sample_config(rule)?, cluster)
}

fn fit(run_config: &RunConfig, cluster: &Cluster) -> Option<Fit> {
    let key = cluster.files.first().map_or("sample", |file| &file.key);
    let text = text(cluster);
    let rejects_path = layout::rejects(key);
    let create = |path: &str| Ok(if path == rejects_path { Sink::Kept(Vec::new()) } else { Sink::Dropped });
    let finished = pipeline::run(&text[..], key, run_config, create).ok()?;
    let mut rejected_messages = HashSet::new();
    for (_, sink) in finished.outputs {
        if let Sink::Kept(gzip) = sink {
            let mut lines = String::new();
            MultiGzDecoder::new(&gzip[..]).read_to_string(&mut lines).ok()?;
            rejected_messages
                .extend(lines.lines().filter_map(|line| serde_json::from_str::<Reject>(line).ok()?.message));
        }
    }
    let counts = finished.counts;
    let columns = columns_with_values(run_config, &counts);
    Some(Fit { rows: counts.rows, rejected: counts.rejected, rejected_messages, columns })
}

/// Maximum part of the containers that a rule may reject as damaged.
const MAX_DAMAGED_PERCENT: u64 = 10;

fn decodes(run_config: &RunConfig, cluster: &Cluster) -> bool {
    let key = cluster.files.first().map_or("sample", |file| &file.key);
    let Ok(finished) = pipeline::run(&text(cluster)[..], key, run_config, |_| Ok(Sink::Dropped)) else {
        return false;
    };
    let counts = finished.counts;
    let inside = counts.rows + counts.control;
    inside > 0 && counts.rules[0].rejected() * 100 <= (inside + counts.rejected) * MAX_DAMAGED_PERCENT
}

/// Parses a configuration and lifts the limits that a sample may exceed.
fn sample_config(text: &str) -> Option<RunConfig> {
    let mut config = Config::parse(text).ok()?;
    config.limits = sample_limits();
    Some(RunConfig::from(config))
}

fn columns_with_values(run_config: &RunConfig, counts: &Counts) -> usize {
    let rules = run_config.config.rules.iter().zip(&counts.rules);
    rules
        .map(|(rule, counts)| {
            rule.writing().map_or(0, |writing| writing.columns - counts.absent_columns.len())
        })
        .sum()
}

/// Returns an object with the records of a cluster. Files without a header line come first.
pub(super) fn text(cluster: &Cluster) -> Vec<u8> {
    let mut text = Vec::new();
    match &cluster.source {
        Source::Group(group) => {
            for record in &cluster.records {
                let envelope = json!({
                    "messageType": "DATA_MESSAGE",
                    "owner": "123456789012",
                    "logGroup": group,
                    "logStream": record.stream,
                    "subscriptionFilters": ["sample"],
                    "logEvents": [{ "id": "1", "timestamp": 1_771_372_800_000_u64, "message": record.message }],
                });
                text.extend(envelope.to_string().into_bytes());
                text.push(b'\n');
            }
        }
        Source::Folder { .. } => {
            let mut records: Vec<&Record> = cluster.records.iter().collect();
            records.sort_by_key(|record| (!cluster.files[record.file].preamble.is_empty(), record.file));
            let mut file = usize::MAX;
            for record in records {
                if file != record.file {
                    file = record.file;
                    for line in &cluster.files[file].preamble {
                        text.extend([line.as_bytes(), b"\n"].concat());
                    }
                }
                text.extend([record.message.as_bytes(), b"\n"].concat());
            }
        }
    }
    text
}

/// A line of the rejects.
#[derive(Deserialize)]
struct Reject {
    message: Option<String>,
}

/// Keeps the rejects and drops rows.
enum Sink {
    Kept(Vec<u8>),
    Dropped,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Self::Kept(kept) = self {
            kept.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
