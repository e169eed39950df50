//! One task of the cluster network: the shared backend security group, and the rules on nodes and pods.

use super::{Controller, Outcome, group::rarely, queue::Generation, refused, state};
use crate::{
    aws::{Class, Fault, INTERFACES},
    execute::Stopped,
    facts::TargetGroupBinding,
    k8s::memory,
    model::*,
    network::{self, HostGroups, Needs},
    plan::{self, Mutation, NetworkIntent, NetworkObserved, Ref, Step},
};
use serde_json::json;
use std::{collections::BTreeSet, time::Duration};
use tokio::time::Instant;

/// How soon AWS is looked at again that differs from what was read a moment ago.
pub(super) const AGREE: Duration = Duration::from_secs(10);
/// How soon an instance without a security group that can be chosen is looked up again.
const GROUPLESS: Duration = Duration::from_secs(600);
/// Rounds of one task.
pub(super) const ROUNDS: u32 = 8;

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
            let doubtful = notes.network_doubtful.is_some() || notes.network_unproven.is_some();
            (notes.network.clone(), doubtful, unproven && !doubtful)
        };
        if after.observed != before.observed {
            // Groups wait for the backend group, bindings for their rules.
            let cluster = self.cluster();
            for unit in cluster.units().into_iter().filter(|unit| *unit != Unit::Network) {
                self.wake(unit, Duration::ZERO);
            }
        }
        if (after != before || proven || self.notes().network_unsaved)
            && !doubtful
            && let Err(outcome) = self.save_network(None).await
        {
            return outcome;
        }
        outcome
    }

    async fn try_network(&self, generation: &mut Generation) -> Outcome {
        let mut corrected = false;
        for _ in 0..ROUNDS {
            let (intent, observed) = match self.look_at_network().await {
                Ok(Some(known)) => known,
                Ok(None) => continue,
                Err(fault) => return Outcome::of(&fault),
            };
            let mut plan = plan::network::plan(&intent, &observed, &self.settings.external_managed_tags);
            let deletes = |step: &Step| matches!(step.call, Mutation::DeleteSecurityGroup { .. });
            if let (true, Some(backend)) = (plan.steps.iter().any(deletes), &observed.backend) {
                let unused = if self.has_load_balancers_of(&backend.id) {
                    self.aws.will_wait(&backend.id).await;
                    Ok(false)
                } else {
                    self.aws.is_unused(&Unit::Network, &backend.id).await
                };
                match unused {
                    Ok(true) => self.notes().network_waits_since = None,
                    Ok(false) => {
                        let since = *self.notes().network_waits_since.get_or_insert_with(Instant::now);
                        plan.steps.retain(|step| !deletes(step));
                        if plan.steps.is_empty() {
                            return Outcome::Waiting {
                                on: "network interfaces of deleted load balancers to go".to_owned(),
                                again: INTERFACES.max(rarely(since.elapsed())),
                            };
                        }
                    }
                    Err(fault) => return Outcome::of(&fault),
                }
            }
            if plan.steps.is_empty() {
                let mut notes = self.notes();
                notes.network_waits_since = None;
                return match (notes.network_unproven, notes.breaker.shrunk(&Unit::Network)) {
                    (Some(until), _) => Outcome::until_proven(until),
                    (None, Some(again)) => Outcome::Waiting {
                        on: "objects that vanished to come back".to_owned(),
                        again,
                    },
                    (None, None) if notes.groupless.is_empty() => Outcome::Settled,
                    (None, None) => Outcome::Waiting {
                        on: "security groups of instances".to_owned(),
                        again: GROUPLESS,
                    },
                };
            }
            let in_flight: BTreeSet<&str> = plan.steps.iter().map(|step| step.call.operation()).collect();
            if let Err(outcome) = self.save_network(Some(json!(in_flight))).await {
                return outcome;
            }
            match self.open_and_close(&plan.steps, observed, generation).await {
                Ok(faults) => {
                    // What is gone has no tags by which a permission could be given.
                    let is_of_memory =
                        |fault: &Fault| matches!(fault.class, Class::Missing | Class::Conflict | Class::Denied);
                    let wrong_memory = faults.iter().any(is_of_memory);
                    let mut notes = self.notes();
                    if wrong_memory || faults.iter().any(Fault::outcome_unknown) {
                        notes.doubt(&Unit::Network);
                    }
                    // What a person has to do something about is told first.
                    let denied = faults.iter().find(|fault| fault.class == Class::Denied);
                    match denied.or(faults.last()) {
                        None => notes.network_in_use = 0,
                        Some(_) if wrong_memory && !corrected => corrected = true,
                        Some(fault) if fault.class == Class::InUse => {
                            notes.network_in_use += 1;
                            return Outcome::Waiting {
                                on: format!("AWS to let go: {fault}"),
                                again: refused::in_use(notes.network_in_use - 1),
                            };
                        }
                        Some(fault) => return Outcome::of(fault),
                    }
                }
                Err(outcome) => return outcome,
            }
        }
        Outcome::Waiting {
            on: "AWS to agree with what was read".to_owned(),
            again: AGREE,
        }
    }

    /// What the network should be and what it is; `None` when something was looked up for that, which may lead to more.
    pub(super) async fn look_at_network(&self) -> Result<Option<(NetworkIntent, NetworkObserved)>, Fault> {
        let (needs, backend) = self.network_needs();
        if !needs.unknown.is_empty() {
            let found = self.aws.host_groups(&self.settings, &needs.unknown).await?;
            let missing = needs.unknown.iter().filter(|instance| !found.contains_key(*instance));
            let mut notes = self.notes();
            notes
                .groupless
                .extend(missing.map(|instance| (instance.clone(), Instant::now())));
            notes.network.hosts.extend(found);
            return Ok(None);
        }
        let observed = self.notes().network.observed.clone();
        let doubtful = self.notes().network_doubtful.is_some();
        let intent = network::build(&self.settings, &needs, backend, &observed);
        // What is not remembered may still be there, made by a life before this one or by ALBC.
        let unseen = (intent.backend.is_some() && observed.backend.is_none())
            || (!intent.endpoint_rules.is_empty() && observed.endpoint_rules.is_empty());
        let due = self.notes().network_unproven.is_some_and(|at| at <= Instant::now());
        if !(doubtful || due || (unseen && !self.notes().network_read)) {
            return Ok(Some((intent, observed)));
        }
        let groups: BTreeSet<SecurityGroupId> = intent
            .endpoint_rules
            .keys()
            .chain(observed.endpoint_rules.keys())
            .cloned()
            .chain(self.notes().network.hosts.values().flat_map(HostGroups::all))
            .collect();
        let as_of = Instant::now();
        let read = self.aws.observe_network(Lane::Change, &self.settings, &groups).await?;
        let missing = !read.has_all_of(&observed);
        let mut notes = self.notes();
        notes.network.observed = read;
        // A doubt that is younger than what was read stays.
        notes.network_doubtful = notes.network_doubtful.filter(|since| *since > as_of);
        let since = notes.network_written.or(missing.then(|| self.led_since()));
        notes.network_unproven = since.and_then(state::unproven);
        notes.network_read = true;
        Ok(None)
    }

    /// Performs each step by itself: a security group that refuses, because it is full or gone, keeps no other closed.
    /// Gives what was refused.
    async fn open_and_close(
        &self,
        steps: &[Step],
        mut observed: NetworkObserved,
        generation: &mut Generation,
    ) -> Result<Vec<Fault>, Outcome> {
        let mut faults = Vec::new();
        for step in steps {
            let step = std::slice::from_ref(step);
            let ran = self.executor.run(step, &Unit::Network, generation, &mut observed).await;
            let mut notes = self.notes();
            notes.network.observed = observed.clone();
            let certain = match &ran {
                Err(Stopped::Refused { fault, .. }) => !fault.outcome_unknown(),
                Err(Stopped::Superseded | Stopped::Deposed) => true,
                Ok(()) => false,
            };
            if !certain {
                notes.network_written = Some(Instant::now());
            }
            match ran {
                Ok(()) => {}
                Err(Stopped::Superseded) => return Err(Outcome::Superseded),
                Err(Stopped::Deposed) => return Err(Outcome::Deposed),
                Err(Stopped::Refused { step, fault }) => {
                    if let (
                        Class::Missing,
                        Mutation::AuthorizeIngress {
                            group: Ref::Known(gone),
                            ..
                        },
                    ) = (fault.class, &step.call)
                    {
                        // Hosts that had it have another one now.
                        notes
                            .network
                            .hosts
                            .retain(|_, host| host.all().all(|group| group != *gone));
                    }
                    let unknown = fault.outcome_unknown();
                    faults.push(fault);
                    if unknown {
                        break;
                    }
                }
            }
        }
        Ok(faults)
    }

    /// Whether a group still has a load balancer with this security group.
    fn has_load_balancers_of(&self, backend: &SecurityGroupId) -> bool {
        let notes = self.notes();
        let mut remembered = notes
            .groups()
            .flat_map(|(_, notes)| notes.memory().observed.load_balancers);
        remembered.any(|lb| lb.load_balancer.security_groups.contains(backend))
    }

    /// Whether the targets of a binding can be reached.
    pub(crate) fn is_open_to(&self, binding: &TargetGroupBinding) -> bool {
        let notes = self.notes();
        let groupless = notes.groupless.keys().cloned().collect();
        let needs = network::needs_of(&self.cluster(), binding, &notes.network.hosts, &groupless);
        network::open(&needs, &notes.network.observed)
    }

    /// What bindings and groups need of the network.
    pub(super) fn network_needs(&self) -> (Needs, Option<bool>) {
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
        let mut needs = network::needs(&cluster, &notes.network.hosts, &groupless);
        // What vanished may stay a target.
        let ours = cluster.bindings().filter(|binding| binding.is_tended());
        let mut units = ours.map(|binding| Unit::Binding(binding.key.clone()));
        needs.undecided |= !notes.breaker.is_quiet() && units.any(|unit| notes.breaker.suspects(&unit));
        (needs, notes.backend_wanted(&groups))
    }

    async fn save_network(&self, in_flight: Option<serde_json::Value>) -> Result<(), Outcome> {
        let memory = {
            let mut notes = self.notes();
            notes.network_unsaved = true;
            notes.network.clone()
        };
        let status = json!({
            "securityGroup": memory.observed.backend.as_ref().map(|group| group.id.as_str()),
            "applied": memory::encode(&memory),
            "inFlight": in_flight,
        });
        let written = self.writer.patch_cluster_network(status).await;
        written.map_err(Outcome::said_no("the ClusterNetwork object"))?;
        self.notes().network_unsaved = in_flight.is_some();
        Ok(())
    }
}
