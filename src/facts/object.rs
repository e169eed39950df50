//! One fact per kind.

use crate::model::{InstanceId, ObjectKey, Port, PortRef};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

/// An Ingress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ingress {
    /// Namespace and name.
    pub key: ObjectKey,
    /// UID; Events need it.
    pub uid: String,
    /// Annotations that concern us: `alb.ingress.kubernetes.io/…`, `albacore.dev/…`, `kubernetes.io/ingress.class`; full keys.
    pub annotations: BTreeMap<String, String>,
    /// `spec.ingressClassName`.
    pub class_name: Option<String>,
    /// `spec.defaultBackend`.
    pub default_backend: Option<Backend>,
    /// `spec.rules`, as written.
    pub rules: Vec<HostRule>,
    /// Hosts of `spec.tls`.
    pub tls_hosts: Vec<String>,
    /// Our and ALBC's finalizers among its own.
    pub finalizers: BTreeSet<String>,
    /// Whether it has a deletion timestamp.
    pub deleting: bool,
    /// Host names in `status.loadBalancer.ingress`, with their ports.
    pub status: Vec<(String, Vec<Port>)>,
}

/// One entry of `spec.rules`; entries without `http` are dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRule {
    /// `host`; empty for any.
    pub host: String,
    /// `http.paths`.
    pub paths: Vec<PathRule>,
}

/// One path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathRule {
    /// `path`; empty when absent.
    pub path: String,
    /// `pathType`, as written.
    pub path_type: Option<String>,
    /// Where it leads.
    pub backend: Backend,
}

/// A backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// `service`.
    Service {
        /// Its name, in the Ingress' namespace.
        name: String,
        /// Its port; `None` when neither number nor name is given.
        port: Option<PortRef>,
    },
    /// `resource`, which nobody serves.
    Resource,
}

/// An IngressClass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressClass {
    /// Name.
    pub name: String,
    /// `spec.controller`.
    pub controller: String,
    /// `ingressclass.kubernetes.io/is-default-class` is `"true"`.
    pub default: bool,
    /// `spec.parameters`: apiGroup, kind, name.
    pub parameters: Option<(Option<String>, String, String)>,
}

/// The IngressClassParams of `elbv2.k8s.aws/v1beta1`: its spec as written, and what did not parse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IngressClassParams {
    /// Name.
    pub name: String,
    /// The spec.
    pub spec: IngressClassParamsSpec,
}

/// Spec of IngressClassParams; see ALBC's documentation of the resource. Fields that this version does not act upon
/// are kept by name in `unsupported`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IngressClassParamsSpec {
    /// `loadBalancerName`.
    pub load_balancer_name: Option<String>,
    /// `certificateArn`.
    pub certificate_arn: Option<Vec<String>>,
    /// `namespaceSelector`; `None` selects every namespace.
    pub namespace_selector: Option<LabelSelector>,
    /// `group.name`.
    pub group_name: Option<String>,
    /// `scheme`.
    pub scheme: Option<String>,
    /// `inboundCIDRs`.
    pub inbound_cidrs: Option<Vec<String>>,
    /// `sslPolicy`.
    pub ssl_policy: Option<String>,
    /// `sslRedirectPort`.
    pub ssl_redirect_port: Option<String>,
    /// `subnets.ids`.
    pub subnet_ids: Option<Vec<String>>,
    /// `subnets.tags`.
    pub subnet_tags: Option<BTreeMap<String, Vec<String>>>,
    /// `ipAddressType`.
    pub ip_address_type: Option<String>,
    /// `tags`.
    pub tags: Option<Vec<(String, String)>>,
    /// `targetType`.
    pub target_type: Option<String>,
    /// `loadBalancerAttributes`.
    pub load_balancer_attributes: Option<Vec<(String, String)>>,
    /// Names of other fields that are set.
    pub unsupported: BTreeSet<String>,
}

/// A label selector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelSelector {
    /// `matchLabels`.
    pub match_labels: BTreeMap<String, String>,
    /// `matchExpressions`: key, operator, values.
    pub match_expressions: Vec<(String, String, Vec<String>)>,
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub key: ObjectKey,
    /// UID, part of target group names.
    pub uid: String,
    /// `alb.ingress.kubernetes.io/…` annotations; full keys.
    pub annotations: BTreeMap<String, String>,
    /// `spec.type`.
    pub service_type: String,
    /// `spec.selector`; empty for a Service whose endpoints somebody writes by hand.
    pub selector: BTreeMap<String, String>,
    /// Ports.
    pub ports: Vec<ServicePort>,
    /// Whether `spec.ipFamilies` has IPv6.
    pub ipv6: bool,
    /// Whether it has a deletion timestamp.
    pub deleting: bool,
}

impl Service {
    /// Whether it sends traffic to pods with these labels.
    pub fn selects(&self, labels: &BTreeMap<String, String>) -> bool {
        let has = |(key, value): (&String, &String)| labels.get(key) == Some(value);
        !self.selector.is_empty() && self.selector.iter().all(has)
    }
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Name; empty when absent.
    pub name: String,
    /// Number.
    pub port: Port,
    /// `targetPort`; the port's own number when absent.
    pub target_port: PortRef,
    /// Node port; 0 when none is allocated.
    pub node_port: Port,
}

/// An EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Namespace and name.
    pub key: ObjectKey,
    /// The Service it belongs to (`kubernetes.io/service-name`).
    pub service: String,
    /// Whether its addresses are IPv6.
    pub ipv6: bool,
    /// Name and number of its ports.
    pub ports: Vec<(String, Port)>,
    /// Endpoints, as many as there are addresses.
    pub endpoints: Vec<Endpoint>,
}

/// One address of an EndpointSlice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Address.
    pub address: IpAddr,
    /// Name of the Pod it belongs to; `None` for hand-written ones.
    pub pod: Option<Arc<str>>,
    /// `conditions.ready`, absent = true.
    pub ready: bool,
    /// `conditions.terminating`.
    pub terminating: bool,
}

/// A Pod; only those with an address are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Namespace and name.
    pub key: ObjectKey,
    /// The node it runs on.
    pub node: Arc<str>,
    /// Its first address, `status.podIP`.
    pub ip: IpAddr,
    /// The one of the other family, if it has both.
    pub second_ip: Option<IpAddr>,
    /// Condition `ContainersReady`.
    pub containers_ready: bool,
    /// Seconds since 1970 at which it was made; part of ALBC's checkpoint, in milliseconds there.
    pub created_seconds: i64,
    /// Named container ports, since a Service may target one by name.
    pub ports: Vec<(Arc<str>, Port)>,
    /// Whether it has a deletion timestamp.
    pub terminating: bool,
    /// Its readiness gates that wait for the health of targets; `None` when it has none.
    pub gates: Option<Box<Gates>>,
}

/// Readiness gates of a Pod that wait for the health of targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gates {
    /// UID of the Pod: another of the same name is not meant.
    pub uid: String,
    /// Names of their bindings, and whether the condition is true; `None` while there is no condition.
    pub conditions: Vec<(String, Option<bool>)>,
}

impl Pod {
    /// The condition of its readiness gate for a binding; `None` without such a gate.
    pub fn gate(&self, binding: &str) -> Option<Option<bool>> {
        let mut conditions = self.gates.as_ref()?.conditions.iter();
        conditions
            .find(|(name, _)| name == binding)
            .map(|(_, is_true)| *is_true)
    }
}

/// A Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name.
    pub name: String,
    /// Last part of `spec.providerID`; `None` when there is none or it is not an instance's.
    pub instance: Option<InstanceId>,
    /// Condition `Ready`: `Some(true)`, `Some(false)`, `None` for Unknown.
    pub ready: Option<bool>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Taints: key and effect.
    pub taints: Vec<(String, String)>,
    /// Seconds since 1970 at which it was made; part of ALBC's checkpoint.
    pub created_seconds: i64,
}

/// A Namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Name.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// A TargetGroupBinding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetGroupBinding {
    /// Namespace and name.
    pub key: ObjectKey,
    /// UID; Events need it.
    pub uid: String,
    /// The group it belongs to, by its labels; `None` for one that a user made.
    pub group: Option<crate::model::GroupKey>,
    /// `spec.targetGroupARN`; empty when only the name is given.
    pub target_group: String,
    /// `spec.targetType`.
    pub target_type: Option<crate::model::TargetType>,
    /// `spec.serviceRef`.
    pub service: String,
    /// Port of `spec.serviceRef`.
    pub service_port: PortRef,
    /// `spec.nodeSelector`.
    pub node_selector: Option<LabelSelector>,
    /// `spec.networking`: per rule its sources (security group ids or CIDRs) and its ports; `None` when absent.
    pub networking: Option<Vec<NetworkingRule>>,
    /// `spec.ipAddressType` is `ipv6`.
    pub ipv6: bool,
    /// SHA-256 of the spec as JSON, second half of ALBC's checkpoint.
    pub spec_hash: String,
    /// Annotation `elbv2.k8s.aws/checkpoint`.
    pub checkpoint: Option<String>,
    /// Finalizers.
    pub finalizers: BTreeSet<String>,
    /// Whether it has a deletion timestamp.
    pub deleting: bool,
    /// `metadata.generation` and `status.observedGeneration`.
    pub generation: (i64, i64),
}

impl TargetGroupBinding {
    /// Whether its targets are ours to register, and the gates of their pods ours to open. One that a user made is not tended;
    /// they come with a later version.
    pub fn is_tended(&self) -> bool {
        self.group.is_some() && !self.target_group.is_empty()
    }
}

/// One entry of `spec.networking.ingress`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkingRule {
    /// Sources: security group ids or CIDRs.
    pub from: Vec<crate::model::Peer>,
    /// Ports; `None` means every TCP port.
    pub ports: Vec<Option<PortRef>>,
}
