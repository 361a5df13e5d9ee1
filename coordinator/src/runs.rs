//! The index of runs: an empty object for each run whose key holds what commands need to choose runs, latest first. One
//! request lists 1,000 of them, where reading `run.json` takes a request for each.
//!
//! The index saves requests and proves nothing. A run exists if it has a directory in the ledger; a run that the index does
//! not have, or has twice, is read from its `run.json`.

use std::collections::BTreeMap;

use flowherd_shared::{
    ledger::{Run, examine_json, layout},
    store::{Lister, Store, StoreError},
};
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use crate::{coordinator::iso, parallel};

/// Ledger files read at once.
const READERS: usize = 32;
/// The last millisecond that 13 digits hold, in the year 2286. Keys hold the time until then, because S3 lists keys in
/// ascending order only (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>).
const LAST_MILLISECOND: i64 = 9_999_999_999_999;
/// Maximum bytes of an encoded prefix: some stores keep each part of a key as a file name of at most 255 bytes.
const MAX_PREFIX_BYTES: usize = 200;

/// An entry of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexedRun {
    /// The run.
    pub run: String,
    /// Its fleet.
    pub fleet: String,
    /// Its prefix.
    pub prefix: String,
    /// When it began: ISO-8601 UTC.
    pub started: String,
    /// SHA-256 of its configuration, in hex.
    pub config_hash: String,
}

impl From<Run> for IndexedRun {
    fn from(run: Run) -> Self {
        Self {
            run: run.run,
            fleet: run.fleet,
            prefix: run.prefix,
            started: run.started,
            config_hash: run.fingerprint.config_hash,
        }
    }
}

/// Adds a run to the index. A run has no entry if its prefix is long, or if the store refuses the key.
pub(crate) fn add(results: &impl Store, run: &Run) -> Result<(), StoreError> {
    let Some(key) = key(run) else { return Ok(()) };
    match results.put(&key, b"") {
        Err(StoreError::InvalidKey(_)) => Ok(()),
        outcome => outcome,
    }
}

fn key(run: &Run) -> Option<String> {
    let started: Timestamp = run.started.parse().ok()?;
    let until_last = LAST_MILLISECOND - started.as_millisecond();
    let prefix = utf8_percent_encode(&run.prefix, NON_ALPHANUMERIC).to_string();
    // An empty last part would end the key with a slash.
    (prefix.len() <= MAX_PREFIX_BYTES).then(|| {
        let (index, name, fleet) = (layout::INDEX, &run.run, &run.fleet);
        format!("{index}{until_last:013}/{name}/{fleet}/{}/={prefix}", run.fingerprint.config_hash)
    })
}

/// Parses a key of the index. Returns `None` for a key that the index does not write.
fn parse(key: &str) -> Option<IndexedRun> {
    let mut parts = key.strip_prefix(layout::INDEX)?.split('/');
    let until_last: i64 = parts.next().filter(|digits| digits.len() == 13)?.parse().ok()?;
    let (run, fleet, config_hash) = (parts.next()?, parts.next()?, parts.next()?);
    let prefix = percent_decode_str(parts.next()?.strip_prefix('=')?).decode_utf8().ok()?;
    let started = Timestamp::from_millisecond(LAST_MILLISECOND - until_last).ok()?;
    parts.next().is_none().then(|| IndexedRun {
        run: run.to_owned(),
        fleet: fleet.to_owned(),
        prefix: prefix.into_owned(),
        started: iso(started),
        config_hash: config_hash.to_owned(),
    })
}

/// The runs of a ledger.
#[derive(Debug)]
pub struct RunList {
    /// Latest first.
    pub runs: Vec<IndexedRun>,
    /// Each `run.json` that had to be read and cannot be used, with the reason.
    pub damaged: Vec<String>,
}

/// Returns all runs of the ledger. `names` are the directories below `runs/`.
pub fn list(results: &(impl Store + Lister), names: &[String]) -> Result<RunList, StoreError> {
    let mut indexed: BTreeMap<String, Vec<IndexedRun>> = BTreeMap::new();
    let mut after = None;
    loop {
        let page = results.page(layout::INDEX, after.as_deref())?;
        for run in page.entries.iter().filter_map(|entry| parse(&entry.key)) {
            indexed.entry(run.run.clone()).or_default().push(run);
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    let (mut runs, mut unknown) = (Vec::new(), Vec::new());
    for name in names.iter().filter(|name| layout::is_run_name(name)) {
        match indexed.remove(name).as_deref() {
            Some([run]) => runs.push(run.clone()),
            // Two drivers may begin one run at once: only `run.json` says which begin counts.
            _ => unknown.push(name),
        }
    }
    let mut damaged = Vec::new();
    let read = parallel::try_map(READERS, &unknown, |name| examine_json::<Run>(results, &layout::run(name)))?;
    for (name, run) in unknown.iter().zip(read) {
        match run {
            Some(Ok(run)) => runs.push(IndexedRun::from(run)),
            Some(Err(why)) => damaged.push(format!("{}: {why}", layout::run(name))),
            // A directory without `run.json`, such as that of a run that is being begun.
            None => {}
        }
    }
    runs.sort_by(|a, b| (&b.started, &b.run).cmp(&(&a.started, &a.run)));
    Ok(RunList { runs, damaged })
}

#[cfg(test)]
mod tests {
    use flowherd_shared::ledger::{Fingerprint, Job};

    use super::*;

    fn run(prefix: &str) -> Run {
        Run {
            run: "a.B-1_".to_owned(),
            fleet: "main".to_owned(),
            prefix: prefix.to_owned(),
            job: Job::Convert,
            fingerprint: Fingerprint { config_hash: "c0".to_owned(), names_hash: "10".to_owned() },
            enrichment: Vec::new(),
            version: "0".to_owned(),
            started: "2026-02-18T01:02:03.000Z".to_owned(),
            resumed: None,
            resumes: Vec::new(),
            live: None,
            lacks_names: false,
            manifest: None,
        }
    }

    #[test]
    fn a_key_of_the_index_is_parsed_as_the_run_it_was_made_from() {
        for prefix in ["", "firehose/2026/02/18/", "ä +%ü\n=/", &"x".repeat(200)] {
            let key = key(&run(prefix)).unwrap();
            assert!(key.len() <= 1024 && !key.ends_with('/'), "{key}");
            assert_eq!(parse(&key).unwrap(), IndexedRun::from(run(prefix)));
        }
        assert_eq!(key(&run(&"x".repeat(201))), None);
    }

    #[test]
    fn keys_of_later_runs_come_first() {
        let later = Run { started: "2026-02-18T01:02:03.001Z".to_owned(), ..run("") };
        assert!(key(&later) < key(&run("")));
    }

    #[test]
    fn keys_that_the_index_does_not_write_are_ignored() {
        for key in
            ["", "1/r/f/c/=", "0000000000001/r/f/c/=/", "0000000000001/r/f/c/", "0000000000001/r/f/c/=%FF"]
        {
            assert_eq!(parse(&format!("{}{key}", layout::INDEX)), None, "{key}");
        }
    }
}
