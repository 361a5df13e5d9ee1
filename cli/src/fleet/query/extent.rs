//! The time of all rows that a table has, for a question without an answer.

use flowherd_shared::{store::StoreError, timestamp::IsoFormatter};

use super::tables::{RowsOf, Stored};
use crate::{
    query::{
        questions::{Scan, extent_of_rejects, extent_of_tables},
        schema::TypedColumn,
    },
    times,
};

/// Maximum prefixes that are listed at one level of folders.
const MAX_PREFIXES: usize = 100;

/// How to find the time of a table's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// The partitions by time, from the folders in the bucket. This costs a few list requests, where a statement would read
    /// every file.
    Folders(Vec<Stored>),
    /// A statement. Without partitions by time, the question has read every file too.
    Statement(String),
}

impl Extent {
    pub(super) fn of_flows(of: RowsOf, columns: &[TypedColumn]) -> Self {
        if of.tables.iter().all(|table| table.time.is_some()) {
            return Self::Folders(of.tables);
        }
        let time: Vec<TypedColumn> =
            columns.iter().filter(|column| column.name == "timestamp").cloned().collect();
        Self::Statement(extent_of_tables(&time, &scans(&of)))
    }

    pub(super) fn of_rejects(of: RowsOf) -> Self {
        if of.tables.iter().all(|table| table.time.is_some()) {
            return Self::Folders(of.tables);
        }
        Self::Statement(extent_of_rejects(&scans(&of)))
    }
}

fn scans(of: &RowsOf) -> Vec<Scan> {
    of.tables.iter().map(|table| Scan { table: table.name.clone(), condition: None }).collect()
}

/// Returns a message about the rows of a table, from the first and the last value of its time.
pub(crate) fn message(table: &str, first: Option<&str>, last: Option<&str>) -> String {
    match (first, last) {
        (Some(first), Some(last)) => {
            format!("table {table} has rows from {} to {}", time(first), time(last))
        }
        _ => format!("table {table} has no rows"),
    }
}

/// Returns a time of the database as this command writes it: `2026-02-18 03:00:00.000`, or milliseconds.
fn time(value: &str) -> String {
    let iso = match value.parse::<i64>() {
        Ok(ms) => IsoFormatter::default().format(ms.max(0)).iter().copied().map(char::from).collect(),
        Err(_) => value.replacen(' ', "T", 1),
    };
    let minute = iso.get(..16).filter(|_| iso.get(13..14) == Some(":"));
    minute.map_or_else(|| value.to_owned(), |minute| format!("{minute}Z"))
}

/// Returns a message about the partitions that have files. `names` lists the folders below a prefix of the bucket.
pub(super) fn of_folders(
    table: &str,
    tables: &[Stored],
    names: &dyn Fn(&str) -> Result<Vec<String>, StoreError>,
) -> Result<String, StoreError> {
    let mut extent: Option<(i64, i64)> = None;
    for stored in tables {
        let Some(time) = &stored.time else { continue };
        let Some(before) = stored.folders.as_deref() else {
            return Ok(format!(
                "table {table} has partitions in unknown folders; its rows are not looked up"
            ));
        };
        let Some(prefixes) = prefixes(before, names)? else {
            return Ok(format!(
                "table {table} has more than {MAX_PREFIXES} folders of one kind; its rows are not looked up"
            ));
        };
        for prefix in prefixes {
            let levels = time.format.pattern().matches('/').count() + 1;
            let first = walk(&prefix, levels, names, &<[String]>::first)?;
            let last = walk(&prefix, levels, names, &<[String]>::last)?;
            let second = |value: &str| time.format.first_second(value);
            if let (Some(from), Some(to)) =
                (first.as_deref().and_then(second), last.as_deref().and_then(second))
            {
                let to = time.format.end_of(to);
                extent = Some(extent.map_or((from, to), |(first, last)| (first.min(from), last.max(to))));
            }
        }
    }
    Ok(match extent {
        Some((from, to)) => format!(
            "table {table} has rows from {} to {}, by the time in their keys",
            times::text(from),
            times::text(to)
        ),
        None => format!("table {table} has no rows"),
    })
}

/// Returns the prefixes of a template such as `csv/flow/AWSLogs/${account}/`: each name in braces is any folder. `None` if there
/// are too many.
fn prefixes(
    template: &str,
    names: &dyn Fn(&str) -> Result<Vec<String>, StoreError>,
) -> Result<Option<Vec<String>>, StoreError> {
    let mut prefixes = vec![String::new()];
    let mut parts = template.split("${");
    let append =
        |prefixes: &mut Vec<String>, text: &str| prefixes.iter_mut().for_each(|prefix| prefix.push_str(text));
    append(&mut prefixes, parts.next().unwrap_or_default());
    for part in parts {
        let (_, text) = part.split_once('}').unwrap_or((part, ""));
        let mut found = Vec::new();
        for prefix in &prefixes {
            found.extend(names(prefix)?.into_iter().map(|name| format!("{prefix}{name}")));
        }
        if found.len() > MAX_PREFIXES {
            return Ok(None);
        }
        prefixes = found;
        append(&mut prefixes, text);
    }
    Ok(Some(prefixes))
}

/// Follows the first or the last folder through the levels of a date. Returns the value of the date.
fn walk(
    prefix: &str,
    levels: usize,
    names: &dyn Fn(&str) -> Result<Vec<String>, StoreError>,
    choose: &dyn Fn(&[String]) -> Option<&String>,
) -> Result<Option<String>, StoreError> {
    let mut value = String::new();
    for level in 0..levels {
        if level > 0 {
            value.push('/');
        }
        let found = names(&format!("{prefix}{value}"))?;
        match choose(&found) {
            Some(name) => value.push_str(name),
            None => return Ok(None),
        }
    }
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{fleet::query::tables::Partitions, query::layout::TimeFormat};

    /// Lists the folders of these keys as S3 does.
    fn below(keys: &'static [&'static str]) -> impl Fn(&str) -> Result<Vec<String>, StoreError> {
        move |prefix| {
            let folder = |key: &&str| Some(key.strip_prefix(prefix)?.split_once('/')?.0.to_owned());
            Ok(keys.iter().filter_map(folder).collect::<BTreeSet<_>>().into_iter().collect())
        }
    }

    fn stored(folders: &str, pattern: &str) -> Stored {
        let format = TimeFormat::from_pattern(pattern).unwrap();
        let time = Partitions { format, since: String::new(), since_second: 0 };
        Stored {
            name: "flow_text".to_owned(),
            time: Some(time),
            injected: Vec::new(),
            folders: Some(folders.to_owned()),
        }
    }

    #[test]
    fn the_folders_of_a_table_give_the_time_of_its_rows() {
        let hours = [stored("csv/flow/firehose/", "yyyy/MM/dd/HH")];
        let keys = &[
            "csv/flow/firehose/2025/12/31/23/a",
            "csv/flow/firehose/2026/02/18/07/b",
            "csv/flow/firehose/2026/02/19/00/c",
            "csv/other/firehose/2027/01/01/00/d",
        ];
        assert_eq!(
            of_folders("flow", &hours, &below(keys)).unwrap(),
            "table flow has rows from 2025-12-31T23:00Z to 2026-02-19T01:00Z, by the time in their keys"
        );
        assert_eq!(of_folders("flow", &hours, &below(&[])).unwrap(), "table flow has no rows");
    }

    #[test]
    fn names_in_braces_are_any_folder() {
        let days = [stored("csv/flow/${account}/${region}/year=", "yyyy'/month='MM'/day='dd")];
        let keys = &[
            "csv/flow/1/eu-west-1/year=2026/month=02/day=18/a",
            "csv/flow/2/us-east-1/year=2026/month=01/day=05/a",
            "csv/flow/2/us-east-1/year=2026/month=01/day=06/a",
        ];
        assert_eq!(
            of_folders("flow", &days, &below(keys)).unwrap(),
            "table flow has rows from 2026-01-05T00:00Z to 2026-02-19T00:00Z, by the time in their keys"
        );
    }

    #[test]
    fn times_of_the_database_are_shown_as_utc() {
        assert_eq!(
            message("t", Some("2026-02-18 03:00:00.000"), Some("1771459199000")),
            "table t has rows from 2026-02-18T03:00Z to 2026-02-18T23:59Z"
        );
        assert_eq!(message("t", None, None), "table t has no rows");
    }
}
