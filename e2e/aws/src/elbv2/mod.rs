//! Elastic Load Balancing, version 2015-12-01: Application Load Balancers.
//!
//! ```text
//! load balancer ─► listener ─► rule ─► action ─► target group ─► targets (id, port) with health
//!       │              └► certificates             └► one load balancer only
//!       └► subnets, security groups, a network interface per subnet (ec2)
//! ```

mod action;
mod attribute;
mod certificate;
mod condition;
mod listener;
mod load_balancer;
mod lookup;
mod name;
mod network;
mod paging;
mod placement;
pub mod quota;
mod rule;
pub mod ssl_policy;
pub mod state;
mod tag;
mod target;
mod target_group;
pub mod target_health;

use serde::de::DeserializeOwned;
use serde_json::Value;

use self::lookup::Kind;
pub use self::state::{HealthReport, State, TargetKey};
pub use self::target_health::TargetHealth;
use crate::call::Call;
use crate::fault::AwsError;
use crate::world::World;

/// Answers a call.
///
/// # Errors
/// What AWS would refuse, with its code.
pub fn handle(world: &mut World, call: &Call, input: Value) -> Result<Value, AwsError> {
    match call.operation.as_str() {
        "AddListenerCertificates" => certificate::add(world, call, &read(input)?),
        "AddTags" => tag::add(world, call, read(input)?),
        "CreateListener" => listener::create(world, call, read(input)?),
        "CreateLoadBalancer" => load_balancer::create(world, call, read(input)?),
        "CreateRule" => rule::create(world, call, read(input)?),
        "CreateTargetGroup" => target_group::create(world, call, read(input)?),
        "DeleteListener" => listener::delete(world, call, &read(input)?),
        "DeleteLoadBalancer" => load_balancer::delete(world, call, &read(input)?),
        "DeleteRule" => rule::delete(world, call, &read(input)?),
        "DeleteTargetGroup" => target_group::delete(world, call, &read(input)?),
        "DeregisterTargets" => target::deregister(world, call, &read(input)?),
        "DescribeAccountLimits" => quota::describe(world, call, read(input)?),
        "DescribeListenerAttributes" => attribute::describe(world, call, Kind::Listener, &read(input)?),
        "DescribeListenerCertificates" => certificate::describe(world, call, &read(input)?),
        "DescribeListeners" => listener::describe(world, call, read(input)?),
        "DescribeLoadBalancerAttributes" => attribute::describe(world, call, Kind::LoadBalancer, &read(input)?),
        "DescribeLoadBalancers" => load_balancer::describe(world, call, read(input)?),
        "DescribeRules" => rule::describe(world, call, read(input)?),
        "DescribeSSLPolicies" => ssl_policy::describe(read(input)?),
        "DescribeTags" => tag::describe(world, call, read(input)?),
        "DescribeTargetGroupAttributes" => attribute::describe(world, call, Kind::TargetGroup, &read(input)?),
        "DescribeTargetGroups" => target_group::describe(world, call, read(input)?),
        "DescribeTargetHealth" => target_health::describe(world, call, &read(input)?),
        "ModifyListener" => listener::modify(world, call, read(input)?),
        "ModifyListenerAttributes" => attribute::modify(world, call, Kind::Listener, read(input)?),
        "ModifyLoadBalancerAttributes" => attribute::modify(world, call, Kind::LoadBalancer, read(input)?),
        "ModifyRule" => rule::modify(world, call, read(input)?),
        "ModifyTargetGroup" => target_group::modify(world, call, read(input)?),
        "ModifyTargetGroupAttributes" => attribute::modify(world, call, Kind::TargetGroup, read(input)?),
        "RegisterTargets" => target::register(world, call, &read(input)?),
        "RemoveListenerCertificates" => certificate::remove(world, call, &read(input)?),
        "RemoveTags" => tag::remove(world, call, read(input)?),
        "SetIpAddressType" => load_balancer::set_ip_address_type(world, call, read(input)?),
        "SetRulePriorities" => rule::set_priorities(world, call, read(input)?),
        "SetSecurityGroups" => load_balancer::set_security_groups(world, call, read(input)?),
        "SetSubnets" => load_balancer::set_subnets(world, call, read(input)?),
        other => Err(AwsError::new(
            "InvalidAction",
            format!("The double does not perform {other}"),
        )),
    }
}

/// The parts of an input that an operation works with; the input was checked against its shape before.
fn read<T: DeserializeOwned>(input: Value) -> Result<T, AwsError> {
    serde_json::from_value(input).map_err(|error| AwsError::new("MalformedInput", error.to_string()))
}
