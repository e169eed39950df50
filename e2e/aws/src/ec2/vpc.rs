//! VPCs, each with a main route table and a default security group.

use std::collections::BTreeMap;
use std::net::Ipv6Addr;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::Deserialize;
use serde_json::{Value, json};

use super::describe::Listed;
use super::lookup::{Kind, in_use, invalid};
use super::security_group;
use super::state::{RouteTable, State, Vpc};
use super::tag::{self, Specification};
use crate::call::Call;
use crate::fault::AwsError;
use crate::ids::Ids;

/// A block as it comes in, without host bits, as EC2 keeps it ("we modify it to 100.68.0.0/18").
/// Source: CreateVpc, Amazon EC2 API reference.
pub(super) fn ipv4_block(text: &str) -> Result<Ipv4Net, AwsError> {
    text.parse::<Ipv4Net>().map(|net| net.trunc()).map_err(|_| {
        invalid(format!(
            "Value ({text}) for parameter cidrBlock is invalid. This is not a valid CIDR block."
        ))
    })
}

fn vpc_block(text: &str) -> Result<Ipv4Net, AwsError> {
    let net = ipv4_block(text)?;
    if !(16..=28).contains(&net.prefix_len()) {
        return Err(AwsError::new(
            "InvalidVpc.Range",
            format!("The CIDR '{text}' is invalid."),
        ));
    }
    Ok(net)
}

/// An IPv6 block of Amazon's, /56.
fn amazon_ipv6(ids: &mut Ids) -> Ipv6Net {
    let bits = (0x2600_1f00_u128 << 96) | (u128::from(ids.below(1 << 24)) << 72);
    Ipv6Net::new(Ipv6Addr::from(bits), 56)
        .expect("56 is a prefix length")
        .trunc()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Create {
    cidr_block: Option<String>,
    amazon_provided_ipv6_cidr_block: Option<bool>,
    #[serde(default)]
    tag_specifications: Vec<Specification>,
}

/// `CreateVpc`.
pub(super) fn create(state: &mut State, ids: &mut Ids, call: &Call, input: Create) -> Result<Value, AwsError> {
    let cidr = input.cidr_block.ok_or_else(|| {
        AwsError::new(
            "MissingParameter",
            "Either 'cidrBlock' or 'ipv4IpamPoolId' should be provided.",
        )
    })?;
    let cidr = vpc_block(&cidr)?;
    let tags = tag::specified(&input.tag_specifications, Kind::Vpc, &[])?;
    let id = ids.ec2("vpc");
    let ipv6 = if input.amazon_provided_ipv6_cidr_block == Some(true) {
        vec![(ids.ec2("vpc-cidr-assoc"), amazon_ipv6(ids))]
    } else {
        Vec::new()
    };
    let vpc = Vpc {
        cidrs: vec![(ids.ec2("vpc-cidr-assoc"), cidr)],
        ipv6,
        dns: (true, false),
    };
    state.vpcs.insert(id.clone(), vpc);
    let table = RouteTable {
        vpc: id.clone(),
        main: Some(ids.ec2("rtbassoc")),
        subnets: BTreeMap::new(),
        routes: Vec::new(),
    };
    state.route_tables.insert(ids.ec2("rtb"), table);
    let group = security_group::default_of(state, ids, &id);
    state.security_groups.insert(ids.ec2("sg"), group);
    security_group::admit_itself(state, ids, &id);
    tag::attach(state, &id, tags);
    let mut answer = state.vpcs[&id].with_tags(&id, state, call);
    answer["State"] = json!("pending");
    Ok(json!({"Vpc": answer}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Delete {
    vpc_id: String,
}

/// `DeleteVpc`: goes with its main route table and its default security group, and only when nothing else is left in it.
pub(super) fn delete(state: &mut State, input: &Delete) -> Result<Value, AwsError> {
    let id = &input.vpc_id;
    Kind::Vpc.check(state, id)?;
    let default = state.default_security_group(id).map(str::to_owned);
    let occupied = state.subnets.values().any(|subnet| subnet.vpc == *id)
        || state.has_internet_gateway(id)
        || state
            .route_tables
            .values()
            .any(|table| table.vpc == *id && table.main.is_none())
        || state
            .security_groups
            .iter()
            .any(|(group, found)| found.vpc == *id && Some(group) != default.as_ref());
    if occupied {
        return Err(in_use(format!(
            "The vpc '{id}' has dependencies and cannot be deleted."
        )));
    }
    let tables: Vec<String> = state
        .route_tables
        .iter()
        .filter(|(_, table)| table.vpc == *id)
        .map(|(id, _)| id.clone())
        .collect();
    for gone in tables.iter().chain(&default).chain([id]) {
        state.route_tables.remove(gone);
        state.security_groups.remove(gone);
        state.tags.remove(gone);
    }
    state.vpcs.remove(id);
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Associate {
    vpc_id: String,
    cidr_block: Option<String>,
    amazon_provided_ipv6_cidr_block: Option<bool>,
}

/// `AssociateVpcCidrBlock`.
pub(super) fn associate_cidr(
    state: &mut State,
    ids: &mut Ids,
    call: &Call,
    input: Associate,
) -> Result<Value, AwsError> {
    let id = input.vpc_id;
    let vpc = Kind::Vpc.get_mut(&mut state.vpcs, &id)?;
    let association = ids.ec2("vpc-cidr-assoc");
    let answer = match (input.cidr_block, input.amazon_provided_ipv6_cidr_block) {
        (Some(cidr), None | Some(false)) => {
            let net = vpc_block(&cidr)?;
            if vpc.cidrs.iter().any(|(_, other)| overlap(other, &net)) {
                let message = format!("The CIDR '{cidr}' conflicts with another CIDR block of the VPC");
                return Err(AwsError::new("InvalidVpc.Range", message));
            }
            vpc.cidrs.push((association, net));
            let last = vpc.cidrs.len() - 1;
            json!({"VpcId": id, "CidrBlockAssociation": ipv4_association(&vpc.cidrs[last], "associating")})
        }
        (None, Some(true)) => {
            vpc.ipv6.push((association, amazon_ipv6(ids)));
            let last = vpc.ipv6.len() - 1;
            json!({"VpcId": id, "Ipv6CidrBlockAssociation": ipv6_association(&vpc.ipv6[last], call, "associating")})
        }
        _ => {
            let message = "Exactly one of cidrBlock and amazonProvidedIpv6CidrBlock must be given; the double has no address pools";
            return Err(AwsError::new("InvalidParameterCombination", message));
        }
    };
    Ok(answer)
}

/// Whether two blocks share an address.
pub(super) fn overlap(one: &Ipv4Net, other: &Ipv4Net) -> bool {
    one.contains(other) || other.contains(one)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Modify {
    vpc_id: String,
    enable_dns_support: Option<Flag>,
    enable_dns_hostnames: Option<Flag>,
}

/// A boolean as attributes have it.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Flag {
    #[serde(default)]
    pub value: bool,
}

/// `ModifyVpcAttribute`.
pub(super) fn modify(state: &mut State, input: &Modify) -> Result<Value, AwsError> {
    let vpc = Kind::Vpc.get_mut(&mut state.vpcs, &input.vpc_id)?;
    match (input.enable_dns_support, input.enable_dns_hostnames) {
        (Some(support), None) => vpc.dns.0 = support.value,
        (None, Some(hostnames)) => vpc.dns.1 = hostnames.value,
        _ => {
            let message = "Fields for exactly one attribute must be specified";
            return Err(AwsError::new("InvalidParameterCombination", message));
        }
    }
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DescribeAttribute {
    vpc_id: String,
    attribute: String,
}

/// `DescribeVpcAttribute`.
pub(super) fn describe_attribute(state: &State, input: &DescribeAttribute) -> Result<Value, AwsError> {
    let id = &input.vpc_id;
    let vpc = Kind::Vpc.get(&state.vpcs, id)?;
    let (member, value) = match input.attribute.as_str() {
        "enableDnsSupport" => ("EnableDnsSupport", vpc.dns.0),
        "enableDnsHostnames" => ("EnableDnsHostnames", vpc.dns.1),
        _ => ("EnableNetworkAddressUsageMetrics", false),
    };
    Ok(json!({"VpcId": id, member: {"Value": value}}))
}

fn ipv4_association((id, net): &(String, Ipv4Net), state: &str) -> Value {
    json!({"AssociationId": id, "CidrBlock": net.to_string(), "CidrBlockState": {"State": state}})
}

fn ipv6_association((id, net): &(String, Ipv6Net), call: &Call, state: &str) -> Value {
    json!({
        "AssociationId": id, "Ipv6CidrBlock": net.to_string(), "Ipv6CidrBlockState": {"State": state},
        "NetworkBorderGroup": call.region, "Ipv6Pool": "Amazon",
    })
}

impl Listed for Vpc {
    const KIND: Kind = Kind::Vpc;
    const LIST: &'static str = "Vpcs";

    fn values(&self, id: &str, filter: &str, _: &State, call: &Call) -> Option<Vec<String>> {
        let cidrs = || self.cidrs.iter().map(|(_, net)| net.to_string()).collect();
        let ipv6 = || self.ipv6.iter().map(|(_, net)| net.to_string()).collect();
        Some(match filter {
            "vpc-id" => vec![id.to_owned()],
            "cidr" | "cidr-block" | "cidrBlock" => vec![self.cidrs[0].1.to_string()],
            "cidr-block-association.cidr-block" => cidrs(),
            "cidr-block-association.association-id" => self.cidrs.iter().map(|(id, _)| id.clone()).collect(),
            "ipv6-cidr-block-association.ipv6-cidr-block" => ipv6(),
            "ipv6-cidr-block-association.association-id" => self.ipv6.iter().map(|(id, _)| id.clone()).collect(),
            "cidr-block-association.state" | "ipv6-cidr-block-association.state" => vec!["associated".to_owned()],
            "is-default" | "isDefault" => vec!["false".to_owned()],
            "owner-id" => vec![call.account.clone()],
            "state" => vec!["available".to_owned()],
            "dhcp-options-id" => vec!["default".to_owned()],
            _ => return None,
        })
    }

    fn described(&self, id: &str, _: &State, call: &Call) -> Value {
        let ipv4 = self.cidrs.iter().map(|one| ipv4_association(one, "associated"));
        let ipv6 = self.ipv6.iter().map(|one| ipv6_association(one, call, "associated"));
        json!({
            "VpcId": id, "CidrBlock": self.cidrs[0].1.to_string(), "CidrBlockAssociationSet": ipv4.collect::<Vec<_>>(),
            "Ipv6CidrBlockAssociationSet": ipv6.collect::<Vec<_>>(), "DhcpOptionsId": "default",
            "InstanceTenancy": "default", "IsDefault": false, "OwnerId": call.account, "State": "available",
        })
    }
}
