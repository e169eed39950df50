//! AWS Security Token Service: who is calling, and credentials for a role.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::call::Call;
use crate::fault::AwsError;
use crate::identity::token::Token;
use crate::identity::{RoleArn, not_expired};
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
            "Account": call.account, "UserId": "AIDADOUBLE0000000000A", "Arn": world.identity.caller(call),
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

/// `AssumeRole`: every role trusts every caller. The new access key belongs to the role's account.
fn assume(world: &mut World, call: &Call, input: &Assume) -> Result<Value, AwsError> {
    let lasts = Duration::from_secs(input.duration_seconds.unwrap_or(DURATION));
    grant(world, call, input, lasts)
}

fn grant(world: &mut World, call: &Call, input: &Assume, lasts: Duration) -> Result<Value, AwsError> {
    let role = RoleArn::parse(&input.role_arn);
    let role = role.ok_or_else(|| AwsError::validation(format!("{} is invalid", input.role_arn)))?;
    let expiration = call.now.saturating_add(lasts).unwrap_or(jiff::Timestamp::MAX);
    let session = &input.role_session_name;
    let granted = world.identity.grant(&mut world.ids, role, session, expiration);
    let accounts = &mut world.options.accounts;
    accounts.insert(granted.access_key.clone(), granted.account.clone());
    Ok(json!({
        "Credentials": granted.document(),
        "AssumedRoleUser": {
            "AssumedRoleId": format!("AROADOUBLE0000000000A:{session}"),
            "Arn": granted.arn,
        },
    }))
}

/// `AssumeRoleWithWebIdentity`: while credentials are not strict, a token that has not expired is believed.
fn assume_with_web_identity(world: &mut World, call: &Call, input: &Assume) -> Result<Value, AwsError> {
    let token = Token::parse(input.web_identity_token.as_deref().unwrap_or_default());
    let token = token.map_err(|wrong| AwsError::new("InvalidIdentityToken", wrong.to_string()))?;
    not_expired(&token, call.now)?;
    let lasts = Duration::from_secs(input.duration_seconds.unwrap_or(DURATION));
    if world.options.strict_credentials {
        let role = world.identity.judge(&input.role_arn, &token, call.now)?;
        if input.duration_seconds.is_some() && lasts > role.longest {
            let message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.";
            return Err(AwsError::validation(message));
        }
    }
    let mut answer = grant(world, call, input, lasts)?;
    answer["SubjectFromWebIdentityToken"] = token.subject.into();
    answer["Audience"] = token.audiences.first().cloned().into();
    answer["Provider"] = token.issuer.into();
    Ok(answer)
}
