//! Tags of certificates.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Named, check};
use crate::call::Call;
use crate::fault::AwsError;
use crate::world::World;

/// A tag as it comes in.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tag {
    key: String,
    value: Option<String>,
}

/// Most tags of a certificate. Source: "Tag restrictions", ACM user guide.
const MOST: usize = 50;

/// The tags of something that has `present` ones, once `given` are added.
pub(super) fn checked(given: &[Tag], present: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, AwsError> {
    let mut all = present.clone();
    for Tag { key, value } in given {
        if key.to_lowercase().starts_with("aws:") {
            let message = format!("Tag key '{key}' begins with the reserved prefix 'aws:'");
            return Err(AwsError::new("InvalidTagException", message));
        }
        all.insert(key.clone(), value.clone().unwrap_or_default());
    }
    if all.len() > MOST {
        let message = format!("A certificate can have no more than {MOST} tags");
        return Err(AwsError::new("TooManyTagsException", message));
    }
    Ok(all)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Change {
    certificate_arn: String,
    tags: Vec<Tag>,
}

/// `AddTagsToCertificate`.
pub(super) fn add(world: &mut World, call: &Call, input: Change) -> Result<Value, AwsError> {
    let state = &mut world.region(call).acm;
    check(state, &input.certificate_arn)?;
    if let Some(found) = state.certificates.get_mut(&input.certificate_arn) {
        found.tags = checked(&input.tags, &found.tags)?;
    }
    Ok(json!({}))
}

/// `RemoveTagsFromCertificate`: "If you do not specify the value portion of the tag when calling this function, the tag will
/// be removed regardless of value."
pub(super) fn remove(world: &mut World, call: &Call, input: &Change) -> Result<Value, AwsError> {
    let state = &mut world.region(call).acm;
    check(state, &input.certificate_arn)?;
    if let Some(found) = state.certificates.get_mut(&input.certificate_arn) {
        let named = |key: &str, value: &str| {
            let mut tags = input.tags.iter();
            tags.any(|tag| tag.key == key && tag.value.as_deref().is_none_or(|wanted| wanted == value))
        };
        found.tags.retain(|key, value| !named(key, value));
    }
    Ok(json!({}))
}

/// `ListTagsForCertificate`.
pub(super) fn list(world: &mut World, call: &Call, input: &Named) -> Result<Value, AwsError> {
    let state = &world.region(call).acm;
    check(state, &input.certificate_arn)?;
    let tags = &state.certificates[&input.certificate_arn].tags;
    let tags = tags.iter().map(|(key, value)| json!({"Key": key, "Value": value}));
    Ok(json!({"Tags": tags.collect::<Vec<_>>()}))
}
