//! Which target gets a request: target groups by weight, healthy targets in turn.

use super::answer::Failure;
use super::snapshot::{Snapshot, Target, TargetGroup, TargetState};

/// The target group for the `turn`th request of a rule. Turns are spread over the weights by the golden ratio, so that any
/// number of requests in a row comes close to the proportions. `None` when every weight is 0.
pub fn by_weight(groups: &[(String, u32)], turn: u64) -> Option<&str> {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let total: u64 = groups.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let point = u64::try_from((u128::from(turn.wrapping_mul(GOLDEN)) * u128::from(total)) >> 64).ok()?;
    let mut reached = 0;
    groups.iter().find_map(|(arn, weight)| {
        reached += u64::from(*weight);
        (point < reached).then_some(arn.as_str())
    })
}

impl TargetGroup {
    /// The targets that may get requests: the healthy ones, and if there are none all registered ones ("fail open").
    /// Source: "Health checks for Application Load Balancer target groups".
    pub fn eligible(&self) -> Vec<&Target> {
        let healthy: Vec<_> = self
            .targets
            .iter()
            .filter(|target| target.state == TargetState::Healthy)
            .collect();
        if !healthy.is_empty() {
            return healthy;
        }
        let open = |target: &&Target| matches!(target.state, TargetState::Initial | TargetState::Unhealthy);
        self.targets.iter().filter(open).collect()
    }
}

/// The target group and target for a request, given how many requests the rule and the group have had.
///
/// # Errors
/// `NoTargets` when there is nobody to send it to. Another target group of the rule does not step in: ALB does not either.
pub fn choose<'a>(
    snapshot: &'a Snapshot,
    groups: &[(String, u32)],
    rule_turn: u64,
    group_turn: impl FnOnce(&str) -> u64,
) -> Result<(&'a TargetGroup, &'a Target), Failure> {
    let group = by_weight(groups, rule_turn)
        .and_then(|arn| snapshot.target_groups.get(arn))
        .ok_or(Failure::NoTargets)?;
    let targets = group.eligible();
    let count = u64::try_from(targets.len()).map_err(|_| Failure::NoTargets)?;
    let turn = group_turn(&group.arn).checked_rem(count).ok_or(Failure::NoTargets)?;
    let target = usize::try_from(turn)
        .ok()
        .and_then(|turn| targets.get(turn))
        .ok_or(Failure::NoTargets)?;
    Ok((group, target))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::answer::Failure;
    use super::super::snapshot::{Scheme, Snapshot, Target, TargetGroup, TargetState, Version};
    use super::{by_weight, choose};

    fn group(arn: &str, states: &[TargetState]) -> TargetGroup {
        let target = |(n, state): (usize, &TargetState)| Target {
            id: format!("t{n}"),
            port: 80,
            address: None,
            state: *state,
        };
        let targets = states.iter().enumerate().map(target).collect();
        TargetGroup {
            arn: arn.into(),
            scheme: Scheme::Http,
            version: Version::Http1,
            check: None,
            targets,
        }
    }

    fn chosen(states: &[TargetState]) -> Vec<Result<String, Failure>> {
        let target_groups = BTreeMap::from([("g".to_owned(), group("g", states))]);
        let snapshot = Snapshot {
            target_groups,
            ..Snapshot::default()
        };
        let groups = [("g".to_owned(), 1)];
        (0..4)
            .map(|turn| choose(&snapshot, &groups, turn, |_| turn).map(|(_, target)| target.id.clone()))
            .collect()
    }

    #[test]
    fn weights_are_kept_in_any_run_of_requests() {
        let groups = [("a".to_owned(), 90), ("b".to_owned(), 10), ("c".to_owned(), 0)];
        for start in [0, 7, 1000] {
            let count = |arn: &str| {
                (start..start + 100)
                    .filter(|&turn| by_weight(&groups, turn) == Some(arn))
                    .count()
            };
            assert!((88..=92).contains(&count("a")), "{} of 100", count("a"));
            assert_eq!((count("a") + count("b"), count("c")), (100, 0));
        }
        assert_eq!(by_weight(&[("a".to_owned(), 0)], 5), None);
        assert_eq!(by_weight(&[], 5), None);
    }

    #[test]
    fn healthy_targets_take_turns_and_others_get_nothing() {
        use TargetState::{Draining, Healthy, Initial, Unhealthy, Unused};
        let ids = |states: &[TargetState]| chosen(states).into_iter().map(|id| id.unwrap()).collect::<Vec<_>>();
        assert_eq!(ids(&[Healthy, Unhealthy, Healthy, Initial]), ["t0", "t2", "t0", "t2"]);
        assert_eq!(ids(&[Draining, Unhealthy, Initial, Unused]), ["t1", "t2", "t1", "t2"]);
    }

    #[test]
    fn without_a_registered_target_there_is_no_answer_to_give() {
        use TargetState::{Draining, Unused};
        for states in [&[][..], &[Draining, Draining], &[Unused]] {
            assert!(
                chosen(states).into_iter().all(|id| id == Err(Failure::NoTargets)),
                "{states:?}"
            );
        }
    }
}
