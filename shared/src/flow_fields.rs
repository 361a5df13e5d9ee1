//! The table of VPC flow-log fields. The parser, CSV headers, table definitions and the documentation use it.
//!
//! Source: the field table of the VPC Flow Logs user guide, versions 2 to 11
//! (<https://docs.aws.amazon.com/vpc/latest/userguide/flow-log-records.html>).

/// The values of a field. Decides what the parser accepts, and the column's type in queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// An integer from 0 to 2^31 - 1.
    Int,
    /// An integer from 0 to 2^63 - 1.
    BigInt,
    /// Seconds since 1970, up to the year 9999.
    Seconds,
    /// An IPv4 or IPv6 address in text form.
    Address,
    /// Any text.
    Text,
    /// The value of a tag, percent-encoded.
    Tag,
}

/// One field of a flow-log record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowField {
    /// AWS's name, with hyphens: `account-id`.
    pub name: &'static str,
    /// The column: the name with underscores.
    pub column: &'static str,
    /// The flow-log version that introduced it.
    pub since_version: u8,
    /// Its values.
    pub kind: FieldKind,
}

macro_rules! fields {
    ($($name:literal $column:literal $version:literal $kind:ident;)*) => {
        /// All 54 fields in AWS's order.
        pub const FLOW_FIELDS: &[FlowField] = &[$(FlowField {
            name: $name, column: $column, since_version: $version, kind: FieldKind::$kind,
        }),*];
    };
}

fields! {
    "version" "version" 2 Int;
    "account-id" "account_id" 2 Text;
    "interface-id" "interface_id" 2 Text;
    "srcaddr" "srcaddr" 2 Address;
    "dstaddr" "dstaddr" 2 Address;
    "srcport" "srcport" 2 Int;
    "dstport" "dstport" 2 Int;
    "protocol" "protocol" 2 Int;
    "packets" "packets" 2 BigInt;
    "bytes" "bytes" 2 BigInt;
    "start" "start" 2 Seconds;
    "end" "end" 2 Seconds;
    "action" "action" 2 Text;
    "log-status" "log_status" 2 Text;
    "vpc-id" "vpc_id" 3 Text;
    "subnet-id" "subnet_id" 3 Text;
    "instance-id" "instance_id" 3 Text;
    "tcp-flags" "tcp_flags" 3 Int;
    "type" "type" 3 Text;
    "pkt-srcaddr" "pkt_srcaddr" 3 Address;
    "pkt-dstaddr" "pkt_dstaddr" 3 Address;
    "region" "region" 4 Text;
    "az-id" "az_id" 4 Text;
    "sublocation-type" "sublocation_type" 4 Text;
    "sublocation-id" "sublocation_id" 4 Text;
    "pkt-src-aws-service" "pkt_src_aws_service" 5 Text;
    "pkt-dst-aws-service" "pkt_dst_aws_service" 5 Text;
    "flow-direction" "flow_direction" 5 Text;
    "traffic-path" "traffic_path" 5 Int;
    "ecs-cluster-arn" "ecs_cluster_arn" 7 Text;
    "ecs-cluster-name" "ecs_cluster_name" 7 Text;
    "ecs-container-instance-arn" "ecs_container_instance_arn" 7 Text;
    "ecs-container-instance-id" "ecs_container_instance_id" 7 Text;
    "ecs-container-id" "ecs_container_id" 7 Text;
    "ecs-second-container-id" "ecs_second_container_id" 7 Text;
    "ecs-service-name" "ecs_service_name" 7 Text;
    "ecs-task-definition-arn" "ecs_task_definition_arn" 7 Text;
    "ecs-task-arn" "ecs_task_arn" 7 Text;
    "ecs-task-id" "ecs_task_id" 7 Text;
    "reject-reason" "reject_reason" 8 Text;
    "resource-id" "resource_id" 9 Text;
    // AWS documents no values. A public Glue table has int, so any text is accepted.
    "encryption-status" "encryption_status" 10 Text;
    "instance-tag" "instance_tag" 11 Tag;
    "instance-tag-2" "instance_tag_2" 11 Tag;
    "interface-tag" "interface_tag" 11 Tag;
    "interface-tag-2" "interface_tag_2" 11 Tag;
    "asg-tag" "asg_tag" 11 Tag;
    "asg-tag-2" "asg_tag_2" 11 Tag;
    "interface-type" "interface_type" 11 Text;
    "next-hop-interface-id" "next_hop_interface_id" 11 Text;
    "next-hop-subnet-id" "next_hop_subnet_id" 11 Text;
    "next-hop-az-id" "next_hop_az_id" 11 Text;
    "next-hop-vpc-id" "next_hop_vpc_id" 11 Text;
    "next-hop-interface-type" "next_hop_interface_type" 11 Text;
}

/// Number of fields.
pub const FIELD_COUNT: usize = FLOW_FIELDS.len();

/// Number of leading fields that form AWS's default format (version 2).
pub const DEFAULT_FIELDS: usize = 14;

/// Returns the position in [`FLOW_FIELDS`] of a field by AWS's name.
#[must_use]
pub fn field_index(name: &str) -> Option<usize> {
    FLOW_FIELDS.iter().position(|field| field.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_the_unique_names_with_underscores() {
        for (at, field) in FLOW_FIELDS.iter().enumerate() {
            assert_eq!(field.column, field.name.replace('-', "_"));
            assert_eq!(field_index(field.name), Some(at));
        }
        assert_eq!(FIELD_COUNT, 54);
        assert_eq!(FLOW_FIELDS[DEFAULT_FIELDS - 1].name, "log-status");
        assert!(FLOW_FIELDS[..DEFAULT_FIELDS].iter().all(|field| field.since_version == 2));
    }
}
