//! What albacore may do in AWS: `docs/iam-policy.json`, attached to albacore's own credentials. Everybody else in a world is
//! an administrator.

use albacore_aws::{Double, iam::Policy};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use serde_json::{Value, json};

/// The access key of albacore.
pub const CONTROLLER: &str = "AKIDALBACORE";

/// Albacore's credentials.
pub fn credentials() -> SharedCredentialsProvider {
    SharedCredentialsProvider::new(Credentials::new(CONTROLLER, "secret", None, None, "test"))
}

/// The policy as operators attach it.
pub fn document() -> Value {
    serde_json::from_str(include_str!("../../../docs/iam-policy.json")).expect("docs/iam-policy.json is JSON")
}

/// The policy without an action, wherever it stands; a statement that has no other goes.
pub fn without(action: &str) -> Value {
    let mut document = document();
    let statements = document["Statement"].as_array_mut().expect("statements");
    for statement in statements.iter_mut() {
        let actions = match &statement["Action"] {
            Value::Array(actions) => actions.clone(),
            one => vec![one.clone()],
        };
        statement["Action"] = actions.into_iter().filter(|known| known != action).collect();
    }
    statements.retain(|statement| statement["Action"] != json!([]));
    document
}

/// Attaches a policy to credentials, in place of the one they have.
///
/// # Panics
/// It is no policy that the double understands.
pub fn attach(double: &Double, who: &str, document: Value) {
    let policy = Policy::try_from(document).expect("a policy");
    double.configure(|options| {
        options.policies.insert(who.to_owned(), policy);
    });
}
