//! What fits under a load balancer: whose wishes would overflow AWS' quotas, before anything is written.

use super::{Built, Contribution};
use crate::{model::*, plan::Intent};
use std::collections::{BTreeMap, BTreeSet};

/// Quotas of a load balancer, with AWS' defaults ("Quotas for your Application Load Balancers", Application Load Balancers
/// user guide): AWS grants more on request, never less. Default rules and default certificates do not count.
const DEFAULTS: [(&str, usize); 4] = [
    ("rules-per-application-load-balancer", 100),
    ("target-groups-per-application-load-balancer", 100),
    ("listeners-per-application-load-balancer", 50),
    ("certificates-per-application-load-balancer", 25),
];

/// Load balancers of a Region, by default ("Quotas for your Application Load Balancers").
pub const LOAD_BALANCERS: (&str, usize) = ("application-load-balancers", 50);

/// Quotas of the account, by their names in DescribeAccountLimits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quotas(pub BTreeMap<String, usize>);

impl Quotas {
    /// How many there may be.
    pub fn of(&self, (name, default): (&str, usize)) -> usize {
        self.0.get(name).copied().unwrap_or(default)
    }
}

/// What a member puts under the load balancer of each quota, named so that what two members share counts once.
fn counted<'a>(quota: &str, member: &ObjectKey, wishes: &'a Contribution, intent: &'a Intent) -> BTreeSet<String> {
    let listeners = || wishes.listeners.keys().filter_map(|port| intent.listeners.get(port));
    match quota {
        "rules-per-application-load-balancer" => listeners()
            .flat_map(|listener| {
                let own = listener.rules.iter().filter(|rule| rule.owner.as_ref() == Some(member));
                own.enumerate().map(|(n, _)| format!("{member} {} {n}", listener.port))
            })
            .collect(),
        "target-groups-per-application-load-balancer" => {
            let used = wishes
                .target_groups
                .keys()
                .filter(|key| intent.target_groups.contains_key(*key));
            used.map(ToString::to_string).collect()
        }
        "listeners-per-application-load-balancer" => listeners().map(|listener| listener.port.to_string()).collect(),
        _ => {
            let wish = |listener: &&Listener<TargetGroupKey>| wishes.listeners.get(&listener.port);
            let chosen = listeners().filter_map(|listener| Some((listener, wish(&listener)?)));
            chosen
                .flat_map(|(listener, wish)| {
                    let default = listener.certificates.default.as_ref();
                    let extra = wish.certificates.iter().filter(move |arn| Some(*arn) != default);
                    extra.map(|arn| format!("{} {arn}", listener.port))
                })
                .collect()
        }
    }
}

/// The members that do not fit any more, with the first quota that each would overflow. Who stands as he wishes stays,
/// whoever comes before him in the group; then come those that stand and wish something else, then who is new.
pub fn overflow(
    built: &Built,
    standing: &BTreeMap<ObjectKey, Contribution>,
    intent: &Intent,
    quotas: &Quotas,
) -> Vec<Problem> {
    let mut held: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let open = || {
        let open = built.active.iter().filter(|member| !built.blocked.contains(*member));
        open.filter_map(|member| Some((member, built.contributions.get(member)?)))
    };
    let stands = |(member, wishes): &(&ObjectKey, &Contribution)| standing.get(*member) == Some(*wishes);
    let blocked = built
        .blocked
        .iter()
        .filter_map(|member| Some((member, built.contributions.get(member)?)));
    let others = blocked.chain(open().filter(stands));
    for (member, wishes) in others {
        for (quota, _) in DEFAULTS {
            held.entry(quota)
                .or_default()
                .extend(counted(quota, member, wishes, intent));
        }
    }
    let mut problems = Vec::new();
    let (changed, new): (Vec<_>, Vec<_>) = open()
        .filter(|one| !stands(one))
        .partition(|(member, _)| standing.contains_key(*member));
    for (member, wishes) in changed.into_iter().chain(new) {
        let wanted = DEFAULTS.map(|quota| (quota, counted(quota.0, member, wishes, intent)));
        let full = wanted.iter().find_map(|(quota, more)| {
            let there = held.get(quota.0).cloned().unwrap_or_default();
            let (all, most) = (there.union(more).count(), quotas.of(*quota));
            (all > most).then_some((quota.0, there.len(), more.len(), most))
        });
        match full {
            None => {
                for ((quota, _), more) in wanted {
                    held.entry(quota).or_default().extend(more);
                }
            }
            Some((quota, there, more, most)) => problems.push(Problem {
                member: Some(member.clone()),
                object: Object::Ingress(member.clone()),
                field: quota.to_owned(),
                severity: Severity::Blocking,
                code: Code::OverQuota,
                detail: format!(
                    "AWS allows {most} {} under one load balancer; {there} are there, and this Ingress would put {more} \
                     under it. Give it another alb.ingress.kubernetes.io/group.name, name fewer, or ask AWS for a higher \
                     quota (`{quota}`).",
                    quota.split("-per-").next().unwrap_or(quota).replace('-', " ")
                ),
            }),
        }
    }
    problems
}
