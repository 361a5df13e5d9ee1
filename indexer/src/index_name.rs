//! The index of a row.

/// Names the index of each row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexName {
    /// One index, or a data stream, for all rows.
    Fixed(String),
}

impl IndexName {
    /// Appends the name of the index of a row with this timestamp (ISO-8601 UTC). Returns whether the timestamp is valid; the
    /// name is not changed if it is not.
    #[must_use]
    pub fn append(&self, _timestamp: &[u8], name: &mut String) -> bool {
        match self {
            Self::Fixed(fixed) => name.push_str(fixed),
        }
        true
    }
}
