//! The kinds that are served, and the paths they are served at.

/// A kind as its path names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Version.
    pub version: &'static str,
    /// Plural, lower case.
    pub plural: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// Whether objects stand in a namespace.
    pub namespaced: bool,
    /// Whether `status` is changed through a subresource only.
    pub status: bool,
}

macro_rules! resources {
    ($($group:literal $version:literal $plural:literal $kind:literal $namespaced:literal $status:literal;)*) => {
        /// Every kind that is served.
        pub const RESOURCES: &[Resource] = &[$(Resource {
            group: $group, version: $version, plural: $plural, kind: $kind, namespaced: $namespaced, status: $status,
        },)*];
    };
}

resources! {
    "" "v1" "events" "Event" true false;
    "" "v1" "namespaces" "Namespace" false true;
    "" "v1" "nodes" "Node" false true;
    "" "v1" "pods" "Pod" true true;
    "" "v1" "services" "Service" true true;
    "albacore.dev" "v1alpha1" "clusternetworks" "ClusterNetwork" false true;
    "albacore.dev" "v1alpha1" "loadbalancers" "LoadBalancer" false true;
    "coordination.k8s.io" "v1" "leases" "Lease" true false;
    "discovery.k8s.io" "v1" "endpointslices" "EndpointSlice" true false;
    "elbv2.k8s.aws" "v1beta1" "ingressclassparams" "IngressClassParams" false false;
    "elbv2.k8s.aws" "v1beta1" "targetgroupbindings" "TargetGroupBinding" true true;
    "events.k8s.io" "v1" "events" "Event" true false;
    "networking.k8s.io" "v1" "ingressclasses" "IngressClass" false false;
    "networking.k8s.io" "v1" "ingresses" "Ingress" true true;
}

impl Resource {
    /// The resource that serves `kind` (`apiVersion` as objects carry it).
    pub fn of(api_version: &str, kind: &str) -> Option<Self> {
        RESOURCES
            .iter()
            .find(|r| r.api_version() == api_version && r.kind == kind)
            .copied()
    }

    /// Whether a CustomResourceDefinition stands behind it.
    pub fn is_custom(&self) -> bool {
        self.group.contains('.') && !self.group.ends_with(".k8s.io")
    }

    /// Whether an object is replaced only by whoever says which version of it he has seen.
    pub fn is_guarded(&self) -> bool {
        self.kind == "Lease" || self.is_custom()
    }

    /// `apiVersion` of its objects.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }
}

/// What a path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The kind.
    pub resource: Resource,
    /// The namespace; `None` for cluster-scoped kinds and for all namespaces.
    pub namespace: Option<String>,
    /// The object; `None` for the collection.
    pub name: Option<String>,
    /// For example `status`.
    pub subresource: Option<String>,
}

/// What `path` names; `None` when nothing is served there.
pub fn path_of(path: &str) -> Option<Target> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return None,
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() && rest[0] != "status" => (Some(*namespace), rest),
        _ => (None, rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (*plural, None, None),
        [plural, name] => (*plural, Some(*name), None),
        [plural, name, subresource] => (*plural, Some(*name), Some(*subresource)),
        _ => return None,
    };
    let resource = *RESOURCES
        .iter()
        .find(|r| r.group == group && r.version == version && r.plural == plural)?;
    Some(Target {
        resource,
        namespace: namespace.map(str::to_owned),
        name: name.map(str::to_owned),
        subresource: subresource.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_collection_an_object_or_its_status() {
        let all = path_of("/apis/networking.k8s.io/v1/ingresses").expect("served");
        assert_eq!((all.namespace, all.name), (None, None));
        let one = path_of("/apis/networking.k8s.io/v1/namespaces/shop/ingresses/main/status").expect("served");
        assert_eq!(one.namespace.as_deref(), Some("shop"));
        assert_eq!(one.name.as_deref(), Some("main"));
        assert_eq!(one.subresource.as_deref(), Some("status"));
        let namespace = path_of("/api/v1/namespaces/shop").expect("served");
        assert_eq!(
            (namespace.resource.kind, namespace.name.as_deref()),
            ("Namespace", Some("shop"))
        );
        assert_eq!(path_of("/apis/apps/v1/deployments"), None);
    }
}
