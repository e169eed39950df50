//! Answers of the query and EC2 protocols.

use jiff::Timestamp;
use quick_xml::escape::escape;
use serde_json::Value;

use crate::call::Call;
use crate::fault::AwsError;
use crate::shape::{Kind, Model, Protocol};

/// The document for a call that worked.
pub fn answer(model: &Model, call: &Call, output: &Value) -> String {
    let operation = &call.operation;
    let known = model.operations.get(operation);
    let mut inside = String::new();
    if let Some(shape) = known.and_then(|operation| operation.output.as_ref()) {
        members(model, shape, output, &mut inside);
    }
    let (namespace, id) = (model.namespace.as_deref().unwrap_or_default(), escape(&call.request_id));
    match model.protocol {
        Protocol::Ec2 => {
            // Operations without output answer only whether they worked.
            let done = if known.is_some_and(|operation| operation.output.is_none()) {
                "<return>true</return>"
            } else {
                ""
            };
            format!(
                "{HEAD}<{operation}Response xmlns=\"{namespace}\"><requestId>{id}</requestId>{done}{inside}</{operation}Response>"
            )
        }
        _ => {
            let wrapped = match known.and_then(|operation| operation.wrapper.as_ref()) {
                Some(wrapper) => format!("<{wrapper}>{inside}</{wrapper}>"),
                None => inside,
            };
            format!(
                "{HEAD}<{operation}Response xmlns=\"{namespace}\">{wrapped}\
                 <ResponseMetadata><RequestId>{id}</RequestId></ResponseMetadata></{operation}Response>"
            )
        }
    }
}

/// The document for a call that was refused.
pub fn refusal(model: &Model, request_id: &str, error: &AwsError) -> String {
    let (code, message, id) = (escape(&error.code), escape(&error.message), escape(request_id));
    match model.protocol {
        Protocol::Ec2 => format!(
            "{HEAD}<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>\
             <RequestID>{id}</RequestID></Response>"
        ),
        _ => {
            let (kind, namespace) = (
                if error.status < 500 { "Sender" } else { "Receiver" },
                model.namespace.as_deref().unwrap_or_default(),
            );
            format!(
                "{HEAD}<ErrorResponse xmlns=\"{namespace}\"><Error><Type>{kind}</Type><Code>{code}</Code>\
                 <Message>{message}</Message></Error><RequestId>{id}</RequestId></ErrorResponse>"
            )
        }
    }
}

const HEAD: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// The members of a structure; those that are absent or null have no element.
fn members(model: &Model, shape: &str, value: &Value, out: &mut String) {
    for (member, reference) in &model.shape(shape).members {
        let Some(value) = value.get(member).filter(|value| !value.is_null()) else {
            continue;
        };
        let name = reference.name.as_deref().unwrap_or(member);
        let inner = model.shape(&reference.shape);
        match (inner.kind, inner.flattened, value) {
            (Kind::List, true, Value::Array(items)) => {
                let item = inner.member.as_ref().expect("a list has a member");
                items
                    .iter()
                    .for_each(|value| element(model, name, &item.shape, value, out));
            }
            _ => element(model, name, &reference.shape, value, out),
        }
    }
}

fn element(model: &Model, name: &str, shape: &str, value: &Value, out: &mut String) {
    let described = model.shape(shape);
    out.push_str(&format!("<{name}>"));
    match (described.kind, value) {
        (Kind::Structure, _) => members(model, shape, value, out),
        (Kind::List, Value::Array(items)) => {
            let item = described.member.as_ref().expect("a list has a member");
            let name = item.name.as_deref().unwrap_or(if model.protocol == Protocol::Ec2 {
                "item"
            } else {
                "member"
            });
            items
                .iter()
                .for_each(|value| element(model, name, &item.shape, value, out));
        }
        (Kind::Map, Value::Object(entries)) => {
            let value_shape = &described.value.as_ref().expect("a map has a value").shape;
            for (key, value) in entries {
                out.push_str(&format!("<entry><key>{}</key>", escape(key)));
                element(model, "value", value_shape, value, out);
                out.push_str("</entry>");
            }
        }
        (Kind::Timestamp, _) => out.push_str(&moment(value)),
        (_, Value::String(text)) => out.push_str(&escape(text)),
        (_, other) => out.push_str(&other.to_string()),
    }
    out.push_str(&format!("</{name}>"));
}

/// As AWS writes moments: `2026-03-01T12:00:00.000Z`.
fn moment(value: &Value) -> String {
    let parsed = match value {
        Value::String(text) => text.parse::<Timestamp>().ok(),
        other => other.as_i64().and_then(|seconds| Timestamp::from_second(seconds).ok()),
    };
    parsed.map_or_else(String::new, |moment| {
        moment.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
    })
}
