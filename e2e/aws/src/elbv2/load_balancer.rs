//! Application Load Balancers: where they stand and who may reach them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use super::lookup::{Kind, find_mut, resource};
use super::network::{self, Subnet};
use super::paging::{Page, Paging};
use super::state::{LoadBalancer, Zone};
use super::tag::{self, Tag};
use super::{attribute, name};
use crate::call::Call;
use crate::fault::AwsError;
use crate::world::{Region, Scene, World};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SubnetMapping {
    subnet_id: Option<String>,
    allocation_id: Option<String>,
}

/// The two ways in which subnets can be given.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Subnets {
    subnets: Option<Vec<String>>,
    subnet_mappings: Option<Vec<SubnetMapping>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Create {
    name: String,
    #[serde(flatten)]
    subnets: Subnets,
    security_groups: Option<Vec<String>>,
    scheme: Option<String>,
    #[serde(rename = "Type")]
    kind: Option<String>,
    ip_address_type: Option<String>,
    tags: Option<Vec<Tag>>,
}

fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::new("InvalidConfigurationRequest", message)
}

impl Subnets {
    /// The subnets, one per zone, in two zones at least, all in one VPC; sorted by zone.
    fn check(self, region: &Region) -> Result<Vec<Subnet>, AwsError> {
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
fn security_groups(region: &Region, vpc: &str, given: Option<Vec<String>>) -> Result<Vec<String>, AwsError> {
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
fn check_kind<'a>(
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

/// `CreateLoadBalancer`.
pub(super) fn create(world: &mut World, call: &Call, input: Create) -> Result<Value, AwsError> {
    let Scene { region, ids, options } = world.scene(call);
    if let Some(kind) = input.kind.as_deref().filter(|kind| *kind != "application") {
        return Err(AwsError::validation(format!(
            "The double has no load balancers of type '{kind}', only 'application'"
        )));
    }
    name::check("Load balancer", &input.name)?;
    if input.name.starts_with("internal-") {
        return Err(AwsError::validation(format!(
            "Load balancer name '{}' cannot begin with 'internal-'",
            input.name
        )));
    }
    let tags = tag::checked(input.tags.unwrap_or_default(), None)?;
    let subnets = input.subnets.check(region)?;
    let vpc = subnets[0].vpc.clone();
    let groups = security_groups(region, &vpc, input.security_groups)?;
    let scheme = input.scheme.unwrap_or_else(|| "internet-facing".to_owned());
    let ip_address_type = input.ip_address_type.unwrap_or_else(|| "ipv4".to_owned());
    if let Some(found) = region
        .elbv2
        .load_balancers
        .values()
        .find(|found| found.name == input.name)
    {
        let places = |all: Vec<&str>| all.into_iter().map(str::to_owned).collect::<BTreeSet<String>>();
        let same = places(found.zones.iter().map(|zone| zone.subnet.as_str()).collect())
            == places(subnets.iter().map(|subnet| subnet.id.as_str()).collect())
            && places(found.security_groups.iter().map(String::as_str).collect())
                == places(groups.iter().map(String::as_str).collect())
            && (&found.scheme, &found.ip_address_type) == (&scheme, &ip_address_type);
        if !same {
            let message = format!(
                "A load balancer with the same name '{}' exists, but with different settings",
                input.name
            );
            return Err(AwsError::new("DuplicateLoadBalancerName", message));
        }
        return Ok(json!({"LoadBalancers": [found.described(call)]}));
    }
    let wanted = subnets.iter().map(|subnet| subnet.id.as_str());
    check_kind(region, (&scheme, &ip_address_type), &vpc, wanted)?;
    let most = region.elbv2.quota("application-load-balancers");
    if region.elbv2.load_balancers.len() >= most {
        let message = format!("The maximum number of load balancers '{most}' has been reached");
        return Err(AwsError::new("TooManyLoadBalancers", message));
    }
    subnets.iter().try_for_each(network::check_free_addresses)?;
    let arn = call.arn(
        "elasticloadbalancing",
        &format!("loadbalancer/app/{}/{}", input.name, ids.hex(16)),
    );
    let dns_name = name::dns(
        &input.name,
        100_000_000 + ids.below(2_000_000_000),
        &call.region,
        &scheme,
    );
    let mut zones = Vec::new();
    for subnet in subnets {
        let interface = network::attach(region, ids, call, &subnet, &groups, resource(&arn))?;
        zones.push(Zone {
            name: subnet.zone,
            subnet: subnet.id,
            interface,
        });
    }
    let load_balancer = LoadBalancer {
        arn: arn.clone(),
        name: input.name,
        dns_name,
        attributes: attribute::of_load_balancer(&scheme),
        scheme,
        vpc,
        zones,
        security_groups: groups,
        ip_address_type,
        created: call.now,
        active_at: call.now + options.provisioning,
    };
    let answer = json!({"LoadBalancers": [load_balancer.described(call)]});
    region.elbv2.tags.insert(arn.clone(), tags);
    region.elbv2.load_balancers.insert(arn, load_balancer);
    Ok(answer)
}

impl LoadBalancer {
    fn described(&self, call: &Call) -> Value {
        let state = if self.is_active(call.now) {
            "active"
        } else {
            "provisioning"
        };
        json!({
            "LoadBalancerArn": self.arn,
            "DNSName": self.dns_name,
            "CanonicalHostedZoneId": name::hosted_zone(&call.region),
            "CreatedTime": self.created.to_string(),
            "LoadBalancerName": self.name,
            "Scheme": self.scheme,
            "VpcId": self.vpc,
            "State": {"Code": state},
            "Type": "application",
            "AvailabilityZones": self.described_zones(),
            "SecurityGroups": self.security_groups,
            "IpAddressType": self.ip_address_type,
        })
    }

    fn described_zones(&self) -> Vec<Value> {
        let described =
            |zone: &Zone| json!({"ZoneName": zone.name, "SubnetId": zone.subnet, "LoadBalancerAddresses": []});
        self.zones.iter().map(described).collect()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Describe {
    load_balancer_arns: Option<Vec<String>>,
    names: Option<Vec<String>>,
    #[serde(flatten)]
    paging: Paging,
}

/// `DescribeLoadBalancers`.
pub(super) fn describe(world: &mut World, call: &Call, input: Describe) -> Result<Value, AwsError> {
    let state = &world.region(call).elbv2;
    let (arns, names) = (
        input.load_balancer_arns.unwrap_or_default(),
        input.names.unwrap_or_default(),
    );
    if !arns.is_empty() && !names.is_empty() {
        return Err(AwsError::validation(
            "Load balancer ARNs and names cannot both be specified",
        ));
    }
    if arns.len() > 20 {
        return Err(AwsError::validation(
            "Cannot have more than 20 load balancers described",
        ));
    }
    for arn in &arns {
        Kind::LoadBalancer.check(arn)?;
        if !state.load_balancers.contains_key(arn) {
            return Err(Kind::LoadBalancer.some_missing());
        }
    }
    let missing = |name: &&String| !state.load_balancers.values().any(|found| found.name == **name);
    let missing: Vec<&str> = names.iter().filter(missing).map(String::as_str).collect();
    if !missing.is_empty() {
        return Err(AwsError::new(
            "LoadBalancerNotFound",
            format!("Load balancers '[{}]' not found", missing.join(", ")),
        ));
    }
    let chosen = state.load_balancers.values().filter(|found| {
        (arns.is_empty() || arns.contains(&found.arn)) && (names.is_empty() || names.contains(&found.name))
    });
    let Page { items, next } = input
        .paging
        .page(chosen.map(|found| (found.arn.clone(), found)).collect())?;
    let described: Vec<Value> = items.into_iter().map(|found| found.described(call)).collect();
    Ok(json!({"LoadBalancers": described, "NextMarker": next}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Delete {
    load_balancer_arn: String,
}

/// `DeleteLoadBalancer`. "If the load balancer does not exist or has already been deleted, the call succeeds."
pub(super) fn delete(world: &mut World, call: &Call, input: &Delete) -> Result<Value, AwsError> {
    let Scene { region, options, .. } = world.scene(call);
    let arn = &input.load_balancer_arn;
    Kind::LoadBalancer.check(arn)?;
    let Some(found) = region.elbv2.load_balancers.get(arn) else {
        return Ok(json!({}));
    };
    if found
        .attributes
        .get("deletion_protection.enabled")
        .is_some_and(|value| value == "true")
    {
        let message = format!("Load balancer '{arn}' cannot be deleted because deletion protection is enabled");
        return Err(AwsError::new("OperationNotPermitted", message));
    }
    for zone in found.zones.clone() {
        network::detach(region, call, &zone.interface, options.interface_linger);
    }
    let listeners: Vec<String> = region
        .elbv2
        .listeners_of(arn)
        .map(|listener| listener.arn.clone())
        .collect();
    for listener in listeners {
        region.elbv2.remove_listener(&listener);
    }
    region.elbv2.load_balancers.remove(arn);
    region.elbv2.tags.remove(arn);
    region.elbv2.refresh_use(arn, call.now);
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SetSubnets {
    load_balancer_arn: String,
    #[serde(flatten)]
    subnets: Subnets,
    ip_address_type: Option<String>,
}

/// `SetSubnets`: "The specified subnets replace the previously enabled subnets."
pub(super) fn set_subnets(world: &mut World, call: &Call, input: SetSubnets) -> Result<Value, AwsError> {
    let Scene { region, ids, options } = world.scene(call);
    let current = region.elbv2.load_balancer(&input.load_balancer_arn)?.clone();
    let subnets = input.subnets.check(region)?;
    if subnets[0].vpc != current.vpc {
        return Err(invalid(format!("The subnets must belong to VPC '{}'", current.vpc)));
    }
    let ip_address_type = input.ip_address_type.unwrap_or_else(|| current.ip_address_type.clone());
    let wanted = subnets.iter().map(|subnet| subnet.id.as_str());
    check_kind(region, (&current.scheme, &ip_address_type), &current.vpc, wanted)?;
    let before: BTreeMap<&str, &Zone> = current.zones.iter().map(|zone| (zone.subnet.as_str(), zone)).collect();
    let fresh = |subnet: &&Subnet| !before.contains_key(subnet.id.as_str());
    subnets
        .iter()
        .filter(fresh)
        .try_for_each(network::check_free_addresses)?;
    let mut zones = Vec::new();
    for subnet in &subnets {
        let zone = match before.get(subnet.id.as_str()) {
            Some(zone) => (*zone).clone(),
            None => {
                let interface = network::attach(
                    region,
                    ids,
                    call,
                    subnet,
                    &current.security_groups,
                    resource(&current.arn),
                )?;
                Zone {
                    name: subnet.zone.clone(),
                    subnet: subnet.id.clone(),
                    interface,
                }
            }
        };
        zones.push(zone);
    }
    for gone in current.zones.iter().filter(|zone| !zones.contains(zone)) {
        network::detach(region, call, &gone.interface, options.interface_linger);
    }
    let found = find_mut(
        Kind::LoadBalancer,
        &mut region.elbv2.load_balancers,
        &input.load_balancer_arn,
    )?;
    (found.zones, found.ip_address_type) = (zones, ip_address_type);
    Ok(json!({"AvailabilityZones": found.described_zones(), "IpAddressType": found.ip_address_type}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SetSecurityGroups {
    load_balancer_arn: String,
    security_groups: Vec<String>,
}

/// `SetSecurityGroups`.
pub(super) fn set_security_groups(world: &mut World, call: &Call, input: SetSecurityGroups) -> Result<Value, AwsError> {
    let region = world.region(call);
    let current = region.elbv2.load_balancer(&input.load_balancer_arn)?.clone();
    if input.security_groups.is_empty() {
        return Err(AwsError::validation("At least one security group must be specified"));
    }
    let groups = security_groups(region, &current.vpc, Some(input.security_groups))?;
    for zone in &current.zones {
        network::protect(region, &zone.interface, &groups);
    }
    let found = find_mut(
        Kind::LoadBalancer,
        &mut region.elbv2.load_balancers,
        &input.load_balancer_arn,
    )?;
    found.security_groups.clone_from(&groups);
    Ok(json!({"SecurityGroupIds": groups}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct SetIpAddressType {
    load_balancer_arn: String,
    ip_address_type: String,
}

/// `SetIpAddressType`.
pub(super) fn set_ip_address_type(world: &mut World, call: &Call, input: SetIpAddressType) -> Result<Value, AwsError> {
    let region = world.region(call);
    let current = region.elbv2.load_balancer(&input.load_balancer_arn)?;
    let present = current.zones.iter().map(|zone| zone.subnet.as_str());
    check_kind(region, (&current.scheme, &input.ip_address_type), &current.vpc, present)?;
    let found = find_mut(
        Kind::LoadBalancer,
        &mut region.elbv2.load_balancers,
        &input.load_balancer_arn,
    )?;
    found.ip_address_type.clone_from(&input.ip_address_type);
    Ok(json!({"IpAddressType": input.ip_address_type}))
}
