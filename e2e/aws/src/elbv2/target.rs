//! Registering and deregistering targets.

use std::net::{IpAddr, Ipv4Addr};

use serde::Deserialize;
use serde_json::{Value, json};

use super::lookup::{Kind, find_mut};
use super::network;
use super::state::{State, Target, TargetGroup, TargetKey};
use crate::call::Call;
use crate::fault::AwsError;
use crate::world::{Region, World};

/// A target as it comes in.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Description {
    id: String,
    port: Option<u16>,
    availability_zone: Option<String>,
}

impl Description {
    /// Which target of a group is meant.
    pub fn key(&self, group: &TargetGroup) -> TargetKey {
        TargetKey {
            id: self.id.clone(),
            port: self.port.unwrap_or(group.port),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Targets {
    target_group_arn: String,
    targets: Vec<Description>,
}

/// `RegisterTargets`.
pub(super) fn register(world: &mut World, call: &Call, input: &Targets) -> Result<Value, AwsError> {
    let region = world.region(call);
    let arn = &input.target_group_arn;
    let group = region.elbv2.target_group(arn)?;
    if input.targets.is_empty() {
        return Err(AwsError::validation("A target must be specified"));
    }
    check_instances(region, group, &input.targets)?;
    let mut targets = group.targets.clone();
    targets.retain(|_, target| !target.is_gone(group, call.now));
    for given in &input.targets {
        let zone = if group.target_type == "ip" {
            Some(zone_of_address(region, group, given)?)
        } else {
            None
        };
        let fresh = || Target {
            zone: zone.clone(),
            registered: call.now,
            deregistered: None,
            report: None,
            reported: None,
        };
        let target = targets.entry(given.key(group)).or_insert_with(fresh);
        // Registering a target again changes nothing, unless it was leaving.
        if target.deregistered.is_some() {
            *target = fresh();
        }
    }
    let present = targets.values().filter(|target| target.deregistered.is_none()).count();
    let most = region.elbv2.quota("targets-per-target-group");
    if present > most {
        let message =
            format!("The maximum number of targets per target group '{most}' has been reached on target group '{arn}'");
        return Err(AwsError::new("TooManyTargets", message));
    }
    // The quotas of the load balancer are checked against the world with these targets in it.
    let before = std::mem::replace(
        &mut find_mut(Kind::TargetGroup, &mut region.elbv2.target_groups, arn)?.targets,
        targets,
    );
    let state = &region.elbv2;
    let fits = match &state.target_group(arn)?.load_balancer {
        Some(user) => state.check_targets(user, state.groups_of(user).into_iter()),
        None => Ok(()),
    };
    if fits.is_err() {
        find_mut(Kind::TargetGroup, &mut region.elbv2.target_groups, arn)?.targets = before;
    }
    fits.map(|()| json!({}))
}

/// "If the target is an EC2 instance, it must be in the running state when you register it."
fn check_instances(region: &Region, group: &TargetGroup, targets: &[Description]) -> Result<(), AwsError> {
    if group.target_type != "instance" {
        return Ok(());
    }
    let quoted = |ids: Vec<&str>| ids.iter().map(|id| format!("'{id}'")).collect::<Vec<_>>().join(", ");
    let (mut strange, mut idle, mut without_ipv6) = (Vec::new(), Vec::new(), Vec::new());
    for Description { id, .. } in targets {
        if !id.starts_with("i-") {
            return Err(AwsError::validation(format!("Instance ID '{id}' is not valid")));
        }
        match network::instance(region, id) {
            Some(instance) if instance.vpc != group.vpc => strange.push(id.as_str()),
            Some(instance) if group.ip_address_type == "ipv6" && instance.primary_ipv6.is_none() => {
                without_ipv6.push(id.as_str());
            }
            Some(instance) if instance.running => {}
            _ => idle.push(id.as_str()),
        }
    }
    if !idle.is_empty() {
        let message = format!(
            "The following targets are not in a running state and cannot be registered: {}",
            quoted(idle)
        );
        return Err(AwsError::new("InvalidTarget", message));
    }
    if !strange.is_empty() {
        let message = format!(
            "The following targets are not in the target group VPC '{}': {}",
            group.vpc,
            quoted(strange)
        );
        return Err(AwsError::new("InvalidTarget", message));
    }
    if !without_ipv6.is_empty() {
        let message = format!(
            "The following targets cannot be used with this IPv6 target group because of missing primary IPv6 addresses: {}",
            quoted(without_ipv6)
        );
        return Err(AwsError::new("InvalidTarget", message));
    }
    Ok(())
}

/// The zone that an address is kept with: that of its subnet, or `all` or a named one for addresses outside the VPC.
fn zone_of_address(region: &Region, group: &TargetGroup, given: &Description) -> Result<String, AwsError> {
    let refuse = |message: String| Err(AwsError::validation(message));
    let id = &given.id;
    let family = if group.ip_address_type == "ipv6" {
        "IPv6"
    } else {
        "IPv4"
    };
    let parsed = id.parse::<IpAddr>().ok();
    let Some(address) = parsed.filter(|address| address.is_ipv6() == (family == "IPv6")) else {
        return refuse(format!("The IP address '{id}' is not a valid {family} address"));
    };
    match (
        network::zone_of(region, &group.vpc, address),
        given.availability_zone.as_deref(),
    ) {
        (Some(zone), Some(other)) if zone != other => refuse(format!(
            "The IP address '{id}' is within the VPC, and cannot have its Availability Zone overridden to '{other}' from '{zone}'"
        )),
        (Some(zone), _) => Ok(zone),
        (None, None) => refuse(format!(
            "The Availability Zone is required for IP address '{id}' because it is not in the VPC"
        )),
        (None, Some(_)) if address.is_ipv6() => refuse(format!(
            "The IP address '{id}' is not within the IPv6 CIDR blocks of the target group's VPC"
        )),
        // "You can't specify publicly routable IP addresses."
        (None, Some(_)) if !is_private(address) => {
            refuse(format!("The IP address '{id}' is not within a private range"))
        }
        (None, Some(zone)) => Ok(zone.to_owned()),
    }
}

/// RFC 1918 and 100.64.0.0/10, RFC 6598.
fn is_private(address: IpAddr) -> bool {
    let is_shared = |v4: Ipv4Addr| v4.octets()[0] == 100 && (64..128).contains(&v4.octets()[1]);
    matches!(address, IpAddr::V4(v4) if v4.is_private() || is_shared(v4))
}

/// `DeregisterTargets`. "If the specified target does not exist, the action returns successfully."
pub(super) fn deregister(world: &mut World, call: &Call, input: &Targets) -> Result<Value, AwsError> {
    let state = &mut world.region(call).elbv2;
    let group = find_mut(Kind::TargetGroup, &mut state.target_groups, &input.target_group_arn)?;
    let in_use = group.load_balancer.is_some();
    if input.targets.is_empty() {
        return Err(AwsError::validation("A target must be specified"));
    }
    for given in &input.targets {
        let key = given.key(group);
        match group.targets.get_mut(&key) {
            Some(target) if in_use => {
                target.deregistered.get_or_insert(call.now);
            }
            // Without a load balancer there is nothing to drain.
            Some(_) => {
                group.targets.remove(&key);
            }
            None => {}
        }
    }
    let view = group.clone();
    group.targets.retain(|_, target| !target.is_gone(&view, call.now));
    Ok(json!({}))
}

impl Target {
    /// Whether it was deregistered and has drained.
    pub(crate) fn is_gone(&self, group: &TargetGroup, now: jiff::Timestamp) -> bool {
        self.deregistered
            .is_some_and(|since| now >= since + group.deregistration_delay())
    }
}

impl State {
    /// Whether a load balancer may have the targets of these groups.
    pub(super) fn check_targets<'a>(
        &self,
        load_balancer: &str,
        groups: impl Iterator<Item = &'a str>,
    ) -> Result<(), AwsError> {
        let mut ids: Vec<&str> = Vec::new();
        for group in groups.filter_map(|arn| self.target_groups.get(arn)) {
            let present = group.targets.iter().filter(|(_, target)| target.deregistered.is_none());
            ids.extend(present.map(|(key, _)| key.id.as_str()));
        }
        let most = self.quota("targets-per-application-load-balancer");
        if ids.len() > most {
            let message = format!(
                "The maximum number of targets per load balancer '{most}' has been reached on load balancer '{load_balancer}'"
            );
            return Err(AwsError::new("TooManyTargets", message));
        }
        ids.sort_unstable();
        let most = self.quota("target-id-registrations-per-application-load-balancer");
        match ids.chunk_by(|one, other| one == other).find(|same| same.len() > most) {
            Some(same) => {
                let message = format!(
                    "The target '{}' is registered with load balancer '{load_balancer}' more than '{most}' times",
                    same[0]
                );
                Err(AwsError::new("TooManyRegistrationsForTargetId", message))
            }
            None => Ok(()),
        }
    }
}
