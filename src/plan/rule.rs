//! Rules of a listener: as few calls as possible, and no moment in which a request that the same rule answers before and
//! after is answered otherwise.
//!
//! 1. Equal rules are paired in order, wherever they stand, then those with equal conditions, then those in the same
//!    place, unless one that stood before would come to stand behind.
//! 2. Whatever stands in the wrong place moves, all in one call; what is to go is moved out of the way, to the end.
//! 3. Pairs that differ are changed in place, what is missing is made, what is left is deleted last.

use super::{
    Mutation, ObservedListener, ObservedRule, Ref,
    group::Draft,
    tags::Retag,
    target_group::{self, Fleet},
};
use crate::model::*;

/// The last place there is ("CreateRule", Elastic Load Balancing API reference).
const LAST: Priority = 50_000;
/// Rules of a listener, the default one not counted ("Quotas for your Application Load Balancers": 100 per load balancer).
const QUOTA: usize = 100;

/// The rules of a listener, and which become which.
pub(super) struct Rules<'a> {
    listener: Ref<ListenerArn>,
    wanted: Vec<Rule<Ref<TargetGroupArn>>>,
    have: &'a [ObservedRule],
    /// For each wanted rule, the one that becomes it.
    pairs: Vec<Option<usize>>,
    /// What becomes nothing.
    left: Vec<&'a ObservedRule>,
}

impl<'a> Rules<'a> {
    pub fn new(
        listener: Ref<ListenerArn>,
        have: &'a [ObservedRule],
        wanted: &Listener<TargetGroupKey>,
        fleet: &Fleet,
    ) -> Self {
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
        let left = have
            .iter()
            .enumerate()
            .filter(|(n, _)| !pairs.contains(&Some(*n)))
            .map(|(_, rule)| rule)
            .collect();
        Self {
            listener,
            wanted,
            have,
            pairs,
            left,
        }
    }

    fn missing(&self) -> usize {
        self.pairs.iter().filter(|pair| pair.is_none()).count()
    }
}

/// Brings the rules of a load balancer's listeners in line, and removes `surplus` listeners.
pub(super) fn build(draft: &mut Draft, listeners: &[Rules], surplus: &[&ObservedListener], fleet: &Fleet) {
    for rules in listeners {
        place(draft, rules);
    }
    let there = listeners.iter().map(|rules| rules.have.len() + rules.missing());
    let beside = surplus.iter().map(|listener| listener.rules.len());
    // At the wall something has to go before something else can come.
    let mut over = there.chain(beside).sum::<usize>().saturating_sub(QUOTA);
    let mut going: Vec<Mutation> = Vec::new();
    for rule in listeners.iter().flat_map(|rules| &rules.left) {
        let call = Mutation::DeleteRule { arn: rule.arn.clone() };
        leave(draft, &mut going, &mut over, 1, call);
    }
    for listener in surplus {
        let call = Mutation::DeleteListener {
            arn: listener.arn.clone(),
        };
        leave(draft, &mut going, &mut over, listener.rules.len(), call);
    }
    for rules in listeners {
        change(draft, rules, fleet);
    }
    for call in going {
        draft.order.remove(call);
    }
}

/// Removes so many rules at once where that many are over, and otherwise when everything else stands.
fn leave(draft: &mut Draft, going: &mut Vec<Mutation>, over: &mut usize, rules: usize, call: Mutation) {
    if *over == 0 || rules == 0 {
        going.push(call);
    } else {
        *over = over.saturating_sub(rules);
        draft.order.build(None, call);
    }
}

/// Changes what differs and makes what is missing.
fn change(draft: &mut Draft, rules: &Rules, fleet: &Fleet) {
    for ((rule, priority), pair) in rules.wanted.iter().zip(1..).zip(&rules.pairs) {
        let owner = rule.owner.as_ref();
        match pair.map(|n| &rules.have[n]) {
            None => {
                let call = Mutation::CreateRule {
                    listener: rules.listener.clone(),
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
    // Until it is changed it takes its old requests: from no rule that stood before it.
    let overtakes = |pairs: &[Option<usize>], w: usize, h: usize| pairs[w..].iter().flatten().any(|before| *before < h);
    type Fits<'a> = &'a dyn Fn(&[Option<usize>], usize, usize) -> bool;
    let fits: [Fits; 3] = [
        &|_, w, h| same(&wanted[w], &have[h]),
        &|_, w, h| wanted[w].conditions == have[h].rule.conditions,
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
fn place(draft: &mut Draft, rules: &Rules) {
    let Ref::Known(listener) = &rules.listener else { return };
    let have = rules.have;
    let mut moves: Vec<(Ref<RuleArn>, Priority)> = Vec::new();
    for (pair, priority) in rules.pairs.iter().zip(1..) {
        if let Some(now) = pair.map(|n| &have[n])
            && now.priority != priority
        {
            moves.push((Ref::Known(now.arn.clone()), priority));
        }
    }
    // What is to go stands in the way of what moves there, or is made there.
    let wanted = u32::try_from(rules.pairs.len()).unwrap_or(LAST);
    let mut end = LAST;
    for rule in rules.left.iter().filter(|rule| rule.priority <= wanted) {
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
