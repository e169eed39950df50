//! Which security groups of nodes and pods take the rules that let load balancers in.

use super::{Aws, Fault, client::read, convert};
use crate::{budget::Service, model::*, network::HostGroups};
use aws_sdk_ec2::types::{Filter, Instance, InstanceNetworkInterface};
use std::collections::{BTreeMap, BTreeSet};

/// Values of one filter ("DescribeInstances", EC2 API reference).
pub(super) const VALUES: usize = 200;

impl Aws {
    /// The security groups of these instances and of the pods on them; those that are not there, or of whose groups none
    /// can be chosen, are left out.
    ///
    /// # Errors
    /// AWS could not be asked.
    pub async fn host_groups(
        &self,
        settings: &Settings,
        instances: &BTreeSet<InstanceId>,
    ) -> Result<BTreeMap<InstanceId, HostGroups>, Fault> {
        let all: Vec<String> = instances.iter().map(ToString::to_string).collect();
        let mut found: Vec<Instance> = Vec::new();
        for some in all.chunks(VALUES) {
            let mut token = None;
            loop {
                let page = read(
                    &self.budget,
                    &Unit::Network,
                    Lane::Change,
                    (Service::Ec2, "DescribeInstances"),
                    || {
                        // A filter, since an id that is gone would fail the call for all.
                        let ids = Filter::builder()
                            .name("instance-id")
                            .set_values(Some(some.to_vec()))
                            .build();
                        self.clients
                            .ec2
                            .describe_instances()
                            .filters(ids)
                            .set_next_token(token.clone())
                            .send()
                    },
                )
                .await?;
                found.extend(
                    page.reservations
                        .unwrap_or_default()
                        .into_iter()
                        .flat_map(|r| r.instances.unwrap_or_default()),
                );
                token = page.next_token.filter(|token| !token.is_empty());
                if token.is_none() {
                    break;
                }
            }
        }
        let interfaces = || found.iter().flat_map(|instance| instance.network_interfaces());
        let several: BTreeSet<String> = interfaces()
            .filter(|interface| interface.groups().len() > 1)
            .flat_map(|interface| interface.groups().iter().filter_map(|group| group.group_id.clone()))
            .collect();
        let tagged = self.tagged_for(settings, several).await?;
        let mut hosts = BTreeMap::new();
        for instance in &found {
            let Some(id) = instance.instance_id.as_deref() else {
                continue;
            };
            match host(instance, &tagged) {
                Some(host) => drop(hosts.insert(InstanceId::from(id), host)),
                None => tracing::warn!(
                    instance = id,
                    "no security group can be chosen for the rules that let load balancers in: exactly one of those of \
                     its primary network interface has to carry the tag kubernetes.io/cluster/{}",
                    settings.cluster
                ),
            }
        }
        Ok(hosts)
    }

    /// Those of these groups that carry the cluster's tag.
    async fn tagged_for(&self, settings: &Settings, groups: BTreeSet<String>) -> Result<BTreeSet<String>, Fault> {
        let all: Vec<String> = groups.into_iter().collect();
        let mut tagged = BTreeSet::new();
        for some in all.chunks(VALUES) {
            let answer = read(
                &self.budget,
                &Unit::Network,
                Lane::Change,
                (Service::Ec2, "DescribeSecurityGroups"),
                || {
                    let ids = Filter::builder()
                        .name("group-id")
                        .set_values(Some(some.to_vec()))
                        .build();
                    self.clients.ec2.describe_security_groups().filters(ids).send()
                },
            )
            .await?;
            let key = format!("kubernetes.io/cluster/{}", settings.cluster);
            let carries =
                |group: &&aws_sdk_ec2::types::SecurityGroup| convert::tags_of_ec2(group.tags()).contains_key(&key);
            tagged.extend(
                answer
                    .security_groups()
                    .iter()
                    .filter(carries)
                    .filter_map(|group| group.group_id.clone()),
            );
        }
        Ok(tagged)
    }
}

fn host(instance: &Instance, tagged: &BTreeSet<String>) -> Option<HostGroups> {
    let is_primary = |interface: &&InstanceNetworkInterface| {
        interface
            .attachment
            .as_ref()
            .is_some_and(|attachment| attachment.device_index == Some(0))
    };
    let interfaces = instance.network_interfaces();
    let primary = interfaces.iter().find(is_primary).or(interfaces.first())?;
    let node = group_of(primary, tagged)?;
    let mut others = Vec::new();
    for interface in interfaces {
        let Some(group) = group_of(interface, tagged).filter(|group| *group != node) else {
            continue;
        };
        let addresses = interface
            .private_ip_addresses()
            .iter()
            .filter_map(|address| address.private_ip_address.as_deref());
        let of_ipv6 = interface.ipv6_addresses().iter();
        let addresses = addresses.chain(of_ipv6.filter_map(|address| address.ipv6_address.as_deref()));
        let prefixes = interface
            .ipv4_prefixes()
            .iter()
            .filter_map(|prefix| prefix.ipv4_prefix.as_deref());
        let of_ipv6 = interface.ipv6_prefixes().iter();
        let prefixes = prefixes.chain(of_ipv6.filter_map(|prefix| prefix.ipv6_prefix.as_deref()));
        let ranges = addresses.filter_map(|address| address.parse::<std::net::IpAddr>().ok().map(Into::into));
        let ranges = ranges.chain(prefixes.filter_map(|prefix| prefix.parse().ok()));
        others.extend(ranges.map(|range: ipnet::IpNet| (range, group.clone())));
    }
    others.sort();
    Some(HostGroups { node, others })
}

/// The only group of a network interface, or the only one of several that carries the cluster's tag.
fn group_of(interface: &InstanceNetworkInterface, tagged: &BTreeSet<String>) -> Option<SecurityGroupId> {
    let ids: Vec<&str> = interface
        .groups()
        .iter()
        .filter_map(|group| group.group_id.as_deref())
        .collect();
    match ids.as_slice() {
        [only] => Some((*only).into()),
        several => {
            let mut ours = several.iter().filter(|id| tagged.contains(**id));
            match (ours.next(), ours.next()) {
                (Some(only), None) => Some((*only).into()),
                _ => None,
            }
        }
    }
}
