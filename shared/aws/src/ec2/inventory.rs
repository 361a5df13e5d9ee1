//! The resources of one account in one region, and the names of its network interfaces.

use std::{collections::HashMap, fmt, time::SystemTime};

use flowherd_shared::{
    limits::MAX_INTERFACES,
    names::merge::{Named, Part, Reading},
};
use roxmltree::Document;

use super::{
    answer::{self, Interface, NamedResource},
    interface_name::InterfaceNames,
};
use crate::api::{ApiClient, ApiError, STS};

/// A kind of resource, with the action that lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// `DescribeInstances`.
    Instances,
    /// `DescribeNatGateways`.
    NatGateways,
    /// `DescribeVpcEndpoints`.
    Endpoints,
    /// `DescribeNetworkInterfaces`.
    Interfaces,
    /// `DescribeSubnets`.
    Subnets,
    /// `DescribeVpcs`.
    Vpcs,
}

impl Resource {
    fn action(self) -> &'static str {
        match self {
            Self::Instances => "DescribeInstances",
            Self::NatGateways => "DescribeNatGateways",
            Self::Endpoints => "DescribeVpcEndpoints",
            Self::Interfaces => "DescribeNetworkInterfaces",
            Self::Subnets => "DescribeSubnets",
            Self::Vpcs => "DescribeVpcs",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Instances => "instances",
            Self::NatGateways => "NAT gateways",
            Self::Endpoints => "VPC endpoints",
            Self::Interfaces => "network interfaces",
            Self::Subnets => "subnets",
            Self::Vpcs => "VPCs",
        })
    }
}

/// The names of one account in one region, and the parts that could not be read.
#[derive(Debug)]
pub struct Inventory {
    /// The names.
    pub reading: Reading,
    /// What could not be read, and why.
    pub failures: Vec<(Resource, ApiError)>,
}

/// The resources that give names to network interfaces; `None` for those that could not be read.
#[derive(Debug, Default)]
struct Owners {
    /// Name by instance, also of instances without a name.
    instances: Option<HashMap<String, Option<String>>>,
    /// Name by interface.
    nat_gateways: Option<HashMap<String, String>>,
    /// Name by interface.
    endpoints: Option<HashMap<String, String>>,
}

/// Reads all parts. A part that cannot be read does not stop the others.
pub(super) async fn read_inventory(client: &mut ApiClient) -> Result<Inventory, ApiError> {
    let at_ms = now_ms()?;
    let action = "GetCallerIdentity";
    let xml = client.call(STS, action).await?;
    let account = answer::account(&xml).map_err(|why| ApiError::Response { action, why })?;
    let reading = Reading { account, region: client.region.clone(), at_ms, ..Reading::default() };
    let mut inventory = Inventory { reading, failures: Vec::new() };
    let owners = Owners {
        instances: inventory
            .read(client, Resource::Instances, answer::instances, |(id, name)| vec![(id, name)])
            .await,
        nat_gateways: inventory.read(client, Resource::NatGateways, answer::nat_gateways, by_interface).await,
        endpoints: inventory.read(client, Resource::Endpoints, answer::endpoints, by_interface).await,
    };
    let interfaces = |interface| vec![owners.named(interface)];
    let interfaces = inventory.read(client, Resource::Interfaces, answer::interfaces, interfaces).await;
    let subnets = |subnet: answer::Subnet| {
        let name = subnet.name.unwrap_or_default();
        let (owner, vpc_id, cidrs) = (subnet.owner, subnet.vpc_id, subnet.cidrs);
        vec![(subnet.id, Named { name, owner, vpc_id, cidrs, ..Named::default() })]
    };
    let subnets = inventory.read(client, Resource::Subnets, answer::subnets, subnets).await;
    let vpcs = |vpc: answer::Vpc| {
        vec![(vpc.id, Named { name: vpc.name.unwrap_or_default(), owner: vpc.owner, ..Named::default() })]
    };
    let vpcs = inventory.read(client, Resource::Vpcs, answer::vpcs, vpcs).await;
    for (part, found) in [(Part::Interfaces, interfaces), (Part::Subnets, subnets), (Part::Vpcs, vpcs)] {
        if let Some(found) = found {
            inventory.reading.parts.insert(part, found.into_iter().collect());
        }
    }
    Ok(inventory)
}

impl Inventory {
    /// Reads all pages of a resource, or adds the failure. Only what `entries` returns stays in memory.
    async fn read<T, V>(
        &mut self,
        client: &mut ApiClient,
        resource: Resource,
        parse: fn(&Document<'_>) -> Result<Vec<T>, String>,
        entries: impl Fn(T) -> Vec<(String, V)>,
    ) -> Option<HashMap<String, V>> {
        let mut found = HashMap::new();
        let read = client.pages(resource.action(), |page| {
            found.extend(parse(page)?.into_iter().flat_map(&entries));
            if found.len() > MAX_INTERFACES {
                return Err(format!("more than {MAX_INTERFACES} {resource}"));
            }
            Ok(())
        });
        match read.await {
            Ok(()) => Some(found),
            Err(error) => {
                self.failures.push((resource, error));
                None
            }
        }
    }
}

fn by_interface(resource: NamedResource) -> Vec<(String, String)> {
    resource.interfaces.into_iter().map(|id| (id, resource.name.clone())).collect()
}

impl Owners {
    fn named(&self, interface: Interface) -> (String, Named) {
        let (name, is_provisional) = self.name(&interface);
        let Interface { id, owner, subnet_id, vpc_id, .. } = interface;
        (id, Named { name, is_provisional, owner, subnet_id, vpc_id, cidrs: Vec::new() })
    }

    fn name(&self, interface: &Interface) -> (String, bool) {
        let gateways = [&self.nat_gateways, &self.endpoints];
        let instance = interface.instance_id.as_deref();
        let instance_tag = instance.and_then(|id| self.instances.as_ref()?.get(id));
        let names = InterfaceNames {
            tag: interface.name.as_deref(),
            description: &interface.description,
            kind: &interface.kind,
            instance,
            instance_tag: instance_tag.map(Option::as_deref),
            gateway: gateways
                .into_iter()
                .flatten()
                .find_map(|names| names.get(&interface.id))
                .map(String::as_str),
            lacks_gateways: gateways.iter().any(|names| names.is_none()),
        };
        names.resolve()
    }
}

/// Returns the time in whole seconds, as milliseconds since 1970.
fn now_ms() -> Result<i64, ApiError> {
    let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(|_| ApiError::Clock)?;
    i64::try_from(time.as_secs()).ok().and_then(|seconds| seconds.checked_mul(1000)).ok_or(ApiError::Clock)
}
