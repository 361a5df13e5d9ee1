//! Examples of rejected records: one for each rule and reason, in receipts and in the report.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{config::Config, limits::MAX_REPORT_EXAMPLES, pipeline::Counts};

/// A rejected record in a receipt: the first of its object with this rule and reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectExample {
    /// The rule that took the record; `None` if no rule did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The reason.
    pub reason: String,
    /// The number of the record in its object, from 0.
    pub record: u64,
    /// The beginning of the message. Bytes that are not UTF-8 are replaced.
    pub message: String,
}

/// A rejected record in a report: the one of the first object by key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportExample {
    /// The object.
    pub key: String,
    /// The record.
    #[serde(flatten)]
    pub example: RejectExample,
}

/// Returns the examples of an object.
pub(super) fn of_object(config: &Config, counts: &Counts) -> Vec<RejectExample> {
    let name = |rule: usize| config.rules[rule].name.clone();
    let examples = counts.examples.iter().map(|example| RejectExample {
        rule: example.rule.map(name),
        reason: example.reason.as_str().to_owned(),
        record: example.record,
        message: example.message.clone(),
    });
    examples.collect()
}

/// Adds the examples of an object to those of a report, which are sorted by rule and reason. At most
/// [`MAX_REPORT_EXAMPLES`] remain, the first by rule and reason, so that the order of objects does not matter.
pub(super) fn add(examples: &mut Vec<ReportExample>, key: &str, of_object: &[RejectExample]) {
    for example in of_object {
        let place = examples.binary_search_by(|other| pair(&other.example).cmp(&pair(example)));
        match place {
            Ok(at) if *key < *examples[at].key => {
                examples[at] = ReportExample { key: key.to_owned(), example: example.clone() };
            }
            Err(at) if at < MAX_REPORT_EXAMPLES => {
                examples.insert(at, ReportExample { key: key.to_owned(), example: example.clone() });
                examples.truncate(MAX_REPORT_EXAMPLES);
            }
            Ok(_) | Err(_) => {}
        }
    }
}

fn pair(example: &RejectExample) -> (Option<&str>, &str) {
    (example.rule.as_deref(), &example.reason)
}

/// Returns the number of rejects by rule and reason, from the rejects of each rule and those of all rules.
#[must_use]
pub(crate) fn counts_by_rule_and_reason<'a>(
    rules: &'a BTreeMap<String, super::RuleTotals>,
    rejects: &'a BTreeMap<String, u64>,
) -> Vec<(Option<&'a str>, &'a str, u64)> {
    let mut remaining = rejects.clone();
    let mut counts = Vec::new();
    for (rule, totals) in rules {
        for (reason, count) in &totals.rejects {
            counts.push((Some(&**rule), &**reason, *count));
            if let Some(all) = remaining.get_mut(reason) {
                *all = all.saturating_sub(*count);
            }
        }
    }
    // What no rule rejected, no rule took.
    counts.extend(
        rejects
            .keys()
            .filter_map(|reason| Some((None, &**reason, *remaining.get(reason)?)))
            .filter(|(_, _, count)| *count > 0),
    );
    counts.sort_by(|a, b| b.2.cmp(&a.2).then((a.0, a.1).cmp(&(b.0, b.1))));
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(rule: Option<&str>, reason: &str, record: u64) -> RejectExample {
        let (rule, reason) = (rule.map(str::to_owned), reason.to_owned());
        RejectExample { rule, reason, record, message: "m".to_owned() }
    }

    #[test]
    fn a_report_has_the_example_of_the_first_object_for_each_rule_and_reason_in_any_order() {
        let objects = [
            ("b", vec![example(Some("r"), "no-match", 4), example(None, "no-rule", 1)]),
            ("a", vec![example(Some("r"), "no-match", 7)]),
            ("c", vec![example(Some("q"), "no-match", 0), example(None, "no-rule", 0)]),
        ];
        let mut results = Vec::new();
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            let mut examples = Vec::new();
            order.iter().for_each(|at| add(&mut examples, objects[*at].0, &objects[*at].1));
            results.push(examples);
        }
        let found: Vec<_> =
            results[0].iter().map(|one| (one.key.as_str(), pair(&one.example), one.example.record)).collect();
        assert_eq!(
            found,
            [
                ("b", (None, "no-rule"), 1),
                ("c", (Some("q"), "no-match"), 0),
                ("a", (Some("r"), "no-match"), 7)
            ]
        );
        assert!(results.iter().all(|result| *result == results[0]));
    }

    #[test]
    fn a_report_has_a_limited_number_of_examples_whatever_their_order() {
        let names: Vec<String> = (0..2 * MAX_REPORT_EXAMPLES).map(|number| format!("r{number:05}")).collect();
        let all = |names: &mut dyn Iterator<Item = &String>| {
            let mut examples = Vec::new();
            names.for_each(|name| add(&mut examples, "k", &[example(Some(name), "no-match", 0)]));
            examples
        };
        let forward = all(&mut names.iter());
        assert_eq!(forward.len(), MAX_REPORT_EXAMPLES);
        assert_eq!(forward, all(&mut names.iter().rev()));
    }
}
