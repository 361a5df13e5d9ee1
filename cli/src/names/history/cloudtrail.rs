//! Events of CloudTrail (<https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html>).
//! `requestParameters` and `responseElements` have the members of EC2's API, with lists as `{"items": […]}`
//! (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/using-cloudtrail.html>).

use std::sync::Arc;

use serde_json::Value;

use super::{
    changes::{Change, Kind, Report, State},
    fields::{cidrs, list, name_tag, owned, text, time},
};

/// An event of EC2 that succeeded.
struct Event<'a> {
    request: &'a Value,
    response: &'a Value,
    at_ms: i64,
    account: &'a str,
    region: &'a str,
}

/// Returns the changes that an event reports; none for other events, and for requests that EC2 refused.
pub(super) fn report(record: &Value, now_ms: i64) -> Result<Vec<Report>, String> {
    if text(record, "/eventSource") != Some("ec2.amazonaws.com") || !record["errorCode"].is_null() {
        return Ok(Vec::new());
    }
    let Some(name) = text(record, "/eventName") else { return Ok(Vec::new()) };
    let Some(read) = reader(name) else { return Ok(Vec::new()) };
    let event = Event {
        request: &record["requestParameters"],
        response: &record["responseElements"],
        at_ms: time(record, "eventTime", now_ms).map_err(|why| format!("{name}: {why}"))?,
        account: text(record, "/recipientAccountId")
            .or_else(|| text(record, "/userIdentity/accountId"))
            .ok_or_else(|| format!("{name}: has no recipientAccountId"))?,
        region: text(record, "/awsRegion").ok_or_else(|| format!("{name}: has no awsRegion"))?,
    };
    Ok(read(&event))
}

/// Reads the changes of an event.
type ReadEvent = fn(&Event<'_>) -> Vec<Report>;

/// Returns the function that reads an event.
fn reader(name: &str) -> Option<ReadEvent> {
    let read: ReadEvent = match name {
        "CreateNetworkInterface" => {
            |event| event.created_interface(&event.response["networkInterface"], None)
        }
        "DeleteNetworkInterface" => {
            |event| event.deleted(Kind::Interface, &event.request["networkInterfaceId"])
        }
        "AttachNetworkInterface" => |event| event.attached(),
        "DetachNetworkInterface" => |event| event.detached(),
        "RunInstances" => |event| event.run(),
        "TerminateInstances" => |event| event.terminated(),
        "CreateTags" => |event| event.tagged(true),
        "DeleteTags" => |event| event.tagged(false),
        "CreateSubnet" | "CreateDefaultSubnet" => |event| event.created(Kind::Subnet, "subnet"),
        "DeleteSubnet" => |event| event.deleted(Kind::Subnet, &event.request["subnetId"]),
        "CreateVpc" | "CreateDefaultVpc" => |event| event.created(Kind::Vpc, "vpc"),
        "DeleteVpc" => |event| event.deleted(Kind::Vpc, &event.request["vpcId"]),
        _ => return None,
    };
    Some(read)
}

impl Event<'_> {
    /// Returns the account and region that own a resource.
    fn source(&self, resource: &Value) -> String {
        format!("{}/{}", text(resource, "/ownerId").unwrap_or(self.account), self.region)
    }

    fn report(&self, kind: Kind, id: &str, source: String, change: Change) -> Report {
        Report { kind, id: id.to_owned(), at_ms: self.at_ms, source: source.into(), change }
    }

    fn seen(&self, kind: Kind, id: &str, state: State) -> Report {
        let state = State { created: Some(self.at_ms), ..state };
        self.report(kind, id, state.source.clone(), Change::Seen(Arc::new(state)))
    }

    /// Reads a subnet or a VPC of the response.
    fn created(&self, kind: Kind, key: &str) -> Vec<Report> {
        let resource = &self.response[key];
        let Some(id) = text(resource, &format!("/{key}Id")) else { return Vec::new() };
        let state = State {
            source: self.source(resource),
            tag: name_tag(list(resource, "/tagSet")),
            vpc_id: owned(resource, "/vpcId").filter(|_| kind == Kind::Subnet),
            cidrs: if kind == Kind::Subnet { cidrs(resource) } else { Vec::new() },
            ..State::default()
        };
        vec![self.seen(kind, id, state)]
    }

    /// Reads an interface of the response, which may be that of a new instance.
    fn created_interface(&self, interface: &Value, instance: Option<&str>) -> Vec<Report> {
        let Some(id) = text(interface, "/networkInterfaceId") else { return Vec::new() };
        let deletes = interface.pointer("/attachment/deleteOnTermination") == Some(&Value::Bool(true));
        let state = State {
            source: self.source(interface),
            tag: name_tag(list(interface, "/tagSet")),
            description: owned(interface, "/description").unwrap_or_default(),
            interface_kind: owned(interface, "/interfaceType").unwrap_or_default(),
            instance: instance.map(str::to_owned),
            attachment: text(interface, "/attachment/attachmentId").map(Into::into),
            ends_with_instance: deletes,
            subnet_id: owned(interface, "/subnetId"),
            vpc_id: owned(interface, "/vpcId"),
            ..State::default()
        };
        vec![self.seen(Kind::Interface, id, state)]
    }

    fn deleted(&self, kind: Kind, id: &Value) -> Vec<Report> {
        let report = |id| self.report(kind, id, self.source(&Value::Null), Change::Deleted);
        id.as_str().map(report).into_iter().collect()
    }

    fn attached(&self) -> Vec<Report> {
        let [interface, instance] = ["/networkInterfaceId", "/instanceId"].map(|key| text(self.request, key));
        let (Some(interface), Some(instance)) = (interface, instance) else { return Vec::new() };
        let attachment = text(self.response, "/attachmentId").map(Into::into);
        let change = Change::Attached(instance.into(), attachment);
        vec![self.report(Kind::Interface, interface, self.source(&Value::Null), change)]
    }

    /// Reads the end of an attachment. The request has no other id
    /// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DetachNetworkInterface.html>), so the interface comes from the
    /// change that began the attachment.
    fn detached(&self) -> Vec<Report> {
        let Some(attachment) = text(self.request, "/attachmentId") else { return Vec::new() };
        let change = Change::Detached(attachment.into());
        vec![self.report(Kind::Attachment, attachment, self.source(&Value::Null), change)]
    }

    fn run(&self) -> Vec<Report> {
        let mut reports = Vec::new();
        for instance in list(self.response, "/instancesSet") {
            let Some(id) = text(instance, "/instanceId") else { continue };
            let state = State {
                source: self.source(self.response),
                tag: name_tag(list(instance, "/tagSet")),
                ..State::default()
            };
            reports.push(self.seen(Kind::Instance, id, state));
            for interface in list(instance, "/networkInterfaceSet") {
                reports.extend(self.created_interface(interface, Some(id)));
            }
        }
        reports
    }

    fn terminated(&self) -> Vec<Report> {
        let instances = list(self.request, "/instancesSet").iter().map(|instance| &instance["instanceId"]);
        instances.flat_map(|id| self.deleted(Kind::Instance, id)).collect()
    }

    /// Reads the tag `Name` of each resource. A `DeleteTags` without tags deletes all of them
    /// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteTags.html>).
    fn tagged(&self, is_set: bool) -> Vec<Report> {
        let tags = list(self.request, "/tagSet");
        let has_name = tags.iter().any(|tag| text(tag, "/key") == Some("Name"));
        if !has_name && (is_set || !tags.is_empty()) {
            return Vec::new();
        }
        let name: Option<Arc<str>> = name_tag(tags).filter(|_| is_set).map(Into::into);
        let resources =
            list(self.request, "/resourcesSet").iter().filter_map(|resource| text(resource, "/resourceId"));
        let tagged = |id: &str| {
            let change = Change::Tagged(name.clone());
            Some(self.report(kind_of(id)?, id, self.source(&Value::Null), change))
        };
        resources.filter_map(tagged).collect()
    }
}

/// Returns the kind of a resource by the prefix of its id
/// (<https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/resource-ids.html>).
fn kind_of(id: &str) -> Option<Kind> {
    Some(match id.split('-').next()? {
        "eni" => Kind::Interface,
        "subnet" => Kind::Subnet,
        "vpc" => Kind::Vpc,
        "i" => Kind::Instance,
        "nat" | "vpce" => Kind::Gateway,
        _ => return None,
    })
}
