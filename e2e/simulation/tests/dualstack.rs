//! Dual stack: IPv6 Services behind a load balancer that has addresses of both kinds, pods and instances as targets.

use albacore_aws::{Options, elbv2::state::TargetGroup};
use albacore_simulation::{
    bed::Bed,
    objects::{self, Ingress},
    world::sdk_config,
};
use aws_sdk_ec2::types::InstanceNetworkInterfaceSpecification;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Addresses of each node's interface: the first is its own, the others are pods'.
const ADDRESSES: i32 = 3;

/// A bed whose VPC, subnets and nodes have IPv6 addresses; gives those of each node's interface too.
async fn bed() -> (Bed, Vec<Vec<String>>) {
    let mut bed = Bed::new(Options::default()).await;
    let ec2 = aws_sdk_ec2::Client::new(&sdk_config(&bed.double).await);
    let vpc = bed.world.vpc.clone();
    let associate = ec2.associate_vpc_cidr_block().vpc_id(&vpc);
    let block = associate.amazon_provided_ipv6_cidr_block(true).send().await;
    let block = block.expect("a block").ipv6_cidr_block_association;
    let block = block.and_then(|block| block.ipv6_cidr_block).expect("a block");
    let prefix = block.strip_suffix("00::/56").expect("room for 256 subnets");
    for (number, (_, subnet)) in bed.world.subnets.iter().enumerate() {
        let associate = ec2.associate_subnet_cidr_block().subnet_id(subnet);
        let associate = associate.ipv6_cidr_block(format!("{prefix}{number:02x}::/64"));
        associate.send().await.expect("a block of the subnet");
    }
    let mut addresses = Vec::new();
    for (node, zone) in bed.world.nodes.iter_mut().zip(["a", "b", "c"]) {
        let private = |(name, _): &&(String, String)| *name == format!("private-{zone}");
        let (_, subnet) = bed.world.subnets.iter().find(private).expect("a subnet");
        let interface = InstanceNetworkInterfaceSpecification::builder()
            .device_index(0)
            .subnet_id(subnet)
            .groups(&bed.world.node_group)
            .ipv6_address_count(ADDRESSES)
            .primary_ipv6(true);
        let started = ec2
            .run_instances()
            .image_id("ami-0123456789abcdef0")
            .min_count(1)
            .max_count(1)
            .network_interfaces(interface.build());
        let started = started.send().await.expect("an instance");
        let instance = started.instances().first().expect("an instance");
        let interface = instance.network_interfaces().first().expect("an interface");
        let of_interface = interface.ipv6_addresses().iter();
        addresses.push(of_interface.filter_map(|a| a.ipv6_address.clone()).collect());
        node.instance = instance.instance_id().expect("an id").to_owned();
        let address = instance.private_ip_address().expect("an address");
        node.address = address.parse().expect("an address");
    }
    objects::nodes(&bed.world).into_iter().for_each(|node| bed.apply(node));
    bed.take_calls();
    (bed, addresses)
}

/// A Service of one IP family.
fn service(name: &str, port: u16, family: &str) -> Value {
    let mut service = objects::service("shop", name, port);
    service["spec"]["ipFamilies"] = json!([family]);
    service
}

/// Gives a Service pods on these addresses.
fn give_pods(bed: &Bed, name: &str, family: &str, addresses: &[&String]) {
    let pods: Vec<Value> = addresses
        .iter()
        .enumerate()
        .map(|(number, address)| {
            let mut pod = objects::pod(&bed.world, "shop", name, number);
            pod["status"]["podIP"] = json!(address);
            pod["status"]["podIPs"] = json!([{"ip": address}]);
            pod
        })
        .collect();
    let mut slice = objects::endpoint_slice("shop", name, &pods);
    slice["addressType"] = json!(family);
    pods.into_iter().for_each(|pod| bed.apply(pod));
    bed.apply(slice);
}

fn ingress(name: &str, target_type: &str, addresses: &str, service: &str) -> Value {
    Ingress::new("shop", name)
        .annotated("group.name", "both")
        .annotated("target-type", target_type)
        .annotated("ip-address-type", addresses)
        .annotated("inbound-cidrs", "2001:db8::/32,203.0.113.0/24")
        .host("shop.example.com", &[(&format!("/{name}"), service)])
        .object()
}

/// The target groups: kind of address → targets.
fn targets(bed: &Bed) -> BTreeMap<(String, String), BTreeSet<String>> {
    let of = |group: &TargetGroup| {
        let there = group.targets.iter().filter(|(_, target)| target.deregistered.is_none());
        (
            (group.target_type.clone(), group.ip_address_type.clone()),
            there.map(|(target, _)| target.id.clone()).collect(),
        )
    };
    let world = bed.double.world();
    let groups = world
        .regions
        .values()
        .flat_map(|region| region.elbv2.target_groups.values());
    groups.map(of).collect()
}

/// The kinds of addresses of all load balancers.
fn addresses(bed: &Bed) -> Vec<String> {
    let world = bed.double.world();
    let all = world
        .regions
        .values()
        .flat_map(|region| region.elbv2.load_balancers.values());
    all.map(|lb| lb.ip_address_type.clone()).collect()
}

/// Peers that the load balancer's security group lets in.
fn let_in(bed: &Bed) -> BTreeSet<String> {
    let world = bed.double.world();
    let groups = world
        .regions
        .values()
        .flat_map(|region| region.ec2.security_groups.values());
    let own = groups.filter(|group| group.name.starts_with("k8s-both-"));
    own.flat_map(|group| &group.rules)
        .filter(|rule| !rule.egress)
        .map(|rule| format!("{:?}", rule.permission.peer))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn ipv6_services_are_served_by_a_dual_stack_load_balancer_that_becomes_ipv4_when_they_do() {
    let (mut bed, of_nodes) = bed().await;
    let pods: Vec<&String> = of_nodes.iter().flat_map(|of_node| &of_node[1..]).collect();
    bed.apply(service("six", 30066, "IPv6"));
    give_pods(&bed, "six", "IPv6", &pods);
    bed.start();
    bed.apply(ingress("pods", "ip", "dualstack", "six"));
    bed.apply(ingress("nodes", "instance", "dualstack", "six"));
    bed.settle().await;
    assert_eq!(addresses(&bed), ["dualstack"], "{:#?}", bed.take_calls().told());
    let named = |target_type: &str, kind: &str| (target_type.to_owned(), kind.to_owned());
    let instances: BTreeSet<String> = bed.world.nodes.iter().map(|node| node.instance.clone()).collect();
    let expected = BTreeMap::from([
        (named("ip", "ipv6"), pods.iter().map(|pod| (*pod).clone()).collect()),
        (named("instance", "ipv6"), instances.clone()),
    ]);
    assert_eq!(targets(&bed), expected);
    assert_eq!(
        let_in(&bed),
        BTreeSet::from(["Ipv4(203.0.113.0/24)".to_owned(), "Ipv6(2001:db8::/32)".to_owned()])
    );

    // While a rule names an IPv6 target group, its load balancer keeps its IPv6 addresses.
    bed.apply(ingress("pods", "ip", "ipv4", "six"));
    bed.apply(ingress("nodes", "instance", "ipv4", "six"));
    bed.settle().await;
    assert_eq!(
        (addresses(&bed), targets(&bed)),
        (vec!["dualstack".to_owned()], expected)
    );

    let old: Vec<String> = bed.world.nodes.iter().map(|node| node.address.to_string()).collect();
    bed.apply(service("six", 30066, "IPv4"));
    give_pods(&bed, "six", "IPv4", &old.iter().collect::<Vec<_>>());
    bed.settle_for(std::time::Duration::from_secs(400)).await;
    let expected = BTreeMap::from([
        (named("ip", "ipv4"), old.into_iter().collect()),
        (named("instance", "ipv4"), instances),
    ]);
    assert_eq!(targets(&bed), expected, "{:#?}", bed.take_calls().told());
    assert_eq!(addresses(&bed), ["ipv4"]);

    for name in ["pods", "nodes"] {
        bed.delete_ingress("shop", name);
    }
    bed.settle_for(std::time::Duration::from_secs(200)).await;
    assert_eq!(bed.holds(), (0, 0, 0, 0));
}
