//! The fields of a table's documents, and their types in the cluster.

use std::fmt;

use flowherd_shared::{
    flow_fields::{FieldKind as FlowFieldKind, FlowKind},
    table::{Column, ColumnType, Table},
};
use serde::{Deserialize, Serialize};

use crate::ecs;

/// Field of a record's own time. Data streams require this name, and Dashboards suggests it.
pub const TIME_FIELD: &str = "@timestamp";

/// The object that holds Flowherd's own fields.
pub const OWN_FIELD: &str = "flowherd";

/// Flowherd's own fields in each document, and their types: `ETag` and key of the CSV, the number of the row in it, and the run.
pub const OWN_FIELDS: [(&str, FieldKind); 4] = [
    ("flowherd.etag", FieldKind::Keyword),
    ("flowherd.object", FieldKind::Keyword),
    ("flowherd.row", FieldKind::Long),
    ("flowherd.run", FieldKind::Keyword),
];

/// Names that a document's fields cannot have, because the cluster keeps metadata under them
/// (<https://docs.opensearch.org/latest/mappings/metadata-fields/index/>). OpenSearch 2.19 refuses a mapping with any of them,
/// except `_type` and `_tier`, which Elasticsearch has.
const METADATA_FIELDS: [&str; 13] = [
    "_data_stream_timestamp",
    "_doc_count",
    "_field_names",
    "_id",
    "_ignored",
    "_index",
    "_nested_path",
    "_routing",
    "_seq_no",
    "_source",
    "_tier",
    "_type",
    "_version",
];

/// The fields of a table's documents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DocumentSchema {
    /// One for each column of the CSV, in its order; `None` is not indexed. The first column is the timestamp.
    pub fields: Vec<Option<Field>>,
}

/// A field of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// The name; dots separate objects and their fields.
    pub name: String,
    /// The type in the cluster.
    pub kind: FieldKind,
}

/// The type of a field in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// An IPv4 or IPv6 address.
    Ip,
    /// A 64-bit integer.
    Long,
    /// A floating-point number.
    Double,
    /// A time in ISO 8601.
    Date,
    /// A time in seconds since 1970. A JSON string or a number.
    EpochSeconds,
    /// `true` or `false`.
    Boolean,
    /// Text that the cluster does not analyze.
    Keyword,
}

/// How the fields of documents are named.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Naming {
    /// The names of the columns.
    #[default]
    Columns,
    /// For flow logs, the names of the Elastic Common Schema ([`ecs::FIELDS`]); for other tables, the names of the columns.
    Ecs,
}

/// All columns of a table that cannot be fields of a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct SchemaError {
    table: String,
    columns: Vec<String>,
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<String> = self.columns.iter().map(|name| format!("{name:?}")).collect();
        write!(
            f,
            "table {:?}: a document cannot have a field named {}: the cluster or Flowherd uses the name; rename the column in \
             the rule",
            self.table,
            columns.join(" or ")
        )
    }
}

impl DocumentSchema {
    /// Returns the schema of a table's documents.
    pub fn new(table: &Table, naming: Naming) -> Result<Self, SchemaError> {
        let ecs = table.flow_kind.filter(|_| naming == Naming::Ecs);
        let is_reserved =
            |name: &str| ecs.is_none() && (name == OWN_FIELD || METADATA_FIELDS.contains(&name));
        let reserved = table.columns.iter().filter(|column| is_reserved(&column.name));
        let reserved: Vec<String> = reserved.map(|column| column.name.clone()).collect();
        if !reserved.is_empty() {
            return Err(SchemaError { table: table.name.clone(), columns: reserved });
        }
        let field = |column: &Column| {
            let kind = kind(column, table.flow_kind);
            let name = ecs.map_or_else(|| column.name.clone(), |flow| ecs::name(&column.name, flow));
            let kind = if ecs.is_some() && name == ecs::PROTOCOL { FieldKind::Keyword } else { kind };
            Field { name, kind }
        };
        let time = Field { name: TIME_FIELD.to_owned(), kind: FieldKind::Date };
        let fields = std::iter::once(time).chain(table.columns.iter().skip(1).map(field));
        Ok(Self { fields: fields.map(Some).collect() })
    }

    /// Returns all fields, Flowherd's own included.
    pub fn all_fields(&self) -> impl Iterator<Item = (&str, FieldKind)> {
        let columns = self.fields.iter().flatten().map(|field| (&*field.name, field.kind));
        columns.chain(OWN_FIELDS)
    }
}

/// Returns the type of a column. In flow logs, addresses are text and times are integers to queries, so their types come from the table
/// of flow-log fields.
fn kind(column: &Column, flow: Option<FlowKind>) -> FieldKind {
    let field = flow.and_then(|flow| flow.fields().iter().find(|field| field.column == column.name));
    match (field.map(|field| field.kind), column.kind) {
        (Some(FlowFieldKind::Address), ColumnType::String) | (_, ColumnType::Ip) => FieldKind::Ip,
        (Some(FlowFieldKind::Seconds), ColumnType::BigInt) => FieldKind::EpochSeconds,
        (_, ColumnType::String) => FieldKind::Keyword,
        (_, ColumnType::Int | ColumnType::BigInt) => FieldKind::Long,
        (_, ColumnType::Double) => FieldKind::Double,
        (_, ColumnType::Boolean) => FieldKind::Boolean,
        (_, ColumnType::Timestamp) => FieldKind::Date,
    }
}

#[cfg(test)]
mod tests {
    use flowherd_shared::{config::Config, presets::PRESETS};

    use super::*;

    fn table(config: &str) -> Table {
        Config::parse(config).unwrap().tables.remove(0)
    }

    fn json(columns: &str) -> Table {
        table(&format!(
            "[[rule]]\nname = \"r\"\ntable = \"t\"\nformat = {{ kind = \"json\", columns = [{columns}] }}"
        ))
    }

    fn texts(schema: &DocumentSchema) -> Vec<String> {
        schema.fields.iter().flatten().map(|field| format!("{} {:?}", field.name, field.kind)).collect()
    }

    #[test]
    fn flow_logs_have_addresses_and_times_of_their_own_type() {
        let schema = DocumentSchema::new(&table(""), Naming::Columns).unwrap();
        let texts = texts(&schema);
        assert_eq!(texts.len(), 20);
        for text in ["@timestamp Date", "srcaddr Ip", "srcport Long", "start EpochSeconds", "action Keyword"]
        {
            assert!(texts.iter().any(|other| other == text), "{text}");
        }
    }

    #[test]
    fn other_tables_have_the_types_of_their_rules_and_keep_their_names_with_ecs() {
        let columns = r#"{ name = "srcaddr", path = "/a" }, { name = "start", path = "/s", type = "bigint" },
            { name = "d", path = "/d", type = "double" }, { name = "b", path = "/b", type = "boolean" },
            { name = "t", path = "/t", type = "timestamp" }, { name = "i", path = "/i", type = "ip" }"#;
        for naming in [Naming::Columns, Naming::Ecs] {
            let schema = DocumentSchema::new(&json(&columns.replace('\n', "")), naming).unwrap();
            assert_eq!(
                texts(&schema),
                [
                    "@timestamp Date",
                    "srcaddr Keyword",
                    "start Long",
                    "d Double",
                    "b Boolean",
                    "t Date",
                    "i Ip"
                ]
            );
        }
    }

    #[test]
    fn the_columns_of_regex_and_w3c_rules_have_their_declared_types() {
        let rule = |format: &str| {
            let rule = format!("[[rule]]\nname = \"r\"\ntable = \"t\"\n[rule.format]\n{format}");
            texts(&DocumentSchema::new(&table(&rule), Naming::Columns).unwrap())
        };
        let regex = rule(
            "kind = \"regex\"\npattern = '(?P<src>\\S+) (?P<n>\\S+)'\ntypes = { src = \"ip\", n = \"int\" }",
        );
        assert_eq!(regex, ["@timestamp Date", "src Ip", "n Long"]);
        let w3c = rule("kind = \"w3c\"\nfields = \"c-ip s-ip\"\ntypes = { c_ip = \"ip\" }");
        assert_eq!(w3c, ["@timestamp Date", "c_ip Ip", "s_ip Keyword"]);
    }

    #[test]
    fn presets_have_addresses_where_aws_writes_nothing_else() {
        let mut found = Vec::new();
        for preset in PRESETS {
            let config = Config::parse(preset.text).unwrap();
            for table in config.tables.iter().filter(|table| table.flow_kind.is_none()) {
                let schema = DocumentSchema::new(table, Naming::Columns).unwrap();
                let fields = schema.fields.iter().flatten().filter(|field| field.kind == FieldKind::Ip);
                found.extend(fields.map(|field| format!("{} {}", preset.name, field.name)));
            }
        }
        found.sort();
        // CloudTrail's source_ip_address may be the name of a service, and so stays text.
        let expected = [
            "alb client_ip",
            "alb target_ip",
            "alb-connection client_ip",
            "api-gateway ip",
            "cloudfront c_ip",
            "eks-audit source_ip",
            "elb backend_ip",
            "elb client_ip",
            "guardduty remote_ip",
            "guardduty-eventbridge remote_ip",
            "network-firewall-alert dest_ip",
            "network-firewall-alert src_ip",
            "network-firewall-flow dest_ip",
            "network-firewall-flow src_ip",
            "network-firewall-tls dest_ip",
            "network-firewall-tls src_ip",
            "nlb client_ip",
            "nlb destination_ip",
            "route53-resolver address",
            "route53-resolver srcaddr",
            "s3-access remote_ip",
            "suricata-eve dest_ip",
            "suricata-eve src_ip",
            "waf client_ip",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn columns_with_names_that_the_cluster_or_flowherd_uses_are_reported_together() {
        let table = json(r#"{ name = "_id", path = "/i" }, { name = "flowherd", path = "/f" }"#);
        assert_eq!(
            DocumentSchema::new(&table, Naming::Columns).unwrap_err().to_string(),
            "table \"t\": a document cannot have a field named \"_id\" or \"flowherd\": the cluster or Flowherd uses the name; \
             rename the column in the rule"
        );
    }
}
