//! Rules of a listener: as few calls as possible, and no moment in which a request that is served before and after is
//! not.
//!
//! 1. Equal rules are paired wherever they stand, then those with equal conditions, then those in the same place, unless
//!    one that stood before would come to stand behind.
//! 2. Whatever stands in the wrong place moves, all in one call; what is to go is moved out of the way, to the end.
//! 3. Pairs that differ are changed in place, what is missing is made, what is left is deleted last.

use super::{
    Mutation, ObservedRule, Ref,
    group::Draft,
    tags::Retag,
    target_group::{self, Fleet},
};
use crate::model::*;

/// The last place there is ("CreateRule", Elastic Load Balancing API reference).
const LAST: Priority = 50_000;
/// Rules of a listener, the default one not counted ("Quotas for your Application Load Balancers": 100 per load balancer).
const QUOTA: usize = 100;

/// Brings the rules of a listener in line.
pub(super) fn build(
    draft: &mut Draft,
    listener: &Ref<ListenerArn>,
    have: &[ObservedRule],
    wanted: &Listener<TargetGroupKey>,
    fleet: &Fleet,
) {
    let wanted: Vec<Rule<Ref<TargetGroupArn>>> = wanted
        .rules
        .iter()
        .map(|rule| Rule {
            conditions: rule.conditions.clone(),
            actions: fleet.actions(&rule.actions),
            tags: rule.tags.clone(),
            owner: rule.owner.clone(),
        })
        .collect();
    let pairs = pair(&wanted, have);
    let left: Vec<&ObservedRule> = have
        .iter()
        .enumerate()
        .filter(|(n, _)| !pairs.contains(&Some(*n)))
        .map(|(_, rule)| rule)
        .collect();
    place(draft, listener, have, &pairs, &left);
    let missing = pairs.iter().filter(|pair| pair.is_none()).count();
    let over = (have.len() + missing).saturating_sub(QUOTA).min(left.len());
    // At the wall something has to go before something else can come.
    for rule in &left[..over] {
        draft.order.build(None, Mutation::DeleteRule { arn: rule.arn.clone() });
    }
    for ((rule, priority), pair) in wanted.iter().zip(1..).zip(&pairs) {
        let owner = rule.owner.as_ref();
        match pair.map(|n| &have[n]) {
            None => {
                let call = Mutation::CreateRule {
                    listener: listener.clone(),
                    priority,
                    rule: rule.clone(),
                };
                draft.order.build(owner, call);
            }
            Some(now) => {
                let mut rule = rule.clone();
                // A rule for other requests than before owes nobody anything.
                if rule.conditions == now.rule.conditions {
                    rule.actions = target_group::handover(draft, fleet, rule.actions, &now.rule.actions);
                }
                if !same(&rule, now) {
                    draft.order.build(
                        owner,
                        Mutation::ModifyRule {
                            arn: now.arn.clone(),
                            rule: rule.clone(),
                        },
                    );
                }
                let tags = Retag::between(&now.rule.tags, &rule.tags, &draft.readiness.external_tags);
                tags.plan(&mut draft.order, owner, now.arn.as_str());
            }
        }
    }
    for rule in &left[over..] {
        draft.order.remove(Mutation::DeleteRule { arn: rule.arn.clone() });
    }
}

/// Whether a rule does what is wanted, wherever it stands.
fn same(wanted: &Rule<Ref<TargetGroupArn>>, have: &ObservedRule) -> bool {
    let known = |action: &Action<TargetGroupArn>| action.try_map(&mut |arn| Some(Ref::Known(arn.clone())));
    let actions: Option<Vec<_>> = have.rule.actions.iter().map(known).collect();
    have.rule.conditions == wanted.conditions && actions.as_ref() == Some(&wanted.actions)
}

/// For each wanted rule, the one that becomes it.
fn pair(wanted: &[Rule<Ref<TargetGroupArn>>], have: &[ObservedRule]) -> Vec<Option<usize>> {
    let mut pairs = vec![None; wanted.len()];
    // Of several rules for the same requests only the first gets any.
    let first = |conditions: &[Condition]| have.iter().position(|rule| rule.rule.conditions == conditions);
    // Until it is changed it takes its old requests: from no rule that stood before it.
    let overtakes = |pairs: &[Option<usize>], w: usize, h: usize| pairs[w..].iter().flatten().any(|before| *before < h);
    type Fits<'a> = &'a dyn Fn(&[Option<usize>], usize, usize) -> bool;
    let fits: [Fits; 3] = [
        &|_, w, h| same(&wanted[w], &have[h]),
        &|_, w, h| first(&wanted[w].conditions) == Some(h),
        &|pairs, w, h| have[h].priority as usize == w + 1 && !overtakes(pairs, w, h),
    ];
    for fits in fits {
        for w in 0..wanted.len() {
            if pairs[w].is_none() {
                pairs[w] = (0..have.len()).find(|h| !pairs.contains(&Some(*h)) && fits(&pairs, w, *h));
            }
        }
    }
    pairs
}

/// Moves whatever stands in the wrong place.
fn place(
    draft: &mut Draft,
    listener: &Ref<ListenerArn>,
    have: &[ObservedRule],
    pairs: &[Option<usize>],
    left: &[&ObservedRule],
) {
    let Ref::Known(listener) = listener else { return };
    let mut moves: Vec<(Ref<RuleArn>, Priority)> = Vec::new();
    for (pair, priority) in pairs.iter().zip(1..) {
        if let Some(now) = pair.map(|n| &have[n])
            && now.priority != priority
        {
            moves.push((Ref::Known(now.arn.clone()), priority));
        }
    }
    // What is to go stands in the way of what moves there, or is made there.
    let wanted = u32::try_from(pairs.len()).unwrap_or(LAST);
    let mut end = LAST;
    for rule in left.iter().filter(|rule| rule.priority <= wanted) {
        while have.iter().any(|other| other.priority == end) {
            end -= 1;
        }
        moves.push((Ref::Known(rule.arn.clone()), end));
        end -= 1;
    }
    if !moves.is_empty() {
        draft.order.build(
            None,
            Mutation::SetRulePriorities {
                listener: listener.clone(),
                priorities: moves,
            },
        );
    }
}
