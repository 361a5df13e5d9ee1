//! Names as CSV fields.

use super::csv::field;
use crate::{
    lookups::{Lookups, NameId},
    table::ColumnType,
};

/// The names as CSV fields. Made once for all objects, because names repeat in every row.
#[derive(Debug, Default)]
pub(super) struct CsvNames {
    /// By [`NameId`]: the field, if it differs from the name.
    fields: Vec<Option<Box<[u8]>>>,
}

impl CsvNames {
    /// Converts all names. With `guard_formulas`, names that spreadsheets read as formulas become text.
    pub(super) fn new(lookups: &Lookups, guard_formulas: bool) -> Self {
        let mut buffer = Vec::new();
        let mut field = |name: &[u8]| {
            buffer.clear();
            if name.is_empty() {
                buffer.extend_from_slice(field::ABSENT);
            } else if guard_formulas {
                field::write_guarded(name, ColumnType::String, &mut buffer);
            } else {
                field::write(name, &mut buffer);
            }
            (*buffer != *name).then(|| buffer.as_slice().into())
        };
        Self { fields: lookups.names().map(|name| field(name.as_bytes())).collect() }
    }

    pub(super) fn get<'a>(&'a self, lookups: &'a Lookups, name: NameId) -> &'a [u8] {
        self.fields[name as usize].as_deref().unwrap_or_else(|| lookups.name(name).as_bytes())
    }
}
