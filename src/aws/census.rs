//! What the account holds of Elastic Load Balancing, listed once for all groups that read at the same time.
//!
//! ```text
//! group ─┐              ┌─► load balancers and target groups of the VPC, by pages
//! group ─┼─► one Census ┼─► tags, twenty a call, filled up with those that somebody else will ask for
//! group ─┘              └─► managed security groups of the cluster
//! ```
//! It lives as long as somebody uses it. A reader says which moment it must not be older than.

use super::{
    Class, Fault,
    observe::{Observe, TAGGED},
};
use crate::{
    budget::Saving,
    model::*,
    plan::{Observed, ObservedSecurityGroup},
};
use aws_sdk_elasticloadbalancingv2::types as elb;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError, Weak},
};
use tokio::time::Instant;

/// The census that is in use, if any; clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Census(Arc<Mutex<Weak<Sheet>>>);

/// A census; who reads it holds it, so that others find it.
pub(super) type Sheet = tokio::sync::Mutex<Option<Lists>>;

/// What was listed.
#[derive(Debug)]
pub(super) struct Lists {
    taken: Instant,
    /// What it took to list it.
    calls: u64,
    load_balancers: Vec<elb::LoadBalancer>,
    target_groups: Vec<elb::TargetGroup>,
    security_groups: Vec<ObservedSecurityGroup>,
    /// Tags of the ARNs that were asked for.
    tags: BTreeMap<String, Tags>,
}

/// The part of a census that is one group's.
#[derive(Debug, Default)]
pub(super) struct Share {
    pub load_balancers: Vec<(elb::LoadBalancer, Tags)>,
    pub target_groups: Vec<(elb::TargetGroup, Tags)>,
    pub security_group: Option<ObservedSecurityGroup>,
}

impl Census {
    /// The census in use, or a new one.
    pub fn sheet(&self) -> Arc<Sheet> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let sheet = Arc::default();
            *shared = Arc::downgrade(&sheet);
            sheet
        })
    }
}

impl Observe<'_> {
    /// What a census that is not older than `as_of` has of a group.
    pub(super) async fn share(
        &self,
        sheet: &Sheet,
        key: &GroupKey,
        known: &Observed,
        as_of: Instant,
    ) -> Result<Share, Fault> {
        let mut sheet = sheet.lock().await;
        // Taken out: one that AWS no longer agrees with is not put back.
        let mut lists = match sheet.take().filter(|lists| lists.taken >= as_of) {
            Some(lists) => {
                self.aws.budget.save(Saving::Census, lists.calls);
                lists
            }
            None => self.lists().await?,
        };
        let load_balancers: Vec<elb::LoadBalancer> = lists
            .load_balancers
            .iter()
            .filter(|lb| self.may_be_ours(lb, key, known))
            .cloned()
            .collect();
        let arns: BTreeSet<&str> = load_balancers.iter().filter_map(|lb| lb.load_balancer_arn()).collect();
        let target_groups: Vec<elb::TargetGroup> = lists
            .target_groups
            .iter()
            .filter(|group| {
                let attached = group.load_balancer_arns();
                attached.is_empty() || attached.iter().any(|arn| arns.contains(arn.as_str()))
            })
            .cloned()
            .collect();
        let groups = target_groups.iter().filter_map(|group| group.target_group_arn());
        let asked: BTreeSet<String> = arns.iter().copied().chain(groups).map(ToOwned::to_owned).collect();
        self.fill_in_tags(&mut lists, asked).await?;
        let ours = |arn: Option<&str>| {
            let tags = lists.tags.get(arn?)?;
            let ours =
                tags.get(tags::CLUSTER) == Some(&self.settings.cluster) && tags.get(tags::STACK) == Some(&key.stack());
            ours.then(|| tags.clone())
        };
        let load_balancers = load_balancers.into_iter().filter_map(|lb| {
            let tags = ours(lb.load_balancer_arn())?;
            Some((lb, tags))
        });
        let target_groups = target_groups.into_iter().filter_map(|group| {
            let tags = ours(group.target_group_arn())?;
            Some((group, tags))
        });
        let of_group = |group: &&ObservedSecurityGroup| group.group.tags.get(tags::STACK) == Some(&key.stack());
        let share = Share {
            load_balancers: load_balancers.collect(),
            target_groups: target_groups.collect(),
            security_group: lists.security_groups.iter().find(of_group).cloned(),
        };
        *sheet = Some(lists);
        Ok(share)
    }

    async fn lists(&self) -> Result<Lists, Fault> {
        let taken = Instant::now();
        let before = self.aws.budget.spent(self.unit).calls;
        let vpc = Some(self.settings.vpc.as_str());
        let mut load_balancers = self.load_balancers().await?;
        load_balancers
            .retain(|lb| lb.r#type == Some(elb::LoadBalancerTypeEnum::Application) && lb.vpc_id.as_deref() == vpc);
        let mut target_groups = self.target_groups().await?;
        target_groups.retain(|group| group.vpc_id.as_deref() == vpc);
        let security_groups = self.managed_security_groups().await?;
        Ok(Lists {
            taken,
            calls: self.aws.budget.spent(self.unit).calls.saturating_sub(before),
            load_balancers,
            target_groups,
            security_groups,
            tags: BTreeMap::new(),
        })
    }

    /// Tags of these ARNs, and of as many others as the same calls can tell.
    async fn fill_in_tags(&self, lists: &mut Lists, asked: BTreeSet<String>) -> Result<(), Fault> {
        let missing = |arn: &String| !lists.tags.contains_key(arn);
        let wanted: Vec<String> = asked.into_iter().filter(missing).collect();
        let spare = wanted.len().next_multiple_of(TAGGED) - wanted.len();
        let load_balancers = lists
            .load_balancers
            .iter()
            .filter_map(|lb| Some((lb.load_balancer_arn()?, lb.load_balancer_name()?)));
        let target_groups = lists
            .target_groups
            .iter()
            .filter_map(|group| Some((group.target_group_arn()?, group.target_group_name()?)));
        let others = load_balancers
            .chain(target_groups)
            .filter(|(arn, name)| {
                names::is_generated(name) && !lists.tags.contains_key(*arn) && !wanted.iter().any(|w| w == arn)
            })
            .map(|(arn, _)| arn.to_owned())
            .take(spare)
            .collect::<Vec<String>>();
        let filled: Vec<String> = wanted.iter().cloned().chain(others).collect();
        let tags = match self.tags(filled).await {
            // One of the others may be gone since.
            Err(fault) if fault.class == Class::Missing => self.tags(wanted).await?,
            tags => tags?,
        };
        lists.tags.extend(tags);
        Ok(())
    }
}
