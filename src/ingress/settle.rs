//! Which members' wishes count where they disagree.
//!
//! ```text
//! what stands ─► changes that agree with it ─► changes that need each other ─► new members ─► what they rely on is there?
//!      ▲                                                                                        │ no: back to last good
//!      └────────────────────────────────── until nothing moves ─────────────────────────────────┘
//! ```
//! Nobody's last good wishes are ever dropped.

use super::{
    Contribution, annotation,
    conflict::{self, Lost},
};
use crate::{facts::IngressClassParams, model::*};
use std::collections::{BTreeMap, BTreeSet};

type Wishes = BTreeMap<ObjectKey, Contribution>;
type Change<'a> = (&'a ObjectKey, &'a Contribution);

/// Members in the order in which their rules follow each other.
pub(super) fn in_group_order(settled: &Wishes) -> Vec<Change<'_>> {
    let mut members: Vec<Change<'_>> = settled.iter().collect();
    members.sort_by_key(|(member, contribution)| (contribution.order, member.to_string()));
    members
}

/// Which wishes count, and who is blocked: settled again until nothing moves, since whoever moved may have made room.
/// `default` is the scheme of a group that says none.
pub(super) fn settle(
    default: Scheme,
    last_good: &Wishes,
    fresh: &BTreeMap<ObjectKey, Option<Contribution>>,
    classes: &BTreeMap<ObjectKey, &IngressClassParams>,
    problems: &mut Vec<Problem>,
) -> (Wishes, BTreeSet<ObjectKey>) {
    let mut standing = last_good.clone();
    standing.retain(|member, _| fresh.contains_key(member));
    loop {
        let round = round(default, &standing, fresh);
        if round.settled != standing {
            standing = round.settled;
            continue;
        }
        problems.extend(round.astray.into_iter().map(|(member, lost)| {
            let class = classes.get(&member).copied();
            let place = place(lost.annotation, None, &member, class);
            blocking(&member, Code::InvalidValue, place, lost.detail)
        }));
        problems.extend(round.refused.iter().filter_map(|member| {
            let class = classes.get(member).copied();
            objection(&standing, member, fresh[member].as_ref()?, class)
        }));
        return (standing, round.blocked);
    }
}

/// What comes of wishes once they were all heard.
struct Round {
    settled: Wishes,
    blocked: BTreeSet<ObjectKey>,
    /// Blocked since they disagree.
    refused: Vec<ObjectKey>,
    /// Blocked since they rely on what is not there.
    astray: BTreeMap<ObjectKey, Lost>,
}

/// Hears all wishes. A redirect needs an HTTPS listener, of whichever member: who redirects to a port that is not there
/// keeps his last good wishes, even if that port left since, so that nothing that was redirected is served in the clear.
/// Likewise whoever needs a dual-stack load balancer, or one that faces the internet.
fn round(default: Scheme, before: &Wishes, fresh: &BTreeMap<ObjectKey, Option<Contribution>>) -> Round {
    let mut heard = fresh.clone();
    let mut astray = BTreeMap::new();
    loop {
        let (settled, blocked, refused) = agree(before, &heard);
        let lost = astray_in(default, before, &settled, &astray);
        if lost.is_empty() {
            return Round {
                settled,
                blocked,
                refused,
                astray,
            };
        }
        heard.extend(lost.iter().map(|(member, _)| (member.clone(), None)));
        astray.extend(lost);
    }
}

/// Who relies on what is not there: first those who would with everything else as it was, then those who changed; who did
/// not may have lost it to them.
fn astray_in(
    default: Scheme,
    before: &Wishes,
    settled: &Wishes,
    known: &BTreeMap<ObjectKey, Lost>,
) -> Vec<(ObjectKey, Lost)> {
    let lost = |with: &Wishes, member: &ObjectKey| conflict::lost(default, with, &with[member]);
    let all: Vec<(ObjectKey, Lost)> = settled
        .keys()
        .filter(|member| !known.contains_key(*member))
        .filter_map(|member| Some((member.clone(), lost(settled, member)?)))
        .collect();
    let changed = |member: &ObjectKey| settled.get(member) != before.get(member);
    let alone = |member: &ObjectKey| {
        let mut as_it_was = before.clone();
        as_it_was.insert(member.clone(), settled[member].clone());
        changed(member) && lost(&as_it_was, member).is_some()
    };
    let to_blame: [&dyn Fn(&ObjectKey) -> bool; 2] = [&alone, &changed];
    let turns = to_blame
        .iter()
        .map(|blame| all.iter().filter(|(member, _)| blame(member)).cloned());
    let first = turns.map(Iterator::collect::<Vec<_>>).find(|turn| !turn.is_empty());
    first.unwrap_or(all)
}

fn blocking(member: &ObjectKey, code: Code, (object, field): (Object, String), detail: String) -> Problem {
    Problem {
        member: Some(member.clone()),
        object,
        field,
        severity: Severity::Blocking,
        code,
        detail,
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

/// The wishes that agree with each other, who is blocked, and who of them because he disagrees. In this order, each only
/// if it agrees with what stands: changes, first those that agree with everything as it was, so that whoever brings a
/// conflict in has it; changes that need each other; new members. Who is blocked keeps his last good wishes.
fn agree(
    before: &Wishes,
    fresh: &BTreeMap<ObjectKey, Option<Contribution>>,
) -> (Wishes, BTreeSet<ObjectKey>, Vec<ObjectKey>) {
    let mut standing = before.clone();
    let wishes = fresh
        .iter()
        .filter_map(|(member, wishes)| Some((member.clone(), wishes.clone()?)));
    let wishes: Wishes = wishes.collect();
    let (mut changed, new): (Vec<_>, Vec<_>) = in_group_order(&wishes)
        .into_iter()
        .filter(|(member, wishes)| standing.get(*member) != Some(*wishes))
        .partition(|(member, _)| standing.contains_key(*member));
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
        if changed.len() < waiting {
            continue;
        }
        let Some(moving) = changed.iter().find_map(|first| together(&standing, &changed, first)) else {
            break;
        };
        changed.retain(|(member, _)| !moving.contains_key(*member));
        standing.extend(moving);
    }
    let mut refused = changed;
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

fn agrees(with: &Wishes, (member, wishes): &Change) -> bool {
    with.iter()
        .all(|(other, theirs)| other == *member || conflict::conflict(theirs, wishes).is_none())
}

/// A change with those that must be made with it, because what stands with them is in its way; `None` when they do not
/// agree all the same.
fn together(standing: &Wishes, changed: &[Change], first: &Change) -> Option<Wishes> {
    let mut moving = Wishes::from([(first.0.clone(), first.1.clone())]);
    let in_the_way = |moving: &Wishes, (member, _): &Change| {
        !moving.contains_key(*member) && !agrees(moving, &(member, &standing[*member]))
    };
    while let Some((member, wishes)) = changed.iter().find(|change| in_the_way(&moving, change)) {
        moving.insert((*member).clone(), (*wishes).clone());
    }
    let mut all = standing.clone();
    all.extend(moving.clone());
    moving.iter().all(|change| agrees(&all, &change)).then_some(moving)
}

/// What keeps a member's wishes from standing beside the settled ones.
fn objection(
    settled: &Wishes,
    member: &ObjectKey,
    wishes: &Contribution,
    class: Option<&IngressClassParams>,
) -> Option<Problem> {
    let (other, conflict) = in_group_order(settled)
        .into_iter()
        .filter(|(other, _)| *other != member)
        .find_map(|(other, theirs)| Some((other, conflict::conflict(theirs, wishes)?)))?;
    let detail = format!(
        "{} conflicts with Ingress {other} of the same group, where it is {}. {}, or give one of them another \
         `{}group.name`.",
        conflict.wanted,
        conflict.standing,
        conflict.cure,
        annotation::PREFIX
    );
    let place = place(conflict.field, conflict.key.as_deref(), member, class);
    Some(blocking(member, Code::Conflict, place, detail))
}
