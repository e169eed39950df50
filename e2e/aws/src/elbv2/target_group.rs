//! Target groups and their health checks.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::lookup::{Kind, find_mut};
use super::paging::{Page, Paging};
use super::state::{HealthCheck, TargetGroup};
use super::tag::{self, Tag};
use super::{attribute, name, network};
use crate::call::Call;
use crate::fault::AwsError;
use crate::world::{Scene, World};

/// The parts of a health check that may be given, on creation or later.
#[derive(Deserialize)]
struct Check {
    #[serde(rename = "HealthCheckEnabled")]
    enabled: Option<bool>,
    #[serde(rename = "HealthCheckProtocol")]
    protocol: Option<String>,
    #[serde(rename = "HealthCheckPort")]
    port: Option<String>,
    #[serde(rename = "HealthCheckPath")]
    path: Option<String>,
    #[serde(rename = "HealthCheckIntervalSeconds")]
    interval: Option<u32>,
    #[serde(rename = "HealthCheckTimeoutSeconds")]
    timeout: Option<u32>,
    #[serde(rename = "HealthyThresholdCount")]
    healthy: Option<u32>,
    #[serde(rename = "UnhealthyThresholdCount")]
    unhealthy: Option<u32>,
    #[serde(rename = "Matcher")]
    matcher: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Create {
    name: String,
    protocol: Option<String>,
    protocol_version: Option<String>,
    port: Option<u16>,
    vpc_id: Option<String>,
    target_type: Option<String>,
    ip_address_type: Option<String>,
    tags: Option<Vec<Tag>>,
    #[serde(flatten)]
    check: Check,
}

/// The defaults of a health check. Source: "Health checks for Application Load Balancer target groups".
fn default_check(protocol_version: &str) -> HealthCheck {
    let grpc = protocol_version == "GRPC";
    let matcher = if grpc { ("GrpcCode", "12") } else { ("HttpCode", "200") };
    HealthCheck {
        protocol: "HTTP".to_owned(),
        port: "traffic-port".to_owned(),
        path: if grpc { "/AWS.ALB/healthcheck" } else { "/" }.to_owned(),
        interval: 30,
        timeout: 5,
        healthy_threshold_count: 5,
        unhealthy_threshold_count: 2,
        matcher: BTreeMap::from([(matcher.0.to_owned(), matcher.1.to_owned())]),
    }
}

/// A health check with what was given, if that is allowed.
fn changed(current: &HealthCheck, protocol_version: &str, given: Check) -> Result<HealthCheck, AwsError> {
    let refuse = |message: String| Err(AwsError::validation(message));
    if given.enabled == Some(false) {
        return refuse(
            "Health checks cannot be disabled for target groups with target type 'instance' or 'ip'".to_owned(),
        );
    }
    let check = HealthCheck {
        protocol: given.protocol.unwrap_or_else(|| current.protocol.clone()),
        port: given.port.unwrap_or_else(|| current.port.clone()),
        path: given.path.unwrap_or_else(|| current.path.clone()),
        interval: given.interval.unwrap_or(current.interval),
        timeout: given.timeout.unwrap_or(current.timeout),
        healthy_threshold_count: given.healthy.unwrap_or(current.healthy_threshold_count),
        unhealthy_threshold_count: given.unhealthy.unwrap_or(current.unhealthy_threshold_count),
        matcher: given.matcher.unwrap_or_else(|| current.matcher.clone()),
    };
    if !matches!(check.protocol.as_str(), "HTTP" | "HTTPS") {
        let message = format!(
            "Health check protocol '{}' must be one of '[HTTP, HTTPS]'",
            check.protocol
        );
        return refuse(message);
    }
    if check.port != "traffic-port" && !check.port.parse::<u16>().is_ok_and(|port| port > 0) {
        return refuse(format!(
            "Health check port '{}' must be 'traffic-port' or a number from 1 to 65535",
            check.port
        ));
    }
    let printable = check.path.chars().all(|letter| letter.is_ascii_graphic());
    if !check.path.starts_with('/') || !printable {
        return refuse(format!(
            "Health check path '{}' must begin with '/' and contain only printable ASCII characters",
            check.path
        ));
    }
    if check.timeout >= check.interval {
        let (timeout, interval) = (check.timeout, check.interval);
        return refuse(format!(
            "Health check timeout '{timeout}' must be smaller than the interval '{interval}'"
        ));
    }
    let (key, low, high) = if protocol_version == "GRPC" {
        ("GrpcCode", 0, 99)
    } else {
        ("HttpCode", 200, 499)
    };
    let codes = check.matcher.get(key).map(String::as_str).unwrap_or_default();
    if check.matcher.len() != 1 || !codes_within(codes, low, high) {
        return refuse(format!(
            "Health check matcher {key} '{codes}' must be like {low} | {low}-{high} | {low},{high}, within '{low}-{high}'"
        ));
    }
    Ok(check)
}

/// Codes as `200`, `200,202` or `200-299`.
fn codes_within(codes: &str, low: u32, high: u32) -> bool {
    let within = |text: &str| text.parse::<u32>().is_ok_and(|code| (low..=high).contains(&code));
    codes.split(',').all(|part| match part.split_once('-') {
        Some((from, to)) => within(from) && within(to) && from.parse::<u32>().ok() <= to.parse::<u32>().ok(),
        None => within(part),
    })
}

/// `CreateTargetGroup`.
pub(super) fn create(world: &mut World, call: &Call, input: Create) -> Result<Value, AwsError> {
    let Scene { region, ids, .. } = world.scene(call);
    let must = |what: &str| AwsError::validation(format!("A {what} must be specified"));
    name::check("Target group", &input.name)?;
    let target_type = input.target_type.unwrap_or_else(|| "instance".to_owned());
    if !matches!(target_type.as_str(), "instance" | "ip") {
        return Err(AwsError::validation(format!(
            "The double has no target groups of type '{target_type}', only 'instance' and 'ip'"
        )));
    }
    let port = input.port.ok_or_else(|| must("port"))?;
    let protocol = input.protocol.ok_or_else(|| must("protocol"))?;
    let vpc = input.vpc_id.ok_or_else(|| must("VPC ID"))?;
    if !matches!(protocol.as_str(), "HTTP" | "HTTPS") {
        return Err(AwsError::validation(format!(
            "The double has no target groups with protocol '{protocol}', only 'HTTP' and 'HTTPS'"
        )));
    }
    let protocol_version = input.protocol_version.unwrap_or_else(|| "HTTP1".to_owned());
    if !matches!(protocol_version.as_str(), "HTTP1" | "HTTP2" | "GRPC") {
        let message = format!("Protocol version '{protocol_version}' must be one of '[HTTP1, HTTP2, GRPC]'");
        return Err(AwsError::validation(message));
    }
    if !network::has_vpc(region, &vpc) {
        return Err(AwsError::validation(format!("The VPC ID '{vpc}' is not found")));
    }
    let ip_address_type = input.ip_address_type.unwrap_or_else(|| "ipv4".to_owned());
    let health_check = changed(&default_check(&protocol_version), &protocol_version, input.check)?;
    let tags = tag::checked(input.tags.unwrap_or_default(), None)?;
    let wanted = TargetGroup {
        arn: String::new(),
        name: input.name,
        protocol,
        protocol_version,
        port,
        vpc,
        target_type,
        ip_address_type,
        health_check,
        attributes: attribute::of_target_group(),
        targets: BTreeMap::new(),
        load_balancer: None,
        in_use_since: None,
    };
    let state = &mut region.elbv2;
    if let Some(found) = state.target_groups.values().find(|group| group.name == wanted.name) {
        if !found.has_settings_of(&wanted) {
            let message = format!(
                "A target group with the same name '{}' exists, but with different settings",
                wanted.name
            );
            return Err(AwsError::new("DuplicateTargetGroupName", message));
        }
        return Ok(json!({"TargetGroups": [found.described()]}));
    }
    let most = state.quota("target-groups");
    if state.target_groups.len() >= most {
        let message = format!("The maximum number of target groups '{most}' has been reached");
        return Err(AwsError::new("TooManyTargetGroups", message));
    }
    let arn = call.arn(
        "elasticloadbalancing",
        &format!("targetgroup/{}/{}", wanted.name, ids.hex(16)),
    );
    let group = TargetGroup {
        arn: arn.clone(),
        ..wanted
    };
    let answer = json!({"TargetGroups": [group.described()]});
    state.tags.insert(arn.clone(), tags);
    state.target_groups.insert(arn, group);
    Ok(answer)
}

impl TargetGroup {
    /// Whether creating the other one is the same request again; attributes and targets are no settings.
    fn has_settings_of(&self, other: &TargetGroup) -> bool {
        let settings = |group: &TargetGroup| {
            let names = (
                group.protocol.clone(),
                group.protocol_version.clone(),
                group.target_type.clone(),
            );
            (
                names,
                group.port,
                group.vpc.clone(),
                group.ip_address_type.clone(),
                group.health_check.clone(),
            )
        };
        settings(self) == settings(other)
    }

    fn described(&self) -> Value {
        let mut value = json!(self.health_check);
        let rest = json!({
            "TargetGroupArn": self.arn,
            "TargetGroupName": self.name,
            "Protocol": self.protocol,
            "ProtocolVersion": self.protocol_version,
            "Port": self.port,
            "VpcId": self.vpc,
            "TargetType": self.target_type,
            "IpAddressType": self.ip_address_type,
            "HealthCheckEnabled": true,
            "LoadBalancerArns": self.load_balancer.iter().collect::<Vec<_>>(),
        });
        if let (Value::Object(all), Value::Object(rest)) = (&mut value, rest) {
            all.extend(rest);
        }
        value
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Describe {
    load_balancer_arn: Option<String>,
    target_group_arns: Option<Vec<String>>,
    names: Option<Vec<String>>,
    #[serde(flatten)]
    paging: Paging,
}

/// `DescribeTargetGroups`.
pub(super) fn describe(world: &mut World, call: &Call, input: Describe) -> Result<Value, AwsError> {
    let state = &world.region(call).elbv2;
    let Describe {
        load_balancer_arn,
        target_group_arns,
        names,
        paging,
    } = input;
    let (arns, names) = (target_group_arns.unwrap_or_default(), names.unwrap_or_default());
    if usize::from(load_balancer_arn.is_some()) + usize::from(!arns.is_empty()) + usize::from(!names.is_empty()) > 1 {
        return Err(AwsError::validation(
            "Only one of target group ARNs, names and a load balancer ARN can be specified",
        ));
    }
    arns.iter().try_for_each(|arn| Kind::TargetGroup.check(arn))?;
    if !arns.iter().all(|arn| state.target_groups.contains_key(arn)) {
        return Err(Kind::TargetGroup.some_missing());
    }
    if let Some(load_balancer) = &load_balancer_arn {
        state.load_balancer(load_balancer)?;
    }
    let chosen = state.target_groups.values().filter(|group| {
        (arns.is_empty() || arns.contains(&group.arn))
            && (names.is_empty() || names.contains(&group.name))
            && (load_balancer_arn.is_none() || load_balancer_arn == group.load_balancer)
    });
    let chosen: Vec<_> = chosen.map(|group| (group.arn.clone(), group)).collect();
    if names
        .iter()
        .any(|name| !chosen.iter().any(|(_, group)| group.name == *name))
    {
        return Err(Kind::TargetGroup.some_missing());
    }
    let Page { items, next } = paging.page(chosen)?;
    let groups: Vec<Value> = items.into_iter().map(TargetGroup::described).collect();
    Ok(json!({"TargetGroups": groups, "NextMarker": next}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Modify {
    target_group_arn: String,
    #[serde(flatten)]
    check: Check,
}

/// `ModifyTargetGroup`.
pub(super) fn modify(world: &mut World, call: &Call, input: Modify) -> Result<Value, AwsError> {
    let state = &mut world.region(call).elbv2;
    let group = find_mut(Kind::TargetGroup, &mut state.target_groups, &input.target_group_arn)?;
    group.health_check = changed(&group.health_check, &group.protocol_version, input.check)?;
    Ok(json!({"TargetGroups": [state.target_group(&input.target_group_arn)?.described()]}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Delete {
    target_group_arn: String,
}

/// `DeleteTargetGroup`. The model has no error for one that does not exist.
pub(super) fn delete(world: &mut World, call: &Call, input: &Delete) -> Result<Value, AwsError> {
    let state = &mut world.region(call).elbv2;
    let arn = &input.target_group_arn;
    Kind::TargetGroup.check(arn)?;
    if state
        .target_groups
        .get(arn)
        .is_some_and(|group| group.load_balancer.is_some())
    {
        return Err(AwsError::new(
            "ResourceInUse",
            format!("Target group '{arn}' is currently in use by a listener or a rule"),
        ));
    }
    state.target_groups.remove(arn);
    state.tags.remove(arn);
    Ok(json!({}))
}
