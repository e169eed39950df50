//! AWS' own description of its operations and shapes (`models/`, generated from what botocore ships), and the check of an
//! input against it.

use std::collections::BTreeMap;
use std::sync::{LazyLock, OnceLock};

use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

use crate::call::Service;

/// A service as botocore models it.
#[derive(Debug, Deserialize)]
pub struct Model {
    /// How requests and answers are written.
    pub protocol: Protocol,
    /// API version, such as `2015-12-01`.
    pub version: String,
    /// XML namespace of answers.
    pub namespace: Option<String>,
    /// What stands before the operation in `X-Amz-Target`.
    pub target: Option<String>,
    /// Operations by name.
    pub operations: BTreeMap<String, Operation>,
    /// HTTP status by error code, for the codes that the model declares.
    pub errors: BTreeMap<String, u16>,
    /// Shapes by name.
    pub shapes: BTreeMap<String, Shape>,
}

/// AWS' wire protocols. Source: "AWS protocols", Smithy specification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// Form in, XML out.
    Query,
    /// Query with EC2's own names and envelopes.
    Ec2,
    /// JSON both ways.
    Json,
}

/// The shapes of an operation's input and output.
#[derive(Debug, Deserialize)]
pub struct Operation {
    /// Input shape, if it takes any.
    pub input: Option<String>,
    /// Output shape, if it answers any.
    pub output: Option<String>,
    /// The element that wraps the output in the query protocol.
    pub wrapper: Option<String>,
}

/// What a shape is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the words are AWS' own")]
pub enum Kind {
    Structure,
    List,
    Map,
    String,
    Integer,
    Long,
    Float,
    Double,
    Boolean,
    Timestamp,
    Blob,
}

/// A shape with its constraints.
#[derive(Debug, Deserialize)]
pub struct Shape {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Members of a structure.
    #[serde(default)]
    pub members: BTreeMap<String, Reference>,
    /// Items of a list.
    pub member: Option<Reference>,
    /// Keys of a map.
    pub key: Option<Reference>,
    /// Values of a map.
    pub value: Option<Reference>,
    /// Members that must be given.
    #[serde(default)]
    pub required: Vec<String>,
    /// Allowed values.
    #[serde(default, rename = "enum")]
    pub values: Vec<String>,
    /// Smallest number, length or count.
    pub min: Option<f64>,
    /// Largest number, length or count.
    pub max: Option<f64>,
    /// What a string must match as a whole.
    pub pattern: Option<Pattern>,
    /// Lists whose items stand directly under the list's name.
    #[serde(default)]
    pub flattened: bool,
}

/// What a whole string must match; compiled when it is first needed.
#[derive(Debug, Deserialize)]
#[serde(from = "String")]
pub struct Pattern {
    text: String,
    regex: OnceLock<Regex>,
}

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        Pattern {
            text,
            regex: OnceLock::new(),
        }
    }
}

impl Pattern {
    fn matches(&self, text: &str) -> bool {
        let compiled = || Regex::new(&format!("^(?:{})$", self.text)).expect("a test compiles every pattern");
        self.regex.get_or_init(compiled).is_match(text)
    }
}

/// A use of a shape, with its names on the wire.
#[derive(Debug, Deserialize)]
#[serde(from = "Written")]
pub struct Reference {
    /// Name of the shape.
    pub shape: String,
    /// `locationName`: the name in answers and, in the query protocol, in requests.
    pub name: Option<String>,
    /// `queryName`: EC2's name in requests where it is neither the member's nor the `locationName`.
    pub query: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Plain(String),
    Named {
        shape: String,
        name: Option<String>,
        query: Option<String>,
    },
}

impl From<Written> for Reference {
    fn from(written: Written) -> Self {
        match written {
            Written::Plain(shape) => Reference {
                shape,
                name: None,
                query: None,
            },
            Written::Named { shape, name, query } => Reference { shape, name, query },
        }
    }
}

impl Model {
    /// The model of a service.
    pub fn of(service: Service) -> &'static Model {
        static ELBV2: LazyLock<Model> = LazyLock::new(|| parse(include_str!("../models/elbv2.json")));
        static EC2: LazyLock<Model> = LazyLock::new(|| parse(include_str!("../models/ec2.json")));
        static ACM: LazyLock<Model> = LazyLock::new(|| parse(include_str!("../models/acm.json")));
        static STS: LazyLock<Model> = LazyLock::new(|| parse(include_str!("../models/sts.json")));
        static TAGGING: LazyLock<Model> = LazyLock::new(|| parse(include_str!("../models/tagging.json")));
        match service {
            Service::Elbv2 => &ELBV2,
            Service::Ec2 => &EC2,
            Service::Acm => &ACM,
            Service::Sts => &STS,
            Service::Tagging => &TAGGING,
        }
    }

    /// A shape of this model.
    pub fn shape(&self, name: &str) -> &Shape {
        self.shapes
            .get(name)
            .expect("generate.py writes every shape that an operation reaches")
    }

    /// Everything in `value` that breaks a constraint of the shape `name`, in the order of the shape's members.
    pub fn check(&self, name: &str, value: &Value) -> Vec<Violation> {
        let mut found = Vec::new();
        self.visit(self.shape(name), value, &mut Vec::new(), &mut found);
        found
    }

    fn visit(&self, shape: &Shape, value: &Value, path: &mut Vec<String>, found: &mut Vec<Violation>) {
        let mut broken = |constraint| {
            let value = match value {
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            found.push(Violation {
                path: path.clone(),
                value: Some(value),
                constraint,
            });
        };
        let below = |size: f64| shape.min.is_some_and(|min| size < min);
        let above = |size: f64| shape.max.is_some_and(|max| size > max);
        match (shape.kind, value) {
            (Kind::String | Kind::Blob, Value::String(text)) => {
                let length = text.chars().count() as f64;
                if !shape.values.is_empty() && !shape.values.contains(text) {
                    broken(Constraint::OneOf(shape.values.clone()));
                }
                if shape.kind == Kind::String && above(length) {
                    broken(Constraint::LongestLength(shape.max.unwrap_or_default() as u64));
                }
                if shape.kind == Kind::String && below(length) {
                    broken(Constraint::ShortestLength(shape.min.unwrap_or_default() as u64));
                }
                if shape.kind == Kind::String
                    && let Some(pattern) = &shape.pattern
                    && !pattern.matches(text)
                {
                    broken(Constraint::Pattern(pattern.text.clone()));
                }
            }
            (Kind::Integer | Kind::Long | Kind::Float | Kind::Double, Value::Number(number)) => {
                let number = number.as_f64().unwrap_or_default();
                if above(number) {
                    broken(Constraint::Most(shape.max.unwrap_or_default() as i64));
                }
                if below(number) {
                    broken(Constraint::Least(shape.min.unwrap_or_default() as i64));
                }
            }
            (Kind::List, Value::Array(items)) => {
                if above(items.len() as f64) {
                    broken(Constraint::LongestLength(shape.max.unwrap_or_default() as u64));
                }
                if below(items.len() as f64) {
                    broken(Constraint::ShortestLength(shape.min.unwrap_or_default() as u64));
                }
                let item = self.shape(&shape.member.as_ref().expect("a list has a member").shape);
                for (index, value) in items.iter().enumerate() {
                    path.push((index + 1).to_string());
                    path.push("member".to_owned());
                    self.visit(item, value, path, found);
                    path.truncate(path.len() - 2);
                }
            }
            (Kind::Map, Value::Object(entries)) => {
                let shape = self.shape(&shape.value.as_ref().expect("a map has a value").shape);
                for (key, value) in entries {
                    path.push(key.clone());
                    self.visit(shape, value, path, found);
                    path.pop();
                }
            }
            (Kind::Structure, Value::Object(members)) => {
                for (member, reference) in &shape.members {
                    path.push(member.clone());
                    match members.get(member) {
                        Some(value) => self.visit(self.shape(&reference.shape), value, path, found),
                        None if shape.required.contains(member) => {
                            found.push(Violation {
                                path: path.clone(),
                                value: None,
                                constraint: Constraint::NotNull,
                            });
                        }
                        None => {}
                    }
                    path.pop();
                }
            }
            (Kind::Boolean, Value::Bool(_)) | (Kind::Timestamp, Value::String(_) | Value::Number(_)) => {}
            (kind, _) => broken(Constraint::Kind(kind)),
        }
    }
}

fn parse(text: &str) -> Model {
    serde_json::from_str(text).expect("generate.py writes models of this form")
}

/// One constraint that one value breaks.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// Members, list positions (`1`, `member`) and map keys that lead to the value.
    pub path: Vec<String>,
    /// The offending value; `None` where one is missing.
    pub value: Option<String>,
    /// What it breaks.
    pub constraint: Constraint,
}

/// A constraint of the models.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each says itself by its Display")]
pub enum Constraint {
    NotNull,
    OneOf(Vec<String>),
    LongestLength(u64),
    ShortestLength(u64),
    Most(i64),
    Least(i64),
    Pattern(String),
    Kind(Kind),
}

impl std::fmt::Display for Constraint {
    /// In the words of AWS' own validator, as seen in the errors of its services.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Constraint::NotNull => write!(f, "Member must not be null"),
            Constraint::OneOf(values) => write!(f, "Member must satisfy enum value set: [{}]", values.join(", ")),
            Constraint::LongestLength(n) => write!(f, "Member must have length less than or equal to {n}"),
            Constraint::ShortestLength(n) => write!(f, "Member must have length greater than or equal to {n}"),
            Constraint::Most(n) => write!(f, "Member must have value less than or equal to {n}"),
            Constraint::Least(n) => write!(f, "Member must have value greater than or equal to {n}"),
            Constraint::Pattern(pattern) => write!(f, "Member must satisfy regular expression pattern: {pattern}"),
            Constraint::Kind(kind) => write!(f, "Member must be of type {}", format!("{kind:?}").to_lowercase()),
        }
    }
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path: Vec<String> = self.path.iter().map(|part| lower_first(part)).collect();
        let value = self
            .value
            .as_ref()
            .map_or("null".to_owned(), |value| format!("'{value}'"));
        write!(
            f,
            "Value {value} at '{}' failed to satisfy constraint: {}",
            path.join("."),
            self.constraint
        )
    }
}

/// AWS' validator names members as Java does.
fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| {
        first.to_ascii_lowercase().to_string() + letters.as_str()
    })
}

/// The message of a service that reports all violations at once, as elbv2, acm and sts do.
pub fn summary(violations: &[Violation]) -> String {
    let (count, plural) = (violations.len(), if violations.len() == 1 { "" } else { "s" });
    let each: Vec<String> = violations.iter().map(Violation::to_string).collect();
    format!("{count} validation error{plural} detected: {}", each.join("; "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_model_parses_and_every_shape_is_there() {
        for service in [
            Service::Elbv2,
            Service::Ec2,
            Service::Acm,
            Service::Sts,
            Service::Tagging,
        ] {
            let model = Model::of(service);
            for shape in model.shapes.values() {
                let references = shape
                    .members
                    .values()
                    .chain(&shape.member)
                    .chain(&shape.key)
                    .chain(&shape.value);
                for reference in references {
                    model.shape(&reference.shape);
                }
                if let Some(pattern) = &shape.pattern {
                    pattern.matches("");
                }
            }
        }
    }

    #[test]
    fn violations_read_as_aws_writes_them() {
        let model = Model::of(Service::Elbv2);
        let input = json!({"Name": "a", "Port": 70000, "Protocol": "FTP", "Tags": [{"Key": "k\u{7}"}]});
        let found = model.check("CreateTargetGroupInput", &input);
        assert_eq!(
            summary(&found[..2]),
            "2 validation errors detected: \
             Value '70000' at 'port' failed to satisfy constraint: Member must have value less than or equal to 65535; \
             Value 'FTP' at 'protocol' failed to satisfy constraint: Member must satisfy enum value set: \
             [HTTP, HTTPS, TCP, TLS, UDP, TCP_UDP, GENEVE, QUIC, TCP_QUIC]"
        );
        assert_eq!(found[2].path, ["Tags", "1", "member", "Key"]);
        assert_eq!(
            summary(&model.check("CreateTargetGroupInput", &json!({}))),
            "1 validation error detected: Value null at 'name' failed to satisfy constraint: Member must not be null"
        );
    }
}
