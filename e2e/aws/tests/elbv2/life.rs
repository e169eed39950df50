//! Everything is created, read back, changed and deleted.

use std::collections::BTreeMap;
use std::time::Duration;

use albacore_aws::ec2::state::Interface;
use aws_sdk_elasticloadbalancingv2::types::{
    ListenerAttribute, LoadBalancerAttribute, LoadBalancerSchemeEnum, LoadBalancerStateEnum, Matcher, ProtocolEnum,
    Tag, TargetGroupAttribute, TargetTypeEnum,
};

use super::place::*;
use super::*;

#[tokio::test(start_paused = true)]
async fn a_load_balancer_is_provisioned_then_active_then_gone() {
    let (double, client) = with(Options {
        provisioning: Duration::from_secs(90),
        ..Options::instant()
    });
    build(&double);
    let create = client
        .create_load_balancer()
        .name("web")
        .subnets(B)
        .subnets(A)
        .security_groups(SG);
    let created = create.scheme(LoadBalancerSchemeEnum::Internal).send().await.unwrap();
    let made = &created.load_balancers()[0];
    let arn = made.load_balancer_arn().unwrap();
    assert!(
        arn.starts_with("arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/web/"),
        "{arn}"
    );
    let dns = made.dns_name().unwrap();
    assert!(
        dns.starts_with("internal-web-") && dns.ends_with(".eu-west-1.elb.amazonaws.com"),
        "{dns}"
    );
    assert_eq!(made.canonical_hosted_zone_id(), Some("Z32O12XQLNTSW2"));
    assert_eq!(made.state().unwrap().code(), Some(&LoadBalancerStateEnum::Provisioning));
    let zones: Vec<_> = made
        .availability_zones()
        .iter()
        .map(|zone| (zone.zone_name(), zone.subnet_id()))
        .collect();
    assert_eq!(zones, [(Some("eu-west-1a"), Some(A)), (Some("eu-west-1b"), Some(B))]);
    tokio::time::advance(Duration::from_secs(90)).await;
    let read = client.describe_load_balancers().names("web").send().await.unwrap();
    assert_eq!(
        read.load_balancers()[0].state().unwrap().code(),
        Some(&LoadBalancerStateEnum::Active)
    );

    let set = client
        .set_subnets()
        .load_balancer_arn(arn)
        .subnets(A)
        .subnets(C)
        .send()
        .await
        .unwrap();
    let zones: Vec<_> = set
        .availability_zones()
        .iter()
        .filter_map(|zone| zone.zone_name())
        .collect();
    assert_eq!(zones, ["eu-west-1a", "eu-west-1c"]);
    let set = client
        .set_security_groups()
        .load_balancer_arn(arn)
        .security_groups("sg-2")
        .send()
        .await
        .unwrap();
    assert_eq!(set.security_group_ids(), ["sg-2"]);

    client
        .delete_load_balancer()
        .load_balancer_arn(arn)
        .send()
        .await
        .unwrap();
    client
        .delete_load_balancer()
        .load_balancer_arn(arn)
        .send()
        .await
        .expect("deleting it again succeeds");
    assert_eq!(
        code(&client.describe_load_balancers().names("web").send().await),
        "LoadBalancerNotFound"
    );
}

#[tokio::test(start_paused = true)]
async fn creating_the_same_thing_again_answers_the_one_that_is_there() {
    let (_, client) = here();
    let balancer = load_balancer(&client, "web").await;
    assert_eq!(load_balancer(&client, "web").await, balancer);
    let other = client
        .create_load_balancer()
        .name("web")
        .subnets(A)
        .subnets(C)
        .security_groups(SG)
        .send()
        .await;
    assert_eq!(code(&other), "DuplicateLoadBalancerName");

    let group = target_group(&client, "one").await;
    assert_eq!(target_group(&client, "one").await, group);
    let other = client
        .create_target_group()
        .name("one")
        .protocol(ProtocolEnum::Http)
        .port(80)
        .vpc_id(VPC)
        .send()
        .await;
    assert_eq!(code(&other), "DuplicateTargetGroupName");

    let first = listener(&client, &balancer, 80).await;
    assert_eq!(listener(&client, &balancer, 80).await, first);
    let create = client
        .create_listener()
        .load_balancer_arn(&balancer)
        .protocol(ProtocolEnum::Http)
        .port(80);
    assert_eq!(
        code(&create.default_actions(forward(&group)).send().await),
        "DuplicateListener"
    );
}

#[tokio::test(start_paused = true)]
async fn a_target_group_has_the_documented_defaults_and_keeps_what_it_is_given() {
    let (_, client) = here();
    let create = client
        .create_target_group()
        .name("one")
        .protocol(ProtocolEnum::Http)
        .port(80)
        .vpc_id(VPC);
    let created = create.send().await.unwrap();
    let made = &created.target_groups()[0];
    assert_eq!(made.target_type(), Some(&TargetTypeEnum::Instance));
    assert_eq!(
        (made.protocol_version(), made.health_check_path()),
        (Some("HTTP1"), Some("/"))
    );
    assert_eq!(made.health_check_port(), Some("traffic-port"));
    assert_eq!(
        (
            made.health_check_interval_seconds(),
            made.health_check_timeout_seconds()
        ),
        (Some(30), Some(5))
    );
    assert_eq!(
        (made.healthy_threshold_count(), made.unhealthy_threshold_count()),
        (Some(5), Some(2))
    );
    assert_eq!(made.matcher().unwrap().http_code(), Some("200"));
    assert_eq!(made.health_check_enabled(), Some(true));

    let arn = made.target_group_arn().unwrap();
    let modify = client
        .modify_target_group()
        .target_group_arn(arn)
        .health_check_path("/ready")
        .health_check_interval_seconds(10);
    let modified = modify
        .matcher(Matcher::builder().http_code("200-299,404").build())
        .send()
        .await
        .unwrap();
    let changed = &modified.target_groups()[0];
    assert_eq!(
        (changed.health_check_path(), changed.health_check_interval_seconds()),
        (Some("/ready"), Some(10))
    );
    assert_eq!(changed.unhealthy_threshold_count(), Some(2));

    client.delete_target_group().target_group_arn(arn).send().await.unwrap();
    assert_eq!(
        code(&client.describe_target_groups().names("one").send().await),
        "TargetGroupNotFound"
    );
}

#[tokio::test(start_paused = true)]
async fn a_grpc_target_group_is_checked_in_its_own_way() {
    let (_, client) = here();
    let create = client
        .create_target_group()
        .name("one")
        .protocol(ProtocolEnum::Http)
        .port(80)
        .vpc_id(VPC);
    let created = create.protocol_version("GRPC").send().await.unwrap();
    let made = &created.target_groups()[0];
    assert_eq!(
        (made.health_check_path(), made.matcher().unwrap().grpc_code()),
        (Some("/AWS.ALB/healthcheck"), Some("12"))
    );
}

#[tokio::test(start_paused = true)]
async fn deleting_a_load_balancer_takes_its_listeners_and_rules_and_frees_its_target_groups() {
    let (_, client) = here();
    let balancer = load_balancer(&client, "web").await;
    let (group, port) = (
        target_group(&client, "one").await,
        listener(&client, &balancer, 80).await,
    );
    let rule = rule(&client, &port, 1, &group).await;
    let described = client
        .describe_target_groups()
        .target_group_arns(&group)
        .send()
        .await
        .unwrap();
    assert_eq!(
        described.target_groups()[0].load_balancer_arns(),
        std::slice::from_ref(&balancer)
    );
    assert_eq!(
        code(&client.delete_target_group().target_group_arn(&group).send().await),
        "ResourceInUse"
    );
    client
        .delete_load_balancer()
        .load_balancer_arn(&balancer)
        .send()
        .await
        .unwrap();
    assert_eq!(
        code(&client.describe_listeners().listener_arns(&port).send().await),
        "ListenerNotFound"
    );
    assert_eq!(
        code(&client.describe_rules().rule_arns(&rule).send().await),
        "RuleNotFound"
    );
    assert_eq!(
        code(&client.delete_target_group().target_group_arn(&group).send().await),
        "ok"
    );
}

#[tokio::test(start_paused = true)]
async fn an_https_listener_has_a_default_certificate_and_a_list() {
    let (_, client) = here();
    let balancer = load_balancer(&client, "web").await;
    let arn = https_listener(&client, &balancer, 443).await;
    let described = client.describe_listeners().listener_arns(&arn).send().await.unwrap();
    assert_eq!(described.listeners()[0].ssl_policy(), Some("ELBSecurityPolicy-2016-08"));
    assert_eq!(
        described.listeners()[0].certificates()[0].certificate_arn(),
        Some(CERTIFICATE)
    );
    assert_eq!(
        described.listeners()[0].mutual_authentication().unwrap().mode(),
        Some("off")
    );
    for certificate in [CERTIFICATE, OTHER_CERTIFICATE, OTHER_CERTIFICATE] {
        let add = client.add_listener_certificates().listener_arn(&arn);
        add.certificates(place::certificate(certificate)).send().await.unwrap();
    }
    let list = || async {
        let listed = client
            .describe_listener_certificates()
            .listener_arn(&arn)
            .send()
            .await
            .unwrap();
        let pairs = listed
            .certificates()
            .iter()
            .map(|one| (one.certificate_arn().unwrap().to_owned(), one.is_default().unwrap()));
        pairs.collect::<Vec<_>>()
    };
    let (one, two) = (CERTIFICATE.to_owned(), OTHER_CERTIFICATE.to_owned());
    assert_eq!(list().await, [(one.clone(), true), (one.clone(), false), (two, false)]);
    let remove = |certificate: &str| {
        client
            .remove_listener_certificates()
            .listener_arn(&arn)
            .certificates(place::certificate(certificate))
            .send()
    };
    remove(OTHER_CERTIFICATE).await.unwrap();
    remove(CERTIFICATE).await.unwrap();
    assert_eq!(code(&remove(CERTIFICATE).await), "OperationNotPermitted");
    assert_eq!(list().await, [(one, true)]);

    let modify = client
        .modify_listener()
        .listener_arn(&arn)
        .ssl_policy("ELBSecurityPolicy-TLS13-1-2-2021-06");
    modify
        .certificates(place::certificate(OTHER_CERTIFICATE))
        .send()
        .await
        .unwrap();
    let modified = client
        .modify_listener()
        .listener_arn(&arn)
        .protocol(ProtocolEnum::Http)
        .port(80)
        .send()
        .await
        .unwrap();
    assert_eq!(
        (
            modified.listeners()[0].ssl_policy(),
            modified.listeners()[0].certificates().len()
        ),
        (None, 0)
    );
    client.delete_listener().listener_arn(&arn).send().await.unwrap();
    assert_eq!(
        code(&client.delete_listener().listener_arn(&arn).send().await),
        "ListenerNotFound"
    );
}

#[tokio::test(start_paused = true)]
async fn attributes_have_defaults_and_only_known_keys_change() {
    let (_, client) = here();
    let balancer = load_balancer(&client, "web").await;
    let described = client
        .describe_load_balancer_attributes()
        .load_balancer_arn(&balancer)
        .send()
        .await
        .unwrap();
    let attributes: BTreeMap<_, _> = described
        .attributes()
        .iter()
        .map(|one| (one.key().unwrap(), one.value().unwrap_or_default()))
        .collect();
    assert_eq!(attributes["idle_timeout.timeout_seconds"], "60");
    assert_eq!(attributes["routing.http2.enabled"], "true");
    assert_eq!(attributes["access_logs.s3.bucket"], "");
    let modify = |key: &str, value: &str| {
        let attribute = LoadBalancerAttribute::builder().key(key).value(value).build();
        client
            .modify_load_balancer_attributes()
            .load_balancer_arn(&balancer)
            .attributes(attribute)
            .send()
    };
    for (key, value, expected) in [
        ("idle_timeout.timeout_seconds", "4000", "ok"),
        ("idle_timeout.timeout_seconds", "4001", "ValidationError"),
        ("idle_timeout", "60", "ValidationError"),
        ("access_logs.s3.enabled", "true", "InvalidConfigurationRequest"),
        ("load_balancing.cross_zone.enabled", "false", "ValidationError"),
        ("deletion_protection.enabled", "true", "ok"),
    ] {
        assert_eq!(code(&modify(key, value).await), expected, "{key}={value}");
    }
    assert_eq!(
        code(&client.delete_load_balancer().load_balancer_arn(&balancer).send().await),
        "OperationNotPermitted"
    );
    modify("deletion_protection.enabled", "false").await.unwrap();
    client
        .delete_load_balancer()
        .load_balancer_arn(&balancer)
        .send()
        .await
        .unwrap();

    let group = target_group(&client, "one").await;
    let attribute = TargetGroupAttribute::builder()
        .key("deregistration_delay.timeout_seconds")
        .value("3601")
        .build();
    let modify = client
        .modify_target_group_attributes()
        .target_group_arn(&group)
        .attributes(attribute);
    assert_eq!(code(&modify.send().await), "ValidationError");
}

#[tokio::test(start_paused = true)]
async fn tags_are_set_overwritten_and_removed() {
    let (_, client) = here();
    let (balancer, group) = (load_balancer(&client, "web").await, target_group(&client, "one").await);
    let tag = |key: &str, value: &str| Tag::builder().key(key).value(value).build();
    let add = |arn: &str, tags: Vec<Tag>| client.add_tags().resource_arns(arn).set_tags(Some(tags)).send();
    add(&balancer, vec![tag("a", "1"), tag("b", "2")]).await.unwrap();
    add(&balancer, vec![tag("b", "3")]).await.unwrap();
    client
        .remove_tags()
        .resource_arns(&balancer)
        .tag_keys("a")
        .tag_keys("zzz")
        .send()
        .await
        .unwrap();
    let described = client
        .describe_tags()
        .resource_arns(&balancer)
        .resource_arns(&group)
        .send()
        .await
        .unwrap();
    let [first, second] = described.tag_descriptions() else {
        panic!("{described:?}")
    };
    assert_eq!(
        (first.resource_arn(), first.tags()),
        (Some(balancer.as_str()), &[tag("b", "3")][..])
    );
    assert_eq!((second.resource_arn(), second.tags().len()), (Some(group.as_str()), 0));

    assert_eq!(
        code(&add(&balancer, vec![tag("x", "1"), tag("x", "2")]).await),
        "DuplicateTagKeys"
    );
    assert_eq!(code(&add(&balancer, vec![tag("AWS:x", "1")]).await), "ValidationError");
    let fifty: Vec<Tag> = (0..50).map(|n| tag(&format!("k{n}"), "v")).collect();
    assert_eq!(code(&add(&group, fifty.clone()).await), "ok");
    assert_eq!(
        code(&add(&balancer, fifty).await),
        "TooManyTags",
        "there is one already"
    );
    let many = client
        .describe_tags()
        .set_resource_arns(Some(vec![balancer.clone(); 21]))
        .send()
        .await;
    assert_eq!(code(&many), "ValidationError");
}

#[tokio::test(start_paused = true)]
async fn pages_hold_everything_once() {
    let (_, client) = here();
    for n in 0..7 {
        target_group(&client, &format!("group-{n}")).await;
    }
    let (mut seen, mut marker) = (Vec::new(), None);
    loop {
        let page = client
            .describe_target_groups()
            .page_size(3)
            .set_marker(marker)
            .send()
            .await
            .unwrap();
        seen.extend(
            page.target_groups()
                .iter()
                .map(|group| group.target_group_name().unwrap().to_owned()),
        );
        marker = page.next_marker().map(str::to_owned);
        if marker.is_none() {
            break;
        }
    }
    seen.sort();
    assert_eq!(seen, (0..7).map(|n| format!("group-{n}")).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn ssl_policies_are_described_by_name() {
    let (_, client) = here();
    let all = client.describe_ssl_policies().send().await.unwrap();
    assert!(all.ssl_policies().len() > 30);
    let one = client
        .describe_ssl_policies()
        .names("ELBSecurityPolicy-TLS13-1-2-2021-06")
        .send()
        .await
        .unwrap();
    assert_eq!(one.ssl_policies()[0].ssl_protocols(), ["TLSv1.3", "TLSv1.2"]);
    assert_eq!(one.ssl_policies()[0].ciphers().len(), 11);
    assert_eq!(
        code(&client.describe_ssl_policies().names("nope").send().await),
        "SSLPolicyNotFound"
    );
}

#[tokio::test(start_paused = true)]
async fn listeners_have_attributes_of_their_protocol() {
    let (_, client) = here();
    let balancer = load_balancer(&client, "web").await;
    let (plain, secure) = (
        listener(&client, &balancer, 80).await,
        https_listener(&client, &balancer, 443).await,
    );
    let modify = |listener: &str, key: &str, value: &str| {
        let attribute = ListenerAttribute::builder().key(key).value(value).build();
        client
            .modify_listener_attributes()
            .listener_arn(listener)
            .attributes(attribute)
            .send()
    };
    let tls = "routing.http.request.x_amzn_tls_version.header_name";
    for (listener, key, value, expected) in [
        (&plain, "routing.http.response.server.enabled", "false", "ok"),
        (&plain, "routing.http.response.server.enabled", "no", "ValidationError"),
        (&plain, tls, "X-Tls", "ValidationError"),
        (&secure, tls, "X-Tls", "ok"),
    ] {
        assert_eq!(code(&modify(listener, key, value).await), expected, "{key}={value}");
    }
    let read = client
        .describe_listener_attributes()
        .listener_arn(&secure)
        .send()
        .await
        .unwrap();
    let get = |key: &str| {
        read.attributes()
            .iter()
            .find(|one| one.key() == Some(key))
            .and_then(|one| one.value())
    };
    assert_eq!(
        (get(tls), get("routing.http.response.server.enabled")),
        (Some("X-Tls"), Some("true"))
    );
}

/// Description, groups and addresses of the interfaces that stand in the region.
fn interfaces(double: &Double) -> Vec<(String, Vec<String>, String)> {
    let now = double.now();
    let mut world = double.world();
    let ec2 = &mut world.regions.values_mut().next().unwrap().ec2;
    ec2.settle(now);
    let line = |one: &Interface| {
        (
            one.description.clone(),
            one.groups.clone(),
            one.addresses[0].to_string(),
        )
    };
    ec2.interfaces.values().map(line).collect()
}

#[tokio::test(start_paused = true)]
async fn a_load_balancer_has_an_interface_in_each_subnet_and_leaves_it_for_a_while() {
    let (double, client) = with(Options {
        interface_linger: Duration::from_secs(60),
        ..Options::instant()
    });
    build(&double);
    let balancer = load_balancer(&client, "web").await;
    let name = balancer.split_once("loadbalancer/").unwrap().1;
    let mut found = interfaces(&double);
    found.sort_by(|one, other| one.2.cmp(&other.2));
    let expected = |address: &str| (format!("ELB {name}"), vec![SG.to_owned()], address.to_owned());
    assert_eq!(found, [expected("10.0.1.4"), expected("10.0.2.4")]);
    client
        .set_security_groups()
        .load_balancer_arn(&balancer)
        .security_groups("sg-2")
        .send()
        .await
        .unwrap();
    assert!(interfaces(&double).iter().all(|(_, groups, _)| groups == &["sg-2"]));
    client
        .set_subnets()
        .load_balancer_arn(&balancer)
        .subnets(A)
        .subnets(C)
        .send()
        .await
        .unwrap();
    assert_eq!(
        interfaces(&double).len(),
        3,
        "the one in the subnet that was left is still there"
    );
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(interfaces(&double).len(), 2);
    client
        .delete_load_balancer()
        .load_balancer_arn(&balancer)
        .send()
        .await
        .unwrap();
    assert_eq!(interfaces(&double).len(), 2);
    tokio::time::advance(Duration::from_secs(60)).await;
    assert_eq!(interfaces(&double).len(), 0);
}
