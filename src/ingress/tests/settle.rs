//! Whose wishes count: what holds for whatever members wish, and the cases that decide between readings.

use super::super::{backend::Backends, conflict, settle::settle};
use super::*;
use crate::{
    facts::{Backend, IngressClassParams},
    plan::intent::IntendedTargetGroup,
};
use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::select,
};

type Wishes = BTreeMap<ObjectKey, Contribution>;
type Fresh = BTreeMap<ObjectKey, Option<Contribution>>;

struct Settled {
    wishes: Wishes,
    blocked: BTreeSet<ObjectKey>,
    problems: Vec<Problem>,
}

fn settled(last_good: &Wishes, fresh: &Fresh) -> Settled {
    let mut problems = Vec::new();
    let nobodys: BTreeMap<ObjectKey, &IngressClassParams> = BTreeMap::new();
    let (wishes, blocked) = settle(Scheme::Internal, last_good, fresh, &nobodys, &mut problems);
    Settled {
        wishes,
        blocked,
        problems,
    }
}

fn member(name: &str) -> ObjectKey {
    ObjectKey::new("ns", name)
}

/// Wishes of which the parts that can disagree are few, so that they often do.
fn wishes() -> impl Strategy<Value = Contribution> {
    let scheme = option::of(select(vec![Scheme::Internal, Scheme::InternetFacing]));
    let redirect = option::weighted(0.3, select(vec![443, 8443]));
    let tag = option::of(select(vec!["x", "y"]));
    let protocol = || select(vec![ListenerProtocol::Http, ListenerProtocol::Https]);
    let listeners = btree_map(select(vec![80, 443, 8443]), (protocol(), any::<bool>()), 1..3);
    let family = (
        option::weighted(0.4, select(IpAddressType::ALL.to_vec())),
        prop::bool::weighted(0.3),
    );
    (-1..2, scheme, redirect, tag, listeners, family).prop_map(
        |(order, scheme, ssl_redirect, tag, listeners, (ip_address_type, ipv6))| Contribution {
            order,
            shared: Shared {
                scheme,
                ip_address_type,
                ssl_redirect,
                tags: tag.iter().map(|tag| ("tag".to_owned(), (*tag).to_owned())).collect(),
                ..Shared::default()
            },
            listeners: listeners
                .into_iter()
                .map(|(port, (protocol, default))| (port, listener(protocol, default)))
                .collect(),
            target_groups: ipv6.then(ipv6_targets).into_iter().collect(),
        },
    )
}

fn ipv6_targets() -> (TargetGroupKey, IntendedTargetGroup) {
    let settings = settings();
    let mut cluster = Cluster::new(settings.clone());
    cluster.apply(Change::Service(random::web(true)));
    let backend = Backend::Service {
        name: "web".to_owned(),
        port: Some(PortRef::Number(80)),
    };
    let ingress = ingress("a");
    let group = GroupKey::Implicit(ingress.key.clone());
    let class = IngressClassParamsSpec::default();
    let mut backends = Backends::new(&settings, &cluster, &group, &ingress, &class);
    backends
        .actions(&backend, "spec.defaultBackend")
        .expect("a target group");
    backends.finish().0.pop_first().expect("a target group")
}

fn listener(protocol: ListenerProtocol, default: bool) -> ListenerWish {
    ListenerWish {
        protocol,
        certificates: Vec::new(),
        ssl_policy: None,
        inbound: None,
        default_actions: default.then(Vec::new),
        rules: Vec::new(),
    }
}

fn group() -> impl Strategy<Value = Fresh> {
    btree_map(
        select(vec!["a", "b", "c", "d"]).prop_map(member),
        option::weighted(0.9, wishes()),
        0..5,
    )
}

/// What stood, as it came to be, and what the members wish now: some as before, some not.
fn histories() -> impl Strategy<Value = (Wishes, Fresh)> {
    let before = vec(group(), 1..3).prop_map(|groups| {
        let nothing = Wishes::new();
        groups
            .iter()
            .fold(nothing, |last_good, fresh| settled(&last_good, fresh).wishes)
    });
    (before, group(), vec(any::<bool>(), 4)).prop_map(|(before, mut fresh, same)| {
        for ((member, wishes), _) in before.iter().zip(same).filter(|(_, same)| *same) {
            fresh.insert(member.clone(), Some(wishes.clone()));
        }
        (before, fresh)
    })
}

fn agrees(wishes: &Contribution, with: &Wishes, member: &ObjectKey) -> bool {
    with.iter()
        .all(|(other, theirs)| other == member || conflict::conflict(theirs, wishes).is_none())
}

/// Whether it depends on others whether these wishes can be had: on a listener, or on the kind of load balancer.
fn relies(wishes: &Contribution) -> bool {
    wishes.shared.ssl_redirect.is_some()
        || wishes.ipv6_service().is_some()
        || wishes.shared.ip_address_type == Some(IpAddressType::DualstackWithoutPublicIpv4)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_loses_his_last_good_wishes_and_nothing_is_made_up((before, fresh) in histories()) {
        let now = settled(&before, &fresh);
        for (member, wishes) in &fresh {
            let expected = if now.blocked.contains(member) { before.get(member) } else { wishes.as_ref() };
            prop_assert_eq!(now.wishes.get(member), expected);
        }
        prop_assert!(now.wishes.keys().all(|member| fresh.contains_key(member)));
    }

    #[test]
    fn what_is_settled_agrees((before, fresh) in histories()) {
        let now = settled(&before, &fresh);
        for (member, wishes) in &now.wishes {
            prop_assert!(agrees(wishes, &now.wishes, member), "{member}");
            if let Some(to) = wishes.shared.ssl_redirect.filter(|_| !now.blocked.contains(member)) {
                let protocols = now.wishes.values().filter_map(|other| Some(other.listeners.get(&to)?.protocol));
                prop_assert!(protocols.into_iter().any(|protocol| protocol == ListenerProtocol::Https));
            }
            let said = now.wishes.values().find_map(|other| other.shared.ip_address_type);
            if wishes.ipv6_service().is_some() && !now.blocked.contains(member) {
                prop_assert!(said.is_some_and(IpAddressType::has_ipv6), "{member}");
            }
        }
    }

    #[test]
    fn whoever_is_blocked_is_told_why((before, fresh) in histories()) {
        let now = settled(&before, &fresh);
        for (member, wishes) in &fresh {
            let told = now.problems.iter().any(|problem| problem.member.as_ref() == Some(member));
            let blocked = now.blocked.contains(member);
            // Whose wishes are not known was told before, and may be told that his redirect leads nowhere any more.
            prop_assert!(if wishes.is_some() { told == blocked } else { blocked }, "{member}");
        }
    }

    #[test]
    fn what_is_settled_settles_to_itself((before, fresh) in histories()) {
        let now = settled(&before, &fresh);
        let again = settled(&now.wishes, &fresh);
        prop_assert_eq!(again.wishes, now.wishes);
        prop_assert_eq!(again.blocked, now.blocked);
    }

    #[test]
    fn an_unchanged_group_settles_to_itself((before, _) in histories()) {
        let now = settled(&before, &before.iter().map(|(m, w)| (m.clone(), Some(w.clone()))).collect());
        prop_assert_eq!(now.wishes, before);
    }

    #[test]
    fn a_change_that_agrees_with_everything_is_never_blocked((before, fresh) in histories()) {
        let now = settled(&before, &fresh);
        let others: Wishes = fresh.iter().filter_map(|(member, wishes)| Some((member.clone(), wishes.clone()?))).collect();
        let mut before = before;
        before.retain(|member, _| fresh.contains_key(member));
        for (member, wishes) in &others {
            if !relies(wishes) && agrees(wishes, &before, member) && agrees(wishes, &others, member) {
                prop_assert!(!now.blocked.contains(member), "{member}");
            }
        }
    }

    /// Without what relies on others: one may need the port that another gives up once he moves, and then both keep what
    /// they had.
    #[test]
    fn whoever_is_blocked_makes_no_difference_to_the_others((before, mut fresh) in histories()) {
        let before: Wishes = before.into_iter().filter(|(_, wishes)| !relies(wishes)).collect();
        for wishes in fresh.values_mut().flatten().filter(|wishes| relies(wishes)) {
            wishes.shared.ssl_redirect = None;
            wishes.shared.ip_address_type = None;
            wishes.target_groups.clear();
        }
        let now = settled(&before, &fresh);
        for member in &now.blocked {
            let without = without_change(&before, &fresh, member);
            prop_assert_eq!(settled(&before, &without).wishes, now.wishes.clone(), "{}", member);
        }
    }

    #[test]
    fn one_change_alone_makes_no_difference_when_it_is_blocked((before, fresh) in histories()) {
        let unchanged: Fresh = before.iter().map(|(member, wishes)| (member.clone(), Some(wishes.clone()))).collect();
        // Whose redirect lost its port in the past is blocked whatever happens.
        let lost = settled(&before, &unchanged).blocked;
        for (member, wishes) in fresh {
            let mut one = unchanged.clone();
            one.insert(member.clone(), wishes);
            let now = settled(&before, &one);
            if now.blocked.contains(&member) {
                prop_assert_eq!(&now.wishes, &before, "{}", member);
                let mut blocked = lost.clone();
                blocked.insert(member);
                prop_assert_eq!(now.blocked, blocked);
            }
        }
    }
}

/// The same with `member` as it was.
fn without_change(before: &Wishes, fresh: &Fresh, member: &ObjectKey) -> Fresh {
    let mut without = fresh.clone();
    match before.get(member) {
        Some(wishes) => drop(without.insert(member.clone(), Some(wishes.clone()))),
        None => drop(without.remove(member)),
    }
    without
}

/// `redirects` to 443, `listens` there for HTTPS, or does neither and has port 80 only.
fn says(redirects: bool, listens: bool) -> Contribution {
    let port = if listens {
        (443, ListenerProtocol::Https)
    } else {
        (80, ListenerProtocol::Http)
    };
    Contribution {
        order: 0,
        shared: Shared {
            ssl_redirect: redirects.then_some(443),
            ..Shared::default()
        },
        listeners: BTreeMap::from([(port.0, listener(port.1, false))]),
        target_groups: BTreeMap::new(),
    }
}

#[test]
fn whoever_takes_the_port_of_redirects_away_from_himself_is_to_blame_and_not_the_others() {
    let all = |a: Contribution, b: Contribution| BTreeMap::from([(member("a"), a), (member("b"), b)]);
    let before = all(says(true, true), says(false, false));
    // While `a` gives the port up that both redirect to, `b` begins to redirect.
    let now = all(says(true, false), says(true, false));
    let now = settled(
        &before,
        &now.into_iter().map(|(member, wishes)| (member, Some(wishes))).collect(),
    );
    assert_eq!(now.blocked, BTreeSet::from([member("a")]));
    assert_eq!(now.wishes, all(says(true, true), says(true, false)));
}

#[test]
fn a_redirect_whose_port_left_stays_and_is_told() {
    let before = BTreeMap::from([(member("a"), says(true, false)), (member("b"), says(false, true))]);
    let fresh = BTreeMap::from([(member("a"), Some(says(true, false)))]);
    let now = settled(&before, &fresh);
    assert_eq!(now.wishes.get(&member("a")), before.get(&member("a")));
    let [problem] = &now.problems[..] else {
        panic!("{:?}", now.problems)
    };
    assert!(problem.detail.contains("`443`"), "{problem}");
}

#[test]
fn two_who_need_each_other_move_although_a_third_makes_a_mistake() {
    let of = |scheme, tag: &str| Contribution {
        shared: Shared {
            scheme,
            tags: BTreeMap::from([("tag".to_owned(), tag.to_owned())]),
            ..Shared::default()
        },
        ..says(false, false)
    };
    let names = ["a", "b", "c"].map(member);
    let neither = Contribution {
        shared: Shared::default(),
        ..says(false, false)
    };
    let (internal, facing) = (Some(Scheme::Internal), Some(Scheme::InternetFacing));
    let before = names
        .clone()
        .into_iter()
        .zip([of(internal, "x"), of(internal, "x"), neither.clone()])
        .collect();
    let now = [of(facing, "x"), of(facing, "x"), of(internal, "y")].map(Some);
    let now = settled(&before, &names.clone().into_iter().zip(now).collect());
    assert_eq!(now.blocked, BTreeSet::from([member("c")]));
    let expected = names
        .into_iter()
        .zip([of(facing, "x"), of(facing, "x"), neither])
        .collect();
    assert_eq!(now.wishes, expected);
}
