//! Names of the Elastic Common Schema for the columns of flow logs.
//!
//! The names are those of Elastic's own processor of flow logs
//! (<https://www.elastic.co/docs/reference/beats/filebeat/processor-parse-aws-vpc-flow-log>), and below `aws` those of its
//! integration (<https://www.elastic.co/docs/reference/integrations/aws/vpcflow>). Each column becomes one field, and values
//! stay as they are: `ACCEPT`, not `accept`.

use flowherd_shared::flow_fields::FlowKind;

/// The object of columns that are not fields of a flow log, such as the names of subnets.
const OTHER: &str = "flowherd.column";

/// The columns with a name in the schema: column, field.
pub const FIELDS: &[(&str, &str)] = &[
    ("account_id", "cloud.account.id"),
    ("instance_id", "cloud.instance.id"),
    ("region", "cloud.region"),
    ("az_id", "cloud.availability_zone"),
    ("srcaddr", "source.ip"),
    ("srcport", "source.port"),
    ("dstaddr", "destination.ip"),
    ("dstport", "destination.port"),
    ("protocol", "network.iana_number"),
    ("packets", "network.packets"),
    ("bytes", "network.bytes"),
    ("type", "network.type"),
    ("flow_direction", "network.direction"),
    ("start", "event.start"),
    ("end", "event.end"),
    ("action", "event.action"),
    ("event_id", "event.id"),
    ("log_group", "aws.cloudwatch.log_group"),
    ("log_stream", "aws.cloudwatch.log_stream"),
    ("key", "aws.s3.object.key"),
];

/// The field with the number of the protocol, which the schema has as a keyword.
pub(crate) const PROTOCOL: &str = "network.iana_number";

/// Returns the field's name of a column of a flow log.
pub(crate) fn name(column: &str, flow: FlowKind) -> String {
    if let Some((_, name)) = FIELDS.iter().find(|(name, _)| *name == column) {
        return (*name).to_owned();
    }
    let is_flow_field = flow.fields().iter().any(|field| field.column == column);
    match flow {
        _ if !is_flow_field => format!("{OTHER}.{column}"),
        FlowKind::Vpc => format!("aws.vpcflow.{column}"),
        FlowKind::TransitGateway => format!("aws.tgwflow.{column}"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use flowherd_shared::{config::Config, table::Metadata};

    use super::*;
    use crate::schema::{DocumentSchema, Naming};

    fn schema(config: &str) -> DocumentSchema {
        DocumentSchema::new(&Config::parse(config).unwrap().tables[0], Naming::Ecs).unwrap()
    }

    fn all(kind: FlowKind) -> DocumentSchema {
        let fields: Vec<String> = kind.fields().iter().map(|field| format!("${{{}}}", field.name)).collect();
        let metadata = r#"["owner", "log_group", "log_stream", "event_id", "key", "extracted:a"]"#;
        schema(&format!(
            "[[rule]]\nname = \"r\"\ntable = \"t\"\nmetadata = {metadata}\n\
             format = {{ kind = \"{}\", fields = \"{}\" }}\n",
            kind.name(),
            fields.join(" ")
        ))
    }

    #[test]
    fn each_column_of_a_flow_log_has_a_field_of_its_own_that_is_no_object() {
        for kind in [FlowKind::Vpc, FlowKind::TransitGateway] {
            let schema = all(kind);
            let names: Vec<&str> = schema.all_fields().map(|(name, _)| name).collect();
            let unique: BTreeSet<&str> = names.iter().copied().collect();
            assert_eq!(unique.len(), names.len());
            for name in &names {
                assert!(!names.iter().any(|other| other.starts_with(&format!("{name}."))), "{name}");
            }
        }
    }

    #[test]
    fn every_name_belongs_to_a_column_that_flow_logs_have() {
        let metadata =
            [Metadata::LogGroup, Metadata::LogStream, Metadata::EventId, Metadata::Key].map(|m| m.column());
        for (column, _) in FIELDS {
            let is_field = FlowKind::Vpc.fields().iter().any(|field| field.column == *column);
            assert!(is_field || metadata.iter().any(|name| name == column), "{column}");
        }
    }

    #[test]
    fn the_document_has_every_name() {
        let document = include_str!("../../docs/indexing.md");
        let row = |(column, field): &(&str, &str)| format!("\n| `{column}` | `{field}` |\n");
        let missing: Vec<String> = FIELDS.iter().map(row).filter(|row| !document.contains(row)).collect();
        assert_eq!(missing, [""; 0]);
    }

    #[test]
    fn a_default_flow_log_has_the_names_of_the_schema() {
        let schema = schema("");
        let text: Vec<String> =
            schema.fields.iter().flatten().map(|field| format!("{} {:?}", field.name, field.kind)).collect();
        assert_eq!(
            text,
            [
                "@timestamp Date",
                "aws.vpcflow.version Long",
                "cloud.account.id Keyword",
                "aws.vpcflow.interface_id Keyword",
                "source.ip Ip",
                "destination.ip Ip",
                "source.port Long",
                "destination.port Long",
                "network.iana_number Keyword",
                "network.packets Long",
                "network.bytes Long",
                "event.start EpochSeconds",
                "event.end EpochSeconds",
                "event.action Keyword",
                "aws.vpcflow.log_status Keyword",
                "flowherd.column.interface_description Keyword",
                "flowherd.column.subnet_name Keyword",
                "flowherd.column.vpc_name Keyword",
                "flowherd.column.src_subnet_name Keyword",
                "flowherd.column.dst_subnet_name Keyword",
            ]
        );
    }
}
