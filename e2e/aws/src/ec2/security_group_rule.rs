//! The rules of security groups: authorized, revoked, changed, listed.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::describe::Query;
use super::lookup::{Kind, invalid};
use super::permission::{self, Described, IpPermission, Shorthand, check_description};
use super::security_group::Named;
use super::state::{Peer, Permission, SecurityGroup, SecurityGroupRule, State};
use super::tag::{self, Specification};
use crate::call::Call;
use crate::fault::AwsError;
use crate::ids::Ids;

/// "Inbound or outbound rules per security group: 60. This quota is enforced separately for inbound and outbound rules, and
/// for IPv4 and IPv6 rules. A rule that references a security group or prefix list ID counts as one rule each for IPv4 and
/// IPv6" (a prefix list as many as its maximum of entries). Source: "Amazon VPC quotas".
const MOST: i64 = 60;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Authorize {
    #[serde(flatten)]
    group: Named,
    #[serde(default)]
    ip_permissions: Vec<IpPermission>,
    #[serde(flatten)]
    shorthand: Shorthand,
    #[serde(default)]
    tag_specifications: Vec<Specification>,
}

/// All permissions of a call, each once.
fn permissions(
    state: &State,
    group: &SecurityGroup,
    mut given: Vec<IpPermission>,
    shorthand: Shorthand,
) -> Result<Vec<Described>, AwsError> {
    given.extend(shorthand.permission());
    if given.is_empty() {
        let message = "The request must contain the parameter ipPermissions";
        return Err(AwsError::new("MissingParameter", message));
    }
    let mut all: Vec<Described> = Vec::new();
    for permission in given {
        for described in permission.read(state, &group.vpc)? {
            if all.iter().any(|(known, _)| *known == described.0) {
                return Err(invalid("The same permission must not appear multiple times"));
            }
            all.push(described);
        }
    }
    Ok(all)
}

/// `AuthorizeSecurityGroupIngress` and `AuthorizeSecurityGroupEgress`: all of the permissions or none.
pub(super) fn authorize(
    state: &mut State,
    ids: &mut Ids,
    call: &Call,
    egress: bool,
    input: Authorize,
) -> Result<Value, AwsError> {
    let id = input.group.id(state)?;
    let group = Kind::SecurityGroup.get(&state.security_groups, &id)?;
    let added = permissions(state, group, input.ip_permissions, input.shorthand)?;
    let tags = tag::specified(&input.tag_specifications, Kind::SecurityGroupRule, &[])?;
    for (permission, _) in &added {
        if group.has(egress, permission) {
            let message = format!("the specified rule \"{}\" already exists", spelled(permission));
            return Err(AwsError::new("InvalidPermission.Duplicate", message));
        }
    }
    let present = group.rules.iter().filter(|rule| rule.egress == egress);
    let all = present
        .map(|rule| &rule.permission)
        .chain(added.iter().map(|(new, _)| new));
    let (ipv4, ipv6) = all.fold((0, 0), |(ipv4, ipv6), permission| match &permission.peer {
        Peer::Ipv4(_) => (ipv4 + 1, ipv6),
        Peer::Ipv6(_) => (ipv4, ipv6 + 1),
        Peer::Group(_) => (ipv4 + 1, ipv6 + 1),
        Peer::PrefixList(id) => {
            let weight = state.prefix_lists.get(id).map_or(1, |list| list.max_entries);
            (ipv4 + weight, ipv6 + weight)
        }
    });
    if ipv4 > MOST || ipv6 > MOST {
        let message = "The maximum number of rules per security group has been reached.";
        return Err(AwsError::new("RulesPerSecurityGroupLimitExceeded", message));
    }
    let rules: Vec<SecurityGroupRule> = added
        .into_iter()
        .map(|(permission, description)| SecurityGroupRule {
            id: ids.ec2("sgr"),
            egress,
            permission,
            description,
        })
        .collect();
    for rule in &rules {
        tag::attach(state, &rule.id, tags.clone());
    }
    let answered: Vec<Value> = rules.iter().map(|rule| described(&id, rule, state, call)).collect();
    Kind::SecurityGroup
        .get_mut(&mut state.security_groups, &id)?
        .rules
        .extend(rules);
    Ok(json!({"Return": true, "SecurityGroupRules": answered}))
}

/// A permission as error messages spell it.
fn spelled(permission: &Permission) -> String {
    let peer = match &permission.peer {
        Peer::Ipv4(net) => net.to_string(),
        Peer::Ipv6(net) => net.to_string(),
        Peer::Group(id) | Peer::PrefixList(id) => id.clone(),
    };
    let protocol = permission.protocol.replace("-1", "all").to_uppercase();
    match permission.ports {
        Some((from, to)) => format!("peer: {peer}, {protocol}, from port: {from}, to port: {to}, ALLOW"),
        None => format!("peer: {peer}, {protocol}, ALLOW"),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Revoke {
    #[serde(flatten)]
    group: Named,
    #[serde(default)]
    ip_permissions: Vec<IpPermission>,
    #[serde(flatten)]
    shorthand: Shorthand,
    #[serde(default)]
    security_group_rule_ids: Vec<String>,
}

/// `RevokeSecurityGroupIngress` and `RevokeSecurityGroupEgress`: all of the permissions or none; descriptions do not matter.
pub(super) fn revoke(state: &mut State, call: &Call, egress: bool, input: Revoke) -> Result<Value, AwsError> {
    let id = input.group.id(state)?;
    let group = Kind::SecurityGroup.get(&state.security_groups, &id)?;
    let mut revoked = Vec::new();
    if input.security_group_rule_ids.is_empty() {
        for (permission, _) in permissions(state, group, input.ip_permissions, input.shorthand)? {
            let mut rules = group.rules.iter();
            let found = rules.find(|rule| rule.egress == egress && rule.permission == permission);
            let missing = || {
                let message = "The specified rule does not exist in this security group.";
                AwsError::new("InvalidPermission.NotFound", message)
            };
            revoked.push(found.ok_or_else(missing)?.id.clone());
        }
    } else {
        if !input.ip_permissions.is_empty() {
            let message = "Security group rule IDs and IP permissions may not be specified together";
            return Err(AwsError::new("InvalidParameterCombination", message));
        }
        for wanted in input.security_group_rule_ids {
            let found = group
                .rules
                .iter()
                .any(|rule| rule.egress == egress && rule.id == wanted);
            if !found {
                return Err(Kind::SecurityGroupRule.missing(&wanted));
            }
            revoked.push(wanted);
        }
    }
    let answered: Vec<Value> = group
        .rules
        .iter()
        .filter(|rule| revoked.contains(&rule.id))
        .map(|rule| {
            let mut value = described(&id, rule, state, call);
            value["ReferencedGroupId"] = value["ReferencedGroupInfo"]["GroupId"].take();
            value
        })
        .collect();
    let group = Kind::SecurityGroup.get_mut(&mut state.security_groups, &id)?;
    group.rules.retain(|rule| !revoked.contains(&rule.id));
    for gone in &revoked {
        state.tags.remove(gone);
    }
    Ok(json!({"Return": true, "UnknownIpPermissions": [], "RevokedSecurityGroupRules": answered}))
}

impl SecurityGroup {
    fn has(&self, egress: bool, permission: &Permission) -> bool {
        self.rules
            .iter()
            .any(|rule| rule.egress == egress && rule.permission == *permission)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct DescribeAnew {
    #[serde(flatten)]
    group: Named,
    #[serde(default)]
    ip_permissions: Vec<IpPermission>,
    #[serde(default)]
    security_group_rule_descriptions: Vec<RuleDescription>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RuleDescription {
    security_group_rule_id: Option<String>,
    description: Option<String>,
}

/// `UpdateSecurityGroupRuleDescriptionsIngress` and `…Egress`.
pub(super) fn describe_anew(state: &mut State, egress: bool, input: DescribeAnew) -> Result<Value, AwsError> {
    let id = input.group.id(state)?;
    let group = Kind::SecurityGroup.get(&state.security_groups, &id)?;
    let mut texts = BTreeMap::new();
    for RuleDescription {
        security_group_rule_id,
        description,
    } in input.security_group_rule_descriptions
    {
        check_description(description.as_deref())?;
        texts.insert(security_group_rule_id.unwrap_or_default(), description);
    }
    if texts.is_empty() {
        for (permission, text) in permissions(state, group, input.ip_permissions, Shorthand::default())? {
            let mut rules = group.rules.iter();
            let found = rules.find(|rule| rule.egress == egress && rule.permission == permission);
            let missing = || {
                let message = "The specified rule does not exist in this security group.";
                AwsError::new("InvalidPermission.NotFound", message)
            };
            texts.insert(found.ok_or_else(missing)?.id.clone(), text);
        }
    }
    for rule in texts.keys() {
        if !group
            .rules
            .iter()
            .any(|known| known.egress == egress && known.id == *rule)
        {
            return Err(Kind::SecurityGroupRule.missing(rule));
        }
    }
    let group = Kind::SecurityGroup.get_mut(&mut state.security_groups, &id)?;
    for rule in &mut group.rules {
        if let Some(text) = texts.remove(&rule.id) {
            rule.description = text;
        }
    }
    Ok(json!({"Return": true}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Modify {
    group_id: String,
    #[serde(default)]
    security_group_rules: Vec<Update>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Update {
    security_group_rule_id: String,
    security_group_rule: Request,
}

/// A rule as `ModifySecurityGroupRules` wants it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Request {
    ip_protocol: Option<String>,
    from_port: Option<i64>,
    to_port: Option<i64>,
    cidr_ipv4: Option<String>,
    cidr_ipv6: Option<String>,
    prefix_list_id: Option<String>,
    referenced_group_id: Option<String>,
    description: Option<String>,
}

impl Request {
    fn read(&self, state: &State) -> Result<Permission, AwsError> {
        let protocol = self.ip_protocol.as_deref().unwrap_or_default();
        let (protocol, ports) = permission::traffic(protocol, self.from_port, self.to_port)?;
        check_description(self.description.as_deref())?;
        let peer = match (
            &self.cidr_ipv4,
            &self.cidr_ipv6,
            &self.prefix_list_id,
            &self.referenced_group_id,
        ) {
            (Some(net), None, None, None) => Peer::Ipv4(permission::ipv4(net)?),
            (None, Some(net), None, None) => Peer::Ipv6(permission::ipv6(net)?),
            (None, None, Some(list), None) => {
                Kind::PrefixList.check(state, list)?;
                Peer::PrefixList(list.clone())
            }
            (None, None, None, Some(group)) => {
                Kind::SecurityGroup.check(state, group)?;
                Peer::Group(group.clone())
            }
            _ => {
                let message = "Exactly one source or destination must be specified";
                return Err(AwsError::new("InvalidParameterCombination", message));
            }
        };
        Ok(Permission { protocol, ports, peer })
    }
}

/// `ModifySecurityGroupRules`: rules keep their ids.
pub(super) fn modify(state: &mut State, input: Modify) -> Result<Value, AwsError> {
    let mut changed = Kind::SecurityGroup
        .get(&state.security_groups, &input.group_id)?
        .clone();
    for update in input.security_group_rules {
        let permission = update.security_group_rule.read(state)?;
        let id = &update.security_group_rule_id;
        let rule = changed.rules.iter_mut().find(|rule| rule.id == *id);
        let rule = rule.ok_or_else(|| Kind::SecurityGroupRule.missing(id))?;
        rule.permission = permission;
        rule.description = update.security_group_rule.description;
    }
    let mut seen = std::collections::BTreeSet::new();
    for rule in &changed.rules {
        if !seen.insert((rule.egress, &rule.permission)) {
            let message = format!("the specified rule \"{}\" already exists", spelled(&rule.permission));
            return Err(AwsError::new("InvalidPermission.Duplicate", message));
        }
    }
    state.security_groups.insert(input.group_id, changed);
    Ok(json!({"Return": true}))
}

/// A rule as it is answered.
fn described(group: &str, rule: &SecurityGroupRule, state: &State, call: &Call) -> Value {
    let Permission { protocol, ports, peer } = &rule.permission;
    // Rules without ports are answered with −1 here, and without any in `IpPermissions`.
    let (from, to) = ports.unwrap_or((-1, -1));
    let mut value = json!({
        "SecurityGroupRuleId": rule.id, "GroupId": group, "GroupOwnerId": call.account, "IsEgress": rule.egress,
        "IpProtocol": protocol, "FromPort": from, "ToPort": to, "Description": rule.description,
        "Tags": tag::list(state, &rule.id),
        "SecurityGroupRuleArn": call.arn("ec2", &format!("security-group-rule/{}", rule.id)),
    });
    match peer {
        Peer::Ipv4(net) => value["CidrIpv4"] = json!(net.to_string()),
        Peer::Ipv6(net) => value["CidrIpv6"] = json!(net.to_string()),
        Peer::PrefixList(id) => value["PrefixListId"] = json!(id),
        Peer::Group(id) => value["ReferencedGroupInfo"] = json!({"GroupId": id, "UserId": call.account}),
    }
    value
}

/// `DescribeSecurityGroupRules`.
pub(super) fn describe(state: &State, call: &Call, query: &Query) -> Result<Value, AwsError> {
    for id in &query.ids {
        Kind::SecurityGroupRule.check(state, id)?;
    }
    let mut found = Vec::new();
    for (group, rule) in state.rules() {
        let values = |filter: &str| match filter {
            "group-id" => Some(vec![group.to_owned()]),
            "security-group-rule-id" => Some(vec![rule.id.clone()]),
            _ => None,
        };
        if query.passes(&rule.id, state, values)? && (query.ids.is_empty() || query.ids.contains(&rule.id)) {
            found.push((rule.id.clone(), described(group, rule, state, call)));
        }
    }
    let (rules, next) = query.page(found)?;
    Ok(json!({"SecurityGroupRules": rules, "NextToken": next}))
}
