use super::*;

fn parse(arguments: &[&str]) -> Result<Config, Wrong> {
    let base = ["albacore", "--cluster-name=demo"];
    let arguments = base.iter().chain(arguments).map(|text| (*text).to_owned());
    Config::parse(arguments, "kube-system")
}

fn wrong(arguments: &[&str]) -> Vec<String> {
    parse(arguments).expect_err("something is wrong").0
}

#[test]
fn defaults_are_those_of_albc() {
    let config = parse(&[]).unwrap();
    let settings = config.settings("vpc-1".into());
    assert_eq!(settings.default_target_type, TargetType::Instance);
    assert_eq!(settings.default_scheme, Scheme::Internal);
    assert_eq!(settings.default_ssl_policy, "ELBSecurityPolicy-2016-08");
    assert_eq!(settings.ingress_class, "alb");
    assert_eq!(settings.vpc, "vpc-1".into());
    assert!(settings.backend_security_group && !settings.manage_backend_rules);
    assert!(!settings.disable_class_annotation && !settings.disable_group_name_annotation);
    assert_eq!((config.metrics.port(), config.health.port()), (8080, 61779));
    assert_eq!(
        config.lease,
        Some(Lease {
            namespace: "kube-system".into(),
            name: "aws-load-balancer-controller-leader".into()
        })
    );
    assert_eq!(
        (config.aws.region, config.aws.vpc, config.watch_namespace),
        (None, None, None)
    );
    assert_eq!(config.ignored, [""; 0]);
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_flag_value_and_what_to_write() {
    let arguments = [
        "albacore",
        "stray",
        "--default-target-type=pod",
        "--default-load-balancer-scheme=public",
        "--default-tags=team=web,elbv2.k8s.aws/cluster=x,nonsense",
        "--external-managed-tags=team",
        "--aws-vpc-id=my-vpc",
        "--aws-api-endpoints=ELB=http://x",
        "--aws-budget=nothing",
        "--metrics-bind-addr=here",
        "--health-probe-bind-addr=:99999",
        "--log-format=xml",
        "--log-level=verbose",
        "--ingres-class=x",
        "--enable-backend-security-group=perhaps",
        "--aws-vpc-tags=Name=main",
        "--feature-gates=ALBSingleSubnet=true",
        "--watch-namespace",
    ];
    let wrong = Config::parse(arguments.map(str::to_owned), "").expect_err("much is wrong");
    let parts = [
        "`stray` belongs to no flag",
        "--ingres-class is no flag of albacore; is --ingress-class meant?",
        "--aws-vpc-tags=Name=main is not to be had: albacore does not look for a VPC by tags; give its id with --aws-vpc-id",
        "--feature-gates=ALBSingleSubnet=true: ",
        "--watch-namespace has no value; write --watch-namespace=VALUE",
        "--cluster-name is missing",
        "--aws-api-endpoints=ELB=http://x: `ELB` is not a service",
        "--default-tags=elbv2.k8s.aws/cluster=x: ",
        "--default-tags=nonsense: write key=value",
        "team is in --default-tags and in --external-managed-tags",
        "--aws-budget: `nothing`",
        "--aws-vpc-id=my-vpc is not the id of a VPC: write one such as vpc-",
        "--default-target-type=pod: write instance or ip",
        "--default-load-balancer-scheme=public: write internal or internet-facing",
        "--enable-backend-security-group=perhaps: write true or false",
        "--log-level=verbose: write info, debug",
        "--leader-election-namespace is missing",
        "--metrics-bind-addr=here is not an address: write :8080",
        "--health-probe-bind-addr=:99999 is not an address",
        "--log-format=xml: write json or text",
    ];
    assert_eq!(wrong.0.len(), parts.len(), "{wrong}");
    for part in parts {
        assert!(
            wrong.0.iter().any(|line| line.starts_with(part)),
            "{part} begins no line of:\n{wrong}"
        );
    }
    let text = wrong.to_string();
    assert!(text.starts_with("the configuration cannot be used:\n  "), "{text}");
}

#[test]
fn flags_of_albc_are_taken() {
    let config = parse(&[
        "--enable-shield=false",
        "--enable-waf",
        "--ingress-max-concurrent-reconciles=10",
        "--sync-period",
        "1h",
        "-ingress-class=internal",
        "--feature-gates=ALBSingleSubnet=false,WeightedTargetGroups=true",
        "--aws-api-endpoints=EC2=http://127.0.0.1:1,Elastic Load Balancing v2=http://127.0.0.1:2",
        "--disable-ingress-class-annotation",
        "--aws-vpc-id",
        "vpc-0a1b",
        "--targetgroupbinding-requeue-duration=15s",
    ])
    .unwrap();
    assert_eq!(
        config.ignored,
        [
            "--enable-shield=false",
            "--enable-waf=true",
            "--ingress-max-concurrent-reconciles=10",
            "--sync-period=1h",
            "--feature-gates=ALBSingleSubnet=false",
            "--feature-gates=WeightedTargetGroups=true",
            "--targetgroupbinding-requeue-duration=15s",
        ]
    );
    assert_eq!(config.aws.endpoints["Elastic Load Balancing v2"], "http://127.0.0.1:2");
    assert_eq!(config.aws.vpc, Some("vpc-0a1b".into()));
    let settings = config.settings("vpc-1".into());
    assert_eq!(settings.ingress_class, "internal");
    assert!(settings.disable_class_annotation);
}

#[test]
fn a_list_is_written_with_commas_or_flag_by_flag_and_otherwise_the_last_counts() {
    let one = parse(&["--aws-budget=ec2.DescribeSubnets=1:2,elasticloadbalancing.register=4:20"]).unwrap();
    let two = parse(&[
        "--aws-budget=ec2.DescribeSubnets=1:2",
        "--aws-budget=elasticloadbalancing.register=4:20",
    ])
    .unwrap();
    assert_eq!(one.budget.len(), 2);
    assert_eq!(one.budget, two.budget);
    let tags = parse(&["--default-tags=a=1", "--default-tags=b=2"]).unwrap();
    assert_eq!(tags.settings("vpc-1".into()).default_tags.len(), 2);
    let last = parse(&["--aws-region=eu-west-1", "--aws-region=eu-west-2"]).unwrap();
    assert_eq!(last.aws.region.as_deref(), Some("eu-west-2"));
}

#[test]
fn what_is_empty_is_as_if_not_given() {
    let config = parse(&[
        "--aws-region=",
        "--aws-vpc-id=",
        "--watch-namespace=",
        "--default-tags=",
        "--aws-api-endpoints=",
        "--aws-budget=",
        "--kubeconfig=",
    ])
    .unwrap();
    assert_eq!((config.aws.region.clone(), config.aws.vpc.clone()), (None, None));
    assert_eq!(
        (config.watch_namespace.clone(), config.kubeconfig.clone()),
        (None, None)
    );
    assert!(config.settings("vpc-1".into()).default_tags.is_empty() && config.budget.is_empty());
}

#[test]
fn two_processes_are_never_called_the_same() {
    let of_pod = || parse(&["--pod-name=albacore-7d4b9-x2x5k"]).unwrap().instance;
    assert_ne!(of_pod(), of_pod(), "a container that is started again");
    assert!(of_pod().starts_with("albacore-7d4b9-x2x5k_"));
    let nameless = || parse(&["--pod-name=", "--hostname="]).unwrap().instance;
    assert_ne!(nameless(), nameless(), "two containers that are both process 1");
}

#[test]
fn the_lease_stands_where_it_is_said_or_where_the_pod_is() {
    let namespace = |arguments: &[&str]| parse(arguments).unwrap().lease.map(|lease| lease.namespace);
    assert_eq!(namespace(&["--pod-namespace="]).as_deref(), Some("kube-system"));
    assert_eq!(namespace(&["--pod-namespace=own"]).as_deref(), Some("own"));
    let said = ["--pod-namespace=own", "--leader-election-namespace=said"];
    assert_eq!(namespace(&said).as_deref(), Some("said"));
    assert_eq!(namespace(&["--enable-leader-election=false"]), None);
}

#[test]
fn a_level_or_a_filter_is_a_filter_and_a_word_is_not() {
    for good in ["info", "DEBUG", "off", "info,albacore=debug", "albacore::plan=trace"] {
        assert!(is_filter(good), "{good}");
    }
    for bad in ["verbose", "", ",", "albacore", "info,albacore", "albacore=loud"] {
        assert!(!is_filter(bad), "{bad}");
    }
}

#[test]
fn rules_for_groups_of_users_need_the_shared_group() {
    let both = [
        "--enable-manage-backend-security-group-rules",
        "--enable-backend-security-group=false",
    ];
    assert_eq!(wrong(&both).len(), 1);
    assert!(parse(&both[..1]).is_ok());
}

#[test]
fn each_flag_is_an_environment_variable_of_its_own_name() {
    let outside = ["pod-name", "pod-namespace", "hostname"];
    let command = Flags::command();
    let mut count = 0;
    for argument in command.get_arguments() {
        let (Some(flag), Some(variable)) = (argument.get_long(), argument.get_env()) else {
            panic!("{} has no flag or no variable", argument.get_id());
        };
        if !outside.contains(&flag) {
            assert_eq!(
                variable.to_str(),
                Some(&*format!("ALBACORE_{}", flag.replace('-', "_").to_uppercase()))
            );
            assert!(argument.get_help().is_some(), "--{flag} says nothing");
            count += 1;
        }
    }
    assert!(count > 20);
    for switch in flags::SWITCHES {
        assert!(
            command
                .get_arguments()
                .any(|argument| argument.get_long() == Some(switch)),
            "{switch}"
        );
    }
}

#[test]
fn a_webhook_has_one_certificate_its_own_or_somebody_elses() {
    let webhook = |arguments: &[&str]| parse(arguments).unwrap().webhook;
    assert_eq!(webhook(&["--webhook-bind-port=9443"]), None);
    let own = webhook(&["--webhook-name=albacore-webhook", "--pod-namespace="]).unwrap();
    assert_eq!((own.address.port(), own.gates, own.seconds), (9443, true, 30));
    let (namespace, name) = ("kube-system".to_owned(), "albacore-webhook".to_owned());
    assert_eq!(own.certificate, Certificate::Own { namespace, name });
    let files = webhook(&[
        "--webhook-cert-dir=/certs",
        "--webhook-key-file=key.pem",
        "--webhook-bind-port=8443",
        "--enable-pod-readiness-gate-inject=false",
        "--deregister-seconds=60",
    ]);
    let files = files.unwrap();
    assert_eq!((files.address.port(), files.gates, files.seconds), (8443, false, 60));
    assert_eq!(
        files.certificate,
        Certificate::Files {
            certificate: "/certs/tls.crt".into(),
            key: "/certs/key.pem".into()
        }
    );
    let wrong = wrong(&[
        "--webhook-name=a",
        "--webhook-cert-dir=/b",
        "--webhook-bind-port=99999",
        "--deregister-seconds=0",
    ]);
    for says in [
        "leave one of them out",
        "--webhook-bind-port=99999: write a number from 0 to 65535",
        "--deregister-seconds=0: write a number from 1 to 3600",
    ] {
        assert!(wrong.iter().any(|wrong| wrong.contains(says)), "{says}: {wrong:?}");
    }
}
