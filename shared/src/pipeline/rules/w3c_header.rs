//! Header lines `#Fields:` of W3C logs, and the lines that they are for.

use std::collections::HashSet;

use super::{
    Format, Rule,
    lost_header::shown,
    w3c::{W3cFormat, W3cOrder},
};
use crate::{
    error::{ObjectError, Reason},
    limits::MAX_W3C_HEADER_FIELDS,
    pipeline::records::{OriginKind, Record},
};

/// The start of a header line.
const FIELDS: &[u8] = b"#Fields:";
/// Fields of an unusable header line that an error quotes.
const QUOTED_FIELDS: usize = 3;

/// The header lines of a file.
#[derive(Debug)]
pub(super) struct W3cHeaders {
    /// The fields of the latest line. It is for the lines after it, whichever rules read them. If it is not valid, it fails the
    /// object with the first of these lines.
    of_file: Option<Result<Vec<String>, ObjectError>>,
    /// By rule: the order of the fields for its columns, if a line was read under the header line.
    orders: Vec<Option<W3cOrder>>,
    /// By rule: the order of a header line inside its records, such as a line of an export task. It is only for that rule.
    inside: Vec<Option<W3cOrder>>,
}

impl W3cHeaders {
    /// Creates the headers for this number of rules.
    pub(super) fn new(rules: usize) -> Self {
        Self { of_file: None, orders: vec![None; rules], inside: vec![None; rules] }
    }

    /// Forgets all header lines: another file begins.
    pub(super) fn clear(&mut self) {
        self.of_file = None;
        self.orders.fill(None);
        self.inside.fill(None);
    }

    /// Reads a line of the file. Returns whether it is a header line.
    pub(super) fn read(&mut self, line: &[u8], fault: Option<Reason>) -> bool {
        let Some(names) = line.strip_prefix(FIELDS) else { return false };
        self.of_file = Some(fields(names, fault));
        self.orders.fill(None);
        true
    }

    /// Reads a line inside a record of the rule with this number. It may be a header line.
    pub(super) fn read_inside(
        &mut self,
        rule: usize,
        line: &[u8],
        format: &W3cFormat,
    ) -> Result<(), ObjectError> {
        if let Some(names) = line.strip_prefix(FIELDS) {
            self.inside[rule] = Some(format.order(&fields(names, None)?));
        }
        Ok(())
    }

    /// Returns the order for a line of the file that a rule reads; `None` before a header line.
    pub(super) fn order(
        &mut self,
        rule: usize,
        format: &W3cFormat,
    ) -> Result<Option<&W3cOrder>, ObjectError> {
        if let Some(Err(error)) = self.of_file.take_if(|fields| fields.is_err()) {
            return Err(error);
        }
        let Some(Ok(fields)) = &self.of_file else { return Ok(None) };
        Ok(Some(self.orders[rule].get_or_insert_with(|| format.order(fields))))
    }

    /// Returns the order for a line inside a record of this rule; `None` before a header line inside of one.
    pub(super) fn order_inside(&self, rule: usize) -> Option<&W3cOrder> {
        self.inside[rule].as_ref()
    }
}

/// Returns the fields of a header line in lower case. A line that is not valid is an error, because the lines after it cannot be
/// read.
fn fields(line: &[u8], fault: Option<Reason>) -> Result<Vec<String>, ObjectError> {
    let line = String::from_utf8_lossy(line);
    let names: Vec<&str> = line.split_ascii_whitespace().take(MAX_W3C_HEADER_FIELDS + 1).collect();
    let error = |names: &[&str], why: String| ObjectError::Header { field: shown(names), why };
    let first = &names[..names.len().min(QUOTED_FIELDS)];
    if let Some(fault) = fault {
        return Err(error(first, format!("but the line is {}; correct the header line", fault.as_str())));
    }
    if names.len() > MAX_W3C_HEADER_FIELDS {
        let why = format!("and more: the limit is {MAX_W3C_HEADER_FIELDS} fields; correct the header line");
        return Err(error(first, why));
    }
    let fields: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    let mut seen = HashSet::new();
    for (name, field) in names.iter().zip(&fields) {
        if !seen.insert(field) {
            let why = "twice, so its values are ambiguous; correct the header line";
            return Err(error(&[name], why.to_owned()));
        }
    }
    Ok(fields)
}

/// Returns whether the rule reads the text of this record as a line of a W3C log. Such a line may be a header line.
pub(super) fn reads_text(rule: &Rule, record: &Record<'_>) -> bool {
    let source = &rule.source;
    record.origin.kind == OriginKind::Plain
        && rule.writing().is_some_and(|writing| matches!(writing.format, Format::W3c(_)))
        && !source.export_lines
        && source.unwrap.is_none()
        && source.records.is_none_or(|path| record.element == Some(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_a_header_line_are_in_lower_case() {
        assert_eq!(fields(b" C-IP x-new\tdate", None).unwrap(), ["c-ip", "x-new", "date"]);
        let names: Vec<String> = (0..MAX_W3C_HEADER_FIELDS).map(|at| format!("x-{at}")).collect();
        assert_eq!(fields(names.join(" ").as_bytes(), None).unwrap(), names);
    }

    #[test]
    fn a_header_line_that_cannot_be_read_is_an_error() {
        let error = |line: &str, fault| fields(line.as_bytes(), fault).unwrap_err().to_string();
        assert_eq!(
            error(" date time Date", None),
            "the header line names \"Date\" twice, so its values are ambiguous; correct the header line"
        );
        let names: Vec<String> = (0..=MAX_W3C_HEADER_FIELDS).map(|at| format!("x-{at}")).collect();
        assert_eq!(
            error(&names.join(" "), None),
            "the header line names \"x-0 x-1 x-2\" and more: the limit is 1000 fields; correct the header line"
        );
        assert_eq!(
            error(" date", Some(Reason::TooLong)),
            "the header line names \"date\" but the line is too-long; correct the header line"
        );
    }
}
