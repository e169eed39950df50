//! Tags: of everything that has an id.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use super::describe::Query;
use super::lookup::{Kind, invalid};
use super::state::State;
use crate::fault::AwsError;

/// A tag as it comes in.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Tag {
    #[serde(default)]
    key: String,
    value: Option<String>,
}

/// Tags for what a call creates.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Specification {
    resource_type: Option<String>,
    #[serde(default)]
    tags: Vec<Tag>,
}

/// Most tags of a resource. Source: "Tag restrictions", Amazon EC2 user guide.
const MOST: usize = 50;

type Tags = BTreeMap<String, String>;

/// Tags as they are kept, if they may be set on something that has `present` ones.
fn checked(tags: &[Tag], present: Option<&Tags>) -> Result<Tags, AwsError> {
    let mut given = Tags::new();
    for Tag { key, value } in tags {
        let value = value.clone().unwrap_or_default();
        if key.is_empty() {
            return Err(invalid("Tag key cannot be empty"));
        }
        if key.to_lowercase().starts_with("aws:") {
            return Err(invalid("Tag keys starting with 'aws:' are reserved for internal use"));
        }
        if key.chars().count() > 128 {
            return Err(invalid(format!(
                "Tag key exceeds the maximum length of 128 characters: '{key}'"
            )));
        }
        if value.chars().count() > 256 {
            return Err(invalid(format!(
                "Tag value exceeds the maximum length of 256 characters: '{value}'"
            )));
        }
        if given.insert(key.clone(), value).is_some() {
            return Err(invalid(format!("Duplicate tag key '{key}' specified.")));
        }
    }
    let keys: BTreeSet<&String> = present.into_iter().flat_map(Tags::keys).chain(given.keys()).collect();
    if keys.len() > MOST {
        let message = "The maximum number of Tags for a resource has been reached.";
        return Err(AwsError::new("TagLimitExceeded", message));
    }
    Ok(given)
}

/// The tags that a creating call gives to a kind of resource; `others` are the kinds it creates beside.
pub(super) fn specified(specifications: &[Specification], kind: Kind, others: &[&str]) -> Result<Tags, AwsError> {
    let mut tags = Vec::new();
    for specification in specifications {
        match specification.resource_type.as_deref() {
            Some(named) if named == kind.resource_type() => tags.extend(specification.tags.iter().cloned()),
            Some(named) if others.contains(&named) => {}
            Some(named) => {
                return Err(invalid(format!(
                    "'{named}' is not a valid taggable resource type for this operation."
                )));
            }
            None => {
                return Err(AwsError::new(
                    "MissingParameter",
                    "Tag specification resource type must have a value",
                ));
            }
        }
    }
    checked(&tags, None)
}

/// Tags as they are answered.
pub(super) fn list(state: &State, id: &str) -> Value {
    let tags = state.tags.get(id).into_iter().flatten();
    tags.map(|(key, value)| json!({"Key": key, "Value": value})).collect()
}

/// Everything that is tagged, or once was: the resource as ARNs have it (`TYPE/ID`), and its tags.
pub(crate) fn tagged(state: &State) -> impl Iterator<Item = (String, &Tags)> {
    state.tags.iter().filter_map(|(id, tags)| {
        let kind = Kind::of(id)?.resource_type();
        Some((format!("{kind}/{id}"), tags))
    })
}

/// Gives a new resource its tags.
pub(super) fn attach(state: &mut State, id: &str, tags: Tags) {
    if !tags.is_empty() {
        state.tags.insert(id.to_owned(), tags);
    }
}

/// Refuses ids that name nothing.
fn check_resources(state: &State, ids: &[String]) -> Result<(), AwsError> {
    for id in ids {
        match Kind::of(id) {
            Some(kind) => kind.check(state, id)?,
            None => return Err(AwsError::new("InvalidID", format!("The ID '{id}' is not valid"))),
        }
    }
    Ok(())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Change {
    resources: Vec<String>,
    #[serde(default)]
    tags: Vec<Tag>,
}

/// `CreateTags`.
pub(super) fn create(state: &mut State, input: &Change) -> Result<Value, AwsError> {
    check_resources(state, &input.resources)?;
    for id in &input.resources {
        checked(&input.tags, state.tags.get(id))?;
    }
    for id in &input.resources {
        let tags = checked(&input.tags, None)?;
        state.tags.entry(id.clone()).or_default().extend(tags);
    }
    Ok(json!({}))
}

/// `DeleteTags`: all, those with a key, or those with a key and a value.
pub(super) fn delete(state: &mut State, input: &Change) -> Result<Value, AwsError> {
    check_resources(state, &input.resources)?;
    let named = |key: &str, value: &str| {
        input.tags.is_empty()
            || input
                .tags
                .iter()
                .any(|tag| tag.key == key && tag.value.as_ref().is_none_or(|wanted| wanted == value))
    };
    for id in &input.resources {
        if let Some(tags) = state.tags.get_mut(id) {
            tags.retain(|key, value| !named(key, value));
        }
    }
    Ok(json!({}))
}

/// `DescribeTags`.
pub(super) fn describe(state: &State, query: &Query) -> Result<Value, AwsError> {
    let mut found = Vec::new();
    for (id, tags) in &state.tags {
        let kind = Kind::of(id).map_or("", Kind::resource_type);
        for (key, value) in tags {
            let one = |filter: &str| {
                let value = match filter {
                    "key" => key,
                    "value" => value,
                    "resource-id" => id,
                    "resource-type" => kind,
                    _ => return None,
                };
                Some(vec![value.to_owned()])
            };
            if query.passes(id, state, one)? {
                let tag = json!({"ResourceId": id, "ResourceType": kind, "Key": key, "Value": value});
                found.push((format!("{id} {key}"), tag));
            }
        }
    }
    let (tags, next) = query.page(found)?;
    Ok(json!({"Tags": tags, "NextToken": next}))
}
