//! The expressions that convert the text of the CSV to typed columns of a view.

use flowherd_shared::{
    flow_fields::{FLOW_FIELDS, FieldKind},
    table::{Column, ColumnType},
};

/// The SQL dialect of an expression. Most expressions are the same in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Athena's engine.
    Trino,
    /// DuckDB's, for local files.
    DuckDb,
}

/// The most frequent protocol numbers of flow logs, from <https://www.iana.org/assignments/protocol-numbers>.
const PROTOCOLS: [(u8, &str); 18] = [
    (0, "HOPOPT"),
    (1, "ICMP"),
    (2, "IGMP"),
    (4, "IPv4"),
    (6, "TCP"),
    (17, "UDP"),
    (33, "DCCP"),
    (41, "IPv6"),
    (47, "GRE"),
    (50, "ESP"),
    (51, "AH"),
    (58, "IPv6-ICMP"),
    (89, "OSPFIGP"),
    (94, "IPIP"),
    (103, "PIM"),
    (112, "VRRP"),
    (115, "L2TP"),
    (132, "SCTP"),
];

/// The last second of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;

/// A column of a view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypedColumn {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: ColumnType,
    /// Its expression.
    pub sql: String,
}

impl TypedColumn {
    /// Returns a column of the table, unchanged.
    pub(super) fn unchanged(name: &str) -> Self {
        Self { name: name.to_owned(), kind: ColumnType::String, sql: quoted(name) }
    }
}

/// Hive's name of a type.
pub(super) fn hive_type(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::String | ColumnType::Ip => "string",
        ColumnType::Int => "int",
        ColumnType::BigInt => "bigint",
        ColumnType::Double => "double",
        ColumnType::Boolean => "boolean",
        ColumnType::Timestamp => "timestamp",
    }
}

/// Trino's name of a type.
pub(super) fn trino_type(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::String | ColumnType::Ip => "varchar",
        ColumnType::Int => "integer",
        ColumnType::BigInt => "bigint",
        ColumnType::Double => "double",
        ColumnType::Boolean => "boolean",
        ColumnType::Timestamp => "timestamp(3)",
    }
}

/// Returns the SELECT of these columns.
#[must_use]
pub fn rows(columns: &[TypedColumn], from: &str) -> String {
    let columns: Vec<String> =
        columns.iter().map(|column| format!("  {} AS {}", column.sql, quoted(&column.name))).collect();
    format!("SELECT\n{}\nFROM {from}", columns.join(",\n"))
}

/// Returns a table's columns with their types. Flow logs also have `protocol_name`, `start_time` and `end_time`.
#[must_use]
pub fn typed_columns(columns: &[Column], is_flow: bool, dialect: Dialect) -> Vec<TypedColumn> {
    let mut typed = Vec::new();
    let is_free = |name: &str| !columns.iter().any(|column| column.name.eq_ignore_ascii_case(name));
    for (number, column) in columns.iter().enumerate() {
        let name = column.name.to_ascii_lowercase();
        let value = format!("NULLIF({}, '-')", quoted(&name));
        let is_tag = is_flow && field(&name) == Some(FieldKind::Tag);
        let sql = match column.kind {
            ColumnType::String if is_tag => decoded(&value),
            ColumnType::Timestamp if number == 0 => own_timestamp(&value),
            kind => cast(&value, kind, dialect),
        };
        typed.push(TypedColumn { name: name.clone(), kind: column.kind, sql });
        let beside = match &*name {
            "protocol" => Some(("protocol_name", ColumnType::String, protocol_name(&value))),
            "start" => Some(("start_time", ColumnType::Timestamp, seconds(&value, dialect))),
            "end" => Some(("end_time", ColumnType::Timestamp, seconds(&value, dialect))),
            _ => None,
        };
        if let Some((name, kind, sql)) = beside.filter(|(name, ..)| is_flow && is_free(name)) {
            typed.push(TypedColumn { name: name.to_owned(), kind, sql });
        }
    }
    typed
}

/// Returns the typed columns of a flow-log table whose column names alone are known.
#[must_use]
pub fn flow_columns<'a>(names: impl Iterator<Item = &'a str>) -> Vec<TypedColumn> {
    let column = |(number, name): (usize, &str)| {
        let kind = match field(name) {
            _ if number == 0 => ColumnType::Timestamp,
            Some(kind) => kind.into(),
            None => ColumnType::String,
        };
        Column { name: name.to_owned(), kind }
    };
    let columns: Vec<Column> = names.enumerate().map(column).collect();
    typed_columns(&columns, true, Dialect::Trino)
}

/// Quotes an identifier, because some columns have names such as `end`, `start` or `timestamp`.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{name}\"")
}

/// Converts milliseconds since 1970 to a timestamp.
pub(super) fn milliseconds(value: &str, dialect: Dialect) -> String {
    instant(value, 1000, dialect)
}

fn field(column: &str) -> Option<FieldKind> {
    FLOW_FIELDS.iter().find(|field| field.column == column).map(|field| field.kind)
}

/// Converts the record's own timestamp, whose form is always `2020-02-01T00:00:00.000Z`.
fn own_timestamp(value: &str) -> String {
    format!("TRY_CAST(REPLACE(REPLACE({value}, 'T', ' '), 'Z', '') AS TIMESTAMP)")
}

fn cast(value: &str, kind: ColumnType, dialect: Dialect) -> String {
    let cast = format!("TRY_CAST({value} AS {})", trino_type(kind).to_ascii_uppercase());
    // DuckDB casts more text than Trino: 1.5 becomes 2, and yes becomes true.
    match (kind, dialect) {
        (ColumnType::String | ColumnType::Ip, _) => value.to_owned(),
        (ColumnType::Timestamp, dialect) => iso_timestamp(value, dialect),
        (ColumnType::Int | ColumnType::BigInt, Dialect::DuckDb) => {
            format!("CASE WHEN regexp_full_match({value}, '[+-]?[0-9]+') THEN {cast} END")
        }
        (ColumnType::Boolean, Dialect::DuckDb) => {
            format!("CASE WHEN lower({value}) IN ('true', 't', '1', 'false', 'f', '0') THEN {cast} END")
        }
        _ => cast,
    }
}

/// Converts an ISO-8601 date and time, in UTC if it has no offset. Checks the form first, because each engine accepts other
/// forms too, and an offset or year out of range is an error in Trino that `TRY` does not catch.
fn iso_timestamp(value: &str, dialect: Dialect) -> String {
    const FORM: &str = "'^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?\
                        (Z|[+-](0[0-9]|1[0-3]):?[0-9]{2}|[+-]14:?00)?$'";
    const OFFSET: &str = "'T.*(Z|[+-][0-9:]+)$'";
    let (matches, read) = match dialect {
        Dialect::Trino => ("regexp_like", "TRY(from_iso8601_timestamp("),
        Dialect::DuckDb => ("regexp_matches", "(TRY_CAST("),
    };
    let end = if dialect == Dialect::Trino { "))" } else { " AS TIMESTAMPTZ))" };
    format!(
        "CASE WHEN {matches}({value}, {FORM}) THEN CAST({read}CASE WHEN {matches}({value}, {OFFSET}) THEN {value} ELSE \
         {value} || 'Z' END{end} AT TIME ZONE 'UTC' AS TIMESTAMP) END"
    )
}

/// Converts seconds since 1970 to a timestamp.
fn seconds(value: &str, dialect: Dialect) -> String {
    instant(&format!("TRY_CAST({value} AS BIGINT)"), 1, dialect)
}

/// Converts a count since 1970 to a timestamp. A value out of range, which a forged record may have, becomes null.
fn instant(number: &str, per_second: i64, dialect: Dialect) -> String {
    let last = (LAST_SECOND + 1) * per_second - 1;
    let timestamp = match dialect {
        Dialect::Trino => {
            format!("CAST(from_unixtime({number} / {per_second}e0) AT TIME ZONE 'UTC' AS TIMESTAMP)")
        }
        Dialect::DuckDb => format!("make_timestamp({number} * {})", 1_000_000 / per_second),
    };
    format!("CASE WHEN {number} BETWEEN 0 AND {last} THEN {timestamp} END")
}

/// Decodes a tag, which AWS percent-encodes with a literal plus sign. Invalid encoding stays unchanged.
fn decoded(value: &str) -> String {
    format!("COALESCE(TRY(url_decode(REPLACE({value}, '+', '%2B'))), {value})")
}

fn protocol_name(value: &str) -> String {
    let names: Vec<String> =
        PROTOCOLS.iter().map(|(number, name)| format!("WHEN '{number}' THEN '{name}'")).collect();
    format!("CAST(CASE {value} {} ELSE {value} END AS VARCHAR)", names.join(" "))
}
