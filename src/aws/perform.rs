//! One mutation, one call.

use super::{Aws, Class, Fault, client::send, convert, service_of};
use crate::{
    budget::{Permit, Service},
    model::*,
    plan::{Made, Mutation, Results},
};
use aws_sdk_ec2::types as ec2;
use aws_sdk_elasticloadbalancingv2::types as elb;

/// How far the clocks of this machine and of AWS may be apart, in seconds; one that is kept in time is within one. Where
/// they are farther apart, a new load balancer is read once more than it need be.
const SKEW: i64 = 10;

impl Aws {
    /// Performs a mutation that is paid for. `results` hold what earlier steps of the plan made.
    ///
    /// # Errors
    /// AWS' refusal, or that there was no answer. A target group that was to be made and turns out to be in use, or a load
    /// balancer that turns out to be older, is a [`Class::Conflict`]: AWS answers an identical creation with what is there.
    pub async fn perform(&self, permit: Permit, call: &Mutation, results: &Results) -> Result<Made, Fault> {
        let made = match service_of(call) {
            Service::Ec2 => Box::pin(self.on_security_groups(permit, call, results)).await,
            _ => Box::pin(self.on_load_balancers(permit, call, results)).await,
        };
        if let Err(Fault {
            class: Class::Rejected,
            operation,
            code,
            ..
        }) = &made
        {
            tracing::info!(operation, code, ?call, "AWS refuses a call");
        }
        made
    }

    async fn on_security_groups(&self, permit: Permit, call: &Mutation, results: &Results) -> Result<Made, Fault> {
        let ec2 = &self.clients.ec2;
        match call {
            Mutation::CreateSecurityGroup {
                vpc,
                name,
                description,
                tags,
            } => {
                let specification = ec2::TagSpecification::builder()
                    .resource_type(ec2::ResourceType::SecurityGroup)
                    .set_tags(Some(convert::ec2_tags(tags)));
                let request = ec2
                    .create_security_group()
                    .vpc_id(vpc.as_str())
                    .group_name(name)
                    .description(description)
                    .tag_specifications(specification.build());
                let made = send(permit, request.send()).await?;
                let id = made.group_id.ok_or_else(|| nameless(call))?;
                return Ok(Made::SecurityGroup(id.into()));
            }
            Mutation::AuthorizeIngress { group, permissions } => {
                let group = results.resolve(group).ok_or_else(|| unmade(call))?;
                let request = ec2
                    .authorize_security_group_ingress()
                    .group_id(group.as_str())
                    .set_ip_permissions(Some(convert::ip_permissions(permissions)));
                send(permit, request.send()).await?;
            }
            Mutation::RevokeIngress { group, permissions } => {
                let request = ec2
                    .revoke_security_group_ingress()
                    .group_id(group.as_str())
                    .set_ip_permissions(Some(convert::ip_permissions(permissions)));
                send(permit, request.send()).await?;
            }
            Mutation::TagSecurityGroup { group, tags } => {
                let request = ec2
                    .create_tags()
                    .resources(group.as_str())
                    .set_tags(Some(convert::ec2_tags(tags)));
                send(permit, request.send()).await?;
            }
            Mutation::UntagSecurityGroup { group, keys } => {
                let tags = keys.iter().map(|key| ec2::Tag::builder().key(key).build()).collect();
                let request = ec2.delete_tags().resources(group.as_str()).set_tags(Some(tags));
                send(permit, request.send()).await?;
            }
            Mutation::DeleteSecurityGroup { group } => {
                send(permit, ec2.delete_security_group().group_id(group.as_str()).send()).await?;
            }
            _ => return Err(unmade(call)),
        }
        Ok(Made::Nothing)
    }

    async fn on_load_balancers(&self, permit: Permit, call: &Mutation, results: &Results) -> Result<Made, Fault> {
        let elb = &self.clients.elb;
        match call {
            Mutation::CreateTargetGroup { .. }
            | Mutation::ModifyTargetGroup { .. }
            | Mutation::ModifyTargetGroupAttributes { .. }
            | Mutation::DeleteTargetGroup { .. }
            | Mutation::RegisterTargets { .. }
            | Mutation::DeregisterTargets { .. } => {
                return Box::pin(self.on_target_groups(permit, call, results)).await;
            }

            Mutation::CreateListener { .. }
            | Mutation::ModifyListener { .. }
            | Mutation::DeleteListener { .. }
            | Mutation::AddListenerCertificate { .. }
            | Mutation::RemoveListenerCertificate { .. }
            | Mutation::CreateRule { .. }
            | Mutation::ModifyRule { .. }
            | Mutation::SetRulePriorities { .. }
            | Mutation::DeleteRule { .. } => return Box::pin(self.on_listeners(permit, call, results)).await,

            Mutation::CreateLoadBalancer { load_balancer } => {
                let groups = convert::ids(&load_balancer.security_groups, results).ok_or_else(|| unmade(call))?;
                let request = elb
                    .create_load_balancer()
                    .name(&load_balancer.name)
                    .r#type(elb::LoadBalancerTypeEnum::Application)
                    .scheme(load_balancer.scheme.name().into())
                    .ip_address_type(load_balancer.ip_address_type.name().into())
                    .set_subnets(Some(load_balancer.subnets.iter().map(ToString::to_string).collect()))
                    .set_security_groups(Some(groups))
                    .set_tags(Some(convert::elb_tags(&load_balancer.tags)));
                let asked = self.clock.now();
                let made = send(permit, request.send()).await?;
                let made = made
                    .load_balancers
                    .unwrap_or_default()
                    .into_iter()
                    .next()
                    .ok_or_else(|| nameless(call))?;
                if made.created_time.is_some_and(|at| at.secs() + SKEW < asked.as_second()) {
                    let message = format!("the load balancer {} was there already", load_balancer.name);
                    return Err(Fault::ours(call, Class::Conflict, message));
                }
                return Ok(Made::LoadBalancer {
                    arn: made.load_balancer_arn.ok_or_else(|| nameless(call))?.into(),
                    dns_name: made.dns_name.unwrap_or_default(),
                    hosted_zone: made.canonical_hosted_zone_id.unwrap_or_default().into(),
                });
            }
            Mutation::ModifyLoadBalancerAttributes {
                load_balancer,
                attributes,
            } => {
                let arn = results.resolve(load_balancer).ok_or_else(|| unmade(call))?;
                let attribute = |(key, value): (&String, &String)| {
                    elb::LoadBalancerAttribute::builder().key(key).value(value).build()
                };
                let request = elb
                    .modify_load_balancer_attributes()
                    .load_balancer_arn(arn.as_str())
                    .set_attributes(Some(attributes.iter().map(attribute).collect()));
                send(permit, request.send()).await?;
            }
            Mutation::SetSubnets { arn, subnets } => {
                let request = elb
                    .set_subnets()
                    .load_balancer_arn(arn.as_str())
                    .set_subnets(Some(subnets.iter().map(ToString::to_string).collect()));
                send(permit, request.send()).await?;
            }
            Mutation::SetSecurityGroups { arn, groups } => {
                let groups = convert::ids(groups, results).ok_or_else(|| unmade(call))?;
                let request = elb
                    .set_security_groups()
                    .load_balancer_arn(arn.as_str())
                    .set_security_groups(Some(groups));
                send(permit, request.send()).await?;
            }
            Mutation::SetIpAddressType { arn, ip_address_type } => {
                let request = elb
                    .set_ip_address_type()
                    .load_balancer_arn(arn.as_str())
                    .ip_address_type(ip_address_type.name().into());
                send(permit, request.send()).await?;
            }
            Mutation::DeleteLoadBalancer { arn } => {
                send(
                    permit,
                    elb.delete_load_balancer().load_balancer_arn(arn.as_str()).send(),
                )
                .await?;
            }
            Mutation::AddTags { resource, tags } => {
                let request = elb
                    .add_tags()
                    .resource_arns(resource)
                    .set_tags(Some(convert::elb_tags(tags)));
                send(permit, request.send()).await?;
            }
            Mutation::RemoveTags { resource, keys } => {
                let request = elb
                    .remove_tags()
                    .resource_arns(resource)
                    .set_tag_keys(Some(keys.clone()));
                send(permit, request.send()).await?;
            }
            _ => return Err(unmade(call)),
        }
        Ok(Made::Nothing)
    }

    async fn on_target_groups(&self, permit: Permit, call: &Mutation, results: &Results) -> Result<Made, Fault> {
        let elb = &self.clients.elb;
        match call {
            Mutation::CreateTargetGroup { vpc, group, .. } => {
                let check = &group.health_check;
                let request = elb
                    .create_target_group()
                    .name(&group.name)
                    .protocol(group.protocol.as_str().into())
                    .protocol_version(&group.protocol_version)
                    .port(group.port.into())
                    .vpc_id(vpc.as_str())
                    .target_type(group.target_type.name().into())
                    .ip_address_type(group.ip_address_type.as_str().into())
                    .health_check_enabled(true)
                    .health_check_protocol(check.protocol.as_str().into())
                    .health_check_port(&check.port)
                    .health_check_path(&check.path)
                    .health_check_interval_seconds(check.interval_seconds)
                    .health_check_timeout_seconds(check.timeout_seconds)
                    .healthy_threshold_count(check.healthy_threshold)
                    .unhealthy_threshold_count(check.unhealthy_threshold)
                    .matcher(convert::elb_matcher(check, &group.protocol_version))
                    .set_tags(Some(convert::elb_tags(&group.tags)));
                let made = send(permit, request.send()).await?;
                let made = made
                    .target_groups
                    .unwrap_or_default()
                    .into_iter()
                    .next()
                    .ok_or_else(|| nameless(call))?;
                if !made.load_balancer_arns().is_empty() {
                    let message = format!("the target group {} was there already, and is in use", group.name);
                    return Err(Fault::ours(call, Class::Conflict, message));
                }
                let arn: TargetGroupArn = made.target_group_arn.ok_or_else(|| nameless(call))?.into();
                self.made_groups().insert(arn.clone());
                return Ok(Made::TargetGroup(arn));
            }
            Mutation::ModifyTargetGroup {
                arn,
                health_check: check,
                protocol_version,
            } => {
                let request = elb
                    .modify_target_group()
                    .target_group_arn(arn.as_str())
                    .health_check_enabled(true)
                    .health_check_protocol(check.protocol.as_str().into())
                    .health_check_port(&check.port)
                    .health_check_path(&check.path)
                    .health_check_interval_seconds(check.interval_seconds)
                    .health_check_timeout_seconds(check.timeout_seconds)
                    .healthy_threshold_count(check.healthy_threshold)
                    .unhealthy_threshold_count(check.unhealthy_threshold)
                    .matcher(convert::elb_matcher(check, protocol_version));
                send(permit, request.send()).await?;
            }
            Mutation::ModifyTargetGroupAttributes { group, attributes } => {
                let arn = results.resolve(group).ok_or_else(|| unmade(call))?;
                let attribute = |(key, value): (&String, &String)| {
                    elb::TargetGroupAttribute::builder().key(key).value(value).build()
                };
                let request = elb
                    .modify_target_group_attributes()
                    .target_group_arn(arn.as_str())
                    .set_attributes(Some(attributes.iter().map(attribute).collect()));
                send(permit, request.send()).await?;
            }
            Mutation::DeleteTargetGroup { arn } => {
                send(permit, elb.delete_target_group().target_group_arn(arn.as_str()).send()).await?;
                self.made_groups().remove(arn);
            }
            Mutation::RegisterTargets { group, targets } => {
                // From now on it is not known to be empty.
                self.made_groups().remove(group);
                let targets = targets.iter().map(convert::elb_target).collect();
                let request = elb
                    .register_targets()
                    .target_group_arn(group.as_str())
                    .set_targets(Some(targets));
                send(permit, request.send()).await?;
            }
            Mutation::DeregisterTargets { group, targets } => {
                let targets = targets.iter().map(convert::elb_target).collect();
                let request = elb
                    .deregister_targets()
                    .target_group_arn(group.as_str())
                    .set_targets(Some(targets));
                send(permit, request.send()).await?;
            }
            _ => return Err(unmade(call)),
        }
        Ok(Made::Nothing)
    }

    async fn on_listeners(&self, permit: Permit, call: &Mutation, results: &Results) -> Result<Made, Fault> {
        let elb = &self.clients.elb;
        let certificate = |arn: &CertificateArn| elb::Certificate::builder().certificate_arn(arn.as_str()).build();
        let default_certificate =
            |certificates: &Certificates| certificates.default.as_ref().map(|arn| vec![certificate(arn)]);
        match call {
            Mutation::CreateListener {
                load_balancer,
                listener,
            } => {
                let arn = results.resolve(load_balancer).ok_or_else(|| unmade(call))?;
                let actions = convert::elb_actions(&listener.default_actions, results).ok_or_else(|| unmade(call))?;
                let request = elb
                    .create_listener()
                    .load_balancer_arn(arn.as_str())
                    .port(listener.port.into())
                    .protocol(listener.protocol.name().into())
                    .set_default_actions(Some(actions))
                    .set_certificates(default_certificate(&listener.certificates))
                    .set_ssl_policy(listener.ssl_policy.clone())
                    .set_tags(Some(convert::elb_tags(&listener.tags)));
                let made = send(permit, request.send()).await?;
                let made = made
                    .listeners
                    .unwrap_or_default()
                    .into_iter()
                    .next()
                    .and_then(|made| made.listener_arn);
                return Ok(Made::Listener(made.ok_or_else(|| nameless(call))?.into()));
            }
            Mutation::ModifyListener { arn, listener } => {
                let actions = convert::elb_actions(&listener.default_actions, results).ok_or_else(|| unmade(call))?;
                let request = elb
                    .modify_listener()
                    .listener_arn(arn.as_str())
                    .port(listener.port.into())
                    .protocol(listener.protocol.name().into())
                    .set_default_actions(Some(actions))
                    .set_certificates(default_certificate(&listener.certificates))
                    .set_ssl_policy(listener.ssl_policy.clone());
                send(permit, request.send()).await?;
            }
            Mutation::DeleteListener { arn } => {
                send(permit, elb.delete_listener().listener_arn(arn.as_str()).send()).await?;
            }
            Mutation::AddListenerCertificate {
                listener,
                certificate: arn,
            } => {
                let listener = results.resolve(listener).ok_or_else(|| unmade(call))?;
                let request = elb
                    .add_listener_certificates()
                    .listener_arn(listener.as_str())
                    .certificates(certificate(arn));
                send(permit, request.send()).await?;
            }
            Mutation::RemoveListenerCertificate {
                listener,
                certificate: arn,
            } => {
                let request = elb
                    .remove_listener_certificates()
                    .listener_arn(listener.as_str())
                    .certificates(certificate(arn));
                send(permit, request.send()).await?;
            }
            Mutation::CreateRule {
                listener,
                priority,
                rule,
            } => {
                let listener = results.resolve(listener).ok_or_else(|| unmade(call))?;
                let actions = convert::elb_actions(&rule.actions, results).ok_or_else(|| unmade(call))?;
                let request = elb
                    .create_rule()
                    .listener_arn(listener.as_str())
                    .priority(i32::try_from(*priority).unwrap_or(i32::MAX))
                    .set_conditions(Some(convert::elb_conditions(&rule.conditions)))
                    .set_actions(Some(actions))
                    .set_tags(Some(convert::elb_tags(&rule.tags)));
                let made = send(permit, request.send()).await?;
                let made = made
                    .rules
                    .unwrap_or_default()
                    .into_iter()
                    .next()
                    .and_then(|made| made.rule_arn);
                return Ok(Made::Rule(made.ok_or_else(|| nameless(call))?.into()));
            }
            Mutation::ModifyRule { arn, rule } => {
                let actions = convert::elb_actions(&rule.actions, results).ok_or_else(|| unmade(call))?;
                let request = elb
                    .modify_rule()
                    .rule_arn(arn.as_str())
                    .set_conditions(Some(convert::elb_conditions(&rule.conditions)))
                    .set_actions(Some(actions));
                send(permit, request.send()).await?;
            }
            Mutation::SetRulePriorities { priorities, .. } => {
                let pair = |(rule, priority): &(_, Priority)| {
                    let arn: RuleArn = results.resolve(rule)?;
                    let priority = i32::try_from(*priority).unwrap_or(i32::MAX);
                    Some(
                        elb::RulePriorityPair::builder()
                            .rule_arn(arn.as_str())
                            .priority(priority)
                            .build(),
                    )
                };
                let pairs: Option<Vec<_>> = priorities.iter().map(pair).collect();
                let request = elb
                    .set_rule_priorities()
                    .set_rule_priorities(Some(pairs.ok_or_else(|| unmade(call))?));
                send(permit, request.send()).await?;
            }
            Mutation::DeleteRule { arn } => {
                send(permit, elb.delete_rule().rule_arn(arn.as_str()).send()).await?;
            }
            _ => return Err(unmade(call)),
        }
        Ok(Made::Nothing)
    }
}

/// The answer to a creation does not say what was made: it may have been.
fn nameless(call: &Mutation) -> Fault {
    Fault::ours(
        call,
        Class::Unreachable,
        "the answer does not name what was made".to_owned(),
    )
}

/// A step names what no step before it made, which no plan does.
fn unmade(call: &Mutation) -> Fault {
    debug_assert!(false, "{call:?} names what was not made");
    Fault::ours(
        call,
        Class::Rejected,
        "it names what was not made; this is a bug of albacore".to_owned(),
    )
}
