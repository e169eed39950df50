//! What AWS holds, read again: with a reason only.
//!
//! ```text
//! census of the account ─► ours, by name and tags ─┬─► attributes
//! (shared by groups)                               └─► listeners ─► rules, certificates, tags
//! ```
//! Names and tags tell what is ours. Of target groups only those are asked for their tags that one of our load balancers
//! uses or nobody does.

use super::{
    Aws, Class, Fault,
    census::Sheet,
    client::{read, read_unless},
    convert,
    endpoints::VALUES,
};
use crate::{
    budget::Service,
    model::*,
    plan::{
        NetworkObserved, Observed, ObservedListener, ObservedLoadBalancer, ObservedRule, ObservedSecurityGroup,
        ObservedTargetGroup, TargetsObserved,
    },
};
use aws_sdk_ec2::types::Filter;
use aws_sdk_elasticloadbalancingv2::{
    operation::describe_target_health::{DescribeTargetHealthOutput, builders::DescribeTargetHealthFluentBuilder},
    types as elb,
};
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

/// Resources of one DescribeTags ("DescribeTags", Elastic Load Balancing API reference).
pub const TAGGED: usize = 20;
/// Results of a page at most ("DescribeLoadBalancers", same).
const PAGE: i32 = 400;

const ELB: Service = Service::ElasticLoadBalancing;
const HEALTH: (Service, &str) = (ELB, "DescribeTargetHealth");

fn healths(answer: &DescribeTargetHealthOutput) -> BTreeMap<Target, Health> {
    let state = |told: &elb::TargetHealthDescription| {
        let target = convert::target(told.target.as_ref()?)?;
        let health = told.target_health.as_ref()?;
        let reason = health.reason.as_ref().map(|reason| reason.as_str().to_owned());
        let health = Health {
            state: health.state.as_ref()?.as_str().to_owned(),
            reason: reason.unwrap_or_default(),
            description: health.description.clone().unwrap_or_default(),
        };
        Some((target, health))
    };
    answer.target_health_descriptions().iter().filter_map(state).collect()
}

/// How a target is, as AWS says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// `initial`, `healthy`, `unhealthy`, `unused`, …
    pub state: String,
    /// Why it is not healthy, such as `Elb.InitialHealthChecking`.
    pub reason: String,
    /// The same in words.
    pub description: String,
}

impl Health {
    /// How one is that was registered a moment ago.
    pub fn registering() -> Self {
        Self {
            state: elb::TargetHealthStateEnum::Initial.as_str().to_owned(),
            reason: elb::TargetHealthReasonEnum::RegistrationInProgress.as_str().to_owned(),
            description: "Target registration is in progress".to_owned(),
        }
    }

    /// Whether it is sent traffic.
    pub fn is_healthy(&self) -> bool {
        self.state == elb::TargetHealthStateEnum::Healthy.as_str()
    }
}

impl Aws {
    /// What AWS holds for a group. `known` is what is remembered: its load balancers and target groups are looked at
    /// whatever their names. What was listed for other groups since `as_of` is good enough.
    ///
    /// # Errors
    /// AWS could not be asked.
    pub async fn observe_group(
        &self,
        unit: &Unit,
        settings: &Settings,
        key: &GroupKey,
        known: &Observed,
        as_of: Instant,
    ) -> Result<Observed, Fault> {
        Observe {
            aws: self,
            unit,
            lane: Lane::Change,
            settings,
        }
        .group(key, known, as_of)
        .await
    }

    /// The shared backend security group, and our rules on these security groups of nodes and pods.
    ///
    /// # Errors
    /// AWS could not be asked.
    pub async fn observe_network(
        &self,
        lane: Lane,
        settings: &Settings,
        groups: &BTreeSet<SecurityGroupId>,
    ) -> Result<NetworkObserved, Fault> {
        let unit = Unit::Network;
        let observe = Observe {
            aws: self,
            unit: &unit,
            lane,
            settings,
        };
        let backend = observe
            .security_groups(&[
                filter("vpc-id", settings.vpc.as_str()),
                filter(&format!("tag:{}", tags::CLUSTER), &settings.cluster),
                filter(&format!("tag:{}", tags::SHARED_RESOURCE), tags::RESOURCE_BACKEND),
            ])
            .await?;
        let mut endpoint_rules = BTreeMap::new();
        let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
        for ids in groups.chunks(VALUES) {
            let by_id = Filter::builder()
                .name("group-id")
                .set_values(Some(ids.to_vec()))
                .build();
            for found in observe.security_groups(&[by_id]).await? {
                let ours: BTreeSet<Permission> = found
                    .group
                    .ingress
                    .into_iter()
                    .filter(|permission| permission.description == security_group::ENDPOINT_RULE_DESCRIPTION)
                    .collect();
                if !ours.is_empty() {
                    endpoint_rules.insert(found.id, ours);
                }
            }
        }
        Ok(NetworkObserved {
            backend: backend.into_iter().next(),
            endpoint_rules,
        })
    }

    /// The targets of a target group that are registered and not draining.
    ///
    /// # Errors
    /// AWS could not be asked, or the target group is gone.
    pub async fn registered(&self, lane: Lane, unit: &Unit, group: &TargetGroupArn) -> Result<TargetsObserved, Fault> {
        let health = self.health_in(lane, unit, group).await?;
        let draining = elb::TargetHealthStateEnum::Draining.as_str();
        let registered = health
            .into_iter()
            .filter(|(_, health)| health.state != draining)
            .map(|(target, _)| target);
        Ok(TargetsObserved {
            registered: registered.collect(),
        })
    }

    /// How each target of a target group is.
    ///
    /// # Errors
    /// AWS could not be asked, or the target group is gone.
    pub async fn health(&self, unit: &Unit, group: &TargetGroupArn) -> Result<BTreeMap<Target, Health>, Fault> {
        self.health_in(Lane::Health, unit, group).await
    }

    /// The same; `None` when `stop` ended before it was asked.
    ///
    /// # Errors
    /// AWS could not be asked, or the target group is gone.
    pub async fn health_unless(
        &self,
        unit: &Unit,
        group: &TargetGroupArn,
        stop: impl Future<Output = ()>,
    ) -> Result<Option<BTreeMap<Target, Health>>, Fault> {
        let ask = || self.describe_health(group).send();
        let answer = read_unless(&self.budget, unit, Lane::Health, HEALTH, ask, stop).await?;
        Ok(answer.ok().as_ref().map(healths))
    }

    async fn health_in(
        &self,
        lane: Lane,
        unit: &Unit,
        group: &TargetGroupArn,
    ) -> Result<BTreeMap<Target, Health>, Fault> {
        let ask = || self.describe_health(group).send();
        Ok(healths(&read(&self.budget, unit, lane, HEALTH, ask).await?))
    }

    fn describe_health(&self, group: &TargetGroupArn) -> DescribeTargetHealthFluentBuilder {
        let request = self.clients.elb.describe_target_health();
        request.target_group_arn(group.as_str())
    }

    /// Whether a load balancer is provisioned.
    ///
    /// # Errors
    /// AWS could not be asked, or the load balancer is gone.
    pub async fn is_active(&self, unit: &Unit, arn: &LoadBalancerArn) -> Result<bool, Fault> {
        let answer = read(&self.budget, unit, Lane::Change, (ELB, "DescribeLoadBalancers"), || {
            self.clients
                .elb
                .describe_load_balancers()
                .load_balancer_arns(arn.as_str())
                .send()
        })
        .await?;
        let state = answer
            .load_balancers()
            .first()
            .and_then(|lb| lb.state.as_ref()?.code.as_ref());
        Ok(matches!(
            state,
            Some(elb::LoadBalancerStateEnum::Active | elb::LoadBalancerStateEnum::ActiveImpaired)
        ))
    }
}

fn filter(name: &str, value: &str) -> Filter {
    Filter::builder().name(name).values(value).build()
}

/// Pages of a Describe of Elastic Load Balancing, each paid for.
macro_rules! pages {
    ($self:ident, $operation:literal, $request:expr, $items:ident) => {{
        let mut all = Vec::new();
        let mut marker = None;
        loop {
            let page = read(&$self.aws.budget, $self.unit, $self.lane, (ELB, $operation), || {
                $request.set_marker(marker.clone()).page_size(PAGE).send()
            })
            .await?;
            all.extend(page.$items.unwrap_or_default());
            marker = page.next_marker.filter(|marker| !marker.is_empty());
            if marker.is_none() {
                break all;
            }
        }
    }};
}

pub(super) struct Observe<'a> {
    pub aws: &'a Aws,
    pub unit: &'a Unit,
    pub lane: Lane,
    pub settings: &'a Settings,
}

impl Observe<'_> {
    async fn group(&self, key: &GroupKey, known: &Observed, as_of: Instant) -> Result<Observed, Fault> {
        // Held to the end, so that groups that are read meanwhile find it, and those that were woken with this one too.
        let census = self.aws.census.sheet();
        tokio::task::yield_now().await;
        let read = self.read(&census, key, known, as_of).await;
        if matches!(&read, Err(fault) if fault.class == Class::Missing) {
            // AWS no longer agrees with it.
            *census.lock().await = None;
        }
        read
    }

    async fn read(&self, census: &Sheet, key: &GroupKey, known: &Observed, as_of: Instant) -> Result<Observed, Fault> {
        let share = self.share(census, key, known, as_of).await?;
        let mut observed = Observed {
            security_group: share.security_group,
            ..Observed::default()
        };
        for (told, tags) in share.target_groups {
            observed.target_groups.extend(self.target_group(&told, tags).await?);
        }
        for (told, tags) in share.load_balancers {
            observed.load_balancers.push(self.load_balancer(&told, tags).await?);
        }
        observed.load_balancers.sort_by(|a, b| a.arn.cmp(&b.arn));
        observed.target_groups.sort_by(|a, b| a.arn.cmp(&b.arn));
        Ok(observed)
    }

    pub(super) async fn load_balancers(&self) -> Result<Vec<elb::LoadBalancer>, Fault> {
        let elb = &self.aws.clients.elb;
        Ok(pages!(
            self,
            "DescribeLoadBalancers",
            elb.describe_load_balancers(),
            load_balancers
        ))
    }

    pub(super) async fn target_groups(&self) -> Result<Vec<elb::TargetGroup>, Fault> {
        let elb = &self.aws.clients.elb;
        Ok(pages!(
            self,
            "DescribeTargetGroups",
            elb.describe_target_groups(),
            target_groups
        ))
    }

    /// The security groups that a controller made for groups of the cluster.
    pub(super) async fn managed_security_groups(&self) -> Result<Vec<ObservedSecurityGroup>, Fault> {
        self.security_groups(&[
            filter("vpc-id", self.settings.vpc.as_str()),
            filter(&format!("tag:{}", tags::CLUSTER), &self.settings.cluster),
            filter("tag-key", tags::STACK),
        ])
        .await
    }

    /// Whether the tags of a load balancer are worth a look: it is remembered, is called as we call those of this group,
    /// or has a name that somebody chose.
    pub(super) fn may_be_ours(&self, told: &elb::LoadBalancer, key: &GroupKey, known: &Observed) -> bool {
        let arn = LoadBalancerArn::from(told.load_balancer_arn().unwrap_or_default());
        let name = told.load_balancer_name().unwrap_or_default();
        let schemes = [Scheme::Internal, Scheme::InternetFacing];
        known.load_balancer(&arn).is_some()
            || schemes
                .iter()
                .any(|scheme| names::load_balancer(&self.settings.cluster, key, *scheme) == name)
            || !names::is_generated(name)
    }

    pub(super) async fn tags(&self, arns: Vec<String>) -> Result<BTreeMap<String, Tags>, Fault> {
        let mut tags = BTreeMap::new();
        for some in arns.chunks(TAGGED) {
            let answer = read(&self.aws.budget, self.unit, self.lane, (ELB, "DescribeTags"), || {
                self.aws
                    .clients
                    .elb
                    .describe_tags()
                    .set_resource_arns(Some(some.to_vec()))
                    .send()
            })
            .await?;
            for told in answer.tag_descriptions() {
                tags.insert(
                    told.resource_arn.clone().unwrap_or_default(),
                    convert::tags_of_elb(told.tags()),
                );
            }
        }
        Ok(tags)
    }

    async fn target_group(&self, told: &elb::TargetGroup, tags: Tags) -> Result<Option<ObservedTargetGroup>, Fault> {
        let (Some(arn), Some(mut group)) = (told.target_group_arn.as_deref(), convert::target_group(told, tags)) else {
            return Ok(None);
        };
        group.attributes = self.target_group_attributes(arn).await?;
        Ok(Some(ObservedTargetGroup { arn: arn.into(), group }))
    }

    pub(super) async fn target_group_attributes(&self, arn: &str) -> Result<BTreeMap<String, String>, Fault> {
        let what = (ELB, "DescribeTargetGroupAttributes");
        let answer = read(&self.aws.budget, self.unit, self.lane, what, || {
            let request = self.aws.clients.elb.describe_target_group_attributes();
            request.target_group_arn(arn).send()
        })
        .await?;
        let attribute =
            |told: &elb::TargetGroupAttribute| Some((told.key.clone()?, told.value.clone().unwrap_or_default()));
        Ok(answer.attributes().iter().filter_map(attribute).collect())
    }

    pub(super) async fn load_balancer_attributes(&self, arn: &str) -> Result<BTreeMap<String, String>, Fault> {
        let what = (ELB, "DescribeLoadBalancerAttributes");
        let answer = read(&self.aws.budget, self.unit, self.lane, what, || {
            let request = self.aws.clients.elb.describe_load_balancer_attributes();
            request.load_balancer_arn(arn).send()
        })
        .await?;
        let attribute =
            |told: &elb::LoadBalancerAttribute| Some((told.key.clone()?, told.value.clone().unwrap_or_default()));
        Ok(answer.attributes().iter().filter_map(attribute).collect())
    }

    /// Listeners of a load balancer and their rules, but for the default ones: those are the listeners' own actions.
    pub(super) async fn listeners(&self, load_balancer: &str) -> Result<Vec<(elb::Listener, Vec<elb::Rule>)>, Fault> {
        let elb = &self.aws.clients.elb;
        let listeners = pages!(
            self,
            "DescribeListeners",
            elb.describe_listeners().load_balancer_arn(load_balancer),
            listeners
        );
        let mut found = Vec::new();
        for listener in listeners {
            let arn = listener.listener_arn.clone().unwrap_or_default();
            let rules = pages!(self, "DescribeRules", elb.describe_rules().listener_arn(&arn), rules);
            let rules = rules.into_iter().filter(|rule| rule.is_default != Some(true)).collect();
            found.push((listener, rules));
        }
        Ok(found)
    }

    async fn load_balancer(&self, told: &elb::LoadBalancer, tags: Tags) -> Result<ObservedLoadBalancer, Fault> {
        let arn = told.load_balancer_arn.as_deref().unwrap_or_default();
        let mut load_balancer = convert::load_balancer(told, tags);
        load_balancer.attributes = self.load_balancer_attributes(arn).await?;
        let found = self.listeners(arn).await?;
        let of_listener = |(listener, rules): &(elb::Listener, Vec<elb::Rule>)| {
            let rules = rules.iter().filter_map(|rule| rule.rule_arn.clone());
            listener
                .listener_arn
                .clone()
                .into_iter()
                .chain(rules)
                .collect::<Vec<_>>()
        };
        let mut tags = self.tags(found.iter().flat_map(of_listener).collect()).await?;
        let mut observed = ObservedLoadBalancer {
            arn: arn.into(),
            dns_name: told.dns_name.clone().unwrap_or_default(),
            hosted_zone: told.canonical_hosted_zone_id.clone().unwrap_or_default().into(),
            protected: load_balancer.is_protected(),
            load_balancer,
            listeners: BTreeMap::new(),
        };
        for (told, rules) in found {
            let Some(mut found) = listener(&told, &rules, &mut tags) else {
                continue;
            };
            if found.listener.protocol == ListenerProtocol::Https {
                found.listener.certificates.by_name = self.certificates(found.arn.as_str()).await?;
            }
            observed.listeners.insert(found.listener.port, found);
        }
        Ok(observed)
    }

    /// Certificates chosen by name: the default one is listed too, marked as such, and once more if it is one of these.
    pub(super) async fn certificates(&self, listener: &str) -> Result<Vec<CertificateArn>, Fault> {
        let request = || {
            self.aws
                .clients
                .elb
                .describe_listener_certificates()
                .listener_arn(listener)
        };
        let certificates = pages!(self, "DescribeListenerCertificates", request(), certificates);
        let by_name = certificates
            .into_iter()
            .filter(|certificate| certificate.is_default != Some(true));
        let mut by_name: Vec<CertificateArn> = by_name.filter_map(|c| c.certificate_arn.map(Into::into)).collect();
        by_name.sort();
        by_name.dedup();
        Ok(by_name)
    }

    async fn security_groups(&self, filters: &[Filter]) -> Result<Vec<ObservedSecurityGroup>, Fault> {
        let mut found = Vec::new();
        let mut token = None;
        loop {
            let page = read(
                &self.aws.budget,
                self.unit,
                self.lane,
                (Service::Ec2, "DescribeSecurityGroups"),
                || {
                    let request = self.aws.clients.ec2.describe_security_groups();
                    request
                        .set_filters(Some(filters.to_vec()))
                        .max_results(1000)
                        .set_next_token(token.clone())
                        .send()
                },
            )
            .await?;
            found.extend(page.security_groups().iter().filter_map(|told| {
                Some(ObservedSecurityGroup {
                    id: told.group_id.as_deref()?.into(),
                    group: convert::security_group(told),
                })
            }));
            token = page.next_token.filter(|token| !token.is_empty());
            if token.is_none() {
                found.sort_by(|a: &ObservedSecurityGroup, b| a.id.cmp(&b.id));
                return Ok(found);
            }
        }
    }
}

/// A listener and its rules, with these tags; certificates that are chosen by name are not told with it.
pub(super) fn listener(
    told: &elb::Listener,
    rules: &[elb::Rule],
    tags: &mut BTreeMap<String, Tags>,
) -> Option<ObservedListener> {
    let arn = told.listener_arn.as_deref()?;
    let listener = convert::listener(told, tags.remove(arn).unwrap_or_default())?;
    let mut rules: Vec<ObservedRule> = rules.iter().filter_map(|told| rule(told, tags)).collect();
    rules.sort_by_key(|rule| rule.priority);
    Some(ObservedListener {
        arn: arn.into(),
        listener,
        rules,
    })
}

fn rule(told: &elb::Rule, tags: &mut BTreeMap<String, Tags>) -> Option<ObservedRule> {
    let arn = told.rule_arn.as_deref()?;
    Some(ObservedRule {
        arn: arn.into(),
        priority: told.priority.as_deref()?.parse().ok()?,
        rule: Rule {
            conditions: convert::conditions(told.conditions()),
            actions: convert::actions(told.actions()),
            tags: tags.remove(arn).unwrap_or_default(),
            owner: None,
        },
    })
}
