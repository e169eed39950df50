//! An identity-based policy: read strictly, so that nothing in it is without effect, and decided as IAM does.
//! Sources: "IAM JSON policy elements reference" and "Policy evaluation logic", IAM user guide.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::request::Request;

/// A policy document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Policy {
    document: Value,
    statements: Vec<Statement>,
}

/// What a policy says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A statement allows it, and none forbids it.
    Allowed,
    /// No statement allows it.
    NotAllowed,
    /// A statement denies it, whatever others allow.
    Forbidden,
}

#[derive(Clone, Debug, PartialEq)]
struct Statement {
    allow: bool,
    actions: Vec<String>,
    resources: Vec<String>,
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, PartialEq)]
struct Condition {
    operator: Operator,
    /// In lower case: names of keys, those of tags in them too, are compared without regard to case.
    key: String,
    values: Vec<String>,
}

/// The condition operators that are understood; a policy with others is refused.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Operator {
    Null,
    StringEquals,
    StringNotEquals,
    StringLike,
    StringNotLike,
}

impl Policy {
    /// What the policy says to a request.
    pub fn decide(&self, request: &Request) -> Decision {
        let mut about = self.statements.iter().filter(|statement| statement.covers(request));
        match about.clone().any(|statement| !statement.allow) {
            true => Decision::Forbidden,
            false if about.any(|statement| statement.allow) => Decision::Allowed,
            false => Decision::NotAllowed,
        }
    }
}

impl Statement {
    fn covers(&self, request: &Request) -> bool {
        let action = request.action.to_lowercase();
        self.actions
            .iter()
            .any(|pattern| like(&pattern.to_lowercase(), &action))
            && self.resources.iter().any(|pattern| like(pattern, &request.resource))
            && self.conditions.iter().all(|condition| condition.holds(request))
    }
}

impl Condition {
    fn holds(&self, request: &Request) -> bool {
        let given = request.context.get(&self.key);
        let any = |test: fn(&str, &str) -> bool| {
            given.is_some_and(|given| {
                given
                    .iter()
                    .any(|given| self.values.iter().any(|value| test(value, given)))
            })
        };
        let same = |value: &str, given: &str| value == given;
        match self.operator {
            Operator::Null => self.values.iter().any(|value| (value == "true") == given.is_none()),
            Operator::StringEquals => any(same),
            Operator::StringLike => any(like),
            // A key that is not there differs from every value.
            Operator::StringNotEquals => !any(same),
            Operator::StringNotLike => !any(like),
        }
    }
}

/// IAM's wildcards: `*` for any text, `?` for one character.
pub(crate) fn like(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last `*` stands, and the text that it is tried with ends.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(&c) if c == '?' || c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, end)) => {
                    star = Some((at, end + 1));
                    (p, t) = (at + 1, end + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

impl From<Policy> for Value {
    fn from(policy: Policy) -> Self {
        policy.document
    }
}

impl TryFrom<Value> for Policy {
    type Error = String;

    fn try_from(document: Value) -> Result<Self, String> {
        let parts = object(&document, "the policy")?;
        known(parts, &["Version", "Id", "Statement"])?;
        if parts.get("Version").is_none_or(|version| version != "2012-10-17") {
            return Err("Version is not 2012-10-17".to_owned());
        }
        let statements = match parts.get("Statement") {
            Some(Value::Array(statements)) => statements.iter().map(statement).collect::<Result<_, _>>()?,
            Some(one) => vec![statement(one)?],
            None => return Err("there is no Statement".to_owned()),
        };
        Ok(Policy { document, statements })
    }
}

fn statement(document: &Value) -> Result<Statement, String> {
    let parts = object(document, "a statement")?;
    known(parts, &["Sid", "Effect", "Action", "Resource", "Condition"])?;
    let allow = match parts.get("Effect").and_then(Value::as_str) {
        Some("Allow") => true,
        Some("Deny") => false,
        _ => return Err("Effect is neither Allow nor Deny".to_owned()),
    };
    let resources = words(parts.get("Resource"), "Resource")?;
    if let Some(variable) = resources.iter().find(|resource| resource.contains("${")) {
        return Err(format!("policy variables are not understood: {variable}"));
    }
    let mut conditions = Vec::new();
    if let Some(all) = parts.get("Condition") {
        for (operator, keys) in object(all, "Condition")? {
            for (key, values) in object(keys, operator)? {
                conditions.push(Condition {
                    operator: self::operator(operator)?,
                    key: key.to_lowercase(),
                    values: words(Some(values), key)?,
                });
            }
        }
    }
    Ok(Statement {
        allow,
        actions: words(parts.get("Action"), "Action")?,
        resources,
        conditions,
    })
}

fn operator(name: &str) -> Result<Operator, String> {
    match name {
        "Null" => Ok(Operator::Null),
        "StringEquals" => Ok(Operator::StringEquals),
        "StringNotEquals" => Ok(Operator::StringNotEquals),
        "StringLike" => Ok(Operator::StringLike),
        "StringNotLike" => Ok(Operator::StringNotLike),
        other => Err(format!("the condition operator {other} is not understood")),
    }
}

fn object<'v>(value: &'v Value, name: &str) -> Result<&'v Map<String, Value>, String> {
    value.as_object().ok_or_else(|| format!("{name} is no object"))
}

fn known(parts: &Map<String, Value>, names: &[&str]) -> Result<(), String> {
    match parts.keys().find(|name| !names.contains(&name.as_str())) {
        Some(unknown) => Err(format!("the element {unknown} is not understood")),
        None => Ok(()),
    }
}

/// A text or a list of texts.
fn words(value: Option<&Value>, name: &str) -> Result<Vec<String>, String> {
    let word = |value: &Value| value.as_str().map(str::to_owned);
    let all = match value {
        Some(Value::Array(values)) => values.iter().map(word).collect(),
        Some(value) => word(value).map(|word| vec![word]),
        None => None,
    };
    all.filter(|words: &Vec<String>| !words.is_empty())
        .ok_or_else(|| format!("{name} is no text, nor a list of texts"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(statements: Value) -> Policy {
        let document = json!({"Version": "2012-10-17", "Statement": statements});
        Policy::try_from(document).expect("a policy")
    }

    fn request(action: &str, resource: &str, context: &[(&str, &str)]) -> Request {
        let context = context
            .iter()
            .map(|(key, value)| (key.to_lowercase(), vec![(*value).to_owned()]));
        Request {
            action: action.to_owned(),
            resource: resource.to_owned(),
            context: context.collect(),
        }
    }

    #[test]
    fn wildcards_stand_for_any_text() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("ec2:Describe*", "ec2:DescribeVpcs", true),
            ("ec2:Describe*", "ec2:CreateVpc", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
            ("sg-?", "sg-1", true),
            ("sg-?", "sg-12", false),
        ] {
            assert_eq!(like(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn nothing_is_allowed_unless_said_and_a_denial_outweighs() {
        let policy = policy(json!([
            {"Effect": "Allow", "Action": "ec2:*", "Resource": "arn:aws:ec2:*:*:vpc/*"},
            {"Effect": "Deny", "Action": ["EC2:deletevpc"], "Resource": "*"},
        ]));
        let decide = |action: &str, resource: &str| policy.decide(&request(action, resource, &[]));
        let vpc = "arn:aws:ec2:eu-west-1:1:vpc/vpc-1";
        assert_eq!(decide("ec2:CreateVpc", vpc), Decision::Allowed);
        assert_eq!(
            decide("ec2:CreateVpc", "arn:aws:ec2:eu-west-1:1:subnet/s"),
            Decision::NotAllowed
        );
        assert_eq!(decide("acm:CreateVpc", vpc), Decision::NotAllowed);
        assert_eq!(
            decide("ec2:DeleteVpc", vpc),
            Decision::Forbidden,
            "actions have no case"
        );
    }

    #[test]
    fn all_conditions_of_a_statement_hold_and_one_value_of_each_does() {
        let holds = |condition: Value, context: &[(&str, &str)]| {
            let statement = json!({"Effect": "Allow", "Action": "a:B", "Resource": "*", "Condition": condition});
            policy(statement).decide(&request("a:B", "*", context)) == Decision::Allowed
        };
        let owned = [("aws:ResourceTag/Owner", "me")];
        assert!(holds(json!({"Null": {"aws:ResourceTag/Owner": "false"}}), &owned));
        assert!(
            !holds(json!({"Null": {"aws:RESOURCETAG/owner": "true"}}), &owned),
            "keys have no case"
        );
        assert!(holds(json!({"Null": {"aws:RequestTag/Owner": "true"}}), &owned));
        assert!(holds(
            json!({"StringEquals": {"aws:ResourceTag/Owner": ["you", "me"]}}),
            &owned
        ));
        assert!(
            !holds(json!({"StringEquals": {"aws:ResourceTag/Owner": "ME"}}), &owned),
            "values have"
        );
        assert!(
            !holds(json!({"StringEquals": {"aws:RequestTag/Owner": "me"}}), &owned),
            "a key that is not there"
        );
        assert!(holds(
            json!({"StringNotEquals": {"aws:RequestTag/Owner": "me"}}),
            &owned
        ));
        assert!(holds(json!({"StringLike": {"aws:ResourceTag/Owner": "m?"}}), &owned));
        assert!(!holds(
            json!({"StringNotLike": {"aws:ResourceTag/Owner": "m*"}}),
            &owned
        ));
        let both =
            json!({"Null": {"aws:ResourceTag/Owner": "false"}, "StringEquals": {"aws:ResourceTag/Owner": "you"}});
        assert!(!holds(both, &owned));
    }

    #[test]
    fn a_document_that_is_not_understood_in_full_is_refused() {
        let refused = |change: fn(&mut Value)| {
            let mut document = json!({
                "Version": "2012-10-17",
                "Statement": [{"Effect": "Allow", "Action": "a:B", "Resource": "*"}],
            });
            change(&mut document);
            Policy::try_from(document).expect_err("a refusal")
        };
        assert!(refused(|d| d["Statement"][0]["NotAction"] = json!("a:C")).contains("NotAction"));
        assert!(refused(|d| d["Statement"][0]["Condition"] = json!({"Bool": {"a": "true"}})).contains("Bool"));
        assert!(refused(|d| d["Statement"][0]["Resource"] = json!("arn:${aws:username}")).contains("variables"));
        assert!(refused(|d| d["Statement"][0]["Action"] = json!([])).contains("Action"));
        assert!(refused(|d| d["Statement"][0]["Effect"] = json!("allow")).contains("Effect"));
        assert!(refused(|d| d["Version"] = json!("2008-10-17")).contains("Version"));
    }
}
