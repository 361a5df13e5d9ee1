//! Counts with their nouns.

use flowherd_shared::text::plural;

/// Returns a count and its noun, such as `1 object` or `2 objects`.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", plural(count, one, many))
}
