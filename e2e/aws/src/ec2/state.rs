//! What stands in EC2's part of a region, and what the other services ask of it.
//!
//! ```text
//! VPC ─► subnets (zone, addresses) ─► network interfaces (addresses, security groups) ◄─ instances, load balancers
//!  ├► route tables ◄─ subnets                                   └► security groups ─► rules ─► other groups, prefix lists
//!  └► internet gateway
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use jiff::{SignedDuration, Timestamp};

use super::lookup::Kind;
use crate::fault::AwsError;
use crate::ids::Ids;

/// What stands in a region. Keys are ids.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// VPCs.
    pub vpcs: BTreeMap<String, Vpc>,
    /// Subnets.
    pub subnets: BTreeMap<String, Subnet>,
    /// Route tables.
    pub route_tables: BTreeMap<String, RouteTable>,
    /// Internet gateways.
    pub internet_gateways: BTreeMap<String, InternetGateway>,
    /// Security groups.
    pub security_groups: BTreeMap<String, SecurityGroup>,
    /// Instances, also terminated ones for as long as they are seen.
    pub instances: BTreeMap<String, Instance>,
    /// Network interfaces.
    pub interfaces: BTreeMap<String, Interface>,
    /// Elastic IP addresses by allocation id.
    pub addresses: BTreeMap<String, Address>,
    /// Managed prefix lists.
    pub prefix_lists: BTreeMap<String, PrefixList>,
    /// Tags of all of these, and of security group rules.
    pub tags: BTreeMap<String, BTreeMap<String, String>>,
}

/// A virtual private cloud.
#[derive(Clone, Debug)]
pub struct Vpc {
    /// IPv4 blocks with the ids of their associations, the primary one first.
    pub cidrs: Vec<(String, Ipv4Net)>,
    /// IPv6 blocks with the ids of their associations.
    pub ipv6: Vec<(String, Ipv6Net)>,
    /// `enableDnsSupport` and `enableDnsHostnames`.
    pub dns: (bool, bool),
}

/// A subnet.
#[derive(Clone, Debug)]
pub struct Subnet {
    /// Its VPC.
    pub vpc: String,
    /// Its Availability Zone, such as `eu-west-1a`.
    pub zone: String,
    /// Its IPv4 block.
    pub cidr: Ipv4Net,
    /// Its IPv6 block with the id of the association.
    pub ipv6: Option<(String, Ipv6Net)>,
    /// `MapPublicIpOnLaunch`; echoed, no public addresses are given.
    pub map_public_ip: bool,
    /// `AssignIpv6AddressOnCreation`
    pub assign_ipv6: bool,
}

/// A route table.
#[derive(Clone, Debug)]
pub struct RouteTable {
    /// Its VPC.
    pub vpc: String,
    /// The id of the association that makes it the VPC's main one.
    pub main: Option<String>,
    /// Subnets by the ids of their associations.
    pub subnets: BTreeMap<String, String>,
    /// Routes beside those to the VPC itself.
    pub routes: Vec<Route>,
}

/// A route.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The member that holds the destination, such as `DestinationCidrBlock`, and the destination.
    pub destination: (&'static str, String),
    /// The member that holds the target, such as `GatewayId`, and the target.
    pub target: (&'static str, String),
}

/// An internet gateway.
#[derive(Clone, Debug, Default)]
pub struct InternetGateway {
    /// The VPC it is attached to.
    pub vpc: Option<String>,
}

/// An Elastic IP address.
#[derive(Clone, Debug)]
pub struct Address {
    /// The address itself.
    pub public_ip: Ipv4Addr,
}

/// A security group.
#[derive(Clone, Debug)]
pub struct SecurityGroup {
    /// Unique in its VPC.
    pub name: String,
    /// As it was given.
    pub description: String,
    /// Its VPC.
    pub vpc: String,
    /// Its rules of both directions.
    pub rules: Vec<SecurityGroupRule>,
}

/// A rule of a security group: one direction, one peer.
#[derive(Clone, Debug)]
pub struct SecurityGroupRule {
    /// `sgr-…`
    pub id: String,
    /// Outbound instead of inbound.
    pub egress: bool,
    /// What it lets through.
    pub permission: Permission,
    /// As it was given.
    pub description: Option<String>,
}

/// What a rule lets through; two rules of one direction never have the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Permission {
    /// `tcp`, `udp`, `icmp`, `icmpv6`, the number of another protocol, or `-1` for all.
    pub protocol: String,
    /// First and last port (ICMP: type and code, −1 for all); none where the protocol has no ports.
    pub ports: Ports,
    /// The other side.
    pub peer: Peer,
}

/// First and last port.
pub type Ports = Option<(i64, i64)>;

/// The other side of a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    /// IPv4 addresses.
    Ipv4(Ipv4Net),
    /// IPv6 addresses.
    Ipv6(Ipv6Net),
    /// The interfaces of a security group, by its id.
    Group(String),
    /// The addresses of a prefix list, by its id.
    PrefixList(String),
}

/// An instance.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The launch it came from, `r-…`.
    pub reservation: String,
    /// `AmiLaunchIndex`
    pub index: usize,
    /// Image it was launched from.
    pub image: String,
    /// Such as `m5.large`.
    pub instance_type: String,
    /// Its VPC.
    pub vpc: String,
    /// Subnet of its primary network interface.
    pub subnet: String,
    /// Its Availability Zone.
    pub zone: String,
    /// Primary private address; none once it is terminated.
    pub address: Option<Ipv4Addr>,
    /// When it was launched.
    pub launched: Timestamp,
    /// Whether it runs.
    pub state: InstanceState,
}

/// States of an instance. Booting and stopping take no time here: `pending`, `stopping` and `shutting-down` are seen only in
/// the answers of the calls that cause them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstanceState {
    /// It serves.
    Running,
    /// It can be started again.
    Stopped,
    /// It is gone since this moment and stays visible for a while.
    Terminated(Timestamp),
}

/// A network interface.
#[derive(Clone, Debug)]
pub struct Interface {
    /// Its subnet.
    pub subnet: String,
    /// The subnet's VPC.
    pub vpc: String,
    /// The subnet's Availability Zone.
    pub zone: String,
    /// As it was given; `ELB app/NAME/ID` for a load balancer's.
    pub description: String,
    /// Its security groups.
    pub groups: Vec<String>,
    /// Private addresses, the primary one first.
    pub addresses: Vec<Ipv4Addr>,
    /// IPv6 addresses.
    pub ipv6: Vec<Ipv6Addr>,
    /// Whether the first of them is the primary one, as which an instance can be an IPv6 target.
    pub primary_ipv6: bool,
    /// Delegated prefixes.
    pub prefixes: Vec<Ipv4Net>,
    /// Its hardware address.
    pub mac: String,
    /// `SourceDestCheck`
    pub source_dest_check: bool,
    /// The service that made it, such as `amazon-elb`.
    pub requester: Option<String>,
    /// What it is attached to.
    pub attachment: Option<Attachment>,
    /// When it goes away by itself: set when its load balancer is deleted.
    pub gone_at: Option<Timestamp>,
}

/// What a network interface is attached to.
#[derive(Clone, Debug)]
pub struct Attachment {
    /// `eni-attach-…`
    pub id: String,
    /// Its instance; none for interfaces of a service.
    pub instance: Option<String>,
    /// Zero for an instance's primary interface.
    pub device_index: i64,
    /// Whether it goes with its instance.
    pub delete_on_termination: bool,
    /// When it was attached.
    pub since: Timestamp,
}

/// A customer-managed prefix list.
#[derive(Clone, Debug)]
pub struct PrefixList {
    /// As it was given.
    pub name: String,
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// How many entries it may have; as many rules it counts for in a security group.
    pub max_entries: i64,
    /// Blocks with their descriptions.
    pub entries: BTreeMap<String, Option<String>>,
}

/// What a new network interface shall be.
#[derive(Clone, Debug, Default)]
pub struct NewInterface {
    /// Id of its subnet, which exists.
    pub subnet: String,
    /// Free text.
    pub description: String,
    /// Its security groups; empty for the VPC's default one.
    pub groups: Vec<String>,
    /// Wanted private addresses, the primary one first.
    pub addresses: Vec<Ipv4Addr>,
    /// How many addresses are wanted beside these and the primary one.
    pub more_addresses: usize,
    /// How many IPv6 addresses are wanted.
    pub ipv6_addresses: usize,
    /// Whether the first of them is to be the primary one.
    pub primary_ipv6: bool,
    /// The service that makes it.
    pub requester: Option<String>,
}

/// Source: "Amazon VPC quotas": security groups per network interface.
const GROUPS_PER_INTERFACE: usize = 5;

/// "Terminated instances remain visible after termination (for approximately one hour)."
/// Source: DescribeInstances, Amazon EC2 API reference.
const TERMINATED_VISIBLE: SignedDuration = SignedDuration::from_hours(1);

impl State {
    /// Takes away what is over by `now`: interfaces of deleted load balancers, instances terminated long ago.
    pub fn settle(&mut self, now: Timestamp) {
        let over = |at: Timestamp| at <= now;
        self.interfaces
            .retain(|_, interface| !interface.gone_at.is_some_and(over));
        let gone = |instance: &Instance| match instance.state {
            InstanceState::Terminated(at) => now.duration_since(at) > TERMINATED_VISIBLE,
            _ => false,
        };
        self.instances.retain(|_, instance| !gone(instance));
    }

    /// A subnet.
    pub fn subnet(&self, id: &str) -> Option<&Subnet> {
        self.subnets.get(id)
    }

    /// A security group.
    pub fn security_group(&self, id: &str) -> Option<&SecurityGroup> {
        self.security_groups.get(id)
    }

    /// An instance that was not terminated.
    pub fn instance(&self, id: &str) -> Option<&Instance> {
        self.instances
            .get(id)
            .filter(|instance| !matches!(instance.state, InstanceState::Terminated(_)))
    }

    /// The security group that came with a VPC.
    pub fn default_security_group(&self, vpc: &str) -> Option<&str> {
        let mut groups = self.security_groups.iter();
        groups
            .find(|(_, group)| group.vpc == vpc && group.name == "default")
            .map(|(id, _)| id.as_str())
    }

    /// Whether an internet gateway is attached to a VPC.
    pub fn has_internet_gateway(&self, vpc: &str) -> bool {
        self.internet_gateways
            .values()
            .any(|gateway| gateway.vpc.as_deref() == Some(vpc))
    }

    /// The subnet of a VPC that an address lies in, with its id.
    pub fn subnet_of(&self, vpc: &str, address: IpAddr) -> Option<(&str, &Subnet)> {
        let mut subnets = self.subnets.iter();
        let has = |subnet: &Subnet| match address {
            IpAddr::V4(address) => subnet.cidr.contains(&address),
            IpAddr::V6(address) => subnet.ipv6.as_ref().is_some_and(|(_, net)| net.contains(&address)),
        };
        subnets
            .find(|(_, subnet)| subnet.vpc == vpc && has(subnet))
            .map(|(id, subnet)| (id.as_str(), subnet))
    }

    /// The interfaces in a subnet.
    pub fn interfaces_of<'a>(&'a self, subnet: &'a str) -> impl Iterator<Item = &'a Interface> {
        self.interfaces
            .values()
            .filter(move |interface| interface.subnet == subnet)
    }

    /// Refuses security groups that an interface in a VPC cannot have.
    pub(super) fn check_groups(&self, vpc: &str, groups: &[String]) -> Result<(), AwsError> {
        if groups.len() > GROUPS_PER_INTERFACE {
            let message = "You have exceeded the maximum number of security groups allowed per network interface.";
            return Err(AwsError::new("SecurityGroupsPerInterfaceLimitExceeded", message));
        }
        for id in groups {
            let group = self.security_group(id).ok_or_else(|| Kind::SecurityGroup.missing(id))?;
            if group.vpc != vpc {
                let message = format!("Security group {id} and VPC {vpc} belong to different networks.");
                return Err(AwsError::new("InvalidParameter", message));
            }
        }
        Ok(())
    }

    /// Makes a network interface and answers its id. It is attached to nothing, unless a service asks for it.
    ///
    /// # Errors
    /// Unknown subnet or groups, an address that is not free, no addresses left: with EC2's codes.
    pub fn create_interface(&mut self, ids: &mut Ids, new: NewInterface, now: Timestamp) -> Result<String, AwsError> {
        let subnet = self
            .subnet(&new.subnet)
            .ok_or_else(|| Kind::Subnet.missing(&new.subnet))?;
        let (vpc, zone) = (subnet.vpc.clone(), subnet.zone.clone());
        let mut groups = new.groups;
        if groups.is_empty() {
            groups.extend(self.default_security_group(&vpc).map(str::to_owned));
        }
        self.check_groups(&vpc, &groups)?;
        let mut addresses = new.addresses;
        for address in &addresses {
            self.check_address(&new.subnet, subnet, *address)?;
        }
        let missing = usize::from(addresses.is_empty()) + new.more_addresses;
        addresses.extend(self.pick_addresses(&new.subnet, missing, &addresses)?);
        let ipv6 = self.pick_ipv6(&new.subnet, new.ipv6_addresses)?;
        let id = ids.ec2("eni");
        let attachment = new.requester.as_ref().map(|_| Attachment {
            id: ids.ec2("ela-attach"),
            instance: None,
            device_index: 1,
            delete_on_termination: false,
            since: now,
        });
        let interface = Interface {
            subnet: new.subnet,
            vpc,
            zone,
            description: new.description,
            groups,
            addresses,
            primary_ipv6: new.primary_ipv6 && !ipv6.is_empty(),
            ipv6,
            prefixes: Vec::new(),
            mac: mac(ids),
            source_dest_check: true,
            requester: new.requester,
            attachment,
            gone_at: None,
        };
        self.interfaces.insert(id.clone(), interface);
        Ok(id)
    }

    /// Lets a service's interface go at `gone_at`; until then it keeps its address and its security groups in use.
    pub fn release_interface(&mut self, id: &str, gone_at: Timestamp) {
        if let Some(interface) = self.interfaces.get_mut(id) {
            interface.gone_at = Some(gone_at);
        }
    }

    /// Gives a service's interface an IPv6 address, or takes it away.
    ///
    /// # Errors
    /// The subnet has no IPv6 block.
    pub fn set_interface_ipv6(&mut self, id: &str, wanted: bool) -> Result<(), AwsError> {
        let Some(interface) = self.interfaces.get(id) else {
            return Ok(());
        };
        let missing = usize::from(wanted && interface.ipv6.is_empty());
        let picked = self.pick_ipv6(&interface.subnet, missing)?;
        if let Some(interface) = self.interfaces.get_mut(id) {
            interface.ipv6.extend(picked);
            if !wanted {
                interface.ipv6.clear();
            }
        }
        Ok(())
    }

    /// Puts an interface into other security groups, which exist.
    pub fn set_interface_groups(&mut self, id: &str, groups: &[String]) {
        if let Some(interface) = self.interfaces.get_mut(id) {
            interface.groups = groups.to_vec();
        }
    }

    /// Whether something of a kind has this id.
    pub(super) fn contains(&self, kind: Kind, id: &str) -> bool {
        match kind {
            Kind::Vpc => self.vpcs.contains_key(id),
            Kind::Subnet => self.subnets.contains_key(id),
            Kind::RouteTable => self.route_tables.contains_key(id),
            Kind::InternetGateway => self.internet_gateways.contains_key(id),
            Kind::SecurityGroup => self.security_groups.contains_key(id),
            Kind::SecurityGroupRule => self.rules().any(|(_, rule)| rule.id == id),
            Kind::Instance => self.instances.contains_key(id),
            Kind::Interface => self.interfaces.contains_key(id),
            Kind::Address => self.addresses.contains_key(id),
            Kind::PrefixList => self.prefix_lists.contains_key(id),
        }
    }

    /// All security group rules with the ids of their groups.
    pub fn rules(&self) -> impl Iterator<Item = (&str, &SecurityGroupRule)> {
        self.security_groups
            .iter()
            .flat_map(|(id, group)| group.rules.iter().map(move |rule| (id.as_str(), rule)))
    }
}

fn mac(ids: &mut Ids) -> String {
    let digits = ids.hex(10);
    let pairs: Vec<&str> = (0..5).map(|n| &digits[2 * n..2 * n + 2]).collect();
    format!("02:{}", pairs.join(":"))
}
