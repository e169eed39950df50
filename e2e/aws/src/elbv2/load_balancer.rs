//! Application Load Balancers, from creation to deletion.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use super::lookup::{Kind, find_mut, resource};
use super::network::{self, Subnet};
use super::paging::{Page, Paging};
use super::placement::{Subnets, check_kind, invalid, security_groups};
use super::state::{LoadBalancer, Zone};
use super::tag::{self, Tag};
use super::{action, attribute, name};
use crate::call::Call;
use crate::fault::AwsError;
use crate::world::{Region, Scene, World};

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
        network::address(region, &interface, &ip_address_type)?;
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

/// "IPv6 target groups can only be used with dualstack load balancers."
/// Source: "Target groups for your Application Load Balancers", IP address type.
fn check_groups(region: &Region, arn: &str, ip_address_type: &str) -> Result<(), AwsError> {
    let used = region.elbv2.groups_of(arn);
    let mut used = used.iter().filter_map(|group| region.elbv2.target_groups.get(*group));
    if ip_address_type == "ipv4" && used.any(|group| group.ip_address_type == "ipv6") {
        return Err(invalid(action::ipv6_group_refused()));
    }
    Ok(())
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
    check_groups(region, &current.arn, &ip_address_type)?;
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
    for zone in &zones {
        network::address(region, &zone.interface, &ip_address_type)?;
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
    let current = region.elbv2.load_balancer(&input.load_balancer_arn)?.clone();
    let present = current.zones.iter().map(|zone| zone.subnet.as_str());
    check_kind(region, (&current.scheme, &input.ip_address_type), &current.vpc, present)?;
    check_groups(region, &current.arn, &input.ip_address_type)?;
    for zone in &current.zones {
        network::address(region, &zone.interface, &input.ip_address_type)?;
    }
    let found = find_mut(
        Kind::LoadBalancer,
        &mut region.elbv2.load_balancers,
        &input.load_balancer_arn,
    )?;
    found.ip_address_type.clone_from(&input.ip_address_type);
    Ok(json!({"IpAddressType": input.ip_address_type}))
}
