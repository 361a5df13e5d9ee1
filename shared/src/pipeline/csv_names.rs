//! Names as CSV fields.

use super::csv::field;
use crate::{
    names::{NameId, NameIndex},
    table::ColumnType,
};

/// The names as CSV fields. Made once for all objects, because names repeat in every row.
#[derive(Debug, Default)]
pub(super) struct CsvNames {
    /// The fields that differ from their text.
    bytes: Vec<u8>,
    /// By the number of a text: start and end of its field in `bytes`, or [`SAME`].
    fields: Vec<(u32, u32)>,
}

/// Marks a field that is equal to its text.
const SAME: (u32, u32) = (u32::MAX, u32::MAX);

impl CsvNames {
    /// Converts all names. With `guard_formulas`, names that spreadsheets read as formulas become text.
    pub(super) fn new(index: &NameIndex, guard_formulas: bool) -> Self {
        let texts = index.texts();
        let mut names = Self { bytes: Vec::new(), fields: Vec::with_capacity(texts.len()) };
        for text in texts.iter() {
            let start = names.bytes.len();
            if text.is_empty() {
                names.bytes.extend_from_slice(field::ABSENT);
            } else if guard_formulas {
                field::write_guarded(text, ColumnType::String, &mut names.bytes);
            } else {
                field::write(text, &mut names.bytes);
            }
            if names.bytes[start..] == *text {
                names.bytes.truncate(start);
                names.fields.push(SAME);
            } else {
                names.fields.push((start as u32, names.bytes.len() as u32));
            }
        }
        names
    }

    pub(super) fn get<'a>(&'a self, index: &'a NameIndex, name: NameId) -> &'a [u8] {
        let text = index.text_number(name);
        match self.fields[text as usize] {
            SAME => index.texts().get(text),
            (start, end) => &self.bytes[start as usize..end as usize],
        }
    }
}
