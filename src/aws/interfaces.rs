//! Which security groups network interfaces still have: those of a deleted load balancer stay for a while, and as long
//! as they do, AWS refuses to delete their security groups. All who wait share one question.

use super::{Aws, Fault, client::read, endpoints::VALUES};
use crate::{budget::Service, model::*};
use aws_sdk_ec2::types::Filter;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::Instant;

/// How often AWS is asked at most, however many wait.
pub const INTERFACES: Duration = Duration::from_secs(10);
/// Questions beyond that within [`HURRY`], for those whom the last one was not about: whoever deletes a few Ingresses does not
/// wait for the rhythm that hundreds have.
const HURRIES: usize = 8;
/// See [`HURRIES`].
const HURRY: Duration = Duration::from_secs(100);
/// Who has not asked again for so long does not wait any more.
const GONE: Duration = Duration::from_secs(180);

/// Who waits, and the last answer.
#[derive(Debug, Default)]
pub(super) struct Interfaces {
    /// Security groups, and when somebody last waited for them.
    waited: BTreeMap<SecurityGroupId, Instant>,
    answer: Option<Answer>,
    /// When AWS was asked out of turn.
    hurried: Vec<Instant>,
}

#[derive(Debug)]
struct Answer {
    at: Instant,
    /// Those that were asked about.
    asked: BTreeSet<SecurityGroupId>,
    /// Those that were asked about and that no network interface has.
    unused: BTreeSet<SecurityGroupId>,
}

impl Aws {
    /// Whether no network interface has this security group any more. Somebody whom the last question was not about may have
    /// to ask again in [`INTERFACES`].
    ///
    /// # Errors
    /// AWS could not be asked.
    pub async fn is_unused(&self, unit: &Unit, group: &SecurityGroupId) -> Result<bool, Fault> {
        // Held while AWS is asked: whoever else asks waits for that answer.
        let mut interfaces = self.interfaces.lock().await;
        let now = Instant::now();
        interfaces.waited.insert(group.clone(), now);
        let fresh = interfaces.answer.as_ref().filter(|answer| now - answer.at < INTERFACES);
        let (fresh, told) = (
            fresh.is_some(),
            fresh.is_some_and(|answer| answer.asked.contains(group)),
        );
        interfaces.hurried.retain(|at| now - *at < HURRY);
        let hurries = fresh && !told && interfaces.hurried.len() < HURRIES;
        if hurries {
            interfaces.hurried.push(now);
        }
        if !fresh || hurries {
            interfaces.waited.retain(|_, waited| now - *waited < GONE);
            let asked: BTreeSet<SecurityGroupId> = interfaces.waited.keys().cloned().collect();
            let mut unused = asked.clone();
            for used in self.groups_of_interfaces(unit, &unused).await? {
                unused.remove(&used);
            }
            interfaces.answer = Some(Answer { at: now, asked, unused });
        }
        let unused = interfaces
            .answer
            .as_ref()
            .is_some_and(|answer| answer.unused.contains(group));
        if unused {
            interfaces.waited.remove(group);
        }
        Ok(unused)
    }

    /// Has the next question, whoever asks it, be about this security group too: somebody is going to wait for it.
    pub async fn will_wait(&self, group: &SecurityGroupId) {
        self.interfaces
            .lock()
            .await
            .waited
            .insert(group.clone(), Instant::now());
    }

    /// The security groups of all network interfaces that have one of `groups`.
    async fn groups_of_interfaces(
        &self,
        unit: &Unit,
        groups: &BTreeSet<SecurityGroupId>,
    ) -> Result<BTreeSet<SecurityGroupId>, Fault> {
        let all: Vec<String> = groups.iter().map(ToString::to_string).collect();
        let mut used = BTreeSet::new();
        for some in all.chunks(VALUES) {
            let mut token = None;
            loop {
                let page = read(
                    &self.budget,
                    unit,
                    Lane::Change,
                    (Service::Ec2, "DescribeNetworkInterfaces"),
                    || {
                        let ids = Filter::builder()
                            .name("group-id")
                            .set_values(Some(some.to_vec()))
                            .build();
                        self.clients
                            .ec2
                            .describe_network_interfaces()
                            .filters(ids)
                            .set_next_token(token.clone())
                            .send()
                    },
                )
                .await?;
                let of_page = page.network_interfaces.unwrap_or_default();
                let ids = of_page
                    .iter()
                    .flat_map(|interface| interface.groups())
                    .filter_map(|group| group.group_id());
                used.extend(ids.map(SecurityGroupId::from));
                token = page.next_token.filter(|token| !token.is_empty());
                if token.is_none() {
                    break;
                }
            }
        }
        Ok(used)
    }
}
