//! All questions: their files, and what each reads and takes.
//!
//! `format!` checks at compile time that a file uses exactly the values that its entry lists.

use super::{
    Parameter::{AtLeast, Interface, Ip, Limit, Port, Run},
    Question, Source,
};

macro_rules! question {
    ($name:literal, $source:ident, needs $needed:expr, takes $optional:expr, columns $columns:expr, $($value:ident)*) => {
        Question {
            name: $name,
            text: include_str!(concat!($name, ".sql")),
            source: Source::$source,
            needed: $needed,
            optional: $optional,
            columns: $columns,
            render: |values| format!(include_str!(concat!($name, ".sql")), $($value = values.$value),*),
        }
    };
}

/// The columns of questions that only `[[enrich]]` adds.
pub(super) const ADDED_COLUMNS: [&str; 6] =
    ["dstaddr_as_org", "dstaddr_asn", "dstaddr_country", "srcaddr_as_org", "srcaddr_asn", "srcaddr_country"];

/// All questions, in the order of `flowherd query --list`.
#[rustfmt::skip]
pub const QUESTIONS: &[Question] = &[
    question!(
        "top-talkers", Flows, needs &[], takes &[Ip, Port, Limit],
        columns &["bytes", "dst_subnet_name", "dstaddr", "dstport", "interface_id", "packets", "src_subnet_name", "srcaddr", "srcport", "timestamp"],
        flows and_either_ip and_is_port limit
    ),
    question!(
        "who-talked-to", Flows, needs &[Ip], takes &[Port, Limit],
        columns &["action", "bytes", "dst_subnet_name", "dstaddr", "dstport", "protocol_name", "src_subnet_name", "srcaddr", "srcport", "timestamp"],
        flows src_is_ip dst_is_ip and_is_port limit
    ),
    question!(
        "connections-to-port", Flows, needs &[Port], takes &[Ip, Limit],
        columns &["action", "bytes", "dst_subnet_name", "dstaddr", "dstport", "protocol_name", "src_subnet_name", "srcaddr", "timestamp"],
        flows port and_dst_ip limit
    ),
    question!(
        "rejected-by-port", Flows, needs &[], takes &[Ip, Port, Limit],
        columns &["action", "dstaddr", "dstport", "protocol_name", "srcaddr", "timestamp"],
        flows and_dst_ip and_to_port limit
    ),
    question!(
        "rejected-by-source", Flows, needs &[], takes &[Ip, Port, Limit],
        columns &["action", "dstaddr", "dstport", "src_subnet_name", "srcaddr", "timestamp"],
        flows and_src_ip and_to_port limit
    ),
    question!(
        "lateral-movement", Flows, needs &[Ip], takes &[Port, Limit],
        columns &["action", "bytes", "dst_subnet_name", "dstaddr", "dstport", "packets", "src_subnet_name", "srcaddr", "timestamp"],
        flows inner_src inner_dst src_is_ip dst_is_ip port limit
    ),
    question!(
        "long-lived-flows", Flows, needs &[], takes &[Ip, Port, AtLeast(60), Limit],
        columns &["action", "bytes", "dstaddr", "dstport", "protocol_name", "srcaddr", "srcport", "timestamp"],
        flows and_either_ip and_is_port at_least limit
    ),
    question!(
        "bytes-out", Flows, needs &[], takes &[Ip, Port, Limit],
        columns &["action", "bytes", "dst_subnet_name", "dstaddr", "dstport", "interface_id", "packets", "src_subnet_name", "srcaddr", "timestamp"],
        flows inner_src inner_dst and_src_ip and_to_port limit
    ),
    question!(
        "new-destinations", FlowsAndBefore, needs &[], takes &[Ip, Port, Limit],
        columns &["action", "bytes", "dst_subnet_name", "dstaddr", "dstport", "src_subnet_name", "srcaddr", "srcport", "timestamp"],
        flows before inner_src inner_dst and_src_ip and_to_port limit
    ),
    question!(
        "port-scans", Flows, needs &[], takes &[Ip, AtLeast(20), Limit],
        columns &["action", "dstaddr", "dstport", "packets", "srcaddr", "srcport", "timestamp"],
        flows and_either_ip at_least limit
    ),
    question!(
        "coverage-gaps", Flows, needs &[], takes &[Interface, Limit],
        columns &["interface_description", "interface_id", "log_status", "timestamp"],
        flows interface limit
    ),
    question!(
        "duplicates", Flows, needs &[], takes &[Limit],
        columns &["action", "bytes", "dstaddr", "dstport", "interface_id", "packets", "protocol_name", "srcaddr", "srcport", "timestamp"],
        flows limit
    ),
    question!(
        "traffic-by-country", Flows, needs &[], takes &[Ip, Port, Limit],
        columns &["action", "bytes", "dst_subnet_name", "dstaddr", "dstaddr_country", "dstport", "src_subnet_name", "srcaddr", "srcaddr_country", "srcport", "timestamp"],
        flows inner_src inner_dst and_either_ip and_is_port limit
    ),
    question!(
        "traffic-by-network", Flows, needs &[], takes &[Ip, Port, Limit],
        columns &["action", "bytes", "dst_subnet_name", "dstaddr", "dstaddr_as_org", "dstaddr_asn", "dstport", "src_subnet_name", "srcaddr", "srcaddr_as_org", "srcaddr_asn", "srcport", "timestamp"],
        flows inner_src inner_dst and_either_ip and_is_port limit
    ),
    question!(
        "rejected-records", Rejects, needs &[], takes &[Limit],
        columns &[],
        rejects limit
    ),
    question!(
        "missing-objects", Ledger, needs &[Run], takes &[Limit],
        columns &[],
        run limit
    ),
];
