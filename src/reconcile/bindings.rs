//! The TargetGroupBindings of a group: one for each of its target groups.

use super::{
    Outcome,
    group::{Task, said_no},
};
use crate::{
    k8s::custom::{
        BindingSpec, Networking, NetworkingIngress, NetworkingPeer, NetworkingPort, SecurityGroup, Selector, ServiceRef,
    },
    model::*,
    plan::{IntendedTargetGroup, Intent, ObservedTargetGroup},
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::{BTreeMap, BTreeSet};

impl Task<'_> {
    /// Makes, changes and deletes bindings so that each target group that AWS holds for the group has one.
    pub(super) async fn bindings(&self, intent: &Intent) -> Result<(), Outcome> {
        let mut wanted: BTreeMap<ObjectKey, BindingSpec> = BTreeMap::new();
        for group in &self.memory.observed.target_groups {
            if let Some(of) = self.intended(intent, group) {
                let key = self.name_of(of, group);
                wanted.insert(key, self.spec(intent, of, group));
            }
        }
        let labels = labels(self.key);
        let existing: BTreeMap<ObjectKey, (String, bool)> = {
            let cluster = self.controller.cluster();
            let ours = cluster
                .bindings()
                .filter(|binding| binding.group.as_ref() == Some(self.key));
            ours.map(|binding| (binding.key.clone(), (binding.spec_hash.clone(), binding.deleting)))
                .collect()
        };
        for (key, spec) in &wanted {
            let hash = crate::k8s::convert::spec_hash(spec);
            let same = existing.get(key).is_some_and(|(known, _)| *known == hash);
            if !same && !self.controller.wrote_binding(key, &hash) {
                self.controller
                    .writer
                    .apply_binding(key, &labels, spec)
                    .await
                    .map_err(said_no)?;
                self.controller.note_binding(key, &hash);
            }
        }
        if self.controller.notes().group(self.key).unproven.is_some() {
            // A target group that AWS does not show yet may still be there, and serve.
            return Ok(());
        }
        let kept: BTreeSet<&ObjectKey> = wanted.keys().collect();
        for (key, (_, deleting)) in existing.iter().filter(|(key, _)| !kept.contains(key)) {
            if !deleting {
                self.controller.writer.delete_binding(key).await.map_err(said_no)?;
            }
        }
        Ok(())
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
        let bound = cluster
            .bindings()
            .find(|b| b.group.as_ref() == Some(self.key) && b.target_group == group.arn.as_str());
        let fresh = || ObjectKey::new(&of.binding.service.namespace, &group.group.name);
        bound.map_or_else(fresh, |binding| binding.key.clone())
    }

    fn spec(&self, intent: &Intent, of: &IntendedTargetGroup, group: &ObservedTargetGroup) -> BindingSpec {
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
        let networking = of.binding.networking.as_ref().and_then(|networking| {
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
        BindingSpec {
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
        }
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
