//! What the chart allows is what the controller asks for, neither less nor more.

use albacore::k8s::{Contender, LeaseConfig};
use albacore_aws::Options;
use albacore_simulation::{
    api::Request,
    bed::Bed,
    objects::{self, Ingress},
    rights::{Right, granted, right},
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, process::Command};

/// What the ServiceAccount of the chart may do.
fn allowed() -> BTreeSet<Right> {
    let tools = albacore_cluster::build_tools().expect("the tools");
    let rendered = Command::new(tools.join("helm"))
        .args(["template", "albacore", "../../chart", "--namespace=kube-system"])
        .args([
            "--kube-version=1.36",
            "--set",
            "clusterName=demo",
            "--show-only",
            "templates/rbac.yaml",
        ])
        .output()
        .expect("helm runs");
    let text = String::from_utf8(rendered.stdout).expect("text");
    let objects = text.split("\n---").map(|text| {
        serde_yaml::from_str::<Value>(text.trim_start_matches("---")).unwrap_or_else(|error| panic!("{error}: {text}"))
    });
    granted(&objects.collect::<Vec<Value>>())
}

/// What was asked for since the last call.
fn asked(bed: &Bed) -> BTreeSet<Right> {
    let requests = bed.api.take_requests().into_iter();
    let of = |request: Request| {
        let resource = request.resource;
        right(resource.group, resource.plural, &request.subresource, request.verb)
    };
    requests.map(of).collect()
}

#[tokio::test(start_paused = true)]
async fn the_chart_allows_what_is_asked_for_and_no_more() {
    let mut bed = Bed::new(Options::default()).await;
    let shop = || Ingress::new("shop", "main").host("shop.example.com", &[("/a", "a")]);
    let public = || shop().annotated("alb.ingress.kubernetes.io/scheme", "internet-facing");
    let mistaken = || public().annotated("alb.ingress.kubernetes.io/healthcheck-interval-seconds", "often");
    bed.start();
    // Created, replaced, mistaken twice within minutes (which is one Event, told again), as it was, and deleted.
    for ingress in [shop(), public(), mistaken(), public(), mistaken(), shop()] {
        bed.apply(ingress.object());
        bed.settle().await;
    }
    // It waits for a binding that is gone.
    let mut pod = objects::pod(&bed.world, "shop", "a", 0);
    pod["spec"]["readinessGates"] = json!([{ "conditionType": "target-health.elbv2.k8s.aws/gone" }]);
    bed.apply(pod);
    bed.delete_ingress("shop", "main");
    bed.settle().await;
    assert_eq!(bed.holds(), (0, 0, 0, 0));
    bed.stop().await;

    let config = LeaseConfig::new("kube-system", "aws-load-balancer-controller-leader", "albacore-0");
    let (contender, leadership) = Contender::new(bed.api.client(), config);
    let long = tokio::time::sleep(std::time::Duration::from_secs(60));
    contender.run(long, async {}).await;
    assert!(!leadership.held(), "it was handed over");

    let (allowed, asked) = (allowed(), asked(&bed));
    let refused: Vec<&Right> = asked.difference(&allowed).collect();
    assert!(refused.is_empty(), "asked for and not allowed: {refused:?}");
    let idle: Vec<&Right> = allowed.difference(&asked).collect();
    assert!(idle.is_empty(), "allowed and never asked for: {idle:?}");
    assert!(allowed.len() > 30, "{allowed:?}");
}
