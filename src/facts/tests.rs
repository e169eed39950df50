//! The same facts make the same cluster, in whichever order they come.

use super::*;
use crate::model::*;
use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{Index, select},
};
use std::collections::{BTreeMap, BTreeSet};

fn settings() -> Settings {
    Settings {
        cluster: "c".to_owned(),
        vpc: VpcId::from("vpc-1"),
        ingress_class: "alb".to_owned(),
        disable_class_annotation: false,
        disable_group_name_annotation: false,
        default_tags: Tags::new(),
        external_managed_tags: BTreeSet::new(),
        default_target_type: TargetType::Instance,
        default_scheme: Scheme::Internal,
        default_ssl_policy: "p".to_owned(),
        backend_security_group: true,
        manage_backend_rules: true,
    }
}

fn key() -> impl Strategy<Value = ObjectKey> {
    (select(vec!["n", "m"]), select(vec!["a", "b"])).prop_map(|(namespace, name)| ObjectKey::new(namespace, name))
}

fn name() -> impl Strategy<Value = String> {
    select(vec!["a", "b"]).prop_map(str::to_owned)
}

fn ingress() -> impl Strategy<Value = Change> {
    let group = option::of(select(vec!["team", "other", "Not_One"]));
    let finalizer = option::of(select(vec![
        "ingress.k8s.aws/resources",
        "group.ingress.k8s.aws/team",
        "group.ingress.k8s.aws/old",
    ]));
    let class = (option::of(name()), option::weighted(0.2, select(vec!["alb", "nginx"])));
    (key(), group, finalizer, class, name(), any::<bool>()).prop_map(
        |(key, group, finalizer, (class_name, class), service, deleting)| {
            let group = group.map(|group| ("alb.ingress.kubernetes.io/group.name".to_owned(), group.to_owned()));
            let class = class.map(|class| (membership::CLASS_ANNOTATION.to_owned(), class.to_owned()));
            Change::Ingress(Ingress {
                key,
                uid: "u".to_owned(),
                annotations: group.into_iter().chain(class).collect(),
                class_name,
                default_backend: Some(Backend::Service {
                    name: service,
                    port: Some(PortRef::Number(80)),
                }),
                rules: Vec::new(),
                tls_hosts: Vec::new(),
                finalizers: finalizer.map(str::to_owned).into_iter().collect(),
                deleting,
                status: Vec::new(),
            })
        },
    )
}

fn class() -> impl Strategy<Value = Change> {
    let controller = select(vec![membership::CONTROLLER, membership::CONTROLLER, "other"]);
    (name(), controller, any::<bool>(), option::of(name())).prop_map(|(name, controller, default, params)| {
        let kind = |params| {
            (
                Some("elbv2.k8s.aws".to_owned()),
                "IngressClassParams".to_owned(),
                params,
            )
        };
        Change::Class(IngressClass {
            name,
            controller: controller.to_owned(),
            default,
            parameters: params.map(kind),
        })
    })
}

fn params() -> impl Strategy<Value = Change> {
    let selector = option::of(select(vec!["x", "y"]));
    (name(), selector, option::of(select(vec!["team", "of-class"]))).prop_map(|(name, team, group)| {
        let selector = |team: &str| LabelSelector {
            match_labels: labels(team),
            match_expressions: Vec::new(),
        };
        Change::Params(IngressClassParams {
            name,
            spec: IngressClassParamsSpec {
                namespace_selector: team.map(selector),
                group_name: group.map(str::to_owned),
                ..IngressClassParamsSpec::default()
            },
        })
    })
}

fn labels(team: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("team".to_owned(), team.to_owned())])
}

fn namespace() -> impl Strategy<Value = Change> {
    (select(vec!["n", "m"]), select(vec!["x", "y"])).prop_map(|(name, team)| {
        Change::Namespace(Namespace {
            name: name.to_owned(),
            labels: labels(team),
        })
    })
}

fn service() -> impl Strategy<Value = Change> {
    (key(), any::<bool>()).prop_map(|(key, deleting)| {
        Change::Service(Service {
            key,
            uid: "u".to_owned(),
            annotations: BTreeMap::new(),
            service_type: "NodePort".to_owned(),
            selector: BTreeMap::new(),
            ports: Vec::new(),
            ipv6: false,
            deleting,
        })
    })
}

fn slice() -> impl Strategy<Value = Change> {
    (key(), name(), option::of(name())).prop_map(|(key, service, pod)| {
        let endpoint = Endpoint {
            address: [10, 0, 0, 1].into(),
            pod: pod.map(Into::into),
            ready: true,
            terminating: false,
        };
        Change::Slice(EndpointSlice {
            key,
            service,
            ipv6: false,
            ports: Vec::new(),
            endpoints: vec![endpoint],
        })
    })
}

fn pod() -> impl Strategy<Value = Change> {
    (key(), any::<bool>()).prop_map(|(key, containers_ready)| {
        Change::Pod(Pod {
            key,
            node: "a".into(),
            ip: [10, 0, 0, 1].into(),
            second_ip: None,
            containers_ready,
            created_seconds: 0,
            ports: Vec::new(),
            terminating: false,
            gates: None,
        })
    })
}

/// Somebody who is not there any more, seen or not.
fn gone() -> impl Strategy<Value = Change> {
    prop_oneof![
        key().prop_map(Change::IngressGone),
        name().prop_map(Change::ClassGone),
        name().prop_map(Change::ParamsGone),
        key().prop_map(Change::ServiceGone),
        key().prop_map(Change::SliceGone),
        key().prop_map(Change::PodGone),
        select(vec!["n", "m"]).prop_map(|name| Change::NamespaceGone(name.to_owned())),
    ]
}

/// Changes of few objects, so that many concern each other.
fn changes() -> impl Strategy<Value = Vec<Change>> {
    let one = prop_oneof![
        3 => ingress(), 2 => class(), 2 => params(), 1 => namespace(),
        1 => service(), 1 => slice(), 1 => pod(), 2 => gone(),
    ];
    vec(one, 0..25)
}

/// What a change is about: of one object, the last change counts.
fn about(change: &Change) -> (u8, String) {
    match change {
        Change::Ingress(fact) => (0, fact.key.to_string()),
        Change::IngressGone(key) | Change::IngressDeleted(key) => (0, key.to_string()),
        Change::Class(fact) => (1, fact.name.clone()),
        Change::ClassGone(name) => (1, name.clone()),
        Change::Params(fact) => (2, fact.name.clone()),
        Change::ParamsGone(name) => (2, name.clone()),
        Change::Service(fact) => (3, fact.key.to_string()),
        Change::ServiceGone(key) => (3, key.to_string()),
        Change::Slice(fact) => (4, fact.key.to_string()),
        Change::SliceGone(key) => (4, key.to_string()),
        Change::Pod(fact) => (5, fact.key.to_string()),
        Change::PodGone(key) => (5, key.to_string()),
        Change::Node(fact) => (6, fact.name.clone()),
        Change::NodeGone(name) => (6, name.clone()),
        Change::Namespace(fact) => (7, fact.name.clone()),
        Change::NamespaceGone(name) => (7, name.clone()),
        Change::Binding(fact) => (8, fact.key.to_string()),
        Change::BindingGone(key) => (8, key.to_string()),
    }
}

/// What they come to; who was seen to leave is no fact but its history.
fn cluster(changes: &[Change]) -> Cluster {
    let mut cluster = Cluster::new(settings());
    for change in changes {
        cluster.apply(change.clone());
    }
    cluster.left.clear();
    cluster
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_changes_of_different_objects_does_not_matter(
        changes in changes(), picks in vec(any::<Index>(), 25),
    ) {
        // One of those that are the next ones of their object, until none is left.
        let (mut waiting, mut shuffled) = (changes.clone(), Vec::new());
        for pick in picks.iter().take(changes.len()) {
            let first = |at: &usize| !waiting[..*at].iter().any(|earlier| about(earlier) == about(&waiting[*at]));
            let next: Vec<usize> = (0..waiting.len()).filter(first).collect();
            let at = next[pick.index(next.len())];
            shuffled.push(waiting.remove(at));
        }
        prop_assert_eq!(cluster(&shuffled), cluster(&changes));
    }

    #[test]
    fn only_the_last_change_of_an_object_counts(changes in changes()) {
        let last: BTreeMap<_, _> = changes.iter().map(|change| (about(change), change.clone())).collect();
        prop_assert_eq!(cluster(&last.into_values().collect::<Vec<_>>()), cluster(&changes));
    }

    #[test]
    fn what_is_known_already_touches_nobody(changes in changes()) {
        let mut cluster = cluster(&changes);
        let before = cluster.clone();
        let last: BTreeMap<_, _> = changes.iter().map(|change| (about(change), change.clone())).collect();
        for change in last.into_values() {
            prop_assert_eq!(cluster.apply(change.clone()), BTreeSet::new(), "{:?}", change);
        }
        prop_assert_eq!(cluster, before);
    }

    #[test]
    fn whoever_comes_or_leaves_touches_the_group(changes in changes(), next in changes()) {
        let mut cluster = cluster(&changes);
        for change in next {
            let before = standing(&cluster);
            let touched = cluster.apply(change.clone());
            let now = standing(&cluster);
            for group in before.keys().chain(now.keys()).filter(|group| before.get(*group) != now.get(*group)) {
                prop_assert!(touched.contains(&Unit::Group((*group).clone())), "{group}: {change:?}");
            }
        }
    }
}

/// Who stands in which group, and as what.
fn standing(cluster: &Cluster) -> BTreeMap<GroupKey, Vec<String>> {
    let settings = settings();
    let member = |ingress: &Ingress| format!("{ingress:?} {:?}", cluster.membership(&settings, ingress));
    cluster
        .groups()
        .map(|group| (group.clone(), cluster.standing_in(group).map(member).collect()))
        .collect()
}
