//! Conditions of rules: what is allowed, and the form in which AWS gives them back.
//!
//! Source of the limits: `RuleCondition` and the `…ConditionConfig` types of the API reference; "Listener rules", Application
//! Load Balancers user guide.

use std::collections::BTreeSet;

use ipnet::IpNet;
use regex::Regex;

use super::state::{Condition, HttpHeader, State, Strings};
use crate::fault::AwsError;

/// Fields, the configuration that belongs to each, and whether a rule may have several of it.
const FIELDS: [(&str, &str, bool); 6] = [
    ("host-header", "HostHeaderConfig", false),
    ("path-pattern", "PathPatternConfig", false),
    ("http-header", "HttpHeaderConfig", true),
    ("query-string", "QueryStringConfig", true),
    ("http-request-method", "HttpRequestMethodConfig", false),
    ("source-ip", "SourceIpConfig", false),
];

/// Longest value of a condition, and longest header name or method.
const LONGEST: usize = 128;
const LONGEST_NAME: usize = 40;

/// Checks the conditions of a rule and brings them into AWS' form.
pub(super) fn normalise(state: &State, conditions: Vec<Condition>) -> Result<Vec<Condition>, AwsError> {
    if conditions.is_empty() {
        return Err(AwsError::validation("A condition must be specified"));
    }
    let mut fields = BTreeSet::new();
    let mut normal = Vec::new();
    for condition in conditions {
        let (field, config, several) =
            *FIELDS
                .iter()
                .find(|(field, ..)| *field == condition.field)
                .ok_or_else(|| {
                    let known: Vec<&str> = FIELDS.iter().map(|(field, ..)| *field).collect();
                    AwsError::validation(match condition.field.as_str() {
                        "" => "A condition field must be specified".to_owned(),
                        other => format!("Condition field '{other}' must be one of '[{}]'", known.join(",")),
                    })
                })?;
        if !fields.insert(field) && !several {
            return Err(AwsError::validation(format!(
                "A rule can only have one '{field}' condition"
            )));
        }
        normal.push(one(field, config, condition)?);
    }
    let strings: Vec<&str> = normal.iter().flat_map(strings).collect();
    let most = state.quota("condition-values-per-alb-rule");
    if strings.len() > most {
        return Err(AwsError::validation(format!(
            "A rule can only have '{most}' condition values"
        )));
    }
    let literal: Vec<&str> = normal
        .iter()
        .filter(|condition| condition.field != "source-ip")
        .flat_map(literals)
        .collect();
    let wildcards: usize = literal.iter().map(|text| text.matches(['*', '?']).count()).sum();
    let most = state.quota("condition-wildcards-per-alb-rule");
    if wildcards > most {
        return Err(AwsError::validation(format!(
            "A rule can only have '{most}' condition wildcards"
        )));
    }
    Ok(normal)
}

/// One condition, checked, with `Values` and configuration mirrored where AWS mirrors them.
fn one(field: &str, config: &str, given: Condition) -> Result<Condition, AwsError> {
    let configs = [
        ("HostHeaderConfig", given.host_header_config.is_some()),
        ("PathPatternConfig", given.path_pattern_config.is_some()),
        ("HttpHeaderConfig", given.http_header_config.is_some()),
        ("QueryStringConfig", given.query_string_config.is_some()),
        ("HttpRequestMethodConfig", given.http_request_method_config.is_some()),
        ("SourceIpConfig", given.source_ip_config.is_some()),
    ];
    if let Some((other, _)) = configs.iter().find(|(name, there)| *there && *name != config) {
        return Err(AwsError::validation(format!(
            "You cannot provide '{other}' for a condition of type '{field}'"
        )));
    }
    let plain = given.values.is_some() || given.regex_values.is_some();
    if plain && configs.iter().any(|(_, there)| *there) {
        let message = format!("You cannot provide both Values and '{config}' for a condition of type '{field}'");
        return Err(AwsError::validation(message));
    }
    if plain && !matches!(field, "host-header" | "path-pattern") {
        return Err(AwsError::validation(format!(
            "You must provide '{config}' for a condition of type '{field}'"
        )));
    }
    let Condition {
        values, regex_values, ..
    } = given;
    let strings = |config: Option<Strings>| config.unwrap_or(Strings { values, regex_values });
    let mut normal = Condition {
        field: field.to_owned(),
        ..Condition::default()
    };
    match field {
        "host-header" | "path-pattern" => {
            let host = field == "host-header";
            let strings = strings(if host {
                given.host_header_config
            } else {
                given.path_pattern_config
            });
            let strings = checked(strings, if host { host_value } else { path_value })?;
            normal.values = strings.values.clone();
            normal.regex_values = strings.regex_values.clone();
            *(if host {
                &mut normal.host_header_config
            } else {
                &mut normal.path_pattern_config
            }) = Some(strings);
        }
        "http-header" => {
            let HttpHeader {
                http_header_name: name,
                values,
                regex_values,
            } = given.http_header_config.unwrap_or_default();
            let name = name.filter(|name| !name.is_empty());
            let name = name.ok_or_else(|| AwsError::validation("An HTTP header name must be specified"))?;
            // The characters of a token in RFC 7230.
            let token = |letter: char| letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter);
            if name.len() > LONGEST_NAME || !name.chars().all(token) || name.eq_ignore_ascii_case("host") {
                return Err(AwsError::validation(format!(
                    "The HTTP header name '{name}' is not valid"
                )));
            }
            let Strings { values, regex_values } = checked(Strings { values, regex_values }, any_value)?;
            normal.http_header_config = Some(HttpHeader {
                http_header_name: Some(name),
                values,
                regex_values,
            });
        }
        "query-string" => {
            let config = given.query_string_config.unwrap_or_default();
            let pairs = config.values.iter();
            let values: Option<Vec<&String>> = pairs.clone().map(|pair| pair.value.as_ref()).collect();
            let values = values.filter(|values| !values.is_empty()).ok_or_else(no_value)?;
            values
                .into_iter()
                .chain(pairs.filter_map(|pair| pair.key.as_ref()))
                .try_for_each(|text| any_value(text))?;
            normal.query_string_config = Some(config);
        }
        "http-request-method" => {
            let method = |text: &str| {
                let allowed = text
                    .chars()
                    .all(|letter| letter.is_ascii_uppercase() || "-_".contains(letter));
                if allowed && !text.is_empty() && text.len() <= LONGEST_NAME {
                    Ok(())
                } else {
                    Err(bad_value(text))
                }
            };
            normal.http_request_method_config =
                Some(checked(given.http_request_method_config.unwrap_or_default(), method)?);
        }
        _ => {
            let network = |text: &str| text.parse::<IpNet>().map(|_| ()).map_err(|_| bad_value(text));
            normal.source_ip_config = Some(checked(given.source_ip_config.unwrap_or_default(), network)?);
        }
    }
    Ok(normal)
}

fn no_value() -> AwsError {
    AwsError::validation("A condition value must be specified")
}

fn bad_value(value: &str) -> AwsError {
    AwsError::validation(format!("The condition value '{value}' is not valid"))
}

/// The strings with at least one value or expression, each value valid.
fn checked(strings: Strings, valid: impl Fn(&str) -> Result<(), AwsError>) -> Result<Strings, AwsError> {
    let given = |list: Option<Vec<String>>| list.filter(|list| !list.is_empty());
    let strings = Strings {
        values: given(strings.values),
        regex_values: given(strings.regex_values),
    };
    if strings.values.is_none() && strings.regex_values.is_none() {
        return Err(no_value());
    }
    strings.values.iter().flatten().try_for_each(|value| valid(value))?;
    for expression in strings.regex_values.iter().flatten() {
        any_value(expression)?;
        Regex::new(expression).map_err(|_| bad_value(expression))?;
    }
    Ok(strings)
}

fn any_value(text: &str) -> Result<(), AwsError> {
    match text.chars().count() {
        0 => Err(no_value()),
        n if n > LONGEST => Err(AwsError::validation(format!(
            "The condition value '{text}' cannot be longer than '{LONGEST}' characters"
        ))),
        _ => Ok(()),
    }
}

/// "You must include at least one '.' character. You can include only alphabetical characters after the final '.'"
fn host_value(text: &str) -> Result<(), AwsError> {
    any_value(text)?;
    let letter = |letter: char| letter.is_ascii_alphanumeric() || "-.*?".contains(letter);
    let end = text.rsplit_once('.').map(|(_, end)| end);
    let ends = end.is_some_and(|end| {
        end.chars()
            .all(|letter| letter.is_ascii_alphabetic() || "*?".contains(letter))
    });
    if text.chars().all(letter) && ends {
        Ok(())
    } else {
        Err(bad_value(text))
    }
}

fn path_value(text: &str) -> Result<(), AwsError> {
    any_value(text)?;
    let letter = |letter: char| letter.is_ascii_alphanumeric() || "_-.$/~\"'@:+&*?".contains(letter);
    if text.chars().all(letter) {
        Ok(())
    } else {
        Err(bad_value(text))
    }
}

/// Values that are compared literally, with wildcards.
fn literals(condition: &Condition) -> Vec<&str> {
    let lists = [
        &condition.host_header_config,
        &condition.path_pattern_config,
        &condition.http_request_method_config,
    ];
    let lists = lists
        .into_iter()
        .chain([&condition.source_ip_config])
        .flatten()
        .flat_map(|strings| &strings.values);
    let headers = condition.http_header_config.iter().flat_map(|header| &header.values);
    let pairs = condition.query_string_config.iter().flat_map(|query| &query.values);
    let pairs = pairs.filter_map(|pair| pair.value.as_deref());
    lists
        .chain(headers)
        .flatten()
        .map(String::as_str)
        .chain(pairs)
        .collect()
}

/// All values, expressions among them.
fn strings(condition: &Condition) -> Vec<&str> {
    let lists = [&condition.host_header_config, &condition.path_pattern_config];
    let expressions = lists.into_iter().flatten().flat_map(|strings| &strings.regex_values);
    let headers = condition
        .http_header_config
        .iter()
        .flat_map(|header| &header.regex_values);
    let expressions = expressions.chain(headers).flatten().map(String::as_str);
    literals(condition).into_iter().chain(expressions).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn normal(conditions: Value) -> Result<Value, String> {
        let given = serde_json::from_value(conditions).unwrap();
        let normal = normalise(&State::default(), given);
        normal
            .map(|normal| serde_json::to_value(normal).unwrap())
            .map_err(|error| format!("{}: {}", error.code, error.message))
    }

    #[test]
    fn hosts_and_paths_are_mirrored_whichever_way_they_were_given() {
        let plain = json!([{"Field": "host-header", "Values": ["*.example.com"]}]);
        let full = json!([{"Field": "host-header", "Values": ["*.example.com"], "HostHeaderConfig": {"Values": ["*.example.com"]}}]);
        assert_eq!(normal(plain), Ok(full.clone()));
        let config = json!([{"Field": "host-header", "HostHeaderConfig": {"Values": ["*.example.com"]}}]);
        assert_eq!(normal(config), Ok(full));
        let regex = json!([{"Field": "path-pattern", "PathPatternConfig": {"RegexValues": ["^/v[0-9]+$"]}}]);
        assert_eq!(
            normal(regex),
            Ok(
                json!([{"Field": "path-pattern", "RegexValues": ["^/v[0-9]+$"], "PathPatternConfig": {"RegexValues": ["^/v[0-9]+$"]}}])
            )
        );
    }

    #[test]
    fn what_aws_refuses_is_refused() {
        for (conditions, message) in [
            (json!([]), "A condition must be specified"),
            (
                json!([{"Field": "", "Values": ["a.b"]}]),
                "A condition field must be specified",
            ),
            (
                json!([{"Field": "host", "Values": ["a.b"]}]),
                "Condition field 'host' must be one of '[host-header,path-pattern,http-header,query-string,http-request-method,source-ip]'",
            ),
            (
                json!([{"Field": "host-header", "Values": []}]),
                "A condition value must be specified",
            ),
            (
                json!([{"Field": "host-header", "Values": ["a.b:80"]}]),
                "The condition value 'a.b:80' is not valid",
            ),
            (
                json!([{"Field": "path-pattern", "Values": ["/a b"]}]),
                "The condition value '/a b' is not valid",
            ),
            (
                json!([{"Field": "host-header", "Values": ["a.b"], "HostHeaderConfig": {"Values": ["a.b"]}}]),
                "You cannot provide both Values and 'HostHeaderConfig' for a condition of type 'host-header'",
            ),
            (
                json!([{"Field": "path-pattern", "HostHeaderConfig": {"Values": ["a.b"]}}]),
                "You cannot provide 'HostHeaderConfig' for a condition of type 'path-pattern'",
            ),
            (
                json!([{"Field": "path-pattern", "Values": ["/1", "/2", "/3"]}, {"Field": "host-header", "Values": ["a.b", "c.d", "e.f"]}]),
                "A rule can only have '5' condition values",
            ),
            (
                json!([{"Field": "path-pattern", "Values": ["/*/*/*/*/*/*/*"]}]),
                "A rule can only have '6' condition wildcards",
            ),
            (
                json!([{"Field": "path-pattern", "Values": ["/1"]}, {"Field": "path-pattern", "Values": ["/2"]}]),
                "A rule can only have one 'path-pattern' condition",
            ),
            (
                json!([{"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.1"]}}]),
                "The condition value '10.0.0.1' is not valid",
            ),
            (
                json!([{"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["get"]}}]),
                "The condition value 'get' is not valid",
            ),
            (
                json!([{"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "Host", "Values": ["a"]}}]),
                "The HTTP header name 'Host' is not valid",
            ),
        ] {
            assert_eq!(normal(conditions), Err(format!("ValidationError: {message}")));
        }
    }
}
