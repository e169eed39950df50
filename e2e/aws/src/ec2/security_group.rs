//! Security groups. Their rules are changed in `security_group_rule.rs`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::describe::{Listed, Query};
use super::lookup::{Kind, in_use, invalid};
use super::permission;
use super::state::{Peer, Permission, SecurityGroup, SecurityGroupRule, State};
use super::tag::{self, Specification};
use crate::call::Call;
use crate::fault::AwsError;
use crate::ids::Ids;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Create {
    group_name: String,
    description: String,
    vpc_id: Option<String>,
    #[serde(default)]
    tag_specifications: Vec<Specification>,
}

/// Source: "Amazon VPC quotas": security groups per Region.
const MOST: usize = 2500;

/// "Up to 255 characters in length. Cannot start with sg-. Constraints for EC2-VPC: a-z, A-Z, 0-9, spaces, and
/// ._-:/()#,@[]+=&;{}!$*". Source: CreateSecurityGroup, Amazon EC2 API reference.
fn check_text(name: &str, text: &str) -> Result<(), AwsError> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || " ._-:/()#,@[]+=&;{}!$*".contains(letter);
    if text.is_empty() {
        return Err(AwsError::new(
            "MissingParameter",
            format!("The request must contain the parameter {name}"),
        ));
    }
    if !text.is_ascii() {
        return Err(invalid(format!(
            "Value ({text}) for parameter {name} is invalid. Character sets beyond ASCII are not supported."
        )));
    }
    if text.len() > 255 || !text.chars().all(allowed) {
        return Err(invalid(format!(
            "Invalid security group description. Valid descriptions are strings less than 256 characters from the following \
             set: a-zA-Z0-9. _-:/()#,@[]+=&;{{}}!$* (parameter {name})"
        )));
    }
    Ok(())
}

/// `CreateSecurityGroup`: everything may go out, nothing come in.
pub(super) fn create(state: &mut State, ids: &mut Ids, call: &Call, input: Create) -> Result<Value, AwsError> {
    let name = input.group_name;
    check_text("GroupName", &name)?;
    check_text("GroupDescription", &input.description)?;
    if name.to_lowercase().starts_with("sg-") {
        return Err(invalid(format!(
            "Invalid value '{name}' for groupName. Group names may not be in the format sg-*"
        )));
    }
    let vpc = input
        .vpc_id
        .ok_or_else(|| AwsError::new("VPCIdNotSpecified", "No default VPC for this user"))?;
    Kind::Vpc.check(state, &vpc)?;
    if name == "default" {
        let message = "Cannot use reserved security group name: default";
        return Err(AwsError::new("InvalidGroup.Reserved", message));
    }
    let mut siblings = state.security_groups.values().filter(|group| group.vpc == vpc);
    if siblings.any(|group| group.name == name) {
        let message = format!("The security group '{name}' already exists for VPC '{vpc}'");
        return Err(AwsError::new("InvalidGroup.Duplicate", message));
    }
    if state.security_groups.len() >= MOST {
        let message = "The maximum number of security groups has been reached.";
        return Err(AwsError::new("SecurityGroupLimitExceeded", message));
    }
    let tags = tag::specified(&input.tag_specifications, Kind::SecurityGroup, &[])?;
    let id = ids.ec2("sg");
    let group = SecurityGroup {
        name,
        description: input.description,
        rules: everything_out(state, ids, &vpc),
        vpc,
    };
    state.security_groups.insert(id.clone(), group);
    tag::attach(state, &id, tags);
    let tags = tag::list(state, &id);
    Ok(json!({"GroupId": id, "Tags": tags, "SecurityGroupArn": arn(call, &id)}))
}

fn arn(call: &Call, id: &str) -> String {
    call.arn("ec2", &format!("security-group/{id}"))
}

fn anything(ids: &mut Ids, egress: bool, peer: Peer) -> SecurityGroupRule {
    SecurityGroupRule {
        id: ids.ec2("sgr"),
        egress,
        permission: Permission {
            protocol: "-1".to_owned(),
            ports: None,
            peer,
        },
        description: None,
    }
}

/// The rules that a new group has: to everywhere, over IPv6 too if the VPC has a block of it.
/// Source: "Security group rules", Amazon VPC user guide.
fn everything_out(state: &State, ids: &mut Ids, vpc: &str) -> Vec<SecurityGroupRule> {
    let mut rules = vec![anything(ids, true, Peer::Ipv4(ipnet::Ipv4Net::default()))];
    if state.vpcs.get(vpc).is_some_and(|vpc| !vpc.ipv6.is_empty()) {
        rules.push(anything(ids, true, Peer::Ipv6(ipnet::Ipv6Net::default())));
    }
    rules
}

/// The security group that comes with a VPC; [`admit_itself`] completes it once it has an id.
pub(super) fn default_of(state: &State, ids: &mut Ids, vpc: &str) -> SecurityGroup {
    SecurityGroup {
        name: "default".to_owned(),
        description: "default VPC security group".to_owned(),
        vpc: vpc.to_owned(),
        rules: everything_out(state, ids, vpc),
    }
}

/// Lets the interfaces of a VPC's default security group reach each other.
pub(super) fn admit_itself(state: &mut State, ids: &mut Ids, vpc: &str) {
    let Some(id) = state.default_security_group(vpc).map(str::to_owned) else {
        return;
    };
    let rule = anything(ids, false, Peer::Group(id.clone()));
    if let Some(group) = state.security_groups.get_mut(&id) {
        group.rules.push(rule);
    }
}

/// How a call names one group. Names work only in a default VPC, which no region has here.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Named {
    group_id: Option<String>,
    group_name: Option<String>,
}

impl Named {
    /// The group's id.
    pub fn id(&self, state: &State) -> Result<String, AwsError> {
        match (&self.group_id, &self.group_name) {
            (Some(id), _) => {
                Kind::SecurityGroup.check(state, id)?;
                Ok(id.clone())
            }
            (None, Some(name)) => {
                let message = format!("The security group '{name}' does not exist");
                Err(AwsError::new("InvalidGroup.NotFound", message))
            }
            (None, None) => {
                let message = "The request must contain the parameter groupName or groupId";
                Err(AwsError::new("MissingParameter", message))
            }
        }
    }
}

/// `DeleteSecurityGroup`: not while an interface has it or another group's rule names it.
pub(super) fn delete(state: &mut State, input: &Named) -> Result<Value, AwsError> {
    let id = input.id(state)?;
    if state.security_groups[&id].name == "default" {
        let message = format!("the specified group: \"{id}\" name: \"default\" cannot be deleted by a user");
        return Err(AwsError::new("CannotDelete", message));
    }
    let named =
        |(group, rule): (&str, &SecurityGroupRule)| group != id && rule.permission.peer == Peer::Group(id.clone());
    let used = state
        .interfaces
        .values()
        .any(|interface| interface.groups.contains(&id))
        || state.rules().any(named);
    if used {
        return Err(in_use(format!("resource {id} has a dependent object")));
    }
    if let Some(group) = state.security_groups.remove(&id) {
        for gone in group.rules.iter().map(|rule| &rule.id).chain([&id]) {
            state.tags.remove(gone);
        }
    }
    Ok(json!({"Return": true, "GroupId": id}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Describe {
    #[serde(default)]
    group_names: Vec<String>,
    #[serde(flatten)]
    query: Query,
}

/// `DescribeSecurityGroups`.
pub(super) fn describe(state: &State, call: &Call, input: &Describe) -> Result<Value, AwsError> {
    if let Some(name) = input.group_names.first() {
        // "[Default VPC] The names of the security groups": there is no default VPC.
        let message = format!("The security group '{name}' does not exist");
        return Err(AwsError::new("InvalidGroup.NotFound", message));
    }
    input.query.answer(&state.security_groups, state, call)
}

impl SecurityGroup {
    fn direction(&self, egress: bool) -> impl Iterator<Item = &SecurityGroupRule> {
        self.rules.iter().filter(move |rule| rule.egress == egress)
    }

    /// Values of the filters `ip-permission.…` and `egress.ip-permission.…`.
    fn permission_values(&self, egress: bool, filter: &str, state: &State, call: &Call) -> Option<Vec<String>> {
        let permissions = self.direction(egress).map(|rule| &rule.permission);
        let peers = |pick: &dyn Fn(&Peer) -> Option<String>| {
            let rules = self.direction(egress);
            rules.filter_map(|rule| pick(&rule.permission.peer)).collect()
        };
        Some(match filter {
            "protocol" => permissions.map(|permission| permission.protocol.clone()).collect(),
            "from-port" => permissions.filter_map(|one| Some(one.ports?.0.to_string())).collect(),
            "to-port" => permissions.filter_map(|one| Some(one.ports?.1.to_string())).collect(),
            "cidr" => peers(&|peer| match peer {
                Peer::Ipv4(net) => Some(net.to_string()),
                _ => None,
            }),
            "ipv6-cidr" => peers(&|peer| match peer {
                Peer::Ipv6(net) => Some(net.to_string()),
                _ => None,
            }),
            "prefix-list-id" => peers(&|peer| match peer {
                Peer::PrefixList(id) => Some(id.clone()),
                _ => None,
            }),
            "group-id" => peers(&|peer| match peer {
                Peer::Group(id) => Some(id.clone()),
                _ => None,
            }),
            "group-name" => peers(&|peer| match peer {
                Peer::Group(id) => Some(state.security_group(id)?.name.clone()),
                _ => None,
            }),
            "user-id" => peers(&|peer| match peer {
                Peer::Group(_) => Some(call.account.clone()),
                _ => None,
            }),
            _ => return None,
        })
    }
}

impl Listed for SecurityGroup {
    const KIND: Kind = Kind::SecurityGroup;
    const LIST: &'static str = "SecurityGroups";

    fn values(&self, id: &str, filter: &str, state: &State, call: &Call) -> Option<Vec<String>> {
        if let Some(rest) = filter.strip_prefix("ip-permission.") {
            return self.permission_values(false, rest, state, call);
        }
        if let Some(rest) = filter.strip_prefix("egress.ip-permission.") {
            return self.permission_values(true, rest, state, call);
        }
        Some(match filter {
            "description" => vec![self.description.clone()],
            "group-id" => vec![id.to_owned()],
            "group-name" => vec![self.name.clone()],
            "owner-id" => vec![call.account.clone()],
            "vpc-id" => vec![self.vpc.clone()],
            _ => return None,
        })
    }

    fn described(&self, id: &str, _: &State, call: &Call) -> Value {
        json!({
            "GroupId": id, "GroupName": self.name, "Description": self.description, "VpcId": self.vpc,
            "OwnerId": call.account, "SecurityGroupArn": arn(call, id),
            "IpPermissions": permission::list(self.direction(false), call),
            "IpPermissionsEgress": permission::list(self.direction(true), call),
        })
    }
}
