//! `kind = "w3c"`: lines whose fields a header line `#Fields:` names (<https://www.w3.org/TR/WD-logfile.html>).

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::{Values, unknown_names};
use crate::{
    error::Reason,
    limits::MAX_COLUMNS,
    table::{Column, ColumnType},
};

/// The start of a line that is a directive or a comment.
pub(super) const DIRECTIVE: &[u8] = b"#";

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
    /// By field in lower case, the position of its column.
    by_field: HashMap<String, usize>,
    columns: Vec<Column>,
    delimiter: Delimiter,
    /// The order of lines without a header line.
    own_order: W3cOrder,
}

/// The order of the fields in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct W3cOrder {
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
        problems.extend(unknown_names(types, &columns, "no field gives a column"));
        let own_order = W3cOrder { fields: names.len(), positions: (0..names.len()).map(Some).collect() };
        let by_field = names.iter().enumerate().map(|(at, name)| (name.to_ascii_lowercase(), at)).collect();
        if problems.is_empty() { Ok(Self { by_field, columns, delimiter, own_order }) } else { Err(problems) }
    }

    pub(super) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Returns the order of lines with these fields, in lower case.
    pub(super) fn order(&self, fields: &[String]) -> W3cOrder {
        let mut positions = vec![None; self.columns.len()];
        for (at, field) in fields.iter().enumerate() {
            if let Some(column) = self.by_field.get(field) {
                positions[*column] = Some(at);
            }
        }
        W3cOrder { fields: fields.len(), positions }
    }

    /// Returns the order of lines without a header line.
    pub(super) fn own_order(&self) -> &W3cOrder {
        &self.own_order
    }

    /// Cuts a line. A `-` is an absent value.
    pub(super) fn parse(&self, line: &[u8], order: &W3cOrder, values: &mut Values) -> Result<(), Reason> {
        let delimiter = self.delimiter.byte();
        // Before any memory is used for a hostile line.
        if memchr::memchr_iter(delimiter, line).count() + 1 != order.fields {
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
        values.cells.extend(order.positions.iter().map(|position| position.and_then(cell)));
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
        let order = format.order(&["c-ip", "x-new", "date"].map(str::to_owned));
        let mut values = Values::default();
        format.parse(b"192.0.2.1\t-\t2026-02-18", &order, &mut values).unwrap();
        assert_eq!(values.cells, [Some((12, 22)), Some((0, 9)), None]);
        assert_eq!(format.parse(b"192.0.2.1\t-", &order, &mut values), Err(Reason::FieldCount));
        format.parse(b"2026-02-18\t\t-", format.own_order(), &mut values).unwrap();
        assert_eq!(values.cells, [Some((0, 10)), None, None]);
    }
}
