//! Permissions of security groups, as they come in and as they are answered.
//!
//! ```text
//! IpPermissions: protocol, ports, [ranges, IPv6 ranges, groups, prefix lists]  ◄──►  one rule for each peer
//! ```

use std::collections::BTreeMap;

use ipnet::{Ipv4Net, Ipv6Net};
use serde::Deserialize;
use serde_json::{Value, json};

use super::lookup::{Kind, invalid};
use super::state::{Peer, Permission, Ports, SecurityGroupRule, State};
use crate::call::Call;
use crate::fault::AwsError;

/// A member of `IpPermissions`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct IpPermission {
    ip_protocol: Option<String>,
    from_port: Option<i64>,
    to_port: Option<i64>,
    ip_ranges: Vec<IpRange>,
    ipv6_ranges: Vec<Ipv6Range>,
    prefix_list_ids: Vec<PrefixListId>,
    user_id_group_pairs: Vec<GroupPair>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct IpRange {
    cidr_ip: String,
    description: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Ipv6Range {
    cidr_ipv6: String,
    description: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct PrefixListId {
    prefix_list_id: String,
    description: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct GroupPair {
    group_id: Option<String>,
    group_name: Option<String>,
    description: Option<String>,
}

/// The members that stand for one permission outside of `IpPermissions`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Shorthand {
    ip_protocol: Option<String>,
    from_port: Option<i64>,
    to_port: Option<i64>,
    cidr_ip: Option<String>,
    source_security_group_name: Option<String>,
}

impl Shorthand {
    /// The permission, if any of the members was given.
    pub fn permission(self) -> Option<IpPermission> {
        let given = self.ip_protocol.is_some() || self.cidr_ip.is_some() || self.source_security_group_name.is_some();
        given.then(|| IpPermission {
            ip_protocol: self.ip_protocol,
            from_port: self.from_port,
            to_port: self.to_port,
            ip_ranges: self
                .cidr_ip
                .map(|cidr_ip| IpRange {
                    cidr_ip,
                    description: None,
                })
                .into_iter()
                .collect(),
            user_id_group_pairs: self
                .source_security_group_name
                .map(|name| GroupPair {
                    group_name: Some(name),
                    ..GroupPair::default()
                })
                .into_iter()
                .collect(),
            ..IpPermission::default()
        })
    }
}

/// A permission with what its author wrote about it.
pub(super) type Described = (Permission, Option<String>);

impl IpPermission {
    /// One permission for each peer.
    pub fn read(&self, state: &State, vpc: &str) -> Result<Vec<Described>, AwsError> {
        let protocol = self
            .ip_protocol
            .as_deref()
            .ok_or_else(|| AwsError::new("MissingParameter", "The request must contain the parameter ipProtocol"))?;
        let (protocol, ports) = traffic(protocol, self.from_port, self.to_port)?;
        let mut peers = Vec::new();
        for range in &self.ip_ranges {
            peers.push((Peer::Ipv4(ipv4(&range.cidr_ip)?), &range.description));
        }
        for range in &self.ipv6_ranges {
            peers.push((Peer::Ipv6(ipv6(&range.cidr_ipv6)?), &range.description));
        }
        for list in &self.prefix_list_ids {
            Kind::PrefixList.check(state, &list.prefix_list_id)?;
            peers.push((Peer::PrefixList(list.prefix_list_id.clone()), &list.description));
        }
        for pair in &self.user_id_group_pairs {
            peers.push((Peer::Group(pair.read(state, vpc)?), &pair.description));
        }
        if peers.is_empty() {
            let message =
                "The request must contain a source or destination: ipRanges, ipv6Ranges, prefixListIds or groups";
            return Err(AwsError::new("MissingParameter", message));
        }
        let described = |(peer, description): (Peer, &Option<String>)| {
            let permission = Permission {
                protocol: protocol.clone(),
                ports,
                peer,
            };
            (permission, description.clone())
        };
        let all: Vec<Described> = peers.into_iter().map(described).collect();
        all.iter()
            .try_for_each(|(_, text)| check_description(text.as_deref()))?;
        Ok(all)
    }
}

impl GroupPair {
    /// The id of the group, which must be in the same VPC.
    fn read(&self, state: &State, vpc: &str) -> Result<String, AwsError> {
        if let Some(id) = &self.group_id {
            let group = Kind::SecurityGroup.get(&state.security_groups, id)?;
            if group.vpc != vpc {
                let message = "You have specified two resources that belong to different networks.";
                return Err(AwsError::new("InvalidGroup.NotFound", message));
            }
            return Ok(id.clone());
        }
        let name = self
            .group_name
            .as_deref()
            .ok_or_else(|| AwsError::new("MissingParameter", "The request must contain the parameter groupId"))?;
        let mut groups = state.security_groups.iter();
        let found = groups.find(|(_, group)| group.vpc == vpc && group.name == name);
        found.map(|(id, _)| id.clone()).ok_or_else(|| {
            AwsError::new(
                "InvalidGroup.NotFound",
                format!("The security group '{name}' does not exist"),
            )
        })
    }
}

/// "Up to 255 characters in length. Allowed characters are a-z, A-Z, 0-9, spaces, and ._-:/()#,@[]+=;{}!$*."
/// Source: IpRange, Amazon EC2 API reference.
pub(super) fn check_description(text: Option<&str>) -> Result<(), AwsError> {
    let Some(text) = text else { return Ok(()) };
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(letter);
    if text.len() <= 255 && text.chars().all(allowed) {
        return Ok(());
    }
    Err(invalid(
        "Invalid rule description. Valid descriptions are strings less than 256 characters from the following set: \
         a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*",
    ))
}

/// A block of a permission, without host bits.
pub(super) fn ipv4(text: &str) -> Result<Ipv4Net, AwsError> {
    let net = text.parse::<Ipv4Net>().map(|net| net.trunc());
    net.map_err(|_| invalid(format!("CIDR block {text} is malformed")))
}

/// An IPv6 block of a permission, without host bits.
pub(super) fn ipv6(text: &str) -> Result<Ipv6Net, AwsError> {
    let net = text.parse::<Ipv6Net>().map(|net| net.trunc());
    net.map_err(|_| invalid(format!("CIDR block {text} is malformed")))
}

/// Protocol and ports in EC2's own writing.
/// Source: IpPermission, Amazon EC2 API reference: names or numbers, `-1` for all; ports for TCP and UDP, type and code for
/// ICMP; other protocols go through on all ports whatever is given.
pub(super) fn traffic(protocol: &str, from: Option<i64>, to: Option<i64>) -> Result<(String, Ports), AwsError> {
    let name = match protocol.to_ascii_lowercase().as_str() {
        "tcp" | "6" => "tcp".to_owned(),
        "udp" | "17" => "udp".to_owned(),
        "icmp" | "1" => "icmp".to_owned(),
        "icmpv6" | "58" => "icmpv6".to_owned(),
        "-1" | "all" => "-1".to_owned(),
        other => match other.parse::<u8>() {
            Ok(number) => number.to_string(),
            Err(_) => {
                return Err(invalid(format!(
                    "Invalid value '{protocol}' for IP protocol. Unknown protocol."
                )));
            }
        },
    };
    let ports = match name.as_str() {
        "tcp" | "udp" => {
            let (Some(from), Some(to)) = (from, to) else {
                return Err(invalid(
                    "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.",
                ));
            };
            if let Some(port) = [from, to].into_iter().find(|port| !(0..=65535).contains(port)) {
                return Err(invalid(format!("TCP/UDP port ({port}) out of range")));
            }
            if from > to {
                return Err(invalid(format!("Invalid TCP/UDP port range ({from}:{to})")));
            }
            Some((from, to))
        }
        "icmp" | "icmpv6" => {
            let (kind, code) = (from.unwrap_or(-1), to.unwrap_or(-1));
            if !(-1..=255).contains(&kind) || !(-1..=255).contains(&code) {
                return Err(invalid(format!("ICMP type ({kind}) or code ({code}) out of range")));
            }
            Some((kind, code))
        }
        _ => None,
    };
    Ok((name, ports))
}

/// Rules as `IpPermissions`: those of one protocol and port range together.
pub(super) fn list<'a>(rules: impl Iterator<Item = &'a SecurityGroupRule>, call: &Call) -> Vec<Value> {
    let mut grouped: BTreeMap<(&str, Ports), Value> = BTreeMap::new();
    for rule in rules {
        let Permission { protocol, ports, peer } = &rule.permission;
        let entry = grouped.entry((protocol, *ports)).or_insert_with(|| {
            json!({
                "IpProtocol": protocol, "FromPort": ports.map(|ports| ports.0), "ToPort": ports.map(|ports| ports.1),
                "IpRanges": [], "Ipv6Ranges": [], "PrefixListIds": [], "UserIdGroupPairs": [],
            })
        });
        let description = &rule.description;
        let (list, value) = match peer {
            Peer::Ipv4(net) => (
                "IpRanges",
                json!({"CidrIp": net.to_string(), "Description": description}),
            ),
            Peer::Ipv6(net) => (
                "Ipv6Ranges",
                json!({"CidrIpv6": net.to_string(), "Description": description}),
            ),
            Peer::PrefixList(id) => ("PrefixListIds", json!({"PrefixListId": id, "Description": description})),
            Peer::Group(id) => (
                "UserIdGroupPairs",
                json!({"GroupId": id, "UserId": call.account, "Description": description}),
            ),
        };
        if let Some(values) = entry[list].as_array_mut() {
            values.push(value);
        }
    }
    grouped.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_and_ports_are_written_in_one_way() {
        let read = |protocol: &str, from: i64, to: i64| traffic(protocol, Some(from), Some(to));
        assert_eq!(read("6", 80, 81).unwrap(), ("tcp".to_owned(), Some((80, 81))));
        assert_eq!(read("-1", 80, 81).unwrap(), ("-1".to_owned(), None));
        assert_eq!(read("58", -1, -1).unwrap(), ("icmpv6".to_owned(), Some((-1, -1))));
        assert_eq!(read("47", 1, 2).unwrap(), ("47".to_owned(), None));
        assert_eq!(
            read("tcp", 80, 79).unwrap_err().message,
            "Invalid TCP/UDP port range (80:79)"
        );
        assert_eq!(
            read("tcp", 0, 70000).unwrap_err().message,
            "TCP/UDP port (70000) out of range"
        );
        assert_eq!(traffic("tcp", Some(1), None).unwrap_err().code, "InvalidParameterValue");
        assert_eq!(read("http", 80, 80).unwrap_err().code, "InvalidParameterValue");
    }

    #[test]
    fn a_block_loses_its_host_bits() {
        assert_eq!(ipv4("10.0.3.4/16").unwrap().to_string(), "10.0.0.0/16");
        assert_eq!(ipv6("2001:DB8::1/32").unwrap().to_string(), "2001:db8::/32");
        assert_eq!(
            ipv4("10.0.0.1").unwrap_err().message,
            "CIDR block 10.0.0.1 is malformed"
        );
    }
}
