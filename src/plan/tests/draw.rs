//! Wishes drawn from small pools, so that two draws overlap.

use super::wish::*;
use crate::model::*;
use proptest::{collection::vec, option, prelude::*, sample::subsequence};
use std::collections::{BTreeMap, BTreeSet};

/// A wish.
pub fn wish() -> impl Strategy<Value = Wish> {
    let ports = subsequence(vec![80, 443, 8080], 1..=3);
    (
        load_balancer(),
        ports,
        vec(listener(), 3),
        vec(service(), usize::from(SERVICES)),
    )
        .prop_map(|(load_balancer, ports, listeners, services)| Wish {
            load_balancer,
            listeners: ports.into_iter().zip(listeners).collect(),
            services,
        })
}

/// A wish, and what becomes of it: each part stays, or is wished anew.
pub fn change() -> impl Strategy<Value = (Wish, Wish)> {
    let rules = vec(any::<bool>(), 12);
    (wish(), wish(), vec(any::<bool>(), 12), rules, 0..12_usize, 0..6_usize).prop_map(
        |(before, other, anew, stay, turn, added)| {
            let mut after = before.clone();
            if anew[0] {
                after.load_balancer = other.load_balancer;
            } else if anew[1] {
                after.load_balancer.scheme = other.load_balancer.scheme;
            }
            for ((service, of_other), anew) in after.services.iter_mut().zip(other.services).zip(&anew[2..]) {
                if *anew {
                    *service = of_other;
                }
            }
            let mut listeners = before.listeners.clone();
            for (port, of_other) in other.listeners {
                let Some(listener) = listeners.get_mut(&port) else {
                    listeners.insert(port, of_other);
                    continue;
                };
                let mut kept = stay.iter();
                listener.rules.retain(|_| kept.next() != Some(&false));
                listener.rules.extend(of_other.rules.iter().take(added).cloned());
                let turn = turn % listener.rules.len().max(1);
                listener.rules.rotate_left(turn);
                listener.rules.truncate(12);
                if anew[7] {
                    *listener = ListenerWish {
                        rules: listener.rules.clone(),
                        ..of_other
                    };
                }
            }
            if anew[8] && listeners.len() > 1 {
                listeners.pop_first();
            }
            after.listeners = listeners;
            (before, after)
        },
    )
}

/// A listener whose rules are for the same few requests, and other such rules for it.
pub fn crowded() -> impl Strategy<Value = (Wish, Wish)> {
    let rule = (0..3_u8, 0..2_u8).prop_map(|(path, service)| RuleWish {
        member: 0,
        host: None,
        path,
        action: Do::To(Backend {
            service,
            by_name: false,
        }),
    });
    let rules = vec(rule, 0..7);
    (wish(), rules.clone(), rules).prop_map(|(mut before, rules, others)| {
        let (port, mut listener) = before.listeners.pop_first().expect("a wish has a listener");
        listener.rules = rules;
        before.listeners = BTreeMap::from([(port, listener)]);
        let mut after = before.clone();
        after
            .listeners
            .values_mut()
            .for_each(|listener| listener.rules.clone_from(&others));
        (before, after)
    })
}

fn scheme() -> impl Strategy<Value = Scheme> {
    prop_oneof![3 => Just(Scheme::Internal), 1 => Just(Scheme::InternetFacing)]
}

fn load_balancer() -> impl Strategy<Value = LoadBalancerWish> {
    let groups = prop_oneof![
        Just(GroupsWish::Managed),
        Just(GroupsWish::ManagedAndBackend),
        (0..2_u8).prop_map(GroupsWish::Users),
        (0..2_u8).prop_map(GroupsWish::UsersAndBackend),
    ];
    (
        scheme(),
        prop_oneof![2 => Just(IpAddressType::Ipv4), 1 => Just(IpAddressType::Dualstack)],
        subsequence(vec!["subnet-a", "subnet-b", "subnet-c"], 2..=3),
        groups,
        attributes(&LOAD_BALANCER_DEFAULTS, &["true", "90", "false"]),
        option::of(0..2_u8),
    )
        .prop_map(
            |(scheme, ip_address_type, subnets, security_groups, attributes, tag)| LoadBalancerWish {
                scheme,
                name: None,
                delete_first: false,
                ip_address_type,
                subnets,
                security_groups,
                attributes,
                tag,
            },
        )
}

/// Some of the attributes, each with its default or with another value.
fn attributes(
    defaults: &[(&'static str, &'static str)],
    others: &[&'static str],
) -> impl Strategy<Value = BTreeMap<&'static str, &'static str>> + use<> {
    let both: Vec<_> = defaults
        .iter()
        .zip(others)
        .map(|((key, default), other)| (*key, [*default, *other]))
        .collect();
    let all = both.len();
    (subsequence(both, 0..=all), any::<bool>()).prop_map(|(some, other)| {
        some.into_iter()
            .map(|(key, values)| (key, values[usize::from(other)]))
            .collect()
    })
}

fn listener() -> impl Strategy<Value = ListenerWish> {
    (
        any::<bool>(),
        subsequence(vec!["cert-a", "cert-b", "cert-c"], 1..=3).prop_shuffle(),
        prop_oneof![Just("policy-1"), Just("policy-2")],
        prop_oneof![Just("0.0.0.0/0"), Just("10.0.0.0/8")],
        action(),
        vec(rule(), 0..=12),
    )
        .prop_map(|(tls, certificates, policy, from, default, rules)| ListenerWish {
            tls,
            certificates,
            policy,
            from,
            default,
            rules,
        })
}

/// A rule of one of two members.
pub fn rule() -> impl Strategy<Value = RuleWish> {
    (0..2_u8, option::of(0..2_u8), 0..6_u8, action()).prop_map(|(member, host, path, action)| RuleWish {
        member,
        host,
        path,
        action,
    })
}

/// A backend.
pub fn backend() -> impl Strategy<Value = Backend> {
    (0..SERVICES, prop::bool::weighted(0.2)).prop_map(|(service, by_name)| Backend { service, by_name })
}

fn action() -> impl Strategy<Value = Do> {
    let split = vec((backend(), 0..3_u16), 2..=5).prop_map(|mut to| {
        let mut seen = BTreeSet::new();
        to.retain(|(backend, _)| seen.insert(*backend));
        // Somebody gets something.
        to[0].1 += 1;
        match to.as_slice() {
            [(only, _)] => Do::To(*only),
            _ => Do::Split(to),
        }
    });
    prop_oneof![
        8 => backend().prop_map(Do::To),
        2 => split,
        1 => Just(Do::Redirect),
        1 => prop_oneof![Just("404"), Just("503")].prop_map(Do::Answer),
    ]
}

fn service() -> impl Strategy<Value = ServiceWish> {
    (
        prop_oneof![3 => Just(TargetType::Ip), 1 => Just(TargetType::Instance)],
        any::<bool>(),
        prop_oneof![3 => Just("HTTP1"), 1 => Just("HTTP2")],
        prop_oneof![Just("/"), Just("/health")],
        attributes(&TARGET_GROUP_DEFAULTS, &["30", "60"]),
        option::of(0..2_u8),
    )
        .prop_map(|(target_type, ipv6, version, check, attributes, tag)| ServiceWish {
            target_type,
            ipv6,
            version,
            check,
            attributes,
            tag,
        })
}
