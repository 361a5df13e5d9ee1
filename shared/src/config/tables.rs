//! The tables that rules feed, with the union of their columns.

use crate::{
    enrichment::{Enrichment, EnrichmentColumn},
    flow_fields::FlowKind,
    limits::MAX_COLUMNS,
    pipeline::rules::Format,
    problems::Problems,
    table::{Column, ColumnType, ENRICHED_COLUMNS, Metadata, TIMESTAMP, Table, TableEnrichment},
    text::quoted,
};

/// Maximum bytes of a table's or column's name.
const MAX_NAME_BYTES: usize = 128;

/// Checks a table's name: Athena, Glue and DuckDB accept it without quotes. Glue folds case.
pub(super) fn check_name(name: &str, problem: &mut impl FnMut(String)) {
    let is_valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if !name.bytes().all(is_valid) || !is_identifier(name) {
        problem(format!(
            "table = {}: use up to {MAX_NAME_BYTES} lower-case letters, digits and underscores, not beginning with a \
             digit; an example: \"vpc_flow\"",
            quoted(name)
        ));
    }
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|first: char| !first.is_ascii_digit()) && name.len() <= MAX_NAME_BYTES
}

fn is_column_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') && is_identifier(name)
}

/// Checks the columns of one rule: their number, and that their names are valid and unique.
pub(super) fn check_columns(metadata: &[Metadata], format: &Format, problem: &mut impl FnMut(String)) {
    let columns = format.columns();
    if columns.len() > MAX_COLUMNS {
        problem(format!(
            "has {} columns: the limit is {MAX_COLUMNS}; remove columns that no query needs",
            columns.len()
        ));
        return;
    }
    let mut seen: Vec<String> = Vec::new();
    let mut add = |name: &str| {
        if !is_column_name(name) {
            problem(format!(
                "column {}: use up to {MAX_NAME_BYTES} letters, digits and underscores, not beginning with a digit; an \
                 example: \"client_ip\"",
                quoted(name)
            ));
        }
        // Athena and Hive fold case.
        let folded = name.to_ascii_lowercase();
        if folded == TIMESTAMP {
            problem(format!(
                "column {name:?}: this name is reserved for the record's own time; an example: \"event_time\""
            ));
        } else if seen.contains(&folded) {
            problem(format!("column {name:?} appears twice; rename one of them (case is ignored)"));
        }
        seen.push(folded);
    };
    metadata.iter().for_each(|column| add(&column.column()));
    columns.iter().for_each(|column| add(&column.name));
    if format.flow_kind() == Some(FlowKind::Vpc) {
        ENRICHED_COLUMNS.iter().for_each(|column| add(column));
    }
}

/// Returns the tables that these rules feed, in order of first appearance, and adds problems of their columns. A rule is its table, metadata and format.
pub(super) fn union<'a>(
    rules: impl Iterator<Item = (&'a str, &'a [Metadata], &'a Format)>,
    problems: &mut Problems,
) -> Vec<Table> {
    let mut unions: Vec<Union<'_>> = Vec::new();
    for (name, metadata, format) in rules {
        let at = unions.iter().position(|table| table.name == name).unwrap_or_else(|| {
            unions.push(Union::new(name));
            unions.len() - 1
        });
        unions[at].add(metadata, format, problems);
    }
    for table in &mut unions {
        table.finish(problems);
    }
    unions.into_iter().map(Union::into_table).collect()
}

/// Adds the columns of `[[enrich]]` to the tables.
pub(super) fn add_enrichments(tables: &mut [Table], enrichments: &[Enrichment], problems: &mut Problems) {
    for (number, enrichment) in enrichments.iter().enumerate() {
        let mut problem = |problem: String| problems.add(format!("enrich {}: {problem}", number + 1));
        for name in enrichment.tables.iter().flatten() {
            if !tables.iter().any(|table| table.name == *name) {
                problem(format!("tables: no rule has the table {}; correct the name", quoted(name)));
            }
        }
        for on in &enrichment.on {
            if !tables.iter().any(|table| enrichment.is_for(&table.name) && table.input(on).is_some()) {
                let example = tables.iter().find_map(|table| table.format().first());
                let which = if enrichment.tables.is_some() { "none of its tables" } else { "no table" };
                problem(format!(
                    "on: {which} has a column {} of a format or of metadata; an example: on = [{}]",
                    quoted(on),
                    quoted(example.map_or("srcaddr", |column| &column.name))
                ));
            }
        }
        for table in tables.iter_mut().filter(|table| enrichment.is_for(&table.name)) {
            for on in &enrichment.on {
                let Some(input) = table.input(on) else { continue };
                table.enrichments.push(TableEnrichment { enrichment: number, input });
                for EnrichmentColumn { name, kind, .. } in &enrichment.columns {
                    let name = format!("{on}_{name}");
                    if let Some(why) = added_column_problem(&name, table) {
                        problem(why);
                    }
                    table.columns.push(Column { name, kind: *kind });
                }
            }
            if table.columns.len() > MAX_COLUMNS {
                problem(format!(
                    "table {:?} then has {} columns: the limit is {MAX_COLUMNS}; add fewer",
                    table.name,
                    table.columns.len()
                ));
            }
        }
    }
}

/// Returns why a table cannot have another column of this name.
fn added_column_problem(name: &str, table: &Table) -> Option<String> {
    if !is_column_name(name) {
        return Some(format!(
            "column {}: use up to {MAX_NAME_BYTES} letters, digits and underscores; an example: \"country\"",
            quoted(name)
        ));
    }
    let is_taken = table.columns.iter().any(|column| column.name.eq_ignore_ascii_case(name));
    is_taken.then(|| {
        format!("table {:?} has a column {name:?} already; rename one of them (case is ignored)", table.name)
    })
}

/// A table under construction.
struct Union<'a> {
    name: &'a str,
    rules: usize,
    metadata: Vec<Metadata>,
    format: Vec<Column>,
    enriched: bool,
    flow_kind: Option<FlowKind>,
}

impl<'a> Union<'a> {
    fn new(name: &'a str) -> Self {
        Self { name, rules: 0, metadata: Vec::new(), format: Vec::new(), enriched: false, flow_kind: None }
    }

    fn add(&mut self, metadata: &[Metadata], format: &Format, problems: &mut Problems) {
        self.rules += 1;
        self.flow_kind = self.flow_kind.or(format.flow_kind());
        self.enriched |= format.flow_kind() == Some(FlowKind::Vpc);
        for column in metadata {
            if !self.metadata.contains(column) {
                self.metadata.push(column.clone());
            }
        }
        for column in format.columns() {
            // Each column is compared with all before it, so columns over the limit are not compared any more.
            if self.format.len() > MAX_COLUMNS {
                break;
            }
            match self.format.iter().find(|other| other.name.eq_ignore_ascii_case(&column.name)) {
                None => self.format.push(column),
                Some(other) if other.kind == column.kind => {}
                Some(other) => problems.add(format!(
                    "table {:?}: its rules give column {:?} the types {} and {}; use one type in all of them",
                    self.name,
                    other.name,
                    type_name(other.kind),
                    type_name(column.kind)
                )),
            }
        }
    }

    /// Orders the columns and checks them together.
    fn finish(&mut self, problems: &mut Problems) {
        if self.format.len() > MAX_COLUMNS {
            problems.add(format!(
                "table {:?}: its rules have more than {MAX_COLUMNS} columns together; give some of them another table",
                self.name
            ));
            return;
        }
        if self.rules > 1
            && let Some(kind) = self.flow_kind
        {
            // Stable: columns that are not flow-log fields come last, in order of first appearance.
            self.format.sort_by_key(|column| {
                kind.fields().iter().position(|field| field.column == column.name).unwrap_or(usize::MAX)
            });
        }
        for (at, column) in self.metadata.iter().enumerate() {
            let name = column.column();
            if self.metadata[..at].iter().any(|other| other.column().eq_ignore_ascii_case(&name)) {
                problems.add(format!(
                    "table {:?}: two of its rules have a metadata column {name:?}; remove one of them",
                    self.name
                ));
            }
        }
        let enriched = ENRICHED_COLUMNS.iter().filter(|_| self.enriched).map(|name| (*name).to_owned());
        for name in self.metadata.iter().map(Metadata::column).chain(enriched) {
            if self.format.iter().any(|column| column.name.eq_ignore_ascii_case(&name)) {
                problems.add(format!(
                    "table {:?}: two of its rules have a column {name:?}; rename one of them",
                    self.name
                ));
            }
        }
    }

    fn into_table(self) -> Table {
        let text = |name: &str| Column { name: name.to_owned(), kind: ColumnType::String };
        let mut columns = vec![Column { name: TIMESTAMP.to_owned(), kind: ColumnType::Timestamp }];
        columns.extend(self.metadata.iter().map(|column| text(&column.column())));
        let format_columns = self.format.len();
        columns.extend(self.format);
        columns.extend(ENRICHED_COLUMNS.iter().filter(|_| self.enriched).map(|name| text(name)));
        Table {
            name: self.name.to_owned(),
            columns,
            metadata: self.metadata,
            format_columns,
            enriched: self.enriched,
            flow_kind: self.flow_kind,
            enrichments: Vec::new(),
        }
    }
}

fn type_name(kind: ColumnType) -> String {
    format!("{kind:?}").to_ascii_lowercase()
}
