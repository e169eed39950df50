//! A group as a person would draw it: only what somebody asked for, without tracking tags.

use albacore::{ingress::Built, model::*, plan::intent::IntendedTargetGroup};
use std::{collections::BTreeMap, fmt::Display};

/// All groups.
pub fn all(groups: &BTreeMap<GroupKey, Built>) -> String {
    groups
        .iter()
        .map(|(group, built)| one(group, built))
        .collect::<Vec<_>>()
        .join("\n\n")
}

fn joined<T: Display>(parts: impl IntoIterator<Item = T>) -> String {
    parts
        .into_iter()
        .map(|part| part.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

/// ` WORD a=1, b=2`; nothing for none.
fn pairs(word: &str, map: &BTreeMap<String, String>) -> String {
    let shown = map
        .iter()
        .filter(|(key, _)| ![tags::CLUSTER, tags::STACK, tags::RESOURCE].contains(&key.as_str()));
    match joined(shown.map(|(key, value)| format!("{key}={value}"))) {
        none if none.is_empty() => none,
        some => format!(" {word} {some}"),
    }
}

fn one(group: &GroupKey, built: &Built) -> String {
    let mut lines = vec![format!("group {group}")];
    let intent = built.draft.resolve(&Resolved::default());
    let selectors = built.draft.selectors();
    if let Some(lb) = &intent.load_balancer {
        let groups = joined(
            lb.security_groups
                .iter()
                .map(|group| format!("{group:?}").to_lowercase()),
        );
        let attributes = pairs("attributes", &lb.attributes);
        let tags = pairs("tags", &lb.tags);
        let (scheme, ip) = (lb.scheme.name(), lb.ip_address_type.name());
        lines.push(format!("  load balancer {} {scheme} {ip}{attributes}{tags}", lb.name));
        lines.push(format!("    subnets {:?}", selectors.subnets));
        lines.push(format!(
            "    security groups {}",
            joined(selectors.security_groups.iter().chain([&groups]))
        ));
    }
    if let Some(sg) = &intent.security_group {
        let rule = |p: &Permission| format!("{} {:?} from {:?}", p.protocol, p.ports.unwrap_or_default(), p.peer);
        lines.push(format!(
            "  managed security group {}",
            joined(sg.ingress.iter().map(rule))
        ));
    }
    for listener in intent.listeners.values() {
        let policy = listener
            .ssl_policy
            .iter()
            .map(|policy| format!(" {policy}"))
            .collect::<String>();
        let tags = pairs("tags", &listener.tags);
        lines.push(format!(
            "  listener {} {}{policy}{tags}",
            listener.port,
            listener.protocol.name()
        ));
        if let Some(default) = &listener.certificates.default {
            lines.push(format!(
                "    certificates {default} by name {}",
                joined(&listener.certificates.by_name)
            ));
        }
        for (rule, priority) in listener.rules.iter().zip(1..) {
            let tags = pairs("tags", &rule.tags);
            lines.push(format!(
                "    {priority} {} → {}{tags}",
                rule.conditions.iter().map(condition).collect::<Vec<_>>().join(" and "),
                actions(&rule.actions)
            ));
        }
        lines.push(format!("    else → {}", actions(&listener.default_actions)));
    }
    for (key, wanted) in &intent.target_groups {
        lines.extend(target_group(key, wanted));
    }
    let tell = |what: &str, members: &mut dyn Iterator<Item = &ObjectKey>| match joined(members) {
        none if none.is_empty() => None,
        some => Some(format!("  {what} {some}")),
    };
    lines.extend(tell("leaving", &mut built.leaving.iter()));
    lines.extend(tell("blocked", &mut built.blocked.iter()));
    for problem in &built.problems {
        let severity = format!("{:?}", problem.severity).to_lowercase();
        lines.push(format!("  {severity} {:?}: {}", problem.code, problem.object));
        lines.push(format!("    {}", problem.field));
        lines.push(format!("    {}", problem.detail));
    }
    lines.join("\n")
}

fn condition(condition: &Condition) -> String {
    match condition {
        Condition::Host(values) => format!("host {}", joined(values)),
        Condition::Path(values) => format!("path {}", joined(values)),
        Condition::Other(json) => json.clone(),
    }
}

fn actions(actions: &[Action<TargetGroupKey>]) -> String {
    joined(actions.iter().map(|action| {
        match action {
            Action::Forward(forward) => joined(forward.targets.iter().map(|target| &target.target_group)),
            Action::Redirect(to) => format!(
                "{} {}:{}",
                to.status_code,
                to.protocol.as_deref().unwrap_or_default(),
                to.port.map(|port| port.to_string()).unwrap_or_default()
            ),
            Action::FixedResponse {
                status_code,
                message_body,
                ..
            } => format!("{status_code} {}", message_body.as_deref().unwrap_or_default())
                .trim_end()
                .to_owned(),
            Action::Other(json) => json.clone(),
        }
    }))
}

fn target_group(key: &TargetGroupKey, wanted: &IntendedTargetGroup) -> Vec<String> {
    let (group, check) = (&wanted.group, &wanted.group.health_check);
    let opened = wanted.binding.networking.as_ref().map_or_else(
        || "none".to_owned(),
        |networking| format!("{} from {:?}", joined(&networking.ports), networking.source),
    );
    vec![
        format!(
            "  target group {key} {} {} port {} over {} {}{}{}",
            group.name,
            group.target_type.name(),
            group.port,
            group.protocol,
            group.protocol_version,
            pairs("attributes", &group.attributes),
            pairs("tags", &group.tags)
        ),
        format!(
            "    check {} {}{} every {} s within {} s, healthy {} unhealthy {}, codes {}",
            check.protocol,
            check.port,
            check.path,
            check.interval_seconds,
            check.timeout_seconds,
            check.healthy_threshold,
            check.unhealthy_threshold,
            check.success_codes
        ),
        format!(
            "    Service {}:{}, opened ports {opened}",
            wanted.binding.service, wanted.binding.service_port
        ),
    ]
}
