//! The chart, rendered by real helm.

use albacore::k8s::custom::{ClusterNetwork, LoadBalancer};
use kube::CustomResourceExt;
use serde_json::Value;
use std::{fs, path::PathBuf, process::Command};

fn chart() -> PathBuf {
    // Tests run in the folder of their package; a path fixed at build time would be that of another checkout.
    PathBuf::from("chart")
}

fn helm(arguments: &[&str]) -> Result<String, String> {
    let tools = albacore_cluster::build_tools().expect("the tools");
    let helm = tools.join("helm");
    let done = Command::new(&helm)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", helm.display()));
    let text = |bytes| String::from_utf8(bytes).expect("text");
    if done.status.success() {
        Ok(text(done.stdout))
    } else {
        Err(text(done.stderr))
    }
}

fn template(settings: &[&str]) -> Result<Vec<Value>, String> {
    let chart = chart();
    let mut arguments = vec![
        "template",
        "albacore",
        chart.to_str().expect("text"),
        "--namespace",
        "kube-system",
        "--kube-version",
        "1.36",
    ];
    settings.iter().for_each(|setting| arguments.extend(["--set", setting]));
    let rendered = helm(&arguments)?;
    let documents = rendered.split("\n---").filter(|text| text.contains("kind:"));
    Ok(documents
        .map(|text| serde_yaml::from_str(text).expect("YAML"))
        .collect())
}

fn the<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    objects
        .iter()
        .find(|object| object["kind"] == kind)
        .unwrap_or_else(|| panic!("a {kind}"))
}

/// Our own CRDs, as the chart brings them: they stay when the chart goes, and the load balancers with them.
fn own_crds() -> String {
    let mut text = String::from("# Written by `UPDATE=1 cargo test --test chart`, from src/k8s/custom.rs.\n");
    for mut crd in [LoadBalancer::crd(), ClusterNetwork::crd()] {
        let annotations = crd.metadata.annotations.get_or_insert_default();
        annotations.insert("helm.sh/resource-policy".to_owned(), "keep".to_owned());
        text += "---\n";
        text += &serde_yaml::to_string(&crd).expect("YAML");
    }
    text
}

#[test]
fn our_crds_are_those_of_the_code() {
    let path = chart().join("templates/crds.yaml");
    #[expect(clippy::disallowed_methods, reason = "asked for by whoever runs the test")]
    if std::env::var("UPDATE").is_ok() {
        fs::write(&path, own_crds()).expect("the chart can be written");
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        there == own_crds(),
        "chart/templates/crds.yaml is old; run UPDATE=1 cargo test --test chart"
    );
}

#[test]
fn two_replicas_run_apart_from_each_other_and_without_rights_on_the_node() {
    let objects = template(&["clusterName=demo"]).expect("renders");
    let deployment = the(&objects, "Deployment");
    assert_eq!(deployment["spec"]["replicas"], 2);
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"], true);
    assert!(pod["affinity"]["podAntiAffinity"].is_object());
    assert!(pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"].is_object());
    assert_eq!(pod["priorityClassName"], "system-cluster-critical");
    assert_eq!(the(&objects, "PodDisruptionBudget")["spec"]["maxUnavailable"], 1);
    assert_eq!(
        the(&objects, "IngressClass")["spec"]["controller"],
        "ingress.k8s.aws/alb"
    );
    assert_eq!(the(&objects, "Service")["spec"]["ports"][0]["name"], "metrics");
    let role = the(&objects, "ClusterRole").to_string();
    assert!(!role.contains("secrets") && !role.contains('*'), "{role}");
}

#[test]
fn every_flag_of_the_chart_is_one_of_the_controller() {
    let objects = template(&[
        "clusterName=demo",
        "region=eu-west-1",
        "vpcId=vpc-0123",
        "awsApiEndpoints.EC2=https://ec2.example",
        "awsBudget.elasticloadbalancing\\.register=4:20",
        "defaultTags.team=web",
        "externalManagedTags={CostCenter,Owner}",
        "defaultLoadBalancerScheme=internet-facing",
        "defaultSSLPolicy=ELBSecurityPolicy-TLS13-1-2-2021-06",
        "enableBackendSecurityGroup=true",
        "disableIngressClassAnnotation=false",
        "watchNamespace=shop",
    ])
    .expect("renders");
    let arguments = the(&objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["args"].clone();
    let arguments: Vec<String> = serde_json::from_value(arguments).expect("text");
    assert!(arguments.len() > 15, "{arguments:?}");
    let run = Command::new(env!("CARGO_BIN_EXE_albacore"))
        .args(&arguments)
        .arg("--kubeconfig=/nonexistent/kubeconfig")
        .args([
            "--leader-election-namespace=kube-system",
            "--metrics-bind-addr=127.0.0.1:0",
            "--health-probe-bind-addr=127.0.0.1:0",
        ])
        .env_clear()
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    assert!(
        said.contains("--kubeconfig=/nonexistent/kubeconfig"),
        "it should come as far as the kubeconfig: {said}"
    );
}

#[test]
fn wrong_values_are_refused_with_what_to_write() {
    for (setting, says) in [
        ("clusterName=", "clusterName is missing"),
        ("vpcId=my-vpc", "vpcId"),
        ("defaultTargetType=pod", "defaultTargetType"),
        ("replicas=3", "replicas"),
        ("ingressClass=alb", "ingressClass"),
    ] {
        let settings: &[&str] = if setting.starts_with("clusterName") {
            &[setting]
        } else {
            &["clusterName=demo", setting]
        };
        let refused = template(settings).expect_err(setting);
        assert!(refused.contains(says), "{setting}: {refused}");
    }
}

#[test]
fn helm_has_nothing_to_object() {
    let chart = chart();
    helm(&[
        "lint",
        "--strict",
        chart.to_str().expect("text"),
        "--set",
        "clusterName=demo",
    ])
    .expect("lints");
}

#[test]
fn the_class_can_be_left_to_albc() {
    let objects = template(&["clusterName=demo", "ingressClass.create=false"]).expect("renders");
    assert!(!objects.iter().any(|object| object["kind"] == "IngressClass"));
    let objects = template(&["clusterName=demo", "ingressClass.params.scheme=internal"]).expect("renders");
    assert_eq!(the(&objects, "IngressClassParams")["spec"]["scheme"], "internal");
    assert_eq!(the(&objects, "IngressClass")["spec"]["parameters"]["name"], "alb");
}
