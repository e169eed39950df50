//! The world of the control plane as a [`Snapshot`] of what there is to serve at one moment.
//!
//! ```text
//! elbv2: active load balancers, listeners, rules, target groups, targets with their state ┐
//! ec2:   addresses of interfaces and instances, security groups                           ├─► Snapshot
//! acm:   certificates with their keys                                                     ┘
//! ```
//! All regions are served in one network: where VPCs of two regions use the same address, the first region has it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;

use super::matcher::Pattern;
use super::snapshot::{
    Action, Attributes, Certificate, Condition, ForwardedFor, HealthCheck, Interface, Listener, LoadBalancer, Peer,
    Permission, Redirect, Rule, Scheme, SecurityGroup, Snapshot, Target, TargetGroup, TargetState, Tls, Version, Vpc,
};
use crate::elbv2::TargetKey;
use crate::elbv2::state as elbv2;
use crate::world::{HealthMode, Options, Region, World};
use crate::{acm, ec2};

/// What there is to serve at `now`.
pub fn snapshot(world: &World, now: Timestamp) -> Snapshot {
    let mut snapshot = Snapshot::default();
    for region in world.regions.values() {
        let active = region.elbv2.load_balancers.values().filter(|one| one.is_active(now));
        snapshot.load_balancers.extend(active.map(|one| region.served(one)));
        for group in region.elbv2.target_groups.values() {
            let served = region.served_group(&world.options, group, now);
            snapshot.target_groups.insert(group.arn.clone(), served);
        }
        for (arn, certificate) in &region.acm.certificates {
            if let Some(issued) = &certificate.issued {
                snapshot.certificates.insert(arn.clone(), issued.into());
            }
        }
        for id in region.ec2.vpcs.keys() {
            snapshot.vpcs.insert(id.clone(), region.ec2.firewall(id));
        }
    }
    snapshot
}

impl From<&acm::Issued> for Certificate {
    fn from(issued: &acm::Issued) -> Certificate {
        Certificate {
            chain: issued.chain_pem(),
            key: issued.key.clone(),
        }
    }
}

impl Region {
    fn served(&self, load_balancer: &elbv2::LoadBalancer) -> LoadBalancer {
        let listeners = self.elbv2.listeners_of(&load_balancer.arn);
        LoadBalancer {
            arn: load_balancer.arn.clone(),
            vpc: load_balancer.vpc.clone(),
            addresses: self.node_addresses(load_balancer).collect(),
            security_groups: load_balancer.security_groups.clone(),
            attributes: attributes(&load_balancer.attributes),
            listeners: listeners.map(|listener| self.served_listener(listener)).collect(),
        }
    }

    fn served_listener(&self, listener: &elbv2::Listener) -> Listener {
        let (mut rules, mut default) = (Vec::new(), Action::Unsupported("no default rule".into()));
        for rule in self.elbv2.rules_of(&listener.arn) {
            match rule.priority {
                None => default = action(rule),
                Some(priority) => rules.push(Rule {
                    arn: rule.arn.clone(),
                    priority,
                    conditions: rule.conditions.iter().map(condition).collect(),
                    action: action(rule),
                }),
            }
        }
        let tls = listener.certificate.as_ref().map(|certificate| Tls {
            default_certificate: certificate.clone(),
            certificates: listener.certificate_list.clone(),
            policy: listener.ssl_policy.clone().unwrap_or_default(),
        });
        Listener {
            arn: listener.arn.clone(),
            port: listener.port,
            tls,
            rules,
            default,
        }
    }

    fn served_group(&self, options: &Options, group: &elbv2::TargetGroup, now: Timestamp) -> TargetGroup {
        let version = version(&group.protocol_version);
        let registered = group.targets.iter().filter(|(_, target)| !target.is_gone(group, now));
        let targets = registered.map(|(key, target)| Target {
            id: key.id.clone(),
            port: key.port,
            address: self.address(group, key),
            state: match target.deregistered {
                // Not every node of the load balancer knows yet.
                Some(since) if now < since + options.deregistration && target.was_healthy(group) => {
                    TargetState::Healthy
                }
                _ => state(self.target_health(options, group, key, now).state),
            },
        });
        TargetGroup {
            arn: group.arn.clone(),
            scheme: scheme(&group.protocol),
            version,
            check: (options.health == HealthMode::Probed).then(|| check(&group.health_check, version)),
            targets: targets.collect(),
        }
    }

    /// Where a target is: an instance at its primary private address, or at its primary IPv6 address.
    fn address(&self, group: &elbv2::TargetGroup, key: &TargetKey) -> Option<SocketAddr> {
        let address = match group.target_type.as_str() {
            "instance" if group.ip_address_type == "ipv6" => self.primary_ipv6(&key.id)?.into(),
            "instance" => self.ec2.instance(&key.id)?.address?.into(),
            _ => key.id.parse().ok()?,
        };
        Some(SocketAddr::new(address, key.port))
    }
}

fn state(name: &str) -> TargetState {
    match name {
        "initial" => TargetState::Initial,
        "healthy" => TargetState::Healthy,
        "unhealthy" => TargetState::Unhealthy,
        "draining" => TargetState::Draining,
        _ => TargetState::Unused,
    }
}

fn scheme(protocol: &str) -> Scheme {
    match protocol {
        "HTTPS" => Scheme::Https,
        _ => Scheme::Http,
    }
}

fn version(name: &str) -> Version {
    match name {
        "GRPC" => Version::Grpc,
        "HTTP2" => Version::Http2,
        _ => Version::Http1,
    }
}

fn check(check: &elbv2::HealthCheck, version: Version) -> HealthCheck {
    let code = if version == Version::Grpc {
        "GrpcCode"
    } else {
        "HttpCode"
    };
    HealthCheck {
        scheme: scheme(&check.protocol),
        // `traffic-port` is no number.
        port: check.port.parse().ok(),
        path: check.path.clone(),
        interval: Duration::from_secs(check.interval.into()),
        timeout: Duration::from_secs(check.timeout.into()),
        healthy_threshold: check.healthy_threshold_count,
        unhealthy_threshold: check.unhealthy_threshold_count,
        matcher: check.matcher.get(code).cloned().unwrap_or_default(),
    }
}

fn attributes(given: &elbv2::Attributes) -> Attributes {
    let text = |key: &str| given.get(key).map(String::as_str);
    let on = |key: &str| text(key) == Some("true");
    Attributes {
        idle_timeout: text("idle_timeout.timeout_seconds")
            .and_then(|seconds| seconds.parse().ok())
            .map_or(Attributes::default().idle_timeout, Duration::from_secs),
        http2: on("routing.http2.enabled"),
        preserve_host_header: on("routing.http.preserve_host_header.enabled"),
        forwarded_for: match text("routing.http.xff_header_processing.mode") {
            Some("preserve") => ForwardedFor::Preserve,
            Some("remove") => ForwardedFor::Remove,
            _ => ForwardedFor::Append,
        },
        forwarded_client_port: on("routing.http.xff_client_port.enabled"),
    }
}

/// What a rule does. A login or a transform that this data plane does not perform makes the whole rule refuse requests.
fn action(rule: &elbv2::Rule) -> Action {
    let Some((last, before)) = rule.actions.split_last() else {
        return Action::Unsupported("no action".into());
    };
    if let Some(first) = before.first() {
        return Action::Unsupported(first.kind.clone());
    }
    if !rule.transforms.is_empty() {
        return Action::Unsupported("transform".into());
    }
    if let Some(forward) = &last.forward_config {
        let weighted = forward.target_groups.iter().map(|group| {
            let weight = group.weight.and_then(|weight| weight.try_into().ok()).unwrap_or(1);
            (group.target_group_arn.clone(), weight)
        });
        return Action::Forward(weighted.collect());
    }
    if let Some(redirect) = &last.redirect_config {
        let part = |given: &Option<String>, default: String| given.clone().unwrap_or(default);
        let defaults = Redirect::default();
        return Action::Redirect(Redirect {
            status: if redirect.status_code == "HTTP_302" { 302 } else { 301 },
            protocol: part(&redirect.protocol, defaults.protocol),
            host: part(&redirect.host, defaults.host),
            port: part(&redirect.port, defaults.port),
            path: part(&redirect.path, defaults.path),
            query: part(&redirect.query, defaults.query),
        });
    }
    match &last.fixed_response_config {
        Some(fixed) => Action::Fixed {
            status: fixed.status_code.parse().unwrap_or(500),
            content_type: fixed.content_type.clone(),
            body: fixed.message_body.clone().unwrap_or_default(),
        },
        None => Action::Unsupported(last.kind.clone()),
    }
}

fn condition(given: &elbv2::Condition) -> Condition {
    let strings = |config: &Option<elbv2::Strings>| config.clone().unwrap_or_default();
    match given.field.as_str() {
        "host-header" => {
            let config = strings(&given.host_header_config);
            Condition::Host(patterns(&config.values, &config.regex_values, false))
        }
        "path-pattern" => {
            let config = strings(&given.path_pattern_config);
            Condition::Path(patterns(&config.values, &config.regex_values, true))
        }
        "http-header" => {
            let config = given.http_header_config.clone().unwrap_or_default();
            Condition::Header {
                name: config.http_header_name.unwrap_or_default(),
                values: patterns(&config.values, &config.regex_values, false),
            }
        }
        "query-string" => {
            let pairs = given.query_string_config.clone().unwrap_or_default().values;
            let pattern = |text: Option<String>| text.map(Pattern::any_case);
            let pairs = pairs
                .into_iter()
                .filter_map(|pair| Some((pattern(pair.key), pattern(pair.value)?)));
            Condition::Query(pairs.collect())
        }
        "http-request-method" => {
            Condition::Method(strings(&given.http_request_method_config).values.unwrap_or_default())
        }
        _ => {
            let nets = strings(&given.source_ip_config).values.unwrap_or_default();
            Condition::SourceIp(nets.iter().filter_map(|net| net.parse().ok()).collect())
        }
    }
}

/// Wildcards and expressions alike; the control plane lets no invalid expression in.
fn patterns(values: &Option<Vec<String>>, expressions: &Option<Vec<String>>, case: bool) -> Vec<Pattern> {
    let values = values.iter().flatten().map(|value| match case {
        true => Pattern::exact_case(value),
        false => Pattern::any_case(value),
    });
    let expressions = expressions.iter().flatten();
    values
        .chain(expressions.filter_map(|text| Pattern::expression(text, case).ok()))
        .collect()
}

impl ec2::State {
    /// The firewall of a VPC.
    fn firewall(&self, vpc: &str) -> Vpc {
        let groups = self.security_groups.iter().filter(|(_, group)| group.vpc == vpc);
        let groups = groups.map(|(id, group)| {
            let side = |egress: bool| {
                let rules = group.rules.iter().filter(move |rule| rule.egress == egress);
                rules.flat_map(|rule| self.permissions(&rule.permission)).collect()
            };
            let (ingress, egress) = (side(false), side(true));
            (id.clone(), SecurityGroup { ingress, egress })
        });
        let interfaces = self.interfaces.values().filter(|interface| interface.vpc == vpc);
        let interfaces = interfaces.flat_map(|interface| {
            let v4 = interface.addresses.iter().map(|&address| IpAddr::from(address).into());
            let v6 = interface.ipv6.iter().map(|&address| IpAddr::from(address).into());
            let prefixes = interface.prefixes.iter().map(|&net| net.into());
            v4.chain(v6).chain(prefixes).map(|net: IpNet| Interface {
                net,
                groups: interface.groups.clone(),
            })
        });
        Vpc {
            groups: groups.collect::<BTreeMap<_, _>>(),
            interfaces: interfaces.collect(),
        }
    }

    /// What a security group rule says about TCP: nothing, one permission, or one for each entry of a prefix list.
    fn permissions(&self, permission: &ec2::state::Permission) -> Vec<Permission> {
        if !matches!(permission.protocol.as_str(), "tcp" | "6" | "-1") {
            return Vec::new();
        }
        let port = |port: i64, otherwise| u16::try_from(port).unwrap_or(otherwise);
        let ports = permission
            .ports
            .map_or((0, u16::MAX), |(first, last)| (port(first, 0), port(last, u16::MAX)));
        let peers = match &permission.peer {
            ec2::state::Peer::Ipv4(net) => vec![Peer::Net((*net).into())],
            ec2::state::Peer::Ipv6(net) => vec![Peer::Net((*net).into())],
            ec2::state::Peer::Group(id) => vec![Peer::Group(id.clone())],
            ec2::state::Peer::PrefixList(id) => {
                let entries = self
                    .prefix_lists
                    .get(id)
                    .into_iter()
                    .flat_map(|list| list.entries.keys());
                entries.filter_map(|net| net.parse().ok().map(Peer::Net)).collect()
            }
        };
        peers.into_iter().map(|peer| Permission { ports, peer }).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn rule(actions: Value, transforms: Vec<Value>) -> elbv2::Rule {
        elbv2::Rule {
            arn: "rule".into(),
            listener: "listener".into(),
            priority: Some(1),
            conditions: Vec::new(),
            actions: serde_json::from_value(actions).unwrap(),
            transforms,
        }
    }

    #[test]
    fn each_condition_becomes_what_it_says() {
        let any = |text: &str| Pattern::any_case(text);
        for (given, expected) in [
            (
                json!({"Field": "host-header", "HostHeaderConfig": {"Values": ["a.com"], "RegexValues": ["^b$"]}}),
                Condition::Host(vec![any("a.com"), Pattern::expression("^b$", false).unwrap()]),
            ),
            (
                json!({"Field": "path-pattern", "PathPatternConfig": {"Values": ["/A*"]}}),
                Condition::Path(vec![Pattern::exact_case("/A*")]),
            ),
            (
                json!({"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-A", "Values": ["1"]}}),
                Condition::Header {
                    name: "X-A".into(),
                    values: vec![any("1")],
                },
            ),
            (
                json!({"Field": "query-string", "QueryStringConfig": {"Values": [{"Key": "k", "Value": "v"}, {"Value": "w"}]}}),
                Condition::Query(vec![(Some(any("k")), any("v")), (None, any("w"))]),
            ),
            (
                json!({"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["PUT"]}}),
                Condition::Method(vec!["PUT".into()]),
            ),
            (
                json!({"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/8"]}}),
                Condition::SourceIp(vec!["10.0.0.0/8".parse().unwrap()]),
            ),
        ] {
            assert_eq!(condition(&serde_json::from_value(given).unwrap()), expected);
        }
    }

    #[test]
    fn what_stands_behind_a_login_or_a_transform_is_not_served_without_it() {
        let fixed = json!({"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "200"}});
        let served = rule(json!([fixed]), Vec::new());
        assert!(matches!(action(&served), Action::Fixed { status: 200, .. }));
        let login = json!([{"Type": "authenticate-oidc", "Order": 1}, fixed]);
        for (refused, why) in [
            (rule(login, Vec::new()), "authenticate-oidc"),
            (rule(json!([fixed]), vec![json!({"Type": "url-rewrite"})]), "transform"),
        ] {
            assert_eq!(action(&refused), Action::Unsupported(why.into()));
        }
    }

    #[test]
    fn weights_and_redirects_keep_what_was_stored() {
        let groups = json!([{"TargetGroupArn": "a", "Weight": 0}, {"TargetGroupArn": "b", "Weight": 999}]);
        let forward = rule(
            json!([{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]),
            Vec::new(),
        );
        assert_eq!(
            action(&forward),
            Action::Forward(vec![("a".into(), 0), ("b".into(), 999)])
        );
        let config = json!({"StatusCode": "HTTP_302", "Host": "b.com", "Query": ""});
        let redirect = rule(json!([{"Type": "redirect", "RedirectConfig": config}]), Vec::new());
        let expected = Redirect {
            status: 302,
            host: "b.com".into(),
            query: String::new(),
            ..Redirect::default()
        };
        assert_eq!(action(&redirect), Action::Redirect(expected));
    }

    #[test]
    fn a_security_group_rule_counts_for_tcp_only_and_a_prefix_list_for_each_of_its_entries() {
        let mut state = ec2::State::default();
        let list = ec2::state::PrefixList {
            name: "offices".into(),
            family: "IPv4".into(),
            max_entries: 5,
            entries: [("10.1.0.0/16".to_owned(), None), ("10.2.0.0/16".to_owned(), None)].into(),
        };
        state.prefix_lists.insert("pl-1".into(), list);
        let permissions = |protocol: &str, ports, peer| {
            let permission = ec2::state::Permission {
                protocol: protocol.into(),
                ports,
                peer,
            };
            state.permissions(&permission)
        };
        let list = || ec2::state::Peer::PrefixList("pl-1".into());
        let net = |text: &str| Peer::Net(text.parse().unwrap());
        let both = [net("10.1.0.0/16"), net("10.2.0.0/16")].map(|peer| Permission { ports: (80, 81), peer });
        assert_eq!(permissions("tcp", Some((80, 81)), list()), both);
        assert_eq!(permissions("udp", Some((80, 81)), list()), []);
        let everything = permissions("-1", None, ec2::state::Peer::Group("sg-1".into()));
        let expected = Permission {
            ports: (0, u16::MAX),
            peer: Peer::Group("sg-1".into()),
        };
        assert_eq!(everything, [expected]);
    }
}
