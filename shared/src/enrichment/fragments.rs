//! The values of a record as CSV fields, such as `US,Europe`. They are written once, because rows repeat them.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use crate::{pipeline::csv::field, table::ColumnType};

/// Position of a fragment.
pub(super) type FragmentId = u32;

/// Different fragments.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    bytes: Vec<u8>,
    /// The end of each fragment. The next fragment begins there.
    ends: Vec<u32>,
}

impl Fragments {
    pub(super) fn get(&self, id: FragmentId) -> &[u8] {
        let at = id as usize;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.bytes[start..self.ends[at] as usize]
    }
}

/// Collects fragments, equal ones once.
#[derive(Debug, Default)]
pub(super) struct FragmentsBuilder {
    fragments: Fragments,
    ids: HashMap<Box<[u8]>, FragmentId, FixedState>,
}

impl FragmentsBuilder {
    pub(super) fn add(&mut self, fragment: &[u8]) -> FragmentId {
        if let Some(id) = self.ids.get(fragment) {
            return *id;
        }
        let id = self.fragments.ends.len() as FragmentId;
        self.fragments.bytes.extend_from_slice(fragment);
        self.fragments.ends.push(self.fragments.bytes.len() as u32);
        self.ids.insert(fragment.into(), id);
        id
    }

    /// Returns the size of all fragments.
    pub(super) fn bytes(&self) -> usize {
        self.fragments.bytes.len()
    }

    pub(super) fn finish(self) -> Fragments {
        self.fragments
    }
}

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
