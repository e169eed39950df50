//! A place to put load balancers: a VPC with subnets, security groups, instances, certificates; and short forms of the calls
//! that most tests make.

use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, Certificate, FixedResponseActionConfig, HostHeaderConditionConfig, ProtocolEnum,
    RuleCondition, TargetDescription, TargetTypeEnum,
};

use super::*;

pub const VPC: &str = "vpc-1";
pub const A: &str = "subnet-a";
pub const B: &str = "subnet-b";
pub const C: &str = "subnet-c";
pub const SG: &str = "sg-1";
pub const INSTANCE: &str = "i-0aaaaaaaaaaaaaaa1";
pub const STOPPED: &str = "i-0aaaaaaaaaaaaaaa2";
pub const CERTIFICATE: &str = "arn:aws:acm:eu-west-1:123456789012:certificate/1";
pub const OTHER_CERTIFICATE: &str = "arn:aws:acm:eu-west-1:123456789012:certificate/2";

/// Builds the place.
pub fn build(double: &Double) {
    use albacore_aws::ec2::{Subnet, Vpc};
    let mut world = double.world();
    let region = world
        .regions
        .entry(("123456789012".into(), "eu-west-1".into()))
        .or_default();
    region.ec2.vpcs.insert(VPC.into(), Vpc { internet_gateway: true });
    region.ec2.vpcs.insert(
        "vpc-2".into(),
        Vpc {
            internet_gateway: false,
        },
    );
    let mut subnet = |id: &str, vpc: &str, zone: &str, cidr: &str| {
        region.ec2.subnets.insert(
            id.into(),
            Subnet {
                vpc: vpc.into(),
                zone: zone.into(),
                cidr: cidr.parse().unwrap(),
            },
        );
    };
    subnet(A, VPC, "eu-west-1a", "10.0.1.0/24");
    subnet(B, VPC, "eu-west-1b", "10.0.2.0/24");
    subnet(C, VPC, "eu-west-1c", "10.0.3.0/24");
    subnet("subnet-a2", VPC, "eu-west-1a", "10.0.4.0/24");
    subnet("subnet-x", "vpc-2", "eu-west-1b", "10.1.1.0/24");
    subnet("subnet-y", "vpc-2", "eu-west-1c", "10.1.2.0/24");
    for (id, vpc) in [(SG, VPC), ("sg-2", VPC), ("sg-x", "vpc-2")] {
        region.ec2.security_groups.insert(id.into(), vpc.into());
    }
    region
        .ec2
        .instances
        .insert(INSTANCE.into(), (VPC.into(), "eu-west-1a".into(), true));
    region
        .ec2
        .instances
        .insert(STOPPED.into(), (VPC.into(), "eu-west-1a".into(), false));
    for n in 1..40 {
        region
            .acm
            .certificates
            .insert(format!("arn:aws:acm:eu-west-1:123456789012:certificate/{n}"), true);
    }
    region
        .acm
        .certificates
        .insert("arn:aws:acm:eu-west-1:123456789012:certificate/pending".into(), false);
}

/// A double without waits, with the place built, and its client.
pub fn here() -> (Double, Client) {
    let (double, client) = instant();
    build(&double);
    (double, client)
}

/// Creates an internet-facing load balancer in zones a and b.
pub async fn load_balancer(client: &Client, name: &str) -> String {
    let created = client
        .create_load_balancer()
        .name(name)
        .subnets(A)
        .subnets(B)
        .security_groups(SG)
        .send()
        .await
        .unwrap();
    created.load_balancers()[0].load_balancer_arn().unwrap().to_owned()
}

/// Creates a target group for addresses, port 8080.
pub async fn target_group(client: &Client, name: &str) -> String {
    let create = client
        .create_target_group()
        .name(name)
        .protocol(ProtocolEnum::Http)
        .port(8080)
        .vpc_id(VPC);
    let created = create.target_type(TargetTypeEnum::Ip).send().await.unwrap();
    created.target_groups()[0].target_group_arn().unwrap().to_owned()
}

/// Creates an HTTP listener that answers 404.
pub async fn listener(client: &Client, load_balancer: &str, port: i32) -> String {
    let create = client
        .create_listener()
        .load_balancer_arn(load_balancer)
        .protocol(ProtocolEnum::Http)
        .port(port);
    let created = create.default_actions(not_found()).send().await.unwrap();
    created.listeners()[0].listener_arn().unwrap().to_owned()
}

/// Creates an HTTPS listener that answers 404.
pub async fn https_listener(client: &Client, load_balancer: &str, port: i32) -> String {
    let create = client
        .create_listener()
        .load_balancer_arn(load_balancer)
        .protocol(ProtocolEnum::Https)
        .port(port);
    let created = create
        .default_actions(not_found())
        .certificates(certificate(CERTIFICATE))
        .send()
        .await
        .unwrap();
    created.listeners()[0].listener_arn().unwrap().to_owned()
}

/// Creates a rule for a host that forwards to a target group.
pub async fn rule(client: &Client, listener: &str, priority: i32, target_group: &str) -> String {
    let create = client
        .create_rule()
        .listener_arn(listener)
        .priority(priority)
        .conditions(host("a.example.com"));
    let created = create.actions(forward(target_group)).send().await.unwrap();
    created.rules()[0].rule_arn().unwrap().to_owned()
}

pub fn not_found() -> Action {
    let config = FixedResponseActionConfig::builder()
        .status_code("404")
        .content_type("text/plain")
        .build();
    Action::builder()
        .r#type(ActionTypeEnum::FixedResponse)
        .fixed_response_config(config)
        .build()
}

pub fn forward(target_group: &str) -> Action {
    Action::builder()
        .r#type(ActionTypeEnum::Forward)
        .target_group_arn(target_group)
        .build()
}

pub fn host(name: &str) -> RuleCondition {
    let config = HostHeaderConditionConfig::builder().values(name).build();
    RuleCondition::builder()
        .field("host-header")
        .host_header_config(config)
        .build()
}

pub fn certificate(arn: &str) -> Certificate {
    Certificate::builder().certificate_arn(arn).build()
}

pub fn target(id: &str) -> TargetDescription {
    TargetDescription::builder().id(id).build()
}
