//! Security groups: who may open a connection to whom.
//!
//! ```text
//! client ──ingress of the load balancer's groups──► load balancer ──its egress, ingress of the target's groups──► target
//! ```
//! A group that a permission names stands for the addresses of all interfaces that have it.
//! Source: "Security group rules", Amazon VPC user guide.

use std::net::{IpAddr, SocketAddr};

use super::snapshot::{LoadBalancer, Peer, Permission, Vpc};

impl Vpc {
    /// The groups of the interface that has this address: its own or in a prefix delegated to it. `None` for addresses
    /// that belong to no interface of the VPC, to which no security group applies.
    fn groups_of(&self, address: IpAddr) -> Option<&[String]> {
        self.interfaces
            .iter()
            .filter(|interface| interface.net.contains(&address))
            .max_by_key(|interface| interface.net.prefix_len())
            .map(|interface| interface.groups.as_slice())
    }

    fn passes(&self, permissions: &[Permission], peer: IpAddr, port: u16) -> bool {
        permissions.iter().any(|permission| {
            let (first, last) = permission.ports;
            (first..=last).contains(&port)
                && match &permission.peer {
                    Peer::Net(net) => net.contains(&peer),
                    Peer::Group(group) => self.groups_of(peer).is_some_and(|groups| groups.contains(group)),
                }
        })
    }

    fn comes_in(&self, groups: &[String], peer: IpAddr, port: u16) -> bool {
        groups
            .iter()
            .filter_map(|id| self.groups.get(id))
            .any(|group| self.passes(&group.ingress, peer, port))
    }

    /// Whether a client at `client` gets through to `port` of the load balancer.
    pub fn admits(&self, load_balancer: &LoadBalancer, client: IpAddr, port: u16) -> bool {
        self.comes_in(&load_balancer.security_groups, client, port)
    }

    /// Whether the load balancer gets through from its address `from` to a target.
    pub fn reaches(&self, load_balancer: &LoadBalancer, from: IpAddr, target: SocketAddr) -> bool {
        let out = load_balancer
            .security_groups
            .iter()
            .filter_map(|id| self.groups.get(id))
            .any(|group| self.passes(&group.egress, target.ip(), target.port()));
        out && self
            .groups_of(target.ip())
            .is_none_or(|groups| self.comes_in(groups, from, target.port()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::snapshot::{Interface, LoadBalancer, Peer, Permission, SecurityGroup, Vpc};

    fn tcp(first: u16, last: u16, peer: Peer) -> Permission {
        Permission {
            ports: (first, last),
            peer,
        }
    }

    fn net(text: &str) -> Peer {
        Peer::Net(text.parse().unwrap())
    }

    fn group(id: &str) -> Peer {
        Peer::Group(id.into())
    }

    fn world() -> (Vpc, LoadBalancer) {
        let all = tcp(0, u16::MAX, net("0.0.0.0/0"));
        let groups = BTreeMap::from([
            (
                "lb".to_owned(),
                SecurityGroup {
                    ingress: vec![tcp(80, 80, net("10.0.0.0/8"))],
                    egress: vec![all.clone()],
                },
            ),
            (
                "closed".to_owned(),
                SecurityGroup {
                    ingress: vec![],
                    egress: vec![],
                },
            ),
            (
                "node".to_owned(),
                SecurityGroup {
                    ingress: vec![tcp(8000, 8100, group("lb"))],
                    egress: vec![all],
                },
            ),
        ]);
        let interface = |net: &str, groups: &[&str]| Interface {
            net: net.parse().unwrap(),
            groups: groups.iter().map(|&id| id.to_owned()).collect(),
        };
        let interfaces = vec![
            interface("10.0.1.5/32", &["lb"]),
            interface("10.0.2.0/24", &["node"]),
            interface("10.0.2.9/32", &["closed"]),
            interface("10.0.3.3/32", &["closed", "node"]),
        ];
        let load_balancer = LoadBalancer {
            arn: "lb".into(),
            vpc: "vpc".into(),
            addresses: vec!["10.0.1.5".parse().unwrap()],
            security_groups: vec!["lb".into()],
            attributes: Default::default(),
            listeners: vec![],
        };
        (Vpc { groups, interfaces }, load_balancer)
    }

    #[test]
    fn a_client_needs_a_rule_for_its_address_and_the_port() {
        let (vpc, lb) = world();
        for (client, port, admitted) in [
            ("10.9.9.9", 80, true),
            ("10.9.9.9", 443, false),
            ("192.0.2.1", 80, false),
        ] {
            assert_eq!(
                vpc.admits(&lb, client.parse().unwrap(), port),
                admitted,
                "{client} {port}"
            );
        }
    }

    #[test]
    fn a_target_must_allow_the_load_balancers_group_on_the_port() {
        let (vpc, lb) = world();
        let from = lb.addresses[0];
        for (target, reached) in [
            ("10.0.2.4:8080", true),
            ("10.0.2.4:7999", false),
            ("10.0.2.9:8080", false), // the interface's own address goes before the prefix around it
            ("10.0.3.3:8100", true),
            ("10.0.9.9:1", true), // no interface of this VPC
        ] {
            assert_eq!(vpc.reaches(&lb, from, target.parse().unwrap()), reached, "{target}");
        }
        assert!(!vpc.reaches(&lb, "10.0.1.6".parse().unwrap(), "10.0.2.4:8080".parse().unwrap()));
    }

    #[test]
    fn what_a_load_balancer_may_not_send_does_not_arrive() {
        let (mut vpc, lb) = world();
        vpc.groups.get_mut("lb").unwrap().egress = vec![tcp(9000, 9000, net("10.0.0.0/8"))];
        assert!(!vpc.reaches(&lb, lb.addresses[0], "10.0.2.4:8080".parse().unwrap()));
    }
}
