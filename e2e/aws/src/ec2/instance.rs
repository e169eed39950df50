//! Instances.

use serde::Deserialize;
use serde_json::{Value, json};

use super::describe::{Listed, Query};
use super::image;
use super::lookup::{Kind, invalid};
use super::network_interface::{self, Wanted, private_dns_name};
use super::state::{Attachment, Instance, InstanceState, Interface, NewInterface, State};
use super::tag::{self, Specification};
use crate::call::Call;
use crate::fault::AwsError;
use crate::ids::Ids;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Run {
    image_id: Option<String>,
    instance_type: Option<String>,
    min_count: usize,
    max_count: usize,
    subnet_id: Option<String>,
    private_ip_address: Option<String>,
    #[serde(default)]
    security_group_ids: Vec<String>,
    #[serde(default)]
    network_interfaces: Vec<InterfaceSpecification>,
    #[serde(default)]
    tag_specifications: Vec<Specification>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InterfaceSpecification {
    device_index: Option<i64>,
    subnet_id: Option<String>,
    network_interface_id: Option<String>,
    #[serde(default)]
    description: String,
    #[serde(default)]
    groups: Vec<String>,
    delete_on_termination: Option<bool>,
    #[serde(flatten)]
    wanted: Wanted,
}

/// An interface that an instance gets: one that exists, or a new one.
enum Source {
    Existing(String),
    New(NewInterface),
}

struct Plug {
    device_index: i64,
    delete_on_termination: bool,
    source: Source,
}

fn combination(message: &str) -> AwsError {
    AwsError::new("InvalidParameterCombination", message)
}

impl Run {
    /// The interfaces of each instance, the primary one first.
    fn plugs(&self) -> Result<Vec<Plug>, AwsError> {
        let no_subnet = || AwsError::new("VPCIdNotSpecified", "No default VPC for this user");
        if self.network_interfaces.is_empty() {
            let mut new = NewInterface {
                subnet: self.subnet_id.clone().ok_or_else(no_subnet)?,
                groups: self.security_group_ids.clone(),
                ..NewInterface::default()
            };
            if let Some(text) = &self.private_ip_address {
                new.addresses.push(network_interface::address(text)?);
            }
            return Ok(vec![Plug {
                device_index: 0,
                delete_on_termination: true,
                source: Source::New(new),
            }]);
        }
        if self.subnet_id.is_some() {
            return Err(combination(
                "Network interfaces and an instance-level subnet ID may not be specified on the same request",
            ));
        }
        if !self.security_group_ids.is_empty() {
            return Err(combination(
                "Network interfaces and an instance-level security groups may not be specified on the same request",
            ));
        }
        let mut plugs = Vec::new();
        for specification in &self.network_interfaces {
            let device_index = specification
                .device_index
                .ok_or_else(|| AwsError::new("MissingParameter", "Each network interface requires a device index."))?;
            let source = match &specification.network_interface_id {
                Some(id) => Source::Existing(id.clone()),
                None => {
                    let mut new = NewInterface {
                        subnet: specification.subnet_id.clone().ok_or_else(no_subnet)?,
                        description: specification.description.clone(),
                        groups: specification.groups.clone(),
                        ..NewInterface::default()
                    };
                    specification.wanted.read(&mut new)?;
                    Source::New(new)
                }
            };
            let given = specification.delete_on_termination;
            plugs.push(Plug {
                device_index,
                delete_on_termination: given.unwrap_or(specification.network_interface_id.is_none()),
                source,
            });
        }
        plugs.sort_by_key(|plug| plug.device_index);
        if plugs[0].device_index != 0 || plugs.windows(2).any(|two| two[0].device_index == two[1].device_index) {
            return Err(invalid(
                "Device indexes of network interfaces must be different and begin with 0",
            ));
        }
        Ok(plugs)
    }
}

/// `RunInstances`: all of them or none.
pub(super) fn run(state: &mut State, ids: &mut Ids, call: &Call, input: Run) -> Result<Value, AwsError> {
    let image = input.image_id.clone();
    let image =
        image.ok_or_else(|| AwsError::new("MissingParameter", "The request must contain the parameter ImageId"))?;
    image::check(&image)?;
    if input.min_count == 0 || input.max_count < input.min_count {
        return Err(invalid(format!(
            "Invalid number of instances: minimum {}, maximum {}",
            input.min_count, input.max_count
        )));
    }
    let specifications = &input.tag_specifications;
    let kinds = ["instance", "network-interface", "volume"];
    let tags = tag::specified(specifications, Kind::Instance, &kinds)?;
    let interface_tags = tag::specified(specifications, Kind::Interface, &kinds)?;
    let reservation = ids.ec2("r");
    // Whatever cannot be made half way through leaves nothing behind.
    let mut after = state.clone();
    let mut made = Vec::new();
    for index in 0..input.max_count {
        let id = ids.ec2("i");
        let mut primary: Option<Interface> = None;
        for plug in input.plugs()? {
            let interface = match plug.source {
                Source::New(new) => {
                    let interface = after.create_interface(ids, new, call.now)?;
                    tag::attach(&mut after, &interface, interface_tags.clone());
                    interface
                }
                Source::Existing(interface) => {
                    if Kind::Interface.get(&after.interfaces, &interface)?.attachment.is_some() {
                        let message = format!("Interface: [{interface}] in use.");
                        return Err(AwsError::new("InvalidNetworkInterface.InUse", message));
                    }
                    interface
                }
            };
            let interface = Kind::Interface.get_mut(&mut after.interfaces, &interface)?;
            interface.attachment = Some(Attachment {
                id: ids.ec2("eni-attach"),
                instance: Some(id.clone()),
                device_index: plug.device_index,
                delete_on_termination: plug.delete_on_termination,
                since: call.now,
            });
            match &primary {
                Some(first) if first.zone != interface.zone => {
                    return Err(invalid("All network interfaces must be in the same Availability Zone"));
                }
                Some(_) => {}
                None => primary = Some(interface.clone()),
            }
        }
        let primary = primary.ok_or_else(|| combination("An instance needs a network interface"))?;
        let instance = Instance {
            reservation: reservation.clone(),
            index,
            image: image.clone(),
            instance_type: input.instance_type.clone().unwrap_or_else(|| "m1.small".to_owned()),
            vpc: primary.vpc,
            subnet: primary.subnet,
            zone: primary.zone,
            address: primary.addresses.first().copied(),
            launched: call.now,
            state: InstanceState::Running,
        };
        after.instances.insert(id.clone(), instance);
        tag::attach(&mut after, &id, tags.clone());
        made.push(id);
    }
    *state = after;
    let instances = made.iter().map(|id| {
        let mut value = state.instances[id].with_tags(id, state, call);
        value["State"] = json!({"Code": 0, "Name": "pending"});
        value
    });
    Ok(json!({
        "ReservationId": reservation, "OwnerId": call.account, "Groups": [], "Instances": instances.collect::<Vec<_>>(),
    }))
}

/// `DescribeInstances`: instances of one launch together.
pub(super) fn describe(state: &State, call: &Call, query: &Query) -> Result<Value, AwsError> {
    if !query.ids.is_empty() && query.max_results.is_some() {
        return Err(combination(
            "The parameter instancesSet cannot be used with the parameter maxResults",
        ));
    }
    let (found, next) = query.select(&state.instances, state, call)?;
    let mut reservations: Vec<Value> = Vec::new();
    for (id, instance) in found {
        let value = instance.with_tags(id, state, call);
        let same = |known: &&mut Value| known["ReservationId"] == instance.reservation.as_str();
        match reservations.iter_mut().find(same) {
            Some(known) => {
                if let Some(instances) = known["Instances"].as_array_mut() {
                    instances.push(value);
                }
            }
            None => reservations.push(json!({
                "ReservationId": instance.reservation, "OwnerId": call.account, "Groups": [], "Instances": [value],
            })),
        }
    }
    Ok(json!({"Reservations": reservations, "NextToken": next}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Chosen {
    instance_ids: Vec<String>,
}

fn code_and_name(state: InstanceState) -> (i64, &'static str) {
    match state {
        InstanceState::Running => (16, "running"),
        InstanceState::Stopped => (80, "stopped"),
        InstanceState::Terminated(_) => (48, "terminated"),
    }
}

/// Lets instances go over into a state; the answer shows the state on the way there.
fn change(
    state: &mut State,
    input: &Chosen,
    to: InstanceState,
    on_the_way: (i64, &str),
    list: &str,
) -> Result<Value, AwsError> {
    for id in &input.instance_ids {
        let instance = Kind::Instance.get(&state.instances, id)?;
        let gone = matches!(instance.state, InstanceState::Terminated(_));
        if gone && !matches!(to, InstanceState::Terminated(_)) {
            let message = format!("This instance '{id}' is not in a state from which it can be started or stopped.");
            return Err(AwsError::new("IncorrectInstanceState", message));
        }
    }
    let mut changes = Vec::new();
    for id in &input.instance_ids {
        let instance = Kind::Instance.get_mut(&mut state.instances, id)?;
        let previous = code_and_name(instance.state);
        let current = if previous == code_and_name(to) {
            previous
        } else {
            on_the_way
        };
        if previous != code_and_name(to) {
            instance.state = to;
        }
        changes.push(json!({
            "InstanceId": id, "PreviousState": {"Code": previous.0, "Name": previous.1},
            "CurrentState": {"Code": current.0, "Name": current.1},
        }));
    }
    Ok(json!({list: changes}))
}

/// `StartInstances`.
pub(super) fn start(state: &mut State, input: &Chosen) -> Result<Value, AwsError> {
    change(
        state,
        input,
        InstanceState::Running,
        (0, "pending"),
        "StartingInstances",
    )
}

/// `StopInstances`.
pub(super) fn stop(state: &mut State, input: &Chosen) -> Result<Value, AwsError> {
    change(
        state,
        input,
        InstanceState::Stopped,
        (64, "stopping"),
        "StoppingInstances",
    )
}

/// `TerminateInstances`: interfaces that came with an instance go with it.
pub(super) fn terminate(state: &mut State, call: &Call, input: &Chosen) -> Result<Value, AwsError> {
    let to = InstanceState::Terminated(call.now);
    let answer = change(state, input, to, (32, "shutting-down"), "TerminatingInstances")?;
    let of = |interface: &Interface| {
        let instance = interface.attachment.as_ref().and_then(|found| found.instance.as_ref());
        instance.is_some_and(|instance| input.instance_ids.contains(instance))
    };
    let goes = |interface: &Interface| {
        let attachment = interface.attachment.as_ref();
        of(interface) && attachment.is_some_and(|found| found.delete_on_termination)
    };
    let State { interfaces, tags, .. } = state;
    interfaces.retain(|id, interface| {
        let stays = !goes(interface);
        if !stays {
            tags.remove(id);
        }
        stays
    });
    for interface in interfaces.values_mut().filter(|interface| of(interface)) {
        interface.attachment = None;
    }
    for id in &input.instance_ids {
        Kind::Instance.get_mut(&mut state.instances, id)?.address = None;
    }
    Ok(answer)
}

impl State {
    /// The interfaces of an instance, the primary one first.
    pub fn interfaces_of_instance(&self, instance: &str) -> Vec<(&str, &Interface)> {
        let mut found: Vec<(i64, &str, &Interface)> = self
            .interfaces
            .iter()
            .filter_map(|(id, interface)| {
                let attachment = interface.attachment.as_ref()?;
                let here = attachment.instance.as_deref() == Some(instance);
                here.then_some((attachment.device_index, id.as_str(), interface))
            })
            .collect();
        found.sort_by_key(|(index, ..)| *index);
        found.into_iter().map(|(_, id, interface)| (id, interface)).collect()
    }
}

impl Listed for Instance {
    const KIND: Kind = Kind::Instance;
    const LIST: &'static str = "Instances";

    fn values(&self, id: &str, filter: &str, state: &State, call: &Call) -> Option<Vec<String>> {
        let interfaces = state.interfaces_of_instance(id);
        let each = |filter: &str| {
            let values = interfaces.iter().map(|(id, one)| one.values(id, filter, state, call));
            Some(values.collect::<Option<Vec<_>>>()?.concat())
        };
        if let Some(rest) = filter.strip_prefix("network-interface.") {
            return each(rest);
        }
        Some(match filter {
            "architecture" => vec!["x86_64".to_owned()],
            "availability-zone" => vec![self.zone.clone()],
            "image-id" => vec![self.image.clone()],
            "instance-id" => vec![id.to_owned()],
            "instance-state-code" => vec![code_and_name(self.state).0.to_string()],
            "instance-state-name" => vec![code_and_name(self.state).1.to_owned()],
            "instance-type" => vec![self.instance_type.clone()],
            "instance.group-id" => return each("group-id"),
            "instance.group-name" => return each("group-name"),
            "owner-id" => vec![call.account.clone()],
            "private-dns-name" => self.address.iter().map(|one| private_dns_name(*one, call)).collect(),
            "private-ip-address" => self.address.iter().map(ToString::to_string).collect(),
            "reservation-id" => vec![self.reservation.clone()],
            "subnet-id" => self.address.iter().map(|_| self.subnet.clone()).collect(),
            "vpc-id" => self.address.iter().map(|_| self.vpc.clone()).collect(),
            _ => return None,
        })
    }

    fn described(&self, id: &str, state: &State, call: &Call) -> Value {
        let (code, name) = code_and_name(self.state);
        let interfaces = state.interfaces_of_instance(id);
        let groups = interfaces
            .first()
            .map(|(_, one)| network_interface::groups(&one.groups, state));
        // What an interface has of itself and what an instance shows of it differ only in the shape.
        let shown: Vec<Value> = interfaces
            .iter()
            .map(|(id, one)| one.described(id, state, call))
            .collect();
        // Only a living instance is somewhere.
        let here = self.address.is_some();
        json!({
            "InstanceId": id, "ImageId": self.image, "InstanceType": self.instance_type, "AmiLaunchIndex": self.index,
            "LaunchTime": self.launched.to_string(), "State": {"Code": code, "Name": name},
            "Placement": {"AvailabilityZone": self.zone, "GroupName": "", "Tenancy": "default"},
            "SubnetId": here.then_some(&self.subnet), "VpcId": here.then_some(&self.vpc),
            "PrivateIpAddress": self.address,
            "PrivateDnsName": self.address.map_or(String::new(), |address| private_dns_name(address, call)),
            "PublicDnsName": "", "SecurityGroups": groups.unwrap_or_else(|| json!([])), "NetworkInterfaces": shown,
            "SourceDestCheck": interfaces.first().map(|(_, one)| one.source_dest_check),
            "Architecture": "x86_64", "RootDeviceType": "ebs", "VirtualizationType": "hvm", "Hypervisor": "xen",
            "EbsOptimized": false, "Monitoring": {"State": "disabled"},
        })
    }
}
