//! Listeners: ports of a load balancer, each with a default rule.

use serde::Deserialize;
use serde_json::{Value, json};

use super::action::Place;
use super::certificate::{self, Certificate};
use super::lookup::{Kind, find_mut, resource};
use super::paging::{Page, Paging};
use super::state::{Action, Attributes, Listener, Rule, State};
use super::tag::{self, Tag};
use super::{attribute, ssl_policy};
use crate::call::Call;
use crate::fault::AwsError;
use crate::world::{Region, Scene, World};

/// What may be given of a listener, on creation or later.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Settings {
    port: Option<u16>,
    protocol: Option<String>,
    ssl_policy: Option<String>,
    certificates: Option<Vec<Certificate>>,
    default_actions: Option<Vec<Action>>,
    mutual_authentication: Option<Value>,
}

/// The parts of an HTTPS listener that an HTTP listener has not.
#[derive(Default)]
struct Tls {
    policy: Option<String>,
    certificate: Option<String>,
    mutual_authentication: Option<Value>,
}

impl Tls {
    /// What a listener of this protocol has, after `given` was laid over what it had.
    fn check(region: &Region, protocol: &str, before: Tls, given: &Settings) -> Result<Tls, AwsError> {
        if protocol == "HTTP" {
            let certificates = given
                .certificates
                .as_ref()
                .is_some_and(|certificates| !certificates.is_empty());
            if certificates || given.ssl_policy.is_some() {
                return Err(AwsError::validation(
                    "Certificates and SSL policies cannot be specified for HTTP listeners",
                ));
            }
            return Ok(Tls::default());
        }
        let policy = given
            .ssl_policy
            .clone()
            .or(before.policy)
            .unwrap_or_else(|| ssl_policy::DEFAULT.to_owned());
        ssl_policy::check(&policy)?;
        let certificate = match given.certificates.as_deref() {
            Some(given) if !given.is_empty() => certificate::one(region, given)?,
            _ => before
                .certificate
                .ok_or_else(|| AwsError::validation("A certificate must be specified for HTTPS listeners"))?,
        };
        let mutual = given.mutual_authentication.clone().or(before.mutual_authentication);
        let mutual = mutual.unwrap_or_else(|| json!({"Mode": "off"}));
        match mutual["Mode"].as_str() {
            Some("off" | "passthrough") => {}
            Some("verify") => return Err(Kind::TrustStore.some_missing()),
            other => {
                let message = format!(
                    "Mutual authentication mode '{}' must be one of '[off, passthrough, verify]'",
                    other.unwrap_or_default()
                );
                return Err(AwsError::validation(message));
            }
        }
        Ok(Tls {
            policy: Some(policy),
            certificate: Some(certificate),
            mutual_authentication: Some(mutual),
        })
    }
}

fn check_protocol(protocol: Option<String>) -> Result<String, AwsError> {
    let protocol = protocol.ok_or_else(|| AwsError::validation("A listener protocol must be specified"))?;
    match protocol.as_str() {
        "HTTP" | "HTTPS" => Ok(protocol),
        other => {
            let message = format!("The protocol '{other}' is not supported for load balancers with type 'application'");
            Err(AwsError::new("UnsupportedProtocol", message))
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Create {
    load_balancer_arn: String,
    tags: Option<Vec<Tag>>,
    #[serde(flatten)]
    settings: Settings,
}

/// `CreateListener`: idempotent for the same settings on the same port.
pub(super) fn create(world: &mut World, call: &Call, mut input: Create) -> Result<Value, AwsError> {
    let Scene { region, ids, .. } = world.scene(call);
    let load_balancer = region.elbv2.load_balancer(&input.load_balancer_arn)?;
    let port = input
        .settings
        .port
        .ok_or_else(|| AwsError::validation("A listener port must be specified"))?;
    let protocol = check_protocol(input.settings.protocol.take())?;
    let tls = Tls::check(region, &protocol, Tls::default(), &input.settings)?;
    let tags = tag::checked(input.tags.unwrap_or_default(), None)?;
    let existing = region
        .elbv2
        .listeners_of(&load_balancer.arn)
        .find(|listener| listener.port == port);
    let place = Place {
        state: &region.elbv2,
        load_balancer,
        protocol: &protocol,
        port,
    };
    let actions = input.settings.default_actions.unwrap_or_default();
    let actions = place.normalise(actions, existing.map(|listener| listener.default_rule.as_str()))?;
    if let Some(found) = existing {
        let same = (&found.protocol, &found.ssl_policy, &found.certificate)
            == (&protocol, &tls.policy, &tls.certificate)
            && found.mutual_authentication == tls.mutual_authentication
            && region.elbv2.rule(&found.default_rule)?.actions == actions;
        if !same {
            let message = format!(
                "A listener already exists on this port for this load balancer '{}'",
                load_balancer.arn
            );
            return Err(AwsError::new("DuplicateListener", message));
        }
        return Ok(json!({"Listeners": [region.elbv2.described(found)]}));
    }
    let most = region.elbv2.quota("listeners-per-application-load-balancer");
    if region.elbv2.listeners_of(&load_balancer.arn).count() >= most {
        let message = format!(
            "The maximum number of listeners '{most}' has been reached on load balancer '{}'",
            load_balancer.arn
        );
        return Err(AwsError::new("TooManyListeners", message));
    }
    let path = format!("{}/{}", resource(&load_balancer.arn), ids.hex(16));
    let arn = call.arn("elasticloadbalancing", &format!("listener/{path}"));
    let default_rule = call.arn("elasticloadbalancing", &format!("listener-rule/{path}/{}", ids.hex(16)));
    let listener = Listener {
        arn: arn.clone(),
        load_balancer: load_balancer.arn.clone(),
        port,
        attributes: attribute::of_listener(&protocol, &Attributes::new()),
        protocol,
        ssl_policy: tls.policy,
        certificate: tls.certificate,
        certificate_list: Vec::new(),
        mutual_authentication: tls.mutual_authentication,
        default_rule: default_rule.clone(),
    };
    let rule = Rule {
        arn: default_rule.clone(),
        listener: arn.clone(),
        priority: None,
        conditions: Vec::new(),
        actions,
        transforms: Vec::new(),
    };
    let state = &mut region.elbv2;
    state.rules.insert(default_rule, rule);
    state.tags.insert(arn.clone(), tags);
    let answer = json!({"Listeners": [state.described(&listener)]});
    state.listeners.insert(arn, listener);
    state.refresh_use(&input.load_balancer_arn, call.now);
    Ok(answer)
}

impl State {
    fn described(&self, listener: &Listener) -> Value {
        let actions = self
            .rules
            .get(&listener.default_rule)
            .map(|rule| rule.actions.as_slice())
            .unwrap_or_default();
        let certificates = listener
            .certificate
            .as_ref()
            .map(|arn| vec![json!({"CertificateArn": arn})]);
        json!({
            "ListenerArn": listener.arn,
            "LoadBalancerArn": listener.load_balancer,
            "Port": listener.port,
            "Protocol": listener.protocol,
            "SslPolicy": listener.ssl_policy,
            "Certificates": certificates,
            "DefaultActions": actions,
            "MutualAuthentication": listener.mutual_authentication,
        })
    }

    /// Takes a listener away with its rules and all their tags.
    pub(super) fn remove_listener(&mut self, arn: &str) {
        let rules: Vec<String> = self.rules_of(arn).into_iter().map(|rule| rule.arn.clone()).collect();
        for rule in rules {
            self.rules.remove(&rule);
            self.tags.remove(&rule);
        }
        self.listeners.remove(arn);
        self.tags.remove(arn);
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Describe {
    load_balancer_arn: Option<String>,
    listener_arns: Option<Vec<String>>,
    #[serde(flatten)]
    paging: Paging,
}

/// `DescribeListeners`.
pub(super) fn describe(world: &mut World, call: &Call, input: Describe) -> Result<Value, AwsError> {
    let state = &world.region(call).elbv2;
    let chosen: Vec<&Listener> = match (
        &input.load_balancer_arn,
        input.listener_arns.as_deref().unwrap_or_default(),
    ) {
        (Some(load_balancer), []) => {
            state.load_balancer(load_balancer)?;
            state.listeners_of(load_balancer).collect()
        }
        (None, [_, ..]) => {
            let arns = input.listener_arns.iter().flatten();
            arns.map(|arn| state.listener(arn)).collect::<Result<_, _>>()?
        }
        _ => {
            return Err(AwsError::validation(
                "You must specify either listener ARNs or a load balancer ARN",
            ));
        }
    };
    let keyed = chosen
        .into_iter()
        .map(|listener| (format!("{:05} {}", listener.port, listener.arn), listener));
    let Page { items, next } = input.paging.page(keyed.collect())?;
    let listeners: Vec<Value> = items.into_iter().map(|listener| state.described(listener)).collect();
    Ok(json!({"Listeners": listeners, "NextMarker": next}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Modify {
    listener_arn: String,
    #[serde(flatten)]
    settings: Settings,
}

/// `ModifyListener`. "Changing the protocol from HTTPS to HTTP … removes the security policy and default certificate properties."
pub(super) fn modify(world: &mut World, call: &Call, mut input: Modify) -> Result<Value, AwsError> {
    let region = world.region(call);
    let state = &region.elbv2;
    let current = state.listener(&input.listener_arn)?;
    let port = input.settings.port.unwrap_or(current.port);
    let taken = state
        .listeners_of(&current.load_balancer)
        .any(|other| other.port == port && other.arn != current.arn);
    if taken {
        let message = format!(
            "A listener already exists on this port for this load balancer '{}'",
            current.load_balancer
        );
        return Err(AwsError::new("DuplicateListener", message));
    }
    let protocol = check_protocol(
        input
            .settings
            .protocol
            .take()
            .or_else(|| Some(current.protocol.clone())),
    )?;
    let before = Tls {
        policy: current.ssl_policy.clone(),
        certificate: current.certificate.clone(),
        mutual_authentication: current.mutual_authentication.clone(),
    };
    let tls = Tls::check(region, &protocol, before, &input.settings)?;
    let rule = state.rule(&current.default_rule)?;
    let place = Place {
        state,
        load_balancer: state.load_balancer(&current.load_balancer)?,
        protocol: &protocol,
        port,
    };
    let actions = match input.settings.default_actions {
        Some(actions) => place.normalise(actions, Some(&rule.arn))?,
        None => rule.actions.clone(),
    };
    let changed = Listener {
        port,
        attributes: attribute::of_listener(&protocol, &current.attributes),
        certificate_list: if protocol == "HTTPS" {
            current.certificate_list.clone()
        } else {
            Vec::new()
        },
        protocol,
        ssl_policy: tls.policy,
        certificate: tls.certificate,
        mutual_authentication: tls.mutual_authentication,
        ..current.clone()
    };
    let state = &mut region.elbv2;
    find_mut(Kind::Rule, &mut state.rules, &changed.default_rule)?.actions = actions;
    let answer = json!({"Listeners": [state.described(&changed)]});
    let load_balancer = changed.load_balancer.clone();
    state.listeners.insert(changed.arn.clone(), changed);
    state.refresh_use(&load_balancer, call.now);
    Ok(answer)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Delete {
    listener_arn: String,
}

/// `DeleteListener`.
pub(super) fn delete(world: &mut World, call: &Call, input: &Delete) -> Result<Value, AwsError> {
    let state = &mut world.region(call).elbv2;
    let load_balancer = state.listener(&input.listener_arn)?.load_balancer.clone();
    state.remove_listener(&input.listener_arn);
    state.refresh_use(&load_balancer, call.now);
    Ok(json!({}))
}
