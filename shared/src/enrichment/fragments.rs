//! The values of a record as CSV fields, such as `US,Europe`. They are written once, because rows repeat them.

use crate::{pipeline::csv::field, table::ColumnType};

/// Appends a value as a CSV field after the others of `out`.
pub(super) fn push(value: Option<&str>, kind: ColumnType, guard_formulas: bool, out: &mut Vec<u8>) {
    if !out.is_empty() {
        out.push(b',');
    }
    write(value, kind, guard_formulas, out);
}

/// Appends a value as a CSV field.
pub(super) fn write(value: Option<&str>, kind: ColumnType, guard_formulas: bool, out: &mut Vec<u8>) {
    match value {
        None => out.extend_from_slice(field::ABSENT),
        Some(value) if guard_formulas => field::write_guarded(value.as_bytes(), kind, out),
        Some(value) => field::write(value.as_bytes(), out),
    }
}

/// Returns the fragment of a record without values.
pub(super) fn absent(columns: usize) -> Vec<u8> {
    vec![field::ABSENT; columns].join(&b',')
}
