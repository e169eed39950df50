//! What the API server asks, and what it is answered: `AdmissionReview` of `admission.k8s.io/v1`
//! ("Dynamic Admission Control", Kubernetes documentation).

use super::pod::{Change, Pod};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};

const VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";

/// A question about a pod.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    uid: String,
    /// Where the pod will be; in the pod itself it may not stand yet.
    #[serde(default)]
    namespace: String,
    operation: String,
    resource: Resource,
    #[serde(default)]
    sub_resource: String,
    object: Option<Pod>,
}

#[derive(Debug, Deserialize)]
struct Resource {
    #[serde(default)]
    group: String,
    resource: String,
}

impl Request {
    /// What is asked.
    ///
    /// # Errors
    /// Why it is no question of an API server.
    pub fn read(body: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Review {
            api_version: String,
            kind: String,
            request: Request,
        }
        let review: Review = serde_json::from_slice(body).map_err(|error| format!("no {KIND}: {error}"))?;
        if review.api_version != VERSION || review.kind != KIND {
            let (version, kind) = (review.api_version, review.kind);
            return Err(format!("{version} {kind} is not {VERSION} {KIND}"));
        }
        Ok(review.request)
    }

    /// The pod that is to be made, and its namespace; `None` where something else is asked about, which is left as it is.
    pub fn pod(&self) -> Option<(&Pod, &str)> {
        let of_pods = (self.resource.group.as_str(), self.resource.resource.as_str()) == ("", "pods");
        let made = self.operation == "CREATE" && self.sub_resource.is_empty();
        let pod = self.object.as_ref().filter(|_| of_pods && made)?;
        let namespace = match self.namespace.as_str() {
            "" => pod.metadata.namespace.as_deref().unwrap_or_default(),
            namespace => namespace,
        };
        Some((pod, namespace))
    }

    /// The answer: the pod is allowed, changed so.
    pub fn allow(&self, change: &Change) -> Value {
        let mut response = json!({ "uid": self.uid, "allowed": true });
        if !change.patch.is_empty() {
            response["patchType"] = json!("JSONPatch");
            response["patch"] = json!(STANDARD.encode(json!(change.patch).to_string()));
        }
        if !change.warnings.is_empty() {
            response["warnings"] = json!(change.warnings);
        }
        json!({ "apiVersion": VERSION, "kind": KIND, "response": response })
    }
}
