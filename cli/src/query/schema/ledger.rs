//! Tables over the ledger: manifest, receipts, failures and rejects.

use flowherd_shared::table::ColumnType;

use super::{JSON_SERDE, Keys, Schema, StoredColumn, StoredTable, parameters, typed};
use crate::query::layout::Layouts;

/// The columns of `rejects/*.jsonl.gz`.
pub(super) const REJECTS: [(&str, &str); 8] = [
    ("object", "string"),
    ("record", "bigint"),
    ("timestamp", "bigint"),
    ("log_group", "string"),
    ("log_stream", "string"),
    ("reason", "string"),
    ("message", "string"),
    ("message_base64", "string"),
];

const MANIFEST: &[(&str, &str)] = &[("key", "string"), ("size", "bigint"), ("etag", "string")];

const RECEIPTS: &[(&str, &str)] = &[
    ("key", "string"),
    ("size", "bigint"),
    ("etag", "string"),
    ("config_hash", "string"),
    ("names_hash", "string"),
    ("attempt", "int"),
    ("finished", "string"),
    ("milliseconds", "bigint"),
    (
        "outputs",
        "array<struct<path:string,table:string,rows:bigint,bytes:bigint,crc64nvme:string,etag:string>>",
    ),
    (
        "records",
        "struct<read:bigint,rows:bigint,rejected:bigint,control:bigint,dropped:bigint,repaired:bigint,\
         named_by_guess:bigint>",
    ),
    ("rejects", "map<string,bigint>"),
    ("times", "map<string,bigint>"),
    ("bytes", "struct<compressed_in:bigint,decoded_in:bigint,compressed_out:bigint>"),
    ("members", "array<bigint>"),
];

const FAILURES: &[(&str, &str)] = &[
    ("key", "string"),
    ("size", "bigint"),
    ("etag", "string"),
    ("config_hash", "string"),
    ("names_hash", "string"),
    ("errors", "array<string>"),
    ("verdict", "string"),
    ("attempts", "int"),
    ("finished", "string"),
    ("message_id", "string"),
];

/// The parts of a run's ledger: the folder and its columns.
pub(super) const PARTS: [(&str, &[(&str, &str)]); 3] =
    [("manifest", MANIFEST), ("receipts", RECEIPTS), ("failures", FAILURES)];

/// Adds the ledger's tables.
pub(super) fn add(schema: &mut Schema, layouts: &Layouts) {
    let rejects = stored("ledger_rejects", "Rejected records and why", "rejects/", &REJECTS);
    let keys = Keys { templates: &layouts.of_all_keys(), layouts };
    schema.add(&rejects, "json", &keys, &rejects_columns(typed::Dialect::Trino), "Rejected records and why");
    for (part, columns) in PARTS {
        let mut table = stored(&format!("ledger_{part}"), "", "runs/", columns);
        table.description = format!("The {part} of a run; ask for one run, or some");
        table.location_template = Some(format!("runs/${{run}}/{part}/"));
        table.partitions = vec![StoredColumn::new("run", "string")];
        // Athena has no list of runs, so a query must name the runs it reads:
        // https://docs.aws.amazon.com/athena/latest/ug/partition-projection-supported-types.html
        table
            .parameters
            .extend(parameters(&[("projection.enabled", "true"), ("projection.run.type", "injected")]));
        schema.tables.push(table);
    }
}

/// Returns the columns of rejects with their types.
pub(super) fn rejects_columns(dialect: typed::Dialect) -> Vec<typed::TypedColumn> {
    let column = |&(name, kind): &(&str, &str)| match (name, kind) {
        ("timestamp", _) => typed::TypedColumn {
            name: name.to_owned(),
            kind: ColumnType::Timestamp,
            sql: typed::milliseconds(&typed::quoted(name), dialect),
        },
        (_, "bigint") => {
            typed::TypedColumn { kind: ColumnType::BigInt, ..typed::TypedColumn::unchanged(name) }
        }
        _ => typed::TypedColumn::unchanged(name),
    };
    REJECTS.iter().map(column).collect()
}

fn stored(name: &str, description: &str, location: &str, columns: &[(&str, &str)]) -> StoredTable {
    StoredTable {
        name: name.to_owned(),
        description: description.to_owned(),
        location: location.to_owned(),
        location_template: None,
        columns: columns.iter().map(|(name, kind)| StoredColumn::new(name, kind)).collect(),
        partitions: Vec::new(),
        serde: JSON_SERDE,
        serde_parameters: [("ignore.malformed.json", "false")].into(),
        parameters: parameters(&[("classification", "json")]),
    }
}
