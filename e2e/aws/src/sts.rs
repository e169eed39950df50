//! AWS Security Token Service: who is calling, and credentials for a role.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::call::{Call, partition};
use crate::fault::AwsError;
use crate::world::World;

/// Answers a call.
///
/// # Errors
/// What AWS would refuse, with its code.
pub fn handle(world: &mut World, call: &Call, input: Value) -> Result<Value, AwsError> {
    match call.operation.as_str() {
        "AssumeRole" => assume(world, call, &read(input)?),
        "AssumeRoleWithWebIdentity" => assume_with_web_identity(world, call, &read(input)?),
        "GetCallerIdentity" => Ok(json!({
            "Account": call.account, "UserId": "AIDADOUBLE0000000000A",
            "Arn": format!("arn:{}:iam::{}:user/double", partition(&call.region), call.account),
        })),
        other => Err(AwsError::new(
            "InvalidAction",
            format!("The double does not perform {other}"),
        )),
    }
}

fn read(input: Value) -> Result<Assume, AwsError> {
    serde_json::from_value(input).map_err(|error| AwsError::new("MalformedInput", error.to_string()))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Assume {
    role_arn: String,
    role_session_name: String,
    duration_seconds: Option<u64>,
    web_identity_token: Option<String>,
}

/// How long credentials last unless `DurationSeconds` says otherwise. Source: AssumeRole, AWS STS API reference.
const DURATION: u64 = 3600;

/// `AssumeRole`: every role trusts everybody. The new access key belongs to the role's account.
fn assume(world: &mut World, call: &Call, input: &Assume) -> Result<Value, AwsError> {
    let parts: Vec<&str> = input.role_arn.splitn(6, ':').collect();
    let (account, role) = match parts[..] {
        ["arn", _, "iam", "", account, resource] => (account, resource.strip_prefix("role/")),
        _ => ("", None),
    };
    let Some(role) = role else {
        return Err(AwsError::validation(format!("{} is invalid", input.role_arn)));
    };
    let key = format!("ASIA{}", world.ids.hex(16).to_uppercase());
    world.options.accounts.insert(key.clone(), account.to_owned());
    let lasts = Duration::from_secs(input.duration_seconds.unwrap_or(DURATION));
    let expiration = call.now.saturating_add(lasts).unwrap_or(jiff::Timestamp::MAX);
    let session = &input.role_session_name;
    Ok(json!({
        "Credentials": {
            "AccessKeyId": key, "SecretAccessKey": world.ids.hex(40), "SessionToken": world.ids.hex(64),
            "Expiration": expiration.to_string(),
        },
        "AssumedRoleUser": {
            "AssumedRoleId": format!("AROADOUBLE0000000000A:{session}"),
            "Arn": format!("arn:{}:sts::{account}:assumed-role/{role}/{session}", partition(&call.region)),
        },
    }))
}

/// `AssumeRoleWithWebIdentity`: the token must be one (three parts, claims) and not have expired; its signature is not
/// verified.
fn assume_with_web_identity(world: &mut World, call: &Call, input: &Assume) -> Result<Value, AwsError> {
    let token = input.web_identity_token.as_deref().unwrap_or_default();
    let parts: Vec<&str> = token.split('.').collect();
    let claims = match parts[..] {
        [_, claims, _] => URL_SAFE_NO_PAD.decode(claims).ok(),
        _ => None,
    };
    let claims: Option<Value> = claims.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let claims = claims.ok_or_else(|| {
        let message = "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)";
        AwsError::new("InvalidIdentityToken", message)
    })?;
    let expired = |moment: i64| moment < call.now.as_second();
    if claims["exp"].as_i64().is_some_and(expired) {
        let message = "Token expired: current date/time must be before the expiration date/time";
        return Err(AwsError::new("ExpiredTokenException", message));
    }
    let mut answer = assume(world, call, input)?;
    answer["SubjectFromWebIdentityToken"] = claims["sub"].clone();
    answer["Provider"] = claims["iss"].clone();
    Ok(answer)
}
