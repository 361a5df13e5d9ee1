//! `kind = "w3c"`: lines whose fields a header line `#Fields:` names (<https://www.w3.org/TR/WD-logfile.html>).

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::{Format, Rule, Values, lost_header::shown, unknown_names};
use crate::{
    error::{ObjectError, Reason},
    limits::{MAX_COLUMNS, MAX_W3C_HEADER_FIELDS},
    pipeline::records::{OriginKind, Record},
    table::{Column, ColumnType},
};

/// The start of a line that is a directive or a comment.
pub(super) const DIRECTIVE: &[u8] = b"#";
/// The start of a header line.
pub(super) const FIELDS: &[u8] = b"#Fields:";
/// Fields of an unusable header line that an error quotes.
const QUOTED_FIELDS: usize = 3;

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

/// The latest header line of a file. It is for the lines after it, whichever rules read them.
#[derive(Debug)]
pub(super) struct W3cHeader {
    /// Its fields in lower case.
    fields: Vec<String>,
    /// By number of the rule: the order for its columns, if a line was read under it.
    orders: Vec<Option<W3cOrder>>,
}

impl W3cHeader {
    /// Reads the fields of a header line; `None` for any other line. A header line that is not valid is an error, because the lines
    /// after it cannot be read.
    pub(super) fn of_line(
        line: &[u8],
        fault: Option<Reason>,
        rules: usize,
    ) -> Result<Option<Self>, ObjectError> {
        let Some(line) = line.strip_prefix(FIELDS) else { return Ok(None) };
        let line = String::from_utf8_lossy(line);
        let names: Vec<&str> = line.split_ascii_whitespace().take(MAX_W3C_HEADER_FIELDS + 1).collect();
        let error = |names: &[&str], why: String| ObjectError::Header { field: shown(names), why };
        let first = &names[..names.len().min(QUOTED_FIELDS)];
        if let Some(fault) = fault {
            return Err(error(first, format!("but the line is {}; correct the header line", fault.as_str())));
        }
        if names.len() > MAX_W3C_HEADER_FIELDS {
            let why =
                format!("and more: the limit is {MAX_W3C_HEADER_FIELDS} fields; correct the header line");
            return Err(error(first, why));
        }
        let fields: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
        let mut seen = HashMap::new();
        for (at, field) in fields.iter().enumerate() {
            if seen.insert(field, at).is_some() {
                let why = "twice, so its values are ambiguous; correct the header line";
                return Err(error(&[names[at]], why.to_owned()));
            }
        }
        Ok(Some(Self { fields, orders: vec![None; rules] }))
    }

    /// Returns the order for the columns of the rule with this number.
    pub(super) fn order(&mut self, rule: usize, format: &W3cFormat) -> &W3cOrder {
        let fields = &self.fields;
        self.orders[rule].get_or_insert_with(|| format.order(fields))
    }

    /// Returns the order for the columns of a format.
    pub(super) fn order_for(&self, format: &W3cFormat) -> W3cOrder {
        format.order(&self.fields)
    }
}

/// Returns whether the rule reads the text of this record as a line of a W3C log. Such a line may be a header line.
pub(super) fn reads_text(rule: &Rule, record: &Record<'_>) -> bool {
    let source = &rule.source;
    record.origin.kind == OriginKind::Plain
        && rule.writing().is_some_and(|writing| matches!(writing.format, Format::W3c(_)))
        && !source.export_lines
        && source.unwrap.is_none()
        && source.records.is_none_or(|path| record.element == Some(path))
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
    fn order(&self, fields: &[String]) -> W3cOrder {
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
        let header = |line: &[u8]| W3cHeader::of_line(line, None, 1);
        let mut found = header(b"#Fields: C-IP x-new date").unwrap().unwrap();
        let order = found.order(0, &format).clone();
        let mut values = Values::default();
        format.parse(b"192.0.2.1\t-\t2026-02-18", &order, &mut values).unwrap();
        assert_eq!(values.cells, [Some((12, 22)), Some((0, 9)), None]);
        assert_eq!(format.parse(b"192.0.2.1\t-", &order, &mut values), Err(Reason::FieldCount));
        assert!(header(b"#Version: 1.0").unwrap().is_none());
        format.parse(b"2026-02-18\t\t-", format.own_order(), &mut values).unwrap();
        assert_eq!(values.cells, [Some((0, 10)), None, None]);
    }

    #[test]
    fn a_header_line_that_cannot_be_read_is_an_error() {
        let error =
            |line: &str, fault| W3cHeader::of_line(line.as_bytes(), fault, 1).unwrap_err().to_string();
        assert_eq!(
            error("#Fields: date time Date", None),
            "the header line names \"Date\" twice, so its values are ambiguous; correct the header line"
        );
        let names: Vec<String> = (0..=MAX_W3C_HEADER_FIELDS).map(|at| format!("x-{at}")).collect();
        let many = error(&format!("#Fields: {}", names.join(" ")), None);
        assert_eq!(
            many,
            "the header line names \"x-0 x-1 x-2\" and more: the limit is 1000 fields; correct the header line"
        );
        let most = format!("#Fields: {}", names[1..].join(" "));
        assert!(W3cHeader::of_line(most.as_bytes(), None, 1).unwrap().is_some());
        assert_eq!(
            error("#Fields: date", Some(Reason::TooLong)),
            "the header line names \"date\" but the line is too-long; correct the header line"
        );
    }
}
