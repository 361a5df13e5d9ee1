//! `kind = "w3c"`: lines whose fields a header line `#Fields:` names (<https://www.w3.org/TR/WD-logfile.html>).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Values;
use crate::{
    error::Reason,
    limits::{MAX_COLUMNS, MAX_HEADER_WORDS},
    table::{Column, ColumnType},
    text::quoted,
};

/// The start of a line that is a directive or a comment.
pub(super) const DIRECTIVE: &[u8] = b"#";
const FIELDS: &[u8] = b"#Fields:";

/// The character between two fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Delimiter {
    /// A tab.
    #[default]
    Tab,
    /// A space.
    Space,
}

impl Delimiter {
    fn byte(self) -> u8 {
        match self {
            Self::Tab => b'\t',
            Self::Space => b' ',
        }
    }
}

/// The fields that become columns, and their order in lines without a header line.
#[derive(Debug)]
pub struct W3cFormat {
    names: Vec<String>,
    columns: Vec<Column>,
    delimiter: Delimiter,
    /// The fields of lines without a header line.
    own_header: W3cHeader,
}

/// The fields of the lines after a header line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct W3cHeader {
    /// Number of fields of a line.
    fields: usize,
    /// For each column, the position of its field.
    positions: Vec<Option<usize>>,
}

impl W3cFormat {
    /// Parses the names of fields, such as `date time cs(User-Agent)`. `types` names the columns that are not strings. The
    /// error has all problems, one line each.
    pub fn new(
        fields: &str,
        delimiter: Delimiter,
        types: &BTreeMap<String, ColumnType>,
    ) -> Result<Self, Vec<String>> {
        let names: Vec<String> = fields.split_whitespace().map(str::to_owned).collect();
        let column = |name: &String| {
            let name = column_name(name);
            Column { kind: types.get(&name).copied().unwrap_or_default(), name }
        };
        // The caller reports too many columns and equal names.
        let columns: Vec<Column> = names.iter().take(MAX_COLUMNS + 1).map(column).collect();
        let mut problems = Vec::new();
        if columns.is_empty() {
            problems.push(
                "fields is empty; name those of the header line, for example \"date time c-ip cs(User-Agent)\""
                    .to_owned(),
            );
        }
        for name in types.keys().filter(|name| !columns.iter().any(|column| column.name == **name)) {
            problems.push(format!(
                "types.{}: no field gives a column of that name",
                quoted(name).trim_matches('"')
            ));
        }
        let own_header = W3cHeader { fields: names.len(), positions: (0..names.len()).map(Some).collect() };
        if problems.is_empty() { Ok(Self { names, columns, delimiter, own_header }) } else { Err(problems) }
    }

    pub(super) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Returns the fields that a header line names; `None` for any other line.
    pub(super) fn header(&self, line: &[u8]) -> Option<W3cHeader> {
        let line = String::from_utf8_lossy(line.strip_prefix(FIELDS)?);
        let names: Vec<&str> = line.split_ascii_whitespace().take(MAX_HEADER_WORDS).collect();
        let position = |name: &String| names.iter().position(|other| other.eq_ignore_ascii_case(name));
        let fields = line.split_ascii_whitespace().count();
        Some(W3cHeader { fields, positions: self.names.iter().map(position).collect() })
    }

    /// Returns the fields of lines without a header line.
    pub(super) fn own_header(&self) -> &W3cHeader {
        &self.own_header
    }

    /// Cuts a line. A `-` is an absent value.
    pub(super) fn parse(&self, line: &[u8], header: &W3cHeader, values: &mut Values) -> Result<(), Reason> {
        let delimiter = self.delimiter.byte();
        // Before any memory is used for a hostile line.
        if memchr::memchr_iter(delimiter, line).count() + 1 != header.fields {
            return Err(Reason::FieldCount);
        }
        values.ends.clear();
        values.ends.extend(memchr::memchr_iter(delimiter, line));
        values.ends.push(line.len());
        let cell = |field: usize| {
            let start = if field == 0 { 0 } else { values.ends[field - 1] + 1 };
            let end = values.ends[field];
            (!matches!(&line[start..end], b"" | b"-")).then_some((start as u32, end as u32))
        };
        values.cells.clear();
        values.cells.extend(header.positions.iter().map(|position| position.and_then(cell)));
        Ok(())
    }
}

/// Returns a field's column: lower case, with an underscore for each run of other characters.
fn column_name(field: &str) -> String {
    let mut name = String::new();
    for character in field.trim_end_matches(')').chars() {
        if character.is_ascii_alphanumeric() {
            name.push(character.to_ascii_lowercase());
        } else if !name.ends_with('_') {
            name.push('_');
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_line_decides_the_order() {
        let format = W3cFormat::new("date c-ip cs(User-Agent)", Delimiter::Tab, &BTreeMap::new()).unwrap();
        let names: Vec<&str> = format.columns().iter().map(|column| &*column.name).collect();
        assert_eq!(names, ["date", "c_ip", "cs_user_agent"]);
        let header = format.header(b"#Fields: c-ip x-new date").unwrap();
        let mut values = Values::default();
        format.parse(b"192.0.2.1\t-\t2026-02-18", &header, &mut values).unwrap();
        assert_eq!(values.cells, [Some((12, 22)), Some((0, 9)), None]);
        assert_eq!(format.parse(b"192.0.2.1\t-", &header, &mut values), Err(Reason::FieldCount));
        assert_eq!(format.header(b"#Version: 1.0"), None);
        format.parse(b"2026-02-18\t\t-", format.own_header(), &mut values).unwrap();
        assert_eq!(values.cells, [Some((0, 10)), None, None]);
    }
}
