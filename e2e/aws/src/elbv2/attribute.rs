//! Attributes of load balancers, listeners and target groups: keys, defaults and allowed values, as data.
//!
//! Source: `LoadBalancerAttribute`, `ListenerAttribute`, `TargetGroupAttribute` of the API reference.

use serde::Deserialize;
use serde_json::{Value, json};

use super::lookup::{Kind, find, find_mut};
use super::state::Attributes;
use crate::call::Call;
use crate::fault::AwsError;
use crate::world::World;

/// What an attribute may be.
#[derive(Clone, Copy)]
enum Allowed {
    Bool,
    Text,
    Range(u32, u32),
    /// Zero to switch off, else within the range.
    ZeroOr(u32, u32),
    /// `off`, or within the range.
    OffOr(u32, u32),
    OneOf(&'static [&'static str]),
}

use Allowed::{Bool, OffOr, OneOf, Range, Text, ZeroOr};

/// Key, default, what is allowed.
type Row = (&'static str, &'static str, Allowed);

/// Of an Application Load Balancer.
const LOAD_BALANCER: &[Row] = &[
    ("access_logs.s3.bucket", "", Text),
    ("access_logs.s3.enabled", "false", Bool),
    ("access_logs.s3.prefix", "", Text),
    ("client_keep_alive.seconds", "3600", Range(60, 604_800)),
    ("connection_logs.s3.bucket", "", Text),
    ("connection_logs.s3.enabled", "false", Bool),
    ("connection_logs.s3.prefix", "", Text),
    ("deletion_protection.enabled", "false", Bool),
    ("health_check_logs.s3.bucket", "", Text),
    ("health_check_logs.s3.enabled", "false", Bool),
    ("health_check_logs.s3.prefix", "", Text),
    ("idle_timeout.timeout_seconds", "60", Range(1, 4000)),
    ("ipv6.deny_all_igw_traffic", "false", Bool),
    // "can't be changed" for an Application Load Balancer
    ("load_balancing.cross_zone.enabled", "true", OneOf(&["true"])),
    (
        "routing.http.desync_mitigation_mode",
        "defensive",
        OneOf(&["monitor", "defensive", "strictest"]),
    ),
    ("routing.http.drop_invalid_header_fields.enabled", "false", Bool),
    ("routing.http.preserve_host_header.enabled", "false", Bool),
    (
        "routing.http.x_amzn_tls_version_and_cipher_suite.enabled",
        "false",
        Bool,
    ),
    ("routing.http.xff_client_port.enabled", "false", Bool),
    (
        "routing.http.xff_header_processing.mode",
        "append",
        OneOf(&["append", "preserve", "remove"]),
    ),
    ("routing.http2.enabled", "true", Bool),
    ("waf.fail_open.enabled", "false", Bool),
    ("zonal_shift.config.enabled", "false", Bool),
];

/// Of a target group whose targets are instances or addresses, behind an Application Load Balancer.
const TARGET_GROUP: &[Row] = &[
    ("deregistration_delay.timeout_seconds", "300", Range(0, 3600)),
    (
        "load_balancing.algorithm.anomaly_mitigation",
        "off",
        OneOf(&["on", "off"]),
    ),
    (
        "load_balancing.algorithm.type",
        "round_robin",
        OneOf(&["round_robin", "least_outstanding_requests", "weighted_random"]),
    ),
    (
        "load_balancing.cross_zone.enabled",
        "use_load_balancer_configuration",
        OneOf(&["true", "false", "use_load_balancer_configuration"]),
    ),
    ("slow_start.duration_seconds", "0", ZeroOr(30, 900)),
    ("stickiness.app_cookie.cookie_name", "", Text),
    ("stickiness.app_cookie.duration_seconds", "86400", Range(1, 604_800)),
    ("stickiness.enabled", "false", Bool),
    ("stickiness.lb_cookie.duration_seconds", "86400", Range(1, 604_800)),
    ("stickiness.type", "lb_cookie", OneOf(&["lb_cookie", "app_cookie"])),
    (
        "target_group_health.dns_failover.minimum_healthy_targets.count",
        "1",
        OffOr(1, u32::MAX),
    ),
    (
        "target_group_health.dns_failover.minimum_healthy_targets.percentage",
        "off",
        OffOr(1, 100),
    ),
    (
        "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count",
        "1",
        Range(1, u32::MAX),
    ),
    (
        "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage",
        "off",
        OffOr(1, 100),
    ),
];

/// Of every listener of an Application Load Balancer.
const LISTENER: &[Row] = &[
    (
        "routing.http.response.access_control_allow_credentials.header_value",
        "",
        Text,
    ),
    (
        "routing.http.response.access_control_allow_headers.header_value",
        "",
        Text,
    ),
    (
        "routing.http.response.access_control_allow_methods.header_value",
        "",
        Text,
    ),
    (
        "routing.http.response.access_control_allow_origin.header_value",
        "",
        Text,
    ),
    (
        "routing.http.response.access_control_expose_headers.header_value",
        "",
        Text,
    ),
    ("routing.http.response.access_control_max_age.header_value", "", Text),
    ("routing.http.response.content_security_policy.header_value", "", Text),
    ("routing.http.response.server.enabled", "true", Bool),
    ("routing.http.response.strict_transport_security.header_value", "", Text),
    ("routing.http.response.x_content_type_options.header_value", "", Text),
    ("routing.http.response.x_frame_options.header_value", "", Text),
];

/// Of an HTTPS listener besides.
const HTTPS_LISTENER: &[Row] = &[
    (
        "routing.http.request.x_amzn_mtls_clientcert.header_name",
        "X-Amzn-Mtls-Clientcert",
        Text,
    ),
    (
        "routing.http.request.x_amzn_mtls_clientcert_issuer.header_name",
        "X-Amzn-Mtls-Clientcert-Issuer",
        Text,
    ),
    (
        "routing.http.request.x_amzn_mtls_clientcert_leaf.header_name",
        "X-Amzn-Mtls-Clientcert-Leaf",
        Text,
    ),
    (
        "routing.http.request.x_amzn_mtls_clientcert_serial_number.header_name",
        "X-Amzn-Mtls-Clientcert-Serial-Number",
        Text,
    ),
    (
        "routing.http.request.x_amzn_mtls_clientcert_subject.header_name",
        "X-Amzn-Mtls-Clientcert-Subject",
        Text,
    ),
    (
        "routing.http.request.x_amzn_mtls_clientcert_validity.header_name",
        "X-Amzn-Mtls-Clientcert-Validity",
        Text,
    ),
    (
        "routing.http.request.x_amzn_tls_cipher_suite.header_name",
        "X-Amzn-Tls-Cipher-Suite",
        Text,
    ),
    (
        "routing.http.request.x_amzn_tls_version.header_name",
        "X-Amzn-Tls-Version",
        Text,
    ),
];

fn defaults(rows: &[&[Row]]) -> Attributes {
    rows.iter()
        .flat_map(|rows| rows.iter())
        .map(|(key, value, _)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// The attributes of a new load balancer.
pub(super) fn of_load_balancer(scheme: &str) -> Attributes {
    let mut attributes = defaults(&[LOAD_BALANCER]);
    attributes.insert(
        "ipv6.deny_all_igw_traffic".to_owned(),
        (scheme == "internal").to_string(),
    );
    attributes
}

/// The attributes of a new target group.
pub(super) fn of_target_group() -> Attributes {
    defaults(&[TARGET_GROUP])
}

/// The attributes of a new listener, or of one whose protocol changes, which keeps what both protocols have.
pub(super) fn of_listener(protocol: &str, before: &Attributes) -> Attributes {
    let mut attributes = defaults(if protocol == "HTTPS" {
        &[LISTENER, HTTPS_LISTENER]
    } else {
        &[LISTENER]
    });
    for (key, value) in &mut attributes {
        if let Some(kept) = before.get(key) {
            value.clone_from(kept);
        }
    }
    attributes
}

/// An attribute as it comes in.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Attribute {
    key: Option<String>,
    value: Option<String>,
}

/// The attributes with the changes made, all of them or none.
fn changed(kind: &str, rows: &[&[Row]], current: &Attributes, changes: Vec<Attribute>) -> Result<Attributes, AwsError> {
    let mut attributes = current.clone();
    let mut seen = Vec::new();
    for Attribute { key, value } in changes {
        let (key, value) = (key.unwrap_or_default(), value.unwrap_or_default());
        let row = rows
            .iter()
            .flat_map(|rows| rows.iter())
            .find(|(known, ..)| *known == key);
        let (_, _, allowed) =
            row.ok_or_else(|| AwsError::validation(format!("{kind} attribute key '{key}' is not recognized")))?;
        if let Some(bounds) = allowed.bounds()
            && !allowed.admits(&value)
        {
            return Err(AwsError::validation(format!(
                "'{key}' value '{value}' must be between '{bounds}' inclusive"
            )));
        }
        if !allowed.admits(&value) {
            return Err(AwsError::validation(format!(
                "The value '{value}' of {} attribute '{key}' is not valid",
                kind.to_lowercase()
            )));
        }
        if seen.contains(&key) {
            return Err(AwsError::validation(format!(
                "{kind} attribute key '{key}' was specified more than once"
            )));
        }
        attributes.insert(key.clone(), value);
        seen.push(key);
    }
    Ok(attributes)
}

impl Allowed {
    /// Of a number, as AWS writes them.
    fn bounds(self) -> Option<String> {
        match self {
            Range(low, high) => Some(format!("{low}-{high}")),
            _ => None,
        }
    }

    fn admits(self, value: &str) -> bool {
        let within = |low: u32, high: u32| value.parse::<u32>().is_ok_and(|number| (low..=high).contains(&number));
        match self {
            Bool => matches!(value, "true" | "false"),
            Text => true,
            Range(low, high) => within(low, high),
            ZeroOr(low, high) => value == "0" || within(low, high),
            OffOr(low, high) => value == "off" || within(low, high),
            OneOf(values) => values.contains(&value),
        }
    }
}

/// `InvalidConfigurationRequest`: each attribute is allowed, but not together.
fn inconsistent(message: impl Into<String>) -> AwsError {
    AwsError::new("InvalidConfigurationRequest", message)
}

fn check_load_balancer(attributes: &Attributes) -> Result<(), AwsError> {
    for logs in ["access_logs", "connection_logs", "health_check_logs"] {
        let get = |name: &str| {
            attributes
                .get(&format!("{logs}.s3.{name}"))
                .map(String::as_str)
                .unwrap_or_default()
        };
        if get("enabled") == "true" && get("bucket").is_empty() {
            return Err(inconsistent(format!(
                "'{logs}.s3.bucket' must be specified when '{logs}.s3.enabled' is true"
            )));
        }
    }
    Ok(())
}

fn check_target_group(attributes: &Attributes) -> Result<(), AwsError> {
    let get = |name: &str| attributes.get(name).map(String::as_str).unwrap_or_default();
    let (cookie, algorithm) = (
        get("stickiness.app_cookie.cookie_name"),
        get("load_balancing.algorithm.type"),
    );
    if get("stickiness.type") == "app_cookie" && get("stickiness.enabled") == "true" && cookie.is_empty() {
        return Err(inconsistent(
            "A cookie name must be specified for stickiness of type 'app_cookie'",
        ));
    }
    if ["AWSALB", "AWSALBAPP", "AWSALBTG"]
        .iter()
        .any(|reserved| cookie.starts_with(reserved))
    {
        return Err(AwsError::validation(format!(
            "The cookie name '{cookie}' is reserved for use by the load balancer"
        )));
    }
    if get("load_balancing.algorithm.anomaly_mitigation") == "on" && algorithm != "weighted_random" {
        return Err(inconsistent(
            "Anomaly mitigation is only available with the algorithm 'weighted_random'",
        ));
    }
    if get("slow_start.duration_seconds") != "0" && algorithm != "round_robin" {
        return Err(inconsistent(
            "Slow start is only available with the algorithm 'round_robin'",
        ));
    }
    Ok(())
}

fn listed(attributes: &Attributes) -> Value {
    let list = attributes
        .iter()
        .map(|(key, value)| json!({"Key": key, "Value": value}));
    json!({"Attributes": list.collect::<Vec<_>>()})
}

/// The three kinds name their ARN differently.
#[derive(Deserialize)]
pub(super) struct Describe {
    #[serde(alias = "LoadBalancerArn", alias = "TargetGroupArn", alias = "ListenerArn")]
    arn: String,
}

#[derive(Deserialize)]
pub(super) struct Modify {
    #[serde(alias = "LoadBalancerArn", alias = "TargetGroupArn", alias = "ListenerArn")]
    arn: String,
    #[serde(rename = "Attributes")]
    attributes: Vec<Attribute>,
}

/// `DescribeLoadBalancerAttributes`, `DescribeTargetGroupAttributes`, `DescribeListenerAttributes`.
pub(super) fn describe(world: &mut World, call: &Call, kind: Kind, input: &Describe) -> Result<Value, AwsError> {
    let state = &world.region(call).elbv2;
    Ok(listed(match kind {
        Kind::LoadBalancer => &state.load_balancer(&input.arn)?.attributes,
        Kind::TargetGroup => &state.target_group(&input.arn)?.attributes,
        _ => &find(Kind::Listener, &state.listeners, &input.arn)?.attributes,
    }))
}

/// `ModifyLoadBalancerAttributes`, `ModifyTargetGroupAttributes`, `ModifyListenerAttributes`.
pub(super) fn modify(world: &mut World, call: &Call, kind: Kind, input: Modify) -> Result<Value, AwsError> {
    let state = &mut world.region(call).elbv2;
    let (current, attributes) = match kind {
        Kind::LoadBalancer => {
            let found = find_mut(kind, &mut state.load_balancers, &input.arn)?;
            let attributes = changed("Load balancer", &[LOAD_BALANCER], &found.attributes, input.attributes)?;
            check_load_balancer(&attributes)?;
            (&mut found.attributes, attributes)
        }
        Kind::TargetGroup => {
            let found = find_mut(kind, &mut state.target_groups, &input.arn)?;
            let attributes = changed("Target group", &[TARGET_GROUP], &found.attributes, input.attributes)?;
            check_target_group(&attributes)?;
            (&mut found.attributes, attributes)
        }
        _ => {
            let found = find_mut(Kind::Listener, &mut state.listeners, &input.arn)?;
            let rows: &[&[Row]] = if found.protocol == "HTTPS" {
                &[LISTENER, HTTPS_LISTENER]
            } else {
                &[LISTENER]
            };
            let attributes = changed("Listener", rows, &found.attributes, input.attributes)?;
            (&mut found.attributes, attributes)
        }
    };
    *current = attributes;
    Ok(listed(current))
}
