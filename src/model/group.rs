//! What is reconciled: groups of Ingresses, the cluster's network, and target group bindings.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Namespace and name of a namespaced Kubernetes object; displays as `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ObjectKey {
    /// The object's namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
}

impl ObjectKey {
    /// A key from its two parts.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) => Ok(Self::new(namespace, name)),
            None => Err(format!("`{text}` is not namespace/name")),
        }
    }
}

/// The Ingresses that share one load balancer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum GroupKey {
    /// Named by `group.name` on an Ingress or in its IngressClassParams; spans namespaces.
    Explicit(String),
    /// An Ingress without a group name is a group of its own.
    Implicit(ObjectKey),
}

impl GroupKey {
    /// The value of the `ingress.k8s.aws/stack` tag: the group's name, or `namespace/name` of the only member.
    pub fn stack(&self) -> String {
        match self {
            Self::Explicit(name) => name.clone(),
            Self::Implicit(member) => member.to_string(),
        }
    }

    /// The finalizer a member carries as long as the group may hold something in AWS for it. ALBC's own, so that
    /// either controller can finish what the other began.
    pub fn finalizer(&self) -> String {
        match self {
            Self::Explicit(name) => format!("{EXPLICIT_FINALIZER_PREFIX}{name}"),
            Self::Implicit(_) => IMPLICIT_FINALIZER.to_owned(),
        }
    }
}

/// Finalizer of an Ingress that is a group of its own.
pub const IMPLICIT_FINALIZER: &str = "ingress.k8s.aws/resources";
/// Finalizer of a member of a named group, followed by the group's name.
pub const EXPLICIT_FINALIZER_PREFIX: &str = "group.ingress.k8s.aws/";
/// What the readiness gate of a Pod for a TargetGroupBinding is called, followed by the binding's name.
pub const GATE: &str = "target-health.elbv2.k8s.aws/";
/// Finalizer of a TargetGroupBinding.
pub const BINDING_FINALIZER: &str = "elbv2.k8s.aws/resources";

impl fmt::Display for GroupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.stack())
    }
}

/// What has an intent, a plan and a state of its own, and is worked on by one task at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unit {
    /// The shared backend security group and the rules on nodes' and pods' security groups. Groups wait on it.
    Network,
    /// One load balancer and all that belongs to it.
    Group(GroupKey),
    /// The targets of one target group, named by its TargetGroupBinding.
    Binding(ObjectKey),
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network => f.write_str("network"),
            Self::Group(group) => write!(f, "group {group}"),
            Self::Binding(binding) => write!(f, "binding {binding}"),
        }
    }
}
