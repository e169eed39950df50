//! Facts → intent and problems. Pure.
//!
//! ```text
//! each member: annotations, class, spec ─► Contribution, or what blocks it (then its last good one)
//! all members, in group order ─► settled one by one ─► Draft ─► (selectors looked up) ─► Intent
//! ```
//! A member that conflicts with what is settled is blocked and the others go on. Members that did not change are settled
//! first, so that whoever brings a conflict in has it.

pub mod annotation;
mod attribute;
mod backend;
mod contribution;
mod member;
mod merge;
#[cfg(test)]
mod tests;

pub use contribution::{Contribution, ListenerWish, RuleWish, Shared};
pub use merge::{Draft, concerns};

use crate::{
    facts::{Cluster, Ingress, Membership},
    model::*,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Wishes that AWS, or a look at AWS, refused.
#[derive(Clone, Debug)]
pub struct Refused {
    /// What members wished when they were: that these wishes are the same still is what makes it hold.
    pub wishes: Arc<BTreeMap<ObjectKey, Contribution>>,
    /// Why.
    pub problems: Vec<Problem>,
}

/// What a group is built from.
pub struct BuildInput<'a> {
    /// The operator's settings.
    pub settings: &'a Settings,
    /// The group.
    pub group: &'a GroupKey,
    /// All facts.
    pub cluster: &'a Cluster,
    /// The last good wishes of each member.
    pub last_good: &'a BTreeMap<ObjectKey, Contribution>,
    /// Wishes that the edge found to be refused, by the member whose problem that is.
    pub refusals: &'a BTreeMap<ObjectKey, Refused>,
}

/// What a group came to.
#[derive(Clone, Debug)]
pub struct Built {
    /// The load balancer, but for what must be looked up.
    pub draft: Draft,
    /// The wishes it was made of, by member; the next last good ones.
    pub contributions: BTreeMap<ObjectKey, Contribution>,
    /// What users did wrong.
    pub problems: Vec<Problem>,
    /// Members, in group order.
    pub active: Vec<ObjectKey>,
    /// Ingresses that carry the group's finalizer and do not belong to it any more.
    pub leaving: Vec<ObjectKey>,
    /// Members whose present wishes are not acted upon.
    pub blocked: BTreeSet<ObjectKey>,
}

/// Builds a group.
pub fn build(input: &BuildInput) -> Built {
    let mut problems = Vec::new();
    let mut fresh: BTreeMap<ObjectKey, Option<Contribution>> = BTreeMap::new();
    let mut leaving = Vec::new();
    for ingress in input.cluster.standing_in(input.group) {
        let held = Cluster::held_by(ingress).contains(input.group);
        match input.cluster.membership(input.settings, ingress) {
            Membership::Member(group, params) if group == *input.group => {
                let member = member::build(input.settings, input.cluster, input.group, ingress, params);
                problems.extend(member.problems);
                fresh.insert(ingress.key.clone(), member.contribution);
            }
            Membership::Unclear(problem) => {
                problems.push(problem);
                if held {
                    fresh.insert(ingress.key.clone(), None);
                }
            }
            Membership::Unnamed(problem) => {
                problems.push(problem);
                leaving.extend(held.then(|| ingress.key.clone()));
            }
            _ if held => match protected(ingress) {
                Some(problem) => {
                    problems.push(problem);
                    fresh.insert(ingress.key.clone(), None);
                }
                None => leaving.push(ingress.key.clone()),
            },
            _ => {}
        }
    }
    let same = |(member, wishes): (&ObjectKey, &Contribution)| fresh.get(member) == Some(&Some(wishes.clone()));
    let refused = |(_, refused): &(&ObjectKey, &Refused)| refused.wishes.iter().all(same);
    let refusals: Vec<(&ObjectKey, &Refused)> = input.refusals.iter().filter(refused).collect();
    for (member, refused) in refusals {
        problems.extend(refused.problems.iter().cloned());
        fresh.insert(member.clone(), None);
    }
    let (settled, blocked) = settle(input.last_good, &mut fresh, &mut problems);
    let members: Vec<(&ObjectKey, &Contribution)> = in_group_order(&settled);
    let draft = merge::merge(input.settings, input.group, &members);
    let mut active: Vec<ObjectKey> = members.iter().map(|(member, _)| (*member).clone()).collect();
    active.extend(fresh.keys().filter(|member| !settled.contains_key(*member)).cloned());
    problems.sort();
    problems.dedup();
    Built {
        draft,
        contributions: settled,
        problems,
        active,
        leaving,
        blocked,
    }
}

/// A deleted Ingress that wants its load balancer protected from deletion.
fn protected(ingress: &Ingress) -> Option<Problem> {
    let key = format!("{}load-balancer-attributes", annotation::PREFIX);
    let attributes = annotation::split_map(ingress.annotations.get(&key)?)?;
    if !ingress.deleting || attributes.get(DELETION_PROTECTION).map(String::as_str) != Some("true") {
        return None;
    }
    Some(Problem {
        member: Some(ingress.key.clone()),
        object: Object::Ingress(ingress.key.clone()),
        field: key,
        severity: Severity::Blocking,
        code: Code::CannotChange,
        detail: format!(
            "`{DELETION_PROTECTION}=true` protects the load balancer of this deleted Ingress, so nothing is deleted. \
             Write `{DELETION_PROTECTION}=false` to let it go."
        ),
    })
}

fn in_group_order(settled: &BTreeMap<ObjectKey, Contribution>) -> Vec<(&ObjectKey, &Contribution)> {
    let mut members: Vec<(&ObjectKey, &Contribution)> = settled.iter().collect();
    members.sort_by_key(|(member, contribution)| (contribution.order, member.to_string()));
    members
}

/// Which wishes count, once those that redirect to a port that is not there are left out: who has such keeps his last
/// good ones, even if that port left since. Nothing that was redirected is served in the clear.
fn settle(
    last_good: &BTreeMap<ObjectKey, Contribution>,
    fresh: &mut BTreeMap<ObjectKey, Option<Contribution>>,
    problems: &mut Vec<Problem>,
) -> (BTreeMap<ObjectKey, Contribution>, BTreeSet<ObjectKey>) {
    loop {
        let mut found = Vec::new();
        let (settled, mut blocked) = settle_once(last_good, fresh, &mut found);
        let members = in_group_order(&settled);
        let to_nowhere = |(member, wishes): &(&ObjectKey, &Contribution)| {
            let detail = merge::redirect_problem(&members, wishes.shared.ssl_redirect?)?;
            Some(((*member).clone(), detail))
        };
        let to_nowhere: Vec<(ObjectKey, String)> = members.iter().filter_map(to_nowhere).collect();
        let mut again = false;
        for (member, detail) in to_nowhere {
            again |= fresh.insert(member.clone(), None).flatten().is_some();
            problems.push(Problem {
                member: Some(member.clone()),
                object: Object::Ingress(member.clone()),
                field: format!("{}ssl-redirect", annotation::PREFIX),
                severity: Severity::Blocking,
                code: Code::InvalidValue,
                detail,
            });
            blocked.insert(member);
        }
        if !again {
            problems.extend(found);
            return (settled, blocked);
        }
    }
}

/// Which wishes agree. In this order, each only if it agrees with what is settled: wishes that did not change; changes
/// that agree with everything as it was, so that whoever brings a conflict in has it; changes that several members make
/// together, all or none; new members. Who is blocked keeps his last good wishes.
fn settle_once(
    last_good: &BTreeMap<ObjectKey, Contribution>,
    fresh: &BTreeMap<ObjectKey, Option<Contribution>>,
    problems: &mut Vec<Problem>,
) -> (BTreeMap<ObjectKey, Contribution>, BTreeSet<ObjectKey>) {
    let before: BTreeMap<ObjectKey, Contribution> = last_good
        .iter()
        .filter(|(member, _)| fresh.contains_key(*member))
        .map(|(member, wishes)| (member.clone(), wishes.clone()))
        .collect();
    let mut settled: BTreeMap<ObjectKey, Contribution> = BTreeMap::new();
    let mut blocked: BTreeSet<ObjectKey> = BTreeSet::new();
    let mut changed: BTreeMap<ObjectKey, Contribution> = BTreeMap::new();
    for (member, wishes) in fresh {
        match (wishes, before.get(member)) {
            (Some(now), Some(before)) if now == before => drop(settled.insert(member.clone(), now.clone())),
            (Some(now), _) => drop(changed.insert(member.clone(), now.clone())),
            (None, before) => {
                blocked.insert(member.clone());
                settled.extend(before.map(|before| (member.clone(), before.clone())));
            }
        }
    }
    let agrees = |with: &BTreeMap<ObjectKey, Contribution>, member: &ObjectKey, wishes: &Contribution| {
        with.iter()
            .all(|(other, theirs)| other == member || merge::conflict(theirs, wishes).is_none())
    };
    let (known, new): (Vec<_>, Vec<_>) = in_group_order(&changed)
        .into_iter()
        .partition(|(member, _)| before.contains_key(*member));
    let (alone, together): (Vec<_>, Vec<_>) = known
        .into_iter()
        .partition(|(member, wishes)| agrees(&before, member, wishes) && agrees(&settled, member, wishes));
    let mut refused = Vec::new();
    for (member, wishes) in alone {
        if agrees(&settled, member, wishes) {
            settled.insert(member.clone(), wishes.clone());
        } else {
            refused.push((member, wishes));
        }
    }
    let (together, hopeless): (Vec<_>, Vec<_>) = together
        .into_iter()
        .partition(|(member, wishes)| agrees(&settled, member, wishes));
    refused.extend(hopeless);
    let mut moved = settled.clone();
    moved.extend(
        refused
            .iter()
            .map(|(member, _)| ((*member).clone(), before[*member].clone())),
    );
    moved.extend(together.iter().map(|(m, wishes)| ((*m).clone(), (*wishes).clone())));
    if together.iter().all(|(member, wishes)| agrees(&moved, member, wishes)) {
        settled = moved;
    } else {
        refused.extend(together);
        settled.extend(
            refused
                .iter()
                .map(|(member, _)| ((*member).clone(), before[*member].clone())),
        );
    }
    for (member, wishes) in new {
        if agrees(&settled, member, wishes) {
            settled.insert(member.clone(), wishes.clone());
        } else {
            refused.push((member, wishes));
        }
    }
    for (member, wishes) in refused {
        problems.extend(objection(&settled, member, wishes));
        blocked.insert(member.clone());
    }
    (settled, blocked)
}

/// What keeps a member's wishes from standing beside the settled ones.
fn objection(
    settled: &BTreeMap<ObjectKey, Contribution>,
    member: &ObjectKey,
    wishes: &Contribution,
) -> Option<Problem> {
    let (other, (field, what)) = in_group_order(settled)
        .into_iter()
        .filter(|(other, _)| *other != member)
        .find_map(|(other, theirs)| Some((other, merge::conflict(theirs, wishes)?)))?;
    Some(Problem {
        member: Some(member.clone()),
        object: Object::Ingress(member.clone()),
        field,
        severity: Severity::Blocking,
        code: Code::Conflict,
        detail: format!(
            "conflicts with Ingress {other} of the same group, where {what}. Write the same in both, or give one of \
             them another `{}group.name`.",
            annotation::PREFIX
        ),
    })
}
