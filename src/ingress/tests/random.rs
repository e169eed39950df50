//! Whatever users write: annotations, classes and backends at random, as sensible or as senseless as it comes.

use super::*;
use crate::facts::{Backend, HostRule, PathRule, Service, ServicePort};
use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::{Index, select},
};

type LastGood = BTreeMap<ObjectKey, Contribution>;

/// Values that some annotation or field takes, and some that none takes.
fn values() -> impl Strategy<Value = String> {
    const KNOWN: &[&str] = &[
        "",
        " ",
        ",",
        "0",
        "5",
        "30",
        "443",
        "70000",
        "-1",
        "99999999999",
        "true",
        "internal",
        "internet-facing",
        "ip",
        "pod",
        "HTTP",
        "HTTPS",
        "GRPC",
        "200-299",
        "traffic-port",
        "http",
        "ipv4",
        "dualstack",
        "10.0.0.0/8",
        "10.0.0.0/33",
        "::/0",
        "subnet-1, subnet-2",
        "sg-1",
        "arn:aws:acm:us-east-1:123456789012:certificate/a",
        "arn:aws:acm",
        "a=1,b=2",
        "a=2",
        "aws:a=1",
        "=",
        r"a=\",
        r#"[{"HTTP": 80}, {"HTTPS": 443}]"#,
        r#"[{"HTTP": 80}]"#,
        r#"[{"HTTPS": 80}]"#,
        r#"[{"HTTP": 70000}]"#,
        r#"[{"HTTP": 80}"#,
        "[]",
        "[[]]",
        "deletion_protection.enabled=true",
    ];
    let long = (any::<char>(), 0..2000_usize).prop_map(|(one, times)| one.to_string().repeat(times));
    prop_oneof![8 => select(KNOWN).prop_map(str::to_owned), 1 => any::<String>(), 1 => long]
}

/// Annotations of the table and some that are not in it, but for those that choose the group.
fn annotations(at_most: usize) -> impl Strategy<Value = BTreeMap<String, String>> {
    let known: Vec<String> = annotation::TABLE.iter().map(|known| known.key.to_owned()).collect();
    let known = known.into_iter().filter(|key| key != "group.name");
    let others = ["auth-type", "shceme", "actions.web", "", "größe"].map(str::to_owned);
    let keys = known.chain(others).map(|key| format!("{}{key}", annotation::PREFIX));
    let keys = keys.chain([annotation::REPLACE.to_owned(), annotation::VERIFY.to_owned()]);
    btree_map(select(keys.collect::<Vec<_>>()), values(), 0..at_most)
}

fn backends() -> impl Strategy<Value = Backend> {
    let port = prop_oneof![
        select(vec![0, 80, 81]).prop_map(PortRef::Number),
        select(vec!["http", "use-annotation", ""]).prop_map(|name| PortRef::Name(name.to_owned())),
    ];
    let service = (select(vec!["web", "api", "missing"]), option::weighted(0.9, port));
    prop_oneof![
        9 => service.prop_map(|(name, port)| Backend::Service { name: name.to_owned(), port }),
        1 => Just(Backend::Resource),
    ]
}

fn rules() -> impl Strategy<Value = HostRule> {
    let types = option::of(select(vec!["Exact", "Prefix", "ImplementationSpecific", "Other"]));
    let path = (
        prop_oneof![
            select(vec!["", "/", "/a", "/a/", "/*"]).prop_map(str::to_owned),
            values()
        ],
        types,
    );
    let path = (path, backends()).prop_map(|((path, path_type), backend)| PathRule {
        path,
        path_type: path_type.map(str::to_owned),
        backend,
    });
    (select(vec!["", "a.example", "*.example"]), vec(path, 0..3)).prop_map(|(host, paths)| HostRule {
        host: host.to_owned(),
        paths,
    })
}

/// An Ingress of the group `team`, so long as it has its name right.
fn ingress(name: &'static str) -> impl Strategy<Value = Ingress> {
    let group = prop_oneof![9 => Just("team".to_owned()), 1 => values()];
    let class = select(vec!["alb", "alb", "plain"]);
    let spec = (option::weighted(0.3, backends()), vec(rules(), 0..3));
    (annotations(4), group, class, spec).prop_map(move |(mut annotations, group, class, (default_backend, rules))| {
        annotations.insert(format!("{}group.name", annotation::PREFIX), group);
        Ingress {
            annotations,
            class_name: Some(class.to_owned()),
            default_backend,
            rules,
            ..super::ingress(name)
        }
    })
}

fn service(name: &'static str) -> impl Strategy<Value = Service> {
    let drawn = (
        annotations(3),
        option::of(Just(30080)),
        any::<bool>(),
        prop::bool::weighted(0.2),
    );
    drawn.prop_map(move |(annotations, node_port, named, ipv6)| Service {
        key: ObjectKey::new("ns", name),
        uid: name.to_owned(),
        annotations,
        service_type: "NodePort".to_owned(),
        selector: BTreeMap::new(),
        ports: vec![ServicePort {
            name: "http".to_owned(),
            port: 80,
            target_port: if named {
                PortRef::Name("web".to_owned())
            } else {
                PortRef::Number(8080)
            },
            node_port: node_port.unwrap_or_default(),
        }],
        ipv6,
        deleting: false,
    })
}

/// The Service `ns/web`, with a node port.
pub(super) fn web(ipv6: bool) -> Service {
    Service {
        key: ObjectKey::new("ns", "web"),
        uid: "web".to_owned(),
        annotations: BTreeMap::new(),
        service_type: "NodePort".to_owned(),
        selector: BTreeMap::new(),
        ports: vec![ServicePort {
            name: String::new(),
            port: 80,
            target_port: PortRef::Number(8080),
            node_port: 30080,
        }],
        ipv6,
        deleting: false,
    }
}

fn params() -> impl Strategy<Value = IngressClassParamsSpec> {
    let text = || option::weighted(0.1, values());
    let texts = || option::weighted(0.1, vec(values(), 0..3));
    let pairs = || option::weighted(0.1, vec((values(), values()), 0..3));
    let first = (text(), text(), text(), text(), text(), text());
    (first, texts(), texts(), texts(), pairs(), pairs()).prop_map(
        |(
            (scheme, load_balancer_name, ssl_policy, ssl_redirect_port, ip_address_type, target_type),
            certificate_arn,
            inbound_cidrs,
            subnet_ids,
            tags,
            load_balancer_attributes,
        )| IngressClassParamsSpec {
            load_balancer_name,
            certificate_arn,
            scheme,
            inbound_cidrs,
            ssl_policy,
            ssl_redirect_port,
            subnet_ids,
            ip_address_type,
            tags,
            target_type,
            load_balancer_attributes,
            ..IngressClassParamsSpec::default()
        },
    )
}

fn ingresses() -> impl Strategy<Value = [Ingress; 3]> {
    (ingress("a"), ingress("b"), ingress("c")).prop_map(|(a, b, c)| [a, b, c])
}

/// Everything but the Ingresses.
fn surroundings() -> impl Strategy<Value = Vec<Change>> {
    (params(), service("web"), service("api")).prop_map(|(spec, web, api)| {
        let class = |name: &str, parameters| IngressClass {
            name: name.to_owned(),
            ..super::class(parameters)
        };
        let spec = IngressClassParams {
            name: "p".to_owned(),
            spec,
        };
        let classes = [class("alb", true), class("plain", false)].map(Change::Class);
        classes
            .into_iter()
            .chain([Change::Params(spec), Change::Service(web), Change::Service(api)])
            .collect()
    })
}

fn cluster(changes: impl IntoIterator<Item = Change>) -> Cluster {
    let mut cluster = Cluster::new(settings());
    for change in changes {
        cluster.apply(change);
    }
    cluster
}

fn all(cluster: &Cluster, last_good: &LastGood) -> BTreeMap<GroupKey, Built> {
    let build_one = |group: &GroupKey| {
        build(&BuildInput {
            settings: &settings(),
            group,
            cluster,
            last_good,
            refusals: &BTreeMap::new(),
            kept: &BTreeSet::new(),
        })
    };
    cluster
        .groups()
        .map(|group| (group.clone(), build_one(group)))
        .collect()
}

fn team(around: &[Change], ingresses: &[Ingress], last_good: &LastGood) -> Option<Built> {
    let changes = around
        .iter()
        .cloned()
        .chain(ingresses.iter().cloned().map(Change::Ingress));
    all(&cluster(changes), last_good).remove(&GroupKey::Explicit("team".to_owned()))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn objects_may_come_in_any_order(
        around in surroundings(), ingresses in ingresses(), picks in vec(any::<Index>(), 8),
    ) {
        let mut changes = around;
        changes.extend(ingresses.map(Change::Ingress));
        let told = all(&cluster(changes.clone()), &LastGood::new());
        let mut shuffled = Vec::new();
        for pick in picks {
            shuffled.push(changes.remove(pick.index(changes.len())));
        }
        prop_assert!(changes.is_empty());
        let retold = all(&cluster(shuffled), &LastGood::new());
        prop_assert_eq!(format!("{told:?}"), format!("{retold:?}"));
    }

    #[test]
    fn every_problem_names_an_object_a_place_and_what_is_wrong(around in surroundings(), ingresses in ingresses()) {
        let changes = around.into_iter().chain(ingresses.map(Change::Ingress));
        for built in all(&cluster(changes), &LastGood::new()).into_values() {
            for problem in &built.problems {
                let object = match &problem.object {
                    Object::Ingress(key) | Object::Service(key) => key.name.clone(),
                    Object::IngressClassParams(name) => name.clone(),
                    other => panic!("{other} has nothing to do with it"),
                };
                prop_assert!(!object.is_empty() && !problem.field.is_empty(), "{problem:?}");
                prop_assert!(problem.detail.contains('`') && problem.detail.contains(". "), "{problem}");
                // An Event holds 1024 bytes, and what to write comes last.
                prop_assert!(problem.detail.len() < 1024, "{problem}");
            }
            for problem in built.problems.iter().filter(|problem| problem.severity == Severity::Blocking) {
                let member = problem.member.as_ref().expect("a member");
                // Without a group name nobody is a member of anything that could be kept.
                let named = !problem.field.ends_with("group.name");
                prop_assert!(!named || built.blocked.contains(member), "{problem}");
            }
            for member in &built.blocked {
                let told = |problem: &&Problem| problem.member.as_ref() == Some(member);
                let why = built.problems.iter().find(|problem| told(problem) && problem.severity == Severity::Blocking);
                prop_assert!(why.is_some(), "{member}");
            }
        }
    }

    #[test]
    fn a_mistake_keeps_what_was_good_and_changes_nothing_for_the_others(
        around in surroundings(), before in ingresses(), now in ingresses(),
    ) {
        let Some(first) = team(&around, &before, &LastGood::new()) else { return Ok(()) };
        let Some(then) = team(&around, &now, &first.contributions) else { return Ok(()) };
        for member in &then.blocked {
            prop_assert_eq!(then.contributions.get(member), first.contributions.get(member));
        }
        // Mistakes of a member's own; who wins a conflict is told by the tests of settling.
        let own = |problem: &&Problem| problem.severity == Severity::Blocking && problem.code != Code::Conflict;
        let redirect = format!("{}ssl-redirect", annotation::PREFIX);
        for problem in then.problems.iter().filter(own).filter(|problem| problem.field != redirect) {
            let member = problem.member.as_ref().expect("a member");
            let stood = before.iter().find(|ingress| ingress.key == *member && first.contributions.contains_key(member));
            let (Some(stood), true) = (stood, then.blocked.contains(member)) else { continue };
            let without: Vec<Ingress> = now.iter().map(|i| if i.key == *member { stood.clone() } else { i.clone() }).collect();
            let without = team(&around, &without, &first.contributions).expect("a group");
            prop_assert_eq!(&without.draft, &then.draft, "{}", problem);
        }
    }
}
