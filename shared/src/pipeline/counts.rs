//! What the pipeline counts in one object, and when its rejects are too many.

use std::collections::BTreeMap;

use super::{
    layers::LayerCount,
    records::{Items, Record},
    rules::{Row, Rule},
};
use crate::{
    config::Config,
    error::{ObjectError, Reason, RejectCause},
    limits::{MAX_EXAMPLE_CHARS, MAX_RECEIPT_EXAMPLES, REJECT_PERCENT_MIN_RECORDS},
    times::{HourCounter, TimeCounts},
};

/// Characters of a log group's name that an error quotes.
const QUOTED_CHARS: usize = 200;

/// The contents of an object. Always: `read = rows + rejected + control + dropped`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records seen.
    pub read: u64,
    /// Records written as rows.
    pub rows: u64,
    /// Records rejected.
    pub rejected: u64,
    /// Events of control envelopes, comments and directives.
    pub control: u64,
    /// Records that a rule drops.
    pub dropped: u64,
    /// Rows in which invalid text was replaced.
    pub repaired: u64,
    /// Rows with a name of another time, because none is known for their own.
    pub named_by_guess: u64,
    /// Rejected records by reason.
    pub rejects: BTreeMap<Reason, u64>,
    /// The first rejected record of each rule and reason.
    pub examples: Vec<RejectedRecord>,
    /// Rows by the hour of their timestamp. Complete at the end of the object.
    pub times: TimeCounts,
    hours: HourCounter,
    /// Bytes of the rejects, before compression.
    pub reject_bytes: u64,
    /// Records of each rule, by position of the rule in the configuration.
    pub rules: Vec<RuleCounts>,
    /// Rejected records that no rule takes.
    pub without_rule: RuleCounts,
    /// Log group of the first record that no rule takes, if it has one.
    pub unmatched_log_group: Option<String>,
    /// Bytes of the object.
    pub compressed_in: u64,
    /// Bytes of its text.
    pub decoded_in: u64,
    /// Members, frames, streams, chunks, blocks or entries of each layer, from the outside in.
    pub layers: Vec<Vec<LayerCount>>,
    /// The items of its text.
    pub items: Items,
}

/// A rejected record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRecord {
    /// Position in the configuration of the rule that took it; `None` if no rule did.
    pub rule: Option<usize>,
    /// The reason.
    pub reason: Reason,
    /// Its number in the object, from 0.
    pub record: u64,
    /// The beginning of its message.
    pub message: String,
}

/// Records that one rule takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleCounts {
    /// Records accepted as rows.
    pub rows: u64,
    /// Records dropped.
    pub dropped: u64,
    /// Rejected records by [`Reason`], in the order of [`Reason::ALL`].
    rejects: [u64; Reason::ALL.len()],
    /// Positions of the format's columns that no row has had a value for. Empty for flow logs, where `-` is a value.
    pub absent_columns: Vec<u16>,
}

impl Counts {
    pub(crate) fn new(config: &Config) -> Self {
        Self { rules: vec![RuleCounts::default(); config.rules.len()], ..Self::default() }
    }

    pub(super) fn add_row(&mut self, row: &Row<'_>) {
        self.read += 1;
        self.rows += 1;
        self.repaired += u64::from(row.repaired);
        self.hours.add(row.timestamp, &mut self.times);
        self.rules[row.rule.number].add_row(row);
    }

    /// `rule` is the position of the rule that takes the record, if one does.
    pub(super) fn add_reject(&mut self, reason: Reason, rule: Option<usize>, record: &Record<'_>) {
        let number = self.read;
        self.read += 1;
        self.rejected += 1;
        let counts = match rule {
            Some(rule) => &mut self.rules[rule],
            None => &mut self.without_rule,
        };
        counts.rejects[reason as usize] += 1;
        if counts.rejects[reason as usize] > 1 {
            return;
        }
        if reason == Reason::NoRule {
            let log_group = record.origin.log_group.as_deref();
            self.unmatched_log_group =
                log_group.map(|log_group| log_group.chars().take(QUOTED_CHARS).collect());
        }
        if self.examples.len() < MAX_RECEIPT_EXAMPLES {
            let message = beginning(record.message());
            self.examples.push(RejectedRecord { rule, reason, record: number, message });
        }
    }

    pub(super) fn add_dropped(&mut self, rule: &Rule) {
        self.read += 1;
        self.dropped += 1;
        self.rules[rule.number].dropped += 1;
    }

    pub(super) fn add_control(&mut self) {
        self.read += 1;
        self.control += 1;
    }

    /// Adds up the rows of all hours and the rejects of all rules.
    pub(super) fn complete(&mut self) {
        self.hours.flush(&mut self.times);
        for rule in self.rules.iter().chain([&self.without_rule]) {
            for (reason, count) in rule.rejects() {
                *self.rejects.entry(reason).or_default() += count;
            }
        }
    }

    /// Records that could have become rows.
    fn judged(&self) -> u64 {
        self.read - self.control - self.dropped
    }

    /// Returns whether more than `max_percent` of the records are rejects.
    #[must_use]
    pub fn exceeds_percent(&self, max_percent: u64) -> bool {
        let judged = self.judged();
        let (rejected, max) = (u128::from(self.rejected) * 100, u128::from(max_percent) * u128::from(judged));
        judged >= REJECT_PERCENT_MIN_RECORDS && rejected > max
    }

    /// The error of an object whose rejects exceed a limit. Names the rule and reason of most rejects.
    pub(super) fn too_many_rejects(&self, config: &Config, limit: &'static str, max: u64) -> ObjectError {
        let rules = config.rules.iter().zip(&self.rules).map(|(rule, counts)| (Some(rule), counts));
        let sources = rules.chain([(None, &self.without_rule)]);
        // The first of equals, so that the same object gives the same error.
        let worst =
            sources.reduce(|worst, next| if next.1.rejected() > worst.1.rejected() { next } else { worst });
        let cause = worst.and_then(|(rule, counts)| {
            let (reason, count) = counts.most_frequent_reject()?;
            let rule = rule.map(|rule| rule.name.clone());
            Some(RejectCause { rule, reason, count, log_group: self.unmatched_log_group.clone() })
        });
        // Without any reject, no limit is exceeded.
        let cause =
            cause.unwrap_or(RejectCause { rule: None, reason: Reason::NoRule, count: 0, log_group: None });
        ObjectError::TooManyRejects { rejected: self.rejected, read: self.judged(), limit, max, cause }
    }
}

/// Returns the first characters of a message. Invalid UTF-8 is replaced.
fn beginning(message: &[u8]) -> String {
    // No character has more than four bytes.
    let bytes = &message[..message.len().min(4 * MAX_EXAMPLE_CHARS)];
    String::from_utf8_lossy(bytes).chars().take(MAX_EXAMPLE_CHARS).collect()
}

impl RuleCounts {
    fn add_row(&mut self, row: &Row<'_>) {
        if self.rows == 0 {
            self.absent_columns = row.optional_columns();
        }
        self.rows += 1;
        // After the first rows this list holds only columns that the logs do not have.
        if !self.absent_columns.is_empty() {
            self.absent_columns.retain(|column| row.is_absent(*column));
        }
    }

    /// Returns the rejected records by reason, without reasons that no record has.
    pub fn rejects(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.iter().copied().zip(self.rejects).filter(|(_, count)| *count > 0)
    }

    /// Returns how many records were rejected.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.rejects.iter().sum()
    }

    /// Returns whether the rule took any record.
    #[must_use]
    pub fn has_records(&self) -> bool {
        self.rows > 0 || self.dropped > 0 || self.rejected() > 0
    }

    /// Returns the reason of most rejects, the first in the order of [`Reason::ALL`] among equals.
    fn most_frequent_reject(&self) -> Option<(Reason, u64)> {
        self.rejects().reduce(|most, next| if next.1 > most.1 { next } else { most })
    }
}
