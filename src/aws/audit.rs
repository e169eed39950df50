//! What AWS holds, read again in the background, part by part, each with as few calls as AWS has for it.
//!
//! ```text
//! known ─┬─► lists of the account: load balancers, target groups, security groups ─┐
//!        ├─► listeners and rules of a load balancer                                ├─► known, with that part as AWS has it
//!        ├─► attributes, certificates                                              │
//!        └─► tags, twenty resources a call                                         ┘
//! ```

use super::{
    Aws, Fault, convert,
    observe::{Observe, listener},
};
use crate::{
    model::*,
    plan::{Observed, ObservedSecurityGroup},
};
use aws_sdk_elasticloadbalancingv2::types as elb;
use std::collections::BTreeMap;

/// What the account holds, by pages.
#[derive(Debug)]
pub struct Account {
    load_balancers: BTreeMap<String, elb::LoadBalancer>,
    target_groups: BTreeMap<String, elb::TargetGroup>,
    security_groups: Vec<ObservedSecurityGroup>,
}

impl Account {
    /// What is known of a group, as far as it was listed, as it was listed.
    pub fn of(&self, known: &Observed) -> Observed {
        let mut now = known.clone();
        now.load_balancers.retain_mut(|lb| {
            let Some(told) = self.load_balancers.get(lb.arn.as_str()) else {
                return false;
            };
            let before = &mut lb.load_balancer;
            let mut listed = convert::load_balancer(told, std::mem::take(&mut before.tags));
            listed.attributes = std::mem::take(&mut before.attributes);
            *before = listed;
            true
        });
        now.target_groups.retain_mut(|tg| {
            let told = self.target_groups.get(tg.arn.as_str());
            let listed = told.and_then(|told| convert::target_group(told, std::mem::take(&mut tg.group.tags)));
            let Some(mut listed) = listed else { return false };
            listed.attributes = std::mem::take(&mut tg.group.attributes);
            tg.group = listed;
            true
        });
        let listed = |known: &ObservedSecurityGroup| self.security_groups.iter().find(|group| group.id == known.id);
        now.security_group = now.security_group.as_ref().and_then(listed).cloned();
        now
    }
}

impl Aws {
    fn auditor<'a>(&'a self, unit: &'a Unit, settings: &'a Settings) -> Observe<'a> {
        Observe {
            aws: self,
            unit,
            lane: Lane::Audit,
            settings,
        }
    }

    /// Lists load balancers and target groups of the account, and the cluster's managed security groups.
    ///
    /// # Errors
    /// AWS could not be asked.
    pub async fn audit_account(&self, settings: &Settings) -> Result<Account, Fault> {
        let auditor = self.auditor(&Unit::Network, settings);
        let by_arn = |lb: elb::LoadBalancer| Some((lb.load_balancer_arn.clone()?, lb));
        let load_balancers = auditor.load_balancers().await?.into_iter().filter_map(by_arn);
        let by_arn = |group: elb::TargetGroup| Some((group.target_group_arn.clone()?, group));
        let target_groups = auditor.target_groups().await?.into_iter().filter_map(by_arn);
        Ok(Account {
            load_balancers: load_balancers.collect(),
            target_groups: target_groups.collect(),
            security_groups: auditor.managed_security_groups().await?,
        })
    }

    /// What is known of a group, with its listeners and rules as AWS has them.
    ///
    /// # Errors
    /// AWS could not be asked, or a load balancer is gone.
    pub async fn audit_listeners(&self, unit: &Unit, settings: &Settings, known: &Observed) -> Result<Observed, Fault> {
        let auditor = self.auditor(unit, settings);
        let mut now = known.clone();
        for lb in &mut now.load_balancers {
            let mut tags: BTreeMap<String, Tags> = BTreeMap::new();
            let mut certificates = BTreeMap::new();
            for listener in std::mem::take(&mut lb.listeners).into_values() {
                tags.extend(
                    listener
                        .rules
                        .into_iter()
                        .map(|rule| (rule.arn.to_string(), rule.rule.tags)),
                );
                tags.insert(listener.arn.to_string(), listener.listener.tags);
                certificates.insert(listener.arn, listener.listener.certificates.by_name);
            }
            for (told, rules) in auditor.listeners(lb.arn.as_str()).await? {
                if let Some(mut found) = listener(&told, &rules, &mut tags) {
                    found.listener.certificates.by_name = certificates.remove(&found.arn).unwrap_or_default();
                    lb.listeners.insert(found.listener.port, found);
                }
            }
        }
        Ok(now)
    }

    /// What is known of a group, with attributes and certificates as AWS has them.
    ///
    /// # Errors
    /// AWS could not be asked, or something is gone.
    pub async fn audit_details(&self, unit: &Unit, settings: &Settings, known: &Observed) -> Result<Observed, Fault> {
        let auditor = self.auditor(unit, settings);
        let mut now = known.clone();
        for lb in &mut now.load_balancers {
            lb.load_balancer.attributes = auditor.load_balancer_attributes(lb.arn.as_str()).await?;
            lb.protected = lb.load_balancer.is_protected();
            for listener in lb.listeners.values_mut() {
                if listener.listener.protocol == ListenerProtocol::Https {
                    listener.listener.certificates.by_name = auditor.certificates(listener.arn.as_str()).await?;
                }
            }
        }
        for tg in &mut now.target_groups {
            tg.group.attributes = auditor.target_group_attributes(tg.arn.as_str()).await?;
        }
        Ok(now)
    }

    /// Tags of resources of any kind.
    ///
    /// # Errors
    /// AWS could not be asked, or one of them is gone.
    pub async fn audit_tags(&self, settings: &Settings, arns: Vec<String>) -> Result<BTreeMap<String, Tags>, Fault> {
        self.auditor(&Unit::Network, settings).tags(arns).await
    }
}
