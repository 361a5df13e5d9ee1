//! Configuration items of AWS Config: the same form in configuration snapshots and configuration history files
//! (<https://docs.aws.amazon.com/config/latest/developerguide/example-s3-snapshot.html>,
//! <https://docs.aws.amazon.com/config/latest/APIReference/API_ConfigurationItem.html>). The fields of `configuration` are those
//! of <https://github.com/awslabs/aws-config-resource-schema>.

use std::sync::Arc;

use serde_json::Value;

use super::{
    changes::{Change, Kind, Report, State},
    fields::{cidrs, list, name_tag, owned, text, time},
};

/// The resource types that are read.
const TYPES: [(&str, Kind); 6] = [
    ("AWS::EC2::NetworkInterface", Kind::Interface),
    ("AWS::EC2::Subnet", Kind::Subnet),
    ("AWS::EC2::VPC", Kind::Vpc),
    ("AWS::EC2::Instance", Kind::Instance),
    ("AWS::EC2::NatGateway", Kind::Gateway),
    ("AWS::EC2::VPCEndpoint", Kind::Gateway),
];

/// Returns whether a history file may have one of the types. Its name ends with the type, the time and a number
/// (<https://docs.aws.amazon.com/config/latest/developerguide/example-s3-history.html>).
pub(super) fn is_history_of_type(history: &str) -> bool {
    TYPES.iter().any(|(name, _)| history.strip_prefix(name).is_some_and(|rest| rest.starts_with('_')))
}

/// Returns the change that an item reports; `None` for other resource types, and for items without a configuration.
pub(super) fn report(item: &Value, now_ms: i64) -> Result<Vec<Report>, String> {
    let of_type = text(item, "/resourceType").and_then(|name| TYPES.iter().find(|(known, _)| *known == name));
    let Some((_, kind)) = of_type else { return Ok(Vec::new()) };
    let id = owned(item, "/resourceId").ok_or("has no resourceId")?;
    let at_ms = time(item, "configurationItemCaptureTime", now_ms).map_err(|why| format!("{id}: {why}"))?;
    let account = text(item, "/awsAccountId").or_else(|| text(item, "/accountId"));
    let account = text(item, "/configuration/ownerId").or(account);
    let account = account.ok_or_else(|| format!("{id}: has no awsAccountId"))?;
    let region = text(item, "/awsRegion").ok_or_else(|| format!("{id}: has no awsRegion"))?;
    let source: Arc<str> = format!("{account}/{region}").into();
    let change = match text(item, "/configurationItemStatus") {
        // https://docs.aws.amazon.com/config/latest/APIReference/API_ConfigurationItem.html
        Some("ResourceDeleted" | "ResourceDeletedNotRecorded") => Change::Deleted,
        _ if !item["configuration"].is_object() => return Ok(Vec::new()),
        _ => Change::Seen(Arc::new(state(item, *kind, &source))),
    };
    Ok(vec![Report { kind: *kind, id, at_ms, source, change }])
}

fn state(item: &Value, kind: Kind, source: &str) -> State {
    let configuration = &item["configuration"];
    let gateway_interfaces = list(configuration, "/natGatewayAddresses")
        .iter()
        .filter_map(|address| owned(address, "/networkInterfaceId"))
        .chain(
            list(configuration, "/networkInterfaceIds")
                .iter()
                .filter_map(|id| id.as_str().map(str::to_owned)),
        );
    let attachment = |key: &str| format!("/attachment/{key}");
    let is_interface = kind == Kind::Interface;
    State {
        source: source.to_owned(),
        tag: tag(item),
        description: match kind {
            Kind::Gateway => gateway_name(item),
            Kind::Interface => owned(configuration, "/description").unwrap_or_default(),
            Kind::Subnet | Kind::Vpc | Kind::Instance | Kind::Attachment => String::new(),
        },
        interface_kind: owned(configuration, "/interfaceType").filter(|_| is_interface).unwrap_or_default(),
        instance: owned(configuration, &attachment("instanceId")).filter(|_| is_interface),
        attachment: text(configuration, &attachment("attachmentId")).filter(|_| is_interface).map(Into::into),
        is_partial: false,
        ends_with_instance: is_interface
            && configuration.pointer(&attachment("deleteOnTermination")) == Some(&Value::Bool(true)),
        subnet_id: owned(configuration, "/subnetId").filter(|_| is_interface),
        vpc_id: owned(configuration, "/vpcId").filter(|_| is_interface || kind == Kind::Subnet),
        cidrs: if kind == Kind::Subnet { cidrs(configuration) } else { Vec::new() },
        interfaces: if kind == Kind::Gateway { gateway_interfaces.collect() } else { Vec::new() },
        created: time(item, "resourceCreationTime", i64::MAX).ok(),
    }
}

/// `tags` is an object in items of snapshots. The API has a list.
fn tag(item: &Value) -> Option<String> {
    match &item["tags"] {
        Value::Object(tags) => {
            tags.get("Name").and_then(Value::as_str).filter(|name| !name.is_empty()).map(str::to_owned)
        }
        Value::Array(tags) => name_tag(tags),
        _ => name_tag(list(item, "/configuration/tags")),
    }
}

/// Returns the name of a gateway without a tag, as a refresh gives it.
fn gateway_name(item: &Value) -> String {
    let id = text(item, "/resourceId").unwrap_or_default();
    match text(item, "/configuration/serviceName") {
        Some(service) => format!("{id} {service}"),
        None => id.to_owned(),
    }
}
