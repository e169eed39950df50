//! AWS' words and ours, both ways. What AWS fills in by itself is dropped on the way in, so that equality is `==`.

use crate::{
    model::*,
    plan::{MadeBy, Ref, Results},
};
use aws_sdk_ec2::types as ec2;
use aws_sdk_elasticloadbalancingv2::types as elb;
use std::collections::BTreeMap;

/// AWS' placeholders for the parts of a redirect that stay as they were ("Redirect actions", Application Load Balancers
/// user guide).
const SAME: [(&str, &str); 5] = [
    ("protocol", "#{protocol}"),
    ("port", "#{port}"),
    ("host", "#{host}"),
    ("path", "/#{path}"),
    ("query", "#{query}"),
];

fn placeholder(part: &str) -> &'static str {
    SAME.iter().find(|(name, _)| *name == part).map_or("", |(_, same)| same)
}

/// Tags for Elastic Load Balancing.
pub(super) fn elb_tags(tags: &Tags) -> Vec<elb::Tag> {
    let tag = |(key, value): (&String, &String)| elb::Tag::builder().key(key).value(value).build();
    tags.iter().map(tag).collect()
}

/// Tags of an Elastic Load Balancing resource.
pub(super) fn tags_of_elb(tags: &[elb::Tag]) -> Tags {
    let tag = |tag: &elb::Tag| Some((tag.key.clone()?, tag.value.clone().unwrap_or_default()));
    tags.iter().filter_map(tag).collect()
}

/// Tags for EC2.
pub(super) fn ec2_tags(tags: &Tags) -> Vec<ec2::Tag> {
    let tag = |(key, value): (&String, &String)| ec2::Tag::builder().key(key).value(value).build();
    tags.iter().map(tag).collect()
}

/// Tags of an EC2 resource.
pub(super) fn tags_of_ec2(tags: &[ec2::Tag]) -> Tags {
    let tag = |tag: &ec2::Tag| Some((tag.key.clone()?, tag.value.clone().unwrap_or_default()));
    tags.iter().filter_map(tag).collect()
}

/// A rule's conditions, as AWS takes them.
pub(super) fn elb_conditions(conditions: &[Condition]) -> Vec<elb::RuleCondition> {
    let condition = |condition: &Condition| match condition {
        Condition::Host(values) => {
            let config = elb::HostHeaderConditionConfig::builder().set_values(Some(values.clone()));
            elb::RuleCondition::builder()
                .field("host-header")
                .host_header_config(config.build())
        }
        Condition::Path(values) => {
            let config = elb::PathPatternConditionConfig::builder().set_values(Some(values.clone()));
            elb::RuleCondition::builder()
                .field("path-pattern")
                .path_pattern_config(config.build())
        }
        // Never planned: a foreign condition is only ever replaced.
        Condition::Other(text) => elb::RuleCondition::builder().field(text),
    };
    conditions.iter().map(|c| condition(c).build()).collect()
}

/// A rule's conditions, as AWS told them: host before path.
pub(super) fn conditions(told: &[elb::RuleCondition]) -> Vec<Condition> {
    let condition = |told: &elb::RuleCondition| {
        let hosts = told
            .host_header_config
            .as_ref()
            .filter(|config| config.regex_values().is_empty());
        let paths = told
            .path_pattern_config
            .as_ref()
            .filter(|config| config.regex_values().is_empty());
        match (told.field.as_deref(), hosts, paths) {
            (Some("host-header"), Some(config), _) => Condition::Host(config.values().to_vec()),
            (Some("path-pattern"), _, Some(config)) => Condition::Path(config.values().to_vec()),
            _ => Condition::Other(format!("{told:?}")),
        }
    };
    let mut conditions: Vec<Condition> = told.iter().map(condition).collect();
    conditions.sort_by_key(|condition| match condition {
        Condition::Host(_) => 0,
        Condition::Path(_) => 1,
        Condition::Other(_) => 2,
    });
    conditions
}

/// Actions as AWS takes them; `None` when a target group is to be made by a step that was not done.
pub(super) fn elb_actions(actions: &[Action<Ref<TargetGroupArn>>], results: &Results) -> Option<Vec<elb::Action>> {
    actions.iter().map(|action| elb_action(action, results)).collect()
}

fn elb_action(action: &Action<Ref<TargetGroupArn>>, results: &Results) -> Option<elb::Action> {
    let builder = elb::Action::builder();
    let builder = match action {
        Action::Forward(forward) => {
            let tuple = |target: &ForwardTarget<Ref<TargetGroupArn>>| {
                let arn = results.resolve(&target.target_group)?;
                let weight = target.weight.map(i32::from);
                Some(
                    elb::TargetGroupTuple::builder()
                        .target_group_arn(arn.as_str())
                        .set_weight(weight)
                        .build(),
                )
            };
            let groups: Option<Vec<_>> = forward.targets.iter().map(tuple).collect();
            let stickiness = forward.stickiness_seconds.map(|seconds| {
                let seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
                elb::TargetGroupStickinessConfig::builder()
                    .enabled(true)
                    .duration_seconds(seconds)
                    .build()
            });
            let config = elb::ForwardActionConfig::builder()
                .set_target_groups(Some(groups?))
                .set_target_group_stickiness_config(stickiness)
                .build();
            builder.r#type(elb::ActionTypeEnum::Forward).forward_config(config)
        }
        Action::Redirect(redirect) => {
            let or_same = |value: &Option<String>, part| value.clone().unwrap_or_else(|| placeholder(part).to_owned());
            let config = elb::RedirectActionConfig::builder()
                .protocol(or_same(&redirect.protocol, "protocol"))
                .port(
                    redirect
                        .port
                        .map_or_else(|| placeholder("port").to_owned(), |port| port.to_string()),
                )
                .host(or_same(&redirect.host, "host"))
                .path(or_same(&redirect.path, "path"))
                .query(or_same(&redirect.query, "query"))
                .status_code(redirect.status_code.as_str().into())
                .build();
            builder.r#type(elb::ActionTypeEnum::Redirect).redirect_config(config)
        }
        Action::FixedResponse {
            status_code,
            content_type,
            message_body,
        } => {
            let config = elb::FixedResponseActionConfig::builder()
                .status_code(status_code)
                .set_content_type(content_type.clone())
                .set_message_body(message_body.clone())
                .build();
            builder
                .r#type(elb::ActionTypeEnum::FixedResponse)
                .fixed_response_config(config)
        }
        // Never planned: a foreign action is only ever replaced.
        Action::Other(text) => builder.r#type(text.as_str().into()),
    };
    Some(builder.build())
}

/// Actions as AWS told them, in their order.
pub(super) fn actions(told: &[elb::Action]) -> Vec<Action<TargetGroupArn>> {
    let mut told: Vec<&elb::Action> = told.iter().collect();
    told.sort_by_key(|action| action.order);
    told.into_iter().map(action).collect()
}

fn action(told: &elb::Action) -> Action<TargetGroupArn> {
    let known = match told.r#type {
        Some(elb::ActionTypeEnum::Forward) => forward(told).map(Action::Forward),
        Some(elb::ActionTypeEnum::Redirect) => told.redirect_config.as_ref().map(redirect),
        Some(elb::ActionTypeEnum::FixedResponse) => {
            told.fixed_response_config.as_ref().map(|config| Action::FixedResponse {
                status_code: config.status_code.clone().unwrap_or_default(),
                content_type: config.content_type.clone(),
                // An empty body and none are the same.
                message_body: config.message_body.clone().filter(|body| !body.is_empty()),
            })
        }
        _ => None,
    };
    known.unwrap_or_else(|| Action::Other(format!("{told:?}")))
}

fn forward(told: &elb::Action) -> Option<Forward<TargetGroupArn>> {
    let Some(config) = &told.forward_config else {
        return Some(Forward::to(told.target_group_arn.as_deref()?.into()));
    };
    let alone = config.target_groups().len() == 1;
    let target = |tuple: &elb::TargetGroupTuple| {
        let weight = tuple.weight.and_then(|weight| u16::try_from(weight).ok());
        Some(ForwardTarget {
            target_group: tuple.target_group_arn.as_deref()?.into(),
            // AWS gives a single group a weight of 1.
            weight: weight.filter(|_| !alone),
        })
    };
    let stickiness = config.target_group_stickiness_config.as_ref();
    let on = stickiness.filter(|stickiness| stickiness.enabled == Some(true));
    Some(Forward {
        targets: config.target_groups().iter().filter_map(target).collect(),
        stickiness_seconds: on.and_then(|stickiness| u32::try_from(stickiness.duration_seconds?).ok()),
    })
}

fn redirect<T>(config: &elb::RedirectActionConfig) -> Action<T> {
    let unless_same = |value: &Option<String>, part| value.clone().filter(|value| value != placeholder(part));
    Action::Redirect(Redirect {
        protocol: unless_same(&config.protocol, "protocol"),
        port: config.port.as_ref().and_then(|port| port.parse().ok()),
        host: unless_same(&config.host, "host"),
        path: unless_same(&config.path, "path"),
        query: unless_same(&config.query, "query"),
        status_code: config
            .status_code
            .as_ref()
            .map(|code| code.as_str().to_owned())
            .unwrap_or_default(),
    })
}

/// How a listener of this protocol is told to check its targets' successes: HTTP codes, or gRPC's own.
pub(super) fn elb_matcher(check: &HealthCheck, protocol_version: &str) -> elb::Matcher {
    let codes = check.success_codes.as_str();
    match protocol_version {
        "GRPC" => elb::Matcher::builder().grpc_code(codes).build(),
        _ => elb::Matcher::builder().http_code(codes).build(),
    }
}

/// A target group as AWS told it, without its attributes; `None` for one that no Application Load Balancer can use.
pub(super) fn target_group(told: &elb::TargetGroup, tags: Tags) -> Option<TargetGroup> {
    let target_type = match told.target_type.as_ref()? {
        elb::TargetTypeEnum::Instance => TargetType::Instance,
        elb::TargetTypeEnum::Ip => TargetType::Ip,
        _ => return None,
    };
    let matcher = told.matcher.as_ref();
    let codes = matcher.and_then(|matcher| matcher.grpc_code.clone().or_else(|| matcher.http_code.clone()));
    let protocol = |protocol: &elb::ProtocolEnum| protocol.as_str().to_owned();
    Some(TargetGroup {
        name: told.target_group_name.clone()?,
        target_type,
        protocol: told.protocol.as_ref().map(protocol)?,
        protocol_version: told.protocol_version.clone().unwrap_or_else(|| "HTTP1".to_owned()),
        port: told.port.and_then(|port| Port::try_from(port).ok()).unwrap_or_default(),
        ip_address_type: told
            .ip_address_type
            .as_ref()
            .map_or("ipv4", |kind| kind.as_str())
            .to_owned(),
        health_check: HealthCheck {
            port: told.health_check_port.clone().unwrap_or_default(),
            protocol: told.health_check_protocol.as_ref().map(protocol).unwrap_or_default(),
            path: told.health_check_path.clone().unwrap_or_default(),
            interval_seconds: told.health_check_interval_seconds.unwrap_or_default(),
            timeout_seconds: told.health_check_timeout_seconds.unwrap_or_default(),
            healthy_threshold: told.healthy_threshold_count.unwrap_or_default(),
            unhealthy_threshold: told.unhealthy_threshold_count.unwrap_or_default(),
            success_codes: codes.unwrap_or_default(),
        },
        attributes: BTreeMap::new(),
        tags,
    })
}

/// A load balancer as AWS told it, without its attributes.
pub(super) fn load_balancer(told: &elb::LoadBalancer, tags: Tags) -> LoadBalancer<SecurityGroupId> {
    let zones = told
        .availability_zones()
        .iter()
        .filter_map(|zone| zone.subnet_id.as_deref());
    let mut subnets: Vec<SubnetId> = zones.map(Into::into).collect();
    subnets.sort();
    LoadBalancer {
        name: told.load_balancer_name.clone().unwrap_or_default(),
        scheme: match told.scheme {
            Some(elb::LoadBalancerSchemeEnum::InternetFacing) => Scheme::InternetFacing,
            _ => Scheme::Internal,
        },
        ip_address_type: match told.ip_address_type {
            Some(elb::IpAddressType::Dualstack) => IpAddressType::Dualstack,
            Some(elb::IpAddressType::DualstackWithoutPublicIpv4) => IpAddressType::DualstackWithoutPublicIpv4,
            _ => IpAddressType::Ipv4,
        },
        subnets,
        security_groups: told.security_groups().iter().map(|id| id.as_str().into()).collect(),
        attributes: BTreeMap::new(),
        tags,
    }
}

/// A listener as AWS told it, without its rules and the certificates chosen by name; `None` for what no Application Load
/// Balancer has.
pub(super) fn listener(told: &elb::Listener, tags: Tags) -> Option<Listener<TargetGroupArn>> {
    let protocol = match told.protocol.as_ref()? {
        elb::ProtocolEnum::Http => ListenerProtocol::Http,
        elb::ProtocolEnum::Https => ListenerProtocol::Https,
        _ => return None,
    };
    let tls = protocol == ListenerProtocol::Https;
    let certificate = told
        .certificates()
        .first()
        .and_then(|certificate| certificate.certificate_arn.as_deref());
    Some(Listener {
        port: Port::try_from(told.port?).ok()?,
        protocol,
        default_actions: actions(told.default_actions()),
        certificates: Certificates {
            default: certificate.filter(|_| tls).map(Into::into),
            by_name: Vec::new(),
        },
        ssl_policy: told.ssl_policy.clone().filter(|_| tls),
        tags,
        rules: Vec::new(),
    })
}

/// A target as AWS takes it.
pub(super) fn elb_target(target: &Target) -> elb::TargetDescription {
    let (id, port) = match target {
        Target::Instance(instance, port) => (instance.to_string(), *port),
        Target::Ip(address, port) => (address.to_string(), *port),
    };
    elb::TargetDescription::builder().id(id).port(port.into()).build()
}

/// A target as AWS told it.
pub(super) fn target(told: &elb::TargetDescription) -> Option<Target> {
    let id = told.id.as_deref()?;
    let port = Port::try_from(told.port?).ok()?;
    Some(match id.parse() {
        Ok(address) => Target::Ip(address, port),
        Err(_) => Target::Instance(id.into(), port),
    })
}

/// Ingress rules as EC2 takes them.
pub(super) fn ip_permissions(permissions: &[Permission]) -> Vec<ec2::IpPermission> {
    permissions.iter().map(ip_permission).collect()
}

fn ip_permission(permission: &Permission) -> ec2::IpPermission {
    let described = Some(permission.description.clone()).filter(|text| !text.is_empty());
    let builder = ec2::IpPermission::builder()
        .ip_protocol(&permission.protocol)
        .set_from_port(permission.ports.map(|(from, _)| from.into()))
        .set_to_port(permission.ports.map(|(_, to)| to.into()));
    match &permission.peer {
        Peer::Cidr(range @ ipnet::IpNet::V4(_)) => {
            let range = ec2::IpRange::builder()
                .cidr_ip(range.to_string())
                .set_description(described);
            builder.ip_ranges(range.build())
        }
        Peer::Cidr(range @ ipnet::IpNet::V6(_)) => {
            let range = ec2::Ipv6Range::builder()
                .cidr_ipv6(range.to_string())
                .set_description(described);
            builder.ipv6_ranges(range.build())
        }
        Peer::Group(group) => {
            let pair = ec2::UserIdGroupPair::builder()
                .group_id(group.as_str())
                .set_description(described);
            builder.user_id_group_pairs(pair.build())
        }
        Peer::PrefixList(list) => {
            let list = ec2::PrefixListId::builder()
                .prefix_list_id(list)
                .set_description(described);
            builder.prefix_list_ids(list.build())
        }
    }
    .build()
}

/// Ingress rules as EC2 told them: one a peer, sorted.
pub(super) fn permissions(told: &[ec2::IpPermission]) -> Vec<Permission> {
    let mut all: Vec<Permission> = told.iter().flat_map(peers).collect();
    all.sort();
    all.dedup();
    all
}

fn peers(told: &ec2::IpPermission) -> Vec<Permission> {
    let port = |port: Option<i32>| port.and_then(|port| u16::try_from(port).ok());
    let ports = port(told.from_port).zip(port(told.to_port));
    let one = |peer: Option<Peer>, description: &Option<String>| {
        Some(Permission {
            protocol: told.ip_protocol.clone().unwrap_or_default(),
            ports,
            peer: peer?,
            description: description.clone().unwrap_or_default(),
        })
    };
    let range = |text: &Option<String>| text.as_deref()?.parse().ok().map(Peer::Cidr);
    let v4 = told.ip_ranges().iter().map(|r| one(range(&r.cidr_ip), &r.description));
    let v6 = told
        .ipv6_ranges()
        .iter()
        .map(|r| one(range(&r.cidr_ipv6), &r.description));
    let groups = told.user_id_group_pairs().iter().map(|pair| {
        one(
            pair.group_id.as_deref().map(|id| Peer::Group(id.into())),
            &pair.description,
        )
    });
    let lists = told
        .prefix_list_ids()
        .iter()
        .map(|list| one(list.prefix_list_id.clone().map(Peer::PrefixList), &list.description));
    v4.chain(v6).chain(groups).chain(lists).flatten().collect()
}

/// A security group as EC2 told it.
pub(super) fn security_group(told: &ec2::SecurityGroup) -> SecurityGroup {
    SecurityGroup {
        name: told.group_name.clone().unwrap_or_default(),
        description: told.description.clone().unwrap_or_default(),
        ingress: permissions(told.ip_permissions()),
        tags: tags_of_ec2(told.tags()),
    }
}

/// The ids behind references; `None` as soon as one is to be made by a step that was not done.
pub(super) fn ids<T: MadeBy + ToString>(references: &[Ref<T>], results: &Results) -> Option<Vec<String>> {
    references
        .iter()
        .map(|reference| results.resolve(reference).map(|id| id.to_string()))
        .collect()
}
