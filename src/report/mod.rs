//! Intent, observed and problems → status, conditions, event notes. Pure.

pub mod preview;

use crate::{
    model::{Code, Condition, Problem, Severity},
    plan::{Observed, ObservedLoadBalancer},
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Reason of the condition of a group whose deletions are held.
pub const HELD: &str = "Held";

/// Hosts that are listed.
const HOSTS: usize = 32;
/// Problems that are listed.
const PROBLEMS: usize = 16;

/// The load balancer that status and DNS names name.
pub fn in_use(observed: &Observed) -> Option<&ObservedLoadBalancer> {
    match &observed.current {
        Some(current) => observed.load_balancer(current),
        None => observed.load_balancers.first(),
    }
}

/// A problem as its owner reads it: what has to be changed, and into what.
pub fn sentence(problem: &Problem) -> String {
    problem.to_string()
}

/// What is known of a group.
#[derive(Clone, Debug)]
pub struct LoadBalancer<'a> {
    /// What AWS holds.
    pub observed: &'a Observed,
    /// What users did wrong.
    pub problems: &'a [Problem],
    /// Whether everything is as the members wish.
    pub ready: bool,
    /// What takes its time, or went wrong.
    pub waits_for: Option<String>,
}

/// Status of the LoadBalancer object, but for what is counted and for times.
pub fn load_balancer(known: &LoadBalancer) -> Value {
    let current = in_use(known.observed);
    let hosts: BTreeSet<&String> = current
        .into_iter()
        .flat_map(|lb| lb.listeners.values())
        .flat_map(|listener| &listener.rules)
        .flat_map(|rule| &rule.rule.conditions)
        .filter_map(|condition| match condition {
            Condition::Host(hosts) => Some(hosts),
            _ => None,
        })
        .flatten()
        .collect();
    let problems: Vec<String> = known.problems.iter().take(PROBLEMS).map(sentence).collect();
    let blocking = known
        .problems
        .iter()
        .filter(|problem| problem.severity == Severity::Blocking)
        .min_by_key(|problem| problem.code != Code::Held);
    let (reason, message) = match (known.ready, blocking, &known.waits_for) {
        (true, ..) => ("AsWished", "everything is as the Ingresses wish".to_owned()),
        (false, Some(problem), _) if problem.code == Code::Held => (HELD, sentence(problem)),
        (false, Some(problem), _) => ("Problem", sentence(problem)),
        (false, None, Some(waits)) => ("Waiting", waits.clone()),
        (false, None, None) => ("Waiting", String::new()),
    };
    json!({
        "arn": current.map(|lb| lb.arn.as_str()),
        "dnsName": current.map(|lb| lb.dns_name.as_str()),
        "hostedZone": current.map(|lb| lb.hosted_zone.as_str()),
        "scheme": current.map(|lb| lb.load_balancer.scheme.name()),
        "hosts": hosts.into_iter().take(HOSTS).collect::<Vec<_>>(),
        "waitsFor": known.waits_for,
        "problems": problems,
        "problemCount": known.problems.len(),
        "conditions": [{
            "type": "Ready",
            "status": if known.ready { "True" } else { "False" },
            "reason": reason,
            "message": message,
        }],
    })
}

/// Says since when the conditions are as they are.
pub fn stamp(status: &mut Value, now: jiff::Timestamp) {
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        condition["lastTransitionTime"] = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
    }
}
