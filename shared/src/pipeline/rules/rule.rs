//! A compiled rule.

use serde::{Deserialize, Serialize};

use super::{Format, Matches};

/// A rule that is ready to use.
#[derive(Debug)]
pub struct Rule {
    /// Position among the rules.
    pub number: usize,
    /// Its unique name.
    pub name: String,
    /// The records it takes.
    pub matches: Matches,
    /// Position of its table among the tables.
    pub table: usize,
    /// For each metadata column of the table: whether this rule fills it.
    pub metadata: Vec<bool>,
    /// For each format column of the table: the position of its value in the format.
    pub cells: Vec<Option<usize>>,
    /// Whether the cells are the fields of the message in their own order.
    pub(crate) in_order: bool,
    /// How a message becomes values.
    pub format: Format,
    /// Positions of the format's columns without which a record is rejected.
    pub required: Vec<usize>,
    /// What happens to invalid text in values. Flow logs always reject it.
    pub bad_text: BadText,
}

/// What a rule does with invalid UTF-8, lone surrogates and NUL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BadText {
    /// Replaces it and counts the row as repaired.
    #[default]
    Replace,
    /// Rejects the record.
    Reject,
}
