//! Images that instances can be launched from. AWS offers tens of thousands; one is enough to launch something.

use serde_json::{Value, json};

use super::describe::Query;
use super::state::State;
use crate::fault::AwsError;

/// The image that exists everywhere.
const IMAGE: &str = "ami-0123456789abcdef0";

/// `DescribeImages`.
pub(super) fn describe(state: &State, query: &Query) -> Result<Value, AwsError> {
    if let Some(missing) = query.ids.iter().find(|id| *id != IMAGE) {
        check(missing)?;
        let message = format!("The image id '[{missing}]' does not exist");
        return Err(AwsError::new("InvalidAMIID.NotFound", message));
    }
    let values = |filter: &str| {
        let value = match filter {
            "image-id" => IMAGE,
            "architecture" => "x86_64",
            "state" => "available",
            "name" => "linux",
            "owner-alias" => "amazon",
            _ => return None,
        };
        Some(vec![value.to_owned()])
    };
    let image = json!({
        "ImageId": IMAGE, "Name": "linux", "State": "available", "Architecture": "x86_64", "ImageType": "machine",
        "Public": true, "ImageOwnerAlias": "amazon", "RootDeviceType": "ebs", "VirtualizationType": "hvm",
        "Hypervisor": "xen",
    });
    let images: Vec<Value> = query
        .passes(IMAGE, state, values)?
        .then_some(image)
        .into_iter()
        .collect();
    Ok(json!({"Images": images}))
}

/// Refuses what is no image id. That somebody else's image exists cannot be known.
pub(super) fn check(id: &str) -> Result<(), AwsError> {
    let digits = id.strip_prefix("ami-").unwrap_or_default();
    if matches!(digits.len(), 8 | 17) && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(());
    }
    let message = format!("Invalid id: \"{id}\" (expecting \"ami-...\")");
    Err(AwsError::new("InvalidAMIID.Malformed", message))
}
