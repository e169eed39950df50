//! What must hold at every moment, whatever goes wrong.

use super::wish::Wishes;
use albacore_aws::Double;
use std::collections::{BTreeMap, BTreeSet};

/// A part of a group: its stack, and which of its resources.
type Part = (String, String);

/// Looks at AWS after every change that is made there.
#[derive(Debug, Default)]
pub struct Judge {
    /// Load balancers, target groups and security groups as last seen: ARN, or id → part.
    seen: BTreeMap<String, Part>,
    /// Those of them that were not needed at some moment since they were made.
    dispensable: BTreeSet<String>,
    replaces: bool,
}

impl Judge {
    /// `replaces` where wishes may come that take another load balancer or target group beside the old one.
    pub fn new(replaces: bool) -> Self {
        Self {
            replaces,
            ..Self::default()
        }
    }

    /// Takes in what users wish now.
    pub fn note(&mut self, wishes: &Wishes) {
        let needed = wishes.needed();
        for (arn, (stack, resource)) in &self.seen {
            let group = needed.get(stack);
            let is_needed = match resource.as_str() {
                "LoadBalancer" | "ManagedLBSecurityGroup" => group.is_some(),
                _ => group.is_some_and(|backends| backends.contains(resource)),
            };
            if !is_needed {
                self.dispensable.insert(arn.clone());
            }
        }
    }

    /// Takes in what AWS holds now.
    ///
    /// # Errors
    /// What should not be.
    pub fn look(&mut self, double: &Double, wishes: &Wishes) -> Result<(), String> {
        // AWS follows within the moment in which a wish changes.
        self.note(wishes);
        let now = held(double);
        let mut count: BTreeMap<&Part, usize> = BTreeMap::new();
        for part in now.values() {
            *count.entry(part).or_default() += 1;
        }
        let of_load_balancer = if self.replaces { 2 } else { 1 };
        let most = |(stack, resource): &Part| match resource.as_str() {
            "LoadBalancer" | "ManagedLBSecurityGroup" => of_load_balancer,
            // A target group belongs to one load balancer ("Target groups for your Application Load Balancers").
            _ => {
                let load_balancer = (stack.clone(), "LoadBalancer".to_owned());
                of_load_balancer * count.get(&load_balancer).copied().unwrap_or(1)
            }
        };
        if let Some((part, count)) = count.iter().find(|(part, count)| **count > most(part)) {
            return Err(format!("there are {count} of {part:?} at once"));
        }
        for (arn, part) in &self.seen {
            let has_successor = self.replaces && now.values().any(|other| other == part);
            if !now.contains_key(arn) && !has_successor && !self.dispensable.contains(arn) {
                return Err(format!("{arn} of {part:?} was deleted, though it was always needed"));
            }
        }
        self.dispensable.retain(|arn| now.contains_key(arn));
        self.seen = now;
        self.note(wishes);
        Ok(())
    }
}

/// Load balancers, target groups and security groups of groups of Ingresses, by ARN or id.
fn held(double: &Double) -> BTreeMap<String, Part> {
    let world = double.world();
    let mut all = BTreeMap::new();
    for region in world.regions.values() {
        let (elb, ec2) = (&region.elbv2, &region.ec2);
        let of_elb = elb.load_balancers.keys().chain(elb.target_groups.keys());
        let of_elb = of_elb.map(|arn| (arn, elb.tags.get(arn)));
        let of_ec2 = ec2.security_groups.keys().map(|id| (id, ec2.tags.get(id)));
        for (id, tags) in of_elb.chain(of_ec2) {
            let tag = |key: &str| tags.and_then(|tags| tags.get(key)).cloned();
            if let (Some(stack), Some(resource)) = (tag("ingress.k8s.aws/stack"), tag("ingress.k8s.aws/resource")) {
                all.insert(id.clone(), (stack, resource));
            }
        }
    }
    all
}
