//! Tags of load balancers, target groups, listeners and rules.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Value, json};

use super::lookup::Kind;
use super::state::State;
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

/// Most tags of a resource that users may set. Source: "Tag your resources", Elastic Load Balancing user guides.
const MOST: usize = 50;
/// Most resources of one `DescribeTags`.
const AT_ONCE: usize = 20;

/// Tags as they are kept, if they may be set on something that has `present` ones.
pub(super) fn checked(
    tags: Vec<Tag>,
    present: Option<&BTreeMap<String, String>>,
) -> Result<BTreeMap<String, String>, AwsError> {
    let mut all = present.cloned().unwrap_or_default();
    let mut given = BTreeMap::new();
    for Tag { key, value } in tags {
        reserved(&key)?;
        all.insert(key.clone(), String::new());
        if given.insert(key.clone(), value.unwrap_or_default()).is_some() {
            return Err(AwsError::new(
                "DuplicateTagKeys",
                format!("The tag key '{key}' was specified more than once"),
            ));
        }
    }
    if all.len() > MOST {
        return Err(AwsError::new(
            "TooManyTags",
            "You've reached the limit on the number of tags for this resource.",
        ));
    }
    Ok(given)
}

fn reserved(key: &str) -> Result<(), AwsError> {
    if key.len() >= 4 && key.is_char_boundary(4) && key[..4].eq_ignore_ascii_case("aws:") {
        return Err(AwsError::validation(format!(
            "Tag keys that begin with 'aws:' are reserved: '{key}'"
        )));
    }
    Ok(())
}

impl State {
    /// Refuses an ARN that names nothing here.
    fn check_resource(&self, arn: &str) -> Result<(), AwsError> {
        let kind = Kind::of(arn).ok_or_else(|| AwsError::validation(format!("'{arn}' is not a valid resource ARN")))?;
        let there = match kind {
            Kind::LoadBalancer => self.load_balancers.contains_key(arn),
            Kind::TargetGroup => self.target_groups.contains_key(arn),
            Kind::Listener => self.listeners.contains_key(arn),
            Kind::Rule => self.rules.contains_key(arn),
            Kind::TrustStore => false,
        };
        if there { Ok(()) } else { Err(kind.missing(arn)) }
    }

    fn check_resources(&self, arns: &[String]) -> Result<(), AwsError> {
        if arns.is_empty() {
            return Err(AwsError::validation("A resource ARN must be specified"));
        }
        if arns.len() > AT_ONCE {
            return Err(AwsError::validation(format!(
                "Cannot have more than {AT_ONCE} resources described"
            )));
        }
        arns.iter().try_for_each(|arn| self.check_resource(arn))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Add {
    resource_arns: Vec<String>,
    tags: Vec<Tag>,
}

/// `AddTags`.
pub(super) fn add(world: &mut World, call: &Call, input: Add) -> Result<Value, AwsError> {
    let state = &mut world.region(call).elbv2;
    state.check_resources(&input.resource_arns)?;
    for arn in &input.resource_arns {
        checked(input.tags.clone(), state.tags.get(arn))?;
    }
    for arn in input.resource_arns {
        let tags = checked(input.tags.clone(), None)?;
        state.tags.entry(arn).or_default().extend(tags);
    }
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Remove {
    resource_arns: Vec<String>,
    tag_keys: Vec<String>,
}

/// `RemoveTags`.
pub(super) fn remove(world: &mut World, call: &Call, input: Remove) -> Result<Value, AwsError> {
    let state = &mut world.region(call).elbv2;
    state.check_resources(&input.resource_arns)?;
    input.tag_keys.iter().try_for_each(|key| reserved(key))?;
    for arn in &input.resource_arns {
        if let Some(tags) = state.tags.get_mut(arn) {
            tags.retain(|key, _| !input.tag_keys.contains(key));
        }
    }
    Ok(json!({}))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Describe {
    resource_arns: Vec<String>,
}

/// `DescribeTags`.
pub(super) fn describe(world: &mut World, call: &Call, input: Describe) -> Result<Value, AwsError> {
    let state = &world.region(call).elbv2;
    state.check_resources(&input.resource_arns)?;
    let tags = |arn: &String| {
        let tags = state.tags.get(arn).into_iter().flatten();
        let tags: Vec<Value> = tags.map(|(key, value)| json!({"Key": key, "Value": value})).collect();
        json!({"ResourceArn": arn, "Tags": tags})
    };
    Ok(json!({"TagDescriptions": input.resource_arns.iter().map(tags).collect::<Vec<_>>()}))
}
