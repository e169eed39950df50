//! The managed security group of a group.

use super::{
    Mutation, Ref,
    group::{Draft, from},
    tags::Retag,
};
use crate::model::{Permission, SecurityGroupId};

/// Makes it or brings it in line; rules are added before others are taken away.
pub(super) fn build(draft: &mut Draft) -> Option<Ref<SecurityGroupId>> {
    let wanted = draft.intent.security_group.as_ref()?;
    let Some(have) = &draft.observed.security_group else {
        let step = draft.order.build(
            None,
            Mutation::CreateSecurityGroup {
                vpc: draft.intent.vpc.clone(),
                name: wanted.name.clone(),
                description: wanted.description.clone(),
                tags: wanted.tags.clone(),
            },
        );
        if !wanted.ingress.is_empty() {
            let call = Mutation::AuthorizeIngress {
                group: from(step),
                permissions: wanted.ingress.clone(),
            };
            draft.order.build(None, call);
        }
        return Some(from(step));
    };
    let missing: Vec<Permission> = wanted
        .ingress
        .iter()
        .filter(|p| !have.group.ingress.contains(p))
        .cloned()
        .collect();
    if !missing.is_empty() {
        let call = Mutation::AuthorizeIngress {
            group: Ref::Known(have.id.clone()),
            permissions: missing,
        };
        draft.order.build(None, call);
    }
    let surplus: Vec<Permission> = have
        .group
        .ingress
        .iter()
        .filter(|p| !wanted.ingress.contains(p))
        .cloned()
        .collect();
    if !surplus.is_empty() {
        draft.order.remove(Mutation::RevokeIngress {
            group: have.id.clone(),
            permissions: surplus,
        });
    }
    let tags = Retag::between(&have.group.tags, &wanted.tags, &draft.readiness.external_tags);
    if !tags.set.is_empty() {
        draft.order.build(
            None,
            Mutation::TagSecurityGroup {
                group: have.id.clone(),
                tags: tags.set,
            },
        );
    }
    if !tags.remove.is_empty() {
        draft.order.build(
            None,
            Mutation::UntagSecurityGroup {
                group: have.id.clone(),
                keys: tags.remove,
            },
        );
    }
    Some(Ref::Known(have.id.clone()))
}
