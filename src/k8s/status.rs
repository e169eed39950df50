//! What is written to Kubernetes: finalizers, status, bindings, our own objects.

use super::{
    Fault, Leadership,
    custom::{self, BindingSpec, ClusterNetwork, ClusterNetworkSpec, LoadBalancer, LoadBalancerSpec},
    fault::timed,
};
use crate::model::{BINDING_FINALIZER, GroupKey, ObjectKey, Port};
use k8s_openapi::api::networking::v1::Ingress;
use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::{ObjectMeta, PartialObjectMeta},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::Semaphore;

/// ALBC's mark on a binding that was brought in line.
pub const CHECKPOINT: &str = "elbv2.k8s.aws/checkpoint";
/// When that was, in seconds since 1970.
pub const CHECKPOINT_TIMESTAMP: &str = "elbv2.k8s.aws/checkpoint-timestamp";
/// The only ClusterNetwork.
pub const CLUSTER_NETWORK: &str = "cluster";

/// How often a change is made anew that met somebody else's.
const CONFLICTS: u32 = 5;
/// Objects of one page of a list.
const PAGE: u32 = 50;

/// Requests that may wait for an answer at once: each holds a connection, and after a restart there may be a thousand to
/// make …
const AT_ONCE: usize = 8;
/// … and those of bindings, which pods wait for, beside them.
const OF_BINDINGS: usize = 32;

/// Writes to Kubernetes, as long as we lead.
#[derive(Clone)]
pub struct Writer {
    client: Client,
    leadership: Leadership,
    line: Arc<Semaphore>,
    line_of_bindings: Arc<Semaphore>,
}

impl Writer {
    /// A writer that uses this client.
    pub fn new(client: Client, leadership: Leadership) -> Self {
        Self {
            client,
            leadership,
            line: Arc::new(Semaphore::new(AT_ONCE)),
            line_of_bindings: Arc::new(Semaphore::new(OF_BINDINGS)),
        }
    }

    /// Makes a request when its turn has come.
    async fn in_line<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, Fault> {
        self.turn(&self.line, call).await
    }

    /// Makes a request about a binding when its turn has come.
    pub(super) async fn of_binding<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, Fault> {
        self.turn(&self.line_of_bindings, call).await
    }

    /// Makes a request when its turn in a line has come, and gives it up when another process may lead: that one may have
    /// written there.
    async fn turn<T>(&self, line: &Semaphore, call: impl Future<Output = kube::Result<T>>) -> Result<T, Fault> {
        let _turn = line.acquire().await;
        let mut leadership = self.leadership.clone();
        tokio::select! {
            biased;
            () = leadership.over() => Err(Fault::Deposed),
            answer = timed(call) => answer,
        }
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    fn ingresses(&self, namespace: &str) -> Api<Ingress> {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn bindings(&self, namespace: &str) -> Api<custom::TargetGroupBinding> {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn load_balancers(&self) -> Api<LoadBalancer> {
        Api::all(self.client.clone())
    }

    /// Puts a finalizer on an Ingress, or takes it off. An Ingress that is gone has none.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn set_finalizer(&self, ingress: &ObjectKey, finalizer: &str, wanted: bool) -> Result<(), Fault> {
        let api: Api<PartialObjectMeta<Ingress>> = Api::namespaced(self.client.clone(), &ingress.namespace);
        let full = self.ingresses(&ingress.namespace);
        for _ in 0..CONFLICTS {
            let object = match self.in_line(api.get_metadata(&ingress.name)).await {
                Err(Fault::Missing) if !wanted => return Ok(()),
                answer => answer?,
            };
            let mut finalizers = object.finalizers().to_vec();
            if finalizers.iter().any(|f| f == finalizer) == wanted {
                return Ok(());
            }
            if wanted {
                finalizers.push(finalizer.to_owned());
            } else {
                finalizers.retain(|f| f != finalizer);
            }
            let patch =
                json!({ "metadata": { "resourceVersion": object.resource_version(), "finalizers": finalizers } });
            match self
                .in_line(full.patch(&ingress.name, &PatchParams::default(), &Patch::Merge(patch)))
                .await
            {
                Err(Fault::Conflict) => {}
                Err(Fault::Missing) if !wanted => return Ok(()),
                answer => return answer.map(|_| ()),
            }
        }
        Err(Fault::Conflict)
    }

    /// Writes where an Ingress can be reached; `None` clears it.
    ///
    /// # Errors
    /// What the API server said. An Ingress that is gone needs no status.
    pub async fn set_ingress_status(&self, ingress: &ObjectKey, at: Option<(&str, &[Port])>) -> Result<(), Fault> {
        let entries: Vec<Value> = at
            .map(|(hostname, ports)| {
                let ports: Vec<Value> = ports
                    .iter()
                    .map(|port| json!({ "port": port, "protocol": "" }))
                    .collect();
                json!({ "hostname": hostname, "ports": ports })
            })
            .into_iter()
            .collect();
        let patch = Patch::Merge(json!({ "status": { "loadBalancer": { "ingress": entries } } }));
        let api = self.ingresses(&ingress.namespace);
        match self
            .in_line(api.patch_status(&ingress.name, &PatchParams::default(), &patch))
            .await
        {
            Err(Fault::Missing) => Ok(()),
            answer => answer.map(|_| ()),
        }
    }

    /// Makes a binding, or changes its spec and labels; annotations of its own go, which makes it be looked at anew.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn apply_binding(
        &self,
        key: &ObjectKey,
        labels: &BTreeMap<String, String>,
        spec: &BindingSpec,
    ) -> Result<(), Fault> {
        let api = self.bindings(&key.namespace);
        let metadata = ObjectMeta {
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()),
            labels: Some(labels.clone()),
            finalizers: Some(vec![BINDING_FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        };
        let object = custom::TargetGroupBinding {
            types: Some(kube::core::TypeMeta::resource::<custom::TargetGroupBinding>()),
            metadata,
            spec: spec.clone(),
            status: None,
        };
        match self.in_line(api.create(&PostParams::default(), &object)).await {
            Err(Fault::Exists) => {}
            answer => return answer.map(|_| ()),
        }
        let mut spec = json!(spec);
        for optional in ["networking", "nodeSelector"] {
            if spec.get(optional).is_none() {
                spec[optional] = Value::Null;
            }
        }
        let patch = json!({
            "metadata": { "labels": labels, "annotations": { CHECKPOINT: null, CHECKPOINT_TIMESTAMP: null } },
            "spec": spec,
        });
        self.in_line(api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)))
            .await
            .map(|_| ())
    }

    /// Deletes a binding; its finalizer is taken off when its unit has seen that.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn delete_binding(&self, key: &ObjectKey) -> Result<(), Fault> {
        match self
            .in_line(
                self.bindings(&key.namespace)
                    .delete(&key.name, &DeleteParams::default()),
            )
            .await
        {
            Err(Fault::Missing) => Ok(()),
            answer => answer.map(|_| ()),
        }
    }

    /// Lets a deleted binding go.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn release_binding(&self, key: &ObjectKey) -> Result<(), Fault> {
        let api = self.bindings(&key.namespace);
        let object = match self.of_binding(api.get(&key.name)).await {
            Err(Fault::Missing) => return Ok(()),
            answer => answer?,
        };
        let kept: Vec<&String> = object.finalizers().iter().filter(|f| *f != BINDING_FINALIZER).collect();
        let patch = json!({ "metadata": { "resourceVersion": object.resource_version(), "finalizers": kept } });
        match self
            .of_binding(api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch)))
            .await
        {
            Err(Fault::Missing) => Ok(()),
            answer => answer.map(|_| ()),
        }
    }

    /// Marks a binding as brought in line at `seconds` since 1970, or takes the mark off before something is changed.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn set_checkpoint(&self, key: &ObjectKey, mark: Option<(&str, i64)>) -> Result<(), Fault> {
        let patch = Patch::Merge(json!({ "metadata": { "annotations": {
            CHECKPOINT: mark.map(|(checkpoint, _)| checkpoint),
            CHECKPOINT_TIMESTAMP: mark.map(|(_, seconds)| seconds.to_string()),
        } } }));
        match self
            .of_binding(
                self.bindings(&key.namespace)
                    .patch(&key.name, &PatchParams::default(), &patch),
            )
            .await
        {
            Err(Fault::Missing) => Ok(()),
            answer => answer.map(|_| ()),
        }
    }

    /// Says which generation of a binding was acted upon.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn set_observed_generation(&self, key: &ObjectKey, generation: i64) -> Result<(), Fault> {
        let patch = Patch::Merge(json!({ "status": { "observedGeneration": generation } }));
        match self
            .of_binding(
                self.bindings(&key.namespace)
                    .patch_status(&key.name, &PatchParams::default(), &patch),
            )
            .await
        {
            Err(Fault::Missing) => Ok(()),
            answer => answer.map(|_| ()),
        }
    }

    /// A page of the LoadBalancer objects as they are at this moment, and where the next one goes on. Each holds the memory
    /// of a group: all of them at once would be the most that albacore ever holds.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn list_load_balancers(
        &self,
        from: Option<String>,
    ) -> Result<(Vec<LoadBalancer>, Option<String>), Fault> {
        let page = ListParams {
            continue_token: from,
            ..ListParams::default().limit(PAGE)
        };
        let list = self.in_line(self.load_balancers().list(&page)).await?;
        let next = list.metadata.continue_.filter(|token| !token.is_empty());
        Ok((list.items, next))
    }

    /// Makes the object of a group, unless it is there.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn create_load_balancer(&self, name: &str, group: &GroupKey) -> Result<(), Fault> {
        let object = LoadBalancer::new(name, LoadBalancerSpec { group: group.stack() });
        match self
            .in_line(self.load_balancers().create(&PostParams::default(), &object))
            .await
        {
            Err(Fault::Exists) => Ok(()),
            answer => answer.map(|_| ()),
        }
    }

    /// Changes parts of the status of a LoadBalancer object.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn patch_load_balancer(&self, name: &str, status: Value) -> Result<(), Fault> {
        let patch = Patch::Merge(json!({ "status": status }));
        self.in_line(
            self.load_balancers()
                .patch_status(name, &PatchParams::default(), &patch),
        )
        .await
        .map(|_| ())
    }

    /// Deletes the object of a group.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn delete_load_balancer(&self, name: &str) -> Result<(), Fault> {
        match self
            .in_line(self.load_balancers().delete(name, &DeleteParams::default()))
            .await
        {
            Err(Fault::Missing) => Ok(()),
            answer => answer.map(|_| ()),
        }
    }

    /// The status of the ClusterNetwork object; made when it is not there.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn cluster_network(&self) -> Result<custom::ClusterNetworkStatus, Fault> {
        let api: Api<ClusterNetwork> = Api::all(self.client.clone());
        match self.in_line(api.get(CLUSTER_NETWORK)).await {
            Err(Fault::Missing) => {
                let object = ClusterNetwork::new(CLUSTER_NETWORK, ClusterNetworkSpec {});
                self.in_line(api.create(&PostParams::default(), &object))
                    .await
                    .map(|made| made.status.unwrap_or_default())
            }
            answer => answer.map(|object| object.status.unwrap_or_default()),
        }
    }

    /// Changes parts of the status of the ClusterNetwork object; made when somebody deleted it.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn patch_cluster_network(&self, status: Value) -> Result<(), Fault> {
        let api: Api<ClusterNetwork> = Api::all(self.client.clone());
        let patch = Patch::Merge(json!({ "status": status }));
        let (name, how) = (CLUSTER_NETWORK, PatchParams::default());
        let patched = match self.in_line(api.patch_status(name, &how, &patch)).await {
            Err(Fault::Missing) => {
                self.cluster_network().await?;
                self.in_line(api.patch_status(name, &how, &patch)).await
            }
            patched => patched,
        };
        patched.map(|_| ())
    }
}
