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
mod conflict;
mod contribution;
mod member;
mod merge;
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
    let same = |(member, wishes): (&ObjectKey, &Contribution)| fresh.get(member) == Some(&Some(wishes.clone()));
    let refused = |(_, refused): &(&ObjectKey, &Refused)| refused.wishes.iter().all(same);
    let refusals: Vec<(&ObjectKey, &Refused)> = input.refusals.iter().filter(refused).collect();
    for (member, refused) in refusals {
        problems.extend(refused.problems.iter().cloned());
        fresh.insert(member.clone(), None);
    }
    let (settled, blocked) = settle(input.last_good, &mut fresh, &classes, &mut problems);
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

/// Which wishes count, and who is blocked. A redirect needs an HTTPS listener, of whichever member: who redirects to a
/// port that is not there keeps his last good wishes, even if that port left since, so that nothing that was redirected is
/// served in the clear. Those who changed are asked first: they may have taken the port away themselves.
fn settle(
    last_good: &BTreeMap<ObjectKey, Contribution>,
    fresh: &mut BTreeMap<ObjectKey, Option<Contribution>>,
    classes: &BTreeMap<ObjectKey, &IngressClassParams>,
    problems: &mut Vec<Problem>,
) -> (BTreeMap<ObjectKey, Contribution>, BTreeSet<ObjectKey>) {
    let mut astray = BTreeSet::new();
    loop {
        let (settled, blocked, refused) = agree(last_good, fresh);
        let nowhere: Vec<(ObjectKey, String)> = settled
            .iter()
            .filter(|(member, _)| !astray.contains(*member))
            .filter_map(|(member, wishes)| {
                let detail = conflict::redirect_problem(&settled, wishes.shared.ssl_redirect?)?;
                Some((member.clone(), detail))
            })
            .collect();
        let changed = |(member, _): &&(ObjectKey, String)| settled.get(member) != last_good.get(member);
        let mut turn: Vec<&(ObjectKey, String)> = nowhere.iter().filter(changed).collect();
        if turn.is_empty() {
            turn = nowhere.iter().collect();
        }
        if turn.is_empty() {
            problems.extend(refused.iter().filter_map(|member| {
                let wishes = fresh[member].as_ref()?;
                objection(&settled, member, wishes, classes.get(member).copied())
            }));
            return (settled, blocked);
        }
        for (member, detail) in turn {
            let (object, field) = place("ssl-redirect", None, member, classes.get(member).copied());
            problems.push(Problem {
                member: Some(member.clone()),
                object,
                field,
                severity: Severity::Blocking,
                code: Code::InvalidValue,
                detail: detail.clone(),
            });
            fresh.insert(member.clone(), None);
            astray.insert(member.clone());
        }
    }
}

/// Where something is to be changed: at the annotation, or at the field of the class that stands in for it.
fn place(
    annotation: &str,
    key: Option<&str>,
    member: &ObjectKey,
    class: Option<&IngressClassParams>,
) -> (Object, String) {
    let of_class = class.and_then(|class| Some((class, conflict::field_of_class(&class.spec, annotation, key)?)));
    match of_class {
        Some((class, field)) => (Object::IngressClassParams(class.name.clone()), field.to_owned()),
        None if annotation.starts_with("spec.") => (Object::Ingress(member.clone()), annotation.to_owned()),
        None => {
            let full = format!("{}{annotation}", annotation::PREFIX);
            (Object::Ingress(member.clone()), full)
        }
    }
}

type Wishes = BTreeMap<ObjectKey, Contribution>;

/// The wishes that agree with each other, who is blocked, and who of them because he disagrees. In this order, each only
/// if it agrees with what stands: changes, first those that agree with everything as it was, so that whoever brings a
/// conflict in has it; changes that several members make together, all or none; new members. Who is blocked keeps his
/// last good wishes.
fn agree(
    last_good: &Wishes,
    fresh: &BTreeMap<ObjectKey, Option<Contribution>>,
) -> (Wishes, BTreeSet<ObjectKey>, Vec<ObjectKey>) {
    let mut standing: Wishes = last_good.clone();
    standing.retain(|member, _| fresh.contains_key(member));
    let wishes = fresh
        .iter()
        .filter_map(|(member, wishes)| Some((member.clone(), wishes.clone()?)));
    let wishes: Wishes = wishes.collect();
    let (mut changed, new): (Vec<_>, Vec<_>) = in_group_order(&wishes)
        .into_iter()
        .filter(|(member, wishes)| standing.get(*member) != Some(*wishes))
        .partition(|(member, _)| standing.contains_key(*member));
    let agrees = |with: &Wishes, (member, wishes): &(&ObjectKey, &Contribution)| {
        with.iter()
            .all(|(other, theirs)| other == *member || conflict::conflict(theirs, wishes).is_none())
    };
    let accept = |standing: &mut Wishes, (member, wishes): (&ObjectKey, &Contribution)| {
        standing.insert(member.clone(), wishes.clone());
    };
    // One that moves may make room for another.
    loop {
        let waiting = changed.len();
        changed.retain(|change| {
            let fits = agrees(&standing, change);
            if fits {
                accept(&mut standing, *change);
            }
            !fits
        });
        if changed.len() == waiting {
            break;
        }
    }
    let mut still = standing.clone();
    still.retain(|member, _| !changed.iter().any(|(changing, _)| *changing == member));
    let (together, mut refused): (Vec<_>, Vec<_>) = changed.into_iter().partition(|change| agrees(&still, change));
    let mut moved = standing.clone();
    together.iter().for_each(|change| accept(&mut moved, *change));
    if together.iter().all(|change| agrees(&moved, change)) {
        standing = moved;
    } else {
        refused.extend(together);
    }
    for member in new {
        if agrees(&standing, &member) {
            accept(&mut standing, member);
        } else {
            refused.push(member);
        }
    }
    let refused: Vec<ObjectKey> = refused.into_iter().map(|(member, _)| member.clone()).collect();
    let unknown = fresh
        .iter()
        .filter(|(_, wishes)| wishes.is_none())
        .map(|(member, _)| member);
    let blocked = unknown.chain(&refused).cloned().collect();
    (standing, blocked, refused)
}

/// What keeps a member's wishes from standing beside the settled ones.
fn objection(
    settled: &BTreeMap<ObjectKey, Contribution>,
    member: &ObjectKey,
    wishes: &Contribution,
    class: Option<&IngressClassParams>,
) -> Option<Problem> {
    let (other, conflict) = in_group_order(settled)
        .into_iter()
        .filter(|(other, _)| *other != member)
        .find_map(|(other, theirs)| Some((other, conflict::conflict(theirs, wishes)?)))?;
    let (object, field) = place(conflict.field, conflict.key.as_deref(), member, class);
    Some(Problem {
        member: Some(member.clone()),
        object,
        field,
        severity: Severity::Blocking,
        code: Code::Conflict,
        detail: format!(
            "{} conflicts with Ingress {other} of the same group, where it is {}. {}, or give one of them another \
             `{}group.name`.",
            conflict.wanted,
            conflict.standing,
            conflict.cure,
            annotation::PREFIX
        ),
    })
}
