//! Counts with their nouns.

use indicatif::HumanCount;

/// Returns a count and its noun, such as `1 row` or `2,000 rows`.
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", HumanCount(count), if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_thing_has_a_singular() {
        assert_eq!(
            [0, 1, 2000].map(|count| counted(count, "row", "rows")),
            ["0 rows", "1 row", "2,000 rows"]
        );
    }
}
