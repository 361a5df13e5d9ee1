//! The fields of flow logs. The parser, CSV headers, table definitions and the documentation use them.
//!
//! Sources: the field tables of the user guides of VPC Flow Logs, versions 2 to 11
//! (<https://docs.aws.amazon.com/vpc/latest/userguide/flow-log-records.html>), and of Transit Gateway Flow Logs, versions 2 to 6
//! (<https://docs.aws.amazon.com/vpc/latest/tgw/tgw-flow-logs.html#flow-log-records>).

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

/// The service that writes a flow log. Each has its own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowKind {
    /// VPC Flow Logs.
    Vpc,
    /// Transit Gateway Flow Logs.
    TransitGateway,
}

impl FlowKind {
    /// The `kind` of a rule's format.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Vpc => "vpc-flow",
            Self::TransitGateway => "tgw-flow",
        }
    }

    /// Returns all fields, in AWS's order.
    #[must_use]
    pub fn fields(self) -> &'static [FlowField] {
        match self {
            Self::Vpc => FLOW_FIELDS,
            Self::TransitGateway => TGW_FIELDS,
        }
    }

    /// Returns the fields of AWS's default format: version 2 for a VPC, all fields for a transit gateway.
    #[must_use]
    pub fn default_fields(self) -> &'static [FlowField] {
        match self {
            Self::Vpc => &FLOW_FIELDS[..DEFAULT_FIELDS],
            Self::TransitGateway => TGW_FIELDS,
        }
    }

    /// Returns the field of AWS's name.
    #[must_use]
    pub fn field(self, name: &str) -> Option<&'static FlowField> {
        self.fields().iter().find(|field| field.name == name)
    }

    /// Returns the other kind.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Vpc => Self::TransitGateway,
            Self::TransitGateway => Self::Vpc,
        }
    }
}

macro_rules! fields {
    ($(#[$doc:meta])* $table:ident: $($name:literal $column:literal $version:literal $kind:ident;)*) => {
        $(#[$doc])*
        pub const $table: &[FlowField] = &[$(FlowField {
            name: $name, column: $column, since_version: $version, kind: FieldKind::$kind,
        }),*];
    };
}

fields! {
    /// All 54 fields of VPC Flow Logs, in AWS's order.
    FLOW_FIELDS:
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

fields! {
    /// All 36 fields of Transit Gateway Flow Logs, in the order of AWS's default format.
    TGW_FIELDS:
    "version" "version" 2 Int;
    "resource-type" "resource_type" 2 Text;
    "account-id" "account_id" 2 Text;
    "tgw-id" "tgw_id" 2 Text;
    "tgw-attachment-id" "tgw_attachment_id" 2 Text;
    "tgw-src-vpc-account-id" "tgw_src_vpc_account_id" 2 Text;
    "tgw-dst-vpc-account-id" "tgw_dst_vpc_account_id" 2 Text;
    "tgw-src-vpc-id" "tgw_src_vpc_id" 2 Text;
    "tgw-dst-vpc-id" "tgw_dst_vpc_id" 2 Text;
    "tgw-src-subnet-id" "tgw_src_subnet_id" 2 Text;
    "tgw-dst-subnet-id" "tgw_dst_subnet_id" 2 Text;
    "tgw-src-eni" "tgw_src_eni" 2 Text;
    "tgw-dst-eni" "tgw_dst_eni" 2 Text;
    "tgw-src-az-id" "tgw_src_az_id" 2 Text;
    "tgw-dst-az-id" "tgw_dst_az_id" 2 Text;
    "tgw-pair-attachment-id" "tgw_pair_attachment_id" 2 Text;
    "srcaddr" "srcaddr" 2 Address;
    "dstaddr" "dstaddr" 2 Address;
    "srcport" "srcport" 2 Int;
    "dstport" "dstport" 2 Int;
    "protocol" "protocol" 2 Int;
    "packets" "packets" 2 BigInt;
    "bytes" "bytes" 2 BigInt;
    "start" "start" 2 Seconds;
    "end" "end" 2 Seconds;
    "log-status" "log_status" 2 Text;
    "type" "type" 3 Text;
    "packets-lost-no-route" "packets_lost_no_route" 3 BigInt;
    "packets-lost-blackhole" "packets_lost_blackhole" 3 BigInt;
    "packets-lost-mtu-exceeded" "packets_lost_mtu_exceeded" 3 BigInt;
    "packets-lost-ttl-expired" "packets_lost_ttl_expired" 3 BigInt;
    "tcp-flags" "tcp_flags" 3 Int;
    "region" "region" 4 Text;
    "flow-direction" "flow_direction" 5 Text;
    "pkt-src-aws-service" "pkt_src_aws_service" 5 Text;
    "pkt-dst-aws-service" "pkt_dst_aws_service" 5 Text;
}

/// Number of leading fields of [`FLOW_FIELDS`] that form AWS's default format (version 2).
const DEFAULT_FIELDS: usize = 14;

/// Returns whether any kind of flow log has a field of this name.
#[must_use]
pub fn is_field(name: &str) -> bool {
    FlowKind::Vpc.field(name).or_else(|| FlowKind::TransitGateway.field(name)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_the_unique_names_with_underscores() {
        for kind in [FlowKind::Vpc, FlowKind::TransitGateway] {
            for (at, field) in kind.fields().iter().enumerate() {
                assert_eq!(field.column, field.name.replace('-', "_"));
                assert_eq!(kind.fields().iter().position(|other| other.name == field.name), Some(at));
            }
        }
        assert_eq!((FLOW_FIELDS.len(), TGW_FIELDS.len()), (54, 36));
        assert_eq!(FLOW_FIELDS[DEFAULT_FIELDS - 1].name, "log-status");
        assert!(FlowKind::Vpc.default_fields().iter().all(|field| field.since_version == 2));
    }

    #[test]
    fn a_column_of_both_kinds_has_the_same_type() {
        for field in TGW_FIELDS {
            if let Some(other) = FlowKind::Vpc.field(field.name) {
                assert_eq!(field.kind, other.kind, "{}", field.name);
            }
        }
    }
}
