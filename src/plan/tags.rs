//! Which tags to set and which to remove.

use super::{Mutation, order::Order};
use crate::model::{
    ObjectKey, Tags,
    tags::{LEGACY, RESOURCE},
};
use std::collections::BTreeSet;

/// What separates two sets of tags.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Retag {
    /// To be added or changed.
    pub set: Tags,
    /// To be removed.
    pub remove: Vec<String>,
}

impl Retag {
    /// From what a resource has to what it should have; `external` keys are neither set nor removed.
    pub fn between(have: &Tags, want: &Tags, external: &BTreeSet<String>) -> Self {
        Self {
            set: want
                .iter()
                .filter(|(key, value)| have.get(*key) != Some(value) && !external.contains(*key))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            remove: have
                .keys()
                .filter(|key| !want.contains_key(*key) && !external.contains(*key) && is_removable(key))
                .cloned()
                .collect(),
        }
    }

    /// Steps for an ELBv2 resource. A rule's tag that only follows its place ([`RESOURCE`]) can wait for spare budget.
    pub fn plan(self, order: &mut Order, owner: Option<&ObjectKey>, resource: &str) {
        let follows_place = self.remove.is_empty() && self.set.keys().all(|key| key == RESOURCE);
        if !self.set.is_empty() {
            let call = Mutation::AddTags {
                resource: resource.to_owned(),
                tags: self.set,
            };
            if follows_place {
                order.tidy(owner, call);
            } else {
                order.build(owner, call);
            }
        }
        if !self.remove.is_empty() {
            let call = Mutation::RemoveTags {
                resource: resource.to_owned(),
                keys: self.remove,
            };
            order.build(owner, call);
        }
    }
}

/// AWS' own tags cannot be removed; legacy ones let the first generation of ALBC find its resources again.
fn is_removable(key: &str) -> bool {
    !key.starts_with("aws:") && !key.starts_with("kubernetes.io/cluster/") && !LEGACY.contains(&key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> Tags {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn legacy_external_and_aws_tags_are_never_removed() {
        let have = tags(&[
            ("aws:cloudformation:stack-name", "x"),
            ("kubernetes.io/cluster/demo", "owned"),
            ("kubernetes.io/ingress-name", "main"),
            ("ingress.k8s.aws/cluster", "demo"),
            ("CostCenter", "42"),
            ("old", "1"),
            ("kept", "1"),
        ]);
        let want = tags(&[("kept", "2"), ("new", "1"), ("CostCenter", "7")]);
        let external = BTreeSet::from(["CostCenter".to_owned()]);
        assert_eq!(
            Retag::between(&have, &want, &external),
            Retag {
                set: tags(&[("kept", "2"), ("new", "1")]),
                remove: vec!["old".to_owned()],
            }
        );
    }
}
