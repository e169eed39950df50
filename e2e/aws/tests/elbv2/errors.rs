//! Error codes, one row each.

use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, AuthenticateCognitoActionConfig, IpAddressType, Matcher, ProtocolEnum,
    RedirectActionConfig, RedirectActionStatusCodeEnum,
};

use super::place::*;
use super::*;

/// Rows that did not end as expected, as `what: expected, got`.
#[derive(Default)]
struct Rows(Vec<String>);

impl Rows {
    fn row<T, E: ProvideErrorMetadata, R>(&mut self, what: &str, result: &Result<T, SdkError<E, R>>, expected: &str) {
        let got = code(result);
        if got != expected {
            let message = result
                .as_ref()
                .err()
                .and_then(|error| error.message())
                .unwrap_or_default()
                .to_owned();
            self.0.push(format!("{what}: {expected}, got {got} {message}"));
        }
    }

    fn done(self) {
        assert!(self.0.is_empty(), "{}", self.0.join("\n"));
    }
}

fn arn(resource: &str) -> String {
    format!("arn:aws:elasticloadbalancing:eu-west-1:123456789012:{resource}")
}

#[tokio::test(start_paused = true)]
async fn load_balancers() {
    let (_, client) = here();
    let mut rows = Rows::default();
    let create = || client.create_load_balancer().name("web");
    let two = || create().subnets(A).subnets(B);
    rows.row("one subnet", &create().subnets(A).send().await, "ValidationError");
    rows.row("no subnet", &create().send().await, "ValidationError");
    rows.row(
        "one zone",
        &create().subnets(A).subnets("subnet-a2").send().await,
        "InvalidConfigurationRequest",
    );
    rows.row(
        "two VPCs",
        &create().subnets(A).subnets("subnet-x").send().await,
        "InvalidConfigurationRequest",
    );
    rows.row(
        "unknown subnet",
        &create().subnets(A).subnets("subnet-zz").send().await,
        "SubnetNotFound",
    );
    rows.row(
        "no gateway",
        &create().subnets("subnet-x").subnets("subnet-y").send().await,
        "InvalidSubnet",
    );
    rows.row(
        "no addresses left",
        &create().subnets(A).subnets("subnet-tiny").send().await,
        "InvalidSubnet",
    );
    rows.row(
        "unknown security group",
        &two().security_groups("sg-zz").send().await,
        "InvalidSecurityGroup",
    );
    rows.row(
        "security group elsewhere",
        &two().security_groups("sg-x").send().await,
        "InvalidConfigurationRequest",
    );
    rows.row(
        "scheme",
        &two().scheme("outside".into()).send().await,
        "ValidationError",
    );
    rows.row(
        "network",
        &two().r#type("network".into()).send().await,
        "ValidationError",
    );
    rows.row(
        "internal- name",
        &client
            .create_load_balancer()
            .name("internal-x")
            .subnets(A)
            .subnets(B)
            .send()
            .await,
        "ValidationError",
    );
    rows.row(
        "long name",
        &client
            .create_load_balancer()
            .name("x".repeat(33))
            .subnets(A)
            .subnets(B)
            .send()
            .await,
        "ValidationError",
    );
    rows.row(
        "no ARN",
        &client.delete_load_balancer().load_balancer_arn("web").send().await,
        "ValidationError",
    );
    let missing = arn("loadbalancer/app/web/0123456789abcdef");
    rows.row(
        "describe",
        &client
            .describe_load_balancers()
            .load_balancer_arns(&missing)
            .send()
            .await,
        "LoadBalancerNotFound",
    );
    rows.row(
        "delete",
        &client.delete_load_balancer().load_balancer_arn(&missing).send().await,
        "ok",
    );
    let set = client.set_subnets().load_balancer_arn(&missing).subnets(A).subnets(B);
    rows.row("set subnets", &set.send().await, "LoadBalancerNotFound");
    let balancer = load_balancer(&client, "web").await;
    let set = |kind| {
        client
            .set_ip_address_type()
            .load_balancer_arn(&balancer)
            .ip_address_type(kind)
            .send()
    };
    rows.row("no IPv6 here", &set(IpAddressType::Dualstack).await, "InvalidSubnet");
    rows.row("ipv4", &set(IpAddressType::Ipv4).await, "ok");
    rows.row(
        "tags of none",
        &client.describe_tags().resource_arns(&missing).send().await,
        "LoadBalancerNotFound",
    );
    rows.done();
}

#[tokio::test(start_paused = true)]
async fn target_groups() {
    let (_, client) = here();
    let mut rows = Rows::default();
    let create = || client.create_target_group().name("one");
    let whole = || create().protocol(ProtocolEnum::Http).port(80).vpc_id(VPC);
    rows.row(
        "no port",
        &create().protocol(ProtocolEnum::Http).vpc_id(VPC).send().await,
        "ValidationError",
    );
    rows.row("port 0", &whole().port(0).send().await, "ValidationError");
    rows.row("port 70000", &whole().port(70000).send().await, "ValidationError");
    rows.row(
        "no VPC",
        &create().protocol(ProtocolEnum::Http).port(80).send().await,
        "ValidationError",
    );
    rows.row("unknown VPC", &whole().vpc_id("vpc-zz").send().await, "ValidationError");
    rows.row(
        "protocol",
        &whole().protocol("FTP".into()).send().await,
        "ValidationError",
    );
    rows.row(
        "protocol version",
        &whole().protocol_version("HTTP3").send().await,
        "ValidationError",
    );
    rows.row(
        "interval",
        &whole().health_check_interval_seconds(4).send().await,
        "ValidationError",
    );
    rows.row(
        "timeout over interval",
        &whole().health_check_timeout_seconds(30).send().await,
        "ValidationError",
    );
    rows.row(
        "threshold",
        &whole().healthy_threshold_count(11).send().await,
        "ValidationError",
    );
    rows.row(
        "path",
        &whole().health_check_path("ready").send().await,
        "ValidationError",
    );
    rows.row(
        "health port",
        &whole().health_check_port("http").send().await,
        "ValidationError",
    );
    let codes = |codes: &str| Matcher::builder().http_code(codes).build();
    rows.row(
        "codes",
        &whole().matcher(codes("200-600")).send().await,
        "ValidationError",
    );
    rows.row("good codes", &whole().matcher(codes("200-299,404")).send().await, "ok");
    let missing = arn("targetgroup/one/0123456789abcdef");
    let register = client
        .register_targets()
        .target_group_arn(&missing)
        .targets(target("10.0.1.1"));
    rows.row("register", &register.send().await, "TargetGroupNotFound");
    rows.row(
        "health",
        &client.describe_target_health().target_group_arn(&missing).send().await,
        "TargetGroupNotFound",
    );
    rows.row(
        "modify",
        &client.modify_target_group().target_group_arn(&missing).send().await,
        "TargetGroupNotFound",
    );
    rows.row(
        "delete",
        &client.delete_target_group().target_group_arn(&missing).send().await,
        "ok",
    );
    rows.row(
        "wrong kind",
        &client
            .delete_target_group()
            .target_group_arn(arn("listener/app/a/1/2"))
            .send()
            .await,
        "ValidationError",
    );
    rows.done();
}

#[tokio::test(start_paused = true)]
async fn listeners() {
    let (double, client) = here();
    let mut rows = Rows::default();
    let balancer = load_balancer(&client, "web").await;
    let create = |protocol: ProtocolEnum, port| {
        client
            .create_listener()
            .load_balancer_arn(&balancer)
            .protocol(protocol)
            .port(port)
            .default_actions(not_found())
    };
    let https = || create(ProtocolEnum::Https, 443);
    rows.row("no certificate", &https().send().await, "ValidationError");
    rows.row(
        "unknown certificate",
        &https()
            .certificates(certificate("arn:aws:acm:eu-west-1:1:certificate/x"))
            .send()
            .await,
        "CertificateNotFound",
    );
    let pending = certificate("arn:aws:acm:eu-west-1:123456789012:certificate/pending");
    rows.row(
        "pending certificate",
        &https().certificates(pending).send().await,
        "UnsupportedCertificate",
    );
    let two = https()
        .certificates(certificate(CERTIFICATE))
        .certificates(certificate(OTHER_CERTIFICATE));
    rows.row("two certificates", &two.send().await, "TooManyCertificates");
    rows.row(
        "policy",
        &https()
            .certificates(certificate(CERTIFICATE))
            .ssl_policy("nope")
            .send()
            .await,
        "SSLPolicyNotFound",
    );
    rows.row(
        "certificate for HTTP",
        &create(ProtocolEnum::Http, 80)
            .certificates(certificate(CERTIFICATE))
            .send()
            .await,
        "ValidationError",
    );
    rows.row(
        "TCP",
        &create(ProtocolEnum::Tcp, 80).send().await,
        "UnsupportedProtocol",
    );
    rows.row(
        "port",
        &create(ProtocolEnum::Http, 65536).send().await,
        "ValidationError",
    );
    let absent = client
        .create_listener()
        .load_balancer_arn(arn("loadbalancer/app/x/1"))
        .protocol(ProtocolEnum::Http)
        .port(80);
    rows.row(
        "load balancer",
        &absent.default_actions(not_found()).send().await,
        "LoadBalancerNotFound",
    );
    let one = listener(&client, &balancer, 80).await;
    listener(&client, &balancer, 81).await;
    rows.row(
        "port taken",
        &client.modify_listener().listener_arn(&one).port(81).send().await,
        "DuplicateListener",
    );
    rows.row(
        "to HTTPS",
        &client
            .modify_listener()
            .listener_arn(&one)
            .protocol(ProtocolEnum::Https)
            .send()
            .await,
        "ValidationError",
    );
    rows.row(
        "both or neither",
        &client.describe_listeners().send().await,
        "ValidationError",
    );
    let add = |listener: &str, arn: &str| {
        client
            .add_listener_certificates()
            .listener_arn(listener)
            .certificates(certificate(arn))
            .send()
    };
    rows.row("list of HTTP", &add(&one, CERTIFICATE).await, "ValidationError");
    let secure = https_listener(&client, &balancer, 443).await;
    double.set_quota(
        "123456789012",
        "eu-west-1",
        "certificates-per-application-load-balancer",
        1,
    );
    rows.row("first", &add(&secure, OTHER_CERTIFICATE).await, "ok");
    rows.row("again", &add(&secure, OTHER_CERTIFICATE).await, "ok");
    rows.row(
        "quota",
        &add(&secure, "arn:aws:acm:eu-west-1:123456789012:certificate/3").await,
        "TooManyCertificates",
    );
    rows.row("default is not counted", &add(&secure, CERTIFICATE).await, "ok");
    rows.row(
        "unknown",
        &add(&secure, "arn:aws:acm:eu-west-1:123456789012:certificate/x").await,
        "CertificateNotFound",
    );
    rows.row(
        "rules of none",
        &client
            .describe_rules()
            .listener_arn(arn("listener/app/x/1/2"))
            .send()
            .await,
        "ListenerNotFound",
    );
    rows.done();
}

#[tokio::test(start_paused = true)]
async fn rules() {
    let (_, client) = here();
    let mut rows = Rows::default();
    let balancer = load_balancer(&client, "web").await;
    let (group, port) = (
        target_group(&client, "one").await,
        listener(&client, &balancer, 80).await,
    );
    rule(&client, &port, 1, &group).await;
    let create = |action: Action| {
        client
            .create_rule()
            .listener_arn(&port)
            .priority(2)
            .conditions(host("a.example.com"))
            .actions(action)
    };
    rows.row(
        "priority",
        &create(not_found()).priority(1).send().await,
        "PriorityInUse",
    );
    rows.row(
        "priority 0",
        &create(not_found()).priority(0).send().await,
        "ValidationError",
    );
    rows.row(
        "host with port",
        &create(not_found())
            .set_conditions(Some(vec![host("a.example.com:80")]))
            .send()
            .await,
        "ValidationError",
    );
    rows.row(
        "unknown target group",
        &create(forward(&arn("targetgroup/x/1"))).send().await,
        "TargetGroupNotFound",
    );
    rows.row(
        "no target group",
        &create(Action::builder().r#type(ActionTypeEnum::Forward).build())
            .send()
            .await,
        "ValidationError",
    );
    rows.row(
        "no listener",
        &create(not_found()).listener_arn(arn("listener/app/x/1/2")).send().await,
        "ListenerNotFound",
    );
    rows.row(
        "two without order",
        &create(not_found()).actions(not_found()).send().await,
        "ValidationError",
    );
    rows.row(
        "three",
        &create(not_found())
            .actions(not_found())
            .actions(not_found())
            .send()
            .await,
        "TooManyActions",
    );
    let redirect = |config: aws_sdk_elasticloadbalancingv2::types::builders::RedirectActionConfigBuilder| {
        let config = config.status_code(RedirectActionStatusCodeEnum::Http302).build();
        Action::builder()
            .r#type(ActionTypeEnum::Redirect)
            .redirect_config(config)
            .build()
    };
    rows.row(
        "loop",
        &create(redirect(RedirectActionConfig::builder())).send().await,
        "InvalidLoadBalancerAction",
    );
    let same = RedirectActionConfig::builder().protocol("HTTP").port("80").query("x=1");
    rows.row(
        "loop in other words",
        &create(redirect(same)).send().await,
        "InvalidLoadBalancerAction",
    );
    rows.row(
        "port",
        &create(redirect(RedirectActionConfig::builder().port("70000")))
            .send()
            .await,
        "ValidationError",
    );
    rows.row(
        "protocol",
        &create(redirect(RedirectActionConfig::builder().protocol("FTP")))
            .send()
            .await,
        "ValidationError",
    );
    let login = AuthenticateCognitoActionConfig::builder()
        .user_pool_arn("a")
        .user_pool_client_id("b")
        .user_pool_domain("c")
        .build();
    let login = Action::builder()
        .r#type(ActionTypeEnum::AuthenticateCognito)
        .authenticate_cognito_config(login)
        .order(1)
        .build();
    let mut forward = forward(&group);
    forward.order = Some(2);
    rows.row(
        "login on HTTP",
        &create(login.clone()).actions(forward.clone()).send().await,
        "InvalidLoadBalancerAction",
    );
    let secure = https_listener(&client, &balancer, 443).await;
    rows.row(
        "login",
        &create(login.clone())
            .actions(forward)
            .listener_arn(&secure)
            .send()
            .await,
        "ok",
    );
    rows.row(
        "only login",
        &create(login).listener_arn(&secure).priority(3).send().await,
        "InvalidLoadBalancerAction",
    );
    let grpc = client
        .create_target_group()
        .name("grpc")
        .protocol(ProtocolEnum::Http)
        .port(80)
        .vpc_id(VPC)
        .protocol_version("GRPC");
    let grpc = grpc.send().await.unwrap().target_groups()[0]
        .target_group_arn()
        .unwrap()
        .to_owned();
    rows.row(
        "gRPC on HTTP",
        &create(super::place::forward(&grpc)).send().await,
        "IncompatibleProtocols",
    );
    let there = client
        .create_target_group()
        .name("there")
        .protocol(ProtocolEnum::Http)
        .port(80)
        .vpc_id("vpc-2")
        .send()
        .await;
    let there = there.unwrap().target_groups()[0].target_group_arn().unwrap().to_owned();
    rows.row(
        "other VPC",
        &create(super::place::forward(&there)).send().await,
        "InvalidConfigurationRequest",
    );
    rows.done();
}
