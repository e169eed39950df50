//! What a step that was done means for what AWS holds.

use super::{
    Made, Mutation, NetworkObserved, Observed, ObservedListener, ObservedLoadBalancer, ObservedRule,
    ObservedSecurityGroup, ObservedTargetGroup, Plan, Readiness, Ref, Results, Step, TargetsObserved,
};
use crate::model::*;

impl Observed {
    /// Folds a step that succeeded, and what it made, into what is known. `results` hold what earlier steps made.
    /// Returns whether anything changed: `false` for a step on something that is not known here.
    pub fn apply(&mut self, step: &Step, made: &Made, results: &Results) -> bool {
        self.try_apply(&step.call, made, results).is_some()
    }

    /// Folds in what a plan decided without a call: which load balancer is in use, and which target groups were seen
    /// ready. To be called before the plan's state is stored. Returns whether anything changed.
    pub fn note(&mut self, plan: &Plan, readiness: &Readiness) -> bool {
        let before = (self.current.clone(), self.retired.clone(), self.warming.clone());
        if plan.current.is_some() && self.current != plan.current {
            let previous = self.in_use(plan.current.as_ref());
            self.retired.extend(previous);
            self.current.clone_from(&plan.current);
        }
        if let Some(current) = &self.current {
            self.retired.remove(current);
        }
        self.warming.retain(|group| !readiness.ready.contains(group));
        before != (self.current.clone(), self.retired.clone(), self.warming.clone())
    }

    /// Notes which attributes steps are about to set. To be called before the plan's state is stored.
    pub fn attempt(&mut self, steps: &[Step]) {
        for step in steps {
            let (resource, attributes) = match &step.call {
                Mutation::ModifyLoadBalancerAttributes {
                    load_balancer,
                    attributes,
                } => (named(load_balancer), attributes),
                Mutation::ModifyTargetGroupAttributes { group, attributes } => (named(group), attributes),
                _ => continue,
            };
            let keys = self.attempted.entry(resource).or_default();
            keys.extend(attributes.keys().cloned());
        }
    }

    /// After reading AWS anew: takes over what AWS cannot tell, and forgets attributes that neither the intent nor an
    /// earlier one set, since those are somebody else's (AWS tells all attributes, with their defaults).
    pub fn remember(&mut self, before: &Self, intended: Option<&super::Intent>) {
        self.current = before.current.clone().filter(|arn| self.load_balancer(arn).is_some());
        self.attempted = before.attempted.clone();
        let attempted = |arn: &str, is_known: bool, key: &str| {
            let of = |name: &str| before.attempted.get(name).is_some_and(|keys| keys.contains(key));
            of(arn) || (!is_known && of(""))
        };
        self.retired = before.retired.clone();
        self.retired
            .retain(|arn| self.load_balancers.iter().any(|lb| lb.arn == *arn));
        self.warming = before.warming.clone();
        self.warming
            .retain(|arn| self.target_groups.iter().any(|tg| tg.arn == *arn));
        for lb in &mut self.load_balancers {
            let known = before.load_balancer(&lb.arn).map(|b| &b.load_balancer.attributes);
            let wanted = intended.and_then(|i| i.load_balancer.as_ref()).map(|w| &w.attributes);
            lb.load_balancer.attributes.retain(|key, _| {
                attempted(lb.arn.as_str(), known.is_some(), key)
                    || [known, wanted].into_iter().flatten().any(|set| set.contains_key(key))
            });
        }
        for tg in &mut self.target_groups {
            let known = before.target_groups.iter().find(|b| b.arn == tg.arn);
            let resource = tg.group.tags.get(tags::RESOURCE);
            let wanted = intended
                .zip(resource)
                .and_then(|(i, resource)| i.target_groups.get(&TargetGroupKey(resource.clone())));
            tg.group.attributes.retain(|key, _| {
                attempted(tg.arn.as_str(), known.is_some(), key)
                    || known.is_some_and(|k| k.group.attributes.contains_key(key))
                    || wanted.is_some_and(|w| w.group.attributes.contains_key(key))
            });
        }
    }

    /// The load balancer that was in use, other than `but`.
    fn in_use(&self, but: Option<&LoadBalancerArn>) -> Option<LoadBalancerArn> {
        let others = || {
            self.load_balancers
                .iter()
                .map(|lb| &lb.arn)
                .filter(|arn| Some(*arn) != but)
        };
        match &self.current {
            Some(current) => others().find(|arn| *arn == current).cloned(),
            None => others().next().cloned(),
        }
    }

    /// The load balancer with this ARN.
    pub fn load_balancer(&self, arn: &LoadBalancerArn) -> Option<&ObservedLoadBalancer> {
        self.load_balancers.iter().find(|lb| lb.arn == *arn)
    }

    fn load_balancer_mut(&mut self, arn: &LoadBalancerArn) -> Option<&mut ObservedLoadBalancer> {
        self.load_balancers.iter_mut().find(|lb| lb.arn == *arn)
    }

    fn target_group_mut(&mut self, arn: &TargetGroupArn) -> Option<&mut ObservedTargetGroup> {
        self.target_groups.iter_mut().find(|tg| tg.arn == *arn)
    }

    fn listeners_mut(&mut self) -> impl Iterator<Item = &mut ObservedListener> {
        self.load_balancers.iter_mut().flat_map(|lb| lb.listeners.values_mut())
    }

    fn listener_mut(&mut self, arn: &ListenerArn) -> Option<&mut ObservedListener> {
        self.listeners_mut().find(|l| l.arn == *arn)
    }

    fn rule_mut(&mut self, arn: &RuleArn) -> Option<&mut ObservedRule> {
        self.listeners_mut()
            .flat_map(|l| l.rules.iter_mut())
            .find(|r| r.arn == *arn)
    }

    /// ARNs of everything of Elastic Load Balancing that has tags.
    pub fn tagged(&self) -> Vec<String> {
        let groups = self.target_groups.iter().map(|tg| tg.arn.to_string());
        let of_listener = |listener: &ObservedListener| {
            let rules = listener.rules.iter().map(|rule| rule.arn.to_string());
            rules.chain([listener.arn.to_string()]).collect::<Vec<_>>()
        };
        let of_load_balancer = |lb: &ObservedLoadBalancer| {
            let listeners = lb.listeners.values().flat_map(of_listener);
            listeners.chain([lb.arn.to_string()]).collect::<Vec<_>>()
        };
        groups
            .chain(self.load_balancers.iter().flat_map(of_load_balancer))
            .collect()
    }

    /// Takes over the tags that AWS tells of a resource.
    pub fn set_tags(&mut self, resource: &str, told: &Tags) {
        if let Some(tags) = self.tags_mut(resource) {
            tags.clone_from(told);
        }
    }

    fn tags_mut(&mut self, resource: &str) -> Option<&mut Tags> {
        for tg in &mut self.target_groups {
            if tg.arn.as_str() == resource {
                return Some(&mut tg.group.tags);
            }
        }
        for lb in &mut self.load_balancers {
            if lb.arn.as_str() == resource {
                return Some(&mut lb.load_balancer.tags);
            }
            for listener in lb.listeners.values_mut() {
                if listener.arn.as_str() == resource {
                    return Some(&mut listener.listener.tags);
                }
                for rule in &mut listener.rules {
                    if rule.arn.as_str() == resource {
                        return Some(&mut rule.rule.tags);
                    }
                }
            }
        }
        None
    }

    fn security_group_mut(&mut self, id: &SecurityGroupId) -> Option<&mut SecurityGroup> {
        self.security_group
            .as_mut()
            .filter(|sg| sg.id == *id)
            .map(|sg| &mut sg.group)
    }

    fn try_apply(&mut self, call: &Mutation, made: &Made, results: &Results) -> Option<()> {
        match call {
            Mutation::CreateSecurityGroup {
                name,
                description,
                tags,
                ..
            } => {
                self.security_group = Some(created_security_group(made, name, description, tags)?);
            }
            Mutation::AuthorizeIngress { group, permissions } => {
                let group = results.resolve(group)?;
                let ingress = &mut self.security_group_mut(&group)?.ingress;
                ingress.extend(permissions.iter().cloned());
                ingress.sort();
                ingress.dedup();
            }
            Mutation::RevokeIngress { group, permissions } => self
                .security_group_mut(group)?
                .ingress
                .retain(|have| !permissions.contains(have)),
            Mutation::TagSecurityGroup { group, tags } => {
                self.security_group_mut(group)?.tags.extend(tags.clone());
            }
            Mutation::UntagSecurityGroup { group, keys } => self
                .security_group_mut(group)?
                .tags
                .retain(|key, _| !keys.contains(key)),
            Mutation::DeleteSecurityGroup { group } => {
                self.security_group_mut(group)?;
                self.security_group = None;
            }

            Mutation::CreateTargetGroup { group, .. } => {
                let Made::TargetGroup(arn) = made else { return None };
                let mut group = group.clone();
                group.attributes.clear();
                self.target_groups.push(ObservedTargetGroup {
                    arn: arn.clone(),
                    group,
                });
                self.warming.insert(arn.clone());
            }
            Mutation::ModifyTargetGroup { arn, health_check, .. } => {
                self.target_group_mut(arn)?.group.health_check.clone_from(health_check);
            }
            Mutation::ModifyTargetGroupAttributes { group, attributes } => {
                let group = results.resolve(group)?;
                self.target_group_mut(&group)?
                    .group
                    .attributes
                    .extend(attributes.clone());
            }
            Mutation::DeleteTargetGroup { arn } => {
                self.target_group_mut(arn)?;
                self.target_groups.retain(|tg| tg.arn != *arn);
                self.warming.remove(arn);
            }

            Mutation::CreateLoadBalancer { load_balancer } => {
                let Made::LoadBalancer {
                    arn,
                    dns_name,
                    hosted_zone,
                } = made
                else {
                    return None;
                };
                self.load_balancers.push(ObservedLoadBalancer {
                    arn: arn.clone(),
                    dns_name: dns_name.clone(),
                    hosted_zone: hosted_zone.clone(),
                    load_balancer: LoadBalancer {
                        name: load_balancer.name.clone(),
                        scheme: load_balancer.scheme,
                        ip_address_type: load_balancer.ip_address_type,
                        subnets: load_balancer.subnets.clone(),
                        security_groups: resolve_all(&load_balancer.security_groups, results)?,
                        attributes: Default::default(),
                        tags: load_balancer.tags.clone(),
                    },
                    protected: false,
                    listeners: Default::default(),
                });
            }
            Mutation::ModifyLoadBalancerAttributes {
                load_balancer,
                attributes,
            } => {
                let arn = results.resolve(load_balancer)?;
                let lb = self.load_balancer_mut(&arn)?;
                lb.load_balancer.attributes.extend(attributes.clone());
                if attributes.contains_key(DELETION_PROTECTION) {
                    lb.protected = lb.load_balancer.is_protected();
                }
            }
            Mutation::SetSubnets { arn, subnets } => {
                self.load_balancer_mut(arn)?.load_balancer.subnets.clone_from(subnets);
            }
            Mutation::SetSecurityGroups { arn, groups } => {
                let groups = resolve_all(groups, results)?;
                self.load_balancer_mut(arn)?.load_balancer.security_groups = groups;
            }
            Mutation::SetIpAddressType { arn, ip_address_type } => {
                self.load_balancer_mut(arn)?.load_balancer.ip_address_type = *ip_address_type;
            }
            Mutation::DeleteLoadBalancer { arn } => {
                self.load_balancer(arn)?;
                self.load_balancers.retain(|lb| lb.arn != *arn);
                self.retired.remove(arn);
                self.current.take_if(|current| current == arn);
            }

            Mutation::CreateListener {
                load_balancer,
                listener,
            } => {
                let Made::Listener(arn) = made else { return None };
                let load_balancer = results.resolve(load_balancer)?;
                let created = ObservedListener {
                    arn: arn.clone(),
                    listener: Listener {
                        port: listener.port,
                        protocol: listener.protocol,
                        default_actions: resolve_actions(&listener.default_actions, results)?,
                        certificates: Certificates {
                            default: listener.certificates.default.clone(),
                            by_name: Vec::new(),
                        },
                        ssl_policy: listener.ssl_policy.clone(),
                        tags: listener.tags.clone(),
                        rules: Vec::new(),
                    },
                    rules: Vec::new(),
                };
                self.load_balancer_mut(&load_balancer)?
                    .listeners
                    .insert(listener.port, created);
            }
            Mutation::ModifyListener { arn, listener } => {
                let default_actions = resolve_actions(&listener.default_actions, results)?;
                let have = &mut self.listener_mut(arn)?.listener;
                have.protocol = listener.protocol;
                have.default_actions = default_actions;
                have.certificates.default.clone_from(&listener.certificates.default);
                match listener.protocol {
                    ListenerProtocol::Https => {
                        if listener.ssl_policy.is_some() {
                            have.ssl_policy.clone_from(&listener.ssl_policy);
                        }
                    }
                    // AWS drops what only TLS needs.
                    ListenerProtocol::Http => {
                        have.ssl_policy = None;
                        have.certificates = Certificates::default();
                    }
                }
            }
            Mutation::DeleteListener { arn } => {
                self.listener_mut(arn)?;
                for lb in &mut self.load_balancers {
                    lb.listeners.retain(|_, listener| listener.arn != *arn);
                }
            }
            Mutation::AddListenerCertificate { listener, certificate } => {
                let listener = results.resolve(listener)?;
                let by_name = &mut self.listener_mut(&listener)?.listener.certificates.by_name;
                by_name.push(certificate.clone());
                by_name.sort();
                by_name.dedup();
            }
            Mutation::RemoveListenerCertificate { listener, certificate } => self
                .listener_mut(listener)?
                .listener
                .certificates
                .by_name
                .retain(|have| have != certificate),

            Mutation::CreateRule {
                listener,
                priority,
                rule,
            } => {
                let Made::Rule(arn) = made else { return None };
                let listener = results.resolve(listener)?;
                let rule = rule.try_map(&mut |group| results.resolve(group))?;
                let rules = &mut self.listener_mut(&listener)?.rules;
                rules.push(ObservedRule {
                    arn: arn.clone(),
                    priority: *priority,
                    rule,
                });
                rules.sort_by_key(|rule| rule.priority);
            }
            Mutation::ModifyRule { arn, rule } => {
                let actions = resolve_actions(&rule.actions, results)?;
                let have = &mut self.rule_mut(arn)?.rule;
                have.conditions.clone_from(&rule.conditions);
                have.actions = actions;
                have.owner.clone_from(&rule.owner);
            }
            Mutation::SetRulePriorities { listener, priorities } => {
                let priorities = priorities
                    .iter()
                    .map(|(rule, priority)| Some((results.resolve(rule)?, *priority)))
                    .collect::<Option<Vec<_>>>()?;
                let rules = &mut self.listener_mut(listener)?.rules;
                for (arn, priority) in priorities {
                    for rule in rules.iter_mut().filter(|rule| rule.arn == arn) {
                        rule.priority = priority;
                    }
                }
                rules.sort_by_key(|rule| rule.priority);
            }
            Mutation::DeleteRule { arn } => {
                self.rule_mut(arn)?;
                for listener in self.listeners_mut() {
                    listener.rules.retain(|rule| rule.arn != *arn);
                }
            }

            Mutation::AddTags { resource, tags } => self.tags_mut(resource)?.extend(tags.clone()),
            Mutation::RemoveTags { resource, keys } => self.tags_mut(resource)?.retain(|key, _| !keys.contains(key)),
            Mutation::RegisterTargets { .. } | Mutation::DeregisterTargets { .. } => return None,
        }
        Some(())
    }
}

impl NetworkObserved {
    /// Folds a step that succeeded into what is known. Returns whether anything changed.
    pub fn apply(&mut self, step: &Step, made: &Made, results: &Results) -> bool {
        self.try_apply(&step.call, made, results).is_some()
    }

    fn try_apply(&mut self, call: &Mutation, made: &Made, results: &Results) -> Option<()> {
        match call {
            Mutation::CreateSecurityGroup {
                name,
                description,
                tags,
                ..
            } => self.backend = Some(created_security_group(made, name, description, tags)?),
            Mutation::TagSecurityGroup { group, tags } => self
                .backend
                .as_mut()
                .filter(|backend| backend.id == *group)?
                .group
                .tags
                .extend(tags.clone()),
            Mutation::AuthorizeIngress { group, permissions } => {
                let group = results.resolve(group)?;
                self.endpoint_rules
                    .entry(group)
                    .or_default()
                    .extend(permissions.iter().cloned());
            }
            Mutation::RevokeIngress { group, permissions } => {
                let rules = self.endpoint_rules.get_mut(group)?;
                rules.retain(|have| !permissions.contains(have));
                if rules.is_empty() {
                    self.endpoint_rules.remove(group);
                }
            }
            Mutation::DeleteSecurityGroup { group } => {
                self.backend.take_if(|backend| backend.id == *group)?;
            }
            _ => return None,
        }
        Some(())
    }
}

impl TargetsObserved {
    /// Folds a step that succeeded into what is known. Returns whether anything changed.
    pub fn apply(&mut self, step: &Step) -> bool {
        match &step.call {
            Mutation::RegisterTargets { targets, .. } => self.registered.extend(targets.iter().cloned()),
            Mutation::DeregisterTargets { targets, .. } => self.registered.retain(|have| !targets.contains(have)),
            _ => return false,
        }
        true
    }
}

fn created_security_group(made: &Made, name: &str, description: &str, tags: &Tags) -> Option<ObservedSecurityGroup> {
    let Made::SecurityGroup(id) = made else { return None };
    Some(ObservedSecurityGroup {
        id: id.clone(),
        group: SecurityGroup {
            name: name.to_owned(),
            description: description.to_owned(),
            ingress: Vec::new(),
            tags: tags.clone(),
        },
    })
}

fn resolve_all(groups: &[Ref<SecurityGroupId>], results: &Results) -> Option<Vec<SecurityGroupId>> {
    groups.iter().map(|group| results.resolve(group)).collect()
}

fn resolve_actions(actions: &[Action<Ref<TargetGroupArn>>], results: &Results) -> Option<Vec<Action<TargetGroupArn>>> {
    actions
        .iter()
        .map(|action| action.try_map(&mut |group| results.resolve(group)))
        .collect()
}

/// The ARN of something that is there; nothing for what a step makes.
fn named<T: ToString>(reference: &Ref<T>) -> String {
    match reference {
        Ref::Known(arn) => arn.to_string(),
        Ref::From(_) => String::new(),
    }
}
