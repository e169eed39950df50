//! Where a load balancer stands and who may reach it: subnets, security groups, scheme, address type.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::network::{self, Subnet};
use crate::fault::AwsError;
use crate::world::Region;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SubnetMapping {
    subnet_id: Option<String>,
    allocation_id: Option<String>,
}

/// The two ways in which subnets can be given.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Subnets {
    subnets: Option<Vec<String>>,
    subnet_mappings: Option<Vec<SubnetMapping>>,
}

/// `InvalidConfigurationRequest`.
pub(super) fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::new("InvalidConfigurationRequest", message)
}

impl Subnets {
    /// The subnets, one per zone, in two zones at least, all in one VPC; sorted by zone.
    pub fn check(self, region: &Region) -> Result<Vec<Subnet>, AwsError> {
        let ids = match (
            self.subnets.unwrap_or_default(),
            self.subnet_mappings.unwrap_or_default(),
        ) {
            (ids, mappings) if !ids.is_empty() && !mappings.is_empty() => {
                return Err(AwsError::validation(
                    "Subnets and subnet mappings cannot both be specified",
                ));
            }
            (_, mappings) if mappings.iter().any(|mapping| mapping.allocation_id.is_some()) => {
                return Err(invalid(
                    "Elastic IP addresses are not supported for load balancers with type 'application'",
                ));
            }
            (ids, mappings) => ids
                .into_iter()
                .chain(mappings.into_iter().filter_map(|mapping| mapping.subnet_id))
                .collect::<Vec<_>>(),
        };
        let mut subnets = Vec::new();
        for id in &ids {
            let found = network::subnet(region, id);
            let missing = || AwsError::new("SubnetNotFound", format!("The subnet ID '{id}' does not exist"));
            subnets.push(found.ok_or_else(missing)?);
        }
        subnets.sort_by(|one, other| (&one.zone, &one.id).cmp(&(&other.zone, &other.id)));
        subnets.dedup_by(|one, other| one.id == other.id);
        if subnets.iter().any(|subnet| subnet.vpc != subnets[0].vpc) {
            return Err(invalid(format!(
                "All subnets must belong to the same VPC: '{}'",
                ids.join(", ")
            )));
        }
        let zones: BTreeSet<&str> = subnets.iter().map(|subnet| subnet.zone.as_str()).collect();
        if zones.len() < subnets.len() {
            return Err(invalid(
                "A load balancer cannot be attached to multiple subnets in the same Availability Zone",
            ));
        }
        if zones.len() < 2 {
            return Err(AwsError::validation(
                "At least two subnets in two different Availability Zones must be specified",
            ));
        }
        Ok(subnets)
    }
}

/// The security groups of a load balancer, or the VPC's default one.
pub(super) fn security_groups(region: &Region, vpc: &str, given: Option<Vec<String>>) -> Result<Vec<String>, AwsError> {
    let mut groups = given.unwrap_or_default();
    if groups.is_empty() {
        groups.extend(network::default_security_group(region, vpc));
    }
    for group in &groups {
        match network::vpc_of_security_group(region, group) {
            None => {
                return Err(AwsError::new(
                    "InvalidSecurityGroup",
                    format!("The security group '{group}' does not exist"),
                ));
            }
            Some(other) if other != vpc => return Err(invalid("One or more security groups are invalid")),
            Some(_) => {}
        }
    }
    // Source: "Quotas for your Application Load Balancers": five security groups per load balancer.
    if groups.len() > 5 {
        return Err(invalid("A load balancer can have up to '5' security groups"));
    }
    Ok(groups)
}

/// Whether a load balancer of this kind can stand in these subnets: facing the internet it needs an internet gateway, with
/// IPv6 addresses it needs IPv6 blocks.
pub(super) fn check_kind<'a>(
    region: &Region,
    (scheme, ip_address_type): (&str, &str),
    vpc: &str,
    mut subnets: impl Iterator<Item = &'a str>,
) -> Result<(), AwsError> {
    let unfit = |message: String| Err(AwsError::new("InvalidSubnet", message));
    if scheme == "internet-facing" && !network::has_internet_gateway(region, vpc) {
        return unfit(format!("VPC {vpc} has no internet gateway"));
    }
    if scheme == "internal" && ip_address_type == "dualstack-without-public-ipv4" {
        return Err(invalid(format!(
            "IP address type '{ip_address_type}' is not supported for internal load balancers"
        )));
    }
    if ip_address_type != "ipv4" && !subnets.all(|subnet| network::has_ipv6(region, subnet)) {
        return unfit("You must specify subnets with an associated IPv6 CIDR block.".to_owned());
    }
    Ok(())
}
