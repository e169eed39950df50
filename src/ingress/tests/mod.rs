//! Bad input: what a user is told, and that it changes nothing.

mod random;
mod settle;

use super::*;
use crate::facts::{Change, IngressClass, IngressClassParams, IngressClassParamsSpec};

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

/// The class `alb`, with the parameters `p` or without.
fn class(parameters: bool) -> IngressClass {
    IngressClass {
        name: "alb".to_owned(),
        controller: "ingress.k8s.aws/alb".to_owned(),
        default: false,
        parameters: parameters.then(|| {
            (
                Some("elbv2.k8s.aws".to_owned()),
                "IngressClassParams".to_owned(),
                "p".to_owned(),
            )
        }),
    }
}

/// An Ingress of the class `alb` that says nothing.
fn ingress(name: &str) -> Ingress {
    Ingress {
        key: ObjectKey::new("ns", name),
        uid: "u".to_owned(),
        annotations: BTreeMap::new(),
        class_name: Some("alb".to_owned()),
        default_backend: None,
        rules: Vec::new(),
        tls_hosts: Vec::new(),
        finalizers: BTreeSet::new(),
        deleting: false,
        status: Vec::new(),
    }
}

/// An Ingress `ns/a` of a class with these parameters, with one annotation, built.
fn built(spec: IngressClassParamsSpec, annotation: Option<(&str, &str)>) -> Built {
    let settings = settings();
    let mut cluster = Cluster::new(settings.clone());
    cluster.apply(Change::Params(IngressClassParams {
        name: "p".to_owned(),
        spec,
    }));
    cluster.apply(Change::Class(class(true)));
    let annotation = annotation.map(|(key, value)| (format!("{}{key}", annotation::PREFIX), value.to_owned()));
    let ingress = Ingress {
        annotations: annotation.into_iter().collect(),
        ..ingress("a")
    };
    let group = GroupKey::Implicit(ingress.key.clone());
    cluster.apply(Change::Ingress(ingress));
    build(&BuildInput {
        settings: &settings,
        group: &group,
        cluster: &cluster,
        last_good: &BTreeMap::new(),
        refusals: &BTreeMap::new(),
        kept: &BTreeSet::new(),
    })
}

#[test]
fn a_bad_annotation_blocks_and_is_named_with_its_value() {
    let cases = [
        ("scheme", "public", "public"),
        ("shceme", "internal", "internal"),
        ("listen-ports", r#"[{"HTTP": 70000}]"#, "70000"),
        ("listen-ports", "[{", "[{"),
        ("inbound-cidrs", "10.0.0.0/8, 10.0.0.0/33", "10.0.0.0/33"),
        ("group.order", "1001", "1001"),
        ("tags", "owner=you,aws:owner=me", "aws:owner=me"),
        ("auth-type", "oidc", "oidc"),
    ];
    for (key, value, wrong) in cases {
        let built = built(IngressClassParamsSpec::default(), Some((key, value)));
        let [problem] = &built.problems[..] else {
            panic!("{key}: {:?}", built.problems)
        };
        assert_eq!(problem.object, Object::Ingress(ObjectKey::new("ns", "a")));
        assert_eq!(problem.field, format!("{}{key}", annotation::PREFIX));
        assert_eq!(problem.severity, Severity::Blocking);
        assert!(problem.detail.contains(&format!("`{wrong}`")), "{problem}");
        assert!(built.contributions.is_empty(), "{key} contributes nothing");
    }
}

#[test]
fn a_target_type_that_the_class_misspells_is_refused_at_the_class() {
    let spec = IngressClassParamsSpec {
        target_type: Some("pod".to_owned()),
        ..IngressClassParamsSpec::default()
    };
    let built = built(spec, None);
    let [problem] = &built.problems[..] else {
        panic!("{:?}", built.problems)
    };
    assert_eq!(problem.object, Object::IngressClassParams("p".to_owned()));
    assert_eq!(problem.field, "spec.targetType");
    assert!(problem.detail.contains("`pod`"));
}
