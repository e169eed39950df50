//! What the account may have.

use super::{
    Aws, Class, Fault,
    client::read,
    lookup::{Found, What},
};
use crate::{budget::Service, ingress::quota::Quotas, model::*};
use std::{sync::Arc, time::Duration};

/// How long quotas are believed: AWS raises them on request, which takes hours.
const FRESH: Duration = Duration::from_secs(3600);

impl Aws {
    /// Quotas of Elastic Load Balancing.
    ///
    /// # Errors
    /// AWS could not be asked. Who may not ask has AWS' defaults.
    pub async fn quotas(&self, unit: &Unit) -> Result<Arc<Quotas>, Fault> {
        let fetch = async {
            let what = (Service::ElasticLoadBalancing, "DescribeAccountLimits");
            let answer = read(&self.budget, unit, Lane::Change, what, || {
                self.clients.elb.describe_account_limits().page_size(400).send()
            })
            .await;
            let quotas = match answer {
                Ok(answer) => {
                    let limits = answer.limits().iter();
                    let limits =
                        limits.filter_map(|limit| Some((limit.name.clone()?, limit.max.as_ref()?.parse().ok()?)));
                    Quotas(limits.collect())
                }
                Err(fault) if fault.class == Class::Denied => {
                    tracing::warn!(%fault, "quotas cannot be asked for; those that AWS grants everybody are believed");
                    Quotas::default()
                }
                Err(fault) => return Err(fault),
            };
            Ok(Found::Quotas(Arc::new(quotas)))
        };
        match self.lookup.get(What::Quotas, FRESH, fetch).await? {
            Found::Quotas(quotas) => Ok(quotas),
            _ => Ok(Arc::default()),
        }
    }
}
