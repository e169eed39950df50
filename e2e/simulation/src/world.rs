//! The AWS account that scenarios run in, made with ordinary calls: a VPC over three zones, a public and a private subnet
//! in each, one node in each private subnet, a certificate.

use albacore_aws::Double;
use anyhow::{Context, Result};
use aws_sdk_acm::primitives::Blob;
use aws_sdk_ec2::types::{InstanceNetworkInterfaceSpecification, InstanceType, Tag};
use std::net::Ipv4Addr;

/// The region everything is in.
pub const REGION: &str = "us-east-1";
/// The name of the cluster, as tags carry it.
pub const CLUSTER: &str = "demo";

/// What was made.
#[derive(Clone, Debug)]
pub struct World {
    /// The VPC, 10.0.0.0/16.
    pub vpc: String,
    /// Subnets by name, `public-a` to `private-c`.
    pub subnets: Vec<(String, String)>,
    /// The nodes' security group.
    pub node_group: String,
    /// Nodes.
    pub nodes: Vec<Node>,
    /// Certificate of `*.example.com` and `shop.example.com`.
    pub certificate: String,
    /// The same in PEM, for clients that check it.
    pub certificate_pem: String,
}

/// An instance that is a node.
#[derive(Clone, Debug)]
pub struct Node {
    /// Name of the Node object.
    pub name: String,
    /// Instance id.
    pub instance: String,
    /// Its address.
    pub address: Ipv4Addr,
    /// Addresses of its pods, secondary addresses of its network interface.
    pub pod_cidr: String,
    /// Zone.
    pub zone: String,
}

fn tag(key: impl Into<String>, value: &str) -> Tag {
    Tag::builder().key(key).value(value).build()
}

/// Shared configuration of clients that go to the double without a socket.
pub async fn sdk_config(double: &Double) -> aws_config::SdkConfig {
    aws_config::defaults(aws_config::BehaviorVersion::latest())
        .region(REGION)
        .credentials_provider(aws_credential_types::Credentials::for_tests())
        .http_client(double.http_client())
        .load()
        .await
}

/// The same with albacore's own credentials: what they are refused, albacore would be.
pub async fn sdk_config_of_controller(double: &Double) -> aws_config::SdkConfig {
    let administrator = sdk_config(double).await;
    let builder = administrator
        .into_builder()
        .retry_config(aws_config::retry::RetryConfig::disabled());
    builder.credentials_provider(crate::permissions::credentials()).build()
}

/// Makes the world.
///
/// # Errors
/// The call that failed.
pub async fn build(double: &Double) -> Result<World> {
    build_at(&sdk_config(double).await).await
}

/// Makes the world in any AWS.
///
/// # Errors
/// The call that failed.
pub async fn build_at(config: &aws_config::SdkConfig) -> Result<World> {
    let ec2 = aws_sdk_ec2::Client::new(config);
    let vpc = ec2
        .create_vpc()
        .cidr_block("10.0.0.0/16")
        .send()
        .await?
        .vpc
        .and_then(|v| v.vpc_id)
        .context("a VPC")?;
    let gateway = ec2.create_internet_gateway().send().await?.internet_gateway;
    let gateway = gateway.and_then(|g| g.internet_gateway_id).context("a gateway")?;
    ec2.attach_internet_gateway()
        .internet_gateway_id(&gateway)
        .vpc_id(&vpc)
        .send()
        .await?;
    let table = ec2.create_route_table().vpc_id(&vpc).send().await?.route_table;
    let public = table.and_then(|t| t.route_table_id).context("a route table")?;
    ec2.create_route()
        .route_table_id(&public)
        .destination_cidr_block("0.0.0.0/0")
        .gateway_id(&gateway)
        .send()
        .await?;

    let mut subnets = Vec::new();
    for (number, zone) in (0..).zip(["a", "b", "c"]) {
        for (kind, offset, role) in [("public", 0, "elb"), ("private", 10, "internal-elb")] {
            let subnet = ec2
                .create_subnet()
                .vpc_id(&vpc)
                .cidr_block(format!("10.0.{}.0/24", number + offset))
                .availability_zone(format!("{REGION}{zone}"))
                .send()
                .await?;
            let subnet = subnet.subnet.and_then(|s| s.subnet_id).context("a subnet")?;
            ec2.create_tags()
                .resources(&subnet)
                .tags(tag("Name", &format!("{kind}-{zone}")))
                .tags(tag(format!("kubernetes.io/role/{role}"), "1"))
                .tags(tag(format!("kubernetes.io/cluster/{CLUSTER}"), "shared"))
                .send()
                .await?;
            if kind == "public" {
                ec2.associate_route_table()
                    .route_table_id(&public)
                    .subnet_id(&subnet)
                    .send()
                    .await?;
            }
            subnets.push((format!("{kind}-{zone}"), subnet));
        }
    }

    let group = ec2
        .create_security_group()
        .group_name("nodes")
        .description("nodes and pods")
        .vpc_id(&vpc)
        .send()
        .await?;
    let node_group = group.group_id.context("a security group")?;
    ec2.create_tags()
        .resources(&node_group)
        .tags(tag(format!("kubernetes.io/cluster/{CLUSTER}"), "owned"))
        .send()
        .await?;

    let mut nodes = Vec::new();
    for (number, zone) in (10..).zip(["a", "b", "c"]) {
        let address = Ipv4Addr::new(10, 0, number, 10);
        let subnet = &subnets
            .iter()
            .find(|(name, _)| *name == format!("private-{zone}"))
            .context("a subnet")?
            .1;
        let interface = InstanceNetworkInterfaceSpecification::builder()
            .device_index(0)
            .subnet_id(subnet)
            .groups(&node_group)
            .private_ip_address(address.to_string())
            .build();
        let started = ec2
            .run_instances()
            .image_id("ami-0123456789abcdef0")
            .instance_type(InstanceType::M5Large)
            .min_count(1)
            .max_count(1)
            .network_interfaces(interface)
            .send()
            .await?;
        let instance = started.instances().first().context("an instance")?;
        let interface = instance
            .network_interfaces()
            .first()
            .and_then(|i| i.network_interface_id())
            .context("an interface")?;
        ec2.assign_private_ip_addresses()
            .network_interface_id(interface)
            .set_private_ip_addresses(Some((64..96).map(|host| format!("10.0.{number}.{host}")).collect()))
            .send()
            .await?;
        nodes.push(Node {
            name: format!("host-{zone}"),
            instance: instance.instance_id().context("an instance id")?.to_owned(),
            address,
            pod_cidr: format!("10.0.{number}.64/27"),
            zone: format!("{REGION}{zone}"),
        });
    }

    let names = ["shop.example.com", "*.example.com", "*.shop.example.com"].map(str::to_owned);
    let made = rcgen::generate_simple_self_signed(names)?;
    let acm = aws_sdk_acm::Client::new(config);
    let imported = acm
        .import_certificate()
        .certificate(Blob::new(made.cert.pem()))
        .private_key(Blob::new(made.signing_key.serialize_pem()))
        .send()
        .await?;
    let certificate = imported.certificate_arn.context("a certificate")?;
    Ok(World {
        vpc,
        subnets,
        node_group,
        nodes,
        certificate,
        certificate_pem: made.cert.pem(),
    })
}

/// Somebody else's load balancer, target group and security group in the same VPC.
///
/// # Errors
/// The call that failed.
pub async fn add_strangers(double: &Double, world: &World) -> Result<()> {
    let config = sdk_config(double).await;
    let ec2 = aws_sdk_ec2::Client::new(&config);
    let elb = aws_sdk_elasticloadbalancingv2::Client::new(&config);
    let group = ec2
        .create_security_group()
        .group_name("legacy")
        .description("legacy")
        .vpc_id(&world.vpc)
        .send()
        .await?;
    let group = group.group_id.context("a security group")?;
    let subnets = world
        .subnets
        .iter()
        .filter(|(name, _)| name.starts_with("private"))
        .map(|(_, id)| id.clone())
        .collect();
    let made = elb
        .create_load_balancer()
        .name("legacy")
        .scheme("internal".into())
        .set_subnets(Some(subnets))
        .security_groups(group)
        .send()
        .await?;
    let lb = made
        .load_balancers()
        .first()
        .and_then(|lb| lb.load_balancer_arn())
        .context("a load balancer")?
        .to_owned();
    let made = elb
        .create_target_group()
        .name("legacy")
        .protocol("HTTP".into())
        .port(80)
        .vpc_id(&world.vpc)
        .target_type("ip".into())
        .send()
        .await?;
    let target_group = made
        .target_groups()
        .first()
        .and_then(|group| group.target_group_arn())
        .context("a target group")?;
    let forward = aws_sdk_elasticloadbalancingv2::types::Action::builder()
        .r#type("forward".into())
        .target_group_arn(target_group);
    let team = aws_sdk_elasticloadbalancingv2::types::Tag::builder()
        .key("team")
        .value("legacy")
        .build();
    let made = elb
        .create_listener()
        .load_balancer_arn(lb)
        .port(80)
        .protocol("HTTP".into())
        .default_actions(forward.clone().build())
        .tags(team.clone())
        .send()
        .await?;
    let listener = made
        .listeners()
        .first()
        .and_then(|listener| listener.listener_arn())
        .context("a listener")?;
    let path = aws_sdk_elasticloadbalancingv2::types::RuleCondition::builder()
        .field("path-pattern")
        .values("/legacy/*");
    elb.create_rule()
        .listener_arn(listener)
        .priority(7)
        .conditions(path.build())
        .actions(forward.build())
        .tags(team)
        .send()
        .await?;
    Ok(())
}
