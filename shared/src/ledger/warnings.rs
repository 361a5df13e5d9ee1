//! The `warnings` of a report: conditions of a done run that need attention.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{ManifestEntry, Receipt, RuleTotals, Run, layout};
use crate::{error::Reason, limits::MAX_RULES};

/// A condition that needs attention although no object failed. `key` is an example: the first such object by key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Warning {
    /// A rule rejects more records than it accepts.
    RuleRejectsMost {
        /// The rule.
        rule: String,
        /// Rejected records.
        count: u64,
        /// Accepted records.
        rows: u64,
        /// The most frequent reason.
        reason: String,
        /// An object with a reject of the rule.
        key: String,
    },
    /// Records that no rule takes outnumber all rows.
    NoRule {
        /// Records that no rule takes.
        count: u64,
        /// Rows of all rules.
        rows: u64,
        /// `no-rule`.
        reason: String,
        /// An object with such a record.
        key: String,
    },
    /// Objects that have records, and whose records were all rejected.
    ObjectsWithoutRows {
        /// Objects.
        count: u64,
        /// One of them.
        key: String,
    },
    /// Objects whose rows Athena does not read.
    HiddenFromAthena {
        /// Objects.
        count: u64,
        /// One of them.
        key: String,
    },
    /// Rows have no names, because none were read from AWS yet when the run began.
    NamesNotRead {
        /// Rows.
        count: u64,
    },
    /// The cluster refused rows of an index run.
    DocumentsRefused {
        /// Refused rows.
        count: u64,
        /// The most frequent reason.
        reason: String,
        /// An object with a refused row.
        key: String,
    },
}

impl Warning {
    /// The values of `kind`, in the order of a report.
    pub const KINDS: [&str; 6] = [
        "rule-rejects-most",
        "no-rule",
        "objects-without-rows",
        "hidden-from-athena",
        "names-not-read",
        "documents-refused",
    ];
}

impl fmt::Display for Warning {
    /// Writes the condition and the remedy on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RuleRejectsMost { rule, count, rows, reason, key } => write!(
                f,
                "rule {rule:?} rejects more records ({count}) than it accepts ({rows}), most often as {reason}. Run \
                 `flowherd explain` on an object such as {key}, then correct the rule"
            ),
            Self::NoRule { count, rows, key, .. } => write!(
                f,
                "more records match no rule ({count}) than became rows ({rows}). Add a rule that matches them; `flowherd \
                 explain` shows them, for example in {key}"
            ),
            Self::ObjectsWithoutRows { count, key } => write!(
                f,
                "objects whose records were all rejected: {count}. Run `flowherd explain` on one of them, such as {key}"
            ),
            Self::HiddenFromAthena { count, key } => write!(
                f,
                "objects hidden from Athena: {count}. A part of the key begins with \"_\" or \".\", so queries do not see \
                 their rows. Rename the objects and convert them again; the first is {key}"
            ),
            Self::NamesNotRead { count } => write!(
                f,
                "rows without names: {count}. {path} did not exist in the results bucket when the run began. After the first \
                 refresh of the names, run the prefix again",
                path = layout::NAMES
            ),
            Self::DocumentsRefused { count, reason, key } => write!(
                f,
                "rows that the cluster refused: {count}, most often as {reason}. They are in rejects/RUN/ with the cluster's \
                 reason, for example those of {key}. Correct the types of the columns, then index the prefix again"
            ),
        }
    }
}

/// The data that a report collects for its warnings. Its size is independent of the number of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Findings {
    /// By rule, the first object by key in which it rejected a record.
    rejecting: BTreeMap<String, String>,
    /// The first object by key with a record that no rule takes.
    unmatched: Option<String>,
    without_rows: Objects,
    hidden: Objects,
    /// The first object, in the order of keys, with a row that the cluster refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    /// Whether the run has no names although it wants them.
    #[serde(default)]
    lacks_names: bool,
}

/// Objects of one kind: their number, and the first by key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Objects {
    count: u64,
    first: Option<String>,
}

impl Objects {
    fn add(&mut self, key: &str) {
        self.count = self.count.saturating_add(1);
        keep_first(&mut self.first, key);
    }
}

impl Findings {
    pub(super) fn new(run: &Run) -> Self {
        Self { lacks_names: run.lacks_names, ..Self::default() }
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds an object that is done. The order of objects does not matter: `flowherd convert` lists a directory in any order.
    pub(super) fn add(&mut self, entry: &ManifestEntry, receipt: &Receipt) {
        let key = &entry.key;
        if let Some(documents) = &receipt.documents {
            if documents.refused > 0 {
                keep_first(&mut self.refused, key);
            }
            return;
        }
        for (rule, totals) in &receipt.rules {
            if totals.rejects.is_empty() {
                continue;
            }
            let has_room = self.rejecting.len() < MAX_RULES;
            if let Some(first) = self.rejecting.get_mut(rule) {
                if *key < *first {
                    first.clone_from(key);
                }
            } else if has_room {
                // A ledger with more rules was not written by Flowherd.
                self.rejecting.insert(rule.clone(), key.clone());
            }
        }
        if receipt.rejects.contains_key(Reason::NoRule.as_str()) {
            keep_first(&mut self.unmatched, key);
        }
        // Control events and dropped records give no rows.
        if receipt.records.rows == 0 && receipt.records.rejected > 0 {
            self.without_rows.add(key);
        }
        if receipt.outputs.iter().any(|output| {
            let table = output.table.as_deref();
            output.rows > 0 && table.is_some_and(|table| layout::is_hidden_from_athena(&output.path, table))
        }) {
            self.hidden.add(key);
        }
    }

    /// Returns the warnings of a run with these totals.
    pub(super) fn warnings(
        self,
        rules: &BTreeMap<String, RuleTotals>,
        rejects: &BTreeMap<String, u64>,
        rows: u64,
    ) -> Vec<Warning> {
        let mut warnings = Vec::new();
        for (rule, totals) in rules.iter().filter(|(_, totals)| totals.rejected() > totals.rows) {
            // A forged ledger may have more rules than examples.
            if let (Some(reason), Some(key)) = (totals.most_frequent_reject(), self.rejecting.get(rule)) {
                warnings.push(Warning::RuleRejectsMost {
                    rule: rule.clone(),
                    count: totals.rejected(),
                    rows: totals.rows,
                    reason: reason.to_owned(),
                    key: key.clone(),
                });
            }
        }
        let reason = Reason::NoRule.as_str().to_owned();
        if let (Some(&count), Some(key)) = (rejects.get(&reason), self.unmatched)
            && count > rows
        {
            warnings.push(Warning::NoRule { count, rows, reason, key });
        }
        let Objects { count, first } = self.without_rows;
        warnings.extend(first.map(|key| Warning::ObjectsWithoutRows { count, key }));
        let Objects { count, first } = self.hidden;
        warnings.extend(first.map(|key| Warning::HiddenFromAthena { count, key }));
        let most = rejects.iter().reduce(|most, next| if next.1 > most.1 { next } else { most });
        if let (Some(key), Some((reason, _))) = (self.refused, most) {
            let count = rejects.values().fold(0_u64, |sum, count| sum.saturating_add(*count));
            warnings.push(Warning::DocumentsRefused { count, reason: reason.clone(), key });
        }
        if self.lacks_names && rows > 0 {
            warnings.push(Warning::NamesNotRead { count: rows });
        }
        warnings
    }
}

/// Keeps the first of two keys.
fn keep_first(first: &mut Option<String>, key: &str) {
    if first.as_deref().is_none_or(|first| key < first) {
        *first = Some(key.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn warnings_are_read_back_as_written_and_have_the_documented_kinds() {
        let (rule, reason, key) = ("r".to_owned(), "no-match".to_owned(), "k".to_owned());
        let (count, rows) = (3, 2);
        let all = [
            Warning::RuleRejectsMost { rule, count, rows, reason: reason.clone(), key: key.clone() },
            Warning::NoRule { count, rows, reason, key: key.clone() },
            Warning::ObjectsWithoutRows { count, key: key.clone() },
            Warning::HiddenFromAthena { count, key: key.clone() },
            Warning::NamesNotRead { count },
            Warning::DocumentsRefused { count, reason: "version_conflict".to_owned(), key },
        ];
        let json = serde_json::to_value(&all).unwrap();
        let kinds: Vec<&str> =
            json.as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, Warning::KINDS);
        assert_eq!(json[2], json!({ "kind": "objects-without-rows", "count": 3, "key": "k" }));
        assert_eq!(serde_json::from_value::<[Warning; 6]>(json).unwrap(), all);
    }
}
