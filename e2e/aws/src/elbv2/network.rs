//! What elbv2 asks of the other services: the one place that names them.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::state::LoadBalancer;
use crate::call::Call;
use crate::ec2::state::{InstanceState, Interface, NewInterface};
use crate::fault::AwsError;
use crate::ids::Ids;
use crate::world::Region;

/// A subnet as far as a load balancer cares.
#[derive(Clone, Debug)]
pub(super) struct Subnet {
    pub id: String,
    pub vpc: String,
    pub zone: String,
    pub free_addresses: usize,
}

/// An instance as far as a target group cares.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    pub vpc: String,
    pub zone: String,
    pub running: bool,
    /// The primary IPv6 address of its primary interface.
    pub primary_ipv6: Option<Ipv6Addr>,
}

pub(super) fn has_vpc(region: &Region, id: &str) -> bool {
    region.ec2.vpcs.contains_key(id)
}

pub(super) fn subnet(region: &Region, id: &str) -> Option<Subnet> {
    let found = region.ec2.subnet(id)?;
    Some(Subnet {
        id: id.to_owned(),
        vpc: found.vpc.clone(),
        zone: found.zone.clone(),
        free_addresses: region.ec2.free_addresses(id),
    })
}

/// "ELB requires at least 8 free IP addresses in each subnet." Source: "Subnets for your load balancer", Application Load
/// Balancers user guide.
pub(super) fn check_free_addresses(subnet: &Subnet) -> Result<(), AwsError> {
    if subnet.free_addresses >= 8 {
        return Ok(());
    }
    let message = format!(
        "Not enough IP space available in {}. ELB requires at least 8 free IP addresses in each subnet.",
        subnet.id
    );
    Err(AwsError::new("InvalidSubnet", message))
}

pub(super) fn has_ipv6(region: &Region, subnet: &str) -> bool {
    region.ec2.subnet(subnet).is_some_and(|subnet| subnet.ipv6.is_some())
}

/// The zone of the VPC's subnet that an address lies in.
pub(super) fn zone_of(region: &Region, vpc: &str, address: IpAddr) -> Option<String> {
    let (_, subnet) = region.ec2.subnet_of(vpc, address)?;
    Some(subnet.zone.clone())
}

pub(super) fn has_internet_gateway(region: &Region, vpc: &str) -> bool {
    region.ec2.has_internet_gateway(vpc)
}

pub(super) fn vpc_of_security_group<'a>(region: &'a Region, id: &str) -> Option<&'a str> {
    region.ec2.security_group(id).map(|group| group.vpc.as_str())
}

pub(super) fn default_security_group(region: &Region, vpc: &str) -> Option<String> {
    region.ec2.default_security_group(vpc).map(str::to_owned)
}

pub(super) fn instance(region: &Region, id: &str) -> Option<Instance> {
    let found = region.ec2.instance(id)?;
    Some(Instance {
        primary_ipv6: region.primary_ipv6(id),
        vpc: found.vpc.clone(),
        zone: found.zone.clone(),
        running: found.state == InstanceState::Running,
    })
}

/// Gives a load balancer a network interface in a subnet; `name` is `app/NAME/ID`. It gets an IPv6 address by [`address`].
pub(super) fn attach(
    region: &mut Region,
    ids: &mut Ids,
    call: &Call,
    subnet: &Subnet,
    groups: &[String],
    name: &str,
) -> Result<String, AwsError> {
    let new = NewInterface {
        subnet: subnet.id.clone(),
        description: format!("ELB {name}"),
        groups: groups.to_vec(),
        requester: Some("amazon-elb".to_owned()),
        ..NewInterface::default()
    };
    region.ec2.settle(call.now);
    region.ec2.create_interface(ids, new, call.now)
}

/// Takes a load balancer's network interface away; it stays visible for a while.
pub(super) fn detach(region: &mut Region, call: &Call, interface: &str, linger: Duration) {
    let gone_at = call.now.saturating_add(linger).unwrap_or(call.now);
    region.ec2.release_interface(interface, gone_at);
}

/// Gives the network interface of a load balancer the addresses that go with its IP address type.
pub(super) fn address(region: &mut Region, interface: &str, ip_address_type: &str) -> Result<(), AwsError> {
    region.ec2.set_interface_ipv6(interface, ip_address_type != "ipv4")
}

/// Puts a network interface into other security groups.
pub(super) fn protect(region: &mut Region, interface: &str, groups: &[String]) {
    region.ec2.set_interface_groups(interface, groups);
}

impl Region {
    /// The primary IPv6 address of an instance, as which it can be an IPv6 target.
    pub(crate) fn primary_ipv6(&self, instance: &str) -> Option<Ipv6Addr> {
        let is_primary = |interface: &&Interface| {
            let mut attachment = interface.attachment.iter();
            attachment.any(|at| at.instance.as_deref() == Some(instance) && at.device_index == 0)
        };
        let primary = self.ec2.interfaces.values().find(is_primary)?;
        primary.ipv6.first().copied().filter(|_| primary.primary_ipv6)
    }

    /// The private addresses of a load balancer's nodes and then their IPv6 addresses, in the order of their zones.
    pub(crate) fn node_addresses<'a>(&'a self, load_balancer: &'a LoadBalancer) -> impl Iterator<Item = IpAddr> {
        let nodes = load_balancer.zones.iter();
        let interfaces = nodes.filter_map(|node| self.ec2.interfaces.get(&node.interface));
        let v4 = interfaces
            .clone()
            .filter_map(|interface| Some(IpAddr::V4(*interface.addresses.first()?)));
        v4.chain(interfaces.filter_map(|interface| Some(IpAddr::V6(*interface.ipv6.first()?))))
    }

    /// The addresses that the DNS name of a load balancer stands for. Source: "IP address type", Application Load Balancers
    /// user guide: without public IPv4, clients connect over IPv6.
    pub(crate) fn named_addresses<'a>(&'a self, load_balancer: &'a LoadBalancer) -> impl Iterator<Item = IpAddr> {
        let only_ipv6 = load_balancer.ip_address_type == "dualstack-without-public-ipv4";
        self.node_addresses(load_balancer)
            .filter(move |address| address.is_ipv6() || !only_ipv6)
    }
}

/// Whether a certificate is issued; none if it does not exist.
pub(super) fn certificate(region: &Region, arn: &str) -> Option<bool> {
    let found = region.acm.certificates.get(arn)?;
    Some(found.issued.is_some())
}
