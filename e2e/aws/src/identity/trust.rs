//! Whom a role trusts: its trust policy ("IAM JSON policy elements reference", IAM user guide), as far as those of a cluster's
//! roles go.

use std::collections::BTreeMap;

use crate::iam::policy::like;
use serde::Deserialize;
use serde_json::Value;

/// A trust policy.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Trust {
    statement: Vec<Statement>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Statement {
    #[serde(default, rename = "Sid")]
    _sid: Option<String>,
    effect: Effect,
    principal: BTreeMap<Kind, Texts>,
    action: Texts,
    #[serde(default)]
    condition: BTreeMap<Operator, BTreeMap<String, Texts>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
enum Kind {
    Federated,
    Service,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
enum Operator {
    StringEquals,
    StringLike,
}

/// One text, or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Texts {
    One(String),
    Several(Vec<String>),
}

impl Texts {
    fn any(&self, matches: impl Fn(&str) -> bool) -> bool {
        match self {
            Texts::One(text) => matches(text),
            Texts::Several(texts) => texts.iter().any(|text| matches(text)),
        }
    }
}

/// Who wants to be a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// Somebody with a token of this OpenID Connect provider, an ARN.
    Federated(String),
    /// A service of AWS, such as `pods.eks.amazonaws.com`.
    Service(&'static str),
}

impl Trust {
    /// Reads a policy.
    ///
    /// # Errors
    /// It is none, or has elements that are not known here.
    pub fn parse(policy: Value) -> serde_json::Result<Self> {
        serde_json::from_value(policy)
    }

    /// Whether `principal` may perform `action` (such as `sts:AssumeRole`) on the role, with these condition keys.
    pub fn allows(&self, principal: &Principal, action: &str, context: &BTreeMap<String, String>) -> bool {
        let about = |statement: &&Statement| statement.is_about(principal, action, context);
        let mut about = self.statement.iter().filter(about).peekable();
        about.peek().is_some() && about.all(|statement| statement.effect == Effect::Allow)
    }
}

impl Statement {
    fn is_about(&self, principal: &Principal, action: &str, context: &BTreeMap<String, String>) -> bool {
        let (kind, name) = match principal {
            Principal::Federated(arn) => (Kind::Federated, arn.as_str()),
            Principal::Service(name) => (Kind::Service, *name),
        };
        let named = self.principal.get(&kind);
        let named = named.is_some_and(|names| names.any(|one| one == name));
        let met = |operator: Operator, key: &String, wanted: &Texts| {
            let given = context.get(key);
            given.is_some_and(|given| {
                wanted.any(|wanted| match operator {
                    Operator::StringEquals => wanted == given,
                    Operator::StringLike => like(wanted, given),
                })
            })
        };
        let mut conditions = self.condition.iter();
        named
            && self.action.any(|pattern| like(pattern, action))
            && conditions.all(|(&operator, keys)| keys.iter().all(|(key, wanted)| met(operator, key, wanted)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PROVIDER: &str = "arn:aws:iam::123456789012:oidc-provider/oidc.example.com/id/1";

    fn trust(operator: &str, subject: &str) -> Trust {
        let policy = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow",
            "Principal": {"Federated": PROVIDER},
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": {operator: {"oidc.example.com/id/1:sub": subject}},
        }]});
        Trust::parse(policy).unwrap()
    }

    fn allows(trust: &Trust, subject: &str) -> bool {
        let context = BTreeMap::from([("oidc.example.com/id/1:sub".to_owned(), subject.to_owned())]);
        let principal = Principal::Federated(PROVIDER.to_owned());
        trust.allows(&principal, "sts:AssumeRoleWithWebIdentity", &context)
    }

    #[test]
    fn only_the_named_service_account_is_trusted() {
        let exact = trust("StringEquals", "system:serviceaccount:kube-system:albacore");
        assert!(allows(&exact, "system:serviceaccount:kube-system:albacore"));
        assert!(!allows(&exact, "system:serviceaccount:kube-system:other"));
        let like = trust("StringLike", "system:serviceaccount:*:al?acore");
        assert!(allows(&like, "system:serviceaccount:kube-system:albacore"));
        assert!(!allows(&like, "system:serviceaccount:kube-system:albacore-2"));
    }

    #[test]
    fn another_provider_action_or_a_missing_key_is_not_trusted_and_a_denial_wins() {
        let like = trust("StringLike", "*");
        let none = BTreeMap::new();
        let here = Principal::Federated(PROVIDER.to_owned());
        assert!(!like.allows(&here, "sts:AssumeRoleWithWebIdentity", &none));
        let context = BTreeMap::from([("oidc.example.com/id/1:sub".to_owned(), "s".to_owned())]);
        assert!(!like.allows(&here, "sts:AssumeRole", &context));
        let there = Principal::Federated(format!("{PROVIDER}2"));
        assert!(!like.allows(&there, "sts:AssumeRoleWithWebIdentity", &context));
        let denied = Trust::parse(json!({"Statement": [
            {"Effect": "Allow", "Principal": {"Service": "pods.eks.amazonaws.com"}, "Action": ["sts:AssumeRole", "sts:TagSession"]},
            {"Effect": "Deny", "Principal": {"Service": ["pods.eks.amazonaws.com"]}, "Action": "sts:Assume*"},
        ]}));
        let pods = Principal::Service("pods.eks.amazonaws.com");
        let denied = denied.unwrap();
        assert!(denied.allows(&pods, "sts:TagSession", &none));
        assert!(!denied.allows(&pods, "sts:AssumeRole", &none));
    }
}
