//! Quotas of an account and region. Source of names and numbers: "Quotas for your Application Load Balancers" and
//! `Limit` of the API reference.

use serde::Deserialize;
use serde_json::{Value, json};

use super::paging::{Page, Paging};
use super::state::State;
use crate::call::Call;
use crate::fault::AwsError;
use crate::world::World;

/// Every quota with its default. The document counts six wildcards where older copies say five.
const DEFAULTS: [(&str, u64); 21] = [
    ("application-load-balancers", 50),
    ("certificates-per-application-load-balancer", 25),
    ("condition-values-per-alb-rule", 5),
    ("condition-wildcards-per-alb-rule", 6),
    ("gateway-load-balancers", 100),
    ("gateway-load-balancers-per-vpc", 100),
    ("geneve-target-groups", 100),
    ("listeners-per-application-load-balancer", 50),
    ("listeners-per-network-load-balancer", 50),
    ("network-load-balancers", 50),
    ("rules-per-application-load-balancer", 100),
    ("target-groups", 3000),
    ("target-groups-per-action-on-application-load-balancer", 5),
    ("target-groups-per-action-on-network-load-balancer", 1),
    ("target-groups-per-application-load-balancer", 100),
    ("target-id-registrations-per-application-load-balancer", 1000),
    ("targets-per-application-load-balancer", 1000),
    ("targets-per-availability-zone-per-gateway-load-balancer", 300),
    ("targets-per-availability-zone-per-network-load-balancer", 500),
    ("targets-per-network-load-balancer", 3000),
    ("targets-per-target-group", 1000),
];

impl State {
    /// The quota of this name: the account's own if it has one, else AWS' default.
    pub fn quota(&self, name: &str) -> usize {
        let default = || DEFAULTS.iter().find(|(known, _)| *known == name).map(|(_, max)| *max);
        let max = self.quotas.get(name).copied().or_else(default).unwrap_or(u64::MAX);
        usize::try_from(max).unwrap_or(usize::MAX)
    }
}

#[derive(Deserialize)]
pub(super) struct Describe {
    #[serde(flatten)]
    paging: Paging,
}

/// `DescribeAccountLimits`.
pub(super) fn describe(world: &mut World, call: &Call, input: Describe) -> Result<Value, AwsError> {
    let state = &world.region(call).elbv2;
    let limits = DEFAULTS.iter().map(|(name, _)| *name);
    let Page { items, next } = input
        .paging
        .page(limits.map(|name| (name.to_owned(), name)).collect())?;
    let limits: Vec<Value> = items
        .iter()
        .map(|name| json!({"Name": name, "Max": state.quota(name).to_string()}))
        .collect();
    Ok(json!({"Limits": limits, "NextMarker": next}))
}
