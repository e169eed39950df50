//! Contributions of all members → one draft.

use super::{attribute, contribution::Contribution};
use crate::{
    model::*,
    plan::{
        Mutation,
        intent::{IntendedTargetGroup, Intent},
    },
};
use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};

/// An intent whose selectors are still to be looked up.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    selectors: Selectors,
    intent: Intent,
}

impl Draft {
    /// What must be looked up.
    pub fn selectors(&self) -> &Selectors {
        &self.selectors
    }

    /// Whether the load balancer or its targets name the cluster's shared backend security group.
    pub fn needs_backend(&self) -> bool {
        let of_load_balancer = self.intent.load_balancer.iter().flat_map(|lb| &lb.security_groups);
        let of_targets = self
            .intent
            .target_groups
            .values()
            .filter_map(|tg| Some(&tg.binding.networking.as_ref()?.source));
        of_load_balancer
            .chain(of_targets)
            .any(|group| *group == SecurityGroupRef::Backend)
    }

    /// The intent, with ids for what was looked up.
    pub fn resolve(&self, resolved: &Resolved) -> Intent {
        let mut intent = self.intent.clone();
        if let Some(lb) = &mut intent.load_balancer {
            lb.subnets.clone_from(&resolved.subnets);
            let users = resolved.security_groups.iter().cloned().map(SecurityGroupRef::Id);
            lb.security_groups = users.chain(lb.security_groups.drain(..)).collect();
        }
        intent
    }
}

/// Whether a member says something about what `call` makes or changes.
pub fn concerns(wishes: &Contribution, call: &Mutation) -> bool {
    let shared = &wishes.shared;
    let listener = |port: &Port| {
        let of = wishes.listeners.get(port);
        of.is_some_and(|of| of.ssl_policy.is_some() || !of.certificates.is_empty())
    };
    match call {
        Mutation::CreateLoadBalancer { .. } => {
            shared.name.is_some()
                || shared.subnets.is_some()
                || shared.security_groups.is_some()
                || !shared.tags.is_empty()
        }
        Mutation::ModifyLoadBalancerAttributes { .. } => {
            !shared.attributes.is_empty() || !shared.class_attributes.is_empty()
        }
        Mutation::SetSubnets { .. } => shared.subnets.is_some(),
        Mutation::SetSecurityGroups { .. } => shared.security_groups.is_some(),
        Mutation::SetIpAddressType { .. } => shared.ip_address_type.is_some(),
        Mutation::CreateListener { listener: made, .. } | Mutation::ModifyListener { listener: made, .. } => {
            listener(&made.port)
        }
        Mutation::CreateSecurityGroup { .. } | Mutation::AuthorizeIngress { .. } => {
            wishes.listeners.values().any(|listener| listener.inbound.is_some())
        }
        Mutation::AddTags { .. } | Mutation::TagSecurityGroup { .. } => !shared.tags.is_empty(),
        _ => false,
    }
}

/// The draft of members in group order, none of which conflict.
pub(super) fn merge(settings: &Settings, group: &GroupKey, members: &[(&ObjectKey, &Contribution)]) -> Draft {
    Merge {
        settings,
        group,
        members,
    }
    .draft()
}

struct Merge<'a> {
    settings: &'a Settings,
    group: &'a GroupKey,
    members: &'a [(&'a ObjectKey, &'a Contribution)],
}

impl Merge<'_> {
    /// The first opinion of any member; there is no other.
    fn first<T: Clone>(&self, of: impl Fn(&Contribution) -> Option<&T>) -> Option<T> {
        self.members
            .iter()
            .find_map(|(_, contribution)| of(contribution))
            .cloned()
    }

    fn who(&self, says: impl Fn(&Contribution) -> bool) -> BTreeSet<ObjectKey> {
        self.members
            .iter()
            .filter(|(_, contribution)| says(contribution))
            .map(|(member, _)| (*member).clone())
            .collect()
    }

    fn draft(&self) -> Draft {
        let scheme = self
            .first(|c| c.shared.scheme.as_ref())
            .unwrap_or(self.settings.default_scheme);
        let subnets = self.first(|c| c.shared.subnets.as_ref());
        let users_groups = self.first(|c| c.shared.security_groups.as_ref()).unwrap_or_default();
        let mut certificates: BTreeMap<CertificateArn, BTreeSet<ObjectKey>> = BTreeMap::new();
        for (member, contribution) in self.members {
            for arn in contribution
                .listeners
                .values()
                .flat_map(|listener| &listener.certificates)
            {
                certificates.entry(arn.clone()).or_default().insert((*member).clone());
            }
        }
        let ip_address_type = self.ip_address_type(scheme);
        let everybody = self.who(|_| true);
        let selectors = Selectors {
            subnets_by: if subnets.is_some() {
                self.who(|c| c.shared.subnets.is_some())
            } else {
                everybody
            },
            subnets: subnets.unwrap_or(SubnetSelector::Discover(scheme)),
            ipv6: ip_address_type.has_ipv6(),
            ipv6_by: self.who(|c| ip_address_type.has_ipv6() && c.wants_ipv6()),
            security_groups_by: self.who(|c| c.shared.security_groups.is_some()),
            security_groups: users_groups.clone(),
            certificates,
        };
        let intent = if self.members.is_empty() {
            self.nothing()
        } else {
            self.intent(scheme, ip_address_type, &users_groups)
        };
        Draft { selectors, intent }
    }

    /// The intent of a group whose last member has left.
    fn nothing(&self) -> Intent {
        Intent {
            vpc: self.settings.vpc.clone(),
            load_balancer: None,
            security_group: None,
            listeners: BTreeMap::new(),
            target_groups: BTreeMap::new(),
            delete_first: false,
            attribute_defaults: attribute::defaults(),
        }
    }

    fn intent(&self, scheme: Scheme, ip_address_type: IpAddressType, users_groups: &[String]) -> Intent {
        let managed = users_groups.is_empty();
        let manage = self
            .first(|c| c.shared.manage_backend_rules.as_ref())
            .unwrap_or(self.settings.manage_backend_rules);
        let backend = self.settings.backend_security_group;
        // Which of our own groups stand behind the user's, and where targets see requests come from.
        let (own, source) = match (managed, backend) {
            (true, true) => (
                vec![SecurityGroupRef::Managed, SecurityGroupRef::Backend],
                Some(SecurityGroupRef::Backend),
            ),
            (true, false) => (vec![SecurityGroupRef::Managed], Some(SecurityGroupRef::Managed)),
            (false, true) if manage => (vec![SecurityGroupRef::Backend], Some(SecurityGroupRef::Backend)),
            (false, _) => (Vec::new(), None),
        };
        let all_tags = self.union(|_| true);
        let tracked = |resource: &str| self.tracked(all_tags.clone(), resource);
        let redirect = self.first(|c| c.shared.ssl_redirect.as_ref());
        let ports: BTreeSet<Port> = self
            .members
            .iter()
            .flat_map(|(_, c)| c.listeners.keys().copied())
            .collect();
        let listeners: BTreeMap<Port, Listener<TargetGroupKey>> = ports
            .iter()
            .map(|port| (*port, self.listener(*port, redirect)))
            .collect();
        let name = self.first(|c| c.shared.name.as_ref());
        let load_balancer = LoadBalancer {
            name: name.unwrap_or_else(|| names::load_balancer(&self.settings.cluster, self.group, scheme)),
            scheme,
            ip_address_type,
            subnets: Vec::new(),
            security_groups: own,
            attributes: self.attributes(),
            tags: tracked(tags::RESOURCE_LOAD_BALANCER),
        };
        let security_group = managed.then(|| SecurityGroup {
            name: names::security_group(&self.settings.cluster, self.group),
            description: security_group::MANAGED_DESCRIPTION.to_owned(),
            ingress: self.permissions(&ports, ip_address_type),
            tags: tracked(tags::RESOURCE_SECURITY_GROUP),
        });
        let mut target_groups = BTreeMap::new();
        for (_, contribution) in self.members {
            for (key, wanted) in &contribution.target_groups {
                target_groups.insert(key.clone(), self.target_group(wanted, source.as_ref()));
            }
        }
        // Only rules and default actions make a target group useful.
        let used: BTreeSet<&TargetGroupKey> = listeners
            .values()
            .flat_map(|l| {
                l.default_actions
                    .iter()
                    .chain(l.rules.iter().flat_map(|rule| &rule.actions))
            })
            .flat_map(Action::target_groups)
            .collect();
        target_groups.retain(|key, _| used.contains(key));
        Intent {
            load_balancer: Some(load_balancer),
            security_group,
            listeners,
            target_groups,
            delete_first: self.members.iter().any(|(_, c)| c.shared.delete_first),
            ..self.nothing()
        }
    }

    /// What the members say, as far as AWS can have it: last good wishes that lost the one they relied on stand, and keep
    /// their IPv6 targets reachable; what is internal has no public IPv4 address to do without.
    fn ip_address_type(&self, scheme: Scheme) -> IpAddressType {
        let said = self.first(|c| c.shared.ip_address_type.as_ref());
        match said.unwrap_or(IpAddressType::Ipv4) {
            IpAddressType::Ipv4 if self.members.iter().any(|(_, c)| c.ipv6_service().is_some()) => {
                IpAddressType::Dualstack
            }
            IpAddressType::DualstackWithoutPublicIpv4 if scheme == Scheme::Internal => IpAddressType::Dualstack,
            possible => possible,
        }
    }

    fn attributes(&self) -> BTreeMap<String, String> {
        let mut attributes = BTreeMap::new();
        for (_, contribution) in self.members {
            attributes.extend(contribution.shared.attributes.clone());
        }
        if let Some((_, first)) = self.members.first() {
            attributes.extend(first.shared.class_attributes.clone());
        }
        attributes
    }

    /// Users' tags of the members that `concerned` picks, with the operator's.
    fn union(&self, concerned: impl Fn(&Contribution) -> bool) -> Tags {
        let mut tags = Tags::new();
        for (_, contribution) in self.members.iter().filter(|(_, c)| concerned(c)) {
            tags.extend(contribution.shared.tags.clone());
        }
        tags
    }

    /// Users' tags, under the operator's, under those by which the resource is found again.
    fn tracked(&self, mut tags: Tags, resource: &str) -> Tags {
        tags.extend(self.settings.default_tags.clone());
        tags.retain(|key, _| !self.settings.external_managed_tags.contains(key));
        tags.insert(tags::CLUSTER.to_owned(), self.settings.cluster.clone());
        tags.insert(tags::STACK.to_owned(), self.group.stack());
        tags.insert(tags::RESOURCE.to_owned(), resource.to_owned());
        tags
    }

    fn listener(&self, port: Port, redirect: Option<Port>) -> Listener<TargetGroupKey> {
        let here: Vec<_> = self
            .members
            .iter()
            .filter_map(|(m, c)| Some((*m, *c, c.listeners.get(&port)?)))
            .collect();
        let protocol = here
            .first()
            .map_or(ListenerProtocol::Http, |(_, _, listener)| listener.protocol);
        let redirected = redirect.filter(|_| protocol == ListenerProtocol::Http);
        let default_actions = match redirected {
            Some(to) => vec![Action::Redirect(Redirect {
                protocol: Some("HTTPS".to_owned()),
                port: to.try_into().ok(),
                status_code: "HTTP_301".to_owned(),
                ..Redirect::default()
            })],
            None => here
                .iter()
                .find_map(|(_, _, listener)| listener.default_actions.clone())
                .unwrap_or_else(|| {
                    vec![Action::FixedResponse {
                        status_code: "404".to_owned(),
                        content_type: Some("text/plain".to_owned()),
                        message_body: None,
                    }]
                }),
        };
        let mut rules = Vec::new();
        for (member, contribution, listener) in here.iter().filter(|_| redirected.is_none()) {
            for wish in &listener.rules {
                let resource = format!("{port}:{}", rules.len() + 1);
                rules.push(Rule {
                    conditions: wish.conditions.clone(),
                    actions: wish.actions.clone(),
                    tags: self.tracked(contribution.shared.tags.clone(), &resource),
                    owner: Some((*member).clone()),
                });
            }
        }
        let by_name: BTreeSet<CertificateArn> = here
            .iter()
            .flat_map(|(_, _, listener)| listener.certificates.clone())
            .collect();
        let policy = here.iter().find_map(|(_, _, listener)| listener.ssl_policy.clone());
        let tls = protocol == ListenerProtocol::Https;
        Listener {
            port,
            protocol,
            default_actions,
            certificates: Certificates {
                default: here
                    .iter()
                    .find_map(|(_, _, listener)| listener.certificates.first().cloned()),
                by_name: by_name.into_iter().collect(),
            },
            ssl_policy: tls.then(|| policy.unwrap_or_else(|| self.settings.default_ssl_policy.clone())),
            tags: self.tracked(self.union(|c| c.listeners.contains_key(&port)), &port.to_string()),
            rules,
        }
    }

    /// One permission a port and range; IPv6 ranges are for dual-stack load balancers only.
    fn permissions(&self, ports: &BTreeSet<Port>, ip_address_type: IpAddressType) -> Vec<Permission> {
        let anywhere = ["0.0.0.0/0", "::/0"].map(|range| range.parse().expect("a range"));
        let anywhere: BTreeSet<IpNet> = anywhere.into();
        let mut permissions = Vec::new();
        for port in ports {
            let ranges = self
                .first(|c| c.listeners.get(port)?.inbound.as_ref())
                .unwrap_or_else(|| anywhere.clone());
            let usable = |range: &IpNet| range.addr().is_ipv4() || ip_address_type.has_ipv6();
            for range in ranges.into_iter().filter(usable) {
                permissions.push(Permission {
                    protocol: "tcp".to_owned(),
                    ports: Some((*port, *port)),
                    peer: Peer::Cidr(range),
                    description: String::new(),
                });
            }
        }
        permissions.sort();
        permissions
    }

    fn target_group(&self, wanted: &IntendedTargetGroup, source: Option<&SecurityGroupRef>) -> IntendedTargetGroup {
        let mut wanted = wanted.clone();
        let resource = wanted.group.tags.remove(tags::RESOURCE).unwrap_or_default();
        wanted.group.tags = self.tracked(std::mem::take(&mut wanted.group.tags), &resource);
        wanted.binding.networking = match (wanted.binding.networking, source) {
            (Some(networking), Some(source)) => Some(BindingNetworking {
                source: source.clone(),
                ..networking
            }),
            _ => None,
        };
        wanted
    }
}
