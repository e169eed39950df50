//! What holds of the plans of the cluster network and of targets.

use super::cases;
use crate::{
    model::{security_group, *},
    plan::*,
};
use proptest::{
    collection::{btree_map, btree_set},
    option,
    prelude::*,
};
use std::collections::{BTreeMap, BTreeSet};

type Rules = BTreeMap<SecurityGroupId, BTreeSet<Permission>>;

fn rules() -> impl Strategy<Value = Rules> {
    let permission = (0..8_u16, any::<bool>()).prop_map(|(port, open)| Permission {
        protocol: "tcp".to_owned(),
        ports: Some((8000 + port, 8000 + port)),
        peer: if open {
            Peer::Cidr("10.0.0.0/8".parse().expect("a range"))
        } else {
            Peer::Group("sg-backend".into())
        },
        description: security_group::ENDPOINT_RULE_DESCRIPTION.to_owned(),
    });
    let groups = (0..3_u8).prop_map(|n| SecurityGroupId::from(format!("sg-node-{n}")));
    btree_map(groups, btree_set(permission, 1..6), 0..4)
}

fn backend() -> impl Strategy<Value = Option<SecurityGroup>> {
    let tag = option::of(0..2_u8);
    option::of(tag.prop_map(|tag| SecurityGroup {
        name: "k8s-traffic-demo".to_owned(),
        description: security_group::BACKEND_DESCRIPTION.to_owned(),
        ingress: Vec::new(),
        tags: tag.map(|n| (format!("team-{n}"), "x".to_owned())).into_iter().collect(),
    }))
}

fn intent() -> impl Strategy<Value = NetworkIntent> {
    (backend(), rules(), any::<bool>()).prop_map(|(backend, endpoint_rules, complete)| NetworkIntent {
        vpc: "vpc-1".into(),
        backend,
        endpoint_rules,
        complete,
    })
}

fn observed() -> impl Strategy<Value = NetworkObserved> {
    (backend(), rules()).prop_map(|(backend, endpoint_rules)| NetworkObserved {
        backend: backend.map(|group| ObservedSecurityGroup {
            id: "sg-backend".into(),
            group,
        }),
        endpoint_rules,
    })
}

fn network_plan(intent: &NetworkIntent, observed: &NetworkObserved) -> Plan {
    network::plan(intent, observed, &BTreeSet::new())
}

/// Does what was planned, and refuses what AWS would: what is opened was closed, what is closed was open.
fn perform(plan: &Plan, observed: &mut NetworkObserved) -> Result<(), TestCaseError> {
    let mut results = Results::default();
    for step in &plan.steps {
        let open = |group: &SecurityGroupId| observed.endpoint_rules.get(group).cloned().unwrap_or_default();
        let made = match &step.call {
            Mutation::CreateSecurityGroup { .. } => Made::SecurityGroup("sg-backend".into()),
            Mutation::AuthorizeIngress { group, permissions } => {
                let group = results.resolve(group).expect("a group that is there");
                prop_assert!(!permissions.is_empty() && permissions.iter().all(|new| !open(&group).contains(new)));
                Made::Nothing
            }
            Mutation::RevokeIngress { group, permissions } => {
                prop_assert!(!permissions.is_empty() && permissions.iter().all(|old| open(group).contains(old)));
                Made::Nothing
            }
            _ => Made::Nothing,
        };
        prop_assert!(observed.apply(step, &made, &results), "{:?}", step);
        results.record(step.id, made);
    }
    Ok(())
}

/// Whether a call takes something away.
fn closes(step: &Step) -> bool {
    matches!(
        step.call,
        Mutation::RevokeIngress { .. } | Mutation::DeleteSecurityGroup { .. }
    )
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn the_network_ends_as_it_was_wanted_and_stays_so(intent in intent(), observed in observed()) {
        let mut world = observed.clone();
        perform(&network_plan(&intent, &observed), &mut world)?;
        prop_assert_eq!(network_plan(&intent, &world), Plan::default());
        // While not everybody was asked, what others opened stays open beside it.
        let mut rules = intent.endpoint_rules.clone();
        if !intent.complete {
            for (group, open) in &observed.endpoint_rules {
                rules.entry(group.clone()).or_default().extend(open.iter().cloned());
            }
        }
        prop_assert_eq!(&world.endpoint_rules, &rules);
        let stays = intent.backend.is_some() || (!intent.complete && observed.backend.is_some());
        prop_assert_eq!(world.backend.is_some(), stays);
        if let (Some(wanted), Some(have)) = (&intent.backend, &world.backend) {
            prop_assert!(wanted.tags.iter().all(|(key, value)| have.group.tags.get(key) == Some(value)));
        }
    }

    #[test]
    fn nothing_is_closed_before_everybody_was_asked(intent in intent(), observed in observed()) {
        let intent = NetworkIntent { complete: false, ..intent };
        prop_assert!(!network_plan(&intent, &observed).steps.iter().any(closes));
    }

    #[test]
    fn what_is_to_be_open_is_opened_before_anything_is_closed(intent in intent(), observed in observed()) {
        let steps = network_plan(&intent, &observed).steps;
        prop_assert!(steps.iter().skip_while(|step| !closes(step)).all(closes), "{:?}", steps);
    }

    #[test]
    fn the_targets_end_as_they_were_wanted_and_who_leaves_goes_first(
        wanted in btree_set(0..600_u16, 0..500),
        registered in btree_set(0..600_u16, 0..500),
    ) {
        let ips = |ports: BTreeSet<u16>| ports.into_iter().map(|port| Target::Ip([10, 0, 0, 1].into(), port + 1)).collect();
        let intent = TargetsIntent { group: "tg-1".into(), targets: ips(wanted) };
        let mut world = TargetsObserved { registered: ips(registered) };
        let steps = targets::plan(&intent, &world).steps;
        let mut coming = false;
        for step in &steps {
            match &step.call {
                Mutation::RegisterTargets { targets, .. } => {
                    coming = true;
                    prop_assert!((1..=200).contains(&targets.len()));
                    prop_assert!(targets.iter().all(|target| !world.registered.contains(target)));
                }
                Mutation::DeregisterTargets { targets, .. } => {
                    prop_assert!(!coming && (1..=200).contains(&targets.len()));
                    prop_assert!(targets.iter().all(|target| world.registered.contains(target)));
                }
                other => prop_assert!(false, "{other:?}"),
            }
            prop_assert!(world.apply(step));
        }
        prop_assert_eq!(&world.registered, &intent.targets);
        prop_assert_eq!(targets::plan(&intent, &world), Plan::default());
    }
}
