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
}

impl Gate {
    /// The gate of a Pod for a binding of that name; `None` without one.
    pub fn of(pod: &Pod, binding: &str) -> Option<Self> {
        pod.gate(binding)?;
        Some(Self {
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
        // Conditions are merged by their type, and the UID is a precondition.
        let patch = Patch::Strategic(json!({
            "metadata": { "uid": gate.uid },
            "status": { "conditions": [{
                "type": gate.condition,
                "status": if is_true { "True" } else { "False" },
                "reason": reason,
                "message": message,
                "lastTransitionTime": now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            }] },
        }));
        let api: Api<SlimPod> = Api::namespaced(self.client().clone(), &gate.pod.namespace);
        let params = PatchParams::default();
        match self.of_binding(api.patch_status(&gate.pod.name, &params, &patch)).await {
            Err(Fault::Missing | Fault::Conflict) => Ok(()),
            answer => answer.map(|_| ()),
        }
    }
}
