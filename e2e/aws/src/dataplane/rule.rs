//! Which rule of a listener a request meets: priorities in order, all conditions of a rule, the default at the end.

use std::net::IpAddr;

use http::HeaderMap;

use super::snapshot::{Action, Condition, Listener};

/// What rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The `Host` header as it came, with a port if it had one.
    pub host: &'a str,
    /// The path without the query.
    pub path: &'a str,
    /// The query without its question mark.
    pub query: &'a str,
    /// The method.
    pub method: &'a str,
    /// All header fields.
    pub headers: &'a HeaderMap,
    /// The client's address as the connection has it; `X-Forwarded-For` plays no part.
    pub source: IpAddr,
}

/// `example.com` of `example.com:8443`, `[::1]` of `[::1]:80`.
pub fn host_name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

impl Listener {
    /// The action for a request, with the ARN of the rule or listener it belongs to.
    pub fn action(&self, facts: Facts<'_>) -> (&str, &Action) {
        self.rules
            .iter()
            .filter(|rule| rule.conditions.iter().all(|condition| condition.holds(facts)))
            .min_by_key(|rule| rule.priority)
            .map_or((&self.arn, &self.default), |rule| (&rule.arn, &rule.action))
    }
}

impl Condition {
    fn holds(&self, facts: Facts<'_>) -> bool {
        match self {
            // A value can't name a port, so it is compared with the name alone; an expression sees what was sent.
            Condition::Host(values) => {
                let name = host_name(facts.host);
                values
                    .iter()
                    .any(|value| value.matches(name) || value.matches(facts.host))
            }
            Condition::Path(values) => values.iter().any(|value| value.matches(facts.path)),
            Condition::Header { name, values } => facts
                .headers
                .get_all(name)
                .iter()
                .filter_map(|field| field.to_str().ok())
                .any(|field| values.iter().any(|value| value.matches(field))),
            Condition::Method(methods) => methods.iter().any(|method| method == facts.method),
            Condition::Query(pairs) => facts.query.split('&').filter(|part| !part.is_empty()).any(|part| {
                let (key, value) = part.split_once('=').unwrap_or((part, ""));
                pairs.iter().any(|(wanted_key, wanted)| {
                    wanted_key.as_ref().is_none_or(|wanted_key| wanted_key.matches(key)) && wanted.matches(value)
                })
            }),
            Condition::SourceIp(nets) => nets.iter().any(|net| net.contains(&facts.source)),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::super::matcher::Pattern;
    use super::super::snapshot::{Action, Condition, Listener, Rule};
    use super::{Facts, host_name};

    fn answers(status: u16) -> Action {
        Action::Fixed {
            status,
            content_type: None,
            body: String::new(),
        }
    }

    fn rule(priority: u32, conditions: Vec<Condition>) -> Rule {
        Rule {
            arn: format!("rule/{priority}"),
            priority,
            conditions,
            action: answers(200),
        }
    }

    fn met(rules: Vec<Rule>, host: &str, target: &str) -> String {
        let listener = Listener {
            arn: "default".into(),
            port: 80,
            tls: None,
            rules,
            default: answers(404),
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = HeaderMap::new();
        headers.append("x-tier", HeaderValue::from_static("bronze"));
        headers.append("x-tier", HeaderValue::from_static("Gold-1"));
        let source = "10.1.2.3".parse().unwrap();
        listener
            .action(Facts {
                host,
                path,
                query,
                method: "GET",
                headers: &headers,
                source,
            })
            .0
            .to_owned()
    }

    fn host(values: &[&str]) -> Condition {
        Condition::Host(values.iter().map(|&value| Pattern::any_case(value)).collect())
    }

    fn path(values: &[&str]) -> Condition {
        Condition::Path(values.iter().map(|&value| Pattern::exact_case(value)).collect())
    }

    #[test]
    fn the_lowest_number_wins_whatever_the_order_of_the_list() {
        let rules = vec![
            rule(20, vec![path(&["/*"])]),
            rule(3, vec![path(&["/a"])]),
            rule(10, vec![path(&["/a*"])]),
        ];
        assert_eq!(met(rules.clone(), "h", "/a"), "rule/3");
        assert_eq!(met(rules.clone(), "h", "/ab"), "rule/10");
        assert_eq!(met(rules, "h", "/b"), "rule/20");
    }

    #[test]
    fn all_conditions_must_hold_and_one_value_of_each() {
        let rules = vec![rule(
            1,
            vec![host(&["a.example.com", "*.b.com"]), path(&["/x", "/y/*"])],
        )];
        assert_eq!(met(rules.clone(), "A.example.com:8080", "/x?q=1"), "rule/1");
        assert_eq!(met(rules.clone(), "www.b.com", "/y/"), "rule/1");
        assert_eq!(met(rules.clone(), "www.b.com", "/z"), "default");
        assert_eq!(met(rules, "c.com", "/x"), "default");
    }

    #[test]
    fn each_kind_of_condition_looks_at_its_part_of_the_request() {
        let pair = |key: Option<&str>, value: &str| {
            Condition::Query(vec![(key.map(Pattern::any_case), Pattern::any_case(value))])
        };
        let header = |name: &str, value: &str| Condition::Header {
            name: name.into(),
            values: vec![Pattern::any_case(value)],
        };
        let source = |net: &str| Condition::SourceIp(vec![net.parse().unwrap()]);
        let method = |name: &str| Condition::Method(vec![name.to_owned()]);
        for (condition, holds) in [
            (pair(Some("Version"), "V1"), true),
            (pair(Some("version"), "v2"), false),
            (pair(None, "v?"), true),
            (pair(Some("other"), "*"), false),
            (pair(Some("flag"), ""), true),
            (header("X-Tier", "gold-*"), true),
            (header("x-tier", "gold"), false),
            (header("x-none", "*"), false),
            (source("10.1.0.0/16"), true),
            (source("10.2.0.0/16"), false),
            (method("GET"), true),
            (method("get"), false),
        ] {
            let expected = if holds { "rule/1" } else { "default" };
            let text = format!("{condition:?}");
            assert_eq!(
                met(vec![rule(1, vec![condition])], "h", "/p?flag&version=v1"),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn a_path_pattern_does_not_see_the_query() {
        assert_eq!(met(vec![rule(1, vec![path(&["/a"])])], "h", "/a?b=c"), "rule/1");
        assert_eq!(met(vec![rule(1, vec![path(&["/a\\?b*"])])], "h", "/a?b=c"), "default");
    }

    #[test]
    fn a_host_name_is_what_stands_before_the_port() {
        for (host, name) in [
            ("a.com", "a.com"),
            ("a.com:80", "a.com"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(host_name(host), name);
        }
    }
}
