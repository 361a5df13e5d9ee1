//! The XML of the responses of EC2 and STS. Each function cites the page of its action.

use roxmltree::{Document, Node};

use crate::api::parse;

/// A network interface.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) description: String,
    pub(super) kind: String,
    pub(super) instance_id: Option<String>,
    pub(super) owner: Option<String>,
    pub(super) subnet_id: Option<String>,
    pub(super) vpc_id: Option<String>,
}

/// A subnet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Subnet {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) owner: Option<String>,
    pub(super) vpc_id: Option<String>,
    pub(super) cidrs: Vec<String>,
}

/// A VPC.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Vpc {
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) owner: Option<String>,
}

/// A resource that gives its name to network interfaces.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NamedResource {
    pub(super) interfaces: Vec<String>,
    pub(super) name: String,
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_NetworkInterface.html>
pub(super) fn interfaces(page: &Document<'_>) -> Result<Vec<Interface>, String> {
    items(page, "networkInterfaceSet", |item| {
        Ok(Interface {
            id: id(item, "networkInterfaceId")?,
            name: name_tag(item),
            description: text(item, "description").unwrap_or_default(),
            kind: text(item, "interfaceType").unwrap_or_default(),
            instance_id: child(item, "attachment").and_then(|attachment| text(attachment, "instanceId")),
            owner: text(item, "ownerId"),
            subnet_id: text(item, "subnetId"),
            vpc_id: text(item, "vpcId"),
        })
    })
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Subnet.html>
pub(super) fn subnets(page: &Document<'_>) -> Result<Vec<Subnet>, String> {
    items(page, "subnetSet", |item| {
        let is_associated = |block: &Node<'_, '_>| {
            let state = child(*block, "ipv6CidrBlockState").and_then(|state| text(state, "state"));
            state.as_deref() == Some("associated")
        };
        let v6 = list(item, "ipv6CidrBlockAssociationSet").filter(is_associated);
        let mut cidrs: Vec<String> = v6.filter_map(|block| text(block, "ipv6CidrBlock")).collect();
        // A subnet without IPv4 has none.
        cidrs.extend(text(item, "cidrBlock"));
        cidrs.sort();
        cidrs.dedup();
        Ok(Subnet {
            id: id(item, "subnetId")?,
            name: name_tag(item),
            owner: text(item, "ownerId"),
            vpc_id: text(item, "vpcId"),
            cidrs,
        })
    })
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Vpc.html>
pub(super) fn vpcs(page: &Document<'_>) -> Result<Vec<Vpc>, String> {
    items(page, "vpcSet", |item| {
        Ok(Vpc { id: id(item, "vpcId")?, name: name_tag(item), owner: text(item, "ownerId") })
    })
}

/// Returns id and name of each instance:
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Instance.html>.
pub(super) fn instances(page: &Document<'_>) -> Result<Vec<(String, Option<String>)>, String> {
    let reservations = items(page, "reservationSet", |reservation| {
        let instances = list(reservation, "instancesSet");
        let instances = instances.map(|instance| Ok((id(instance, "instanceId")?, name_tag(instance))));
        instances.collect::<Result<Vec<_>, String>>()
    })?;
    Ok(reservations.into_iter().flatten().collect())
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_NatGateway.html>
pub(super) fn nat_gateways(page: &Document<'_>) -> Result<Vec<NamedResource>, String> {
    items(page, "natGatewaySet", |item| {
        let addresses = list(item, "natGatewayAddressSet");
        Ok(NamedResource {
            interfaces: addresses.filter_map(|address| text(address, "networkInterfaceId")).collect(),
            name: name_tag(item).map_or_else(|| id(item, "natGatewayId"), Ok)?,
        })
    })
}

/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_VpcEndpoint.html>
pub(super) fn endpoints(page: &Document<'_>) -> Result<Vec<NamedResource>, String> {
    items(page, "vpcEndpointSet", |item| {
        let service = text(item, "serviceName").unwrap_or_default();
        let unnamed =
            || Ok::<_, String>(format!("{} {service}", id(item, "vpcEndpointId")?).trim_end().to_owned());
        Ok(NamedResource {
            interfaces: list(item, "networkInterfaceIdSet").filter_map(text_of).collect(),
            name: name_tag(item).map_or_else(unnamed, Ok)?,
        })
    })
}

/// Returns the account of the caller
/// (<https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html>).
pub(super) fn account(xml: &str) -> Result<String, String> {
    let document = parse(xml)?;
    let account = document.descendants().find(|node| node.tag_name().name() == "Account").and_then(text_of);
    account
        .filter(|account| account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit()))
        .ok_or_else(|| "the response has no Account of 12 digits".to_owned())
}

/// Reads each item of the response's list.
fn items<T>(
    page: &Document<'_>,
    set: &str,
    read: impl Fn(Node<'_, '_>) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let set = child(page.root_element(), set).ok_or_else(|| format!("the response has no {set}"))?;
    set.children().filter(Node::is_element).map(read).collect()
}

/// Returns the items of a list; none if the list is absent.
fn list<'a, 'i>(node: Node<'a, 'i>, set: &str) -> impl Iterator<Item = Node<'a, 'i>> {
    child(node, set).into_iter().flat_map(|set| set.children().filter(Node::is_element))
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children().find(|child| child.tag_name().name() == name)
}

/// Returns the text of a child; `None` if it is absent or empty.
fn text(node: Node<'_, '_>, name: &str) -> Option<String> {
    child(node, name).and_then(text_of)
}

fn text_of(node: Node<'_, '_>) -> Option<String> {
    node.text().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn id(node: Node<'_, '_>, name: &str) -> Result<String, String> {
    text(node, name).ok_or_else(|| format!("an item of the response has no {name}"))
}

fn name_tag(node: Node<'_, '_>) -> Option<String> {
    let tag = list(node, "tagSet").find(|tag| text(*tag, "key").as_deref() == Some("Name"));
    tag.and_then(|tag| text(tag, "value"))
}
