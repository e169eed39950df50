//! Actions of rules: what is allowed, and the form in which AWS gives them back.
//!
//! Source: `Action` and the `…ActionConfig` types of the API reference; "Action types for listener rules", Application Load
//! Balancers user guide.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::lookup::target_groups;
use super::state::{Action, FixedResponse, Forward, Listener, LoadBalancer, Redirect, State, Stickiness, Weighted};
use crate::fault::AwsError;

/// What a rule can depend on: its listener and that one's load balancer.
pub(super) struct Place<'a> {
    pub state: &'a State,
    pub load_balancer: &'a LoadBalancer,
    /// Protocol and port as they are, or as they will be.
    pub protocol: &'a str,
    pub port: u16,
}

impl<'a> Place<'a> {
    /// Where the rules of a listener stand.
    pub fn of(state: &'a State, listener: &'a Listener) -> Result<Place<'a>, AwsError> {
        let load_balancer = state.load_balancer(&listener.load_balancer)?;
        Ok(Place {
            state,
            load_balancer,
            protocol: &listener.protocol,
            port: listener.port,
        })
    }

    /// Checks the actions of a rule and brings them into AWS' form. `replaced` is the rule whose actions they replace.
    pub fn normalise(&self, actions: Vec<Action>, replaced: Option<&str>) -> Result<Vec<Action>, AwsError> {
        if actions.len() > 2 {
            return Err(AwsError::new(
                "TooManyActions",
                "You've reached the limit on the number of actions per rule.",
            ));
        }
        if actions.len() > 1 && actions.iter().any(|action| action.order.is_none()) {
            return Err(AwsError::validation(
                "An order must be specified for each action of a rule with multiple actions",
            ));
        }
        let mut normal: Vec<Action> = actions
            .into_iter()
            .map(|action| self.action(action))
            .collect::<Result<_, _>>()?;
        normal.sort_by_key(|action| action.order);
        let orders: BTreeSet<Option<u32>> = normal.iter().map(|action| action.order).collect();
        if orders.len() < normal.len() {
            return Err(AwsError::validation("Action orders must be unique within a rule"));
        }
        let routes = |action: &Action| matches!(action.kind.as_str(), "forward" | "redirect" | "fixed-response");
        let routing = normal.iter().filter(|action| routes(action)).count();
        if routing != 1 || !normal.last().is_some_and(routes) {
            return Err(invalid(
                "A rule must have exactly one action of type forward, redirect or fixed-response, as its last",
            ));
        }
        self.associate(&normal, replaced)?;
        Ok(normal)
    }

    fn action(&self, given: Action) -> Result<Action, AwsError> {
        let kind = given.kind.clone();
        let mut normal = Action {
            kind: kind.clone(),
            order: given.order,
            ..Action::default()
        };
        let wanting = |config: &str| {
            AwsError::validation(format!("A '{config}' must be specified for an action of type '{kind}'"))
        };
        match kind.as_str() {
            "forward" => {
                let forward = forward(given)?;
                let most = self
                    .state
                    .quota("target-groups-per-action-on-application-load-balancer");
                if forward.target_groups.len() > most {
                    let message = format!("Up to '{most}' target groups can be specified in an action");
                    return Err(AwsError::new("TooManyTargetGroups", message));
                }
                if let [only] = &forward.target_groups[..] {
                    normal.target_group_arn = Some(only.target_group_arn.clone());
                }
                normal.forward_config = Some(forward);
            }
            "redirect" => {
                let config = given.redirect_config.ok_or_else(|| wanting("RedirectConfig"))?;
                normal.redirect_config = Some(self.redirect(config)?);
            }
            "fixed-response" => {
                let config = given
                    .fixed_response_config
                    .ok_or_else(|| wanting("FixedResponseConfig"))?;
                normal.fixed_response_config = Some(fixed_response(config)?);
            }
            other => {
                if self.protocol != "HTTPS" {
                    return Err(invalid(format!(
                        "Actions of type '{other}' are supported only on HTTPS listeners"
                    )));
                }
                match other {
                    "authenticate-oidc" => {
                        let config = given
                            .authenticate_oidc_config
                            .ok_or_else(|| wanting("AuthenticateOidcConfig"))?;
                        normal.authenticate_oidc_config = Some(oidc(config)?);
                    }
                    "authenticate-cognito" => {
                        let config = given
                            .authenticate_cognito_config
                            .ok_or_else(|| wanting("AuthenticateCognitoConfig"))?;
                        normal.authenticate_cognito_config = Some(with_session(config)?);
                    }
                    _ => {
                        let config = given
                            .jwt_validation_config
                            .ok_or_else(|| wanting("JwtValidationConfig"))?;
                        normal.jwt_validation_config = Some(config);
                    }
                }
            }
        }
        Ok(normal)
    }

    fn redirect(&self, given: Redirect) -> Result<Redirect, AwsError> {
        let protocol = given.protocol.unwrap_or_else(|| "#{protocol}".to_owned());
        let port = given.port.unwrap_or_else(|| "#{port}".to_owned());
        let host = given.host.unwrap_or_else(|| "#{host}".to_owned());
        let path = given.path.unwrap_or_else(|| "/#{path}".to_owned());
        let query = given.query.unwrap_or_else(|| "#{query}".to_owned());
        if port != "#{port}" && !port.parse::<u16>().is_ok_and(|port| port > 0) {
            return Err(AwsError::validation(format!(
                "The redirect port '{port}' must be '#{{port}}' or a number from 1 to 65535"
            )));
        }
        if !path.starts_with('/') {
            return Err(AwsError::validation(format!(
                "The redirect path '{path}' must begin with '/'"
            )));
        }
        if self.protocol == "HTTPS" && protocol == "HTTP" {
            return Err(invalid("You cannot redirect HTTPS to HTTP"));
        }
        let same_protocol = protocol == "#{protocol}" || protocol == self.protocol;
        let same_port = port == "#{port}" || port == self.port.to_string();
        if same_protocol && same_port && host == "#{host}" && path == "/#{path}" {
            return Err(invalid(
                "The redirect configuration is not valid because it creates a loop.",
            ));
        }
        let (protocol, port, host) = (Some(protocol), Some(port), Some(host));
        Ok(Redirect {
            protocol,
            port,
            host,
            path: Some(path),
            query: Some(query),
            status_code: given.status_code,
        })
    }

    /// Whether the load balancer may forward to these target groups, as well as to those that it uses already.
    fn associate(&self, actions: &[Action], replaced: Option<&str>) -> Result<(), AwsError> {
        let here = self.load_balancer.arn.as_str();
        let mut elsewhere = Vec::new();
        for arn in target_groups(actions) {
            let group = self.state.target_group(arn)?;
            if group.vpc != self.load_balancer.vpc {
                let message = format!("The target group '{arn}' does not belong to the VPC of load balancer '{here}'");
                return Err(AwsError::new("InvalidConfigurationRequest", message));
            }
            if group.ip_address_type == "ipv6" && self.load_balancer.ip_address_type == "ipv4" {
                return Err(AwsError::new("InvalidConfigurationRequest", ipv6_group_refused()));
            }
            if group.protocol_version == "GRPC" && self.protocol != "HTTPS" {
                let message = format!(
                    "Listener protocol '{}' is not supported with protocol version 'GRPC'",
                    self.protocol
                );
                return Err(AwsError::new("IncompatibleProtocols", message));
            }
            if group.load_balancer.as_deref().is_some_and(|user| user != here) {
                elsewhere.push(arn);
            }
        }
        if !elsewhere.is_empty() {
            let message = format!(
                "The following target groups cannot be associated with more than one load balancer: {}",
                elsewhere.join(", ")
            );
            return Err(AwsError::new("TargetGroupAssociationLimit", message));
        }
        let others = self
            .state
            .listeners_of(here)
            .flat_map(|listener| self.state.rules_of(&listener.arn));
        let others = others.filter(|rule| replaced != Some(rule.arn.as_str()));
        let mut used: BTreeSet<&str> = others.flat_map(|rule| target_groups(&rule.actions)).collect();
        used.extend(target_groups(actions));
        let most = self.state.quota("target-groups-per-application-load-balancer");
        if used.len() > most {
            let message = format!(
                "The maximum number of unique target groups '{most}' has been reached on load balancer '{here}'"
            );
            return Err(AwsError::new("TooManyUniqueTargetGroupsPerLoadBalancer", message));
        }
        self.state.check_targets(here, used.into_iter())
    }
}

/// What AWS says of an IPv6 target group behind a load balancer that has no IPv6 addresses.
pub(super) fn ipv6_group_refused() -> &'static str {
    "You cannot associate an IPv6 target group with a load balancer that has an 'ipv4' IP address type"
}

/// `InvalidLoadBalancerAction`.
fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::new("InvalidLoadBalancerAction", message)
}

/// Target groups with their weights, from whichever of the two ways they were given.
fn forward(given: Action) -> Result<Forward, AwsError> {
    let alone = given.target_group_arn.map(|target_group_arn| Weighted {
        target_group_arn,
        weight: None,
    });
    let mut forward = match (alone, given.forward_config) {
        (None, Some(config)) => config,
        (Some(alone), None) => Forward {
            target_groups: vec![alone],
            target_group_stickiness_config: None,
        },
        (Some(alone), Some(config)) => {
            let same = config
                .target_groups
                .iter()
                .all(|group| group.target_group_arn == alone.target_group_arn);
            if !same || config.target_groups.len() != 1 {
                let message = "If you specify both a TargetGroupArn and a ForwardConfig, they must name the same single target group";
                return Err(AwsError::validation(message));
            }
            config
        }
        (None, None) => return Err(AwsError::validation("A target group ARN must be specified")),
    };
    let arns: BTreeSet<&str> = forward
        .target_groups
        .iter()
        .map(|group| group.target_group_arn.as_str())
        .collect();
    if arns.is_empty() || arns.contains("") {
        return Err(AwsError::validation("A target group ARN must be specified"));
    }
    if arns.len() < forward.target_groups.len() {
        return Err(AwsError::validation(
            "A target group can be specified only once in an action",
        ));
    }
    for group in &mut forward.target_groups {
        let weight = group.weight.get_or_insert(1);
        if !(0..=999).contains(weight) {
            return Err(AwsError::validation(format!(
                "Weight '{weight}' must be between 0 and 999"
            )));
        }
    }
    let stickiness = forward.target_group_stickiness_config.take().unwrap_or_default();
    let Stickiness {
        enabled,
        duration_seconds,
    } = stickiness;
    if duration_seconds.map_or(enabled, |seconds| !(1..=604_800).contains(&seconds)) {
        return Err(AwsError::validation(
            "Target group stickiness duration must be between 1 and 604800 seconds",
        ));
    }
    forward.target_group_stickiness_config = Some(Stickiness {
        enabled,
        duration_seconds,
    });
    Ok(forward)
}

fn fixed_response(given: FixedResponse) -> Result<FixedResponse, AwsError> {
    const TYPES: [&str; 5] = [
        "text/plain",
        "text/css",
        "text/html",
        "application/javascript",
        "application/json",
    ];
    match &given.content_type {
        Some(other) if !TYPES.contains(&other.as_str()) => Err(AwsError::validation(format!(
            "The content type '{other}' must be one of '[{}]'",
            TYPES.join(", ")
        ))),
        _ => Ok(given),
    }
}

fn oidc(mut config: Value) -> Result<Value, AwsError> {
    for name in ["Issuer", "AuthorizationEndpoint", "TokenEndpoint", "UserInfoEndpoint"] {
        let url = config[name].as_str().unwrap_or_default();
        if !url.starts_with("https://") {
            return Err(AwsError::validation(format!(
                "'{url}' is not a valid {name}: it must be a full URL with the HTTPS protocol"
            )));
        }
    }
    let reused = config["UseExistingClientSecret"].as_bool().unwrap_or_default();
    if config["ClientSecret"].is_null() && !reused {
        return Err(AwsError::validation("A client secret must be specified"));
    }
    if let Some(members) = config.as_object_mut() {
        // Never given back.
        members.remove("ClientSecret");
        members.remove("UseExistingClientSecret");
    }
    with_session(config)
}

/// The defaults that both kinds of login have.
fn with_session(mut config: Value) -> Result<Value, AwsError> {
    let defaults = [
        ("SessionCookieName", json!("AWSELBAuthSessionCookie")),
        ("Scope", json!("openid")),
        ("SessionTimeout", json!(604_800)),
        ("OnUnauthenticatedRequest", json!("authenticate")),
    ];
    for (name, value) in defaults {
        if config[name].is_null() {
            config[name] = value;
        }
    }
    let extra = config["AuthenticationRequestExtraParams"]
        .as_object()
        .map_or(0, |extra| extra.len());
    let timeout = config["SessionTimeout"].as_i64().unwrap_or_default();
    if extra > 10 || !(1..=604_800).contains(&timeout) {
        return Err(AwsError::validation(
            "A login takes up to 10 extra parameters and a session timeout of 1 to 604800 seconds",
        ));
    }
    Ok(config)
}
