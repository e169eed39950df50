//! Finding things by ARN, and what AWS says when there is none.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::state::{Action, Listener, LoadBalancer, Rule, State, TargetGroup};
use crate::fault::AwsError;

/// The kinds of things that have an ARN of this service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    LoadBalancer,
    TargetGroup,
    Listener,
    Rule,
    TrustStore,
}

/// Source of the forms: "Actions, resources, and condition keys for AWS Elastic Load Balancing V2", Service
/// Authorization Reference.
const KINDS: [(&str, Kind); 5] = [
    ("loadbalancer", Kind::LoadBalancer),
    ("targetgroup", Kind::TargetGroup),
    ("listener", Kind::Listener),
    ("listener-rule", Kind::Rule),
    ("truststore", Kind::TrustStore),
];

impl Kind {
    /// What an ARN names, if it is one of this service.
    pub fn of(arn: &str) -> Option<Kind> {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let ["arn", _, "elasticloadbalancing", _, _, resource] = parts[..] else {
            return None;
        };
        let (kind, rest) = resource.split_once('/')?;
        let known = KINDS.iter().find(|(name, _)| *name == kind);
        known.filter(|_| !rest.is_empty()).map(|(_, kind)| *kind)
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Kind::LoadBalancer => ("LoadBalancer", "load balancer"),
            Kind::TargetGroup => ("TargetGroup", "target group"),
            Kind::Listener => ("Listener", "listener"),
            Kind::Rule => ("Rule", "rule"),
            Kind::TrustStore => ("TrustStore", "trust store"),
        }
    }

    /// Refuses what is no ARN of this kind.
    pub fn check(self, arn: &str) -> Result<(), AwsError> {
        let (_, words) = self.words();
        match Kind::of(arn) {
            Some(kind) if kind == self => Ok(()),
            _ => Err(AwsError::validation(format!("'{arn}' is not a valid {words} ARN"))),
        }
    }

    /// There is no such thing.
    pub fn missing(self, arn: &str) -> AwsError {
        let (code, _) = self.words();
        let message = match self {
            Kind::LoadBalancer => format!("Load balancer '{arn}' not found"),
            Kind::TargetGroup => format!("Target group '{arn}' not found"),
            _ => return self.some_missing(),
        };
        AwsError::new(format!("{code}NotFound"), message)
    }

    /// Not all of those that were asked for are there.
    pub fn some_missing(self) -> AwsError {
        let (code, words) = self.words();
        AwsError::new(format!("{code}NotFound"), format!("One or more {words}s not found"))
    }
}

pub(super) fn find<'a, T>(kind: Kind, all: &'a BTreeMap<String, T>, arn: &str) -> Result<&'a T, AwsError> {
    kind.check(arn)?;
    all.get(arn).ok_or_else(|| kind.missing(arn))
}

pub(super) fn find_mut<'a, T>(kind: Kind, all: &'a mut BTreeMap<String, T>, arn: &str) -> Result<&'a mut T, AwsError> {
    kind.check(arn)?;
    all.get_mut(arn).ok_or_else(|| kind.missing(arn))
}

impl State {
    /// The load balancer of an ARN, or AWS' refusal.
    pub fn load_balancer(&self, arn: &str) -> Result<&LoadBalancer, AwsError> {
        find(Kind::LoadBalancer, &self.load_balancers, arn)
    }

    /// The target group of an ARN, or AWS' refusal.
    pub fn target_group(&self, arn: &str) -> Result<&TargetGroup, AwsError> {
        find(Kind::TargetGroup, &self.target_groups, arn)
    }

    /// The listener of an ARN, or AWS' refusal.
    pub fn listener(&self, arn: &str) -> Result<&Listener, AwsError> {
        find(Kind::Listener, &self.listeners, arn)
    }

    /// The rule of an ARN, or AWS' refusal.
    pub fn rule(&self, arn: &str) -> Result<&Rule, AwsError> {
        find(Kind::Rule, &self.rules, arn)
    }

    /// The listeners of a load balancer.
    pub fn listeners_of(&self, load_balancer: &str) -> impl Iterator<Item = &Listener> {
        under(
            &self.listeners,
            load_balancer.replacen(":loadbalancer/", ":listener/", 1),
        )
    }

    /// The rules of a listener in the order in which they are evaluated, the default rule last.
    pub fn rules_of(&self, listener: &str) -> Vec<&Rule> {
        let mut rules: Vec<&Rule> = under(&self.rules, listener.replacen(":listener/", ":listener-rule/", 1)).collect();
        rules.sort_by_key(|rule| (rule.priority.is_none(), rule.priority));
        rules
    }

    /// The target groups that the rules of a load balancer forward to.
    pub fn groups_of(&self, load_balancer: &str) -> BTreeSet<&str> {
        let rules = self
            .listeners_of(load_balancer)
            .flat_map(|listener| self.rules_of(&listener.arn));
        rules.flat_map(|rule| target_groups(&rule.actions)).collect()
    }

    /// Notes which target groups a load balancer uses now; to be called after every change of its rules.
    pub(super) fn refresh_use(&mut self, load_balancer: &str, now: Timestamp) {
        let used: BTreeSet<String> = self.groups_of(load_balancer).into_iter().map(str::to_owned).collect();
        for group in self.target_groups.values_mut() {
            let user = group.load_balancer.as_deref();
            if used.contains(&group.arn) {
                if user.is_none() {
                    (group.load_balancer, group.in_use_since) = (Some(load_balancer.to_owned()), Some(now));
                }
            } else if user == Some(load_balancer) {
                (group.load_balancer, group.in_use_since) = (None, None);
            }
        }
    }

    /// The load balancers that present a certificate, as ACM's `InUseBy` lists them.
    pub fn certificate_users(&self, certificate: &str) -> Vec<&str> {
        let presents = |listener: &&Listener| {
            listener.certificate.as_deref() == Some(certificate)
                || listener.certificate_list.iter().any(|listed| listed == certificate)
        };
        let mut users: Vec<&str> = self
            .listeners
            .values()
            .filter(presents)
            .map(|listener| listener.load_balancer.as_str())
            .collect();
        users.dedup();
        users
    }
}

/// What stands under an ARN: the ARNs of rules begin with those of their listeners, but for the word that names the kind, and
/// so do those of listeners with those of their load balancers.
fn under<T>(all: &BTreeMap<String, T>, prefix: String) -> impl Iterator<Item = &T> {
    let prefix = prefix + "/";
    let first = all.range(prefix.clone()..);
    first
        .take_while(move |(arn, _)| arn.starts_with(&prefix))
        .map(|(_, found)| found)
}

/// The target groups that actions forward to.
pub(super) fn target_groups(actions: &[Action]) -> impl Iterator<Item = &str> {
    let forwards = actions.iter().filter_map(|action| action.forward_config.as_ref());
    forwards.flat_map(|forward| {
        forward
            .target_groups
            .iter()
            .map(|group| group.target_group_arn.as_str())
    })
}

/// The resource part of an ARN after its kind: `app/name/id…`.
pub(super) fn resource(arn: &str) -> &str {
    arn.split_once('/').map_or("", |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_says_what_it_names() {
        let arn = |resource: &str| format!("arn:aws:elasticloadbalancing:eu-west-1:1:{resource}");
        assert_eq!(Kind::of(&arn("loadbalancer/app/a/1")), Some(Kind::LoadBalancer));
        assert_eq!(Kind::of(&arn("listener-rule/app/a/1/2/3")), Some(Kind::Rule));
        assert_eq!(Kind::of(&arn("listener/")), None);
        assert_eq!(Kind::of("arn:aws:acm:eu-west-1:1:certificate/x"), None);
        let error = Kind::Rule.check(&arn("listener/app/a/1/2")).unwrap_err();
        assert_eq!(error.code, "ValidationError");
        assert!(error.message.ends_with("is not a valid rule ARN"));
    }
}
