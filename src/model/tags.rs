//! Tags, and the keys by which a load balancer's parts are found again.

use std::collections::BTreeMap;

/// Tags of one AWS resource.
pub type Tags = BTreeMap<String, String>;

/// Which cluster a resource belongs to.
pub const CLUSTER: &str = "elbv2.k8s.aws/cluster";
/// Which group of Ingresses a resource belongs to.
pub const STACK: &str = "ingress.k8s.aws/stack";
/// Which part of its group a resource is: [`RESOURCE_LOAD_BALANCER`], a listener's port, `port:priority` of a rule, …
pub const RESOURCE: &str = "ingress.k8s.aws/resource";
/// Which shared part of the cluster a resource is; only [`RESOURCE_BACKEND`] exists.
pub const SHARED_RESOURCE: &str = "elbv2.k8s.aws/resource";

/// [`RESOURCE`] of the load balancer.
pub const RESOURCE_LOAD_BALANCER: &str = "LoadBalancer";
/// [`RESOURCE`] of the managed security group in front of the load balancer.
pub const RESOURCE_SECURITY_GROUP: &str = "ManagedLBSecurityGroup";
/// [`SHARED_RESOURCE`] of the backend security group.
pub const RESOURCE_BACKEND: &str = "backend-sg";

/// Keys that are never removed from an adopted resource, so that a downgrade to the first generation of ALBC still
/// finds it: `kubernetes.io/cluster/NAME` comes on top.
pub const LEGACY: [&str; 7] = [
    "kubernetes.io/cluster-name",
    "kubernetes.io/namespace",
    "kubernetes.io/ingress-name",
    "kubernetes.io/service-name",
    "kubernetes.io/service-port",
    "ingress.k8s.aws/cluster",
    CLUSTER,
];
