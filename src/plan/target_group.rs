//! Target groups: which of those that are there serve which part of the intent, and which are to be made.
//!
//! A target group whose immutable part differs is replaced: the new one stands beside the old one with weight 0 (AWS
//! checks no target that no rule names), and takes over when its targets are healthy.

use super::{
    IntendedTargetGroup, Mutation, Observed, ObservedLoadBalancer, ObservedTargetGroup, Ref, Wait,
    group::{Draft, from},
    tags::Retag,
};
use crate::model::*;
use std::collections::{BTreeMap, BTreeSet};

/// Target groups of one forward action at most ("Quotas for your Application Load Balancers").
const GROUPS: usize = 5;

/// What serves one part of the intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Serving {
    /// What requests go to.
    pub main: Ref<TargetGroupArn>,
    /// What will take over when it is healthy.
    pub next: Option<Ref<TargetGroupArn>>,
}

/// What serves the whole intent.
#[derive(Debug)]
pub(super) struct Fleet {
    serving: BTreeMap<TargetGroupKey, Serving>,
    /// Those that never served until now.
    warming: BTreeSet<TargetGroupArn>,
}

impl Fleet {
    /// Every part and what serves it.
    pub fn serving(&self) -> impl Iterator<Item = (&TargetGroupKey, &Serving)> {
        self.serving.iter()
    }

    /// Whether a target group serves, or will.
    pub fn uses(&self, arn: &TargetGroupArn) -> bool {
        let is = |group: &Ref<TargetGroupArn>| *group == Ref::Known(arn.clone());
        self.serving
            .values()
            .any(|serving| is(&serving.main) || serving.next.as_ref().is_some_and(is))
    }

    /// Actions with what serves in place of keys.
    pub fn actions(&self, actions: &[Action<TargetGroupKey>]) -> Vec<Action<Ref<TargetGroupArn>>> {
        actions.iter().map(|action| self.action(action)).collect()
    }

    fn action(&self, action: &Action<TargetGroupKey>) -> Action<Ref<TargetGroupArn>> {
        let named = action.try_map(&mut |key| self.serving.get(key).map(|serving| serving.main.clone()));
        let Some(mut named) = named else {
            debug_assert!(false, "an intent names a target group that it does not have");
            return Action::Other("null".to_owned());
        };
        if let (Action::Forward(forward), Action::Forward(of)) = (&mut named, action) {
            let next = |target: &ForwardTarget<TargetGroupKey>| self.serving.get(&target.target_group)?.next.clone();
            if let Some(replaced) = of.targets.iter().position(|target| next(target).is_some()) {
                for target in &mut forward.targets {
                    target.weight.get_or_insert(1);
                }
                if forward.targets.len() == GROUPS {
                    self.make_room(&mut forward.targets, replaced);
                }
                let beside = of.targets.iter().filter_map(next).map(|target_group| ForwardTarget {
                    target_group,
                    weight: Some(0),
                });
                forward.targets.extend(beside);
                // The others come when these have taken over.
                forward.targets.truncate(GROUPS);
            }
        }
        named
    }

    /// Takes one out of a full forward: one that gets nothing, unless another rule may be about to send requests to it for
    /// the first time; else one that is replaced, if others can carry its share.
    fn make_room(&self, targets: &mut Vec<ForwardTarget<Ref<TargetGroupArn>>>, replaced: usize) {
        let is_idle = |target: &ForwardTarget<_>| target.weight == Some(0);
        let served = |group: &Ref<TargetGroupArn>| matches!(group, Ref::Known(arn) if !self.warming.contains(arn));
        let idle = targets
            .iter()
            .position(|target| is_idle(target) && served(&target.target_group));
        let carried = targets
            .iter()
            .enumerate()
            .any(|(n, target)| n != replaced && !is_idle(target));
        let other = (replaced + 1) % targets.len();
        targets.remove(idle.unwrap_or(if carried { replaced } else { other }));
    }
}

/// What a rule does until the target groups that it is to forward to are ready: what it does now, with those beside it at
/// weight 0. One that forwards to nothing that is ready does at once what is wanted.
pub(super) fn handover(
    draft: &mut Draft,
    fleet: &Fleet,
    wanted: Vec<Action<Ref<TargetGroupArn>>>,
    now: &[Action<TargetGroupArn>],
) -> Vec<Action<Ref<TargetGroupArn>>> {
    let ([Action::Forward(to)], [Action::Forward(from)]) = (wanted.as_slice(), now) else {
        return wanted;
    };
    let (observed, readiness) = (draft.observed, draft.readiness);
    let is_ready = |group: &Ref<TargetGroupArn>| match group {
        Ref::From(_) => false,
        Ref::Known(arn) => !observed.warming.contains(arn) || readiness.ready.contains(arn),
    };
    let is_there = |arn: &TargetGroupArn| observed.target_groups.iter().any(|group| group.arn == *arn);
    let serving: Vec<ForwardTarget<Ref<TargetGroupArn>>> = from
        .targets
        .iter()
        .filter(|target| target.weight != Some(0) && is_there(&target.target_group))
        .map(|target| ForwardTarget {
            target_group: Ref::Known(target.target_group.clone()),
            weight: Some(target.weight.unwrap_or(1)),
        })
        .collect();
    let serves = |group: &Ref<TargetGroupArn>| serving.iter().any(|target| target.target_group == *group);
    let coming: Vec<Ref<TargetGroupArn>> = to
        .targets
        .iter()
        .filter(|target| target.weight != Some(0))
        .map(|target| target.target_group.clone())
        .filter(|group| !serves(group) && !is_ready(group))
        .collect();
    if coming.is_empty() || serving.is_empty() || coming.len() + serving.len() > GROUPS {
        return wanted;
    }
    for group in &coming {
        let serves = |(key, serving): (&TargetGroupKey, &Serving)| (serving.main == *group).then(|| key.clone());
        let arn = match group {
            Ref::Known(arn) => Some(arn.clone()),
            Ref::From(_) => None,
        };
        draft
            .waits
            .extend(fleet.serving().find_map(serves).map(|key| Wait::Targets { key, arn }));
    }
    draft
        .held
        .extend(serving.iter().filter_map(|target| match &target.target_group {
            Ref::Known(arn) => Some(arn.clone()),
            Ref::From(_) => None,
        }));
    let beside = coming.into_iter().map(|target_group| ForwardTarget {
        target_group,
        weight: Some(0),
    });
    vec![Action::Forward(Forward {
        targets: serving.into_iter().chain(beside).collect(),
        stickiness_seconds: from.stickiness_seconds,
    })]
}

/// The target groups that rules of a load balancer name.
pub(super) fn used_by(lb: &ObservedLoadBalancer) -> impl Iterator<Item = &TargetGroupArn> {
    lb.listeners.values().flat_map(|listener| {
        let of_rules = listener.rules.iter().flat_map(|rule| &rule.rule.actions);
        of_rules
            .chain(&listener.listener.default_actions)
            .flat_map(Action::target_groups)
    })
}

/// The target groups that get requests of a load balancer.
fn carried_by(lb: &ObservedLoadBalancer) -> impl Iterator<Item = &TargetGroupArn> {
    lb.listeners.values().flat_map(|listener| {
        let of_rules = listener.rules.iter().flat_map(|rule| &rule.rule.actions);
        let forwards = of_rules
            .chain(&listener.listener.default_actions)
            .filter_map(|action| match action {
                Action::Forward(forward) => Some(forward),
                _ => None,
            });
        let targets = forwards.flat_map(|forward| &forward.targets);
        targets
            .filter(|target| target.weight != Some(0))
            .map(|target| &target.target_group)
    })
}

/// Makes the target groups that are missing and brings the others in line.
pub(super) fn build(
    draft: &mut Draft,
    chosen: Option<&ObservedLoadBalancer>,
    others: &[&ObservedLoadBalancer],
) -> Fleet {
    // One that another load balancer uses cannot be used by this one.
    let taken: BTreeSet<&TargetGroupArn> = others.iter().flat_map(|lb| used_by(lb)).collect();
    let in_use: BTreeSet<&TargetGroupArn> = chosen.into_iter().flat_map(used_by).collect();
    let carrying: BTreeSet<&TargetGroupArn> = chosen.into_iter().flat_map(carried_by).collect();
    let mut names: BTreeSet<String> = draft
        .observed
        .target_groups
        .iter()
        .map(|group| group.group.name.clone())
        .collect();
    let mut fleet = Fleet {
        serving: BTreeMap::new(),
        warming: draft.observed.warming.clone(),
    };
    for (key, wanted) in &draft.intent.target_groups {
        let mut mine: Vec<&ObservedTargetGroup> =
            candidates(draft.observed, draft.intent.target_groups.keys().collect(), key, wanted)
                .filter(|group| !taken.contains(&group.arn))
                .collect();
        // One that is spelled as it is wanted comes before one that would have to be renamed.
        mine.sort_by_key(|group| group.group.tags.get(tags::RESOURCE) != Some(&key.0));
        let fit: Vec<&ObservedTargetGroup> = mine
            .iter()
            .filter(|g| g.group.can_become(&wanted.group))
            .copied()
            .collect();
        let serving_now = mine.iter().find(|g| carrying.contains(&g.arn)).copied();
        let best = fit
            .iter()
            .find(|g| in_use.contains(&g.arn))
            .or_else(|| fit.first())
            .copied();
        let made = match best {
            Some(have) => {
                bring_in_line(draft, have, wanted);
                Ref::Known(have.arn.clone())
            }
            None => {
                let name = std::iter::once(&wanted.group.name)
                    .chain(&wanted.next_names)
                    .find(|name| !names.contains(*name));
                let Some(name) = name else {
                    draft.waits.push(Wait::Name(key.clone()));
                    if let Some(old) = serving_now.or(mine.first().copied()) {
                        fleet.serving.insert(
                            key.clone(),
                            Serving {
                                main: Ref::Known(old.arn.clone()),
                                next: None,
                            },
                        );
                    }
                    continue;
                };
                names.insert(name.clone());
                make(draft, key, wanted, name)
            }
        };
        fleet
            .serving
            .insert(key.clone(), serving(draft, key, made, serving_now));
    }
    fleet
}

/// The observed target groups that are this part of the intent: by their resource tag, or by the other spelling of the
/// same port where nothing else in the intent claims that.
fn candidates<'o>(
    observed: &'o Observed,
    keys: BTreeSet<&TargetGroupKey>,
    key: &TargetGroupKey,
    wanted: &IntendedTargetGroup,
) -> impl Iterator<Item = &'o ObservedTargetGroup> {
    let alias = wanted.alias.clone().filter(|alias| !keys.contains(alias));
    let key = key.clone();
    observed.target_groups.iter().filter(move |group| {
        let resource = group.group.tags.get(tags::RESOURCE);
        resource.is_some_and(|resource| *resource == key.0 || alias.as_ref().is_some_and(|alias| *resource == alias.0))
    })
}

/// What requests go to: the one that serves now, until the one that was made for it is ready.
fn serving(
    draft: &mut Draft,
    key: &TargetGroupKey,
    made: Ref<TargetGroupArn>,
    serving_now: Option<&ObservedTargetGroup>,
) -> Serving {
    let Some(old) = serving_now.filter(|old| made != Ref::Known(old.arn.clone())) else {
        return Serving { main: made, next: None };
    };
    let known = match &made {
        Ref::Known(arn) => Some(arn.clone()),
        Ref::From(_) => None,
    };
    if known.as_ref().is_some_and(|arn| draft.readiness.ready.contains(arn)) {
        return Serving { main: made, next: None };
    }
    draft.waits.push(Wait::Targets {
        key: key.clone(),
        arn: known,
    });
    Serving {
        main: Ref::Known(old.arn.clone()),
        next: Some(made),
    }
}

fn make(draft: &mut Draft, key: &TargetGroupKey, wanted: &IntendedTargetGroup, name: &str) -> Ref<TargetGroupArn> {
    let owner = Some(&wanted.owner);
    let group = TargetGroup {
        name: name.to_owned(),
        ..wanted.group.clone()
    };
    let attributes = group.attributes.clone();
    let call = Mutation::CreateTargetGroup {
        vpc: draft.intent.vpc.clone(),
        key: key.clone(),
        group,
    };
    let step = draft.order.build(owner, call);
    if !attributes.is_empty() {
        draft.order.build(
            owner,
            Mutation::ModifyTargetGroupAttributes {
                group: from(step),
                attributes,
            },
        );
    }
    from(step)
}

fn bring_in_line(draft: &mut Draft, have: &ObservedTargetGroup, wanted: &IntendedTargetGroup) {
    let owner = Some(&wanted.owner);
    if have.group.health_check != wanted.group.health_check {
        let call = Mutation::ModifyTargetGroup {
            arn: have.arn.clone(),
            health_check: wanted.group.health_check.clone(),
            protocol_version: wanted.group.protocol_version.clone(),
        };
        draft.order.build(owner, call);
    }
    let attributes = draft.attributes(&have.group.attributes, &wanted.group.attributes);
    if !attributes.is_empty() {
        let group = Ref::Known(have.arn.clone());
        draft
            .order
            .build(owner, Mutation::ModifyTargetGroupAttributes { group, attributes });
    }
    let tags = Retag::between(&have.group.tags, &wanted.group.tags, &draft.readiness.external_tags);
    tags.plan(&mut draft.order, owner, have.arn.as_str());
}

impl Draft<'_> {
    /// The attributes to be set: those that differ, and those that nobody sets any more, back to AWS' default.
    pub(super) fn attributes(
        &self,
        have: &BTreeMap<String, String>,
        wanted: &BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        let changed = wanted.iter().filter(|(key, value)| have.get(*key) != Some(value));
        let mut attributes: BTreeMap<String, String> = changed.map(|(k, v)| (k.clone(), v.clone())).collect();
        for (key, value) in have.iter().filter(|(key, _)| !wanted.contains_key(*key)) {
            if let Some(default) = self
                .intent
                .attribute_defaults
                .get(key)
                .filter(|default| *default != value)
            {
                attributes.insert(key.clone(), default.clone());
            }
        }
        attributes
    }
}
