//! The path of each file below the root of the results. Paths only append to the source key, so two keys never share an
//! output.

use sha2::{Digest, Sha256};

use crate::text::{hex, quoted};

/// Maximum length of the name of a run.
const MAX_RUN_NAME_BYTES: usize = 80;

/// The fleet of a stack whose settings name no fleets, and of the runs of `flowherd convert`.
pub const MAIN_FLEET: &str = "main";
/// Maximum length of the name of a fleet. It is part of the names of queues, functions and alarms.
const MAX_FLEET_NAME_BYTES: usize = 20;

/// Path prefix of the markers of [`active`] runs.
pub const ACTIVE: &str = "active/";

/// Where the index of runs is listed. No run has this name, because names do not begin with a dot.
pub const INDEX: &str = "runs/.index/";

/// The names that the coordinator refreshes. New runs copy them.
pub const NAMES: &str = "names/names.json";

/// Path prefix of the rows of all tables.
pub const CSV: &str = "csv/";

/// The path prefixes that a fleet writes in the results bucket. None of them may be listed as a source.
pub const RESERVED: [&str; 6] = [ACTIVE, "athena/", CSV, "names/", "rejects/", "runs/"];

/// Rows of one object for one table.
#[must_use]
pub fn csv(table: &str, key: &str) -> String {
    format!("csv/{table}/{key}.csv.gz")
}

/// Path prefix of the rows of one table.
#[must_use]
pub fn csv_of(table: &str) -> String {
    format!("{CSV}{table}/")
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

/// Rows of one object that the cluster refused. The run is part of the path, because runs may send the same object to several
/// indices.
#[must_use]
pub fn refused(run: &str, key: &str) -> String {
    format!("rejects/{run}/{key}.jsonl.gz")
}

/// Returns the table of a key that [`csv()`] may have returned; `None` for any other key.
#[must_use]
pub fn table_of_csv(key: &str) -> Option<&str> {
    let (table, source) = key.strip_prefix(CSV)?.strip_suffix(".csv.gz")?.split_once('/')?;
    (!table.is_empty() && !source.is_empty()).then_some(table)
}

/// The prefix and the configuration of a run.
#[must_use]
pub fn run(run: &str) -> String {
    format!("runs/{run}/run.json")
}

/// The configuration with which a live run begins. Created before the run's other files.
#[must_use]
pub fn live_begin(run: &str) -> String {
    format!("runs/{run}/begin.json")
}

/// Says that a live run accepts no further arrivals, and what its listing contains.
#[must_use]
pub fn closing(run: &str) -> String {
    format!("runs/{run}/closing.json")
}

/// How far the listing of a closing run has come.
#[must_use]
pub fn cursor(run: &str) -> String {
    format!("runs/{run}/cursor.json")
}

/// Copy of the configuration, made when the run began. Missing if the run has the built-in one.
#[must_use]
pub fn config(run: &str) -> String {
    format!("runs/{run}/flowherd.toml")
}

/// Copy of the names, made when the run began. Missing if the run has none.
#[must_use]
pub fn names(run: &str) -> String {
    format!("runs/{run}/names.json")
}

/// Copy of an enrichment file, made when the run began, by the SHA-256 of its bytes.
#[must_use]
pub fn enrichment(run: &str, sha256: &str) -> String {
    format!("runs/{run}/enrich/{sha256}")
}

/// Marker of a fleet's run that has begun and whose report is not yet written. All markers are one short listing.
#[must_use]
pub fn active(run: &str) -> String {
    format!("{ACTIVE}{run}.json")
}

/// Directory below [`ACTIVE`] of the markers of days to close. No run has this name, because names do not begin with a dot.
pub const UNCLOSED: &str = ".unclosed/";

/// Marker of a live run that lost its messages to a purge: a close must find the day of the run, also after more than a week. It
/// protects nothing, so only closes read it.
#[must_use]
pub fn unclosed(run: &str) -> String {
    format!("{ACTIVE}{UNCLOSED}{run}.json")
}

/// Says that another run purged the queue, and with it the messages of this run.
#[must_use]
pub fn purged(run: &str) -> String {
    format!("runs/{run}/purged.json")
}

/// Says that the run processes a later version of an object than the listed one.
#[must_use]
pub fn amendment(run: &str, key: &str) -> String {
    format!("runs/{run}/amended/{key}.json")
}

/// Path prefix of a run's receipts.
#[must_use]
pub fn receipts(run: &str) -> String {
    format!("runs/{run}/receipts/")
}

/// Path prefix of a run's failures.
#[must_use]
pub fn failures(run: &str) -> String {
    format!("runs/{run}/failures/")
}

/// A reconciliation that is not complete.
#[must_use]
pub fn unfinished_report(run: &str) -> String {
    format!("runs/{run}/report.unfinished.json")
}

/// One part of a run's manifest, from 0.
#[must_use]
pub fn manifest_part(run: &str, part: u64) -> String {
    format!("runs/{run}/manifest/part-{part:06}.jsonl.gz")
}

/// Receipt of an object that is done.
#[must_use]
pub fn receipt(run: &str, key: &str) -> String {
    format!("runs/{run}/receipts/{key}.json")
}

/// Failure of an object.
#[must_use]
pub fn failure(run: &str, key: &str) -> String {
    format!("runs/{run}/failures/{key}.json")
}

/// Failure of an object whose key the store cannot have, such as one too long for a file system.
#[must_use]
pub fn failure_by_hash(run: &str, key: &str) -> String {
    format!("runs/{run}/failures/.by-sha256/{}.json", hex(&Sha256::digest(key)))
}

/// The report of a run.
#[must_use]
pub fn report(run: &str) -> String {
    format!("runs/{run}/report.json")
}

/// The report as a page for people.
#[must_use]
pub fn report_page(run: &str) -> String {
    format!("runs/{run}/report.html")
}

/// Returns whether `name` is valid as the name of a run. It becomes part of paths and of queue messages.
#[must_use]
pub fn is_run_name(name: &str) -> bool {
    run_name_problem(name).is_none()
}

/// Returns why `name` is not valid as the name of a run, for people.
#[must_use]
pub fn run_name_problem(name: &str) -> Option<String> {
    let is_valid =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    let why = if name.is_empty() {
        "it is empty".to_owned()
    } else if name.starts_with('.') {
        "it begins with a dot".to_owned()
    } else if let Some(invalid) = name.chars().find(|character| !is_valid(*character)) {
        format!("it has the character {invalid:?}")
    } else if name.len() > MAX_RUN_NAME_BYTES {
        format!("it has {} characters", name.len())
    } else {
        return None;
    };
    Some(format!(
        "invalid run name {}: {why}; use 1 to {MAX_RUN_NAME_BYTES} of the characters A-Z a-z 0-9 . _ - and no leading dot",
        quoted(name)
    ))
}

/// Returns why `name` is not valid as the name of a fleet, for people.
#[must_use]
pub fn fleet_name_problem(name: &str) -> Option<String> {
    let is_valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_name = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(is_valid)
        && name.len() <= MAX_FLEET_NAME_BYTES;
    (!is_name).then(|| {
        format!(
            "invalid fleet name {}: use 1 to {MAX_FLEET_NAME_BYTES} of the characters a-z 0-9 -, and begin with a letter",
            quoted(name)
        )
    })
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

    #[test]
    fn the_table_of_rows_is_in_their_path() {
        assert_eq!(table_of_csv(&csv("t", "a/b.gz")), Some("t"));
        for key in
            ["csv/t/a", "csv/a.csv.gz", "csv//a.csv.gz", "csv/t/.csv.gz", "rejects/t/a.csv.gz", "", "csv/"]
        {
            assert_eq!(table_of_csv(key), None, "{key}");
        }
    }

    #[test]
    fn an_invalid_run_name_is_explained() {
        let long = "x".repeat(81);
        for (name, why) in [
            ("", "it is empty"),
            (".x", "it begins with a dot"),
            ("a/b", "it has the character '/'"),
            ("ä", "it has the character 'ä'"),
            (&long, "it has 81 characters"),
        ] {
            let problem = run_name_problem(name).unwrap();
            assert!(problem.starts_with("invalid run name ") && problem.contains(why), "{problem}");
            assert!(!is_run_name(name), "{name}");
        }
        assert_eq!(run_name_problem("monday_1.x-Y"), None);
    }

    #[test]
    fn a_fleet_name_has_lowercase_letters_digits_and_hyphens() {
        for name in ["main", "a", "waf-2", "a234567890123456789-"] {
            assert_eq!(fleet_name_problem(name), None, "{name}");
        }
        for name in ["", "Main", "2a", "-a", "a_b", "a.b", "ä", "a23456789012345678901"] {
            let problem = fleet_name_problem(name).unwrap();
            assert!(problem.starts_with("invalid fleet name "), "{problem}");
        }
    }
}
