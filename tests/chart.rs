//! The chart, rendered by real helm.

use albacore::k8s::custom::{ClusterNetwork, LoadBalancer};
use kube::CustomResourceExt;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

fn chart() -> PathBuf {
    // Tests run in the folder of their package; a path fixed at build time would be that of another checkout.
    PathBuf::from("chart")
}

fn helm(arguments: &[&str], values: &Value) -> Result<String, String> {
    let tools = albacore_cluster::build_tools().expect("the tools");
    let helm = tools.join("helm");
    let mut running = Command::new(&helm)
        .args(arguments)
        .args(["--values", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", helm.display()));
    let mut stdin = running.stdin.take().expect("it is piped");
    stdin.write_all(values.to_string().as_bytes()).expect("it reads");
    drop(stdin);
    let done = running.wait_with_output().expect("it ends");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let said = text(done.stderr);
    if done.status.success() {
        assert_eq!(said, "", "helm warns of nothing");
        Ok(text(done.stdout))
    } else {
        Err(said)
    }
}

/// What the chart becomes with these values; `clusterName` is `demo` unless they say otherwise.
fn render(values: &Value) -> Result<Vec<Value>, String> {
    render_for("1.36", values)
}

fn render_for(kubernetes: &str, values: &Value) -> Result<Vec<Value>, String> {
    let mut all = json!({"clusterName": "demo"});
    let values = values.as_object().cloned().unwrap_or_default();
    all.as_object_mut().expect("an object").extend(values);
    let chart = chart();
    let arguments = [
        "template",
        "albacore",
        chart.to_str().expect("text"),
        "--namespace=kube-system",
        &format!("--kube-version={kubernetes}"),
        "--include-crds",
    ];
    let rendered = helm(&arguments, &all)?;
    let documents = rendered.split("\n---").filter(|text| text.contains("kind:"));
    Ok(documents
        .map(|text| serde_yaml::from_str(text.trim_start_matches("---")).expect("YAML"))
        .collect())
}

fn all(values: &Value) -> Vec<Value> {
    render(values).unwrap_or_else(|refused| panic!("{values}: {refused}"))
}

fn of<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

fn the<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found = of(objects, kind);
    assert_eq!(found.len(), 1, "of {kind}");
    found[0]
}

fn named<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let found = of(objects, kind)
        .into_iter()
        .find(|object| object["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("{kind} {name}"))
}

fn pod(objects: &[Value]) -> Value {
    the(objects, "Deployment")["spec"]["template"]["spec"].clone()
}

fn arguments(objects: &[Value]) -> Vec<String> {
    serde_json::from_value(pod(objects)["containers"][0]["args"].clone()).expect("text")
}

/// What the controller says of its arguments; it comes as far as the kubeconfig when there is nothing to object.
fn controller(arguments: &[String]) -> String {
    let run = Command::new(env!("CARGO_BIN_EXE_albacore"))
        .args(arguments)
        .args([
            "--aws-region=eu-west-1",
            "--aws-vpc-id=vpc-0123",
            "--kubeconfig=/nonexistent/kubeconfig",
            "--leader-election-namespace=kube-system",
            "--pod-namespace=kube-system",
            "--metrics-bind-addr=127.0.0.1:0",
            "--health-probe-bind-addr=127.0.0.1:0",
        ])
        .env_clear()
        .output()
        .expect("it runs");
    assert_eq!(run.status.code(), Some(1));
    String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr)
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
    let objects = all(&json!({}));
    let deployment = the(&objects, "Deployment");
    assert_eq!(deployment["spec"]["replicas"], 2);
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&deployment["spec"]["selector"]["matchLabels"], labels);
    let pod = pod(&objects);
    assert_eq!(
        pod["serviceAccountName"],
        the(&objects, "ServiceAccount")["metadata"]["name"]
    );
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["containers"][0];
    let allowed = &container["securityContext"];
    assert_eq!(allowed["readOnlyRootFilesystem"], true);
    assert_eq!(allowed["allowPrivilegeEscalation"], false);
    assert_eq!(allowed["capabilities"], json!({"drop": ["ALL"]}));
    assert!(container["resources"]["requests"]["memory"].is_string(), "{container}");
    let apart = &pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0];
    assert_eq!(&apart["podAffinityTerm"]["labelSelector"]["matchLabels"], labels);
    assert_eq!(
        &pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
        labels
    );
    assert_eq!(pod["priorityClassName"], "system-cluster-critical");
    // SIGTERM drains within ten seconds and hands the Lease over.
    assert!(pod["terminationGracePeriodSeconds"].as_u64() > Some(10));
    let budget = &the(&objects, "PodDisruptionBudget")["spec"];
    assert_eq!(
        (&budget["maxUnavailable"], &budget["selector"]["matchLabels"]),
        (&json!(1), labels)
    );
    let service = &named(&objects, "Service", "albacore-metrics")["spec"];
    assert_eq!(
        (&service["ports"][0]["targetPort"], &service["selector"]),
        (&json!("metrics"), labels)
    );
    assert_eq!(of(&objects, "ServiceMonitor").len(), 0);
    for object in objects
        .iter()
        .filter(|object| object["kind"] != "CustomResourceDefinition")
    {
        assert_eq!(
            object["metadata"]["labels"]["app.kubernetes.io/managed-by"], "Helm",
            "{object}"
        );
    }
}

#[test]
fn probes_ask_where_the_controller_answers() {
    for values in [
        json!({}),
        json!({"ports": {"metrics": 9090, "health": 9091}}),
        json!({"metricsBindAddr": ":9090"}),
    ] {
        let objects = all(&values);
        let container = &pod(&objects)["containers"][0];
        let ports: BTreeMap<&str, &Value> = container["ports"]
            .as_array()
            .expect("ports")
            .iter()
            .map(|port| (port["name"].as_str().expect("a name"), &port["containerPort"]))
            .collect();
        for (probe, path) in [("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")] {
            assert_eq!(container[probe]["httpGet"], json!({"path": path, "port": "health"}));
        }
        let told = arguments(&objects);
        for (flag, port) in [
            ("metrics-bind-addr", ports["metrics"]),
            ("health-probe-bind-addr", ports["health"]),
        ] {
            assert!(told.contains(&format!("--{flag}=:{port}")), "{values}: {told:?}");
        }
        let metrics = named(&objects, "Service", "albacore-metrics");
        assert_eq!(metrics["spec"]["ports"][0]["port"], *ports["metrics"]);
    }
}

#[test]
fn every_flag_of_the_chart_is_one_of_the_controller() {
    let objects = all(&json!({
        "region": "eu-west-1",
        "vpcId": "vpc-0123",
        "awsApiEndpoints": {"EC2": "https://ec2.example", "STS": "https://sts.example"},
        "awsBudget": {"elasticloadbalancing.register": "4:20"},
        "ingressClass": "web",
        "defaultTags": {"team": "web", "cost center": 7},
        "externalManagedTags": ["CostCenter", "Owner"],
        "defaultLoadBalancerScheme": "internet-facing",
        "defaultSSLPolicy": "ELBSecurityPolicy-TLS13-1-2-2021-06",
        "enableBackendSecurityGroup": true,
        "enableManageBackendSecurityGroupRules": false,
        "disableIngressClassAnnotation": false,
        "disableIngressGroupNameAnnotation": true,
        "watchNamespace": "shop",
        "enablePodReadinessGateInject": true,
        "deregisterSeconds": 45,
        "logLevel": "info,albacore::plan=debug",
        "extraArgs": ["--aws-budget=ec2.DescribeSubnets=1:2"],
    }));
    let arguments = arguments(&objects);
    for argument in [
        "--cluster-name=demo",
        "--aws-api-endpoints=EC2=https://ec2.example",
        "--default-tags=cost center=7,team=web",
        "--external-managed-tags=CostCenter,Owner",
        "--enable-manage-backend-security-group-rules=false",
        "--disable-ingress-group-name-annotation=true",
        "--ingress-class=web",
        "--webhook-bind-port=9443",
        "--webhook-name=albacore-webhook",
        "--deregister-seconds=45",
    ] {
        assert!(
            arguments.iter().any(|told| told == argument),
            "{argument} is not in {arguments:?}"
        );
    }
    assert_eq!(arguments.len(), 26, "{arguments:?}");
    let env = pod(&objects)["containers"][0]["env"].clone();
    assert!(
        env.to_string()
            .contains(r#""name":"AWS_ENDPOINT_URL_STS","value":"https://sts.example""#),
        "{env}"
    );
    let said = controller(&arguments);
    assert!(
        said.contains("--kubeconfig=/nonexistent/kubeconfig"),
        "it should come as far as the kubeconfig: {said}"
    );
}

#[test]
fn values_of_albcs_chart_are_taken() {
    // What its users commonly set, and all that does nothing here.
    let objects = all(&json!({
        "ingressClass": "internal",
        "ingressClassConfig": {"default": true},
        "ingressClassParams": {"create": true, "name": "params", "spec": {"scheme": "internal"}},
        "serviceAccount": {"create": false, "name": "aws-load-balancer-controller"},
        "awsApiEndpoints": "EC2=https://ec2.example,STS=https://sts.example",
        "podDisruptionBudget": {"minAvailable": 1},
        "envSecretName": "aws",
        "env": {"AWS_REGION": "eu-west-1"},
        "resources": {"limits": {"cpu": "100m"}},
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}},
        "livenessProbe": {"initialDelaySeconds": 60},
        "controllerConfig": {"featureGates": {"ALBSingleSubnet": false, "NLBGatewayAPI": true}},
        "tolerateNonExistentBackendService": true,
        "autoscaling": {"enabled": false},
        "vpcTags": {},
        "defaultTargetType": "ip",
        "serviceMonitor": {"enabled": true, "namespace": "monitoring", "interval": "1m", "scrapeTimeout": "10s"},
        "enableServiceMutatorWebhook": true,
        "keepTLSSecret": true,
        "webhookBindPort": null,
        "webhookNamespaceSelectors": null,
        "webhookTLS": {"caCert": null, "cert": null, "key": null},
        "objectSelector": {"matchExpressions": null, "matchLabels": null},
        "podMutatorWebhookConfig": {"failurePolicy": null, "timeoutSeconds": null},
        "extraVolumes": null,
        "extraVolumeMounts": null,
        "syncPeriod": "1h",
        "enableShield": false,
    }));
    let class = the(&objects, "IngressClass");
    assert_eq!(class["metadata"]["name"], "internal");
    assert_eq!(
        class["metadata"]["annotations"]["ingressclass.kubernetes.io/is-default-class"],
        "true"
    );
    assert_eq!(class["spec"]["parameters"]["name"], "params");
    assert_eq!(the(&objects, "IngressClassParams")["metadata"]["name"], "params");
    assert_eq!(
        the(&objects, "IngressClassParams")["spec"],
        json!({"scheme": "internal"})
    );
    assert_eq!(of(&objects, "ServiceAccount").len(), 0);
    let pod = pod(&objects);
    assert_eq!(pod["serviceAccountName"], "aws-load-balancer-controller");
    let container = &pod["containers"][0];
    assert_eq!(container["envFrom"][0]["secretRef"]["name"], "aws");
    assert_eq!(container["livenessProbe"]["initialDelaySeconds"], 60);
    assert_eq!(container["livenessProbe"]["httpGet"]["path"], "/healthz");
    assert!(arguments(&objects).contains(&"--aws-api-endpoints=EC2=https://ec2.example".to_owned()));
    // Both together would be refused by the API server.
    let budget = &the(&objects, "PodDisruptionBudget")["spec"];
    assert_eq!(
        (&budget["minAvailable"], &budget["maxUnavailable"]),
        (&json!(1), &Value::Null)
    );
    let monitor = the(&objects, "ServiceMonitor");
    assert_eq!(monitor["metadata"]["namespace"], "monitoring");
    assert_eq!(
        monitor["spec"]["namespaceSelector"]["matchNames"],
        json!(["kube-system"])
    );
    let selected = monitor["spec"]["selector"]["matchLabels"].as_object().expect("labels");
    let labels = &named(&objects, "Service", "albacore-metrics")["metadata"]["labels"];
    assert!(
        selected.iter().all(|(key, value)| labels[key] == *value),
        "{selected:?} {labels}"
    );
}

#[test]
fn a_class_comes_with_the_chart_unless_it_is_somebody_elses() {
    let has = |values: Value| {
        let objects = all(&values);
        let params = of(&objects, "IngressClassParams").len();
        let class = of(&objects, "IngressClass");
        let refers = class.first().map(|class| class["spec"]["parameters"]["name"].clone());
        (params, class.len(), refers.unwrap_or_default())
    };
    let objects = all(&json!({}));
    let class = the(&objects, "IngressClass");
    assert_eq!(
        (&class["metadata"]["name"], &class["spec"]["controller"]),
        (&json!("alb"), &json!("ingress.k8s.aws/alb"))
    );
    assert_eq!(has(json!({})), (1, 1, json!("alb")));
    assert_eq!(has(json!({"ingressClass": {"create": false}})), (0, 0, Value::Null));
    assert_eq!(has(json!({"ingressClass": {"name": "web"}})), (1, 1, json!("web")));
    assert_eq!(has(json!({"createIngressClassResource": false})), (1, 0, Value::Null));
    assert_eq!(
        has(json!({"ingressClassParams": {"create": false}})),
        (0, 1, Value::Null)
    );
    let elsewhere = json!({"ingressClassParams": {"create": false, "name": "theirs"}});
    assert_eq!(has(elsewhere), (0, 1, json!("theirs")));
}

#[test]
fn rights_end_at_the_namespace_that_is_watched() {
    let rules = |object: &Value| object["rules"].as_array().cloned().unwrap_or_default();
    let everywhere = all(&json!({}));
    let cluster = rules(named(&everywhere, "ClusterRole", "albacore"));
    let text = json!(cluster).to_string();
    assert!(!text.contains("secrets") && !text.contains('*'), "{text}");

    let limited = all(&json!({"watchNamespace": "shop"}));
    let inside = of(&limited, "Role")
        .into_iter()
        .find(|role| role["metadata"]["namespace"] == "shop")
        .expect("a Role in that namespace");
    let outside = rules(named(&limited, "ClusterRole", "albacore"));
    let both: BTreeSet<String> = outside.iter().chain(&rules(inside)).map(Value::to_string).collect();
    assert_eq!(
        both,
        cluster.iter().map(Value::to_string).collect(),
        "the same rights in all"
    );
    let outside = json!(outside).to_string();
    for kind in ["pods", "services", "ingresses", "targetgroupbindings", "events"] {
        assert!(!outside.contains(&format!("\"{kind}\"")), "{kind}: {outside}");
    }
    let account = json!({"kind": "ServiceAccount", "name": "albacore", "namespace": "kube-system"});
    for binding in of(&limited, "RoleBinding")
        .into_iter()
        .chain(of(&limited, "ClusterRoleBinding"))
    {
        assert_eq!(binding["subjects"], json!([account]));
    }
    let lease = named(&limited, "Role", "albacore-leader-election");
    assert_eq!(lease["metadata"]["namespace"], "kube-system");
    assert!(
        lease.to_string().contains("aws-load-balancer-controller-leader"),
        "{lease}"
    );
}

/// Of each webhook its namespaceSelector and objectSelector.
fn selectors(objects: &[Value]) -> BTreeMap<String, (Value, Value)> {
    let webhooks = the(objects, "MutatingWebhookConfiguration")["webhooks"].as_array();
    let webhooks = webhooks.expect("webhooks").iter();
    let of = |webhook: &Value| {
        let part = |name: &str| webhook[name]["matchExpressions"].clone();
        let name = webhook["name"].as_str().expect("a name").to_owned();
        (name, (part("namespaceSelector"), part("objectSelector")))
    };
    webhooks.map(of).collect()
}

#[test]
fn the_webhook_is_asked_about_pods_that_a_label_names_and_never_about_albacore() {
    let is = |key: &str, operator: &str, value: &str| json!({"key": key, "operator": operator, "values": [value]});
    let gate = "elbv2.k8s.aws/pod-readiness-gate-inject";
    let deregister = "albacore.dev/deregister-before-terminate";
    let not_ours = is("app.kubernetes.io/name", "NotIn", "albacore");
    let objects = all(&json!({}));
    let webhooks = the(&objects, "MutatingWebhookConfiguration");
    for webhook in webhooks["webhooks"].as_array().expect("webhooks") {
        let part = |name: &str| webhook[name].clone();
        assert_eq!(
            (part("failurePolicy"), part("timeoutSeconds")),
            (json!("Ignore"), json!(5))
        );
        assert_eq!(
            (part("sideEffects"), part("reinvocationPolicy")),
            (json!("None"), json!("IfNeeded"))
        );
        assert_eq!(webhook["clientConfig"]["service"]["name"], "albacore-webhook-service");
        assert_eq!(webhook["clientConfig"]["caBundle"], Value::Null, "albacore writes it");
        assert_eq!(webhook["rules"][0]["operations"], json!(["CREATE"]));
    }
    let expected = [("mpod.elbv2.k8s.aws", gate), ("deregister.albacore.dev", deregister)]
        .into_iter()
        .flat_map(|(name, label)| {
            let by_namespace = (json!([is(label, "In", "enabled")]), json!([not_ours]));
            let by_pod = (
                json!([is(label, "NotIn", "enabled")]),
                json!([not_ours, is(label, "In", "enabled")]),
            );
            [(name.to_owned(), by_namespace), (format!("pod.{name}"), by_pod)]
        });
    assert_eq!(selectors(&objects), expected.collect());
    let service = &named(&objects, "Service", "albacore-webhook-service")["spec"];
    assert_eq!(
        (&service["ports"][0]["port"], &service["ports"][0]["targetPort"]),
        (&json!(443), &json!("webhook-server"))
    );
    assert_eq!(
        named(&objects, "Secret", "albacore-webhook-keys")["data"],
        Value::Null,
        "albacore writes it"
    );

    let mine = is("team", "In", "web");
    let chosen = selectors(&all(&json!({
        "watchNamespace": "shop",
        "webhookNamespaceSelectors": [mine],
        "objectSelector": {"matchExpressions": [mine]},
    })));
    let watched = is("kubernetes.io/metadata.name", "In", "shop");
    assert_eq!(
        chosen["mpod.elbv2.k8s.aws"],
        (json!([watched, mine]), json!([not_ours, mine]))
    );
    assert_eq!(chosen["pod.mpod.elbv2.k8s.aws"].0, json!([watched]));
    let without_gates = selectors(&all(&json!({"enablePodReadinessGateInject": false})));
    assert_eq!(without_gates.len(), 2);
    assert!(
        without_gates.keys().all(|name| name.contains("deregister")),
        "{without_gates:?}"
    );
    let old = render_for("1.29", &json!({})).expect("it renders");
    assert!(
        selectors(&old).keys().all(|name| !name.contains("deregister")),
        "it knows no sleep"
    );
}

#[test]
fn without_a_webhook_nothing_of_it_is_there() {
    let neither = json!({"enablePodReadinessGateInject": false});
    // `helm upgrade --reuse-values`, from a release that knew no webhook.
    let older = json!({
        "webhook": null, "webhookTLS": null, "webhookBindPort": null, "podMutatorWebhookConfig": null,
        "objectSelector": null, "webhookNamespaceSelectors": null, "certManager": null, "enableCertManager": null,
        "deregisterSeconds": null,
    });
    for (kubernetes, values) in [
        ("1.36", &json!({"webhook": {"enabled": false}})),
        ("1.29", &neither),
        ("1.36", &older),
    ] {
        let none = render_for(kubernetes, values).unwrap_or_else(|refused| panic!("{values}: {refused}"));
        for object in &none {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            assert!(!name.contains("webhook"), "{values}: {object}");
        }
        assert!(
            !pod(&none).to_string().contains("webhook"),
            "{values}: {:?}",
            pod(&none)
        );
    }
    let mut asked = older.clone();
    asked["webhook"] = json!({"enabled": true});
    for source in [json!({}), json!({"enableCertManager": true})] {
        let mut values = asked.clone();
        json_patch::merge(&mut values, &source);
        let objects = all(&values);
        let webhook = &the(&objects, "MutatingWebhookConfiguration")["webhooks"][0];
        assert_eq!(
            (&webhook["failurePolicy"], &webhook["timeoutSeconds"]),
            (&json!("Ignore"), &json!(5))
        );
    }
}

#[test]
fn the_webhooks_certificate_is_albacores_own_cert_managers_or_given() {
    let folder = "--webhook-cert-dir=/etc/albacore/webhook".to_owned();
    let webhook = |objects: &[Value]| the(objects, "MutatingWebhookConfiguration").clone();
    let secret = |objects: &[Value]| pod(objects)["volumes"][0]["secret"]["secretName"].clone();
    let own = all(&json!({}));
    assert!(arguments(&own).contains(&"--webhook-name=albacore-webhook".to_owned()));
    assert_eq!(pod(&own)["volumes"], Value::Null);
    let rights = |kind: &str| named(&own, kind, "albacore-webhook")["rules"][0].clone();
    assert_eq!(
        (rights("Role")["resourceNames"].clone(), rights("Role")["verbs"].clone()),
        (json!(["albacore-webhook-keys"]), json!(["get", "update"]))
    );
    assert_eq!(rights("ClusterRole")["resourceNames"], json!(["albacore-webhook"]));

    let managed = all(&json!({"enableCertManager": true, "webhookBindPort": 9444}));
    assert!(arguments(&managed).contains(&folder), "{:?}", arguments(&managed));
    assert!(arguments(&managed).contains(&"--webhook-bind-port=9444".to_owned()));
    assert_eq!((of(&managed, "Issuer").len(), of(&managed, "Secret").len()), (2, 0));
    let certificate = &named(&managed, "Certificate", "albacore-webhook")["spec"];
    assert_eq!(certificate["dnsNames"][0], "albacore-webhook-service.kube-system.svc");
    assert_eq!(certificate["secretName"], secret(&managed));
    assert_eq!(secret(&managed), "albacore-webhook-cert-manager");
    assert_eq!(
        webhook(&managed)["metadata"]["annotations"]["cert-manager.io/inject-ca-from"],
        "kube-system/albacore-webhook"
    );
    let issuer = json!({"kind": "ClusterIssuer", "name": "mine"});
    let theirs = all(&json!({"enableCertManager": true, "certManager": {"issuerRef": issuer}}));
    assert_eq!(of(&theirs, "Issuer").len(), 0);
    assert_eq!(the(&theirs, "Certificate")["spec"]["issuerRef"], issuer);

    let given = all(&json!({"webhookTLS": {"caCert": "A", "cert": "B", "key": "C"}}));
    assert!(arguments(&given).contains(&folder));
    assert_eq!(secret(&given), the(&given, "Secret")["metadata"]["name"]);
    assert_eq!(secret(&given), "albacore-webhook-tls");
    assert_eq!(
        the(&given, "Secret")["data"],
        json!({"ca.crt": "QQ==", "tls.crt": "Qg==", "tls.key": "Qw=="})
    );
    assert_eq!(webhook(&given)["webhooks"][0]["clientConfig"]["caBundle"], "QQ==");
}

#[test]
fn wrong_values_are_refused_with_what_to_write() {
    for (values, says) in [
        (json!({"clusterName": ""}), "clusterName is missing: --set clusterName="),
        (json!({"vpcId": "my-vpc"}), "/vpcId': 'my-vpc' does not match pattern"),
        (
            json!({"defaultTargetType": "pod"}),
            "/defaultTargetType': value must be one of '', 'instance', 'ip'",
        ),
        (
            json!({"defaultLoadBalancerScheme": "public"}),
            "one of '', 'internal', 'internet-facing'",
        ),
        (json!({"replicas": 3}), "additional properties 'replicas' not allowed"),
        (json!({"replicaCount": "2"}), "/replicaCount': got string, want integer"),
        (
            json!({"image": {"repo": "x"}}),
            "/image': additional properties 'repo' not allowed",
        ),
        (
            json!({"ingressClass": {"params": {}}}),
            "/ingressClass': additional properties 'params' not allowed",
        ),
        (json!({"ingressClass": 3}), "/ingressClass': got number, want"),
        (
            json!({"defaultTags": {"a": "x,y"}}),
            "/defaultTags/a': 'x,y' does not match pattern",
        ),
        (
            json!({"awsApiEndpoints": {"ELB": "https://x"}}),
            "/awsApiEndpoints': additional properties 'ELB' not allowed",
        ),
        (
            json!({"awsBudget": {"elasticloadbalancing.register": "fast"}}),
            "/awsBudget/elasticloadbalancing.register': 'fast' does not match",
        ),
        (
            json!({"ports": {"metrics": 70000}}),
            "/ports/metrics': maximum: got 70,000, want 65,535",
        ),
        (
            json!({"podMutatorWebhookConfig": {"failurePolicy": "Perhaps"}}),
            "/podMutatorWebhookConfig/failurePolicy': value must be one of 'Ignore', 'Fail'",
        ),
        (
            json!({"deregisterSeconds": 0}),
            "/deregisterSeconds': minimum: got 0, want 1",
        ),
        (json!({"logLevel": "verbose"}), "/logLevel"),
        (
            json!({"terminationGracePeriodSeconds": 1}),
            "/terminationGracePeriodSeconds",
        ),
        (json!({"extraArgs": ["sync"]}), "/extraArgs/0"),
    ] {
        let refused = render(&values).expect_err(&values.to_string());
        assert!(refused.contains(says), "{values}: {refused}");
    }
}

#[test]
fn what_albacore_cannot_follow_is_refused_all_at_once() {
    let refused = render(&json!({
        "clusterName": "",
        "autoscaling": {"enabled": true},
        "backendSecurityGroup": "sg-1",
        "certDiscovery": {"allowedCertificateAuthorityARNs": "arn:x"},
        "certManagement": {"defaultPCAARN": "arn:x"},
        "controllerConfig": {"featureGates": {"EnableDefaultTagsLowPriority": true, "EnableIPTargetType": true}},
        "disableRestrictedSecurityGroupRules": true,
        "maxTargetsPerTargetGroup": 100,
        "serviceTargetENISGTags": {"a": "b"},
        "tolerateNonExistentBackendAction": false,
        "tolerateNonExistentBackendService": false,
        "vpcTags": {"Name": "main"},
        "webhookTLS": {"cert": "x"},
    }))
    .expect_err("much of it");
    let wrong: Vec<&str> = refused.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    assert_eq!(wrong.len(), 13, "{refused}");
    for line in &wrong {
        let (value, instead) = line.split_once(": ").expect("what, and what instead");
        assert!(!value.contains(' ') || value.contains("missing"), "{line}");
        assert!(instead.len() > 20, "{line}");
    }
    assert!(!refused.contains("EnableIPTargetType"), "{refused}");
}

#[test]
fn the_chart_and_the_controller_refuse_the_same_gates() {
    let template = fs::read_to_string(chart().join("templates/_albc.tpl")).expect("a template");
    let (_, rest) = template.split_once("range $gate, $is := dict").expect("gates");
    let (list, _) = rest.split_once("-}}").expect("their end");
    let words: Vec<&str> = list.split('"').filter(|word| !word.trim().is_empty()).collect();
    let gates: BTreeMap<&str, bool> = words.chunks(2).map(|pair| (pair[0], pair[1] == "true")).collect();
    let flags = |flip: bool| {
        let pairs = gates.iter().map(|(gate, is)| format!("{gate}={}", is ^ flip));
        let list = pairs.collect::<Vec<_>>().join(",");
        controller(&["--cluster-name=demo".to_owned(), format!("--feature-gates={list}")])
    };
    let (taken, refused) = (flags(false), flags(true));
    assert!(gates.len() > 10 && taken.contains("--kubeconfig="), "{taken}");
    for (gate, is) in gates {
        assert!(
            refused.contains(&format!("acts as with {gate}={is}")),
            "{gate}: {refused}"
        );
    }
}

#[test]
fn every_value_is_described_and_checked() {
    let read = |path: &str| fs::read_to_string(chart().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let values: serde_json::Map<String, Value> = serde_yaml::from_str(&read("values.yaml")).expect("YAML");
    let schema: Value = serde_json::from_str(&read("values.schema.json")).expect("JSON");
    assert_eq!(schema["additionalProperties"], false);
    let checked: BTreeSet<&String> = schema["properties"].as_object().expect("properties").keys().collect();
    let table = read("README.md");
    let described: BTreeSet<&str> = table
        .lines()
        .filter(|line| line.starts_with("| `"))
        .flat_map(|line| line.split('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2))
        .map(|value| value.split('.').next().unwrap_or(value))
        .collect();
    for value in values.keys() {
        assert!(checked.contains(value), "{value} is not in values.schema.json");
        assert!(described.contains(value.as_str()), "{value} is not in README.md");
    }
    for value in described {
        assert!(
            checked.contains(&value.to_owned()),
            "{value} of README.md is not a value"
        );
    }
}

#[test]
fn albcs_crds_have_its_columns_and_refuse_what_it_refuses() {
    let objects = all(&json!({}));
    let crd = |name: &str| {
        of(&objects, "CustomResourceDefinition")
            .into_iter()
            .find(|crd| crd["metadata"]["name"] == name)
            .unwrap_or_else(|| panic!("{name}"))
    };
    let columns = |version: &Value| -> Vec<String> {
        let columns = version["additionalPrinterColumns"].as_array().expect("columns");
        columns
            .iter()
            .map(|column| column["name"].as_str().expect("a name").to_owned())
            .collect()
    };
    let params = crd("ingressclassparams.elbv2.k8s.aws");
    assert_eq!(params["spec"]["scope"], "Cluster");
    assert_eq!(
        columns(&params["spec"]["versions"][0]),
        ["GROUP-NAME", "SCHEME", "IP-ADDRESS-TYPE", "AGE"]
    );
    let spec = &params["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    assert_eq!(
        spec["properties"]["scheme"]["enum"],
        json!(["internal", "internet-facing"])
    );
    // Every field of "IngressClassParams" in ALBC's guide.
    let fields: Vec<&String> = spec["properties"].as_object().expect("fields").keys().collect();
    assert_eq!(
        fields,
        [
            "PrefixListsIDs",
            "certificateArn",
            "group",
            "inboundCIDRs",
            "ipAddressType",
            "ipamConfiguration",
            "listeners",
            "loadBalancerAttributes",
            "loadBalancerName",
            "minimumLoadBalancerCapacity",
            "namespaceSelector",
            "prefixListsIDs",
            "scheme",
            "sslPolicy",
            "sslRedirectPort",
            "subnets",
            "tags",
            "targetType",
            "wafv2AclArn",
            "wafv2AclName",
        ]
    );
    let bindings = crd("targetgroupbindings.elbv2.k8s.aws");
    assert_eq!(bindings["spec"]["scope"], "Namespaced");
    let versions = bindings["spec"]["versions"].as_array().expect("versions");
    assert_eq!(versions.len(), 2);
    for version in versions {
        assert_eq!(version["storage"], version["name"] == "v1beta1");
        assert_eq!(
            columns(version),
            ["SERVICE-NAME", "SERVICE-PORT", "TARGET-TYPE", "ARN", "NAME", "AGE"]
        );
        assert!(version["subresources"]["status"].is_object());
    }
    for name in ["loadbalancers.albacore.dev", "clusternetworks.albacore.dev"] {
        assert_eq!(crd(name)["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    }
}

#[test]
fn helm_has_nothing_to_object() {
    let chart = chart();
    let chart = chart.to_str().expect("text");
    helm(&["lint", "--strict", "--quiet", chart], &json!({"clusterName": "demo"})).expect("lints");
}
