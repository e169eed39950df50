//! Custom resources: ALBC's, whose schema is ALBC's, and our own.

use crate::facts;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, core::ObjectMeta};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Parameters of an IngressClass, as written: users write nonsense, so every field is read by itself.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct IngressClassParams {
    /// Metadata.
    pub metadata: ObjectMeta,
    /// The spec, unparsed.
    #[serde(default)]
    pub spec: serde_json::Map<String, serde_json::Value>,
}

/// What a TargetGroupBinding binds, as written.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TargetGroupBinding {
    /// API version and kind, which the API server wants to read in a custom resource.
    #[serde(flatten)]
    pub types: Option<kube::core::TypeMeta>,
    /// Metadata.
    pub metadata: ObjectMeta,
    /// The spec.
    #[serde(default)]
    pub spec: BindingSpec,
    /// The status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<BindingStatus>,
}

macro_rules! dynamic {
    ($type:ident, $group:literal, $version:literal, $kind:literal, $plural:literal, $scope:ty) => {
        impl kube::Resource for $type {
            type DynamicType = ();
            type Scope = $scope;

            fn kind(_: &()) -> std::borrow::Cow<'_, str> {
                $kind.into()
            }

            fn group(_: &()) -> std::borrow::Cow<'_, str> {
                $group.into()
            }

            fn version(_: &()) -> std::borrow::Cow<'_, str> {
                $version.into()
            }

            fn plural(_: &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

dynamic!(
    IngressClassParams,
    "elbv2.k8s.aws",
    "v1beta1",
    "IngressClassParams",
    "ingressclassparams",
    kube::core::ClusterResourceScope
);
dynamic!(
    TargetGroupBinding,
    "elbv2.k8s.aws",
    "v1beta1",
    "TargetGroupBinding",
    "targetgroupbindings",
    kube::core::NamespaceResourceScope
);

/// Spec of a TargetGroupBinding; fields in the order in which ALBC serialises them, since its checkpoint hashes that.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "documented with the resource, in ALBC's guide")]
pub struct BindingSpec {
    #[serde(rename = "targetGroupARN", skip_serializing_if = "Option::is_none")]
    pub target_group_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_group_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi_cluster_target_group: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_group_protocol: Option<String>,
    pub service_ref: ServiceRef,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub networking: Option<Networking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_selector: Option<Selector>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_address_type: Option<String>,
    #[serde(rename = "vpcID", skip_serializing_if = "Option::is_none")]
    pub vpc_id: Option<String>,
}

/// The Service of a binding.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[expect(missing_docs, reason = "documented with the resource, in ALBC's guide")]
pub struct ServiceRef {
    pub name: String,
    pub port: IntOrString,
}

impl Default for ServiceRef {
    fn default() -> Self {
        Self {
            name: String::new(),
            port: IntOrString::Int(0),
        }
    }
}

/// Who may reach the targets of a binding.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[expect(missing_docs, reason = "documented with the resource, in ALBC's guide")]
pub struct Networking {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ingress: Vec<NetworkingIngress>,
}

/// Peers and the ports they may reach.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[expect(missing_docs, reason = "documented with the resource, in ALBC's guide")]
pub struct NetworkingIngress {
    pub from: Vec<NetworkingPeer>,
    pub ports: Vec<NetworkingPort>,
}

/// A range or a security group.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "documented with the resource, in ALBC's guide")]
pub struct NetworkingPeer {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_block: Option<IpBlock>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_group: Option<SecurityGroup>,
}

/// A range.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "documented with the resource, in ALBC's guide")]
pub struct IpBlock {
    pub cidr: String,
}

/// A security group.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[expect(missing_docs, reason = "documented with the resource, in ALBC's guide")]
pub struct SecurityGroup {
    #[serde(rename = "groupID")]
    pub group_id: String,
}

/// A port, by number or name.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[expect(missing_docs, reason = "documented with the resource, in ALBC's guide")]
pub struct NetworkingPort {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<IntOrString>,
}

/// A label selector.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "Kubernetes' own LabelSelector")]
pub struct Selector {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub match_expressions: Vec<Requirement>,
}

/// A part of a label selector.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
#[expect(missing_docs, reason = "Kubernetes' own LabelSelectorRequirement")]
pub struct Requirement {
    pub key: String,
    pub operator: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
}

/// Status of a TargetGroupBinding.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct BindingStatus {
    /// The generation of the spec that was acted upon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

impl From<Selector> for facts::LabelSelector {
    fn from(selector: Selector) -> Self {
        let expressions = selector.match_expressions.into_iter();
        Self {
            match_labels: selector.match_labels,
            match_expressions: expressions.map(|r| (r.key, r.operator, r.values)).collect(),
        }
    }
}

/// A load balancer of ours: what `kubectl get loadbalancers` shows, and our memory of it.
#[derive(Clone, Debug, CustomResource, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "albacore.dev",
    version = "v1alpha1",
    kind = "LoadBalancer",
    plural = "loadbalancers",
    shortname = "alb",
    status = "LoadBalancerStatus",
    doc = "A load balancer, written by albacore: what `kubectl get loadbalancers` shows, and albacore's memory of it. The annotation albacore.dev/verify, changed, has it read from AWS and repaired.",
    printcolumn = r#"{"name": "Group", "type": "string", "jsonPath": ".spec.group"}"#,
    printcolumn = r#"{"name": "Scheme", "type": "string", "jsonPath": ".status.scheme"}"#,
    printcolumn = r#"{"name": "DNS name", "type": "string", "jsonPath": ".status.dnsName"}"#,
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status"}"#,
    printcolumn = r#"{"name": "Waits for", "type": "string", "jsonPath": ".status.waitsFor"}"#,
    printcolumn = r#"{"name": "Problems", "type": "integer", "jsonPath": ".status.problemCount"}"#,
    printcolumn = r#"{"name": "Calls", "type": "integer", "jsonPath": ".status.calls"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name": "Hosts", "type": "string", "jsonPath": ".status.hosts", "priority": 1}"#,
    printcolumn = r#"{"name": "ARN", "type": "string", "jsonPath": ".status.arn", "priority": 1}"#,
    validation = "self.spec == oldSelf.spec"
)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancerSpec {
    /// The group of Ingresses that share the load balancer: its name, or `namespace/name` of an Ingress by itself.
    pub group: String,
}

/// What is known of a load balancer.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancerStatus {
    /// ARN of the load balancer in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arn: Option<String>,
    /// Its DNS name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns_name: Option<String>,
    /// The Route 53 zone of that name, for alias records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hosted_zone: Option<String>,
    /// `internal` or `internet-facing`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// Hosts that rules name, the first 32.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// What takes its time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// What users did wrong, the first 16.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// How many problems there are.
    pub problem_count: i64,
    /// AWS calls spent on it since the process began that writes this.
    pub calls: i64,
    /// `Ready`: everything is as the members wish.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// How many steps are being done to AWS right now, and about how long they have to wait for their tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecast: Option<String>,
    /// What is being done to AWS right now; found at a start, it is a reason to look.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub in_flight: Vec<String>,
    /// What was last proven equal to AWS: versioned and compressed, for albacore itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<String>,
}

/// A condition as Kubernetes defines it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[expect(missing_docs, reason = "Kubernetes' own metav1.Condition")]
pub struct Condition {
    #[serde(rename = "type")]
    pub type_: String,
    pub status: String,
    pub reason: String,
    pub message: String,
    pub last_transition_time: String,
}

/// What all load balancers of the cluster share: the only object of its kind is called `cluster`.
#[derive(Clone, Debug, CustomResource, Deserialize, Serialize, JsonSchema)]
#[kube(
    group = "albacore.dev",
    version = "v1alpha1",
    kind = "ClusterNetwork",
    plural = "clusternetworks",
    status = "ClusterNetworkStatus",
    doc = "What all load balancers of the cluster share, written by albacore: the backend security group and the rules on nodes and pods.",
    printcolumn = r#"{"name": "Security group", "type": "string", "jsonPath": ".status.securityGroup"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
pub struct ClusterNetworkSpec {}

/// What is known of the network.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterNetworkStatus {
    /// Id of the shared backend security group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_group: Option<String>,
    /// `leaseTransitions` of the Lease when albacore last began to lead: a gap tells that another controller did since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_transitions: Option<i32>,
    /// What is being done to AWS right now; found at a start, it is a reason to look.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub in_flight: Vec<String>,
    /// How far the background has come that looks for what somebody else changed in AWS.
    pub audit: AuditPosition,
    /// What was last proven equal to AWS: versioned and compressed, for albacore itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<String>,
}

/// How far the audit has come.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AuditPosition {
    /// The last group whose listeners, rules and tags were looked at in this round; none between rounds.
    pub after: Option<String>,
    /// The last group whose attributes, certificates and targets were looked at.
    pub details_after: Option<String>,
    /// Groups that were looked at since then.
    pub turn: u32,
}
