//! The wire: requests become a call and its input, answers and errors become bytes.
//!
//! ```text
//! HTTP request ──open──► Opened { service, region, key, operation, input } ──► handler ──► Value ──answer──► HTTP response
//!                              │                                                    └► AwsError ──refusal──► HTTP response
//!                              └ input is a JSON value with the member names of the models, whatever the protocol
//! ```

pub mod form;
pub mod json;
pub mod xml;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde_json::Value;

use crate::call::{Call, Service};
use crate::fault::AwsError;
use crate::shape::{Constraint, Model, Protocol, Violation, summary};

/// A request, opened: what can be said before anything is validated or decided.
#[derive(Debug)]
pub struct Opened {
    /// Which service.
    pub service: Service,
    /// Region of the credential scope.
    pub region: String,
    /// Access key id; empty if unsigned.
    pub access_key: String,
    /// `X-Amz-Security-Token`, which temporary credentials come with.
    pub session_token: Option<String>,
    /// Operation, or empty if the request names none.
    pub operation: String,
    /// The input, or what is wrong with it.
    pub input: Result<Value, AwsError>,
}

/// Who signed for which service and region: `Authorization: AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, …`.
/// Source: "Elements of an AWS API request signature", IAM user guide. Signatures are not verified.
struct Scope {
    access_key: String,
    region: String,
    service: String,
}

fn scope(request: &Request<Bytes>) -> Option<Scope> {
    let header = request.headers().get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let credential = header.split_once("Credential=")?.1.split([',', ' ']).next()?;
    let parts: Vec<&str> = credential.split('/').collect();
    match parts[..] {
        [key, _date, region, service, "aws4_request"] => Some(Scope {
            access_key: key.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
        }),
        _ => None,
    }
}

/// Reads a request of any of the services.
///
/// # Errors
/// A request that belongs to no service of the double, to be answered in the query protocol's form.
pub fn open(request: &Request<Bytes>) -> Result<Opened, AwsError> {
    let target = request
        .headers()
        .get("x-amz-target")
        .and_then(|value| value.to_str().ok());
    let form = if target.is_some() {
        form::Node::default()
    } else {
        form::parse(request)
    };
    let scope = match scope(request) {
        Some(scope) => scope,
        // The one kind of call that carries a token in place of a signature.
        None if form
            .text("Action")
            .is_some_and(|action| action == "AssumeRoleWithWebIdentity") =>
        {
            Scope {
                access_key: String::new(),
                region: "us-east-1".to_owned(),
                service: "sts".to_owned(),
            }
        }
        None => {
            let message = "Request is missing Authentication Token";
            return Err(AwsError::new("MissingAuthenticationToken", message).with_status(403));
        }
    };
    let service = Service::signed_as(&scope.service).ok_or_else(|| {
        let message = format!("The double does not speak the service '{}'", scope.service);
        AwsError::new("UnknownService", message).with_status(404)
    })?;
    let model = Model::of(service);
    let operation = match (target, &model.target) {
        (Some(target), Some(prefix)) => target
            .strip_prefix(&format!("{prefix}."))
            .map(str::to_owned)
            .unwrap_or_else(|| target.to_owned()),
        _ => form.text("Action").unwrap_or_default().to_owned(),
    };
    let input = decode(service, &operation, request, &form);
    let session_token = request.headers().get("x-amz-security-token");
    let session_token = session_token.and_then(|token| token.to_str().ok().map(str::to_owned));
    Ok(Opened {
        service,
        region: scope.region,
        access_key: scope.access_key,
        session_token,
        operation,
        input,
    })
}

fn decode(service: Service, operation: &str, request: &Request<Bytes>, form: &form::Node) -> Result<Value, AwsError> {
    let model = Model::of(service);
    let Some(known) = model.operations.get(operation) else {
        return Err(unknown_operation(model, operation, form));
    };
    if let Some(version) = form.text("Version")
        && version != model.version
    {
        let message = format!("Could not find operation {operation} for version {version}");
        return Err(AwsError::new("InvalidAction", message));
    }
    let Some(shape) = &known.input else {
        return Ok(Value::Object(serde_json::Map::new()));
    };
    let (input, mut violations) = match model.protocol {
        Protocol::Json => (json::decode(request.body())?, Vec::new()),
        Protocol::Query | Protocol::Ec2 => form::decode(model, shape, form)?,
    };
    violations.extend(model.check(shape, &input));
    match violations.first() {
        None => Ok(input),
        Some(first) => Err(match model.protocol {
            Protocol::Query => AwsError::validation(summary(&violations)),
            Protocol::Json if service == Service::Tagging => {
                AwsError::new("InvalidParameterException", summary(&violations))
            }
            Protocol::Json => AwsError::new("ValidationException", summary(&violations)),
            Protocol::Ec2 => ec2_violation(first),
        }),
    }
}

fn unknown_operation(model: &Model, operation: &str, form: &form::Node) -> AwsError {
    match model.protocol {
        Protocol::Json => AwsError::new("UnknownOperationException", ""),
        _ if operation.is_empty() => {
            let message = "The request must contain the parameter Action";
            AwsError::new("MissingAction", message)
        }
        Protocol::Ec2 => AwsError::new(
            "InvalidAction",
            format!("The action {operation} is not valid for this web service."),
        ),
        Protocol::Query => {
            let version = form.text("Version").unwrap_or(&model.version);
            AwsError::new(
                "InvalidAction",
                format!("Could not find operation {operation} for version {version}"),
            )
        }
    }
}

/// EC2 reports one problem at a time, with codes of its own. Source: "Error codes for the Amazon EC2 API".
fn ec2_violation(violation: &Violation) -> AwsError {
    let parameter: Vec<&str> = violation
        .path
        .iter()
        .map(String::as_str)
        .filter(|&part| part != "member")
        .collect();
    let parameter = parameter.join(".");
    match &violation.value {
        None => AwsError::new(
            "MissingParameter",
            format!("The request must contain the parameter {parameter}"),
        ),
        Some(value) => match &violation.constraint {
            Constraint::OneOf(_) | Constraint::Kind(_) => AwsError::new(
                "InvalidParameterValue",
                format!("Invalid value '{value}' for {parameter}."),
            ),
            other => AwsError::new(
                "InvalidParameterValue",
                format!("Value ({value}) for parameter {parameter} is invalid. {other}"),
            ),
        },
    }
}

/// The response for a call that worked.
pub fn answer(call: &Call, output: &Value) -> Response<Bytes> {
    let model = Model::of(call.service);
    match model.protocol {
        Protocol::Json => respond(
            StatusCode::OK,
            JSON,
            &call.request_id,
            json::encode(model, &call.operation, output),
        ),
        _ => respond(StatusCode::OK, XML, &call.request_id, xml::answer(model, call, output)),
    }
}

/// The response for a call that was refused.
pub fn refusal(service: Service, request_id: &str, error: &AwsError) -> Response<Bytes> {
    let model = Model::of(service);
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
    match model.protocol {
        Protocol::Json => respond(status, JSON, request_id, json::refusal(error)),
        _ => respond(status, XML, request_id, xml::refusal(model, request_id, error)),
    }
}

const XML: &str = "text/xml";
const JSON: &str = "application/x-amz-json-1.1";

fn respond(status: StatusCode, content_type: &'static str, request_id: &str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    if let Ok(id) = http::HeaderValue::from_str(request_id) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}
