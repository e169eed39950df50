//! Amazon EC2, version 2016-11-15: the network that load balancers stand in, and the instances behind them.

mod address;
mod address_space;
mod describe;
mod image;
mod instance;
mod internet_gateway;
mod lookup;
mod network_interface;
mod permission;
mod prefix_list;
mod route_table;
mod security_group;
mod security_group_rule;
pub mod state;
mod subnet;
mod tag;
mod vpc;
mod zone;

use serde::de::DeserializeOwned;
use serde_json::Value;

pub use self::state::State;
pub(crate) use self::tag::tagged;
use crate::call::Call;
use crate::fault::AwsError;
use crate::ids::Ids;
use crate::world::{Scene, World};

/// The name of an id's kind in tag specifications and ARNs, if it is one of ours.
pub(crate) fn resource_type(id: &str) -> Option<&'static str> {
    lookup::Kind::of(id).map(lookup::Kind::resource_type)
}

/// Answers a call.
///
/// # Errors
/// What AWS would refuse, with its code.
pub fn handle(world: &mut World, call: &Call, input: Value) -> Result<Value, AwsError> {
    let Scene { region, ids, .. } = world.scene(call);
    let state = &mut region.ec2;
    state.settle(call.now);
    if input["DryRun"] == Value::Bool(true) {
        let before = state.clone();
        let outcome = perform(state, ids, call, input);
        *state = before;
        outcome?;
        let message = "Request would have succeeded, but DryRun flag is set.";
        return Err(AwsError::new("DryRunOperation", message).with_status(412));
    }
    perform(state, ids, call, input)
}

fn perform(state: &mut State, ids: &mut Ids, call: &Call, input: Value) -> Result<Value, AwsError> {
    match call.operation.as_str() {
        "AllocateAddress" => address::allocate(state, ids, read(input)?),
        "AssignPrivateIpAddresses" => network_interface::assign(state, read(input)?),
        "AssociateRouteTable" => route_table::associate(state, ids, read(input)?),
        "AssociateSubnetCidrBlock" => subnet::associate_cidr(state, ids, read(input)?),
        "AssociateVpcCidrBlock" => vpc::associate_cidr(state, ids, call, read(input)?),
        "AttachInternetGateway" => internet_gateway::attach(state, &read(input)?),
        "AuthorizeSecurityGroupEgress" => security_group_rule::authorize(state, ids, call, true, read(input)?),
        "AuthorizeSecurityGroupIngress" => security_group_rule::authorize(state, ids, call, false, read(input)?),
        "CreateInternetGateway" => internet_gateway::create(state, ids, call, read(input)?),
        "CreateManagedPrefixList" => prefix_list::create(state, ids, call, read(input)?),
        "CreateNetworkInterface" => network_interface::create(state, ids, call, read(input)?),
        "CreateRoute" => route_table::create_route(state, read(input)?),
        "CreateRouteTable" => route_table::create(state, ids, call, read(input)?),
        "CreateSecurityGroup" => security_group::create(state, ids, call, read(input)?),
        "CreateSubnet" => subnet::create(state, ids, call, read(input)?),
        "CreateTags" => tag::create(state, &read(input)?),
        "CreateVpc" => vpc::create(state, ids, call, read(input)?),
        "DeleteInternetGateway" => internet_gateway::delete(state, &read(input)?),
        "DeleteManagedPrefixList" => prefix_list::delete(state, call, &read(input)?),
        "DeleteNetworkInterface" => network_interface::delete(state, &read(input)?),
        "DeleteRoute" => route_table::delete_route(state, &read(input)?),
        "DeleteRouteTable" => route_table::delete(state, &read(input)?),
        "DeleteSecurityGroup" => security_group::delete(state, &read(input)?),
        "DeleteSubnet" => subnet::delete(state, &read(input)?),
        "DeleteTags" => tag::delete(state, &read(input)?),
        "DeleteVpc" => vpc::delete(state, &read(input)?),
        "DescribeAddresses" => address::describe(state, call, &read(input)?),
        "DescribeAvailabilityZones" => zone::describe(state, call, &read(input)?),
        "DescribeImages" => image::describe(state, &read(input)?),
        "DescribeInstances" => instance::describe(state, call, &read(input)?),
        "DescribeInternetGateways" => read::<describe::Query>(input)?.answer(&state.internet_gateways, state, call),
        "DescribeManagedPrefixLists" => read::<describe::Query>(input)?.answer(&state.prefix_lists, state, call),
        "DescribeNetworkInterfaces" => read::<describe::Query>(input)?.answer(&state.interfaces, state, call),
        "DescribeRouteTables" => read::<describe::Query>(input)?.answer(&state.route_tables, state, call),
        "DescribeSecurityGroupRules" => security_group_rule::describe(state, call, &read(input)?),
        "DescribeSecurityGroups" => security_group::describe(state, call, &read(input)?),
        "DescribeSubnets" => read::<describe::Query>(input)?.answer(&state.subnets, state, call),
        "DescribeTags" => tag::describe(state, &read(input)?),
        "DescribeVpcAttribute" => vpc::describe_attribute(state, &read(input)?),
        "DescribeVpcs" => read::<describe::Query>(input)?.answer(&state.vpcs, state, call),
        "DetachInternetGateway" => internet_gateway::detach(state, &read(input)?),
        "DisassociateRouteTable" => route_table::disassociate(state, &read(input)?),
        "GetManagedPrefixListEntries" => prefix_list::entries(state, &read(input)?),
        "ModifyNetworkInterfaceAttribute" => network_interface::modify(state, read(input)?),
        "ModifySecurityGroupRules" => security_group_rule::modify(state, read(input)?),
        "ModifySubnetAttribute" => subnet::modify(state, &read(input)?),
        "ModifyVpcAttribute" => vpc::modify(state, &read(input)?),
        "ReleaseAddress" => address::release(state, &read(input)?),
        "ReplaceRouteTableAssociation" => route_table::replace_association(state, ids, &read(input)?),
        "RevokeSecurityGroupEgress" => security_group_rule::revoke(state, call, true, read(input)?),
        "RevokeSecurityGroupIngress" => security_group_rule::revoke(state, call, false, read(input)?),
        "RunInstances" => instance::run(state, ids, call, read(input)?),
        "StartInstances" => instance::start(state, &read(input)?),
        "StopInstances" => instance::stop(state, &read(input)?),
        "TerminateInstances" => instance::terminate(state, call, &read(input)?),
        "UnassignPrivateIpAddresses" => network_interface::unassign(state, &read(input)?),
        "UpdateSecurityGroupRuleDescriptionsEgress" => security_group_rule::describe_anew(state, true, read(input)?),
        "UpdateSecurityGroupRuleDescriptionsIngress" => security_group_rule::describe_anew(state, false, read(input)?),
        other => Err(AwsError::new(
            "InvalidAction",
            format!("The action {other} is not valid for this web service."),
        )),
    }
}

/// The parts of an input that an operation works with; the input was checked against its shape before.
fn read<T: DeserializeOwned>(input: Value) -> Result<T, AwsError> {
    serde_json::from_value(input).map_err(|error| AwsError::new("MalformedInput", error.to_string()))
}
