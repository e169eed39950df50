//! Facts → intent and problems. Pure.
//!
//! ```text
//! each member: annotations, class, spec ─► Contribution, or what blocks it (then its last good one)
//! all members, in group order ─► settled one by one ─► Draft ─► (selectors looked up) ─► Intent
//! ```
//! A member that conflicts with what is settled is blocked and the others go on.

pub mod annotation;
mod attribute;
mod backend;
mod conflict;
mod contribution;
mod member;
mod merge;
pub mod quota;
mod settle;
#[cfg(test)]
mod tests;

pub use contribution::{Contribution, ListenerWish, RuleWish, Shared};
pub use merge::{Draft, concerns};

use crate::{
    facts::{Cluster, Ingress, IngressClassParams, Membership},
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
    /// Members whose last good wishes stay although they are gone.
    pub kept: &'a BTreeSet<ObjectKey>,
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
    let mut classes: BTreeMap<ObjectKey, &IngressClassParams> = BTreeMap::new();
    let mut leaving = Vec::new();
    for ingress in input.cluster.standing_in(input.group) {
        let held = Cluster::held_by(ingress).contains(input.group);
        match input.cluster.membership(input.settings, ingress) {
            Membership::Member(group, params) if group == *input.group => {
                let member = member::build(input.settings, input.cluster, input.group, ingress, params);
                problems.extend(member.problems);
                classes.extend(params.map(|params| (ingress.key.clone(), params)));
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
    leaving.retain(|member| !input.kept.contains(member));
    fresh.extend(input.kept.iter().map(|member| (member.clone(), None)));
    let same = |(member, wishes): (&ObjectKey, &Contribution)| fresh.get(member) == Some(&Some(wishes.clone()));
    let refused = |(_, refused): &(&ObjectKey, &Refused)| refused.wishes.iter().all(same);
    let refusals: Vec<(&ObjectKey, &Refused)> = input.refusals.iter().filter(refused).collect();
    for (member, refused) in refusals {
        problems.extend(refused.problems.iter().cloned());
        fresh.insert(member.clone(), None);
    }
    let (settled, blocked) = settle::settle(
        input.settings.default_scheme,
        input.last_good,
        &fresh,
        &classes,
        &mut problems,
    );
    let members: Vec<(&ObjectKey, &Contribution)> = settle::in_group_order(&settled);
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
