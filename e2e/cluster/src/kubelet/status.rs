//! A pod's status from its containers' states: phase, conditions with the moments they changed, container statuses.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::{Value, json};

use super::container::{Phase, State};
use super::pod::waiting;

/// What was reported, and what decides beside the containers.
pub(super) struct Status {
    node: Ipv4Addr,
    pod: Option<Ipv4Addr>,
    start: String,
    /// All init containers have succeeded.
    pub initialized: bool,
    /// Why the next container has not begun.
    pub waiting: String,
    /// Why the pod cannot be run at all.
    pub refused: Option<String>,
    since: BTreeMap<&'static str, (bool, String)>,
    reported: Option<Value>,
}

impl Status {
    pub fn new(node: Ipv4Addr, pod: Option<Ipv4Addr>) -> Self {
        let (start, since) = (super::now(), BTreeMap::new());
        Self {
            node,
            pod,
            start,
            initialized: false,
            waiting: String::new(),
            refused: None,
            since,
            reported: None,
        }
    }

    /// What was reported last may not have arrived: the next status is reported in any case.
    pub fn forget(&mut self) {
        self.reported = None;
    }

    /// The status to report, or `None` when it is the one reported last.
    pub fn next(
        &mut self,
        pod: &Pod,
        init: &BTreeMap<String, State>,
        members: &BTreeMap<String, State>,
    ) -> Option<Value> {
        let spec = pod.spec.clone().unwrap_or_default();
        let absent = waiting(&self.waiting);
        let list = |specs: &[Container], states: &BTreeMap<String, State>| -> Vec<Value> {
            specs
                .iter()
                .map(|spec| states.get(&spec.name).unwrap_or(&absent).json(spec))
                .collect()
        };
        let init_specs = spec.init_containers.unwrap_or_default();
        let all_begun = members.len() == spec.containers.len();
        let containers_ready = all_begun && !members.is_empty() && members.values().all(|state| state.ready);
        let gates: Vec<&str> = spec
            .readiness_gates
            .iter()
            .flatten()
            .map(|gate| gate.condition_type.as_str())
            .collect();
        let ready = containers_ready && gates.iter().all(|gate| is_true(pod, gate));
        let phase = self.phase(init, members, all_begun);
        let reason = if phase == "Succeeded" {
            "PodCompleted"
        } else if containers_ready {
            "ReadinessGatesNotReady"
        } else {
            "ContainersNotReady"
        };
        let conditions = [
            self.condition("PodReadyToStartContainers", self.pod.is_some(), ""),
            self.condition("Initialized", self.initialized, "ContainersNotInitialized"),
            self.condition("ContainersReady", containers_ready, reason),
            self.condition("Ready", ready, reason),
        ];
        let mut status = json!({
            "phase": phase,
            "message": self.refused,
            "hostIP": self.node, "hostIPs": [{"ip": self.node}],
            "startTime": self.start,
            "conditions": conditions,
            "initContainerStatuses": list(&init_specs, init),
            "containerStatuses": list(&spec.containers, members),
        });
        if let Some(address) = self.pod {
            status["podIP"] = json!(address);
            status["podIPs"] = json!([{"ip": address}]);
        }
        if self.reported.as_ref() == Some(&status) {
            return None;
        }
        self.reported = Some(status.clone());
        Some(status)
    }

    fn phase(
        &self,
        init: &BTreeMap<String, State>,
        members: &BTreeMap<String, State>,
        all_begun: bool,
    ) -> &'static str {
        if self.refused.is_some() || init.values().any(|state| state.over().is_some_and(|code| code != 0)) {
            return "Failed";
        }
        if !all_begun || members.is_empty() {
            return "Pending";
        }
        let codes: Option<Vec<i32>> = members.values().map(State::over).collect();
        match codes {
            Some(codes) if codes.iter().all(|&code| code == 0) => "Succeeded",
            Some(_) => "Failed",
            None if members
                .values()
                .all(|state| matches!(state.now, Phase::Waiting { .. }) && state.last.is_none()) =>
            {
                "Pending"
            }
            None => "Running",
        }
    }

    fn condition(&mut self, name: &'static str, holds: bool, reason: &str) -> Value {
        let changed = self.since.get(name).is_none_or(|(before, _)| *before != holds);
        if changed {
            self.since.insert(name, (holds, super::now()));
        }
        let since = self.since.get(name).map(|(_, since)| since);
        let reason = if holds { "" } else { reason };
        json!({"type": name, "status": if holds { "True" } else { "False" }, "reason": reason, "lastTransitionTime": since})
    }
}

fn is_true(pod: &Pod, condition: &str) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions
        .clone()
        .any(|found| found.type_ == condition && found.status == "True")
}

#[test]
fn a_pod_is_ready_when_its_containers_and_its_gates_are() {
    let pod = |gate: &str| -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p"},
            "spec": {"containers": [{"name": "c"}], "readinessGates": [{"conditionType": "gate"}]},
            "status": {"conditions": [{"type": "gate", "status": gate}]}}))
        .unwrap()
    };
    let up = State {
        now: Phase::Running { since: super::now() },
        ready: true,
        started: true,
        ..State::default()
    };
    let members = BTreeMap::from([("c".to_owned(), up)]);
    let mut status = Status::new(Ipv4Addr::LOCALHOST, Some(Ipv4Addr::LOCALHOST));
    let ready = |status: &Value| status["conditions"][3]["status"].clone();
    let closed = status.next(&pod("False"), &BTreeMap::new(), &members).unwrap();
    assert_eq!(
        (ready(&closed), &closed["conditions"][2]["status"]),
        (json!("False"), &json!("True"))
    );
    assert_eq!(closed["conditions"][3]["reason"], "ReadinessGatesNotReady");
    assert_eq!(status.next(&pod("False"), &BTreeMap::new(), &members), None);
    assert_eq!(
        ready(&status.next(&pod("True"), &BTreeMap::new(), &members).unwrap()),
        json!("True")
    );
}
