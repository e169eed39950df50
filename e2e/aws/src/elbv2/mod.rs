//! Elastic Load Balancing, version 2015-12-01: Application Load Balancers.
//!
//! ```text
//! load balancer ─► listener ─► rule ─► action ─► target group ─► targets (id, port) with health
//!       │              └► certificates             └► one load balancer only
//!       └► subnets, security groups, a network interface per subnet (ec2)
//! ```

mod paging;
pub mod quota;
pub mod state;

use serde::de::DeserializeOwned;
use serde_json::Value;

pub use self::state::{HealthReport, State, TargetKey};
use crate::call::Call;
use crate::fault::AwsError;
use crate::world::World;

/// Answers a call.
///
/// # Errors
/// What AWS would refuse, with its code.
pub fn handle(world: &mut World, call: &Call, input: Value) -> Result<Value, AwsError> {
    match call.operation.as_str() {
        "DescribeAccountLimits" => quota::describe(world, call, read(input)?),
        other => Err(AwsError::new(
            "InvalidAction",
            format!("The double does not perform {other}"),
        )),
    }
}

/// The parts of an input that an operation works with; the input was checked against its shape before.
fn read<T: DeserializeOwned>(input: Value) -> Result<T, AwsError> {
    serde_json::from_value(input).map_err(|error| AwsError::new("MalformedInput", error.to_string()))
}
