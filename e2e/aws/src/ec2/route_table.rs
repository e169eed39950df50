//! Route tables, their routes, and which subnets they are for.

use std::collections::BTreeMap;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::Deserialize;
use serde_json::{Value, json};

use super::describe::Listed;
use super::lookup::{Kind, in_use, invalid};
use super::state::{Route, RouteTable, State};
use super::tag::{self, Specification};
use crate::call::Call;
use crate::fault::AwsError;
use crate::ids::Ids;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Create {
    vpc_id: String,
    #[serde(default)]
    tag_specifications: Vec<Specification>,
}

/// `CreateRouteTable`.
pub(super) fn create(state: &mut State, ids: &mut Ids, call: &Call, input: Create) -> Result<Value, AwsError> {
    Kind::Vpc.check(state, &input.vpc_id)?;
    let tags = tag::specified(&input.tag_specifications, Kind::RouteTable, &[])?;
    let id = ids.ec2("rtb");
    let table = RouteTable {
        vpc: input.vpc_id,
        main: None,
        subnets: BTreeMap::new(),
        routes: Vec::new(),
    };
    state.route_tables.insert(id.clone(), table);
    tag::attach(state, &id, tags);
    Ok(json!({"RouteTable": state.route_tables[&id].with_tags(&id, state, call)}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Delete {
    route_table_id: String,
}

/// `DeleteRouteTable`.
pub(super) fn delete(state: &mut State, input: &Delete) -> Result<Value, AwsError> {
    let id = &input.route_table_id;
    let table = Kind::RouteTable.get(&state.route_tables, id)?;
    if table.main.is_some() || !table.subnets.is_empty() {
        return Err(in_use(format!(
            "The routeTable '{id}' has dependencies and cannot be deleted."
        )));
    }
    state.route_tables.remove(id);
    state.tags.remove(id);
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Destination {
    route_table_id: String,
    destination_cidr_block: Option<String>,
    destination_ipv6_cidr_block: Option<String>,
    destination_prefix_list_id: Option<String>,
}

impl Destination {
    /// The member that was given, and what it says in EC2's own writing.
    fn read(&self) -> Result<(&'static str, String), AwsError> {
        let malformed = |text: &str, name: &str| {
            invalid(format!(
                "Value ({text}) for parameter {name} is invalid. This is not a valid CIDR block."
            ))
        };
        match (
            &self.destination_cidr_block,
            &self.destination_ipv6_cidr_block,
            &self.destination_prefix_list_id,
        ) {
            (Some(text), None, None) => {
                let net: Ipv4Net = text.parse().map_err(|_| malformed(text, "destinationCidrBlock"))?;
                Ok(("DestinationCidrBlock", net.trunc().to_string()))
            }
            (None, Some(text), None) => {
                let net: Ipv6Net = text.parse().map_err(|_| malformed(text, "destinationIpv6CidrBlock"))?;
                Ok(("DestinationIpv6CidrBlock", net.trunc().to_string()))
            }
            (None, None, Some(list)) => Ok(("DestinationPrefixListId", list.clone())),
            (None, None, None) => Err(AwsError::new(
                "MissingParameter",
                "The request must contain the parameter destinationCidrBlock or destinationIpv6CidrBlock",
            )),
            _ => Err(AwsError::new(
                "InvalidParameterCombination",
                "Only one destination may be specified",
            )),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NewRoute {
    #[serde(flatten)]
    destination: Destination,
    gateway_id: Option<String>,
    instance_id: Option<String>,
    network_interface_id: Option<String>,
}

/// `CreateRoute`, to an internet gateway, an instance or a network interface.
pub(super) fn create_route(state: &mut State, input: NewRoute) -> Result<Value, AwsError> {
    let id = &input.destination.route_table_id;
    let table = Kind::RouteTable.get(&state.route_tables, id)?;
    let destination = input.destination.read()?;
    if destination.0 == "DestinationPrefixListId" {
        Kind::PrefixList.check(state, &destination.1)?;
    }
    let target = match (input.gateway_id, input.instance_id, input.network_interface_id) {
        (Some(gateway), None, None) => {
            match state.internet_gateways.get(&gateway) {
                None => {
                    let message = format!("The gateway ID '{gateway}' does not exist");
                    return Err(AwsError::new("InvalidGatewayID.NotFound", message));
                }
                Some(found) if found.vpc.as_ref() != Some(&table.vpc) => {
                    return Err(invalid(format!(
                        "route table {id} and network gateway {gateway} belong to different networks"
                    )));
                }
                Some(_) => {}
            }
            ("GatewayId", gateway)
        }
        (None, Some(instance), None) => {
            Kind::Instance.check(state, &instance)?;
            ("InstanceId", instance)
        }
        (None, None, Some(interface)) => {
            Kind::Interface.check(state, &interface)?;
            ("NetworkInterfaceId", interface)
        }
        (None, None, None) => {
            let message = "The request must contain exactly one of gatewayId, instanceId, networkInterfaceId (the double has \
                           no other targets)";
            return Err(AwsError::new("MissingParameter", message));
        }
        _ => {
            return Err(AwsError::new(
                "InvalidParameterCombination",
                "Only one target may be specified",
            ));
        }
    };
    if local_routes(table, state).any(|local| local == destination)
        || table.routes.iter().any(|route| route.destination == destination)
    {
        let message = format!("The route identified by {} already exists.", destination.1);
        return Err(AwsError::new("RouteAlreadyExists", message));
    }
    let table = Kind::RouteTable.get_mut(&mut state.route_tables, id)?;
    table.routes.push(Route { destination, target });
    Ok(json!({"Return": true}))
}

/// `DeleteRoute`.
pub(super) fn delete_route(state: &mut State, input: &Destination) -> Result<Value, AwsError> {
    let id = &input.route_table_id;
    let table = Kind::RouteTable.get(&state.route_tables, id)?;
    let destination = input.read()?;
    if local_routes(table, state).any(|local| local == destination) {
        return Err(invalid(format!(
            "cannot remove local route {} in route table {id}",
            destination.1
        )));
    }
    let table = Kind::RouteTable.get_mut(&mut state.route_tables, id)?;
    let before = table.routes.len();
    table.routes.retain(|route| route.destination != destination);
    if table.routes.len() == before {
        let message = format!(
            "no route with destination-cidr-block {} in route table {id}",
            destination.1
        );
        return Err(AwsError::new("InvalidRoute.NotFound", message));
    }
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Associate {
    route_table_id: String,
    subnet_id: Option<String>,
}

/// `AssociateRouteTable`.
pub(super) fn associate(state: &mut State, ids: &mut Ids, input: Associate) -> Result<Value, AwsError> {
    let id = input.route_table_id;
    let table = Kind::RouteTable.get(&state.route_tables, &id)?;
    let Some(subnet) = input.subnet_id else {
        let message = "The request must contain the parameter subnetId";
        return Err(AwsError::new("MissingParameter", message));
    };
    if Kind::Subnet.get(&state.subnets, &subnet)?.vpc != table.vpc {
        return Err(invalid(format!(
            "route table {id} and subnet {subnet} belong to different networks"
        )));
    }
    for (other, found) in &state.route_tables {
        for (association, of) in &found.subnets {
            if *of == subnet && *other == id {
                return Ok(answer(association));
            }
            if *of == subnet {
                let message = format!(
                    "the specified association for route table {id} conflicts with an existing association {association}"
                );
                return Err(AwsError::new("Resource.AlreadyAssociated", message));
            }
        }
    }
    let association = ids.ec2("rtbassoc");
    let answered = answer(&association);
    let table = Kind::RouteTable.get_mut(&mut state.route_tables, &id)?;
    table.subnets.insert(association, subnet);
    Ok(answered)
}

fn answer(association: &str) -> Value {
    json!({"AssociationId": association, "AssociationState": {"State": "associated"}})
}

fn no_association(id: &str) -> AwsError {
    AwsError::new(
        "InvalidAssociationID.NotFound",
        format!("The association ID '{id}' does not exist"),
    )
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Disassociate {
    association_id: String,
}

/// `DisassociateRouteTable`: the subnet falls back to the main one.
pub(super) fn disassociate(state: &mut State, input: &Disassociate) -> Result<Value, AwsError> {
    let id = &input.association_id;
    if state.route_tables.values().any(|table| table.main.as_ref() == Some(id)) {
        return Err(invalid(format!(
            "cannot disassociate the main route table association {id}"
        )));
    }
    let mut tables = state.route_tables.values_mut();
    match tables.find_map(|table| table.subnets.remove(id)) {
        Some(_) => Ok(json!({})),
        None => Err(no_association(id)),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Replace {
    association_id: String,
    route_table_id: String,
}

/// `ReplaceRouteTableAssociation`: gives a subnet, or a VPC as its main one, another table.
pub(super) fn replace_association(state: &mut State, ids: &mut Ids, input: &Replace) -> Result<Value, AwsError> {
    let (id, wanted) = (&input.association_id, &input.route_table_id);
    let vpc = Kind::RouteTable.get(&state.route_tables, wanted)?.vpc.clone();
    let mut tables = state.route_tables.values_mut();
    let has = |table: &RouteTable| table.main.as_ref() == Some(id) || table.subnets.contains_key(id);
    let from = tables.find(|table| has(table)).ok_or_else(|| no_association(id))?;
    if from.vpc != vpc {
        return Err(invalid(format!(
            "route table {wanted} and association {id} belong to different networks"
        )));
    }
    let subnet = from.subnets.remove(id);
    if subnet.is_none() {
        from.main = None;
    }
    let association = ids.ec2("rtbassoc");
    let table = Kind::RouteTable.get_mut(&mut state.route_tables, wanted)?;
    match subnet {
        Some(subnet) => {
            table.subnets.insert(association.clone(), subnet);
        }
        None => table.main = Some(association.clone()),
    }
    Ok(json!({"NewAssociationId": association, "AssociationState": {"State": "associated"}}))
}

/// The routes that every table of a VPC has: to the VPC itself.
fn local_routes<'a>(table: &RouteTable, state: &'a State) -> impl Iterator<Item = (&'static str, String)> + use<'a> {
    let vpc = state.vpcs.get(&table.vpc);
    let ipv4 = vpc.into_iter().flat_map(|vpc| &vpc.cidrs);
    let ipv6 = vpc.into_iter().flat_map(|vpc| &vpc.ipv6);
    ipv4.map(|(_, net)| ("DestinationCidrBlock", net.to_string()))
        .chain(ipv6.map(|(_, net)| ("DestinationIpv6CidrBlock", net.to_string())))
}

impl RouteTable {
    /// All routes: destination, target, whether the table had it from the beginning.
    fn all_routes(&self, state: &State) -> Vec<(Route, bool)> {
        let local = local_routes(self, state).map(|destination| {
            let target = ("GatewayId", "local".to_owned());
            (Route { destination, target }, true)
        });
        local
            .chain(self.routes.iter().map(|route| (route.clone(), false)))
            .collect()
    }
}

/// A route whose target is gone or detached drops what it gets.
fn is_blackhole(route: &Route, table: &RouteTable, state: &State) -> bool {
    let target = &route.target.1;
    match route.target.0 {
        "GatewayId" if target != "local" => state
            .internet_gateways
            .get(target)
            .is_none_or(|gateway| gateway.vpc.as_ref() != Some(&table.vpc)),
        "InstanceId" => state.instance(target).is_none(),
        "NetworkInterfaceId" => !state.interfaces.contains_key(target),
        _ => false,
    }
}

impl Listed for RouteTable {
    const KIND: Kind = Kind::RouteTable;
    const LIST: &'static str = "RouteTables";

    fn values(&self, id: &str, filter: &str, state: &State, call: &Call) -> Option<Vec<String>> {
        let destinations = |member: &str| {
            let routes = self.all_routes(state).into_iter();
            let wanted = routes.filter(|(route, _)| route.destination.0 == member);
            wanted.map(|(route, _)| route.destination.1).collect()
        };
        let targets = |member: &str| {
            let routes = self.all_routes(state).into_iter();
            let wanted = routes.filter(|(route, _)| route.target.0 == member);
            wanted.map(|(route, _)| route.target.1).collect()
        };
        Some(match filter {
            "association.main" => {
                let main = self.main.iter().map(|_| "true".to_owned());
                main.chain(self.subnets.values().map(|_| "false".to_owned())).collect()
            }
            "association.route-table-association-id" => self.main.iter().chain(self.subnets.keys()).cloned().collect(),
            "association.route-table-id" => self
                .main
                .iter()
                .chain(self.subnets.keys())
                .map(|_| id.to_owned())
                .collect(),
            "association.subnet-id" => self.subnets.values().cloned().collect(),
            "owner-id" => vec![call.account.clone()],
            "route-table-id" => vec![id.to_owned()],
            "route.destination-cidr-block" => destinations("DestinationCidrBlock"),
            "route.destination-ipv6-cidr-block" => destinations("DestinationIpv6CidrBlock"),
            "route.destination-prefix-list-id" => destinations("DestinationPrefixListId"),
            "route.gateway-id" => targets("GatewayId"),
            "route.instance-id" => targets("InstanceId"),
            "vpc-id" => vec![self.vpc.clone()],
            _ => return None,
        })
    }

    fn described(&self, id: &str, state: &State, call: &Call) -> Value {
        let main = self.main.iter().map(|association| {
            json!({
                "RouteTableAssociationId": association, "RouteTableId": id, "Main": true,
                "AssociationState": {"State": "associated"},
            })
        });
        let subnets = self.subnets.iter().map(|(association, subnet)| {
            json!({
                "RouteTableAssociationId": association, "RouteTableId": id, "SubnetId": subnet, "Main": false,
                "AssociationState": {"State": "associated"},
            })
        });
        let routes = self.all_routes(state).into_iter().map(|(route, local)| {
            let state = if is_blackhole(&route, self, state) {
                "blackhole"
            } else {
                "active"
            };
            let origin = if local { "CreateRouteTable" } else { "CreateRoute" };
            let mut value = json!({"State": state, "Origin": origin});
            value[route.destination.0] = json!(route.destination.1);
            value[route.target.0] = json!(route.target.1);
            value
        });
        json!({
            "RouteTableId": id, "VpcId": self.vpc, "OwnerId": call.account, "PropagatingVgws": [],
            "Associations": main.chain(subnets).collect::<Vec<_>>(), "Routes": routes.collect::<Vec<_>>(),
        })
    }
}
