//! Limits that AWS documents outside of its models, and that the local cloud does not enforce.

mod s3;
mod sqs;

use super::Call;

/// A rule of AWS.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Its name.
    pub name: &'static str,
    /// The page of AWS that states it.
    pub page: &'static str,
    check: fn(&[Call], &mut Verdict),
}

/// The result of a rule for all calls of a run.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Number of values that the rule checked.
    pub seen: usize,
    /// Calls that AWS would refuse, with the reason.
    pub broken: Vec<String>,
}

impl Rule {
    /// Applies the rule to the calls of a whole run.
    #[must_use]
    pub fn check(&self, calls: &[Call]) -> Verdict {
        let mut verdict = Verdict::default();
        (self.check)(calls, &mut verdict);
        verdict
    }
}

impl Verdict {
    fn see(&mut self, is_allowed: bool, what: &Call, why: impl FnOnce() -> String) {
        self.seen += 1;
        if !is_allowed {
            let of = what.text("Key").or(what.text("Bucket")).or(what.text("QueueUrl")).unwrap_or_default();
            self.broken.push(format!("{} {of:?}: {}", what.operation, why()));
        }
    }
}

/// All rules.
#[must_use]
pub fn all() -> Vec<Rule> {
    [&s3::RULES[..], &sqs::RULES].concat()
}

fn calls<'a>(calls: &'a [Call], operations: &'a [&str]) -> impl Iterator<Item = &'a Call> {
    calls.iter().filter(move |call| operations.contains(&call.operation.as_str()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    fn call(operation: &str, input: &Value) -> Call {
        let is_s3 = input.get("Bucket").is_some();
        Call {
            service: if is_s3 { "s3" } else { "sqs" },
            operation: operation.to_owned(),
            input: input.as_object().unwrap().clone(),
            body_bytes: input["body"].as_u64().unwrap_or_default() as usize,
        }
    }

    /// Checks that the rule applies to both, refuses the bad calls and accepts the good ones.
    pub(super) fn check(name: &str, good: &[(&str, Value)], bad: &[&[(&str, Value)]]) {
        let rule = all().into_iter().find(|rule| rule.name == name).unwrap();
        let calls = |all: &[(&str, Value)]| -> Vec<Call> {
            all.iter().map(|(operation, input)| call(operation, input)).collect()
        };
        let verdict = rule.check(&calls(good));
        assert!(verdict.seen > 0 && verdict.broken.is_empty(), "{name}: {verdict:?}");
        for bad in bad {
            let verdict = rule.check(&calls(bad));
            assert!(!verdict.broken.is_empty(), "{name}: {bad:?}");
        }
    }

    #[test]
    fn every_rule_has_a_page_and_a_name_of_its_own() {
        let rules = all();
        let names: BTreeSet<&str> = rules.iter().map(|rule| rule.name).collect();
        assert_eq!(names.len(), rules.len());
        assert!(rules.iter().all(|rule| rule.page.starts_with("https://docs.aws.amazon.com/")));
    }
}
