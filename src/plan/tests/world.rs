//! A small AWS that refuses what the real one would. What a step that it takes means, the planner's own fold says.

use super::wish::IPV6_SUBNETS;
use crate::{model::*, plan::*};
use std::collections::{BTreeMap, BTreeSet};

/// Rules of a load balancer, the default ones not counted, and target groups of one action ("Quotas for your Application
/// Load Balancers").
const RULES: usize = 100;
const GROUPS_OF_AN_ACTION: usize = 5;

/// What AWS holds for one group, which is also what is remembered of it.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub observed: Observed,
    /// The cluster's shared backend security group, once it was waited for.
    pub backend: Option<SecurityGroupId>,
    /// Target groups whose targets are healthy. Nothing is checked that no rule names.
    pub healthy: BTreeSet<TargetGroupArn>,
    made: u32,
}

/// Why AWS refuses a step.
pub type Refusal = String;

fn refuse_unless(fine: bool, why: impl FnOnce() -> Refusal) -> Result<(), Refusal> {
    if fine { Ok(()) } else { Err(why()) }
}

/// All actions of a load balancer.
pub fn actions(lb: &ObservedLoadBalancer) -> impl Iterator<Item = &Action<TargetGroupArn>> {
    lb.listeners.values().flat_map(|listener| {
        let of_rules = listener.rules.iter().flat_map(|rule| &rule.rule.actions);
        of_rules.chain(&listener.listener.default_actions)
    })
}

impl World {
    /// Does a step, or says why AWS would not.
    pub fn perform(&mut self, step: &Step, results: &mut Results) -> Result<(), Refusal> {
        let refused = |why| format!("{why}: {:?}", step.call);
        self.check(&step.call, results).map_err(refused)?;
        let made = self.make(&step.call);
        if !self.observed.apply(step, &made, results) {
            return Err(format!("a step on something unknown: {:?}", step.call));
        }
        results.record(step.id, made);
        let named: BTreeSet<TargetGroupArn> = self.named().cloned().collect();
        self.healthy.retain(|group| named.contains(group));
        Ok(())
    }

    /// Time passes: whatever is checked becomes healthy.
    pub fn wait(&mut self) {
        self.healthy = self.named().cloned().collect();
    }

    /// Target groups that a rule or a listener names.
    pub fn named(&self) -> impl Iterator<Item = &TargetGroupArn> {
        let all = self.observed.load_balancers.iter().flat_map(actions);
        all.flat_map(Action::target_groups)
    }

    /// The group of that ARN.
    pub fn target_group(&self, arn: &TargetGroupArn) -> Option<&TargetGroup> {
        let mut groups = self.observed.target_groups.iter();
        groups.find(|group| group.arn == *arn).map(|group| &group.group)
    }

    fn make(&mut self, call: &Mutation) -> Made {
        self.made += 1;
        let id = |kind: &str| format!("{kind}-{}", self.made);
        match call {
            Mutation::CreateSecurityGroup { .. } => Made::SecurityGroup(id("sg").into()),
            Mutation::CreateTargetGroup { .. } => Made::TargetGroup(id("tg").into()),
            Mutation::CreateLoadBalancer { .. } => Made::LoadBalancer {
                arn: id("lb").into(),
                dns_name: id("dns"),
                hosted_zone: "zone".into(),
            },
            Mutation::CreateListener { .. } => Made::Listener(id("listener").into()),
            Mutation::CreateRule { .. } => Made::Rule(id("rule").into()),
            _ => Made::Nothing,
        }
    }

    fn check(&self, call: &Mutation, results: &Results) -> Result<(), Refusal> {
        match call {
            Mutation::CreateSecurityGroup { name, .. } => {
                let taken = self
                    .observed
                    .security_group
                    .as_ref()
                    .is_some_and(|g| g.group.name == *name);
                refuse_unless(!taken, || "InvalidGroup.Duplicate".to_owned())
            }
            Mutation::AuthorizeIngress { group, permissions } => {
                let have = &self.security_group(&resolve(group, results)?)?.ingress;
                let fine = !permissions.is_empty() && permissions.iter().all(|new| !have.contains(new));
                refuse_unless(fine, || "InvalidPermission.Duplicate".to_owned())
            }
            Mutation::RevokeIngress { group, permissions } => {
                let have = &self.security_group(group)?.ingress;
                let fine = !permissions.is_empty() && permissions.iter().all(|old| have.contains(old));
                refuse_unless(fine, || "InvalidPermission.NotFound".to_owned())
            }
            Mutation::TagSecurityGroup { group, .. } | Mutation::UntagSecurityGroup { group, .. } => {
                self.security_group(group).map(drop)
            }
            Mutation::DeleteSecurityGroup { group } => {
                self.security_group(group)?;
                let mut used = self.observed.load_balancers.iter();
                let used = used.any(|lb| lb.load_balancer.security_groups.contains(group));
                refuse_unless(!used, || "DependencyViolation".to_owned())
            }

            Mutation::CreateTargetGroup { group, .. } => {
                let taken = self.observed.target_groups.iter().any(|g| g.group.name == group.name);
                refuse_unless(!taken, || "DuplicateTargetGroupName".to_owned())
            }
            Mutation::ModifyTargetGroup { arn, .. } => self.exists(arn),
            Mutation::ModifyTargetGroupAttributes { group, attributes } => {
                self.exists(&resolve(group, results)?)?;
                refuse_unless(!attributes.is_empty(), || "no attributes".to_owned())
            }
            Mutation::DeleteTargetGroup { arn } => {
                self.exists(arn)?;
                refuse_unless(self.named().all(|named| named != arn), || "ResourceInUse".to_owned())
            }

            Mutation::CreateLoadBalancer { load_balancer } => {
                let mut others = self.observed.load_balancers.iter();
                let taken = others.any(|lb| lb.load_balancer.name == load_balancer.name);
                refuse_unless(!taken, || "DuplicateLoadBalancerName".to_owned())?;
                check_subnets(load_balancer.ip_address_type, &load_balancer.subnets)?;
                self.all_security_groups_exist(&load_balancer.security_groups, results)
            }
            Mutation::ModifyLoadBalancerAttributes {
                load_balancer,
                attributes,
            } => {
                self.load_balancer(&resolve(load_balancer, results)?)?;
                refuse_unless(!attributes.is_empty(), || "no attributes".to_owned())
            }
            Mutation::SetSubnets { arn, subnets } => {
                check_subnets(self.load_balancer(arn)?.load_balancer.ip_address_type, subnets)
            }
            Mutation::SetSecurityGroups { arn, groups } => {
                self.load_balancer(arn)?;
                self.all_security_groups_exist(groups, results)
            }
            Mutation::SetIpAddressType { arn, ip_address_type } => {
                let lb = self.load_balancer(arn)?;
                check_subnets(*ip_address_type, &lb.load_balancer.subnets)?;
                let named = actions(lb).flat_map(Action::target_groups);
                let mut groups = named.filter_map(|arn| self.target_group(arn));
                let reached = ip_address_type.has_ipv6() || !groups.any(TargetGroup::is_ipv6);
                refuse_unless(reached, || "an IPv6 target group".to_owned())
            }
            Mutation::DeleteLoadBalancer { arn } => {
                let lb = self.load_balancer(arn)?;
                refuse_unless(!lb.protected, || "OperationNotPermitted".to_owned())
            }

            Mutation::CreateListener {
                load_balancer,
                listener,
            } => {
                let lb = self.load_balancer(&resolve(load_balancer, results)?)?;
                let free = !lb.listeners.contains_key(&listener.port);
                refuse_unless(free, || "DuplicateListener".to_owned())?;
                refuse_unless(listener.rules.is_empty(), || "rules within a listener".to_owned())?;
                self.check_listener(lb, listener, results)
            }
            Mutation::ModifyListener { arn, listener } => {
                let (lb, have) = self.listener(arn)?;
                refuse_unless(have.listener.port == listener.port, || "another port".to_owned())?;
                self.check_listener(lb, listener, results)
            }
            Mutation::DeleteListener { arn } => self.listener(arn).map(drop),
            Mutation::AddListenerCertificate { listener, certificate } => {
                let (_, have) = self.listener(&resolve(listener, results)?)?;
                let tls = have.listener.protocol == ListenerProtocol::Https;
                refuse_unless(tls, || "UnsupportedProtocol".to_owned())?;
                let new = !have.listener.certificates.by_name.contains(certificate);
                refuse_unless(new, || "a call that changes nothing".to_owned())
            }
            Mutation::RemoveListenerCertificate { listener, certificate } => {
                let certificates = &self.listener(listener)?.1.listener.certificates;
                let is_default = certificates.default.as_ref() == Some(certificate);
                refuse_unless(!is_default, || "OperationNotPermitted".to_owned())?;
                let there = certificates.by_name.contains(certificate);
                refuse_unless(there, || "CertificateNotFound".to_owned())
            }

            Mutation::CreateRule {
                listener,
                priority,
                rule,
            } => {
                let (lb, have) = self.listener(&resolve(listener, results)?)?;
                let free = have.rules.iter().all(|other| other.priority != *priority);
                refuse_unless(free && (1..=50_000).contains(priority), || "PriorityInUse".to_owned())?;
                refuse_unless(have.rules.len() < RULES, || "TooManyRules".to_owned())?;
                self.check_rule(lb, rule, results)
            }
            Mutation::ModifyRule { arn, rule } => self.check_rule(self.rule(arn)?.0, rule, results),
            Mutation::SetRulePriorities { listener, priorities } => {
                self.check_priorities(listener, priorities, results)
            }
            Mutation::DeleteRule { arn } => self.rule(arn).map(drop),

            // What is tagged must be known, which the fold says.
            Mutation::AddTags { tags, .. } => refuse_unless(!tags.is_empty(), || "no tags".to_owned()),
            Mutation::RemoveTags { keys, .. } => refuse_unless(!keys.is_empty(), || "no tags".to_owned()),
            Mutation::RegisterTargets { .. } | Mutation::DeregisterTargets { .. } => {
                Err("targets are planned for themselves".to_owned())
            }
        }
    }

    fn check_listener(
        &self,
        lb: &ObservedLoadBalancer,
        listener: &Listener<Ref<TargetGroupArn>>,
        results: &Results,
    ) -> Result<(), Refusal> {
        let tls = listener.protocol == ListenerProtocol::Https;
        refuse_unless(tls == listener.certificates.default.is_some(), || {
            "certificates without TLS, or TLS without one".to_owned()
        })?;
        self.check_actions(lb, &listener.default_actions, results)
    }

    fn check_rule(
        &self,
        lb: &ObservedLoadBalancer,
        rule: &Rule<Ref<TargetGroupArn>>,
        results: &Results,
    ) -> Result<(), Refusal> {
        refuse_unless(!rule.conditions.is_empty(), || "no conditions".to_owned())?;
        self.check_actions(lb, &rule.actions, results)
    }

    /// Each target group exists, stands once in its action, and belongs to this load balancer or to none.
    fn check_actions(
        &self,
        lb: &ObservedLoadBalancer,
        all: &[Action<Ref<TargetGroupArn>>],
        results: &Results,
    ) -> Result<(), Refusal> {
        refuse_unless(all.len() == 1, || "one action".to_owned())?;
        let named: Vec<TargetGroupArn> = all
            .iter()
            .flat_map(Action::target_groups)
            .map(|group| resolve(group, results))
            .collect::<Result<_, _>>()?;
        let distinct: BTreeSet<&TargetGroupArn> = named.iter().collect();
        refuse_unless(distinct.len() == named.len(), || "a target group twice".to_owned())?;
        refuse_unless(named.len() <= GROUPS_OF_AN_ACTION, || "TooManyTargetGroups".to_owned())?;
        let weighted = all.iter().all(|action| match action {
            Action::Forward(to) => to.targets.len() == 1 || to.targets.iter().all(|target| target.weight.is_some()),
            _ => true,
        });
        refuse_unless(weighted, || "several target groups without weights".to_owned())?;
        let others = || self.observed.load_balancers.iter().filter(|other| other.arn != lb.arn);
        for group in distinct {
            self.exists(group)?;
            let mut elsewhere = others().flat_map(actions).flat_map(Action::target_groups);
            let free = elsewhere.all(|other| other != group);
            refuse_unless(free, || "TargetGroupAssociationLimit".to_owned())?;
            let ipv6 = self.target_group(group).is_some_and(TargetGroup::is_ipv6);
            let reached = !ipv6 || lb.load_balancer.ip_address_type.has_ipv6();
            refuse_unless(reached, || "an IPv6 target group".to_owned())?;
        }
        Ok(())
    }

    fn check_priorities(
        &self,
        listener: &ListenerArn,
        moves: &[(Ref<RuleArn>, Priority)],
        results: &Results,
    ) -> Result<(), Refusal> {
        let (_, have) = self.listener(listener)?;
        let mut places: BTreeMap<&RuleArn, Priority> = have.rules.iter().map(|r| (&r.arn, r.priority)).collect();
        for (rule, priority) in moves {
            let rule = resolve(rule, results)?;
            let place = places.iter_mut().find(|(arn, _)| ***arn == rule);
            *place.ok_or("RuleNotFound")?.1 = *priority;
        }
        let distinct: BTreeSet<Priority> = places.values().copied().collect();
        let legal = distinct.iter().all(|place| (1..=50_000).contains(place));
        refuse_unless(legal && distinct.len() == places.len() && !moves.is_empty(), || {
            "PriorityInUse".to_owned()
        })
    }

    fn all_security_groups_exist(&self, groups: &[Ref<SecurityGroupId>], results: &Results) -> Result<(), Refusal> {
        for group in groups {
            let id = resolve(group, results)?;
            let users = id.as_str().starts_with("sg-user");
            let there = users || self.backend.as_ref() == Some(&id) || self.security_group(&id).is_ok();
            refuse_unless(there, || "InvalidSecurityGroup".to_owned())?;
        }
        refuse_unless(!groups.is_empty(), || "no security group".to_owned())
    }

    fn exists(&self, arn: &TargetGroupArn) -> Result<(), Refusal> {
        refuse_unless(self.target_group(arn).is_some(), || {
            format!("TargetGroupNotFound {arn}")
        })
    }

    fn security_group(&self, id: &SecurityGroupId) -> Result<&SecurityGroup, Refusal> {
        let managed = self.observed.security_group.as_ref().filter(|group| group.id == *id);
        managed
            .map(|group| &group.group)
            .ok_or_else(|| format!("InvalidGroup.NotFound {id}"))
    }

    fn load_balancer(&self, arn: &LoadBalancerArn) -> Result<&ObservedLoadBalancer, Refusal> {
        self.observed
            .load_balancer(arn)
            .ok_or_else(|| format!("LoadBalancerNotFound {arn}"))
    }

    fn listener(&self, arn: &ListenerArn) -> Result<(&ObservedLoadBalancer, &ObservedListener), Refusal> {
        let all = self.observed.load_balancers.iter();
        let mut all = all.flat_map(|lb| lb.listeners.values().map(move |listener| (lb, listener)));
        all.find(|(_, listener)| listener.arn == *arn)
            .ok_or_else(|| format!("ListenerNotFound {arn}"))
    }

    fn rule(&self, arn: &RuleArn) -> Result<(&ObservedLoadBalancer, &ObservedRule), Refusal> {
        let all = self.observed.load_balancers.iter();
        let mut all = all.flat_map(|lb| {
            let rules = lb.listeners.values().flat_map(|listener| &listener.rules);
            rules.map(move |rule| (lb, rule))
        });
        all.find(|(_, rule)| rule.arn == *arn)
            .ok_or_else(|| format!("RuleNotFound {arn}"))
    }
}

/// Two zones, and IPv6 blocks where addresses are to be taken from them.
fn check_subnets(ip_address_type: IpAddressType, subnets: &[SubnetId]) -> Result<(), Refusal> {
    refuse_unless(subnets.len() > 1, || "two zones at least".to_owned())?;
    let has_ipv6 = |subnet: &SubnetId| IPV6_SUBNETS.contains(&subnet.as_str());
    let fits = !ip_address_type.has_ipv6() || subnets.iter().all(has_ipv6);
    refuse_unless(fits, || "a subnet without IPv6 block".to_owned())
}

/// What an earlier step made, or what is there.
fn resolve<T: MadeBy>(reference: &Ref<T>, results: &Results) -> Result<T, Refusal> {
    results
        .resolve(reference)
        .ok_or_else(|| "a step that names a later one".to_owned())
}
