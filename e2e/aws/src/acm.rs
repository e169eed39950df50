//! The service acm: no operation yet.

use serde_json::Value;

use crate::call::Call;
use crate::fault::AwsError;
use crate::world::World;

/// What stands in a region.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Temporary.
    pub certificates: std::collections::BTreeMap<String, bool>,
}

/// Answers a call.
///
/// # Errors
/// `InvalidAction`: there is no operation yet.
pub fn handle(_: &mut World, call: &Call, _: Value) -> Result<Value, AwsError> {
    Err(AwsError::new(
        "InvalidAction",
        format!("The action {} is not valid for this web service.", call.operation),
    ))
}
