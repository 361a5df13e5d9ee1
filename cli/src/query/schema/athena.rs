//! Statements for Athena: Hive's DDL for tables, Trino's for views.

use super::{Schema, StoredColumn, StoredTable};

/// Returns the statements that create all tables and views, in order. `results` is the results bucket, as `s3://bucket`.
#[must_use]
pub fn statements(schema: &Schema, results: &str) -> Vec<String> {
    let results = results.trim_end_matches('/');
    let tables = schema.tables.iter().map(|table| create_table(table, results));
    let view = |view: &super::View| format!("CREATE OR REPLACE VIEW \"{}\" AS\n{}", view.name, view.sql);
    tables.chain(schema.views.iter().map(view)).collect()
}

fn create_table(table: &StoredTable, results: &str) -> String {
    let columns = |columns: &[StoredColumn]| -> String {
        let columns: Vec<String> = columns
            .iter()
            .map(|column| format!("  `{}` {}", column.name, nested_names(&column.kind)))
            .collect();
        columns.join(",\n")
    };
    let mut sql =
        format!("CREATE EXTERNAL TABLE IF NOT EXISTS `{}` (\n{}\n)\n", table.name, columns(&table.columns));
    if !table.partitions.is_empty() {
        sql += &format!("PARTITIONED BY (\n{}\n)\n", columns(&table.partitions));
    }
    let serde = table.serde_parameters.iter().map(|(name, value)| pair(name, value));
    sql += &format!(
        "ROW FORMAT SERDE '{}'\nWITH SERDEPROPERTIES ({})\nSTORED AS TEXTFILE\nLOCATION '{results}/{}'\n",
        table.serde,
        serde.collect::<Vec<_>>().join(", "),
        table.location
    );
    let mut properties: Vec<String> =
        table.parameters.iter().map(|(name, value)| pair(name, value)).collect();
    if let Some(template) = &table.location_template {
        properties.push(pair("storage.location.template", &format!("{results}/{template}")));
    }
    sql + &format!("TBLPROPERTIES (\n  {}\n)", properties.join(",\n  "))
}

fn pair(name: &str, value: &str) -> String {
    // A pattern of Java has single quotes, and no double quotes.
    let quote = if value.contains('\'') { '"' } else { '\'' };
    // Hive reads this form of a control character.
    format!("'{name}' = {quote}{}{quote}", value.replace('\u{1}', "\\u0001"))
}

/// Quotes the names within a struct, because one of them is `table`.
fn nested_names(kind: &str) -> String {
    let mut quoted = String::new();
    let mut name = String::new();
    for character in kind.chars() {
        match character {
            ':' => quoted += &format!("`{name}`:"),
            '<' | '>' | ',' => {
                quoted += &name;
                quoted.push(character);
            }
            _ => {
                name.push(character);
                continue;
            }
        }
        name.clear();
    }
    quoted + &name
}

#[cfg(test)]
mod tests {
    use flowherd_shared::config::Config;
    use jiff::civil::date;

    use super::*;
    use crate::query::layout::Layouts;

    #[test]
    fn a_table_is_text_and_its_view_has_types() {
        let layout = ["firehose/{yyyy/MM/dd/HH}/".to_owned()];
        let layouts = Layouts::parse(&layout, &[], date(2020, 1, 1)).unwrap();
        let schema = Schema::new(&Config::default(), &layouts).unwrap();
        insta::assert_snapshot!(statements(&schema, "s3://bucket/").join(";\n\n"));
    }

    #[test]
    fn a_value_with_single_quotes_is_in_double_quotes() {
        let layout = ["year={yyyy}/month={MM}/".to_owned()];
        let layouts = Layouts::parse(&layout, &[], date(2020, 1, 1)).unwrap();
        let schema = Schema::new(&Config::default(), &layouts).unwrap();
        let sql = statements(&schema, "s3://bucket").remove(0);
        assert!(sql.contains("'projection.month.format' = \"yyyy'/month='MM\""), "{sql}");
    }

    #[test]
    fn names_within_a_struct_are_quoted() {
        assert_eq!(
            nested_names("array<struct<table:string,rows:map<string,bigint>>>"),
            "array<struct<`table`:string,`rows`:map<string,bigint>>>"
        );
        assert_eq!(nested_names("bigint"), "bigint");
    }
}
