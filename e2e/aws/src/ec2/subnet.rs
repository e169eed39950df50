//! Subnets.

use ipnet::Ipv6Net;
use serde::Deserialize;
use serde_json::{Value, json};

use super::describe::Listed;
use super::lookup::{Kind, in_use, invalid};
use super::state::{State, Subnet};
use super::tag::{self, Specification};
use super::vpc::{Flag, ipv4_block, overlap};
use super::zone;
use crate::call::Call;
use crate::fault::AwsError;
use crate::ids::Ids;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Create {
    vpc_id: String,
    cidr_block: Option<String>,
    ipv6_cidr_block: Option<String>,
    availability_zone: Option<String>,
    availability_zone_id: Option<String>,
    #[serde(default)]
    tag_specifications: Vec<Specification>,
}

/// `CreateSubnet`.
pub(super) fn create(state: &mut State, ids: &mut Ids, call: &Call, input: Create) -> Result<Value, AwsError> {
    let vpc = Kind::Vpc.get(&state.vpcs, &input.vpc_id)?;
    let text = input.cidr_block.ok_or_else(|| {
        AwsError::new(
            "MissingParameter",
            "Either 'cidrBlock' or 'ipv4IpamPoolId' should be provided.",
        )
    })?;
    let cidr = ipv4_block(&text)?;
    let zone = zone::named(
        &call.region,
        input.availability_zone.as_deref(),
        input.availability_zone_id.as_deref(),
    )?;
    let inside = vpc.cidrs.iter().any(|(_, block)| block.contains(&cidr));
    if !(16..=28).contains(&cidr.prefix_len()) || !inside {
        return Err(AwsError::new(
            "InvalidSubnet.Range",
            format!("The CIDR '{text}' is invalid."),
        ));
    }
    let mut siblings = state.subnets.values().filter(|other| other.vpc == input.vpc_id);
    if siblings.any(|other| overlap(&other.cidr, &cidr)) {
        let message = format!("The CIDR '{text}' conflicts with another subnet");
        return Err(AwsError::new("InvalidSubnet.Conflict", message));
    }
    let ipv6 = match &input.ipv6_cidr_block {
        Some(text) => Some((ids.ec2("subnet-cidr-assoc"), ipv6_block(state, &input.vpc_id, text)?)),
        None => None,
    };
    let tags = tag::specified(&input.tag_specifications, Kind::Subnet, &[])?;
    let id = ids.ec2("subnet");
    let subnet = Subnet {
        vpc: input.vpc_id,
        zone: zone.name,
        cidr,
        ipv6,
        map_public_ip: false,
        assign_ipv6: false,
    };
    state.subnets.insert(id.clone(), subnet);
    tag::attach(state, &id, tags);
    Ok(json!({"Subnet": state.subnets[&id].with_tags(&id, state, call)}))
}

/// A subnet's IPv6 block: a /64 of its VPC's that no other subnet has.
fn ipv6_block(state: &State, vpc: &str, text: &str) -> Result<Ipv6Net, AwsError> {
    let net: Ipv6Net = text.parse().map_err(|_| {
        invalid(format!(
            "Value ({text}) for parameter ipv6CidrBlock is invalid. This is not a valid IPv6 CIDR block."
        ))
    })?;
    let blocks = &Kind::Vpc.get(&state.vpcs, vpc)?.ipv6;
    if net.prefix_len() != 64 || !blocks.iter().any(|(_, block)| block.contains(&net)) {
        return Err(AwsError::new(
            "InvalidSubnet.Range",
            format!("The CIDR '{text}' is invalid."),
        ));
    }
    let mut siblings = state.subnets.values().filter(|other| other.vpc == vpc);
    if siblings.any(|other| other.ipv6.as_ref().is_some_and(|(_, block)| *block == net)) {
        let message = format!("The CIDR '{text}' conflicts with another subnet");
        return Err(AwsError::new("InvalidSubnet.Conflict", message));
    }
    Ok(net)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Associate {
    subnet_id: String,
    ipv6_cidr_block: Option<String>,
}

/// `AssociateSubnetCidrBlock`.
pub(super) fn associate_cidr(state: &mut State, ids: &mut Ids, input: Associate) -> Result<Value, AwsError> {
    let id = input.subnet_id;
    let subnet = Kind::Subnet.get(&state.subnets, &id)?;
    let text = input.ipv6_cidr_block.ok_or_else(|| {
        AwsError::new(
            "MissingParameter",
            "The request must contain the parameter ipv6CidrBlock",
        )
    })?;
    if subnet.ipv6.is_some() {
        return Err(invalid(format!("The subnet '{id}' already has an IPv6 CIDR block")));
    }
    let net = ipv6_block(state, &subnet.vpc, &text)?;
    let association = ids.ec2("subnet-cidr-assoc");
    let answer = json!({"SubnetId": id, "Ipv6CidrBlockAssociation": association_of(&association, &net, "associating")});
    Kind::Subnet.get_mut(&mut state.subnets, &id)?.ipv6 = Some((association, net));
    Ok(answer)
}

fn association_of(id: &str, net: &Ipv6Net, state: &str) -> Value {
    json!({"AssociationId": id, "Ipv6CidrBlock": net.to_string(), "Ipv6CidrBlockState": {"State": state}})
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Modify {
    subnet_id: String,
    map_public_ip_on_launch: Option<Flag>,
    assign_ipv6_address_on_creation: Option<Flag>,
}

/// `ModifySubnetAttribute`, one attribute at a time.
pub(super) fn modify(state: &mut State, input: &Modify) -> Result<Value, AwsError> {
    let id = &input.subnet_id;
    let subnet = Kind::Subnet.get_mut(&mut state.subnets, id)?;
    match (input.map_public_ip_on_launch, input.assign_ipv6_address_on_creation) {
        (Some(flag), None) => subnet.map_public_ip = flag.value,
        (None, Some(flag)) if flag.value && subnet.ipv6.is_none() => {
            return Err(invalid(format!(
                "Invalid value 'true' for assignIpv6AddressOnCreation. Subnet '{id}' has no IPv6 CIDR block."
            )));
        }
        (None, Some(flag)) => subnet.assign_ipv6 = flag.value,
        _ => {
            let message = "Exactly one of the attributes that the double knows must be specified: mapPublicIpOnLaunch, \
                           assignIpv6AddressOnCreation";
            return Err(AwsError::new("InvalidParameterCombination", message));
        }
    }
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Delete {
    subnet_id: String,
}

/// `DeleteSubnet`.
pub(super) fn delete(state: &mut State, input: &Delete) -> Result<Value, AwsError> {
    let id = &input.subnet_id;
    Kind::Subnet.check(state, id)?;
    if state.interfaces_of(id).next().is_some() {
        return Err(in_use(format!(
            "The subnet '{id}' has dependencies and cannot be deleted."
        )));
    }
    for table in state.route_tables.values_mut() {
        table.subnets.retain(|_, subnet| subnet != id);
    }
    state.subnets.remove(id);
    state.tags.remove(id);
    Ok(json!({}))
}

impl Listed for Subnet {
    const KIND: Kind = Kind::Subnet;
    const LIST: &'static str = "Subnets";

    fn values(&self, id: &str, filter: &str, state: &State, call: &Call) -> Option<Vec<String>> {
        let ipv6 = self.ipv6.iter();
        Some(match filter {
            "availability-zone" | "availabilityZone" => vec![self.zone.clone()],
            "availability-zone-id" | "availabilityZoneId" => {
                zone::id_of(&call.region, &self.zone).into_iter().collect()
            }
            "available-ip-address-count" => vec![state.free_addresses(id).to_string()],
            "cidr-block" | "cidr" | "cidrBlock" => vec![self.cidr.to_string()],
            "default-for-az" | "defaultForAz" => vec!["false".to_owned()],
            "ipv6-cidr-block-association.ipv6-cidr-block" => ipv6.map(|(_, net)| net.to_string()).collect(),
            "ipv6-cidr-block-association.association-id" => ipv6.map(|(id, _)| id.clone()).collect(),
            "ipv6-cidr-block-association.state" => ipv6.map(|_| "associated".to_owned()).collect(),
            "map-public-ip-on-launch" => vec![self.map_public_ip.to_string()],
            "owner-id" => vec![call.account.clone()],
            "state" => vec!["available".to_owned()],
            "subnet-arn" => vec![call.arn("ec2", &format!("subnet/{id}"))],
            "subnet-id" => vec![id.to_owned()],
            "vpc-id" => vec![self.vpc.clone()],
            _ => return None,
        })
    }

    fn described(&self, id: &str, state: &State, call: &Call) -> Value {
        let ipv6 = self.ipv6.iter().map(|(id, net)| association_of(id, net, "associated"));
        json!({
            "SubnetId": id, "SubnetArn": call.arn("ec2", &format!("subnet/{id}")), "VpcId": self.vpc, "OwnerId": call.account,
            "AvailabilityZone": self.zone, "AvailabilityZoneId": zone::id_of(&call.region, &self.zone),
            "CidrBlock": self.cidr.to_string(), "Ipv6CidrBlockAssociationSet": ipv6.collect::<Vec<_>>(),
            "AvailableIpAddressCount": state.free_addresses(id), "State": "available", "DefaultForAz": false,
            "MapPublicIpOnLaunch": self.map_public_ip, "AssignIpv6AddressOnCreation": self.assign_ipv6,
            "MapCustomerOwnedIpOnLaunch": false, "EnableDns64": false, "Ipv6Native": false,
            "PrivateDnsNameOptionsOnLaunch": {
                "HostnameType": "ip-name", "EnableResourceNameDnsARecord": false, "EnableResourceNameDnsAAAARecord": false,
            },
        })
    }
}
