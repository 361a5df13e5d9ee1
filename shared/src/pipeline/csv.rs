//! Stage 5: rows as RFC 4180 CSV with LF line ends. Line breaks inside a value become `\n` and `\r` in two characters,
//! because Hive and Athena read line by line, and U+0001 becomes `\u0001`, because Hive's `OpenCSVSerDe` takes it for an
//! escape.

use super::{bytes, enrich::Names, rules::Row};
use crate::{
    config::{ColumnType, Metadata, Table},
    timestamp::IsoFormatter,
};

/// What an absent value is written as.
pub(crate) const ABSENT: &[u8] = b"-";

/// Writes rows of one table.
#[derive(Debug)]
pub struct CsvRows<'a> {
    table: &'a Table,
    guard_formulas: bool,
    timestamps: IsoFormatter,
}

impl<'a> CsvRows<'a> {
    /// For this table; `guard_formulas` as [`crate::config::Config::guard_formulas`].
    #[must_use]
    pub fn new(table: &'a Table, guard_formulas: bool) -> Self {
        Self { table, guard_formulas, timestamps: IsoFormatter::default() }
    }

    /// Appends the header line.
    pub fn header(&self, out: &mut Vec<u8>) {
        for (at, column) in self.table.columns.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            write_value(column.name.as_bytes(), out);
        }
        out.push(b'\n');
    }

    /// Appends a row with the names for its enriched columns.
    pub fn row(&mut self, row: &Row<'_>, names: &Names<'_>, out: &mut Vec<u8>) {
        match row.timestamp {
            Some(ms) => out.extend_from_slice(self.timestamps.format(ms)),
            None => out.extend_from_slice(ABSENT),
        }
        for (column, filled) in self.table.metadata.iter().zip(&row.rule.metadata) {
            out.push(b',');
            let origin = row.origin();
            let value = match column {
                Metadata::Owner => &origin.owner,
                Metadata::LogGroup => &origin.log_group,
                Metadata::LogStream => &origin.log_stream,
            };
            match value {
                Some(value) if *filled && self.guard_formulas => {
                    write_guarded(value.as_bytes(), ColumnType::String, out);
                }
                Some(value) if *filled => write_value(value.as_bytes(), out),
                _ => out.extend_from_slice(ABSENT),
            }
        }
        out.push(b',');
        if self.guard_formulas {
            self.write_guarded_values(row, out);
        } else if !(row.is_in_order() && copy_fields(row.text(), out)) {
            write_values(row, out);
        }
        if self.table.enriched {
            for name in [names.own, names.source, names.destination] {
                out.push(b',');
                out.extend_from_slice(name);
            }
        }
        out.push(b'\n');
    }

    fn write_guarded_values(&self, row: &Row<'_>, out: &mut Vec<u8>) {
        for (at, (value, column)) in row.values().zip(self.table.format()).enumerate() {
            if at > 0 {
                out.push(b',');
            }
            write_guarded(value.unwrap_or(ABSENT), column.kind, out);
        }
    }
}

/// Whether a byte can be no part of a value as it stands.
fn is_special(byte: u8) -> bool {
    (byte == b',') | (byte == b'"') | (byte == b'\n') | (byte == b'\r') | (byte == 1)
}

/// Appends a line whose fields are the row's values, with commas for the spaces between them; false, and nothing is
/// appended, if there is more to do. An absent value is the same in both.
fn copy_fields(line: &[u8], out: &mut Vec<u8>) -> bool {
    const LANES: usize = 16;
    let start = out.len();
    out.extend_from_slice(line);
    // In whole vectors: a few bytes behind the line go with it.
    out.resize(start + line.len().next_multiple_of(LANES), 0);
    let mut special = [0; LANES];
    for chunk in out[start..].as_chunks_mut::<LANES>().0 {
        for (byte, special) in chunk.iter_mut().zip(&mut special) {
            *special |= u8::from(is_special(*byte));
            *byte = if *byte == b' ' { b',' } else { *byte };
        }
    }
    let plain = special == [0; LANES];
    out.truncate(if plain { start + line.len() } else { start });
    plain
}

fn write_values(row: &Row<'_>, out: &mut Vec<u8>) {
    // One look at the whole message spares one at each of its values.
    let plain = !bytes::any(row.text(), is_special);
    for (at, value) in row.values().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        match value {
            None => out.extend_from_slice(ABSENT),
            Some(value) if plain => out.extend_from_slice(value),
            Some(value) => write_value(value, out),
        }
    }
}

/// Appends one value so that no spreadsheet takes it for a formula: text that begins like one gets a `'` in front. In a
/// column of another type only numbers may begin so.
pub(crate) fn write_guarded(value: &[u8], kind: ColumnType, out: &mut Vec<u8>) {
    if begins_like_formula(value) && (kind == ColumnType::String || !is_number(value)) {
        write_value(&[b"'", value].concat(), out);
    } else {
        write_value(value, out);
    }
}

/// The list of <https://owasp.org/www-community/attacks/CSV_Injection>, full-width forms and line feed included.
pub(crate) fn begins_like_formula(value: &[u8]) -> bool {
    const WIDE: [&str; 4] = ["＝", "＋", "－", "＠"];
    match value {
        ABSENT => false,
        [b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r' | b'\n', ..] => true,
        _ => WIDE.iter().any(|sign| value.starts_with(sign.as_bytes())),
    }
}

fn is_number(value: &[u8]) -> bool {
    // Words such as `-inf` are numbers too, but not to a spreadsheet.
    let fits = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    value.iter().all(fits) && std::str::from_utf8(value).is_ok_and(|text| text.parse::<f64>().is_ok())
}

/// Appends one value, quoted only if it must be.
pub(crate) fn write_value(value: &[u8], out: &mut Vec<u8>) {
    if !bytes::any(value, is_special) {
        out.extend_from_slice(value);
        return;
    }
    let quoted = memchr::memchr2(b',', b'"', value).is_some();
    if quoted {
        out.push(b'"');
    }
    for byte in value {
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            1 => out.extend_from_slice(b"\\u0001"),
            b'"' => out.extend_from_slice(b"\"\""),
            _ => out.push(*byte),
        }
    }
    if quoted {
        out.push(b'"');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn values_are_written_as_the_csv_crate_writes_them(
            values in proptest::collection::vec("[a\"',\n\r\u{1}\\\\é ]{0,6}", 2..6),
        ) {
            let mut ours = Vec::new();
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    ours.push(b',');
                }
                write_value(value.as_bytes(), &mut ours);
            }
            ours.push(b'\n');
            let mut theirs = csv::WriterBuilder::new().quote_style(csv::QuoteStyle::Necessary).from_writer(Vec::new());
            theirs.write_record(values.iter().map(|value| value.replace('\n', "\\n").replace('\r', "\\r").replace('\u{1}', "\\u0001"))).unwrap();
            let theirs = theirs.into_inner().unwrap();
            prop_assert_eq!(String::from_utf8(ours).unwrap(), String::from_utf8(theirs).unwrap());
        }
    }
}
