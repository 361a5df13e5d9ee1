//! The name of a network interface: its own, or that of what it belongs to.

/// Begin of the description of a load balancer's interface.
const BALANCER: &str = "ELB ";

/// What names an interface.
#[derive(Clone, Copy, Debug, Default)]
pub struct InterfaceNames<'a> {
    /// Its own `Name` tag.
    pub tag: Option<&'a str>,
    /// Its description.
    pub description: &'a str,
    /// Its type, such as `nat_gateway`.
    pub kind: &'a str,
    /// The id of the instance to which it is attached.
    pub instance: Option<&'a str>,
    /// The `Name` tag of that instance; the outer `None` if the instance is not known.
    pub instance_tag: Option<Option<&'a str>>,
    /// The name of the NAT gateway or VPC endpoint to which it belongs.
    pub gateway: Option<&'a str>,
    /// Whether the NAT gateways or the VPC endpoints could not be read.
    pub lacks_gateways: bool,
}

impl InterfaceNames<'_> {
    /// Returns the interface's own name, or else the name of what it belongs to, or else its description; and whether the
    /// name is provisional, because the resource that may have a better one was not read.
    #[must_use]
    pub fn resolve(&self) -> (String, bool) {
        if let Some(name) = self.tag {
            return (name.to_owned(), false);
        }
        if let Some(id) = self.instance {
            // An instance that is not known was started after the list was read, or belongs to another account.
            let name = self.instance_tag.flatten().unwrap_or(id);
            return (name.to_owned(), self.instance_tag.is_none());
        }
        if let Some(name) = self.gateway {
            return (name.to_owned(), false);
        }
        let is_of_balancer = self.description.starts_with(BALANCER);
        let is_provisional = !is_of_balancer && (self.lacks_gateways || self.has_gateway());
        (resource_name(self.description), is_provisional)
    }

    /// Returns whether the interface belongs to a NAT gateway or an endpoint, which names it. AWS documents the types as
    /// `nat_gateway` and `natGateway`, and shows endpoints with the type `interface`
    /// (<https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_NetworkInterface.html>,
    /// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeNetworkInterfaces.html>).
    fn has_gateway(&self) -> bool {
        let kind = self.kind.replace('_', "").to_ascii_lowercase();
        ["natgateway", "vpcendpoint", "gatewayloadbalancerendpoint"].contains(&&*kind)
            || ["Interface for NAT Gateway ", "VPC Endpoint Interface"]
                .iter()
                .any(|prefix| self.description.starts_with(prefix))
    }
}

/// Returns a description, or the type and name of the load balancer that it names: `ELB app/NAME/ID`, with `net` and `gwy`
/// alike, and `ELB NAME` for a Classic Load Balancer
/// (<https://repost.aws/knowledge-center/elb-find-load-balancer-ip>).
fn resource_name(description: &str) -> String {
    let Some(balancer) = description.strip_prefix(BALANCER) else { return description.to_owned() };
    let parts: Vec<&str> = balancer.split('/').collect();
    match &*parts {
        [kind @ ("app" | "net" | "gwy"), name, _] => format!("{kind}/{name}"),
        _ => balancer.to_owned(),
    }
}
