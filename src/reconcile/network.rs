//! One task of the cluster network: the shared backend security group, and the rules on nodes and pods.

use super::{
    Controller, Outcome,
    group::{failed, said_no},
    queue::Generation,
    state,
};
use crate::{
    aws::Class,
    execute::Stopped,
    k8s::memory,
    model::*,
    network::{self, HostGroups, Needs},
    plan,
};
use serde_json::json;
use std::{collections::BTreeSet, time::Duration};
use tokio::time::Instant;

/// How soon a deletion is tried again that AWS refuses because network interfaces are still there.
const IN_USE: Duration = Duration::from_secs(10);
/// How soon an instance without a security group that can be chosen is looked up again.
const GROUPLESS: Duration = Duration::from_secs(600);
/// Rounds of one task.
const ROUNDS: u32 = 8;

impl Controller {
    /// Brings the shared parts in line with what groups and bindings need.
    pub(super) async fn reconcile_network(&self, generation: &mut Generation) -> Outcome {
        let (before, unproven) = {
            let notes = self.notes();
            (notes.network.clone(), notes.network_unproven.is_some())
        };
        let outcome = self.try_network(generation).await;
        let (after, doubtful, proven) = {
            let notes = self.notes();
            let doubtful = notes.network_doubtful || notes.network_unproven.is_some();
            (notes.network.clone(), doubtful, unproven && !doubtful)
        };
        if (after != before || proven)
            && !doubtful
            && let Err(outcome) = self.save_network(None).await
        {
            return outcome;
        }
        if after.observed != before.observed {
            // Groups wait for the backend group, bindings for their rules.
            let cluster = self.cluster();
            for unit in cluster.units().into_iter().filter(|unit| *unit != Unit::Network) {
                self.wake(unit, Duration::ZERO);
            }
        }
        outcome
    }

    async fn try_network(&self, generation: &mut Generation) -> Outcome {
        for _ in 0..ROUNDS {
            let (needs, backend) = self.network_needs();
            if !needs.unknown.is_empty() {
                match self.aws.host_groups(&self.settings, &needs.unknown).await {
                    Ok(found) => {
                        let missing = needs.unknown.iter().filter(|instance| !found.contains_key(*instance));
                        let mut notes = self.notes();
                        notes
                            .groupless
                            .extend(missing.map(|instance| (instance.clone(), Instant::now())));
                        notes.network.hosts.extend(found);
                        continue;
                    }
                    Err(fault) => return failed(&fault),
                }
            }
            let observed = self.notes().network.observed.clone();
            let doubtful = self.notes().network_doubtful;
            let intent = network::build(&self.settings, &needs, backend, &observed);
            // A group that is not remembered may still be there, made by a life before this one or by ALBC.
            let unseen = intent.backend.is_some() && observed.backend.is_none();
            let due = self.notes().network_unproven.is_some_and(|at| at <= Instant::now());
            if doubtful || due || (unseen && !self.notes().network_read) {
                let groups: BTreeSet<SecurityGroupId> = intent
                    .endpoint_rules
                    .keys()
                    .chain(observed.endpoint_rules.keys())
                    .cloned()
                    .chain(self.notes().network.hosts.values().flat_map(HostGroups::all))
                    .collect();
                match self.aws.observe_network(&self.settings, &groups).await {
                    Ok(read) => {
                        let missing = !read.has_all_of(&observed);
                        let mut notes = self.notes();
                        notes.network.observed = read;
                        notes.network_doubtful = false;
                        let since = notes.network_made.or(missing.then(|| self.led_since()));
                        notes.network_unproven = since.filter(|_| doubtful || missing).and_then(state::unproven);
                        notes.network_read = true;
                        continue;
                    }
                    Err(fault) => return failed(&fault),
                }
            }
            let plan = plan::network::plan(&intent, &observed, &self.settings.external_managed_tags);
            if plan.steps.is_empty() {
                let notes = self.notes();
                return match notes.network_unproven {
                    Some(until) => Outcome::until_proven(until),
                    None if notes.groupless.is_empty() => Outcome::Settled,
                    None => Outcome::Waiting {
                        on: "security groups of instances".to_owned(),
                        again: GROUPLESS,
                    },
                };
            }
            let in_flight: BTreeSet<&str> = plan.steps.iter().map(|step| step.call.operation()).collect();
            if let Err(outcome) = self.save_network(Some(json!(in_flight))).await {
                return outcome;
            }
            let mut observed = observed;
            let ran = self
                .executor
                .run(&plan.steps, &Unit::Network, generation, &mut observed)
                .await;
            {
                let mut notes = self.notes();
                notes.network.observed = observed;
                if plan.steps.iter().any(|step| step.call.adds()) {
                    notes.network_made = Some(Instant::now());
                }
            }
            match ran {
                Ok(()) => {}
                Err(Stopped::Superseded) => return Outcome::Superseded,
                Err(Stopped::Deposed) => return Outcome::Deposed,
                Err(Stopped::Refused { fault, .. }) => {
                    if fault.outcome_unknown() {
                        self.notes().network_doubtful = true;
                        return failed(&fault);
                    }
                    match fault.class {
                        Class::Missing | Class::Conflict | Class::OverQuota => self.notes().network_doubtful = true,
                        Class::InUse => {
                            return Outcome::Waiting {
                                on: format!("AWS to let go: {fault}"),
                                again: IN_USE,
                            };
                        }
                        _ => return failed(&fault),
                    }
                }
            }
        }
        Outcome::Waiting {
            on: "AWS to agree with what was read".to_owned(),
            again: IN_USE,
        }
    }

    /// What bindings and groups need of the network.
    pub(crate) fn network_needs(&self) -> (Needs, Option<bool>) {
        let mut notes = self.notes();
        let cluster = self.cluster();
        let nodes: BTreeSet<&InstanceId> = cluster.nodes().filter_map(|node| node.instance.as_ref()).collect();
        notes.network.hosts.retain(|instance, _| nodes.contains(instance));
        notes
            .groupless
            .retain(|instance, since| nodes.contains(instance) && since.elapsed() < GROUPLESS);
        let groupless = notes.groupless.keys().cloned().collect();
        // One that lost its members unseen still has its load balancer.
        let remembered = notes.groups().filter(|(_, notes)| notes.known()).map(|(key, _)| key);
        let groups = cluster.groups().chain(remembered).cloned().collect();
        (
            network::needs(&cluster, &notes.network.hosts, &groupless),
            notes.backend_wanted(&groups),
        )
    }

    async fn save_network(&self, in_flight: Option<serde_json::Value>) -> Result<(), Outcome> {
        let memory = self.notes().network.clone();
        let status = json!({
            "securityGroup": memory.observed.backend.as_ref().map(|group| group.id.as_str()),
            "applied": memory::encode(&memory),
            "inFlight": in_flight,
        });
        self.writer.patch_cluster_network(status).await.map_err(said_no)
    }
}
