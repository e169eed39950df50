//! The AWS edge against the double: what a mutation is believed to do is what AWS then tells.

use albacore::{
    aws::{Aws, Place},
    budget::{Budget, BudgetConfig},
    model::*,
    plan::{Made, Mutation, Observed, Ref, Results, Step, StepId},
    telemetry::Clock,
};
use albacore_aws::{Double, Options};
use albacore_simulation::{
    permissions,
    world::{self, CLUSTER, REGION, World},
};
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

struct Edge {
    aws: Aws,
    world: World,
    settings: Settings,
    group: GroupKey,
    unit: Unit,
    observed: Observed,
    results: Results,
    steps: u32,
}

impl Edge {
    async fn new() -> Self {
        let double = Double::new(Options::instant());
        let world = world::build(&double).await.expect("a world");
        let vpc = VpcId::from(world.vpc.as_str());
        let place = Place {
            region: REGION.to_owned(),
            vpc: vpc.clone(),
        };
        permissions::attach(&double, permissions::CONTROLLER, permissions::document());
        let group = GroupKey::Explicit("edge".to_owned());
        Self {
            aws: Aws::through(
                double.http_client(),
                permissions::credentials(),
                &place,
                Budget::new(BudgetConfig::default()),
                Clock::simulated(),
            ),
            settings: Settings {
                cluster: CLUSTER.to_owned(),
                vpc,
                ingress_class: "alb".to_owned(),
                disable_class_annotation: false,
                disable_group_name_annotation: false,
                default_tags: Tags::new(),
                external_managed_tags: Default::default(),
                default_target_type: TargetType::Instance,
                default_scheme: Scheme::Internal,
                default_ssl_policy: String::new(),
                backend_security_group: true,
                manage_backend_rules: false,
            },
            unit: Unit::Group(group.clone()),
            group,
            world,
            observed: Observed::default(),
            results: Results::default(),
            steps: 0,
        }
    }

    /// Performs a call, folds it in, and asks AWS whether that is how it is.
    async fn perform(&mut self, call: Mutation) -> StepId {
        let id = StepId(self.steps);
        self.steps += 1;
        let permit = self.aws.permit_for(&call, Lane::Change, &self.unit, false).await;
        let made = self.aws.perform(permit, &call, &self.results).await;
        let made = made.unwrap_or_else(|fault| panic!("{call:?}: {fault}"));
        let step = Step {
            id,
            lane: Lane::Change,
            owner: None,
            call,
        };
        assert!(
            self.observed.apply(&step, &made, &self.results),
            "{step:?} changed nothing"
        );
        self.results.record(id, made);
        let read = self
            .aws
            .observe_group(&self.unit, &self.settings, &self.group, &self.observed, Instant::now())
            .await;
        let mut read = read.unwrap_or_else(|fault| panic!("{fault}"));
        read.remember(&self.observed, None);
        for lb in &mut read.load_balancers {
            let known = self.observed.load_balancer(&lb.arn).expect("known");
            let set = &known.load_balancer.attributes;
            lb.load_balancer.attributes.retain(|key, _| set.contains_key(key));
        }
        let mut believed = self.observed.clone();
        believed.load_balancers.sort_by(|a, b| a.arn.cmp(&b.arn));
        believed.target_groups.sort_by(|a, b| a.arn.cmp(&b.arn));
        assert_eq!(read, believed, "after {step:?}");
        id
    }

    fn tags(&self, resource: &str) -> Tags {
        BTreeMap::from([
            (tags::CLUSTER.to_owned(), CLUSTER.to_owned()),
            (tags::STACK.to_owned(), "edge".to_owned()),
            (tags::RESOURCE.to_owned(), resource.to_owned()),
        ])
    }

    fn target_group(&self, name: &str, protocol_version: &str) -> Mutation {
        Mutation::CreateTargetGroup {
            vpc: self.settings.vpc.clone(),
            key: TargetGroupKey(name.to_owned()),
            group: TargetGroup {
                name: name.to_owned(),
                target_type: TargetType::Ip,
                protocol: "HTTP".to_owned(),
                protocol_version: protocol_version.to_owned(),
                port: 8080,
                ip_address_type: "ipv4".to_owned(),
                health_check: check(protocol_version),
                attributes: BTreeMap::new(),
                tags: self.tags(name),
            },
        }
    }

    fn rule(
        &self,
        place: &str,
        conditions: Vec<Condition>,
        action: Action<Ref<TargetGroupArn>>,
    ) -> Rule<Ref<TargetGroupArn>> {
        Rule {
            conditions,
            actions: vec![action],
            tags: self.tags(place),
            owner: None,
        }
    }
}

fn check(protocol_version: &str) -> HealthCheck {
    HealthCheck {
        port: "traffic-port".to_owned(),
        protocol: "HTTP".to_owned(),
        path: "/healthz".to_owned(),
        interval_seconds: 15,
        timeout_seconds: 5,
        healthy_threshold: 2,
        unhealthy_threshold: 3,
        success_codes: if protocol_version == "GRPC" {
            "0-5".to_owned()
        } else {
            "200-299".to_owned()
        },
    }
}

fn made<T>(step: StepId) -> Ref<T> {
    Ref::From(step)
}

#[tokio::test(start_paused = true)]
async fn every_mutation_does_what_it_is_believed_to_do() {
    let mut edge = Edge::new().await;
    let permission = |port: u16, range: &str| Permission {
        protocol: "tcp".to_owned(),
        ports: Some((port, port)),
        peer: Peer::Cidr(range.parse().expect("a range")),
        description: if port == 80 {
            String::new()
        } else {
            "described".to_owned()
        },
    };
    let group = edge
        .perform(Mutation::CreateSecurityGroup {
            vpc: edge.settings.vpc.clone(),
            name: "edge".to_owned(),
            description: "edge".to_owned(),
            tags: edge.tags(tags::RESOURCE_SECURITY_GROUP),
        })
        .await;
    let permissions = vec![permission(80, "0.0.0.0/0"), permission(443, "10.0.0.0/8")];
    edge.perform(Mutation::AuthorizeIngress {
        group: made(group),
        permissions,
    })
    .await;
    let id = edge.observed.security_group.clone().expect("made").id;
    edge.perform(Mutation::RevokeIngress {
        group: id.clone(),
        permissions: vec![permission(80, "0.0.0.0/0")],
    })
    .await;
    let extra = Tags::from([("team".to_owned(), "web".to_owned())]);
    edge.perform(Mutation::TagSecurityGroup {
        group: id.clone(),
        tags: extra.clone(),
    })
    .await;
    edge.perform(Mutation::UntagSecurityGroup {
        group: id.clone(),
        keys: vec!["team".to_owned()],
    })
    .await;

    let web = edge.perform(edge.target_group("web", "HTTP1")).await;
    let grpc = edge.perform(edge.target_group("grpc", "GRPC")).await;
    let attributes = BTreeMap::from([("deregistration_delay.timeout_seconds".to_owned(), "30".to_owned())]);
    edge.perform(Mutation::ModifyTargetGroupAttributes {
        group: made(web),
        attributes,
    })
    .await;
    let arn = edge.results.resolve(&made::<TargetGroupArn>(web)).expect("made");
    let health_check = HealthCheck {
        interval_seconds: 20,
        path: "/".to_owned(),
        ..check("HTTP1")
    };
    edge.perform(Mutation::ModifyTargetGroup {
        arn: arn.clone(),
        health_check,
        protocol_version: "HTTP1".to_owned(),
    })
    .await;

    let subnets = |edge: &Edge, names: &[&str]| {
        let of = edge
            .world
            .subnets
            .iter()
            .filter(|(name, _)| names.contains(&name.as_str()));
        let mut ids: Vec<SubnetId> = of.map(|(_, id)| id.as_str().into()).collect();
        ids.sort();
        ids
    };
    let load_balancer = LoadBalancer {
        name: names::load_balancer(CLUSTER, &edge.group, Scheme::Internal),
        scheme: Scheme::Internal,
        ip_address_type: IpAddressType::Ipv4,
        subnets: subnets(&edge, &["private-a", "private-b"]),
        security_groups: vec![made(group)],
        attributes: BTreeMap::new(),
        tags: edge.tags(tags::RESOURCE_LOAD_BALANCER),
    };
    let lb = edge.perform(Mutation::CreateLoadBalancer { load_balancer }).await;
    let attributes = BTreeMap::from([("idle_timeout.timeout_seconds".to_owned(), "90".to_owned())]);
    edge.perform(Mutation::ModifyLoadBalancerAttributes {
        load_balancer: made(lb),
        attributes,
    })
    .await;
    let lb_arn = edge.results.resolve(&made::<LoadBalancerArn>(lb)).expect("made");
    let more = subnets(&edge, &["private-a", "private-b", "private-c"]);
    edge.perform(Mutation::SetSubnets {
        arn: lb_arn.clone(),
        subnets: more,
    })
    .await;
    let groups = vec![
        Ref::Known(edge.world.node_group.as_str().into()),
        Ref::Known(id.clone()),
    ];
    edge.perform(Mutation::SetSecurityGroups {
        arn: lb_arn.clone(),
        groups,
    })
    .await;

    let redirect = Action::Redirect(Redirect {
        protocol: Some("HTTPS".to_owned()),
        port: "443".parse().ok(),
        status_code: "HTTP_301".to_owned(),
        ..Redirect::default()
    });
    let fixed = Action::FixedResponse {
        status_code: "404".to_owned(),
        content_type: Some("text/plain".to_owned()),
        message_body: None,
    };
    let listener = |port, protocol, action, edge: &Edge| Listener {
        port,
        protocol,
        default_actions: vec![action],
        certificates: Certificates::default(),
        ssl_policy: None,
        tags: edge.tags(&port.to_string()),
        rules: Vec::new(),
    };
    let http = listener(80, ListenerProtocol::Http, redirect, &edge);
    let http = edge
        .perform(Mutation::CreateListener {
            load_balancer: made(lb),
            listener: http,
        })
        .await;
    let certificate = CertificateArn::from(edge.world.certificate.as_str());
    let mut https = listener(443, ListenerProtocol::Https, fixed.clone(), &edge);
    https.certificates.default = Some(certificate.clone());
    https.ssl_policy = Some("ELBSecurityPolicy-2016-08".to_owned());
    let tls = edge
        .perform(Mutation::CreateListener {
            load_balancer: made(lb),
            listener: https.clone(),
        })
        .await;
    edge.perform(Mutation::AddListenerCertificate {
        listener: made(tls),
        certificate: certificate.clone(),
    })
    .await;

    let host = || Condition::Host(vec!["shop.example.com".to_owned(), "*.example.com".to_owned()]);
    let path = |path: &str| Condition::Path(vec![path.to_owned()]);
    let forward = Action::Forward(Forward::to(made(web)));
    let rule = edge.rule("443:1", vec![host(), path("/a")], forward.clone());
    let first = edge
        .perform(Mutation::CreateRule {
            listener: made(tls),
            priority: 1,
            rule,
        })
        .await;
    let weighted = Action::Forward(Forward {
        targets: vec![
            ForwardTarget {
                target_group: made(web),
                weight: Some(1),
            },
            ForwardTarget {
                target_group: made(grpc),
                weight: Some(0),
            },
        ],
        stickiness_seconds: Some(60),
    });
    let rule = edge.rule("443:2", vec![path("/b")], weighted);
    let second = edge
        .perform(Mutation::CreateRule {
            listener: made(tls),
            priority: 2,
            rule,
        })
        .await;
    let listener_arn = edge.results.resolve(&made::<ListenerArn>(tls)).expect("made");
    let priorities = vec![(made(first), 2), (made(second), 1)];
    edge.perform(Mutation::SetRulePriorities {
        listener: listener_arn.clone(),
        priorities,
    })
    .await;
    let rule_arn = edge.results.resolve(&made::<RuleArn>(first)).expect("made");
    let rule = edge.rule("443:1", vec![path("/c")], fixed);
    edge.perform(Mutation::ModifyRule {
        arn: rule_arn.clone(),
        rule,
    })
    .await;
    edge.perform(Mutation::AddTags {
        resource: rule_arn.to_string(),
        tags: extra.clone(),
    })
    .await;
    edge.perform(Mutation::RemoveTags {
        resource: rule_arn.to_string(),
        keys: vec!["team".to_owned()],
    })
    .await;
    edge.perform(Mutation::AddTags {
        resource: listener_arn.to_string(),
        tags: extra.clone(),
    })
    .await;
    edge.perform(Mutation::AddTags {
        resource: lb_arn.to_string(),
        tags: extra.clone(),
    })
    .await;
    edge.perform(Mutation::AddTags {
        resource: arn.to_string(),
        tags: extra,
    })
    .await;
    https.default_actions = vec![forward];
    edge.perform(Mutation::ModifyListener {
        arn: listener_arn.clone(),
        listener: https,
    })
    .await;

    let target = Target::Ip("10.0.10.70".parse().expect("an address"), 8080);
    for (call, left) in [
        (
            Mutation::RegisterTargets {
                group: arn.clone(),
                targets: vec![target.clone()],
            },
            vec![target.clone()],
        ),
        (
            Mutation::DeregisterTargets {
                group: arn.clone(),
                targets: vec![target.clone()],
            },
            Vec::new(),
        ),
    ] {
        let permit = edge.aws.permit_for(&call, Lane::Targets, &edge.unit, false).await;
        assert_eq!(edge.aws.perform(permit, &call, &edge.results).await, Ok(Made::Nothing));
        let registered = edge
            .aws
            .registered(Lane::Change, &edge.unit, &arn)
            .await
            .expect("an answer")
            .registered;
        assert_eq!(registered.into_iter().collect::<Vec<_>>(), left, "{call:?}");
    }

    edge.perform(Mutation::RemoveListenerCertificate {
        listener: listener_arn,
        certificate,
    })
    .await;
    edge.perform(Mutation::DeleteRule { arn: rule_arn }).await;
    let http = edge.results.resolve(&made::<ListenerArn>(http)).expect("made");
    edge.perform(Mutation::DeleteListener { arn: http }).await;
    edge.perform(Mutation::DeleteLoadBalancer { arn: lb_arn }).await;
    edge.perform(Mutation::DeleteTargetGroup { arn }).await;
    edge.perform(Mutation::DeleteSecurityGroup { group: id }).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_named_is_found_and_what_is_not_there_is_told() {
    let edge = Edge::new().await;
    let member = ObjectKey::new("shop", "main");
    let selectors = |subnets: SubnetSelector| Selectors {
        subnets,
        ipv6: false,
        ipv6_by: BTreeSet::new(),
        security_groups: Vec::new(),
        certificates: BTreeMap::new(),
        subnets_by: [member.clone()].into(),
        security_groups_by: [member.clone()].into(),
    };
    let id = |name: &str| {
        edge.world
            .subnets
            .iter()
            .find(|(known, _)| known == name)
            .expect("a subnet")
            .1
            .clone()
    };
    let named = |names: &[&str]| SubnetSelector::Named(names.iter().map(|name| (*name).to_owned()).collect());
    let tagged = SubnetSelector::Tagged(BTreeMap::from([("Name".to_owned(), vec!["private-*".to_owned()])]));
    let one = id("private-c");
    for (selector, expected) in [
        (
            SubnetSelector::Discover(Scheme::Internal),
            Ok(vec!["private-a", "private-b", "private-c"]),
        ),
        (
            SubnetSelector::Discover(Scheme::InternetFacing),
            Ok(vec!["public-a", "public-b", "public-c"]),
        ),
        (tagged, Ok(vec!["private-a", "private-b", "private-c"])),
        (named(&["private-a", &one]), Ok(vec!["private-a", "private-c"])),
        (named(&["private-a"]), Err("two zones")),
        (named(&["private-a", "public-a"]), Err("different zones")),
        (named(&["private-a", "nowhere"]), Err("`nowhere`")),
    ] {
        let selectors = selectors(selector.clone());
        let (resolved, problems) = edge
            .aws
            .resolve(&edge.settings, &edge.unit, &selectors, None, &Observed::default())
            .await
            .expect("an answer");
        match expected {
            Ok(names) => {
                let mut ids: Vec<SubnetId> = names.into_iter().map(|name| id(name).into()).collect();
                ids.sort();
                assert_eq!((resolved.subnets, problems), (ids, Vec::new()), "{selector:?}");
            }
            Err(says) => {
                let told = problems.first().map(ToString::to_string).unwrap_or_default();
                assert!(
                    told.contains(says) && told.contains("shop/main"),
                    "{selector:?}: {told}"
                );
            }
        }
    }
    let mut groups = selectors(SubnetSelector::Discover(Scheme::Internal));
    groups.security_groups = vec!["no such group".to_owned()];
    let (_, problems) = edge
        .aws
        .resolve(&edge.settings, &edge.unit, &groups, None, &Observed::default())
        .await
        .expect("an answer");
    assert!(problems[0].detail.contains("no such group"), "{problems:?}");
}
