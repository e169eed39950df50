//! The parts of Kubernetes' own kinds that are read; the rest of an object is skipped while it is parsed.
//!
//! Field names are spelled where camel case does not give them: `podIP` and `clusterIP` would otherwise vanish without a
//! word.

use k8s_openapi::{
    api::{
        core::v1::{Namespace, Node, Pod, Service},
        discovery::v1::EndpointSlice,
        networking::v1::{Ingress, IngressClass},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::{Resource, core::ObjectMeta};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

macro_rules! slim {
    ($($(#[$doc:meta])* $name:ident = $full:ident { $($field:ident: $type:ty),* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Resource, Deserialize, Serialize)]
        #[resource(inherit = $full)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            #[doc = "Metadata."]
            pub metadata: ObjectMeta,
            $(#[serde(default)] #[doc = "The part of that name."] pub $field: $type,)*
        }
    )*};
}

slim! {
    /// An Ingress.
    SlimIngress = Ingress { spec: IngressSpec, status: IngressStatus }
    /// An IngressClass.
    SlimIngressClass = IngressClass { spec: IngressClassSpec }
    /// A Service.
    SlimService = Service { spec: ServiceSpec }
    /// An EndpointSlice.
    SlimEndpointSlice = EndpointSlice { address_type: String, endpoints: Option<Vec<SlimEndpoint>>, ports: Option<Vec<EndpointPort>> }
    /// A Pod.
    SlimPod = Pod { spec: PodSpec, status: PodStatus }
    /// A Node.
    SlimNode = Node { spec: NodeSpec, status: NodeStatus }
    /// A Namespace.
    SlimNamespace = Namespace { }
}

macro_rules! parts {
    ($($name:ident { $($(#[$attribute:meta])* $field:ident: $type:ty,)* })*) => {$(
        #[doc = concat!("What is read of `", stringify!($name), "`.")]
        #[derive(Clone, Debug, Default, Deserialize, Serialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            $($(#[$attribute])* #[doc = "The field of that name."] pub $field: $type,)*
        }
    )*};
}

parts! {
    IngressSpec {
        ingress_class_name: Option<String>,
        default_backend: Option<IngressBackend>,
        rules: Option<Vec<IngressRule>>,
        tls: Option<Vec<IngressTls>>,
    }
    IngressTls { hosts: Option<Vec<String>>, }
    IngressRule { host: Option<String>, http: Option<HttpRule>, }
    HttpRule { paths: Vec<HttpPath>, }
    HttpPath { path: Option<String>, path_type: Option<String>, backend: IngressBackend, }
    IngressBackend { service: Option<ServiceBackend>, }
    ServiceBackend { name: String, port: Option<BackendPort>, }
    BackendPort { number: Option<i32>, name: Option<String>, }
    IngressStatus { load_balancer: Option<LoadBalancerStatus>, }
    LoadBalancerStatus { ingress: Option<Vec<StatusEntry>>, }
    StatusEntry { hostname: Option<String>, ports: Option<Vec<StatusPort>>, }
    StatusPort { port: i32, }
    IngressClassSpec { controller: Option<String>, parameters: Option<ClassParameters>, }
    ClassParameters { api_group: Option<String>, kind: String, name: String, }
    ServiceSpec {
        #[serde(rename = "type")]
        type_: Option<String>,
        selector: Option<BTreeMap<String, String>>,
        ports: Option<Vec<SlimServicePort>>,
        ip_families: Option<Vec<String>>,
    }
    SlimServicePort {
        name: Option<String>,
        port: i32,
        target_port: Option<IntOrString>,
        node_port: Option<i32>,
    }
    SlimEndpoint { addresses: Vec<String>, conditions: Option<EndpointConditions>, target_ref: Option<TargetRef>, }
    EndpointConditions { ready: Option<bool>, terminating: Option<bool>, }
    TargetRef { kind: Option<String>, name: Option<String>, }
    EndpointPort { name: Option<String>, port: Option<i32>, }
    PodSpec { node_name: Option<String>, containers: Vec<Container>, readiness_gates: Option<Vec<ReadinessGate>>, }
    ReadinessGate { condition_type: String, }
    Container { ports: Option<Vec<ContainerPort>>, }
    ContainerPort { name: Option<String>, container_port: i32, }
    PodStatus {
        #[serde(rename = "podIP")]
        pod_ip: Option<String>,
        #[serde(rename = "podIPs")]
        pod_ips: Option<Vec<PodIp>>,
        phase: Option<String>,
        conditions: Option<Vec<Condition>>,
    }
    PodIp { ip: String, }
    Condition {
        #[serde(rename = "type")]
        type_: String,
        status: String,
    }
    NodeSpec {
        #[serde(rename = "providerID")]
        provider_id: Option<String>,
        taints: Option<Vec<Taint>>,
    }
    Taint { key: String, effect: String, }
    NodeStatus { conditions: Option<Vec<Condition>>, }
}
