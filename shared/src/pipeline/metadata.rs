//! The values of metadata columns.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::value::RawValue;

use super::{
    json_text,
    rules::{Row, compact},
};
use crate::table::{Metadata, Table};

/// Returns the value of the table's metadata column at this position, if the row's rule fills it.
pub(super) fn value<'r>(at: usize, table: &Table, row: &Row<'r>) -> Option<Cow<'r, [u8]>> {
    if row.writing.metadata[at] { of_column(&table.metadata[at], row) } else { None }
}

/// Returns the value of a metadata column; `None` if the row has none.
fn of_column<'r>(column: &Metadata, row: &Row<'r>) -> Option<Cow<'r, [u8]>> {
    let origin = row.origin();
    let text = |text: &'r Option<String>| text.as_ref().map(|text| text.as_bytes().into());
    match column {
        Metadata::Owner => text(&origin.owner),
        Metadata::LogGroup => text(&origin.log_group),
        Metadata::LogStream => text(&origin.log_stream),
        Metadata::Key => Some(row.key.as_bytes().into()),
        Metadata::EventId => row.id.and_then(json_text::value).map(Cow::from),
        Metadata::Extracted(name) => json_member(row.extracted?, name).map(Cow::from),
    }
}

/// Returns a member of a JSON object: a string as it is, another value as JSON text; `None` if it is absent, null or not valid.
fn json_member(object: &[u8], name: &str) -> Option<Vec<u8>> {
    let members: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_slice(object).ok()?;
    let raw = members.get(name)?.get();
    match raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) {
        Some(text) => json_text::value(text.as_bytes()),
        None if raw == "null" => None,
        None => {
            let mut text = Vec::new();
            compact(raw.as_bytes(), &mut text);
            Some(text)
        }
    }
}
