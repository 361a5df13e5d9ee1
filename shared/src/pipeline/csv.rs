//! Stage 5: rows as RFC 4180 CSV with LF line ends.

pub(crate) mod field;
mod json;
mod specials;

use self::{field::ABSENT, specials::Specials};
use super::{bytes, enrich::Names, metadata, rules::Row};
use crate::{
    table::{ColumnType, Table},
    timestamp::IsoFormatter,
};

/// Writes rows of one table.
#[derive(Debug)]
pub struct CsvRows<'a> {
    table: &'a Table,
    guard_formulas: bool,
    timestamps: IsoFormatter,
    specials: Specials,
}

impl<'a> CsvRows<'a> {
    /// Creates a writer. With `guard_formulas`, values that spreadsheets read as formulas are written as text.
    #[must_use]
    pub fn new(table: &'a Table, guard_formulas: bool) -> Self {
        Self { table, guard_formulas, timestamps: IsoFormatter::default(), specials: Specials::default() }
    }

    /// Appends the header line.
    pub fn header(&self, out: &mut Vec<u8>) {
        for (at, column) in self.table.columns.iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            field::write(column.name.as_bytes(), out);
        }
        out.push(b'\n');
    }

    /// Appends a row with the names and values for its enriched columns.
    pub fn row(&mut self, row: &Row<'_>, names: &Names<'_>, out: &mut Vec<u8>) {
        match row.timestamp {
            Some(ms) => out.extend_from_slice(self.timestamps.format(ms)),
            None => out.extend_from_slice(ABSENT),
        }
        self.write_metadata(row, out);
        if self.guard_formulas {
            self.write_guarded_values(row, out);
        } else if row.is_json() {
            json::write_values(row, out);
        } else {
            self.write_values(row, out);
        }
        if self.table.enriched {
            for name in [names.own, names.source, names.destination] {
                out.push(b',');
                out.extend_from_slice(name);
            }
        }
        if !self.table.enrichments.is_empty() {
            out.extend_from_slice(names.tables);
        }
        out.push(b'\n');
    }

    fn write_metadata(&self, row: &Row<'_>, out: &mut Vec<u8>) {
        for at in 0..self.table.metadata.len() {
            out.push(b',');
            match metadata::value(at, self.table, row) {
                Some(value) if self.guard_formulas => {
                    field::write_guarded(&value, ColumnType::String, out);
                }
                Some(value) => field::write(&value, out),
                None => out.extend_from_slice(ABSENT),
            }
        }
    }

    /// Appends values that are all in the message, each after a comma.
    fn write_values(&mut self, row: &Row<'_>, out: &mut Vec<u8>) {
        let text = row.message();
        if row.is_in_order() && copy_fields(text, out) {
            return;
        }
        // One scan of the whole text is cheaper than one scan of each value.
        self.specials.scan(text);
        for cell in row.cells() {
            out.push(b',');
            match cell.map(|(start, end)| (start as usize, end as usize)) {
                None => out.extend_from_slice(ABSENT),
                Some((start, end)) if self.specials.are_in(start, end) => {
                    field::write_part(text, start, end, out);
                }
                Some((start, end)) => bytes::append(text, start, end, out),
            }
        }
    }

    fn write_guarded_values(&self, row: &Row<'_>, out: &mut Vec<u8>) {
        for (value, column) in row.values().zip(self.table.format()) {
            out.push(b',');
            field::write_guarded(value.as_deref().unwrap_or(ABSENT), column.kind, out);
        }
    }
}

/// Appends a comma, and a line whose fields are the row's values, with commas instead of spaces. An absent value is `-` in both.
/// Returns false and appends nothing if a field needs quotes or an escape.
fn copy_fields(line: &[u8], out: &mut Vec<u8>) -> bool {
    const LANES: usize = bytes::LANES;
    let before = out.len();
    out.push(b',');
    let start = out.len();
    out.extend_from_slice(line);
    // Padded to whole vectors, and cut to the line's length below.
    out.resize(start + line.len().next_multiple_of(LANES), 0);
    let mut special = [0; LANES];
    for chunk in out[start..].as_chunks_mut::<LANES>().0 {
        for (byte, special) in chunk.iter_mut().zip(&mut special) {
            *special |= u8::from(field::is_special(*byte));
            *byte = if *byte == b' ' { b',' } else { *byte };
        }
    }
    let plain = special == [0; LANES];
    out.truncate(if plain { start + line.len() } else { before });
    plain
}
