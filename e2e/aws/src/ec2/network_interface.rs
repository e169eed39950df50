//! Network interfaces: of instances, of load balancers, and those that nothing has.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::Deserialize;
use serde_json::{Value, json};

use super::describe::Listed;
use super::lookup::{Kind, invalid};
use super::state::{Attachment, Interface, NewInterface, State};
use super::tag::{self, Specification};
use super::vpc::Flag;
use super::zone;
use crate::call::Call;
use crate::fault::AwsError;
use crate::ids::Ids;

/// How addresses are asked for when an interface is made, by itself or with an instance.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Wanted {
    private_ip_address: Option<String>,
    private_ip_addresses: Vec<WantedAddress>,
    secondary_private_ip_address_count: Option<usize>,
    ipv6_address_count: Option<usize>,
    /// As CreateNetworkInterface calls it; RunInstances calls it `PrimaryIpv6`.
    #[serde(alias = "PrimaryIpv6")]
    enable_primary_ipv6: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct WantedAddress {
    private_ip_address: String,
    primary: bool,
}

pub(super) fn address(text: &str) -> Result<Ipv4Addr, AwsError> {
    text.parse().map_err(|_| {
        invalid(format!(
            "Invalid value '{text}' for privateIpAddress. Not a valid IP address."
        ))
    })
}

impl Wanted {
    /// With one primary address at most, which comes first.
    pub fn read(&self, new: &mut NewInterface) -> Result<(), AwsError> {
        let mut listed = self.private_ip_addresses.clone();
        if let Some(primary) = &self.private_ip_address {
            listed.push(WantedAddress {
                private_ip_address: primary.clone(),
                primary: true,
            });
        }
        if listed.iter().filter(|one| one.primary).count() > 1 {
            let message = "Only one primary private IP address can be specified.";
            return Err(AwsError::new("InvalidParameterCombination", message));
        }
        listed.sort_by_key(|one| !one.primary);
        for one in &listed {
            let parsed = address(&one.private_ip_address)?;
            if new.addresses.contains(&parsed) {
                return Err(invalid(format!("Address {parsed} was specified more than once")));
            }
            new.addresses.push(parsed);
        }
        new.more_addresses = self.secondary_private_ip_address_count.unwrap_or_default();
        new.ipv6_addresses = self.ipv6_address_count.unwrap_or_default();
        new.primary_ipv6 = self.enable_primary_ipv6;
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Create {
    subnet_id: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(flatten)]
    wanted: Wanted,
    #[serde(default)]
    tag_specifications: Vec<Specification>,
}

/// `CreateNetworkInterface`.
pub(super) fn create(state: &mut State, ids: &mut Ids, call: &Call, input: Create) -> Result<Value, AwsError> {
    let tags = tag::specified(&input.tag_specifications, Kind::Interface, &[])?;
    let mut new = NewInterface {
        subnet: input.subnet_id,
        description: input.description,
        groups: input.groups,
        ..NewInterface::default()
    };
    input.wanted.read(&mut new)?;
    let id = state.create_interface(ids, new, call.now)?;
    tag::attach(state, &id, tags);
    let mut answer = state.interfaces[&id].with_tags(&id, state, call);
    answer["Status"] = json!("pending");
    Ok(json!({"NetworkInterface": answer}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Delete {
    network_interface_id: String,
}

/// `DeleteNetworkInterface`: not while it is attached.
pub(super) fn delete(state: &mut State, input: &Delete) -> Result<Value, AwsError> {
    let id = &input.network_interface_id;
    if Kind::Interface.get(&state.interfaces, id)?.attachment.is_some() {
        return Err(invalid(format!("Network interface '{id}' is currently in use.")));
    }
    state.interfaces.remove(id);
    state.tags.remove(id);
    Ok(json!({}))
}

/// Refuses to change an interface that belongs to a service.
fn check_owner(id: &str, interface: &Interface) -> Result<(), AwsError> {
    match &interface.requester {
        None => Ok(()),
        Some(_) => {
            let message = format!("You do not have permission to manage the network interface '{id}'");
            Err(AwsError::new("OperationNotPermitted", message))
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Assign {
    network_interface_id: String,
    #[serde(default)]
    private_ip_addresses: Vec<String>,
    secondary_private_ip_address_count: Option<usize>,
    #[serde(default)]
    ipv4_prefixes: Vec<String>,
    allow_reassignment: Option<bool>,
}

/// `AssignPrivateIpAddresses`. How many addresses an instance type allows is not enforced.
pub(super) fn assign(state: &mut State, input: Assign) -> Result<Value, AwsError> {
    let id = input.network_interface_id;
    let interface = Kind::Interface.get(&state.interfaces, &id)?;
    check_owner(&id, interface)?;
    let subnet_id = interface.subnet.clone();
    let subnet = Kind::Subnet.get(&state.subnets, &subnet_id)?;
    let count = input.secondary_private_ip_address_count.unwrap_or_default();
    let ways = [
        !input.private_ip_addresses.is_empty(),
        count > 0,
        !input.ipv4_prefixes.is_empty(),
    ];
    if ways.iter().filter(|given| **given).count() != 1 {
        let message =
            "Exactly one of privateIpAddresses, secondaryPrivateIpAddressCount and ipv4Prefixes must be given";
        return Err(AwsError::new("InvalidParameterCombination", message));
    }
    let mut addresses = Vec::new();
    for text in &input.private_ip_addresses {
        let address = address(text)?;
        let moved = input.allow_reassignment == Some(true) && may_move(state, &subnet_id, address);
        if !moved {
            state.check_address(&subnet_id, subnet, address)?;
        }
        addresses.push(address);
    }
    let mut prefixes = Vec::new();
    for text in &input.ipv4_prefixes {
        let net: Option<Ipv4Net> = text
            .parse()
            .ok()
            .filter(|net: &Ipv4Net| net.prefix_len() == 28 && net.trunc() == *net);
        let net = net.ok_or_else(|| {
            invalid(format!(
                "Invalid value '{text}' for ipv4Prefix. It must be a /28 block."
            ))
        })?;
        net.hosts()
            .try_for_each(|address| state.check_address(&subnet_id, subnet, address))?;
        prefixes.push(net);
    }
    addresses.extend(state.pick_addresses(&subnet_id, count, &[])?);
    for other in state.interfaces.values_mut().filter(|other| other.subnet == subnet_id) {
        other.addresses.retain(|address| !addresses.contains(address));
    }
    let interface = Kind::Interface.get_mut(&mut state.interfaces, &id)?;
    interface.addresses.extend(&addresses);
    interface.prefixes.extend(&prefixes);
    let assigned = addresses.iter().map(|address| json!({"PrivateIpAddress": address}));
    let delegated = prefixes.iter().map(|net| json!({"Ipv4Prefix": net.to_string()}));
    Ok(json!({
        "NetworkInterfaceId": id, "AssignedPrivateIpAddresses": assigned.collect::<Vec<_>>(),
        "AssignedIpv4Prefixes": delegated.collect::<Vec<_>>(),
    }))
}

/// Whether an address may be taken from the interface that has it: a secondary one may.
fn may_move(state: &State, subnet: &str, address: Ipv4Addr) -> bool {
    state
        .interfaces_of(subnet)
        .any(|interface| interface.addresses[1..].contains(&address))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Unassign {
    network_interface_id: String,
    #[serde(default)]
    private_ip_addresses: Vec<String>,
    #[serde(default)]
    ipv4_prefixes: Vec<String>,
}

/// `UnassignPrivateIpAddresses`.
pub(super) fn unassign(state: &mut State, input: &Unassign) -> Result<Value, AwsError> {
    let id = &input.network_interface_id;
    let interface = Kind::Interface.get_mut(&mut state.interfaces, id)?;
    check_owner(id, interface)?;
    for text in &input.private_ip_addresses {
        let address = address(text)?;
        if !interface.addresses[1..].contains(&address) {
            return Err(invalid(format!(
                "Some of [{address}] are not assigned to interface {id} as secondary addresses"
            )));
        }
    }
    let still = |net: &Ipv4Net| !input.ipv4_prefixes.contains(&net.to_string());
    interface.prefixes.retain(still);
    let given = |address: &Ipv4Addr| input.private_ip_addresses.contains(&address.to_string());
    interface.addresses.retain(|address| !given(address));
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Modify {
    network_interface_id: String,
    groups: Option<Vec<String>>,
    description: Option<Text>,
    source_dest_check: Option<Flag>,
}

/// A text as attributes have it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Text {
    #[serde(default)]
    value: String,
}

/// `ModifyNetworkInterfaceAttribute`, one attribute at a time.
pub(super) fn modify(state: &mut State, input: Modify) -> Result<Value, AwsError> {
    let id = input.network_interface_id;
    let interface = Kind::Interface.get(&state.interfaces, &id)?;
    check_owner(&id, interface)?;
    let vpc = interface.vpc.clone();
    match (input.groups, input.description, input.source_dest_check) {
        (Some(groups), None, None) => {
            if groups.is_empty() {
                return Err(invalid("At least one security group must be specified"));
            }
            state.check_groups(&vpc, &groups)?;
            state.set_interface_groups(&id, &groups);
        }
        (None, Some(text), None) => Kind::Interface.get_mut(&mut state.interfaces, &id)?.description = text.value,
        (None, None, Some(flag)) => {
            Kind::Interface.get_mut(&mut state.interfaces, &id)?.source_dest_check = flag.value;
        }
        _ => {
            let message = "Exactly one of the attributes that the double knows must be specified: groups, description, \
                           sourceDestCheck";
            return Err(AwsError::new("InvalidParameterCombination", message));
        }
    }
    Ok(json!({}))
}

/// The name in the VPC's DNS. Source: "Amazon EC2 instance hostname types".
pub(super) fn private_dns_name(address: Ipv4Addr, call: &Call) -> String {
    let dashed = address.to_string().replace('.', "-");
    match call.region.as_str() {
        "us-east-1" => format!("ip-{dashed}.ec2.internal"),
        region => format!("ip-{dashed}.{region}.compute.internal"),
    }
}

/// Security groups as interfaces and instances list them.
pub(super) fn groups(ids: &[String], state: &State) -> Value {
    let one = |id: &String| {
        let name = state.security_group(id).map(|group| group.name.as_str());
        json!({"GroupId": id, "GroupName": name})
    };
    ids.iter().map(one).collect()
}

impl Interface {
    fn status(&self) -> &'static str {
        if self.attachment.is_some() {
            "in-use"
        } else {
            "available"
        }
    }

    /// Private addresses as they are answered.
    pub(super) fn address_list(&self, call: &Call) -> Value {
        let one = |(index, address): (usize, &Ipv4Addr)| {
            json!({
                "PrivateIpAddress": address, "PrivateDnsName": private_dns_name(*address, call), "Primary": index == 0,
            })
        };
        self.addresses.iter().enumerate().map(one).collect()
    }

    fn attachment_value(&self, filter: &str, call: &Call) -> Option<Vec<String>> {
        let attachment = self.attachment.as_ref();
        let one = |pick: &dyn Fn(&Attachment) -> Option<String>| attachment.and_then(pick).into_iter().collect();
        Some(match filter {
            "attachment-id" => one(&|found| Some(found.id.clone())),
            "delete-on-termination" => one(&|found| Some(found.delete_on_termination.to_string())),
            "device-index" => one(&|found| Some(found.device_index.to_string())),
            "instance-id" => one(&|found| found.instance.clone()),
            "instance-owner-id" => one(&|_| Some(self.owner_of_attachment(call))),
            "status" => one(&|_| Some("attached".to_owned())),
            _ => return None,
        })
    }

    fn owner_of_attachment(&self, call: &Call) -> String {
        self.requester.clone().unwrap_or_else(|| call.account.clone())
    }
}

impl Listed for Interface {
    const KIND: Kind = Kind::Interface;
    const LIST: &'static str = "NetworkInterfaces";
    const TAGS: &'static str = "TagSet";

    fn values(&self, id: &str, filter: &str, state: &State, call: &Call) -> Option<Vec<String>> {
        if let Some(rest) = filter.strip_prefix("attachment.") {
            return self.attachment_value(rest, call);
        }
        let group_names = self.groups.iter().filter_map(|id| state.security_group(id));
        Some(match filter {
            "addresses.private-ip-address" => self.addresses.iter().map(Ipv4Addr::to_string).collect(),
            "addresses.primary" => (0..self.addresses.len())
                .map(|index| (index == 0).to_string())
                .collect(),
            "availability-zone" => vec![self.zone.clone()],
            "availability-zone-id" => zone::id_of(&call.region, &self.zone).into_iter().collect(),
            "description" => vec![self.description.clone()],
            "group-id" => self.groups.clone(),
            "group-name" => group_names.map(|group| group.name.clone()).collect(),
            "interface-type" => vec!["interface".to_owned()],
            "ipv6-addresses.ipv6-address" => self.ipv6.iter().map(ToString::to_string).collect(),
            "mac-address" => vec![self.mac.clone()],
            "network-interface-id" => vec![id.to_owned()],
            "owner-id" => vec![call.account.clone()],
            "private-dns-name" => self.addresses[..1]
                .iter()
                .map(|one| private_dns_name(*one, call))
                .collect(),
            "private-ip-address" => self.addresses[..1].iter().map(Ipv4Addr::to_string).collect(),
            "requester-id" => self.requester.iter().cloned().collect(),
            "requester-managed" => vec![self.requester.is_some().to_string()],
            "source-dest-check" => vec![self.source_dest_check.to_string()],
            "status" => vec![self.status().to_owned()],
            "subnet-id" => vec![self.subnet.clone()],
            "vpc-id" => vec![self.vpc.clone()],
            _ => return None,
        })
    }

    fn described(&self, id: &str, state: &State, call: &Call) -> Value {
        let attachment = self.attachment.as_ref().map(|attachment| {
            json!({
                "AttachmentId": attachment.id, "InstanceId": attachment.instance, "AttachTime": attachment.since.to_string(),
                "InstanceOwnerId": self.owner_of_attachment(call), "DeviceIndex": attachment.device_index,
                "NetworkCardIndex": 0, "DeleteOnTermination": attachment.delete_on_termination, "Status": "attached",
            })
        });
        let ipv6 = self
            .ipv6
            .iter()
            .enumerate()
            .map(|(n, address)| json!({"Ipv6Address": address, "IsPrimaryIpv6": self.primary_ipv6 && n == 0}));
        let prefixes = self.prefixes.iter().map(|net| json!({"Ipv4Prefix": net.to_string()}));
        let primary = self.addresses.first();
        json!({
            "NetworkInterfaceId": id, "SubnetId": self.subnet, "VpcId": self.vpc, "AvailabilityZone": self.zone,
            "AvailabilityZoneId": zone::id_of(&call.region, &self.zone), "Description": self.description,
            "Groups": groups(&self.groups, state), "InterfaceType": "interface", "MacAddress": self.mac,
            "OwnerId": call.account, "PrivateIpAddress": primary,
            "PrivateDnsName": primary.map(|address| private_dns_name(*address, call)),
            "PrivateIpAddresses": self.address_list(call), "Ipv6Addresses": ipv6.collect::<Vec<_>>(),
            "Ipv4Prefixes": prefixes.collect::<Vec<_>>(), "SourceDestCheck": self.source_dest_check,
            "RequesterId": self.requester, "RequesterManaged": self.requester.is_some(), "Status": self.status(),
            "Attachment": attachment,
        })
    }
}
