//! Requests and answers of the AWS JSON 1.1 protocol.

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::fault::AwsError;
use crate::shape::{Kind, Model};

/// The input in a body; members that are null count as not given.
///
/// # Errors
/// A body that is not a JSON object.
pub fn decode(body: &Bytes) -> Result<Value, AwsError> {
    match serde_json::from_slice(body) {
        Ok(Value::Object(members)) => Ok(without_nulls(Value::Object(members))),
        _ if body.is_empty() => Ok(Value::Object(Map::new())),
        _ => Err(AwsError::new("SerializationException", "The body is not a JSON object")),
    }
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        other => other,
    }
}

/// The body of an answer.
pub fn encode(model: &Model, operation: &str, output: &Value) -> String {
    match model
        .operations
        .get(operation)
        .and_then(|operation| operation.output.as_ref())
    {
        Some(shape) => shaped(model, shape, output).to_string(),
        None => "{}".to_owned(),
    }
}

/// The value with timestamps as seconds since 1970, and without nulls.
fn shaped(model: &Model, shape: &str, value: &Value) -> Value {
    let described = model.shape(shape);
    match (described.kind, value) {
        (Kind::Structure, Value::Object(members)) => {
            let known = described.members.iter();
            let given = known.filter_map(|(name, reference)| {
                let value = members.get(name).filter(|value| !value.is_null())?;
                Some((name.clone(), shaped(model, &reference.shape, value)))
            });
            Value::Object(given.collect())
        }
        (Kind::List, Value::Array(items)) => {
            let item = described.member.as_ref().expect("a list has a member");
            Value::Array(items.iter().map(|value| shaped(model, &item.shape, value)).collect())
        }
        (Kind::Timestamp, Value::String(text)) => match text.parse::<Timestamp>() {
            Ok(moment) => json!(moment.as_millisecond() as f64 / 1000.0),
            Err(_) => value.clone(),
        },
        _ => value.clone(),
    }
}

/// The body of a refusal.
pub fn refusal(error: &AwsError) -> String {
    json!({"__type": error.code, "message": error.message}).to_string()
}
