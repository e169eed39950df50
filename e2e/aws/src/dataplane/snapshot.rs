//! What the data plane serves: load balancers, their rules, target groups and the network around them, as plain values.
//!
//! Nothing here refers to the control plane's state; `world.rs` makes a snapshot of it, tests write theirs by hand.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use super::matcher::Pattern;

/// Everything that is served at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Load balancers in state `active`.
    pub load_balancers: Vec<LoadBalancer>,
    /// By ARN.
    pub target_groups: BTreeMap<String, TargetGroup>,
    /// By ARN.
    pub certificates: BTreeMap<String, Certificate>,
    /// By VPC id.
    pub vpcs: BTreeMap<String, Vpc>,
}

/// An Application Load Balancer.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadBalancer {
    /// Its ARN.
    pub arn: String,
    /// The VPC whose security groups apply.
    pub vpc: String,
    /// The addresses it listens on: one per subnet, and then their IPv6 addresses if it has such.
    pub addresses: Vec<IpAddr>,
    /// Ids of its security groups.
    pub security_groups: Vec<String>,
    /// Its attributes, as far as they change what it does with a request.
    pub attributes: Attributes,
    /// Its listeners, one per port.
    pub listeners: Vec<Listener>,
}

impl LoadBalancer {
    /// The address from which the node that has `local` speaks to a target: one of the target's family.
    pub fn source(&self, local: IpAddr, to: IpAddr) -> Option<IpAddr> {
        let family = |of: IpAddr| self.addresses.iter().filter(move |one| one.is_ipv4() == of.is_ipv4());
        let node = family(local).position(|address| *address == local)?;
        family(to).nth(node).copied()
    }
}

/// Load balancer attributes that change what happens to a request.
/// Source: "Edit attributes for your Application Load Balancer", Application Load Balancers user guide.
#[derive(Clone, Debug, PartialEq)]
pub struct Attributes {
    /// `idle_timeout.timeout_seconds`
    pub idle_timeout: Duration,
    /// `routing.http2.enabled`
    pub http2: bool,
    /// `routing.http.preserve_host_header.enabled`
    pub preserve_host_header: bool,
    /// `routing.http.xff_header_processing.mode`
    pub forwarded_for: ForwardedFor,
    /// `routing.http.xff_client_port.enabled`
    pub forwarded_client_port: bool,
}

impl Default for Attributes {
    /// AWS' defaults.
    fn default() -> Self {
        Attributes {
            idle_timeout: Duration::from_secs(60),
            http2: true,
            preserve_host_header: false,
            forwarded_for: ForwardedFor::Append,
            forwarded_client_port: false,
        }
    }
}

/// What happens to a client's `X-Forwarded-For`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ForwardedFor {
    /// The client's address is added at the end.
    Append,
    /// It is passed on as it came.
    Preserve,
    /// It is taken away.
    Remove,
}

/// A listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Its ARN.
    pub arn: String,
    /// The port it listens on.
    pub port: u16,
    /// Present on an HTTPS listener.
    pub tls: Option<Tls>,
    /// Its rules by priority, without the default rule.
    pub rules: Vec<Rule>,
    /// What the default rule does.
    pub default: Action,
}

/// How an HTTPS listener talks TLS.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// The ARN of the certificate for names that no other certificate has, and for clients without SNI.
    pub default_certificate: String,
    /// The ARNs of the listener's further certificates.
    pub certificates: Vec<String>,
    /// The name of the security policy.
    pub policy: String,
}

/// A server certificate with its key.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    /// The certificate and then its chain, PEM.
    pub chain: String,
    /// The private key, PEM.
    pub key: String,
}

/// A listener rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its ARN.
    pub arn: String,
    /// Lower is tried first.
    pub priority: u32,
    /// All must hold.
    pub conditions: Vec<Condition>,
    /// What is done with a request for which they hold.
    pub action: Action,
}

/// A condition of a rule; of several values one must match.
/// Source: "Condition types for listener rules", Application Load Balancers user guide.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// `host-header`
    Host(Vec<Pattern>),
    /// `path-pattern`
    Path(Vec<Pattern>),
    /// `http-header`
    Header {
        /// The field's name, in any case.
        name: String,
        /// Patterns of its value.
        values: Vec<Pattern>,
    },
    /// `http-request-method`
    Method(Vec<String>),
    /// `query-string`; without a key any key may have the value.
    Query(Vec<(Option<Pattern>, Pattern)>),
    /// `source-ip`
    SourceIp(Vec<IpNet>),
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// `forward`: ARNs of target groups with their weights.
    Forward(Vec<(String, u32)>),
    /// `redirect`
    Redirect(Redirect),
    /// `fixed-response`
    Fixed {
        /// The status code.
        status: u16,
        /// The content type, if any.
        content_type: Option<String>,
        /// The body, may be empty.
        body: String,
    },
    /// An action that this double does not perform, by AWS' name (`authenticate-oidc`, …). Requests are refused: what
    /// should stand behind a login must not be served without it.
    Unsupported(String),
}

/// The parts of a redirect, each with its `#{…}` placeholders.
/// Source: API reference, RedirectActionConfig.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    /// 301 or 302.
    pub status: u16,
    /// `HTTP`, `HTTPS` or `#{protocol}`
    pub protocol: String,
    /// A name or `#{host}`
    pub host: String,
    /// A number or `#{port}`
    pub port: String,
    /// An absolute path.
    pub path: String,
    /// Without the leading question mark.
    pub query: String,
}

impl Default for Redirect {
    /// The defaults of RedirectActionConfig: everything stays as it was requested.
    fn default() -> Self {
        Redirect {
            status: 301,
            protocol: "#{protocol}".into(),
            host: "#{host}".into(),
            port: "#{port}".into(),
            path: "/#{path}".into(),
            query: "#{query}".into(),
        }
    }
}

/// HTTP or HTTPS, towards a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// In clear.
    Http,
    /// TLS; the target's certificate is not verified, as ALB does not.
    Https,
}

/// The protocol version of a target group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.1
    Http1,
    /// HTTP/2
    Http2,
    /// gRPC, that is HTTP/2
    Grpc,
}

/// A target group with its targets.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetGroup {
    /// Its ARN.
    pub arn: String,
    /// How its targets are spoken to.
    pub scheme: Scheme,
    /// The version they are spoken to in.
    pub version: Version,
    /// How they are checked; `None` where the control plane decides about health (no probes are sent).
    pub check: Option<HealthCheck>,
    /// Its targets that are registered or draining.
    pub targets: Vec<Target>,
}

/// A registered target.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// An instance id or an address, as registered.
    pub id: String,
    /// The port it is registered with.
    pub port: u16,
    /// Where that is; `None` when nothing is known of the instance.
    pub address: Option<SocketAddr>,
    /// What the control plane says of it.
    pub state: TargetState,
}

/// States of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetState {
    /// Registered, not yet checked.
    Initial,
    /// Gets requests.
    Healthy,
    /// Gets requests only when no target is healthy.
    Unhealthy,
    /// Gets no new requests.
    Draining,
    /// Gets none: no rule uses the group, or its zone is not enabled.
    Unused,
}

/// How targets are checked.
/// Source: "Health checks for Application Load Balancer target groups", Application Load Balancers user guide.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// The protocol of the check.
    pub scheme: Scheme,
    /// A port, or `None` for the traffic port.
    pub port: Option<u16>,
    /// The path, or the method of a gRPC group.
    pub path: String,
    /// From one check to the next.
    pub interval: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// This many passed checks make an unhealthy target healthy again.
    pub healthy_threshold: u32,
    /// This many failed checks make a target unhealthy.
    pub unhealthy_threshold: u32,
    /// The codes of a good answer: HTTP (`200-299,301`), or gRPC in a group of that version (`0-99`).
    pub matcher: String,
}

/// A VPC's firewall: its security groups and who has them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vpc {
    /// By id.
    pub groups: BTreeMap<String, SecurityGroup>,
    /// All network interfaces' addresses and delegated prefixes.
    pub interfaces: Vec<Interface>,
}

/// Addresses of a network interface.
#[derive(Clone, Debug, PartialEq)]
pub struct Interface {
    /// An address (full prefix length) or a delegated prefix.
    pub net: IpNet,
    /// Ids of the interface's security groups.
    pub groups: Vec<String>,
}

/// A security group.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SecurityGroup {
    /// What may come in.
    pub ingress: Vec<Permission>,
    /// What may go out.
    pub egress: Vec<Permission>,
}

/// One permission of a security group, for TCP (others say nothing about HTTP).
#[derive(Clone, Debug, PartialEq)]
pub struct Permission {
    /// First and last port, both included.
    pub ports: (u16, u16),
    /// Whom it lets through.
    pub peer: Peer,
}

/// The other side of a permission.
#[derive(Clone, Debug, PartialEq)]
pub enum Peer {
    /// Addresses.
    Net(IpNet),
    /// Every interface that has this security group.
    Group(String),
}
