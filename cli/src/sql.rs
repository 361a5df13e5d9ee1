//! `flowherd sql`: the definitions of the tables.

use flowherd_shared::schema;

use crate::{
    Stop,
    args::{Dialect, SqlArgs},
    inputs, summary,
};

/// Prints the definitions.
pub(crate) fn sql(args: &SqlArgs) -> Result<(), Stop> {
    let plan = inputs::plan(args.config.as_ref(), None)?;
    let tables = &plan.config.tables;
    let text = match args.dialect {
        Dialect::Athena => {
            let statements = tables.iter().flat_map(|table| schema::athena(table, &args.results));
            statements.map(|statement| statement + ";\n\n").collect()
        }
        Dialect::Duckdb => {
            tables.iter().map(|table| schema::duckdb(table, &args.results) + ";\n\n").collect()
        }
        Dialect::Glue => {
            let tables: Vec<_> = tables.iter().map(schema::text_table).collect();
            let text = serde_json::to_string_pretty(&tables).map_err(anyhow::Error::new)?;
            text + "\n"
        }
    };
    summary::print(&text)
}
