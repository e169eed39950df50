//! What would change, in words: for whoever wants to know before anything does.

use crate::{
    model::{Peer, Permission, Problem, Severity, Tags, Target},
    plan::{Mutation, Observed, Step},
};
use serde::Serialize;
use serde_json::Value;
use std::{collections::BTreeMap, fmt};

/// What would be done if albacore led now.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    /// Every group that has Ingresses.
    pub groups: Vec<Group>,
    /// What all groups share: the backend security group, the rules on nodes and pods.
    pub shared: Vec<Change>,
    /// What the cluster uses and albacore does not act upon: it stays as it is, and nobody tends it.
    pub unattended: Vec<String>,
}

/// What would be done for one group.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Group {
    /// Its name.
    pub group: String,
    /// Its Ingresses.
    pub ingresses: Vec<String>,
    /// Its load balancer in AWS, by name.
    pub load_balancer: Option<String>,
    /// In the order in which it would be done.
    pub changes: Vec<Change>,
    /// What would follow later, once this has happened.
    pub waits: Vec<String>,
    /// What is wrong with its Ingresses, or not supported; an Ingress with a problem keeps what AWS has for it.
    pub problems: Vec<String>,
}

/// One thing that would be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// The operation of AWS, or `Kubernetes` and a verb.
    pub operation: String,
    /// What becomes of what.
    pub says: String,
    /// The Ingress that asks for it, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<String>,
}

impl Preview {
    /// Whether everything stays as it is, and is tended.
    pub fn is_nothing(&self) -> bool {
        self.shared.is_empty() && self.unattended.is_empty() && self.groups.iter().all(Group::is_nothing)
    }
}

impl Group {
    fn is_nothing(&self) -> bool {
        self.changes.is_empty() && self.waits.is_empty() && self.problems.is_empty()
    }
}

impl Change {
    /// Something that would be written to Kubernetes.
    pub fn in_kubernetes(verb: &str, says: String) -> Self {
        Self {
            operation: format!("Kubernetes {verb}"),
            says,
            asked_by: None,
        }
    }
}

/// The words of a problem.
pub fn problem(problem: &Problem) -> String {
    let kind = match problem.severity {
        Severity::Blocking => "",
        Severity::Warning => "warning: ",
    };
    format!("{kind}{problem}")
}

/// A step, and where it can be told what it changes into what. `observed` is what AWS holds.
pub fn change(step: &Step, observed: &Observed) -> Change {
    Change {
        operation: step.call.operation().to_owned(),
        says: words(&step.call, observed),
        asked_by: step.owner.as_ref().map(ToString::to_string),
    }
}

fn words(call: &Mutation, observed: &Observed) -> String {
    match call {
        Mutation::CreateSecurityGroup { name, .. } => format!("security group {name} is made"),
        Mutation::AuthorizeIngress { group, permissions } => {
            format!("security group {} lets in {}", plain(group), permitted(permissions))
        }
        Mutation::RevokeIngress { group, permissions } => {
            format!("security group {group} lets no longer in {}", permitted(permissions))
        }
        Mutation::TagSecurityGroup { group, tags } => format!("security group {group} {}", tagged(tags, None)),
        Mutation::UntagSecurityGroup { group, keys } => {
            format!("security group {group} loses tags {}", keys.join(", "))
        }
        Mutation::DeleteSecurityGroup { group } => format!("security group {group} is deleted"),
        Mutation::CreateTargetGroup { key, group, .. } => format!("target group {} is made for {key}", group.name),
        Mutation::ModifyTargetGroup { arn, health_check, .. } => {
            let before = observed.target_groups.iter().find(|group| group.arn == *arn);
            let before = before.map(|group| &group.group.health_check);
            format!(
                "health check of {}: {}",
                short(arn.as_str()),
                differing(&before, health_check)
            )
        }
        Mutation::ModifyTargetGroupAttributes { group, attributes } => {
            let arn = plain(group);
            let before = observed.target_groups.iter().find(|group| group.arn.as_str() == arn);
            let before = before.map(|group| &group.group.attributes);
            format!("target group {}: {}", short(&arn), set(attributes, before))
        }
        Mutation::DeleteTargetGroup { arn } => format!("target group {} is deleted", short(arn.as_str())),
        Mutation::CreateLoadBalancer { load_balancer } => {
            format!(
                "load balancer {} is made, {}",
                load_balancer.name,
                load_balancer.scheme.name()
            )
        }
        Mutation::ModifyLoadBalancerAttributes {
            load_balancer,
            attributes,
        } => {
            let arn = plain(load_balancer);
            let before = observed.load_balancers.iter().find(|lb| lb.arn.as_str() == arn);
            let before = before.map(|lb| &lb.load_balancer.attributes);
            format!("load balancer {}: {}", short(&arn), set(attributes, before))
        }
        Mutation::SetSubnets { arn, subnets } => {
            let before = observed.load_balancer(arn).map(|lb| plain(&lb.load_balancer.subnets));
            format!(
                "load balancer {}: subnets {}",
                short(arn.as_str()),
                becomes(before, plain(subnets))
            )
        }
        Mutation::SetSecurityGroups { arn, groups } => {
            let before = observed
                .load_balancer(arn)
                .map(|lb| plain(&lb.load_balancer.security_groups));
            format!(
                "load balancer {}: security groups {}",
                short(arn.as_str()),
                becomes(before, plain(groups))
            )
        }
        Mutation::SetIpAddressType { arn, ip_address_type } => {
            let before = observed
                .load_balancer(arn)
                .map(|lb| lb.load_balancer.ip_address_type.name().to_owned());
            let after = ip_address_type.name().to_owned();
            format!(
                "load balancer {}: IP address type {}",
                short(arn.as_str()),
                becomes(before, after)
            )
        }
        Mutation::DeleteLoadBalancer { arn } => format!("load balancer {} is deleted", short(arn.as_str())),
        Mutation::CreateListener { listener, .. } => {
            format!("a listener is made on port {}", listener.port)
        }
        Mutation::ModifyListener { arn, listener } => {
            let mut listeners = observed.load_balancers.iter().flat_map(|lb| lb.listeners.values());
            let before = listeners.find(|told| told.arn == *arn).map(|told| &told.listener);
            format!(
                "the listener on port {}: {}",
                listener.port,
                differing(&before, listener)
            )
        }
        Mutation::DeleteListener { arn } => format!("the listener {} is deleted with its rules", short(arn.as_str())),
        Mutation::AddListenerCertificate { certificate, .. } => {
            format!("certificate {certificate} is added to a listener")
        }
        Mutation::RemoveListenerCertificate { certificate, .. } => {
            format!("certificate {certificate} is removed from a listener")
        }
        Mutation::CreateRule { priority, rule, .. } => {
            format!("a rule is made with priority {priority}: {}", plain(&rule.conditions))
        }
        Mutation::ModifyRule { arn, rule } => {
            let rules = observed.load_balancers.iter().flat_map(|lb| lb.listeners.values());
            let before = rules.flat_map(|listener| &listener.rules).find(|told| told.arn == *arn);
            let name = before.map_or_else(|| short(arn.as_str()).to_owned(), |rule| rule.priority.to_string());
            format!("rule {name}: {}", differing(&before.map(|told| &told.rule), rule))
        }
        Mutation::SetRulePriorities { priorities, .. } => format!("{} rules get another priority", priorities.len()),
        Mutation::DeleteRule { arn } => format!("rule {} is deleted", short(arn.as_str())),
        Mutation::AddTags { resource, tags } => {
            format!("{} {}", short(resource), tagged(tags, tags_of(observed, resource)))
        }
        Mutation::RemoveTags { resource, keys } => format!("{} loses tags {}", short(resource), keys.join(", ")),
        Mutation::RegisterTargets { group, targets } => {
            format!(
                "target group {} gets targets {}",
                short(group.as_str()),
                listed(targets)
            )
        }
        Mutation::DeregisterTargets { group, targets } => {
            format!(
                "target group {} loses targets {}",
                short(group.as_str()),
                listed(targets)
            )
        }
    }
}

fn tags_of<'o>(observed: &'o Observed, resource: &str) -> Option<&'o Tags> {
    let groups = observed
        .target_groups
        .iter()
        .map(|group| (group.arn.as_str(), &group.group.tags));
    let balancers = observed.load_balancers.iter().flat_map(|lb| {
        let listeners = lb.listeners.values().flat_map(|listener| {
            let rules = listener.rules.iter().map(|rule| (rule.arn.as_str(), &rule.rule.tags));
            rules.chain([(listener.arn.as_str(), &listener.listener.tags)])
        });
        listeners.chain([(lb.arn.as_str(), &lb.load_balancer.tags)])
    });
    let mut all = groups.chain(balancers);
    all.find(|(arn, _)| *arn == resource).map(|(_, tags)| tags)
}

fn tagged(tags: &Tags, before: Option<&Tags>) -> String {
    format!("is tagged: {}", set(tags, before))
}

/// Keys and values, each with what it was before.
fn set(values: &BTreeMap<String, String>, before: Option<&BTreeMap<String, String>>) -> String {
    let one = |(key, value): (&String, &String)| {
        let old = before.and_then(|before| before.get(key)).cloned();
        format!("{key} {}", becomes(old, value.clone()))
    };
    values.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn becomes(before: Option<String>, after: String) -> String {
    match before {
        Some(before) => format!("`{before}` becomes `{after}`"),
        None => format!("becomes `{after}`"),
    }
}

/// The fields in which two values differ; tags, owners and rules have changes of their own.
fn differing(before: &impl Serialize, after: &impl Serialize) -> String {
    let json = |value: Result<Value, serde_json::Error>| value.unwrap_or_default();
    let (before, after) = (json(serde_json::to_value(before)), json(serde_json::to_value(after)));
    let own = |(key, _): &(&String, &Value)| !["tags", "owner", "rules"].contains(&key.as_str());
    let fields = after.as_object().into_iter().flatten().filter(own);
    let differs = fields.filter_map(|(key, value)| {
        let (old, new) = (flat(before.get(key).unwrap_or(&Value::Null)), flat(value));
        (old != new).then(|| format!("{key} {}", becomes((!old.is_empty()).then_some(old), new)))
    });
    differs.collect::<Vec<_>>().join(", ")
}

fn permitted(permissions: &[Permission]) -> String {
    let one = |permission: &Permission| {
        let ports = match permission.ports {
            Some((from, to)) if from == to => format!(" {from}"),
            Some((from, to)) => format!(" {from}-{to}"),
            None => String::new(),
        };
        let from = match &permission.peer {
            Peer::Cidr(range) => range.to_string(),
            Peer::Group(id) => id.to_string(),
            Peer::PrefixList(id) => id.clone(),
        };
        format!("{}{ports} from {from}", permission.protocol)
    };
    permissions.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn listed(targets: &[Target]) -> String {
    let one = |target: &Target| match target {
        Target::Instance(id, port) => format!("{id}:{port}"),
        Target::Ip(address, port) => format!("{address}:{port}"),
    };
    targets.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The name in an ARN.
fn short(arn: &str) -> &str {
    let resource = arn.rsplit_once(':').map_or(arn, |(_, resource)| resource);
    resource
        .strip_prefix("loadbalancer/app/")
        .or(resource.strip_prefix("targetgroup/"))
        .unwrap_or(resource)
}

fn plain(value: &impl Serialize) -> String {
    flat(&serde_json::to_value(value).unwrap_or_default())
}

/// A value as one line; what only says which kind of value it is is left out.
fn flat(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(list) => list.iter().map(flat).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => match fields.iter().next() {
            Some((key, only)) if fields.len() == 1 && key == "known" => flat(only),
            _ => {
                let field = |(key, value): (&String, &Value)| format!("{key}: {}", flat(value));
                fields.iter().map(field).collect::<Vec<_>>().join("; ")
            }
        },
        other => other.to_string(),
    }
}

impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for group in &self.groups {
            writeln!(f, "{group}")?;
        }
        match self.shared.is_empty() {
            true => writeln!(f, "what all groups share: nothing")?,
            false => writeln!(f, "what all groups share:")?,
        }
        self.shared.iter().try_for_each(|change| writeln!(f, "  - {change}"))?;
        if !self.unattended.is_empty() {
            writeln!(f, "in use, and not acted upon by albacore:")?;
            self.unattended.iter().try_for_each(|what| writeln!(f, "  - {what}"))?;
        }
        let changing = self.groups.iter().filter(|group| !group.is_nothing()).count();
        match (self.is_nothing(), changing) {
            (true, _) => write!(f, "{} groups: nothing would change", self.groups.len()),
            (false, some) => write!(f, "{} groups, {some} of them not as they are wished", self.groups.len()),
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "group {}", self.group)?;
        if let Some(name) = &self.load_balancer {
            write!(f, " (load balancer {name})")?;
        }
        if self.is_nothing() {
            return f.write_str(": nothing");
        }
        f.write_str(":")?;
        for change in &self.changes {
            write!(f, "\n  - {change}")?;
        }
        for wait in &self.waits {
            write!(f, "\n  - then more; first: {wait}")?;
        }
        self.problems
            .iter()
            .try_for_each(|problem| write!(f, "\n  ! {problem}"))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.says)?;
        match &self.asked_by {
            Some(ingress) => write!(f, " (asked for by Ingress {ingress})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Lane, ObjectKey},
        plan::{Ref, StepId},
    };

    fn says(call: Mutation, observed: &Observed) -> String {
        let step = Step {
            id: StepId(0),
            lane: Lane::Change,
            owner: Some(ObjectKey::new("shop", "web")),
            call,
        };
        change(&step, observed).to_string()
    }

    #[test]
    fn a_change_is_told_with_who_asks_for_it() {
        let permission = |ports| Permission {
            protocol: "tcp".to_owned(),
            ports: Some(ports),
            peer: Peer::Group("sg-2".into()),
            description: String::new(),
        };
        let call = Mutation::AuthorizeIngress {
            group: Ref::Known("sg-1".into()),
            permissions: vec![permission((80, 80)), permission((8080, 8090))],
        };
        let says = says(call, &Observed::default());
        assert_eq!(
            says,
            "AuthorizeSecurityGroupIngress: security group sg-1 lets in tcp 80 from sg-2, tcp 8080-8090 from sg-2 \
             (asked for by Ingress shop/web)"
        );
    }

    #[test]
    fn only_fields_that_differ_are_told_with_what_they_were() {
        let (before, after) = (
            serde_json::json!({"path": "/", "port": "80", "tags": {"a": "1"}}),
            serde_json::json!({"path": "/health", "port": "80", "tags": {"a": "2"}, "protocol": "HTTP"}),
        );
        assert_eq!(
            differing(&before, &after),
            "path `/` becomes `/health`, protocol becomes `HTTP`"
        );
    }

    #[test]
    fn an_arn_is_told_by_its_name() {
        let elb = "arn:aws:elasticloadbalancing:us-east-1:123456789012:";
        assert_eq!(short(&format!("{elb}targetgroup/k8s-web/1")), "k8s-web/1");
        assert_eq!(short(&format!("{elb}loadbalancer/app/k8s-web/1")), "k8s-web/1");
    }
}
