//! Readiness gates of Pods, as they are written.

use super::{Fault, Writer, slim::SlimPod};
use crate::{
    facts::Pod,
    model::{GATE, ObjectKey},
};
use jiff::Timestamp;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

/// The gate of a Pod that waits for a target of a binding to be healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// The Pod.
    pub pod: ObjectKey,
    /// Which one of that name.
    uid: String,
    /// Type of the condition.
    condition: String,
    /// Whether the condition is true; `None` while there is none.
    pub is_true: Option<bool>,
}

impl Gate {
    /// The gate of a Pod for a binding of that name; `None` without one.
    pub fn of(pod: &Pod, binding: &str) -> Option<Self> {
        Some(Self {
            is_true: pod.gate(binding)?,
            pod: pod.key.clone(),
            uid: pod.gates.as_ref()?.uid.clone(),
            condition: format!("{GATE}{binding}"),
        })
    }
}

impl Writer {
    /// Writes the condition of a gate. A Pod that is gone, or is another one by now, needs none.
    ///
    /// # Errors
    /// What the API server said.
    pub async fn set_gate(
        &self,
        gate: &Gate,
        is_true: bool,
        reason: &str,
        message: &str,
        now: Timestamp,
    ) -> Result<(), Fault> {
        let mut condition = json!({
            "type": gate.condition,
            "status": if is_true { "True" } else { "False" },
            "reason": reason,
            "message": message,
        });
        if gate.is_true != Some(is_true) {
            condition["lastTransitionTime"] = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
        }
        // Conditions are merged by their type; a UID cannot be changed, so another Pod of that name is not touched.
        let patch = Patch::Strategic(json!({
            "metadata": { "uid": gate.uid },
            "status": { "conditions": [condition] },
        }));
        let api: Api<SlimPod> = Api::namespaced(self.client().clone(), &gate.pod.namespace);
        let params = PatchParams::default();
        match self.of_binding(api.patch_status(&gate.pod.name, &params, &patch)).await {
            Err(Fault::Missing) => Ok(()),
            Err(Fault::Rejected(why)) if why.contains("metadata.uid") => Ok(()),
            answer => answer.map(|_| ()),
        }
    }
}
