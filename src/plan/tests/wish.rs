//! Wishes of users, and the intents they come to.

use crate::{
    model::{tags, *},
    plan::{IntendedTargetGroup, Intent},
};
use std::collections::BTreeMap;

/// What users wish.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    pub load_balancer: LoadBalancerWish,
    pub listeners: BTreeMap<Port, ListenerWish>,
    pub services: Vec<ServiceWish>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LoadBalancerWish {
    pub scheme: Scheme,
    /// The name that a user chose.
    pub name: Option<&'static str>,
    pub delete_first: bool,
    pub ip_address_type: IpAddressType,
    pub subnets: Vec<&'static str>,
    pub security_groups: GroupsWish,
    pub attributes: BTreeMap<&'static str, &'static str>,
    pub tag: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum GroupsWish {
    Managed,
    ManagedAndBackend,
    Users(u8),
    UsersAndBackend(u8),
}

#[derive(Clone, Debug, PartialEq)]
pub struct ListenerWish {
    pub tls: bool,
    pub certificates: Vec<&'static str>,
    pub policy: &'static str,
    pub from: &'static str,
    pub default: Do,
    pub rules: Vec<RuleWish>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RuleWish {
    pub member: u8,
    pub host: Option<u8>,
    pub path: u8,
    pub action: Do,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Do {
    To(Backend),
    Split(Vec<(Backend, u16)>),
    Redirect,
    Answer(&'static str),
}

/// A service, with its port by name or by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    pub service: u8,
    pub by_name: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ServiceWish {
    pub target_type: TargetType,
    /// Its pods have IPv6 addresses, if the load balancer can reach them.
    pub ipv6: bool,
    pub version: &'static str,
    pub check: &'static str,
    pub attributes: BTreeMap<&'static str, &'static str>,
    pub tag: Option<u8>,
}

pub const SERVICES: u8 = 5;

/// The subnets with an IPv6 block.
pub const IPV6_SUBNETS: [&str; 2] = ["subnet-a", "subnet-b"];

pub const LOAD_BALANCER_DEFAULTS: [(&str, &str); 3] = [
    (DELETION_PROTECTION, "false"),
    ("idle_timeout.timeout_seconds", "60"),
    ("routing.http2.enabled", "true"),
];
pub const TARGET_GROUP_DEFAULTS: [(&str, &str); 2] = [
    ("deregistration_delay.timeout_seconds", "300"),
    ("slow_start.duration_seconds", "0"),
];

impl Wish {
    /// No weight is 0 from now on.
    pub fn give_everybody_something(&mut self) {
        for listener in self.listeners.values_mut() {
            let rules = listener.rules.iter_mut().map(|rule| &mut rule.action);
            for action in rules.chain([&mut listener.default]) {
                if let Do::Split(to) = action {
                    to.iter_mut().for_each(|(_, weight)| *weight += 1);
                }
            }
        }
    }

    /// What the wish comes to.
    pub fn intent(&self) -> Intent {
        let lb = &self.load_balancer;
        let user = |id: u8| SecurityGroupRef::Id(format!("sg-user-{id}").into());
        let security_groups = match lb.security_groups {
            GroupsWish::Managed => vec![SecurityGroupRef::Managed],
            GroupsWish::ManagedAndBackend => vec![SecurityGroupRef::Managed, SecurityGroupRef::Backend],
            GroupsWish::Users(id) => vec![user(id)],
            GroupsWish::UsersAndBackend(id) => vec![user(id), SecurityGroupRef::Backend],
        };
        let managed = security_groups.contains(&SecurityGroupRef::Managed);
        let listeners: BTreeMap<_, _> = self
            .listeners
            .iter()
            .map(|(port, l)| (*port, l.listener(*port)))
            .collect();
        let named = self.listeners.values().flat_map(ListenerWish::backends);
        Intent {
            load_balancer: Some(LoadBalancer {
                name: lb
                    .name
                    .map_or_else(|| format!("k8s-{}", lb.scheme.name()), str::to_owned),
                scheme: lb.scheme,
                ip_address_type: lb.ip_address_type,
                subnets: lb.subnets().iter().copied().map(SubnetId::from).collect(),
                security_groups,
                attributes: owned(&lb.attributes),
                tags: tags_of(lb.tag, tags::RESOURCE_LOAD_BALANCER),
            }),
            security_group: managed.then(|| SecurityGroup {
                name: "k8s-group".to_owned(),
                description: security_group::MANAGED_DESCRIPTION.to_owned(),
                ingress: self.listeners.iter().map(|(port, l)| l.permission(*port)).collect(),
                tags: tags_of(lb.tag, tags::RESOURCE_SECURITY_GROUP),
            }),
            listeners,
            target_groups: named
                .map(|backend| (backend.key(), self.target_group(backend)))
                .collect(),
            delete_first: lb.delete_first,
            ..nothing()
        }
    }

    fn target_group(&self, backend: Backend) -> IntendedTargetGroup {
        let service = &self.services[usize::from(backend.service)];
        let key = backend.key();
        let dual = self.load_balancer.ip_address_type.has_ipv6();
        let name = |generation: &str| {
            let (kind, version) = (service.target_type.name(), service.version);
            format!("{key} {kind} {version} {generation}")
        };
        let (number, spelled) = (PortRef::Number(80), PortRef::Name("http".to_owned()));
        IntendedTargetGroup {
            group: TargetGroup {
                name: name(""),
                target_type: service.target_type,
                protocol: "HTTP".to_owned(),
                protocol_version: service.version.to_owned(),
                port: 80,
                ip_address_type: if service.ipv6 && dual { IPV6 } else { IPV4 }.to_owned(),
                health_check: HealthCheck {
                    port: "traffic-port".to_owned(),
                    protocol: "HTTP".to_owned(),
                    path: service.check.to_owned(),
                    interval_seconds: 15,
                    timeout_seconds: 5,
                    healthy_threshold: 2,
                    unhealthy_threshold: 2,
                    success_codes: "200".to_owned(),
                },
                attributes: owned(&service.attributes),
                tags: tags_of(service.tag, &key.0),
            },
            next_names: ["1", "2", "3"].map(name).to_vec(),
            alias: Some(
                Backend {
                    by_name: !backend.by_name,
                    ..backend
                }
                .key(),
            ),
            binding: Binding {
                service: ObjectKey::new("ns", format!("svc{}", backend.service)),
                service_port: if backend.by_name { spelled } else { number },
                node_selector: None,
                networking: None,
            },
            owner: ObjectKey::new("ns", "a"),
        }
    }
}

/// The intent of a group without members.
pub fn nothing() -> Intent {
    Intent {
        vpc: "vpc-1".into(),
        load_balancer: None,
        security_group: None,
        listeners: BTreeMap::new(),
        target_groups: BTreeMap::new(),
        delete_first: false,
        attribute_defaults: owned(
            &LOAD_BALANCER_DEFAULTS
                .into_iter()
                .chain(TARGET_GROUP_DEFAULTS)
                .collect(),
        ),
    }
}

impl LoadBalancerWish {
    /// Those that were chosen, as far as the load balancer can stand there.
    fn subnets(&self) -> Vec<&'static str> {
        if self.ip_address_type.has_ipv6() {
            IPV6_SUBNETS.to_vec()
        } else {
            self.subnets.clone()
        }
    }
}

impl ListenerWish {
    fn backends(&self) -> impl Iterator<Item = Backend> {
        let all = self.rules.iter().map(|rule| &rule.action).chain([&self.default]);
        all.flat_map(|action| match action {
            Do::To(backend) => vec![*backend],
            Do::Split(to) => to.iter().map(|(backend, _)| *backend).collect(),
            _ => Vec::new(),
        })
    }

    fn listener(&self, port: Port) -> Listener<TargetGroupKey> {
        let certificates = self.certificates.iter().copied().map(CertificateArn::from);
        let mut by_name: Vec<CertificateArn> = certificates.filter(|_| self.tls).collect();
        let default = by_name.first().cloned();
        by_name.sort();
        let rules = self.rules.iter().zip(1..);
        Listener {
            port,
            protocol: if self.tls {
                ListenerProtocol::Https
            } else {
                ListenerProtocol::Http
            },
            default_actions: vec![self.default.action()],
            certificates: Certificates { default, by_name },
            ssl_policy: self.tls.then(|| self.policy.to_owned()),
            tags: tags_of(None, &port.to_string()),
            rules: rules.map(|(rule, place)| rule.rule(port, place)).collect(),
        }
    }

    fn permission(&self, port: Port) -> Permission {
        Permission {
            protocol: "tcp".to_owned(),
            ports: Some((port, port)),
            peer: Peer::Cidr(self.from.parse().expect("a range")),
            description: String::new(),
        }
    }
}

impl RuleWish {
    fn rule(&self, port: Port, place: u32) -> Rule<TargetGroupKey> {
        let host = self.host.map(|n| Condition::Host(vec![format!("h{n}.example.com")]));
        let path = match self.path {
            0 => "/*".to_owned(),
            n => format!("/p{n}"),
        };
        let path = Condition::Path(vec![path]);
        Rule {
            conditions: host.into_iter().chain([path]).collect(),
            actions: vec![self.action.action()],
            tags: tags_of(Some(self.member), &format!("{port}:{place}")),
            owner: Some(ObjectKey::new("ns", format!("m{}", self.member))),
        }
    }
}

impl Do {
    fn action(&self) -> Action<TargetGroupKey> {
        match self {
            Self::To(backend) => Action::Forward(Forward::to(backend.key())),
            Self::Split(to) => Action::Forward(Forward {
                targets: to
                    .iter()
                    .map(|(backend, weight)| ForwardTarget {
                        target_group: backend.key(),
                        weight: Some(*weight),
                    })
                    .collect(),
                stickiness_seconds: None,
            }),
            Self::Redirect => Action::Redirect(Redirect {
                protocol: Some("HTTPS".to_owned()),
                status_code: "HTTP_301".to_owned(),
                ..Redirect::default()
            }),
            Self::Answer(code) => Action::FixedResponse {
                status_code: (*code).to_owned(),
                content_type: Some("text/plain".to_owned()),
                message_body: None,
            },
        }
    }
}

impl Backend {
    fn key(self) -> TargetGroupKey {
        let port = if self.by_name { "http" } else { "80" };
        TargetGroupKey(format!("ns/a-svc{}:{port}", self.service))
    }
}

fn owned(map: &BTreeMap<&str, &str>) -> BTreeMap<String, String> {
    map.iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn tags_of(user: Option<u8>, resource: &str) -> Tags {
    let mut tags = Tags::from([
        (tags::CLUSTER.to_owned(), "demo".to_owned()),
        (tags::RESOURCE.to_owned(), resource.to_owned()),
    ]);
    tags.extend(user.map(|n| (format!("team-{n}"), "x".to_owned())));
    tags
}
