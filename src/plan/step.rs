//! A mutation as a value: printable, countable, testable, ordered.

use crate::model::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A step's place in its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(pub u32);

/// Something that is there already, or that an earlier step of the same plan makes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ref<T> {
    /// It is there.
    Known(T),
    /// That step makes it.
    From(StepId),
}

impl<T> From<T> for Ref<T> {
    fn from(known: T) -> Self {
        Self::Known(known)
    }
}

/// One AWS call that changes something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Its place.
    pub id: StepId,
    /// How urgent it is.
    pub lane: Lane,
    /// The member whose wish it is, where it is one member's: AWS' refusal then blocks that member alone.
    pub owner: Option<ObjectKey>,
    /// What is called.
    pub call: Mutation,
}

/// Every AWS call that albacore makes to change something: one variant, one call. Fields are named as AWS names them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(
    missing_docs,
    reason = "fields are AWS' request members or model values documented there"
)]
pub enum Mutation {
    /// Makes a security group without ingress rules. Gives a [`SecurityGroupId`].
    CreateSecurityGroup {
        vpc: VpcId,
        name: String,
        description: String,
        tags: Tags,
    },
    /// Adds ingress rules.
    AuthorizeIngress {
        group: Ref<SecurityGroupId>,
        permissions: Vec<Permission>,
    },
    /// Removes ingress rules.
    RevokeIngress {
        group: SecurityGroupId,
        permissions: Vec<Permission>,
    },
    /// `CreateTags` on a security group.
    TagSecurityGroup { group: SecurityGroupId, tags: Tags },
    /// `DeleteTags` on a security group.
    UntagSecurityGroup { group: SecurityGroupId, keys: Vec<String> },
    /// Deletes a security group.
    DeleteSecurityGroup { group: SecurityGroupId },

    /// Makes a target group without targets; its attributes need a step of their own. Gives a [`TargetGroupArn`].
    CreateTargetGroup {
        vpc: VpcId,
        key: TargetGroupKey,
        group: TargetGroup,
    },
    /// Changes the health check.
    ModifyTargetGroup {
        arn: TargetGroupArn,
        health_check: HealthCheck,
        protocol_version: String,
    },
    /// Sets attributes.
    ModifyTargetGroupAttributes {
        group: Ref<TargetGroupArn>,
        attributes: BTreeMap<String, String>,
    },
    /// Deletes a target group.
    DeleteTargetGroup { arn: TargetGroupArn },

    /// Makes a load balancer; its attributes need a step of their own. Gives a [`LoadBalancerArn`].
    CreateLoadBalancer {
        load_balancer: LoadBalancer<Ref<SecurityGroupId>>,
    },
    /// Sets attributes.
    ModifyLoadBalancerAttributes {
        load_balancer: Ref<LoadBalancerArn>,
        attributes: BTreeMap<String, String>,
    },
    /// Moves it to these subnets.
    SetSubnets {
        arn: LoadBalancerArn,
        subnets: Vec<SubnetId>,
    },
    /// Replaces its security groups.
    SetSecurityGroups {
        arn: LoadBalancerArn,
        groups: Vec<Ref<SecurityGroupId>>,
    },
    /// Changes the IP versions.
    SetIpAddressType {
        arn: LoadBalancerArn,
        ip_address_type: IpAddressType,
    },
    /// Deletes it, with its listeners and rules.
    DeleteLoadBalancer { arn: LoadBalancerArn },

    /// Makes a listener; `listener.rules` is empty and `certificates.by_name` is ignored: each needs a step of its own.
    /// Gives a [`ListenerArn`].
    CreateListener {
        load_balancer: Ref<LoadBalancerArn>,
        listener: Listener<Ref<TargetGroupArn>>,
    },
    /// Changes protocol, default actions, default certificate and policy of a listener.
    ModifyListener {
        arn: ListenerArn,
        listener: Listener<Ref<TargetGroupArn>>,
    },
    /// Deletes a listener with its rules.
    DeleteListener { arn: ListenerArn },
    /// Adds one certificate to be chosen by name.
    AddListenerCertificate {
        listener: Ref<ListenerArn>,
        certificate: CertificateArn,
    },
    /// Removes one certificate chosen by name.
    RemoveListenerCertificate {
        listener: ListenerArn,
        certificate: CertificateArn,
    },

    /// Makes a rule. Gives a [`RuleArn`].
    CreateRule {
        listener: Ref<ListenerArn>,
        priority: Priority,
        rule: Rule<Ref<TargetGroupArn>>,
    },
    /// Replaces conditions and actions of a rule.
    ModifyRule {
        arn: RuleArn,
        rule: Rule<Ref<TargetGroupArn>>,
    },
    /// Moves rules, all at once; some may be made by earlier steps.
    SetRulePriorities {
        listener: ListenerArn,
        priorities: Vec<(Ref<RuleArn>, Priority)>,
    },
    /// Deletes a rule.
    DeleteRule { arn: RuleArn },

    /// Adds or changes tags of an ELBv2 resource, by ARN.
    AddTags { resource: String, tags: Tags },
    /// Removes tags of an ELBv2 resource, by ARN.
    RemoveTags { resource: String, keys: Vec<String> },

    /// Registers targets, 200 at most.
    RegisterTargets {
        group: TargetGroupArn,
        targets: Vec<Target>,
    },
    /// Deregisters targets, 200 at most.
    DeregisterTargets {
        group: TargetGroupArn,
        targets: Vec<Target>,
    },
}

/// What a successful step tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// Nothing that was not known.
    Nothing,
    /// A security group.
    SecurityGroup(SecurityGroupId),
    /// A target group.
    TargetGroup(TargetGroupArn),
    /// A load balancer.
    LoadBalancer {
        /// Its ARN.
        arn: LoadBalancerArn,
        /// Its DNS name, as AWS writes it.
        dns_name: String,
        /// Zone of that name.
        hosted_zone: HostedZoneId,
    },
    /// A listener.
    Listener(ListenerArn),
    /// A rule.
    Rule(RuleArn),
}

impl Mutation {
    /// Whether it adds something that was not there, which reads may not show for a while.
    pub fn adds(&self) -> bool {
        matches!(
            self,
            Self::CreateSecurityGroup { .. }
                | Self::AuthorizeIngress { .. }
                | Self::CreateTargetGroup { .. }
                | Self::CreateLoadBalancer { .. }
                | Self::CreateListener { .. }
                | Self::CreateRule { .. }
        )
    }

    /// The name of the AWS operation; also the name the budget and the meters know it by.
    pub fn operation(&self) -> &'static str {
        match self {
            Self::CreateSecurityGroup { .. } => "CreateSecurityGroup",
            Self::AuthorizeIngress { .. } => "AuthorizeSecurityGroupIngress",
            Self::RevokeIngress { .. } => "RevokeSecurityGroupIngress",
            Self::TagSecurityGroup { .. } => "CreateTags",
            Self::UntagSecurityGroup { .. } => "DeleteTags",
            Self::DeleteSecurityGroup { .. } => "DeleteSecurityGroup",
            Self::CreateTargetGroup { .. } => "CreateTargetGroup",
            Self::ModifyTargetGroup { .. } => "ModifyTargetGroup",
            Self::ModifyTargetGroupAttributes { .. } => "ModifyTargetGroupAttributes",
            Self::DeleteTargetGroup { .. } => "DeleteTargetGroup",
            Self::CreateLoadBalancer { .. } => "CreateLoadBalancer",
            Self::ModifyLoadBalancerAttributes { .. } => "ModifyLoadBalancerAttributes",
            Self::SetSubnets { .. } => "SetSubnets",
            Self::SetSecurityGroups { .. } => "SetSecurityGroups",
            Self::SetIpAddressType { .. } => "SetIpAddressType",
            Self::DeleteLoadBalancer { .. } => "DeleteLoadBalancer",
            Self::CreateListener { .. } => "CreateListener",
            Self::ModifyListener { .. } => "ModifyListener",
            Self::DeleteListener { .. } => "DeleteListener",
            Self::AddListenerCertificate { .. } => "AddListenerCertificates",
            Self::RemoveListenerCertificate { .. } => "RemoveListenerCertificates",
            Self::CreateRule { .. } => "CreateRule",
            Self::ModifyRule { .. } => "ModifyRule",
            Self::SetRulePriorities { .. } => "SetRulePriorities",
            Self::DeleteRule { .. } => "DeleteRule",
            Self::AddTags { .. } => "AddTags",
            Self::RemoveTags { .. } => "RemoveTags",
            Self::RegisterTargets { .. } => "RegisterTargets",
            Self::DeregisterTargets { .. } => "DeregisterTargets",
        }
    }
}
