//! Records by rule, in the receipt of an object and in the report of a run.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{config::Config, limits::MAX_ABSENT_COLUMNS, pipeline::Counts};

/// Records that one rule takes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleTotals {
    /// Records accepted as rows.
    pub rows: u64,
    /// Records dropped.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped: u64,
    /// Rejected records by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rejects: BTreeMap<String, u64>,
    /// Columns without a value in every row. Flow logs have none: `-` is a value there.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub absent_columns: BTreeSet<String>,
}

impl RuleTotals {
    /// Returns how many records were rejected.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejects.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Returns the reason of most rejects, the first by name among equals.
    #[must_use]
    pub fn most_frequent_reject(&self) -> Option<&str> {
        let most = self.rejects.iter().reduce(|most, next| if next.1 > most.1 { next } else { most });
        most.map(|(reason, _)| &**reason)
    }

    /// Adds the records of another object.
    pub(super) fn add(&mut self, other: &Self) {
        if self.rows == 0 {
            self.absent_columns.clone_from(&other.absent_columns);
        } else if other.rows > 0 {
            self.absent_columns.retain(|column| other.absent_columns.contains(column));
        }
        self.rows = self.rows.saturating_add(other.rows);
        self.dropped = self.dropped.saturating_add(other.dropped);
        for (reason, count) in &other.rejects {
            let sum = self.rejects.entry(reason.clone()).or_default();
            *sum = sum.saturating_add(*count);
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Returns the records of each rule that took any. Names at most [`MAX_ABSENT_COLUMNS`] columns, so a report may name too few
/// absent columns, but never too many.
pub(super) fn of_object(config: &Config, counts: &Counts) -> BTreeMap<String, RuleTotals> {
    let mut columns_left = MAX_ABSENT_COLUMNS;
    let rules = config.rules.iter().zip(&counts.rules).filter(|(_, counts)| counts.has_records());
    let totals = rules.map(|(rule, counts)| {
        let absent = &counts.absent_columns[..counts.absent_columns.len().min(columns_left)];
        columns_left -= absent.len();
        let writing = rule.writing().filter(|_| !absent.is_empty());
        let columns = writing.map_or_else(Vec::new, |writing| writing.format.columns());
        let totals = RuleTotals {
            rows: counts.rows,
            dropped: counts.dropped,
            rejects: counts.rejects().map(|(reason, count)| (reason.as_str().to_owned(), count)).collect(),
            absent_columns: absent.iter().map(|column| columns[usize::from(*column)].name.clone()).collect(),
        };
        (rule.name.clone(), totals)
    });
    totals.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        error::Reason,
        limits::{MAX_LEDGER_BYTES, MAX_RULE_NAME_BYTES, MAX_RULES},
    };

    fn totals(rows: u64, absent: &[&str]) -> RuleTotals {
        let absent_columns = absent.iter().map(|column| (*column).to_owned()).collect();
        RuleTotals { rows, absent_columns, ..RuleTotals::default() }
    }

    #[test]
    fn a_column_is_absent_only_if_it_is_absent_in_every_object_with_rows() {
        let mut sum = RuleTotals::default();
        for (object, absent) in [
            (totals(0, &[]), &[][..]),
            (totals(2, &["a", "b", "c"]), &["a", "b", "c"]),
            (totals(0, &[]), &["a", "b", "c"]),
            (totals(1, &["b", "c", "d"]), &["b", "c"]),
            (totals(1, &[]), &[]),
            (totals(1, &["b"]), &[]),
        ] {
            sum.add(&object);
            assert_eq!(sum.absent_columns, totals(0, absent).absent_columns);
        }
        assert_eq!(sum.rows, 5);
    }

    #[test]
    fn the_rules_of_a_receipt_take_less_than_their_share_of_a_ledger_file() {
        // Each character of these names takes six bytes of JSON. The names differ in their last characters.
        let rule = |number: usize| {
            let rejects = Reason::ALL.iter().map(|reason| (reason.as_str().to_owned(), u64::MAX)).collect();
            let totals = RuleTotals { rows: u64::MAX, rejects, ..RuleTotals::default() };
            ("\u{1}".repeat(MAX_RULE_NAME_BYTES - 3) + &format!("{number:03}"), totals)
        };
        let mut rules: BTreeMap<String, RuleTotals> = (0..MAX_RULES).map(rule).collect();
        let columns = (0..MAX_ABSENT_COLUMNS).map(|column| format!("{column:0>128}")).collect();
        if let Some(first) = rules.values_mut().next() {
            first.absent_columns = columns;
        }
        let bytes = serde_json::to_vec(&rules).unwrap().len();
        assert!((bytes as u64) < MAX_LEDGER_BYTES * 6 / 10, "{bytes}");
    }

    #[test]
    fn a_receipt_names_a_limited_number_of_absent_columns() {
        let columns = |table: &str| {
            let columns =
                (0..600).map(|column| format!("{{ name = '{table}{column}', path = '/{column}' }}"));
            let columns = columns.collect::<Vec<_>>().join(", ");
            format!(
                "[[rule]]\nname = '{table}'\ntable = '{table}'\nformat = {{ kind = 'json', columns = [ {columns} ] }}\n"
            )
        };
        let config = Config::parse(&(columns("a") + &columns("b"))).unwrap();
        let mut counts = Counts::new(&config);
        for rule in &mut counts.rules {
            (rule.rows, rule.absent_columns) = (1, (0..600).collect());
        }
        let totals = of_object(&config, &counts);
        let named: Vec<usize> = totals.values().map(|totals| totals.absent_columns.len()).collect();
        assert_eq!(named, [600, MAX_ABSENT_COLUMNS - 600]);
    }
}
