//! The plan of a group.

use super::{
    Intent, Mutation, Observed, ObservedLoadBalancer, Plan, Readiness, Ref, StepId, Wait, listener, load_balancer,
    order::Order, security_group, target_group,
};
use crate::model::*;
use std::collections::BTreeSet;

/// What separates `observed` from `intent`.
pub fn plan(intent: &Intent, observed: &Observed, readiness: &Readiness) -> Plan {
    let mut draft = Draft {
        intent,
        observed,
        readiness,
        order: Order::default(),
        waits: Vec::new(),
        problems: Vec::new(),
        held: BTreeSet::new(),
    };
    let current = draft.plan();
    draft.waits.sort();
    draft.waits.dedup();
    Plan {
        steps: draft.order.finish(),
        waits: draft.waits,
        problems: draft.problems,
        current,
    }
}

/// A plan being made.
pub(super) struct Draft<'a> {
    pub intent: &'a Intent,
    pub observed: &'a Observed,
    pub readiness: &'a Readiness,
    pub order: Order,
    pub waits: Vec<Wait>,
    pub problems: Vec<Problem>,
    /// Target groups that serve until those that were made for their rules are ready.
    pub held: BTreeSet<TargetGroupArn>,
}

impl Draft<'_> {
    fn plan(&mut self) -> Option<LoadBalancerArn> {
        let Some(wanted) = &self.intent.load_balancer else {
            self.delete_everything();
            return None;
        };
        if wanted.security_groups.contains(&SecurityGroupRef::Backend) && self.readiness.backend.is_none() {
            self.waits.push(Wait::Backend);
            return None;
        }
        // The one to be used, and the others: one that it replaces, or one that was never switched to.
        let suits = |lb: &&ObservedLoadBalancer| lb.load_balancer.scheme == wanted.scheme;
        let in_use = |lb: &&ObservedLoadBalancer| self.observed.current.as_ref() == Some(&lb.arn);
        let suiting: Vec<&ObservedLoadBalancer> = self.observed.load_balancers.iter().filter(suits).collect();
        let chosen = suiting
            .iter()
            .find(|lb| in_use(lb))
            .or_else(|| suiting.first())
            .copied();
        let others: Vec<&ObservedLoadBalancer> = self
            .observed
            .load_balancers
            .iter()
            .filter(|lb| chosen.is_none_or(|chosen| chosen.arn != lb.arn))
            .collect();
        if chosen.is_none() && !load_balancer::may_be_made(self, wanted, &others) {
            return None;
        }
        let managed = security_group::build(self);
        let groups: Vec<Ref<SecurityGroupId>> = wanted
            .security_groups
            .iter()
            .map(|group| self.security_group(group, managed.as_ref()))
            .collect::<Option<_>>()?;
        let arn = load_balancer::build(self, wanted, chosen, groups);
        let fleet = target_group::build(self, chosen, &others);
        listener::build(self, &arn, chosen, &fleet);
        load_balancer::give_up_ipv6(self, wanted, chosen, &fleet);
        let current = self.switch(chosen, &others, &fleet);
        self.retire(chosen, &others, current.as_ref());
        self.delete_unused(&fleet, &others);
        current
    }

    fn security_group(
        &self,
        group: &SecurityGroupRef,
        managed: Option<&Ref<SecurityGroupId>>,
    ) -> Option<Ref<SecurityGroupId>> {
        match group {
            SecurityGroupRef::Id(id) => Some(Ref::Known(id.clone())),
            SecurityGroupRef::Managed => managed.cloned(),
            SecurityGroupRef::Backend => self.readiness.backend.clone().map(Ref::Known),
        }
    }

    fn delete_everything(&mut self) {
        for lb in &self.observed.load_balancers {
            load_balancer::delete(self, lb);
        }
        for group in &self.observed.target_groups {
            self.order
                .remove(Mutation::DeleteTargetGroup { arn: group.arn.clone() });
        }
        if let Some(group) = &self.observed.security_group {
            self.delete_security_group(group.id.clone());
        }
    }

    /// Deletes a security group, once the network interfaces of the load balancers that had it are gone too.
    fn delete_security_group(&mut self, group: SecurityGroupId) {
        if self.readiness.unused.contains(&group) {
            self.order.remove(Mutation::DeleteSecurityGroup { group });
        } else {
            self.waits.push(Wait::Unused(group));
        }
    }

    /// Which load balancer clients should use: the chosen one, as soon as it serves as well as the one before.
    fn switch(
        &mut self,
        chosen: Option<&ObservedLoadBalancer>,
        others: &[&ObservedLoadBalancer],
        fleet: &target_group::Fleet,
    ) -> Option<LoadBalancerArn> {
        let chosen = chosen?;
        let before = others.iter().find(|lb| !self.observed.retired.contains(&lb.arn));
        if self.observed.current.as_ref() == Some(&chosen.arn) || before.is_none() {
            return Some(chosen.arn.clone());
        }
        let mut ready = self.order.built() == 0;
        if !self.readiness.active.contains(&chosen.arn) {
            self.waits.push(Wait::Active(chosen.arn.clone()));
            ready = false;
        }
        for (key, serving) in fleet.serving() {
            let Ref::Known(arn) = &serving.main else {
                ready = false;
                continue;
            };
            if !self.readiness.ready.contains(arn) {
                self.waits.push(Wait::Targets {
                    key: key.clone(),
                    arn: Some(arn.clone()),
                });
                ready = false;
            }
        }
        ready.then(|| chosen.arn.clone())
    }

    /// Deletes load balancers that nobody needs any more.
    fn retire(
        &mut self,
        chosen: Option<&ObservedLoadBalancer>,
        others: &[&ObservedLoadBalancer],
        current: Option<&LoadBalancerArn>,
    ) {
        let switched = chosen.is_some_and(|chosen| current == Some(&chosen.arn));
        for lb in others {
            let in_use = self.observed.current.as_ref() == Some(&lb.arn) || self.observed.current.is_none();
            let retired = self.observed.retired.contains(&lb.arn) || (in_use && switched);
            if retired {
                if self.readiness.lingered.contains(&lb.arn) {
                    load_balancer::delete(self, lb);
                } else {
                    self.waits.push(Wait::Linger(lb.arn.clone()));
                }
            } else if !in_use && (switched || self.observed.current.is_some()) {
                load_balancer::delete(self, lb);
            }
        }
    }

    /// Deletes target groups and a security group that no load balancer that stays uses.
    fn delete_unused(&mut self, fleet: &target_group::Fleet, others: &[&ObservedLoadBalancer]) {
        let going: BTreeSet<&LoadBalancerArn> = self.order.deleted_load_balancers().collect();
        let staying = || others.iter().filter(|lb| !going.contains(&lb.arn));
        let needed: BTreeSet<&TargetGroupArn> = staying().flat_map(|lb| target_group::used_by(lb)).collect();
        let unused: Vec<TargetGroupArn> = self
            .observed
            .target_groups
            .iter()
            .map(|group| &group.arn)
            .filter(|arn| !fleet.uses(arn) && !needed.contains(arn) && !self.held.contains(*arn))
            .cloned()
            .collect();
        let mut guards = staying().flat_map(|lb| &lb.load_balancer.security_groups);
        let managed = self.observed.security_group.as_ref().map(|group| &group.id);
        let unguarded = managed.filter(|id| self.intent.security_group.is_none() && guards.all(|guard| guard != *id));
        for arn in unused {
            self.order.remove(Mutation::DeleteTargetGroup { arn });
        }
        if let Some(group) = unguarded.cloned() {
            self.delete_security_group(group);
        }
    }
}

/// What is there already, or is made by a step.
pub(super) fn from<T>(step: StepId) -> Ref<T> {
    Ref::From(step)
}
