//! `kind = "json"`: values of one JSON object, each by its JSON Pointer (RFC 6901) or JSONPath query (RFC 9535).
//!
//! The message is read once along the tree of paths. Values that no column needs are validated and skipped.

mod operand;
#[cfg(test)]
mod oracle;
mod pattern;
mod pointer;
mod query;
#[cfg(test)]
mod query_tests;
mod quotes;
mod read;
mod scan;
mod select;
mod tape;
#[cfg(test)]
mod tests;
mod tree;
mod value;

pub(super) use self::read::Scratch;
pub(crate) use self::value::compact;
use self::{pointer::MAX_STEPS, tree::Node};
use super::Values;
use crate::{
    error::Reason,
    pipeline::json_input::JsonInput,
    table::{Column, ColumnType},
};

/// A column of a JSON format.
#[derive(Clone, Copy, Debug)]
pub struct JsonColumn<'a> {
    /// The column's name.
    pub name: &'a str,
    /// Where its value is.
    pub path: JsonPath<'a>,
    /// The type that queries use.
    pub kind: ColumnType,
}

/// The path of a value in a JSON object.
#[derive(Clone, Copy, Debug)]
pub enum JsonPath<'a> {
    /// A JSON Pointer (RFC 6901).
    Pointer(&'a str),
    /// A JSONPath query (RFC 9535). Its first node is the value.
    Query(&'a str),
}

/// The columns, the hidden values after them, and the tree of their paths.
#[derive(Debug)]
pub struct JsonFormat {
    root: Node,
    columns: Vec<Column>,
    /// Number of values: columns, then hidden ones.
    cells: usize,
}

impl JsonFormat {
    /// Compiles the columns, and JSON Pointers of hidden values. A hidden value is no column: its cell follows those of the
    /// columns. The error has all problems, one line each.
    pub fn new<'a>(
        columns: impl IntoIterator<Item = JsonColumn<'a>>,
        hidden: &[&str],
    ) -> Result<Self, Vec<String>> {
        let mut format = Self { root: Node::default(), columns: Vec::new(), cells: 0 };
        let mut problems = Vec::new();
        for JsonColumn { name, path, kind } in columns {
            format.columns.push(Column { name: name.to_owned(), kind });
            if let Err(problem) = format.add(path) {
                problems.push(format!("column {name:?}: {problem}"));
            }
        }
        if format.columns.is_empty() {
            problems.push(
                "columns is empty; add at least one, for example { name = \"action\", path = \"/action\" }"
                    .to_owned(),
            );
        }
        problems.extend(format.add_hidden(hidden));
        if problems.is_empty() { Ok(format) } else { Err(problems) }
    }

    /// Compiles JSON Pointers of hidden values, without any column.
    pub fn hidden_only(hidden: &[&str]) -> Result<Self, Vec<String>> {
        let mut format = Self { root: Node::default(), columns: Vec::new(), cells: 0 };
        let problems = format.add_hidden(hidden);
        if problems.is_empty() { Ok(format) } else { Err(problems) }
    }

    /// Returns the problems.
    fn add_hidden(&mut self, hidden: &[&str]) -> Vec<String> {
        hidden.iter().filter_map(|path| self.add(JsonPath::Pointer(path)).err()).collect()
    }

    /// Adds the next cell. The error is the problem with its path.
    fn add(&mut self, path: JsonPath<'_>) -> Result<(), String> {
        let cell = self.cells;
        self.cells += 1;
        let path = match path {
            JsonPath::Pointer(path) => path,
            JsonPath::Query(text) => {
                let (keys, query) = query::compile(text)?;
                let node = self.root.at(keys);
                if query.segments.is_empty() {
                    node.cells.push(cell);
                } else {
                    node.queries.push((cell, query));
                }
                return Ok(());
            }
        };
        let steps = pointer_steps(path).ok_or_else(|| {
            format!("path = {path:?} is not a JSON Pointer; an example: \"/httpRequest/clientIp\"")
        })?;
        if steps.len() > MAX_STEPS {
            return Err(format!("path has more than {MAX_STEPS} steps; use a shorter path"));
        }
        self.root.at(steps).cells.push(cell);
        Ok(())
    }

    pub(super) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Reads the columns. With `can_repair`, a NUL or a lone surrogate in a value is replaced; otherwise it is a reject.
    pub(super) fn parse(
        &self,
        message: JsonInput<'_>,
        can_repair: bool,
        values: &mut Values,
    ) -> Result<(), Reason> {
        values.cells.clear();
        values.cells.resize(self.cells, None);
        values.decoded.clear();
        values.repaired = false;
        read::read(&self.root, message, can_repair, values)
    }
}

/// Returns a pointer's reference tokens; `None` if it is not a pointer.
pub(crate) fn pointer_steps(path: &str) -> Option<Vec<String>> {
    if path.is_empty() {
        return Some(Vec::new());
    }
    let step = |token: &str| {
        let rest = token.replace("~0", "").replace("~1", "");
        (!rest.contains('~')).then(|| token.replace("~1", "/").replace("~0", "~"))
    };
    path.strip_prefix('/')?.split('/').map(step).collect()
}
