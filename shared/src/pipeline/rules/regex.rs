//! `kind = "regex"`: the named groups of a search are the columns.

use std::collections::BTreeMap;

use regex::bytes::{CaptureLocations, Regex, RegexBuilder};

use super::Values;
use crate::{
    error::Reason,
    limits::{MAX_REGEX_BYTES, MAX_REGEX_CACHE_BYTES, MAX_REGEX_COMPILED_BYTES, MAX_REGEX_SEARCH_BYTES},
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
        let regex = compile_within_limits("pattern", pattern)?;
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
        for name in types.keys() {
            if !format.columns.iter().any(|column| column.name == *name) {
                problems.push(format!(
                    "types.{}: the pattern has no group of that name",
                    quoted(name).trim_matches('"')
                ));
            }
        }
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

/// Compiles a pattern within the limits of size and of a search's memory. `what` is its key in the configuration.
pub(super) fn compile_within_limits(what: &str, pattern: &str) -> Result<Regex, Vec<String>> {
    if pattern.len() > MAX_REGEX_BYTES {
        let (shown, length) = (quoted(pattern), pattern.len());
        return Err(vec![format!(
            "{what} = {shown}: has {length} bytes: the limit is {MAX_REGEX_BYTES}; name only the needed groups, and match \
             other text with .*"
        )]);
    }
    let regex = compile(what, pattern, MAX_REGEX_COMPILED_BYTES)?;
    // The memory of a search grows with the size of the pattern and with its groups.
    let per_group = MAX_REGEX_SEARCH_BYTES / regex.captures_len();
    if per_group < MAX_REGEX_COMPILED_BYTES { compile(what, pattern, per_group) } else { Ok(regex) }
}

/// The error is one line.
fn compile(what: &str, pattern: &str, limit: usize) -> Result<Regex, Vec<String>> {
    let shown = quoted(pattern);
    let message = |error: regex::Error| match error {
        regex::Error::CompiledTooBig(_) => format!(
            "{what} = {shown}: is too large when it is compiled: the limit is {limit} bytes with this number of groups; repeat less, \
             or write [0-9A-Za-z_] for \\w and [^ ] for \\S"
        ),
        error => {
            // The library marks the position on separate lines. The last line has the reason.
            let text = error.to_string();
            let why = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            format!("{what} = {shown}: {why}")
        }
    };
    let mut builder = RegexBuilder::new(pattern);
    builder.size_limit(limit).dfa_size_limit(MAX_REGEX_CACHE_BYTES);
    let regex = builder.build().map_err(|error| vec![message(error)])?;
    // The `str` API of the library refuses patterns that can match part of a character.
    match regex::Regex::new(pattern) {
        Err(error) if error.to_string().contains("UTF-8") => {
            Err(vec![format!("{what} = {shown}: can match part of a character; remove (?-u)")])
        }
        _ => Ok(regex),
    }
}
