//! `kind = "regex"`: the named groups of a search are the columns.

use std::collections::BTreeMap;

use regex::bytes::{CaptureLocations, Regex};

use super::{Values, pattern, unknown_names};
use crate::{
    error::Reason,
    table::{Column, ColumnType},
    text::quoted,
};

/// A compiled pattern and its columns.
#[derive(Debug)]
pub struct RegexFormat {
    regex: Regex,
    /// By column: its group's number.
    groups: Vec<usize>,
    columns: Vec<Column>,
}

impl RegexFormat {
    /// Compiles a pattern. `types` names the columns that are not strings. The error has all problems, one line each.
    pub fn new(pattern: &str, types: &BTreeMap<String, ColumnType>) -> Result<Self, Vec<String>> {
        let example = "pattern = '^(?P<level>\\w+) (?P<text>.*)$'";
        let regex = pattern::compile("pattern", pattern, Some(example))?;
        let pattern = quoted(pattern);
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
                "pattern = {pattern}: has no named group, so there is no column; an example: (?P<level>\\w+)"
            ));
        }
        problems.extend(unknown_names(types, &format.columns, "the pattern has no group"));
        if problems.is_empty() { Ok(format) } else { Err(problems) }
    }

    pub(super) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Creates the result of a search with this pattern.
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
