//! Names of AWS resources, byte for byte as ALBC builds them: each controller must find what the other made, and two
//! resources that must exist side by side differ in what is hashed.

use super::{GroupKey, ObjectKey, Scheme, TargetType};
use sha2::{Digest, Sha256};

/// Letters and digits of `text`; AWS names allow little else.
fn alphanumeric(text: &str, at_most: usize) -> String {
    text.bytes()
        .filter(u8::is_ascii_alphanumeric)
        .take(at_most)
        .map(char::from)
        .collect()
}

/// First ten hex digits of SHA-256 over the concatenated parts.
fn hash(parts: &[&str]) -> String {
    let digest = Sha256::digest(parts.concat());
    digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect()
}

fn group_name(group: &GroupKey, hash: &str) -> String {
    match group {
        GroupKey::Explicit(name) => format!("k8s-{}-{hash}", alphanumeric(name, 17)),
        GroupKey::Implicit(member) => {
            format!(
                "k8s-{}-{}-{hash}",
                alphanumeric(&member.namespace, 8),
                alphanumeric(&member.name, 8)
            )
        }
    }
}

/// Whether a name looks like one that a controller made: `k8s-…-` and a hash.
pub fn is_generated(name: &str) -> bool {
    let hash = name
        .strip_prefix("k8s-")
        .and_then(|rest| rest.rsplit_once('-'))
        .map(|(_, hash)| hash);
    hash.is_some_and(|hash| hash.len() == 10 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Name of a group's load balancer, unless `load-balancer-name` says otherwise.
pub fn load_balancer(cluster: &str, group: &GroupKey, scheme: Scheme) -> String {
    group_name(group, &hash(&[cluster, &group.stack(), scheme.name()]))
}

/// Name of the managed security group of a group; also the name of the group's LoadBalancer object, being unique
/// and a legal object name for every group.
pub fn security_group(cluster: &str, group: &GroupKey) -> String {
    group_name(group, &hash(&[cluster, &group.stack()]))
}

/// Name of the security group that all load balancers of the cluster share.
pub fn backend_security_group(cluster: &str) -> String {
    format!("k8s-traffic-{}-{}", alphanumeric(cluster, 232), hash(&[cluster]))
}

/// What the name of a target group is made of.
#[derive(Clone, Debug)]
pub struct TargetGroupName<'a> {
    /// The cluster.
    pub cluster: &'a str,
    /// The group whose load balancer uses it.
    pub group: &'a GroupKey,
    /// The Ingress that names the Service.
    pub ingress: &'a ObjectKey,
    /// The Service.
    pub service: &'a ObjectKey,
    /// The Service's UID: a Service made anew gets a name of its own.
    pub service_uid: &'a str,
    /// The backend's port as the Ingress spells it.
    pub backend_port: &'a str,
    /// The target group's own port.
    pub port: u16,
    /// Nodes or pods.
    pub target_type: TargetType,
    /// `HTTP` or `HTTPS`.
    pub protocol: &'a str,
    /// `HTTP1`, `HTTP2` or `GRPC`.
    pub protocol_version: &'a str,
    /// Empty, except for a target group that must exist beside one with the same inputs (a load balancer's
    /// replacement needs target groups of its own).
    pub generation: &'a str,
}

impl TargetGroupName<'_> {
    /// The name.
    pub fn build(&self) -> String {
        let hash = hash(&[
            self.cluster,
            &self.group.stack(),
            &self.ingress.namespace,
            &self.ingress.name,
            self.service_uid,
            self.backend_port,
            &self.port.to_string(),
            self.target_type.name(),
            self.protocol,
            self.protocol_version,
            self.generation,
        ]);
        format!(
            "k8s-{}-{}-{hash}",
            alphanumeric(&self.service.namespace, 8),
            alphanumeric(&self.service.name, 8)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_recorded_ones() {
        let group = GroupKey::Explicit("wide.group-1".into());
        assert_eq!(
            load_balancer("demo", &group, Scheme::Internal),
            "k8s-widegroup1-cf1b494e64"
        );
        assert_eq!(security_group("demo", &group), "k8s-widegroup1-48d30b700b");
        assert_eq!(backend_security_group("demo"), "k8s-traffic-demo-2a97516c35");
    }
}
