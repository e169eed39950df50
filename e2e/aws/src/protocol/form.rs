//! Requests of the query and EC2 protocols: `Tags.member.1.Key=a` (query), `Tag.1.Key=a` (EC2).

use std::collections::BTreeMap;

use base64::Engine as _;
use bytes::Bytes;
use http::Request;
use serde_json::{Map, Number, Value};

use crate::fault::AwsError;
use crate::shape::{Constraint, Kind, Model, Protocol, Reference, Violation};

/// The form as a tree along the dots of its names.
#[derive(Debug, Default)]
pub struct Node {
    text: Option<String>,
    children: BTreeMap<String, Node>,
}

impl Node {
    /// The value that stands directly under a name.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.children.get(name)?.text.as_deref()
    }

    /// Children in the order of their numbers: `1`, `2`, … `10`.
    fn numbered(&self) -> Vec<&Node> {
        let mut items: Vec<(u32, &Node)> = self
            .children
            .iter()
            .filter_map(|(name, node)| Some((name.parse().ok()?, node)))
            .collect();
        items.sort_by_key(|(number, _)| *number);
        items.into_iter().map(|(_, node)| node).collect()
    }
}

/// The form in a request's query string and body.
pub fn parse(request: &Request<Bytes>) -> Node {
    let mut root = Node::default();
    let query = request.uri().query().unwrap_or_default().as_bytes();
    for (name, value) in form_urlencoded::parse(query).chain(form_urlencoded::parse(request.body())) {
        let node = name.split('.').fold(&mut root, |node, part| {
            node.children.entry(part.to_owned()).or_default()
        });
        node.text = Some(value.into_owned());
    }
    root
}

/// The input in a form, typed by its shape, and the values that are not of their type.
///
/// # Errors
/// EC2 refuses parameters that it does not know.
pub fn decode(model: &Model, shape: &str, form: &Node) -> Result<(Value, Vec<Violation>), AwsError> {
    let mut reader = Reader {
        model,
        path: Vec::new(),
        unknown: None,
        violations: Vec::new(),
    };
    let value = reader.structure(shape, form);
    match reader.unknown {
        Some(name) => Err(AwsError::new(
            "UnknownParameter",
            format!("The parameter {name} is not recognized"),
        )),
        None => Ok((value, reader.violations)),
    }
}

/// Parameters that every request may have beside its input.
const COMMON: [&str; 4] = ["Action", "Version", "DryRun", "AWSAccessKeyId"];

struct Reader<'a> {
    model: &'a Model,
    path: Vec<String>,
    unknown: Option<String>,
    violations: Vec<Violation>,
}

impl Reader<'_> {
    fn structure(&mut self, shape: &str, node: &Node) -> Value {
        let mut members = Map::new();
        let mut known = Vec::new();
        for (member, reference) in &self.model.shape(shape).members {
            let name = self.wire_name(member, reference);
            if let Some(child) = node.children.get(&name) {
                self.path.push(member.clone());
                members.insert(member.clone(), self.value(&reference.shape, child));
                self.path.pop();
            }
            known.push(name);
        }
        let common = |name: &str| self.path.is_empty() && COMMON.contains(&name);
        let stranger = node
            .children
            .keys()
            .find(|name| !(known.contains(name) || common(name)));
        if let Some(name) = stranger
            && self.model.protocol == Protocol::Ec2
        {
            self.unknown.get_or_insert_with(|| name.clone());
        }
        Value::Object(members)
    }

    fn wire_name(&self, member: &str, reference: &Reference) -> String {
        match self.model.protocol {
            Protocol::Ec2 => {
                let upper = |name: &str| name[..1].to_ascii_uppercase() + &name[1..];
                let name = reference.name.as_deref().map(upper);
                reference.query.clone().or(name).unwrap_or_else(|| upper(member))
            }
            _ => reference.name.clone().unwrap_or_else(|| member.to_owned()),
        }
    }

    fn value(&mut self, shape: &str, node: &Node) -> Value {
        let described = self.model.shape(shape);
        match described.kind {
            Kind::Structure => self.structure(shape, node),
            Kind::List => {
                let item = described.member.as_ref().expect("a list has a member");
                let nested = self.model.protocol == Protocol::Query && !described.flattened;
                let name = item.name.as_deref().unwrap_or("member");
                let holder = if nested { node.children.get(name) } else { Some(node) };
                let items = holder.map(Node::numbered).unwrap_or_default();
                Value::Array(items.into_iter().map(|node| self.value(&item.shape, node)).collect())
            }
            Kind::Map => {
                let value = described.value.as_ref().expect("a map has a value");
                let nested = !described.flattened;
                let holder = if nested { node.children.get("entry") } else { Some(node) };
                let entries = holder.map(Node::numbered).unwrap_or_default();
                let read = |entry: &Node| {
                    Some((
                        entry.text("key")?.to_owned(),
                        entry.children.get("value")?.text.clone()?,
                    ))
                };
                let pairs: Vec<(String, String)> = entries.into_iter().filter_map(read).collect();
                Value::Object(
                    pairs
                        .into_iter()
                        .map(|(key, text)| (key, self.scalar(&value.shape, &text)))
                        .collect(),
                )
            }
            _ => self.scalar(shape, node.text.as_deref().unwrap_or_default()),
        }
    }

    fn scalar(&mut self, shape: &str, text: &str) -> Value {
        let kind = self.model.shape(shape).kind;
        let typed = match kind {
            Kind::Integer | Kind::Long => text.parse::<i64>().ok().map(Value::from),
            Kind::Float | Kind::Double => text.parse().ok().and_then(Number::from_f64).map(Value::Number),
            Kind::Boolean => match text {
                "true" | "True" | "1" => Some(Value::Bool(true)),
                "false" | "False" | "0" => Some(Value::Bool(false)),
                _ => None,
            },
            Kind::Blob => {
                let valid = base64::engine::general_purpose::STANDARD.decode(text).is_ok();
                valid.then(|| Value::String(text.to_owned()))
            }
            _ => Some(Value::String(text.to_owned())),
        };
        typed.unwrap_or_else(|| {
            let (path, value) = (self.path.clone(), Some(text.to_owned()));
            self.violations.push(Violation {
                path,
                value,
                constraint: Constraint::Kind(kind),
            });
            // Of the right type, so that the same value is not reported twice.
            match kind {
                Kind::Boolean => Value::Bool(false),
                Kind::Blob => Value::String(String::new()),
                _ => Value::Null,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::call::Service;

    fn request(body: &'static str) -> Request<Bytes> {
        Request::new(Bytes::from_static(body.as_bytes()))
    }

    #[test]
    fn a_query_form_is_typed_by_its_shape() {
        let form = parse(&request(
            "Action=CreateRule&ListenerArn=l&Priority=10&Actions.member.1.Type=forward\
             &Actions.member.1.ForwardConfig.TargetGroups.member.1.TargetGroupArn=a%3Ab\
             &Actions.member.1.ForwardConfig.TargetGroupStickinessConfig.Enabled=true&Conditions=",
        ));
        let (input, violations) = decode(Model::of(Service::Elbv2), "CreateRuleInput", &form).unwrap();
        assert_eq!(violations, []);
        assert_eq!(
            input,
            json!({
                "ListenerArn": "l", "Priority": 10, "Conditions": [],
                "Actions": [{"Type": "forward", "ForwardConfig": {
                    "TargetGroups": [{"TargetGroupArn": "a:b"}], "TargetGroupStickinessConfig": {"Enabled": true}}}],
            })
        );
    }

    #[test]
    fn ec2_names_its_parameters_differently_and_refuses_unknown_ones() {
        let form = parse(&request(
            "Action=CreateVpc&CidrBlock=10.0.0.0%2F16&TagSpecification.1.ResourceType=vpc&TagSpecification.1.Tag.1.Key=k\
             &TagSpecification.1.Tag.1.Value=v",
        ));
        let (input, _) = decode(Model::of(Service::Ec2), "CreateVpcRequest", &form).unwrap();
        assert_eq!(
            input,
            json!({"CidrBlock": "10.0.0.0/16",
                   "TagSpecifications": [{"ResourceType": "vpc", "Tags": [{"Key": "k", "Value": "v"}]}]})
        );
        let error = decode(Model::of(Service::Ec2), "CreateVpcRequest", &parse(&request("Cidr=1"))).unwrap_err();
        assert_eq!(error.code, "UnknownParameter");
    }

    #[test]
    fn a_number_that_is_none_is_a_violation() {
        let form = parse(&request("ListenerArn=l&Priority=ten"));
        let (_, violations) = decode(Model::of(Service::Elbv2), "CreateRuleInput", &form).unwrap();
        assert_eq!(violations[0].constraint, Constraint::Kind(Kind::Integer));
    }
}
