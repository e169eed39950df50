//! The TargetGroupBindings of a group: one for each of its target groups.

use super::{Outcome, group::Task};
use crate::{
    k8s::custom::{
        BindingSpec, Networking, NetworkingIngress, NetworkingPeer, NetworkingPort, SecurityGroup, Selector, ServiceRef,
    },
    model::*,
    plan::{IntendedTargetGroup, Intent, ObservedTargetGroup},
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;

/// Bindings that are not as they should be.
pub(super) struct DueBindings {
    /// Made or changed.
    pub written: BTreeMap<ObjectKey, BindingSpec>,
    /// Deleted.
    pub deleted: Vec<ObjectKey>,
}

impl Task<'_> {
    /// Makes, changes and deletes bindings so that each target group that AWS holds for the group has one.
    pub(super) async fn bindings(&self, intent: &Intent) -> Result<(), Outcome> {
        let labels = labels(self.key);
        let due = self.due_bindings(intent);
        for (key, spec) in &due.written {
            let hash = crate::k8s::convert::spec_hash(spec);
            if !self.controller.wrote_binding(key, &hash) {
                self.controller
                    .writer
                    .apply_binding(key, &labels, spec)
                    .await
                    .map_err(Outcome::said_no(format_args!("TargetGroupBinding {key}")))?;
                self.controller.note_binding(key, &hash);
            }
        }
        if self.controller.notes().group(self.key).unproven.is_some() {
            // A target group that AWS does not show yet may still be there, and serve.
            return Ok(());
        }
        for key in &due.deleted {
            let deleted = self.controller.writer.delete_binding(key).await;
            deleted.map_err(Outcome::said_no(format_args!("the end of TargetGroupBinding {key}")))?;
        }
        Ok(())
    }

    /// What is to be done to the bindings that are there.
    pub(super) fn due_bindings(&self, intent: &Intent) -> DueBindings {
        let mut wanted: BTreeMap<ObjectKey, Option<BindingSpec>> = BTreeMap::new();
        for group in &self.memory.observed.target_groups {
            if let Some(of) = self.intended(intent, group) {
                let key = self.name_of(of, group);
                wanted.insert(key, self.spec(intent, of, group));
            }
        }
        let existing: BTreeMap<ObjectKey, (String, bool)> = {
            let cluster = self.controller.cluster();
            let ours = cluster.bindings_of(self.key);
            ours.map(|binding| (binding.key.clone(), (binding.spec_hash.clone(), binding.deleting)))
                .collect()
        };
        let stale = |(key, (_, deleting)): &(&ObjectKey, &(String, bool))| !deleting && !wanted.contains_key(*key);
        let deleted = existing.iter().filter(stale).map(|(key, _)| key.clone()).collect();
        let differs = |(key, spec): &(ObjectKey, BindingSpec)| {
            let known = existing.get(key).map(|(known, _)| known);
            known != Some(&crate::k8s::convert::spec_hash(spec))
        };
        let known = wanted.into_iter().filter_map(|(key, spec)| Some((key, spec?)));
        DueBindings {
            written: known.filter(differs).collect(),
            deleted,
        }
    }

    /// The part of the intent that a target group serves, by its resource tag.
    fn intended<'i>(&self, intent: &'i Intent, group: &ObservedTargetGroup) -> Option<&'i IntendedTargetGroup> {
        let resource = TargetGroupKey(group.group.tags.get(tags::RESOURCE)?.clone());
        let aliased = || {
            intent
                .target_groups
                .values()
                .find(|wanted| wanted.alias.as_ref() == Some(&resource))
        };
        intent.target_groups.get(&resource).or_else(aliased)
    }

    /// The binding of a target group: one that is bound to it already keeps its name, a new one is called like the
    /// target group.
    fn name_of(&self, of: &IntendedTargetGroup, group: &ObservedTargetGroup) -> ObjectKey {
        let cluster = self.controller.cluster();
        let mut ours = cluster.bindings_of(self.key);
        let bound = ours.find(|binding| binding.target_group == group.arn.as_str());
        let fresh = || ObjectKey::new(&of.binding.service.namespace, &group.group.name);
        bound.map_or_else(fresh, |binding| binding.key.clone())
    }

    /// `None` while it is not known from where its targets are to be reached: a binding without that would close what
    /// is open.
    fn spec(&self, intent: &Intent, of: &IntendedTargetGroup, group: &ObservedTargetGroup) -> Option<BindingSpec> {
        let source = |source: &SecurityGroupRef| match source {
            SecurityGroupRef::Id(id) => Some(id.clone()),
            SecurityGroupRef::Backend => self.controller.backend_group(),
            SecurityGroupRef::Managed => self
                .memory
                .observed
                .security_group
                .as_ref()
                .map(|group| group.id.clone()),
        };
        let networking = of.binding.networking.as_ref().map(|networking| {
            let from = NetworkingPeer {
                security_group: Some(SecurityGroup {
                    group_id: source(&networking.source)?.to_string(),
                }),
                ip_block: None,
            };
            let rule = |port: &PortRef| NetworkingIngress {
                from: vec![from.clone()],
                ports: vec![NetworkingPort {
                    protocol: Some("TCP".to_owned()),
                    port: Some(int_or_string(port)),
                }],
            };
            Some(Networking {
                ingress: networking.ports.iter().map(rule).collect(),
            })
        });
        let networking = match networking {
            Some(known) => Some(known?),
            None => None,
        };
        Some(BindingSpec {
            target_group_arn: Some(group.arn.to_string()),
            target_group_name: None,
            multi_cluster_target_group: None,
            target_type: Some(group.group.target_type.name().to_owned()),
            target_group_protocol: Some(group.group.protocol.clone()),
            service_ref: ServiceRef {
                name: of.binding.service.name.clone(),
                port: int_or_string(&of.binding.service_port),
            },
            networking,
            node_selector: of.binding.node_selector.as_ref().map(|labels| Selector {
                match_labels: labels.clone(),
                match_expressions: Vec::new(),
            }),
            ip_address_type: Some(group.group.ip_address_type.clone()),
            vpc_id: Some(intent.vpc.to_string()),
        })
    }
}

fn int_or_string(port: &PortRef) -> IntOrString {
    match port {
        PortRef::Number(number) => IntOrString::Int((*number).into()),
        PortRef::Name(name) => IntOrString::String(name.clone()),
    }
}

/// The labels by which the bindings of a group are found.
fn labels(group: &GroupKey) -> BTreeMap<String, String> {
    match group {
        GroupKey::Explicit(name) => BTreeMap::from([(tags::STACK.to_owned(), name.clone())]),
        GroupKey::Implicit(member) => BTreeMap::from([
            (format!("{}-namespace", tags::STACK), member.namespace.clone()),
            (format!("{}-name", tags::STACK), member.name.clone()),
        ]),
    }
}
