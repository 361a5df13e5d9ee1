//! Definitions of tables over the results, and of views with types, for Athena, Glue and DuckDB. The configuration decides
//! their columns.
//!
//! `<table>_text` reads the CSV of a table, with all columns as text, because `OpenCSVSerDe` reads other types incorrectly
//! (<https://docs.aws.amazon.com/athena/latest/ug/csv-serde.html>). The view `<table>` adds the types and turns absent values
//! into null. If the keys have layouts, `<table>` reads their folders as partitions, and `<table>_everywhere` reads all files.

mod athena;
mod duckdb;
mod ledger;
mod typed;

use std::collections::{BTreeMap, BTreeSet};

use flowherd_shared::{config::Config, table::Table};
use serde::Serialize;

use crate::query::layout::{Layouts, Template};

pub use athena::statements as athena;
pub use duckdb::{MAJOR as DUCKDB_MAJOR, statements as duckdb};
pub use typed::{Dialect, TypedColumn, flow_columns, rows, typed_columns};

/// Hive's CSV reader.
const CSV_SERDE: &str = "org.apache.hadoop.hive.serde2.OpenCSVSerde";
/// A character that the CSV never has. The default, a backslash, would be removed from values.
const ESCAPE: &str = "\u{1}";
/// The reader of JSON lines.
const JSON_SERDE: &str = "org.openx.data.jsonserde.JsonSerDe";

/// A column of a stored table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredColumn {
    /// Lower case.
    pub name: String,
    /// Hive's name of the type.
    #[serde(rename = "type")]
    pub kind: String,
}

impl StoredColumn {
    fn new(name: &str, kind: &str) -> Self {
        Self { name: name.to_ascii_lowercase(), kind: kind.to_owned() }
    }
}

/// A table over files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoredTable {
    /// Its name.
    pub name: String,
    /// Its contents.
    pub description: String,
    /// Folder of its files in the results.
    pub location: String,
    /// Folder of the files of one partition in the results.
    pub location_template: Option<String>,
    /// In order.
    pub columns: Vec<StoredColumn>,
    /// Columns whose values come from the folder.
    pub partitions: Vec<StoredColumn>,
    /// The class of its reader.
    pub serde: &'static str,
    /// The reader's parameters.
    pub serde_parameters: BTreeMap<&'static str, &'static str>,
    /// Other table properties of Hive and Athena.
    pub parameters: BTreeMap<String, String>,
}

/// A view with types.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct View {
    /// Its name.
    pub name: String,
    /// Its contents.
    pub description: String,
    /// In order.
    pub columns: Vec<ViewColumn>,
    /// Its statement in Athena's dialect, which is Trino's.
    pub sql: String,
}

/// A column of a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ViewColumn {
    /// Its name.
    pub name: String,
    /// Hive's name of the type, for Glue.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Trino's name of the type.
    pub trino_type: &'static str,
}

/// All tables and views.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Schema {
    /// Tables over files.
    pub tables: Vec<StoredTable>,
    /// Views on them.
    pub views: Vec<View>,
}

impl Schema {
    /// Creates the definitions for a configuration. The error has all problems: equal names of tables or columns, and layouts
    /// that one view cannot have.
    pub fn new(config: &Config, layouts: &Layouts) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut schema = Self { tables: Vec::new(), views: Vec::new() };
        for table in &config.tables {
            let templates = layouts.of_table(&table.name);
            problems.extend(differing_problem(&table.name, &templates));
            schema.add_rows(table, &templates, layouts);
        }
        ledger::add(&mut schema, layouts);
        let partitions = layouts.all.iter().flat_map(|layout| layout.template.columns()).collect();
        problems.extend(schema.views.iter().filter_map(|view| column_problem(view, &partitions)));
        let mut names: Vec<&str> = schema.tables.iter().map(|table| &*table.name).collect();
        names.extend(schema.views.iter().map(|view| &*view.name));
        names.sort_unstable();
        for pair in names.windows(2).filter(|pair| pair[0] == pair[1]) {
            problems.push(format!(
                "two tables or views would have the name {:?}; rename the table of that rule",
                pair[0]
            ));
        }
        if problems.is_empty() { Ok(schema) } else { Err(problems) }
    }

    fn add_rows(&mut self, table: &Table, templates: &[&Template], layouts: &Layouts) {
        let base = StoredTable {
            name: table.name.clone(),
            description: "Rows as text; the CSV of every object".to_owned(),
            location: format!("csv/{}/", table.name),
            location_template: None,
            columns: table.columns.iter().map(|column| StoredColumn::new(&column.name, "string")).collect(),
            partitions: Vec::new(),
            serde: CSV_SERDE,
            serde_parameters: [("separatorChar", ","), ("quoteChar", "\""), ("escapeChar", ESCAPE)].into(),
            // Each file has one header line.
            parameters: parameters(&[("classification", "csv"), ("skip.header.line.count", "1")]),
        };
        let columns = typed_columns(&table.columns, table.enriched, Dialect::Trino);
        let keys = Keys { templates, layouts };
        self.add(&base, "text", &keys, &columns, "Rows with types; absent is null");
    }

    /// Adds the stored tables of one type of file and their views: with partitions if the keys have layouts, and for all files.
    fn add(
        &mut self,
        base: &StoredTable,
        ending: &str,
        keys: &Keys<'_>,
        columns: &[TypedColumn],
        description: &str,
    ) {
        let all = if keys.templates.is_empty() {
            base.name.clone()
        } else {
            let tables: Vec<StoredTable> = (1..)
                .zip(keys.templates)
                .map(|(number, template)| partitioned(base, ending, keys.layouts, number, template))
                .collect();
            let names: Vec<&str> = tables.iter().map(|table| &*table.name).collect();
            self.views.push(view(&base.name, description, columns, &names, &keys.templates[0].columns()));
            self.tables.extend(tables);
            format!("{}_everywhere", base.name)
        };
        let stored = format!("{all}_{ending}");
        self.views.push(view(&all, description, columns, &[&stored], &[]));
        self.tables.push(StoredTable { name: stored, ..base.clone() });
    }
}

/// The layouts of the keys whose files one table reads.
struct Keys<'a> {
    templates: &'a [&'a Template],
    layouts: &'a Layouts,
}

/// Returns the problem of a table whose layouts have different partition columns.
fn differing_problem(table: &str, templates: &[&Template]) -> Option<String> {
    let (first, others) = templates.split_first()?;
    let other = others.iter().find(|other| !other.has_columns_of(first))?;
    Some(format!(
        "--layout {:?} and --layout {:?} give the view {table} different partition columns; write their rows to two tables \
         (match.key in the rules), and give each layout its table: --layout \"TABLE:…\"",
        first.text(),
        other.text()
    ))
}

/// Returns the problem of a view that has a column with the name of a partition column.
fn column_problem(view: &View, partitions: &BTreeSet<&str>) -> Option<String> {
    let mut names = BTreeSet::new();
    let mut columns = view.columns.iter().map(|column| &*column.name);
    let name = columns.find(|name| partitions.contains(name) && !names.insert(*name))?;
    Some(format!(
        "{} has a column {name:?} already, so it cannot be a partition column; rename it in the layout, such as \
         {{key_{name}}}, or in the rule if it is the date",
        view.name
    ))
}

/// Returns the table with the folders of a layout as projected partitions, which are computed and never registered
/// (<https://docs.aws.amazon.com/athena/latest/ug/partition-projection-supported-types.html>).
fn partitioned(
    base: &StoredTable,
    ending: &str,
    layouts: &Layouts,
    number: usize,
    template: &Template,
) -> StoredTable {
    let numbered = if number == 1 { String::new() } else { format!("_{number}") };
    let mut table = StoredTable {
        name: format!("{}_{ending}{numbered}", base.name),
        description: format!("{}, by the folders {}", base.description, template.text()),
        location: format!("{}{}", base.location, template.folder()),
        location_template: Some(format!("{}{}", base.location, template.location())),
        partitions: template.columns().into_iter().map(|name| StoredColumn::new(name, "string")).collect(),
        ..base.clone()
    };
    let mut set = |column: &str, property: &str, value: &str| {
        table.parameters.insert(format!("projection.{column}.{property}"), value.to_owned());
    };
    let time = template.time();
    let column = time.unit().column();
    set(column, "type", "date");
    set(column, "format", &time.pattern());
    set(column, "range", &format!("{},NOW", time.value_at(layouts.since.at(0, 0, 0, 0))));
    set(column, "interval", "1");
    set(column, "interval.unit", time.unit().plural());
    for (column, values) in template.named_columns() {
        if values.is_empty() {
            set(column, "type", "injected");
        } else {
            set(column, "type", "enum");
            set(column, "values", &values.join(","));
        }
    }
    table.parameters.insert("projection.enabled".to_owned(), "true".to_owned());
    table
}

fn parameters(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn view(
    name: &str,
    description: &str,
    columns: &[TypedColumn],
    tables: &[&str],
    partitions: &[&str],
) -> View {
    let mut columns = columns.to_vec();
    columns.extend(partitions.iter().map(|name| TypedColumn::unchanged(name)));
    let selects: Vec<String> = tables.iter().map(|table| rows(&columns, &format!("\"{table}\""))).collect();
    let columns = columns.iter().map(|column| ViewColumn {
        name: column.name.clone(),
        kind: typed::hive_type(column.kind),
        trino_type: typed::trino_type(column.kind),
    });
    View {
        name: name.to_owned(),
        description: description.to_owned(),
        columns: columns.collect(),
        sql: selects.join("\nUNION ALL\n"),
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    const DAILY: &str = "AWSLogs/{account:123456789012,210987654321}/vpcflowlogs/{region}/{yyyy/MM/dd}/";

    fn layouts(arguments: &[&str]) -> Layouts {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Layouts::parse(&arguments, &["vpc_flow", "waf"], date(2026, 1, 1)).unwrap()
    }

    fn names(schema: &Schema) -> (Vec<&str>, Vec<&str>) {
        let tables = schema.tables.iter().map(|table| &*table.name).collect();
        (tables, schema.views.iter().map(|view| &*view.name).collect())
    }

    fn two_tables() -> Config {
        let rule = |name: &str| {
            format!("[[rule]]\nname = \"{name}\"\ntable = \"{name}\"\nformat = {{ kind = \"vpc-flow\" }}\n")
        };
        Config::parse(&["vpc_flow", "waf"].map(rule).concat()).unwrap()
    }

    #[test]
    fn without_layouts_there_is_one_table_and_one_view_of_each() {
        let schema = Schema::new(&Config::default(), &Layouts::default()).unwrap();
        let (tables, views) = names(&schema);
        assert_eq!(views, ["vpc_flow", "ledger_rejects"]);
        assert_eq!(
            tables,
            ["vpc_flow_text", "ledger_rejects_json", "ledger_manifest", "ledger_receipts", "ledger_failures"]
        );
        assert_eq!(schema.tables[0].location, "csv/vpc_flow/");
        assert!(schema.tables[0].partitions.is_empty() && schema.tables[0].location_template.is_none());
    }

    #[test]
    fn with_layouts_there_are_partitions_and_a_table_of_all_files() {
        let layouts = layouts(&["firehose/{yyyy/MM/dd/HH}/", "eu-logs-{yyyy/MM/dd/HH}/"]);
        let schema = Schema::new(&Config::default(), &layouts).unwrap();
        let (tables, views) = names(&schema);
        assert_eq!(tables[..3], ["vpc_flow_text", "vpc_flow_text_2", "vpc_flow_everywhere_text"]);
        assert_eq!(views[..2], ["vpc_flow", "vpc_flow_everywhere"]);
        let table = &schema.tables[1];
        assert_eq!(table.location, "csv/vpc_flow/");
        assert_eq!(table.location_template.as_deref(), Some("csv/vpc_flow/eu-logs-${datehour}/"));
        assert_eq!(table.parameters["projection.datehour.range"], "2026/01/01/00,NOW");
        assert!(schema.views[0].sql.contains("FROM \"vpc_flow_text\"\nUNION ALL\nSELECT"));
        assert_eq!(schema.views[0].columns.last().unwrap().name, "datehour");
    }

    #[test]
    fn each_layout_has_the_projection_that_athena_computes_its_folders_with() {
        let projections = |layout: &str| {
            let schema = Schema::new(&Config::default(), &layouts(&[layout])).unwrap();
            let table = schema.tables.into_iter().next().unwrap();
            let of = |(name, value): (String, String)| {
                name.strip_prefix("projection.").map(|name| format!("{name} = {value}"))
            };
            let parameters: Vec<String> = table.parameters.into_iter().filter_map(of).collect();
            format!("{layout}\n{}\n{}\n", table.location_template.unwrap(), parameters.join("\n"))
        };
        let all = [
            "firehose/{yyyy/MM/dd/HH}/",
            DAILY,
            "AWSLogs/aws-account-id={account}/aws-service=vpcflowlogs/aws-region={region:eu-west-1}/year={yyyy}/month={MM}/\
             day={dd}/hour={HH}/",
            "year={yyyy}/month={MM}/day={dd}/hour={HH}/",
            "tenant={tenant}/dt={yyyy-MM-dd}/",
            "{yyyyMM}/",
        ];
        insta::assert_snapshot!(all.map(projections).join("\n"));
    }

    #[test]
    fn a_layout_of_one_table_gives_partitions_to_that_table_only() {
        let layouts = layouts(&[&format!("vpc_flow:{DAILY}"), "waf:waf/{yyyy/MM/dd/HH}/"]);
        let schema = Schema::new(&two_tables(), &layouts).unwrap();
        let (tables, views) = names(&schema);
        assert_eq!(
            tables[..5],
            [
                "vpc_flow_text",
                "vpc_flow_everywhere_text",
                "waf_text",
                "waf_everywhere_text",
                "ledger_rejects_json"
            ]
        );
        assert_eq!(views, ["vpc_flow", "vpc_flow_everywhere", "waf", "waf_everywhere", "ledger_rejects"]);
        let partitions: Vec<&str> = schema.tables[0].partitions.iter().map(|column| &*column.name).collect();
        assert_eq!(partitions, ["account", "region", "day"]);
        assert!(schema.tables[4].partitions.is_empty(), "rejects of both layouts are in one view");
    }

    #[test]
    fn equal_names_and_layouts_that_do_not_fit_one_view_are_refused() {
        let config = Config::parse(
            "[[rule]]\nname = \"a\"\ntable = \"ledger_rejects\"\nformat = { kind = \"regex\", pattern = '(?P<end>.*)' }",
        )
        .unwrap();
        let problems = Schema::new(&config, &Layouts::default()).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("ledger_rejects"));

        let differing = layouts(&["a/{yyyy/MM/dd/HH}/", "b/{yyyy/MM/dd}/"]);
        let problems = Schema::new(&Config::default(), &differing).unwrap_err();
        assert!(
            problems[0].contains("view vpc_flow different partition columns")
                && problems[0].contains("b/{yyyy/MM/dd}/"),
            "{problems:?}"
        );
        let forms = layouts(&["a/{yyyy/MM/dd}/", "b/{yyyy-MM-dd}/"]);
        assert!(Schema::new(&Config::default(), &forms).is_err());

        let taken = Schema::new(&Config::default(), &layouts(&["{action}/{yyyy/MM/dd}/"])).unwrap_err();
        assert!(taken[0].contains("vpc_flow has a column \"action\" already"), "{taken:?}");
    }
}
