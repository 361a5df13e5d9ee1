//! Runs the suggested rules over the whole sample.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use flowherd_shared::{
    config::{Config, ConfigError},
    error::{Reason, error_chain},
    pipeline::{self, RunConfig},
};

use super::{clusters::without_reject_limits, names, sample::Sample};

/// Whether an object with too many rejects fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RejectLimits {
    /// As in `convert`. A file whose beginning alone is in the sample has no limit, because its other records are unknown.
    Apply,
    /// All rejects are counted, to decide which rules fit.
    Lift,
}

/// The rows and rejects of one rule.
#[derive(Clone, Debug, Default)]
pub(super) struct RuleCounts {
    pub(super) rows: u64,
    pub(super) rejected: u64,
    /// Rejects by reason.
    reasons: BTreeMap<&'static str, u64>,
}

impl RuleCounts {
    /// Returns the most frequent reason of its rejects.
    pub(super) fn reason(&self) -> &'static str {
        self.reasons.iter().max_by_key(|(_, count)| **count).map_or("", |(reason, _)| reason)
    }
}

/// The counts of all rules together.
#[derive(Debug, Default)]
pub(super) struct Verified {
    /// By name of the rule.
    pub(super) rules: BTreeMap<String, RuleCounts>,
    pub(super) read: u64,
    pub(super) rows: u64,
    pub(super) control: u64,
    /// Records that no rule takes, by the glob of their key and by log group if one is known.
    pub(super) remaining: BTreeMap<String, u64>,
    /// Files that fail as objects, one line each.
    pub(super) problems: Vec<String>,
}

/// Counts all records of the samples without any rule.
pub(super) fn nothing_taken(samples: &[Sample]) -> Result<Verified, ConfigError> {
    let none = "[[rule]]\nname = \"none\"\ntable = \"none\"\nmatch = { message = '$.' }\n[rule.format]\nkind = \"vpc-flow\"\n";
    verify(none, samples, RejectLimits::Lift)
}

/// Runs a configuration over the samples, within the limits that it has in `convert`. The error is that of the configuration.
pub(super) fn verify(text: &str, samples: &[Sample], rejects: RejectLimits) -> Result<Verified, ConfigError> {
    let limited = RunConfig::from(Config::parse(text)?);
    let mut unlimited = Config::parse(text)?;
    unlimited.limits = without_reject_limits(unlimited.limits);
    let unlimited = RunConfig::from(unlimited);
    let mut verified = Verified::default();
    for sample in samples {
        let is_limited = rejects == RejectLimits::Apply && !sample.is_cut;
        let run_config = if is_limited { &limited } else { &unlimited };
        let run = pipeline::run(&sample.text[..], &sample.key, run_config, |_| Ok(Discard));
        let counts = match run {
            Ok(finished) => finished.counts,
            Err(error) => {
                verified.problems.push(format!("{}: {}", sample.key, error_chain(&error)));
                continue;
            }
        };
        verified.read += counts.read;
        verified.rows += counts.rows;
        verified.control += counts.control;
        for (rule, counts) in run_config.config.rules.iter().zip(&counts.rules) {
            let total = verified.rules.entry(rule.name.clone()).or_default();
            total.rows += counts.rows;
            total.rejected += counts.rejected();
            for (reason, count) in counts.rejects() {
                *total.reasons.entry(reason.as_str()).or_default() += count;
            }
        }
        let without_rule = counts.without_rule.rejected();
        if without_rule > 0 {
            let no_rule = counts.without_rule.rejects().any(|(reason, _)| reason == Reason::NoRule);
            let group = counts.unmatched_log_group.as_ref().filter(|_| no_rule);
            let source = match group {
                Some(group) => format!("log group {group:?}"),
                None => format!("keys {:?}", names::key_globs(&sample.key).0),
            };
            *verified.remaining.entry(source).or_default() += without_rule;
        }
    }
    Ok(verified)
}

/// Drops what is written.
struct Discard;

impl Write for Discard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
