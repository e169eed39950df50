//! What callers may do: identity-based policies, evaluated for every call of whoever has one.
//!
//! ```text
//! call, input, what it is about ─► requests (action, resource, context; what depends on it too) ─► policy ─► all allowed?
//!                                                                                                     └ no: AWS' refusal
//! ```
//! Whoever has no policy may do anything: [`Options::policies`] says who has one.
//!
//! [`Options::policies`]: crate::Options::policies

pub mod policy;
mod request;

use serde_json::Value;

pub use self::policy::{Decision, Policy};
pub use self::request::Request;
use crate::call::{Call, Service};
use crate::fault::AwsError;
use crate::world::World;

/// The name under which a policy is everybody's who has none of his own.
pub const EVERYBODY: &str = "*";

/// What a call needs, if its caller may have all of it; nothing is asked of callers without a policy.
///
/// # Errors
/// AWS' refusal of the first request that is not allowed.
pub(crate) fn authorize(world: &mut World, call: &Call, input: &Value) -> Result<Vec<Request>, AwsError> {
    let policies = &world.options.policies;
    let own = policies.get(&call.access_key).or_else(|| policies.get(EVERYBODY));
    let requests = match own.filter(|_| needs_permission(call)) {
        None => Vec::new(),
        Some(policy) => {
            let requests = request::of(world, call, input)?;
            for request in &requests {
                let decision = policy.decide(request);
                if decision != Decision::Allowed {
                    return Err(refusal(call, &world.identity.caller(call), request, decision));
                }
            }
            requests
        }
    };
    if request::links(call) {
        world.linked_accounts.insert(call.account.clone());
    }
    Ok(requests)
}

/// Calls without a signature have no caller, and who one is everybody may ask. Source: GetCallerIdentity, AWS STS API
/// reference.
fn needs_permission(call: &Call) -> bool {
    !call.access_key.is_empty() && call.operation != "GetCallerIdentity"
}

/// How each service says no. Sources: "Troubleshoot access denied error messages", IAM user guide, for the words; "Common
/// errors" of each API reference and "Error codes for the Amazon EC2 API" for the codes.
fn refusal(call: &Call, caller: &str, request: &Request, decision: Decision) -> AwsError {
    let action = &request.action;
    let on = match request.resource.as_str() {
        "*" => String::new(),
        resource => format!(" on resource: {resource}"),
    };
    let because = match decision {
        Decision::Forbidden => "with an explicit deny in an identity-based policy".to_owned(),
        _ => format!("because no identity-based policy allows the {action} action"),
    };
    let words = format!("User: {caller} is not authorized to perform: {action}{on} {because}");
    match call.service {
        Service::Ec2 => {
            // What STS decodes for whoever may call DecodeAuthorizationMessage; reads come without it.
            let encoded = match call.is_read() {
                true => String::new(),
                false => format!(
                    ". Encoded authorization failure message: {}",
                    "0l-KPWQJ8q5z3Y".repeat(32)
                ),
            };
            let message = format!("You are not authorized to perform this operation. {words}{encoded}");
            AwsError::new("UnauthorizedOperation", message).with_status(403)
        }
        Service::Acm | Service::Tagging => AwsError::new("AccessDeniedException", words),
        Service::Elbv2 | Service::Sts => AwsError::new("AccessDenied", words).with_status(403),
    }
}
