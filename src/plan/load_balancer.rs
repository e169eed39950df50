//! The load balancer itself.

use super::{
    Mutation, ObservedLoadBalancer, Ref,
    group::{Draft, from},
    tags::Retag,
    target_group::Fleet,
};
use crate::model::*;
use std::collections::{BTreeMap, BTreeSet};

/// Whether a new load balancer may stand beside the others. Where a name that somebody chose is taken it may not: then
/// either the others go first, with the user's consent, or nothing changes.
pub(super) fn may_be_made(draft: &mut Draft, wanted: &LoadBalancer, others: &[&ObservedLoadBalancer]) -> bool {
    let Some(taken) = others.iter().find(|lb| lb.load_balancer.name == wanted.name) else {
        return true;
    };
    if draft.intent.delete_first {
        delete(draft, taken);
        return false;
    }
    let detail = format!(
        "the load balancer has to be replaced, and its replacement cannot have the same name `{}`. Write another name, or annotate the Ingress with albacore.dev/replace=delete-first to have the old one deleted first; until then nothing changes.",
        wanted.name
    );
    problem(
        draft,
        "alb.ingress.kubernetes.io/load-balancer-name",
        Severity::Blocking,
        detail,
    );
    false
}

fn problem(draft: &mut Draft, field: &str, severity: Severity, detail: String) {
    let owners: BTreeSet<&ObjectKey> = draft
        .intent
        .listeners
        .values()
        .flat_map(|listener| &listener.rules)
        .filter_map(|rule| rule.owner.as_ref())
        .chain(draft.intent.target_groups.values().map(|group| &group.owner))
        .collect();
    let problems: Vec<Problem> = owners
        .into_iter()
        .map(|owner| Problem {
            member: Some(owner.clone()),
            object: Object::Ingress(owner.clone()),
            field: field.to_owned(),
            severity,
            code: Code::CannotChange,
            detail: detail.clone(),
        })
        .collect();
    draft.problems.extend(problems);
}

/// Makes the load balancer or brings it in line.
pub(super) fn build(
    draft: &mut Draft,
    wanted: &LoadBalancer,
    chosen: Option<&ObservedLoadBalancer>,
    groups: Vec<Ref<SecurityGroupId>>,
) -> Ref<LoadBalancerArn> {
    let Some(have) = chosen else {
        let load_balancer = LoadBalancer {
            name: wanted.name.clone(),
            scheme: wanted.scheme,
            ip_address_type: wanted.ip_address_type,
            subnets: wanted.subnets.clone(),
            security_groups: groups,
            attributes: BTreeMap::new(),
            tags: wanted.tags.clone(),
        };
        let step = draft.order.build(None, Mutation::CreateLoadBalancer { load_balancer });
        if !wanted.attributes.is_empty() {
            let attributes = wanted.attributes.clone();
            draft.order.build(
                None,
                Mutation::ModifyLoadBalancerAttributes {
                    load_balancer: from(step),
                    attributes,
                },
            );
        }
        return from(step);
    };
    let arn = &have.arn;
    let now = &have.load_balancer;
    if now.name != wanted.name {
        let detail = format!(
            "the name of an existing load balancer cannot be changed: it stays `{}`. Write that, or remove the annotation.",
            now.name
        );
        problem(
            draft,
            "alb.ingress.kubernetes.io/load-balancer-name",
            Severity::Warning,
            detail,
        );
    }
    if !gives_up_ipv6(now, wanted) {
        // Where it is to have IPv6 addresses, the subnets must have some.
        for call in [set_subnets(have, wanted), set_ip_address_type(have, wanted)]
            .into_iter()
            .flatten()
        {
            draft.order.build(None, call);
        }
    }
    let known: BTreeSet<Ref<SecurityGroupId>> = now.security_groups.iter().cloned().map(Ref::Known).collect();
    if known != groups.iter().cloned().collect() {
        draft.order.build(
            None,
            Mutation::SetSecurityGroups {
                arn: arn.clone(),
                groups,
            },
        );
    }
    let attributes = draft.attributes(&now.attributes, &wanted.attributes);
    if !attributes.is_empty() {
        let load_balancer = Ref::Known(arn.clone());
        draft.order.build(
            None,
            Mutation::ModifyLoadBalancerAttributes {
                load_balancer,
                attributes,
            },
        );
    }
    Retag::between(&now.tags, &wanted.tags, &draft.readiness.external_tags).plan(&mut draft.order, None, arn.as_str());
    Ref::Known(arn.clone())
}

fn gives_up_ipv6<A, B>(now: &LoadBalancer<A>, wanted: &LoadBalancer<B>) -> bool {
    now.ip_address_type.has_ipv6() && !wanted.ip_address_type.has_ipv6()
}

fn set_ip_address_type(have: &ObservedLoadBalancer, wanted: &LoadBalancer) -> Option<Mutation> {
    (have.load_balancer.ip_address_type != wanted.ip_address_type).then(|| Mutation::SetIpAddressType {
        arn: have.arn.clone(),
        ip_address_type: wanted.ip_address_type,
    })
}

fn set_subnets(have: &ObservedLoadBalancer, wanted: &LoadBalancer) -> Option<Mutation> {
    let as_set = |subnets: &[SubnetId]| subnets.iter().cloned().collect::<BTreeSet<_>>();
    (as_set(&have.load_balancer.subnets) != as_set(&wanted.subnets)).then(|| Mutation::SetSubnets {
        arn: have.arn.clone(),
        subnets: wanted.subnets.clone(),
    })
}

/// Takes the IPv6 addresses away when no rule needs them any more, and only then goes where there are none.
pub(super) fn give_up_ipv6(
    draft: &mut Draft,
    wanted: &LoadBalancer,
    chosen: Option<&ObservedLoadBalancer>,
    fleet: &Fleet,
) {
    let Some(have) = chosen.filter(|have| gives_up_ipv6(&have.load_balancer, wanted)) else {
        return;
    };
    let mut ipv6 = draft
        .observed
        .target_groups
        .iter()
        .filter(|group| group.group.is_ipv6());
    if ipv6.any(|group| fleet.uses(&group.arn) || draft.held.contains(&group.arn)) {
        return;
    }
    let calls = [set_ip_address_type(have, wanted), set_subnets(have, wanted)];
    for call in calls.into_iter().flatten() {
        draft.order.remove(call);
    }
}

/// Deletes a load balancer, with its protection if it has one: whoever deletes his last Ingress while it asks for
/// protection is stopped before it comes to this.
pub(super) fn delete(draft: &mut Draft, lb: &ObservedLoadBalancer) {
    if lb.protected {
        draft.order.remove(Mutation::ModifyLoadBalancerAttributes {
            load_balancer: Ref::Known(lb.arn.clone()),
            attributes: BTreeMap::from([(DELETION_PROTECTION.to_owned(), "false".to_owned())]),
        });
    }
    draft.order.remove(Mutation::DeleteLoadBalancer { arn: lb.arn.clone() });
}
