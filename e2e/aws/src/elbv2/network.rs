//! What elbv2 asks of the other services: the one place that names them.

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::call::Call;
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
        free_addresses: 100,
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

pub(super) fn has_ipv6(_: &Region, _: &str) -> bool {
    false
}

/// The zone of the VPC's subnet that an address lies in.
pub(super) fn zone_of(region: &Region, vpc: &str, address: Ipv4Addr) -> Option<String> {
    let subnets = region.ec2.subnets.values().filter(|subnet| subnet.vpc == vpc);
    subnets
        .into_iter()
        .find(|subnet| subnet.cidr.contains(&address))
        .map(|subnet| subnet.zone.clone())
}

pub(super) fn has_internet_gateway(region: &Region, vpc: &str) -> bool {
    region.ec2.vpcs.get(vpc).is_some_and(|vpc| vpc.internet_gateway)
}

pub(super) fn vpc_of_security_group<'a>(region: &'a Region, id: &str) -> Option<&'a str> {
    region.ec2.security_groups.get(id).map(String::as_str)
}

pub(super) fn default_security_group(region: &Region, vpc: &str) -> Option<String> {
    region
        .ec2
        .security_groups
        .iter()
        .find(|(_, of)| *of == vpc)
        .map(|(id, _)| id.clone())
}

pub(super) fn instance(region: &Region, id: &str) -> Option<Instance> {
    let (vpc, zone, running) = region.ec2.instances.get(id)?.clone();
    Some(Instance { vpc, zone, running })
}

/// Gives a load balancer a network interface in a subnet; `name` is `app/NAME/ID`.
pub(super) fn attach(
    _: &mut Region,
    ids: &mut Ids,
    _: &Call,
    _: &Subnet,
    _: &[String],
    _: &str,
) -> Result<String, AwsError> {
    Ok(ids.ec2("eni"))
}

/// Takes a load balancer's network interface away; it stays visible for a while.
pub(super) fn detach(_: &mut Region, _: &Call, _: &str, _: Duration) {}

/// Puts a network interface into other security groups.
pub(super) fn protect(_: &mut Region, _: &str, _: &[String]) {}

/// Whether a certificate is issued; none if it does not exist.
pub(super) fn certificate(region: &Region, arn: &str) -> Option<bool> {
    region.acm.certificates.get(arn).copied()
}
