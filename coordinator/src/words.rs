//! Counts with their nouns.

/// Returns a count and its noun, such as `1 object` or `2 objects`.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
