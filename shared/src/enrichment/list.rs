//! A list of values, one a line.

use super::{
    keyed::{KeyedTable, KeyedTableBuilder},
    problems::FileProblems,
    settings::{EnrichmentColumn, Matching},
};
use crate::table::ColumnType;

/// Reads the text of a file. A line may end with a comment after white space and `#`. The column of a list is whether a value is in
/// it.
pub(super) fn load(text: &str, matching: Matching, problems: &mut FileProblems<'_>) -> Option<KeyedTable> {
    let column = EnrichmentColumn { name: String::new(), path: String::new(), kind: ColumnType::Boolean };
    let mut table = KeyedTableBuilder::new("value", matching, &[column], false);
    for (number, line) in (1..).zip(text.lines()) {
        let value = without_comment(line).trim();
        if !value.is_empty() && !table.add(number, value, [("", "true")].into_iter(), problems) {
            break;
        }
    }
    table.finish(b"false".to_vec(), problems)
}

fn without_comment(line: &str) -> &str {
    let begins = |(at, _): &(usize, &str)| line[..*at].chars().next_back().is_none_or(char::is_whitespace);
    line.match_indices('#').find(begins).map_or(line, |(at, _)| &line[..at])
}
