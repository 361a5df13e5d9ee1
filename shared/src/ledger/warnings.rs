//! `warnings` of a report: a run can be done, with every record counted, and still be useless.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{ManifestEntry, Receipt, RuleTotals, layout};
use crate::{error::Reason, limits::MAX_RULES};

/// Something in a run that needs attention although no object failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// What it is.
    pub kind: WarningKind,
    /// The rule, for [`WarningKind::RuleRejectsMost`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// Rejected records, or objects: see [`WarningKind`].
    pub count: u64,
    /// Records that became rows, where `count` is of records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// The most frequent reason, where `count` is of records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// An example: the first such object in the order of the manifest.
    pub key: String,
}

/// The kinds of warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WarningKind {
    /// A rule rejects more records than it accepts. Counts its rejected records.
    RuleRejectsMost,
    /// The records that no rule takes are more than all rows. Counts these records.
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
    /// One line: what is wrong, and what to do.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, rule, count, rows, reason, key } = self;
        let (rows, rule) = (rows.unwrap_or_default(), rule.as_deref().unwrap_or_default());
        match kind {
            WarningKind::RuleRejectsMost => {
                let reason = reason.as_deref().unwrap_or_default();
                write!(
                    f,
                    "rule {rule:?} rejected {count} records and accepted {rows} (most frequent reason: {reason}). Run \
                     `flowherd explain` on an object such as {key}, then correct the rule"
                )
            }
            WarningKind::NoRule => write!(
                f,
                "no rule takes {count} records, and only {rows} records became rows. Add a rule that matches them; `flowherd \
                 explain` shows them, for example in {key}"
            ),
            WarningKind::ObjectsWithoutRows => write!(
                f,
                "{count} objects hold records, but none became a row. Run `flowherd explain` on such an object, for example \
                 {key}"
            ),
            WarningKind::HiddenFromAthena => write!(
                f,
                "Athena does not read the rows of {count} objects, because a part of their key begins with \"_\" or \".\". \
                 Rename the objects and convert them again; the first is {key}"
            ),
        }
    }
}

/// What a report collects for its warnings while it is added up. Its size does not depend on the number of objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Findings {
    /// By rule, the first object in which it rejected a record.
    rejecting: BTreeMap<String, String>,
    /// The first object with a record that no rule takes.
    unmatched: Option<String>,
    without_rows: Objects,
    hidden: Objects,
}

/// Objects of one kind: how many, and the first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Objects {
    count: u64,
    first: Option<String>,
}

impl Objects {
    fn add(&mut self, key: &str) {
        self.count = self.count.saturating_add(1);
        self.first.get_or_insert_with(|| key.to_owned());
    }

    fn warning(self, kind: WarningKind) -> Option<Warning> {
        Some(Warning { kind, rule: None, count: self.count, rows: None, reason: None, key: self.first? })
    }
}

impl Findings {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds an object that is done. Objects must come in the order of the manifest.
    pub(super) fn add(&mut self, entry: &ManifestEntry, receipt: &Receipt) {
        let key = &entry.key;
        for (rule, totals) in &receipt.rules {
            let is_new = !self.rejecting.contains_key(rule) && self.rejecting.len() < MAX_RULES;
            if is_new && !totals.rejects.is_empty() {
                self.rejecting.insert(rule.clone(), key.clone());
            }
        }
        if receipt.rejects.contains_key(Reason::NoRule.as_str()) {
            self.unmatched.get_or_insert_with(|| key.clone());
        }
        // Control events and dropped records are no reason for rows.
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
