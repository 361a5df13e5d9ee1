//! The `warnings` of a report: conditions of a done run that need attention.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{ManifestEntry, Receipt, RuleTotals, layout};
use crate::{error::Reason, limits::MAX_RULES};

/// A condition that needs attention although no object failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// The kind of condition.
    pub kind: WarningKind,
    /// The rule, for [`WarningKind::RuleRejectsMost`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Rejected records, or objects: see [`WarningKind`].
    pub count: u64,
    /// Records that became rows, if `count` counts records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// The most frequent reason, if `count` counts records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// An example: the first such object by key.
    pub key: String,
}

/// The kinds of warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WarningKind {
    /// A rule rejects more records than it accepts. Counts its rejected records.
    RuleRejectsMost,
    /// Records that no rule takes outnumber all rows. Counts these records.
    NoRule,
    /// Objects with records, all of which were rejected. Counts the objects.
    ObjectsWithoutRows,
    /// Objects whose rows Athena does not read. Counts the objects.
    HiddenFromAthena,
}

impl WarningKind {
    /// Every kind.
    pub const ALL: &[Self] =
        &[Self::RuleRejectsMost, Self::NoRule, Self::ObjectsWithoutRows, Self::HiddenFromAthena];

    /// Returns the text form, as in the report.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RuleRejectsMost => "rule-rejects-most",
            Self::NoRule => "no-rule",
            Self::ObjectsWithoutRows => "objects-without-rows",
            Self::HiddenFromAthena => "hidden-from-athena",
        }
    }
}

impl fmt::Display for Warning {
    /// Writes the condition and the remedy on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, rule, count, rows, reason, key } = self;
        let (rows, rule) = (rows.unwrap_or_default(), rule.as_deref().unwrap_or_default());
        match kind {
            WarningKind::RuleRejectsMost => {
                let reason = reason.as_deref().unwrap_or_default();
                write!(
                    f,
                    "rule {rule:?} rejects more records ({count}) than it accepts ({rows}), most often as {reason}. Run \
                     `flowherd explain` on an object such as {key}, then correct the rule"
                )
            }
            WarningKind::NoRule => write!(
                f,
                "more records match no rule ({count}) than became rows ({rows}). Add a rule that matches them; `flowherd \
                 explain` shows them, for example in {key}"
            ),
            WarningKind::ObjectsWithoutRows => write!(
                f,
                "objects whose records were all rejected: {count}. Run `flowherd explain` on one of them, such as {key}"
            ),
            WarningKind::HiddenFromAthena => write!(
                f,
                "objects hidden from Athena: {count}. A part of the key begins with \"_\" or \".\", so queries do not see \
                 their rows. Rename the objects and convert them again; the first is {key}"
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

    fn warning(self, kind: WarningKind) -> Option<Warning> {
        Some(Warning { kind, rule: None, count: self.count, rows: None, reason: None, key: self.first? })
    }
}

impl Findings {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds an object that is done. The order of objects does not matter: `flowherd convert` lists a directory in any order.
    pub(super) fn add(&mut self, entry: &ManifestEntry, receipt: &Receipt) {
        let key = &entry.key;
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
            // A rule with rejects has an example, unless the ledger holds more rules than any configuration.
            let Some(key) = self.rejecting.get(rule) else { continue };
            warnings.push(Warning {
                kind: WarningKind::RuleRejectsMost,
                rule: Some(rule.clone()),
                count: totals.rejected(),
                rows: Some(totals.rows),
                reason: totals.most_frequent_reject().map(str::to_owned),
                key: key.clone(),
            });
        }
        let reason = Reason::NoRule.as_str();
        let unmatched = rejects.get(reason).copied().unwrap_or_default();
        if unmatched > rows
            && let Some(key) = self.unmatched
        {
            warnings.push(Warning {
                kind: WarningKind::NoRule,
                rule: None,
                count: unmatched,
                rows: Some(rows),
                reason: Some(reason.to_owned()),
                key,
            });
        }
        warnings.extend(self.without_rows.warning(WarningKind::ObjectsWithoutRows));
        warnings.extend(self.hidden.warning(WarningKind::HiddenFromAthena));
        warnings
    }
}

/// Keeps the first of two keys.
fn keep_first(first: &mut Option<String>, key: &str) {
    if first.as_deref().is_none_or(|first| key < first) {
        *first = Some(key.to_owned());
    }
}
