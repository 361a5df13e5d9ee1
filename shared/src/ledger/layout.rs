//! Where each file of a run stands within the results. Source keys are used whole and only appended to, so two keys
//! never share an output.

use sha2::{Digest, Sha256};

use crate::config::hex;

/// Rows of one object for one table.
#[must_use]
pub fn csv(table: &str, key: &str) -> String {
    format!("csv/{table}/{key}.csv.gz")
}

/// Returns whether Athena passes over this output of a table, because a part of its path below the table begins with `_` or
/// `.`: Athena treats such files as hidden
/// (<https://docs.aws.amazon.com/athena/latest/ug/other-notable-limitations.html>), and Trino, on which it is built, treats
/// directories alike.
#[must_use]
pub fn is_hidden_from_athena(path: &str, table: &str) -> bool {
    let below = path.strip_prefix("csv/").and_then(|path| path.strip_prefix(table)).unwrap_or(path);
    below.split('/').any(|part| part.starts_with(['_', '.']))
}

/// Rejected records of one object.
#[must_use]
pub fn rejects(key: &str) -> String {
    format!("rejects/{key}.jsonl.gz")
}

/// What a run was asked.
#[must_use]
pub fn run(run: &str) -> String {
    format!("runs/{run}/run.json")
}

/// The rules of a run, as they were when it was begun; none if it has the built-in one.
#[must_use]
pub fn config(run: &str) -> String {
    format!("runs/{run}/flowherd.toml")
}

/// The names of a run, as they were when it was begun; none if it has no lookups.
#[must_use]
pub fn lookups(run: &str) -> String {
    format!("runs/{run}/lookups.json")
}

/// That a run of the fleet has been begun and its report not yet written. Beside the runs, so that all of them are one
/// short listing.
#[must_use]
pub fn active(run: &str) -> String {
    format!("{ACTIVE}{run}.json")
}

/// The beginnings of all paths that a fleet writes in the results bucket. None of them may be listed as a source.
pub const RESERVED: [&str; 5] = [ACTIVE, "athena/", "csv/", "rejects/", "runs/"];

/// Where [`active`] runs are listed.
pub const ACTIVE: &str = "active/";

/// That another run purged the queue, and with it this run's messages.
#[must_use]
pub fn purged(run: &str) -> String {
    format!("runs/{run}/purged.json")
}

/// That an object is done in a later version than the one listed.
#[must_use]
pub fn amendment(run: &str, key: &str) -> String {
    format!("runs/{run}/amended/{key}.json")
}

/// Where the receipts of a run are listed.
#[must_use]
pub fn receipts(run: &str) -> String {
    format!("runs/{run}/receipts/")
}

/// Where the failures of a run are listed.
#[must_use]
pub fn failures(run: &str) -> String {
    format!("runs/{run}/failures/")
}

/// The reconciliation as far as it has come.
#[must_use]
pub fn unfinished_report(run: &str) -> String {
    format!("runs/{run}/report.unfinished.json")
}

/// One part of a run's manifest, from 0.
#[must_use]
pub fn manifest_part(run: &str, part: u64) -> String {
    format!("runs/{run}/manifest/part-{part:06}.jsonl.gz")
}

/// That an object is done.
#[must_use]
pub fn receipt(run: &str, key: &str) -> String {
    format!("runs/{run}/receipts/{key}.json")
}

/// Why an object failed.
#[must_use]
pub fn failure(run: &str, key: &str) -> String {
    format!("runs/{run}/failures/{key}.json")
}

/// The same for a key whose own name the store refuses, such as one too long for a file system.
#[must_use]
pub fn failure_by_hash(run: &str, key: &str) -> String {
    format!("runs/{run}/failures/.by-sha256/{}.json", hex(&Sha256::digest(key)))
}

/// The reconciliation.
#[must_use]
pub fn report(run: &str) -> String {
    format!("runs/{run}/report.json")
}

/// Whether a run may have this name: it becomes part of paths and of queue messages.
#[must_use]
pub fn is_run_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !name.is_empty() && name.len() <= 80 && !name.starts_with('.') && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_part_of_a_key_can_hide_its_rows_from_athena() {
        let is_hidden = |key: &str| is_hidden_from_athena(&csv("t", key), "t");
        for key in ["_a", ".a", "a/_b", "a/.b/c", "_a/b", "a/"] {
            assert!(is_hidden(key), "{key}");
        }
        for key in ["a", "a_b", "a.b/c_", "a//b"] {
            assert!(!is_hidden(key), "{key}");
        }
    }
}
