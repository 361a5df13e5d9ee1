//! Converts a run's target from the ledger's types to the indexer's.

use flowherd_shared::{
    ledger::{self, FieldNaming, IndexTarget},
    table::Table,
};

use crate::{
    index_name::{Destination, NameError, NameLayout},
    job::Target,
    schema::{DocumentSchema, Naming, SchemaError},
};

/// Why rows of a table cannot go to the target of a run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// No index can have the name.
    #[error("the name of the index is not valid: {0}")]
    Name(#[from] NameError),
    /// A column cannot be a field.
    #[error(transparent)]
    Schema(#[from] SchemaError),
}

/// Returns the destination of a run's documents.
pub fn destination(target: &IndexTarget) -> Result<Destination, NameError> {
    match &target.destination {
        ledger::Destination::Pattern(layout) => NameLayout::parse(layout).map(Destination::Indices),
        ledger::Destination::DataStream(layout) => {
            NameLayout::parse_data_stream(layout).map(Destination::DataStream)
        }
        ledger::Destination::To(name) => Destination::index(name),
    }
}

/// Returns the fields of a table's documents.
pub fn schema(table: &Table, target: &IndexTarget) -> Result<DocumentSchema, SchemaError> {
    let naming = match target.naming {
        FieldNaming::Columns => Naming::Columns,
        FieldNaming::Ecs => Naming::Ecs,
    };
    DocumentSchema::new(table, naming)
}

/// Returns where the rows of a table go.
pub fn of_table(table: &Table, target: &IndexTarget) -> Result<Target, TargetError> {
    Ok(Target {
        columns: table.columns.iter().map(|column| column.name.clone()).collect(),
        schema: schema(table, target)?,
        index: destination(target)?.of_table(&table.name),
    })
}

#[cfg(test)]
mod tests {
    use flowherd_shared::{
        cluster::DEFAULT_INDEX_NAME,
        config::Config,
        ledger::{Destination as Named, FieldNaming},
    };

    use super::*;
    use crate::index_name::DEFAULT_LAYOUT;

    fn target(destination: Named) -> IndexTarget {
        IndexTarget { destination, naming: FieldNaming::Columns }
    }

    #[test]
    fn a_run_names_an_index_a_data_stream_or_a_layout() {
        assert_eq!(DEFAULT_INDEX_NAME, DEFAULT_LAYOUT);
        let table = &Config::default().tables[0];
        let name = |destination: Named| {
            let mut name = String::new();
            let target = of_table(table, &target(destination)).unwrap();
            assert!(target.index.append(b"2026-02-18T01:02:03.000Z", &mut name));
            assert_eq!(target.columns.len(), target.schema.fields.len());
            name
        };
        assert_eq!(name(Named::Pattern(DEFAULT_INDEX_NAME.to_owned())), "flowherd-vpc_flow-2026.02.18");
        assert_eq!(name(Named::DataStream("logs-{table}".to_owned())), "logs-vpc_flow");
        assert_eq!(name(Named::To("incident".to_owned())), "incident");
    }

    #[test]
    fn an_invalid_name_is_an_error_before_the_first_document() {
        for destination in [
            Named::Pattern("no-table".to_owned()),
            Named::DataStream("x-{table}-{yyyy.MM.dd}".to_owned()),
            Named::To("Upper".to_owned()),
        ] {
            assert!(super::destination(&target(destination.clone())).is_err(), "{destination:?}");
        }
    }
}
