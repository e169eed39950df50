//! A place to put load balancers: a VPC with subnets, security groups, instances, certificates; and short forms of the calls
//! that most tests make.

use aws_sdk_elasticloadbalancingv2::types::{
    Action, ActionTypeEnum, Certificate, FixedResponseActionConfig, HostHeaderConditionConfig, ProtocolEnum,
    RuleCondition, TargetDescription, TargetTypeEnum,
};

use albacore_aws::acm;
use albacore_aws::ec2::state::{Instance, InstanceState, InternetGateway, SecurityGroup, Subnet, Vpc};

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
    let mut world = double.world();
    let region = world
        .regions
        .entry(("123456789012".into(), "eu-west-1".into()))
        .or_default();
    let state = &mut region.ec2;
    for (id, cidr) in [(VPC, "10.0.0.0/16"), ("vpc-2", "10.1.0.0/16")] {
        let vpc = Vpc {
            cidrs: vec![("vpc-cidr-assoc-1".into(), cidr.parse().unwrap())],
            ipv6: Vec::new(),
            dns: (true, false),
        };
        state.vpcs.insert(id.into(), vpc);
    }
    let gateway = InternetGateway { vpc: Some(VPC.into()) };
    state.internet_gateways.insert("igw-1".into(), gateway);
    for (id, vpc, zone, cidr) in [
        (A, VPC, "eu-west-1a", "10.0.1.0/24"),
        (B, VPC, "eu-west-1b", "10.0.2.0/24"),
        (C, VPC, "eu-west-1c", "10.0.3.0/24"),
        ("subnet-a2", VPC, "eu-west-1a", "10.0.4.0/24"),
        ("subnet-tiny", VPC, "eu-west-1c", "10.0.5.0/29"),
        ("subnet-x", "vpc-2", "eu-west-1b", "10.1.1.0/24"),
        ("subnet-y", "vpc-2", "eu-west-1c", "10.1.2.0/24"),
    ] {
        let subnet = Subnet {
            vpc: vpc.into(),
            zone: zone.into(),
            cidr: cidr.parse().unwrap(),
            ipv6: None,
            map_public_ip: false,
            assign_ipv6: false,
        };
        state.subnets.insert(id.into(), subnet);
    }
    for (id, vpc, name) in [
        (SG, VPC, "default"),
        ("sg-2", VPC, "other"),
        ("sg-x", "vpc-2", "default"),
    ] {
        let group = SecurityGroup {
            name: name.into(),
            description: name.into(),
            vpc: vpc.into(),
            rules: Vec::new(),
        };
        state.security_groups.insert(id.into(), group);
    }
    for (id, instance_state) in [(INSTANCE, InstanceState::Running), (STOPPED, InstanceState::Stopped)] {
        let instance = Instance {
            reservation: "r-1".into(),
            index: 0,
            image: "ami-1".into(),
            instance_type: "m5.large".into(),
            vpc: VPC.into(),
            subnet: A.into(),
            zone: "eu-west-1a".into(),
            address: None,
            launched: double.now(),
            state: instance_state,
        };
        state.instances.insert(id.into(), instance);
    }
    let signed = rcgen::generate_simple_self_signed(["a.example.com".to_owned()]).unwrap();
    let issued = acm::Certificate::imported(
        &signed.cert.pem(),
        &signed.signing_key.serialize_pem(),
        "",
        double.now(),
    )
    .unwrap();
    let arn = |name: &str| format!("arn:aws:acm:eu-west-1:123456789012:certificate/{name}");
    for n in 1..40 {
        region.acm.certificates.insert(arn(&n.to_string()), issued.clone());
    }
    let pending = acm::Certificate { issued: None, ..issued };
    region.acm.certificates.insert(arn("pending"), pending);
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
