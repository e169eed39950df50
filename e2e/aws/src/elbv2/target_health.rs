//! Health of targets.
//!
//! ```text
//! registered ─► unused (no load balancer, wrong zone, stopped) ─► initial (registration, first check) ─► healthy ⇄ unhealthy
//!                                                                    any of these ─deregister─► draining ─delay─► gone
//! ```
//! Nothing here is stored: the state follows from stored moments, what checks reported, and the time of asking.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::network;
use super::state::{HealthReport, Target, TargetGroup, TargetKey};
use super::target::Description;
use crate::call::Call;
use crate::fault::AwsError;
use crate::world::{HealthMode, Options, Region, Scene, World};

/// State, reason and description of a target. Source: `TargetHealth` of the API reference; "Health checks for Application
/// Load Balancer target groups", where the descriptions stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetHealth {
    /// `initial`, `healthy`, `unhealthy`, `unused` or `draining`.
    pub state: &'static str,
    /// Why, unless it is healthy.
    pub reason: Option<String>,
    /// The same in words.
    pub description: Option<String>,
}

fn health(state: &'static str, reason: &str, description: &str) -> TargetHealth {
    TargetHealth {
        state,
        reason: Some(reason.to_owned()),
        description: Some(description.to_owned()),
    }
}

impl Region {
    /// How a target of a target group is.
    pub fn target_health(
        &self,
        options: &Options,
        group: &TargetGroup,
        key: &TargetKey,
        now: Timestamp,
    ) -> TargetHealth {
        let Some(target) = group.targets.get(key).filter(|target| !target.is_gone(group, now)) else {
            return health(
                "unused",
                "Target.NotRegistered",
                "Target is not registered to the target group",
            );
        };
        if target.deregistered.is_some() {
            return health(
                "draining",
                "Target.DeregistrationInProgress",
                "Target deregistration is in progress",
            );
        }
        let user = group.load_balancer.as_ref();
        let Some(load_balancer) = user.and_then(|arn| self.elbv2.load_balancers.get(arn)) else {
            let description = "Target group is not configured to receive traffic from the load balancer";
            return health("unused", "Target.NotInUse", description);
        };
        if let Some(unused) = self.not_usable(group, key, target, &load_balancer.zones) {
            return unused;
        }
        let used = group.in_use_since.unwrap_or(now);
        let start = target.registered.max(used).max(load_balancer.active_at);
        if now < start + options.registration {
            return health(
                "initial",
                "Elb.RegistrationInProgress",
                "Target registration is in progress",
            );
        }
        let checking = health(
            "initial",
            "Elb.InitialHealthChecking",
            "Initial health checks in progress",
        );
        match (target.counted(group.in_use_since), options.health) {
            (Some(HealthReport::Healthy), _) => TargetHealth {
                state: "healthy",
                reason: None,
                description: None,
            },
            (Some(HealthReport::Unhealthy { reason, description }), _) => health("unhealthy", reason, description),
            (None, HealthMode::Probed | HealthMode::Initial) => checking,
            (None, _) if now < start + options.registration + options.first_check => checking,
            (None, HealthMode::Modelled) => TargetHealth {
                state: "healthy",
                reason: None,
                description: None,
            },
            (None, HealthMode::Unhealthy) => health("unhealthy", "Target.FailedHealthChecks", "Health checks failed"),
        }
    }

    /// A target that gets no traffic because of where or what it is.
    fn not_usable(
        &self,
        group: &TargetGroup,
        key: &TargetKey,
        target: &Target,
        zones: &[super::state::Zone],
    ) -> Option<TargetHealth> {
        let instance = if group.target_type == "instance" {
            network::instance(self, &key.id)
        } else {
            None
        };
        if group.target_type == "instance" && !instance.as_ref().is_some_and(|instance| instance.running) {
            return Some(health(
                "unused",
                "Target.InvalidState",
                "Target is in the stopped state",
            ));
        }
        let zone = instance.map(|instance| instance.zone).or_else(|| target.zone.clone())?;
        if zone == "all" || zones.iter().any(|enabled| enabled.name == zone) {
            return None;
        }
        let description = "Target is in an Availability Zone that is not enabled for the load balancer";
        Some(health("unused", "Target.NotInUse", description))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Describe {
    target_group_arn: String,
    targets: Option<Vec<Description>>,
    include: Option<Vec<String>>,
}

/// `DescribeTargetHealth`.
pub(super) fn describe(world: &mut World, call: &Call, input: &Describe) -> Result<Value, AwsError> {
    let Scene { region, options, .. } = world.scene(call);
    let region = &*region;
    let group = region.elbv2.target_group(&input.target_group_arn)?;
    let keys: Vec<TargetKey> = match input.targets.as_deref().unwrap_or_default() {
        [] => group
            .targets
            .iter()
            .filter(|(_, target)| !target.is_gone(group, call.now))
            .map(|(key, _)| key.clone())
            .collect(),
        asked => asked.iter().map(|target| target.key(group)).collect(),
    };
    let included = input.include.as_ref().is_some_and(|include| !include.is_empty());
    let descriptions = keys.iter().map(|key| {
        let TargetHealth {
            state,
            reason,
            description,
        } = region.target_health(options, group, key, call.now);
        let zone = group.targets.get(key).and_then(|target| target.zone.as_ref());
        let port = &group.health_check.port;
        let port = if port == "traffic-port" {
            key.port.to_string()
        } else {
            port.clone()
        };
        json!({
            "Target": {"Id": key.id, "Port": key.port, "AvailabilityZone": zone},
            "HealthCheckPort": port,
            "TargetHealth": {"State": state, "Reason": reason, "Description": description},
            "AnomalyDetection": included.then(|| json!({"Result": "normal", "MitigationInEffect": "no"})),
            "AdministrativeOverride": {
                "State": "no_override",
                "Reason": "AdministrativeOverride.NoOverride",
                "Description": "No override is currently active on target",
            },
        })
    });
    Ok(json!({"TargetHealthDescriptions": descriptions.collect::<Vec<_>>()}))
}
