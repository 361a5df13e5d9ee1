//! The header line that a file of flow logs has for the lines after it.

use super::{FlowFormat, FlowLayout, Format, Rule, Writing};
use crate::{error::ObjectError, pipeline::records::Record, table::Table};

/// The layout of the object's own header line.
#[derive(Debug)]
pub(super) struct FlowHeader {
    pub(super) layout: FlowLayout,
    /// The rule that these cells are for.
    rule: usize,
    /// The positions of the table's columns in the line, and whether they are in order.
    pub(super) cells: Vec<Option<usize>>,
    pub(super) in_order: bool,
}

impl FlowHeader {
    pub(super) fn new(
        layout: FlowLayout,
        rule: &Rule,
        writing: &Writing,
        tables: &[Table],
    ) -> Result<Self, ObjectError> {
        let cells = layout.place_in(&tables[writing.table])?;
        let in_order = layout.is_in_order(&cells);
        Ok(Self { layout, rule: rule.number, cells, in_order })
    }

    /// Finds the cells for another rule, which may write to another table.
    pub(super) fn place(
        &mut self,
        rule: &Rule,
        writing: &Writing,
        tables: &[Table],
    ) -> Result<(), ObjectError> {
        if self.rule != rule.number {
            self.cells = self.layout.place_in(&tables[writing.table])?;
            self.in_order = self.layout.is_in_order(&self.cells);
            self.rule = rule.number;
        }
        Ok(())
    }
}

/// Returns how a rule writes flow logs, if this record is a line that it reads whole: such lines may be header lines.
pub(super) fn line_format<'a>(rule: &'a Rule, record: &Record<'_>) -> Option<(&'a Writing, &'a FlowFormat)> {
    if !record.is_line || rule.source.export_lines || rule.source.unwrap.is_some() {
        return None;
    }
    let writing = rule.writing()?;
    match &writing.format {
        Format::Flow(format) => Some((writing, format)),
        _ => None,
    }
}
