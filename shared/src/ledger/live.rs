//! The ledger of a live run: a run whose objects arrive as events, one for each day. The proof is a listing, which is made when
//! the run is closed.

use serde::{Deserialize, Serialize};

use super::{Fingerprint, Run, is_zero};

/// The day of a live run, in `run.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveDay {
    /// In UTC, such as `2026-02-18`.
    pub day: String,
    /// The fleet's prefixes when the run began.
    pub prefixes: Vec<String>,
    /// Closed runs of the same day, latest first. Their receipts count with the configuration that they had.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub follows: Vec<EarlierRun>,
}

/// A run whose receipts count in a later run of the same day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierRun {
    /// The run.
    pub run: String,
    /// Its configuration and names.
    #[serde(flatten)]
    pub fingerprint: Fingerprint,
}

/// `runs/<run>/begin.json`: which configuration a live run begins with. Several invocations may begin it at once; exactly one
/// creates this file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveBegin {
    /// The configuration and names.
    #[serde(flatten)]
    pub fingerprint: Fingerprint,
}

/// `runs/<run>/closing.json`: the live run accepts no further arrivals, and this is what its listing contains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveClosing {
    /// Keys with these prefixes.
    pub prefixes: Vec<String>,
    /// Except keys with these longer prefixes, which belong to other fleets.
    pub excluded: Vec<String>,
    /// Those of the prefixes that the fleet has lost since the run began. Its coordinator may have lost the right to list them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost: Vec<String>,
}

/// `runs/<run>/cursor.json`: how far the listing of a closing live run or of an index run has come since its last manifest part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveCursor {
    /// The next part of the manifest.
    pub part: u64,
    /// The range of keys of a live run; see the coordinator's listing.
    pub range: usize,
    /// The last key or position in it; `None` at its beginning.
    pub after: Option<String>,
    /// Lost prefixes whose listing was denied.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denied: Vec<String>,
    /// Objects that an index run has passed over.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub passed_over: u64,
}

impl Run {
    /// Returns the runs whose receipts count as done by an earlier run, with the configuration that each receipt must have.
    pub fn earlier(&self) -> impl Iterator<Item = (&str, &Fingerprint)> {
        let resumed = self.resumes.iter().map(|run| (run.as_str(), &self.fingerprint));
        let followed = self.live.iter().flat_map(|live| &live.follows);
        resumed.chain(followed.map(|earlier| (earlier.run.as_str(), &earlier.fingerprint)))
    }
}
