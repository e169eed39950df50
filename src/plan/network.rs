//! The plan of the cluster network.

use super::{Mutation, NetworkIntent, NetworkObserved, Plan, Ref, order::Order, tags::Retag};
use crate::model::Permission;
use std::collections::BTreeSet;

/// What separates `observed` from `intent`: openings first, and nothing is closed before everybody was asked.
pub fn plan(intent: &NetworkIntent, observed: &NetworkObserved, external_tags: &BTreeSet<String>) -> Plan {
    let mut order = Order::default();
    match (&intent.backend, &observed.backend) {
        (Some(wanted), None) => {
            order.build(
                None,
                Mutation::CreateSecurityGroup {
                    vpc: intent.vpc.clone(),
                    name: wanted.name.clone(),
                    description: wanted.description.clone(),
                    tags: wanted.tags.clone(),
                },
            );
        }
        (Some(wanted), Some(have)) => {
            // Tags that somebody added are his; only ours are put back.
            let tags = Retag::between(&have.group.tags, &wanted.tags, external_tags).set;
            if !tags.is_empty() {
                order.build(
                    None,
                    Mutation::TagSecurityGroup {
                        group: have.id.clone(),
                        tags,
                    },
                );
            }
        }
        _ => {}
    }
    for (group, wanted) in &intent.endpoint_rules {
        let none = BTreeSet::new();
        let have = observed.endpoint_rules.get(group).unwrap_or(&none);
        let permissions: Vec<Permission> = wanted.difference(have).cloned().collect();
        if !permissions.is_empty() {
            order.build(
                None,
                Mutation::AuthorizeIngress {
                    group: Ref::Known(group.clone()),
                    permissions,
                },
            );
        }
    }
    if intent.complete {
        for (group, have) in &observed.endpoint_rules {
            let none = BTreeSet::new();
            let wanted = intent.endpoint_rules.get(group).unwrap_or(&none);
            let permissions: Vec<Permission> = have.difference(wanted).cloned().collect();
            if !permissions.is_empty() {
                order.remove(Mutation::RevokeIngress {
                    group: group.clone(),
                    permissions,
                });
            }
        }
        if let (None, Some(have)) = (&intent.backend, &observed.backend) {
            order.remove(Mutation::DeleteSecurityGroup { group: have.id.clone() });
        }
    }
    Plan {
        steps: order.finish(),
        ..Plan::default()
    }
}
