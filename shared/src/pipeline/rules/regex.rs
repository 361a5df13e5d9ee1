//! `kind = "regex"`: the named groups of a search are the columns.

use std::collections::BTreeMap;

use regex::bytes::{CaptureLocations, Regex, RegexBuilder};

use super::Values;
use crate::{
    config::{Column, ColumnType},
    error::Reason,
};

/// Compiled size of a pattern, at most: a bound on memory and on the time of a search.
const MAX_COMPILED_BYTES: usize = 10 << 20;

/// A compiled pattern and its columns.
#[derive(Debug)]
pub struct RegexFormat {
    regex: Regex,
    /// For each column, its group's number.
    groups: Vec<usize>,
    columns: Vec<Column>,
}

impl RegexFormat {
    /// Compiles a pattern; `types` names columns that are no strings. The error is every problem, a line each.
    pub fn new(pattern: &str, types: &BTreeMap<String, ColumnType>) -> Result<Self, Vec<String>> {
        let regex = RegexBuilder::new(pattern).size_limit(MAX_COMPILED_BYTES).build().map_err(|error| {
            // The library points at the place on lines of their own; the last one says what is wrong.
            let told = error.to_string();
            let what = told.lines().last().unwrap_or_default().trim_start_matches("error: ");
            vec![format!("pattern = {pattern:?}: {what}")]
        })?;
        // The text flavour of the library refuses what could match half a character.
        if let Err(error) = regex::Regex::new(pattern)
            && error.to_string().contains("UTF-8")
        {
            return Err(vec![format!(
                "pattern = {pattern:?}: could match part of a character; leave out (?-u)"
            )]);
        }
        let mut format = Self { groups: Vec::new(), columns: Vec::new(), regex };
        for (group, name) in format.regex.capture_names().enumerate() {
            let Some(name) = name else { continue };
            let kind = types.get(name).copied().unwrap_or_default();
            format.groups.push(group);
            format.columns.push(Column { name: name.to_owned(), kind });
        }
        let mut problems = Vec::new();
        if format.columns.is_empty() {
            problems.push(format!(
                "pattern = {pattern:?}: no named group, so no column; an example: (?P<level>\\w+)"
            ));
        }
        for name in types.keys() {
            if !format.columns.iter().any(|column| column.name == *name) {
                problems.push(format!("types.{name}: the pattern has no group of that name"));
            }
        }
        if problems.is_empty() { Ok(format) } else { Err(problems) }
    }

    pub(super) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Room for what a search finds, for this pattern only.
    pub(super) fn locations(&self) -> CaptureLocations {
        self.regex.capture_locations()
    }

    pub(super) fn parse(
        &self,
        message: &[u8],
        found: &mut CaptureLocations,
        values: &mut Values,
    ) -> Result<(), Reason> {
        self.regex.captures_read(found, message).ok_or(Reason::NoMatch)?;
        let cell = |group: &usize| found.get(*group).map(|(start, end)| (start as u32, end as u32));
        values.cells.clear();
        values.cells.extend(self.groups.iter().map(cell));
        Ok(())
    }
}
