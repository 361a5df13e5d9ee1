//! A CSV with a header line.

use csv::{ReaderBuilder, StringRecord};

use super::{
    fragments,
    keyed::{KeyedTable, KeyedTableBuilder},
    problems::FileProblems,
    settings::{EnrichmentColumn, Matching},
};
use crate::text::quoted;

/// Maximum columns that an error lists.
const LISTED_COLUMNS: usize = 20;

/// Reads the text of a file. Lines that begin with `#` are comments.
pub(super) fn load(
    text: &str,
    key: &str,
    matching: Matching,
    columns: &[EnrichmentColumn],
    guard_formulas: bool,
    problems: &mut FileProblems<'_>,
) -> Option<KeyedTable> {
    let mut reader = ReaderBuilder::new().comment(Some(b'#')).from_reader(text.as_bytes());
    let header = match reader.headers() {
        Ok(header) => header.clone(),
        Err(error) => {
            problems.add("csv", || problem(&error));
            return None;
        }
    };
    if header.is_empty() {
        problems.add("csv", || "is empty; its first line must name the columns".to_owned());
        return None;
    }
    let key_at = position(&header, key, "key", problems);
    let positions: Vec<Option<usize>> =
        columns.iter().map(|column| position(&header, &column.path, "columns", problems)).collect();
    let key_at = key_at?;
    let positions = positions.into_iter().collect::<Option<Vec<usize>>>()?;
    let mut table = KeyedTableBuilder::new(key, matching, columns, guard_formulas);
    let mut record = StringRecord::new();
    loop {
        match reader.read_record(&mut record) {
            Ok(false) => break,
            Ok(true) => {}
            Err(error) => {
                problems.add("csv", || problem(&error));
                continue;
            }
        }
        let line = record.position().map_or(0, csv::Position::line);
        if record.iter().any(|field| field.contains(['\n', '\r'])) {
            problems.add("csv", || {
                format!("line {line}: a quoted field reaches into the next line; correct its quotes")
            });
            continue;
        }
        // Each record has as many fields as the header.
        let cells = columns.iter().zip(&positions).map(|(column, at)| (&*column.path, &record[*at]));
        if !table.add(line, &record[key_at], cells, problems) {
            break;
        }
    }
    table.finish(fragments::absent(columns.len()), problems)
}

/// Returns the position of a column.
fn position(
    header: &StringRecord,
    name: &str,
    setting: &str,
    problems: &mut FileProblems<'_>,
) -> Option<usize> {
    let mut found = header.iter().enumerate().filter(|(_, column)| column.trim() == name);
    match (found.next(), found.next()) {
        (Some((at, _)), None) => return Some(at),
        (Some(_), Some(_)) => problems.add("columns", || {
            format!("{setting}: its header line has the column {} twice; rename one of them", quoted(name))
        }),
        (None, _) => problems.add("columns", || {
            let has: Vec<String> = header.iter().take(LISTED_COLUMNS).map(quoted).collect();
            format!("{setting}: its header line has no column {}; it has {}", quoted(name), has.join(", "))
        }),
    }
    None
}

/// Returns what is wrong with a record.
fn problem(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => format!(
            "line {}: has {len} fields, and the header line {expected_len}; correct the line",
            pos.as_ref().map_or(0, csv::Position::line)
        ),
        _ => format!("cannot be read: {error}; correct it"),
    }
}
